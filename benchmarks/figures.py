"""What every benchmark shares: its arguments, repeated rounds, and the report as a table and as flat JSON.

A report holds only numbers, short texts and booleans under plain names, one level deep, so that two of them can be laid
side by side. Rates are medians over rounds; ``NAME_min`` and ``NAME_max`` stand beside each.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import platform
import re
import shlex
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec
from rich.console import Console
from rich.table import Table

from standstill import StandstillWatch

PACKAGES: Final = ("jukinet", "lmdb", "trio", "msgspec", "cryptography", "numpy", "pyarrow", "hdrhistogram")
RESIDENTS_DEFAULT: Final = 1_000_000
RESIDENTS_SMOKE: Final = 3_000
ROUNDS_DEFAULT: Final = 5
SECONDS_DEFAULT: Final = 2.0
TRIES_PER_ROUND: Final = 4
CACHESTAT: Final = 451
"""Number of the system call, the same on x86-64 and arm64."""
CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
PLACE_DEFAULT: Final = Path("build/benchmarks")

Value = int | float | str | bool


class Options(msgspec.Struct, frozen=True):
    """A benchmark's arguments, resolved. ``seconds`` is the length of one round; ``work`` a directory that is removed
    at the end, on the file system of the store."""

    residents: int
    seed: int
    store: Path
    work: Path
    json: Path | None
    seconds: float
    rounds: int
    smoke: bool
    command: str


def whole_number(text: str) -> int:
    """An argparse type: a positive whole number whose digits may be grouped (1_000_000 or 1,000,000)."""
    number = int(text.replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


@contextmanager
def options(
    description: str,
    arguments: Sequence[str] | None = None,
    extend: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Iterator[tuple[Options, argparse.Namespace]]:
    """Parse a benchmark's command line; makes the work directory and removes it at the end."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--residents", type=whole_number, metavar="N", help="size of the nation (default 1,000,000)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="register to use; built when absent")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the nation and of the sample (1)")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="length of one round (2)")
    parser.add_argument("--rounds", type=whole_number, metavar="R", help="rounds of each measurement (5)")
    parser.add_argument("--smoke", action="store_true", help="small and short: shows that it works, measures nothing")
    if extend is not None:
        extend(parser)
    chosen = parser.parse_args(arguments)
    residents = chosen.residents or (RESIDENTS_SMOKE if chosen.smoke else RESIDENTS_DEFAULT)
    store = chosen.store or PLACE_DEFAULT / f"nation-{residents}-{chosen.seed}"
    store.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".benchmark-", dir=store.absolute().parent))
    try:
        yield (
            Options(
                residents=residents,
                seed=chosen.seed,
                store=store,
                work=work,
                json=chosen.json,
                seconds=chosen.duration or (0.05 if chosen.smoke else SECONDS_DEFAULT),
                rounds=chosen.rounds or (2 if chosen.smoke else ROUNDS_DEFAULT),
                smoke=chosen.smoke,
                command=shown_command(sys.argv[1:] if arguments is None else arguments),
            ),
            chosen,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def shown_command(words: Sequence[str]) -> str:
    """The command line with paths shortened to their last part, so that no report names a machine's folders."""
    short = [re.sub(r"[^=]*/", "", word) for word in words]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *short])


