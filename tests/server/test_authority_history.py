"""A server on a history of the authority: versions take effect by themselves, at their time, and are on record."""

from __future__ import annotations

import base64
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import EventHead, ProvisionHead
from jukinet.core.errors import ErrorCode
from jukinet.core.law import history
from jukinet.core.signatures import PrivateKey
from jukinet.core.wire import messages as m

from .serving import AUTHORITY, STEP_SECONDS, Caller, Place, Server

ENDED = AUTHORITY.replace(
    'functions = ["LOOKUP", "STATUS", "VERIFY", "COHORT"]\nitems = ["ALL"]\nvalid_from = 2002-08-05',
    'functions = ["LOOKUP", "STATUS", "VERIFY", "COHORT"]\nitems = ["ALL"]\nvalid_from = 2002-08-05\n'
    "valid_until = 2003-08-05",
)
assert ENDED != AUTHORITY


class Approvers:
    """Two keys, and versions that they approve."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.history = directory / "authority"
        self.history.mkdir()
        self.names = ("sato", "suzuki")
        for name in self.names:
            key = ed25519.Ed25519PrivateKey.generate()
            kind = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            (directory / f"{name}.pem").write_bytes(key.private_bytes(*kind))

    def apply(self, text: str, begin: int | None = None) -> history.Version:
        file = self.directory / "next.toml"
        for name in self.names:
            key = PrivateKey(self.directory / f"{name}.pem").public.text
            text += f'\n[[approver]]\nname = "{name}"\ndisplay = "Approver"\nkey = "{key}"\n'
        file.write_text(text)
        proposal = history.propose(self.history, file, begin)
        signatures = [
            PrivateKey(self.directory / f"{name}.pem").sign(proposal.statement.encode()) for name in self.names
        ]
        approvals = tuple(
            history.Approval(name, base64.b64encode(signature).decode())
            for name, signature in zip(self.names, signatures, strict=True)
        )
        proposal = msgspec.structs.replace(proposal, approvals=approvals)
        return history.apply(self.history, file, proposal, now=int(time.time()), applied_by="test")


def asked(caller: Caller, code: int) -> m.Message:
    answer: m.Message = caller.lookup([code])
    return answer


def until_refused(caller: Caller, code: int) -> m.Error:
    end = time.monotonic() + STEP_SECONDS
    while isinstance(answer := asked(caller, code), m.LookupAnswer):
        assert time.monotonic() < end, "the version did not take effect"
        time.sleep(0.02)
    assert isinstance(answer, m.Error)
    return answer


@pytest.fixture
def approvers(tmp_path: Path) -> Approvers:
    return Approvers(tmp_path)


def test_an_affair_ends_between_two_requests_of_one_session_on_every_worker(
    place: Place, approvers: Approvers, tmp_path: Path
) -> None:
    first = approvers.apply(AUTHORITY)
    configuration = place.configuration(tmp_path, server={"workers": 2}, authority={"file": str(approvers.history)})
    code = place.codes[0]
    with Server(configuration) as server:
        callers = [Caller(place, server.port) for _ in range(6)]
        try:
            for caller in callers:
                assert isinstance(caller.open(), m.SessionOpened)
                assert isinstance(asked(caller, code), m.LookupAnswer)
            begin = int(time.time()) + 3
            second = approvers.apply(ENDED, begin)
            refusals = [until_refused(caller, code) for caller in callers]
            assert time.time() >= begin
        finally:
            for caller in callers:
                caller.socket.close()
        assert {refusal.code for refusal in refusals} == {ErrorCode.NOT_AUTHORISED}
        server.wait_for("authority_in_force", 2, version=2)
    seen: dict[int, list[str]] = {}
    for record in read_segments(tmp_path / "record-of-use"):
        if isinstance(record.head, EventHead) and record.head.event == "authority":
            seen.setdefault(record.worker, []).append(record.head.detail)
        elif isinstance(record.head, ProvisionHead):
            assert len(seen[record.worker]) == 1, "nothing is provided before its authority is on record, or after"
    told = [f"version {version.authority.version} record {version.authority.record}" for version in (first, second)]
    assert seen == {0: told, 1: told}


def test_a_history_that_was_tampered_with_leaves_what_is_in_force(
    place: Place, approvers: Approvers, tmp_path: Path
) -> None:
    approvers.apply(AUTHORITY)
    with Server(place.configuration(tmp_path, authority={"file": str(approvers.history)})) as server:
        with Caller(place, server.port) as caller:
            caller.open()
            kept = tmp_path / "kept"
            shutil.copytree(approvers.history, kept)
            approvers.apply(AUTHORITY.replace('"LOOKUP", "HISTORY"', '"LOOKUP"'))
            server.wait_for("authority_in_force", version=2)
            # One person with every right on the machine widens the newest version.
            path = approvers.history / "000002.toml"
            path.write_text(path.read_text().replace('functions = ["LOOKUP"]', 'functions = ["LOOKUP", "HISTORY"]', 1))
            (approvers.history / "touched").touch()
            server.wait_for("authority_not_taken_up")
            assert isinstance(asked(caller, place.codes[0]), m.LookupAnswer)
            # Or goes back to the version before.
            for one in approvers.history.glob("000002.*"):
                one.unlink()
            server.wait_for("authority_not_taken_up", 2)


def test_no_server_starts_without_a_version_in_force(place: Place, approvers: Approvers, tmp_path: Path) -> None:
    approvers.apply(AUTHORITY, int(time.time()) + 1_000)
    server = Server(place.configuration(tmp_path, authority={"file": str(approvers.history)}))
    assert server.stop(None) == 5
    assert any("no version is in force yet" in line for line in server.raw)
