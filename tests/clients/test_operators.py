"""Both clients and the command as named operators: password, key, and a smart card (SoftHSM) that can be taken out."""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives import serialization

from jukinet.clients import (
    OperatorCard,
    OperatorCardRemovedError,
    OperatorKey,
    OperatorPassword,
    OperatorRefusedError,
    OperatorRequiredError,
    Retry,
    card_watch,
    connect,
    connect_blocking,
)
from jukinet.clients.settings import Credentials
from jukinet.core import limits
from jukinet.core.errors import ConfigurationError
from jukinet.core.signatures import PersonalKey, PrivateKey
from jukinet.core.vocabulary import Function
from jukinet.server import operator_command
from jukinet.server.operators.database import Identifier, with_key

from ..server.operator_place import BATCH, PASSWORD, WHO, Desk
from ..server.serving import Place, Server

HOST = "localhost"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
AFFAIR = {"schedule": 1, "item": "77", "reason": "test"}
CARD = Identifier("agency", "pensions", "card-holder")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("operators"), count=200)


@pytest.fixture(scope="module")
def desk(place: Place) -> Desk:
    return Desk(place.directory)


@pytest.fixture(scope="module")
def server(place: Place, desk: Desk) -> Iterator[Server]:
    sections = {"required": True, "database": str(desk.path)}
    with Server(place.configuration(place.directory, operators=sections)) as running:
        yield running


@pytest.fixture(scope="module")
def tls(place: Place) -> Credentials:
    files = place.files["pensions"]
    return Credentials(place.directory / "root.pem", files.certificate, files.key)


def test_blocking_client_by_password(place: Place, server: Server, tls: Credentials) -> None:
    credential = OperatorPassword(PASSWORD)
    assert PASSWORD not in repr(credential)
    with connect_blocking(HOST, server.port, tls=tls) as client:
        with client.session(**AFFAIR, operator=WHO.name, credential=credential) as session:
            assert len(session.lookup(place.codes[:3])) == 3
            with client.session(**AFFAIR, operator=WHO.name, credential=credential) as second:
                assert len(second.lookup(place.codes[:3])) == 3
            assert len(session.lookup(place.codes[:3])) == 3
            assert session.codes_per_request_max == 64
        with pytest.raises(OperatorRequiredError), client.session(**AFFAIR, operator="op-18"):
            pass
        with pytest.raises(ConfigurationError, match="another credential: key"):
            with client.session(**AFFAIR, operator=BATCH.name, credential=credential):
                pass
    with connect_blocking(HOST, server.port, tls=tls) as client:
        with pytest.raises(OperatorRefusedError):
            with client.session(**AFFAIR, operator=WHO.name, credential=OperatorPassword("not the one at all")):
                pass


async def test_trio_client_by_key_logs_in_again_on_a_new_connection(
    place: Place, server: Server, desk: Desk, tls: Credentials
) -> None:
    retry = Retry(first=0.01)
    async with connect(HOST, server.port, tls=tls, retry=retry) as client:
        async with client.session(**AFFAIR, operator=BATCH.name, credential=OperatorKey(desk.key)) as session:
            assert len(await session.lookup(place.codes[:100])) == 100
            assert client._link is not None
            client._link._sock.close()
            client._link.exchange.fail(lambda: OperatorRequiredError("cut by the test", 25))
            assert len(await session.lookup(place.codes[:100])) == 100
            assert Function.SEARCH not in session.functions


def softhsm() -> str:
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM 2 is not installed")
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (extra 'card')")
    return module


