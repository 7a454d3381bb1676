"""A year of a small nation's changes by real clients, over lines that break, with processes that are killed.

The program checks everything itself: byte-for-byte equality with a straight run and with the journal's replay, `store
check`, and `feed compare`. When it fails, its command line with the seed repeats it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 300


@pytest.mark.slow
def test_a_year_ends_in_the_register_of_a_straight_run(tmp_path: Path) -> None:
    report = tmp_path / "year.json"
    words = ["--residents", "20000", "--seed", "3", "--smoke", "--store", str(tmp_path / "n"), "--json", str(report)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "feed_year.py"), *words],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS_MAX,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(report.read_text())
    assert found["equal"] is True
    assert found["clients"] == found["equal_prefectures"] == 12
    assert (found["writer_kills"], found["client_kills"]) == (6, 10)
    assert found["cuts"] >= 10
    assert found["connections"] > found["cuts"]
    assert found["notifications"] > 1_500
    assert found["batches"] > 150
