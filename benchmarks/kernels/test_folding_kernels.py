"""Folding kernels over columns of 4,096 rows, and distances of 4,096 pairs."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

from jukinet.core.folding.addresses import AddressNearness, address_nearness
from jukinet.core.folding.column_folding import Folding, fold_texts, read_dates
from jukinet.core.folding.distance import distance_of_kana
from jukinet.core.folding.kana import folded_kana

ROWS = 4_096
NAMES = ("渡邉\u3000髙志", "佐藤\u3000花子", "SMITH JOHN", "長谷川\u3000貴美子", "齋藤 翔", "小野寺\u3000さくら")
READINGS = ("ワタナベ\u3000タカシ", "ｻﾄｳ ﾊﾅｺ", "スミス\u3000ジョン", "はせがわ　きみこ", "ｻｲﾄｳ ｼｮｳ")
ADDRESSES = (
    "東京都千代田区丸の内一丁目２番３号",
    "埼玉県浦和市常盤６－１－２",
    "北海道札幌市中央区北一条西２丁目",
    "東京都西多摩郡瑞穂町大字箱根ケ崎2335番地",
    "大阪府大阪市北区中之島1丁目3の20　グリーンハイツ203号室",
)
DATES = ("1965-02-20", "19650220", "昭和40年2月20日", "S40.2.20", "昭和四十年二月二十日", "平成元年(月日不詳)")


def column(texts: tuple[str, ...]) -> tuple[bytes, bytes]:
    chooser = random.Random(7)
    encoded = [text.encode() for text in chooser.choices(texts, k=ROWS)]
    offsets = array("I", [0])
    for text in encoded:
        offsets.append(offsets[-1] + len(text))
    return offsets.tobytes(), b"".join(encoded)


@pytest.mark.parametrize(
    ("folding", "texts"),
    [(Folding.NAME, NAMES), (Folding.KANA, READINGS), (Folding.KANA_EXACT, READINGS), (Folding.ADDRESS, ADDRESSES)],
    ids=["names", "kana", "kana_exact", "addresses"],
)
def test_folding(benchmark: Any, folding: Folding, texts: tuple[str, ...]) -> None:
    assert benchmark(fold_texts, folding, *column(texts)).results == bytes(ROWS)


def test_dates(benchmark: Any) -> None:
    assert benchmark(read_dates, *column(DATES)).results == bytes(ROWS)


def test_distance_of_kana(benchmark: Any) -> None:
    """With the call from Python for each pair."""
    pairs = [(folded_kana("ワタナベタカシ"), folded_kana("ワタナエタシカ"))] * ROWS
    assert benchmark(lambda: [distance_of_kana(one, other, 3) for one, other in pairs]) == [2] * ROWS


def test_nearness_of_addresses(benchmark: Any) -> None:
    """With the folding of both, and the call from Python."""
    assert benchmark(address_nearness, ADDRESSES[1], "さいたま市浦和区常盤6丁目1番2号") is AddressNearness.EQUAL
