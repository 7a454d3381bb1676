"""The convergence rules a second time, from docs/convergence.md alone, on plain notifications and residents."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jukinet.core.notifications import Fault, Notification, fault_of
from jukinet.core.records.resident import Resident
from jukinet.core.store.schema import Area, Town

ORDER = ["retirement", "entry", "correction", "removal", "statement"]
REMOVED_STATE = {21: 3, 22: 2, 23: 4}


@dataclass
class Item:
    """A contribution: kind, rank, and the record as it would be shown alone."""

    kind: str
    rank: tuple[int, int, int]
    record: Resident

    @property
    def order(self) -> tuple[tuple[int, int, int], int]:
        return self.rank, ORDER.index(self.kind)


@dataclass
class Twin:
    """The register as sets of contributions by key."""

    areas: list[Area]
    towns: list[Town]
    today: datetime.date
    items: dict[int, list[Item]] = field(default_factory=dict)
    base: dict[int, Resident] = field(default_factory=dict)
    loading: dict[int, int] = field(default_factory=dict)
    """By prefecture: the first key that its load under way has not come to."""

    def load(self, residents: Mapping[int, Resident]) -> None:
        for key, resident in residents.items():
            self.base[key] = resident
            if resident.state >= 6:
                continue
            rank = (resident.update_number, resident.change_date, self.areas[resident.area].jis)
            self.items[key] = [Item("retirement" if resident.state == 5 else "statement", rank, resident)]

    def receive(self, notification: Notification, prefecture: int, *, in_range: bool = False) -> Fault | None:
        n = notification
        stateless = fault_of(n, prefecture, self.today)
        if stateless is not None:
            return stateless
        numbers = [
            number for number, area in enumerate(self.areas) if area.jis == n.area and (area.connected or n.state == 5)
        ]
        if not numbers:
            return Fault.AREA_UNKNOWN
        town, rest = self.split(numbers[0], n.address)
        if len(rest.encode()) > 255:
            return Fault.BAD_ADDRESS
        rank = (n.update_number, n.event_date, n.area)
        kind = "statement" if n.state else {1: "entry", 2: "removal", 3: "correction", 4: "entry"}[n.reason // 10]
        if n.state == 5:
            retired = Resident(
                key=n.code // 10, state=5, reason=n.reason, area=numbers[0], change_date=n.event_date,
                update_number=n.update_number, successor_key=n.code_before // 10,
            )  # fmt: skip
            return self.retire(Item("retirement", rank, retired))
        own = Resident(
            key=n.code // 10, state=n.state or REMOVED_STATE.get(n.reason, 1), reason=n.reason, sex=n.sex,
            area=numbers[0], change_date=n.event_date, birth_date=n.birth_date, update_number=n.update_number,
            notified=not n.state, town=town, name=n.name, kana=n.kana, alias=n.alias, address_rest=rest,
        )  # fmt: skip
        wanted = [(n.code // 10, Item(kind, rank, own))]
        if n.code_before and kind == "entry":
            before = Resident(
                key=n.code_before // 10, state=5, reason=n.reason, area=numbers[0], change_date=n.event_date,
                update_number=n.update_number, notified=True, successor_key=n.code // 10,
            )  # fmt: skip
            wanted.insert(0, (before.key, Item("retirement", rank, before)))
        for key, item in wanted:
            fault = self.fault(key, item, in_range=in_range)
            if fault is not None:
                return fault
        for key, item in wanted:
            present = self.items.setdefault(key, [])
            if item.kind == "statement":
                present[:] = [other for other in present if other.rank != rank or other.kind == "retirement"]
            present.append(item)
        return None

    def retire(self, item: Item) -> Fault | None:
        """A stated retirement: like a statement, and it takes the place of all its area has at its rank."""
        key = item.record.key
        present = self.items.setdefault(key, [])
        mine = [other for other in present if other.rank[2] == item.rank[2]]
        base = self.base.get(key)
        if not mine and base is not None and (base.state, base.reason) == (7, 22):
            return Fault.CODE_EXPIRED
        settled = any(other.kind in {"entry", "statement", "retirement"} for other in mine)
        if settled and item.rank < max(other.rank for other in mine):
            return Fault.NUMBER_NOT_ASCENDING
        same = [other.record for other in mine if other.kind == "retirement" and other.rank == item.rank]
        if not same or (same[0].reason, same[0].successor_key) != (item.record.reason, item.record.successor_key):
            present[:] = [other for other in present if other.rank != item.rank]
            present.append(item)
        return None

    def remove_others(self, prefecture: int, first_key: int, stop_key: int, present: set[int]) -> None:
        """Chapter 5: ex officio removals of those whom the prefecture's areas hold entered and who are not present."""
        day = self.today.year * 10_000 + self.today.month * 100 + self.today.day
        for key in [key for key in self.items if first_key <= key < stop_key and key not in present]:
            for number, area in enumerate(self.areas):
                own = sorted((i for i in self.items[key] if i.rank[2] == area.jis), key=lambda item: item.order)
                lasting = [item for item in own if item.kind != "correction"]
                if area.jis // 1000 != prefecture or not lasting or lasting[-1].record.state != 1:
                    continue
                rank = (own[-1].rank[0] + 1, day, area.jis)
                record = Resident(
                    key=key, state=4, reason=23, area=number, change_date=day, update_number=rank[0], notified=True
                )
                self.items[key].append(Item("removal", rank, record))

    def range_done(self, prefecture: int, first_key: int, stop_key: int) -> None:
        """Chapter 5: how far the prefecture's load is after a range."""
        if (first_key == 0 and stop_key > 1) or self.loading.get(prefecture) == first_key:
            self.loading.pop(prefecture, None)
            if stop_key < 10**10:
                self.loading[prefecture] = stop_key

    def fault(self, key: int, item: Item, *, in_range: bool = False) -> Fault | None:
        mine = [other for other in self.items.get(key, []) if other.rank[2] == item.rank[2]]
        own = [other.rank for other in mine]
        if not own and item.kind in {"correction", "removal", "retirement"}:
            awaited_from = None if in_range else self.loading.get(item.rank[2] // 1000)
            is_dead = (base := self.base.get(key)) is not None and (base.state, base.reason) == (7, 22)
            return Fault.NOT_ENTERED if awaited_from is None or key < awaited_from or is_dead else None
        if item.kind == "statement" and not any(other.kind in {"entry", "statement"} for other in mine) and own:
            return None
        if not own and (base := self.base.get(key)) is not None and (base.state, base.reason) == (7, 22):
            return Fault.CODE_EXPIRED
        if own and (item.rank < max(own) if item.kind == "statement" else item.rank[0] <= max(own)[0]):
            return Fault.NUMBER_NOT_ASCENDING
        return None

    def split(self, area: int, address: str) -> tuple[int, str]:
        found = [
            (len(town.text), -number)
            for number, town in enumerate(self.towns, 1)
            if town.area == area and town.text and address.startswith(town.text)
        ]
        length, number = max(found, default=(0, 0))
        return -number, address[length:]

    def shown(self, key: int) -> Resident | None:
        """What the register shows, with registered day 0."""
        items = self.items.get(key, [])
        found = fold(sorted(items, key=lambda item: item.order)) if items else None
        base = self.base.get(key)
        return base if found is None and base is not None and base.state >= 6 else found


def fold(items: Sequence[Item]) -> Resident | None:
    holder: Resident | None = None
    for item in items:
        record = item.record
        if item.kind == "retirement":
            return plain(record)
        if item.kind in {"entry", "statement"}:
            mends = holder is not None and item.kind == "statement" and holder.area == record.area
            if holder is None or mends or not other_person(holder, record):
                holder = record
        elif holder is None or holder.area != record.area:
            continue
        elif item.kind == "removal":
            holder = changed(holder, record, record)
        elif holder.state == 1:
            holder = record
        else:
            holder = changed(record, holder, record)
    return None if holder is None else plain(holder)


def changed(image: Resident, state: Resident, numbered: Resident) -> Resident:
    return Resident(
        key=image.key, state=state.state, reason=state.reason, sex=image.sex, area=image.area,
        change_date=state.change_date, birth_date=image.birth_date, update_number=numbered.update_number,
        notified=True, town=image.town, name=image.name, kana=image.kana, alias=image.alias,
        address_rest=image.address_rest,
    )  # fmt: skip


def plain(record: Resident) -> Resident:
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return Resident(**{**fields, "registered_day": 0})


def other_person(one: Resident, other: Resident) -> bool:
    births = {one.birth_date, other.birth_date}
    sexes = {one.sex, other.sex}
    return (len(births) == 2 and 0 not in births) or sexes == {1, 2}
