"""SEARCH by the beginning of a name or reading: everybody born on the day is looked at (docs/matching.md, section 5).

The index holds whole names, so a beginning needs a birth date. A day has some thousands of people at most; few
questions are of this kind, and each is bounded by PEOPLE_OF_A_DAY_MAX records.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from jukinet.core.codes import code_from_key
from jukinet.core.columns.layout import TextColumn
from jukinet.core.folding.kana import NotKanaError, folded_kana
from jukinet.core.folding.names import folded_name
from jukinet.core.identity import probe
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.limits import FRAME_HEADER_BYTES
from jukinet.core.matching.columns import LEVELS, Hits, Questions
from jukinet.core.vocabulary import Found, Grade, Item, Level, Outcome
from jukinet.core.wire.answers import parse_lookup_answer

if TYPE_CHECKING:
    from jukinet.core.store.snapshot import Snapshot

PEOPLE_OF_A_DAY_MAX: Final = 16_384
"""People looked at for one question; the nation has some 5,000 of its most frequent day of birth."""
_ITEMS: Final = int(Item.NAME | Item.KANA | Item.ALIAS | Item.BIRTH_DATE | Item.SEX)
_ANSWERED: Final = frozenset((Found.ONE, Found.SEVERAL, Found.NONE, Found.NONE_NOT_CONNECTED))
"""Rows that beginnings may add to; others were refused, or meant too many already."""
_PROVIDED: Final = frozenset((Outcome.CURRENT, Outcome.DEAD, Outcome.MOVED_AWAY, Outcome.REMOVED))


class Beginning(Struct, frozen=True):
    """A folded question; '' or no bytes where it has no such item."""

    name: str
    kana: bytes
    birth_date: int
    """Decimal."""
    sex: int

    def __repr__(self) -> str:
        return "Beginning(...)"


def search(snapshot: Snapshot, questions: Questions, start: int, stop: int, hits: Hits) -> None:
    """Add to rows [start, stop) of hits the persons whose names begin so. A row without a whole birth date keeps what
    was found for whole names. Raises StoreError."""
    for row in range(start, stop):
        asked = beginning_of(questions, row)
        if asked is not None and hits.statuses[row] in _ANSWERED:
            _add(snapshot, asked, row, hits)


def beginning_of(questions: Questions, row: int) -> Beginning | None:
    """The folded question of a row; None when it has no whole date, or neither name nor reading."""
    packed = questions.birth_dates[row]
    year, month, day = packed >> 9, packed >> 5 & 15, packed & 31
    name = folded_name(questions.names[row])
    kana = _folded_reading(questions.kanas[row])
    if not day or not (name or kana):
        return None
    return Beginning(name, kana, year * 10_000 + month * 100 + day, questions.sexes[row])


def _folded_reading(text: str) -> bytes:
    try:
        return folded_kana(text)
    except NotKanaError:
        return b""


def _add(snapshot: Snapshot, asked: Beginning, row: int, hits: Hits) -> None:
    year, month, day = asked.birth_date // 10_000, asked.birth_date // 100 % 100, asked.birth_date % 100
    found, more = probe.scan(snapshot, year << 9 | month << 5 | day, 0, 0, 0, PEOPLE_OF_A_DAY_MAX)
    if more:
        _too_many(row, hits)
        return
    start = row * hits.cap
    known = set(hits.keys[start : start + hits.found[row]])
    keys = sorted({key for key, _ in found} - known)
    if not keys:
        return
    added = 0
    for key, levels in _those_who_begin_so(snapshot, asked, keys):
        if hits.found[row] == hits.cap:
            _too_many(row, hits)
            return
        place = start + hits.found[row]
        hits.keys[place], hits.grades[place] = key, Grade.NEAR_NAME
        hits.levels[place * LEVELS : (place + 1) * LEVELS] = levels
        hits.found[row] += 1
        added += 1
    if added:
        hits.statuses[row] = Found.ONE if hits.found[row] == 1 else Found.SEVERAL
        # A beginning says nothing of who is likelier: those whom it may mean share alike.
        for place in range(start, start + hits.found[row]):
            hits.probabilities[place] = 1.0 / hits.found[row]


def _too_many(row: int, hits: Hits) -> None:
    hits.statuses[row] = Found.TOO_MANY
    hits.found[row] = 0


def _those_who_begin_so(snapshot: Snapshot, asked: Beginning, keys: list[int]) -> list[tuple[int, bytes]]:
    """(key, levels) of the persons of these keys whose present record agrees."""
    codes = array("Q", [code_from_key(key) for key in keys])
    batch = LookupBatch()
    batch.begin(codes, _ITEMS)
    batch.run(snapshot, 0, len(keys))
    answer = parse_lookup_answer(0, _ITEMS, len(keys), batch.finish()[FRAME_HEADER_BYTES:])
    assert answer.names is not None
    assert answer.kana is not None
    assert answer.aliases is not None
    assert answer.birth_dates is not None
    assert answer.sexes is not None
    same = []
    columns = zip(keys, answer.outcomes, answer.birth_dates, answer.sexes, strict=True)
    for place, (key, outcome, birth_date, sex) in enumerate(columns):
        if outcome not in _PROVIDED or birth_date != asked.birth_date:
            continue
        if asked.sex and sex and sex != asked.sex:
            continue
        name_level = _name_level(asked.name, (answer.names, answer.aliases), place)
        kana_level = Level.NOT_COMPARED
        if asked.kana:
            kana_level = (
                Level.PARTIAL if _folded_reading(answer.kana[place]).startswith(asked.kana) else Level.DIFFERENT
            )
        if Level.DIFFERENT in (name_level, kana_level):
            continue
        sex_level = Level.EXACT if asked.sex and sex else Level.NOT_COMPARED
        same.append((key, bytes((name_level, kana_level, Level.EXACT, sex_level, Level.NOT_COMPARED))))
    return same


def _name_level(name: str, columns: tuple[TextColumn, TextColumn], place: int) -> Level:
    if not name:
        return Level.NOT_COMPARED
    begins = any(column[place] and folded_name(column[place]).startswith(name) for column in columns)
    return Level.PARTIAL if begins else Level.DIFFERENT
