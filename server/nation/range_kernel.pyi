from collections.abc import Buffer

from jukinet.server.nation.population import Population

NUMBERS_MAX: int
SPAN_BITS_MAX: int

def collect(
    population: Population, first: int, last: int, low: int, span: int, words: Buffer, filled: int
) -> int: ...
def sort(words: Buffer, scratch: Buffer, count: int, span: int) -> None: ...
def encode(
    population: Population, words: Buffer, start: int, stop: int, low: int, width: int, wide: bool, out: Buffer,
    buckets: Buffer, ends: Buffer, states: Buffer,
) -> tuple[int, int]: ...
