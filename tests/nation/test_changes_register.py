"""A year of changes applied to the register of their nation, feeds in mixed order: it shows what is expected."""

from __future__ import annotations

import datetime
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Fault, NotificationBatch
from jukinet.core.records.resident import Resident
from jukinet.server.nation.build import NATION_DATE, build_nation
from jukinet.server.nation.change_faults import FaultPlanter, PlacedNotification
from jukinet.server.nation.change_outcome import ExpectedRecord
from jukinet.server.nation.changes import NationChanges
from jukinet.server.nation.tables import NationTables

RESIDENTS = 60_000
SEED = 5
DAYS = 365
FIRST = NATION_DATE + datetime.timedelta(1)
ROWS_MAX = 150

Feeds = dict[int, list[PlacedNotification]]


def feeds_of(changes: NationChanges, rate: float) -> Feeds:
    planter = FaultPlanter(changes, rate)
    feeds: Feeds = defaultdict(list)
    for day in changes.by_day():
        for entry in planter.placed(day.notifications):
            feeds[entry.prefecture].append(entry)
    return feeds


def apply_mixed(register: FeedRegister, feeds: Feeds, seed: int) -> dict[tuple[int, int], Fault]:
    """All feeds to their ends, in pieces that a generator chooses; what was refused, by prefecture and sequence."""
    random = Random(seed)
    refused: dict[tuple[int, int], Fault] = {}
    positions = dict.fromkeys(sorted(feeds), 0)
    while waiting := [prefecture for prefecture in positions if positions[prefecture] < len(feeds[prefecture])]:
        with register.transaction() as transaction:
            for prefecture in random.sample(waiting, len(waiting)):
                start = positions[prefecture]
                rows = feeds[prefecture][start : start + random.randrange(1, ROWS_MAX)]
                batch = NotificationBatch.from_notifications([entry.notification for entry in rows])
                applied = transaction.apply(prefecture, start + 1, batch)
                refused |= {(prefecture, sequence): fault for sequence, fault in applied.quarantined}
                positions[prefecture] = applied.position
            transaction.commit()
    return refused


def shown(register: FeedRegister, resident: Resident, successor: int) -> ExpectedRecord:
    town = register.writer.towns[resident.town - 1].text if resident.town else ""
    return ExpectedRecord(
        code=0,
        state=resident.state,
        area=register.writer.areas[resident.area].jis,
        reason=resident.reason,
        event_date=resident.change_date,
        update_number=resident.update_number,
        successor=successor,
        birth_date=resident.birth_date,
        sex=resident.sex,
        name=resident.name,
        kana=resident.kana,
        alias=resident.alias,
        address=town + resident.address_rest,
    )


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_the_register_shows_what_is_expected(tables: NationTables, tmp_path: Path, rate: float) -> None:
    directory = tmp_path / "register"
    build_nation(directory, RESIDENTS, SEED, tables=tables)
    changes = NationChanges(tables, RESIDENTS, SEED, FIRST, DAYS)
    feeds = feeds_of(changes, rate)
    planted = {
        (prefecture, place): entry.fault
        for prefecture, rows in feeds.items()
        for place, entry in enumerate(rows, 1)
        if entry.fault is not None
    }
    with FeedRegister(directory, today=lambda: FIRST + datetime.timedelta(DAYS)) as register:
        assert apply_mixed(register, feeds, seed=1) == planted
        assert len(planted) >= 400 * rate
        compared = 0
        with register.writer.transaction() as transaction:
            for record in changes.expected():
                resident = transaction.get(record.code // 10)
                assert resident is not None
                successor = record.successor if resident.successor_key == record.successor // 10 else 0
                found = shown(register, resident, successor)
                assert replace(found, code=record.code) == record
                compared += 1
        assert compared > 5_000
