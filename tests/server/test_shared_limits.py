"""What is allowed to a body holds for a server of several workers, not for each of them."""

from __future__ import annotations

import contextlib
import os
import signal
from array import array
from pathlib import Path

from jukinet.core.errors import ErrorCode
from jukinet.core.wire import messages as m

from .serving import Caller, Place, Server


def test_a_body_has_its_limits_once_for_all_workers(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path, server={"workers": 2})) as server, contextlib.ExitStack() as stack:
        callers: dict[int, Caller] = {}
        opened = 0
        while len(callers) < 2:  # the kernel chooses the worker
            caller = stack.enter_context(Caller(place, server.port, "slow"))
            assert isinstance(caller.event(), m.Greeting)
            opened += 1
            worker = server.wait_for("connection_opened", opened)["worker"]
            if worker in callers:
                caller.socket.close()
                server.wait_for("connection_closed", opened - len(callers))
            else:
                callers[worker] = caller
        for refused in range(1, 7):
            with Caller(place, server.port, "slow") as third:
                assert third.event().code is ErrorCode.TOO_MANY_CONNECTIONS
            server.wait_for("connection_refused", refused, kind="too_many_connections")
        first, second = callers[0], callers[1]
        for caller in (first, second):
            assert isinstance(caller.ask(m.OpenSession(caller.new(), 1, "77", 0, "o", "r", "c")), m.SessionOpened)
        codes = array("Q", [place.codes[0]] * 60_000)
        assert first.ask(m.StatusRequest(first.new(), 1, 20200101, memoryview(codes))).count == 60_000
        assert second.ask(m.StatusRequest(second.new(), 1, 20200101, memoryview(codes))).code is (
            ErrorCode.RATE_EXCEEDED
        ), "the allowance was used at the other worker"
        os.kill(server.worker_processes()[0], signal.SIGKILL)
        server.wait_for("worker_restart")
        with Caller(place, server.port, "slow") as again:
            assert isinstance(again.event(), m.Greeting), "a dead worker's connections leave their places"
