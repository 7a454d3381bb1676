"""Comparing the runs of sorted codes with the content that they were made from (docs/record-of-use.md, chapter 9)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.audit.run_kernel import CodeBuffer
from jukinet.core.audit.runs import Run, RunName, list_runs, outermost


class RunCheck:
    """Follows the content in the order of the tree, and compares a run when its last leaf has passed.

    Invariant: ``_sum`` is that of all codes from ``_runs[0].first_leaf`` to the leaf that was reached.
    """

    def __init__(self, tree: Path, erased_leaf: int, found: Callable[[Any], None]) -> None:
        self._tree = tree
        self._found = found
        self._keys = (secrets.randbits(64), secrets.randbits(64))
        self._buffer = CodeBuffer()
        self._sum = 0
        self._runs: list[RunName] = []
        self._stale = False
        try:
            self._runs = [run for run in outermost(list_runs(tree))[0] if run.next_leaf > erased_leaf]
        except TreeDamagedError as error:
            self._tell(error.path, error.found)

    def _tell(self, path: Path, text: str) -> None:
        from jukinet.core.audit.segment_check import Finding  # noqa: PLC0415  (it imports this module)

        self._found(Finding(kind="codes", path=str(path), text=text))

    def records(self, data: memoryview, leaf: int, records: int) -> None:
        """Verified records, the first of which is ``leaf``."""
        self._reach(leaf)
        self._buffer.collect(data, leaf)
        self._sum += self._buffer.digest(*self._keys)
        self._buffer.clear()
        self._end_of_run(leaf + records)

    def statement(self, next_leaf: int) -> None:
        """The statement before ``next_leaf`` has passed."""
        self._end_of_run(next_leaf)

    def _reach(self, leaf: int) -> None:
        """Content begins at ``leaf``: a run must hold it."""
        while self._runs and self._runs[0].next_leaf <= leaf:
            self._compare(self._runs.pop(0))
        if (not self._runs or self._runs[0].first_leaf > leaf) and not self._stale:
            self._tell(self._tree / "codes", f"no run holds leaf {leaf}")
            self._stale = True

    def _end_of_run(self, next_leaf: int) -> None:
        while self._runs and self._runs[0].next_leaf <= next_leaf:
            self._compare(self._runs.pop(0))

    def _compare(self, name: RunName) -> None:
        buffer = CodeBuffer()
        total, self._sum = self._sum & (2**64 - 1), 0
        try:
            with Run(self._tree, name) as run:
                run.unpack(buffer)
        except TreeDamagedError as error:
            self._tell(error.path, error.found)
            return
        if buffer.digest(*self._keys) != total:
            self._tell(name.path(self._tree), "does not hold the codes of its records")

    def end(self) -> None:
        """All content has passed."""
        for name in self._runs:
            self._tell(name.path(self._tree), "holds leaves that no segment has")
