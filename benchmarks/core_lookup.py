"""The lookup core's rates in one process on one core: LOOKUP, STATUS, VERIFY, and a plain LMDB database beside them."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from claims import claims_of, verified
from figures import Options, Report, options, say, timed_rate
from jukinet.core.columns.packed_kernel import TownTable
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.index.status import StatusBatch
from jukinet.core.index.verify import VerifyBatch
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import ALL_ITEMS
from jukinet.core.wire.columns import TextColumn
from jukinet.core.wire.frames import HEADER_BYTES
from jukinet.core.wire.messages import LookupAnswer
from jukinet.core.wire.packed import FORM_PACKED, parse_packed_answer, unpacked
from nation_register import (
    BATCH_CODES,
    SINCE,
    WrongAnswerError,
    answer_of,
    built_register,
    check_lookups,
    in_batches,
    looked_up,
    random_codes,
    sorted_third,
)
from plain_records import PlainDatabase, code_keys, plain_count, plain_database, plain_rows

SAMPLE_CODES = 64 * BATCH_CODES
VERIFY_BATCHES = 8
PLAIN_BATCH_CODES = 8_192
PLAIN_SAMPLE_CODES = 128 * PLAIN_BATCH_CODES


def measure_lookup(chosen: Options, report: Report, snapshot: Snapshot, codes: list[memoryview]) -> float:
    batch = LookupBatch()
    upcoming = itertools.cycle(codes)
    frame_bytes = 0

    def step() -> int:
        nonlocal frame_bytes
        column = next(upcoming)
        frame_bytes = len(looked_up(batch, snapshot, column)) // len(column)
        return len(column)

    timed_rate(chosen.seconds / 2, step)
    results = report.measured(lambda: timed_rate(chosen.seconds, step))
    median = report.rate("lookup_codes_per_second", results, "full records as answer frames, random codes, one core")
    report.figure("lookup_answer_bytes_per_code", frame_bytes, "bytes of answer for a code, all items", 0)
    return median


def measure_packed(chosen: Options, report: Report, snapshot: Snapshot, codes: list[memoryview]) -> None:
    """The packed form: made, and unpacked again, which is checked to be the plain answer."""
    batch = LookupBatch()
    table = TownTable(*town_pages(snapshot))
    column = codes[0]
    payload = packed_frame(batch, snapshot, column)[HEADER_BYTES:]
    frame = looked_up(batch, snapshot, column)
    answer = unpacked(parse_packed_answer(1, int(ALL_ITEMS), len(column), payload), table)
    if not same_columns(answer, answer_of(frame, len(column))):
        raise WrongAnswerError("a packed answer says something else than the plain one")
    report.figure("lookup_packed_answer_bytes_per_code", len(payload) / len(column), "packed, all items", 0)
    upcoming = itertools.cycle(codes)

    def make() -> int:
        column = next(upcoming)
        packed_frame(batch, snapshot, column)
        return len(column)

    def read() -> int:
        unpacked(parse_packed_answer(1, int(ALL_ITEMS), len(column), payload), table)
        return len(column)

    for name, step, meaning in (
        ("lookup_packed_codes_per_second", make, "packed answer frames, random codes, one core"),
        ("unpack_codes_per_second", read, "packed answers checked and unpacked into every column, one core"),
    ):
        timed_rate(chosen.seconds / 2, step)
        report.rate(name, report.measured(functools.partial(timed_rate, chosen.seconds, step)), meaning)


def packed_frame(batch: LookupBatch, snapshot: Snapshot, codes: memoryview) -> bytearray:
    """One whole LOOKUP in process, all items, packed: the answer frame."""
    batch.begin(codes, int(ALL_ITEMS), FORM_PACKED)
    batch.run(snapshot, 0, len(codes))
    return batch.finish()


def town_pages(snapshot: Snapshot) -> tuple[list[int], list[tuple[bytes, bytes]]]:
    areas, offsets, texts = snapshot.places.page(0, snapshot.places.towns_count)
    return memoryview(areas).cast("I").tolist(), [(offsets, texts)]


def same_columns(one: LookupAnswer, other: LookupAnswer) -> bool:
    for name in other.__struct_fields__:
        column = getattr(other, name)
        if isinstance(column, TextColumn):
            told = getattr(one, name)
            if bytes(told.offsets) != bytes(column.offsets) or bytes(told.data) != bytes(column.data):
                return False
        elif isinstance(column, memoryview) and bytes(getattr(one, name)) != bytes(column):
            return False
    return True


def measure_status(
    chosen: Options, report: Report, snapshot: Snapshot, name: str, codes: list[memoryview], meaning: str
) -> None:
    batch = StatusBatch()
    upcoming = itertools.cycle(codes)

    def step() -> int:
        column = next(upcoming)
        batch.begin(column, SINCE)
        batch.run(snapshot, 0, len(column))
        batch.finish()
        return len(column)

    timed_rate(chosen.seconds / 2, step)
    report.rate(name, report.measured(lambda: timed_rate(chosen.seconds, step)), meaning)


def measure_verify(chosen: Options, report: Report, snapshot: Snapshot, codes: list[memoryview]) -> None:
    batch, lookup = VerifyBatch(), LookupBatch()
    claims = [claims_of(answer_of(looked_up(lookup, snapshot, column), len(column)), column) for column in codes]
    for claim in claims:
        claim.check(*verified(batch, snapshot, claim))
    upcoming = itertools.cycle(claims)

    def step() -> int:
        claim = next(upcoming)
        batch.begin(claim.codes, int(claim.items), **claim.columns)
        batch.run(snapshot, 0, len(claim.codes))
        batch.finish()
        return len(claim.codes)

    timed_rate(chosen.seconds / 2, step)
    results = report.measured(lambda: timed_rate(chosen.seconds, step))
    report.rate("verify_codes_per_second", results, "four items claimed for each code, one name in ten wrong")


def measure_plain(
    chosen: Options, report: Report, snapshot: Snapshot, plain: PlainDatabase, codes: list[memoryview]
) -> float:
    """py-lmdb getmulti, the better of copied and borrowed values; the keys are made beforehand, in no one's time."""
    keys = [code_keys(column) for column in codes]
    rates = []
    for buffers in (False, True):
        with plain.environment.begin(buffers=buffers) as transaction, transaction.cursor(plain.records) as cursor:
            for column, wanted in zip(codes[:2], keys[:2], strict=False):
                found = dict(cursor.getmulti(wanted))
                rows = plain_rows(snapshot, column).to_pylist()
                if any(bytes(found[key]) != row for key, row in zip(wanted, rows, strict=True)):
                    raise WrongAnswerError("the plain database holds another record than the register")
            step = plain_step(cursor.getmulti, keys)
            timed_rate(chosen.seconds / 2, step)
            rates.append(report.measured(lambda step=step: timed_rate(chosen.seconds, step)))  # type: ignore[misc]
    best = max(rates, key=lambda results: sorted(results)[len(results) // 2])
    return report.rate("plain_lmdb_codes_per_second", best, "py-lmdb getmulti, one plain record a key, the same codes")


def plain_step(getmulti: Callable[[list[bytes]], list[Any]], keys: list[list[bytes]]) -> Callable[[], int]:
    upcoming: Iterator[list[bytes]] = itertools.cycle(keys)

    def step() -> int:
        wanted = next(upcoming)
        if len(getmulti(wanted)) != len(wanted):
            raise WrongAnswerError("the plain database lacks a record")
        return len(wanted)

    return step


def run(chosen: Options, reader: RegisterReader) -> None:
    report = Report("Lookup core, in process", chosen)
    reader.warm()
    small = chosen.smoke
    with reader.pin() as snapshot:
        report.fact("answers_digest", check_lookups(chosen, reader, snapshot, 200 if small else 2_000))
        among = plain_count(chosen)
        random_sample = random_codes(chosen, 2_000 if small else SAMPLE_CODES)
        batches = in_batches(random_sample)
        say("measuring")
        lookups = measure_lookup(chosen, report, snapshot, batches)
        measure_packed(chosen, report, snapshot, batches)
        measure_status(chosen, report, snapshot, "status_codes_per_second", batches, "STATUS, random codes, one core")
        ascending = sorted_third(chosen)
        report.fact("status_sorted_codes", len(ascending))
        meaning = "STATUS of a third of the nation in the order of the codes"
        measure_status(chosen, report, snapshot, "status_sorted_codes_per_second", in_batches(ascending), meaning)
        del ascending
        measure_verify(chosen, report, snapshot, batches[:VERIFY_BATCHES])
        plain = plain_database(chosen, reader)
        plain.warm()
        report.fact("plain_lmdb_residents", plain.meta.residents)
        report.figure(
            "plain_record_bytes", plain.meta.record_bytes / plain.meta.residents, "bytes of one plain record", 1
        )
        plain_sample = random_codes(chosen, 2_000 if small else PLAIN_SAMPLE_CODES, among=among)
        plain_rate = measure_plain(chosen, report, snapshot, plain, in_batches(plain_sample, PLAIN_BATCH_CODES))
        report.note_residency("plain_lmdb", plain.directory / "data.mdb")
        plain.close()
        report.figure("lookup_to_plain_lmdb_ratio", lookups / plain_rate, "how many times the plain database's rate", 1)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "") as (chosen, _), built_register(chosen) as reader:
        run(chosen, reader)
    return 0


if __name__ == "__main__":
    sys.exit(main())