class Token:
    """A SoftHSM token with one key; ``take_out`` is what a card reader does."""

    def __init__(self, directory: Path, kind: str, name: str = "") -> None:
        self.module = softhsm()
        self.name = name or f"card-{kind}"
        configuration = Path(os.environ.get("SOFTHSM2_CONF", directory / "softhsm2.conf"))
        self.tokens = directory / "tokens"
        if not configuration.exists():
            self.tokens.mkdir()
            configuration.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\n")
            os.environ["SOFTHSM2_CONF"] = str(configuration)
        words = ["--init-token", "--free", "--label", self.name, "--pin", "1234", "--so-pin", "123456"]
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
        self.public = self._make_key(kind)

    def take_out(self) -> None:
        """SoftHSM has no slot that can be emptied: the token's files are what a card in a reader is."""
        for object_file in self.tokens.rglob("*.object"):
            if self.name.encode() in object_file.with_name("token.object").read_bytes():
                shutil.rmtree(object_file.parent)
                return
        raise AssertionError("no such token")

    def _make_key(self, kind: str) -> PersonalKey:
        import pkcs11  # noqa: PLC0415 - an optional package
        from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters  # noqa: PLC0415
        from pkcs11.util.rsa import encode_rsa_public_key  # noqa: PLC0415

        library = pkcs11.lib(self.module)
        library.reinitialize()
        with library.get_token(token_label=self.name).open(user_pin="1234", rw=True) as session:
            if kind == "ec":
                curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
                parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
                public, _ = parameters.generate_keypair(store=True, label="signing")
                return PersonalKey(base64.b64encode(encode_ec_public_key(public)).decode())
            public, _ = session.generate_keypair(pkcs11.KeyType.RSA, 2_048, store=True, label="signing")
            key = serialization.load_der_public_key(wrapped(encode_rsa_public_key(public)))
            spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            return PersonalKey(base64.b64encode(spki).decode())


def wrapped(pkcs1: bytes) -> bytes:
    """SubjectPublicKeyInfo of an RSAPublicKey."""
    from asn1crypto.keys import PublicKeyInfo, RSAPublicKey  # noqa: PLC0415

    return bytes(PublicKeyInfo.wrap(RSAPublicKey.load(pkcs1), "rsa").dump())


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    softhsm()
    before = os.environ.pop("SOFTHSM2_CONF", None)
    yield tmp_path_factory.mktemp("softhsm")
    os.environ.pop("SOFTHSM2_CONF", None)
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_card_signs_the_challenge_and_ends_the_session_when_it_is_gone(
    place: Place, server: Server, desk: Desk, tls: Credentials, hsm: Path, kind: str
) -> None:
    token = Token(hsm, kind)
    desk.put(with_key(CARD, "bulk", token.public, 0))
    with pytest.raises(ConfigurationError, match="check module, card and PIN"):
        OperatorCard(token.module, token.name, "signing", "9999")
    card = OperatorCard(token.module, token.name, "signing", "1234")
    assert "1234" not in repr(card)
    with connect_blocking(HOST, server.port, tls=tls) as client:
        with client.session(**AFFAIR, operator=CARD.name, credential=card) as session:
            assert len(session.lookup(place.codes[:3])) == 3
            link = client._link
            assert link is not None
            token.take_out()
            with pytest.raises(OperatorCardRemovedError):
                session.lookup(place.codes[:3])
        assert not link.exchange.usable, "the connection was closed, and the session with it"


@pytest.mark.parametrize("client_kind", ["blocking", "trio"])
async def test_the_server_sees_a_session_end_when_its_card_is_taken_out_and_nothing_is_asked(
    place: Place, server: Server, desk: Desk, tls: Credentials, hsm: Path, client_kind: str
) -> None:
    token = Token(hsm, "ec", name=f"idle-{client_kind}")
    desk.put(with_key(CARD, "bulk", token.public, 0))
    card = OperatorCard(token.module, token.name, "signing", "1234")
    if client_kind == "trio":
        async with connect(HOST, server.port, tls=tls) as client:
            async with client.session(**AFFAIR, operator=CARD.name, credential=card) as session:
                assert len(await session.lookup(place.codes[:3])) == 3
                server.wait_for_metric("jukinet_connections 1")
                token.take_out()
                await trio.to_thread.run_sync(server.wait_for_metric, "jukinet_connections 0")
                with pytest.raises(OperatorCardRemovedError):
                    await session.lookup(place.codes[:3])
        return
    with connect_blocking(HOST, server.port, tls=tls) as client:
        with client.session(**AFFAIR, operator=CARD.name, credential=card) as session:
            assert len(session.lookup(place.codes[:3])) == 3
            server.wait_for_metric("jukinet_connections 1")
            token.take_out()
            server.wait_for_metric("jukinet_connections 0")
            with pytest.raises(OperatorCardRemovedError):
                session.lookup(place.codes[:3])


class Hidden(OperatorKey):
    """A key in a client that was tampered with: its card is out, and nobody there says so."""

    out = False

    def is_old(self, seconds: float) -> bool:
        return not self.out and super().is_old(seconds)


