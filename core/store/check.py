"""The offline check of a register: every byte of every block, every list, and the directory against LMDB.

Findings name buckets and counts, never what a record says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec

from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.feed.check import check_feeds
from jukinet.core.feed.holdings import page_name
from jukinet.core.feed.notice_check import check_notices
from jukinet.core.identity.check import IdentityCheck
from jukinet.core.store import schema
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Directory, Snapshot
from jukinet.core.store.survey import BlockSurvey

FAULTS_LISTED_MAX = 100
PROGRESS_BLOCKS = 16_384


class CheckReport(msgspec.Struct, kw_only=True):
    """What a check saw. ``faults`` are sentences, at most FAULTS_LISTED_MAX; ``faults_count`` counts all."""

    blocks: int = 0
    entries: int = 0
    residents: int = 0
    retired: int = 0
    block_bytes: int = 0
    pages: int = 0
    contributions: int = 0
    journal_entries: int = 0
    quarantined: int = 0
    notices: int = 0
    successors_awaited: int = 0
    """Retired codes that a source stated, whose following code nobody has brought: no fault."""
    identity_entries: int = 0
    identity_blocks: int = 0
    identity_bytes: int = 0
    by_state: dict[str, int] = msgspec.field(default_factory=dict)
    faults: list[str] = msgspec.field(default_factory=list)
    faults_count: int = 0

    def add(self, fault: str) -> None:
        self.faults_count += 1
        if len(self.faults) < FAULTS_LISTED_MAX:
            self.faults.append(fault)


def check_register(directory: str | Path, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Check the register in ``directory`` as of its last transaction; progress(buckets done, buckets in all).

    Raises StoreError when it cannot be opened at all; everything else is a fault in the report.
    """
    report = CheckReport()
    with RegisterReader(directory) as reader:
        # In order and in large pieces: block after block, a register that is not in memory takes minutes.
        reader.warm()
        with reader.pin() as snapshot:
            transaction = snapshot.transaction
            if transaction is None:
                raise StoreError("the snapshot ended before the check began")
            survey = BlockSurvey(reader.meta.width, reader.meta.wide, snapshot.places)
            identity = IdentityCheck(reader, transaction, report.add)
            try:
                _check_blocks(reader, transaction, survey, identity, report, progress)
                _check_successors(reader, transaction, survey, snapshot, report)
                _check_digests(reader, transaction, survey, report)
                _check_changes(reader, transaction, report)
                _check_towns(reader, transaction, report)
                identity.finish()
                feeds = check_feeds(reader, transaction, report.add)
                report.contributions, report.journal_entries = feeds.contributions, feeds.journal_entries
                report.quarantined = feeds.quarantined
                report.notices = check_notices(reader, transaction, report.add)
            except (StoreCorruptError, lmdb.Error) as error:
                report.add(str(error))
            finally:
                identity.close()
            report.blocks, report.entries, report.residents = survey.blocks, survey.entries, survey.residents
            report.retired, report.block_bytes, report.pages = survey.retired, survey.block_bytes, survey.pages
            report.by_state = survey.by_state
            report.identity_entries, report.identity_blocks = identity.entries, identity.blocks
            report.identity_bytes = identity.bytes
            if survey.entries != reader.meta.entries:
                report.add(f"the register says {reader.meta.entries} entries; its blocks hold {survey.entries}")
            if survey.residents != reader.meta.residents:
                report.add(f"the register says {reader.meta.residents} residents; its blocks hold {survey.residents}")
    return report


def _check_blocks(
    reader: RegisterReader,
    transaction: lmdb.Transaction,
    survey: BlockSurvey,
    identity: IdentityCheck,
    report: CheckReport,
    progress: Callable[[int, int], None] | None,
) -> None:
    with transaction.cursor(db=reader.databases["residents"]) as cursor, reader.pin() as snapshot:
        directory = snapshot.directory
        expected_bucket = 0
        for count, (key, value) in enumerate(cursor.iternext(keys=True, values=True)):
            bucket = schema.NUMBER.unpack(key)[0]
            _check_gap(directory, expected_bucket, bucket, report)
            expected_bucket = bucket + 1
            if directory.differs(bucket, value):
                report.add(f"bucket {bucket}: the directory does not point to the store's block")
            fault = survey.add(bucket, value)
            if fault is not None:
                report.add(f"bucket {bucket}: {fault}")
                identity.give_up()
            else:
                identity.add_block(bucket, value)
            if progress is not None and count % PROGRESS_BLOCKS == 0:
                progress(bucket, reader.buckets)
        _check_gap(directory, expected_bucket, reader.buckets, report)
    if progress is not None:
        progress(reader.buckets, reader.buckets)


