"""Kernel: the stateless faults of a batch's rows, and whether a range's keys ascend."""

def keys_ascend(codes: memoryview, first_key: int, stop_key: int) -> bool: ...
def find_faults(
    payload: memoryview,
    count: int,
    positions: tuple[int, ...],
    prefecture: int,
    today: int,
    last_day: int,
    last_move_out_day: int,
) -> bytes: ...
