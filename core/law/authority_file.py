"""Reading an authority file: TOML to grants, every rule of docs/authority.md checked, every refusal explained."""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from jukinet.core import limits
from jukinet.core.errors import ConfigurationError
from jukinet.core.law.grant import OPEN_DAY, Affair, BodyAuthority, Grant
from jukinet.core.matching import parameters
from jukinet.core.matching.columns import MatchRules
from jukinet.core.signatures import PersonalKey
from jukinet.core.vocabulary import ALL_ITEMS, FOUR_ITEMS, Function, Item, Role

FORMAT: Final = 1
FILE_BYTES_MAX: Final = 16 * 1_024 * 1_024
BODIES_MAX: Final = 4_096
APPROVERS_MAX: Final = 64
CODES_PER_PERIOD_MAX: Final = 1_000_000_000_000
"""Above every cap of a day or a year that means anything."""
AFFAIRS_PER_BODY_MAX: Final = 1_024
CODES_PER_SECOND_MAX: Final = 1_000_000_000
CODES_PER_SECOND_DEFAULT: Final = 10_000_000
CONNECTIONS_MAX: Final = 4_096
CONNECTIONS_DEFAULT: Final = 64
NUMBER_MAX: Final = 99
TEXT_BYTES_MAX: Final = 200
LEGAL_BASIS_BYTES_MAX: Final = 400

REPEALED_ITEMS: Final = frozenset({"1", "4", "6", "7", "10", "14", "15"})
"""Items of schedule 1 that the Act no longer holds."""
SCHEDULE_ROLES: Final[dict[int, tuple[Role, ...]]] = {
    0: (Role.PREFECTURE, Role.MUNICIPALITY),
    1: (Role.AGENCY,),
    2: (Role.MUNICIPALITY,),
    3: (Role.PREFECTURE,),
    4: (Role.MUNICIPALITY,),
    5: (Role.PREFECTURE,),
}
"""Who a schedule of the Act provides to (Act 30-7, 30-8). 0: affairs that an ordinance adds."""
BODY_ROLES: Final = (Role.AGENCY, Role.PREFECTURE, Role.MUNICIPALITY)

NAME_PATTERN: Final = re.compile(r"[a-z0-9-]{1,64}")
ITEM_PATTERN: Final = re.compile(r"[1-9][0-9]{0,2}(-[1-9][0-9]?)?")
HEADER_PATTERN: Final = re.compile(r"^\s*\[\[\s*(body(?:\s*\.\s*affair)?)\s*\]\]", re.MULTILINE)


class Approver(msgspec.Struct, frozen=True, kw_only=True):
    """A person who may approve the next version of a history. ``key`` is the text of a PersonalKey."""

    name: str
    display: str
    key: str


class AuthorityFile(NamedTuple):
    """What a file holds. parameters: SHA-256 of each file of model parameters that it names, by the name as written."""

    title: str
    digest: str
    bodies: dict[tuple[str, str], BodyAuthority]
    approvers: dict[str, Approver]
    parameters: dict[str, str]


class Table:
    """One TOML table while it is read. Invariant: a key is either still in ``left`` or was taken and checked."""

    def __init__(self, path: Path, where: str, line: int, values: object) -> None:
        self.path, self.where, self.line = path, where, line
        if not isinstance(values, dict):
            self.refuse(None, "is not a table; write [[body]] and [[body.affair]] tables")
        self.left: dict[str, Any] = dict(values)

    def refuse(self, key: str | None, problem: str) -> NoReturn:
        line = f", line {self.line}" if self.line else ""
        part = f", key {key!r}" if key else ""
        raise ConfigurationError(f"{self.path}{line}, {self.where}{part}: {problem}")

    def take(self, key: str, kind: type, default: object = None) -> Any:
        if key not in self.left:
            if default is None:
                self.refuse(key, f"is missing; add it ({KINDS[kind]})")
            return default
        value = self.left.pop(key)
        if type(value) is not kind:  # exact: a bool is no integer here, and a date and time is no date
            self.refuse(key, f"is {KINDS.get(type(value), type(value).__name__)}; it must be {KINDS[kind]}")
        return value

    def integer(self, key: str, lowest: int, highest: int, default: int | None = None) -> int:
        value: int = self.take(key, int, default)
        if not lowest <= value <= highest:
            self.refuse(key, f"is {value}; it must be {lowest:,} to {highest:,}")
        return value

    def share(self, key: str, lowest: float, default: float) -> float:
        value: float = self.take(key, float, default)
        if not lowest <= value <= 1.0:
            self.refuse(key, f"is {value}; it must be {lowest} to 1.0")
        return value

    def text(self, key: str, bytes_max: int) -> str:
        value: str = self.take(key, str)
        if not 1 <= len(value.encode()) <= bytes_max or not value.isprintable() or value != value.strip():
            self.refuse(
                key, f"must be 1 to {bytes_max} bytes of UTF-8 without control characters or spaces at its ends"
            )
        return value

    def matching(self, key: str, pattern: re.Pattern[str], rule: str) -> str:
        value: str = self.take(key, str)
        if not pattern.fullmatch(value):
            self.refuse(key, f"is {value!r}; it must be {rule}")
        return value

    def mask(self, key: str, word: Callable[[str], int | None], known: str) -> int:
        mask = 0
        for name in self.take(key, list):
            bit = word(name) if type(name) is str else None
            if bit is None:
                self.refuse(key, f"holds {name!r}; it may hold {known}")
            if mask & bit:
                self.refuse(key, f"names {name!r} twice; name each once")
            mask |= bit
        return mask

    def finish(self, known: str) -> None:
        for key in self.left:
            self.refuse(key, f"is not known here; remove it or mend its spelling (known: {known})")


