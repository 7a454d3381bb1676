"""Folding: what two people would call the same name, reading, birth date or address (docs/folding.md)."""

from importlib.resources import files
from typing import Final

DATA: Final = files("jukinet.core.folding") / "data"
"""The tables: kanji_variants.txt, areas.txt, former_areas.txt."""

FOLDING_VERSION: Final = 1
"""Grows whenever a name or a reading folds to other bytes: an index keyed by folded texts is built anew then."""
