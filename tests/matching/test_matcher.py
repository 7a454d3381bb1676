"""The native matcher against its twin and against what must never happen: leaks, unbounded work, a broken row."""

from __future__ import annotations

import random
from array import array
from collections import defaultdict
from collections.abc import Iterator

import pytest
from namesakes import asked_of, packed, parameters, records_of, residents

from jukinet.core import limits
from jukinet.core.columns.layout import TextColumn
from jukinet.core.identity import entries, probe
from jukinet.core.law.retention import Cutoffs
from jukinet.core.matching.batch import Matcher
from jukinet.core.matching.columns import LEVELS, Answers, MatchRules, Questions
from jukinet.core.matching.folded import Folded, fold
from jukinet.core.matching.levels import DateLevel
from jukinet.core.matching.matcher import MatchBatch
from jukinet.core.matching.model import Model
from jukinet.core.matching.parameters import shipped
from jukinet.core.matching.weighing import Weighing
from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import Found, Grade, Level

from ..core.stores import TOWNS, build_store
from .matcher_twin import Bearers, PlainMatcher

TEXTS = [town.text for town in TOWNS]
RULES = MatchRules(match_threshold=0.9, candidate_threshold=0.05)
NOTHING = Cutoffs(0, 0, 0)
PEOPLE = 600
"""Few enough that no scan of a date meets more signatures than it keeps, where the twin keeps all."""
Row = tuple[str, str, int, int, str]


@pytest.fixture(scope="module")
def people() -> list[Resident]:
    return residents(PEOPLE)


@pytest.fixture(scope="module")
def reader(people: list[Resident], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegisterReader]:
    directory = tmp_path_factory.mktemp("matching") / "register"
    build_store(directory, people)
    with RegisterReader(directory) as reader:
        yield reader


def bearers_in(reader: RegisterReader) -> Bearers:
    """How many entries the index has of a question's texts: that is what a share of a whole text is of."""

    def count(asked: Folded) -> tuple[int, int]:
        name, kana = entries.folded_texts(asked.name.encode(), asked.kana_exact.encode())
        with reader.pin() as snapshot:
            kanas = probe.length(snapshot, 1, entries.hash_of(kana)) if kana else 0
            return kanas, probe.length(snapshot, 2, entries.hash_of(name)) if name else 0

    return count


@pytest.fixture(scope="module")
def twin(people: list[Resident], reader: RegisterReader) -> PlainMatcher:
    records = [record for person in people for record in records_of(person, TEXTS)]
    return PlainMatcher(records, Weighing(parameters(records), PEOPLE), RULES, bearers_in(reader))


def matcher(reader: RegisterReader, twin: PlainMatcher, rules: MatchRules = RULES) -> Matcher:
    model = Model(twin.weighing.parameters, twin.weighing.residents)
    return Matcher(model, rules, reader.databases, reader.meta.width, NOTHING)


def questions(rows: list[Row]) -> Questions:
    return Questions.from_rows([(name, kana, packed(date), sex, address) for name, kana, date, sex, address in rows])


def matched(reader: RegisterReader, twin: PlainMatcher, rows: list[Row]) -> Answers:
    with reader.pin() as snapshot:
        return matcher(reader, twin).match(snapshot, questions(rows))


def test_every_row_is_answered_as_its_twin_does(
    reader: RegisterReader, twin: PlainMatcher, people: list[Resident]
) -> None:
    draw = random.Random(7)
    rows = [asked_of(draw, draw.choice(people), TEXTS) for _ in range(3_000)]
    answers = matched(reader, twin, rows)
    seen = set()
    for place, row in enumerate(rows):
        expected = twin.match(fold(*row))
        status = answers.statuses[place]
        seen.add((status, answers.grades[place]))
        if status == Found.NONE_NOT_CONNECTED:
            status = Found.NONE
        assert status == expected.status, place
        if status == Found.ONE:
            assert expected.best is not None
            assert answers.keys[place] == expected.best.key, place
            assert answers.margins[place] == pytest.approx(expected.margin, abs=1e-5)
        if status in (Found.ONE, Found.SEVERAL):
            # Of a date known in part the scan keeps the nearest of a crowd, the twin everybody.
            near = 1e-5 if row[2] % 100 else 0.01
            assert answers.probabilities[place] == pytest.approx(expected.probability, abs=near), place
    assert {grade for status, grade in seen if status == Found.ONE} == set(Grade) - {Grade.NONE, Grade.EARLIER_NAME}
    assert {status for status, _ in seen} >= {Found.ONE, Found.SEVERAL}


