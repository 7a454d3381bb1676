"""Puts every change of authority and of operators into the sealed tree, each once (docs/record-of-use.md, 7.2).

Theory of operation. Nobody has to report a change: the sealer reads the history of the authority and the operators'
database, and adds what the tree does not yet hold. What it holds is read from the tree itself, so a crash neither
loses a change nor adds it twice.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jukinet.core.audit.directory import KIND_AUTHORITY, KIND_OPERATORS, KIND_SEGMENT, KIND_WITHHOLDING, SealDirectory
from jukinet.core.audit.operator_changes import read_changes
from jukinet.core.audit.seal import AuthorityStatement, OperatorChange, OperatorsStatement, Statement, open_seal
from jukinet.core.audit.sealing import Sealer
from jukinet.core.errors import ConfigurationError
from jukinet.core.law import history
from jukinet.core.law.authority_file import FILE_BYTES_MAX
from jukinet.server.authority_follower import mark_of
from jukinet.server.operators.database import OperatorDatabase, OperatorsError

CHANGES_MAX: Final = 1_000
"""Changes of operators in one statement."""


class RecordedChanges:
    """Follows one authority (a file or a history) and one operators' database for a sealer.

    Invariant: ``_version`` and ``_content`` are the newest authority in the tree, ``_change`` the last change there.
    """

    def __init__(self, authority: str | Path = "", operators: str | Path = "") -> None:
        """'' follows nothing."""
        self._authority = Path(authority) if authority else None
        self._operators = Path(operators) if operators else None
        self._mark: tuple[int, int] | None = None
        self._version, self._content = 0, ""
        self._database, self._change = "", 0
        self._known = False
        self.faults: list[str] = []
        """What could not be read, or does not go on from what the tree holds; of the last call."""

    def take_in(self, sealer: Sealer) -> int:
        """Add what is new: how many statements. Raises OSError and RecordOfUseError; unreadable sources are faults."""
        if not self._known:
            self._learn(sealer)
        self.faults = []
        added = 0
        try:
            added += self._take_authority(sealer)
        except ConfigurationError as error:
            self.faults.append(str(error))
        try:
            added += self._take_operators(sealer)
        except (ConfigurationError, OperatorsError) as error:
            self.faults.append(str(error))
        return added

    def _learn(self, sealer: Sealer) -> None:
        """The newest of each kind, from the end of the tree."""
        for kind in (KIND_AUTHORITY, KIND_OPERATORS):
            for number in range(sealer.seals - 1, -1, -1):
                if sealer.rows.rows[number].kind == kind:
                    with open_seal(sealer.tree, number) as seal:
                        statement = seal.decoded()
                    if isinstance(statement, AuthorityStatement):
                        self._version, self._content = statement.number, statement.content
                    elif isinstance(statement, OperatorsStatement):
                        self._database, self._change = statement.database, statement.changes[-1].number
                    break
        self._known = True

    # -- authority

    def _take_authority(self, sealer: Sealer) -> int:
        if self._authority is None:
            return 0
        mark = self._mark_of(self._authority)
        if mark == self._mark:
            return 0
        statements = list(self._new_versions(sealer)) if self._authority.is_dir() else list(self._new_file(sealer))
        for statement in statements:
            sealer.add_statement(statement)
            self._version, self._content = statement.number, statement.content
        self._mark = mark
        return len(statements)

    @staticmethod
    def _mark_of(path: Path) -> tuple[int, int]:
        try:
            return mark_of(path), path.stat().st_mtime_ns
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None

    def _new_versions(self, sealer: Sealer) -> Iterator[AuthorityStatement]:
        assert self._authority is not None
        versions = history.read_history(self._authority)
        if self._version and (
            self._version > len(versions) or versions[self._version - 1].authority.digest != self._content
        ):
            raise ConfigurationError(
                f"{self._authority}: is not the history whose version {self._version} is on record; restore it whole"
            )
        for version in versions[self._version :]:
            yield AuthorityStatement(
                time_ns=sealer.now(),
                month=sealer.month(),
                number=version.statement.number,
                record=version.authority.record,
                content=version.authority.digest,
                begin=history.time_text(version.effective),
                approvers=[approval.approver for approval in version.record.approvals],
                applied_at=version.record.applied_at,
                applied_by=version.record.applied_by,
            )

    def _new_file(self, sealer: Sealer) -> Iterator[AuthorityStatement]:
        """A single file has no versions: what it holds is put on record whenever it is another."""
        assert self._authority is not None
        try:
            with self._authority.open("rb") as file:
                content = hashlib.sha256(file.read(FILE_BYTES_MAX)).hexdigest()
                changed = int(self._authority.stat().st_mtime)
        except OSError as error:
            raise ConfigurationError(f"{self._authority}: cannot be read: {error.strerror}") from None
        if content != self._content:
            yield AuthorityStatement(
                time_ns=sealer.now(),
                month=sealer.month(),
                number=0,
                record="",
                content=content,
                begin="",
                approvers=[],
                applied_at=changed,
                applied_by="",
            )

    # -- operators

    def _take_operators(self, sealer: Sealer) -> int:
        if self._operators is None or not self._operators.is_file():
            return 0
        with contextlib.closing(OperatorDatabase(self._operators)) as database:
            if database.identifier != self._database:
                self._database, self._change = database.identifier, 0
            newest = database.last_change()
            if newest < self._change:
                raise ConfigurationError(
                    f"{self._operators}: ends before change {self._change} that is on record; restore it whole"
                )
            added = 0
            while self._change < newest:
                changes = [OperatorChange(*one) for one in database.changes(self._change, CHANGES_MAX)]
                sealer.add_operator_changes(self._database, changes)
                self._change = changes[-1].number
                added += 1
            return added


def changes_on_record(tree: Path) -> Iterator[dict[str, object]]:
    """A row for each change on record, in the order of the tree. Raises TreeDamagedError."""
    for number, row in enumerate(SealDirectory.load(tree).rows):
        if row.kind in (KIND_SEGMENT, KIND_WITHHOLDING):
            continue
        with open_seal(tree, number) as seal:
            statement = seal.decoded()
        if isinstance(statement, OperatorsStatement):
            yield from told(row.next_leaf - 1, statement, read_changes(tree, number, statement))
        elif statement is not None:
            yield from told(row.next_leaf - 1, statement)


def told(leaf: int, statement: Statement, changes: list[OperatorChange] | None = None) -> list[dict[str, object]]:
    """What an auditor is shown of a statement: a row a change. changes: of operators, None when they were erased."""
    common: dict[str, object] = {"leaf": leaf, "sealed": history.time_text(statement.time_ns // 10**9)}
    if isinstance(statement, AuthorityStatement):
        return [
            common
            | {
                "kind": "authority",
                "number": statement.number,
                "record": statement.record,
                "content": statement.content,
                "from": statement.begin,
                "approvers": statement.approvers,
                "at": history.time_text(statement.applied_at),
                "by": statement.applied_by,
            }
        ]
    if isinstance(statement, OperatorsStatement) and changes is None:
        return [common | {"kind": "operator", "what": "erased", "number": one.number} for one in statement.changes]
    if isinstance(statement, OperatorsStatement) and changes is not None:
        return [
            common
            | {
                "kind": "operator",
                "what": one.what,
                "role": one.role,
                "body": one.body,
                "name": one.name,
                "detail": one.detail,
                "at": history.time_text(one.at),
                "by": one.by,
            }
            for one in changes
        ]
    fields = {
        name: value
        for name in statement.__struct_fields__
        if name not in ("time_ns", "month") and isinstance(value := getattr(statement, name), (str, int))
    }
    return [common | {"kind": str(statement.__struct_config__.tag)} | fields]
