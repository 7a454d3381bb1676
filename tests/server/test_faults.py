"""Faults done for real: bad peers, bad bytes, dead workers, a full disk, signals."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import struct
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jukinet.core.audit.reader import read_segments
from jukinet.core.errors import ErrorCode
from jukinet.core.wire import messages as m
from jukinet.server.pki.trial import TrialAuthority

from .serving import AUTHORITY, Caller, Place, Server, client_context, processes_gone


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    waits = {
        "handshake_seconds": 1.0,
        "frame_seconds": 1.0,
        "write_seconds": 1.5,
        "idle_seconds": 2.0,
        "close_seconds": 0.3,
    }
    limits = {"unsent_bytes_per_connection_max": 1 << 20, "unsent_bytes_max": 1 << 24}
    configuration = place.configuration(tmp_path_factory.mktemp("faults"), waits=waits, limits=limits)
    with Server(configuration) as running:
        yield running


def still_serves(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        caller.open()
        assert caller.lookup(place.codes[:3]).count == 3


def refused_handshake(place: Place, server: Server, context: ssl.SSLContext, kind: str) -> None:
    """The server ends the connection, counts it under ``kind`` and logs it."""
    before = sum(r["event"] == "connection_refused" and r["kind"] == kind for r in server.records)
    with pytest.raises((OSError, EOFError)), Caller(place, server.port, context=context) as caller:
        # A TLS 1.3 client learns only afterwards that its certificate was refused.
        caller.event()
    server.wait_for("connection_refused", before + 1, kind=kind)
    server.wait_for_metric(f'jukinet_connections_refused_total{{kind="{kind}"}} {before + 1}')
    still_serves(place, server)


# Who may connect ---------------------------------------------------------------------------------------------------


def test_missing_certificate_is_refused(place: Place, server: Server) -> None:
    refused_handshake(place, server, client_context(place, None), "certificate_missing")


def test_certificate_of_another_root_is_refused(place: Place, server: Server, tmp_path: Path) -> None:
    files = TrialAuthority.make().issue_files(tmp_path, "agency", "pensions")
    context = client_context(place, None)
    context.load_cert_chain(files.certificate, files.key)
    refused_handshake(place, server, context, "certificate_untrusted")


def odd_certificate(authority: Path, directory: Path, uris: list[str], days: tuple[int, int]) -> Path:
    """A certificate and its key in one file, from the root in a directory, but not as the protocol wants it."""
    root = x509.load_pem_x509_certificate((authority / "root.pem").read_bytes())
    root_key = serialization.load_pem_private_key((authority / "root.key").read_bytes(), None)
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "odd")]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(root_key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "odd.pem"
    path.write_bytes(pem)
    return path


def signed_certificate(place: Place, directory: Path, uris: list[str], days: tuple[int, int]) -> ssl.SSLContext:
    """A caller whose certificate comes from the server's root but is not as the protocol wants it."""
    context = client_context(place, None)
    context.load_cert_chain(odd_certificate(place.directory, directory, uris, days))
    return context


def test_expired_certificate_is_refused(place: Place, server: Server, tmp_path: Path) -> None:
    context = signed_certificate(place, tmp_path, ["urn:jukinet:agency:pensions"], (-3, -1))
    refused_handshake(place, server, context, "certificate_expired")


