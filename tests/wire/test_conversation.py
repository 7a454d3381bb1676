"""Both ends driven against each other: every message, the happy way."""

from __future__ import annotations

from array import array

import pytest
import wire_twin as twin
from wire_pair import SESSION, answer, codes, deliver, greeted, greeting, joined, open_session, opened

from jukinet.core.wire import ConnectionState, MessageType, columns
from jukinet.core.wire import messages as m


def test_greeting_opens_the_connection_and_tells_limits() -> None:
    limits = m.Limits(codes_per_request_max=100, requests_in_flight_max=3)
    server, client = greeted(limits)
    assert server.state is client.state is ConnectionState.OPEN
    assert client.greeting == greeting(limits)
    assert client.limits == limits


def test_session_opens_and_closes() -> None:
    server, client = greeted()
    assert deliver(server, client.send(open_session(5))) == [open_session(5)]
    granted = m.SessionOpened(5, 9, 3, 41, 1_000, 0)
    assert deliver(client, server.send(granted)) == [granted]
    assert client.sessions == server.sessions == {9: granted}
    assert deliver(server, client.send(m.CloseSession(6, 9))) == [m.CloseSession(6, 9)]
    assert deliver(client, server.send(m.SessionClosed(6, 9))) == [m.SessionClosed(6, 9)]
    assert client.sessions == server.sessions == {}
    assert client.under_way == server.under_way == {}


FULL = {
    "names": ["山田 太郎", "", "JOHN SMITH"],
    "kana": ["ヤマダ タロウ", "", "ジョン スミス"],
    "aliases": ["", "", "寿美 丞"],
    "birth_dates": [19650220, 0, 19800000],
    "sexes": [1, 0, 2],
    "areas": [13101, 0, 47382],
    "addresses": ["東京都千代田区丸の内1-1", "", "沖縄県八重山郡与那国町字与那国"],
    "reasons": [31, 41, 11],
    "change_dates": [20200331, 20210401, 20120709],
    "successor_codes": [0, 24727059608, 0],
}


def values(column: object) -> list[object]:
    if isinstance(column, columns.TextColumn):
        return list(column.to_list())
    assert isinstance(column, memoryview)
    return list(column)


@pytest.mark.parametrize("items", [255, 0, 1, 2 | 8, 32, 64 | 128, 16])
def test_lookup(items: int) -> None:
    server, client = opened()
    asked = codes([12345678903, 10000000006, 98765432103])
    (request,) = deliver(server, client.send(m.LookupRequest(2, SESSION, items, asked)))
    assert request == m.LookupRequest(2, SESSION, items, asked)
    assert isinstance(request, m.LookupRequest)
    assert request.codes.format == "Q"
    payload = twin.lookup_answer(items or 255, 99, [1, 6, 1], **FULL)
    frame = server.send_answer(2, MessageType.LOOKUP_ANSWER, answer(payload))
    assert frame == twin.frame(payload, 0x11, 2)
    (got,) = deliver(client, frame)
    assert isinstance(got, m.LookupAnswer)
    assert (got.items, got.count, got.register_version) == (items or 255, 3, 99)
    assert list(got.outcomes) == [1, 6, 1]
    bits = dict(zip(FULL, (1, 2, 4, 8, 16, 32, 32, 64, 64, 128), strict=True))
    for name, bit in bits.items():
        column = getattr(got, name)
        if (items or 255) & bit:
            assert values(column) == FULL[name]
        else:
            assert column is None
    assert client.under_way == server.under_way == {}


def test_status() -> None:
    server, client = opened()
    asked = codes([12345678903, 10000000006])
    (request,) = deliver(server, client.send(m.StatusRequest(2, SESSION, 20240401, asked)))
    assert request == m.StatusRequest(2, SESSION, 20240401, asked)
    payload = twin.status_answer(20240401, 5, [2, 3], [20240501, 20240402])
    (got,) = deliver(client, server.send_answer(2, MessageType.STATUS_ANSWER, answer(payload)))
    assert isinstance(got, m.StatusAnswer)
    assert (got.since, got.count, got.register_version) == (20240401, 2, 5)
    assert (list(got.outcomes), list(got.change_dates)) == ([2, 3], [20240501, 20240402])


def test_verify() -> None:
    server, client = opened()
    message = m.VerifyRequest(
        2,
        SESSION,
        1 | 8 | 16 | 32,
        codes([12345678903, 10000000006]),
        columns.TextColumn.from_texts(["山田太郎", ""]),
        memoryview(array("I", [19650220, 0])),
        memoryview(bytes([1, 0])),
        columns.TextColumn.from_texts(["", "丸の内1-1"]),
    )
    assert deliver(server, client.send(message)) == [message]
    payload = twin.verify_answer(57, 5, [1, 9], [0b00_10_01_11, 0])
    (got,) = deliver(client, server.send_answer(2, MessageType.VERIFY_ANSWER, answer(payload)))
    assert isinstance(got, m.VerifyAnswer)
    assert (list(got.outcomes), list(got.matches)) == ([1, 9], [0b00_10_01_11, 0])


def test_ping_progress_cancel_and_error() -> None:
    server, client = opened()
    assert deliver(server, client.send(m.Ping(2, b"12345678"))) == [m.Ping(2, b"12345678")]
    assert deliver(client, server.send(m.Pong(2, b"12345678"))) == [m.Pong(2, b"12345678")]
    deliver(server, client.send(m.LookupRequest(3, SESSION, 0, codes([1, 2]))))
    assert deliver(client, server.send(m.Progress(3, 1, 2))) == [m.Progress(3, 1, 2)]
    assert deliver(server, client.send(m.Cancel(3))) == [m.Cancel(3)]
    error = m.Error(3, m.ErrorCode.CANCELLED, "as asked")
    assert deliver(client, server.send(error)) == [error]
    assert client.under_way == server.under_way == {}
    assert client.state is server.state is ConnectionState.OPEN


def test_goodbyes_close_once_nothing_is_under_way() -> None:
    server, client = opened()
    deliver(server, client.send(m.StatusRequest(2, SESSION, 20240401, codes([1]))))
    assert deliver(client, server.send(m.Goodbye(reason="draining"))) == [m.Goodbye(reason="draining")]
    assert deliver(server, client.send(m.Goodbye(reason="done"))) == [m.Goodbye(reason="done")]
    assert client.state is server.state is ConnectionState.BOTH_DONE
    deliver(client, server.send_answer(2, 0x13, answer(twin.status_answer(20240401, 1, [10], [0]))))
    assert client.state is server.state is ConnectionState.CLOSED


def test_a_full_batch_goes_out_without_copying_the_codes() -> None:
    server, client = opened()
    asked = codes(range(65_536))
    data = client.send(m.LookupRequest(2, SESSION, 1, asked))
    assert isinstance(data, list)
    (request,) = deliver(server, data)
    assert isinstance(request, m.LookupRequest)
    assert request.codes == asked
    payload = twin.lookup_answer(1, 1, [1] * 65_536, names=["住民"] * 65_536)
    (got,) = deliver(client, joined(server.send_answer(2, 0x11, answer(payload))), chunk=16_384)
    assert isinstance(got, m.LookupAnswer)
    assert got.names is not None
    assert got.names.to_list() == ["住民"] * 65_536
