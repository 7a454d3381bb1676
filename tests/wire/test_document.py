"""docs/protocol.md is what the implementation does: its tables and example frames are read and compared."""

from __future__ import annotations

import re
from pathlib import Path

import make_vectors
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from wire_pair import PATIENT

from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import ChangeReason, Found, Grade, Item, Level, Outcome
from jukinet.core.wire import MessageType, states
from jukinet.core.wire import messages as m
from jukinet.core.wire.questions import is_full_date

DOCUMENT, FEEDS = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8").split("\n# Part II")


def test_message_types_and_their_senders() -> None:
    rows = re.findall(r"^\| (0x\w\w) \| (\w+) \| (C|S|both) \|", DOCUMENT, re.MULTILINE)
    assert {name: int(number, 16) for number, name, _ in rows} == dict(MessageType.__members__)
    assert {int(number, 16) for number, _, side in rows if side in ("C", "both")} == states.CLIENT_TYPES
    assert {int(number, 16) for number, _, side in rows if side in ("S", "both")} == states.SERVER_TYPES


def test_errors_and_which_of_them_close() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (stays|closes) \|", DOCUMENT, re.MULTILINE)
    assert {name: int(number) for number, name, _ in rows} == dict(ErrorCode.__members__)
    assert {int(number) for number, _, what in rows if what == "closes"} == states.CLOSING_CODES


def test_numbers() -> None:
    table = DOCUMENT.split("\nOutcomes:\n")[1].split("\nThe check digit")[0]
    outcomes = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", table, re.MULTILINE)
    assert {name: int(number) for number, name in outcomes} == dict(Outcome.__members__)
    items = re.findall(r"([A-Z_]+) (\d+)", DOCUMENT.split("\nItems: ")[1].split(".")[0])
    assert {name: int(number) for name, number in items} == dict(Item.__members__)
    reasons = re.findall(r"(\d+) [a-z]", DOCUMENT.split("Change reasons: ")[1].split(".\n")[0])
    assert {int(number) for number in reasons} == set(ChangeReason)


def test_words_of_search_and_match() -> None:
    chapter = DOCUMENT.split("### 3.8")[1].split("### 3.9")[0]
    found = chapter.split("| found | name |")[1].split("| grade | name |")[0]
    rows = re.findall(r"^\| ([\d, ]+) \| ([A-Z_, ]+) \|", found, re.MULTILINE)
    told = {
        name: int(n) for numbers, names in rows for n, name in zip(numbers.split(","), names.split(", "), strict=True)
    }
    assert told == dict(Found.__members__)
    grades = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", chapter.split("| grade | name |")[1], re.MULTILINE)
    assert {"NONE": 0, **{name: int(number) for number, name in grades}} == dict(Grade.__members__)
    levels = re.findall(r"(\d+) ([A-Z_]+)", chapter.split("\nLevels: ")[1].split(".\n")[0])
    assert {name: int(number) for number, name in levels} == dict(Level.__members__)


def test_fields_of_the_greeting_and_the_limits() -> None:
    chapter = DOCUMENT.split("### 3.1")[1].split("### 3.2")[0]
    rows = re.findall(r"^\| (\w+) \| (?:int|str|map|list of int) \| (.*) \|", chapter, re.MULTILINE)
    assert ["request_id", *(name for name, _ in rows)] == [field.name for field in msgspec.structs.fields(m.Greeting)]
    limits = next(text for name, text in rows if name == "limits")
    assert re.findall(r"`(\w+)`", limits) == [field.name for field in msgspec.structs.fields(m.Limits)]


def test_example_frames_are_frames_of_the_vectors() -> None:
    known = {step["frame"] for name in make_vectors.CONVERSATIONS.values() for step in name()}
    blocks = re.findall(r"```text\n(0000 .*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        place, data = 0, ""
        for line in block.splitlines():
            assert int(line[:4], 16) == place
            data += line[6:53].replace(" ", "")
            place = len(data) // 2
        assert data in known


@PATIENT
@given(st.dates())
def test_every_day_of_the_calendar_is_a_full_date(day: object) -> None:
    assert is_full_date(int(str(day).replace("-", "")))


def test_other_numbers_are_no_full_date() -> None:
    for number in (0, 20240000, 20240400, 20230229, 20241301, 20240431, 19000229, 101, 2**32 - 1):
        assert not is_full_date(number)
