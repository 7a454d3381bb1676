"""Draws the plots and fills the tables of docs/benchmarks.md from the JSON reports in docs/figures.

A report is named PROGRAM-SCALE.json (core_lookup-10M.json). A table stands between ``<!-- table: PROGRAM -->`` and
``<!-- end -->`` and has one column for each scale; what stands between the markers is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot

ROOT: Final = Path(__file__).resolve().parent.parent
TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MILLION: Final = 1_000_000

Reports = Mapping[int, Mapping[str, Any]]
"""Reports of one program by the number of residents, ascending."""

ROWS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "core_lookup": (
        ("lookup_codes_per_second", "LOOKUP, full records, random codes, codes/s"),
        ("lookup_packed_codes_per_second", "LOOKUP, packed, codes/s"),
        ("unpack_codes_per_second", "checking and unpacking of packed answers, codes/s"),
        ("status_codes_per_second", "STATUS, random codes, codes/s"),
        ("status_sorted_codes_per_second", "STATUS, codes in order, codes/s"),
        ("verify_codes_per_second", "VERIFY of four items, codes/s"),
        ("plain_lmdb_codes_per_second", "plain LMDB, one record a key, codes/s"),
        ("lookup_to_plain_lmdb_ratio", "LOOKUP against plain LMDB"),
        ("plain_lmdb_residents", "records in the plain database"),
        ("lookup_answer_bytes_per_code", "bytes of answer a code"),
        ("lookup_packed_answer_bytes_per_code", "bytes of packed answer a code"),
        ("plain_record_bytes", "bytes of a plain record"),
    ),
    "end_to_end": (
        ("lookup_codes_per_second", "LOOKUP, full records, 65,536 codes a request, codes/s"),
        ("lookup_packed_wire_codes_per_second", "LOOKUP, packed, not unpacked, codes/s"),
        ("lookup_plain_codes_per_second", "LOOKUP, asked for in plain form, codes/s"),
        ("lookup_8000_codes_per_second", "LOOKUP, 8,000 codes a request, codes/s"),
        ("lookup_1000_codes_per_second", "LOOKUP, 1,000 codes a request, codes/s"),
        ("status_codes_per_second", "STATUS, random codes, codes/s"),
        ("status_sorted_codes_per_second", "STATUS, codes in order, codes/s"),
        ("status_pass_codes", "pensioners: codes asked once"),
        ("status_pass_seconds", "pensioners: seconds for all of them"),
        ("verify_codes_per_second", "VERIFY of four items, codes/s"),
        ("redis_mget_codes_per_second", "Redis MGET over TLS, keys/s"),
        ("lookup_to_redis_ratio", "LOOKUP against Redis"),
        ("lookup_packed_wire_to_redis_ratio", "LOOKUP, not unpacked, against Redis"),
        ("redis_keys", "keys in Redis"),
        ("redis_bytes_per_key", "bytes of memory a key in Redis"),
        ("lookup_server_cpu_percent", "LOOKUP: CPU of the server worker, % of a core"),
        ("lookup_client_cpu_percent", "LOOKUP: CPU of the client, % of a core"),
    ),
    "single_lookup": (
        ("requests_per_second_1", "1 connection, requests/s"),
        ("requests_per_second_32", "32 connections, requests/s"),
        ("requests_per_second_256", "256 connections, requests/s"),
        ("redis_get_requests_per_second_32", "Redis GET over TLS, 32 connections, requests/s"),
        ("open_loop_requests_per_second", "open loop at half the highest rate, requests/s"),
        ("p50_ms", "latency, 50 %, ms"),
        ("p99_ms", "latency, 99 %, ms"),
        ("p999_ms", "latency, 99.9 %, ms"),
        ("max_ms", "latency, slowest, ms"),
    ),
    "nation_build": (
        ("seconds", "seconds for the whole build"),
        ("residents_per_second", "residents/s"),
        ("store_bytes", "bytes on disk"),
        ("store_bytes_per_resident", "bytes a resident"),
        ("peak_memory_bytes", "peak memory of its own, bytes"),
        ("peak_resident_bytes", "the same with mapped pages of the store, bytes"),
    ),
    "match_speed": (
        ("match_records_per_second", "MATCH end to end over TLS, records/s"),
        ("match_in_process_records_per_second", "MATCH in process, one core, records/s"),
        ("match_in_process_records_per_cpu_second", "the same by CPU time, records/s"),
        ("search_per_second", "SEARCH by name and birth date in process, one core, /s"),
        ("search_per_cpu_second", "the same by CPU time, /s"),
        ("compared_per_record", "records of the register read and compared for a row"),
        ("most_common_name_with_date_per_second", "rows of the most common name with its most common date, /s"),
        ("most_common_name_with_year_per_second", "the same name with a year alone, /s"),
        ("most_common_name_with_address_per_second", "the same name with an address, no date, /s"),
        ("index_bytes", "identity index, bytes"),
        ("index_build_seconds", "what the identity index adds to a build, seconds"),
        ("precision", "precision with the shipped parameters"),
        ("recall", "recall with the shipped parameters"),
    ),
    "match_quality": (
        ("records", "records"),
        ("precision", "precision of one match"),
        ("recall", "recall of people in the register"),
        ("wrong_matches", "wrong matches"),
        ("wrong_matches_absent", "of them: nobody of the register was meant"),
        ("precision_beside_splink", "on the records that Splink had: precision"),
        ("recall_beside_splink", "on the records that Splink had: recall"),
        ("splink_precision", "Splink: precision"),
        ("splink_recall", "Splink: recall"),
        ("splink_records", "Splink: records"),
        ("splink_training_seconds", "Splink: seconds of training, once"),
        ("splink_pairs", "Splink: pairs that it weighed"),
        ("splink_loading_seconds", "Splink: seconds of loading the register and the records"),
        ("splink_blocking_seconds", "Splink: seconds of making pairs"),
        ("splink_scoring_seconds", "Splink: seconds of weighing them"),
        ("splink_choosing_seconds", "Splink: seconds of choosing one person a record"),
        ("splink_records_per_second", "Splink: records/s, pairs made and weighed, all cores"),
        ("splink_job_records_per_second", "Splink: records/s, the whole job, all cores"),
        ("splink_few_records", "Splink: records of a small job"),
        ("splink_few_loading_seconds", "small job: seconds of loading"),
        ("splink_few_blocking_seconds", "small job: seconds of making pairs"),
        ("splink_few_scoring_seconds", "small job: seconds of weighing them"),
        ("splink_few_records_per_second", "small job: records/s, pairs made and weighed"),
        ("splink_few_job_records_per_second", "small job: records/s, the whole job"),
        ("records_per_second", "this matcher: records/s in process, one core"),
        ("match_records_per_second", "this matcher: records/s over TLS, two workers and the client on all cores"),
        ("rate_against_splink", "over TLS against Splink's making and weighing of pairs"),
        ("rate_against_splink_job", "over TLS against Splink's whole job"),
        ("rate_against_splink_few", "small job: against making and weighing"),
        ("rate_against_splink_few_job", "small job: against the whole job"),
        ("recall_of_shape_all", "recall: all items"),
        ("recall_of_shape_written", "recall: no reading"),
        ("recall_of_shape_pension", "recall: reading, birth date, sex alone"),
        ("precision_at_09", "threshold 0.9: precision"),
        ("recall_at_09", "threshold 0.9: recall"),
        ("precision_at_095", "threshold 0.95: precision"),
        ("recall_at_095", "threshold 0.95: recall"),
        ("precision_at_099", "threshold 0.99: precision"),
        ("recall_at_099", "threshold 0.99: recall"),
        ("precision_at_0999", "threshold 0.999: precision"),
        ("recall_at_0999", "threshold 0.999: recall"),
    ),
}
KINDS: Final = (
    ("clean", "clean"),
    ("voicing", "voicing"),
    ("kana_slip", "kana slip"),
    ("variant_kanji", "variant kanji"),
    ("swapped_parts", "parts exchanged"),
    ("missing_part", "a part missing"),
    ("maiden_name", "maiden name"),
    ("date_digit", "a digit of the date"),
    ("date_transposed", "date transposed"),
    ("date_era", "wrong era"),
    ("date_part_unknown", "date known in part"),
    ("sex_wrong", "sex wrong"),
    ("sex_missing", "sex missing"),
    ("address_old", "address old"),
    ("address_partial", "address partial"),
    ("address_absent", "address absent"),
    ("two_errors", "two errors"),
)
"""Kinds of error of match_quality.py, and what the page calls them."""
ABOUT: Final = (
    ("date", "date"),
    ("cpu_model", "CPU"),
    ("cores", "cores"),
    ("memory_bytes", "memory, bytes"),
    ("kernel", "kernel"),
    ("load_average_before", "load before"),
    ("rounds_repeated", "rounds repeated"),
    ("store_resident_percent_after", "store in memory after, %"),
    ("plain_lmdb_resident_percent_after", "plain database in memory after, %"),
    ("python_version", "Python"),
    ("openssl_version", "OpenSSL"),
    ("redis_version", "Redis"),
    ("splink_version", "Splink"),
    ("revision", "revision"),
)


def scale_name(residents: int) -> str:
    return f"{residents // MILLION} M" if residents >= MILLION else f"{residents:,}"


def read_reports(directory: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """All reports by program, then by scale ascending; smoke runs are refused."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted(directory.glob("*.json")):
        report = json.loads(path.read_text())
        if report["smoke"]:
            raise SystemExit(f"{path.name} is of a smoke run, which measures nothing")
        found.setdefault(report["benchmark"], {})[int(report["residents"])] = report
    return {program: dict(sorted(reports.items())) for program, reports in found.items()}


def cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def table_of(program: str, reports: Reports) -> str:
    """A Markdown table: figures down, scales across, then machine and versions of each run."""
    lines = [
        "| | " + " | ".join(f"{scale_name(residents)} residents" for residents in reports) + " |",
        "|---|" + "---:|" * len(reports),
    ]
    for key, meaning in (*ROWS[program], *ABOUT):
        values = [cell(report[key]) if key in report else "" for report in reports.values()]
        if any(values):
            lines.append(f"| {meaning} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def kinds_table(reports: Reports) -> str:
    """Recall and precision by kind of error, of the largest scale: this matcher's, and Splink's on its records."""
    residents, report = list(reports.items())[-1]
    names = [f"{peer}{figure}" for peer in ("", "splink_") for figure in ("recall", "precision")]
    lines = [
        f"| {scale_name(residents)} residents | recall | precision | Splink: recall | Splink: precision |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind, meaning in KINDS:
        values = [cell(report.get(f"{name}_{kind}", "")) for name in names]
        lines.append(f"| {meaning} | " + " | ".join(values) + " |")
    values = [cell(report.get(name, "")) for name in names]
    return "\n".join([*lines, "| all | " + " | ".join(values) + " |"]) + "\n"


def filled(text: str, found: Mapping[str, Reports]) -> str:
    """The page with every table anew; a program without reports says so."""

    def replacement(match: re.Match[str]) -> str:
        program = match[2]
        if program == "match_kinds" and "match_quality" in found:
            return f"{match[1]}\n{kinds_table(found['match_quality'])}\n{match[3]}"
        if program not in ROWS:
            raise SystemExit(f"docs/benchmarks.md asks for a table of {program}, which is no benchmark")
        table = table_of(program, found[program]) if program in found else "Not measured yet.\n"
        return f"{match[1]}\n{table}\n{match[3]}"

    return TABLE.sub(replacement, text)


def bars(path: Path, title: str, unit: str, groups: Sequence[tuple[str, str]], reports: Reports) -> None:
    """Horizontal bars on a logarithmic axis: one group for each (key, label), one bar for each scale."""
    shown = [(key, label) for key, label in groups if any(key in report for report in reports.values())]
    figure, axes = pyplot.subplots(figsize=(8.5, 0.9 + 0.5 * len(shown) * max(1, len(reports) * 0.6)))
    height = 0.8 / len(reports)
    for place, (residents, report) in enumerate(reports.items()):
        rows = [row + place * height for row, (key, _) in enumerate(shown) if key in report]
        values = [report[key] for key, _ in shown if key in report]
        drawn = axes.barh(rows, values, height * 0.92, label=f"{scale_name(residents)} residents")
        axes.bar_label(drawn, [f"{value:,}" for value in values], padding=3, fontsize=8)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(shown))], [label for _, label in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if len(reports) > 1:
        axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw(found: Mapping[str, Reports], directory: Path) -> None:
    """One SVG for each program with reports."""
    mpl.rcParams["svg.hashsalt"] = "jukinet"
    groups: tuple[tuple[str, str], ...]
    if "core_lookup" in found:
        groups = (
            ("lookup_codes_per_second", "LOOKUP"), ("status_codes_per_second", "STATUS"),
            ("status_sorted_codes_per_second", "STATUS in order"), ("verify_codes_per_second", "VERIFY"),
            ("plain_lmdb_codes_per_second", "plain LMDB"),
        )  # fmt: skip
        bars(directory / "core_lookup.svg", "In process, one core", "codes a second", groups, found["core_lookup"])
    if "end_to_end" in found:
        groups = (
            ("lookup_codes_per_second", "LOOKUP"), ("status_codes_per_second", "STATUS"),
            ("status_sorted_codes_per_second", "STATUS in order"), ("verify_codes_per_second", "VERIFY"),
            ("redis_mget_codes_per_second", "Redis MGET"),
        )  # fmt: skip
        title = "End to end over mutual TLS, one server worker, one client process"
        bars(directory / "end_to_end.svg", title, "codes a second", groups, found["end_to_end"])
    if "single_lookup" in found:
        groups = (
            ("requests_per_second_1", "1 connection"), ("requests_per_second_32", "32 connections"),
            ("requests_per_second_256", "256 connections"), ("redis_get_requests_per_second_32", "Redis GET, 32"),
        )  # fmt: skip
        title = "Single lookups over mutual TLS, closed loop"
        bars(directory / "single_lookup.svg", title, "requests a second", groups, found["single_lookup"])
        groups = (
            ("p50_ms", "50 %"),
            ("p90_ms", "90 %"),
            ("p99_ms", "99 %"),
            ("p999_ms", "99.9 %"),
            ("max_ms", "slowest"),
        )
        title = "Single lookups, open loop at half the highest rate"
        bars(
            directory / "single_latency.svg", title, "milliseconds from due to answered", groups, found["single_lookup"]
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path, default=ROOT / "docs" / "figures", help="directory of the reports")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page with the tables")
    chosen = parser.parse_args()
    found = read_reports(chosen.figures)
    draw(found, chosen.figures)
    chosen.page.write_text(filled(chosen.page.read_text(), found))
    return 0


if __name__ == "__main__":
    mpl.use("svg")
    sys.exit(main())
