"""Putting a file of notifications into the outbox: all of it, or without its bad lines when asked, or nothing."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from jukinet.clients.errors import UsageError
from jukinet.clients.feed.notification_fields import LineFault
from jukinet.clients.feed.notification_file import NotificationFile
from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import ORIGIN_BYTES_MAX

FAULTS_KEPT_MAX: Final = 10_000
JAPAN: Final = datetime.timezone(datetime.timedelta(hours=9))
PROGRESS_ROWS: Final = 4_096


class AlreadyPutError(UsageError):
    """The same file was put before."""


@dataclass(slots=True)
class FilePut:
    """What became of a file. ``rows`` are in the outbox; ``faults`` are the first of ``fault_count`` bad lines."""

    rows: int = 0
    fault_count: int = 0
    faults: list[LineFault] = field(default_factory=list)
    first: int = 0
    last: int = 0


def today_in_japan() -> datetime.date:
    return datetime.datetime.now(JAPAN).date()


def put_file(
    outbox: Outbox,
    file: NotificationFile,
    *,
    skip_bad: bool = False,
    again: bool = False,
    progress: Callable[[int, float | None], None] | None = None,
) -> FilePut:
    """Put a file, in one transaction as far as anybody can see, in bounded memory.

    With bad lines nothing is put unless ``skip_bad``. AlreadyPutError for the bytes of a file that was put before,
    unless ``again``; UsageError when it cannot be read; OutboxError when the outbox cannot take it.
    """
    found = FilePut()
    with outbox.draft() as draft:
        name = file.name.encode()[: ORIGIN_BYTES_MAX - 16].decode(errors="ignore")
        for count, line in enumerate(file.lines(outbox.state.prefecture, today_in_japan()), 1):
            if isinstance(line, LineFault):
                found.fault_count += 1
                if len(found.faults) < FAULTS_KEPT_MAX:
                    found.faults.append(line)
            elif skip_bad or not found.fault_count:
                draft.add(line[1], f"{name}:{line[0]}")
            if progress is not None and count % PROGRESS_ROWS == 0:
                progress(count, file.fraction())
        if found.fault_count and not skip_bad:
            return found
        digest = file.digest()
        known = outbox.file_put(digest)
        if known is not None and not again:
            raise AlreadyPutError(
                f"{file.name}: these bytes were put on {known.day} as {known.name} (rows {known.first} to "
                f"{known.last}); give --again if they are meant to be sent a second time"
            )
        if draft.count == 0:
            return found
        if known is not None:
            digest = hashlib.blake2b(digest + outbox.state.last.to_bytes(8, "big"), digest_size=32).digest()
        span = draft.publish(digest, file.name)
        found.rows, found.first, found.last = len(span), span.start, span.stop - 1
    return found