KINDS: Final[dict[type, str]] = {
    int: "an integer",
    str: "a string",
    list: "a list",
    bool: "a boolean",
    float: "a float",
    dict: "a table",
    datetime.date: "a date such as 2026-04-01",
    datetime.datetime: "a date with a time",
    datetime.time: "a time",
}
FUNCTION_WORDS: Final = {str(function.name): int(function) for function in Function}
ITEM_WORDS: Final = {str(item.name): int(item) for item in Item} | {"ALL": int(ALL_ITEMS)}
AFFAIR_KEYS: Final = (
    "schedule, item, number, title, legal_basis, functions, items, codes_per_request_max, codes_per_day_max, "
    "codes_per_year_max, valid_from, valid_until, matching"
)
MATCHING_KEYS: Final = "prefix, hits_max, match_threshold, candidate_threshold, margin_min, parameters"
FINDING: Final = int(Function.SEARCH | Function.MATCH)
NAMED: Final = int(Item.NAME | Item.KANA)
PLACED: Final = int(Item.BIRTH_DATE | Item.ADDRESS)


def read_authority(path: Path) -> AuthorityFile:
    """The file at ``path``, checked. Raises ConfigurationError (file, line, table, key, remedy)."""
    content, tree = read_toml(path)
    lines = header_lines(content, tree)
    head = Table(path, "the head of the file", 0, tree)
    if head.integer("format", 1, 1_000_000) != FORMAT:
        head.refuse("format", f"this version reads format {FORMAT} only; convert the file")
    title: str = head.take("title", str, "")
    tables = head.take("body", list, [])
    approvers = read_approvers(head)
    head.finish("format, title, approver, body")
    if not 1 <= len(tables) <= BODIES_MAX:
        head.refuse("body", f"there are {len(tables)} [[body]] tables; there must be 1 to {BODIES_MAX:,}")
    bodies: dict[tuple[str, str], BodyAuthority] = {}
    titles: dict[Affair, tuple[str, str]] = {}
    for position, values in enumerate(tables, 1):
        where = f"body[{position}]"
        body = read_body(Table(path, where, lines.get(where, 0), values), lines, titles)
        key = (body.role, body.name)
        if key in bodies:
            Table(path, where, lines.get(where, 0), values).refuse(
                "name", f"{body.role} {body.name} stands twice; put all its affairs under one [[body]]"
            )
        bodies[key] = body
    digest = hashlib.sha256(content).hexdigest()
    return AuthorityFile(title, digest, bodies, approvers, parameters_digests(path, bodies))


def read_approvers(head: Table) -> dict[str, Approver]:
    tables = head.take("approver", list, [])
    if len(tables) > APPROVERS_MAX:
        head.refuse("approver", f"there are {len(tables)}; at most {APPROVERS_MAX} are allowed")
    approvers: dict[str, Approver] = {}
    keys: dict[str, str] = {}
    for position, values in enumerate(tables, 1):
        table = Table(head.path, f"approver[{position}]", 0, values)
        name = table.matching("name", NAME_PATTERN, "1 to 64 characters of a-z 0-9 -")
        display = table.text("display", TEXT_BYTES_MAX)
        try:
            key = PersonalKey(table.text("key", limits.PUBLIC_KEY_TEXT_BYTES_MAX)).text
        except ConfigurationError as error:
            table.refuse("key", str(error))
        table.finish("name, display, key")
        if name in approvers:
            table.refuse("name", f"{name} stands twice; name each approver once")
        if keys.setdefault(key, name) != name:
            table.refuse("key", f"is the key of {keys[key]} too; two approvals must come from two keys")
        approvers[name] = Approver(name=name, display=display, key=key)
    return approvers


