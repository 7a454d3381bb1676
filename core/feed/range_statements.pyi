from jukinet.core.store.snapshot import Snapshot

def statements(
    snapshot: Snapshot, prefecture: int, first_key: int, stop_key: int, rows_max: int, bytes_max: int
) -> tuple[bytes, int, int]: ...
