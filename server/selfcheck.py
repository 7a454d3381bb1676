"""The check-list of the self-inspection (docs/selfcheck.md): each check gives a result and a sentence, never raises."""

from __future__ import annotations

import ctypes
import datetime
import hashlib
import os
import platform
import stat
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final

from msgspec import Struct

from jukinet.core.audit.checkpoint import read_private_key as read_sealing_key
from jukinet.core.audit.errors import RecordOfUseDamagedError
from jukinet.core.audit.layout import LayoutError, list_segments
from jukinet.core.audit.reader import SegmentEnd, SegmentReader, SegmentReport, check_segment
from jukinet.core.audit.verification import Verification
from jukinet.core.errors import JukinetError, RecordOfUseError
from jukinet.core.store.check import check_register
from jukinet.server import authority_follower
from jukinet.server.alarm_file import AlarmFile
from jukinet.server.boundary import DAY_SECONDS, check_boundaries, endings, shared_roots
from jukinet.server.configuration import Configuration, check_files
from jukinet.server.credentials import check_credentials
from jukinet.server.event_log import operating_error
from jukinet.server.signed_report import read_private_key

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
ROOM_WARNING: Final = 10
"""Times record_of_use.free_bytes_min."""
BACKUP_FILES_MAX: Final = 1_000_000
CLOCK_SLACK_SECONDS: Final = 1.0
TIME_ERROR: Final = 5
"""adjtimex(2): the clock is not synchronised."""
TIMEX_BYTES: Final = 512
FAULTS_SHOWN_MAX: Final = 5


