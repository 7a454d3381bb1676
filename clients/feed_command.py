"""`jukinet feed`: a prefecture's notifications on their way to the register, its loads, and the consistency check."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final, TypeVar

import trio

from jukinet.clients.errors import EXIT_ROWS_IN_ERROR, ClientError, UsageError
from jukinet.clients.feed import notices_command, witness_command
from jukinet.clients.feed.comparison import Comparison, Differences, mend
from jukinet.clients.feed.delivery_line import DeliveryLine
from jukinet.clients.feed.feed_settings import FeedSettings, add_feed_arguments, feed_settings
from jukinet.clients.feed.holdings import RANGE_ROWS_DEFAULT, Holdings
from jukinet.clients.feed.inbox import Inbox
from jukinet.clients.feed.notice_spool import NoticeSpool
from jukinet.clients.feed.notices import NoticeClient, hand_on_words
from jukinet.clients.feed.notification_file import ENCODINGS, FORMATS, open_file
from jukinet.clients.feed.private_file import private_csv
from jukinet.clients.feed.putting import AlreadyPutError, put_file
from jukinet.clients.feed.report_output import report_lines, write_reports
from jukinet.clients.feed.sender import FEED_RETRY, FeedSender
from jukinet.clients.feed.witness import LogChangedError, Witness
from jukinet.clients.settings import Retry
from jukinet.core.codes import format_code
from jukinet.core.limits import RANGE_ROWS_MAX, RESIDENT_KEYS

RANGES_AHEAD_MAX: Final = 8
"""Ranges in the outbox that are not acknowledged: some 20 MB."""
LOOK_SECONDS: Final = 0.5
NOTICES_SECONDS: Final = 10.0
"""Between two looks for notices; a look is a question that the register answers without a commit."""
WITNESS_SECONDS: Final = 60.0
FAULTS_SHOWN_MAX: Final = 20
EXIT_INTERRUPTED: Final = 130

Result = TypeVar("Result")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, words: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", allow_abbrev=False)
        add_feed_arguments(made)
        return made

    send = action("send", "put files of notifications into the outbox and deliver them")
    send.add_argument("files", nargs="+", metavar="FILE", help="CSV, JSON lines or Parquet; - for standard input")
    send.add_argument("--input-format", choices=FORMATS, default=None, help="default: by the file's name")
    send.add_argument("--skip-bad", action="store_true", help="put the good lines; default: all of a file or nothing")
    send.add_argument("--again", action="store_true", help="put a file although the same bytes were put before")
    send.add_argument("--no-deliver", action="store_true", help="only put; `jukinet feed run` delivers")
    run_ = action("run", "deliver what is in the outbox, and what comes into the inbox, until stopped")
    for made in (send, run_):
        made.add_argument("--encoding", choices=ENCODINGS, default="utf-8", help="of CSV files (default utf-8)")
    action("status", "tell where the outbox stands")
    reports = action("reports", "tell which notifications the register put into quarantine, and what to do")
    reports.add_argument(
        "--out", metavar="FILE", help="write them with their notifications, as CSV for its owner alone"
    )
    reports.add_argument("--forget", action="store_true", help="forget those that are told or written")
    load = action("load", "send everything that the holdings hold, range by range: a first load or a re-load")
    load.add_argument("--anew", action="store_true", help="begin again at the first code")
    load.add_argument(
        "--rebind", action="store_true", help="go on at the register's position, whatever was sent before"
    )
    load.add_argument("--range-rows", type=int, default=RANGE_ROWS_DEFAULT, metavar="N",
                      help=f"residents in a range (default {RANGE_ROWS_DEFAULT})")  # fmt: skip
    compare = action("compare", "prove that the register holds what the holdings hold, or list the codes that differ")
    compare.add_argument("--out", metavar="FILE", help="where to list the codes, for its owner alone")
    compare.add_argument("--mend", action="store_true", help="send again what differs, from the holdings")
    words = "move-in notices (転入通知): leave, take, confirm, list"
    notices_command.add_arguments(actions.add_parser("notices", help=words, description=words, allow_abbrev=False))
    action("witness", "check that the record of use contains what was seen of it, and cosign it")
    for made in (send, run_, load, compare):
        made.add_argument("--adopt-holdings", action="store_true",
                          help="take the holdings for what is held after everything in the outbox")  # fmt: skip
        made.add_argument("--tries", type=int, default=FEED_RETRY.tries, metavar="N",
                          help=f"tries without an answer (default {FEED_RETRY.tries}; run: no end)")  # fmt: skip
        made.add_argument("--progress", action=argparse.BooleanOptionalAction, default=None,
                          help="progress on stderr; default: when it is a terminal")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the action; the exit code. Raises JukinetError and OSError."""
    if arguments.action == "witness":
        return witness_command.run(arguments, in_trio)
    settings = feed_settings(arguments)
    if arguments.action == "notices":
        return notices_command.run(arguments, settings, in_trio)
    actions: dict[str, Callable[[argparse.Namespace, FeedSettings], int]] = {
        "send": send_files, "run": keep_delivering, "status": tell_status, "reports": tell_reports, "load": load,
        "compare": compare,
    }  # fmt: skip
    return actions[arguments.action](arguments, settings)


