"""`jukinet media answer`: answers a signed file of MATCH requests with a signed file (docs/media.md).

The same checks as on the line, and the same rule: the record of use of a batch is durable before its answer is written.
"""

from __future__ import annotations

import argparse
import datetime
import os
import struct
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from jukinet.core import limits
from jukinet.core.audit.record import RecordOfUse
from jukinet.core.audit.writer import RecordOfUseWriter
from jukinet.core.errors import ConfigurationError, NotAuthorisedError, RemoteProtocolError
from jukinet.core.law.authority import Authority, Grant, day_in_japan
from jukinet.core.law.retention import Rule, cutoffs
from jukinet.core.matching.answering import MatchBatch
from jukinet.core.matching.batch import MatcherOf, model_for
from jukinet.core.media import heads, signing
from jukinet.core.media.package import Frame, Kind, MediaError, Package, PackageWriter
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import Found, Function, Item, Role
from jukinet.core.wire import control
from jukinet.core.wire import messages as m
from jukinet.core.wire import persons as payloads
from jukinet.core.wire.frames import HEADER_BYTES, QUESTION_HEAD, MessageType
from jukinet.server import configuration
from jukinet.server.configuration import Configuration
from jukinet.server.slices import asked_of

MATCH: Final = int(Function.MATCH)
MEDIA_WORKER: Final = limits.WORKERS_MAX - 1
"""Whose segments the record of use of media stands in."""
BODIES: Final = frozenset({Role.AGENCY, Role.PREFECTURE, Role.MUNICIPALITY})
SESSION: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommand `answer REQUEST --out FILE --config FILE`."""
    commands = parser.add_subparsers(dest="media_command", required=True, metavar="COMMAND")
    answer = commands.add_parser("answer", help="answer the records of a signed request")
    answer.add_argument("request", type=Path, metavar="REQUEST", help="the request's file")
    answer.add_argument("--out", type=Path, required=True, metavar="FILE", help="file of the answers; must not exist")
    answer.add_argument("--config", type=Path, required=True, metavar="FILE", help="the server's configuration file")


def run(arguments: argparse.Namespace) -> int:
    """The exit code. Raises JukinetError and OSError; then no answer was written."""
    if arguments.out.exists():
        raise MediaError(f"{arguments.out} exists; remove it first, or name another file")
    settings = configuration.load(arguments.config)
    with ExitStack() as stack:
        file = stack.enter_context(arguments.request.open("rb"))
        request = Request.read(Package(file, limits.REQUEST_BYTES_MAX), settings)
        reader = stack.enter_context(RegisterReader(settings.register.store))
        answering = Answering(settings, request, reader)
        stack.callback(answering.close)
        new = arguments.out.with_name(arguments.out.name + ".new")
        try:
            with new.open("xb") as out:
                found = answering.write(out)
                out.flush()
                os.fsync(out.fileno())
            new.replace(arguments.out)
        finally:
            new.unlink(missing_ok=True)
    told = ", ".join(f"{rows:,} {kind.name}" for kind, rows in sorted(found.items()))
    print(f"{arguments.out}: {sum(found.values()):,} records answered for {request.role} {request.body}: {told}")
    return 0


class Request(NamedTuple):
    """A request whose signature, signer and affair were checked."""

    package: Package
    head: heads.RequestHead
    role: str
    body: str
    grant: Grant
    today: datetime.date

    @classmethod
    def read(cls, package: Package, settings: Configuration) -> Request:
        """Raises MediaError, ConfigurationError, NotAuthorisedError."""
        if package.kind is not Kind.REQUEST:
            raise MediaError("this media file holds answers, not a request")
        roots = signing.read_certificates(Path(settings.tls.roots))
        lists = settings.tls.revocation_list
        revoked = signing.read_revoked(Path(lists)) if lists else []
        signer = signing.check(package, roots, BODIES, datetime.datetime.now(datetime.UTC), revoked)
        head = heads.decode(package.head, heads.RequestHead)
        if (head.role, head.body) != (signer.role, signer.body):
            raise MediaError("the request names another body than the one that signed it")
        opening = m.OpenSession(
            1, head.schedule, head.item, head.number, head.operator, head.reason, head.case_reference
        )
        fault = control.open_session_fault(opening)
        if fault is not None:
            raise MediaError(f"the request's affair cannot be: {fault}")
        body = Authority.load(settings.authority.file).body(signer.role, signer.body)
        if body is None:
            raise NotAuthorisedError(f"{signer.role} {signer.body} has no authority here")
        today = day_in_japan()
        grant = body.grant(head.schedule, head.item, head.number, today)
        return cls(package, head, str(signer.role), signer.body, grant, today)

    @property
    def items(self) -> int:
        """The items provided of the persons found."""
        return self.head.items or self.grant.items


class Answering:
    """Answers one request. Invariant: no answer is written whose record of use is not durable."""

    def __init__(self, settings: Configuration, request: Request, reader: RegisterReader) -> None:
        """Raises ConfigurationError and RecordOfUseError."""
        self._request = request
        self._reader = reader
        head, use = request.head, settings.record_of_use
        self._settings = settings
        rules = request.grant.matching
        model = model_for(rules, reader.residents)
        days = cutoffs(Rule(settings.retention.rule), request.today)
        self._matcher = MatcherOf(model, rules, reader.databases, reader.meta.width, days)
        self._use = RecordOfUse(
            role=request.role,
            body=request.body,
            operator=head.operator,
            schedule=head.schedule,
            item=head.item,
            number=head.number,
            reason=head.reason,
            case_reference=head.case_reference,
            session=SESSION,
        )
        self._sign = signing.signer_of(Path(settings.tls.key))
        self._certificates = _read(Path(settings.tls.certificate))
        self._record = RecordOfUseWriter(
            use.directory,
            MEDIA_WORKER,
            register=reader.identifier,
            segment_bytes_max=use.segment_bytes_max,
            segment_step_bytes=use.segment_step_bytes,
            free_bytes_min=use.free_bytes_min,
        )

    def close(self) -> None:
        """Close the record of use."""
        self._record.close()

    def write(self, out: BinaryIO) -> Counter[Found]:
        """Answer everything into a binary file; rows by how they were answered. Raises MediaError, NotAuthorisedError,
        StoreError, RecordOfUseError."""
        request, reader = self._request, self._reader
        counted: Counter[Found] = Counter()
        with reader.pin() as snapshot:
            head = heads.AnswerHead(
                register=reader.identifier,
                register_version=snapshot.version,
                items=request.items,
                areas_not_connected=list(reader.areas_not_connected),
                request=request.package.frames_digest,
                created=int(time.time()),
            )
            writer = PackageWriter(out, Kind.ANSWER, heads.encode(head))
            batch = MatchBatch()
            for frame in request.package.frames():
                question = self._question(frame)
                batch.begin(asked_of(question), request.items, self._matcher)
                batch.run(snapshot, 0, question.count)
                self._keep(batch, question, snapshot.version)
                for told in batch.matches:
                    counted[Found(told & 15)] += 1
                first, *rest = batch.finish()
                writer.add(int(MessageType.MATCH_ANSWER), [memoryview(first)[HEADER_BYTES:], *rest])
            writer.finish(self._certificates, self._sign)
        return counted

    def _question(self, frame: Frame) -> m.MatchRequest:
        """What a frame asks, within the body's authority. Raises MediaError, NotAuthorisedError."""
        grant, head = self._request.grant, self._request.head
        try:
            session_id, second, count, reserved = QUESTION_HEAD.unpack_from(frame.payload)
        except struct.error:
            raise MediaError(f"frame {frame.request_id} of the request is shorter than its head") from None
        fault = payloads.head_fault(int(MessageType.MATCH), second)
        if frame.type != MessageType.MATCH or session_id != SESSION or reserved or fault or second & 0xFF != head.items:
            raise MediaError(f"frame {frame.request_id} of the request does not hold")
        if not 1 <= count <= grant.codes_per_request_max:
            raise MediaError(f"the affair allows {grant.codes_per_request_max:,} rows a request; use a smaller --batch")
        try:
            question = payloads.parse_find(m.MatchRequest, frame.request_id, session_id, second, count, frame.payload)
        except RemoteProtocolError as error:
            raise MediaError(f"frame {frame.request_id} of the request does not hold: {error}") from None
        if not grant.allows(MATCH, self._request.items | question.given, self._request.today.toordinal()):
            asked = Item(self._request.items | question.given) & ~Item(grant.items)
            names = ", ".join(str(item.name) for item in Item if item & asked) or "MATCH"
            raise NotAuthorisedError(f"outside the affair's authority: {names}")
        return question

    def _keep(self, batch: MatchBatch, question: m.MatchRequest, version: int) -> None:
        """Make the record of use of a batch durable. Raises RecordOfUseError."""
        self._record.append(
            self._use,
            batch.codes,
            batch.outcomes,
            function=MATCH,
            items=self._request.items,
            register_version=version,
            since=question.given,
            request_id=question.request_id,
            matches=batch.matches,
        )
        self._record.commit()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