def parameters_digests(path: Path, bodies: dict[tuple[str, str], BodyAuthority]) -> dict[str, str]:
    """SHA-256 of the files of model parameters, by their names as the authority file writes them."""
    paths = {grant.matching.parameters for body in bodies.values() for row in body.grants.values() for grant in row}
    digests: dict[str, str] = {}
    for name in sorted(paths - {""}):
        place = Path(name)
        shown = str(place.relative_to(path.parent)) if place.is_relative_to(path.parent) else name
        digests[shown] = hashlib.sha256(place.read_bytes()).hexdigest()
    return digests


def read_toml(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path}: cannot read the authority file ({reason}); check path and rights") from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{path}: larger than {FILE_BYTES_MAX:,} bytes; this is no authority file")
    try:
        return content, tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}; mend the file there") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: nested too deeply; this is no authority file") from error


def header_lines(content: bytes, tree: dict[str, Any]) -> dict[str, int]:
    """Line number of each ``[[body]]`` and ``[[body.affair]]``, by name as in messages; empty when it is not certain.

    The TOML reader gives no positions, so headers are found in the text; where their number does not agree with the
    tables (inline tables, a header inside a string), no line is better than a wrong one.
    """
    lines: dict[str, int] = {}
    body = affair = line = start = 0
    text = content.decode()
    for header in HEADER_PATTERN.finditer(text):
        line += text.count("\n", start, header.start(1))
        start = header.start(1)
        if header.group(1) == "body":
            body, affair = body + 1, 0
            lines[f"body[{body}]"] = line + 1
        else:
            affair += 1
            lines[f"body[{body}].affair[{affair}]"] = line + 1
    bodies = tree.get("body")
    if not isinstance(bodies, list):
        return {}
    tables = len(bodies) + sum(len(b["affair"]) for b in bodies if isinstance(b, dict) and "affair" in b
                               and isinstance(b["affair"], list))  # fmt: skip
    return lines if tables == len(lines) else {}


def read_body(table: Table, lines: dict[str, int], titles: dict[Affair, tuple[str, str]]) -> BodyAuthority:
    role: str = table.take("role", str)
    if role not in BODY_ROLES:
        table.refuse("role", f"is {role!r}; it must be one of {', '.join(BODY_ROLES)}")
    name = table.matching("name", NAME_PATTERN, "1 to 64 characters of a-z 0-9 - as in the certificate's SAN URI")
    display = table.text("display", TEXT_BYTES_MAX)
    rate = table.integer("codes_per_second_max", 1, CODES_PER_SECOND_MAX, CODES_PER_SECOND_DEFAULT)
    connections = table.integer("connections_max", 1, CONNECTIONS_MAX, CONNECTIONS_DEFAULT)
    affairs = table.take("affair", list, [])
    table.finish("role, name, display, codes_per_second_max, connections_max, affair")
    if len(affairs) > AFFAIRS_PER_BODY_MAX:
        table.refuse("affair", f"there are {len(affairs)}; at most {AFFAIRS_PER_BODY_MAX:,} are allowed")
    rows: dict[Affair, list[tuple[Grant, str]]] = {}
    for position, values in enumerate(affairs, 1):
        where = f"{table.where}.affair[{position}]"
        row = Table(table.path, where, lines.get(where, 0), values)
        grant = read_affair(row, role)
        affair = (grant.schedule, grant.item, grant.number)
        refuse_meeting_periods(row, grant, rows.setdefault(affair, []))
        refuse_second_title(row, grant, titles)
        rows[affair].append((grant, where))
    return BodyAuthority(
        role=role,
        name=name,
        display=display,
        codes_per_second_max=rate,
        connections_max=connections,
        grants={key: tuple(sorted((g for g, _ in row), key=lambda g: g.first_day)) for key, row in rows.items()},
    )


