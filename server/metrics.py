"""Counters, gauges and histograms of one process, and the Prometheus text file merged from all workers.

Counting is an attribute or list increment, cheap enough for every request. A worker hands over a ``snapshot`` (plain
data); the supervisor adds the snapshots up and writes the file. Labels hold names of functions, errors and kinds,
never data from a request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from jukinet.core.vocabulary import Function

PREFIX: Final = "jukinet_"
# name: (type, help, label or "")
DECLARED: Final[dict[str, tuple[str, str, str]]] = {
    "requests_total": ("counter", "Requests for data that were answered, by function.", "function"),
    "codes_total": ("counter", "Codes that were answered, by function.", "function"),
    "errors_total": ("counter", "ERROR messages sent, by code.", "code"),
    "sessions_opened_total": ("counter", "Affair sessions opened.", ""),
    "connections_accepted_total": ("counter", "TCP connections accepted.", ""),
    "connections_refused_total": ("counter", "Connections refused or failed before the greeting, by kind.", "kind"),
    "connections_closed_total": ("counter", "Connections closed after the greeting, by kind.", "kind"),
    "received_bytes_total": ("counter", "Plain bytes received from callers.", ""),
    "sent_bytes_total": ("counter", "Plain bytes sent to callers.", ""),
    "record_of_use_commits_total": ("counter", "Group commits of the record of use.", ""),
    "record_of_use_failures_total": ("counter", "Group commits of the record of use that failed.", ""),
    "record_of_use_overdue_total": (
        "counter",
        "Group commits of the record of use given up after record_of_use.commit_seconds.",
        "",
    ),
    "reloads_total": ("counter", "Reloads of authority and certificates, by result.", "result"),
    "authority_failures_total": ("counter", "Versions of the authority not taken up, by cause.", "cause"),
    "operators_total": ("counter", "Operators who came in, were refused, or are out again.", "result"),
    "register_refreshes_total": ("counter", "Newer versions of the register taken up.", ""),
    "alarms_total": ("counter", "Alarms of the watch, by rule.", "rule"),
    "alarms_lost_total": ("counter", "Alarms of the watch that could not be written down.", ""),
    "watch_passed_over_total": ("counter", "Requests that the watch had no room to note.", ""),
    "workers_started_total": ("counter", "Worker processes started.", ""),
    "workers_died_total": ("counter", "Worker processes that ended without being told to.", ""),
    "feed_batches_total": ("counter", "Batches and ranges of the feeds, by what became of them.", "result"),
    "feed_notifications_total": ("counter", "Notifications of the feeds, by what became of them.", "result"),
    "feed_faults_total": ("counter", "Notifications put into quarantine, by fault.", "fault"),
    "feed_transactions_total": ("counter", "Transactions of the feed writer that were committed.", ""),
    "feed_failures_total": ("counter", "Transactions of the feed writer that failed.", ""),
    "feed_register_lost_total": ("counter", "Times that the feed writer had to open the register anew.", ""),
    "retention_steps_total": ("counter", "Steps of purging.", ""),
    "retention_expired_total": ("counter", "Records that gave way to tombstones at the end of their retention.", ""),
    "retention_contributions_total": ("counter", "Earlier records that were taken out of the history.", ""),
    "retention_trimmed_total": ("counter", "Journal entries and quarantined rows that were trimmed.", ""),
    "retention_failures_total": ("counter", "Purges that were refused or broken off.", ""),
    "retention_days_behind": ("gauge", "Days since the day by which the last whole purge judged.", ""),
    "feed_writers_died_total": ("counter", "Feed writer processes that ended without being told to.", ""),
    "feed_connections": ("gauge", "Feeds that are connected.", ""),
    "witness_connections": ("gauge", "Witnesses that are connected to the witness port.", ""),
    "feed_queued_bytes": ("gauge", "Bytes of batches that are not committed yet.", ""),
    "feed_writing": ("gauge", "1 while the register can be written.", ""),
    "notices_undelivered": ("gauge", "Move-in notices that were not received yet.", ""),
    "notices_oldest_seconds": ("gauge", "Age of the oldest of these; 0 when there is none.", ""),
    "notices_overdue": ("gauge", "Of these, the ones that are to go on paper.", ""),
    "seals_total": ("counter", "Segments and statements added to the tree over the record of use.", ""),
    "sealed_records_total": ("counter", "Records of use added to the tree.", ""),
    "sealed_provisions_total": ("counter", "Provisions in them.", ""),
    "seal_failures_total": ("counter", "Times that sealing failed or was stopped.", ""),
    "seal_clock_back_total": ("counter", "Seals that found the clock set back by more than a second.", ""),
    "sealers_died_total": ("counter", "Sealer processes that ended without being told to.", ""),
    "seal_working": ("gauge", "1 while the record of use can be sealed.", ""),
    "seal_leaves": ("gauge", "Leaves of the tree over the record of use.", ""),
    "connections": ("gauge", "Connections open.", ""),
    "requests_queued": ("gauge", "Bulk requests that wait or run.", ""),
    "queued_bytes": ("gauge", "Bytes of bulk requests that wait or run.", ""),
    "unsent_bytes": ("gauge", "Bytes of answers that callers have not taken yet.", ""),
    "certificate_left_seconds": (
        "gauge",
        "Until the first of the ports' certificates, roots and revocation lists ends.",
        "",
    ),
    "providing": ("gauge", "Workers that provide: their record of use can be written.", ""),
    "workers_behind": ("gauge", "Workers that have not been able to follow the register for a second.", ""),
    "register_refresh_failures_total": (
        "counter",
        "Attempts to take up a newer version of the register that failed.",
        "",
    ),
    "workers": ("gauge", "Worker processes that serve.", ""),
    "request_seconds": ("histogram", "From a request's arrival to its answer's release, interactive requests.", ""),
    "bulk_request_seconds": ("histogram", "From a request's arrival to its answer's release, bulk requests.", ""),
    "commit_seconds": ("histogram", "Duration of a group commit of the record of use.", ""),
    "commit_requests": ("histogram", "Requests made durable by one group commit.", ""),
    "feed_batch_seconds": ("histogram", "From a batch's arrival to its acknowledgement.", ""),
    "feed_transaction_seconds": ("histogram", "Duration of a transaction of the feed writer, its commit included.", ""),
    "feed_transaction_notifications": ("histogram", "Notifications of one transaction of the feed writer.", ""),
}
FUNCTION_NAMES: Final = {int(function): str(function.name).lower() for function in Function}
SECONDS_BOUNDS: Final = tuple(50e-6 * 2**step for step in range(18))
"""50 microseconds to 6.6 seconds."""
COUNT_BOUNDS: Final = tuple(float(2**step) for step in range(13))
LONG_COUNT_BOUNDS: Final = tuple(float(2**step) for step in range(18))
HISTOGRAM_BOUNDS: Final = {"commit_requests": COUNT_BOUNDS, "feed_transaction_notifications": LONG_COUNT_BOUNDS}
"""Those that do not count seconds."""


class Histogram:
    """Counts in buckets that double. Invariant: the buckets add up to the number of observations."""

    __slots__ = ("buckets", "scale", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.scale = 1.0 / bounds[0]

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value: the first bucket holds up to the first bound, each next twice that, the last everything."""
        scaled = value * self.scale
        place = 0 if scaled <= 1.0 else (-int(-scaled // 1) - 1).bit_length()
        buckets = self.buckets
        buckets[place if place < len(buckets) else -1] += times
        self.total += value * times


class Snapshot(Struct):
    """All figures of one process at one moment. ``histograms``: name -> (bounds, buckets, sum)."""

    counters: dict[str, dict[str, int]] = {}
    gauges: dict[str, float] = {}
    histograms: dict[str, tuple[tuple[float, ...], list[int], float]] = {}


class Metrics:
    """The figures of one process."""

    def __init__(self) -> None:
        self.labelled: dict[str, dict[str, int]] = {
            name: {} for name, (kind, _, label) in DECLARED.items() if kind == "counter" and label
        }
        self.plain: dict[str, int] = {
            name: 0 for name, (kind, _, label) in DECLARED.items() if kind == "counter" and not label
        }
        self.requests = {int(function): 0 for function in Function}
        self.codes = {int(function): 0 for function in Function}
        """By function; apart from ``labelled``, for they are counted with every request."""
        self.gauges: dict[str, float] = {}
        self.request_seconds = Histogram(SECONDS_BOUNDS)
        self.bulk_request_seconds = Histogram(SECONDS_BOUNDS)
        self.commit_seconds = Histogram(SECONDS_BOUNDS)
        self.commit_requests = Histogram(COUNT_BOUNDS)
        self.feed_batch_seconds = Histogram(SECONDS_BOUNDS)
        self.feed_transaction_seconds = Histogram(SECONDS_BOUNDS)
        self.feed_transaction_notifications = Histogram(LONG_COUNT_BOUNDS)

    def count(self, name: str, label: str, times: int = 1) -> None:
        values = self.labelled[name]
        values[label] = values.get(label, 0) + times

    def snapshot(self) -> Snapshot:
        counters = {name: dict(values) for name, values in self.labelled.items()}
        for name, amounts in (("requests_total", self.requests), ("codes_total", self.codes)):
            counters[name] = {FUNCTION_NAMES[bit]: value for bit, value in amounts.items() if value}
        counters.update({name: {"": value} for name, value in self.plain.items()})
        histograms = {
            name: (HISTOGRAM_BOUNDS.get(name, SECONDS_BOUNDS), list(histogram.buckets), histogram.total)
            for name, (kind, _, _) in DECLARED.items()
            if kind == "histogram"
            for histogram in [getattr(self, name)]
        }
        return Snapshot(counters, dict(self.gauges), histograms)


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of several processes' figures."""
    merged = Snapshot({}, {}, {})
    for snapshot in snapshots:
        for name, values in snapshot.counters.items():
            into = merged.counters.setdefault(name, {})
            for label, value in values.items():
                into[label] = into.get(label, 0) + value
        for name, amount in snapshot.gauges.items():
            merged.gauges[name] = merged.gauges.get(name, 0) + amount
        for name, (bounds, buckets, total) in snapshot.histograms.items():
            before = merged.histograms.get(name, (bounds, [0] * len(buckets), 0.0))
            added = [one + other for one, other in zip(before[1], buckets, strict=True)]
            merged.histograms[name] = (tuple(bounds), added, before[2] + total)
    return merged


def prometheus_text(snapshot: Snapshot) -> str:
    """The figures in Prometheus' text exposition format, version 0.0.4."""
    lines: list[str] = []
    for name, (kind, help_text, label) in DECLARED.items():
        full = PREFIX + name
        body: list[str] = []
        if kind == "counter":
            for value_of, value in sorted(snapshot.counters.get(name, {}).items()):
                place = f'{{{label}="{value_of}"}}' if label else ""
                body.append(f"{full}{place} {value}")
        elif kind == "gauge":
            if name in snapshot.gauges:
                body.append(f"{full} {snapshot.gauges[name]:g}")
        elif name in snapshot.histograms:
            body = _histogram_lines(full, *snapshot.histograms[name])
        if body:
            lines += [f"# HELP {full} {help_text}", f"# TYPE {full} {kind}", *body]
    return "\n".join(lines) + "\n"


def _histogram_lines(full: str, bounds: tuple[float, ...], buckets: list[int], total: float) -> list[str]:
    lines, below = [], 0
    for bound, count in zip(bounds, buckets, strict=False):
        below += count
        lines.append(f'{full}_bucket{{le="{bound:g}"}} {below}')
    below += buckets[-1]
    return [*lines, f'{full}_bucket{{le="+Inf"}} {below}', f"{full}_sum {total:.9g}", f"{full}_count {below}"]


def write_file(path: Path, text: str) -> None:
    """Replace the metrics file whole, so that a collector never reads half of one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="ascii")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
