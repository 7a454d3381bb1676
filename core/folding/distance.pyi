from enum import IntEnum

class PartsRelation(IntEnum):
    EQUAL = 0
    SWAPPED = 1
    FIRST_ONLY = 2
    SECOND_ONLY = 3
    SAME_FIRST = 4
    SAME_SECOND = 5
    DIFFERENT = 6

def distance_of_kana(one: bytes, other: bytes, limit: int) -> int: ...
def distance_of_names(one: str, other: str, limit: int) -> int: ...
def parts_relation(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> PartsRelation: ...
