"""Time, size and memory of building a synthetic nation with `jukinet nation build`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from figures import Options, Report, options, say
from nation_register import build_command, built_register, check_lookups

POLL_SECONDS: Final = 0.02


class Built(msgspec.Struct, frozen=True):
    """One build: wall seconds, CPU seconds, the most memory of its own and in all (with mapped file pages), and what it
    tells of its identity index."""

    seconds: float
    cpu_seconds: float
    own_memory_bytes: int
    resident_memory_bytes: int
    index_bytes: int
    index_seconds: float


def watched_build(chosen: Options, store: Path) -> Built:
    """Build in a process of its own and watch its memory."""
    started = time.perf_counter()
    process = subprocess.Popen(build_command(chosen.residents, chosen.seed, store), stdout=subprocess.PIPE, text=True)
    own = whole = 0
    while (status := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        own_now, whole_now = memory_of(process.pid)
        own, whole = max(own, own_now), max(whole, whole_now)
        time.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status[1])
    if process.returncode:
        raise SystemExit("the build failed")
    usage = status[2]
    assert process.stdout is not None
    with process.stdout:
        told = re.search(r"identity index: ([\d,]+) bytes, ([\d.]+) s", process.stdout.read())
    if told is None:
        raise SystemExit("the build does not tell of its identity index")
    cpu, resident = usage.ru_utime + usage.ru_stime, max(whole, usage.ru_maxrss * 1_024)
    return Built(seconds, cpu, own, resident, int(told[1].replace(",", "")), float(told[2]))


def memory_of(process: int) -> tuple[int, int]:
    """Bytes of anonymous memory and of all resident pages of a process; zeros when it has just ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0, 0
    found = dict(re.findall(r"^(RssAnon|VmRSS):\s+(\d+) kB$", text, re.MULTILINE))
    return int(found.get("RssAnon", 0)) * 1_024, int(found.get("VmRSS", 0)) * 1_024


def main() -> int:
    with options(__doc__ or "") as (chosen, _):
        report = Report("Building a nation", chosen)
        store = chosen.work / "nation" if chosen.store.exists() else chosen.store
        say(f"building {chosen.residents:,} residents")
        built = watched_build(chosen, store)
        size = sum(path.stat().st_blocks * 512 for path in store.iterdir())
        report.rate("residents_per_second", [chosen.residents / built.seconds], "start of the process to durable store")
        report.figure("seconds", built.seconds, "for the whole build")
        report.figure("cpu_seconds", built.cpu_seconds, "of all its threads")
        report.figure("store_bytes", size, "on disk", 0)
        report.figure("store_bytes_per_resident", size / chosen.residents, "on disk", 1)
        report.figure("peak_memory_bytes", built.own_memory_bytes, "most memory of its own", 0)
        report.figure("peak_resident_bytes", built.resident_memory_bytes, "the same with mapped pages of the store", 0)
        report.figure("index_bytes", built.index_bytes, "blocks of the identity index", 0)
        report.figure("index_bytes_per_resident", built.index_bytes / chosen.residents, "the same, each", 1)
        report.figure("index_build_seconds", built.index_seconds, "what the identity index added to the build")
        with built_register(msgspec.structs.replace(chosen, store=store)) as reader, reader.pin() as snapshot:
            report.fact("answers_digest", check_lookups(chosen, reader, snapshot, 200))
        report.fact("answers_checked", True)
        report.finish()
        if store != chosen.store:
            shutil.rmtree(store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
