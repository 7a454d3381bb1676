"""Small registers that are fed, for tests: building them, dumping every database, notifications with persons."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

import lmdb
import msgspec

from jukinet.core.codes import code_from_key
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.records.resident import Resident
from jukinet.core.store import schema
from jukinet.core.store.schema import Area, Town

from ..core import stores

DAY = datetime.date(2026, 11, 24)
TODAY = (DAY - datetime.date(2000, 1, 1)).days
TOKYO, CHUO, SAPPORO, OSAKA, NAHA, KUNITACHI = 13101, 13102, 1100, 27127, 47201, 13215
AREAS = [*stores.AREAS, Area(CHUO, "東京都中央区", "トウキョウトチュウオウク", True)]
TOWNS = [*stores.TOWNS, Town(5, "東京都中央区銀座")]


def build(directory: Path, residents: Iterable[Resident]) -> dict[int, Resident]:
    """A register of ``residents`` with two areas in Tokyo."""
    return stores.build_store(directory, residents, expected_entries=5_000_000, areas=AREAS, towns=TOWNS)


def batch(*notifications: Notification) -> NotificationBatch:
    return NotificationBatch.from_notifications(notifications)


def notice(reason: int, key: int, number: int, area: int = TOKYO, **fields: object) -> Notification:
    """A notification of reason about the person under key; a removal carries no person."""
    person: dict[str, object] = {
        "birth_date": 19800101,
        "sex": 2,
        "name": f"東京　花子{number}",
        "kana": "トウキョウ　ハナコ",
        "address": "東京都千代田区丸の内１－１",
    }
    if 21 <= reason <= 23 and not fields.get("state"):
        person = {}
    base = {"event_date": 20261101, "state": 0, **person, **fields}
    return Notification(reason=reason, code=code_from_key(key), update_number=number, area=area, **base)  # type: ignore[arg-type]


def dump(directory: Path, *, without: Iterable[str] = ("journal", "changes")) -> dict[str, list[tuple[bytes, bytes]]]:
    """Every key and value of every database, and the description without its version."""
    environment = lmdb.open(str(directory), max_dbs=32, readonly=True, lock=False)
    found: dict[str, list[tuple[bytes, bytes]]] = {}
    for name in schema.DATABASES:
        if name in without:
            continue
        database = environment.open_db(name.encode(), integerkey=name != "meta", create=False)
        with environment.begin() as transaction, transaction.cursor(db=database) as cursor:
            found[name] = list(cursor.iternext(keys=True, values=True))
    environment.close()
    description = msgspec.msgpack.decode(schema.unseal(found["meta"][0][1], "the description"))
    found["meta"] = [(b"description", msgspec.msgpack.encode({**description, "version": 0}))]
    return found
