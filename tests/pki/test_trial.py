"""Trial certificates: what they contain, that TLS 1.3 accepts them both ways, and that nothing is overwritten."""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jukinet.server.pki import TrialAuthority, make_root, make_trial
from jukinet.server.pki.command import add_arguments, run
from jukinet.server.pki.trial import PkiError, issued_by, read_certificate

BODIES = [
    ("agency", "japan-pension-service"),
    ("prefecture", "tokyo"),
    ("municipality", "chiyoda"),
    ("operator", "o-1"),
]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki") / "trial"
    make_trial(directory, bodies=BODIES)
    return directory


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends in memory; raises ssl.SSLError when either refuses the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done = [False, False]
    for _ in range(10):
        for number, end in enumerate(ends):
            if not done[number]:
                try:
                    end.do_handshake()
                    done[number] = True
                except ssl.SSLWantReadError:
                    pass
    assert all(done)
    ends[0].write(b"x")
    assert ends[1].read(1) == b"x"
    return ends


def contexts(directory: Path, peer: str, root: str = "root.pem") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "server.pem", directory / "server.key")
    server.load_verify_locations(directory / "root.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_cert_chain(directory / f"{peer}.pem", directory / f"{peer}.key")
    client.load_verify_locations(directory / root)
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    return server, client


@pytest.mark.parametrize(("role", "body"), BODIES)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_both_ends_accept_each_other_strictly(trial: Path, role: str, body: str, host: str) -> None:
    client, server = handshake(*contexts(trial, f"{role}-{body}"), host)
    assert server.version() == "TLSv1.3"
    peer = server.getpeercert()
    assert peer is not None
    assert peer["subjectAltName"] == (("URI", f"urn:jukinet:{role}:{body}"),)
    own = client.getpeercert()
    assert own is not None
    assert ("URI", "urn:jukinet:server:trial") in own["subjectAltName"]


def test_another_host_is_refused(trial: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="example"):
        handshake(*contexts(trial, "agency-japan-pension-service"), "register.example")


def test_a_certificate_of_another_root_is_refused(trial: Path, tmp_path: Path) -> None:
    make_trial(tmp_path / "other", bodies=[("agency", "japan-pension-service")])
    server, _ = contexts(trial, "agency-japan-pension-service")
    _, client = contexts(tmp_path / "other", "agency-japan-pension-service")
    client.load_verify_locations(trial / "root.pem")
    with pytest.raises(ssl.SSLError):
        handshake(server, client, "localhost")


def test_a_server_certificate_is_no_client_certificate(trial: Path) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(*contexts(trial, "server"), "localhost")


def test_what_stands_in_a_certificate(trial: Path) -> None:
    root, leaf, server = (read_certificate(trial / name) for name in ("root.pem", "prefecture-tokyo.pem", "server.pem"))
    for certificate in (root, leaf, server):
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert "TRIAL" in str(units[0].value)
        assert str(names[0].value).startswith("TRIAL")
        assert issued_by(certificate, root)
    assert issued_by(root, leaf) is False
    days = (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / datetime.timedelta(days=1)
    assert 7 <= days < 7.1
    assert 30 <= (root.not_valid_after_utc - root.not_valid_before_utc).days < 31
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    usages = [
        list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        for certificate in (leaf, server)
    ]
    assert usages == [[ExtendedKeyUsageOID.CLIENT_AUTH], [ExtendedKeyUsageOID.SERVER_AUTH]]
    hosts = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hosts.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    assert hosts.get_values_for_type(x509.IPAddress) == addresses


def test_keys_are_for_their_owner_only(trial: Path) -> None:
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in trial.iterdir()}
    assert modes == {".key": 0o600, ".pem": 0o644}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    authority = make_root(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(PkiError, match="nothing was overwritten"):
        make_root(tmp_path)
    (tmp_path / "agency-mofa.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PkiError, match=r"agency-mofa\.pem: exists"):
        authority.issue_files(tmp_path, "agency", "mofa")
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "agency-mofa.key").exists()
    assert {path: path.read_bytes() for path in before} == before


def test_a_leaf_never_outlives_its_root() -> None:
    authority = TrialAuthority.make(days=2)
    certificate, _ = authority.issue("agency", "mofa", days=7)
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("role", "body", "hosts", "days", "words"),
    [
        ("agent", "mofa", (), 7, "is no role"),
        ("agency", "MOFA", (), 7, "is no body name"),
        ("agency", "x" * 65, (), 7, "is no body name"),
        ("agency", "mofa", ("localhost",), 7, "server certificates only"),
        ("server", "s", (), 7, "give --host"),
        ("server", "s", ("a b",), 7, "neither a DNS name"),
        ("server", "s", ("-x.example",), 7, "neither a DNS name"),
        ("server", "s", ("x" * 64,), 7, "neither a DNS name"),
        ("agency", "mofa", (), 0, "1 to 90 days"),
        ("agency", "mofa", (), 91, "1 to 90 days"),
    ],
)
def test_what_cannot_be_issued(role: str, body: str, hosts: tuple[str, ...], days: int, words: str) -> None:
    with pytest.raises(PkiError, match=words):
        TrialAuthority.make().issue(role, body, hosts=hosts, days=days)


def test_a_root_that_does_not_fit_its_key_is_refused(tmp_path: Path) -> None:
    make_root(tmp_path / "a")
    make_root(tmp_path / "b")
    (tmp_path / "a" / "root.key").write_bytes((tmp_path / "b" / "root.key").read_bytes())
    with pytest.raises(PkiError, match="does not belong"):
        TrialAuthority.load(tmp_path / "a")
    (tmp_path / "b" / "root.key").write_text("no key")
    with pytest.raises(PkiError, match="is not an unencrypted private key"):
        TrialAuthority.load(tmp_path / "b")
    with pytest.raises(PkiError, match="cannot be read"):
        TrialAuthority.load(tmp_path / "absent")


def jukinet_pki(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words))


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = str(tmp_path / "trial")
    assert jukinet_pki("init", directory, "--host", "register.example") == 0
    assert jukinet_pki("issue", directory, "agency", "mofa", "--days", "3") == 0
    assert jukinet_pki("issue", directory, "server", "north", "--host", "10.1.2.3", "--name", "north") == 0
    files = [f"{directory}/{name}.pem" for name in ("root", "server", "agency-mofa", "north")]
    capsys.readouterr()
    assert jukinet_pki("show", *files, "--root", files[0]) == 0
    shown = capsys.readouterr().out
    for words in (
        "urn:jukinet:agency:mofa",
        "register.example",
        "10.1.2.3",
        "clientAuth",
        "serverAuth",
        "TRIAL",
        ": yes",
    ):
        assert words in shown
    assert "PRIVATE" not in shown
    assert jukinet_pki("issue", directory, "agency", "mofa") == 5
    assert "nothing was overwritten" in capsys.readouterr().err
    assert jukinet_pki("show", f"{directory}/absent.pem") == 5
    assert jukinet_pki("show", f"{directory}/server.key") == 5
    other = str(tmp_path / "other")
    assert jukinet_pki("init", other, "--root-only") == 0
    assert not (tmp_path / "other" / "server.pem").exists()
    assert jukinet_pki("show", files[2], "--root", f"{other}/root.pem") == 1
    assert "NO: another root signed it" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        jukinet_pki("issue", directory, "agent", "mofa")
    assert caught.value.code == 2
