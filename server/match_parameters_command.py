"""The command `jukinet match-parameters`: a matching model of an affair, estimated from a register and its records."""

from __future__ import annotations

import argparse
import csv
import datetime
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jukinet.core.errors import ConfigurationError
from jukinet.core.folding.dates import DateTextError, read_date
from jukinet.core.law.retention import Rule, cutoffs
from jukinet.core.matching import parameters
from jukinet.core.matching.batch import Matcher
from jukinet.core.matching.columns import MatchRules, Questions
from jukinet.core.matching.estimating import describe, estimate
from jukinet.core.matching.folded import Folded, fold
from jukinet.core.matching.model import Model
from jukinet.core.records import record
from jukinet.core.store import block, schema
from jukinet.core.store.reader import RegisterReader

if TYPE_CHECKING:
    from jukinet.core.matching.matcher import Observed

PEOPLE_DEFAULT: Final = 200_000
RECORDS_MAX: Final = 100_000
BUCKETS_TRIED_MAX: Final = 10_000_000
COLUMNS: Final = ("name", "kana", "birth_date", "sex", "address")
SEXES: Final = {"1": 1, "2": 2, "m": 1, "f": 2, "male": 1, "female": 2, "男": 1, "女": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options; no subcommand."""
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="the register's directory")
    parser.add_argument(
        "--records", type=Path, required=True, metavar="CSV",
        help=f"unresolved records, UTF-8, with columns {', '.join(COLUMNS)}; at most {RECORDS_MAX:,} are read",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="JSON", help="the parameter file to write")
    parser.add_argument(
        "--people", type=int, default=PEOPLE_DEFAULT, metavar="N",
        help=f"people of the register to learn frequencies from ({PEOPLE_DEFAULT:,})",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the sample (1)")


def run(arguments: argparse.Namespace) -> int:
    """0 when the file was written. Raises ConfigurationError for records that cannot be used, and StoreError."""
    rows = list(read_rows(arguments.records))
    if not rows:
        raise ConfigurationError(f"{arguments.records}: no record has a name or reading with a birth date or address")
    with RegisterReader(arguments.store) as reader:
        people = list(sampled_people(reader, arguments.people, arguments.seed))
        if len(people) < 2:
            raise ConfigurationError(f"{arguments.store}: the register holds too few people to learn from")
        start = describe(people, f"{len(rows)} records, {len(people)} people", arguments.seed)
        rules = MatchRules()
        limit = cutoffs(Rule.FIVE_YEARS, datetime.datetime.now(datetime.UTC).date())
        matcher = Matcher(Model(start, reader.meta.residents), rules, reader.databases, reader.meta.width, limit)
        seen: list[list[Observed]] = []
        matcher.begin(Questions.from_rows(rows))
        with reader.pin() as snapshot:
            matcher.run(snapshot, 0, len(rows), lambda _, found: seen.append(found))
        found = estimate(start, reader.meta.residents, seen)
    arguments.out.write_bytes(parameters.encode(found))
    print(
        f"{arguments.out}: from {len(seen):,} records and {len(people):,} people; "
        f"{found.in_register:.1%} of the records seem to be in the register"
    )
    return 0


def read_rows(path: Path) -> Iterator[tuple[str, str, int, int, str]]:
    """Rows for Questions of records that can be looked for. ConfigurationError when the file is no such table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if not {"name", "kana"} & set(table.fieldnames or ()):
                raise ConfigurationError(f"{path}: the first line names columns, of which one is name or kana")
            for number, row in enumerate(table):
                if number == RECORDS_MAX:
                    return
                name, kana, date, sex, address = (row.get(column) or "" for column in COLUMNS)
                packed = packed_date(date)
                if (name or kana) and (packed or address):
                    yield name, kana, packed, SEXES.get(sex.strip().lower(), 0), address
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: {getattr(error, 'strerror', None) or 'no UTF-8 table'}") from None


def packed_date(text: str) -> int:
    """A date as somebody wrote it, packed; 0 for none and for what cannot be read."""
    if not text.strip():
        return 0
    try:
        decimal = read_date(text).decimal
    except DateTextError:
        return 0
    return decimal // 10_000 << 9 | decimal // 100 % 100 << 5 | decimal % 100


def sampled_people(reader: RegisterReader, count: int, seed: int) -> Iterator[Folded]:
    """People of random buckets. Raises StoreCorruptError for a damaged block."""
    draw = random.Random(seed)  # noqa: S311 - a sample, nothing secret
    left = count
    with reader.pin() as snapshot:
        transaction = snapshot.transaction
        assert transaction is not None
        buckets = list(range(reader.buckets))
        draw.shuffle(buckets)
        for bucket in buckets[:BUCKETS_TRIED_MAX]:
            value = transaction.get(schema.NUMBER.pack(bucket), None, reader.databases["residents"])
            if value is None:
                continue
            for delta, status, data in block.decode(value):
                person = record.decode(bucket * reader.meta.width + delta, status, data)
                if left and person.has_person and (person.name or person.kana):
                    left -= 1
                    try:
                        yield fold(person.name, person.kana, person.birth_date, person.sex, "")
                    except ValueError:
                        continue  # a reading in other letters than kana
            if not left:
                return
