"""One base for every error, and the codes under which errors travel on the wire.

Messages never carry personal data: no code, name, date or address of a resident.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ErrorCode(IntEnum):
    """Codes of the ERROR message (docs/protocol.md, chapter "Errors")."""

    INTERNAL = 1
    MALFORMED_FRAME = 2
    UNKNOWN_TYPE = 3
    WRONG_STATE = 4
    FRAME_TOO_LARGE = 5
    BAD_REQUEST = 6
    TOO_MANY_CODES = 7
    TOO_MANY_REQUESTS = 8
    TOO_MANY_SESSIONS = 9
    TOO_MANY_CONNECTIONS = 10
    RATE_EXCEEDED = 11
    NOT_AUTHORISED = 12
    UNKNOWN_BODY = 13
    UNKNOWN_SESSION = 14
    CANCELLED = 15
    RECORD_OF_USE_UNAVAILABLE = 16
    REGISTER_UNAVAILABLE = 17
    TIMED_OUT = 18
    DRAINING = 19
    FEED_TAKEN = 20
    NOT_A_FEED = 21
    CURSOR_EXPIRED = 22
    CAP_EXCEEDED = 23
    OPERATOR_REFUSED = 24
    OPERATOR_REQUIRED = 25
    OPERATOR_STOPPED = 30


class JukinetError(Exception):
    """Base of every error that this product raises on purpose."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL


class ConfigurationError(JukinetError):
    """A configuration or authority file that cannot be used; the message names file, key and remedy."""


class NotAuthorisedError(JukinetError):
    """The affair, function, item or day is outside the body's authority."""

    code = ErrorCode.NOT_AUTHORISED


class OperatorRequiredError(NotAuthorisedError):
    """An operator who must have proved who it is has not, or is out again; the message says why."""

    code = ErrorCode.OPERATOR_REQUIRED


class StoreError(JukinetError):
    """The register cannot be opened, read or written."""

    code = ErrorCode.REGISTER_UNAVAILABLE


class StoreIncompleteError(StoreError):
    """The directory holds a build that never finished; it is not served."""


class StoreCorruptError(StoreError):
    """A block, table or list in the register contradicts its own format."""


class RecordFormatError(JukinetError):
    """A field does not fit the record codec: too long, out of range, or not decodable."""


class RecordOfUseError(JukinetError):
    """The record of use cannot be written or read; nothing may be provided without it."""

    code = ErrorCode.RECORD_OF_USE_UNAVAILABLE


class ProtocolError(JukinetError):
    """Base of the two sides' protocol errors."""

    code = ErrorCode.MALFORMED_FRAME


class LocalProtocolError(ProtocolError):
    """This side tried to send what its state or a limit does not allow; nothing was sent."""

    code = ErrorCode.WRONG_STATE


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; ``error`` is the code that it is told."""

    def __init__(self, message: str, error: ErrorCode = ErrorCode.MALFORMED_FRAME) -> None:
        super().__init__(message)
        self.error = error
