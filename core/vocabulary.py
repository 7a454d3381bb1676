"""The words every part shares: outcomes, items, functions, change reasons, sex, roles. Values are part of the formats.

A value once given never changes its meaning: it stands in stored blocks, in frames and in the record of use.
"""

from __future__ import annotations

import re
from enum import IntEnum, IntFlag, StrEnum
from typing import Final


class State(IntEnum):
    """What the register holds under a code (4 bits of a block's status column)."""

    CURRENT = 1
    DEAD = 2
    MOVED_AWAY = 3
    REMOVED = 4
    RETIRED = 5
    """The code was changed at the resident's request or ex officio; it never names anyone again (Act 30-3)."""
    ALLOTTED = 6
    """The code was allotted to a municipality that is not connected: no identity information is held."""
    EXPIRED = 7
    """A tombstone: the retention period (Order 30-11) is over and no identity information is held any more."""


class Outcome(IntEnum):
    """What one row of an answer says about its code (one byte on the wire and in the record of use)."""

    CURRENT = 1
    """A current resident. In an answer to STATUS: and nothing was registered on or after the date asked about."""
    CHANGED = 2
    """STATUS only: a current resident for whom a change was registered on or after the date asked about."""
    DEAD = 3
    MOVED_AWAY = 4
    REMOVED = 5
    CODE_CHANGED = 6
    """The code is retired."""
    EXPIRED = 7
    """The record's retention period (Order 30-11) is over."""
    NOT_CONNECTED = 8
    """No data: the municipality that the code belongs to is not connected. Not the same as UNKNOWN."""
    UNKNOWN = 9
    """No such person: the register holds nothing under this code."""
    BAD_CHECK_DIGIT = 10
    MALFORMED = 11
    """Not 11 digits. A client sends MALFORMED_CODE for text that is no code, so that rows keep their places."""


class Item(IntFlag):
    """Items of identity information that an affair may see (a 32-bit mask on the wire)."""

    NAME = 1
    KANA = 2
    ALIAS = 4
    BIRTH_DATE = 8
    SEX = 16
    ADDRESS = 32
    CHANGE = 64
    """Change reason and the date it arose (Order 30-5)."""
    CODE = 128
    """The resident record code itself: for a retired code, the code that replaced it."""


ALL_ITEMS = Item(255)
FOUR_ITEMS = Item.NAME | Item.BIRTH_DATE | Item.SEX | Item.ADDRESS


class Function(IntFlag):
    """Kinds of question. The bit is the mask of an authority; the values also name the function in a record of use."""

    LOOKUP = 1
    STATUS = 2
    VERIFY = 4
    SEARCH = 8
    MATCH = 16
    HISTORY = 32
    COHORT = 64


TOLD_BY_ROW = Function.VERIFY | Function.SEARCH | Function.MATCH
"""Functions whose record of use holds a byte a row beside the outcome (docs/record-of-use.md, chapter 4)."""


class ChangeReason(IntEnum):
    """The eleven reasons of Order 30-5 and Rule 11. The values are this project's own; 0 stands for none recorded."""

    MOVE_IN = 11
    BIRTH = 12
    EX_OFFICIO_ENTRY = 13
    MOVE_OUT = 21
    DEATH = 22
    EX_OFFICIO_REMOVAL = 23
    MOVE_WITHIN = 31
    MINOR_CORRECTION = 32
    EX_OFFICIO_CORRECTION = 33
    CODE_CHANGE_REQUESTED = 41
    CODE_CHANGE_EX_OFFICIO = 42


class Sex(IntEnum):
    """ISO/IEC 5218."""

    NOT_KNOWN = 0
    MALE = 1
    FEMALE = 2
    NOT_APPLICABLE = 9


class Match(IntEnum):
    """How one claimed item compares with the register (two bits of a VERIFY answer)."""

    NOT_ASKED = 0
    DIFFERENT = 1
    EXACT = 2
    FOLDED = 3
    """Equal after folding (docs/folding.md): width, spaces, variant kanji, forms of addresses."""


class Found(IntEnum):
    """What one row of a SEARCH or MATCH is answered (one byte on the wire and in the record of use)."""

    ONE = 1
    """One person, disclosed."""
    SEVERAL = 2
    """SEARCH: several persons, all disclosed. MATCH: several are as likely; how many is told, and no one disclosed."""
    TOO_MANY = 3
    """More than the affair's cap, or more than is looked at for one row; no one disclosed."""
    NONE = 4
    """Nobody, and every area that could hold the person is connected."""
    NONE_NOT_CONNECTED = 5
    """Nobody, but an area that could hold the person is not connected."""
    TOO_FEW_ITEMS = 6
    """Not asked: name and birth date, or name and address, are the least (a kana reading stands for a name)."""
    BAD_NAME = 7
    BAD_KANA = 8
    BAD_BIRTH_DATE = 9
    BAD_SEX = 10
    BAD_ADDRESS = 11
    """The item is too long, or is no such thing; the row was not asked."""


