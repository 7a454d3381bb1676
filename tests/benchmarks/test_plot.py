"""The page's tables and plots come from the reports, and can be made again."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plot(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("MPLBACKEND", "svg")
    return importlib.import_module("plot")


def write_report(directory: Path, residents: int, **figures: Any) -> None:
    report = {"benchmark": "single_lookup", "residents": residents, "smoke": False, "cores": 2, **figures}
    (directory / f"single_lookup-{residents}.json").write_text(json.dumps(report))


def test_tables_and_plots_are_made_anew(plot: Any, tmp_path: Path) -> None:
    write_report(tmp_path, 10_000_000, requests_per_second_32=31_000, p99_ms=2.5)
    write_report(tmp_path, 1_000_000, requests_per_second_32=34_567)
    found = plot.read_reports(tmp_path)
    page = "before\n<!-- table: single_lookup -->\nold\n<!-- end -->\nafter <!-- table: core_lookup -->\n<!-- end -->\n"
    filled = plot.filled(page, found)
    assert "| 32 connections, requests/s | 34,567 | 31,000 |" in filled
    assert "| latency, 99 %, ms |  | 2.5 |" in filled
    assert "old" not in filled
    assert "Not measured yet." in filled
    assert plot.filled(filled, found) == filled
    plot.draw(found, tmp_path)
    first = (tmp_path / "single_lookup.svg").read_bytes()
    plot.draw(found, tmp_path)
    assert (tmp_path / "single_lookup.svg").read_bytes() == first
    assert b"<svg" in first


def test_a_smoke_run_is_no_figure(plot: Any, tmp_path: Path) -> None:
    write_report(tmp_path, 1_000_000, smoke=True)
    with pytest.raises(SystemExit, match="smoke"):
        plot.read_reports(tmp_path)


def test_the_page_shows_the_reports_that_are_checked_in(plot: Any) -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    assert plot.filled(text, plot.read_reports(ROOT / "docs" / "figures")) == text, "run benchmarks/plot.py"
