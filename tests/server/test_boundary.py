from __future__ import annotations

import datetime
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from jukinet.core.errors import ConfigurationError
from jukinet.core.vocabulary import Role
from jukinet.server.boundary import EndingWatch, PortBoundary, endings, is_revoked, revocation_lists, revoked_by
from jukinet.server.boundary_settings import Boundary
from jukinet.server.configuration import load
from jukinet.server.event_log import EventLog
from jukinet.server.identity import IdentityError
from jukinet.server.transport import TlsStream

from .revocations import revocation_list
from .serving import Place

DAY = 86_400.0


class Told(EventLog):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__("error")
        self.events: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))


class Shaken(TlsStream):
    """A stream after a handshake that began before the reload."""

    def __init__(self, path: Path) -> None:
        self._shown = ssl.PEM_cert_to_DER_cert(path.read_text())

    def certificate_bytes(self) -> bytes:
        return self._shown

    def certificate(self) -> dict[str, Any]:
        return certificate()


def port(addresses: str = "", bodies: str = "", **settings: Any) -> PortBoundary:
    return PortBoundary("query", addresses, bodies, Boundary(**settings))


def certificate(days: float = 7.0, left: float = 6.0, uri: str = "urn:jukinet:agency:mofa") -> dict[str, Any]:
    def stamp(seconds: float) -> str:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%b %d %H:%M:%S %Y GMT")

    end = time.time() + left * DAY
    return {"subjectAltName": (("URI", uri),), "notBefore": stamp(end - days * DAY), "notAfter": stamp(end)}


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ("", "203.0.113.7", True),
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.0/24", "::ffff:192.0.2.9", True),
        ("192.0.2.0/24 2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db9::1%eth0", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "no address", False),
    ],
)
def test_addresses(networks: str, address: str, allowed: bool) -> None:
    assert port(networks).allows_address(address) is allowed


@pytest.mark.parametrize(
    ("addresses", "bodies", "said"),
    [("192.0.2.0/99", "", "query_addresses"), ("", "mofa", "ROLE/BODY"), ("", "king/mofa", "ROLE/BODY")],
)
def test_lists_that_cannot_be_understood_are_refused(addresses: str, bodies: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        port(addresses, bodies)


def test_bodies_and_lives() -> None:
    log = Told()
    assert port().identity(certificate(), log).body == "mofa"
    assert port(bodies="agency/mofa").identity(certificate(), log).body == "mofa"
    with pytest.raises(IdentityError, match="not served on this port"):
        port(bodies="agency/moj prefecture/mofa").identity(certificate(), log)
    with pytest.raises(IdentityError, match="role prefecture is not served"):
        port().identity(certificate(uri="urn:jukinet:prefecture:tokyo"), log, frozenset({Role.AGENCY}))
    assert port(certificate_days_max=8).identity(certificate(8), log).body == "mofa"
    with pytest.raises(IdentityError, match="certificate_days_max = 8"):
        port(certificate_days_max=8).identity(certificate(8.1), log)
    with pytest.raises(IdentityError, match="no certificate"):
        port().identity(None, log)
    assert log.events == []
    port().identity(certificate(left=1.0), log)
    assert [event for event, _ in log.events] == ["peer_certificate_ends"]
    port().identity(certificate(days=1.0, left=0.5), log)
    assert len(log.events) == 1, "one that lives so short always ends soon"


def test_what_a_list_revokes(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "lists.pem"
    slow, pensions = place.files["slow"].certificate, place.files["pensions"].certificate
    path.write_bytes(revocation_list(place.directory) + revocation_list(place.directory, [slow]))
    revoked = revoked_by(str(path))
    assert len(revocation_lists(str(path))) == 2
    assert is_revoked(ssl.PEM_cert_to_DER_cert(slow.read_text()), revoked)
    assert not is_revoked(ssl.PEM_cert_to_DER_cert(pensions.read_text()), revoked)
    assert not is_revoked(None, revoked)
    assert is_revoked(b"no certificate", revoked)
    assert revoked_by("") == frozenset()
    with pytest.raises(IdentityError, match="revoked"):
        port().admit(Shaken(slow), revoked, Told())
    assert port().admit(Shaken(pensions), revoked, Told()).body == "mofa"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        revoked_by(str(tmp_path / "none.pem"))
    path.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    with pytest.raises(ConfigurationError, match="no revocation list"):
        revoked_by(str(path))


def test_what_ends_soon_is_told_once_a_day(place: Place, tmp_path: Path) -> None:
    (tmp_path / "list.pem").write_bytes(revocation_list(place.directory, days=2.0))
    path = place.configuration(tmp_path, tls={"revocation_list": "list.pem"})
    configuration = load(path)
    found = {ending.what: ending.at for ending in endings(configuration)}
    assert set(found) == {"certificate", "roots", "revocation_list"}
    log = Told()
    watch = EndingWatch(configuration, log)
    now = time.time()
    assert watch.look(now) == found["revocation_list"]
    assert [(event, fields["what"]) for event, fields in log.events] == [("certificate_ends", "revocation_list")]
    watch.look(now + 60)
    assert len(log.events) == 1
    watch.look(now + DAY)
    assert len(log.events) == 2
    watch.look(now + 6 * DAY)
    assert [fields["what"] for _, fields in log.events[2:]] == ["certificate", "revocation_list"]
    (tmp_path / "list.pem").unlink()
    assert watch.look(now) is None
    assert log.events[-1][0] == "certificates_not_read"
