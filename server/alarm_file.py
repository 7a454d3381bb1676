"""The alarms file: alarms, acknowledgements, stops and releases, one JSON object a line (docs/detection.md).

The one file besides register, record of use and answers that may name an operator and a resident's code. It has mode
0600, only grows, and is written under its own lock, so that several processes may.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from jukinet.core.errors import JukinetError

FILE_NAME: Final = "alarms.jsonl"
FILE_BYTES_MAX: Final = 64 << 20
"""Then no more alarms are taken: about 300,000 of them."""
OPEN_TRIES: Final = 8

Operator = tuple[str, str, str]
"""Role, body and operator."""


class AlarmsError(JukinetError):
    """The alarms file cannot be read or written; the message names it and never quotes it."""


class Alarm(Struct, frozen=True, kw_only=True, tag_field="kind", tag="alarm", omit_defaults=True):
    """What a rule noticed. ``code``: the resident's, 11 digits, of MANY_AFFAIRS only."""

    number: int
    time: str
    rule: str
    role: str
    body: str
    operator: str
    affair: str
    value: float
    limit: float
    code: str = ""


class Acknowledged(Struct, frozen=True, kw_only=True, tag_field="kind", tag="acknowledged", omit_defaults=True):
    """Somebody has looked into these alarms."""

    time: str
    numbers: list[int]
    by: str
    note: str = ""


class Stopped(Struct, frozen=True, kw_only=True, tag_field="kind", tag="stopped"):
    """The operator is refused from now on."""

    time: str
    role: str
    body: str
    operator: str
    by: str


class Released(Struct, frozen=True, kw_only=True, tag_field="kind", tag="released"):
    """The operator is served again."""

    time: str
    role: str
    body: str
    operator: str
    by: str


Line = Alarm | Acknowledged | Stopped | Released
_decoder: Final = msgspec.json.Decoder(Line)


def moment(seconds: float) -> str:
    """UTC, ISO 8601, of seconds since 1970."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


class Alarms(Struct):
    """What the lines say, taken together. unreadable: lines that are no such line, a torn one for instance.

    keep: whether alarms and acknowledgements are kept; a server needs the stops and the highest number only.
    """

    keep: bool = True
    highest: int = 0
    alarms: dict[int, Alarm] = {}
    acknowledged: dict[int, Acknowledged] = {}
    stopped: dict[Operator, Stopped] = {}
    unreadable: int = 0

    def take(self, line: bytes) -> None:
        """Take up one line."""
        try:
            read = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable += 1
            return
        if isinstance(read, Alarm):
            self.highest = max(self.highest, read.number)
            if self.keep:
                self.alarms[read.number] = read
        elif isinstance(read, Acknowledged):
            for number in read.numbers if self.keep else ():
                self.acknowledged.setdefault(number, read)
        elif isinstance(read, Stopped):
            self.stopped[read.role, read.body, read.operator] = read
        else:
            self.stopped.pop((read.role, read.body, read.operator), None)

    @property
    def waiting(self) -> list[Alarm]:
        """Alarms that nobody has acknowledged, in order of number."""
        return [self.alarms[number] for number in sorted(self.alarms) if number not in self.acknowledged]


class AlarmFile:
    """The alarms file of a directory, appended to and followed.

    Invariant: ``known`` holds what the first ``_offset`` bytes of the file ``_inode`` say.
    """

    def __init__(self, directory: str | Path, *, keep: bool = True) -> None:
        """keep: False to know stops and the highest number only."""
        self.path = Path(directory) / FILE_NAME
        self.known = Alarms(keep=keep)
        self._inode = 0
        self._offset = 0

    def follow(self) -> bool:
        """Take up what was appended since: whether that was anything. Raises AlarmsError."""
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                if (state.st_ino, state.st_size) == (self._inode, self._offset):
                    return False
                if state.st_ino != self._inode or state.st_size < self._offset:
                    self.known, self._inode, self._offset = Alarms(keep=self.known.keep), state.st_ino, 0
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            changed, self._inode, self._offset = bool(self._inode), 0, 0
            self.known = Alarms(keep=self.known.keep)
            return changed
        except OSError as error:
            raise AlarmsError(f"{self.path}: cannot be read ({error.strerror})") from error
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            if line:
                self.known.take(line)
        self._offset += whole
        return whole > 0

    def append(self, lines: Sequence[Line]) -> int:
        """Make lines durable: how many alarms of them were left out because the file is full. Raises AlarmsError."""
        try:
            with self._locked() as descriptor:
                size = os.fstat(descriptor).st_size
                taken = [line for line in lines if size < FILE_BYTES_MAX or not isinstance(line, Alarm)]
                data = b"".join(msgspec.json.encode(line) + b"\n" for line in taken)
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    data = b"\n" + data  # closes what a crash or a full disk has left
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fdatasync(descriptor)
        except OSError as error:
            raise AlarmsError(f"{self.path}: cannot be written ({error.strerror})") from error
        return len(lines) - len(taken)

    def rotate(self, name: str) -> Path:
        """Put the file aside under a name and begin a new one with the stops in force. Raises AlarmsError."""
        aside = self.path.with_name(name)
        fresh = self.path.with_name(f".{FILE_NAME}.new")
        try:
            with self._locked():
                self.follow()
                if aside.exists():
                    raise AlarmsError(f"{aside} exists; choose another name")
                data = b"".join(msgspec.json.encode(line) + b"\n" for line in self.known.stopped.values())
                fresh.unlink(missing_ok=True)
                descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(self.path, aside)
                fresh.replace(self.path)
        except OSError as error:
            raise AlarmsError(f"{self.path}: cannot be put aside ({error.strerror})") from error
        return aside

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file's descriptor, under its lock. The file that has the name is meant: it may just be put aside."""
        for _ in range(OPEN_TRIES):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_ino == self.path.stat().st_ino:
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
        raise AlarmsError(f"{self.path}: is put aside again and again")
