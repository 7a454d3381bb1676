"""``jukinet feed notices``: leave move-in notices, take those for this prefecture, confirm them, see what waits."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from jukinet.clients.errors import EXIT_ROWS_IN_ERROR, BadRequestError, UsageError
from jukinet.clients.feed.feed_settings import FeedSettings, add_feed_arguments
from jukinet.clients.feed.notice_file import TakenFile, read_notices, read_numbers
from jukinet.clients.feed.notices import NoticeClient, hand_on_words, open_notices, tried
from jukinet.clients.feed.notification_fields import LineFault
from jukinet.clients.feed.notification_file import ENCODINGS
from jukinet.clients.feed.sender import FEED_RETRY
from jukinet.clients.settings import Retry
from jukinet.core.limits import NOTICE_ID_MAX
from jukinet.core.wire import feed_messages as f

FAULTS_SHOWN_MAX: Final = 20
LEAVES_AT_ONCE: Final = 8
"""They share a commit of the register."""
Result = TypeVar("Result")
InTrio = Callable[..., Result]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``leave FILE``, ``take --out FILE``, ``received NUMBERS``, ``list``."""
    commands = parser.add_subparsers(dest="notices_action", required=True, metavar="ACTION")

    def command(name: str, words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", allow_abbrev=False)
        add_feed_arguments(made)
        made.add_argument("--tries", type=int, default=FEED_RETRY.tries, metavar="N",
                          help=f"tries without an answer (default {FEED_RETRY.tries})")  # fmt: skip
        return made

    leave = command("leave", "leave the notices of a file; repeating it is harmless")
    leave.add_argument("file", metavar="FILE", help="CSV or JSON lines; - for standard input")
    leave.add_argument("--input-format", choices=("csv", "jsonl"), default=None, help="default: by the file's name")
    leave.add_argument("--encoding", choices=ENCODINGS, default="utf-8", help="of CSV files (default utf-8)")
    take = command("take", "write the notices for this prefecture into a new file, for its owner alone")
    take.add_argument("--out", required=True, metavar="FILE", help="CSV; it holds personal data")
    take.add_argument("--confirm", action="store_true",
                      help="confirm them once they are durable in the file, and go on until none is left")  # fmt: skip
    received = command("received", "confirm notices that are durably kept here")
    received.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="the register's numbers")
    received.add_argument("--from", dest="taken", metavar="FILE", help="all that `take` wrote into this file")
    command("list", "tell which of this prefecture's own notices were not received")


def run(arguments: argparse.Namespace, settings: FeedSettings, in_trio: InTrio[int]) -> int:
    """Run the action; the exit code. Raises JukinetError and OSError."""
    actions: dict[str, Callable[[argparse.Namespace, _Connected], Awaitable[int]]] = {
        "leave": leave, "take": take, "received": received, "list": tell,
    }  # fmt: skip
    connected = _Connected(settings, Retry(arguments.tries, FEED_RETRY.first, FEED_RETRY.longest))
    return in_trio(actions[arguments.notices_action], arguments, connected)


class _Connected:
    """Does work over a connection, anew over another one where that breaks."""

    def __init__(self, settings: FeedSettings, retry: Retry) -> None:
        self.settings = settings
        self._retry = retry

    async def do(self, work: Callable[[NoticeClient], Awaitable[Result]]) -> Result:
        async def once() -> Result:
            at = self.settings
            async with open_notices(at.host, at.port, tls=at.tls, prefecture=int(at.prefecture)) as client:
                return await work(client)

        return await tried(once, self._retry)


