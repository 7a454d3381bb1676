"""Which column of a file holds what: guessed from the columns' names as people write them, or said with --map."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from jukinet.clients.errors import UsageError

ITEMS: Final = ("name", "kana", "birth_date", "sex", "address")
JOINT: Final = "+"
"""Between columns that together hold one item, as --map name=姓+名."""

_PUNCTUATION: Final = re.compile(r"[\s_\-・.:：()（）「」\[\]【】/／]+")
WHOLE: Final[dict[str, frozenset[str]]] = {
    "name": frozenset(
        (
            "氏名",
            "名前",
            "姓名",
            "漢字氏名",
            "氏名漢字",
            "お名前",
            "本人氏名",
            "対象者氏名",
            "name",
            "fullname",
            "namekanji",
        )
    ),
    "kana": frozenset(
        (
            "カナ",
            "カナ氏名",
            "氏名カナ",
            "フリガナ",
            "氏名フリガナ",
            "カナ名",
            "読ミ",
            "ヨミ",
            "ヨミガナ",
            "読ミ仮名",
            "氏名読ミ",
            "カタカナ氏名",
            "半角カナ",
            "半角カナ氏名",
            "カナ氏名半角",
            "氏名カナ半角",
            "氏名半角カナ",
            "シメイ",
            "カナシメイ",
            "仮名氏名",
            "氏名仮名",
            "kana",
            "namekana",
            "kananame",
            "reading",
            "furigana",
            "yomi",
        )
    ),
    "birth_date": frozenset(
        (
            "生年月日",
            "誕生日",
            "出生年月日",
            "生年月日和暦",
            "生年月日西暦",
            "セイネンガッピ",
            "セイネンガツピ",
            "birthdate",
            "birthday",
            "dateofbirth",
            "dob",
            "born",
        )
    ),
    "sex": frozenset(("性別", "性別コード", "男女", "セイベツ", "sex", "gender")),
    "address": frozenset(
        (
            "住所",
            "現住所",
            "住民票住所",
            "住所漢字",
            "所在地",
            "本人住所",
            "ジュウショ",
            "ジユウシヨ",
            "address",
            "addr",
            "residence",
        )
    ),
}
PARTS: Final[dict[str, tuple[frozenset[str], ...]]] = {
    "name": (
        frozenset(("姓", "氏", "名字", "苗字", "漢字姓", "姓漢字", "surname", "lastname", "familyname")),
        frozenset(("名", "漢字名", "名漢字", "givenname", "firstname")),
    ),
    "kana": (
        frozenset(
            ("セイ", "姓カナ", "カナ姓", "氏カナ", "姓フリガナ", "surnamekana", "lastnamekana", "familynamekana")
        ),
        frozenset(("メイ", "名カナ", "カナメイ", "名フリガナ", "givennamekana", "firstnamekana")),
    ),
    "birth_date": (
        frozenset(("元号", "年号", "生年元号", "元号コード", "年号コード", "era")),
        frozenset(("年", "生年", "誕生年", "生年月日年", "birthyear", "yearofbirth")),
        frozenset(("月", "生月", "誕生月", "生年月日月", "birthmonth", "monthofbirth")),
        frozenset(("日", "生日", "生年月日日", "birthdayofmonth", "dayofbirth")),
    ),
    "address": (
        frozenset(("都道府県", "都道府県名", "prefecture")),
        frozenset(("市区町村", "市区町村名", "city", "municipality")),
        frozenset(("町名", "町域", "町名番地", "住所1", "town", "address1")),
        frozenset(("番地", "地番", "丁目番地", "住所2", "street", "address2")),
        frozenset(("建物名", "方書", "住所3", "building", "address3")),
    ),
}
OWN_NUMBER: Final = frozenset(
    (
        "id",
        "no",
        "number",
        "番号",
        "バンゴウ",
        "整理番号",
        "管理番号",
        "記録番号",
        "基礎年金番号",
        "年金番号",
        "受給者番号",
        "連番",
        "通番",
        "キー",
        "key",
        "recordid",
        "受付番号",
        "被保険者番号",
        "行番号",
        "rowid",
    )
)


class Mapping(Struct, frozen=True):
    """Columns (places from 0) of each item, joined in this order, and those passed on with the answers."""

    items: dict[str, tuple[int, ...]]
    kept: tuple[int, ...]
    guessed: bool = True
    readings: bool = True
    """Whether a name that is all kana may be asked as a reading."""


def plain(name: str) -> str:
    """A column's name without what people add: width, spaces, marks, case; hiragana as katakana."""
    text = _PUNCTUATION.sub("", unicodedata.normalize("NFKC", name)).lower()
    return "".join(chr(ord(c) + 0x60) if "ぁ" <= c <= "ゖ" else c for c in text)


