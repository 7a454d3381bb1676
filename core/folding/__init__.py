"""Folding: what two people would call the same name, reading, birth date or address (docs/folding.md)."""

from importlib.resources import files
from typing import Final

DATA: Final = files("jukinet.core.folding") / "data"
"""The tables: kanji_variants.txt, areas.txt, former_areas.txt."""