def say(text: str) -> None:
    """One line about what is going on, on stderr."""
    print(text, file=sys.stderr, flush=True)


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Value]:
    """The machine and how busy it was when this was asked."""
    return {
        "cpu_model": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "tcp_congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, Value]:
    found: dict[str, Value] = {
        "python_version": platform.python_version(),
        "openssl_version": ssl.OPENSSL_VERSION,
        "lmdb_library_version": ".".join(map(str, lmdb.version())),
    }
    for package in PACKAGES:
        try:
            found[f"{package}_version"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    git = shutil.which("git")
    if git is not None:
        told = subprocess.run(
            [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if told.returncode == 0:
            found["revision"] = told.stdout.strip()
    return found


def resident_percent(path: Path) -> float | None:
    """Share of a file that is in the page cache; None where the kernel cannot tell (cachestat came with Linux 6.5)."""
    size = path.stat().st_size
    whole, told = (ctypes.c_uint64 * 2)(0, size), (ctypes.c_uint64 * 5)()
    call = ctypes.CDLL(None, use_errno=True).syscall
    with path.open("rb") as file:
        if call(ctypes.c_long(CACHESTAT), file.fileno(), ctypes.byref(whole), ctypes.byref(told), 0) != 0:
            return None
    return min(100.0, 100 * told[0] * os.sysconf("SC_PAGE_SIZE") / size)


def process_cpu_seconds(process: int) -> float:
    """CPU time (user and system, all threads) that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def timed_rate(seconds: float, step: Callable[[], int]) -> float:
    """Units per second of ``step`` (which returns how many units it did), called until the time is over."""
    started = time.perf_counter()
    end = started + seconds
    done = step()
    while (now := time.perf_counter()) < end:
        done += step()
    return done / (now - started)


class Report:
    """The figures of one run, in the order in which they were added. Invariant: names are unique."""

    def __init__(self, title: str, chosen: Options) -> None:
        self.title = title
        self.options = chosen
        self.rounds_repeated = 0
        self._watch = StandstillWatch()
        self._rows: list[tuple[str, str, str, str]] = []
        self.values: dict[str, Value] = {
            "benchmark": Path(sys.argv[0]).stem,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": chosen.command,
            "residents": chosen.residents,
            "seed": chosen.seed,
            "rounds": chosen.rounds,
            "round_seconds": chosen.seconds,
            "smoke": chosen.smoke,
            **machine(),
            **versions(),
        }

    def rounds(self, results: list[Any]) -> Iterator[None]:
        """Lets the loop that uses it append a result for each round to ``results``; rounds in which the machine stood
        still are taken out and repeated, at most TRIES_PER_ROUND times each."""
        wanted = len(results) + self.options.rounds
        left = (TRIES_PER_ROUND - 1) * self.options.rounds
        self._watch.stood_still()
        while len(results) < wanted:
            yield
            if self._watch.stood_still() and left:
                results.pop()
                left -= 1
                self.rounds_repeated += 1

    def measured(self, measure: Callable[[], float]) -> list[float]:
        """The results of all rounds of one measurement."""
        results: list[float] = []
        for _ in self.rounds(results):
            results.append(measure())
        return results

    def note_residency(self, name: str, path: Path) -> None:
        """Tell how much of a file is in memory now: some machines page out what was idle, however much is free."""
        share = resident_percent(path) if path.exists() else None
        if share is not None:
            self.fact(f"{name}_resident_percent_after", round(share, 1))

    def fact(self, name: str, value: Value) -> None:
        """Something that is no measurement: a version, a scale, a check that held."""
        if name in self.values:
            raise ValueError(f"{name} was reported already")
        self.values[name] = value

    def rate(self, name: str, results: Sequence[float], meaning: str) -> float:
        """Results of all rounds of one measurement; returns the median."""
        return self.spread(name, results, meaning, 0)

    def spread(self, name: str, results: Sequence[float], meaning: str, digits: int = 3) -> float:
        """Results of all rounds of one measurement that is no rate; returns the median."""
        values = statistics.median(results), min(results), max(results)
        told = [round(value, digits or None) for value in values]
        for suffix, value in zip(("", "_min", "_max"), told, strict=True):
            self.fact(f"{name}{suffix}", value)
        self._rows.append((name, f"{told[0]:,}", f"{told[1]:,} - {told[2]:,}", meaning))
        return statistics.median(results)

    def figure(self, name: str, value: float, meaning: str, digits: int = 2) -> None:
        """One number."""
        rounded = round(value, digits) if digits else round(value)
        self.fact(name, rounded)
        self._rows.append((name, f"{rounded:,}", "", meaning))

    def finish(self) -> None:
        """Print the table and write the JSON file."""
        self._watch.close()
        self.fact("rounds_repeated", self.rounds_repeated)
        self.note_residency("store", self.options.store / "data.mdb")
        console = Console(width=None if sys.stdout.isatty() else 150)
        table = Table(title=f"{self.title}: {self.options.residents:,} residents", title_justify="left")
        table.add_column("figure")
        table.add_column("median", justify="right")
        table.add_column("least - most", justify="right")
        table.add_column("what it is")
        for row in self._rows:
            table.add_row(*row)
        console.print(table)
        told = self.values
        console.print(
            f"{told['cpu_model']}, {told['cores']} cores, {int(told['memory_bytes']) / 2**30:.0f} GiB, "
            f"kernel {told['kernel']}, TCP {told['tcp_congestion_control']}, "
            f"load {told['load_average_before']} before the run"
        )
        if self.options.json is not None:
            self.options.json.parent.mkdir(parents=True, exist_ok=True)
            self.options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
