"""Query, feed, witness and administration port: each takes the certificates of its own root and role, and no others."""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jukinet.clients.command import main
from jukinet.core.audit.checkpoint import COSIGNATURE, PrivateKey
from jukinet.core.audit.verification import Verification
from jukinet.core.errors import ConfigurationError, ErrorCode
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m
from jukinet.server import admin_command, serve_command
from jukinet.server.boundary import EndingWatch, shared_roots
from jukinet.server.configuration import load
from jukinet.server.credentials import load_credentials
from jukinet.server.pki.trial import IssuedFiles, TrialAuthority
from jukinet.server.selfcheck import Noted, certificates

from ...audit.sealed_logs import sealed_log
from ..revocations import revocation_list
from ..serving import STEP_SECONDS, Caller, Place, Server
from ..test_boundary import Told
from ..test_faults import odd_certificate
from .feeding import Feed, FeedPlace, entries

LOG = PrivateKey("example.jp/log", bytes(range(32)))
AUDITOR = PrivateKey("auditor", bytes(range(1, 33)), COSIGNATURE)
PORTS = ("query", "feed", "witness", "administration")
HOLDERS = {"query": "pensions", "feed": "tokyo", "witness": "auditor", "administration": "chief"}
"""A body that each port serves."""
ROLES = {"query": "agency", "feed": "prefecture", "witness": "witness", "administration": "administrator"}
ALPN = {
    "query": "jukinet/1",
    "feed": "jukinet-feed/1",
    "witness": "jukinet-feed/1",
    "administration": "jukinet-admin/1",
}
TOLD = {"query": "UNKNOWN_BODY", "feed": "NOT_A_FEED", "witness": "UNKNOWN_BODY"}
LOST = (ssl.SSLError, OSError, EOFError)


class Separate(FeedPlace):
    """Four ports with four roots."""

    def __init__(self, directory: Path, shared: Place) -> None:
        super().__init__(directory, shared, residents=20)
        self.roots = {"query": self.root, "feed": self.prefectures}
        self.root_paths = {"query": shared.directory, "feed": directory / "prefectures"}
        for port in ("witness", "administration"):
            self.roots[port] = TrialAuthority.make()
            self.root_paths[port] = directory / port
            self.roots[port].write(directory / port)
            body = HOLDERS[port]
            self.files[body] = self.roots[port].issue_files(directory / port, ROLES[port], body)

    def settings(self, directory: Path, **sections: dict[str, Any]) -> Path:
        for port in ("witness", "administration"):
            roots = str(self.root_paths[port] / "root.pem")
            sections[port] = {"enabled": True, "port": 0, "roots": roots, **sections.get(port, {})}
        return self.configuration(directory, **sections)

    def issued(self, directory: Path, port: str, role: str, body: str) -> IssuedFiles:
        """A certificate of the port's root for any role."""
        return self.roots[port].issue_files(directory, role, body, stem=f"{port}-{role}-{body}")


def numbers(server: Server) -> dict[str, int]:
    told = server.wait_for("serving")
    return {port: told["port" if port == "query" else f"{port}_port"] for port in PORTS}


def first_bytes(place: Separate, port: str, number: int, files: IssuedFiles | None) -> bytes:
    """All that a port says to a caller, until it ends the connection; the administration port is asked first."""
    context = ssl.create_default_context(cafile=str(place.directory / "root.pem"))
    context.set_alpn_protocols([ALPN[port]])
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    with (
        socket.create_connection(("127.0.0.1", number), STEP_SECONDS) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        if port == "administration":
            connection.sendall(b'{"command": "status"}\n')
        found = b""
        while more := connection.recv(65_536):
            found += more
        return found


def words(place: Separate, port: str, directory: Path, number: int, **changes: str) -> list[str]:
    """`jukinet feed witness` of the auditor."""
    files = place.files["auditor"]
    (directory / "witness.key").write_text(AUDITOR.encode())
    (directory / "log.pub").write_text(LOG.public.encode())
    feed = {"witness": "auditor", "witness_key": "witness.key", "witness_log": "log.pub", "witness_state": "seen"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**feed, **changes}.items()]
    profile = directory / "witness.toml"
    profile.write_text(
        f'[server]\nhost = "localhost"\nport = {number}\n'
        f'[tls]\nroot = "{place.directory}/root.pem"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
        "[feed]\n" + "\n".join(lines) + "\n"
    )
    return ["feed", "witness", "--profile", str(profile)]


