"""Retired codes and what replaced them, against a dictionary."""

from __future__ import annotations

from pathlib import Path

import pytest

from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.succession import Succession

from .stores import build_store


def test_families_of_codes(tmp_path: Path) -> None:
    replaced = {101: 7_000_000_001, 7_000_000_001: 9_999_999_999, 102: 5, 103: 5, 200: None}
    people = [
        Resident(key=key, state=5, reason=41, area=0, change_date=20100401, update_number=1, successor_key=other)
        for key, other in replaced.items()
    ]
    people += [
        Resident(key=key, name="試験", area=0, town=1, birth_date=19500101, update_number=1)
        for key in (5, 9_999_999_999, *range(1_000, 3_000, 7))
    ]
    build_store(tmp_path / "register", people)
    succession = Succession()
    with RegisterReader(tmp_path / "register") as reader, reader.pin() as snapshot:
        succession.gather(snapshot)
    assert succession.count == 4
    for key in (101, 7_000_000_001, 9_999_999_999):
        assert set(succession.family(key, 10)) == {101, 7_000_000_001, 9_999_999_999}
        assert succession.family(key, 10)[0] == key
    assert succession.family(5, 10) == [5, 102, 103]
    assert succession.family(200, 10) == [200]
    assert succession.successor(101) == 7_000_000_001
    assert succession.successor(5) is None
    with pytest.raises(ValueError, match="longer"):
        succession.family(101, 2)
