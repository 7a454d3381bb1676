import numpy as np
import numpy.typing as npt

from jukinet.server.nation.population import Population

NUMBERS_MAX: int
SPAN_BITS_MAX: int

Words = npt.NDArray[np.uint64]

def collect(population: Population, first: int, last: int, low: int, span: int, words: Words, filled: int) -> int: ...
def sort(words: Words, scratch: Words, count: int, span: int) -> None: ...
def encode(
    population: Population,
    words: Words,
    start: int,
    stop: int,
    low: int,
    width: int,
    wide: bool,
    out: npt.NDArray[np.uint8],
    buckets: npt.NDArray[np.uint32],
    ends: npt.NDArray[np.uint64],
    states: npt.NDArray[np.uint64],
    wanted: npt.NDArray[np.uint8] | None = None,
) -> tuple[int, int]: ...
