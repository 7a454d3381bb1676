"""Affair sessions: under which authority, by whom and why a connection asks; judged again when that file changes."""

from __future__ import annotations

import datetime

from jukinet.core.audit.record import RecordOfUse
from jukinet.core.errors import NotAuthorisedError, OperatorRequiredError
from jukinet.core.law.authority import Authority, Grant
from jukinet.core.watch.kernel import Watched
from jukinet.core.wire import messages as m
from jukinet.server.caps import Caps, SessionCaps
from jukinet.server.identity import Identity
from jukinet.server.operators.logins import Login


class Session:
    """One affair session of a connection.

    Operator, reason and case reference go into ``use``, the record of use, and nowhere else. Invariant: ``grant`` was
    given by ``authority``, or is None when that authority no longer gives one.
    """

    __slots__ = (
        "affair",
        "authority",
        "caps",
        "grant",
        "identity",
        "login",
        "owner",
        "registrations",
        "session_id",
        "use",
        "watched",
    )

    def __init__(
        self, session_id: int, connection: int, identity: Identity, opening: m.OpenSession, login: Login | None
    ) -> None:
        self.login = login
        """The operator who proved to be the one named; None when the body's word is taken for it."""
        self.session_id = session_id
        self.identity = identity
        self.affair = (opening.schedule, opening.item, opening.number)
        self.owner = f"{identity.role}/{identity.body}/{opening.schedule}-{opening.item}-{opening.number}"
        """Whose cohorts the session sees."""
        self.registrations: dict[str, int] = {}
        """Registrations of cohorts under way in it: name -> generation of the chunks stored so far."""
        self.use = RecordOfUse(
            role=identity.role,
            body=identity.body,
            operator=opening.operator,
            schedule=opening.schedule,
            item=opening.item,
            number=opening.number,
            reason=opening.reason,
            case_reference=opening.case_reference,
            connection=connection,
            session=session_id,
        )
        self.watched: Watched | None = None
        """Whose requests these are, for the watch; None when nothing is watched."""
        self.authority: Authority | None = None
        self.grant: Grant | None = None
        self.caps: SessionCaps | None = None

    def judge(self, authority: Authority, today: datetime.date, caps: Caps) -> Grant:
        """Take the grant from an authority file that was read since, or for a day that has begun since.

        Raises NotAuthorisedError when there is none, OperatorRequiredError when the operator is out.
        """
        self.authority = authority
        self.grant = None
        body = authority.body(self.identity.role, self.identity.body)
        if body is None:
            raise NotAuthorisedError("the body has no authority here")
        grant = body.grant(*self.affair, today)
        if self.login is not None:
            if not self.login.is_in:
                raise OperatorRequiredError(self.login.why_out)
            grant = self.login.operator_class.narrow(grant)
        self.caps = caps.of_grant(self.owner, grant)
        self.grant = grant
        return grant
