"""The operators' database: an SQLite file that `jukinet operator` and the workers change in transactions."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.errors import ConfigurationError, JukinetError
from jukinet.core.law.grant import day_in_japan
from jukinet.core.signatures import PersonalKey
from jukinet.core.wire.operator_proof import KEY, PASSWORD, client_key, stored_key
from jukinet.server.operators.classes import CLASSES

FORMAT: Final = 1
SALT_BYTES: Final = 16
MEMORY_KIBIBYTES: Final = 65_536
ITERATIONS: Final = 3
LANES: Final = 1
"""RFC 9106, section 4, second recommendation, with one lane: about 0.2 s of one core at the client."""
PASSWORD_CHARACTERS_MIN: Final = 12
PASSWORD_CHARACTERS_MAX: Final = 128
PASSWORD_DIFFERENT_MIN: Final = 6
BUSY_SECONDS: Final = 5.0
OPERATORS_MAX: Final = 1_000_000
BY_CHARACTERS_MAX: Final = 64
SCHEMA: Final = """
CREATE TABLE meta (format INTEGER NOT NULL, secret BLOB NOT NULL);
CREATE TABLE operator (
    role TEXT NOT NULL, body TEXT NOT NULL, name TEXT NOT NULL, class TEXT NOT NULL, method TEXT NOT NULL,
    salt BLOB NOT NULL, memory_kibibytes INTEGER NOT NULL, iterations INTEGER NOT NULL, lanes INTEGER NOT NULL,
    credential BLOB NOT NULL, last_day INTEGER NOT NULL, disabled INTEGER NOT NULL, failures INTEGER NOT NULL,
    locked INTEGER NOT NULL, PRIMARY KEY (role, body, name)
) WITHOUT ROWID;
CREATE TABLE change (
    at INTEGER NOT NULL, what TEXT NOT NULL, by TEXT NOT NULL,
    role TEXT NOT NULL, body TEXT NOT NULL, name TEXT NOT NULL, detail TEXT NOT NULL DEFAULT ''
);
"""


class OperatorsError(JukinetError):
    """The operators' database cannot be read or written; nobody can log in meanwhile."""


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One row. credential: SHA-256 of the client key, or the text of a PersonalKey. last_day: ordinal, 0 open."""

    role: str
    body: str
    name: str
    operator_class: str
    method: str
    salt: bytes
    memory_kibibytes: int
    iterations: int
    lanes: int
    credential: bytes
    last_day: int
    disabled: bool
    failures: int
    locked: bool

    def may_come_in(self, today: datetime.date) -> str:
        """'' when the operator may be in, otherwise why not."""
        if self.disabled:
            return "disabled"
        if self.locked:
            return "locked"
        return "expired" if self.last_day and self.last_day < today.toordinal() else ""

    @property
    def standing(self) -> tuple[str, str, bytes]:
        """What must not change while the operator is in."""
        return self.operator_class, self.method, self.credential


class Identifier(msgspec.Struct, frozen=True):
    """Which operator: the body's role and name, and its own."""

    role: str
    body: str
    name: str


COLUMNS: Final = (
    "role, body, name, class, method, salt, memory_kibibytes, iterations, lanes, credential, last_day, disabled, "
    "failures, locked"
)


def _operator(row: tuple[object, ...]) -> Operator:
    fields = dict(zip(Operator.__struct_fields__, row, strict=True))
    return msgspec.convert({**fields, "disabled": bool(row[11]), "locked": bool(row[13])}, Operator)


