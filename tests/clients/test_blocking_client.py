"""The blocking client against the same peer."""

from __future__ import annotations

import datetime
import socket
import struct
import threading
from array import array
from typing import Any

import pytest
from peer import Behaviour, person

from jukinet import clients
from jukinet.clients import Credentials, Deadlines, Retry, errors
from jukinet.clients.requests import Claims
from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import Match, Outcome
from jukinet.core.wire import messages as m

FAST = Retry(tries=4, first=0.01, longest=0.5)
CODES = [code_from_key(key) for key in range(1000, 1100)]


def test_the_three_questions(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer()
    with clients.connect_blocking("localhost", peer.port, tls=tls) as client, client.session(**affair) as session:
        assert client.ping() < 5
        assert [row.code for row in session.lookup(CODES)] == [f"{code:011}" for code in CODES]
        assert session.lookup_one("x").outcome is Outcome.MALFORMED
        assert session.status(CODES, since=datetime.date(2024, 4, 1)).counts()[Outcome.CHANGED] == 30
        assert session.verify(CODES[:2], names=[person(CODES[0]).name, "x"])[1].name is Match.DIFFERENT
    assert peer.connections == 1


def test_many_with_cuts(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(cuts=[2000, 1, 300, 4000])
    batches = [CODES[start : start + 10] for start in range(0, 100, 10)]
    with clients.connect_blocking("127.0.0.1", peer.port, tls=tls, retry=FAST) as client:
        with client.session(**affair) as session:
            answers = list(session.lookup_many(batches, in_flight=3))
            claims = [Claims(batch, names=["x"] * 10) for batch in batches]
            assert sum(answer.differences() for answer in session.verify_many(claims)) == 80
    assert [row.code for answer in answers for row in answer] == [f"{code:011}" for code in CODES]


def test_errors_and_deadlines(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    plans = [
        Behaviour(error=ErrorCode.RATE_EXCEEDED, retry_after_ms=60_000),
        Behaviour(hold=True),
        Behaviour(),
    ]
    peer = make_peer(plan=lambda number, _: plans[number])
    deadlines = Deadlines(request=0.2, idle=0.3)
    with clients.connect_blocking("127.0.0.1", peer.port, tls=tls, deadlines=deadlines) as client:
        with client.session(**affair) as session:
            with pytest.raises(clients.RateExceededError) as caught:
                session.lookup(CODES)
            assert caught.value.retry_after == 60
            with pytest.raises(clients.DeadlineExceededError, match=r"Deadlines\.request"):
                session.lookup(CODES)
            assert len(session.lookup(CODES)) == 100
    assert peer.cancelled
    assert peer.connections == 1


def test_leaving_a_pipeline_early_cancels_the_rest(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(hold=number > 0))
    with clients.connect_blocking("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        answers = session.lookup_many([CODES] * 9, in_flight=3)
        next(answers)
        answers.close()
        assert next(answers, None) is None
        client.ping()
    assert len(peer.cancelled) == 2


def test_threads_take_turns(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(limits=m.Limits(requests_in_flight_max=2))
    found: dict[int, str] = {}
    with clients.connect_blocking("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:

        def ask(code: int) -> None:
            found[code] = session.lookup_one(code).code

        threads = [threading.Thread(target=ask, args=(code,), daemon=True) for code in CODES[:20]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert found == {code: f"{code:011}" for code in CODES[:20]}


def test_a_server_that_reads_slowly_does_not_stall_the_pipeline(
    make_peer: Any, tls: Credentials, affair: dict[str, Any]
) -> None:
    codes = array("Q", [code_from_key(9)] * 65_536)
    peer = make_peer(slow_reads=0.0005)
    deadlines = Deadlines(request=20)
    with clients.connect_blocking("127.0.0.1", peer.port, tls=tls, deadlines=deadlines) as client:
        with client.session(**affair) as session:
            answers = list(session.status_many([codes] * 5, since="2024-01-01", in_flight=5))
    assert [len(answer) for answer in answers] == [65_536] * 5


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"silent": True}, clients.DeadlineExceededError, "did not greet"),
        ({"garbage": b"x" * 99}, clients.ConnectionLostError, "protocol"),
        ({"greeting_error": ErrorCode.UNKNOWN_BODY}, errors.UnknownBodyError, "certificate"),
        ({"server_name": "agency-test"}, clients.ConnectionFailedError, "does not hold|does not name"),
        ({"alpn": "h2"}, clients.ConnectionFailedError, "jukinet/1"),
    ],
)
def test_no_connection(
    make_peer: Any, tls: Credentials, settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    peer = make_peer(**settings)
    with pytest.raises(kind, match=message):
        with clients.connect_blocking("127.0.0.1", peer.port, tls=tls, deadlines=Deadlines(handshake=0.3)):
            pass
    assert peer.connections == 1, "what is no sign of a start is told at once"


def test_reset_before_a_word_of_tls(tls: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = socket.create_connection
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def open_and_be_reset(address: tuple[str, int], timeout: float) -> socket.socket:
            connected = opened(address, timeout)
            accepted, _ = listener.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            return connected

        monkeypatch.setattr(socket, "create_connection", open_and_be_reset)
        with (
            pytest.raises(clients.ConnectionFailedError, match="cannot connect") as caught,
            clients.connect_blocking("127.0.0.1", port, tls=tls, retry=Retry(tries=1)),
        ):
            pass
    assert caught.value.repeatable


def test_a_server_that_is_being_started_is_waited_for(make_peer: Any, tls: Credentials) -> None:
    for settings, connections in [({"cuts": [0, 1, 40]}, 4), ({"late_seconds": 0.2}, 1)]:
        peer = make_peer(**settings)
        with clients.connect_blocking("127.0.0.1", peer.port, tls=tls, retry=FAST) as client:
            assert client.ping() < 5
        assert peer.connections == connections


def test_waiting_for_a_server_has_its_bound(make_peer: Any, tls: Credentials) -> None:
    peer = make_peer(cuts=[0] * 1_000)
    with pytest.raises(clients.ConnectionFailedError, match="before the server's greeting"):
        with clients.connect_blocking("127.0.0.1", peer.port, tls=tls, retry=Retry(first=0.01, connecting=0.1)):
            pass
    assert 2 <= peer.connections <= 20
    for once in (Retry(tries=1), Retry(connecting=0)):
        peer = make_peer(late_seconds=60)
        with pytest.raises(clients.ConnectionFailedError, match="nothing listens"):
            with clients.connect_blocking("127.0.0.1", peer.port, tls=tls, retry=once):
                pass


def test_waits_for_a_start_end_at_their_bound() -> None:
    retry = Retry(tries=2, first=1, longest=4, connecting=10)
    starting = clients.ConnectionFailedError("", repeatable=True, starting=True)
    waits = [retry.wait_for_start(starting, failures, 0) for failures in (1, 2, 3, 9)]
    assert all(most / 2 <= (wait or 0) <= most for wait, most in zip(waits, (1, 2, 4, 4), strict=True))
    assert retry.wait_for_start(starting, 9, 9.75) == 0.25
    assert retry.wait_for_start(starting, 9, 10) is None
    for other in (
        clients.ConnectionFailedError("", repeatable=True),
        clients.DeadlineExceededError("", repeatable=True),
    ):
        assert retry.wait_for_start(other, 1, 0) is None


def test_credentials_that_cannot_be_used(make_peer: Any, tls: Credentials, certificates: Any) -> None:
    root, certificate, key = tls.root, tls.certificate, tls.key
    for wrong, message in [
        (Credentials("absent.pem", certificate, key), "root absent.pem: No such file"),
        (Credentials(key, certificate, key), "holds no PEM certificate"),
        (Credentials(root, certificate, certificates / "server.key"), "belongs together|belong"),
    ]:
        with pytest.raises(clients.errors.JukinetError, match=message):
            with clients.connect_blocking("127.0.0.1", 1, tls=wrong):
                pass
    assert "agency-test.key" not in repr(tls)
