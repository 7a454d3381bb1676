"""Part II of docs/protocol.md is what the implementation does: its tables and example frames are read and compared."""

from __future__ import annotations

import re

import make_feed_vectors as made
import msgspec
from test_document import FEEDS

from jukinet.core import limits
from jukinet.core.notifications import Fault
from jukinet.core.notifications.batch import PLAN
from jukinet.core.vocabulary import Prefecture
from jukinet.core.wire import FeedMessageType, feed_messages, feed_states
from jukinet.core.wire.feed_frames import feed_payload_limits


def chapter(start: str, stop: str) -> str:
    return FEEDS.split(f"\n{start}")[1].split(f"\n{stop}")[0]


def test_message_types_and_their_senders() -> None:
    rows = re.findall(r"^\| (0x\w\w) \| (\w+) \| (C|S|both) \|", FEEDS, re.MULTILINE)
    assert {name: int(number, 16) for number, name, _ in rows} == dict(FeedMessageType.__members__)
    assert {int(number, 16) for number, _, side in rows if side != "S"} == feed_states.FEED_CLIENT_TYPES
    assert {int(number, 16) for number, _, side in rows if side != "C"} == feed_states.FEED_SERVER_TYPES


def test_faults_and_the_order_in_which_they_are_told() -> None:
    text = chapter("## 12.", "## 13.")
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", text, re.MULTILINE)
    assert {name: int(number) for number, name in rows} == dict(Fault.__members__)
    order = re.findall(r"\d+", text.split("in the order ")[1].split(", then")[0])
    assert sorted(map(int, order)) == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13]


def test_prefectures() -> None:
    listed = re.findall(r"(\d+)\s+([a-z]+)", FEEDS.split("By number (JIS X 0401): ")[1].split(".\n")[0])
    assert [(int(number), body) for number, body in listed] == [(int(p), p.body) for p in Prefecture]


def test_fields_of_the_maps() -> None:
    rows = re.findall(
        r"^\| (\w+) \| (?:int|str|map|bin|list of int) \| (.*) \|", chapter("### 10.1", "### 10.2"), re.MULTILINE
    )
    names = [field.name for field in msgspec.structs.fields(feed_messages.FeedGreeting)]
    assert ["request_id", *(name for name, _ in rows)] == names
    told = re.findall(r"`(\w+)`", next(text for name, text in rows if name == "limits"))
    assert told == [field.name for field in msgspec.structs.fields(feed_messages.FeedLimits)]
    notices = chapter("### 10.5", "### 10.6")
    for kind, told_fields in re.findall(r"^\| (NOTICE\w*) \| ([a-z_, ]+) \|", notices, re.MULTILINE):
        message = next(cls for cls in feed_messages.FEED_MAPS if cls.type is FeedMessageType[kind])
        assert ["request_id", *told_fields.split(", ")] == list(message.__struct_fields__)
    listed = re.sub(r"\(.*?\)", "", notices.split("is an array of 14: ")[1].replace("\n", " ")).split(" (1 waiting")[0]
    assert re.findall(r"\w+", listed.split(".")[0])[:14] == list(feed_messages.Notice.__struct_fields__)


def test_columns_of_a_batch() -> None:
    rows = re.findall(r"^\| ([a-z_, ]+) \| (u\d+)\[count\] \|", chapter("### 10.2", "### 10.3"), re.MULTILINE)
    texts = re.findall(r"^\| (.*) \| text column each \|", FEEDS, re.MULTILINE)[0].split(", ")
    letters = {"u8": "b", "u32": "w", "u64": "k"}
    assert [name for name, _ in rows] + texts == [name for name, _ in made.COLUMNS]
    assert "".join(letters[kind] for _, kind in rows) + "t" * len(texts) == PLAN.decode()


def test_limits_of_the_payloads() -> None:
    told = chapter("## 10.", "### 10.1").split("The limit of a payload")[1]
    longest = feed_payload_limits(limits.BATCH_BYTES_MAX)
    for kind in (FeedMessageType.COMPARE, FeedMessageType.COMPARED, FeedMessageType.NOTICES, FeedMessageType.ERROR):
        assert f"{longest[kind]:,}" in told


def test_example_frames_are_frames_of_the_vectors() -> None:
    known = {step["frame"] for name in made.CONVERSATIONS.values() for step in name()}
    blocks = re.findall(r"```text\n(0000 .*?)```", FEEDS, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        data = ""
        for line in block.splitlines():
            assert int(line[:4], 16) == len(data) // 2
            data += line[6:53].replace(" ", "")
        assert data in known