class Feed:
    """Outbox, holdings and sender of one command."""

    def __init__(self, arguments: argparse.Namespace, settings: FeedSettings, stack: ExitStack) -> None:
        self.outbox = stack.enter_context(settings.open_outbox(create=True))
        self.holdings: Holdings | None = None
        if settings.holdings:
            self.holdings = stack.enter_context(
                Holdings(settings.holdings, self.outbox, adopt=arguments.adopt_holdings)
            )
            self.holdings.catch_up()
        elif self.outbox.state.held_base is not None:
            print("jukinet feed: holdings are kept beside this outbox; name them with --holdings", file=sys.stderr)
        shown = sys.stderr.isatty() if arguments.progress is None else arguments.progress
        self.line = stack.enter_context(DeliveryLine(arguments.action, shown=shown))
        self.sender = FeedSender(
            self.outbox, settings.host, settings.port, tls=settings.tls, settings=settings.sending,
            retry=Retry(arguments.tries, FEED_RETRY.first, FEED_RETRY.longest), progress=self.line.show,
        )  # fmt: skip

    def summary(self) -> int:
        """Tell what was delivered; the exit code."""
        done = self.sender.delivery
        self.line.end()
        words = f"{done.rows:,} rows delivered, position {done.position}"
        if not done.quarantined:
            print(words, file=sys.stderr)
            return 0
        print(f"{words}; {done.quarantined:,} put into quarantine: see `jukinet feed reports`", file=sys.stderr)
        return EXIT_ROWS_IN_ERROR


def send_files(arguments: argparse.Namespace, settings: FeedSettings) -> int:
    """Put each file, and deliver. A file that was put before is passed over.

    No file is put behind one that cannot be read, whose rows would be missing before them; what was put is delivered
    all the same.
    """
    with ExitStack() as stack:
        feed = Feed(arguments, settings, stack)
        code = 0
        unreadable: UsageError | OSError | None = None
        for path in arguments.files:
            try:
                code = max(code, _put(arguments, feed, path))
            except AlreadyPutError as error:
                print(f"jukinet feed: {error}", file=sys.stderr)
                code = max(code, error.exit_code)
            except (UsageError, OSError) as error:
                unreadable = error
                break
        if not arguments.no_deliver:
            in_trio(feed.sender.deliver)
            code = max(code, feed.summary())
        if unreadable is not None:
            raise unreadable
        return code


def _put(arguments: argparse.Namespace, feed: Feed, path: str) -> int:
    file = open_file(path, arguments.input_format, arguments.encoding)
    try:
        found = put_file(
            feed.outbox, file, skip_bad=arguments.skip_bad, again=arguments.again, progress=feed.line.reading
        )
    except AlreadyPutError:
        raise
    except UsageError as error:
        raise UsageError(f"{file.name}: {error}") from None
    finally:
        file.close()
    if feed.holdings is not None:
        feed.holdings.catch_up()
    feed.line.end()
    for fault in found.faults[:FAULTS_SHOWN_MAX]:
        print(f"{file.name}: {fault}", file=sys.stderr)
    if found.fault_count > FAULTS_SHOWN_MAX:
        print(f"{file.name}: and {found.fault_count - FAULTS_SHOWN_MAX:,} more lines", file=sys.stderr)
    if found.fault_count and not arguments.skip_bad:
        print(f"{file.name}: {found.fault_count:,} bad lines, nothing was put", file=sys.stderr)
    else:
        skipped = f", {found.fault_count:,} bad lines left out" if found.fault_count else ""
        print(f"{file.name}: {found.rows:,} notifications put{skipped}", file=sys.stderr)
    return EXIT_ROWS_IN_ERROR if found.fault_count else 0


