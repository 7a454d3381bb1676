"""What bodies and affairs are called, for pages that people read: from the authority, else as the record names them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jukinet.core.law import history
from jukinet.core.law.authority import Authority
from jukinet.core.vocabulary import Role

ROLES: Final = {Role.AGENCY: "国の機関等", Role.PREFECTURE: "都道府県", Role.MUNICIPALITY: "市区町村"}


class NamesInLaw:
    """Names by an authority file, or by the newest version of a history that knows the body or affair."""

    def __init__(self, path: str | Path | None = None) -> None:
        """None: no names but those in the record. Raises ConfigurationError."""
        self._authorities: list[Authority] = []
        if path is not None and Path(path).is_dir():
            self._authorities = [version.authority for version in reversed(history.read_history(path))]
        elif path is not None:
            self._authorities = [Authority.load(path)]

    def recipient(self, role: str, body: str) -> str:
        """The body, with its kind."""
        known = (authority.body(role, body) for authority in self._authorities)
        name = next((found.display for found in known if found is not None), body)
        return f"{name}（{next((word for one, word in ROLES.items() if role == one), role)}）"

    def affair(self, role: str, body: str, schedule: int, item: str, number: int) -> str:
        """As the law numbers it, and in words where they are known."""
        text = f"別表第{schedule} {item}の項" if schedule else f"条例 {item}の項"
        text += f" {number}号" if number else ""
        for authority in self._authorities:
            found = authority.body(role, body)
            grants = found.grants.get((schedule, item, number), ()) if found is not None else ()
            if grants:
                return f"{text} {grants[-1].affair}"
        return text
