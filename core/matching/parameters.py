"""The parameters of the matching model (docs/matching.md, section 4): a file of the affair, checked when it is read.

All are shares between 0 and 1. ``m`` tables say how often a level occurs when the person compared is the one meant,
``u`` tables how often when it is somebody else. Frequencies are the shares that names have in the register.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from jukinet.core.errors import ConfigurationError
from jukinet.core.matching.levels import DateLevel, NameLevel, PlaceLevel, Reading, SexLevel

FORMAT: Final = 1
FILE_BYTES_MAX: Final = 16 * 1_024 * 1_024
FREQUENCIES_MAX: Final = 200_000
"""Names in one frequency table."""
DECADE_FIRST: Final = 1860
DECADES: Final = 20
"""Births from 1860 to 2059; the tables of given names are by decade."""
LENGTHS: Final = 3
"""Classes of a part's length in characters: up to 2, 3, 4 and more."""
ROUNDING_MAX: Final = 0.01

Share = Annotated[float, Meta(gt=0.0, le=1.0)]


class Frequencies(Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of the names of one kind; ``rare`` is the share of each name that is not in ``shares``."""

    shares: dict[str, Share]
    rare: Share


class Slips(Struct, frozen=True, forbid_unknown_fields=True):
    """How often two people's different parts are one slip (two slips) apart, by the part's class of length."""

    one: list[Share]
    two: list[Share]


class Parameters(Struct, frozen=True, forbid_unknown_fields=True):
    """One parameter set. ``read`` checks the lengths of its tables and that shares of one table add up to 1."""

    format: int
    origin: str
    """How it was estimated, for people."""
    in_register: Share
    """The share of rows whose person is in the register (lambda)."""
    kana: list[Share]
    """m of the reading's levels, by NameLevel; the first is for rows without reading and not used."""
    name: list[list[Share]]
    """m of the name's levels, by Reading and NameLevel."""
    name_other: list[list[Share]]
    """u of the name's levels when the reading's class is known; for Reading.MISSING frequencies are used instead."""
    date: list[Share]
    place: list[Share]
    sex: Share
    """m of an equal sex."""
    sex_other: list[Share]
    """u of an equal sex: when the given names differ, when they are equal."""
    voicing: Share
    """How many of the people whose folded readings are equal differ in voicing, against those who do not."""
    date_other: list[float]
    """How many dates lie at each level of one date: u is this times the share of one day of that year's births."""
    place_other: list[float]
    """Levels EQUAL, BUILDING: people at one address; TOWN, AREA: u itself."""
    births: list[Share]
    """Shares of births by year, from 1860 on."""
    surname_kana: Frequencies
    given_kana: list[Frequencies]
    """By decade of birth, from 1860 on."""
    surname: Frequencies
    given: Frequencies
    """Names as written; given names of all decades together."""
    fashion: Annotated[float, Meta(ge=1.0, le=1000.0)]
    """How much more often two people born in one decade share a given name than any two."""
    surname_slips: Slips
    given_slips: Slips
    name_slip: Share
    """How often names as written are one character apart when the readings are not known, given an equal part."""


LENGTHS_OF_TABLES: Final = {
    "kana": len(NameLevel), "name": len(Reading), "name_other": len(Reading), "date": len(DateLevel),
    "place": len(PlaceLevel), "sex_other": 2, "date_other": len(DateLevel), "place_other": len(PlaceLevel),
    "births": 10 * DECADES, "given_kana": DECADES,
}  # fmt: skip


def check(parameters: Parameters) -> None:
    """Raise ValueError for tables of a wrong length or shares that do not add up."""
    if parameters.format != FORMAT:
        raise ValueError(f"the format is {parameters.format}, this program knows {FORMAT}")
    check_tables(parameters)
    check_numbers(parameters)


def check_tables(parameters: Parameters) -> None:
    for field, length in LENGTHS_OF_TABLES.items():
        if len(getattr(parameters, field)) != length:
            raise ValueError(f"{field} has {len(getattr(parameters, field))} places instead of {length}")
    for field in ("kana", "date", "place"):
        check_sum(field, getattr(parameters, field)[1:])
    for field in ("name", "name_other"):
        for row in getattr(parameters, field):
            if len(row) != len(NameLevel):
                raise ValueError(f"a row of {field} has {len(row)} places instead of {len(NameLevel)}")
            check_sum(field, row[1:])


def check_numbers(parameters: Parameters) -> None:
    for slips in (parameters.surname_slips, parameters.given_slips):
        if len(slips.one) != LENGTHS or len(slips.two) != LENGTHS:
            raise ValueError(f"slips are given for {LENGTHS} classes of length")
    for number in (*parameters.date_other, *parameters.place_other):
        if not 0.0 <= number <= 1e6:
            raise ValueError("a number of date_other or place_other is out of range")
    for table in (parameters.surname_kana, parameters.surname, parameters.given, *parameters.given_kana):
        if len(table.shares) > FREQUENCIES_MAX:
            raise ValueError(f"a table of names has more than {FREQUENCIES_MAX} names")


def check_sum(field: str, shares: list[float]) -> None:
    if abs(sum(shares) - 1.0) > ROUNDING_MAX:
        raise ValueError(f"the shares of {field} add up to {sum(shares):.3f} instead of 1")


def decode(data: bytes, source: str) -> Parameters:
    """Parameters from a file's bytes; ConfigurationError, which names ``source``, when they cannot be used."""
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{source}: a parameter file has at most {FILE_BYTES_MAX} bytes")
    try:
        parameters = msgspec.json.decode(data, type=Parameters)
        check(parameters)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(
            f"{source}: {error}; estimate the parameters anew with `jukinet match-parameters`"
        ) from None
    return parameters


def read(path: Path) -> Parameters:
    """The parameters of a file. ConfigurationError when it cannot be read or used."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    return decode(data, str(path))


def encode(parameters: Parameters) -> bytes:
    """The bytes of a parameter file, one table a line."""
    rounded = msgspec.to_builtins(parameters)
    lines = [
        f"{msgspec.json.encode(key).decode()}: {msgspec.json.encode(value).decode()}" for key, value in rounded.items()
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


@cache
def shipped() -> Parameters:
    """The parameters estimated on the synthetic nation, used where an affair names no others."""
    place = resources.files("jukinet.core.matching").joinpath("data/parameters.json")
    return decode(place.read_bytes(), "data/parameters.json")


def decade_of(year: int) -> int:
    """The place of a year's decade, 0 to DECADES - 1."""
    return min(max((year - DECADE_FIRST) // 10, 0), DECADES - 1)


def length_class(length: int) -> int:
    """The class of a part's length."""
    return min(max(length - 2, 0), LENGTHS - 1)


__all__ = ["Frequencies", "Parameters", "SexLevel", "Slips", "decode", "encode", "read", "shipped"]