def test_certificate_of_tomorrow_is_refused(place: Place, server: Server, tmp_path: Path) -> None:
    context = signed_certificate(place, tmp_path, ["urn:jukinet:agency:pensions"], (1, 3))
    refused_handshake(place, server, context, "certificate_not_yet_valid")


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["urn:jukinet:agency:pensions", "urn:jukinet:agency:slow"],
        ["urn:jukinet:agency:Pensions"],
        ["urn:jukinet:agency:pensions:more"],
        ["urn:jukinet:operator:someone"],
        ["urn:jukinet:server:trial"],
        ["https://example.jp/"],
    ],
    ids=["none", "two", "capital", "longer", "operator", "server", "other"],
)
def test_certificate_without_one_body_is_refused(place: Place, server: Server, tmp_path: Path, uris: list[str]) -> None:
    context = signed_certificate(place, tmp_path, uris, (-1, 1))
    refused = sum(record.get("kind") == "certificate_identity" for record in server.records)
    with Caller(place, server.port, context=context) as caller:
        told = caller.event()
        assert isinstance(told, m.Error)
        assert (told.request_id, told.code) == (0, ErrorCode.UNKNOWN_BODY)
        assert "the certificate" in told.message
        with pytest.raises(EOFError):
            caller.event()
    server.wait_for("connection_refused", refused + 1, kind="certificate_identity")
    server.wait_for_metric(f'jukinet_connections_refused_total{{kind="certificate_identity"}} {refused + 1}')
    still_serves(place, server)


def test_tls_1_2_is_refused(place: Place, server: Server) -> None:
    context = client_context(place, "pensions")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    refused_handshake(place, server, context, "tls_version")


def test_missing_alpn_is_refused(place: Place, server: Server) -> None:
    context = ssl.create_default_context(cafile=str(place.directory / "root.pem"))
    context.load_cert_chain(place.files["pensions"].certificate, place.files["pensions"].key)
    refused_handshake(place, server, context, "alpn_missing")


def test_body_without_authority_is_told_so(place: Place, server: Server) -> None:
    with Caller(place, server.port, "strangers") as caller:
        refused = caller.event()
        assert isinstance(refused, m.Error)
        assert (refused.request_id, refused.code) == (0, ErrorCode.UNKNOWN_BODY)
        with pytest.raises(EOFError):
            caller.event()
    server.wait_for("connection_refused", kind="unknown_body", body="strangers")
    server.wait_for_metric('jukinet_connections_refused_total{kind="unknown_body"} 1')


def test_plain_bytes_are_refused(place: Place, server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(4_096):
                pass
    server.wait_for("connection_refused", kind="not_tls")
    still_serves(place, server)


def test_silent_handshake_ends_at_its_deadline(place: Place, server: Server) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(b"\x16\x03\x01\x02\x00")
        assert raw.recv(1) == b""
    assert 0.9 < time.monotonic() - started < 5
    server.wait_for("connection_refused", kind="handshake_timeout")


def test_silent_handshakes_do_not_keep_others_out(place: Place, tmp_path: Path) -> None:
    with Server(
        place.configuration(tmp_path, limits={"handshakes_max": 4}, waits={"handshake_seconds": 60.0})
    ) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(12)]
        started = time.monotonic()
        still_serves(place, server)
        assert time.monotonic() - started < 10
        for raw in silent:
            raw.close()


# Bad bytes ---------------------------------------------------------------------------------------------------------


