"""Notices beside `jukinet feed run`, which has the feed's one connection: files to leave, and files of what was taken.

A directory with four folders. A file moved into ``leave`` (whole, by a rename) is left and goes to ``done``, with the
numbers in ``NAME.receipts``, or to ``refused``, with the reasons in ``NAME.errors``. What is for this prefecture comes
into ``taken``, a file for each turn: it is there and durable before its notices are confirmed. Broken off before that,
the same notices come again into another file: whoever reads them knows them by their number.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Final

import trio

from jukinet.clients.errors import ClientError
from jukinet.clients.feed.notice_file import TakenFile, read_notices
from jukinet.clients.feed.notices import NoticeClient
from jukinet.clients.feed.notices_command import Leaving
from jukinet.clients.feed.notification_fields import LineFault
from jukinet.core.wire import feed_messages as f

FILES_PER_TURN_MAX: Final = 100
SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FOLDERS: Final = ("leave", "done", "refused", "taken")


class NoticeSpool:
    """One directory. A file is moved only when what became of it is durable."""

    def __init__(self, directory: str | Path, prefecture: int, encoding: str = "utf-8") -> None:
        self.directory = Path(directory)
        self._prefecture = prefecture
        self._encoding = encoding
        for folder in FOLDERS:
            (self.directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)

    async def turn(self, client: NoticeClient) -> tuple[int, int, Counter[int]]:
        """Take and leave what there is; how many notices were left, taken, and are to be handed on, by area.

        Raises the connection's errors, OSError. Taking comes first: what cannot be left now does not hold up what waits
        here.
        """
        taken, to_hand_on = await self._take(client)
        left = 0
        for path in await trio.to_thread.run_sync(self._waiting):
            left += await self._leave(path, client)
        return left, taken, to_hand_on

    def _waiting(self) -> list[Path]:
        found = [
            path
            for path in (self.directory / "leave").iterdir()
            if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in SUFFIXES
        ]
        return sorted(found)[:FILES_PER_TURN_MAX]

    async def _leave(self, path: Path, client: NoticeClient) -> int:
        messages, words = await trio.to_thread.run_sync(self._read, path)
        leaving = Leaving(messages)
        if not words:
            await leaving.leave(client)
        words += [f"notice_id {notice_id}: {reason}" for notice_id, reason in leaving.refused.items()]
        receipts = ["notice_id,number", *(f"{notice_id},{number}" for notice_id, number in leaving.numbers.items())]
        await trio.to_thread.run_sync(self._file_away, path, receipts, words)
        return len(leaving.numbers)

    def _read(self, path: Path) -> tuple[list[f.NoticeLeave], list[str]]:
        kind = SUFFIXES[path.suffix.lower()]
        messages: list[f.NoticeLeave] = []
        words: list[str] = []
        try:
            for read in read_notices(str(path), self._prefecture, kind, self._encoding if kind == "csv" else "utf-8"):
                if isinstance(read, LineFault):
                    words.append(str(read))
                else:
                    messages.append(read)
        except (ClientError, OSError) as error:
            words.append(str(error))
        return messages, words

    def _file_away(self, path: Path, receipts: list[str], words: list[str]) -> None:
        """Receipts and reasons are there before the file moves: killed in between, it is left again, to no effect."""
        folder = self.directory / ("refused" if words else "done")
        target, number = folder / path.name, 0
        while target.exists():
            number += 1
            target = folder / f"{path.name}.{number}"
        if len(receipts) > 1:
            _write(folder / f"{target.name}.receipts", receipts)
        if words:
            _write(folder / f"{target.name}.errors", words)
        path.rename(target)
        _sync_directory(folder)

    async def _take(self, client: NoticeClient) -> tuple[int, Counter[int]]:
        taken = 0
        to_hand_on: Counter[int] = Counter()
        while True:
            notices, _ = await client.take()
            if not notices:
                return taken, to_hand_on
            await trio.to_thread.run_sync(self._keep, notices)
            await client.received([notice.number for notice in notices])
            taken += len(notices)
            to_hand_on += client.to_hand_on(notices)

    def _keep(self, notices: list[f.Notice]) -> None:
        folder = self.directory / "taken"
        work = folder / ".work"
        work.unlink(missing_ok=True)
        with TakenFile(str(work)) as file:
            file.add(notices)
        name, number = f"notices-{notices[0].number}-{notices[-1].number}", 0
        target = folder / f"{name}.csv"
        while target.exists():
            number += 1
            target = folder / f"{name}.{number}.csv"
        work.rename(target)
        _sync_directory(folder)


def _write(path: Path, lines: list[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, ""]))
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
