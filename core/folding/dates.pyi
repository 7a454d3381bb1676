from enum import IntEnum
from typing import NamedTuple

from jukinet.core.errors import JukinetError

class DateNearness(IntEnum):
    EQUAL = 0
    COMPATIBLE = 1
    ERA = 2
    MONTH_DAY = 3
    DIGIT = 4
    TRANSPOSED = 5
    YEAR = 6
    FAR = 7
    UNKNOWN = 8

class EraDigits(IntEnum):
    IN_ORDER = 0
    ODD = 1

class DateTextError(JukinetError, ValueError): ...
class UnreadableDateError(DateTextError): ...
class ImpossibleDateError(DateTextError): ...

class OutOfEraError(DateTextError):
    decimal: int

class DateRead(NamedTuple):
    decimal: int
    beside_era: bool

def read_date(text: str, era_digits: EraDigits = ...) -> DateRead: ...
def alternatives_by_era(decimal: int) -> list[int]: ...
def nearness(one: int, other: int) -> DateNearness: ...
