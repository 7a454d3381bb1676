"""The messages, each declared once: fields, limits and payload form of docs/protocol.md, chapter 3, come from here.

Every message has ``request_id`` first. A control message's other fields are its MessagePack map, in this order and
under these names. No repr shows more than the type and the request_id: fields may hold personal data.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from jukinet.core import limits as bounds
from jukinet.core.columns.layout import TextColumn
from jukinet.core.columns.packed_kernel import PackedColumns
from jukinet.core.errors import ErrorCode
from jukinet.core.wire.frames import PROTOCOL_VERSION, MessageType

U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
Positive = Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)]
FrameBytes = Annotated[int, Meta(ge=1, le=0x7FFF_FFFF)]
"""Apache Arrow's utf8 offsets are signed."""
Mask = Annotated[int, Meta(ge=0, le=0xFF)]


class Message(Struct, frozen=True):
    """What both connections send and give out. ``type`` is the number in the frame's header."""

    type: ClassVar[IntEnum]
    request_id: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}(request_id={self.request_id})"


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What the server allows on this connection; part of GREETING. Lengths in bytes are of a frame's payload."""

    request_bytes_max: FrameBytes = bounds.REQUEST_BYTES_MAX
    answer_bytes_max: FrameBytes = bounds.ANSWER_BYTES_MAX
    codes_per_request_max: Positive = bounds.CODES_PER_REQUEST_MAX
    requests_in_flight_max: Positive = bounds.REQUESTS_IN_FLIGHT_MAX
    sessions_max: Positive = bounds.SESSIONS_PER_CONNECTION_MAX
    idle_seconds_max: Positive = bounds.IDLE_SECONDS_MAX


class Greeting(Message, frozen=True, kw_only=True):
    """The server's first frame: who the peer is taken for, and the limits of the connection."""

    type: ClassVar[MessageType] = MessageType.GREETING
    request_id: int = 0
    protocol: Annotated[int, Meta(ge=PROTOCOL_VERSION, le=PROTOCOL_VERSION)] = PROTOCOL_VERSION
    server: Annotated[str, Meta(max_length=256)]
    register: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    role: Annotated[str, Meta(pattern=r"^(agency|prefecture|municipality|operator)\Z")]
    body: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}\Z")]
    limits: Limits
    areas_not_connected: Annotated[list[Annotated[int, Meta(ge=1, le=99_999)]], Meta(max_length=bounds.AREAS_MAX)]


class OpenSession(Message, frozen=True):
    """Asks for an affair session: under which authority, by whom and why the following requests are made."""

    type: ClassVar[MessageType] = MessageType.OPEN_SESSION
    schedule: int
    item: str
    number: int
    operator: str
    reason: str
    case_reference: str


class SessionOpened(Message, frozen=True):
    """What the session may do: masks of functions and items, codes a request, last day (decimal date, 0 open)."""

    type: ClassVar[MessageType] = MessageType.SESSION_OPENED
    session_id: Positive
    functions: Mask
    items: Mask
    codes_per_request_max: Positive
    valid_until: Annotated[int, Meta(ge=0, le=9999_12_31)]


class CloseSession(Message, frozen=True):
    type: ClassVar[MessageType] = MessageType.CLOSE_SESSION
    session_id: U32


class SessionClosed(Message, frozen=True):
    type: ClassVar[MessageType] = MessageType.SESSION_CLOSED
    session_id: U32


class Ping(Message, frozen=True):
    """8 bytes that the PONG repeats."""

    type: ClassVar[MessageType] = MessageType.PING
    data: bytes = bytes(8)


class Pong(Message, frozen=True):
    type: ClassVar[MessageType] = MessageType.PONG
    data: bytes = bytes(8)


class Cancel(Message, frozen=True):
    """Asks that the request under way with this request_id be given up."""

    type: ClassVar[MessageType] = MessageType.CANCEL


class Progress(Message, frozen=True):
    """Codes done of codes in all, for a question that waits or runs."""

    type: ClassVar[MessageType] = MessageType.PROGRESS
    done: U32
    total: Positive


class Error(Message, frozen=True):
    """Ends a request, or with request_id 0 the connection. retry_after_ms 0: repeating is of no use."""

    type: ClassVar[MessageType] = MessageType.ERROR
    code: ErrorCode
    message: Annotated[str, Meta(max_length=bounds.ERROR_MESSAGE_BYTES_MAX)]
    retry_after_ms: U32 = 0


