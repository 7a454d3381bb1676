"""Two correct ends with a slow line between them: whatever crosses, neither ever breaks the protocol for the other."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from wire_frames import T
from wire_pair import PATIENT, answer, codes, deliver, greeting, joined
from wire_twin import status_answer

from jukinet.core.errors import ErrorCode
from jukinet.core.wire import ClientConnection, ConnectionState, ServerConnection
from jukinet.core.wire import messages as m

S = ConnectionState
LIMITS = m.Limits(requests_in_flight_max=4, sessions_max=2)
SINCE = 20240401


class Crossing(RuleBasedStateMachine):
    """Invariant: the client's requests under way are at least the server's, and every request ends exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.server = ServerConnection(LIMITS)
        self.client = ClientConnection()
        self.to_server = bytearray()
        self.to_client = bytearray()
        self.waiting: list[m.Message | m.Refused] = []
        self.asked = 0
        self.ended: list[int] = []
        self.next_session = 1
        self.to_client += joined(self.server.send(greeting(LIMITS)))
        self.client_reads(1 << 20)

    def client_may_ask(self) -> bool:
        room = len(self.client.under_way) < LIMITS.requests_in_flight_max
        return self.client.state is S.OPEN and room

    def client_sends(self, message: m.ClientMessage) -> None:
        self.to_server += joined(self.client.send(message))

    @precondition(client_may_ask)
    @rule()
    def ping(self) -> None:
        self.asked += 1
        self.client_sends(m.Ping(self.client.new_request_id()))

    @precondition(client_may_ask)
    @rule()
    def open_session(self) -> None:
        self.asked += 1
        self.client_sends(m.OpenSession(self.client.new_request_id(), 1, "77", 0, "op", "reason", ""))

    @precondition(lambda self: self.client_may_ask() and self.client.sessions)
    @rule(data=st.data())
    def close_session(self, data: st.DataObject) -> None:
        self.asked += 1
        session_id = data.draw(st.sampled_from(sorted(self.client.sessions)))
        self.client_sends(m.CloseSession(self.client.new_request_id(), session_id))

    @precondition(lambda self: self.client_may_ask() and self.client.sessions)
    @rule(data=st.data(), count=st.sampled_from([1, 5, 3_000]))
    def status(self, data: st.DataObject, count: int) -> None:
        self.asked += 1
        session_id = data.draw(st.sampled_from(sorted(self.client.sessions)))
        self.client_sends(m.StatusRequest(self.client.new_request_id(), session_id, SINCE, codes(range(count))))

    @precondition(lambda self: self.client.under_way and self.client.state is not S.CLOSED)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.client_sends(m.Cancel(data.draw(st.sampled_from(sorted(self.client.under_way)))))

    @precondition(lambda self: self.client.state in (S.OPEN, S.SERVER_DONE))
    @rule()
    def client_goodbye(self) -> None:
        self.client_sends(m.Goodbye(reason="done"))

    @precondition(lambda self: self.server.state in (S.OPEN, S.CLIENT_DONE))
    @rule()
    def server_goodbye(self) -> None:
        self.to_client += joined(self.server.send(m.Goodbye(reason="draining")))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), fails=st.booleans())
    def server_answers(self, data: st.DataObject, fails: bool) -> None:
        event = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        if isinstance(event, m.Refused):
            self.to_client += joined(self.server.send(event.answer()))
        elif fails:
            self.to_client += joined(self.server.send(m.Error(event.request_id, ErrorCode.INTERNAL, "")))
        elif isinstance(event, m.Ping):
            self.to_client += joined(self.server.send(m.Pong(event.request_id, event.data)))
        elif isinstance(event, m.OpenSession):
            opened = m.SessionOpened(event.request_id, self.next_session, 7, 255, 10_000, 0)
            self.next_session += 1
            self.to_client += joined(self.server.send(opened))
        elif isinstance(event, m.CloseSession):
            if any(isinstance(e, m.StatusRequest) and e.session_id == event.session_id for e in self.waiting):
                self.waiting.append(event)
                return
            self.to_client += joined(self.server.send(m.SessionClosed(event.request_id, event.session_id)))
        else:
            assert isinstance(event, m.StatusRequest)
            count = len(event.codes)
            self.to_client += joined(self.server.send(m.Progress(event.request_id, count // 2, count)))
            payload = status_answer(SINCE, 1, [9] * count, [0] * count)
            self.to_client += self.server.send_answer(event.request_id, T.STATUS_ANSWER, answer(payload))

    @rule(count=st.sampled_from([1, 20, 100, 20_000, 1 << 20]))
    def server_reads(self, count: int) -> None:
        data = bytes(self.to_server[:count])
        del self.to_server[:count]
        for event in deliver(self.server, data):
            if isinstance(event, m.Cancel):
                place = next(i for i, e in enumerate(self.waiting) if e.request_id == event.request_id)
                del self.waiting[place]
                self.to_client += joined(self.server.send(m.Error(event.request_id, ErrorCode.CANCELLED, "")))
            elif not isinstance(event, m.Goodbye):
                self.waiting.append(event)

    @rule(count=st.sampled_from([1, 20, 100, 20_000, 1 << 20]))
    def client_reads(self, count: int) -> None:
        data = bytes(self.to_client[:count])
        del self.to_client[:count]
        for event in deliver(self.client, data):
            assert isinstance(event, m.Message)
            if event.request_id and not isinstance(event, m.Progress):
                self.ended.append(event.request_id)

    @invariant()
    def requests_end_once(self) -> None:
        assert set(self.server.under_way) <= set(self.client.under_way)
        assert {event.request_id for event in self.waiting} == set(self.server.under_way)
        assert len(set(self.ended)) == len(self.ended)
        assert self.asked == len(self.ended) + len(self.client.under_way)
        assert len(self.client.under_way) <= LIMITS.requests_in_flight_max

    def teardown(self) -> None:
        """Let everything arrive and be answered: nothing may be left under way on either side."""
        while self.to_server or self.to_client or self.waiting:
            self.server_reads(1 << 20)
            self.waiting.sort(key=lambda event: isinstance(event, m.CloseSession))
            for event in self.waiting[:]:
                self.waiting.remove(event)
                failed = m.Error(event.request_id, ErrorCode.INTERNAL, "")
                reply = event.answer() if isinstance(event, m.Refused) else failed
                self.to_client += joined(self.server.send(reply))
            self.client_reads(1 << 20)
        assert self.client.under_way == self.server.under_way == {}
        assert self.client.state is self.server.state
        self.requests_end_once()


Crossing.TestCase.settings = settings(PATIENT, max_examples=60, stateful_step_count=40)
TestCrossing = Crossing.TestCase
