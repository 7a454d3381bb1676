"""Log and metrics: their formats hold, and they stay bounded."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from jukinet.server import event_log, metrics
from jukinet.server.event_log import EventLog


def written(descriptor: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in os.read(descriptor, 1 << 20).decode().splitlines()]


def test_records_are_one_line_of_json_each() -> None:
    reading, writing = os.pipe()
    log = EventLog("info", writing, worker=3)
    log.debug("unseen")
    log.info("seen", text="two\nlines", number=5)
    log.warning("long", text="x" * 2_000)
    first, second = written(reading)
    assert (first["event"], first["level"], first["worker"], first["text"]) == ("seen", "info", 3, "two\nlines")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(first["time"]))
    assert len(str(second["text"])) == event_log.TEXT_CHARACTERS_MAX
    os.close(reading), os.close(writing)


def test_unforeseen_errors_are_logged_without_what_they_say() -> None:
    reading, writing = os.pipe()
    log = EventLog("info", writing)
    try:
        int("12345678903x")
    except ValueError as error:
        log.failure("failed", error)
        log.failure("failed", ExceptionGroup("12345678903", [error]))
    one, group = written(reading)
    assert "12345678903" not in json.dumps([one, group])
    assert one["error"] == "ValueError"
    assert group["error"] == "ExceptionGroup(ValueError)"
    assert "test_unforeseen_errors" in str(one["places"])
    os.close(reading), os.close(writing)


def test_an_event_cannot_flood_the_log() -> None:
    reading, writing = os.pipe()
    log = EventLog("info", writing)
    for _ in range(1_000):
        log.info("often")
    log.info("seldom")
    records = written(reading)
    assert sum(record["event"] == "often" for record in records) <= 2 * event_log.RECORDS_PER_SECOND_MAX
    assert records[-1]["event"] == "seldom"
    os.close(reading), os.close(writing)


def test_log_that_cannot_be_written_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    EventLog("info", writing).info("lost")
    os.close(writing)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_histogram_counts_each_value_in_its_bucket(values: list[float]) -> None:
    histogram = metrics.Histogram(metrics.SECONDS_BOUNDS)
    for value in values:
        histogram.observe(value)
    below = 0
    for bound, count in zip(metrics.SECONDS_BOUNDS, histogram.buckets, strict=False):
        below += count
        # A value within a rounding error of a bound may stand on either side.
        assert sum(v <= bound * (1 - 1e-9) for v in values) <= below <= sum(v <= bound * (1 + 1e-9) for v in values)
    assert sum(histogram.buckets) == len(values)


SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{([a-z_]+)="([^"\\\n]*)"\})? ([0-9.e+-]+|\+Inf)')


def check_exposition(text: str) -> dict[str, float]:
    """What Prometheus' text format asks: TYPE once and before its samples, buckets that grow, +Inf equal to count."""
    samples: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        family = re.sub(r"_(bucket|sum|count)$", "", match[1]) if match[1] not in kinds else match[1]
        assert family in kinds, line
        assert line.rsplit(" ", 1)[0] not in samples
        samples[line.rsplit(" ", 1)[0]] = float(match[4])
        if kinds[family] == "counter":
            assert match[1].endswith("_total")
    for family in (name for name, kind in kinds.items() if kind == "histogram"):
        buckets = [value for name, value in samples.items() if name.startswith(f"{family}_bucket")]
        assert buckets == sorted(buckets)
        assert samples[f'{family}_bucket{{le="+Inf"}}'] == samples[f"{family}_count"]
    assert text.endswith("\n")
    return samples


def test_file_is_prometheus_text_and_the_sum_of_workers(tmp_path: Path) -> None:
    one, other = metrics.Metrics(), metrics.Metrics()
    one.count("errors_total", "NOT_AUTHORISED")
    other.count("errors_total", "NOT_AUTHORISED", 4)
    one.requests[1] += 5
    one.gauges["connections"] = 2
    other.gauges["connections"] = 3
    one.commit_seconds.observe(0.0003)
    other.commit_seconds.observe(99.0)
    one.commit_requests.observe(17)
    path = tmp_path / "metrics.prom"
    metrics.write_file(path, metrics.prometheus_text(metrics.merge([one.snapshot(), other.snapshot()])))
    samples = check_exposition(path.read_text())
    assert samples['jukinet_errors_total{code="NOT_AUTHORISED"}'] == 5
    assert samples['jukinet_requests_total{function="lookup"}'] == 5
    assert samples["jukinet_connections"] == 5
    assert samples["jukinet_commit_seconds_count"] == 2
    assert samples["jukinet_commit_seconds_sum"] == 99.0003
    assert samples['jukinet_commit_requests_bucket{le="16"}'] == 0
    assert samples['jukinet_commit_requests_bucket{le="32"}'] == 1
    assert list(tmp_path.iterdir()) == [path], "no temporary file is left"


def test_merging_does_not_change_what_is_merged() -> None:
    one = metrics.Metrics()
    one.count("errors_total", "INTERNAL")
    first = one.snapshot()
    metrics.merge([first, first])
    assert first.counters["errors_total"] == {"INTERNAL": 1}
