"""Operators of a worker: challenges and proofs on its connections, and the end of what was proved.

Theory of operation. OPERATOR_LOGIN and OPERATOR_PROOF are worked off one after another in a task, the database in a
thread beside the loop. What a proof gives is a ``Login`` in the connection's memory; sessions that name the operator
hold it. A request touches it with one assignment. When a login ends, its sessions lose their grants, so the next
request takes the slow path and is refused there.
"""

from __future__ import annotations

import datetime
import secrets
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from jukinet.core import limits
from jukinet.core.errors import ConfigurationError, ErrorCode, OperatorRequiredError, RecordOfUseError
from jukinet.core.signatures import PersonalKey
from jukinet.core.wire import messages as m
from jukinet.core.wire.operator_proof import KEY, PASSWORD, Parties, check_password_proof, statement
from jukinet.server.law_settings import Operators as Settings
from jukinet.server.operators.classes import CLASSES, OperatorClass
from jukinet.server.operators.database import (
    ITERATIONS,
    LANES,
    MEMORY_KIBIBYTES,
    Identifier,
    Operator,
    OperatorDatabase,
    OperatorsError,
)

if TYPE_CHECKING:
    from jukinet.server.connection import Connection
    from jukinet.server.service import Service
    from jukinet.server.sessions import Session

LOOK_SECONDS: Final = 1.0
WAITING_MAX: Final = 1_024
RETRY_MILLISECONDS: Final = 1_000
FIRST: Final = "the operator must log in first"
CHANGED: Final = "the operator is out since something about it was changed, and must log in again"
OUT: Final = {"idle": "the operator was silent for too long and must log in again"}
STALE: Final = "the operator's proof is too old; its key must sign a new challenge"
NOT_RIGHT: Final = "operator or proof is not right"


class Login:
    """An operator who is in, on one connection. Invariant: once ``ended`` is set it stays so."""

    __slots__ = ("ended", "operator", "operator_class", "proved", "sessions", "stale", "used")

    def __init__(self, operator: Operator, now: float) -> None:
        self.operator = operator
        self.operator_class: OperatorClass = CLASSES[operator.operator_class]
        self.used = self.proved = now
        self.ended = ""
        self.stale = False
        """The proof is too old: nothing is answered until there is another one, and the sessions stay."""
        self.sessions: set[Session] = set()

    @property
    def is_in(self) -> bool:
        return not self.ended and not self.stale

    def prove(self, now: float) -> None:
        """There is a new proof."""
        self.used = self.proved = now
        self.stale = False

    def suspend(self) -> None:
        """Take the grants of its sessions away until it proves again."""
        self.stale = True
        for session in self.sessions:
            session.grant = None

    @property
    def why_out(self) -> str:
        """What is told to whoever asks under its name when it is not in."""
        if self.stale and not self.ended:
            return STALE
        return OUT.get(self.ended, CHANGED)

    def end(self, reason: str) -> None:
        """Take the grants of its sessions away."""
        self.ended = self.ended or reason
        for session in self.sessions:
            session.grant = None
        self.sessions.clear()


class Challenge(NamedTuple):
    """What the connection's next proof must be of. operator: None when there is nobody of that name."""

    who: Identifier
    nonce: bytes
    operator: Operator | None


class ConnectionOperators:
    """What one connection has proved: at most one challenge, and who is in."""

    __slots__ = ("challenge", "failures", "logins", "parties")

    def __init__(self, parties: Parties) -> None:
        self.parties = parties
        self.challenge: Challenge | None = None
        self.failures = 0
        self.logins: dict[str, Login] = {}


