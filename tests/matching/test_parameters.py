"""Parameter files: what ships, what is refused, and that they tell of nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from namesakes import records_of, residents

from jukinet.core.errors import ConfigurationError
from jukinet.core.matching import parameters
from jukinet.core.matching.estimating import describe
from jukinet.core.matching.parameters import Parameters

from ..core.stores import TOWNS

TEXTS = [town.text for town in TOWNS]


def test_what_ships_can_be_read_and_written() -> None:
    shipped = parameters.shipped()
    assert parameters.decode(parameters.encode(shipped), "a file") == shipped
    assert 0.5 < shipped.in_register < 1.0
    assert shipped.kana[1] > 0.5
    assert len(shipped.surname_kana.shares) > 500


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "affair.json"
    path.write_bytes(parameters.encode(parameters.shipped()))
    assert parameters.read(path) == parameters.shipped()
    with pytest.raises(ConfigurationError, match=r"none\.json"):
        parameters.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("format", 2, "format"),
        ("kana", [0.5] * 10, "add up"),
        ("kana", [0.1] * 9, "places"),
        ("date", [0.0] * 10, "date"),
        ("in_register", 1.5, "in_register"),
        ("name", [[0.1] * 3] * 8, "row of name"),
        ("births", [0.01] * 7, "births"),
        ("surname_slips", {"one": [0.1], "two": [0.1]}, "slips"),
        ("date_other", [-1.0] * 10, "range"),
        ("unheard_of", 1, "unheard_of"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(field: str, value: Any, said: str) -> None:
    content = msgspec.to_builtins(parameters.shipped())
    content[field] = value
    with pytest.raises(ConfigurationError, match=said):
        parameters.decode(msgspec.json.encode(content), "a file")
    for data in (b"", b"[]", b"\xff" * 10, b"{}"):
        with pytest.raises(ConfigurationError, match="a file"):
            parameters.decode(data, "a file")


def test_a_file_holds_no_name_of_few() -> None:
    people = [record for person in residents(400) for record in records_of(person, TEXTS)]
    rare = [records_of(residents(1)[0], TEXTS)[0]]
    strange = msgspec.structs.replace(rare[0], kana="ヌエヌエヌエ", kana_part=3, name="鵺鵺鵺鵺", name_part=2)
    found: Parameters = describe([*people, strange], "a test", bearers_min=10)
    text = parameters.encode(found).decode()
    assert "ヌエ" not in text
    assert "鵺" not in text
    assert min(share * len(people) for share in found.surname_kana.shares.values()) >= 9