def read_affair(table: Table, role: str) -> Grant:
    schedule = table.integer("schedule", 0, max(SCHEDULE_ROLES))
    item = table.matching("item", ITEM_PATTERN, 'an item of the schedule such as "77" or "77-2"')
    number = table.integer("number", 0, NUMBER_MAX, 0)
    if role not in SCHEDULE_ROLES[schedule]:
        allowed = " and ".join(SCHEDULE_ROLES[schedule])
        kind = "affairs that an ordinance adds are" if schedule == 0 else f"schedule {schedule} is"
        table.refuse("schedule", f"{kind} for {allowed} bodies only, and this body's role is {role}; remove the row")
    if schedule == 1 and item in REPEALED_ITEMS:
        table.refuse("item", f"item {item} of schedule 1 is repealed; remove the row")
    functions = table.mask("functions", FUNCTION_WORDS.get, ", ".join(FUNCTION_WORDS))
    if functions == 0:
        table.refuse("functions", "is empty; name at least one, or remove the row")
    items = table.mask("items", ITEM_WORDS.get, ", ".join(ITEM_WORDS))
    if functions & ~Function.STATUS and items == 0:
        table.refuse("items", "is empty, which only an affair with STATUS alone may have; name the items")
    if functions & Function.VERIFY and items & FOUR_ITEMS == 0:
        table.refuse("items", "VERIFY needs at least one of NAME, BIRTH_DATE, SEX, ADDRESS; add it or drop VERIFY")
    if functions & FINDING and not (items & NAMED and items & PLACED):
        table.refuse(
            "items", "SEARCH and MATCH need NAME or KANA, with BIRTH_DATE or ADDRESS; add them or drop the function"
        )
    first: datetime.date = table.take("valid_from", datetime.date)
    last: datetime.date = table.take("valid_until", datetime.date, datetime.date.max)
    if last < first:
        table.refuse("valid_until", f"is {last}, before valid_from ({first}); mend one of them")
    grant = Grant(
        schedule=schedule,
        item=item,
        number=number,
        affair=table.text("title", TEXT_BYTES_MAX),
        legal_basis=table.text("legal_basis", LEGAL_BASIS_BYTES_MAX),
        functions=functions,
        items=items,
        codes_per_request_max=table.integer(
            "codes_per_request_max", 1, limits.CODES_PER_REQUEST_MAX, limits.CODES_PER_REQUEST_MAX
        ),
        codes_per_day_max=read_cap(table, "codes_per_day_max"),
        codes_per_year_max=read_cap(table, "codes_per_year_max"),
        first_day=first.toordinal(),
        last_day=last.toordinal(),
        matching=read_matching(table, functions),
    )
    assert grant.last_day <= OPEN_DAY
    table.finish(AFFAIR_KEYS)
    return grant


def read_cap(table: Table, key: str) -> int:
    """A cap of a period; 0 where the file says nothing."""
    return table.integer(key, 1, CODES_PER_PERIOD_MAX) if key in table.left else 0


def read_matching(table: Table, functions: int) -> MatchRules:
    """The affair's settings of SEARCH and MATCH, the shipped ones where it says nothing."""
    values = table.take("matching", dict, {})
    if not functions & FINDING:
        if values:
            table.refuse("matching", "is of SEARCH and MATCH, which this affair does not have; remove it")
        return MatchRules()
    inner = Table(table.path, f"{table.where}, matching", table.line, values)
    shipped = MatchRules()
    threshold = inner.share("match_threshold", 0.5, shipped.match_threshold)
    path, digest = parameters_file(inner)
    rules = MatchRules(
        match_threshold=threshold,
        candidate_threshold=inner.share("candidate_threshold", 0.0, min(threshold, shipped.candidate_threshold)),
        margin_min=inner.share("margin_min", 0.0, shipped.margin_min),
        hits_max=inner.integer("hits_max", 1, limits.SEARCH_HITS_MAX, shipped.hits_max),
        prefix=inner.take("prefix", bool, shipped.prefix),
        parameters=path,
        parameters_digest=digest,
    )
    if rules.candidate_threshold > threshold:
        inner.refuse("candidate_threshold", f"is above match_threshold ({threshold}); mend one of them")
    inner.finish(MATCHING_KEYS)
    return rules


def parameters_file(table: Table) -> tuple[str, str]:
    """Path and SHA-256 of the affair's file of model parameters, which is read and checked; '' for the shipped one."""
    if "parameters" not in table.left:
        return "", ""
    path = table.path.parent / table.text("parameters", TEXT_BYTES_MAX)
    try:
        parameters.read(path)
        return str(path), hashlib.sha256(path.read_bytes()).hexdigest()
    except ConfigurationError as error:
        table.refuse("parameters", f"cannot be used: {error}")
    except OSError as error:
        table.refuse("parameters", f"cannot be read ({error.strerror})")


def refuse_meeting_periods(table: Table, grant: Grant, earlier: list[tuple[Grant, str]]) -> None:
    for other, where in earlier:
        if grant.first_day <= other.last_day and other.first_day <= grant.last_day:
            kind = "duplicate" if grant == other else "contradictory"
            table.refuse(
                "valid_from",
                f"{kind}: {where} already covers schedule {grant.schedule} item {grant.item} number {grant.number} on "
                "some of these days; remove one row, or end the earlier period before this one begins",
            )


def refuse_second_title(table: Table, grant: Grant, titles: dict[Affair, tuple[str, str]]) -> None:
    """One affair of the Act has one title, whoever carries it out. Ordinance affairs are each body's own."""
    if grant.schedule == 0:
        return
    title, where = titles.setdefault((grant.schedule, grant.item, grant.number), (grant.affair, table.where))
    if title != grant.affair:
        table.refuse(
            "title", f"contradictory: {where} calls the same affair {title!r}; use one title, or mend the item"
        )
