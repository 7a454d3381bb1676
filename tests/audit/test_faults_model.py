"""Any order of appends, commits, faults, restarts and kills, against a model of what must and must not be read."""

from __future__ import annotations

import errno
import os
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.audit import segment as segment_module
from jukinet.core.audit.errors import RecordOfUseNotWrittenError
from jukinet.core.audit.layout import KIND_PROVISION, KIND_VOID
from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import VoidHead
from jukinet.core.audit.writer import RecordOfUseWriter
from jukinet.core.errors import RecordOfUseError

from .logs import append, crash, open_writer

FAULTS = ("pwritev", "fdatasync", "ftruncate", "posix_fallocate", "fsync", "unlink", "sync_directory")
steps = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 300)),
    st.tuples(st.just("commit"), st.just(0)),
    st.tuples(st.sampled_from(FAULTS), st.integers(0, 600)),
    st.tuples(st.sampled_from(["restart", "crash"]), st.just(0)),
)


class Machine:
    """A writer over faults. ``must``: acknowledged; ``never``: failed; every request bears a code of its own."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.armed: dict[str, int] = {}
        self.must: list[int] = []
        self.never: set[int] = set()
        self.may: set[int] = set()
        self.waiting: dict[int, int] = {}
        self.next_code = 0
        for name in FAULTS:
            place: Any = segment_module if name == "sync_directory" else os
            patch.setattr(place, name, self.faulty(name, getattr(place, name)))
        self.writer: RecordOfUseWriter | None = open_writer(directory, segment_bytes_max=4_096, segment_step_bytes=512)

    def faulty(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if name not in self.armed:
                return real(*arguments)
            allowed = self.armed.pop(name)
            if name == "pwritev":  # a part is written before the error
                descriptor, pieces, offset = arguments
                os.pwrite(descriptor, b"".join(pieces)[:allowed], offset)
            raise OSError(errno.EIO, "injected")

        return call

    def append(self, size: int) -> None:
        if self.writer is not None:
            self.next_code += 1
            self.waiting[append(self.writer, [self.next_code] * size)] = self.next_code

    def commit(self) -> None:
        if self.writer is None:
            return
        try:
            durable = self.writer.commit()
        except RecordOfUseNotWrittenError as error:
            failed = range(error.first_ticket, error.last_ticket + 1)
            self.never |= {self.waiting.pop(ticket) for ticket in failed}
        else:
            assert not self.waiting or durable == max(self.waiting)
            self.must += self.waiting.values()
            self.waiting.clear()
        assert not self.waiting

    def restart(self, *, kill: bool) -> None:
        if self.writer is not None:
            if kill:
                crash(self.writer)
            else:
                self.commit()
                self.writer.close()
            self.allow_doubtful()
        self.waiting.clear()
        try:
            self.writer = open_writer(self.directory, segment_bytes_max=4_096, segment_step_bytes=512)
        except RecordOfUseError:
            self.writer = None

    def allow_doubtful(self) -> None:
        """docs/record-of-use.md, chapter 5, point 4: a failed group that nothing could cut off or shut out."""
        void = self.writer._void if self.writer is not None else None
        if void is not None and void.doubtful:
            self.may |= self.never

    def check(self) -> None:
        self.armed.clear()
        self.allow_doubtful()
        records = list(read_segments(self.directory))
        read = [record.provisions()[0][0] for record in records if record.kind == KIND_PROVISION]
        assert len(read) == len(set(read))
        assert set(self.must) <= set(read)
        assert set(read) - set(self.must) <= self.may
        assert read == sorted(read), "in the order of the appends"
        expected = 1
        for record in records:
            if record.kind == KIND_VOID:
                assert isinstance(record.head, VoidHead)
                assert record.head.first_sequence == expected
            else:
                assert record.sequence == expected
            expected = record.sequence + 1


@given(st.lists(steps, max_size=40))
@settings(max_examples=80, deadline=None)
def test_what_was_acknowledged_is_read_and_what_failed_is_not(script: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        machine = Machine(Path(name), patch)
        for action, value in script:
            if action == "append":
                machine.append(value)
            elif action == "commit":
                machine.commit()
            elif action in FAULTS:
                machine.armed[action] = value
            else:
                machine.restart(kill=action == "crash")
        machine.check()
        machine.restart(kill=True)
        machine.append(1)
        machine.commit()
        machine.check()
        if machine.writer is not None:
            machine.writer.close()


def test_the_model_can_fail() -> None:
    """A record that is read although its ticket failed is noticed."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        machine = Machine(Path(name), patch)
        machine.append(1)
        machine.commit()
        machine.must.clear()
        with pytest.raises(AssertionError):
            machine.check()
        assert machine.writer is not None
        machine.writer.close()
        assert array("Q", [1]) == next(iter(read_segments(Path(name)))).provisions()[0]
