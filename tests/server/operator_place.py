"""Operators for tests: a database with one of each kind, and a caller that logs in step by step."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from jukinet.core.signatures import PrivateKey
from jukinet.core.wire import messages as m
from jukinet.core.wire.operator_proof import Parties, password_proof, statement
from jukinet.server.operators.database import Identifier, OperatorDatabase, last_day_after, with_key, with_password

from .serving import Caller, Place

PASSWORD = "a horse, a battery and a staple"
WHO = Identifier("agency", "pensions", "op-17")
BATCH = Identifier("agency", "pensions", "nightly")


def write_key(path: Path) -> Path:
    key = ed25519.Ed25519PrivateKey.generate()
    kind = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*kind))
    return path


class Desk:
    """A database beside the server's configuration."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "operators.db"
        self.key = write_key(directory / "nightly.pem")
        self.put(with_password(WHO, "enquiry", PASSWORD, last_day_after(90)))
        self.put(with_key(BATCH, "batch", PrivateKey(self.key).public, 0))

    def put(self, operator: Any) -> None:
        with contextlib.closing(OperatorDatabase(self.path, make=True)) as database:
            database.put(operator, "test")

    def set_state(self, disabled: bool, who: Identifier = WHO) -> None:
        with contextlib.closing(OperatorDatabase(self.path)) as database:
            assert database.set_state(who, disabled=disabled, by="test")

    def find(self, who: Identifier = WHO) -> Any:
        with contextlib.closing(OperatorDatabase(self.path)) as database:
            return database.find(who)


def parties_of(place: Place, caller: Caller, body: str = "pensions") -> Parties:
    """Whom a proof on this connection is between, as the client sees it."""
    if caller.wire.greeting is None:
        assert isinstance(caller.event(), m.Greeting)
    greeting = caller.wire.greeting
    assert greeting is not None
    text = Path(place.files[body].certificate).read_text()
    end = "-----END CERTIFICATE-----\n"
    own = ssl.PEM_cert_to_DER_cert(text[: text.index(end) + len(end)])
    server = caller.socket.getpeercert(True) or b""
    digests = (hashlib.sha256(own).digest(), hashlib.sha256(server).digest())
    return Parties(greeting.register, *digests, greeting.role, greeting.body)


def challenge(caller: Caller, name: str = WHO.name) -> Any:
    if caller.wire.greeting is None:
        assert isinstance(caller.event(), m.Greeting)
    return caller.ask(m.OperatorLogin(caller.new(), name))


def prove(caller: Caller, proof: bytes, name: str = WHO.name) -> Any:
    return caller.ask(m.OperatorProof(caller.new(), name, proof))


def log_in(place: Place, caller: Caller, password: str = PASSWORD, name: str = WHO.name) -> Any:
    """Both steps of a login by password; the answer to the second."""
    asked = challenge(caller, name)
    text = statement(parties_of(place, caller), asked.nonce, name)
    return prove(caller, password_proof(password, asked, text), name)


def log_in_by_key(place: Place, caller: Caller, path: Path, name: str = BATCH.name) -> Any:
    asked = challenge(caller, name)
    text = statement(parties_of(place, caller), asked.nonce, name)
    return prove(caller, PrivateKey(path).sign(text), name)


def open_as(caller: Caller, name: str = WHO.name, item: str = "77") -> Any:
    """OPEN_SESSION of an affair in an operator's name."""
    if caller.wire.greeting is None:
        assert isinstance(caller.event(), m.Greeting)
    answer = caller.ask(m.OpenSession(caller.new(), 1, item, 0, name, "reason", ""))
    if isinstance(answer, m.SessionOpened):
        caller.session = answer.session_id
    return answer
