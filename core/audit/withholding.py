"""What law lets withhold from a disclosure for a time: rules as data, in a file beside the record of use (chapter 10).

``withholding.toml``: an array ``rule`` of tables. Every field that a rule gives must agree; what it leaves out agrees
with everything. From the day ``until`` on, what was withheld is shown.
"""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from jukinet.core.audit.ledger import JAPAN
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.errors import ConfigurationError

FILE: Final = "withholding.toml"
FILE_BYTES_MAX: Final = 1 << 20


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One order to withhold."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    until: datetime.date
    """The day, in Japan, on which the provisions are shown again."""
    basis: Annotated[str, Meta(min_length=1, max_length=512)]
    """The provision of law."""
    ordered_by: Annotated[str, Meta(min_length=1, max_length=256)]
    role: str | None = None
    body: str | None = None
    schedule: int | None = None
    item: str | None = None
    number: int | None = None
    case_reference: str | None = None
    valid_from: datetime.date = datetime.date.min
    """Provisions made before are shown."""

    def holds_back(self, head: ProvisionHead, today: datetime.date) -> bool:
        if today >= self.until:
            return False
        made = datetime.datetime.fromtimestamp(head.time_ns / 1e9, JAPAN).date()
        fields = ("role", "body", "schedule", "item", "number", "case_reference")
        return made >= self.valid_from and all(getattr(self, field) in (None, getattr(head, field)) for field in fields)

    @property
    def names_something(self) -> bool:
        return any(value is not None for value in (self.body, self.item, self.case_reference))


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    rule: list[Rule] = []


def read_rules(directory: Path) -> list[Rule]:
    """The rules of a record of use; [] when it has none. Raises ConfigurationError: a disclosure never guesses."""
    path = directory / FILE
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        rules = msgspec.convert(tomllib.loads(data.decode()), Rules).rule
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    names = [rule.name for rule in rules]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"{path}: two rules of one name")
    for rule in rules:
        if not rule.names_something:
            raise ConfigurationError(f"{path}: rule {rule.name!r} names no body, item or case and would withhold all")
    return rules
