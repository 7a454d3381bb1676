"""The history of the authority: numbered versions, each approved by two people and chained to the one before it.

docs/authority.md, chapter 6, is the rule. Everything is checked whenever it is read; nothing that was written changes.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec

from jukinet.core import limits
from jukinet.core.errors import ConfigurationError
from jukinet.core.law.authority import Authority
from jukinet.core.law.authority_file import FILE_BYTES_MAX, Approver
from jukinet.core.law.grant import JAPAN
from jukinet.core.signatures import PersonalKey

APPROVALS_NEEDED: Final = 2
APPROVALS_MAX: Final = 16
AT_ONCE: Final = "at-once"
NOTHING: Final = "0" * 64
MAGIC: Final = "jukinet authority 1"
LOCK_NAME: Final = "lock"
RECORD_NAME: Final = re.compile(r"([0-9]{6})\.json")


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What approvers sign. previous, content: SHA-256 in hexadecimal. from_seconds: since 1970; None: at once."""

    number: int
    previous: str
    content: str
    parameters: dict[str, str]
    from_seconds: int | None

    def text(self) -> str:
        """The lines of docs/authority.md, chapter 6."""
        lines = [MAGIC, f"number {self.number}", f"previous {self.previous}", f"content {self.content}"]
        lines += [f"parameters {name} {self.parameters[name]}" for name in sorted(self.parameters)]
        return "\n".join([*lines, f"from {time_text(self.from_seconds)}"]) + "\n"

    @classmethod
    def parse(cls, text: str) -> Statement:
        """Raises ValueError unless ``text`` is what ``text()`` of a statement gives."""
        words = [line.split(" ") for line in text.split("\n")]
        named = {line[0]: line[-1] for line in words}
        statement = cls(
            number=int(named.get("number", "x")),
            previous=named.get("previous", ""),
            content=named.get("content", ""),
            parameters={" ".join(line[1:-1]): line[-1] for line in words if line[0] == "parameters"},
            from_seconds=seconds_of(named.get("from", "")),
        )
        if statement.text() != text:
            raise ValueError("not a statement about authority")
        return statement


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who approved, and the signature over the statement's bytes in Base64."""

    approver: str
    signature: str


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A statement and the approvals that it has so far: a file that goes from one approver to the other."""

    statement: str
    approvals: Annotated[tuple[Approval, ...], msgspec.Meta(max_length=APPROVALS_MAX)]


class VersionRecord(Proposal, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of a version, NNNNNN.json."""

    applied_at: int
    applied_by: str


class Version(NamedTuple):
    """A version as read. effective: seconds since 1970 from which it is in force, unless a later number is by then."""

    authority: Authority
    statement: Statement
    record: VersionRecord
    effective: int


def time_text(seconds: int | None) -> str:
    """A moment in Japan's time to the second, or ``at-once``."""
    if seconds is None:
        return AT_ONCE
    return datetime.datetime.fromtimestamp(seconds, JAPAN).isoformat()


def seconds_of(text: str) -> int | None:
    """The moment of an ISO 8601 text with its zone, or None for ``at-once``. Raises ValueError."""
    if text == AT_ONCE:
        return None
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.microsecond:
        raise ValueError("a time has its zone, such as 2026-12-01T00:00:00+09:00, and no parts of a second")
    return int(moment.timestamp())


def read_history(directory: str | Path) -> list[Version]:
    """Every version in order, all hashes and signatures checked; empty for a directory without versions.

    Raises ConfigurationError that names the file and what is wrong with it.
    """
    place = Path(directory)
    versions: list[Version] = []
    for number, path in enumerate(_record_paths(place), 1):
        if path.name != f"{number:06d}.json":
            raise ConfigurationError(f"{place}: version {number} is missing; restore the directory whole")
        versions.append(_read_version(place, number, versions[-1] if versions else None))
    return versions


def in_force(versions: Sequence[Version], now: float) -> Version | None:
    """The version in force at ``now`` (seconds since 1970): the highest number whose time has come."""
    for version in reversed(versions):
        if version.effective <= now:
            return version
    return None


def planned(versions: Sequence[Version], now: float) -> list[Version]:
    """Versions that come into force after ``now``, in the order in which they do."""
    coming: list[Version] = []
    for version in versions:
        coming = [earlier for earlier in coming if earlier.effective < version.effective]
        if version.effective > now:
            coming.append(version)
    return coming


def propose(directory: str | Path, file: str | Path, from_seconds: int | None) -> Proposal:
    """The statement by which ``file`` would be the next version. Raises ConfigurationError."""
    versions = read_history(directory)
    authority = Authority.load(file)
    _approvers_for(versions[-1] if versions else None, authority)
    statement = Statement(
        number=len(versions) + 1,
        previous=versions[-1].authority.record if versions else NOTHING,
        content=authority.digest,
        parameters=authority.parameters,
        from_seconds=from_seconds,
    )
    return Proposal(statement=statement.text(), approvals=())


def read_proposal(path: str | Path) -> tuple[Proposal, Statement]:
    """A proposal's file. Raises ConfigurationError."""
    try:
        with Path(path).open("rb") as file:
            proposal = msgspec.json.decode(file.read(limits.AUTHORITY_RECORD_BYTES_MAX), type=Proposal)
        return proposal, Statement.parse(proposal.statement)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError):
        raise ConfigurationError(f"{path}: not a proposal; make one with `jukinet authority propose`") from None


