"""Whether an address lies in an area that is not connected, as people write addresses."""

from __future__ import annotations

import pytest

from jukinet.core.matching.missing_areas import ConnectedArea, MissingAreas

AREAS = MissingAreas(
    [
        ConnectedArea("東京都国立市", False),
        ConnectedArea("東京都府中市", True),
        ConnectedArea("広島県府中市", True),
        ConnectedArea("福島県東白川郡矢祭町", False),
        ConnectedArea("京都府京都市北区", True),
        ConnectedArea("北海道札幌市北区", True),
        ConnectedArea("東京都北区", True),
    ]
)


@pytest.mark.parametrize(
    ("address", "possible"),
    [
        ("", True),
        ("東京都国立市富士見台1-2", True),
        ("国立市富士見台１－２", True),
        ("東京都 国立市 富士見台", True),
        ("福島県東白川郡矢祭町大字東舘", True),
        ("福島県矢祭町東舘", True),
        ("矢祭町東舘", True),
        ("東京都府中市1-1", False),
        ("府中市1-1", False),
        ("京都市北区1", False),
        ("北海道札幌市北区北24条", False),
        ("富士見台1-2", True),
        ("ここではないどこか", True),
    ],
)
def test_addresses(address: str, possible: bool) -> None:
    assert AREAS.possible(address.encode()) is possible


def test_one_of_two_areas_of_a_name_is_enough() -> None:
    areas = MissingAreas([ConnectedArea("東京都府中市", True), ConnectedArea("広島県府中市", False)])
    assert areas.possible("府中市1".encode())
    assert not areas.possible("東京都府中市1".encode())


def test_nothing_is_missing_where_all_are_connected() -> None:
    areas = MissingAreas([ConnectedArea("東京都府中市", True)])
    assert not areas.any_missing
    assert not areas.possible(b"")


def test_bytes_cut_inside_a_character_do_no_harm() -> None:
    assert AREAS.possible("国立市".encode()[:-1])
    assert AREAS.possible(b"\xe5")
