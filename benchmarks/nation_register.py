"""The synthetic register that benchmarks read: built when absent, and the codes that are asked of it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from figures import Options, say
from jukinet.core.errors import StoreError
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block, schema
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import ALL_ITEMS, Outcome
from jukinet.core.wire import messages as m
from jukinet.core.wire.answers import parse_lookup_answer
from jukinet.core.wire.frames import HEADER_BYTES
from jukinet.server.nation import codes as nation_codes

BATCH_CODES: Final = 65_536
SINCE: Final = 20260401
"""STATUS is asked for half a year before the nation's date (2026-10-01)."""

Codes = npt.NDArray[np.uint64]


class WrongAnswerError(Exception):
    """A check before a measurement failed: the figures would be worth nothing."""


def built_register(chosen: Options) -> RegisterReader:
    """Open the register of the chosen nation, building it with ``jukinet nation build`` when there is none."""
    if not (chosen.store / "data.mdb").exists():
        say(f"building {chosen.residents:,} residents in {chosen.store}")
        subprocess.run(build_command(chosen.residents, chosen.seed, chosen.store), check=True, stdout=sys.stderr)
    try:
        reader = RegisterReader(chosen.store)
    except StoreError as error:
        raise SystemExit(str(error)) from None
    origin = reader.meta.origin
    if (origin.get("kind"), origin.get("residents"), origin.get("seed")) != (
        "synthetic",
        chosen.residents,
        chosen.seed,
    ):
        raise SystemExit(
            f"{chosen.store} holds another register than {chosen.residents:,} residents of seed {chosen.seed}; name "
            "another --store, or give the --residents and --seed that it was built with"
        )
    return reader


def build_command(residents: int, seed: int, store: Path) -> list[str]:
    """The command line of `jukinet nation build` under this Python."""
    numbers = ["--residents", str(residents), "--seed", str(seed)]
    return [sys.executable, "-m", "jukinet.clients.command", "nation", "build", *numbers, "--store", str(store)]


def random_codes(chosen: Options, count: int, *, among: int | None = None, salt: int = 0) -> Codes:
    """``count`` codes of random residents (with repeats), among the first ``among`` of the nation or all of them."""
    generator = np.random.default_rng((chosen.seed, salt))
    numbers = generator.integers(0, among or chosen.residents, count, dtype=np.uint64)
    return nation_codes.codes_of(chosen.seed, chosen.residents, numbers)


def sorted_third(chosen: Options, count_max: int = 40_000_000) -> Codes:
    """The codes of a third of the nation, at most ``count_max``, ascending: what a pension body's own file is like."""
    codes = nation_codes.codes_between(chosen.seed, chosen.residents, 0, min(count_max, max(1, chosen.residents // 3)))
    codes.sort()
    return codes


def in_batches(codes: Codes, size: int = BATCH_CODES) -> list[memoryview]:
    """Contiguous batches, the last one shorter."""
    return [codes[start : start + size].data.cast("B").cast("Q") for start in range(0, len(codes), size)]


def looked_up(batch: LookupBatch, snapshot: Snapshot, codes: memoryview) -> bytearray:
    """One whole LOOKUP in process, all items: the answer frame."""
    batch.begin(codes, int(ALL_ITEMS))
    batch.run(snapshot, 0, len(codes))
    return batch.finish()


def answer_of(frame: bytearray, count: int) -> m.LookupAnswer:
    """The columns of a frame that looked_up() made."""
    return parse_lookup_answer(1, int(ALL_ITEMS), count, frame[HEADER_BYTES:])


class Holdings:
    """Residents read the slow, obvious way, to check fast answers: one LMDB get, one whole block decoded."""

    def __init__(self, reader: RegisterReader, snapshot: Snapshot) -> None:
        assert snapshot.transaction is not None
        self._transaction = snapshot.transaction
        self._residents = reader.databases["residents"]
        self._width = reader.meta.width
        self._places = snapshot.places
        self.areas = reader.areas
        self.towns = reader._read_towns(snapshot.transaction, reader.meta)

    def resident(self, key: int) -> Resident | None:
        bucket = key // self._width
        value = self._transaction.get(schema.NUMBER.pack(bucket), db=self._residents)
        for delta, status, data in block.decode(value) if value is not None else ():
            if bucket * self._width + delta == key:
                return record.decode(key, status, data)
        return None

    def address(self, resident: Resident) -> str:
        return (self.towns[resident.town - 1].text if resident.town else "") + resident.address_rest


CHECKED_COLUMNS: Final = (
    "names", "kana", "aliases", "addresses", "birth_dates", "sexes", "areas", "reasons", "change_dates",
)  # fmt: skip
OUTCOME_OF_STATE: Final = (None, 1, 3, 4, 5, 6, 8)


def check_lookups(chosen: Options, reader: RegisterReader, snapshot: Snapshot, sample: int = 1_000) -> str:
    """Compare LOOKUP with records decoded one by one, and with what the nation's plan says of retired and absent codes.

    Returns a digest of the answers, equal for equal nations. Raises WrongAnswerError.
    """
    holdings = Holdings(reader, snapshot)
    retired = min(sample // 10, nation_codes.retired_count(chosen.residents))
    known = random_codes(chosen, sample, salt=99)
    gone = nation_codes.retired_codes(chosen.seed, chosen.residents, retired)
    absent = nation_codes.absent_codes(chosen.seed, chosen.residents, sample // 10)
    wrong = known[: sample // 10] // np.uint64(10) * np.uint64(10) + (known[: sample // 10] + np.uint64(1)) % np.uint64(
        10
    )
    codes = np.concatenate([known, gone, absent, wrong])
    frame = looked_up(LookupBatch(), snapshot, codes.data.cast("B").cast("Q"))
    answer = answer_of(frame, len(codes))
    for row, code in enumerate(known.tolist()):
        check_row(answer, row, holdings, holdings.resident(code // 10))
    successors = nation_codes.successor_numbers(chosen.seed, chosen.residents, retired)
    expected = bytes(
        [Outcome.CODE_CHANGED] * retired + [Outcome.UNKNOWN] * len(absent) + [Outcome.BAD_CHECK_DIGIT] * len(wrong)
    )
    assert answer.successor_codes is not None
    if bytes(answer.outcomes[sample:]) != expected:
        raise WrongAnswerError("retired, absent or mistyped codes have the wrong outcome")
    if (
        list(answer.successor_codes[sample : sample + retired])
        != nation_codes.codes_of(chosen.seed, chosen.residents, successors).tolist()
    ):
        raise WrongAnswerError("a retired code leads to the wrong successor")
    return hashlib.sha256(frame).hexdigest()[:16]


def check_row(answer: m.LookupAnswer, row: int, holdings: Holdings, resident: Resident | None) -> None:
    """One answered row against the record decoded by itself. Raises WrongAnswerError, which shows nobody's data."""
    if resident is None:
        raise WrongAnswerError("a resident of the nation is not in the register")
    if answer.outcomes[row] != OUTCOME_OF_STATE[resident.state]:
        raise WrongAnswerError("an outcome does not fit the stored state")
    told = tuple(getattr(answer, column)[row] for column in CHECKED_COLUMNS)
    held = (
        resident.name, resident.kana, resident.alias, holdings.address(resident), resident.birth_date,
        resident.sex, holdings.areas[resident.area].jis, resident.reason, resident.change_date,
    )  # fmt: skip
    if told != (held if resident.has_person else ("", "", "", "", 0, 0, 0, 0, 0)):
        raise WrongAnswerError("a row differs from the stored record")