def check_content(statement: Statement, authority: Authority, path: str | Path) -> None:
    """Refuse a statement about another file than ``authority`` was read from. Raises ConfigurationError."""
    if statement.content != authority.digest or statement.parameters != authority.parameters:
        raise ConfigurationError(f"{path}: is not the file that the statement is about; propose it anew")


def apply(directory: str | Path, file: str | Path, proposal: Proposal, *, now: int, applied_by: str) -> Version:
    """Make the next version of the history, durably. The directory is made when absent.

    Raises ConfigurationError: not approved by two, not about this file or the newest version, or not writable.
    """
    place = Path(directory)
    try:
        place.mkdir(mode=0o750, exist_ok=True)
        with _locked(place):
            versions = read_history(place)
            previous = versions[-1] if versions else None
            authority = Authority.load(file)
            statement = Statement.parse(proposal.statement)
            check_content(statement, authority, file)
            record = VersionRecord(
                statement=proposal.statement,
                approvals=proposal.approvals,
                applied_at=max(now, previous.record.applied_at if previous else 0),
                applied_by=applied_by[:64],
            )
            number = len(versions) + 1
            _check_chain(Path(file), number, statement, previous)
            check_approvals(Path(file), record, _approvers_for(previous, authority))
            if number > limits.AUTHORITY_VERSIONS_MAX:
                raise ConfigurationError(f"{place}: holds as many versions as it may; begin another directory")
            for name in statement.parameters:
                _copy(Path(file).parent / name, place / name)
            _copy(Path(file), place / f"{number:06d}.toml")
            _write(place / f"{number:06d}.json", msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
            return _read_version(place, number, previous)
    except OSError as error:
        raise ConfigurationError(f"{place}: cannot be written: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError("the proposal's statement is none; propose anew") from None


def check_approvals(path: Path, record: Proposal, approvers: dict[str, Approver]) -> None:
    """Whether two of ``approvers`` have signed. Raises ConfigurationError."""
    message = record.statement.encode()
    signed: set[str] = set()
    for approval in record.approvals:
        approver = approvers.get(approval.approver)
        if approver is None:
            raise ConfigurationError(f"{path}: {approval.approver!r} is no approver of this version")
        if not PersonalKey(approver.key).verify(message, signature_bytes(approval.signature)):
            raise ConfigurationError(f"{path}: the signature of {approval.approver!r} is not over this statement")
        signed.add(approver.name)
    if len(signed) < APPROVALS_NEEDED:
        raise ConfigurationError(
            f"{path}: approved by {len(signed)}; two different approvers must sign (`jukinet authority approve`)"
        )


def signature_bytes(text: str) -> bytes:
    """A signature in Base64; empty, which no key verifies, when it is none."""
    try:
        return base64.b64decode(text, validate=True) if len(text) <= 2 * limits.SIGNATURE_BYTES_MAX else b""
    except ValueError:
        return b""


def _record_paths(place: Path) -> list[Path]:
    try:
        found = sorted(path for path in place.iterdir() if RECORD_NAME.fullmatch(path.name))
    except OSError as error:
        raise ConfigurationError(f"{place}: cannot be read: {error.strerror}") from None
    if len(found) > limits.AUTHORITY_VERSIONS_MAX:
        raise ConfigurationError(f"{place}: holds more than {limits.AUTHORITY_VERSIONS_MAX:,} versions")
    return found


def _read_version(place: Path, number: int, previous: Version | None) -> Version:
    path = place / f"{number:06d}.json"
    try:
        with path.open("rb") as file:
            content = file.read(limits.AUTHORITY_RECORD_BYTES_MAX)
        record = msgspec.json.decode(content, type=VersionRecord)
        statement = Statement.parse(record.statement)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError):
        raise ConfigurationError(f"{path}: not the record of a version; restore it") from None
    _check_chain(path, number, statement, previous)
    source = path.with_suffix(".toml")
    authority = Authority.load(source)
    check_content(statement, authority, source)
    check_approvals(path, record, _approvers_for(previous, authority))
    if previous is not None and record.applied_at < previous.record.applied_at:
        raise ConfigurationError(f"{path}: was applied before the version before it; restore it")
    authority = msgspec.structs.replace(authority, version=number, record=hashlib.sha256(content).hexdigest())
    return Version(authority, statement, record, max(statement.from_seconds or 0, record.applied_at))


def _check_chain(path: Path, number: int, statement: Statement, previous: Version | None) -> None:
    if statement.number != number:
        raise ConfigurationError(f"{path}: the statement is about version {statement.number}, not {number}")
    if statement.previous != (previous.authority.record if previous else NOTHING):
        raise ConfigurationError(f"{path}: the statement follows another version {number - 1} than the one here")


def _approvers_for(previous: Version | None, authority: Authority) -> dict[str, Approver]:
    """Who may approve: those whom the version before names, the first version's own."""
    if len(authority.approvers) < APPROVALS_NEEDED:
        raise ConfigurationError(
            "the authority file names fewer than two [[approver]]s; no version could ever follow it"
        )
    return previous.authority.approvers if previous is not None else authority.approvers


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    descriptor = os.open(place / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigurationError(f"{place}: another version is being applied; try again") from None
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        content = file.read(FILE_BYTES_MAX)
    if target.exists() and target.read_bytes() == content:
        return
    if target.exists() and target.suffix != ".toml":
        raise ConfigurationError(f"{target}: an earlier version has other parameters under this name; rename them")
    _write(target, content)


def _write(target: Path, content: bytes) -> None:
    """Write, sync, rename, sync the directory: the file is there whole or not at all."""
    making = target.with_name(target.name + ".new")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    making.rename(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
