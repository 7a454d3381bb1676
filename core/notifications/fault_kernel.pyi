"""Kernel: the stateless faults of a batch's rows."""

def find_faults(
    payload: memoryview,
    count: int,
    positions: tuple[int, ...],
    prefecture: int,
    today: int,
    last_day: int,
    last_move_out_day: int,
) -> bytes: ...