@pytest.mark.parametrize("client_kind", ["blocking", "trio"])
async def test_a_client_that_hides_its_cards_removal_is_refused(
    place: Place, desk: Desk, tls: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client_kind: str
) -> None:
    monkeypatch.setattr(limits, "OPERATOR_PROOF_SECONDS", 0.2)
    desk.put(with_key(CARD, "bulk", PrivateKey(desk.key).public, 0))
    sections = {"required": True, "database": str(desk.path), "proof_seconds": 1.0}
    with Server(place.configuration(tmp_path, operators=sections)) as server:
        end = time.monotonic() + 2.5
        if client_kind == "trio":
            credential = Hidden(desk.key)
            async with connect(HOST, server.port, tls=tls) as client:
                async with client.session(**AFFAIR, operator=CARD.name, credential=credential) as session:
                    while time.monotonic() < end:
                        assert len(await session.lookup(place.codes[:3])) == 3
                        await trio.sleep(0.1)
                    credential.out = True
                    await trio.to_thread.run_sync(lambda: server.wait_for("operator_out", kind="proof"))
                    with pytest.raises(OperatorRequiredError, match="sign a new challenge"):
                        await session.lookup(place.codes[:3])
                    credential.out = False
                    assert len(await session.lookup(place.codes[:3])) == 3, "the session waited for its operator"
            return
        with connect_blocking(HOST, server.port, tls=tls) as blocking:
            credential = Hidden(desk.key)
            with blocking.session(**AFFAIR, operator=CARD.name, credential=credential) as asking:
                while time.monotonic() < end:
                    assert len(asking.lookup(place.codes[:3])) == 3
                    time.sleep(0.1)
                credential.out = True
                server.wait_for("operator_out", kind="proof")
                with pytest.raises(OperatorRequiredError, match="sign a new challenge"):
                    asking.lookup(place.codes[:3])
                credential.out = False
                assert len(asking.lookup(place.codes[:3])) == 3


class Leaving(OperatorPassword):
    """A credential that goes when it is told, as a card does, on machines without SoftHSM."""

    can_go = True
    gone = False

    def check_present(self) -> None:
        if Leaving.gone:
            raise OperatorCardRemovedError("gone")


def test_a_watch_cuts_when_the_credential_goes_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_watch, "CARD_POLL_SECONDS", 0.01)
    monkeypatch.setattr(Leaving, "gone", True)
    for credential, ended, cut in (
        (Leaving(PASSWORD), False, True),
        (Leaving(PASSWORD), True, False),
        (OperatorPassword(PASSWORD), False, False),
        (None, False, False),
    ):
        near, far = socket.socketpair()
        with near, far:
            watch = card_watch.CardWatch(credential, lambda near=near: near)
            if ended:
                watch.end()
            watch.begin()
            far.settimeout(30.0 if cut else 0.2)
            if cut:
                assert far.recv(1) == b""
            else:
                with pytest.raises(TimeoutError):
                    far.recv(1)
            watch.end()
    card_watch.cut(None)
    card_watch.cut(near)


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    operator_command.add_arguments(parser)
    return operator_command.run(parser.parse_args(words))


def test_the_operator_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database, password = str(tmp_path / "operators.db"), tmp_path / "password"
    who = ("--database", database, "--body", "pensions", "--name", "op-1")
    password.write_text(PASSWORD + "\n")
    assert run("list", "--database", database) == 2
    assert run("add", *who, "--class", "enquiry", "--password-file", str(password)) == 0
    assert (tmp_path / "operators.db").stat().st_mode & 0o077 == 0
    assert run("add", *who, "--class", "batch", "--password-file", str(password)) == 2
    for weak in ("short", "aaaaaaaaaaaabbb", "my pensions password", "op-1 is my name, yes"):
        password.write_text(weak)
        assert run("add", *who, "--class", "enquiry", "--password-file", str(password)) == 2
        assert weak not in capsys.readouterr().err
    assert run("disable", *who) == 0
    assert run("disable", "--database", database, "--body", "pensions", "--name", "nobody") == 1
    capsys.readouterr()
    assert run("list", "--database", database, "--json") == 0
    told = capsys.readouterr().out
    assert '"state": "disabled"' in told
    assert '"days_left": 90' in told
    assert run("unlock", *who) == 0
    assert run("list", "--database", database, "--changes") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == list(operator_command.CHANGE_NAMES)
    assert [line[1] for line in lines[1:]] == ["add", "disable", "unlock"]
    assert all(line[0].endswith("+09:00") for line in lines[1:])
    (tmp_path / "other.db").write_bytes(b"this is no database at all" * 100)
    assert run("list", "--database", str(tmp_path / "other.db")) == 2