def frame(
    kind: int,
    payload: bytes = b"",
    *,
    size: int | None = None,
    flags: int = 0,
    request_id: int = 1,
    reserved: int = 0,
) -> bytes:
    return struct.pack("<IHHII", len(payload) if size is None else size, kind, flags, request_id, reserved) + payload


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x06, b"12345678", flags=1), ErrorCode.MALFORMED_FRAME),
        (frame(0x06, b"12345678", reserved=1 << 31), ErrorCode.MALFORMED_FRAME),
        (frame(0x06, b"123"), ErrorCode.MALFORMED_FRAME),
        (frame(0x06, b"12345678", request_id=0), ErrorCode.MALFORMED_FRAME),
        (frame(0x77), ErrorCode.UNKNOWN_TYPE),
        (frame(0x11, b"12345678"), ErrorCode.UNKNOWN_TYPE),
        (frame(0x10, size=1 << 30), ErrorCode.FRAME_TOO_LARGE),
        (frame(0x02, size=70_000), ErrorCode.FRAME_TOO_LARGE),
        (frame(0x02, b"\xc1"), ErrorCode.MALFORMED_FRAME),
        (frame(0x10, struct.pack("<IIII", 1, 0, 5, 0) + bytes(16)), ErrorCode.MALFORMED_FRAME),
        (frame(0x10, struct.pack("<IIII", 1, 0, 1, 0) + bytes(16)), ErrorCode.MALFORMED_FRAME),
        (frame(0x12, struct.pack("<IIII", 1, 20250101, 1, 9) + bytes(8)), ErrorCode.MALFORMED_FRAME),
        (frame(0x0B, b"\x81\xa6reason\xa0\x00", request_id=0), ErrorCode.MALFORMED_FRAME),
        (bytes(range(256)) * 300, ErrorCode.MALFORMED_FRAME),
    ],
    ids=[
        "flags",
        "reserved",
        "ping",
        "no id",
        "unknown",
        "answer",
        "huge",
        "control",
        "no map",
        "count",
        "trailing",
        "reserved of a question",
        "trailing map",
        "garbage",
    ],
)
def test_bad_frames_end_their_connection_only(place: Place, server: Server, data: bytes, code: ErrorCode) -> None:
    with Caller(place, server.port) as other, Caller(place, server.port) as caller:
        other.open()
        caller.event()
        caller.socket.sendall(data)
        event = caller.event()
        while not isinstance(event, m.Error):
            event = caller.event()
        assert (event.request_id, event.code) == (0, code)
        with pytest.raises(EOFError):
            caller.event()
        assert other.lookup(place.codes[:2]).count == 2
        server.wait_for("connection_error", kind="protocol_error", code=code.name)


def test_answers_under_way_are_given_up_when_the_stream_breaks(place: Place, server: Server) -> None:
    """The bad frame comes in the same packet as good requests, so their answers become durable after it."""
    for count in (1, 5_000):
        with Caller(place, server.port) as other, Caller(place, server.port) as caller:
            other.open()
            caller.open()
            sent = b""
            for _ in range(8):
                codes = memoryview(array("Q", [place.codes[0]] * count))
                data = caller.wire.send(m.LookupRequest(caller.new(), caller.session, 0, codes))
                sent += b"".join(data) if isinstance(data, list) else data
            caller.socket.sendall(sent + frame(0x77))
            event = caller.event()
            while not isinstance(event, m.Error):
                event = caller.event()
            assert (event.request_id, event.code) == (0, ErrorCode.UNKNOWN_TYPE)
            assert other.lookup(place.codes[:2]).count == 2
    assert not any(record["event"] in ("connection_failed", "worker_died") for record in server.records)


def test_request_after_goodbye_is_out_of_state(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        caller.open()
        codes = memoryview(array("Q", [place.codes[0]] * 65_536))
        caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes))
        caller.socket.sendall(frame(0x0B, b"\x81\xa6reason\xa0", request_id=0) + frame(0x06, b"12345678", request_id=9))
        event = caller.event()
        while not isinstance(event, m.Error):
            event = caller.event()
        assert (event.request_id, event.code) == (0, ErrorCode.WRONG_STATE)


def test_cut_off_frame_is_noticed(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        caller.open()
        caller.socket.sendall(frame(0x10, bytes(8), size=24))
    server.wait_for("connection_closed", kind="lost")
    still_serves(place, server)


def test_slow_frame_ends_at_its_deadline(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        caller.event()
        caller.socket.sendall(frame(0x10, bytes(8), size=24))
        started = time.monotonic()
        caller.socket.settimeout(0.2)
        event = None
        while event is None:
            try:
                event = caller.event()
            except TimeoutError:
                caller.socket.sendall(b"\0")
        assert event.code is ErrorCode.TIMED_OUT
        assert time.monotonic() - started < 5


def test_idle_connection_is_ended(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        caller.event()
        assert caller.event().reason == "idle"
        with pytest.raises(EOFError):
            caller.event()


def test_reader_that_does_not_read_is_cut_off_and_bounded(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        caller.open()
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        codes = memoryview(array("Q", [place.codes[row % len(place.codes)] for row in range(65_536)]))
        caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes))
        still_serves(place, server)
        with contextlib.suppress(OSError):
            for _ in range(15):  # the server stops reading, so this waits until it cuts the connection off
                caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes))
        server.wait_for("connection_closed", kind="write_timeout")
    made = sum(record.count == 65_536 for record in read_segments(server.directory / "record-of-use"))
    assert made <= 3, "answers are not made for a caller that takes none"
    server.wait_for_metric("jukinet_unsent_bytes 0")
    server.wait_for_metric("jukinet_queued_bytes 0")


