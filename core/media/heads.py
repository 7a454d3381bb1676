"""What the heads of media files say (docs/media.md, 2)."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from jukinet.core import limits
from jukinet.core.media.package import MediaError

Text = Annotated[str, Meta(max_length=limits.REASON_BYTES_MAX)]


class RequestHead(Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks, under which affair and why; the fields of OPEN_SESSION."""

    role: Text
    body: Text
    schedule: int
    item: Text
    number: int
    operator: Text
    reason: Text
    case_reference: Text
    items: Annotated[int, Meta(ge=0, le=255)]
    created: int


class AnswerHead(Struct, frozen=True, forbid_unknown_fields=True):
    """Which register answered what."""

    register: Text
    register_version: int
    items: Annotated[int, Meta(ge=1, le=255)]
    areas_not_connected: Annotated[list[int], Meta(max_length=limits.AREAS_MAX)]
    request: Annotated[bytes, Meta(min_length=32, max_length=32)]
    created: int


_Head = TypeVar("_Head", RequestHead, AnswerHead)


def encode(head: RequestHead | AnswerHead) -> bytes:
    """As MessagePack."""
    return msgspec.msgpack.encode(head)


def decode(data: bytes, kind: type[_Head]) -> _Head:
    """Raises MediaError."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.DecodeError:
        raise MediaError("the media file's head does not hold what it should; it was made by another program") from None
