from collections.abc import Iterable

from typing_extensions import Buffer

from jukinet.core.law.retention import Cutoffs

def expired_keys(
    blocks: Iterable[tuple[Buffer, Buffer]], width: int, first: int, stop: int, cutoffs: Cutoffs, keys_max: int
) -> tuple[list[int], int]: ...
