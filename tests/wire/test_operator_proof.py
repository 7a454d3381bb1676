"""Proofs of operators: right ones hold for their own statement only, whatever is changed in them."""

from __future__ import annotations

import secrets

from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.wire import messages as m
from jukinet.core.wire.operator_proof import (
    Parties,
    check_password_proof,
    client_key,
    password_proof,
    statement,
    stored_key,
)

CHALLENGE = m.OperatorChallenge(1, "password", bytes(32), b"salt of sixteen.", 64, 1, 1)
STORED = stored_key(client_key("a password of some length", CHALLENGE.salt, 64, 1, 1))
PARTIES = Parties("0" * 32, bytes(32), bytes(range(32)), "agency", "pensions")
BODIES = st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)


@settings(max_examples=60)
@given(st.integers(0, 255), st.binary(min_size=32, max_size=32))
def test_one_bit_decides(bit: int, nonce: bytes) -> None:
    text = statement(PARTIES, nonce, "op-17")
    proof = password_proof("a password of some length", CHALLENGE, text)
    assert check_password_proof(STORED, proof, text)
    broken = bytearray(proof)
    broken[bit // 8] ^= 1 << bit % 8
    assert not check_password_proof(STORED, bytes(broken), text)
    assert not check_password_proof(STORED, proof, statement(PARTIES, bytes([nonce[0] ^ 1, *nonce[1:]]), "op-17"))
    assert not check_password_proof(STORED, password_proof("another password, longer", CHALLENGE, text), text)


@given(st.binary(max_size=600))
def test_no_bytes_break_the_check(proof: bytes) -> None:
    assert not check_password_proof(STORED, proof, statement(PARTIES, secrets.token_bytes(32), "op-17"))


@given(
    st.tuples(BODIES, BODIES, st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=16)),
    st.tuples(BODIES, BODIES, st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=16)),
)
def test_statements_of_different_parties_differ(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    def text(role: str, body: str, operator: str) -> bytes:
        return statement(PARTIES._replace(role=role, body=body), bytes(32), operator)

    assert (text(*one) == text(*other)) == (one == other)
