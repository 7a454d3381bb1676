"""One connection's requests under way: which answer belongs to whom. No I/O; both transports drive it.

Invariant: every request that was begun is in ``pending`` until its answer or error came, abandoned or not; a request is
finished exactly when it has an answer or a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from jukinet.clients.errors import ClientError, ConnectionLostError, DrainingError, RequestError, error_from_wire
from jukinet.core.errors import ErrorCode, RemoteProtocolError
from jukinet.core.wire import ClientConnection, FeedClientConnection, Sendable
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m

ProgressCallback: TypeAlias = Callable[[int, int], None]
"""Called with codes done and codes in all while a request waits or runs for longer than a second. It must not block;
what it raises comes out of the request."""
ErrorFactory: TypeAlias = Callable[[], ClientError]
"""Makes the exception anew for each request that it ends, so that no two tasks share one traceback."""

REQUEST_ID_MAX: Final = (1 << 32) - 1


def parts(data: Sendable) -> list[memoryview]:
    """What is to be sent, as views of bytes in order; nothing empty."""
    pieces = data if isinstance(data, list) else [data]
    return [memoryview(piece).cast("B") for piece in pieces if len(piece)]


class Waiter:
    """Something that a caller waits for. ``limit`` is the transport's: until when, on its clock."""

    __slots__ = ("finished", "limit")

    def __init__(self) -> None:
        self.finished = False
        self.limit = 0.0


class Pending(Waiter):
    """One request under way."""

    __slots__ = ("answer", "complaint", "failure", "progress", "request_id")

    def __init__(self, request_id: int, progress: ProgressCallback | None) -> None:
        self.finished = False
        self.limit = 0.0
        self.request_id = request_id
        self.answer: Any = None
        self.failure: ErrorFactory | None = None
        self.progress = progress
        self.complaint: Exception | None = None

    def result(self) -> Any:
        """The answer, once finished; raises the failure, or what the progress function raised."""
        if self.complaint is not None:
            raise self.complaint
        if self.failure is not None:
            raise self.failure()
        return self.answer


class Exchange:
    """Bookkeeping over the client's end of one connection, of queries unless another is given.

    ``failure`` is set when the connection can carry no request any more; ``draining`` when the server said goodbye;
    ``owed`` is what must be sent unasked: the answers to the server's own pings.
    """

    __slots__ = ("_last_id", "connection", "draining", "failure", "greeted", "greeting", "owed", "pending", "slots")

    def __init__(self, connection: ClientConnection | FeedClientConnection | None = None) -> None:
        self.connection = ClientConnection() if connection is None else connection
        self.greeting: m.Greeting | f.FeedGreeting | None = None
        self.owed: list[Sendable] = []
        self.greeted = Waiter()
        self.failure: ErrorFactory | None = None
        self.draining = False
        self.pending: dict[int, Pending] = {}
        self.slots = 1
        self._last_id = 0

    @property
    def usable(self) -> bool:
        return self.failure is None and not self.draining

    def begin(
        self, kind: Any, arguments: tuple[Any, ...], progress: ProgressCallback | None = None
    ) -> tuple[Pending, Sendable]:
        """Give the request an id and serialise it: what to wait for and what to send.

        Raises the connection's failure when there is one, and LocalProtocolError when a limit forbids the message.
        """
        if self.failure is not None:
            raise self.failure()
        if self.draining:
            raise DrainingError("the server is stopping", ErrorCode.DRAINING)
        request_id = self._last_id + 1
        if request_id > REQUEST_ID_MAX:
            request_id = 1
        while request_id in self.pending:
            request_id += 1
        self._last_id = request_id
        data = self.connection.send(kind(request_id, *arguments))
        pending = self.pending[request_id] = Pending(request_id, progress)
        return pending, data

    def abandon(self, pending: Pending) -> Sendable | None:
        """Nobody waits for this request any more: the CANCEL to send, None when it is over or the connection is."""
        pending.progress = None
        if pending.finished or self.failure is not None or pending.request_id not in self.pending:
            return None
        if not isinstance(self.connection, ClientConnection):
            return None  # a feed takes nothing back: what was sent is applied
        return self.connection.send(m.Cancel(pending.request_id))

    def take(self, event: Any) -> Pending | None:
        """Apply one event of the connection; the request that it finished, if any."""
        pending = self.pending.get(event.request_id)
        kind = type(event)
        if kind is m.Progress:
            if pending is not None and pending.progress is not None:
                self._report(pending, event)
            return None
        if kind is m.Error:
            failure = _failure_factory(event)
            if pending is None:
                # With request id 0 it concerns the connection; any other stray id is a request already over.
                if event.request_id == 0:
                    self.fail(failure)
                return None
            pending.failure = failure
        elif pending is None:
            if kind is m.Greeting or kind is f.FeedGreeting:
                self.greeting = event
                self.greeted.finished = True
                self.slots = self.connection.limits.requests_in_flight_max
            elif kind is m.Goodbye:
                self.draining = True
            elif kind is m.Ping:
                assert isinstance(self.connection, FeedClientConnection)
                self.owed.append(self.connection.send(m.Pong(0, event.data)))
            return None
        else:
            pending.answer = event
        del self.pending[event.request_id]
        pending.finished = True
        return pending

    def _report(self, pending: Pending, event: m.Progress) -> None:
        """Call the caller's function. What it raises belongs to its request, not to whoever happens to be reading."""
        progress = pending.progress
        assert progress is not None
        try:
            progress(event.done, event.total)
        except Exception as error:
            pending.progress = None
            pending.complaint = error

    def broken(self, error: RemoteProtocolError) -> ErrorFactory:
        """The failure of a connection that ended inside a message, or on which the server broke the protocol."""
        if self.connection.is_ended:
            return lost("it ended in the middle of a message", starting=True)
        return lost(f"the server broke the protocol: {error}")

    def fail(self, failure: ErrorFactory) -> list[Pending]:
        """The connection is over: every request under way ends with this failure (the first one given stays)."""
        if self.failure is None:
            self.failure = failure
        ended = list(self.pending.values())
        self.pending.clear()
        for pending in ended:
            pending.failure = self.failure
            pending.finished = True
        return ended


def lost(explanation: str, *, starting: bool = False) -> ErrorFactory:
    """A `ConnectionLostError` factory. starting: the peer, or the line, ended the connection and gave no reason."""
    return lambda: ConnectionLostError(
        f"the connection to the server was lost ({explanation}); queries may be repeated safely", starting=starting
    )


def _failure_factory(event: m.Error) -> ErrorFactory:
    code, message, retry_after_ms = event.code, event.message, event.retry_after_ms

    def make() -> RequestError:
        return error_from_wire(code, message, retry_after_ms)

    return make