def keep_delivering(arguments: argparse.Namespace, settings: FeedSettings) -> int:
    """Deliver until SIGTERM (exit 0) or SIGINT (exit 130)."""
    with ExitStack() as stack:
        feed = Feed(arguments, settings, stack)
        inbox = Inbox(settings.inbox, arguments.encoding) if settings.inbox else None
        spool = None
        if settings.notices:
            spool = NoticeSpool(settings.notices, int(settings.prefecture), arguments.encoding)
        return in_trio(_run, feed, inbox, spool, witness_command.witness_of(settings.witness))


def in_trio(function: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
    """Run in Trio; of several errors at once the first is raised, as every command's errors are told one by one."""
    try:
        return trio.run(function, *arguments)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _run(feed: Feed, inbox: Inbox | None, spool: NoticeSpool | None, witness: Witness | None) -> int:
    code = 0

    async def until_told() -> None:
        nonlocal code
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                code = EXIT_INTERRUPTED if number == signal.SIGINT else 0
                nursery.cancel_scope.cancel()

    async def take_files() -> None:
        assert inbox is not None
        while True:
            for path in await trio.to_thread.run_sync(inbox.waiting):
                found = await trio.to_thread.run_sync(inbox.take, path, feed.outbox)
                if feed.holdings is not None:
                    await trio.to_thread.run_sync(feed.holdings.catch_up)
                feed.line.note(
                    f"{path.name}: {found.rows:,} notifications put"
                    if not found.fault_count
                    else f"{path.name}: refused, {found.fault_count:,} bad lines"
                )
                feed.sender.wake()
            await trio.sleep(LOOK_SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_told)
        nursery.start_soon(feed.sender.run)
        if inbox is not None:
            nursery.start_soon(take_files)
        if spool is not None:
            nursery.start_soon(_exchange_notices, feed, spool)
        if witness is not None:
            nursery.start_soon(_witness, feed, witness)
    return code


async def _witness(feed: Feed, witness: Witness) -> None:
    """Look at each new checkpoint over the sender's connection. An alarm is told at every look, other trouble once."""
    told = ""
    while True:
        link = feed.sender.link
        if link is not None:
            before = witness.seen
            try:
                leaves = await witness.turn(link)
                if witness.seen != before:
                    feed.line.note(f"record of use: {leaves:,} leaves cosigned")
                told = ""
            except LogChangedError as error:
                feed.line.note(f"ALARM: {error}")
            except (ClientError, OSError) as error:
                if str(error) != told:
                    told = str(error)
                    feed.line.note(f"witnessing waits: {told}")
        await trio.sleep(WITNESS_SECONDS)


async def _exchange_notices(feed: Feed, spool: NoticeSpool) -> None:
    """Turn after turn over the sender's connection; a turn that breaks is made again. Trouble is told once."""
    told = ""
    while True:
        link = feed.sender.link
        if link is not None:
            try:
                left, taken, to_hand_on = await spool.turn(NoticeClient(link))
                if left or taken:
                    feed.line.note(f"move-in notices: {left:,} left, {taken:,} taken")
                if to_hand_on:
                    feed.line.note(f"move-in notices: {hand_on_words(to_hand_on)}")
                told = ""
            except (ClientError, OSError) as error:
                if str(error) != told:
                    told = str(error)
                    feed.line.note(f"move-in notices wait: {told}")
        await trio.sleep(NOTICES_SECONDS)


def tell_status(arguments: argparse.Namespace, settings: FeedSettings) -> int:
    """Works beside a `run`: it only looks."""
    del arguments
    with settings.open_outbox(readonly=True) as outbox:
        state = outbox.state
        base = state.base
        known = "not met yet" if base is None else f"position {state.acknowledged + base}"
        lines = [
            ("prefecture", settings.prefecture.body),
            ("register", f"{state.register or 'none'}, {known}"),
            ("acknowledged", f"{state.acknowledged:,} of {state.last:,} rows"),
            ("waiting", f"{state.waiting:,} rows"),
            ("in the outbox", f"{state.last - state.first + 1:,} rows, {state.bytes:,} of {outbox.bytes_max:,} bytes"),
            ("files put", f"{state.files:,}"),
            ("reports", f"{outbox.reports_count():,} not read ({state.reports:,} in all)"),
        ]
        if state.held_base is not None:
            lines.append(("holdings", f"{state.held:,} of {state.last:,} rows"))
        if state.load is not None:
            done = "done" if state.load.next_key >= RESIDENT_KEYS else f"{state.load.next_key / RESIDENT_KEYS:.1%}"
            lines.append(("load", f"{done}, {state.load.residents:,} residents in {state.load.ranges:,} ranges"))
    for name, text in lines:
        print(f"{name:<14} {text}")
    return 0


def tell_reports(arguments: argparse.Namespace, settings: FeedSettings) -> int:
    """By position, fault, origin and remedy on standard output; with the notifications only into a file."""
    with settings.open_outbox(readonly=not arguments.forget) as outbox:
        if arguments.out is None:
            keys = []
            for key, line in report_lines(outbox):
                print(line)
                keys.append(key)
            if not keys:
                print("no reports", file=sys.stderr)
        else:
            with private_csv(arguments.out) as file:
                keys = write_reports(outbox, file)
            print(f"{len(keys):,} reports written to {arguments.out}", file=sys.stderr)
        if arguments.forget:
            sys.stdout.flush()
            outbox.remove_reports(keys)
    return EXIT_ROWS_IN_ERROR if keys else 0


def load(arguments: argparse.Namespace, settings: FeedSettings) -> int:
    """Send the holdings; broken off, the same command goes on where it was."""
    if not 1 <= arguments.range_rows <= RANGE_ROWS_MAX:
        raise UsageError(f"--range-rows must be 1 to {RANGE_ROWS_MAX}")
    with ExitStack() as stack:
        feed = Feed(arguments, settings, stack)
        if feed.holdings is None:
            raise UsageError("a load needs the prefecture's own register: give --holdings DIR")
        if arguments.rebind:
            in_trio(feed.sender.rebind)
        done = feed.outbox.state.load
        if arguments.anew or (done is not None and done.next_key >= RESIDENT_KEYS):
            feed.outbox.forget_load()
        in_trio(_load, feed, arguments.range_rows)
        found = feed.outbox.state.load
        assert found is not None
        feed.line.end()
        print(f"{found.residents:,} residents loaded in {found.ranges:,} ranges", file=sys.stderr)
        return feed.summary()


async def _load(feed: Feed, range_rows: int) -> None:
    holdings = feed.holdings
    assert holdings is not None
    is_whole = False

    async def put_ranges() -> None:
        nonlocal is_whole
        while await trio.to_thread.run_sync(holdings.put_next_range, range_rows) is not None:
            feed.sender.wake()
            while feed.outbox.state.waiting >= RANGES_AHEAD_MAX:
                await feed.sender.progressed()
        is_whole = True
        feed.sender.wake()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put_ranges)
        await feed.sender.deliver(until=lambda: is_whole)


