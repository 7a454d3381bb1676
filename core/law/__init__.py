"""Who may ask what: authority, items and functions as the law and its ordinances give them."""

from __future__ import annotations

from pathlib import Path


def example_path() -> Path:
    """Where the shipped example of an authority file stands (docs/authority.md; real rows of schedules 1 to 5)."""
    return Path(__file__).resolve().parent / "data" / "authority.toml"