_KNOWN: Final = frozenset().union(*WHOLE.values(), *(names for parts in PARTS.values() for names in parts), OWN_NUMBER)


def looks_like_names(fields: Sequence[str]) -> bool:
    """Whether a first row holds names of columns: some name that is known, and no field that holds a long number."""
    known = sum(plain(field) in _KNOWN for field in fields)
    return bool(known) and not any(re.search(r"\d{4,}", unicodedata.normalize("NFKC", field)) for field in fields)


def guessed(names: Sequence[str]) -> Mapping:
    """What the names say. An item may lack a column; a column of one's own numbers is passed on."""
    folded = [plain(name) for name in names]
    items: dict[str, tuple[int, ...]] = {}
    for item, known in WHOLE.items():
        place = next((i for i, name in enumerate(folded) if name in known), None)
        if place is not None:
            items[item] = (place,)
    for item, parts in PARTS.items():
        if item in items:
            continue
        places = [next((i for i, name in enumerate(folded) if name in part), None) for part in parts]
        found = tuple(place for place in places if place is not None)
        # A year alone, or a month, is as often one of something else.
        if found and (item != "birth_date" or None not in places[1:]):
            items[item] = found
    kept = tuple(i for i, name in enumerate(folded) if name in OWN_NUMBER)
    return Mapping(items, kept[:1])


def mapping_of(names: Sequence[str], said: Sequence[str], kept: Sequence[str] | None) -> Mapping:
    """The guess, with what ``--map item=column`` and ``--keep column`` say in its place; a column by name or number.

    UsageError when a column does not exist, or when less is left than is asked by.
    """
    guess = guessed(names)
    items = dict(guess.items)
    for text in said:
        item, equals, columns = text.partition("=")
        item = item.strip().replace("-", "_")
        if not equals or item not in ITEMS:
            raise UsageError(f"--map {text}: write item=column; items are {', '.join(ITEMS)}")
        if columns.strip():
            items[item] = tuple(place_of(names, column) for column in columns.split(JOINT))
        else:
            items.pop(item, None)
    places = guess.kept if kept is None else tuple(place_of(names, column) for column in kept if column)
    if not (("name" in items or "kana" in items) and ("birth_date" in items or "address" in items)):
        have = ", ".join(items) or "none"
        raise UsageError(
            f"a record needs name or kana, with birth_date or address, and columns are known of: {have}; "
            f"say which columns hold them, such as --map kana=2 --map birth_date=3 (columns: {', '.join(names[:40])})"
        )
    return Mapping(items, places, not said)


def place_of(names: Sequence[str], column: str) -> int:
    """Place from 0 of a column given by name, else by number from 1. UsageError."""
    column = column.strip()
    if column in names:
        return names.index(column)
    same = [i for i, name in enumerate(names) if plain(name) == plain(column)]
    if len(same) == 1:
        return same[0]
    if column.isascii() and column.isdigit() and 1 <= int(column) <= len(names):
        return int(column) - 1
    raise UsageError(f"there is no column {column!r}; there are {', '.join(names[:40])}")
