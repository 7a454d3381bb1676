"""Unresolved records of the synthetic nation: what agencies hold about people whose code they do not have.

The error model is that of docs/matching.md, section 7. Everything follows from the seed.
"""

from __future__ import annotations

import datetime
import random
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import msgspec

from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import State

SHARES: Final = {
    "clean": 30, "voicing": 7, "kana_slip": 7, "variant_kanji": 7, "swapped_parts": 3, "missing_part": 2,
    "maiden_name": 6, "date_digit": 6, "date_transposed": 3, "date_era": 3, "date_part_unknown": 4, "sex_wrong": 2,
    "sex_missing": 3, "address_old": 3, "address_partial": 3, "address_absent": 2, "two_errors": 9,
}  # fmt: skip
"""Kinds of record and their shares in percent; absent persons come on top."""
ABSENT: Final = "absent"
SINGLE_KINDS: Final = tuple(
    kind for kind in SHARES if kind not in ("clean", "two_errors", "maiden_name", "address_old")
)
"""Kinds that `two_errors` draws from: those that need nothing of the register's past."""
ERAS: Final = ((1868, 45), (1912, 15), (1926, 64), (1989, 31), (2019, 99))
"""First year and number of years of each era."""
SEPARATOR: Final = "\u3000"
VOICED: Final = str.maketrans(
    "カキクケコサシスセソタチツテトハヒフヘホガギグゲゴザジズゼゾダヂヅデドバビブベボ",
    "ガギグゲゴザジズゼゾダヂヅデドバビブベボカキクケコサシスセソタチツテトハヒフヘホ",
)
SMALL: Final = str.maketrans("ッャュョァィゥェォ", "ツヤユヨアイウエオ")
KANA: Final = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン"
LOOKALIKES: Final = dict(
    ("シツ", "ツシ", "ソン", "ンソ", "クワ", "ワク", "ウワ", "ヌス", "スヌ", "チテ", "コユ", "ユコ", "マア", "アマ")
)
"""Kana that are taken for one another when they are read from paper: half of all replaced kana."""
_FORMS: Final = """
    高髙 髙高 崎﨑 﨑崎 辺邊邉 邊辺邉 邉辺邊 浜濱濵 濱浜 濵浜 斎齋斉 齋斎 斉齊斎 齊斉 沢澤 澤沢 島嶋嶌 嶋島
    広廣 廣広 桜櫻 櫻桜 吉𠮷 𠮷吉 国國 國国 恵惠 惠恵 真眞 眞真 黒黑 瀬瀨 徳德 曽曾 曾曽 塚塚 滝瀧 瀧滝
    関關 条條 蔵藏 栄榮 龍竜 竜龍 実實 学學 円圓 万萬 与與 渕淵 淵渕 鉄鐵 礼禮 静靜 弥彌 彦彥 寿壽 亀龜
    桧檜 檜桧 薗園 冨富 富冨 峰峯 峯峰 奥奧 児兒 鶴靏 辻辻󠄀
"""
VARIANT_FORMS: Final = {forms[0]: forms[1:] for forms in _FORMS.split()}
"""A kanji and the forms that it may be written in instead."""


class Record(msgspec.Struct, kw_only=True):
    """One unresolved record. birth_date: decimal, unknown parts 0. key: the person's; -1: not in the register."""

    key: int
    kind: str
    shape: str
    name: str
    kana: str
    birth_date: int
    sex: int
    address: str

    def __repr__(self) -> str:
        return f"<Record kind={self.kind}>"


class Person(msgspec.Struct, kw_only=True):
    """A resident with the address as one text, and what an earlier record in the register says."""

    key: int
    name: str
    kana: str
    birth_date: int
    sex: int
    address: str
    alias: str = ""
    earlier: tuple[tuple[str, str, str], ...] = ()
    """Name, kana, address of each earlier record."""

    def __repr__(self) -> str:
        return "<Person>"


def person_of(resident: Resident, town: str) -> Person | None:
    """The person of an entry that has one and whose birth date is known at least by its year."""
    if resident.state >= State.RETIRED or not resident.birth_date:
        return None
    return Person(
        key=resident.key, name=resident.name, kana=resident.kana, birth_date=resident.birth_date, sex=resident.sex,
        address=town + resident.address_rest, alias=resident.alias,
    )  # fmt: skip


def real_date(date: int) -> bool:
    """Whether a decimal date exists; unknown day, or month and day, are allowed."""
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    if not 1868 <= year <= 2030:
        return False
    if month == 0:
        return day == 0
    if day == 0:
        return month <= 12
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def misread_voicing(draw: random.Random, record: Record) -> bool:
    places = [i for i, c in enumerate(record.kana) if c.translate(VOICED) != c or c.translate(SMALL) != c or c == "ー"]
    if not places:
        return False
    place = draw.choice(places)
    old = record.kana[place]
    new = "" if old == "ー" else old.translate(SMALL) if old.translate(SMALL) != old else old.translate(VOICED)
    record.kana = record.kana[:place] + new + record.kana[place + 1 :]
    return True


