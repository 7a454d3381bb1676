"""Folding: what two people would call the same name, reading, birth date or address (docs/folding.md)."""
