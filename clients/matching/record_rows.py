"""Rows of a file turned into persons as they are asked about, and, of a row that cannot be asked, why."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from jukinet.clients.matching.column_names import Mapping
from jukinet.clients.matching.csv_blocks import Row
from jukinet.clients.matching.record_file import undecodable
from jukinet.clients.persons import Persons
from jukinet.core import limits
from jukinet.core.folding.dates import DateTextError, EraDigits, ImpossibleDateError, OutOfEraError, read_date

SEX_WORDS: Final = {
    **dict.fromkeys(("", "0", "不明", "不詳", "-", "unknown"), 0),
    **dict.fromkeys(("1", "男", "男性", "オトコ", "m", "male"), 1),
    **dict.fromkeys(("2", "女", "女性", "オンナ", "f", "female"), 2),
    "9": 9,
}
_KANA_ONLY: Final = re.compile(r"[\u3041-\u3096\u30a1-\u30fa\u30fc\uff66-\uff9f\s\u3000・.]+")


class Fault(StrEnum):
    """Why a row was not asked. The words are those of the result's column ``found``."""

    UNREADABLE = "UNREADABLE"
    """The line is not CSV."""
    COLUMN_MISSING = "COLUMN_MISSING"
    """The row has fewer columns than the mapping needs."""
    UNDECODABLE = "UNDECODABLE"
    """A byte of an item does not belong to the file's encoding."""
    TOO_FEW_ITEMS = "TOO_FEW_ITEMS"
    BAD_NAME = "BAD_NAME"
    BAD_KANA = "BAD_KANA"
    BAD_BIRTH_DATE = "BAD_BIRTH_DATE"
    BAD_SEX = "BAD_SEX"
    BAD_ADDRESS = "BAD_ADDRESS"


REASONS: Final = {
    Fault.TOO_FEW_ITEMS: "the least is a name or reading, with a birth date or address",
    Fault.BAD_NAME: "the name is longer than 1,024 bytes",
    Fault.BAD_KANA: "the reading is longer than 1,024 bytes",
    Fault.BAD_ADDRESS: "the address is longer than 1,024 bytes",
    Fault.BAD_SEX: "the sex is none of 男 女 1 2 0 9 M F",
}
DATE_UNREADABLE: Final = "the birth date has no known form"
DATE_IMPOSSIBLE: Final = "no calendar has the birth date"
DATE_FUTURE: Final = "the birth date lies in the future; another era may be meant (--era-digits)"
DATE_EARLY: Final = "nobody of the register was born in that year: an era may be missing"
FIRST_DATE: Final = 18_000_000
"""No earlier birth date is asked: decimal, 1800."""
NAME_IN_KANA: Final = "the name is a reading, and the affair may not ask by one"
LONG_FAULTS: Final = ((0, Fault.BAD_NAME), (1, Fault.BAD_KANA), (4, Fault.BAD_ADDRESS))


class Person(Struct, frozen=True, gc=False):
    """What one row says: name, kana, decimal birth date, sex, address; ``fault`` and ``reason`` when it cannot be
    asked. ``beyond_era``: the date was written in an era that had ended (昭和70年)."""

    name: str = ""
    kana: str = ""
    birth_date: int = 0
    sex: int = 0
    address: str = ""
    fault: str = ""
    reason: str = ""
    beyond_era: bool = False

    def __repr__(self) -> str:
        return f"Person(fault={self.fault!r})"