def test_only_one_match_tells_of_anybody(reader: RegisterReader, twin: PlainMatcher, people: list[Resident]) -> None:
    draw = random.Random(8)
    rows = [asked_of(draw, draw.choice(people), TEXTS) for _ in range(1_000)]
    answers = matched(reader, twin, rows)
    for place in range(len(rows)):
        levels = bytes(answers.levels[LEVELS * place : LEVELS * (place + 1)])
        told = answers.keys[place] or answers.grades[place] or any(levels)
        assert bool(told) == (answers.statuses[place] == Found.ONE)


def test_a_row_with_nothing_usable_says_why_and_the_others_are_answered(
    reader: RegisterReader, twin: PlainMatcher, people: list[Resident]
) -> None:
    person = next(p for p in people if p.birth_date % 100 and "　" in p.kana)
    address = TEXTS[person.town - 1] + person.address_rest
    good: Row = (person.name, person.kana, person.birth_date, person.sex, address)
    rows: list[Row] = [
        good, ("", "", 0, 0, ""), (person.name, "", 0, 1, ""), ("", "", person.birth_date, 1, address),
        ("長" * 10_000, "", person.birth_date, 0, ""), ("", "ア" * 10_000, person.birth_date, 0, ""),
        ("", "漢字", person.birth_date, 0, ""), (person.name, "", 0, 0, "町" * 10_000),
        ("　", " ", person.birth_date, 0, ""), good,
    ]  # fmt: skip
    answers = matched(reader, twin, rows)
    assert [Found(status) for status in answers.statuses[1:9]] == [
        Found.TOO_FEW_ITEMS, Found.TOO_FEW_ITEMS, Found.TOO_FEW_ITEMS, Found.BAD_NAME, Found.BAD_KANA, Found.BAD_KANA,
        Found.BAD_ADDRESS, Found.TOO_FEW_ITEMS,
    ]  # fmt: skip
    assert answers.statuses[0] == answers.statuses[9] == Found.ONE
    assert list(answers.levels[:LEVELS]) == [Level.EXACT] * LEVELS
    assert answers.grades[0] == Grade.EXACT


@pytest.mark.parametrize("separator", ["　", ""])
def test_exchanged_parts_with_a_slip_in_the_date_find_their_person(
    reader: RegisterReader, twin: PlainMatcher, people: list[Resident], separator: str
) -> None:
    exchanged = []
    for person in people:
        surname, _, given = person.name.partition("　")
        if given and 1 <= person.birth_date % 100 <= 8:
            address = TEXTS[person.town - 1] + person.address_rest
            exchanged.append((person.key, (given + separator + surname, "", person.birth_date + 20, 0, address)))
    answers = matched(reader, twin, [row for _, row in exchanged])
    right = sum(
        status == Found.ONE and answer == key
        for status, answer, (key, _) in zip(answers.statuses, answers.keys, exchanged, strict=True)
    )
    assert right > len(exchanged) // 2 > 20


def test_bytes_that_are_no_text_spoil_only_their_row(
    reader: RegisterReader, twin: PlainMatcher, people: list[Resident]
) -> None:
    person = next(p for p in people if p.birth_date % 100)
    name = person.name.encode()
    data = b"\xff\xfe\x80" + name
    names = TextColumn(memoryview(array("I", [0, 3, 3 + len(name)])), memoryview(data))
    nothing = TextColumn.from_texts(["", ""])
    dates = memoryview(array("I", [packed(person.birth_date)] * 2))
    asked = Questions(2, names, nothing, dates, memoryview(bytes(2)), nothing)
    with reader.pin() as snapshot:
        answers = matcher(reader, twin).match(snapshot, asked)
    assert answers.statuses[0] == Found.BAD_NAME
    assert answers.statuses[1] in (Found.ONE, Found.SEVERAL)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegisterReader]:
    """3,000 people of one name, reading and birth date."""
    directory = tmp_path_factory.mktemp("crowd") / "register"
    one = residents(1)[0]
    fields = {name: getattr(one, name) for name in one.__struct_fields__}
    keys = [number * 3_000_017 % 10_000_000_000 for number in range(3_000)]
    area = TOWNS[one.town - 1].area
    build_store(directory, [Resident(**fields | {"key": key, "area": area}) for key in keys])
    with RegisterReader(directory) as reader:
        yield reader


