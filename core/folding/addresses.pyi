from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

class AddressNearness(IntEnum):
    EQUAL = 0
    BUT_BUILDING = 1
    COMPATIBLE = 2
    SAME_TOWN = 3
    SAME_AREA = 4
    DIFFERENT = 5
    UNKNOWN = 6

class FoldedAddress(NamedTuple):
    prefecture: int
    municipality: str
    ward: int
    former: bool
    town: str
    numbers: str
    building: str

def split_address(text: str) -> FoldedAddress: ...
def folded_address(text: str) -> str: ...
def address_nearness(one: str, other: str) -> AddressNearness: ...
def key_of_town(text: str) -> int: ...
def add_former_areas(lines: Iterable[str]) -> int: ...
