"""Folding of names and of single characters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.folding import characters
from jukinet.core.folding.names import folded_name, folded_name_parts
from jukinet.core.folding.shrink_map import chosen_forms, jis_level
from jukinet.core.folding.variants import VARIANTS

from . import twins

LETTERS = st.sampled_from(
    "髙﨑邊渡佐々木太郎花子 ・,-.'ABéßゝゞヽヾかがタダヴワウうハパ゛ﾊﾟｶﾞ\u3000\U000e0101\ufe00𠮷〻仝\u3099ー１Ａø玉王"
)
TEXT = st.text(alphabet=st.one_of(LETTERS, LETTERS, st.characters(exclude_categories=["Cs"])), max_size=40)


@pytest.mark.parametrize(
    "names",
    [
        ("渡邉　太郎", "渡邊太郎", "渡辺 太郎", "渡邊\U000e0101太郎"),
        ("髙橋", "高橋"),
        ("濱﨑", "浜崎", "濵嵜"),
        ("斎藤", "齋藤", "齊藤", "斉藤"),
        ("櫻井", "桜井"),
        ("𠮷田", "吉田"),
        ("嶋﨑", "島崎", "嶌崎"),
        ("佐々木", "佐佐木", "佐〻木"),
        ("靏田", "鶴田", "靍田"),
        ("ﾊﾟｸ ｼﾞﾐﾝ", "パク　ジミン"),
        ("ｳﾞｧﾝ", "ヴァン"),
        ("ﾜﾞ", "ヷ"),
        ("みすゞ", "みすず"),
        ("いすヾ", "いすず"),
        ("NGUYEN VAN ANH", "Ｎｇｕｙｅｎ　Ｖａｎ　Ａｎｈ", "Nguyễn Văn Anh", "NGUYEN, VAN ANH"),
        ("SMITH JOHN", "Smith, John", "ＳＭＩＴＨ　ＪＯＨＮ", "smith・john"),
        ("O'BRIEN", "O’Brien", "OBRIEN"),
        ("JEAN-PAUL", "Jean Paul", "ＪＥＡＮ－ＰＡＵＬ"),
        ("DOS SANTOS JOÃO", "DosSantos Joao"),
        ("STRAẞE", "strasse"),
        ("㈱", "(株)"),
    ],
)
def test_names_that_are_one_after_folding(names: tuple[str, ...]) -> None:
    assert len({folded_name(name) for name in names}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("玉田", "王田"), ("さくら", "サクラ"), ("石田", "右田"), ("太田", "大田"), ("書子", "昼子"), ("阿部", "安部")],
)
def test_names_that_stay_apart(one: str, other: str) -> None:
    assert folded_name(one) != folded_name(other)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("渡邉　髙志", ("渡辺", "高志")),
        ("　渡邉　", ("渡辺", "")),
        ("SMITH JOHN PAUL", ("smith", "johnpaul")),
        ("・ー", ("ー", "")),
        ("", ("", "")),
        (" - ", ("", "")),
        ("SMITH - JOHN", ("smith", "john")),
        ("SMITH-JOHN", ("smithjohn", "")),
    ],
)
def test_parts(name: str, parts: tuple[str, str]) -> None:
    assert folded_name_parts(name) == parts


@given(TEXT)
def test_names_equal_the_twin(text: str) -> None:
    assert folded_name_parts(text) == twins.name_parts(text)


@given(TEXT)
def test_folding_twice_is_folding_once(text: str) -> None:
    once = folded_name(text)
    assert folded_name(once) == once


@given(TEXT, TEXT)
def test_spaces_only_part_a_name(one: str, other: str) -> None:
    joined = folded_name_parts(f"{one}\u3000{other}")
    first = folded_name(one)
    if first and not one.rstrip().endswith(" ") and " " not in characters_of(one) and folded_name(other):
        assert joined[0] == first


def characters_of(text: str) -> str:
    """The text with everything between parts as a space."""
    folded = twins.fold_characters(text)
    return "".join(" " if character in twins.BETWEEN else character for character in folded)


def test_every_character_folds_as_the_twin_says() -> None:
    different = [
        hex(point)
        for point in range(0x110000)
        if unicodedata.category(chr(point)) not in ("Cs", "Cn", "Co")
        and folded_name(chr(point)) != twins.fold_name(chr(point))
    ]
    assert different == []


def test_a_character_s_form_is_its_own() -> None:
    assert not set(VARIANTS) & set(VARIANTS.values())
    for variant, form in VARIANTS.items():
        assert characters.fold_character(variant) == form == characters.fold_character(form)
    assert len(VARIANTS) > 12_000


def test_forms_are_chosen_by_level_and_never_in_a_circle() -> None:
    offered = {
        "邉": ["辺", "邊", "邉"],
        "邊": ["辺", "邊"],
        "玉": ["王", "玉"],
        "𠮷": ["吉"],
        "高": ["髙"],
        "髙": ["高"],
    }
    forms = chosen_forms(lambda character: offered.get(character, [character]))
    assert [forms.get(character) for character in "邉邊玉高髙𠮷齋"] == ["辺", "辺", None, None, "高", "吉", "斉"]
    assert [jis_level(character) for character in "高濱髙𠮷"] == [1, 2, 3, 3]


def test_the_table_is_the_one_that_the_map_gives() -> None:
    package = pytest.importorskip("jntajis")
    schemes = package.MJShrinkSchemeCombo(11)
    assert chosen_forms(lambda character: package.mj_shrink_candidates(character, schemes)) == VARIANTS


def test_a_text_too_long_to_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        folded_name("あ" * 1_600)
    with pytest.raises(ValueError, match="length"):
        folded_name("\ufdfa" * 100)
    assert folded_name("") == ""
    assert folded_name("あ" * 1_500) == "あ" * 1_500
