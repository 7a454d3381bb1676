"""What the demo shows: compact, measured, readable on a terminal and in a log."""

from __future__ import annotations

import datetime
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jukinet.clients.answers import LookupRow, StatusRow
from jukinet.clients.demo.acts import CONNECTIONS, SINCE, Measured, Singles, Verified
from jukinet.clients.partial_date import PartialDate, era_format
from jukinet.core.vocabulary import ChangeReason, Outcome

COLUMNS_MAX: Final = 132
PEOPLE_COLUMNS: Final = (
    ("code", 11), ("outcome", 15), ("name", 12), ("born", 18), ("sex", 3), ("address", 0), ("last change", 19),
)  # fmt: skip
"""Terminal cells of each column; the address has what is left."""
ADDRESS_CELLS_MIN: Final = 16
REASONS: Final = {
    ChangeReason.MOVE_IN: "転入",
    ChangeReason.BIRTH: "出生",
    ChangeReason.EX_OFFICIO_ENTRY: "職権記載",
    ChangeReason.MOVE_OUT: "転出",
    ChangeReason.DEATH: "死亡",
    ChangeReason.EX_OFFICIO_REMOVAL: "職権消除",
    ChangeReason.MOVE_WITHIN: "転居",
    ChangeReason.MINOR_CORRECTION: "軽微な修正",
    ChangeReason.EX_OFFICIO_CORRECTION: "職権修正",
    ChangeReason.CODE_CHANGE_REQUESTED: "変更請求",
    ChangeReason.CODE_CHANGE_EX_OFFICIO: "職権変更",
}
"""As Order 30-5 names them."""
MEANINGS: Final = {
    Outcome.CURRENT: "",
    Outcome.CHANGED: "something was registered since",
    Outcome.DEAD: "removed on death",
    Outcome.MOVED_AWAY: "moved out, no entry elsewhere yet",
    Outcome.REMOVED: "removed ex officio",
    Outcome.CODE_CHANGED: "code changed",
    Outcome.NOT_CONNECTED: "municipality not connected",
    Outcome.UNKNOWN: "no such person",
    Outcome.BAD_CHECK_DIGIT: "mistyped: wrong check digit",
    Outcome.MALFORMED: "not 11 digits",
}


class Screen:
    """Prints the demo's chapters."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=False)
        if not self._console.is_terminal or self._console.width > COLUMNS_MAX:
            self._console.width = COLUMNS_MAX

    def title(self, residents: int) -> None:
        self._console.print(
            f"[bold]jukinet demo[/]  a register of {residents:,} residents, served and queried on this machine"
        )

    def chapter(self, text: str) -> None:
        self._console.print(f"\n[bold cyan]{text}[/]")

    def fact(self, name: str, text: str) -> None:
        line = Text(f"  {name:<13} ", style="dim")
        line.append(text, style="not dim")
        self._console.print(line, soft_wrap=True)

    def people(self, rows: list[LookupRow]) -> None:
        table = Table(box=SIMPLE_HEAD, pad_edge=True, show_edge=False)
        taken = sum(width + 3 for _, width in PEOPLE_COLUMNS)
        for name, width in PEOPLE_COLUMNS:
            cells = width or max(ADDRESS_CELLS_MIN, self._console.width - taken - 2)
            table.add_column(name, no_wrap=True, overflow="ellipsis", width=cells)
        for row in rows:
            table.add_row(*map(Text, _person(row)), style="" if row.outcome == Outcome.CURRENT else "dim")
        self._console.print(table)

    def statuses(self, rows: list[StatusRow], counts: Counter[Outcome]) -> None:
        table = Table(box=SIMPLE_HEAD, pad_edge=True, show_edge=False)
        table.add_column("outcome")
        table.add_column("codes", justify="right")
        table.add_column("for example")
        table.add_column("arose")
        table.add_column("meaning", style="dim")
        for row in rows:
            meaning = MEANINGS[row.outcome] or f"nothing registered since {SINCE}"
            table.add_row(row.outcome.name, f"{counts[row.outcome]:,}", row.code, _date(row.change_date), meaning)
        self._console.print(table)

    def rate(self, what: str, result: Measured, unit: str, note: str = "") -> None:
        line = Text(f"  {what:<13} ", style="dim")
        line.append(f"{result.rate:>12,.0f} {unit}/s", style="bold green not dim")
        line.append(f"   {result.answered:,} in {result.seconds:.2f} s{'   ' if note else ''}{note}", style="not dim")
        self._console.print(line, soft_wrap=True)

    def singles(self, result: Singles) -> None:
        # No p99.9: one stall of all connections is more than one in a thousand of two seconds' requests.
        note = f"p50 {result.at(0.5):.2f} ms  p99 {result.at(0.99):.2f} ms  slowest {result.at(1):.2f} ms"
        self.rate("lookup of one", result, "requests", f"{CONNECTIONS} connections, {note}")

    def verified(self, result: Verified) -> None:
        self.rate("verify", result, "codes", "name, birth date and sex claimed")
        right = result.different == result.altered
        self.fact(
            "",
            f"{result.altered:,} birth dates were altered beforehand, {result.different:,} came back DIFFERENT"
            + (" (exactly those)" if right else " (this must not be)"),
        )
        self.fact(
            "",
            f"{result.spaced:,} names were written without their space, {result.folded:,} came back FOLDED (equal)",
        )

    def refusal(self, what: str, message: str) -> None:
        line = Text("  refused  ", style="bold red")
        line.append(what, style="not bold default")
        line.append(f"\n           server: {message}", style="not bold dim")
        self._console.print(line, soft_wrap=True)

    def closing(self, lines: list[str]) -> None:
        self._console.print()
        for line in lines:
            self._console.print(Text(line, style="dim"), soft_wrap=True)


def machine() -> str:
    """Processors, memory, Python, and how busy other programs kept it until now, for the figures' sake."""
    processors = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    load = os.getloadavg()[0]
    return f"{processors} x {name}, {memory:.0f} GiB, Python {platform.python_version()}, load {load:.1f}"


def counted(counts: Counter[Outcome]) -> str:
    return ", ".join(f"{count:,} {outcome.name}" for outcome, count in sorted(counts.items()))


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def _date(date: datetime.date | PartialDate | None) -> str:
    return str(date) if date is not None else ""


def _person(row: LookupRow) -> tuple[Any, ...]:
    code = row.code or "(no code)"
    if row.name is None:
        note = MEANINGS[row.outcome]
        if row.successor_code:
            note += f", now {row.successor_code}"
        return code, row.outcome.name, "", "", "", note, _change(row)
    born = era_format(row.birth_date) if row.birth_date is not None else ""
    sex = {1: "男", 2: "女"}.get(int(row.sex or 0), "-")
    return code, row.outcome.name, row.name, born, sex, row.address, _change(row)


def _change(row: LookupRow) -> str:
    return f"{_date(row.change_date)} {REASONS[row.change_reason]}" if row.change_reason else ""
