"""A maiden name, an old address: found by what the register knows from earlier, as long as it may be used."""

from __future__ import annotations

import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from namesakes import packed, residents

from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.law.retention import Rule, cutoffs
from jukinet.core.matching.batch import Matcher
from jukinet.core.matching.columns import LEVELS, Answers, MatchRules, Questions
from jukinet.core.matching.levels import NameLevel
from jukinet.core.matching.model import Model
from jukinet.core.matching.parameters import shipped
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.store.check import check_register
from jukinet.core.vocabulary import ChangeReason, Found, Grade, Level

from ..core.stores import AREAS, TOWNS, build_store

DAY = datetime.date(2026, 11, 24)
TEXTS = [town.text for town in TOWNS]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    people = residents(300, seed=5)
    directory = tmp_path / "register"
    build_store(directory, people)
    person = next(p for p in people if p.birth_date % 100 and "　" in p.kana and "　" in p.name)
    married = Notification(
        reason=int(ChangeReason.EX_OFFICIO_CORRECTION), code=code_from_key(person.key), area=AREAS[person.area].jis,
        event_date=20261101, update_number=person.update_number + 1, birth_date=person.birth_date, sex=person.sex,
        name="鵺野　" + person.name.split("　")[1], kana="ヌエノ　" + person.kana.split("　")[1],
        address="東京都千代田区神田神保町9-9",
    )  # fmt: skip
    with FeedRegister(directory, today=lambda: DAY) as register, register.transaction() as transaction:
        prefecture = AREAS[person.area].jis // 1000
        applied = transaction.apply(prefecture, 1, NotificationBatch.from_notifications([married]))
        assert applied.applied == 1
        transaction.commit()
    (tmp_path / "key").write_text(str(person.key))
    return directory


def ask(directory: Path, day: datetime.date, *, earlier: bool) -> tuple[Answers, int]:
    person = next(p for p in residents(300, seed=5) if p.birth_date % 100 and "　" in p.kana and "　" in p.name)
    name, kana = person.name, person.kana
    address = TEXTS[person.town - 1] + person.address_rest
    if not earlier:
        name, kana = "鵺野" + name.split("　")[1], "ヌエノ" + kana.split("　")[1]
        address = "千代田区神田神保町9-9"
    with FeedRegister(directory, today=lambda: day) as register, register.reader() as reader, reader.pin() as snapshot:
        model = Model(shipped(), reader.meta.residents)
        rules = MatchRules(match_threshold=0.9)
        matcher = Matcher(model, rules, reader.databases, reader.meta.width, cutoffs(Rule.FIVE_YEARS, day))
        rows = [(name, kana, packed(person.birth_date), person.sex, address)]
        return matcher.match(snapshot, Questions.from_rows(rows)), person.key


def test_the_name_before_marriage_finds_its_person(directory: Path) -> None:
    answers, key = ask(directory, DAY, earlier=True)
    assert (answers.statuses[0], answers.keys[0]) == (Found.ONE, key)
    assert answers.grades[0] == Grade.EARLIER_NAME
    levels = list(answers.levels[:LEVELS])
    assert levels == [Level.EARLIER, Level.EARLIER, Level.EXACT, Level.EXACT, Level.EARLIER]


def test_the_name_now_finds_the_same_person(directory: Path) -> None:
    answers, key = ask(directory, DAY, earlier=False)
    assert (answers.statuses[0], answers.keys[0]) == (Found.ONE, key)
    assert answers.grades[0] in (Grade.EXACT, Grade.FOLDED)


def test_a_name_past_its_retention_finds_nobody(directory: Path) -> None:
    answers, _ = ask(directory, datetime.date(2032, 1, 1), earlier=True)
    assert answers.statuses[0] != Found.ONE
    assert answers.keys[0] == 0


def test_an_earlier_name_past_its_retention_leads_to_no_neighbour(directory: Path) -> None:
    """Under another date, in the municipality that the person lives in: the index still knows the name, nobody may."""
    person = next(p for p in residents(300, seed=5) if p.birth_date % 100 and "　" in p.kana and "　" in p.name)
    day = datetime.date(2032, 1, 1)
    seen: list[list[tuple[int, ...]]] = []
    with FeedRegister(directory, today=lambda: day) as register, register.reader() as reader, reader.pin() as snapshot:
        matcher = Matcher(
            Model(shipped(), reader.meta.residents), MatchRules(), reader.databases, reader.meta.width,
            cutoffs(Rule.FIVE_YEARS, day),
        )  # fmt: skip
        rows = [
            (name, "", packed(19110203), 0, f"{AREAS[person.area].name}9-9")
            for name in (person.name, "鵺野" + person.name.split("　")[1])
        ]
        matcher.begin(Questions.from_rows(rows))
        matcher.run(snapshot, 0, len(rows), lambda _, found: seen.append(found))
    married = [any(levels[1] == NameLevel.EQUAL for levels in found) for found in seen]
    others = [sum(levels[1] not in (NameLevel.EQUAL, NameLevel.FOLDED) for levels in found) for found in seen]
    assert married[1]
    assert others == [0, 0]


def new_code(directory: Path, day: datetime.date, *, twice: bool = False) -> int:
    """Change the code of the person who married, after the marriage; the key that they have then."""
    person = next(p for p in residents(300, seed=5) if p.birth_date % 100 and "　" in p.kana and "　" in p.name)
    keys = [person.key, 7_654_321_098, 7_654_321_099][: 3 if twice else 2]
    changes = [
        Notification(
            reason=int(ChangeReason.CODE_CHANGE_REQUESTED), code=code_from_key(after),
            code_before=code_from_key(before), area=AREAS[person.area].jis, event_date=20261110 + place,
            update_number=person.update_number + 2 + place, birth_date=person.birth_date, sex=person.sex,
            name="鵺野　" + person.name.split("　")[1], kana="ヌエノ　" + person.kana.split("　")[1],
            address="東京都千代田区神田神保町9-9",
        )
        for place, (before, after) in enumerate(pairwise(keys))
    ]  # fmt: skip
    with FeedRegister(directory, today=lambda: day) as register, register.transaction() as transaction:
        prefecture = AREAS[person.area].jis // 1000
        applied = transaction.apply(prefecture, 2, NotificationBatch.from_notifications(changes))
        assert applied.applied == len(changes)
        transaction.commit()
    return keys[-1]


@pytest.mark.parametrize("twice", [False, True])
def test_the_name_before_marriage_finds_its_person_under_the_new_code(directory: Path, twice: bool) -> None:
    key = new_code(directory, DAY, twice=twice)
    answers, _ = ask(directory, DAY, earlier=True)
    assert (answers.statuses[0], answers.keys[0], answers.grades[0]) == (Found.ONE, key, Grade.EARLIER_NAME)
    answers, _ = ask(directory, DAY, earlier=False)
    assert (answers.statuses[0], answers.keys[0]) == (Found.ONE, key)
    assert answers.grades[0] in (Grade.EXACT, Grade.FOLDED)
    assert check_register(directory).faults == []


def test_the_old_code_says_nothing_when_its_records_are_past_retention(directory: Path) -> None:
    new_code(directory, DAY)
    answers, _ = ask(directory, datetime.date(2032, 1, 1), earlier=True)
    assert answers.statuses[0] != Found.ONE
    assert answers.keys[0] == 0