def slip_kana(draw: random.Random, record: Record) -> bool:
    """One slip, in one record of five two."""
    for _ in range(2 if draw.random() < 0.2 else 1):
        text = record.kana
        places = [i for i, c in enumerate(text) if c in KANA]
        if len(places) < 3:
            return False
        place = draw.choice(places)
        way = draw.random()
        if way < 0.55:
            other = LOOKALIKES.get(text[place], "") if draw.random() < 0.5 else ""
            other = other or draw.choice(KANA.replace(text[place], ""))
            record.kana = text[:place] + other + text[place + 1 :]
        elif way < 0.75:
            record.kana = text[:place] + text[place + 1 :]
        elif way < 0.85:
            record.kana = text[: place + 1] + draw.choice(KANA) + text[place + 1 :]
        else:
            pairs = [i for i in places if i + 1 in places and text[i] != text[i + 1]]
            if not pairs:
                return False
            place = draw.choice(pairs)
            record.kana = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return True


def write_variant(draw: random.Random, record: Record) -> bool:
    """The record has the name as written, in another form than the register's."""
    places = [i for i, c in enumerate(record.name) if c in VARIANT_FORMS]
    plain = "".join(c for c in record.name if not 0xE0100 <= ord(c) <= 0xE01EF)
    if plain != record.name:
        record.name = plain
        return True
    if not places:
        return False
    place = draw.choice(places)
    record.name = record.name[:place] + draw.choice(VARIANT_FORMS[record.name[place]]) + record.name[place + 1 :]
    return True


def swap_parts(_: random.Random, record: Record) -> bool:
    for field in ("name", "kana"):
        text: str = getattr(record, field)
        surname, separator, given = text.partition(SEPARATOR)
        if text and not separator:
            return False
        setattr(record, field, given + separator + surname)
    return True


def lose_part(draw: random.Random, record: Record) -> bool:
    part = draw.randrange(2)
    if (record.kana and SEPARATOR not in record.kana) or SEPARATOR not in record.name:
        return False
    record.kana = record.kana.split(SEPARATOR)[part] if record.kana else ""
    record.name = record.name.split(SEPARATOR)[part]
    return True


def era_of(year: int) -> int:
    return max(place for place, (first, _) in enumerate(ERAS) if first <= year)