def test_connection_lost_in_mid_request_gives_everything_back(place: Place, server: Server) -> None:
    for _ in range(5):
        with Caller(place, server.port) as caller:
            caller.open()
            codes = memoryview(array("Q", [place.codes[0]] * 65_536))
            for _ in range(8):
                caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes))
            caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    still_serves(place, server)
    server.wait_for_metric("jukinet_queued_bytes 0")
    server.wait_for_metric("jukinet_requests_queued 0")
    server.wait_for_metric("jukinet_unsent_bytes 0")


# The record of use -------------------------------------------------------------------------------------------------


def test_caller_that_resets_when_it_has_its_answers_is_not_lost(place: Place, tmp_path: Path) -> None:
    reset = struct.pack("ii", 1, 0)
    with Server(place.configuration(tmp_path)) as server:
        with Caller(place, server.port) as caller:
            caller.open()
            assert caller.lookup(place.codes[:2]).count == 2
            caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        assert server.wait_for("connection_closed")["kind"] == "ended"
        with Caller(place, server.port) as caller:
            caller.open()
            caller.socket.sendall(b"\x20")
            time.sleep(0.3)
            caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        assert server.wait_for("connection_closed", 2)["kind"] == "lost", "it ended inside a frame"


def test_full_disk_stops_providing_and_room_resumes_it(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path)) as server, Caller(place, server.port) as caller:
        caller.open()
        assert caller.lookup(place.codes[:2]).count == 2
        (worker,) = server.worker_processes()
        _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, hard))
        refused = caller.lookup(place.codes[:3])
        assert refused.code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
        assert refused.retry_after_ms > 0
        server.wait_for("providing_stopped")
        server.wait_for_metric("jukinet_providing 0")
        bulk = caller.lookup(array("Q", [place.codes[0]] * 10_000))
        assert bulk.code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
        end = time.monotonic() + 10
        while isinstance(answer := caller.lookup(place.codes[:5]), m.Error) and time.monotonic() < end:
            assert answer.code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
            time.sleep(0.05)
        assert isinstance(answer, m.LookupAnswer)
        server.wait_for("providing_resumed")
        server.wait_for_metric("jukinet_providing 1")
        counts = [record.count for record in read_segments(tmp_path / "record-of-use") if record.kind == 1]
        assert counts == [2, 5], "what was refused is not recorded as provided, what was provided is"


def test_every_answer_received_before_a_kill_is_recorded(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path)) as server:
        received = []
        with Caller(place, server.port) as caller:
            caller.open()
            codes = memoryview(array("Q", [place.codes[row % len(place.codes)] for row in range(30_000)]))
            for _ in range(16):
                caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes))
            (worker,) = server.worker_processes()
            received.append(caller.event().request_id)
            received.append(caller.event().request_id)
            os.kill(worker, signal.SIGKILL)
            with contextlib.suppress(EOFError, OSError):
                while len(received) < 16:
                    received.append(caller.event().request_id)
        server.wait_for("worker_died", ending="signal SIGKILL")
        server.wait_for("worker_ready", 2)
        still_serves(place, server)
        recorded = [r.head.request_id for r in read_segments(tmp_path / "record-of-use") if r.count == 30_000]
        assert set(received) <= set(recorded)
        server.wait_for_metric("jukinet_workers_died_total 1")


# Operation ---------------------------------------------------------------------------------------------------------