async def leave(arguments: argparse.Namespace, connected: _Connected) -> int:
    """All lines must be good; then each is left, and its receipt told by the two numbers alone."""
    prefecture = int(connected.settings.prefecture)
    messages: list[f.NoticeLeave] = []
    faults: list[LineFault] = []
    for read in read_notices(arguments.file, prefecture, arguments.input_format, arguments.encoding):
        if isinstance(read, LineFault):
            faults.append(read)
        else:
            messages.append(read)
    for fault in faults[:FAULTS_SHOWN_MAX]:
        print(fault, file=sys.stderr)
    if faults:
        print(f"{len(faults):,} bad lines, nothing was left", file=sys.stderr)
        return EXIT_ROWS_IN_ERROR
    leaving = Leaving(messages)
    await connected.do(leaving.leave)
    print("notice_id,number")
    for notice_id, number in leaving.numbers.items():
        print(f"{notice_id},{number}")
    for notice_id, words in leaving.refused.items():
        print(f"notice_id {notice_id}: refused: {words}", file=sys.stderr)
    print(f"{len(leaving.numbers):,} notices left, {len(leaving.refused):,} refused", file=sys.stderr)
    return EXIT_ROWS_IN_ERROR if leaving.refused else 0


class Leaving:
    """Notices on their way. Invariant: each is in ``numbers``, in ``refused``, or still to be left."""

    def __init__(self, messages: list[f.NoticeLeave]) -> None:
        self.messages = messages
        self.numbers: dict[int, int] = {}
        """By notice_id: the register's number."""
        self.refused: dict[int, str] = {}

    async def leave(self, client: NoticeClient) -> None:
        """Leave what is still to be left, several at once; raises the first error that ends the connection."""
        left = [each for each in self.messages if each.notice_id not in self.numbers | self.refused]
        waiting = iter(left)
        errors: list[Exception] = []

        async def some() -> None:
            for message in waiting:
                if errors:
                    return
                try:
                    self.numbers[message.notice_id] = await client.leave(message)
                except BadRequestError as error:
                    self.refused[message.notice_id] = str(error)
                except Exception as error:
                    errors.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(LEAVES_AT_ONCE):
                nursery.start_soon(some)
        if errors:
            raise errors[0]


async def take(arguments: argparse.Namespace, connected: _Connected) -> int:
    """The file is durable before anything is confirmed; a number comes into it once."""
    with TakenFile(arguments.out) as file:
        written: set[int] = set()
        to_hand_on: Counter[int] = Counter()
        left = 0

        async def work(client: NoticeClient) -> None:
            nonlocal left
            while True:
                notices, left = await client.take()
                new = [notice for notice in notices if notice.number not in written]
                if new:
                    await trio.to_thread.run_sync(file.add, new)
                written.update(notice.number for notice in new)
                to_hand_on.update(client.to_hand_on(new))
                if not arguments.confirm or not notices:
                    return
                await client.received([notice.number for notice in notices])

        await connected.do(work)
    done = "confirmed" if arguments.confirm else "to be confirmed with `received`"
    more = f"; {left:,} more wait until these are confirmed" if left else ""
    print(f"{len(written):,} notices in {arguments.out}, {done}{more}", file=sys.stderr)
    if to_hand_on:
        print(hand_on_words(to_hand_on), file=sys.stderr)
    return 0


async def received(arguments: argparse.Namespace, connected: _Connected) -> int:
    """Confirm by number; what was confirmed before, or is another prefecture's, changes nothing."""
    numbers = arguments.numbers + (read_numbers(arguments.taken) if arguments.taken else [])
    if not numbers:
        raise UsageError("name the numbers, or the file with --from")
    if not all(1 <= number <= NOTICE_ID_MAX for number in numbers):
        raise UsageError("a notice's number is 1 or more")
    closed = await connected.do(lambda client: client.received(numbers))
    print(f"{closed:,} notices closed, {len(set(numbers)) - closed:,} were not open", file=sys.stderr)
    return 0


async def tell(arguments: argparse.Namespace, connected: _Connected) -> int:
    """Numbers, areas, age and state: nothing of a person."""
    del arguments

    async def work(client: NoticeClient) -> list[f.Notice]:
        return [notice async for notice in client.own()]

    notices = await connected.do(work)
    now = time.time()
    print("number,notice_id,from_area,to_area,age_hours,state")
    for notice in notices:
        hours = max(0.0, now - notice.left_at) / 3_600
        print(f"{notice.number},{notice.notice_id},{notice.from_area:05d},{notice.to_area:05d},{hours:.1f},"
              f"{notice.state.name.lower()}")  # fmt: skip
    return 0
