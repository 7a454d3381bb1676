"""Move-in notices over connections cut at every byte, and a writer that is killed between commit and answer."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.notices import NoticeBook, NoticeRules
from jukinet.core.store.check import check_register
from jukinet.core.wire import feed_messages as fm
from jukinet.server.feed.applying import NoticeRequest, about_notices

from ...core.stores import build_store
from ...feed.test_notices import OSAKA, START, left
from .test_feed_cuts import End

ROOM = 1 << 20
RULES = NoticeRules()
Inbox = dict[int, str]
"""What the receiving prefecture has, by number: how it knows what it already has."""


class Centre:
    """The register with its notices; requests are answered as the feed writer does it."""

    def __init__(self, directory: Path) -> None:
        self.register = FeedRegister(directory)
        self.book = NoticeBook.of(self.register.writer, RULES)

    def answer(self, prefecture: int, request: NoticeRequest) -> fm.FeedServerMessage:
        with self.register.transaction() as transaction:
            answer = about_notices(transaction, self.book, prefecture, request, START)
            transaction.commit()
        return answer

    def connect(self, prefecture: int, up_bytes: int, down_bytes: int) -> tuple[End, bool]:
        """Both ends, and whether the greeting arrived."""
        end = End(self.register, up_bytes, down_bytes)
        body = {13: "tokyo", 27: "osaka"}[prefecture]
        greeting = fm.FeedGreeting(
            server="test", register="0" * 32, body=body, prefecture=prefecture, position=0, digest_count=0,
            digest_sum=bytes(16), areas=[{13: 13101, 27: OSAKA}[prefecture]], today=20261124, limits=end.server.limits,
        )  # fmt: skip
        return end, bool(end.to_client(greeting))

    def ask(self, end: End, message: NoticeRequest) -> object:
        """The answer, None when the line broke before it came; the centre may have done it all the same."""
        prefecture = end.server.greeting.prefecture if end.server.greeting else 0
        for request in end.to_server(message):
            for event in end.to_client(self.answer(prefecture, request)):  # type: ignore[arg-type]
                return event
        return None


def leave(centre: Centre, up: int, down: int) -> tuple[End, dict[int, int]]:
    """Tokyo leaves two notices: the numbers that it heard of."""
    end, greeted = centre.connect(13, up, down)
    heard = {}
    for notice_id in (41, 42) if greeted else ():
        message = fm.NoticeLeave(end.client.new_request_id(), **fields(notice_id))
        answer = centre.ask(end, message)
        if answer is None:
            break
        assert isinstance(answer, fm.NoticeKept)
        heard[notice_id] = answer.number
    return end, heard


def fields(notice_id: int) -> dict[str, object]:
    message = left(notice_id)
    return {name: getattr(message, name) for name in message.__struct_fields__ if name != "request_id"}


def take(centre: Centre, inbox: Inbox, up: int, down: int) -> tuple[End, bool]:
    """Osaka takes what is there, keeps it, says so; whether it heard that this is durable."""
    end, greeted = centre.connect(27, up, down)
    if not greeted:
        return end, False
    found = centre.ask(end, fm.NoticeTake(end.client.new_request_id(), 10))
    if found is None:
        return end, False
    assert isinstance(found, fm.Notices)
    for notice in found.notices:
        assert inbox.setdefault(notice.number, notice.name) == notice.name, "one number has two contents"
    numbers = [notice.number for notice in found.notices]
    if not numbers:
        return end, True
    return end, centre.ask(end, fm.NoticeReceived(end.client.new_request_id(), numbers)) is not None


def test_cut_at_every_byte_position_on_both_sides(tmp_path: Path) -> None:
    build_store(tmp_path / "empty", [], expected_entries=100_000)
    shutil.copytree(tmp_path / "empty", tmp_path / "straight")
    centre = Centre(tmp_path / "straight")
    with centre.register:
        leaving, heard = leave(centre, ROOM, ROOM)
        assert heard == {41: 1, 42: 2}
        taking, closed = take(centre, {}, ROOM, ROOM)
        assert closed
    cuts = [(end, up, ROOM) for end in (0, 1) for up in range((leaving, taking)[end].sent_up)]
    cuts += [(end, ROOM, down) for end in (0, 1) for down in range((leaving, taking)[end].sent_down)]
    assert len(cuts) > 1_000
    for number, (side, up, down) in enumerate(cuts):
        directory = tmp_path / f"cut{number}"
        shutil.copytree(tmp_path / "empty", directory)
        centre = Centre(directory)
        inbox: Inbox = {}
        with centre.register:
            _, before = leave(centre, *((up, down) if side == 0 else (ROOM, ROOM)))
            _, heard = leave(centre, ROOM, ROOM)  # everything again, as a sender does that lost an answer
            assert heard == {41: 1, 42: 2}
            assert before.items() <= heard.items()
            _, closed = take(centre, inbox, *((up, down) if side == 1 else (ROOM, ROOM)))
            _, again = take(centre, inbox, ROOM, ROOM)
            assert again
            assert inbox == {1: "秘密41", 2: "秘密42"}
            with centre.register.writer.reading() as transaction:
                assert centre.book.undelivered(transaction, START).count == 0
                assert centre.book.kept(transaction, 1).passage.closed_by == 27
        if number % 97 == 0:
            assert check_register(directory).faults == []
        shutil.rmtree(directory)


CHILD = """
import os, signal, sys
import msgspec
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.notices import NoticeBook, NoticeRules
from jukinet.core.wire import feed_messages as fm
from jukinet.server.feed.applying import about_notices
directory, kind, packed, when = sys.argv[1:]
message = {"leave": fm.NoticeLeave, "take": fm.NoticeTake, "received": fm.NoticeReceived}[kind](
    1, **msgspec.json.decode(packed)
)
register = FeedRegister(directory)
book = NoticeBook.of(register.writer, NoticeRules())
with register.transaction() as transaction:
    about_notices(transaction, book, 13 if kind == "leave" else 27, message, 1_600_000_000)
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    transaction.commit()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(directory: Path, kind: str, values: dict[str, object], when: str) -> None:
    """The writer takes a request and is killed before or after its commit; nobody is answered."""
    packed = msgspec.json.encode(values).decode()
    done = subprocess.run([sys.executable, "-c", CHILD, str(directory), kind, packed, when], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_writer_killed_around_its_commit(tmp_path: Path, when: str) -> None:
    build_store(tmp_path / "r", [], expected_entries=100_000)
    is_durable = when == "after"

    def state() -> tuple[int, int, int]:
        """Notices that wait for Osaka, those of them taken, rows in the table of notices."""
        with FeedRegister(tmp_path / "r") as register:
            book = NoticeBook.of(register.writer, RULES)
            with register.writer.reading() as transaction:
                found = list(book.open_for(transaction, 27))
                rows = transaction.stat(book.databases["notices"])["entries"]
        return len(found), sum(bool(kept.passage.taken_at) for kept in found), rows

    killed(tmp_path / "r", "leave", fields(41), when)
    assert state() == ((1, 0, 2) if is_durable else (0, 0, 0))
    centre = Centre(tmp_path / "r")
    with centre.register:
        assert leave(centre, ROOM, ROOM)[1] == {41: 1, 42: 2}  # sent again: the same number, no second notice
    killed(tmp_path / "r", "take", {"notices_max": 1}, when)
    assert state() == (2, 1 if is_durable else 0, 3)
    killed(tmp_path / "r", "received", {"numbers": [1]}, when)
    assert state()[0] == (1 if is_durable else 2)
    inbox: Inbox = {1: "秘密41"}
    centre = Centre(tmp_path / "r")
    with centre.register:
        assert take(centre, inbox, ROOM, ROOM)[1]
    assert inbox == {1: "秘密41", 2: "秘密42"}
    assert state() == (0, 0, 3)
    assert check_register(tmp_path / "r").faults == []
