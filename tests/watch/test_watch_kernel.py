from __future__ import annotations

import random
from array import array
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.codes import code_from_key
from jukinet.core.vocabulary import MALFORMED_CODE, Function, Outcome
from jukinet.core.watch.kernel import SINGLE_CODES_MAX, STATE_BYTES, Notes, Watch, Watched
from jukinet.core.watch.rules import OPERATOR_RULES, Finding, Rule, Thresholds, rules_named

from .watch_twin import Request, WatchTwin

KEY = bytes(range(16))
NOON = 1_790_046_000.0
"""2026-09-22 12:00 in Japan."""
DAY = 86_400.0
DEFAULT = Thresholds()
LOW = Thresholds(
    half_life_seconds=600.0,
    absent_codes_min=4.0,
    check_digit_codes_min=3.0,
    sequential_codes_min=4.0,
    rate_codes_min=60.0,
    rate_factor=2.0,
    first_use_seconds=2 * DAY,
    affairs_min=3,
    affairs_seconds=2 * DAY,
    persons_per_hour_min=20.0,
    persons_factor=1.5,
    learning_seconds=3_600.0,
    repeat_seconds=1_800.0,
)
memory = bytearray(STATE_BYTES)
"""One for all examples: making it anew takes longer than what is tested."""


class Case:
    """A watch begun anew, and the notes of one worker."""

    def __init__(self, thresholds: Thresholds = DEFAULT, now: float = NOON) -> None:
        self.watch = Watch(memory, thresholds)
        self.watch.begin(KEY, now)
        self.notes = Notes(1 << 20, thresholds.sequential_gap)


def note(notes: Notes, requests: Iterable[Request]) -> None:
    for r in requests:
        whose = Watched(r.operator, r.body, r.affair, r.batch)
        notes.note(whose, array("Q", r.codes), bytes(r.outcomes), r.function, r.time)


def worked(case: Case, requests: Iterable[Request]) -> list[Finding]:
    before = case.notes.passed_over
    note(case.notes, requests)
    assert case.notes.passed_over == before
    return case.watch.work(case.notes)


def single(
    code: int, outcome: int = Outcome.CURRENT, *, time: float = NOON, operator: int = 11, affair: int = 31
) -> Request:
    return Request(operator, 21, affair, [code], [outcome], Function.LOOKUP, time)


def rules(findings: list[Finding]) -> list[Rule]:
    return [finding.rule for finding in findings]


codes_asked = st.one_of(
    st.integers(0, 60), st.integers(10**10, 10**10 + 40), st.sampled_from([MALFORMED_CODE, 99_999_999_999])
)
rows = st.lists(st.tuples(codes_asked, st.sampled_from([1, 3, 9, 10, 11])), min_size=1, max_size=24)
asked = st.builds(
    lambda operator, body, affair, rows, function, batch: Request(
        operator, body, affair, [code for code, _ in rows], [outcome for _, outcome in rows], function, 0.0, batch
    ),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([101, 103]),
    st.sampled_from([201, 205, 210, 215]),
    rows,
    st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
    st.booleans(),
)
pauses = st.sampled_from([0.0, 0.25, 60.0, 1_000.0, 3_600.0, 30_000.0, DAY, 3 * DAY, 70 * DAY, -30.0, -7_200.0])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(pauses, asked), max_size=40), st.integers(1, 40))
def test_kernel_and_twin_find_the_same(steps: list[tuple[float, Request]], together: int) -> None:
    case, twin, time = Case(LOW), WatchTwin(KEY, NOON, LOW), NOON
    requests = []
    for pause, request in steps:
        time += pause
        request.time = time
        requests.append(request)
    for start in range(0, len(requests), together):
        part = requests[start : start + together]
        assert worked(case, part) == twin.work(part)


def test_absent_codes() -> None:
    case = Case()
    chooser = random.Random(3)
    guessed = [code_from_key(chooser.randrange(10**10)) for _ in range(60)]
    assert worked(case, [single(code, Outcome.UNKNOWN) for code in guessed[:49]]) == []
    found = worked(case, [single(guessed[49], Outcome.UNKNOWN)])
    assert rules(found) == [Rule.ABSENT]
    assert (found[0].operator, found[0].body, found[0].affair, found[0].code) == (11, 21, 31, None)
    assert found[0].value == found[0].limit == 50
    assert worked(case, [single(code, Outcome.UNKNOWN) for code in guessed[50:]]) == [], "once a day"
    assert case.watch.suppressed == 10
    later = [single(code, Outcome.UNKNOWN, time=NOON + DAY) for code in guessed]
    assert rules(worked(case, later)) == [Rule.ABSENT]


def test_absent_codes_among_many_present_ones_are_no_guessing() -> None:
    codes = array("Q", range(10**10, 10**10 + 100_000, 1_000))
    request = Request(11, 21, 31, list(codes), [9] * 25 + [1] * 75, Function.STATUS, NOON)
    assert worked(Case(), [request] * 40) == []


