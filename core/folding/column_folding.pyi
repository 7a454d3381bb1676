from enum import IntEnum
from typing import NamedTuple

from typing_extensions import Buffer

from jukinet.core.folding.dates import EraDigits

class Folding(IntEnum):
    NAME = 0
    KANA = 1
    KANA_EXACT = 2
    ADDRESS = 3

class FoldedTexts(NamedTuple):
    offsets: bytes
    data: bytes
    results: bytes

class DatesRead(NamedTuple):
    decimals: bytes
    results: bytes

def fold_texts(folding: Folding, offsets: Buffer, data: Buffer) -> FoldedTexts: ...
def read_dates(offsets: Buffer, data: Buffer, era_digits: EraDigits = ...) -> DatesRead: ...
