"""However a feed's bytes are cut or changed, only sound events or RemoteProtocolError come out."""

from __future__ import annotations

import pytest
import wire_twin as twin
from feed_pair import (
    ANSWERS,
    NEW_ID,
    PINGED,
    REQUESTS,
    S,
    T,
    batch,
    changed,
    client_messages,
    frame_of,
    greeted,
    pair_in,
    raw_frames,
    server_messages,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_chunking import outcome
from test_malformed import survives
from wire_pair import PATIENT, deliver

from jukinet.core.errors import ErrorCode, RemoteProtocolError
from jukinet.core.notifications import NotificationBatch
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m
from jukinet.core.wire.intake import DIRECT_BYTES_MIN, STAGING_BYTES

FRAMES = raw_frames()
LARGE = [changed(update_number=i + 1) for i in range(400)]


@PATIENT
@given(st.binary(max_size=300), st.sampled_from([S.GREETING, S.OPEN, S.SERVER_DONE]), st.booleans())
def test_noise(data: bytes, state: S, is_server: bool) -> None:
    survives(pair_in(state)[0 if is_server else 1], data)


@settings(PATIENT, max_examples=300)
@given(st.sampled_from(sorted(FRAMES)), st.data())
def test_mutated_frames(which: tuple[str, T], data: st.DataObject) -> None:
    frame = bytearray(FRAMES[which])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(frame)))
        frame[place : place + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    if data.draw(st.booleans()) and len(frame) >= 16:
        frame[:4] = (len(frame) - 16).to_bytes(4, "little")
    state = S.GREETING if which[1] is T.FEED_GREETING else S.OPEN
    survives(pair_in(state)[0 if which[0] == "client" else 1], bytes(frame))


@pytest.mark.parametrize("which", sorted(FRAMES), ids=lambda which: f"{which[0]}-{which[1].name}")
def test_cut_at_every_byte(which: tuple[str, T]) -> None:
    """Each frame in two pieces, at every place: the same event; and ended at every place: an error inside the frame."""
    side, kind = which
    frame = FRAMES[which]
    state = S.GREETING if kind is T.FEED_GREETING else S.OPEN
    end = 0 if side == "client" else 1
    message = (client_messages() if end == 0 else server_messages())[kind]
    for cut in range(len(frame)):
        pair = pair_in(state)
        if which == ("server", T.PING):
            pair[1].send(m.Pong(0, PINGED))
        assert deliver(pair[end], frame[:cut]) == []
        assert pair[end].is_inside_frame is (cut > 0)
        if cut % 7 == 3:
            pair[end].received_eof()
            with pytest.raises(RemoteProtocolError, match="inside a frame"):
                pair[end].next_event()
        else:
            assert deliver(pair[end], frame[cut:]) == [message]


PIECES = {
    **{f"{side}-{kind.name}": frame for (side, kind), frame in FRAMES.items()},
    "large": frame_of(f.Notify(200, 42, batch(*LARGE))),
    "large range": frame_of(f.LoadRange(201, 42, 0, 10**10, batch(changed(state=1)))),
    "large, sequence 0": frame_of(f.Notify(202, 0, batch(*LARGE))),
    "large, bad head": frame_of(f.Notify(203, 42, batch(*LARGE)))[:28] + bytes([1]) + bytes(30_000),
    "large, not held": frame_of(f.Notify(204, 42, batch(*LARGE)))[:-1] + b"\x01",
    "cut": frame_of(f.Notify(205, 42, batch(*LARGE)))[:20_000],
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


def test_a_large_batch_is_received_into_its_own_buffer_and_read_there() -> None:
    server, _ = greeted()
    frame = frame_of(f.Notify(1, 1, batch(*LARGE)))
    assert len(frame) > DIRECT_BYTES_MIN
    (got,) = deliver(server, frame, chunk=5_000)
    assert isinstance(got, f.Notify)
    assert isinstance(got.batch.codes.obj, bytearray)
    assert len(got.batch.codes.obj) == len(frame) - 16
    assert list(got.batch) == LARGE


def test_a_large_batch_that_is_refused_by_its_head_is_never_kept() -> None:
    server, _ = greeted(f.FeedLimits(notifications_per_batch_max=399))
    frame = frame_of(f.Notify(1, 1, batch(*LARGE)))
    assert deliver(server, frame[:31]) == []
    (event,) = deliver(server, frame[31:40])
    assert isinstance(event, m.Refused)
    assert event.code is ErrorCode.TOO_MANY_CODES
    assert deliver(server, frame[40:], chunk=STAGING_BYTES // 2) == []
    assert not server.is_inside_frame
    assert deliver(server, FRAMES["client", T.NOTIFY]) == [client_messages()[T.NOTIFY]]


@pytest.mark.parametrize("kind", sorted(ANSWERS), ids=lambda kind: kind.name)
def test_an_answer_to_nothing_under_way_is_refused_by_its_header(kind: T) -> None:
    _, client = greeted()
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(client, twin.header(bytes(8), kind, NEW_ID))
    assert caught.value.error is ErrorCode.WRONG_STATE


@pytest.mark.parametrize("kind", sorted(REQUESTS), ids=lambda kind: kind.name)
@pytest.mark.parametrize("request_id", [0, T.COMPARE + 100])
def test_request_ids(kind: T, request_id: int) -> None:
    server, _ = pair_in(S.OPEN)
    frame = FRAMES["client", kind]
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(server, frame[:8] + request_id.to_bytes(4, "little") + frame[12:])
    assert caught.value.error is ErrorCode.MALFORMED_FRAME


def test_errors_name_no_value_that_came_in() -> None:
    leave = FRAMES["client", T.NOTICE_LEAVE]
    for frame in (
        leave.replace(b"\xa3sex", b"\xa3sax"),
        FRAMES["client", T.NOTIFY].replace("髙橋".encode(), b"\xff" * 6),
    ):
        server, _ = greeted()
        with pytest.raises(RemoteProtocolError) as caught:
            deliver(server, frame)
        assert not any(word in str(caught.value) for word in ("髙", "sax", "24727059608"))
        assert caught.value.__cause__ is None


def test_an_empty_range_says_that_nothing_is_held() -> None:
    server, client = greeted()
    message = f.LoadRange(1, 42, 5, 6, NotificationBatch.from_notifications([]))
    assert deliver(server, client.send(message)) == [message]


def test_the_twin_writes_what_the_client_sends() -> None:
    for kind in REQUESTS:
        _, client = greeted()
        message = client_messages()[kind]
        sent = client.send(message)  # type: ignore[arg-type]
        assert b"".join(sent if isinstance(sent, list) else [sent]) == frame_of(message)
