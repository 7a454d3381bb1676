"""The native kernel against its plain-Python twins, on results and on errors."""

from __future__ import annotations

import threading
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.audit.kernel import RecordBuffer, check_records, pack_provisions, unpack_provisions
from jukinet.core.audit.layout import encode_record
from jukinet.core.errors import RecordOfUseError
from jukinet.core.vocabulary import MALFORMED_CODE

from .logs import USE, pack_twin, record_twin

codes = st.one_of(
    st.integers(0, 99_999_999_999),
    st.sampled_from([0, 99_999_999_999, 100_000_000_000, (1 << 37) - 2, (1 << 37) - 1, 1 << 37, MALFORMED_CODE]),
    st.integers(0, MALFORMED_CODE),
)
REQUEST = ("time_ns", "function", "items", "register_version", "since", "request_id")
rows = st.lists(st.tuples(codes, st.integers(0, 255)), max_size=40)
VERIFY = 4
TOLD_BY_ROW = (VERIFY, 8, 16)


@given(rows)
def test_packing_equals_the_twin_and_comes_back(rows: list[tuple[int, int]]) -> None:
    asked = array("Q", [code for code, _ in rows])
    outcomes = bytes(outcome for _, outcome in rows)
    packed = pack_provisions(asked, outcomes)
    assert packed == pack_twin(asked, outcomes)
    back, outcomes_back = unpack_provisions(packed)
    assert list(back) == [code if code < 100_000_000_000 else MALFORMED_CODE for code in asked]
    assert outcomes_back == outcomes


def test_packing_takes_unaligned_codes() -> None:
    memory = bytearray(8 * 5 + 3)
    memory[3:] = array("Q", [1, 2, 3, 4, 5]).tobytes()
    assert pack_provisions(memoryview(memory)[3:], bytes(5)) == pack_twin([1, 2, 3, 4, 5], bytes(5))


@pytest.mark.parametrize(("asked", "outcomes"), [(array("Q", [1, 2]), b"\1"), (b"1234567", b""), (b"", b"\1")])
def test_packing_refuses_columns_that_do_not_fit(asked: bytes, outcomes: bytes) -> None:
    with pytest.raises(ValueError, match="one for each code"):
        pack_provisions(asked, outcomes)


@pytest.mark.parametrize(
    "packed",
    [b"12345", (1 << 45).to_bytes(6, "little"), (1 << 47).to_bytes(6, "little"), (10**11).to_bytes(6, "little")],
)
def test_unpacking_refuses_what_packing_never_makes(packed: bytes) -> None:
    with pytest.raises(ValueError, match="provision"):
        unpack_provisions(packed)


@given(
    rows.filter(bool),
    st.fixed_dictionaries(
        {
            "time_ns": st.integers(1, 2**64 - 1),
            "function": st.sampled_from([1, 2, *TOLD_BY_ROW]) | st.integers(0, 2**32 - 1),
            "items": st.integers(0, 2**32 - 1),
            "register_version": st.integers(0, 2**64 - 1),
            "since": st.integers(0, 2**32 - 1),
            "request_id": st.integers(0, 2**32 - 1),
        }
    ),
    st.integers(0, 999),
    st.integers(1, 2**60),
)
def test_a_record_equals_the_twin(
    rows: list[tuple[int, int]], request: dict[str, int], worker: int, sequence: int
) -> None:
    asked, outcomes = array("Q", [code for code, _ in rows]), bytes(outcome for _, outcome in rows)
    matches = bytes(code % 256 for code in asked) if request["function"] in TOLD_BY_ROW else None
    buffer = RecordBuffer(worker, sequence, 1 << 20)
    assert buffer.append(USE.encoded, asked, outcomes, **request, matches=matches) == sequence
    group = buffer.take()
    assert group is not None
    assert bytes(group) == record_twin(sequence, worker, request, asked, outcomes, matches or b"")
    assert check_records(group, worker, sequence) == (1, len(group))
    assert check_records(group, worker + 1, sequence) == (0, 0)
    assert check_records(group, worker, sequence + 1) == (0, 0)


@pytest.mark.parametrize("function", [2, VERIFY])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 1_023, 1_024, 65_536])
def test_a_record_of_any_size_equals_the_twin(count: int, function: int) -> None:
    """With any padding, with and without the GIL, and the largest request."""
    asked, outcomes = array("Q", range(7, 7 + count)), bytes(i % 12 for i in range(count))
    matches = bytes(255 - i % 256 for i in range(count)) if function == VERIFY else None
    request = {
        "time_ns": 5,
        "function": function,
        "items": 0,
        "register_version": 4,
        "since": 20260401,
        "request_id": 1,
    }
    buffer = RecordBuffer(1, 1, 1 << 24)
    buffer.append(USE.encoded, asked, outcomes, **request, matches=matches)
    group = buffer.take()
    assert group is not None
    assert bytes(group) == record_twin(1, 1, request, asked, outcomes, matches or b"")
    assert check_records(group, 1, 1) == (1, len(group))