class Goodbye(Message, frozen=True, kw_only=True):
    """From a client: no more requests will come. From a server: new requests will be refused."""

    type: ClassVar[MessageType] = MessageType.GOODBYE
    request_id: int = 0
    reason: Annotated[str, Meta(max_length=bounds.GOODBYE_REASON_BYTES_MAX)] = ""


class OperatorLogin(Message, frozen=True):
    """Asks for a challenge by which ``operator`` can prove on this connection who it is (docs/operators.md)."""

    type: ClassVar[MessageType] = MessageType.OPERATOR_LOGIN
    operator: str


class OperatorChallenge(Message, frozen=True):
    """What is to be proved, once. For method ``key`` salt is empty; memory_kibibytes, iterations, lanes are 8, 1, 1."""

    type: ClassVar[MessageType] = MessageType.OPERATOR_CHALLENGE
    method: Annotated[str, Meta(pattern=r"^(password|key)\Z")]
    nonce: Annotated[bytes, Meta(min_length=bounds.NONCE_BYTES, max_length=bounds.NONCE_BYTES)]
    salt: Annotated[bytes, Meta(max_length=bounds.SALT_BYTES_MAX)]
    memory_kibibytes: Annotated[int, Meta(ge=8, le=bounds.PASSWORD_MEMORY_KIBIBYTES_MAX)]
    iterations: Annotated[int, Meta(ge=1, le=bounds.PASSWORD_ITERATIONS_MAX)]
    lanes: Annotated[int, Meta(ge=1, le=bounds.PASSWORD_LANES_MAX)]


class OperatorProof(Message, frozen=True):
    """The proof for the connection's newest challenge, which must have been for this operator."""

    type: ClassVar[MessageType] = MessageType.OPERATOR_PROOF
    operator: str
    proof: bytes


class OperatorAccepted(Message, frozen=True):
    """The operator is in: its class, what that allows, seconds of silence after which it is out (0: never), and its
    credential's last day (decimal date, 0 open)."""

    type: ClassVar[MessageType] = MessageType.OPERATOR_ACCEPTED
    operator_class: Annotated[str, Meta(pattern=r"^[a-z]{1,16}\Z")]
    functions: Mask
    codes_per_request_max: Positive
    idle_seconds_max: U32
    valid_until: Annotated[int, Meta(ge=0, le=9999_12_31)]


class LookupRequest(Message, frozen=True):
    """codes: u64[count] ('Q'); items: mask, 0 for all that the session may see; form: 0 plain, 1 packed."""

    type: ClassVar[MessageType] = MessageType.LOOKUP
    session_id: int
    items: int
    codes: memoryview
    form: int = 0


class StatusRequest(Message, frozen=True):
    """codes: u64[count] ('Q'); since: decimal date (20240401)."""

    type: ClassVar[MessageType] = MessageType.STATUS
    session_id: int
    since: int
    codes: memoryview


class VerifyRequest(Message, frozen=True):
    """codes: u64[count] ('Q'); claims for the items set: birth_dates 'I' (decimal dates), sexes 'B'; the rest None."""

    type: ClassVar[MessageType] = MessageType.VERIFY
    session_id: int
    items: int
    codes: memoryview
    names: TextColumn | None = None
    birth_dates: memoryview | None = None
    sexes: memoryview | None = None
    addresses: TextColumn | None = None


class HistoryRequest(Message, frozen=True):
    """codes: u64[count] ('Q'); items: mask, 0 for all that the session may see. Asks for earlier records."""

    type: ClassVar[MessageType] = MessageType.HISTORY
    session_id: int
    items: int
    codes: memoryview


class CohortStep(IntEnum):
    """What a COHORT_PUT does: a chunk of a registration (BEGIN and END may come together as ALL), or another thing."""

    GO_ON = 0
    BEGIN = 1
    END = 2
    ALL = 3
    DROP = 4
    LIST = 8


class CohortPut(Message, frozen=True):
    """The next codes of a registration: u64[count] ('Q'), ascending strictly over all chunks; none for DROP and LIST.

    name: 1 to 32 characters of a-z, 0-9 and '-', '' for LIST.
    """

    type: ClassVar[MessageType] = MessageType.COHORT_PUT
    session_id: int
    step: int
    name: str
    codes: memoryview


class CohortChanges(Message, frozen=True):
    """Asks what changed among a cohort's codes since (order, place): at most rows_max rows, 2 at least."""

    type: ClassVar[MessageType] = MessageType.COHORT_CHANGES
    session_id: int
    rows_max: int
    name: str
    order: int
    place: int