def test_a_crowd_of_namesakes_costs_what_is_stated_and_tells_of_nobody(
    crowd: RegisterReader, twin: PlainMatcher
) -> None:
    one = residents(1)[0]
    address = TEXTS[one.town - 1] + one.address_rest
    rows: list[Row] = [
        (one.name, one.kana, one.birth_date, one.sex, ""), (one.name, one.kana, one.birth_date, one.sex, address),
        ("", one.kana, one.birth_date // 100 * 100, 0, ""), (one.name, "", 0, 0, address),
        (one.name[:2], one.kana[:3], one.birth_date, 0, ""), ("", one.kana + "ン", one.birth_date, 0, ""),
    ]  # fmt: skip
    batch = MatchBatch(Model(twin.weighing.parameters, 3_000), RULES)
    answers = Answers.empty(len(rows))
    batch.begin(questions(rows), answers)
    with crowd.pin() as snapshot:
        batch.run(snapshot, 0, len(rows), lambda _: [])
    _, compared = batch.work
    assert compared <= len(rows) * limits.MATCH_CANDIDATES_MAX
    assert set(answers.statuses) <= {Found.TOO_MANY, Found.SEVERAL, Found.NONE, Found.NONE_NOT_CONNECTED}
    assert list(answers.statuses[:4]) == [Found.TOO_MANY] * 4
    assert not any(answers.keys)


def test_a_batch_is_run_in_pieces_of_one_snapshot(
    reader: RegisterReader, twin: PlainMatcher, people: list[Resident]
) -> None:
    draw = random.Random(9)
    rows = [asked_of(draw, draw.choice(people), TEXTS) for _ in range(500)]
    whole = matched(reader, twin, rows)
    own = matcher(reader, twin)
    with reader.pin() as snapshot:
        answers = own.begin(questions(rows))
        with pytest.raises(ValueError, match="not run"):
            own.finish()
        for start in range(0, 500, 37):
            own.run(snapshot, start, min(start + 37, 500))
        with pytest.raises(ValueError, match="ascending"):
            own.run(snapshot, 0, 10)
        own.finish()
    assert bytes(answers.statuses) == bytes(whole.statuses)
    assert list(answers.keys) == list(whole.keys)
    assert list(answers.probabilities) == list(whole.probabilities)


def test_columns_that_do_not_fit_are_refused(reader: RegisterReader, twin: PlainMatcher) -> None:
    own = MatchBatch(Model(twin.weighing.parameters, 10), RULES)
    asked = questions([("佐藤", "サトウ", 19650101, 1, "")] * 2)
    with pytest.raises(ValueError, match="as many answers"):
        own.begin(asked, Answers.empty(1))
    for offsets in ([0, 6, 3], [0, 6, 600]):
        names = TextColumn(memoryview(array("I", offsets)), asked.names.data)
        broken = Questions(2, names, asked.kanas, asked.birth_dates, asked.sexes, asked.addresses)
        with pytest.raises(ValueError, match="offsets"):
            own.begin(broken, Answers.empty(2))
    short = Questions(2, asked.names, asked.kanas, asked.birth_dates[:1], asked.sexes, asked.addresses)
    with pytest.raises(ValueError, match="shorter"):
        own.begin(short, Answers.empty(2))


def test_estimation_sees_every_candidate(reader: RegisterReader, twin: PlainMatcher, people: list[Resident]) -> None:
    draw = random.Random(10)
    rows = [asked_of(draw, draw.choice(people), TEXTS) for _ in range(300)]
    own = matcher(reader, twin)
    own.begin(questions(rows))
    seen: dict[int, list[tuple[int, int, int, int, int, float]]] = {}
    with reader.pin() as snapshot:
        own.run(snapshot, 0, len(rows), lambda row, found: seen.update({row: found}))
    for row, found in seen.items():
        expected = twin.all_candidates(fold(*rows[row]))
        best = {one.compared.kana for one in expected[:1]}
        assert len(found) >= len(expected[:1])
        assert not expected or best & {levels[0] for levels in found}


NAMESAKES = 3_000
"""More people of one name than are compared for a row, spread over the connected areas of the small register."""
HOMES = [(0, 1), (2, 3), (3, 4), (4, 5)]
"""(area, town) where they live in turn."""


def namesake(number: int, one: Resident, share: int) -> Resident:
    """The person of a number, at a house of their own; every ``share``-th in Naha, the first alone in Izumizaki."""
    area, town = HOMES[3] if number % share == 0 else HOMES[number % 3]
    town = 9 if area == 4 and number else town
    fields = {name: getattr(one, name) for name in one.__struct_fields__}
    date = (1930 + number % 70) * 10_000 + (1 + number % 12) * 100 + 1 + number % 28
    key = number * 3_000_017 % 10_000_000_000
    return Resident(
        **fields | {"key": key, "area": area, "town": town, "birth_date": date, "address_rest": f"{number + 1}番地"}
    )


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RegisterReader, list[Resident]]]:
    """3,000 people of one name and reading: one in thirty in Naha, the others in three cities."""
    directory = tmp_path_factory.mktemp("spread") / "register"
    one = residents(1)[0]
    people = [namesake(number, one, 30) for number in range(NAMESAKES)]
    build_store(directory, people)
    with RegisterReader(directory) as reader:
        yield reader, people


