"""The boundary of each port of a running server: addresses, bodies, revocation and rotation without a restart."""

from __future__ import annotations

import argparse
import signal
import ssl
from pathlib import Path

import pytest

from jukinet.core.errors import ErrorCode
from jukinet.core.wire import messages as m
from jukinet.server import admin_command, administration
from jukinet.server.listening import ServeError

from ..revocations import revocation_list
from ..serving import Caller, Place, Server
from .feeding import Feed, FeedPlace, feed_port

LOST = (ssl.SSLError, OSError, EOFError)


@pytest.fixture
def fed(place: Place, tmp_path_factory: pytest.TempPathFactory) -> FeedPlace:
    return FeedPlace(tmp_path_factory.mktemp("ports"), place, residents=20)


def refused(server: Server, kind: str, count: int = 1, **fields: object) -> None:
    server.wait_for("connection_refused", count, kind=kind, **fields)


def test_addresses_bodies_and_lives_of_each_port(fed: FeedPlace, tmp_path: Path) -> None:
    boundary = {
        "query_bodies": "agency/pensions",
        "feed_bodies": "prefecture/tokyo",
        "feed_addresses": "127.0.0.0/8",
        "query_addresses": "127.0.0.1 ::1",
        "certificate_days_max": 20,
    }
    long_lived = fed.root.issue_files(tmp_path, "agency", "pensions", days=25, stem="long")
    fed.files["long"] = long_lived
    with Server(fed.configuration(tmp_path, boundary=boundary)) as server:
        with Caller(fed, server.port) as caller:
            assert isinstance(caller.open(), m.SessionOpened)
        for number, body in enumerate(("slow", "long"), 1):
            with Caller(fed, server.port, body) as caller:
                assert caller.event().code is ErrorCode.UNKNOWN_BODY
            refused(server, "certificate_identity", number)
        with Feed(fed, feed_port(server), "tokyo") as feed:
            assert feed.greeting.prefecture == 13
        with Feed(fed, feed_port(server), "osaka", greeted=False) as feed:
            assert feed.event().code is ErrorCode.NOT_A_FEED
        refused(server, "certificate_identity", worker="feed")


def test_an_address_that_is_not_allowed_gets_no_handshake(fed: FeedPlace, tmp_path: Path) -> None:
    boundary = {"query_addresses": "192.0.2.0/24", "feed_addresses": "2001:db8::/32"}
    with Server(fed.configuration(tmp_path, boundary=boundary)) as server:
        with pytest.raises(LOST), Caller(fed, server.port) as caller:
            caller.open()
        refused(server, "address_not_allowed", worker=0)
        with pytest.raises(LOST), Feed(fed, feed_port(server)):
            pass
        refused(server, "address_not_allowed", worker="feed")
        server.wait_for_metric('jukinet_connections_refused_total{kind="address_not_allowed"} 2')


def test_revocation_reaches_both_ports_without_a_restart(fed: FeedPlace, tmp_path: Path) -> None:
    agencies, prefectures = tmp_path / "agencies.crl", tmp_path / "prefectures.crl"
    agencies.write_bytes(revocation_list(fed.directory))
    prefectures.write_bytes(revocation_list(fed.work / "prefectures"))
    configuration = fed.configuration(
        tmp_path, tls={"revocation_list": "agencies.crl"}, feed={"revocation_list": "prefectures.crl"}
    )
    with (
        Server(configuration) as server,
        Caller(fed, server.port) as stays,
        Caller(fed, server.port, "slow") as caller,
        Feed(fed, feed_port(server), "osaka") as feed,
    ):
        stays.open()
        caller.open()
        agencies.write_bytes(revocation_list(fed.directory, [fed.files["slow"].certificate]))
        prefectures.write_bytes(revocation_list(fed.work / "prefectures", [fed.files["osaka"].certificate]))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded", worker=0)
        server.wait_for("reloaded", worker="feed")
        told = caller.event()
        assert isinstance(told, m.Error)
        assert told.code is ErrorCode.UNKNOWN_BODY
        told = feed.event()
        assert isinstance(told, m.Error)
        assert told.code is ErrorCode.NOT_A_FEED
        server.wait_for("connection_error", 2, kind="certificate_revoked")
        assert stays.lookup(fed.codes[:1]).count == 1, "a connection that is not revoked goes on"
        with pytest.raises(LOST), Caller(fed, server.port, "slow") as again:
            again.open()
        with pytest.raises(LOST), Feed(fed, feed_port(server), "osaka"):
            pass
        refused(server, "certificate_revoked", worker=0)
        refused(server, "certificate_revoked", worker="feed")
        agencies.write_bytes(revocation_list(fed.directory, days=-1))
        prefectures.write_bytes(revocation_list(fed.work / "prefectures", days=-1))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded", 2, worker=0)
        server.wait_for("reloaded", 2, worker="feed")
        with pytest.raises(LOST), Caller(fed, server.port) as again:
            again.open()
        with pytest.raises(LOST), Feed(fed, feed_port(server), "tokyo"):
            pass
        refused(server, "revocation_list_expired", worker=0)
        refused(server, "revocation_list_expired", worker="feed")