@pytest.mark.parametrize(
    ("function", "matches"),
    [
        (VERIFY, None),
        (VERIFY, b""),
        (VERIFY, b"1"),
        (VERIFY, b"123"),
        (8, None),
        (16, b"1"),
        (1, b"12"),
        (2, b""),
        (32, b"12"),
    ],
)
def test_matches_that_do_not_fit_are_refused(function: int, matches: bytes | None) -> None:
    buffer = RecordBuffer(1, 1, 1 << 20)
    with pytest.raises(ValueError, match="matches"):
        buffer.append(USE.encoded, array("Q", [1, 2]), b"\1\1", function, 1, 1, matches=matches)
    assert (buffer.bytes, buffer.take()) == (0, None), "nothing of it is kept"
    assert buffer.append(USE.encoded, array("Q", [1]), b"\1", VERIFY, 1, 1, matches=b"\2") == 1


def test_time_is_filled_in() -> None:
    buffer = RecordBuffer(1, 1, 1 << 20)
    buffer.append(USE.encoded, array("Q", [1]), b"\1", 1, 255, 7)
    record = bytes(buffer.take() or b"")
    assert int.from_bytes(record[36:44], "big") > 1_700_000_000_000_000_000


@pytest.mark.parametrize("count", [0, 65_537])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 65,536"):
        RecordBuffer(1, 1, 1 << 24).append(USE.encoded, array("Q", bytes(8 * count)), bytes(count), 1, 1, 1)


def test_a_full_buffer_keeps_nothing_of_the_record_and_goes_on_after_take() -> None:
    buffer = RecordBuffer(1, 1, 4_096)
    large = array("Q", range(50))
    size = len(record_twin(1, 1, dict.fromkeys(REQUEST, 1), large, bytes(50)))
    appended = 4_096 // size
    for _ in range(appended):
        buffer.append(USE.encoded, large, bytes(50), 1, 1, 1)
    with pytest.raises(RecordOfUseError, match="full"):
        buffer.append(USE.encoded, large, bytes(50), 1, 1, 1)
    assert appended >= 5
    assert buffer.bytes <= 4_096
    group = buffer.take()
    assert group is not None
    assert (group.records, group.first_sequence, group.last_sequence) == (appended, 1, appended)
    assert check_records(group, 1, 1) == (appended, len(group))
    assert buffer.take() is None
    assert buffer.append(USE.encoded, array("Q", [1]), b"\1", 1, 1, 1) == appended + 1


def test_memory_of_a_group_is_reused_only_when_no_view_is_held() -> None:
    buffer = RecordBuffer(1, 1, 1 << 20)
    buffer.append(USE.encoded, array("Q", [1]), b"\1", 1, 1, 1)
    group = buffer.take()
    assert group is not None
    view = memoryview(group)
    kept = bytes(view)
    buffer.give_back(group)
    for _ in range(3):
        buffer.append(USE.encoded, array("Q", [2]), b"\2", 1, 1, 1)
        buffer.take()
    assert bytes(view) == kept
    view.release()
    buffer.give_back(group)
    assert (len(group), group.records) == (0, 0)
    with pytest.raises((TypeError, BufferError)):
        memoryview(group)[0] = 1


def test_taking_in_one_thread_while_appending_in_others_loses_nothing() -> None:
    buffer = RecordBuffer(1, 1, 1 << 26)
    tickets: list[int] = []
    large, outcomes = array("Q", range(3_000)), bytes(3_000)

    def work() -> None:
        for i in range(200):
            size = 3_000 if i % 2 else 1
            tickets.append(buffer.append(USE.encoded, large[:size], outcomes[:size], 1, 1, 1))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    expected = 1
    while any(thread.is_alive() for thread in threads) or buffer.bytes:
        group = buffer.take()
        if group is not None:
            assert group.first_sequence == expected
            assert check_records(group, 1, expected) == (group.records, len(group))
            expected += group.records
            buffer.give_back(group)
    assert sorted(tickets) == list(range(1, 601))
    assert expected == 601


@given(st.integers(0, 999), st.integers(1, 2**63), st.integers(3, 0xFFFF), st.binary(max_size=4_096))
def test_an_event_equals_its_plain_twin(worker: int, sequence: int, kind: int, head: bytes) -> None:
    buffer = RecordBuffer(worker, sequence, 1 << 20)
    assert [buffer.append_event(kind, head), buffer.append_event(kind, b"")] == [sequence, sequence + 1]
    group = buffer.take()
    assert group is not None
    twin = encode_record(sequence, worker, kind, head) + encode_record(sequence + 1, worker, kind, b"")
    assert bytes(group) == twin
    assert check_records(twin, worker, sequence) == (2, len(twin))


@pytest.mark.parametrize("kind", [1, 2])
def test_an_event_is_no_provision_and_no_void(kind: int) -> None:
    buffer = RecordBuffer(0, 1, 1 << 20)
    with pytest.raises(ValueError, match="a kind of its own"):
        buffer.append_event(kind, b"")
    with pytest.raises(ValueError, match="at most 4,096"):
        buffer.append_event(4, bytes(4_097))
    assert buffer.take() is None


def test_a_full_buffer_keeps_nothing_of_an_event() -> None:
    buffer = RecordBuffer(0, 1, 1 << 10)
    with pytest.raises(RecordOfUseError):
        buffer.append_event(4, bytes(2_000))
    assert buffer.append_event(4, b"x") == 1