def _check_successors(
    reader: RegisterReader,
    transaction: lmdb.Transaction,
    survey: BlockSurvey,
    snapshot: Snapshot,
    report: CheckReport,
) -> None:
    """What a notified code change or a build left leads somewhere; a stated code may be ahead of what it names."""
    buckets, awaited = survey.dangling_successors(snapshot)
    for bucket in buckets:
        report.add(f"bucket {bucket}: a retired code's successor does not exist or holds nobody")
    if transaction.stat(reader.databases["feeds"])["entries"]:
        report.successors_awaited = awaited
    elif awaited:
        report.add(f"{awaited} retired codes as built lead to a successor that does not exist or holds nobody")


def _check_gap(directory: Directory, start: int, stop: int, report: CheckReport) -> None:
    """The store has no block from bucket start to stop: neither may the directory have a pointer."""
    while (bucket := directory.next_pointer(start, stop)) < stop:
        report.add(f"bucket {bucket}: the directory has a pointer where the store has no block")
        start = bucket + 1


def _check_towns(reader: RegisterReader, transaction: lmdb.Transaction, report: CheckReport) -> None:
    """Pages of towns follow each other, each but the last is full, and each town lies in an area of the register."""
    seen = 0
    with transaction.cursor(db=reader.databases["towns"]) as cursor:
        for key, value in cursor.iternext(keys=True, values=True):
            page = schema.NUMBER.unpack(key)[0]
            if page * schema.TOWNS_PER_PAGE != seen:
                report.add(f"page {page} of the towns table follows {seen:,} towns")
            towns = schema.unpack_towns(value)
            for number, town in enumerate(towns, seen + 1):
                if town.area >= reader.meta.areas:
                    report.add(f"town {number} lies in area {town.area}, which the register does not have")
            seen += len(towns)


def _check_digests(
    reader: RegisterReader, transaction: lmdb.Transaction, survey: BlockSurvey, report: CheckReport
) -> None:
    """Every stored row of digests against what the blocks give, and no row beyond them."""
    digests = survey.digests
    rows = {
        "holdings": {schema.NUMBER.pack(area): digests.area(area) for area in digests.touched_areas()},
        "digests": {page_name(*page): digests.page(*page) for page in digests.touched_pages()},
    }
    for name, wanted in rows.items():
        with transaction.cursor(db=reader.databases[name]) as cursor:
            for key, value in cursor.iternext(keys=True, values=True):
                number = schema.NUMBER.unpack(key)[0]
                try:
                    stored = schema.unseal(value, f"row {number} of {name}")
                except StoreCorruptError as error:
                    report.add(str(error))
                    wanted.pop(bytes(key), None)
                    continue
                if stored != wanted.pop(bytes(key), None):
                    report.add(f"row {number} of {name} is not what the blocks give")
        for key in wanted:
            report.add(f"row {schema.NUMBER.unpack(key)[0]} of {name} is missing")


def _check_changes(reader: RegisterReader, transaction: lmdb.Transaction, report: CheckReport) -> None:
    before = None
    with reader.pin() as snapshot:
        places = snapshot.directory.buckets
    with transaction.cursor(db=reader.databases["changes"]) as cursor:
        for key, value in cursor.iternext(keys=True, values=True):
            version = schema.NUMBER.unpack(key)[0]
            if before is not None and version != before + 1:
                report.add(f"change list {version} follows {before}")
            before = version
            if len(value) % 4:
                report.add(f"change list {version} has a length that is no multiple of 4")
                continue
            buckets = memoryview(value).cast("I").tolist()
            if buckets != sorted(set(buckets)) or (buckets and buckets[-1] >= places):
                report.add(f"change list {version} is out of order or out of range")
    if before is not None and before != reader.meta.version:
        report.add(f"the register is at version {reader.meta.version} but its last change list is {before}")