def crowd_rows(people: list[Resident], numbers: range) -> list[Row]:
    """Name, reading and address of these people, and no birth date."""
    found = [people[number] for number in numbers]
    return [(p.name, p.kana, 0, 0, TEXTS[p.town - 1] + p.address_rest) for p in found]


def test_the_address_finds_its_bearer_of_a_common_name_by_counted_work(
    spread: tuple[RegisterReader, list[Resident]],
) -> None:
    reader, people = spread
    rows = crowd_rows(people, range(1)) * 10
    rows += [(name, "", 0, 0, address) for name, _, _, _, address in rows]
    rows += [("", kana, 0, 0, address) for _, kana, _, _, address in rows[:10]]
    batch = MatchBatch(Model(shipped(), NAMESAKES), RULES)
    answers = Answers.empty(len(rows))
    batch.begin(questions(rows), answers)
    with reader.pin() as snapshot:
        batch.run(snapshot, 0, len(rows), lambda _: [])
    lists = 10 * 2 + 10 + 10
    assert batch.placed == lists * NAMESAKES
    assert batch.work[1] <= lists * (256 + 16)
    # One has the address; how far that outweighs all other namesakes together is the model's, not the search's.
    assert set(answers.statuses) <= {Found.ONE, Found.SEVERAL}
    assert list(answers.candidates) == [1] * 30


def test_namesakes_elsewhere_weigh_as_if_all_were_compared(
    spread: tuple[RegisterReader, list[Resident]], twin: PlainMatcher
) -> None:
    reader, people = spread
    rows = [(name, "", 0, 0, "沖縄県那覇市首里9-9") for name, _, _, _, _ in crowd_rows(people, range(1))]
    rows += [(name, "", 0, 0, address) for name, _, _, _, address in crowd_rows(people, range(0, 90, 30))]
    records = [record for person in people for record in records_of(person, TEXTS)]
    plain = PlainMatcher(records, Weighing(twin.weighing.parameters, NAMESAKES), RULES, bearers_in(reader))
    with reader.pin() as snapshot:
        answers = Matcher(
            Model(twin.weighing.parameters, NAMESAKES), RULES, reader.databases, reader.meta.width, NOTHING
        ).match(snapshot, questions(rows))
    for place, row in enumerate(rows):
        expected = plain.match(fold(*row))
        status = answers.statuses[place]
        assert status == expected.status or {status, expected.status} <= {Found.NONE, Found.NONE_NOT_CONNECTED}
        if status in (Found.ONE, Found.SEVERAL):
            assert answers.probabilities[place] == pytest.approx(expected.probability, abs=0.02)


def test_too_many_of_one_municipality_are_too_many(
    spread: tuple[RegisterReader, list[Resident]], twin: PlainMatcher
) -> None:
    reader, people = spread
    rows = crowd_rows(people, range(1, 4))
    batch = MatchBatch(Model(twin.weighing.parameters, NAMESAKES), RULES)
    answers = Answers.empty(len(rows))
    batch.begin(questions(rows), answers)
    with reader.pin() as snapshot:
        batch.run(snapshot, 0, len(rows), lambda _: [])
    assert list(answers.statuses) == [Found.TOO_MANY] * 3
    assert batch.work[1] == 0
    assert not any(answers.keys)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RegisterReader, list[Resident]]]:
    """600 people of one name, of one year and one in two of one date; one in thirty in Naha."""
    directory = tmp_path_factory.mktemp("crowded") / "register"
    people = []
    for number in range(PEOPLE):
        person = namesake(number, residents(1)[0], 30)
        fields = {name: getattr(person, name) for name in person.__struct_fields__}
        date = 19650220 if number % 2 == 0 else 19650001 + (1 + number % 12) * 100 + number % 28
        fields |= {"birth_date": date, "name": "髙橋　太郎", "kana": "タカハシ　タロウ", "sex": 1}
        people.append(Resident(**fields))
    build_store(directory, people)
    with RegisterReader(directory) as reader:
        yield reader, people


