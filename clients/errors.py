"""The errors a client raises: one class for each thing a caller can do about it, each saying what that is.

`error_from_wire` maps an ERROR message (docs/protocol.md, chapter 6) to its class by a table. No message carries
personal data.
"""

from __future__ import annotations

from typing import ClassVar, Final

from jukinet.core.errors import ErrorCode, JukinetError

EXIT_ROWS_IN_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_CONNECTION: Final = 4
EXIT_SERVER: Final = 5


class ClientError(JukinetError):
    """Base of the clients' own errors; ``exit_code`` is what a command ends with."""

    exit_code: ClassVar[int] = EXIT_SERVER
    repeatable: bool = False
    """Whether the same query may succeed when it is asked again soon; `Retry` says how often a client does that."""
    starting: bool = False
    """Whether a caller meets this while the server, or the worker that it reached, is being started: a connection that
    is refused, reset or ended before its greeting."""


class UsageError(ClientError):
    """A command was asked for something that cannot be done as asked."""

    exit_code = EXIT_USAGE


class MissingExtraError(ClientError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""

    exit_code = EXIT_USAGE


class ConnectionFailedError(ClientError):
    """No connection could be made: unreachable, refused by TLS, or not a server of the register."""

    exit_code = EXIT_CONNECTION

    def __init__(self, message: str, *, repeatable: bool = False, starting: bool = False) -> None:
        super().__init__(message)
        self.repeatable = repeatable
        self.starting = starting


class ConnectionLostError(ClientError):
    """The connection ended while a request was under way. Queries are idempotent: repeating one is safe."""

    exit_code = EXIT_CONNECTION
    repeatable = True

    def __init__(self, message: str, *, starting: bool = False) -> None:
        super().__init__(message)
        self.starting = starting


class DeadlineExceededError(ClientError):
    """A deadline of `Deadlines` passed; the connection is closed unless the message says otherwise."""

    code = ErrorCode.TIMED_OUT
    exit_code = EXIT_CONNECTION

    def __init__(self, message: str, *, repeatable: bool = False) -> None:
        super().__init__(message)
        self.repeatable = repeatable


class RequestError(ClientError):
    """The server answered a request with an error; ``wire_code`` is its number and ``retry_after`` in seconds."""

    exit_code = EXIT_SERVER
    remedy: ClassVar[str] = "report it to the operator of the register"

    def __init__(self, message: str, wire_code: ErrorCode | int, retry_after: float = 0.0) -> None:
        text = message.rstrip(". ") or "the server gave no explanation"
        again = f" (after {retry_after:g} s)" if retry_after else ""
        super().__init__(f"{text}; what to do: {self.remedy}{again}")
        self.wire_code = wire_code
        self.server_message = message
        self.retry_after = retry_after


class InternalServerError(RequestError):
    remedy = "repeat the request later, and report it to the operator of the register"


class BadRequestError(RequestError):
    code = ErrorCode.BAD_REQUEST
    exit_code = EXIT_USAGE
    remedy = "correct the field that is named"


class TooManyCodesError(RequestError):
    """More codes than one request may carry; ``session.codes_per_request_max`` is the limit."""

    code = ErrorCode.TOO_MANY_CODES
    exit_code = EXIT_USAGE
    remedy = "split the codes with jukinet.clients.batches(codes, session.codes_per_request_max) and use lookup_many"


class TooManyRequestsError(RequestError):
    code = ErrorCode.TOO_MANY_REQUESTS
    repeatable = True
    remedy = "wait for answers before asking more"


class TooManySessionsError(RequestError):
    code = ErrorCode.TOO_MANY_SESSIONS
    remedy = "close sessions that are no longer used"


class RefusedError(RequestError):
    """Base of the refusals by authority."""

    exit_code = EXIT_REFUSED


class NotAuthorisedError(RefusedError):
    """Affair, function, item or date is outside the body's authority (Act 30-7, 30-8)."""

    code = ErrorCode.NOT_AUTHORISED
    remedy = "check schedule, item and number of the affair and the items asked; authority is given by law, not here"


class UnknownBodyError(RefusedError):
    code = ErrorCode.UNKNOWN_BODY
    remedy = "check that the certificate is the one this register was told about"


class TooManyConnectionsError(RequestError):
    code = ErrorCode.TOO_MANY_CONNECTIONS
    exit_code = EXIT_CONNECTION
    repeatable = True
    remedy = "close other connections of this body"


class RateExceededError(RequestError):
    """The body's rate is used up; repeat after ``retry_after`` seconds."""

    code = ErrorCode.RATE_EXCEEDED
    repeatable = True
    remedy = "wait, then repeat the request"


class UnknownSessionError(RequestError):
    code = ErrorCode.UNKNOWN_SESSION
    remedy = "open a session first"


class Cancelled(RequestError):  # noqa: N818 - not a failure: it was asked for
    """The request was cancelled as asked, and nothing was provided."""

    code = ErrorCode.CANCELLED
    remedy = "repeat the request if it is still wanted"


class RecordOfUseUnavailableError(RequestError):
    """The server cannot write the record of use, so it provides nothing."""

    code = ErrorCode.RECORD_OF_USE_UNAVAILABLE
    repeatable = True
    remedy = "repeat later: nothing is provided until the record of use can be written"


class RegisterUnavailableError(RequestError):
    code = ErrorCode.REGISTER_UNAVAILABLE
    repeatable = True
    remedy = "repeat later"


class ServerTimedOutError(RequestError):
    code = ErrorCode.TIMED_OUT
    exit_code = EXIT_CONNECTION
    repeatable = True
    remedy = "connect again"


class DrainingError(RequestError):
    """The server is stopping; a client with tries left connects again by itself."""

    code = ErrorCode.DRAINING
    exit_code = EXIT_CONNECTION
    repeatable = True
    remedy = "connect again"


class FeedTakenError(RequestError):
    """Another client holds this prefecture's feed; a silent one loses it after a while."""

    code = ErrorCode.FEED_TAKEN
    exit_code = EXIT_CONNECTION
    repeatable = True
    remedy = "stop the other client of this prefecture, or wait until the server has found it silent"


class NotAFeedError(RefusedError):
    """The certificate is no prefecture's, or of one whose feed this register does not take."""

    code = ErrorCode.NOT_A_FEED
    remedy = "check that the certificate is the prefecture's own, and that the register takes its feed"


class CursorExpiredError(RequestError):
    """The register's journal does not reach back to the cursor of a cohort: what changed since cannot be told."""

    code = ErrorCode.CURSOR_EXPIRED
    remedy = "register the cohort anew, ask the status of all its codes, and go on with the new cursor"


class CapExceededError(RequestError):
    """The codes that the affair may ask for in a day or a year would be passed."""

    code = ErrorCode.CAP_EXCEEDED
    exit_code = EXIT_REFUSED
    remedy = "ask for fewer codes, or wait for the next day or fiscal year; the authority may have to be changed"


class OperatorRefusedError(RequestError):
    """It was not proved who the operator is: wrong, unknown, locked, disabled or expired."""

    code = ErrorCode.OPERATOR_REFUSED
    exit_code = EXIT_REFUSED
    remedy = "check operator and password or card; after several failures the register's administrator must unlock it"


class OperatorRequiredError(RequestError):
    """The operator has not proved who it is on this connection, or was silent for too long since."""

    code = ErrorCode.OPERATOR_REQUIRED
    exit_code = EXIT_REFUSED
    remedy = "give the operator's password, key or card"


class OperatorCardRemovedError(ClientError):
    """The operator's smart card is gone: the connection was closed, and its sessions with it."""

    exit_code = EXIT_REFUSED


class OperatorStoppedError(RequestError):
    """The operator was stopped by the server's administration or its watch, until released there."""

    code = ErrorCode.OPERATOR_STOPPED
    exit_code = EXIT_REFUSED
    remedy = "the body's administrator must ask the register's administration to release the operator"


class ProtocolRefusedError(RequestError):
    """The server says that this client broke the protocol."""

    code = ErrorCode.MALFORMED_FRAME
    exit_code = EXIT_CONNECTION
    remedy = "report it: client and server disagree about the protocol"


BY_CODE: Final[dict[int, type[RequestError]]] = {
    ErrorCode.INTERNAL: InternalServerError,
    ErrorCode.MALFORMED_FRAME: ProtocolRefusedError,
    ErrorCode.UNKNOWN_TYPE: ProtocolRefusedError,
    ErrorCode.WRONG_STATE: ProtocolRefusedError,
    ErrorCode.FRAME_TOO_LARGE: ProtocolRefusedError,
    ErrorCode.BAD_REQUEST: BadRequestError,
    ErrorCode.TOO_MANY_CODES: TooManyCodesError,
    ErrorCode.TOO_MANY_REQUESTS: TooManyRequestsError,
    ErrorCode.TOO_MANY_SESSIONS: TooManySessionsError,
    ErrorCode.TOO_MANY_CONNECTIONS: TooManyConnectionsError,
    ErrorCode.RATE_EXCEEDED: RateExceededError,
    ErrorCode.NOT_AUTHORISED: NotAuthorisedError,
    ErrorCode.UNKNOWN_BODY: UnknownBodyError,
    ErrorCode.UNKNOWN_SESSION: UnknownSessionError,
    ErrorCode.CANCELLED: Cancelled,
    ErrorCode.RECORD_OF_USE_UNAVAILABLE: RecordOfUseUnavailableError,
    ErrorCode.REGISTER_UNAVAILABLE: RegisterUnavailableError,
    ErrorCode.TIMED_OUT: ServerTimedOutError,
    ErrorCode.DRAINING: DrainingError,
    ErrorCode.FEED_TAKEN: FeedTakenError,
    ErrorCode.NOT_A_FEED: NotAFeedError,
    ErrorCode.CURSOR_EXPIRED: CursorExpiredError,
    ErrorCode.CAP_EXCEEDED: CapExceededError,
    ErrorCode.OPERATOR_REFUSED: OperatorRefusedError,
    ErrorCode.OPERATOR_REQUIRED: OperatorRequiredError,
    ErrorCode.OPERATOR_STOPPED: OperatorStoppedError,
}
assert set(BY_CODE) == set(ErrorCode), "every code of the protocol has its class"


def error_from_wire(code: int, message: str, retry_after_ms: int) -> RequestError:
    """The exception for one ERROR message; an unknown code becomes a plain `RequestError`."""
    known = BY_CODE.get(code, RequestError)
    return known(message, ErrorCode(code) if known is not RequestError else code, retry_after_ms / 1000)