class Operators:
    """All of a worker. Without a database nobody can log in, and names are taken on the body's word if settings say so.

    Invariant: ``_connections`` holds the open connections on which somebody is in.
    """

    def __init__(self, service: Service, settings: Settings) -> None:
        """Raises ConfigurationError: the database cannot be opened."""
        self._service = service
        self._log = service.log
        self._settings = settings
        self._database = OperatorDatabase(settings.database) if settings.database else None
        self._waiting: deque[tuple[Connection, m.OperatorLogin | m.OperatorProof]] = deque()
        self._wanted = trio.Event()
        self._connections: set[Connection] = set()
        self._seen = self._database.data_version() if self._database is not None else 0
        self._day = service.today

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    # Sessions ------------------------------------------------------------------------------------------------------

    def login_for(self, connection: Connection, name: str) -> Login | None:
        """Who asks under this name. Raises OperatorRequiredError when that must be proved."""
        login = connection.operators.logins.get(name)
        if login is not None and login.is_in:
            return login
        if self._settings.required or login is not None:
            raise OperatorRequiredError(FIRST if login is None else login.why_out)
        return None

    # Requests ------------------------------------------------------------------------------------------------------

    def take(self, connection: Connection, request: m.OperatorLogin | m.OperatorProof) -> None:
        """Queue a request, or refuse it."""
        if self._database is None:
            connection.refuse(request.request_id, ErrorCode.OPERATOR_REFUSED, "this server keeps no operators")
        elif connection.operators.failures >= limits.OPERATOR_FAILURES_PER_CONNECTION_MAX:
            connection.refuse(request.request_id, ErrorCode.OPERATOR_REFUSED, "too many failures on this connection")
        elif len(self._waiting) >= WAITING_MAX:
            text = "too many operators log in"
            connection.refuse(request.request_id, ErrorCode.TOO_MANY_REQUESTS, text, RETRY_MILLISECONDS)
        else:
            self._waiting.append((connection, request))
            self._wanted.set()

    async def run(self) -> None:
        """Work off requests, and look whether operators in the database changed, until cancelled."""
        if self._database is None:
            return
        looked = trio.current_time()
        while True:
            with trio.move_on_at(looked + LOOK_SECONDS):
                await self._wanted.wait()
            while self._waiting:
                connection, request = self._waiting.popleft()
                if not connection.closed:
                    await self._work(connection, request)
            self._wanted = trio.Event()
            if trio.current_time() >= looked + LOOK_SECONDS:
                looked = trio.current_time()
                await self._look(self._database)

    async def _work(self, connection: Connection, request: m.OperatorLogin | m.OperatorProof) -> None:
        try:
            if isinstance(request, m.OperatorLogin):
                await self._challenge(connection, request)
            else:
                await self._judge(connection, request)
        except (OperatorsError, RecordOfUseError) as error:
            self._log.error("operators_failed", reason=str(error))
            text = "operators cannot be checked now; repeat later"
            connection.refuse(request.request_id, ErrorCode.TOO_MANY_REQUESTS, text, RETRY_MILLISECONDS)
        except Exception as error:
            self._log.failure("request_failed", error, connection=connection.number)
            connection.refuse(request.request_id, ErrorCode.INTERNAL, "the server failed; report it")
        connection.flush()
        self._service.after_turn()

    async def _challenge(self, connection: Connection, request: m.OperatorLogin) -> None:
        database = self._database
        assert database is not None
        state = connection.operators
        who = Identifier(str(connection.identity.role), connection.identity.body, request.operator)
        state.challenge = None
        operator = await trio.to_thread.run_sync(database.find, who)
        nonce = secrets.token_bytes(limits.NONCE_BYTES)
        state.challenge = Challenge(who, nonce, operator)
        if operator is None:
            salt, costs = database.salt_for_nobody(who), (MEMORY_KIBIBYTES, ITERATIONS, LANES)
        else:
            salt, costs = operator.salt, (operator.memory_kibibytes, operator.iterations, operator.lanes)
        method = PASSWORD if operator is None else operator.method
        if not connection.closed:
            connection.send(m.OperatorChallenge(request.request_id, method, nonce, salt, *costs))

    async def _judge(self, connection: Connection, request: m.OperatorProof) -> None:
        database, state, service = self._database, connection.operators, self._service
        assert database is not None
        challenge, state.challenge = state.challenge, None
        if challenge is None or challenge.who.name != request.operator:
            self._refuse(connection, request, "no challenge for this operator is open", None, "")
            return
        who, held = challenge.who, challenge.operator
        text = statement(state.parties, challenge.nonce, who.name)
        right = held is not None and _is_right(held, request.proof, text)
        locked = await trio.to_thread.run_sync(self._count, who, right)
        operator = await trio.to_thread.run_sync(database.find, who)
        if connection.closed:
            return
        if held is None or operator is None or operator.standing != held.standing or not right:
            self._refuse(connection, request, NOT_RIGHT, operator, "not right")
            if locked:
                service.recording.note(event="operator-locked", **_event(connection, who))
                service.log.warning("operator_locked", connection=connection.number, **connection.identity_fields)
            return
        why_not = operator.may_come_in(service.today)
        if why_not:
            told = "the operator's credential has expired" if why_not == "expired" else NOT_RIGHT
            self._refuse(connection, request, told, operator, why_not)
            return
        self._let_in(connection, request, operator)

    def _count(self, who: Identifier, right: bool) -> bool:
        assert self._database is not None
        return self._database.count_proof(who, right=right, failures_max=self._settings.failures_max)

    def _let_in(self, connection: Connection, request: m.OperatorProof, operator: Operator) -> None:
        service, state = self._service, connection.operators
        login = state.logins.get(operator.name)
        if login is not None and (login.ended or login.operator.standing != operator.standing):
            login.end("changed")
            del state.logins[operator.name]
            login = None
        if login is None and len(state.logins) >= limits.OPERATORS_PER_CONNECTION_MAX:
            for name in [name for name, one in state.logins.items() if one.ended]:
                del state.logins[name]
            if len(state.logins) >= limits.OPERATORS_PER_CONNECTION_MAX:
                text = "too many operators on this connection"
                connection.refuse(request.request_id, ErrorCode.TOO_MANY_SESSIONS, text)
                return
        if login is None or login.stale:  # who is in already proves each minute: that is no event
            who = Identifier(operator.role, operator.body, operator.name)
            detail = f"class {operator.operator_class} method {operator.method}"
            service.recording.note(event="operator-in", detail=detail, **_event(connection, who))
            service.metrics.count("operators_total", "in")
            service.log.info("operator_in", connection=connection.number, **connection.identity_fields)
        if login is None:
            login = state.logins[operator.name] = Login(operator, service.now)
        login.prove(service.now)
        self._connections.add(connection)
        kind = login.operator_class
        connection.send(
            m.OperatorAccepted(
                request.request_id,
                kind.name,
                kind.functions,
                kind.codes_per_request_max,
                int(self._settings.idle_seconds) if kind.ends_on_idle else 0,
                _decimal(operator.last_day),
            )
        )

    def _refuse(
        self, connection: Connection, request: m.OperatorProof, told: str, operator: Operator | None, why: str
    ) -> None:
        connection.operators.failures += 1
        self._service.metrics.count("operators_total", "refused")
        self._log.warning("operator_refused", connection=connection.number, **connection.identity_fields)
        if operator is not None:
            who = Identifier(operator.role, operator.body, operator.name)
            self._service.recording.note(event="operator-refused", detail=why, **_event(connection, who))
        connection.refuse(request.request_id, ErrorCode.OPERATOR_REFUSED, told)

    # Endings -------------------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """End logins that were silent for too long, and suspend those whose proof is too old; called a few times a
        second. Never raises."""
        for connection in list(self._connections):
            if connection.closed:
                self._connections.discard(connection)
                continue
            for login in list(connection.operators.logins.values()):
                if connection.jobs:
                    login.used = now
                elif login.operator_class.ends_on_idle and now - login.used >= self._settings.idle_seconds:
                    self._end(connection, login, "idle")
                if self._is_stale(login, now):
                    login.suspend()
                    self._tell_out(connection, login, "proof")

    def _is_stale(self, login: Login, now: float) -> bool:
        """A card that is out cannot sign: so the server sees it too, whatever the client says."""
        seconds = self._settings.proof_seconds
        may_go = login.operator.method == KEY and login.operator_class.ends_on_idle and seconds > 0
        return may_go and login.is_in and now - login.proved >= seconds

    async def _look(self, database: OperatorDatabase) -> None:
        """End logins of operators who were disabled, changed or have expired since."""
        try:
            version = await trio.to_thread.run_sync(database.data_version)
            if version == self._seen and self._day == self._service.today:
                return
            self._seen, self._day = version, self._service.today
            for connection in list(self._connections):
                for login in list(connection.operators.logins.values()):
                    held = login.operator
                    who = Identifier(held.role, held.body, held.name)
                    operator = await trio.to_thread.run_sync(database.find, who)
                    why_not = "removed" if operator is None else operator.may_come_in(self._day)
                    if operator is not None and not why_not and operator.standing != held.standing:
                        why_not = "changed"
                    if why_not:
                        self._end(connection, login, why_not)
        except OperatorsError as error:
            self._seen = -1
            self._log.error("operators_failed", reason=str(error))

    def _end(self, connection: Connection, login: Login, reason: str) -> None:
        if login.ended:
            return
        login.end(reason)
        self._tell_out(connection, login, reason)
        connection.operators.logins[login.operator.name] = login
        if all(one.ended for one in connection.operators.logins.values()):
            self._connections.discard(connection)

    def _tell_out(self, connection: Connection, login: Login, reason: str) -> None:
        service = self._service
        who = Identifier(login.operator.role, login.operator.body, login.operator.name)
        try:
            service.recording.note(event="operator-out", detail=reason, **_event(connection, who))
        except RecordOfUseError as error:
            self._log.error("operators_failed", reason=str(error))
        service.metrics.count("operators_total", "out")
        service.log.info("operator_out", connection=connection.number, kind=reason, **connection.identity_fields)


def _is_right(operator: Operator, proof: bytes, text: bytes) -> bool:
    if operator.method != KEY:
        return check_password_proof(operator.credential, proof, text)
    try:
        return PersonalKey(operator.credential.decode()).verify(text, proof)
    except ConfigurationError:
        return False


def _event(connection: Connection, who: Identifier) -> dict[str, str | int]:
    return {"role": who.role, "body": who.body, "operator": who.name, "connection": connection.number}


def _decimal(ordinal: int) -> int:
    if not ordinal:
        return 0
    return int(datetime.date.fromordinal(ordinal).strftime("%Y%m%d"))