def test_keys_of_both_ports_are_rotated_without_a_restart(fed: FeedPlace, tmp_path: Path) -> None:
    own = {}
    for port in ("query", "feed"):
        own[port] = fed.root.issue_files(tmp_path, "server", "trial", hosts=["localhost", "127.0.0.1"], stem=port)
    configuration = fed.configuration(
        tmp_path,
        tls={"certificate": "query.pem", "key": "query.key"},
        feed={"certificate": "feed.pem", "key": "feed.key"},
        boundary={"administration_socket": "admin"},
    )
    fresh = fed.root.issue_files(tmp_path, "server", "trial", hosts=["localhost", "127.0.0.1"], stem="fresh")

    def shown(server: Server) -> list[bytes | None]:
        with Caller(fed, server.port) as caller, Feed(fed, feed_port(server)) as feed:
            return [one.socket.getpeercert(binary_form=True) for one in (caller, feed)]

    def der(path: Path) -> bytes:
        return ssl.PEM_cert_to_DER_cert(path.read_text())

    with Server(configuration) as server:
        assert shown(server) == [der(own["query"].certificate), der(own["feed"].certificate)]
        for port in ("query", "feed"):
            own[port].key.write_bytes(fresh.key.read_bytes())
        answer = administration.ask(str(tmp_path / "admin"), "reload")
        assert "cannot be used" in answer["error"], "a key without its certificate"
        assert shown(server) == [der(own["query"].certificate), der(own["feed"].certificate)]
        for port in ("query", "feed"):
            own[port].certificate.write_bytes(fresh.certificate.read_bytes())
        assert administration.ask(str(tmp_path / "admin"), "reload") == {"reloading": 2}
        server.wait_for("reloaded", worker=0)
        server.wait_for("reloaded", worker="feed")
        assert shown(server) == [der(fresh.certificate)] * 2


def test_administration_socket(fed: FeedPlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "admin"
    configuration = fed.configuration(
        tmp_path, boundary={"administration_socket": "admin", "certificate_warn_days": 30}, watch={"directory": "watch"}
    )
    with Server(configuration) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        server.wait_for("certificate_ends", port="query", what="certificate")
        server.wait_for("certificate_ends", port="feed", what="roots")
        status = administration.ask(str(path), "status")
        assert (status["serving"], status["port"], sorted(status["ready"])) == (True, server.port, ["0", "feed"])
        assert administration.ask(str(path), "alarms") == {"alarms": 0, "waiting": 0, "stopped": 0}
        assert "jukinet_certificate_left_seconds" in administration.ask(str(path), "metrics")["metrics"]
        assert "no such command" in administration.ask(str(path), "stop")["error"]
        parser = argparse.ArgumentParser()
        admin_command.add_arguments(parser)
        assert admin_command.run(parser.parse_args([str(path), "status"])) == 0
        assert '"serving": true' in capsys.readouterr().out
    path.unlink()
    server = Server(fed.configuration(tmp_path, boundary={"administration_socket": "none/admin"}))
    assert server.stop(None) == 5
    assert any("jukinet serve: boundary.administration_socket" in told for told in server.raw)
    with pytest.raises(ServeError, match="at most 100 bytes"):
        administration.open_socket(str(tmp_path / ("x" * 100)))
    with pytest.raises(ServeError, match="administration_socket"):
        administration.open_socket(str(tmp_path / "none" / "admin"))
    first = administration.open_socket(str(path))
    first.close()
    administration.open_socket(str(path)).close()
