"""Kernels of the identity index: what a record gives, and the probes."""

from __future__ import annotations

from array import array
from typing import Any

from jukinet.core.identity import entries, probe
from jukinet.core.identity.changes import IdentityChanges
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store.snapshot import Snapshot

ROWS = 4_096


def packed(date: int) -> int:
    return date // 10_000 << 9 | date // 100 % 100 << 5 | date % 100


def questions(people: dict[int, Resident]) -> tuple[array[int], array[int], list[int]]:
    """Hashes of folded readings, packed birth dates, and the keys that must be among the candidates."""
    chosen = list(people.values())[:ROWS]
    readings = [entries.folded_texts(b"", person.kana.encode())[1] for person in chosen]
    hashes = array("Q", map(entries.hash_of, readings))
    return hashes, array("I", [packed(person.birth_date) for person in chosen]), [person.key for person in chosen]


def test_entries_of_a_record(benchmark: Any, snapshot: Snapshot, people: dict[int, Resident]) -> None:
    somebody = next(iter(people.values()))
    found = benchmark(entries.entries_of, snapshot.layout, somebody.key, [record.encode(somebody)])
    assert [table for table, _, _ in found] == [1, 2, 3]


def test_a_changed_name(benchmark: Any, snapshot: Snapshot, people: dict[int, Resident]) -> None:
    """The difference between two records: folding both, entries of both."""
    one, other = list(people.values())[:2]
    changes = IdentityChanges(snapshot.layout)
    before, after = [record.encode(one)[1]], [record.encode(other)[1]]

    def changed() -> list[tuple[int, int]]:
        changes.change(one.key, before, after)
        return changes.netted()

    assert sum(map(sum, benchmark(changed))) > 0


def test_equal_keys(benchmark: Any, snapshot: Snapshot, people: dict[int, Resident]) -> None:
    """4,096 readings with birth dates."""
    hashes, dates, wanted = questions(people)
    keys = memoryview(bytearray(8 * 64 * len(hashes))).cast("Q", (len(hashes), 64))  # type: ignore[call-overload]
    found = array("I", bytes(4 * len(hashes)))
    benchmark(probe.equal_batch, snapshot, 1, hashes, dates, keys, found)
    for row, key in enumerate(wanted):
        assert key in [keys[row, at] for at in range(min(found[row], 64))]


def test_a_list(benchmark: Any, snapshot: Snapshot, people: dict[int, Resident]) -> None:
    """Everybody of one reading, kept by year and month."""
    hashes, dates, wanted = questions(people)
    filters = [(entries.code_of_date(dates[0]), 0x3FFE0)]
    pairs, _ = benchmark(probe.listed, snapshot, 1, hashes[0], filters, 10_000)
    assert wanted[0] in [key for key, _ in pairs]


def test_a_scan(benchmark: Any, snapshot: Snapshot, people: dict[int, Resident]) -> None:
    """All people of one birth date by signature."""
    somebody = next(iter(people.values()))
    name, reading = entries.folded_texts(somebody.name.encode(), somebody.kana.encode())
    signature = entries.signature_of(reading, name)
    pairs, _ = benchmark(probe.scan, snapshot, packed(somebody.birth_date), signature, 0x3FFFFFFF, 2, 10_000)
    assert somebody.key in [key for key, _ in pairs]
