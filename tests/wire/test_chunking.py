"""However the bytes are cut, the same events come out; and the intake keeps its bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
import wire_twin as twin
from hypothesis import given
from hypothesis import strategies as st
from wire_frames import LIMITS, S, T, pair_in, raw_frames
from wire_pair import PATIENT, SESSION, answer, codes, deliver, greeting, joined, opened

from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import ClientConnection, ServerConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import Connection
from jukinet.core.wire.frames import HEADER_BYTES
from jukinet.core.wire.intake import DIRECT_BYTES_MIN, STAGING_BYTES, FrameIntake

FRAMES = raw_frames(LIMITS)


def outcome(connection: Connection, data: bytes, cuts: list[int]) -> list[object]:
    """Events of the bytes cut at these places, then of the end; an error is the last of them."""
    found: list[object] = []
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    try:
        for start, end in pairwise(places):
            left = memoryview(data)[start:end]
            while left:
                buffer = connection.get_buffer()
                count = min(len(buffer), len(left))
                buffer[:count] = left[:count]
                connection.received(count)
                left = left[count:]
                while (event := connection.next_event()) is not None:
                    found.append(event)
        connection.received_eof()
        while (event := connection.next_event()) is not None:
            found.append(event)
    except RemoteProtocolError as error:
        found.append((error.error, str(error)))
    return [*found, connection.state, dict(connection.under_way)]


def large_lookup(request_id: int, count: int, declared: int | None = None) -> bytes:
    payload = twin.question(SESSION, 1, range(count))
    if declared is not None:
        payload = payload[:8] + declared.to_bytes(4, "little") + payload[12:]
    return twin.frame(payload, T.LOOKUP, request_id)


PIECES = {
    **{f"{side}-{kind.name}": frame for (side, kind), frame in FRAMES.items()},
    "large": large_lookup(200, 3_000),
    "large, no session": twin.frame(twin.question(5, 1, range(3_000)), T.LOOKUP, 201),
    "large, count 0": large_lookup(202, 3_000, 0),
    "large, wrong count": large_lookup(203, 3_000, 2_999),
    "small, no session": twin.frame(twin.question(5, 1, [1]), T.LOOKUP, 204),
    "small, bad items": twin.frame(twin.question(SESSION, 256, [1]), T.LOOKUP, 205),
    "cut": large_lookup(206, 3_000)[:20_000],
    "cut head": large_lookup(207, 3_000)[:20],
    "noise": b"\xff" * 16,
}


@PATIENT
@given(
    st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=5),
    st.lists(st.integers(0, 200_000), max_size=8),
    st.sampled_from([S.OPEN, S.SERVER_DONE, S.CLIENT_DONE]),
    st.booleans(),
)
def test_any_chunking_gives_the_same_events(names: list[str], cuts: list[int], state: S, is_server: bool) -> None:
    data = b"".join(PIECES[name] for name in names)
    end = 0 if is_server else 1
    assert outcome(pair_in(state)[end], data, cuts) == outcome(pair_in(state)[end], data, [])


@pytest.mark.parametrize("end", [0, 1])
def test_byte_at_a_time(end: int) -> None:
    side = ("client", "server")[end]
    kinds = [kind for sender, kind in FRAMES if sender == side and kind not in (T.GOODBYE, T.GREETING, T.ERROR)]
    frames = [FRAMES[side, kind] for kind in kinds]
    if side == "client":
        frames = [frame[:8] + (200 + i).to_bytes(4, "little") + frame[12:] for i, frame in enumerate(frames)]
        kinds.remove(T.CANCEL)  # with such an id it concerns nothing, and is ignored
    else:
        kinds.sort(key=lambda kind: kind is not T.PROGRESS)  # PROGRESS goes before the answer
        frames = [FRAMES[side, kind] for kind in kinds]
    data = b"".join(frames)
    at_once = outcome(pair_in(S.OPEN)[end], data, [])
    assert [event.type for event in at_once if isinstance(event, m.Message)] == kinds
    assert outcome(pair_in(S.OPEN)[end], data, list(range(len(data)))) == at_once


def test_a_large_payload_is_received_into_its_own_buffer_of_exact_size() -> None:
    server, _ = opened()
    frame = large_lookup(9, 65_536)
    first = 20_000
    buffer = server.get_buffer()
    buffer[:first] = frame[:first]
    server.received(first)
    assert server.next_event() is None
    left = memoryview(frame)[first:]
    buffer = server.get_buffer()
    assert len(buffer) == len(left)
    buffer[:] = left
    place = buffer.obj
    server.received(len(left))
    request = server.next_event()
    assert isinstance(request, m.LookupRequest)
    assert request.codes.obj is place
    assert request.codes == codes(range(65_536))


def test_a_refused_large_payload_is_never_kept() -> None:
    server, _ = opened(m.Limits(codes_per_request_max=10))
    frame = large_lookup(9, 65_536)
    assert deliver(server, frame[:31]) == []
    (event,) = deliver(server, frame[31:100])
    assert isinstance(event, m.Refused)
    for start in range(100, len(frame), STAGING_BYTES // 2):
        assert len(server.get_buffer()) <= STAGING_BYTES
        assert deliver(server, frame[start : start + STAGING_BYTES // 2]) == []
    assert not server._intake.is_inside_frame
    assert deliver(server, twin.frame(b"12345678", T.PING, 10)) == [m.Ping(10, b"12345678")]


def test_thousands_of_small_frames_in_one_read_move_no_bytes() -> None:
    """The staged bytes stay where they are until the space behind them runs short."""
    server = ServerConnection(m.Limits(requests_in_flight_max=5_000))
    server.send(greeting(server.limits))
    count = STAGING_BYTES // 24
    data = b"".join(twin.frame(b"12345678", T.PING, i + 1) for i in range(count))
    buffer = server.get_buffer()
    buffer[: len(data)] = data
    server.received(len(data))
    starts = []
    while server.next_event() is not None:
        starts.append(server._intake._start)
    assert starts == [24 * (i + 1) for i in range(count)]


def test_partial_frames_are_moved_only_when_space_runs_short() -> None:
    intake = FrameIntake()
    moved = 0
    frame = twin.frame(b"12345678", T.PING, 1)
    stream = frame * 30_000
    place = 0
    while place < len(stream):
        before = intake._start, intake._end
        buffer = intake.get_buffer()
        moved += intake._end if before[0] > 0 and intake._start == 0 else 0
        count = min(len(buffer), 1_000, len(stream) - place)
        buffer[:count] = stream[place : place + count]
        intake.received(count)
        place += count
        while (header := intake.take_header()) is not None:
            if intake.take(header[0]) is None:
                intake._start -= HEADER_BYTES
                break
    assert moved < len(stream) // 100


def test_frames_that_are_moved_arrive_unchanged() -> None:
    server = ServerConnection(m.Limits(requests_in_flight_max=30_000))
    server.send(greeting(server.limits))
    pings = [m.Ping(i, (i * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little")) for i in range(1, 20_000)]
    data = b"".join(twin.frame(ping.data, T.PING, ping.request_id) for ping in pings)
    assert deliver(server, data, chunk=STAGING_BYTES - 1_001) == pings


def test_untaken_events_stop_the_reading_instead_of_growing() -> None:
    server, _ = opened()
    data = twin.frame(b"12345678", T.PING, 9) * 5_000
    room = STAGING_BYTES
    while room:
        buffer = server.get_buffer()
        count = min(len(buffer), 10_000)
        buffer[:count] = data[:count]
        server.received(count)
        room -= count
    with pytest.raises(LocalProtocolError, match="take the events"):
        server.get_buffer()


def test_received_more_than_the_buffer_is_the_transport_s_error() -> None:
    server, _ = opened()
    for count in (-1, STAGING_BYTES + 1):
        server.get_buffer()
        with pytest.raises(LocalProtocolError, match="more bytes"):
            server.received(count)
    deliver(server, large_lookup(9, 5_000)[:30_000])
    with pytest.raises(LocalProtocolError, match="more bytes"):
        server.received(len(server.get_buffer()) + 1)


def test_end_of_the_stream() -> None:
    for end in (0, 1):
        connection = pair_in(S.OPEN)[end]
        connection.received_eof()
        assert connection.next_event() is None
        assert connection.state is S.CLOSED
        assert len(connection.under_way) == 14
    server, client = pair_in(S.CLIENT_DONE)
    server.received_eof()
    assert server.next_event() is None
    assert server.state is S.CLIENT_DONE  # the answers can still go out
    for cut in (1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 3):
        server, client = opened()
        deliver(server, twin.frame(b"12345678", T.PING, 9)[:cut])
        server.received_eof()
        with pytest.raises(RemoteProtocolError, match="inside a frame"):
            server.next_event()
    assert client.state is S.OPEN


def test_a_large_answer_fills_directly_too() -> None:
    server, client = opened()
    deliver(server, client.send(m.LookupRequest(2, SESSION, 1, codes(range(4_000)))))
    payload = twin.lookup_answer(1, 1, [1] * 4_000, names=["住民票"] * 4_000)
    frame = joined(server.send_answer(2, T.LOOKUP_ANSWER, answer(payload)))
    assert len(frame) > DIRECT_BYTES_MIN
    (got,) = deliver(client, frame, chunk=5_000)
    assert isinstance(got, m.LookupAnswer)
    assert isinstance(got.outcomes.obj, bytearray)
    assert isinstance(client, ClientConnection)