def mistype_digit(draw: random.Random, record: Record) -> bool:
    """One digit of the western date, or (half of the time) of the era year."""
    for _ in range(40):
        date = record.birth_date
        if draw.random() < 0.5:
            first = ERAS[era_of(date // 10_000)][0]
            number = date // 10_000 - first + 1
            place = draw.choice((1, 10))
            changed = number - number // place % 10 * place + draw.randrange(10) * place
            date += (changed - number) * 10_000
            if not 1 <= changed <= 64:
                continue
        else:
            place = 10 ** draw.randrange(6)
            date += (draw.randrange(10) - date // place % 10) * place
        if date != record.birth_date and real_date(date) and date <= 20261231:
            record.birth_date = date
            return True
    return False


def transpose_date(draw: random.Random, record: Record) -> bool:
    year, month, day = record.birth_date // 10_000, record.birth_date // 100 % 100, record.birth_date % 100
    digits = f"{record.birth_date:08d}"
    wrong = [year * 10_000 + day * 100 + month]
    wrong += [int(digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :]) for i in range(2, 7)]
    wrong = [
        date for date in wrong if date != record.birth_date and real_date(date) and date % 100 and date <= 20261231
    ]
    if not wrong:
        return False
    record.birth_date = draw.choice(wrong)
    return True


def mistake_era(draw: random.Random, record: Record) -> bool:
    year = record.birth_date // 10_000
    own = era_of(year)
    number = year - ERAS[own][0] + 1
    others = [
        record.birth_date + (ERAS[place][0] + number - 1 - year) * 10_000
        for place in range(len(ERAS)) if place != own and number <= ERAS[place][1]
    ]  # fmt: skip
    others = [date for date in others if real_date(date) and date <= 20261231]
    if not others:
        return False
    record.birth_date = draw.choice(others)
    return True


def forget_date(draw: random.Random, record: Record) -> bool:
    record.birth_date -= record.birth_date % (100 if draw.random() < 0.7 else 10_000)
    return True


def mistake_sex(_: random.Random, record: Record) -> bool:
    if record.sex not in (1, 2):
        return False
    record.sex = 3 - record.sex
    return True


def forget_sex(_: random.Random, record: Record) -> bool:
    had, record.sex = record.sex, 0
    return bool(had)


def shorten_address(_: random.Random, record: Record) -> bool:
    places = [i for i, c in enumerate(record.address) if c.isdigit() or (c in "一二三四五六七八九" and i > 8)]
    if not record.address or not places:
        return False
    record.address = record.address[: places[0]]
    return True


def forget_address(_: random.Random, record: Record) -> bool:
    had, record.address = record.address, ""
    return bool(had)


def nothing(_: random.Random, __: Record) -> bool:
    return True


ERRORS: Final[dict[str, Callable[[random.Random, Record], bool]]] = {
    "clean": nothing, "voicing": misread_voicing, "kana_slip": slip_kana, "variant_kanji": write_variant,
    "swapped_parts": swap_parts, "missing_part": lose_part, "date_digit": mistype_digit,
    "date_transposed": transpose_date, "date_era": mistake_era, "date_part_unknown": forget_date,
    "sex_wrong": mistake_sex, "sex_missing": forget_sex, "address_partial": shorten_address,
    "address_absent": forget_address,
}  # fmt: skip
SHAPES: Final = {"all": 70, "pension": 15, "written": 15}
"""Which items a record has, in percent: all; reading, birth date and sex; all but the reading."""
SHAPES_OF: Final = {
    "voicing": ("all", "pension"), "kana_slip": ("all", "pension"), "variant_kanji": ("all", "written"),
    "missing_part": ("all", "written"), "address_old": ("all", "written"), "address_partial": ("all", "written"),
    "address_absent": ("all", "written"),
}  # fmt: skip
"""Shapes in which an error is possible, where it is not so in all."""


def items_of(draw: random.Random, kinds: Collection[str], person: Person, shapes: Mapping[str, int]) -> Record:
    """The record before its errors: items, and the name and address of its kind."""
    possible = [shape for shape in shapes if all(shape in SHAPES_OF.get(kind, SHAPES) for kind in kinds)] or ["all"]
    shape = draw.choices(possible, [shapes.get(shape, 1) for shape in possible])[0]
    name, kana, address = person.name, person.kana, person.address
    if "maiden_name" in kinds:
        name, kana, _ = person.earlier[0]
    elif "address_old" in kinds:
        address = person.earlier[0][2]
    return Record(
        key=person.key, kind="", shape=shape, birth_date=person.birth_date, sex=person.sex,
        kana="" if shape == "written" else kana,
        name="" if shape == "pension" else name,
        address="" if shape == "pension" else address,
    )  # fmt: skip


HALF_WIDTH: Final = {
    unicodedata.normalize("NFKC", chr(c)): chr(c) for c in range(0xFF66, 0xFF9E)
}  # fmt: skip


def half_width(text: str) -> str:
    """Katakana in half-width forms, voicing marks as characters of their own."""
    parts = unicodedata.normalize("NFD", text)
    return "".join({"\u3099": "ﾞ", "\u309a": "ﾟ", SEPARATOR: " "}.get(c) or HALF_WIDTH.get(c, c) for c in parts)


def written(draw: random.Random, record: Record) -> None:
    """The form in which a record stands in a file: half-width, with or without a space between the parts."""
    if draw.random() < 0.5:
        record.kana = record.kana.replace(SEPARATOR, "")
    if draw.random() < 0.5:
        record.name = record.name.replace(SEPARATOR, "")
    if draw.random() < 1 / 3:
        record.kana = half_width(record.kana)


def unresolved(draw: random.Random, kind: str, person: Person, shapes: Mapping[str, int]) -> Record | None:
    """A record of this person with this kind of error; None when the person cannot have it."""
    if kind in ("maiden_name", "address_old") and (
        not person.earlier or (kind == "maiden_name") != (person.earlier[0][1] != person.kana)
    ):
        return None
    kinds = draw.sample(SINGLE_KINDS, 2) if kind == "two_errors" else [kind]
    record = items_of(draw, kinds, person, shapes)
    if not all(ERRORS.get(one, nothing)(draw, record) for one in kinds):
        return None
    record.kind = kind
    written(draw, record)
    return record


def wrong_order(kind: str) -> bool:
    """Whether this kind needs people whom the register knew under another name or address."""
    return kind in ("maiden_name", "address_old")


def records(
    seed: int,
    count: int,
    absent_share: float,
    people: Callable[[random.Random, str], Person],
    strangers: Iterator[Person],
    shapes: Mapping[str, int] = SHAPES,
) -> Iterator[Record]:
    """``count`` records; people(draw, kind) draws a person of the register, strangers are persons who are not in it."""
    draw = random.Random(seed)
    kinds, weights = tuple(SHARES), tuple(SHARES.values())
    for _ in range(count):
        absent = draw.random() < absent_share
        kind = draw.choices(kinds, weights)[0]
        if absent and wrong_order(kind):
            kind = "clean"
        for _ in range(1_000):
            person = next(strangers) if absent else people(draw, kind)
            record = unresolved(draw, kind, person, shapes)
            if record is not None:
                break
        else:
            raise ValueError(f"nobody can have a record of kind {kind}")
        if absent:
            record.key, record.kind = -1, ABSENT
        yield record