class Reader:
    """Turns rows into persons as the mapping says; ``era_digits``: what a lone digit before six others means.

    ``today``: no later birth date is asked; default: the day on which the reader is made.
    """

    def __init__(
        self, mapping: Mapping, era_digits: EraDigits = EraDigits.IN_ORDER, today: datetime.date | None = None
    ) -> None:
        items = mapping.items
        self.era_digits = era_digits
        self.last_date = decimal_date(today or datetime.date.today())
        self._readings = mapping.readings
        self._name = text_of(items.get("name", ()), " ")
        self._kana = text_of(items.get("kana", ()), " ")
        self._date = date_text_of(items.get("birth_date", ()))
        self._sex = text_of(items.get("sex", ()), "")
        self._address = text_of(items.get("address", ()), "")
        self._columns_min = 1 + max(place for places in items.values() for place in places)
        self._used = sorted({place for places in items.values() for place in places})
        # Few dates and sexes occur in a file, each many times.
        self._read_date = lru_cache(maxsize=65_536)(lambda text: read_birth_date(text, era_digits))
        self._read_sex = lru_cache(maxsize=1_024)(read_sex)

    def _broken(self, row: Row) -> Person | None:
        """What a row is that has no items to be read; None for a row that has."""
        if row.fault:
            return Person(fault=Fault.UNREADABLE, reason=row.fault)
        fields = row.fields
        if len(fields) < self._columns_min:
            reason = f"the row has {len(fields)} columns, and column {self._columns_min} is needed"
            return Person(fault=Fault.COLUMN_MISSING, reason=reason)
        if undecodable("".join(fields)):
            for place in self._used:
                if undecodable(fields[place]):
                    reason = f"column {place + 1} holds bytes that the file's encoding does not have"
                    return Person(fault=Fault.UNDECODABLE, reason=reason)
        return None

    def person(self, row: Row) -> Person:
        """The person of a row."""
        broken = self._broken(row)
        if broken is not None:
            return broken
        fields = row.fields
        name, kana, address = self._name(fields), self._kana(fields), self._address(fields)
        in_kana = bool(name and not kana and _KANA_ONLY.fullmatch(name))
        if in_kana:
            name, kana = "", name  # a reading in the column of names, as on old records
        date, date_fault, beyond = self._read_date(self._date(fields))
        sex = self._read_sex(self._sex(fields))
        if date and not FIRST_DATE <= date <= self.last_date:
            date_fault = DATE_EARLY if date < FIRST_DATE else DATE_FUTURE
        if date_fault:
            return Person(fault=Fault.BAD_BIRTH_DATE, reason=date_fault)
        if in_kana and not self._readings:
            return Person(fault=Fault.BAD_NAME, reason=NAME_IN_KANA)
        fault = ""
        if sex < 0:
            fault = Fault.BAD_SEX
        elif not (name or kana) or not (date or address):
            fault = Fault.TOO_FEW_ITEMS
        else:
            fault = too_long(name, kana, address)
        if fault:
            return Person(fault=fault, reason=REASONS[Fault(fault)])
        return Person(name, kana, date, sex, address, beyond_era=beyond)


def text_of(places: Sequence[int], between: str) -> Callable[[Sequence[str]], str]:
    """What takes an item's text from the fields of a row: its columns as one, without spaces at their ends."""
    if not places:
        return lambda _fields: ""
    if len(places) == 1:
        place = places[0]
        return lambda fields: fields[place].strip()
    return lambda fields: between.join(text for place in places if (text := fields[place].strip()))


def date_text_of(places: Sequence[int]) -> Callable[[Sequence[str]], str]:
    """What takes a birth date's text from the fields of a row, be it in one column or in several."""
    if len(places) <= 1:
        return text_of(places, "")
    return lambda fields: joined_date([fields[place] for place in places])


def joined_date(parts: Sequence[str]) -> str:
    """The text of a date whose era, year, month and day, or some of them together, stand in columns of their own.

    A lone digit before others is that of an era, and others have two digits then (3, 40, 2, 20 is 3400220).
    """
    texts = [part.strip() for part in parts]
    while texts and not texts[-1]:
        texts.pop()
    while texts and not texts[0]:
        texts.pop(0)
    numbers = [unicodedata.normalize("NFKC", text) for text in texts]
    if len(texts) > 1 and len(numbers[0]) == 1 and all(number.isdecimal() for number in numbers):
        return numbers[0] + "".join(number.zfill(2) for number in numbers[1:])
    if len(texts) == 2 and len(numbers[1]) >= 4:
        return "".join(texts)
    return ".".join(texts)


def decimal_date(date: datetime.date) -> int:
    """19650220 of a date."""
    return date.year * 10_000 + date.month * 100 + date.day


def too_long(name: str, kana: str, address: str) -> str:
    """The fault of a text that is longer than a question may hold, or ''."""
    if len(name) + len(kana) + len(address) <= limits.CLAIM_TEXT_BYTES_MAX // 4:
        return ""
    for text, fault in ((name, Fault.BAD_NAME), (kana, Fault.BAD_KANA), (address, Fault.BAD_ADDRESS)):
        if len(text.encode("utf-8", "replace")) > limits.CLAIM_TEXT_BYTES_MAX:
            return fault
    return ""


def read_birth_date(text: str, era_digits: EraDigits) -> tuple[int, str, bool]:
    """(decimal date, why it is none, whether its era had ended). A date past the end of its era is the day meant."""
    try:
        found = read_date(text, era_digits)
    except OutOfEraError as error:
        return (error.decimal, "", True) if error.decimal else (0, DATE_IMPOSSIBLE, False)
    except ImpossibleDateError:
        return 0, DATE_IMPOSSIBLE, False
    except DateTextError:
        return 0, DATE_UNREADABLE, False
    return found.decimal, "", found.beside_era


def read_sex(text: str) -> int:
    """ISO/IEC 5218, or -1."""
    return SEX_WORDS.get(unicodedata.normalize("NFKC", text).lower(), -1)


class Batch(Struct, frozen=True):
    """Rows on their way: what is asked, the faults of those that cannot be, and what is passed on with the answers."""

    numbers: Sequence[int]
    persons: Persons
    faults: list[str]
    reasons: list[str]
    kept: list[Any]
    """An Arrow string array for each column that is passed on."""
    digest: int = 0
    """CRC-32 of what is asked, the digest of the batches before being its beginning."""

    def __len__(self) -> int:
        return len(self.numbers)
