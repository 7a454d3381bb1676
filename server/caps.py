"""Caps of a day and a year: the file of counts, and the question whether a request stays below them."""

from __future__ import annotations

import contextlib
import datetime
import mmap
import os
from pathlib import Path
from typing import Final, NamedTuple

from jukinet.core.errors import ConfigurationError, NotAuthorisedError, RecordOfUseError
from jukinet.core.law.grant import JAPAN, Grant
from jukinet.server.cap_counts import CELL_BYTES, DAY, FILE_BYTES, HEADER_BYTES, YEAR, CapCounts

FILE_NAME: Final = "caps.counts"
MAGIC: Final = b"JKN-CAP\0" + (1).to_bytes(8, "little")
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
FIRST_DAY: Final = datetime.date(2000, 1, 1).toordinal() - 1
FISCAL_YEAR_MONTH: Final = 4
PAGE_BYTES: Final = mmap.PAGESIZE


class SessionCaps(NamedTuple):
    """Where an affair session's codes are counted, and up to where; 0: no cap."""

    cell: int
    day_max: int
    year_max: int


def fiscal_year(day: datetime.date) -> int:
    """The year whose April began the fiscal year of ``day``."""
    return day.year if day.month >= FISCAL_YEAR_MONTH else day.year - 1


def day_number(day: datetime.date) -> int:
    """A day as the cells count it: 1 is 2000-01-01."""
    return day.toordinal() - FIRST_DAY


def prepare(directory: Path) -> Path:
    """Make or check the file before workers open it; after another boot counts begin at their reservations.

    For the process that holds the lock of the record of use. Raises ConfigurationError.
    """
    path = directory / FILE_NAME
    boot = _boot_id()
    try:
        if not path.exists():
            _make(path, boot)
            return path
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size != FILE_BYTES:
                raise ConfigurationError(f"{path}: has not {FILE_BYTES:,} bytes; restore it")
            with mmap.mmap(descriptor, FILE_BYTES) as memory:
                if memory[: len(MAGIC)] != MAGIC:
                    raise ConfigurationError(f"{path}: is no file of counts; restore it")
                if memory[len(MAGIC) : len(MAGIC) + len(boot)] != boot:
                    counts = CapCounts(memory)
                    counts.recover()
                    del counts
                    memory.flush()
                    memory[len(MAGIC) : len(MAGIC) + len(boot)] = boot
                    memory.flush()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be used: {error.strerror}") from None
    return path


def _boot_id() -> bytes:
    """16 bytes that differ after each start of the machine; zeros, which always recover, where there are none."""
    with contextlib.suppress(OSError, ValueError):
        return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))[:16].ljust(16, b"\0")
    return os.urandom(16)


def _make(path: Path, boot: bytes) -> None:
    making = path.with_name(path.name + ".new")
    descriptor = os.open(making, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write((MAGIC + boot).ljust(HEADER_BYTES, b"\0"))
        # Room now, for a full disk under a mapping kills the process that writes there.
        os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
        file.flush()
        os.fsync(file.fileno())
    making.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Caps:
    """A worker's view of the counts.

    Invariant: a cell stands in ``_unsure`` from the moment at which a request passed its durable reservation until
    ``make_durable`` has written it; what is counted so far is in the memory that all workers share.
    """

    def __init__(self, path: Path) -> None:
        """Open a prepared file. Raises ConfigurationError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._memory = mmap.mmap(descriptor, FILE_BYTES)
            finally:
                os.close(descriptor)
        except (OSError, ValueError):
            raise ConfigurationError(f"{path}: cannot be mapped; restore it") from None
        self._counts = CapCounts(self._memory)
        self._unsure: set[tuple[int, int]] = set()
        self.set_day(datetime.datetime.now(JAPAN).date())

    def set_day(self, today: datetime.date) -> None:
        """Take up the calendar day in Japan."""
        self._periods = (day_number(today), fiscal_year(today))

    def of_grant(self, owner: str, grant: Grant) -> SessionCaps | None:
        """Where and how far a grant's codes are counted; None without caps. NotAuthorisedError: no cell is left."""
        if not grant.codes_per_day_max and not grant.codes_per_year_max:
            return None
        cell = self._counts.cell(owner)
        if cell < 0:
            raise NotAuthorisedError("the affair has a cap that cannot be counted: all cells are in use")
        return SessionCaps(cell, grant.codes_per_day_max, grant.codes_per_year_max)

    def excess(self, caps: SessionCaps, count: int) -> str:
        """Count a request of ``count`` codes: '' when it stays below the caps, otherwise which one it would pass."""
        done: list[tuple[int, int]] = []
        limits = ((DAY, caps.day_max, "day"), (YEAR, caps.year_max, "fiscal year"))
        for which, cap, name in limits:
            if not cap:
                continue
            period = self._periods[which]
            result = self._counts.take(caps.cell, which, period, count, cap)
            if result < 0:
                for other, at in done:
                    self._counts.give_back(caps.cell, other, at, count)
                return f"the affair's {cap:,} codes of this {name} would be passed"
            done.append((which, period))
            if result:
                self._unsure.add((caps.cell, which))
        return ""

    def make_durable(self) -> None:
        """Write the reservations that answers wait for; called by the thread that commits. Raises RecordOfUseError."""
        while self._unsure:
            cell, which = self._unsure.pop()
            reserved = self._counts.reserved(cell, which)
            first = HEADER_BYTES + cell * CELL_BYTES
            start = first // PAGE_BYTES * PAGE_BYTES
            try:
                self._memory.flush(start, min(PAGE_BYTES, FILE_BYTES - start))
            except OSError as error:
                self._unsure.add((cell, which))
                raise RecordOfUseError("the counts of caps cannot be written") from error
            self._counts.confirm(cell, which, reserved)
