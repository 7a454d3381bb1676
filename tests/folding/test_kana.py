"""Folding of readings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.folding import kana
from jukinet.core.folding.kana import NotKanaError, folded_kana, folded_kana_exact, kana_text

from . import twins

KANA = [chr(point) for point in (*range(0xFF65, 0xFFA0), *range(0x3041, 0x3100))]
READING = st.text(alphabet=st.one_of(st.sampled_from(KANA), st.sampled_from(" 　-ーAz0９Ａ.'ヴヴアィ〜")), max_size=30)
TEXT = st.one_of(READING, READING, st.text(alphabet=st.sampled_from("アカ漢é!"), max_size=6))
PACKED = st.text(
    alphabet=st.sampled_from([chr(point) for point in range(0x30A1, 0x30FD)] + [" ", "\u3000"]), max_size=60
)


@pytest.mark.parametrize(
    "readings",
    [
        ("サトウ　タロウ", "ｻﾄｳ ﾀﾛｳ", "さとうたろう", "サトー タロー", "ｻﾄｰﾀﾛｰ", "サト－　タロ－"),
        ("ワタナベ　リョウコ", "ﾜﾀﾅﾍﾞ ﾘﾖｳｺ", "ワタナヘ　リヨウコ"),
        ("ガッキュウ", "カツキユウ"),
        ("ヴァン", "バン", "ハン", "ｳﾞｱﾝ", "う゛ぁん"),
        ("シマヅ", "シマズ"),
        ("ヂ", "ジ"),
        ("ヰヱヲ", "イエオ"),
        ("みすゞ", "ミスズ", "ミスス"),
        ("メアリー・アン", "メアリ- アン", "メアリーアン"),
        ("ＳＭＩＴＨ　ジョン", "smithシヨン"),
    ],
)
def test_readings_that_are_one_after_folding(readings: tuple[str, ...]) -> None:
    assert len({folded_kana(reading) for reading in readings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("マスダ", "マツダ"), ("オノ", "オオノ"), ("ユウキ", "ユキ"), ("タチバナ", "タジバナ"), ("カ", "ア")],
)
def test_readings_that_stay_apart(one: str, other: str) -> None:
    assert folded_kana(one) != folded_kana(other)


def test_exact_keeps_voicing_and_small_kana() -> None:
    assert folded_kana_exact("ｻﾞｯｷ　ﾘｮｳ") == folded_kana_exact("ざっきりょう") != folded_kana_exact("サツキリヨウ")
    assert kana_text(folded_kana_exact("ｻﾞｯｷ　ﾘｮｳ")) == "ザッキリョウ"
    assert kana_text(folded_kana("ｻﾞｯｷ　ﾘｮｳ")) == "サツキリヨウ"
    assert kana_text(folded_kana("Kim 2")) == "kim2"


def test_parts() -> None:
    parts = kana.folded_kana_parts("サトウ　タロウ　ジョン")
    assert [kana_text(part) for part in parts] == ["サトウ", "タロウシヨン"]
    assert kana.folded_kana_exact_parts("") == (b"", b"")
    assert kana.folded_kana_parts("イワノヴ　アンドレイ") == (folded_kana("イワノバ"), folded_kana("ンドレイ"))


@given(TEXT)
def test_exact_readings_equal_the_twin(text: str) -> None:
    try:
        expected = twins.kana_exact_parts(text)
    except twins.NotKanaError:
        with pytest.raises(NotKanaError):
            kana.folded_kana_exact_parts(text)
    else:
        assert tuple(kana_text(part) for part in kana.folded_kana_exact_parts(text)) == expected
        exact = folded_kana_exact(text)
        assert len(exact) == len("".join(expected))


@given(TEXT)
def test_folded_readings_equal_the_twin(text: str) -> None:
    try:
        expected = twins.fold_kana(text)
    except twins.NotKanaError:
        with pytest.raises(NotKanaError):
            folded_kana(text)
    else:
        assert kana_text(folded_kana(text)) == expected
        assert b"".join(kana.folded_kana_parts(text)) == folded_kana(text)


@given(PACKED)
def test_packed_kana_fold_as_their_text_does(text: str) -> None:
    packed = bytes(1 if c == " " else 2 if c == "\u3000" else 0x20 + ord(c) - 0x30A1 for c in text)
    assert kana.folded_kana_packed(packed) == kana.folded_kana_parts(text)
    assert kana.folded_kana_packed(packed, exact=True) == kana.folded_kana_exact_parts(text)


@given(READING)
def test_folding_twice_is_folding_once(text: str) -> None:
    try:
        once = kana_text(folded_kana(text))
    except NotKanaError:
        return
    assert kana_text(folded_kana(once)) == once


@given(st.lists(st.text(alphabet=st.sampled_from("アカガッャンー"), min_size=1, max_size=6), max_size=4))
def test_spaces_do_not_matter(parts: list[str]) -> None:
    assert folded_kana("　".join(parts)) == folded_kana("".join(parts))


def test_what_is_no_reading_is_refused() -> None:
    for text in ("佐藤", "サトウ!", "\U0001f600", "ア\x01"):
        with pytest.raises(NotKanaError):
            folded_kana(text)
    for packed in (b"\x00", b"\x03", b"\x1f", b"\x7c", b"\xff"):
        with pytest.raises(NotKanaError):
            kana.folded_kana_packed(packed)
    with pytest.raises(ValueError, match="length"):
        folded_kana("ア" * 257)
    assert len(folded_kana("ア" * 256)) == 256
    assert folded_kana(" 　・") == b""
