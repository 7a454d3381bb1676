"""What each side of a feed refuses: requests while the stream goes on, messages that may not be sent, wrong answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from feed_pair import (
    LIMITS,
    SUM,
    S,
    T,
    batch,
    changed,
    frame_of,
    greeted,
    greeting,
    leave,
    notice,
    requests,
)
from test_batch import PERSON
from wire_pair import deliver

from jukinet.core import limits as bounds
from jukinet.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from jukinet.core.notifications import Fault
from jukinet.core.wire import FeedClientConnection, FeedServerConnection
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m
from jukinet.core.wire.control import encode
from jukinet.core.wire.frames import frame

PAGE_KEYS = bounds.DIGEST_LEAF_KEYS * bounds.DIGEST_LEAVES_PER_PAGE
STATED = changed(state=1)
Kind = f.CompareKind

BAD_VALUES: list[m.Message] = [
    f.Notify(1, 42, batch()),
    f.Notify(1, 0, batch(PERSON)),
    f.Notify(1, bounds.SEQUENCE_MAX, batch(PERSON, PERSON)),
    f.LoadRange(1, 0, 0, 10**10, batch(STATED)),
    f.LoadRange(1, 42, 5, 5, batch()),
    f.LoadRange(1, 42, 0, 10**10 + 1, batch(STATED)),
    f.LoadRange(1, 42, 0, STATED.code // 10, batch(STATED)),
    f.LoadRange(1, 42, STATED.code // 10 + 1, 10**10, batch(STATED)),
    f.LoadRange(1, 42, 0, 10**10, batch(STATED, STATED)),
    f.LoadRange(1, 42, 0, 10**10, batch(PERSON)),
    f.Compare(1, Kind.AREAS, [(0, 1)]),
    f.Compare(1, Kind.PAGES, [(0, 1)]),
    f.Compare(1, Kind.LEAVES, []),
    f.Compare(1, Kind.LEAVES, [(0, PAGE_KEYS + 1)]),
    f.Compare(1, Kind.LEAVES, [(1, PAGE_KEYS)]),
    f.Compare(1, Kind.RANGES, [(5, 5)]),
    f.Compare(1, Kind.ENTRIES, [(0, 10**10 + 1)]),
    leave(notice_id=0),
    leave(from_area=14101),
    leave(to_area=13101),
    leave(to_area=48_001),
    leave(to_area=47_000),
    leave(code=5),
    leave(name=""),
    leave(name="x" * 256),
    leave(kana="\n"),
    leave(address="x" * 511),
    leave(birth_date=20240402),
    leave(sex=3),
    leave(event_date=20240400),
    f.NoticeTake(1, 0),
    f.NoticeTake(1, 1_001),
    f.NoticeReceived(1, []),
    f.NoticeReceived(1, [0]),
    f.NoticeList(1, -1, 5),
    f.NoticeList(1, 0, 0),
]


@pytest.mark.parametrize("message", BAD_VALUES, ids=lambda message: type(message).__name__)
def test_values_that_are_not_allowed_are_not_sent_and_are_refused(message: m.Message) -> None:
    server, client = greeted()
    with pytest.raises(LocalProtocolError):
        client.send(message)  # type: ignore[arg-type]
    assert client.under_way == {}
    (event,) = deliver(server, frame_of(message))
    assert isinstance(event, m.Refused)
    assert (event.code, event.kind, event.request_id) == (ErrorCode.BAD_REQUEST, message.type, 1)
    client.under_way[1] = message.type
    assert deliver(client, server.send(event.answer())) == [event.answer()]
    assert server.under_way == client.under_way == {}


def test_values_at_their_limits_are_taken() -> None:
    server, client = greeted()
    for message in (
        f.Notify(1, bounds.SEQUENCE_MAX, batch(PERSON)),
        f.LoadRange(2, bounds.SEQUENCE_MAX, STATED.code // 10, STATED.code // 10 + 1, batch(STATED)),
        f.Compare(3, Kind.LEAVES, [(63 * PAGE_KEYS, 10**10), (0, PAGE_KEYS)]),
        f.Compare(4, Kind.RANGES, [(key, key + 1) for key in range(bounds.COMPARE_RANGES_MAX)]),
        leave(5, notice_id=bounds.NOTICE_ID_MAX, name="x" * 255, address="x" * 510, kana=""),
        f.NoticeReceived(6, list(range(1, bounds.NOTICES_MAX + 1))),
        f.NoticeList(7, bounds.NOTICE_ID_MAX, bounds.NOTICES_MAX),
    ):
        assert deliver(server, client.send(message)) == [message]  # type: ignore[arg-type]


def test_batches_above_the_limits() -> None:
    limits = f.FeedLimits(notifications_per_batch_max=2, range_rows_max=1, batch_bytes_max=1_000)
    server, client = greeted(limits)
    rows = [STATED, changed(state=1, code=98765432103)]
    wide = [changed(name="x" * 200, address="y" * 500)] * 2
    for message in (
        f.Notify(1, 42, batch(PERSON, PERSON, PERSON)),
        f.LoadRange(1, 42, 0, 10**10, batch(*rows)),
        f.Notify(1, 42, batch(*wide)),
    ):
        with pytest.raises(LocalProtocolError, match="split"):
            client.send(message)
    batch_of_three = f.Notify(1, 42, batch(PERSON, PERSON, PERSON))
    for request_id, message in enumerate((batch_of_three, f.LoadRange(2, 42, 0, 10**10, batch(*rows))), 1):
        (event,) = deliver(server, frame_of(message))
        assert isinstance(event, m.Refused)
        assert (event.code, event.request_id) == (ErrorCode.TOO_MANY_CODES, request_id)
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(server, frame_of(f.Notify(3, 42, batch(*wide))))
    assert caught.value.error is ErrorCode.FRAME_TOO_LARGE


def test_a_client_keeps_the_smaller_of_both_limits() -> None:
    own = f.FeedLimits(batch_bytes_max=900, requests_in_flight_max=2)
    server, client = greeted(f.FeedLimits(batch_bytes_max=1_000, range_rows_max=7), own)
    assert client.limits == f.FeedLimits(900, 10_000, 7, 2, bounds.IDLE_SECONDS_MAX)
    for request_id in (1, 2):
        deliver(server, client.send(f.Notify(request_id, 41 + request_id, batch(PERSON))))
    with pytest.raises(LocalProtocolError, match="under way"):
        client.send(f.Notify(3, 44, batch(PERSON)))


def test_too_many_requests_are_refused_and_a_flood_is_closed() -> None:
    server, _ = greeted(f.FeedLimits(requests_in_flight_max=2))
    for request_id in (1, 2):
        deliver(server, frame_of(f.Notify(request_id, 41 + request_id, batch(PERSON))))
    for request_id in (3, 4):
        (event,) = deliver(server, frame_of(f.Notify(request_id, 41 + request_id, batch(PERSON))))
        assert isinstance(event, m.Refused)
        assert event.code is ErrorCode.TOO_MANY_REQUESTS
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(server, frame_of(f.Notify(5, 46, batch(PERSON))))
    assert caught.value.error is ErrorCode.TOO_MANY_REQUESTS


def acknowledged(request_id: int, position: int, *quarantined: tuple[int, Fault]) -> f.Acknowledged:
    told = {"digest_count": 1, "digest_sum": SUM, "applied": 1, "kept": 0}
    return f.Acknowledged(request_id, position=position, **told, quarantined=list(quarantined))  # type: ignore[arg-type]


def test_batches_are_answered_in_order_and_other_requests_in_any() -> None:
    server, client = greeted()
    sent = [
        f.Notify(1, 42, batch(PERSON, PERSON)),
        f.Compare(2, Kind.PAGES),
        f.LoadRange(3, 44, 0, 5, batch()),
        f.Notify(4, 45, batch(PERSON)),
        m.Ping(5),
    ]
    for message in sent:
        assert deliver(server, client.send(message)) == [message]
    for early in (acknowledged(3, 44), acknowledged(4, 45), f.OutOfSequence(4, 44)):
        with pytest.raises(LocalProtocolError, match="order"):
            server.send(early)
    for answer in (
        m.Pong(5),
        acknowledged(1, 43, (43, Fault.BAD_SEX)),
        f.Compared.of_rows(2, Kind.PAGES, 9, 43, bytes(24 * 64)),
        m.Error(3, ErrorCode.REGISTER_UNAVAILABLE, "", 100),
        f.OutOfSequence(4, 44),
    ):
        assert deliver(client, server.send(answer)) == [answer]
    assert server.under_way == client.under_way == {}


@pytest.mark.parametrize(
    "early", [acknowledged(4, 46), f.OutOfSequence(4, 41)], ids=["acknowledged", "out of sequence"]
)
def test_a_server_that_answers_batches_out_of_order_is_found_out(early: m.Message) -> None:
    _, client = greeted()
    for request_id in (3, 4):
        client.send(f.Notify(request_id, 39 + request_id, batch(PERSON)))
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(client, frame_of(early))
    assert caught.value.error is ErrorCode.WRONG_STATE


WRONG_ANSWERS: list[tuple[m.Message, m.Message]] = [
    (f.Notify(1, 42, batch(PERSON, PERSON)), acknowledged(1, 42)),
    (f.LoadRange(1, 42, 0, 5, batch()), acknowledged(1, 41)),
    (f.Notify(1, 42, batch(PERSON)), acknowledged(1, 42, (43, Fault.BAD_SEX))),
    (f.Notify(1, 42, batch(PERSON, PERSON)), acknowledged(1, 43, (43, Fault.BAD_SEX), (42, Fault.BAD_SEX))),
    (f.Notify(1, 42, batch(PERSON)), f.OutOfSequence(1, 42)),
    (f.Notify(1, 42, batch(PERSON)), f.OutOfSequence(1, 0)),
    (f.Notify(1, 42, batch(PERSON)), f.NoticeKept(1, 5)),
    (f.Compare(1, Kind.PAGES), f.Compared.of_rows(1, Kind.PAGES, 9, 43, bytes(24 * 63))),
    (f.Compare(1, Kind.PAGES), f.Compared.of_rows(1, Kind.AREAS, 9, 43, bytes(24 * 64))),
    (f.Compare(1, Kind.AREAS), f.Compared.of_rows(1, Kind.AREAS, 9, 43, bytes(24))),
    (f.Compare(1, Kind.AREAS), f.Compared.of_rows(1, Kind.AREAS, 9, 1 << 48, bytes(48))),
    (f.Compare(1, Kind.ENTRIES, [(0, 5)]), f.Compared.of_rows(1, Kind.ENTRIES, 9, 43, bytes(24))),
    (f.Compare(1, Kind.ENTRIES, [(0, 5)]), f.Compared.of_rows(1, Kind.ENTRIES, 9, 43, bytes(24), [0])),
    (f.Compare(1, Kind.ENTRIES, [(0, 5)]), f.Compared.of_rows(1, Kind.ENTRIES, 9, 43, bytes(48), [1, 1])),
    (f.Compare(1, Kind.LEAVES, [(0, PAGE_KEYS)]), f.Compared.of_rows(1, Kind.LEAVES, 9, 43, bytes(24))),
    (leave(1), f.NoticeKept(1, 0)),
    (f.NoticeTake(1, 1), f.NoticeKept(1, 1)),
]


@pytest.mark.parametrize(("question", "answer"), WRONG_ANSWERS, ids=lambda message: type(message).__name__)
def test_answers_that_do_not_fit_are_not_sent_and_are_found_out(question: m.Message, answer: m.Message) -> None:
    server, client = greeted()
    deliver(server, client.send(question))  # type: ignore[arg-type]
    before = dict(server.under_way)
    with pytest.raises(LocalProtocolError):
        server.send(answer)  # type: ignore[arg-type]
    assert server.under_way == before
    with pytest.raises(RemoteProtocolError):
        deliver(client, frame_of(answer))
    assert client.state is S.CLOSED


FOUND_OUT: list[tuple[m.Message, m.Message]] = [
    (f.NoticeTake(1, 1), f.Notices(1, [notice(1), notice(2)], 0)),
    (f.NoticeTake(1, 5), f.Notices(1, [notice(2), notice(1)], 0)),
    (f.NoticeTake(1, 5), f.Notices(1, [notice(1), notice(1)], 0)),
    (f.NoticeTake(1, 5), f.Notices(1, [notice(1, 13101, 47201)], 0)),
    (f.NoticeList(1, 4, 5), f.NoticeStates(1, [notice(4, 13101, 47201)], 0)),
    (f.NoticeReceived(1, [5, 5]), f.NoticeClosed(1, 2)),
]


@pytest.mark.parametrize(("question", "answer"), FOUND_OUT, ids=lambda message: type(message).__name__)
def test_answers_that_do_not_fit_are_found_out(question: m.Message, answer: m.Message) -> None:
    _, client = greeted()
    client.send(question)  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(client, frame_of(answer))
    assert caught.value.error is ErrorCode.MALFORMED_FRAME


def test_a_range_may_have_faults_by_row_and_more_applied_than_rows() -> None:
    server, client = greeted()
    deliver(server, client.send(f.LoadRange(1, 42, 0, 10**10, batch(STATED))))
    answer = f.Acknowledged(
        1, position=42, digest_count=0, digest_sum=SUM, applied=500, kept=0, quarantined=[(0, Fault.ANOTHER_PERSON)]
    )
    other = msgspec.structs.replace(answer, quarantined=[(1, Fault.ANOTHER_PERSON)])
    with pytest.raises(LocalProtocolError, match="not of the batch"):
        server.send(other)
    assert deliver(client, server.send(answer)) == [answer]
    client.send(f.LoadRange(2, 43, 0, 10**10, batch(STATED)))
    with pytest.raises(RemoteProtocolError, match="not of the batch"):
        deliver(client, frame_of(msgspec.structs.replace(other, request_id=2, position=43)))


def test_a_full_batch_of_faults_fits_into_its_answer() -> None:
    server, client = greeted()
    count = bounds.NOTIFICATIONS_PER_BATCH_MAX
    first = bounds.SEQUENCE_MAX - count + 1
    deliver(server, client.send(f.Notify(1, first, batch(*[PERSON] * count))))
    faults = [(first + row, Fault.CODE_EXPIRED) for row in range(count)]
    answer = acknowledged(1, bounds.SEQUENCE_MAX, *faults)
    assert deliver(client, server.send(answer)) == [answer]


def test_the_longest_list_of_notices_fits_into_its_answer() -> None:
    server, client = greeted()
    deliver(server, client.send(f.NoticeTake(1, bounds.NOTICES_MAX)))
    texts = {"name": "x" * 255, "kana": "ア" * 85, "address": "県" * 170}
    row = notice(1)
    told = {name: getattr(row, name) for name in row.__struct_fields__} | texts
    last = bounds.NOTICE_ID_MAX - bounds.NOTICES_MAX
    rows = [f.Notice(**{**told, "number": last + i, "notice_id": last}) for i in range(bounds.NOTICES_MAX)]
    answer = f.Notices(1, rows, bounds.NOTICE_ID_MAX)
    assert deliver(client, server.send(answer)) == [answer]


def test_a_greeting_tells_the_connection_s_own_limits_and_areas_of_its_prefecture() -> None:
    server = FeedServerConnection(LIMITS)
    wrong_areas = f.FeedGreeting(
        **{name: getattr(greeting(LIMITS), name) for name in f.FeedGreeting.__struct_fields__ if name != "areas"},
        areas=[14101],
    )
    for wrong in (greeting(f.FeedLimits()), wrong_areas):
        with pytest.raises(LocalProtocolError):
            server.send(wrong)
    with pytest.raises(RemoteProtocolError):
        deliver(FeedClientConnection(), frame_of_greeting(wrong_areas))


@pytest.mark.parametrize("changes", [{"role": "witness"}, {"prefecture": 0, "areas": []}])
def test_a_witness_has_no_prefecture_and_a_prefecture_has_one(changes: dict[str, Any]) -> None:
    fields = {name: getattr(greeting(LIMITS), name) for name in f.FeedGreeting.__struct_fields__}
    wrong = f.FeedGreeting(**{**fields, **changes})
    with pytest.raises(LocalProtocolError, match="a witness has none"):
        FeedServerConnection(LIMITS).send(wrong)
    with pytest.raises(RemoteProtocolError, match="a witness has none"):
        deliver(FeedClientConnection(), frame(wrong.type, 0, encode(wrong)))


def frame_of_greeting(message: f.FeedGreeting) -> bytes:
    sound = frame_of(greeting(LIMITS))
    areas = b"\xa5areas\x92\xcd" + (13101).to_bytes(2, "big") + b"\xcd" + (13102).to_bytes(2, "big")
    assert areas in sound
    wrong = b"\xa5areas\x91\xcd" + message.areas[0].to_bytes(2, "big")
    data = sound.replace(areas, wrong)
    return (len(data) - 16).to_bytes(4, "little") + data[4:]


def test_pings_of_the_server() -> None:
    server, client = greeted()
    ping = m.Ping(0, b"are you?")
    with pytest.raises(LocalProtocolError, match="PONG"):
        client.send(m.Pong(0, b"are you?"))
    assert deliver(client, server.send(ping)) == [ping]
    assert server.is_pinged
    for wrong in (ping, m.Ping(1, b"12345678"), m.Ping(0, b"123")):
        with pytest.raises(LocalProtocolError):
            server.send(wrong)
    for wrong_pong in (m.Pong(0, b"whatever"), m.Pong(1, b"are you?")):
        with pytest.raises(LocalProtocolError):
            client.send(wrong_pong)
    pong = m.Pong(0, b"are you?")
    assert deliver(server, client.send(pong)) == [pong]
    assert not server.is_pinged
    assert deliver(client, server.send(m.Ping(0))) == [m.Ping(0)]
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(client, frame_of(m.Ping(0)))
    assert caught.value.error is ErrorCode.WRONG_STATE
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(server, frame_of(pong))
    assert caught.value.error is ErrorCode.MALFORMED_FRAME


def test_no_repr_shows_a_resident() -> None:
    for text in (repr(notice(1)), *map(repr, requests(dict.fromkeys(T, 1)).values())):
        assert not any(word in text for word in ("髙", "24727059608", "1965", "13101"))
