from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.index import folding

from . import twins

KANA = [chr(point) for point in range(0xFF65, 0xFFA0)] + [chr(point) for point in range(0x3041, 0x3100)]
ADDRESS = st.lists(
    st.sampled_from(
        [
            "1",
            "２",
            "30",
            "丁目",
            "番地",
            "番",
            "号",
            "の",
            "-",
            "－",
            "ー",
            "一丁目",
            "十二丁目",
            "二十三丁目",
            "大字",
            "字",
            "町",
            "　",
            " ",
        ]
    ),
    max_size=12,
).map(lambda parts: "東" + "".join(parts))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("髙橋　太郎", "高橋太郎"),
        ("濱﨑", "浜崎"),
        ("邊\U000e0101　花子", "辺花子"),
        ("ﾊﾟｸ ｼﾞﾐﾝ", "パク　ジミン"),
        ("ｳﾞｧﾝ", "ヴァン"),
        ("ﾜﾞ", "ヷ"),
        ("NGUYEN VAN ANH", "Ｎｇｕｙｅｎ　Ｖａｎ　Ａｎｈ"),
        ("㈱", "(株)"),
    ],
)
def test_names_that_are_one_after_folding(one: str, other: str) -> None:
    assert folding.folded_name(one) == folding.folded_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("丸の内一丁目２番地の３", "丸の内1-2-3"),
        ("丸の内１丁目２番３号", "丸の内1−2−3"),
        ("大字山田字川原１２３４番地５", "山田川原1234-5"),
        ("西十二丁目3番", "西12-3"),
        ("二十三丁目4", "23-4"),
        ("神田3番5号　グリーンハイツ203", "神田3-5グリーンハイツ２０３"),
    ],
)
def test_addresses_that_are_one_after_folding(one: str, other: str) -> None:
    assert folding.folded_address(one) == folding.folded_address(other)


@pytest.mark.parametrize(("one", "other"), [("丸の内1-2-3", "丸の内12-3"), ("二番町3", "三番町3"), ("山田1", "山田2")])
def test_addresses_that_stay_apart(one: str, other: str) -> None:
    assert folding.folded_address(one) != folding.folded_address(other)


def test_every_character_folds_as_the_twin_says() -> None:
    different = [
        hex(point)
        for point in (*range(0x20000), *range(0x2F800, 0x2FA20), *range(0xE0100, 0xE01F0))
        if unicodedata.category(chr(point)) not in ("Cs", "Cn", "Co")
        and unicodedata.normalize("NFC", folding.folded_name(chr(point))) != twins.fold_name(chr(point))
    ]
    assert different == []


@given(st.text(max_size=60))
def test_names_equal_the_twin(text: str) -> None:
    # The twin composes everything; the kernel composes kana only.
    marks = {"\u3099", "\u309a"}
    folded = folding.folded_name(text)
    if not any((unicodedata.combining(c) and c not in marks) or 0x1100 <= ord(c) <= 0x11FF for c in folded):
        assert unicodedata.normalize("NFC", folded) == twins.fold_name(text)


@given(st.text(alphabet=st.sampled_from(KANA), max_size=30))
def test_voicing_marks_join_as_unicode_says(text: str) -> None:
    assert folding.folded_name(text) == twins.fold_name(text)


@given(ADDRESS)
def test_addresses_equal_the_twin(text: str) -> None:
    assert folding.folded_address(text) == twins.fold_address(text)


@given(st.one_of(st.text(max_size=40), ADDRESS))
def test_folding_twice_is_folding_once(text: str) -> None:
    once = folding.folded_name(text)
    assert folding.folded_name(once) == once


def test_a_text_too_long_to_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        folding.folded_name("あ" * 1_600)
    assert folding.folded_name("") == ""
