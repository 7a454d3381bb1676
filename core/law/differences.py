"""What one authority allows more, less or otherwise than another, row by row, for people who must approve it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from jukinet.core.law.authority import Authority
from jukinet.core.law.grant import BodyAuthority, Grant
from jukinet.core.vocabulary import Function, Item


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """change: added, removed or changed. where: the body, and its affair and first day where one row is meant."""

    change: str
    where: str
    what: str
    """Names of what differs, with both values; for an added or removed row what it allows."""


def differences(old: Authority, new: Authority) -> Iterator[Difference]:
    """Approvers first, then bodies in order of role and name, and in them rows in order of affair and first day."""
    for name in sorted({*old.approvers, *new.approvers}):
        yield from _one(f"approver {name}", old.approvers.get(name), new.approvers.get(name))
    for role, name in sorted({*old.bodies, *new.bodies}):
        where = f"{role} {name}"
        before, after = old.bodies.get((role, name)), new.bodies.get((role, name))
        yield from _one(where, before, after)
        earlier, later = _rows(before), _rows(after)
        for key in sorted({*earlier, *later}):
            schedule, item, number, first_day = key
            grant = later.get(key) or earlier[key]
            at = f"{where}: {schedule}-{item}-{number} from {grant.valid_from}"
            assert first_day == grant.first_day
            yield from _one(at, earlier.get(key), later.get(key))


def _rows(body: BodyAuthority | None) -> dict[tuple[int, str, int, int], Grant]:
    if body is None:
        return {}
    return {(*affair, grant.first_day): grant for affair, grants in body.grants.items() for grant in grants}


def _one(where: str, before: msgspec.Struct | None, after: msgspec.Struct | None) -> Iterator[Difference]:
    if before is None and after is not None:
        yield Difference(change="added", where=where, what="; ".join(f"{k} {v}" for k, v in _fields(after).items()))
    elif before is not None and after is None:
        yield Difference(change="removed", where=where, what="; ".join(f"{k} {v}" for k, v in _fields(before).items()))
    elif before is not None and after is not None:
        old, new = _fields(before), _fields(after)
        changed = [f"{name} {old[name]} -> {new[name]}" for name in old if old[name] != new[name]]
        if changed:
            yield Difference(change="changed", where=where, what="; ".join(changed))


def _fields(row: msgspec.Struct) -> dict[str, str]:
    """What people read of a row, by the names of the authority file."""
    if isinstance(row, Grant):
        return grant_fields(row)
    fields = {name: getattr(row, name) for name in row.__struct_fields__ if name not in ("role", "name", "grants")}
    return {name: str(value) for name, value in fields.items()}


def grant_fields(grant: Grant) -> dict[str, str]:
    """A row of the authority in words, by the keys of the authority file."""
    fields = {
        "title": grant.affair,
        "legal_basis": grant.legal_basis,
        "functions": names(Function, grant.functions),
        "items": names(Item, grant.items) or "none",
        "codes_per_request_max": f"{grant.codes_per_request_max:,}",
        "codes_per_day_max": f"{grant.codes_per_day_max:,}" if grant.codes_per_day_max else "no cap",
        "codes_per_year_max": f"{grant.codes_per_year_max:,}" if grant.codes_per_year_max else "no cap",
        "valid_until": str(grant.valid_until or "open"),
    }
    if grant.functions & (Function.SEARCH | Function.MATCH):
        rules = msgspec.structs.asdict(grant.matching)
        fields["matching"] = ", ".join(f"{name} {value}" for name, value in rules.items() if value != "")
    return fields


def names(kind: type[Function] | type[Item], mask: int) -> str:
    """The names of a mask's bits, joined by spaces."""
    return " ".join(str(bit.name) for bit in kind if mask & bit)