def compare(arguments: argparse.Namespace, settings: FeedSettings) -> int:
    """Exit 0: equal, or everything was mended; 1: codes differ."""
    with ExitStack() as stack:
        feed = Feed(arguments, settings, stack)
        holdings = feed.holdings
        if holdings is None:
            raise UsageError("a comparison needs the prefecture's own register: give --holdings DIR")

        async def compared() -> Differences:
            await feed.sender.deliver()
            return await Comparison(feed.sender, holdings).run()

        found = in_trio(compared)
        feed.line.end()
        exchanges = "exchange" if found.exchanges == 1 else "exchanges"
        cost = f"{found.exchanges} {exchanges}, {found.bytes:,} bytes behind the greeting"
        sides = f"{found.held_here:,} held here, {found.held_there:,} there"
        if not found.count():
            print(f"equal: {found.held_here:,} residents and retired codes ({cost})")
            return 0
        more = "" if found.complete else " at least"
        only = f"{found.count('only_here'):,} only here, {found.count('only_there'):,} only there"
        print(f"{found.count():,} codes differ{more}: {only}, {found.count('unequal'):,} unequal; {sides} ({cost})")
        if arguments.out is not None:
            with private_csv(arguments.out) as file:
                file.write("code,difference\n")
                file.writelines(f"{format_code(code)},{word}\n" for code, word in found.rows())
            print(f"listed in {arguments.out}", file=sys.stderr)
        if not arguments.mend:
            return EXIT_ROWS_IN_ERROR
        print(f"{mend(holdings, found):,} rows put to mend it", file=sys.stderr)
        refused = feed.sender.delivery.quarantined
        after = in_trio(compared)
        feed.line.end()
        refused = feed.sender.delivery.quarantined - refused
        if refused:
            print(f"{refused:,} of them put into quarantine: see `jukinet feed reports`", file=sys.stderr)
        print(
            f"{after.count():,} codes differ now"
            if after.count()
            else f"equal now: {after.held_here:,} residents and retired codes"
        )
        return EXIT_ROWS_IN_ERROR if after.count() else 0