class Result(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Finding(Struct, frozen=True):
    """One line of the report."""

    check: str
    result: Result
    says: str


class Report(Struct, frozen=True, kw_only=True):
    """The whole report. files: SHA-256 of configuration and authority file."""

    time: str
    version: str
    machine: str
    files: dict[str, str]
    findings: list[Finding]

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(finding.result is Result.FAILED for finding in self.findings)

    def text(self) -> str:
        """For people; ends with a newline."""
        lines = [f"jukinet self-inspection, {self.time}", f"version {self.version}, machine {self.machine}"]
        lines += [f"{digest}  {name}" for name, digest in self.files.items()]
        lines += [f"{finding.result:12} {finding.check:15} {finding.says}" for finding in self.findings]
        return "\n".join(lines) + "\n"


class Noted:
    """What one check has to say: the worst of it counts."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.warnings: list[str] = []
        self.seen: list[str] = []

    def finding(self, check: str) -> Finding:
        result = Result.FAILED if self.failures else Result.WARNING if self.warnings else Result.OK
        said = [*self.failures, *self.warnings] or self.seen
        more = f" (and {len(said) - FAULTS_SHOWN_MAX} more)" if len(said) > FAULTS_SHOWN_MAX else ""
        return Finding(check, result, "; ".join(said[:FAULTS_SHOWN_MAX]) + more)


def inspect(path: str | Path, settings: Configuration, *, with_store: bool = True) -> Report:
    """Go through the check-list for a configuration that was read from ``path``. Raises nothing."""
    wanted = {name: check for name, check in CHECKS.items() if name != "store" or with_store}
    findings = [run(name, check, settings, Path(path)) for name, check in wanted.items()]
    if not with_store:
        findings.append(Finding("store", Result.NOT_CHECKED, "left out as asked"))
    return Report(
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=metadata.version("jukinet"),
        machine=platform.node(),
        files={name: _digest(Path(name)) for name in (str(path), settings.authority.file)},
        findings=findings,
    )


def run(name: str, check: Callable[[Configuration, Path, Noted], None], settings: Configuration, path: Path) -> Finding:
    """One check; what it raises is a failure."""
    noted = Noted()
    try:
        check(settings, path, noted)
    except JukinetError as error:
        noted.failures.append(str(error))
    except OSError as error:
        noted.failures.append(operating_error(error))
    except Exception as error:
        noted.failures.append(f"broke off: {type(error).__name__}")
    return noted.finding(name)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "cannot be read"


# The checks --------------------------------------------------------------------------------------------------------


def configuration(settings: Configuration, path: Path, noted: Noted) -> None:
    """What it names is there, and the boundary's lists can be understood."""
    check_files(settings)
    check_boundaries(settings.boundary)
    noted.seen.append(f"{path} is in order")


def authority(settings: Configuration, _path: Path, noted: Noted) -> None:
    """The authority file, or what is in force of its history, can be used."""
    loaded = authority_follower.read(settings.authority.file).authority
    noted.seen.append(f"in order, SHA-256 {loaded.digest}")


def certificates(settings: Configuration, _path: Path, noted: Noted) -> None:
    """Certificates, keys, roots and lists of all ports can be used and last a while."""
    check_credentials(settings)
    now = time.time()
    for ending in endings(settings):
        days = (ending.at - now) / DAY_SECONDS
        what = f"{ending.what} of the {ending.port} port"
        if days <= 0:
            noted.failures.append(f"{what} has ended")
        elif days < settings.boundary.certificate_warn_days:
            noted.warnings.append(f"{what} ends in {days:.1f} days")
        else:
            noted.seen.append(f"{what} ends in {days:.0f} days")
    noted.warnings += [f"{shared}, which is for trials" for shared in shared_roots(settings)]
    for port, tls in settings.ports().items():
        if not tls.revocation_list:
            noted.warnings.append(f"the {port} port has no revocation list")
    if not settings.boundary.certificate_days_max:
        noted.warnings.append("boundary.certificate_days_max is 0: certificates may live as long as they say")


def permissions(settings: Configuration, path: Path, noted: Noted) -> None:
    """Nobody but the server's account can read what is secret or personal, or write what it obeys."""
    keys = [tls.key for tls in settings.ports().values()]
    keys += [settings.selfcheck.key, settings.sealing.key, settings.operators.database]
    for name in filter(None, dict.fromkeys(keys)):
        _judge(Path(name), OTHERS, noted)
    for name in (str(path), settings.authority.file):
        _judge(Path(name), OTHERS_WRITE, noted)
    places = [settings.register.store, settings.record_of_use.directory]
    places += [settings.cohorts.directory, settings.watch.directory]
    for name in filter(None, places):
        # What lies in a directory that others cannot enter is out of their reach.
        for entry in _open_to_others(Path(name), noted):
            _judge(entry, OTHERS, noted)
    noted.seen.append("keys, record of use, register, cohorts and watch are the server's alone")


def _open_to_others(directory: Path, noted: Noted) -> Iterator[Path]:
    if not directory.is_dir():
        noted.failures.append(f"{directory} is not a directory")
    elif directory.stat().st_mode & OTHERS:
        entries = sorted(directory.iterdir())
        yield from (entry for entry in entries if entry.is_file() and not entry.name.startswith("."))


def _judge(path: Path, forbidden: int, noted: Noted) -> None:
    state = path.stat()
    if state.st_mode & forbidden:
        noted.failures.append(f"{path} has mode {stat.S_IMODE(state.st_mode):04o}")
    elif state.st_uid not in (0, os.geteuid()):
        noted.failures.append(f"{path} belongs to another account")


def _newest(settings: Configuration) -> int:
    """When the newest segment was begun, nanoseconds since 1970; 0: there is none."""
    created = 0
    for segments in list_segments(Path(settings.record_of_use.directory)).values():
        with SegmentReader(segments[-1][1]) as reader:
            created = max(created, reader.header.created)
    return created


def log_continuity(settings: Configuration, _path: Path, noted: Noted) -> None:
    """Every byte of the record of use that counts verifies, and each segment continues the one before."""
    directory = Path(settings.record_of_use.directory)
    if not directory.is_dir():
        noted.warnings.append("there is no record of use yet")
        return
    segments = records = 0
    try:
        for worker, found in list_segments(directory).items():
            before: SegmentReport | None = None
            for place, (number, path) in enumerate(found):
                before = _continued(worker, number, path, found[place + 1 : place + 2], before)
                segments += 1
                records += before.records
                if before.end is SegmentEnd.TORN:
                    noted.warnings.append(f"{path.name} ends in a torn group, as after a crash")
    except LayoutError as error:
        raise RecordOfUseError(f"{directory}: {error}") from None
    noted.seen.append(f"{segments:,} segments, {records:,} records")
    _sealed(settings, directory, noted)


def _sealed(settings: Configuration, directory: Path, noted: Noted) -> None:
    """The tree over the record of use verifies against the key that signs its checkpoints."""
    if not settings.sealing.key:
        noted.seen.append("nothing is sealed (sealing.key)")
        return
    report = Verification(directory, read_sealing_key(settings.sealing.key).public).run()
    noted.failures.extend(f"{finding.path}: {finding.text}" for finding in report.findings[:FAULTS_SHOWN_MAX])
    noted.seen.append(f"{report.seals:,} seals over {report.leaves:,} records, root {report.root}")


def _continued(
    worker: int, number: int, path: Path, after: list[tuple[int, Path]], before: SegmentReport | None
) -> SegmentReport:
    """Verify a segment, and that it follows. Raises RecordOfUseDamagedError."""
    end = None
    for _, successor in after:
        with SegmentReader(successor) as reader:
            end = reader.header.previous_end
    report = check_segment(path, end)
    if (report.header.worker, report.header.segment) != (worker, number):
        raise RecordOfUseDamagedError(path, 32, "the file's name and its header disagree")
    if before is not None and number != before.header.segment + 1:
        raise RecordOfUseDamagedError(path, 0, f"segment {before.header.segment + 1} is missing")
    if before is not None and report.header.first_sequence != before.next_sequence:
        raise RecordOfUseDamagedError(path, 48, "first sequence does not follow the segment before")
    return report


def clock(settings: Configuration, _path: Path, noted: Noted) -> None:
    """The clock was not set back behind the record of use, and the kernel holds it for synchronised."""
    if Path(settings.record_of_use.directory).is_dir():
        ahead = _newest(settings) / 1e9 - time.time()
        if ahead > CLOCK_SLACK_SECONDS:
            noted.failures.append(f"stands {ahead:.0f} s before the newest segment of the record of use was begun")
    library = ctypes.CDLL(None, use_errno=True)
    state = library.adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)) if hasattr(library, "adjtimex") else -1
    if state == TIME_ERROR:
        noted.warnings.append("the kernel says that it is not synchronised")
    elif state < 0:
        noted.warnings.append("the kernel does not say whether it is synchronised")
    noted.seen.append("synchronised")


