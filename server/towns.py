"""TOWNS: the areas and towns that packed answers name by number (docs/protocol.md, 3.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jukinet.core.columns.layout import TextColumn
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import Function, Item
from jukinet.core.wire import messages as m
from jukinet.core.wire.packed import encode_towns_answer

if TYPE_CHECKING:
    from jukinet.server.connection import Connection
    from jukinet.server.service import Service

LOOKUP: Final = int(Function.LOOKUP)
ADDRESS: Final = int(Item.ADDRESS)


def answer_towns(service: Service, connection: Connection, question: m.TownsRequest) -> None:
    """Answer, or refuse a session that may not look up addresses. A page counts as one code of the body's rate."""
    request_id = question.request_id
    session = connection.sessions.get(question.session_id)
    if session is None:
        connection.refuse(request_id, ErrorCode.UNKNOWN_SESSION, "open a session first")
        return
    if service.grant_now(connection, session, request_id, LOOKUP, ADDRESS) is None:
        return
    if session.login is not None:
        session.login.used = service.now
    assert connection.admission is not None
    wait = connection.admission.bucket.take(1, service.now)
    if wait:
        connection.refuse(request_id, ErrorCode.RATE_EXCEEDED, "the body's codes a second are used up", wait)
        return
    snapshot = service.reader.pin()
    try:
        places = snapshot.places
        areas, offsets, texts = places.page(question.after, question.towns_max)
        version = snapshot.version
    finally:
        snapshot.release()
    column = TextColumn(memoryview(offsets).cast("I"), memoryview(texts))
    answer = m.TownsAnswer(
        request_id, question.after, len(column), version, places.towns_count, memoryview(areas).cast("I"), column
    )
    connection.release(request_id, int(m.TownsAnswer.type), encode_towns_answer(answer), False)