def admin(place: Separate, number: int, asked: str, files: IssuedFiles | None = None) -> list[str]:
    files = files or place.files["chief"]
    return [
        "admin", f"localhost:{number}", asked, "--root", str(place.directory / "root.pem"),
        "--certificate", str(files.certificate), "--key", str(files.key),
    ]  # fmt: skip


@pytest.fixture
def separate(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Separate:
    return Separate(tmp_path_factory.mktemp("separate"), place)


def test_a_certificate_of_one_port_is_refused_on_every_other(separate: Separate, tmp_path: Path) -> None:
    with Server(separate.settings(tmp_path)) as server:
        known = numbers(server)
        for port in PORTS:
            for other in PORTS:
                if other != port:  # the right role for its own port, and an authority that this one does not know
                    with pytest.raises(LOST):
                        first_bytes(separate, port, known[port], separate.files[HOLDERS[other]])
            server.wait_for("connection_refused", 3, port=port, kind="certificate_untrusted")
            with pytest.raises(LOST):
                first_bytes(separate, port, known[port], None)
            server.wait_for("connection_refused", port=port, kind="certificate_missing")
        server.wait_for_metric('jukinet_connections_refused_total{kind="certificate_untrusted"} 12')
        server.wait_for_metric('jukinet_connections_refused_total{kind="certificate_missing"} 4')


def test_a_role_of_another_port_is_refused_although_the_authority_is_right(separate: Separate, tmp_path: Path) -> None:
    with Server(separate.settings(tmp_path)) as server:
        known = numbers(server)
        for port in PORTS:
            roles = {*ROLES.values(), "operator", "municipality"} - {ROLES[port]}
            if port == "query":
                roles -= {"prefecture", "municipality"}  # served there, when they have authority
            for role in roles:
                body = "tokyo" if role == "prefecture" else HOLDERS[port]
                said = first_bytes(separate, port, known[port], separate.issued(tmp_path, port, role, body))
                if port == "administration":
                    assert json.loads(said) == {"error": f"the certificate's role {role} is not served on this port"}
                else:
                    assert said[4:6] == b"\x0a\x00", "an ERROR, and no greeting"
                    assert ErrorCode[TOLD[port]] in said
            kind = "not_a_feed" if port == "feed" else "certificate_identity"
            server.wait_for("connection_refused", len(roles), port=port, kind=kind)


def test_each_port_serves_its_own(separate: Separate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(separate.settings(tmp_path)) as server:
        known = numbers(server)
        with Caller(separate, known["query"]) as caller:
            assert isinstance(caller.open(), m.SessionOpened)
        with Feed(separate, known["feed"]) as feed:
            assert feed.greeting.role == "prefecture"
        with Feed(separate, known["witness"], "auditor") as witness:
            told = witness.greeting
            assert (told.role, told.body, told.prefecture, told.position) == ("witness", "auditor", 0, 0)
            assert (told.digest_count, told.digest_sum, told.areas) == (0, bytes(16), [])
            server.wait_for_metric("jukinet_witness_connections 1")
            server.wait_for_metric("jukinet_feed_connections 0")
        assert main(admin(separate, known["administration"], "status")) == 0
        status = json.loads(capsys.readouterr().out)
        assert [status[f"{port}_port"] for port in PORTS[1:]] == [known[port] for port in PORTS[1:]]
        assert main(admin(separate, known["administration"], "metrics")) == 0
        assert "jukinet_workers 1" in capsys.readouterr().out
        told_of = server.wait_for("administration", 2, role="administrator", body="chief")
        assert (told_of["command"], len(told_of["certificate"])) == ("metrics", 64)


def test_a_witness_has_no_feed(separate: Separate, tmp_path: Path) -> None:
    def asked(message: Any) -> Any:
        with Feed(separate, number, "auditor") as witness:
            return witness.ask(message)

    with Server(separate.settings(tmp_path)) as server:
        number = numbers(server)["witness"]
        with Feed(separate, number, "auditor") as witness:
            told = witness.notify(1, entries(3))
            assert told.code is ErrorCode.UNKNOWN_TYPE
        for message in (
            fm.Compare(1, fm.CompareKind.PAGES),
            fm.NoticeTake(1, 10),
            fm.NoticeList(1, 0, 10),
            fm.NoticeReceived(1, [1]),
        ):
            assert asked(message).code is ErrorCode.UNKNOWN_TYPE
        assert asked(fm.CheckpointAsk(1, 0)) == fm.Checkpoint(1, "", b"")
        assert asked(m.Ping(1, b"12345678")) == m.Pong(1, b"12345678")
    assert separate.dump()["journal"] == []


def test_a_witness_has_one_place_whatever_feed_bears_its_name(separate: Separate, tmp_path: Path) -> None:
    separate.files["namesake"] = separate.issued(tmp_path, "witness", "witness", "tokyo")
    with Server(separate.settings(tmp_path)) as server:
        known = numbers(server)
        with Feed(separate, known["feed"], "tokyo") as feed, Feed(separate, known["witness"], "namesake") as holder:
            with (
                Feed(separate, known["witness"], "namesake", greeted=False) as second,
                ThreadPoolExecutor(1) as threads,
            ):
                told = threads.submit(second.event)
                while not told.done():  # the holder answers the server's PING whenever it takes events
                    assert isinstance(holder.ask(m.Ping(holder.wire.new_request_id(), b"12345678")), m.Pong)
                assert told.result().code is ErrorCode.FEED_TAKEN
            server.wait_for("connection_refused", port="witness", kind="feed_taken", role="witness", body="tokyo")
            assert feed.notify(1, entries(3)).position == 3
            with Feed(separate, known["witness"], "namesake"):  # the holder says nothing any more
                server.wait_for("connection_closed", kind="taken_over", role="witness")
            assert feed.notify(4, entries(3, 50_000)).position == 6


def test_a_port_that_is_full_leaves_the_others_open(separate: Separate, tmp_path: Path) -> None:
    limits = {"connections_max": 3, "connections_per_body_max": 3}
    settings = separate.settings(tmp_path, limits=limits, waits={"handshake_seconds": 300.0})
    with Server(settings) as server, ExitStack() as held:
        known = numbers(server)
        for _ in range(5):
            held.enter_context(socket.create_connection(("127.0.0.1", known["witness"]), STEP_SECONDS))
        server.wait_for_metric("jukinet_connections_accepted_total 3")
        with Feed(separate, known["feed"], "tokyo") as feed:
            assert feed.notify(1, entries(3)).position == 3


def test_a_witness_that_is_no_prefecture_cosigns_on_its_port(
    separate: Separate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "record-of-use"
    sealed_log(log, requests=12, workers=(7,), key=LOG)
    (log / "witnesses").mkdir()
    (log / "witnesses/auditor.pub").write_text(AUDITOR.public.encode() + "\n")
    with Server(separate.settings(tmp_path)) as server:
        known = numbers(server)
        assert main(words(separate, "witness", tmp_path, known["witness"])) == 0
        leaves = Verification(log, LOG.public).run().leaves
        assert f"cosigned: {leaves:,} leaves" in capsys.readouterr().out
        server.wait_for("checkpoint_cosigned", role="witness", body="auditor")
        assert Verification(log, LOG.public, witnesses=[AUDITOR.public]).run().cosigned == [f"auditor: {leaves} leaves"]
        (log / "witnesses/auditor.pub").unlink()
        assert main(words(separate, "witness", tmp_path, known["witness"])) == 3
        assert main(words(separate, "witness", tmp_path, known["feed"])) == 4, "another authority's certificate"
        assert main(words(separate, "witness", tmp_path, 1, prefecture="tokyo")) == 2
        assert "either prefecture, or witness" in capsys.readouterr().err


def test_revoked_expired_and_unlisted_holders(
    separate: Separate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = {port: tmp_path / f"{port}.crl" for port in ("witness", "administration")}
    for port, path in lists.items():
        path.write_bytes(revocation_list(separate.root_paths[port]))
    deputy = separate.issued(tmp_path, "administration", "administrator", "deputy")
    separate.files["other"] = separate.issued(tmp_path, "witness", "witness", "other")
    configuration = separate.settings(
        tmp_path,
        **{port: {"revocation_list": str(path)} for port, path in lists.items()},
        boundary={"witness_bodies": "witness/auditor", "administration_bodies": "administrator/chief"},
    )
    with Server(configuration) as server:
        known = numbers(server)
        assert main(admin(separate, known["administration"], "status", deputy)) == 1
        assert "not served on this port" in capsys.readouterr().err
        with Feed(separate, known["witness"], "other", greeted=False) as witness:
            assert witness.event().code is ErrorCode.UNKNOWN_BODY
        with Feed(separate, known["witness"], "auditor") as witness:
            lists["witness"].write_bytes(
                revocation_list(separate.root_paths["witness"], [separate.files["auditor"].certificate])
            )
            assert main(admin(separate, known["administration"], "reload")) == 0
            assert witness.event().code is ErrorCode.UNKNOWN_BODY, "a connection that stands is ended"
        with pytest.raises(LOST), Feed(separate, known["witness"], "auditor"):
            pass
        server.wait_for("connection_refused", port="witness", kind="certificate_revoked")
        lists["administration"].write_bytes(
            revocation_list(separate.root_paths["administration"], [separate.files["chief"].certificate])
        )
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded", 2, worker="feed")
        server.wait_for("reloaded", 2, port="administration")
        assert main(admin(separate, known["administration"], "status")) == 5
        server.wait_for("connection_refused", port="administration", kind="certificate_revoked")
        assert "TLS failed" in capsys.readouterr().err
        for path, port in ((path, port) for port, path in lists.items()):
            path.write_bytes(revocation_list(separate.root_paths[port], days=-1))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded", 3, worker="feed")
        with pytest.raises(LOST), Feed(separate, known["witness"], "auditor"):
            pass
        server.wait_for("connection_refused", port="witness", kind="revocation_list_expired")


def test_an_expired_certificate_is_refused_on_every_port(separate: Separate, tmp_path: Path) -> None:
    with Server(separate.settings(tmp_path)) as server:
        for port in PORTS:
            uris = [f"urn:jukinet:{ROLES[port]}:{HOLDERS[port]}"]
            path = odd_certificate(separate.root_paths[port], tmp_path, uris, (-3, -1))
            with pytest.raises(LOST):
                first_bytes(separate, port, numbers(server)[port], IssuedFiles(path, path))
            server.wait_for("connection_refused", port=port, kind="certificate_expired")


def test_what_is_no_command_on_the_administration_port(separate: Separate, tmp_path: Path) -> None:
    def said(line: bytes) -> Any:
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", number), STEP_SECONDS), server_hostname="localhost"
        ) as connection:
            connection.sendall(line)
            return json.loads(connection.recv(65_536))["error"]

    context = ssl.create_default_context(cafile=str(separate.directory / "root.pem"))
    context.set_alpn_protocols([ALPN["administration"]])
    context.load_cert_chain(separate.files["chief"].certificate, separate.files["chief"].key)
    with Server(separate.settings(tmp_path, waits={"handshake_seconds": 300.0})) as server:
        number = numbers(server)["administration"]
        assert "no such command" in said(b'{"command": "stop"}\n')
        assert said(b"x" * 5_000) == "not one line"
        assert said(b"[]\n") == "not a JSON object"
        waiting = [socket.create_connection(("127.0.0.1", number), STEP_SECONDS) for _ in range(20)]
        assert main(admin(separate, number, "status")) == 0, "who says nothing gives way"
        for connection in waiting:
            connection.close()


def test_options_of_the_command(separate: Separate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match="belong together"):
        admin_command.run(arguments("localhost:1", "status", "--key", "k"))
    for place in ("localhost", "localhost:0", ":7703", "localhost:x"):
        with pytest.raises(ConfigurationError, match="HOST:PORT"):
            admin_command.run(arguments(place, *admin(separate, 1, "status")[2:]))
    with Server(separate.settings(tmp_path)) as server:
        known = numbers(server)
        assert main(admin(separate, known["query"], "status")) == 5
        assert "is no administration port" in capsys.readouterr().err
        assert main(admin(separate, known["administration"], "status", separate.files["tokyo"])) == 5
        assert "TLS failed" in capsys.readouterr().err
        none = tmp_path / "none.pem"
        assert main(admin(separate, known["administration"], "status", IssuedFiles(none, none))) == 2
        assert "cannot be used (No such file" in capsys.readouterr().err


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    admin_command.add_arguments(parser)
    return parser.parse_args(words)


def test_ports_that_share_an_authority(separate: Separate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One for trials is told of; a real one is refused, under whatever name its file goes."""
    copy = tmp_path / "copy.pem"
    copy.write_bytes((separate.root_paths["witness"] / "root.pem").read_bytes())
    path = separate.settings(tmp_path, administration={"roots": str(copy)})
    shared = shared_roots(load(path))
    assert [(root.ports, root.is_trial) for root in shared] == [(("witness", "administration"), True)]
    log = Told()
    watch = EndingWatch(load(path), log)
    watch.look(time.time())
    watch.look(time.time())
    assert log.events == [("roots_shared", {"port": "administration", "other": "witness"})]
    noted = Noted()
    certificates(load(path), path, noted)
    assert (
        "the witness port and the administration port trust the same authority, which is for trials" in noted.warnings
    )
    check = argparse.ArgumentParser()
    serve_command.add_arguments(check)
    words = check.parse_args(["--config", str(path), "--check"])
    assert serve_command.run(words) == 0
    real = real_root()
    for roots in (separate.root_paths["witness"] / "root.pem", copy):
        kept = roots.read_bytes()
        roots.write_bytes(kept + real)
    assert serve_command.run(words) == 2
    assert "trust the same authority: give each port roots of its own" in capsys.readouterr().err
    server = Server(path)
    assert server.stop(None) == 5
    assert any("trust the same authority" in told for told in server.raw)
    load_credentials(load(path))  # the query port shares nothing
    path = separate.settings(tmp_path)
    assert serve_command.run(words) == 0


def real_root() -> bytes:
    """A root that does not say that it is for trials."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Register CA")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=90))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_addresses_of_the_new_ports(separate: Separate, tmp_path: Path) -> None:
    boundary = {"witness_addresses": "192.0.2.0/24", "administration_addresses": "2001:db8::/32"}
    with Server(separate.settings(tmp_path, boundary=boundary)) as server:
        for port in ("witness", "administration"):
            with pytest.raises(LOST):
                first_bytes(separate, port, numbers(server)[port], separate.files[HOLDERS[port]])
            server.wait_for("connection_refused", port=port, kind="address_not_allowed")
