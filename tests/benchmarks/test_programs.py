"""Each benchmark program at a tiny scale: it runs, its answers are checked, its JSON holds the figures it promises.

Nothing is timed here; the programs themselves compare every kind of answer with the register before they measure.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESIDENTS = 2_000
SECONDS_MAX = 120
CONTEXT = (
    "benchmark", "date", "command", "residents", "seed", "cpu_model", "cores", "memory_bytes", "kernel",
    "python_version", "openssl_version", "lmdb_version", "trio_version",
)  # fmt: skip
redis_only = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


def run_program(name: str, store: Path, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    words = ["--residents", str(RESIDENTS), "--store", str(store), "--seed", "5", "--smoke", *more]
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *words],
        cwd=ROOT, capture_output=True, text=True, check=check, timeout=SECONDS_MAX,
    )  # fmt: skip


def figures(name: str, store: Path, directory: Path, *more: str) -> dict[str, Any]:
    report = directory / "report.json"
    done = run_program(name, store, "--json", str(report), *more, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    found: dict[str, Any] = json.loads(report.read_text())
    assert all(isinstance(value, int | float | str | bool) for value in found.values()), "the object is flat"
    assert set(CONTEXT) <= set(found)
    assert found["residents"] == RESIDENTS
    assert found["answers_checked"] is True
    assert str(directory) not in report.read_text(), "no report names a machine's folders"
    for key, value in found.items():
        if "_per_second" in key and not key.endswith("version"):
            assert value > 0, key
    assert not list(store.parent.glob(".benchmark-*")), "nothing is left behind"
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks") / "nation"


@pytest.fixture(scope="module")
def built(store: Path) -> dict[str, Any]:
    """The figures of the program that builds the store for the others."""
    return figures("nation_build.py", store, store.parent)


def test_nation_build(built: dict[str, Any], store: Path) -> None:
    assert store.is_dir(), "the store that it built is kept for the others"
    size = sum(path.stat().st_blocks * 512 for path in store.iterdir())
    assert abs(built["store_bytes"] - size) <= 65_536
    assert built["seconds"] > 0
    assert built["peak_resident_bytes"] >= built["peak_memory_bytes"] > 1_000_000


def test_core_lookup(built: dict[str, Any], store: Path, tmp_path: Path) -> None:
    found = figures("core_lookup.py", store, tmp_path)
    for name in ("lookup", "lookup_packed", "unpack", "status", "status_sorted", "verify", "plain_lmdb"):
        least, median, most = (found[f"{name}_codes_per_second{part}"] for part in ("_min", "", "_max"))
        assert 1_000 < least <= median <= most
    assert found["plain_lmdb_residents"] == RESIDENTS
    assert 60 < found["plain_record_bytes"] < 200
    assert found["answers_digest"] == built["answers_digest"], "the same nation gives the same answers"


@redis_only
@pytest.mark.usefixtures("built")
def test_end_to_end(store: Path, tmp_path: Path) -> None:
    found = figures("end_to_end.py", store, tmp_path)
    for name in ("lookup", "lookup_plain", "lookup_packed_wire", "status", "verify", "redis_mget"):
        assert found[f"{name}_codes_per_second"] > 100
    ratio = found["lookup_codes_per_second"] / found["redis_mget_codes_per_second"]
    assert abs(found["lookup_to_redis_ratio"] - ratio) < 0.06
    assert found["redis_keys"] == RESIDENTS


@pytest.mark.usefixtures("built")
def test_single_lookup(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("hdrh")
    found = figures("single_lookup.py", store, tmp_path)
    for name in ("1", "32", "256"):
        assert found[f"requests_per_second_{name}"] > 10
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["p999_ms"] <= found["max_ms"]
    rates = [found[f"requests_per_second_{name}"] for name in ("1", "32", "256")]
    assert abs(found["open_loop_requests_per_second"] - max(rates) / 2) <= 1


@pytest.mark.usefixtures("built")
def test_another_nation_is_refused(store: Path) -> None:
    done = run_program("core_lookup.py", store, "--seed", "6", check=False)
    assert done.returncode == 1
    assert "another register" in done.stderr


def test_feed_load(store: Path, tmp_path: Path) -> None:
    found = figures("feed_load.py", store, tmp_path)
    assert 100 < found["loaded_residents"] < RESIDENTS
    assert found["reloaded_per_second"] > 100
    assert found["in_process_per_second"] > 100


def test_compare_holdings(store: Path, tmp_path: Path) -> None:
    found = figures("compare_holdings.py", store, tmp_path)
    assert found["differences"] == 10
    assert found["seconds"] > 0
    assert 1_000 < found["bytes_exchanged"] < 200_000


@pytest.mark.usefixtures("built")
def test_feed_apply(store: Path, tmp_path: Path) -> None:
    found = figures("feed_apply.py", store, tmp_path)
    assert found["applied_per_second_min"] > 100
    assert found["transaction_rows"] == 300


@pytest.mark.usefixtures("built")
def test_cohort(store: Path, tmp_path: Path) -> None:
    found = figures("cohort.py", store, tmp_path)
    assert found["cohort_codes"] == RESIDENTS // 3
    assert found["changes"] >= 500
    assert 0 < found["told_codes"] < found["changes"]
    assert found["register_seconds"] > 0
    assert found["ask_seconds"] > 0


@pytest.mark.usefixtures("built")
def test_audit_cost(store: Path, tmp_path: Path) -> None:
    found = figures("audit_cost.py", store, tmp_path)
    assert found["lookup_ratio_with_audit"] > 0
    assert found["added_ms_median"] > 0
    assert found["seal_codes_per_second"] > 1_000
    assert found["verify_bytes_per_second"] > 1_000


@pytest.mark.usefixtures("built")
def test_disclosure(store: Path, tmp_path: Path) -> None:
    found = figures("disclosure.py", store, tmp_path)
    assert found["provisions"] >= 40_000
    assert 0 < found["disclose_seconds"] < SECONDS_MAX


def test_match_quality(built: dict[str, Any], store: Path, tmp_path: Path) -> None:
    kept = tmp_path / "parameters.json"
    found = figures("match_quality.py", store, tmp_path, "--write-parameters", str(kept))
    assert found["precision"] > 0.95
    assert 0.8 < found["recall"] <= 1.0
    assert 0.8 < found["recall_clean"] <= 1.0
    assert found["records"] == 400
    assert kept.stat().st_size > 1_000


def test_match_speed(built: dict[str, Any], store: Path, tmp_path: Path) -> None:
    found = figures("match_speed.py", store, tmp_path)
    assert found["index_bytes"] > 0
    for name in ("search", "match_records", "match_in_process_records", "most_common_name_with_year"):
        assert found[f"{name}_per_second"] > 0
