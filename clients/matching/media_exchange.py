"""`jukinet match` without a line: a request as a signed file, and the answers from one (docs/media.md)."""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from jukinet.clients.errors import UsageError
from jukinet.clients.matching.record_rows import Batch
from jukinet.clients.persons import MatchAnswer, Persons, find_arguments
from jukinet.clients.settings import Credentials
from jukinet.core import limits
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.media import heads, signing
from jukinet.core.media.package import Kind, MediaError, Package, PackageWriter
from jukinet.core.vocabulary import Item, Role
from jukinet.core.wire import messages as m
from jukinet.core.wire import persons as payloads
from jukinet.core.wire.frames import HEADER_BYTES, MessageType

SESSION: Final = 1
SIGNERS: Final = (Role.AGENCY, Role.PREFECTURE, Role.MUNICIPALITY)


def request_frame(number: int, persons: Persons, items: int) -> bytes:
    """The MATCH frame of a batch, as it stands in a request file."""
    arguments = find_arguments(persons, Item(items), False, limits.CODES_PER_REQUEST_MAX)
    return payloads.encode_find(m.MatchRequest(number, SESSION, *arguments))


def write_request(
    out: Path,
    batches: Iterator[Batch],
    affair: dict[str, Any],
    items: int,
    credentials: Credentials,
    advance: Callable[[int], Any],
) -> int:
    """Write and sign a request; the rows in it. The file appears whole. Raises UsageError and ConfigurationError."""
    if out.exists():
        raise UsageError(f"{out} exists; remove it first, or name another file")
    chain = Path(credentials.certificate)
    named = signing.named(signing.read_certificates(chain)[0])
    if named.role not in SIGNERS:
        raise UsageError(f"{chain}: the certificate of a {named.role} asks nothing")
    sign = signing.signer_of(Path(credentials.key), credentials.password)
    head = heads.RequestHead(role=str(named.role), body=named.body, items=items, created=int(time.time()), **affair)
    new = out.with_name(out.name + ".new")
    rows = 0
    try:
        with new.open("wb") as file:
            writer = PackageWriter(file, Kind.REQUEST, heads.encode(head))
            for number, batch in enumerate(batches, 1):
                writer.add(int(MessageType.MATCH), [request_frame(number, batch.persons, items)[HEADER_BYTES:]])
                rows += len(batch)
                advance(len(batch))
            writer.finish(chain.read_bytes(), sign)
        new.replace(out)
    finally:
        new.unlink(missing_ok=True)
    return rows


class MediaAnswers:
    """The answers of a file, which was signed by a register that the profile's root vouches for."""

    def __init__(self, file: BinaryIO, credentials: Credentials) -> None:
        """Raises MediaError and ConfigurationError."""
        self._package = Package(file, limits.ANSWER_BYTES_MAX)
        if self._package.kind is not Kind.ANSWER:
            raise MediaError("this media file holds a request; give the answer's file to --media-in")
        roots = signing.read_certificates(Path(credentials.root))
        now = datetime.datetime.now(datetime.UTC)
        signing.check(self._package, roots, frozenset({Role.SERVER}), now)
        self.head = heads.decode(self._package.head, heads.AnswerHead)

    @property
    def items(self) -> Item:
        """The items that the answers hold of the persons found."""
        return Item(self.head.items)

    def ask(self, batches: Iterator[Persons], items: int) -> Iterator[MatchAnswer]:
        """The answers to these batches, in order. items: as they were asked for. MediaError when the file answers
        others, at the latest behind the last of them."""
        digest = hashlib.sha256()
        frames = self._package.frames()
        for number, persons in enumerate(batches, 1):
            data = request_frame(number, persons, items)
            digest.update(data)
            frame = next(frames, None)
            if frame is None or frame.type != MessageType.MATCH_ANSWER:
                break
            count, given = find_counts(data)
            try:
                wire = payloads.parse_match_answer(number, int(self.items), count, frame.payload)
            except RemoteProtocolError:
                break
            yield MatchAnswer(wire, given)
        else:
            if digest.digest() == self.head.request and next(frames, None) is None:
                return
        raise MediaError("the answers are to another request: other records, another mapping, or another --batch")


def find_counts(frame: bytes) -> tuple[int, int]:
    """(rows, items given) of a request's frame."""
    second, count = int.from_bytes(frame[20:24], "little"), int.from_bytes(frame[24:28], "little")
    return count, second >> payloads.GIVEN_SHIFT & 0xFF