class CohortRow(Struct, frozen=True):
    """A cohort: codes stored, where asking begins, the day of its registration; under way while complete is False."""

    name: str
    codes: int
    order: int
    place: int
    registered_date: int
    complete: bool


class CohortStored(Message, frozen=True):
    """The cohort that a COHORT_PUT concerned, as it is now (codes: those stored so far); for LIST all of the affair."""

    type: ClassVar[MessageType] = MessageType.COHORT_STORED
    step: int
    register_version: int
    cohorts: tuple[CohortRow, ...]


class CohortChangesAnswer(Message, frozen=True):
    """count codes that changed and how they stand: codes 'Q' ascending, outcomes and reasons 'B', change_dates and
    registered_dates 'I'. order and place are the next cursor; more: whether there is more behind it already.
    """

    type: ClassVar[MessageType] = MessageType.COHORT_CHANGES_ANSWER
    more: bool
    count: int
    register_version: int
    order: int
    place: int
    codes: memoryview
    outcomes: memoryview
    reasons: memoryview
    change_dates: memoryview
    registered_dates: memoryview


class FindRequest(Message, frozen=True):
    """What SEARCH and MATCH ask: ``count`` persons by the items ``given``, a mask.

    given: of NAME, KANA, BIRTH_DATE, SEX, ADDRESS. items: mask wanted of those found, 0 for all the session may see.
    prefix: names and readings may be beginnings (SEARCH only). birth_dates 'I' (decimal dates), sexes 'B'; columns of
    items not given are None. An empty text, a date 0 and a sex 0 mean that this row does not have the item.
    """

    session_id: int
    items: int
    given: int
    prefix: bool
    count: int
    names: TextColumn | None = None
    kana: TextColumn | None = None
    birth_dates: memoryview | None = None
    sexes: memoryview | None = None
    addresses: TextColumn | None = None


class SearchRequest(FindRequest, frozen=True):
    """Asks for all persons that each row may mean."""

    type: ClassVar[MessageType] = MessageType.SEARCH


class MatchRequest(FindRequest, frozen=True):
    """Asks for the one person that each row means."""

    type: ClassVar[MessageType] = MessageType.MATCH


class SearchAnswer(Message, frozen=True):
    """found 'B' (vocabulary.Found) of count questions in the order asked; those of question i are the persons from
    row_ends[i - 1] (0 for the first) to row_ends[i] ('I'), the likeliest first.

    grades 'B', levels 'I' (four bits an item: name, kana, birth date, sex, address), probabilities 'I' (millionths),
    and the columns of a LookupAnswer, a row a person; codes 'Q' are theirs. None for items that were not asked.
    """

    type: ClassVar[MessageType] = MessageType.SEARCH_ANSWER
    items: int
    count: int
    register_version: int
    found: memoryview
    row_ends: memoryview
    grades: memoryview
    levels: memoryview
    probabilities: memoryview
    outcomes: memoryview
    names: TextColumn | None = None
    kana: TextColumn | None = None
    aliases: TextColumn | None = None
    birth_dates: memoryview | None = None
    sexes: memoryview | None = None
    areas: memoryview | None = None
    addresses: TextColumn | None = None
    reasons: memoryview | None = None
    change_dates: memoryview | None = None
    codes: memoryview | None = None


class MatchAnswer(Message, frozen=True):
    """Columns of count rows in the order asked: found 'B', candidates 'I' and margins 'I' (millionths), and the columns
    of a SearchAnswer's persons, which hold something where found is ONE.
    """

    type: ClassVar[MessageType] = MessageType.MATCH_ANSWER
    items: int
    count: int
    register_version: int
    found: memoryview
    candidates: memoryview
    grades: memoryview
    levels: memoryview
    probabilities: memoryview
    margins: memoryview
    outcomes: memoryview
    names: TextColumn | None = None
    kana: TextColumn | None = None
    aliases: TextColumn | None = None
    birth_dates: memoryview | None = None
    sexes: memoryview | None = None
    areas: memoryview | None = None
    addresses: TextColumn | None = None
    reasons: memoryview | None = None
    change_dates: memoryview | None = None
    codes: memoryview | None = None