def test_sighup_reloads_authority_for_sessions_that_are_open(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path)) as server, Caller(place, server.port) as caller:
        caller.open()
        assert caller.lookup(place.codes[:1]).count == 1
        file = tmp_path / "authority.toml"
        file.write_text("format = 7")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reload_failed")
        assert caller.lookup(place.codes[:1]).count == 1, "a failed reload changes nothing"
        narrower = re.sub(r"functions = \[[^]]*]", 'functions = ["STATUS"]', AUTHORITY)
        narrower = re.sub(r"matching = .*", "", narrower)  # only affairs that search have it
        assert narrower != AUTHORITY
        file.write_text(narrower)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded")
        assert caller.lookup(place.codes[:1]).code is ErrorCode.NOT_AUTHORISED
        assert caller.status(place.codes[:1]).count == 1
        file.write_text(AUTHORITY.replace('"pensions"', '"successor"'))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded", 2)
        assert caller.status(place.codes[:1]).code is ErrorCode.NOT_AUTHORISED
        with Caller(place, server.port) as later:
            assert later.event().code is ErrorCode.UNKNOWN_BODY


def test_drain_answers_what_is_under_way(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path)) as server, Caller(place, server.port) as caller:
        caller.open()
        codes = memoryview(array("Q", [place.codes[0]] * 65_536))
        asked = [caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes)) for _ in range(8)]
        first = caller.event()
        server.process.send_signal(signal.SIGTERM)
        events = [first]
        while len([event for event in events if isinstance(event, m.LookupAnswer)]) < len(asked):
            events.append(caller.event())
        goodbyes = [event for event in events if isinstance(event, m.Goodbye)]
        assert [goodbye.reason for goodbye in goodbyes] == ["draining"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        assert server.stop(None) == 0


def test_drain_has_a_deadline(place: Place, tmp_path: Path) -> None:
    configuration = place.configuration(tmp_path, waits={"drain_seconds": 0.5})
    with Server(configuration) as server, Caller(place, server.port) as caller:
        caller.open()
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        codes = memoryview(array("Q", [place.codes[row % len(place.codes)] for row in range(65_536)]))
        for _ in range(4):
            caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes))
        server.wait_for_metric("jukinet_requests_queued 0")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 5
        assert any(record["event"] == "drain_cut_off" for record in server.records)


def test_workers_end_when_the_supervisor_is_killed(place: Place, tmp_path: Path) -> None:
    server = Server(place.configuration(tmp_path, server={"port": 0, "workers": 2}))
    server.wait_for("serving")
    workers = server.worker_processes()
    assert len(workers) == 2
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    assert processes_gone(workers)


def test_one_record_of_use_serves_one_server(place: Place, tmp_path: Path) -> None:
    configuration = place.configuration(tmp_path)
    with Server(configuration) as server:
        second = Server(configuration)
        assert second.process.wait(20) == 5
        second.stop()
        assert any("another server uses the record of use" in line for line in second.raw)
        still_serves(place, server)


