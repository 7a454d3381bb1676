"""The rules by which misuse is noticed: their names, what they are about, and their thresholds (docs/detection.md)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

from jukinet.core.errors import ErrorCode, JukinetError


class Rule(IntEnum):
    """What an alarm is about. The names in lower case stand in settings, alarms file, log and metrics."""

    ABSENT = 1
    CHECK_DIGITS = 2
    SEQUENTIAL = 3
    RATE = 4
    NIGHT = 5
    FIRST_USE = 6
    MANY_AFFAIRS = 7
    ONE_AT_A_TIME = 8

    @property
    def word(self) -> str:
        """The name as it is written."""
        return self.name.lower()


OPERATOR_RULES: Final = frozenset({Rule.ABSENT, Rule.CHECK_DIGITS, Rule.SEQUENTIAL, Rule.NIGHT, Rule.ONE_AT_A_TIME})
"""Rules about an operator: their alarms may stop that operator."""
BY_WORD: Final = {rule.word: rule for rule in Rule}


class Thresholds(Struct, frozen=True, kw_only=True):
    """What the rules compare with (docs/detection.md, chapter 1). Counts are codes or persons, shares 0 to 1."""

    half_life_seconds: float = 3_600.0
    absent_codes_min: float = 50.0
    absent_share_min: float = 0.3
    check_digit_codes_min: float = 20.0
    check_digit_share_min: float = 0.2
    sequential_codes_min: float = 30.0
    sequential_share_min: float = 0.3
    sequential_gap: int = 30
    rate_codes_min: float = 100_000.0
    rate_factor: float = 10.0
    night_from: int = 22
    night_until: int = 6
    first_use_seconds: float = 90 * 86_400.0
    affairs_min: int = 5
    affairs_seconds: float = 30 * 86_400.0
    persons_per_hour_min: float = 120.0
    persons_factor: float = 3.0
    learning_seconds: float = 7 * 86_400.0
    repeat_seconds: float = 86_400.0


class Finding(Struct, frozen=True):
    """What a rule noticed. Keys are the keyed hashes of operator, body and affair (``Watch.key_of``).

    time: seconds since 1970. code: the resident's, for MANY_AFFAIRS; otherwise None. value: what was counted; limit:
    what it passed.
    """

    rule: Rule
    time: float
    operator: int
    body: int
    affair: int
    code: int | None
    value: float
    limit: float


class OperatorStoppedError(JukinetError):
    """The operator was stopped, by a rule or by hand, until released (docs/detection.md, chapter 4)."""

    code = ErrorCode.OPERATOR_STOPPED


def rules_named(words: str) -> frozenset[Rule]:
    """The rules whose names stand in a text, with spaces between them. Raises ValueError for an unknown name."""
    found = set()
    for word in words.split():
        if word not in BY_WORD:
            raise ValueError(f"{word!r} is no rule; the rules are {', '.join(BY_WORD)}")
        found.add(BY_WORD[word])
    return frozenset(found)