def test_half_of_it_counts_after_the_half_life() -> None:
    case = Case()
    first = [single(1_000 * n, Outcome.UNKNOWN) for n in range(49)]
    assert worked(case, first) == []
    later = [single(10**9 + 1_000 * n, Outcome.UNKNOWN, time=NOON + 3_600) for n in range(25)]
    assert worked(case, later) == []
    one = [single(5, Outcome.UNKNOWN, time=NOON + 3_600)]
    assert rules(worked(case, one)) == [Rule.ABSENT]


@pytest.mark.parametrize("outcome", [Outcome.BAD_CHECK_DIGIT, Outcome.MALFORMED])
def test_check_digits(outcome: Outcome) -> None:
    requests = [single(10**9 + 1_000 * n, outcome) for n in range(20)]
    assert rules(worked(Case(), requests)) == [Rule.CHECK_DIGITS]


@pytest.mark.parametrize("step", [1, -1])
def test_sequential_codes_one_at_a_time_and_in_bulk(step: int) -> None:
    codes = [code_from_key(5_000_000_000 + step * n) for n in range(60)]
    case = Case()
    assert rules(worked(case, [single(code) for code in codes])) == [Rule.SEQUENTIAL]
    bulk = Request(13, 21, 31, codes, [1] * 60, Function.STATUS, NOON)
    assert rules(worked(case, [bulk])) == [Rule.SEQUENTIAL]


def test_a_sorted_list_of_the_nation_is_not_sequential() -> None:
    chooser = random.Random(4)
    codes = sorted(code_from_key(chooser.randrange(1_000_000)) for _ in range(12_000))  # as dense as 120 million
    bulk = Request(11, 21, 31, codes, [1] * 12_000, Function.STATUS, NOON)
    assert worked(Case(), [bulk]) == []


def test_rate_is_judged_by_the_hour_of_day_when_that_is_known() -> None:
    limits = Thresholds(night_from=0, night_until=0)
    case = Case(limits, NOON - 20 * DAY)

    def bulk(time: float) -> Request:
        return Request(11, 21, 31, [1_000 * n for n in range(30_000)], [1] * 30_000, Function.STATUS, time)

    usual = [bulk(NOON - day * DAY + n) for day in range(19, 0, -1) for n in range(5)]
    assert worked(case, usual)[:1] == []
    assert worked(case, [bulk(NOON + n) for n in range(5)]) == [], "as every noon, though above the least"
    assert rules(worked(case, [bulk(NOON + n) for n in range(40)])) == [], "ten times as much is still known"
    evening = [bulk(NOON + 6 * 3_600 + n) for n in range(5)]
    assert rules(worked(case, evening)) == [Rule.RATE]


def test_night_and_first_use_after_learning() -> None:
    case = Case()
    midnight = NOON + 12 * 3_600
    assert worked(case, [single(7_000, time=midnight)]) == [], "still learning"
    later = midnight + 8 * DAY
    found = worked(case, [single(9_000, time=later, affair=33), single(99_000, time=later)])
    assert [(one.rule, one.affair) for one in found] == [(Rule.FIRST_USE, 33), (Rule.NIGHT, 33)]
    assert worked(case, [single(9_000, time=later + DAY, affair=33)]) == [], "known at this hour by now"
    hour_after = [single(9_000, time=later + 2 * DAY + 3_600, affair=33)]
    assert rules(worked(case, hour_after)) == [Rule.NIGHT]
    again = [single(9_000, time=later + 100 * DAY + 9 * 3_600, affair=33)]
    assert rules(worked(case, again)) == [Rule.FIRST_USE], "after a hundred days without use"


def test_one_resident_from_many_affairs() -> None:
    case = Case()
    code = code_from_key(77)
    spread = [single(code, time=NOON + day * DAY, affair=64 * day + 1, operator=1 + 2 * day) for day in range(5)]
    found = worked(case, spread)
    assert rules(found) == [Rule.MANY_AFFAIRS]
    assert (found[0].code, found[0].value, found[0].affair) == (code, 5, 257)
    other = [single(code_from_key(78), time=NOON + 4 * DAY, affair=64 + n) for n in range(4)]
    assert worked(case, other) == []


def test_bulk_requests_tell_nothing_about_a_resident() -> None:
    codes = [1_000_003 * n for n in range(SINGLE_CODES_MAX + 1)]
    bulk = [Request(11, 21, affair, codes, [1] * len(codes), Function.LOOKUP, NOON) for affair in range(64, 80)]
    assert worked(Case(), bulk) == []


def test_affairs_long_ago_are_forgotten() -> None:
    case = Case(Thresholds(learning_seconds=1e12))
    code = code_from_key(77)
    slow = [single(code, time=NOON + 20 * day * DAY, affair=64 + day) for day in range(12)]
    assert worked(case, slow) == []