def test_worker_that_cannot_start_ends_the_server(place: Place, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    server = Server(place.configuration(tmp_path, register={"store": str(tmp_path / "empty")}))
    assert server.process.wait(20) == 5
    server.stop()
    assert any(record["event"] == "failed" for record in server.records)


def test_register_found_damaged_while_warming_is_told_in_words(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.store, tmp_path / "damaged")
    with lmdb.open(str(tmp_path / "damaged"), map_size=1 << 30, max_dbs=16) as environment:
        residents = environment.open_db(b"residents", integerkey=True, create=False)
        with environment.begin(write=True) as transaction:
            transaction.put(struct.pack("<Q", 0), b"no block", db=residents)
    server = Server(place.configuration(tmp_path, register={"store": str(tmp_path / "damaged")}))
    assert server.process.wait(20) == 5
    server.stop()
    assert any("shorter than a block" in record.get("reason", "") for record in server.records), server.raw


def test_workers_that_keep_dying_end_the_server(place: Place, tmp_path: Path) -> None:
    supervision = {"restarts_max": 2, "restart_delay_seconds": 0.01, "restart_delay_seconds_max": 0.02}
    server = Server(place.configuration(tmp_path, supervision=supervision))
    server.wait_for("serving")
    for death in range(3):
        server.wait_for("worker_ready", death + 1)
        (worker,) = server.worker_processes()
        os.kill(worker, signal.SIGKILL)
    assert server.process.wait(20) == 5
    server.stop()
    assert any(record["event"] == "failed" and "died 3 times" in record["reason"] for record in server.records)


def test_nothing_personal_leaves_but_in_answers(place: Place, tmp_path: Path) -> None:
    """Real queries, refusals and faults; then nothing of theirs stands in log or metrics."""
    with Server(place.configuration(tmp_path, observation={"log_level": "debug"})) as server:
        with Caller(place, server.port) as caller:
            caller.open()
            caller.open("78")
            caller.lookup(place.codes[:60])
            caller.lookup(place.codes)
            caller.status(place.codes)
            caller.ask_unchecked(m.LookupRequest, 99, place.codes[:5])
            (worker,) = server.worker_processes()
            _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, hard))
            caller.lookup(place.codes[:5])
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
            caller.socket.sendall(frame(0x10, array("Q", place.codes[:3]).tobytes()))
            time.sleep(0.5)
        server.wait_for("connection_closed")
        metrics = server.metrics()
    text = "".join(server.raw) + metrics
    assert "session_opened" in text
    people = list(place.table.values())
    secrets = {person.name for person in people} | {person.kana for person in people}
    secrets |= {person.address_rest for person in people} | {"operator-7731", "reason-for-tests", "case-reference-9917"}
    secrets |= {f"{code:011d}" for code in place.codes} | {str(code) for code in place.codes}
    assert [secret for secret in secrets if secret in text] == []


def test_revoked_certificate_is_refused(place: Place, tmp_path: Path) -> None:
    root = x509.load_pem_x509_certificate((place.directory / "root.pem").read_bytes())
    root_key = serialization.load_pem_private_key((place.directory / "root.key").read_bytes(), None)
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    revoked = x509.load_pem_x509_certificate(place.files["slow"].certificate.read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    entry = x509.RevokedCertificateBuilder().serial_number(revoked.serial_number).revocation_date(now).build()
    revocations = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.subject)
        .last_update(now - datetime.timedelta(hours=1))
        .next_update(now + datetime.timedelta(days=1))
        .add_revoked_certificate(entry)
        .sign(root_key, hashes.SHA256())
    )
    (tmp_path / "revoked.pem").write_bytes(revocations.public_bytes(serialization.Encoding.PEM))
    with Server(place.configuration(tmp_path, tls={"revocation_list": "revoked.pem"})) as server:
        refused_handshake(place, server, client_context(place, "slow"), "certificate_revoked")


def test_small_requests_stay_quick_beside_bulk_ones(place: Place, tmp_path: Path) -> None:
    """Two callers have 16 bulk requests waiting each; small requests are served between their slices."""
    with Server(place.configuration(tmp_path)) as server, contextlib.ExitStack() as stack:
        codes = memoryview(array("Q", [place.codes[row % len(place.codes)] for row in range(65_536)]))
        bulk = [stack.enter_context(Caller(place, server.port)) for _ in range(2)]
        for caller in bulk:
            caller.open()
            for _ in range(16):
                caller.send(m.StatusRequest(caller.new(), caller.session, 20200101, codes))
        small = stack.enter_context(Caller(place, server.port))
        small.open()
        answered = 0
        while all(caller.socket.pending() == 0 for caller in bulk) and answered < 20:
            assert small.lookup(place.codes[:1]).count == 1
            answered += 1
        for caller in bulk:
            for _ in range(16):
                assert caller.event().count == 65_536
        records = [record.count for record in read_segments(tmp_path / "record-of-use")]
        first_small = records.index(1)
        assert records[first_small:].count(65_536) > 10, "small requests did not wait for the queue"
