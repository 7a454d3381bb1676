"""Kanji variants that are read as one character when names and places are compared (data/kanji_variants.txt)."""

from __future__ import annotations

from typing import Final

from jukinet.core.folding import DATA


def _read() -> dict[str, str]:
    lines = (DATA / "kanji_variants.txt").read_text(encoding="utf-8").splitlines()
    return {variant: line[0] for line in lines if line and not line.startswith("#") for variant in line[1:]}


VARIANTS: Final[dict[str, str]] = _read()
"""Variant to the form it is compared as; no form is itself a variant."""