class Grade(IntEnum):
    """How a person was found; the least certain thing that was needed names the grade."""

    NONE = 0
    EXACT = 1
    """Every item given is equal, character by character but for spaces."""
    FOLDED = 2
    """Equal after folding: width, spaces, variation sequences, variant kanji, forms of an address."""
    KANA = 3
    """By the reading: the name as written was not given or differs."""
    EARLIER_NAME = 4
    """By a name, birth date or address of an earlier record inside its retention."""
    NEAR_DATE = 5
    """The birth date differs by a digit, by transposed parts, by the era, or is known in part only."""
    NEAR_NAME = 6
    """Name or reading differs in a few characters, has its parts exchanged, or lacks one."""


class Level(IntEnum):
    """How one item of the question compares with the person found (one byte an item)."""

    NOT_COMPARED = 0
    """The question or the register has no such item."""
    EXACT = 1
    FOLDED = 2
    VOICING = 3
    """Kana that differ in voicing marks, small kana or long marks only."""
    EARLIER = 4
    """Equal to an earlier record of the person."""
    SWAPPED = 5
    """Parts exchanged: surname and given name, month and day, two digits."""
    ERA = 6
    """The same year of another era."""
    PARTIAL = 7
    """As far as it is given: one part of a name, a year without day, the same town."""
    NEAR = 8
    """Differs in one or two characters or one digit; of addresses: the same area."""
    DIFFERENT = 9


class Role(StrEnum):
    """What kind of peer a certificate names: the second word of its SAN URI, ``urn:jukinet:ROLE:BODY``."""

    AGENCY = "agency"
    PREFECTURE = "prefecture"
    MUNICIPALITY = "municipality"
    OPERATOR = "operator"
    SERVER = "server"
    WITNESS = "witness"
    """Sees and cosigns the checkpoints of the record of use, and nothing else; a prefecture may do so as such."""
    ADMINISTRATOR = "administrator"


IDENTITY_URI: Final = re.compile(rf"urn:jukinet:({'|'.join(Role)}):([a-z0-9-]{{1,64}})")
"""Who a certificate names: role and body."""


class Prefecture(IntEnum):
    """The 47 prefectures by their JIS X 0401 numbers, which begin the areas' five digits."""

    HOKKAIDO = 1
    AOMORI = 2
    IWATE = 3
    MIYAGI = 4
    AKITA = 5
    YAMAGATA = 6
    FUKUSHIMA = 7
    IBARAKI = 8
    TOCHIGI = 9
    GUNMA = 10
    SAITAMA = 11
    CHIBA = 12
    TOKYO = 13
    KANAGAWA = 14
    NIIGATA = 15
    TOYAMA = 16
    ISHIKAWA = 17
    FUKUI = 18
    YAMANASHI = 19
    NAGANO = 20
    GIFU = 21
    SHIZUOKA = 22
    AICHI = 23
    MIE = 24
    SHIGA = 25
    KYOTO = 26
    OSAKA = 27
    HYOGO = 28
    NARA = 29
    WAKAYAMA = 30
    TOTTORI = 31
    SHIMANE = 32
    OKAYAMA = 33
    HIROSHIMA = 34
    YAMAGUCHI = 35
    TOKUSHIMA = 36
    KAGAWA = 37
    EHIME = 38
    KOCHI = 39
    FUKUOKA = 40
    SAGA = 41
    NAGASAKI = 42
    KUMAMOTO = 43
    OITA = 44
    MIYAZAKI = 45
    KAGOSHIMA = 46
    OKINAWA = 47

    @property
    def body(self) -> str:
        """The body that a prefecture's certificate names: its romanised name (``tokyo``)."""
        return self.name.lower()

    @classmethod
    def of_body(cls, body: str) -> Prefecture | None:
        """The prefecture whose body this is, or None."""
        return cls.__members__.get(body.upper()) if body.islower() else None

    @classmethod
    def of_area(cls, area: int) -> Prefecture | None:
        """The prefecture that an area (JIS X 0402, five digits) lies in, or None."""
        number = area // 1000
        return cls(number) if 1 <= number <= 47 else None


class NoticeState(IntEnum):
    """Where a move-in notice (転入通知) is on its way to the municipality that the person left."""

    WAITING = 1
    TAKEN = 2
    """Sent to the prefecture of the municipality left, which has not said that it has it."""
    OVERDUE = 3
    """Not received within the time that the register allows: the notice is to go on paper."""


MALFORMED_CODE = (1 << 64) - 1
"""Sent in place of text that is not 11 digits."""
CODE_END = 100_000_000_000
"""One more than the largest 11-digit code."""
