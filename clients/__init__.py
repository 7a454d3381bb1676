"""Clients of the national server: a Trio client, a blocking client and the `jukinet` command.

::

    tls = Credentials(root="root.pem", certificate="agency.pem", key="agency.key")
    async with jukinet.clients.connect("register.example", 7401, tls=tls) as client:
        async with client.session(schedule=1, item="74", operator="op-17", reason="yearly check") as session:
            answer = await session.lookup(codes)

`connect_blocking` has the same shape without ``async`` and ``await``. Names are loaded when first used, so that the
command starts fast and the blocking client needs no event loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jukinet.clients.answers import (
        EarlierRecord,
        HistoryAnswer,
        HistoryRow,
        LookupAnswer,
        LookupRow,
        StatusAnswer,
        StatusRow,
        VerifyAnswer,
        VerifyRow,
    )
    from jukinet.clients.blocking_client import BlockingClient, BlockingSession, connect_blocking
    from jukinet.clients.codes import batches
    from jukinet.clients.cohorts import ChangeRow, ChangesAnswer, Cohort, Cursor
    from jukinet.clients.errors import (
        Cancelled,
        ClientError,
        ConnectionFailedError,
        ConnectionLostError,
        CursorExpiredError,
        DeadlineExceededError,
        MissingExtraError,
        NotAuthorisedError,
        OperatorCardRemovedError,
        OperatorRefusedError,
        OperatorRequiredError,
        OperatorStoppedError,
        RateExceededError,
        RecordOfUseUnavailableError,
        RefusedError,
        RegisterUnavailableError,
        RequestError,
        TooManyCodesError,
    )
    from jukinet.clients.operators import OperatorCard, OperatorCredential, OperatorKey, OperatorPassword
    from jukinet.clients.partial_date import PartialDate
    from jukinet.clients.persons import (
        FoundPerson,
        Levels,
        MatchAnswer,
        MatchRow,
        Persons,
        SearchAnswer,
        SearchRow,
    )
    from jukinet.clients.settings import Credentials, Deadlines, Retry
    from jukinet.clients.trio_client import Client, Session, connect

_PLACES = {
    "answers": (
        "EarlierRecord",
        "HistoryAnswer",
        "HistoryRow",
        "LookupAnswer",
        "LookupRow",
        "StatusAnswer",
        "StatusRow",
        "VerifyAnswer",
        "VerifyRow",
    ),
    "blocking_client": ("BlockingClient", "BlockingSession", "connect_blocking"),
    "codes": ("batches",),
    "cohorts": ("ChangeRow", "ChangesAnswer", "Cohort", "Cursor"),
    "errors": (
        "Cancelled",
        "ClientError",
        "ConnectionFailedError",
        "ConnectionLostError",
        "CursorExpiredError",
        "DeadlineExceededError",
        "MissingExtraError",
        "NotAuthorisedError",
        "OperatorCardRemovedError",
        "OperatorRefusedError",
        "OperatorRequiredError",
        "OperatorStoppedError",
        "RateExceededError",
        "RecordOfUseUnavailableError",
        "RefusedError",
        "RegisterUnavailableError",
        "RequestError",
        "TooManyCodesError",
    ),
    "operators": ("OperatorCard", "OperatorCredential", "OperatorKey", "OperatorPassword"),
    "partial_date": ("PartialDate",),
    "persons": ("FoundPerson", "Levels", "MatchAnswer", "MatchRow", "Persons", "SearchAnswer", "SearchRow"),
    "settings": ("Credentials", "Deadlines", "Retry"),
    "trio_client": ("Client", "Session", "connect"),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [  # noqa: RUF022 - grouped by what a reader looks for
    "connect",
    "Client",
    "Session",
    "connect_blocking",
    "BlockingClient",
    "BlockingSession",
    "Credentials",
    "Deadlines",
    "Retry",
    "OperatorCredential",
    "OperatorPassword",
    "OperatorKey",
    "OperatorCard",
    "EarlierRecord",
    "HistoryAnswer",
    "HistoryRow",
    "LookupAnswer",
    "LookupRow",
    "StatusAnswer",
    "StatusRow",
    "VerifyAnswer",
    "VerifyRow",
    "Persons",
    "SearchAnswer",
    "SearchRow",
    "MatchAnswer",
    "MatchRow",
    "FoundPerson",
    "Levels",
    "ChangesAnswer",
    "ChangeRow",
    "Cohort",
    "Cursor",
    "PartialDate",
    "batches",
    "ClientError",
    "ConnectionFailedError",
    "ConnectionLostError",
    "DeadlineExceededError",
    "RequestError",
    "RefusedError",
    "NotAuthorisedError",
    "OperatorStoppedError",
    "RateExceededError",
    "RecordOfUseUnavailableError",
    "RegisterUnavailableError",
    "TooManyCodesError",
    "CursorExpiredError",
    "OperatorCardRemovedError",
    "OperatorRefusedError",
    "OperatorRequiredError",
    "Cancelled",
    "MissingExtraError",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


if __name__ == "clients":
    raise ImportError("import jukinet.clients, not clients: the folder is installed under the jukinet namespace")
