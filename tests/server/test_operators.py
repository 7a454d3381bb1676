"""Operators of a real server: who comes in, who does not, and every way to use what another one proved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import EventHead, ProvisionHead
from jukinet.core.errors import ErrorCode
from jukinet.core.signatures import PrivateKey
from jukinet.core.vocabulary import Function
from jukinet.core.wire import messages as m
from jukinet.core.wire.operator_proof import password_proof, statement
from jukinet.core.wire.packed import PACKED_BIT
from jukinet.server.operators.database import Identifier, last_day_after, with_key, with_password

from .operator_place import (
    BATCH,
    PASSWORD,
    WHO,
    Desk,
    challenge,
    log_in,
    log_in_by_key,
    open_as,
    parties_of,
    prove,
    write_key,
)
from .serving import STEP_SECONDS, Caller, Place, Server

PERSON = Identifier("agency", "pensions", "card-holder")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def server(place: Place, tmp_path: Path, desk: Desk) -> Iterator[Server]:
    with Server(settings(place, tmp_path, desk)) as running:
        yield running


def settings(place: Place, tmp_path: Path, desk: Desk, **more: float) -> Path:
    return place.configuration(tmp_path, operators={"required": True, "database": str(desk.path), **more})


def refused(answer: object, code: ErrorCode) -> str:
    assert isinstance(answer, m.Error), answer
    assert answer.code is code
    return answer.message


def events(tmp_path: Path) -> list[tuple[str, str, str]]:
    found = [record.head for record in read_segments(tmp_path / "record-of-use")]
    return [
        (head.event, head.operator, head.detail)
        for head in found
        if isinstance(head, EventHead) and head.event != "authority"
    ]


def test_an_operator_asks_within_class_and_authority(place: Place, tmp_path: Path, desk: Desk) -> None:
    with Server(settings(place, tmp_path, desk)) as server:
        with Caller(place, server.port) as caller:
            refused(open_as(caller), ErrorCode.OPERATOR_REQUIRED)
            accepted = log_in(place, caller)
            assert isinstance(accepted, m.OperatorAccepted)
            assert (accepted.operator_class, accepted.codes_per_request_max, accepted.idle_seconds_max) == (
                "enquiry",
                64,
                900,
            )
            opened = open_as(caller)
            assert (opened.functions, opened.codes_per_request_max) == (
                Function.LOOKUP | Function.STATUS | Function.VERIFY | PACKED_BIT,
                64,
            )
            assert caller.lookup(place.codes[:64]).count == 64
            # Without the client's own check.
            answer = caller.ask_unchecked(m.LookupRequest, caller.session, place.codes[:65])
            refused(answer, ErrorCode.TOO_MANY_CODES)
            refused(open_as(caller, item="74"), ErrorCode.NOT_AUTHORISED)
            refused(open_as(caller, "op-18"), ErrorCode.OPERATOR_REQUIRED)
    assert events(tmp_path) == [("operator-in", "op-17", "class enquiry method password")]
    heads = [record.head for record in read_segments(tmp_path / "record-of-use")]
    provisions = [head for head in heads if isinstance(head, ProvisionHead)]
    assert [head.operator for head in provisions] == ["op-17"]
    raw = "".join(server.raw)
    assert PASSWORD not in raw
    assert "op-17" not in raw, "names of operators stand in the record of use and nowhere else"


def test_a_batch_system_proves_itself_by_its_key(place: Place, server: Server, desk: Desk, tmp_path: Path) -> None:
    with Caller(place, server.port) as caller:
        other = write_key(tmp_path / "other.pem")
        refused(log_in_by_key(place, caller, other), ErrorCode.OPERATOR_REFUSED)
        accepted = log_in_by_key(place, caller, desk.key)
        assert (accepted.operator_class, accepted.idle_seconds_max, accepted.valid_until) == ("batch", 0, 0)
        assert open_as(caller, BATCH.name).functions & Function.SEARCH == 0
        assert caller.lookup(place.codes[:500]).count == 500


def test_a_stolen_session_is_of_no_use_on_another_connection(place: Place, server: Server) -> None:
    with Caller(place, server.port) as owner, Caller(place, server.port) as thief:
        log_in(place, owner)
        session = open_as(owner).session_id
        assert isinstance(thief.event(), m.Greeting)
        refused(thief.ask_unchecked(m.LookupRequest, session, place.codes[:1]), ErrorCode.UNKNOWN_SESSION)
    with Caller(place, server.port) as thief:
        refused(open_as(thief), ErrorCode.OPERATOR_REQUIRED)


def test_a_proof_is_good_once_and_on_its_own_connection_only(place: Place, server: Server, desk: Desk) -> None:
    with Caller(place, server.port) as owner, Caller(place, server.port) as thief:
        asked = challenge(owner)
        text = statement(parties_of(place, owner), asked.nonce, WHO.name)
        proof = password_proof(PASSWORD, asked, text)
        # Taken away before it is used, and shown on a connection with a challenge of its own.
        assert challenge(thief).nonce != asked.nonce
        refused(prove(thief, proof), ErrorCode.OPERATOR_REFUSED)
        assert isinstance(prove(owner, proof), m.OperatorAccepted)
        # Replayed: without a challenge, and after another one.
        assert "no challenge" in refused(prove(owner, proof), ErrorCode.OPERATOR_REFUSED)
        challenge(owner)
        refused(prove(owner, proof), ErrorCode.OPERATOR_REFUSED)
        # A challenge for one name is not one for another.
        challenge(owner, BATCH.name)
        assert "no challenge" in refused(prove(owner, proof), ErrorCode.OPERATOR_REFUSED)
        # What was proved before stays.
        assert isinstance(open_as(owner), m.SessionOpened)
    assert desk.find().failures == 1, "the right proof in between began anew"


def test_a_man_in_the_middle_cannot_pass_a_proof_on(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        asked = challenge(caller)
        true = parties_of(place, caller)
        for false in (
            true._replace(server_certificate=bytes(32)),  # the client sees the certificate of the one in between
            true._replace(client_certificate=bytes(32)),  # and the server sees that one's too
            true._replace(register="0" * 32),
            true._replace(body="slow"),
        ):
            text = statement(false, asked.nonce, WHO.name)
            refused(prove(caller, password_proof(PASSWORD, asked, text)), ErrorCode.OPERATOR_REFUSED)
            asked = challenge(caller)


def test_an_operator_of_another_body_does_not_exist(place: Place, server: Server, desk: Desk) -> None:
    with Caller(place, server.port, "slow") as caller:
        first, second = challenge(caller), challenge(caller)
        assert first.salt == second.salt != desk.find().salt, "a name that does not exist looks like one that does"
        assert first.nonce != second.nonce
        text = statement(parties_of(place, caller, "slow"), second.nonce, WHO.name)
        refused(prove(caller, password_proof(PASSWORD, second, text)), ErrorCode.OPERATOR_REFUSED)
    assert desk.find().failures == 0


def test_lock_out_holds_over_connections_until_unlocked(place: Place, tmp_path: Path, desk: Desk) -> None:
    configuration = settings(place, tmp_path, desk, failures_max=3)
    with Server(configuration) as server:
        for _ in range(3):
            with Caller(place, server.port) as caller:
                wrong = refused(log_in(place, caller, "not the password at all"), ErrorCode.OPERATOR_REFUSED)
        assert desk.find().locked
        with Caller(place, server.port) as caller:
            assert refused(log_in(place, caller), ErrorCode.OPERATOR_REFUSED) == wrong, "in the same words"
            desk.set_state(disabled=False)
            assert isinstance(log_in(place, caller), m.OperatorAccepted)
    assert [event for event, *_ in events(tmp_path)] == [
        *["operator-refused"] * 3,
        "operator-locked",
        "operator-refused",
        "operator-in",
    ]


def test_right_proofs_between_wrong_ones_do_not_lock(place: Place, server: Server, desk: Desk) -> None:
    with Caller(place, server.port) as caller:
        for _ in range(3):
            for _ in range(3):
                refused(log_in(place, caller, "not the password at all"), ErrorCode.OPERATOR_REFUSED)
            assert isinstance(log_in(place, caller), m.OperatorAccepted)
        assert desk.find().failures == 0
        refused(log_in(place, caller, "not the password at all"), ErrorCode.OPERATOR_REFUSED)
        assert "too many failures" in refused(challenge(caller), ErrorCode.OPERATOR_REFUSED)


def test_an_expired_password_is_told_to_who_knows_it(place: Place, server: Server, desk: Desk) -> None:
    desk.put(with_password(WHO, "enquiry", PASSWORD, last_day_after(1) - 2))
    with Caller(place, server.port) as caller:
        assert "expired" in refused(log_in(place, caller), ErrorCode.OPERATOR_REFUSED)
        assert "expired" not in refused(log_in(place, caller, "wrong password here"), ErrorCode.OPERATOR_REFUSED)


def until_required(caller: Caller, code: int) -> m.Error:
    end = time.monotonic() + STEP_SECONDS
    while isinstance(answer := caller.lookup([code]), m.LookupAnswer):
        assert time.monotonic() < end
        time.sleep(0.05)
    refused(answer, ErrorCode.OPERATOR_REQUIRED)
    assert isinstance(answer, m.Error)
    return answer


@pytest.mark.parametrize("how", ["disabled", "changed", "removed from the class"])
def test_an_operator_is_out_within_a_second_of_a_change(place: Place, server: Server, desk: Desk, how: str) -> None:
    with Caller(place, server.port) as caller:
        log_in(place, caller)
        open_as(caller)
        if how == "disabled":
            desk.set_state(disabled=True)
        elif how == "changed":
            desk.put(with_password(WHO, "enquiry", PASSWORD + "!", 0))
        else:
            desk.put(with_password(WHO, "search", PASSWORD, 0))
        until_required(caller, place.codes[0])
        server.wait_for("operator_out")
        refused(open_as(caller), ErrorCode.OPERATOR_REQUIRED)
        if how == "changed":
            refused(log_in(place, caller), ErrorCode.OPERATOR_REFUSED)
            assert isinstance(log_in(place, caller, PASSWORD + "!"), m.OperatorAccepted)
            assert isinstance(open_as(caller), m.SessionOpened)


def test_silence_ends_an_operator_and_not_a_batch_system(place: Place, tmp_path: Path, desk: Desk) -> None:
    with Server(settings(place, tmp_path, desk, idle_seconds=0.5)) as server:
        with Caller(place, server.port) as caller:
            log_in_by_key(place, caller, desk.key)
            batch = open_as(caller, BATCH.name).session_id
            log_in(place, caller)
            mine = open_as(caller).session_id
            end = time.monotonic() + 1.5
            while time.monotonic() < end:  # asking keeps it in
                assert isinstance(caller.lookup(place.codes[:1]), m.LookupAnswer)
                time.sleep(0.05)
            server.wait_for("operator_out", kind="idle")
            assert "silent" in refused(caller.lookup(place.codes[:1]), ErrorCode.OPERATOR_REQUIRED)
            caller.session = batch
            assert isinstance(caller.lookup(place.codes[:1]), m.LookupAnswer)
            assert isinstance(log_in(place, caller), m.OperatorAccepted)
            caller.session = mine
            refused(caller.lookup(place.codes[:1]), ErrorCode.OPERATOR_REQUIRED)
            assert isinstance(open_as(caller), m.SessionOpened)
            assert isinstance(caller.lookup(place.codes[:1]), m.LookupAnswer)


def test_a_key_signs_again_and_its_sessions_wait_for_that(place: Place, tmp_path: Path, desk: Desk) -> None:
    """What a card that was taken out cannot do, whatever the client pretends."""
    desk.put(with_key(PERSON, "enquiry", PrivateKey(desk.key).public, 0))
    with Server(settings(place, tmp_path, desk, proof_seconds=0.5)) as server, Caller(place, server.port) as caller:
        log_in_by_key(place, caller, desk.key)
        batch = open_as(caller, BATCH.name).session_id
        log_in(place, caller)
        by_password = open_as(caller).session_id
        log_in_by_key(place, caller, desk.key, PERSON.name)
        by_card = open_as(caller, PERSON.name).session_id
        for _ in range(5):  # who proves in time notices nothing
            time.sleep(0.2)
            assert isinstance(log_in_by_key(place, caller, desk.key, PERSON.name), m.OperatorAccepted)
            assert isinstance(caller.lookup(place.codes[:1]), m.LookupAnswer)
        server.wait_for("operator_out", kind="proof")
        assert "sign a new challenge" in refused(caller.lookup(place.codes[:1]), ErrorCode.OPERATOR_REQUIRED)
        assert "sign a new challenge" in refused(open_as(caller, PERSON.name), ErrorCode.OPERATOR_REQUIRED)
        refused(
            log_in_by_key(place, caller, write_key(tmp_path / "other.pem"), PERSON.name), ErrorCode.OPERATOR_REFUSED
        )
        refused(caller.lookup(place.codes[:1]), ErrorCode.OPERATOR_REQUIRED)
        for session in (batch, by_password):
            caller.session = session
            assert isinstance(caller.lookup(place.codes[:1]), m.LookupAnswer)
        caller.session = by_card
        assert isinstance(log_in_by_key(place, caller, desk.key, PERSON.name), m.OperatorAccepted)
        assert isinstance(caller.lookup(place.codes[:1]), m.LookupAnswer)
    told = [(event, detail) for event, name, detail in events(tmp_path) if name == PERSON.name]
    came_in = ("operator-in", "class enquiry method key")
    assert told[:4] == [came_in, ("operator-out", "proof"), ("operator-refused", "not right"), came_in]


def test_without_the_setting_nobody_is_taken_at_the_bodys_word(place: Place, tmp_path: Path) -> None:
    configuration = place.configuration(tmp_path, operators={"required": True})
    server = Server(configuration)
    assert server.stop(None) == 2
    assert any("operators.required = false" in line for line in server.raw)


def test_where_none_is_required_one_who_proves_is_held_to_the_class(place: Place, tmp_path: Path, desk: Desk) -> None:
    configuration = place.configuration(tmp_path, operators={"required": False, "database": str(desk.path)})
    with Server(configuration) as server, Caller(place, server.port) as caller:
        assert open_as(caller, "anybody").codes_per_request_max > 64
        assert isinstance(log_in(place, caller), m.OperatorAccepted)
        assert open_as(caller).codes_per_request_max == 64


def test_a_name_that_is_no_name_is_refused_and_the_stream_goes_on(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        unknown = challenge(caller, "x" * 64)
        assert unknown.method == "password"
        for proof in (b"\0", bytes(32), bytes(512)):
            challenge(caller, "x" * 64)
            refused(prove(caller, proof, "x" * 64), ErrorCode.OPERATOR_REFUSED)
        assert isinstance(log_in(place, caller), m.OperatorAccepted)
