"""docs/threat-model.md names tests; each of them must be there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_test_that_the_page_names_is_there() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text()
    found = NAMED.findall(text)
    assert len(found) > 50
    missing = [f"{path}::{name}" for path, name in found if not is_there(ROOT / path, name)]
    assert missing == []
    assert text.count("::test_") == len(found), "one is not written as `file::name`"


def test_every_threat_has_a_test() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", (ROOT / "docs" / "threat-model.md").read_text(), re.MULTILINE)
    bare = [threat for threat, _, shown in rows if threat != "threat" and not NAMED.search(shown)]
    assert bare == []


def is_there(path: Path, name: str) -> bool:
    return path.exists() and re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE) is not None
