"""A small population full of namesakes, neighbours and near dates, and unresolved records of it, for tests."""

from __future__ import annotations

import random

from jukinet.core.matching.estimating import describe
from jukinet.core.matching.folded import Folded, fold
from jukinet.core.matching.parameters import Parameters
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import ChangeReason, State

SURNAMES = [
    ("佐藤", "サトウ"), ("髙橋", "タカハシ"), ("高橋", "タカハシ"), ("渡邉", "ワタナベ"), ("渡辺", "ワタナベ"),
    ("林", "ハヤシ"), ("小林", "コバヤシ"), ("東", "アズマ"), ("東", "ヒガシ"), ("齋藤", "サイトウ"),
    ("斉藤", "サイトウ"), ("小田", "オダ"),
]  # fmt: skip
GIVENS = [
    ("太郎", "タロウ", 1), ("花子", "ハナコ", 2), ("裕子", "ユウコ", 2), ("裕子", "ヒロコ", 2), ("優子", "ユウコ", 2),
    ("翔", "ショウ", 1),
    ("翔太", "ショウタ", 1), ("健", "ケン", 1), ("健", "タケシ", 1), ("由紀", "ユキ", 2),
    ("由貴", "ユキ", 2), ("弘", "ヒロシ", 1),
]  # fmt: skip
TOWNS = 9
AREAS = {1: 0, 3: 2, 5: 4, 9: 4}
"""The area of each town that people live in."""
NUMBERS = ("1-2-3", "1丁目2番3号", "4番地5", "2-3-4 コーポ101", "2-3-4")


def residents(count: int, seed: int = 1) -> list[Resident]:
    draw = random.Random(seed)
    found = []
    for number in range(count):
        surname, given = draw.choice(SURNAMES), draw.choice(GIVENS)
        date = draw.choice((1965, 1940, 1956, 1995, 1971)) * 10_000 + draw.randint(1, 12) * 100 + draw.randint(1, 28)
        if draw.random() < 0.05:
            date -= date % draw.choice((100, 10_000))
        gap = draw.choice(("　", "　", ""))
        town = draw.choice(tuple(AREAS))
        found.append(
            Resident(
                key=number * 1_999_993 % 10_000_000_000, state=State.CURRENT, reason=ChangeReason.MOVE_IN,
                change_date=20200101, registered_day=7_000, update_number=1, sex=given[2], birth_date=date,
                name=surname[0] + gap + given[0], kana=surname[1] + gap + given[1], town=town, area=AREAS[town],
                address_rest=draw.choice(NUMBERS), alias=draw.choice(("", "", "", "通称　太郎")),
            )
        )  # fmt: skip
    return found


def records_of(person: Resident, towns: list[str]) -> list[Folded]:
    """A person's records as the twin compares them: by name, and by alias."""
    address = towns[person.town - 1] + person.address_rest
    names = [person.name, person.alias] if person.alias else [person.name]
    return [fold(name, person.kana, person.birth_date, person.sex, address, person.key) for name in names]


def parameters(people: list[Folded]) -> Parameters:
    return describe(people, "a test", bearers_min=1)


def packed(date: int) -> int:
    return date // 10_000 << 9 | date // 100 % 100 << 5 | date % 100


def slipped(draw: random.Random, text: str) -> str:
    if len(text) < 3:
        return text
    place = draw.randrange(len(text) - 1)
    return draw.choice(
        (
            text[:place] + text[place + 1 :],
            text[:place] + text[place + 1] + text[place] + text[place + 2 :],
            text[:place] + draw.choice("アメンボ") + text[place + 1 :],
        )
    )


def asked_of(draw: random.Random, person: Resident, towns: list[str]) -> tuple[str, str, int, int, str]:
    """A question about a person, with errors now and then: name, reading, decimal date, sex, address."""
    name, kana, date, sex = person.name, person.kana, person.birth_date, person.sex
    address = towns[person.town - 1] + person.address_rest
    way = draw.randrange(14)
    if way == 1:
        kana = kana.replace("ガ", "カ").replace("ダ", "タ").replace("ョ", "ヨ").replace("ウ", "ー", 1)
    elif way == 2:
        kana = slipped(draw, kana)
    elif way == 3:
        kana = slipped(draw, slipped(draw, kana))
    elif way == 4 and "　" in kana:
        kana, name = "　".join(reversed(kana.split("　"))), "　".join(reversed(name.split("　")))
    elif way == 5 and "　" in kana:
        part = draw.randrange(2)
        kana, name = kana.split("　")[part], name.split("　")[part]
    elif way == 6:
        date += draw.choice((1, 10, 100, 10_000, 100_000))
    elif way == 7:
        date -= date % draw.choice((100, 10_000))
    elif way == 8:
        name = name.replace("髙", "高").replace("邉", "邊").replace("齋", "斎")
    elif way == 9:
        sex = draw.choice((0, 3 - sex))
    elif way == 10:
        other = address.replace("1-2-3", "1丁目2番地の3")
        address = draw.choice((towns[person.town - 1], "沖縄県那覇市首里9-9-9", other))
    elif way == 11 and "　" in kana:
        kana = draw.choice(SURNAMES)[1] + "　" + kana.split("　")[1]
    day, month = date % 100, date // 100 % 100
    if date and (month > 12 or day > 28 or (not month and day)):
        date = person.birth_date
    if draw.random() < 0.5:
        name = ""
    elif draw.random() < 0.2:
        kana = ""
    if draw.random() < 0.5:
        address = ""
    if draw.random() < 0.3:
        kana, name = kana.replace("　", ""), name.replace("　", " ")
    return name, kana, date, sex, address
