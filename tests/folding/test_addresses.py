"""Folding of addresses and their comparison."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.folding import addresses
from jukinet.core.folding.addresses import AddressNearness, address_nearness, folded_address, split_address

from . import twins

WORDS = """
    1 ２ 30 04 丁目 丁 番地 番 号 の - － ー 一丁目 十二丁目 二十三 大字 字 町 村 郡 、 線 軒 館 之 ノ 階 A 三 百 千 条
    号室 第 地割 東京都 千代田区 埼玉県 浦和市 さいたま市 浦和区 瑞穂町 池田町 西多摩郡 霞が関 霞ヶ関 北一条西 北1条
    四ツ谷 二番町 府中市 中央区 大阪市 神奈川県 横浜市 浜松市 中区 麹町区 グリーンハイツ
"""
PIECES = st.sampled_from((*WORDS.split(), " ", "\u3000"))
ADDRESS = st.lists(PIECES, max_size=10).map("".join)
TEXT = st.one_of(ADDRESS, ADDRESS, st.text(max_size=30))


@pytest.mark.parametrize(
    "written",
    [
        (
            "東京都千代田区丸の内一丁目２番地の３",
            "千代田区丸の内1-2-3",
            "東京都　千代田区　丸ノ内１丁目２番３号",
            "千代田区丸之内1−2−3",
        ),
        ("東京都千代田区霞が関三丁目1番", "東京都千代田区霞ヶ関3-1", "千代田区霞ケ関３ー１"),
        ("大字山田字川原１２３４番地５", "山田川原1234-5", "山田川原1234の5", "大字山田　川原千二百三十四番地の五"),
        ("札幌市中央区北一条西十二丁目3番", "北海道札幌市中央区北1条西12-3"),
        ("神田3番5号　グリーンハイツ203号室", "神田3-5グリーンハイツ２０３", "神田３－５（グリーンハイツ２０３号）"),
        ("埼玉県浦和市常盤6-1-2", "さいたま市浦和区常盤六丁目1番2号", "埼玉県さいたま市浦和区常盤6丁目1番2号"),
        ("東京都西多摩郡瑞穂町大字箱根ケ崎2335番地", "瑞穂町箱根ヶ崎2335", "東京都瑞穂町箱根が崎2335"),
        ("静岡県浜松市中区元城町103番地の2", "浜松市中央区元城町103-2"),
        ("東京都麹町区永田町1-7-1", "千代田区永田町1丁目7番1号"),
        ("長野県松本市丸の内三番七号", "松本市丸の内3-7"),
    ],
)
def test_addresses_that_are_equal(written: tuple[str, ...]) -> None:
    for other in written[1:]:
        assert address_nearness(written[0], other) is AddressNearness.EQUAL


@pytest.mark.parametrize(
    ("one", "other", "nearness"),
    [
        ("千代田区丸の内1-2-3", "千代田区丸の内1-2-3グリーンハイツ203", AddressNearness.BUT_BUILDING),
        ("千代田区丸の内1-2-3", "千代田区丸の内1-2-3-203", AddressNearness.COMPATIBLE),
        ("丸の内1-2-3", "千代田区丸の内1-2-3", AddressNearness.COMPATIBLE),
        ("横浜市美しが丘5-1-2", "神奈川県横浜市青葉区美しが丘5-1-2", AddressNearness.COMPATIBLE),
        ("千代田区丸の内1-2-3", "千代田区丸の内12-3", AddressNearness.SAME_TOWN),
        ("千代田区丸の内", "千代田区丸の内12-3", AddressNearness.SAME_TOWN),
        ("千代田区二番町3", "千代田区三番町3", AddressNearness.SAME_AREA),
        ("室蘭市八丁平3-1", "室蘭市8丁目3-1", AddressNearness.SAME_AREA),
        ("東京都北区赤羽1-1", "東京都北区田端1-1", AddressNearness.SAME_AREA),
        ("東京都府中市宮西町2-24", "広島県府中市府川町315", AddressNearness.DIFFERENT),
        ("大阪市北区中之島1-1", "大阪市中央区中之島1-1", AddressNearness.SAME_AREA),
        ("山田1", "山田2", AddressNearness.SAME_TOWN),
        ("山田1", "川田1", AddressNearness.DIFFERENT),
        ("", "山田1", AddressNearness.UNKNOWN),
        ("福島県北会津郡北会津村大字中荒井11", "福島県会津若松市北会津町中荒井11番地", AddressNearness.EQUAL),
    ],
)
def test_nearness_by_example(one: str, other: str, nearness: AddressNearness) -> None:
    assert address_nearness(one, other) is nearness
    assert address_nearness(other, one) is nearness


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("東京都千代田区丸の内", (13, "千代田区", 0, False)),
        ("府中市宮西町", (0, "府中市", 0, False)),
        ("池田町1-2-3", (0, "", 0, False)),
        ("池田町会染1-2-3", (0, "池田町", 0, False)),
        ("埼玉県北足立郡吉川町1", (11, "吉川市", 0, True)),
        ("京都府京都市中京区寺町通御池上る", (26, "京都市", 4, False)),
        ("東京都三宅島三宅村坪田", (13, "三宅村", 0, True)),
        ("石狩郡当別町1-2", (1, "当別町", 0, False)),
        ("北村山郡大石田町今宿1", (6, "大石田町", 0, False)),
        ("中町本通り1-2", (0, "", 0, False)),
        ("蒲郡市旭町17", (23, "蒲郡市", 0, False)),
        ("東京都架空市本町", (13, "", 0, False)),
    ],
)
def test_areas(text: str, area: tuple[int, str, int, bool]) -> None:
    assert split_address(text)[:4] == area


@given(TEXT)
@settings(max_examples=400, deadline=None)
def test_addresses_equal_the_twin(text: str) -> None:
    assert tuple(split_address(text)) == tuple(twins.split_address(text))


@given(TEXT, TEXT, st.booleans())
@settings(deadline=None)
def test_nearness_equals_the_twin(one: str, other: str, alike: bool) -> None:
    if alike:
        other = one.replace("1", "２").replace("千代田区", "")
    expected = twins.address_nearness(twins.split_address(one), twins.split_address(other))
    assert address_nearness(one, other) == address_nearness(other, one) == expected


@given(ADDRESS)
def test_a_town_has_one_key(text: str) -> None:
    parts = split_address(text)
    key = addresses.key_of_town(text)
    assert bool(key) == bool(parts.municipality and parts.town)
    if key and not parts.numbers and not parts.building:
        assert addresses.key_of_town(f"{text}9番8号") in (key, addresses.key_of_town(f"{text}9"))


def test_every_municipality_is_found() -> None:
    for text, (prefecture, municipality, ward, former, rural) in twins.areas().items():
        if rural or not municipality:
            continue
        assert split_address(f"{text}本町1")[:4] == (prefecture, municipality, ward, former), text


def test_areas_are_added_from_lines() -> None:
    with pytest.raises(ValueError, match="line 1"):
        addresses.add_former_areas(["千代田区: 神田"])
    with pytest.raises(ValueError, match="line 2"):
        addresses.add_former_areas(["13 東京都", "架空市: 神田村"])
    with pytest.raises(ValueError, match="line 1"):
        addresses.add_former_areas(["99 東京都"])
    assert addresses.add_former_areas(["# none", "", "13 東京都", "千代田区: 外神田試験村"]) == 1
    assert split_address("東京都外神田試験村1-2")[:4] == (13, "千代田区", 0, True)


def test_a_text_too_long_to_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        folded_address("あ" * 1_600)
    with pytest.raises(ValueError, match="length"):
        folded_address("あ" * 10_000)
    assert folded_address("千条" * 700).startswith("1000条")
    assert folded_address("1-" * 700).startswith("1-1-1")
