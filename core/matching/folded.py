"""The items of a question, or of one record of a person, as they are compared: folded once, in plain Python."""

from __future__ import annotations

from msgspec import Struct

from jukinet.core.folding.kana import folded_kana_exact_parts, folded_kana_parts, kana_text
from jukinet.core.folding.names import folded_name_parts


class Folded(Struct, frozen=True, gc=False):
    """One name, reading, birth date, sex and address.

    Texts come whole; *_part is where the given name begins in them, 0 where the parts are not known. birth_date:
    decimal, unknown parts 0. Its repr shows nothing of the person.
    """

    kana_exact: str
    kana: str
    kana_part: int
    name_raw: str
    name: str
    name_part: int
    birth_date: int
    sex: int
    address: str
    """As it came; core.folding.addresses folds and compares."""
    key: int = 0

    def __repr__(self) -> str:
        return "<Folded>"

    @property
    def surname_kana(self) -> str:
        return self.kana[: self.kana_part]

    @property
    def given_kana(self) -> str:
        return self.kana[self.kana_part :] if self.kana_part else ""

    @property
    def surname(self) -> str:
        return self.name[: self.name_part]

    @property
    def given(self) -> str:
        return self.name[self.name_part :] if self.name_part else ""


def fold(name: str, kana: str, birth_date: int, sex: int, address: str, key: int = 0) -> Folded:
    """Fold what a question or a record says. ValueError for texts that cannot be folded."""
    exact = folded_kana_exact_parts(kana)
    folded = folded_kana_parts(kana)
    names = folded_name_parts(name)
    return Folded(
        kana_exact=kana_text(exact[0] + exact[1]),
        kana=kana_text(folded[0] + folded[1]),
        kana_part=len(kana_text(folded[0])) if folded[1] else 0,
        name_raw=name.replace(" ", "").replace("\u3000", ""),
        name=names[0] + names[1],
        name_part=len(names[0]) if names[1] else 0,
        birth_date=birth_date,
        sex=sex,
        address=address,
        key=key,
    )
