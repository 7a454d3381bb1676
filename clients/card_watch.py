"""Ends an operator's connection soon after its smart card was taken out, also when nothing is asked meanwhile.

A thread of its own asks the card each `CARD_POLL_SECONDS`: PKCS #11 has no call to wait for a removal that drivers
keep to, and its calls may block, so they have no place in an event loop. The connection is cut with the one call that
another thread may make at any time; the session's next question then says why.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

from jukinet.clients.errors import OperatorCardRemovedError
from jukinet.clients.operators import OperatorCredential

CARD_POLL_SECONDS: Final = 1.0
"""With what a driver takes to answer, the server sees a session end within two seconds of its card's removal."""


class CardWatch:
    """Watches one session's card from `begin` to `end`.

    Invariant: while it watches a card that is there, nothing was cut.
    """

    def __init__(self, credential: OperatorCredential | None, connection: Callable[[], socket.socket | None]) -> None:
        """connection: the socket that the session lies on at the moment, or None. Credentials that cannot go need no
        thread."""
        self._credential = credential if credential is not None and credential.can_go else None
        self._connection = connection
        self._ended = threading.Event()

    def begin(self) -> None:
        """Start watching."""
        if self._credential is not None:
            threading.Thread(target=self._watch, args=(self._credential,), name="card watch", daemon=True).start()

    def end(self) -> None:
        """Stop watching; from any thread, without waiting."""
        self._ended.set()

    def _watch(self, credential: OperatorCredential) -> None:
        while not self._ended.wait(CARD_POLL_SECONDS):
            try:
                credential.check_present()
            except OperatorCardRemovedError:
                if not self._ended.is_set():
                    cut(self._connection())
                return


def cut(connection: socket.socket | None) -> None:
    """End a connection from another thread than the one that uses it: both sides see its end."""
    if connection is not None:
        with contextlib.suppress(OSError):  # it has ended already
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not SSLSocket's, which takes its TLS state away
