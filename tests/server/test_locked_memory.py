"""The register locked in memory, and a system that does not permit it."""

from __future__ import annotations

from pathlib import Path

from .serving import Caller, Place, Server

# Read by the interpreter of the server's first process: its workers have neither the privilege nor a limit to lock by.
NOT_PERMITTED = """
import ctypes, resource
CAP_IPC_LOCK, PR_CAPBSET_DROP = 14, 24
ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)  # takes effect in the workers, which are executed
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
"""


def locked_bytes(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmLck")).split()[1]) * 1_024


def test_a_register_is_locked_when_asked_for(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path, register={"lock_in_memory": True})) as server:
        told = server.wait_for("register_locked_in_memory")
        (worker,) = server.worker_processes()
        assert told["bytes"] == (place.store / "data.mdb").stat().st_size
        assert locked_bytes(worker) >= told["bytes"]


def test_a_server_that_may_not_lock_says_so_and_serves(place: Place, tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(NOT_PERMITTED)
    configuration = place.configuration(tmp_path, register={"lock_in_memory": True})
    with Server(configuration, {"PYTHONPATH": str(tmp_path / "start")}) as server:
        told = server.wait_for("register_not_locked_in_memory")
        assert told["limit_bytes"] == 0
        assert told["wanted_bytes"] == (place.store / "data.mdb").stat().st_size
        with Caller(place, server.port) as caller:
            caller.open()
            assert caller.lookup(place.codes[:3]).count == 3


def test_a_register_is_not_locked_unasked(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path)) as server:
        assert [locked_bytes(worker) for worker in server.worker_processes()] == [0]