def test_one_at_a_time_by_persons_not_requests() -> None:
    chooser = random.Random(5)
    codes = [code_from_key(chooser.randrange(10**10)) for _ in range(200)]
    case = Case()
    assert worked(case, [single(code) for code in codes[:60] * 20]) == []
    found = worked(case, [single(code) for code in codes])
    assert rules(found) == [Rule.ONE_AT_A_TIME]
    assert 120 < found[0].value < 140
    batch = [Request(13, 21, 31, [code], [1], Function.LOOKUP, NOON, True) for code in codes]
    assert worked(case, batch) == []


def test_an_operator_who_always_asks_much_has_a_higher_limit() -> None:
    chooser = random.Random(6)
    case = Case(Thresholds(repeat_seconds=1.0))
    for hour in range(40):
        codes = [code_from_key(chooser.randrange(10**10)) for _ in range(100)]
        assert worked(case, [single(code, time=NOON + hour * 3_600) for code in codes]) == []
    more = [single(code_from_key(chooser.randrange(10**10)), time=NOON + 41 * 3_600) for _ in range(220)]
    assert worked(case, more) == []


def test_a_full_buffer_loses_entries_and_counts_them() -> None:
    notes = Notes(1_000, 30)
    note(notes, [single(1_000 * n) for n in range(20)])
    assert (notes.noted, notes.passed_over) == (13, 7)
    case = Case()
    assert case.watch.work(notes) == []
    note(notes, [single(5)])
    assert (notes.noted, notes.passed_over) == (14, 7)


def test_findings_are_bounded() -> None:
    limits = Thresholds(absent_codes_min=1.0, repeat_seconds=0.001)
    case = Case(limits)
    guesses = [single(10_000 * n, Outcome.UNKNOWN, operator=2 * n + 1, time=NOON + n) for n in range(300)]
    assert len(worked(case, guesses)) == 256
    assert case.watch.lost == 44


def test_more_operators_than_slots_is_no_fault() -> None:
    case = Case()
    chooser = random.Random(7)
    crowd = [
        Request(
            chooser.getrandbits(64) | 1, chooser.getrandbits(64) | 1, chooser.getrandbits(64) | 1, [n], [1], 1, NOON + n
        )
        for n in range(9_000)
    ]
    assert worked(case, crowd) == []
    guesses = [single(10_000 * n, Outcome.UNKNOWN, time=NOON + 10_000) for n in range(50)]
    assert rules(worked(case, guesses)) == [Rule.ABSENT]


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=64, max_size=4_096), st.lists(st.tuples(pauses, asked), max_size=20))
def test_whatever_the_state_holds_is_no_fault(noise: bytes, steps: list[tuple[float, Request]]) -> None:
    case = Case(LOW)
    repeats = STATE_BYTES // len(noise)
    memory[: len(noise) * repeats] = noise * repeats
    time = NOON
    for pause, request in steps:
        time += pause
        request.time = time
    worked(case, [request for _, request in steps])
    case.watch.next_alarm()


def test_state_is_begun_once_and_names_are_hashed_with_its_key() -> None:
    memory[:] = bytes(STATE_BYTES)
    watch = Watch(memory, Thresholds())
    assert not watch.is_begun
    watch.begin(KEY, NOON)
    assert watch.is_begun
    assert watch.created == NOON
    again = Watch(memory, Thresholds())
    assert again.is_begun
    assert (
        again.key_of("agency", "mofa", "a")
        == watch.key_of("agency", "mofa", "a")
        != watch.key_of("agency", "mofaa", "")
    )
    assert watch.key_of("x") % 2 == 1
    watch.begin(bytes(16), NOON)
    assert watch.key_of("agency") != Watch(bytearray(memory), Thresholds()).key_of("agencies")
    assert [watch.next_alarm(), again.next_alarm(), watch.next_alarm(40)] == [1, 2, 41]


def test_neither_codes_nor_names_stand_in_the_state() -> None:
    case = Case()
    code = code_from_key(4_182_736_455)
    whose = case.watch.key_of("agency", "mofa", "operator-7731")
    worked(case, [single(code, operator=whose)])
    assert b"operator" not in memory
    assert code.to_bytes(8, "little") not in memory


def test_wrong_arguments_are_refused() -> None:
    notes = Notes(4_096, 30)
    with pytest.raises(ValueError, match="one for each code"):
        notes.note(Watched(1, 1, 1), array("Q", [1, 2]), b"\1", 1)
    with pytest.raises(ValueError, match="too short"):
        Watch(bytearray(100), Thresholds())
    with pytest.raises(ValueError, match="one entry"):
        Notes(100, 30)
    with pytest.raises(ValueError, match="16 bytes"):
        Case().watch.begin(b"short", NOON)
    with pytest.raises(ValueError, match="above zero"):
        Watch(memory, Thresholds(half_life_seconds=0.0))


def test_rules_by_name() -> None:
    assert rules_named("absent one_at_a_time") == {Rule.ABSENT, Rule.ONE_AT_A_TIME}
    assert rules_named("") == frozenset()
    assert Rule.RATE not in OPERATOR_RULES
    with pytest.raises(ValueError, match="'guess' is no rule"):
        rules_named("absent guess")