class OperatorDatabase:
    """An open database; one thread at a time.

    Invariant: every change is one transaction, durable when the call returns (synchronous = FULL).
    """

    def __init__(self, path: str | Path, *, make: bool = False) -> None:
        """Open the file; with ``make`` it is made when absent. Raises ConfigurationError."""
        place = Path(path)
        if not make and not place.is_file():
            raise ConfigurationError(f"{place}: no operators' database; make one with `jukinet operator add`")
        try:
            if make and not place.exists():
                os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(
                place, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(place, make)
            except BaseException:
                self._connection.close()
                raise
        except OSError as error:
            raise ConfigurationError(f"{place}: cannot be opened: {error.strerror}") from None
        except sqlite3.Error:
            raise ConfigurationError(f"{place}: is no operators' database that can be used; restore it") from None

    def _prepare(self, place: Path, make: bool) -> None:
        connection = self._connection
        connection.execute("PRAGMA synchronous = FULL")
        if make:
            with self._transaction():
                if not connection.execute("SELECT 1 FROM sqlite_master").fetchall():
                    for statement in SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute("INSERT INTO meta VALUES (?, ?)", (FORMAT, secrets.token_bytes(32)))
        format_, self._secret = connection.execute("SELECT format, secret FROM meta").fetchone()
        if format_ != FORMAT:
            raise ConfigurationError(f"{place}: is of format {format_}; this version reads {FORMAT}")
        columns = [row[1] for row in connection.execute("PRAGMA table_info(change)")]
        self._has_detail = "detail" in columns  # a database of an earlier version gets it with its next change

    def _complete(self) -> None:
        """Within a transaction: bring the table of changes of an earlier version up to date."""
        if not self._has_detail:
            columns = [row[1] for row in self._connection.execute("PRAGMA table_info(change)")]
            if "detail" not in columns:
                self._connection.execute("ALTER TABLE change ADD COLUMN detail TEXT NOT NULL DEFAULT ''")
            self._has_detail = True

    @property
    def identifier(self) -> str:
        """Which database this is, whatever is changed in it."""
        return hashlib.sha256(b"jukinet operators' database" + self._secret).hexdigest()[:32]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()

    def data_version(self) -> int:
        """A number that differs after another process changed the file. Raises OperatorsError."""
        try:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise OperatorsError(f"the operators' database cannot be read: {type(error).__name__}") from error
        return version

    def find(self, who: Identifier) -> Operator | None:
        """The operator, or None. Raises OperatorsError."""
        try:
            row = self._connection.execute(
                f"SELECT {COLUMNS} FROM operator WHERE role = ? AND body = ? AND name = ?",  # noqa: S608 - a constant
                (who.role, who.body, who.name),
            ).fetchone()
        except sqlite3.Error as error:
            raise OperatorsError(f"the operators' database cannot be read: {type(error).__name__}") from error
        return None if row is None else _operator(row)

    def operators(self, body: str = "") -> list[Operator]:
        """All operators, or those of one body, in order. Raises OperatorsError."""
        try:
            rows = self._connection.execute(
                f"SELECT {COLUMNS} FROM operator WHERE ? IN ('', body) ORDER BY role, body, name",  # noqa: S608 - a constant
                (body,),
            ).fetchall()
        except sqlite3.Error as error:
            raise OperatorsError(f"the operators' database cannot be read: {type(error).__name__}") from error
        return [_operator(row) for row in rows]

    def salt_for_nobody(self, who: Identifier) -> bytes:
        """The salt that an unknown operator is challenged with: always the same, like that of one who exists."""
        text = f"{who.role}\n{who.body}\n{who.name}".encode()
        return hmac.digest(self._secret, text, "sha256")[:SALT_BYTES]

    def count_proof(self, who: Identifier, *, right: bool, failures_max: int) -> bool:
        """Count a proof: a right one begins anew, a wrong one too many locks. Whether that has just locked it.

        Raises OperatorsError: then the proof does not count as right either.
        """
        try:
            with self._transaction():
                found = self.find(who)
                if found is None or found.locked:
                    return False
                failures = 0 if right else found.failures + 1
                locked = failures >= failures_max
                if (failures, locked) != (found.failures, found.locked):
                    self._connection.execute(
                        "UPDATE operator SET failures = ?, locked = ? WHERE role = ? AND body = ? AND name = ?",
                        (failures, int(locked), who.role, who.body, who.name),
                    )
                    if locked:
                        self._note("lock", "the server", who)
                return locked
        except sqlite3.Error as error:
            raise OperatorsError(f"the operators' database cannot be written: {type(error).__name__}") from error

    def put(self, operator: Operator, by: str) -> None:
        """Add an operator, or replace what is kept of it. Raises OperatorsError."""
        row = [getattr(operator, name) for name in Operator.__struct_fields__]
        marks = ", ".join("?" * len(row))
        with self._changing():
            who = Identifier(operator.role, operator.body, operator.name)
            known = self.find(who) is not None
            count: int = self._connection.execute("SELECT count(*) FROM operator").fetchone()[0]
            if count >= OPERATORS_MAX:
                raise OperatorsError(f"there are {OPERATORS_MAX:,} operators already")
            self._connection.execute(
                f"INSERT OR REPLACE INTO operator ({COLUMNS}) VALUES ({marks})",  # noqa: S608 - constants
                row,
            )
            self._note("change" if known else "add", by, who, _detail(operator))

    def set_state(self, who: Identifier, *, disabled: bool, by: str) -> bool:
        """Disable an operator; or enable and unlock it. False when there is none. Raises OperatorsError."""
        with self._changing():
            changed = self._connection.execute(
                "UPDATE operator SET disabled = ?, failures = 0, locked = 0 WHERE role = ? AND body = ? AND name = ?",
                (int(disabled), who.role, who.body, who.name),
            ).rowcount
            if changed:
                self._note("disable" if disabled else "unlock", by, who)
        return bool(changed)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            with self._transaction():
                yield
        except sqlite3.Error as error:
            raise OperatorsError(f"the operators' database cannot be written: {type(error).__name__}") from error

    def _note(self, what: str, by: str, who: Identifier, detail: str = "") -> None:
        self._complete()
        self._connection.execute(
            "INSERT INTO change (at, what, by, role, body, name, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (int(time.time()), what, by[:BY_CHARACTERS_MAX], who.role, who.body, who.name, detail),
        )

    def forget(self, before: int) -> tuple[int, int]:
        """Take out changes from before a time (seconds since 1970), and operators disabled since before it.

        The newest change stays whatever its age, for the numbering. (changes, operators). Raises OperatorsError.
        """
        with self._changing():
            operators = self._connection.execute(
                "DELETE FROM operator WHERE disabled AND NOT EXISTS (SELECT 1 FROM change "
                "WHERE (change.role, change.body, change.name) = (operator.role, operator.body, operator.name) "
                "AND change.at >= ?)",
                (before,),
            ).rowcount
            changes = self._connection.execute(
                "DELETE FROM change WHERE at < ? AND rowid < (SELECT max(rowid) FROM change)", (before,)
            ).rowcount
        return changes, operators

    def last_change(self) -> int:
        """Number of the last change, 0 when there is none. Raises OperatorsError."""
        try:
            found: int = self._connection.execute("SELECT coalesce(max(rowid), 0) FROM change").fetchone()[0]
        except sqlite3.Error as error:
            raise OperatorsError(f"the operators' database cannot be read: {type(error).__name__}") from error
        return found

    def changes(self, after: int = 0, most: int = -1) -> list[tuple[int, int, str, str, str, str, str, str]]:
        """Changes behind number ``after``, ``most`` of them, in order; -1: all. Raises OperatorsError.

        Each: (number, seconds since 1970, what, by, role, body, name, detail).
        """
        detail = "detail" if self._has_detail else "''"
        try:
            return self._connection.execute(
                f"SELECT rowid, at, what, by, role, body, name, {detail} FROM change "  # noqa: S608 - a constant
                "WHERE rowid > ? ORDER BY rowid LIMIT ?",
                (after, most),
            ).fetchall()
        except sqlite3.Error as error:
            raise OperatorsError(f"the operators' database cannot be read: {type(error).__name__}") from error


def _detail(operator: Operator) -> str:
    """What is put on record of a credential: never anything that a password could be tried against."""
    text = f"class {operator.operator_class}, by {operator.method}"
    if operator.method == KEY:
        text += f" {hashlib.sha256(operator.credential).hexdigest()}"
    return text


def password_fault(password: str, who: Identifier) -> str:
    """Which rule of docs/operators.md, chapter 2, a new password breaks, or ''."""
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        return f"a password has {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
    if len(set(password)) < PASSWORD_DIFFERENT_MIN:
        return f"a password has at least {PASSWORD_DIFFERENT_MIN} different characters"
    lower = password.lower()
    if who.name.lower() in lower or who.body.lower() in lower:
        return "a password does not hold the operator's or the body's name"
    return ""


def with_password(who: Identifier, operator_class: str, password: str, last_day: int) -> Operator:
    """A new operator with a password. Raises ConfigurationError: against the rules, or the class needs a key."""
    if CLASSES[operator_class].needs_key:
        raise ConfigurationError(f"operators of the class {operator_class} prove themselves by a key")
    fault = password_fault(password, who)
    if fault:
        raise ConfigurationError(fault)
    salt = secrets.token_bytes(SALT_BYTES)
    credential = stored_key(client_key(password, salt, MEMORY_KIBIBYTES, ITERATIONS, LANES))
    costs = (MEMORY_KIBIBYTES, ITERATIONS, LANES)
    return _new(who, operator_class, PASSWORD, salt, costs, credential, last_day)


def with_key(who: Identifier, operator_class: str, key: PersonalKey, last_day: int) -> Operator:
    """A new operator with a key, on a card or in a file."""
    return _new(who, operator_class, KEY, b"", (8, 1, 1), key.text.encode(), last_day)


def _new(
    who: Identifier,
    operator_class: str,
    method: str,
    salt: bytes,
    costs: tuple[int, int, int],
    credential: bytes,
    last_day: int,
) -> Operator:
    if not 1 <= len(who.name.encode()) <= limits.OPERATOR_BYTES_MAX or not who.name.isprintable():
        raise ConfigurationError(f"an operator's name has 1 to {limits.OPERATOR_BYTES_MAX} bytes that can be printed")
    return Operator(
        role=who.role,
        body=who.body,
        name=who.name,
        operator_class=operator_class,
        method=method,
        salt=salt,
        memory_kibibytes=costs[0],
        iterations=costs[1],
        lanes=costs[2],
        credential=credential,
        last_day=last_day,
        disabled=False,
        failures=0,
        locked=False,
    )


def last_day_after(days: int) -> int:
    """The ordinal of the last day of a credential that is good for so many days from today; 0 for ever."""
    return day_in_japan().toordinal() + days if days else 0