def disk_room(settings: Configuration, _path: Path, noted: Noted) -> None:
    """There is room for the record of use, the register and the alarms."""
    least = settings.record_of_use.free_bytes_min
    names = [settings.record_of_use.directory, settings.register.store, settings.watch.directory]
    for name in filter(None, names):
        place = Path(name) if Path(name).is_dir() else Path(name).parent
        room = os.statvfs(place)
        free = room.f_bavail * room.f_frsize
        says = f"{free / 1e9:.1f} GB free at {place}"
        if free < least:
            noted.failures.append(says)
        elif free < ROOM_WARNING * least:
            noted.warnings.append(says)
        else:
            noted.seen.append(says)


def backups(settings: Configuration, _path: Path, noted: Noted) -> None:
    """The newest backup is young enough."""
    name, hours_max = settings.selfcheck.backup_directory, settings.selfcheck.backup_age_hours_max
    if not name:
        noted.warnings.append("selfcheck.backup_directory is not set")
        return
    newest, count = 0.0, 0
    if not Path(name).is_dir():
        noted.failures.append(f"{name} is not a directory")
        return
    for folder, _, files in os.walk(name):
        for file in files:
            state = (Path(folder) / file).lstat()
            count += 1
            if stat.S_ISREG(state.st_mode) and state.st_size:
                newest = max(newest, state.st_mtime)
        if count > BACKUP_FILES_MAX:
            noted.warnings.append("more files than are looked at")
            break
    hours = (time.time() - newest) / 3_600
    if not newest:
        noted.failures.append(f"{name} holds no file")
    elif hours > hours_max:
        noted.failures.append(f"the newest file in {name} is {hours:.1f} hours old, more than {hours_max:g}")
    else:
        noted.seen.append(f"the newest file in {name} is {max(hours, 0):.1f} hours old")


def store(settings: Configuration, _path: Path, noted: Noted) -> None:
    """`jukinet store check`."""
    report = check_register(settings.register.store)
    if report.faults_count:
        noted.failures.append(f"{report.faults_count:,} faults; run `jukinet store check`")
    noted.seen.append(f"{report.entries:,} entries in {report.blocks:,} blocks")


def alarms(settings: Configuration, _path: Path, noted: Noted) -> None:
    """Nothing waits to be looked into."""
    if not settings.watch.directory:
        noted.warnings.append("watch.directory is not set: nothing is watched")
        return
    file = AlarmFile(settings.watch.directory)
    file.follow()
    if file.known.waiting:
        noted.warnings.append(f"{len(file.known.waiting):,} alarms wait")
    if file.known.stopped:
        noted.warnings.append(f"{len(file.known.stopped):,} operators are stopped")
    if file.known.unreadable:
        noted.warnings.append(f"{file.known.unreadable:,} lines of the alarms file cannot be read")
    noted.seen.append(f"{len(file.known.alarms):,} alarms, none waits")


def signing_key(settings: Configuration, _path: Path, noted: Noted) -> None:
    """The key can be used; told here so that the report says which key it was."""
    public = read_private_key(settings.selfcheck.key).public_key().public_bytes_raw()
    noted.seen.append(f"SHA-256 of the public key {hashlib.sha256(public).hexdigest()}")


CHECKS: Final[dict[str, Callable[[Configuration, Path, Noted], None]]] = {
    "configuration": configuration,
    "authority": authority,
    "certificates": certificates,
    "permissions": permissions,
    "log_continuity": log_continuity,
    "clock": clock,
    "disk_room": disk_room,
    "backups": backups,
    "alarms": alarms,
    "signing_key": signing_key,
    "store": store,
}