class LookupAnswer(Message, frozen=True):
    """Columns of count rows in the order asked; None for items that were not asked.

    outcomes, sexes, reasons: 'B'. birth_dates, areas, change_dates: 'I'. successor_codes: 'Q'.
    """

    type: ClassVar[MessageType] = MessageType.LOOKUP_ANSWER
    items: int
    count: int
    register_version: int
    outcomes: memoryview
    names: TextColumn | None = None
    kana: TextColumn | None = None
    aliases: TextColumn | None = None
    birth_dates: memoryview | None = None
    sexes: memoryview | None = None
    areas: memoryview | None = None
    addresses: TextColumn | None = None
    reasons: memoryview | None = None
    change_dates: memoryview | None = None
    successor_codes: memoryview | None = None


class PackedLookupAnswer(Message, frozen=True):
    """A LOOKUP_ANSWER in form 1, checked; ``jukinet.core.wire.packed.unpacked`` makes a LookupAnswer of it."""

    type: ClassVar[MessageType] = MessageType.LOOKUP_ANSWER
    items: int
    count: int
    register_version: int
    columns: PackedColumns


class TownsRequest(Message, frozen=True):
    """Asks for at most towns_max towns with numbers above ``after``, and for the areas."""

    type: ClassVar[MessageType] = MessageType.TOWNS
    session_id: int
    after: int
    towns_max: int


class TownsAnswer(Message, frozen=True):
    """areas: 'I', JIS numbers from area 0 on. texts: count towns from number after + 1 on; towns: all there are."""

    type: ClassVar[MessageType] = MessageType.TOWNS_ANSWER
    after: int
    count: int
    register_version: int
    towns: int
    areas: memoryview
    texts: TextColumn


class StatusAnswer(Message, frozen=True):
    """outcomes 'B' and change_dates 'I' (decimal dates), count rows in the order asked."""

    type: ClassVar[MessageType] = MessageType.STATUS_ANSWER
    since: int
    count: int
    register_version: int
    outcomes: memoryview
    change_dates: memoryview


class VerifyAnswer(Message, frozen=True):
    """outcomes 'B' and matches 'B' (two bits an item, see vocabulary.Match), count rows in the order asked."""

    type: ClassVar[MessageType] = MessageType.VERIFY_ANSWER
    items: int
    count: int
    register_version: int
    outcomes: memoryview
    matches: memoryview


class HistoryAnswer(Message, frozen=True):
    """outcomes 'B' of count codes in the order asked, and their earlier records: row i of the request has the records
    from row_ends[i - 1] (0 for the first) to row_ends[i] ('I'), the latest first.

    replaced_dates: 'I', the day on which a later notification replaced each record. The other columns are as in a
    LookupAnswer, a row a record; None for items that were not asked.
    """

    type: ClassVar[MessageType] = MessageType.HISTORY_ANSWER
    items: int
    count: int
    register_version: int
    outcomes: memoryview
    row_ends: memoryview
    replaced_dates: memoryview
    names: TextColumn | None = None
    kana: TextColumn | None = None
    aliases: TextColumn | None = None
    birth_dates: memoryview | None = None
    sexes: memoryview | None = None
    areas: memoryview | None = None
    addresses: TextColumn | None = None
    reasons: memoryview | None = None
    change_dates: memoryview | None = None


class Refused(Struct, frozen=True):
    """Event of a ServerConnection, not a message: a request that must be answered with ``answer()`` and nothing else.

    The request was counted but not accepted; ``kind`` is its message type, ``code`` the reason. The stream goes on.
    """

    request_id: int
    code: ErrorCode
    message: str
    kind: IntEnum
    retry_after_ms: int = 0

    def answer(self) -> Error:
        """The ERROR that the server owes for this request."""
        return Error(self.request_id, self.code, self.message, self.retry_after_ms)


ClientMessage = (
    OpenSession
    | CloseSession
    | Ping
    | Cancel
    | Goodbye
    | OperatorLogin
    | OperatorProof
    | LookupRequest
    | StatusRequest
    | VerifyRequest
    | HistoryRequest
    | CohortPut
    | CohortChanges
    | SearchRequest
    | MatchRequest
    | TownsRequest
)
ServerMessage = (
    Greeting
    | SessionOpened
    | SessionClosed
    | Pong
    | Progress
    | Error
    | Goodbye
    | OperatorChallenge
    | OperatorAccepted
    | LookupAnswer
    | PackedLookupAnswer
    | StatusAnswer
    | VerifyAnswer
    | HistoryAnswer
    | CohortStored
    | CohortChangesAnswer
    | SearchAnswer
    | MatchAnswer
    | TownsAnswer
)