def of_naha(people: list[Resident]) -> list[tuple[Resident, str]]:
    """Those of the crowd who live in Naha, and their addresses."""
    return [(person, TEXTS[person.town - 1] + person.address_rest) for person in people[::30]]


def crowd_answers(reader: RegisterReader, rows: list[Row]) -> Answers:
    with reader.pin() as snapshot:
        model = Model(shipped(), 1_000_000)
        return Matcher(model, RULES, reader.databases, reader.meta.width, NOTHING).match(snapshot, questions(rows))


def test_one_part_of_a_name_finds_who_lives_at_the_address_in_a_crowd_of_the_date(
    crowded: tuple[RegisterReader, list[Resident]],
) -> None:
    """More than a scan keeps have the part; those elsewhere do not take the place of whoever lives there."""
    reader, people = crowded
    told = of_naha(people)
    rows = [("太郎", "", person.birth_date, 1, address) for person, address in told]
    answers = crowd_answers(reader, rows)
    assert list(answers.statuses) == [Found.ONE] * len(told)
    assert list(answers.keys) == [person.key for person, _ in told]
    assert {answers.levels[LEVELS * row] for row in range(len(rows))} == {Level.PARTIAL}


def test_a_crowd_of_near_dates_is_looked_at_where_the_address_says(
    crowded: tuple[RegisterReader, list[Resident]],
) -> None:
    reader, people = crowded
    told = of_naha(people)
    rows: list[Row] = [(person.name, person.kana, 19650000, 1, address) for person, address in told]
    rows += [(person.name, person.kana, 19650000, 1, "") for person, _ in told]
    answers = crowd_answers(reader, rows)
    assert list(answers.statuses) == [Found.ONE] * len(told) + [Found.TOO_MANY] * len(told)
    assert list(answers.keys) == [person.key for person, _ in told] + [0] * len(told)


def test_a_whole_name_at_its_address_is_found_though_the_date_is_another(
    reader: RegisterReader, twin: PlainMatcher, people: list[Resident]
) -> None:
    rows: list[Row] = []
    for person in people:
        if person.birth_date // 10_000 == 1956 and person.birth_date % 100:
            address = TEXTS[person.town - 1] + person.address_rest
            rows += [(person.name, person.kana, 19110000, person.sex, address), (person.name, "", 19110000, 0, address)]
    answers = matched(reader, twin, rows)
    different = [row for row in range(len(rows)) if answers.levels[LEVELS * row + 2] == Level.DIFFERENT]
    assert different
    assert {answers.grades[row] for row in different} <= {Grade.NEAR_DATE, Grade.NEAR_NAME}
    held = {person.key: person for person in people}
    for row in different:
        person = held[answers.keys[row]]
        assert fold(person.name, "", 0, 0, "").name == fold(rows[row][0], "", 0, 0, "").name
        assert rows[row][4].startswith(TEXTS[person.town - 1])


def test_only_the_municipality_of_the_address_leads_to_other_dates(
    reader: RegisterReader, twin: PlainMatcher, people: list[Resident]
) -> None:
    """Somebody with a far date is a candidate by the municipality where a bearer of the name lives, by no other."""
    homes: defaultdict[str, set[int]] = defaultdict(set)
    for person in people:
        homes[fold(person.name, "", 0, 0, "").name].add(person.area)
    far = [person for person in people if person.birth_date // 10_000 == 1956 and person.birth_date % 100]
    rows: list[Row] = []
    own = []
    for person in far:
        lived = homes[fold(person.name, "", 0, 0, "").name]
        for area, town in HOMES:
            rows.append((person.name, "", 19110203, 0, f"{TEXTS[town - 1]}8-8"))
            own.append(area in lived)
    assert {True, False} == set(own)
    with_far_dates = set()

    def observe(row: int, found: list[tuple[int, ...]]) -> None:
        if any(levels[2] == DateLevel.DIFFERENT for levels in found):
            with_far_dates.add(row)

    batch = MatchBatch(Model(twin.weighing.parameters, twin.weighing.residents), RULES)
    batch.begin(questions(rows), Answers.empty(len(rows)))
    with reader.pin() as snapshot:
        batch.run(snapshot, 0, len(rows), lambda _: [], observe)
    assert with_far_dates == {row for row in range(len(rows)) if own[row]}
