"""The ledger: what each recipient was provided in each month, for ever, as sums of the seals' tallies (chapter 11)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.audit.run_kernel import Tallies
from jukinet.core.audit.seal import SegmentStatement, Tally, open_seal

LEDGER: Final = "ledger"
INTERACTIVE: Final = "interactive"
BULK: Final = "bulk"
EPOCH: Final = datetime.date(1970, 1, 1)
JAPAN: Final = datetime.timezone(datetime.timedelta(hours=9), "JST")
_heads = msgspec.msgpack.Decoder(ProvisionHead)

Key = tuple[int, str, str, int, str, int, int, str]
"""A tally without its sums."""


class LedgerFile(msgspec.Struct):
    """``tree/ledger``: JSON. The sums of all seals before leaf ``leaf``, of which there are ``seals``."""

    leaf: int
    seals: int
    tallies: list[Tally]


def month_of(time_ns: int) -> int:
    """yyyymm in Japan."""
    moment = datetime.datetime.fromtimestamp(time_ns / 1e9, JAPAN)
    return moment.year * 100 + moment.month


def tallies_of(counted: Tallies) -> list[Tally]:
    """The rows of one segment, in order. Raises msgspec.DecodeError for a head that is none."""
    sums: dict[Key, list[int]] = {}
    for (part, function, interactive, day), (requests, provisions) in counted.counts.items():
        # Six placeholders stand for the fields before the session's part, which the key holds or which do not count.
        head = _heads.decode(b"\xdc\x00\x10" + bytes(6) + part)
        date = EPOCH + datetime.timedelta(days=day)
        method = INTERACTIVE if interactive else BULK
        _add(sums, _key(date.year * 100 + date.month, head, function, method), requests, provisions)
    for encoded, provisions in counted.odd:
        head = _heads.decode(encoded)
        method = INTERACTIVE if provisions <= limits.INTERACTIVE_PROVISIONS_MAX else BULK
        _add(sums, _key(month_of(head.time_ns), head, head.function, method), 1, provisions)
    return [Tally(*key, *amounts) for key, amounts in sorted(sums.items())]


def _key(month: int, head: ProvisionHead, function: int, method: str) -> Key:
    return (month, head.role, head.body, head.schedule, head.item, head.number, function, method)


def _add(sums: dict[Key, list[int]], key: Key, requests: int, provisions: int) -> None:
    amounts = sums.setdefault(key, [0, 0])
    amounts[0] += requests
    amounts[1] += provisions


class Sums:
    """Tallies added up. Invariant: one row for each key."""

    def __init__(self) -> None:
        self._sums: dict[Key, list[int]] = {}

    def add(self, tallies: Iterable[Tally]) -> None:
        for tally in tallies:
            *key, requests, provisions = msgspec.structs.astuple(tally)
            _add(self._sums, tuple(key), requests, provisions)

    def tallies(self) -> list[Tally]:
        """The rows, by month, recipient and affair."""
        return [Tally(*key, *amounts) for key, amounts in sorted(self._sums.items())]


class Ledger:
    """The sums so far. Invariant: they are those of the first ``seals`` seals, which end before ``leaf``."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self.leaf = self.seals = 0
        self._sums = Sums()
        try:
            found = msgspec.json.decode((tree / LEDGER).read_bytes(), type=LedgerFile)
        except (OSError, msgspec.DecodeError):
            return  # it is derived: the seals are read again
        self.leaf, self.seals = found.leaf, found.seals
        self._sums.add(found.tallies)

    def bring_up(self, seals: int, size: int) -> None:
        """Add the seals that are missing; begin anew when the file says more than there is. Raises TreeDamagedError."""
        if self.seals > seals or self.leaf > size:
            self.leaf = self.seals = 0
            self._sums = Sums()
        for number in range(self.seals, seals):
            with open_seal(self._tree, number) as seal:
                statement = seal.decoded()
                self.add(statement.tallies if isinstance(statement, SegmentStatement) else (), seal.next_leaf)

    def add(self, tallies: Iterable[Tally], next_leaf: int) -> None:
        """One more seal."""
        self._sums.add(tallies)
        self.seals += 1
        self.leaf = next_leaf

    def save(self) -> None:
        """Raises OSError."""
        making = self._tree / (LEDGER + ".new")
        making.write_bytes(msgspec.json.encode(LedgerFile(self.leaf, self.seals, self.tallies())))
        making.chmod(0o600)
        making.rename(self._tree / LEDGER)

    def tallies(self) -> list[Tally]:
        """The rows, by month, recipient and affair."""
        return self._sums.tallies()
