"""Signed notes: keys and notes of the C2SP specification, round trips, and everything that must be refused."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.audit import checkpoint as module
from jukinet.core.audit.checkpoint import (
    COSIGNATURE,
    Checkpoint,
    Note,
    PrivateKey,
    PublicKey,
    check,
    check_cosignature,
    cosign,
    sign,
)
from jukinet.core.audit.errors import NotProvedError
from jukinet.core.errors import ConfigurationError

KEY = PrivateKey("example.jp/record-of-use", bytes(range(32)))
WITNESS = PrivateKey("tokyo", bytes(range(1, 33)), COSIGNATURE)
POINT = Checkpoint("example.jp/record-of-use", 1_234, hashlib.sha256(b"root").digest())


def test_the_example_of_the_signed_note_specification() -> None:
    """The key and note that accompany golang.org/x/mod/sumdb/note, from which C2SP signed-note comes."""
    key = PublicKey.decode("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = Note.decode(
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "\u2014 PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    name, identifier, made = note.signatures[0]
    assert (name, identifier) == (key.name, key.identifier)
    assert key.verify(note.text.encode(), made)


def test_a_checkpoint_is_read_as_it_was_signed() -> None:
    note = sign(POINT, KEY)
    text = note.encode()
    assert Note.decode(text) == note
    assert check(text, KEY.public) == POINT
    assert text.split("\n")[:3] == [POINT.origin, "1234", base64.b64encode(POINT.root).decode()]
    raw = base64.b64decode(text.split(" ")[-1])
    Ed25519PublicKey.from_public_bytes(KEY.public.key).verify(raw[4:], POINT.encode().encode())


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.from_regex(r"[a-z0-9./\-]{1,40}", fullmatch=True))
def test_keys_are_read_as_they_were_written(seed: bytes, name: str) -> None:
    key = PrivateKey(name, seed)
    assert PrivateKey.decode(key.encode() + "\n").public == key.public
    assert PublicKey.decode(key.public.encode()) == key.public


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    text = sign(POINT, KEY).encode()
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8"))
    if other == text[place]:
        return
    with pytest.raises(NotProvedError):
        check(text[:place] + other + text[place + 1 :], KEY.public)


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_no_text_crashes_the_reader(text: str) -> None:
    with pytest.raises(NotProvedError):
        check(text, KEY.public)
    with pytest.raises(ConfigurationError):
        PublicKey.decode(text)


def test_witnesses() -> None:
    note = cosign(cosign(sign(POINT, KEY), WITNESS, 1_700_000_000), WITNESS, 1_700_000_001)
    assert len(note.signatures) == 2, "the later line of a witness replaces the earlier"
    again = Note.decode(note.encode())
    assert check_cosignature(again, WITNESS.public) == 1_700_000_001
    assert check(note.encode(), KEY.public) == POINT
    other = PrivateKey("osaka", bytes(32), COSIGNATURE)
    with pytest.raises(NotProvedError, match="not cosigned by osaka"):
        check_cosignature(again, other.public)
    forged = Note(note.text.replace("1234", "1235"), note.signatures)
    with pytest.raises(NotProvedError):
        check_cosignature(forged, WITNESS.public)
    with pytest.raises(NotProvedError, match="not signed by tokyo"):
        check(note.encode(), WITNESS.public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a+b+c",
        "name+00000000+AAAA",
        KEY.public.encode()[:-4] + "AAAA",
        KEY.public.encode().replace("jp", "jq"),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        PublicKey.decode(text)
    with pytest.raises(ConfigurationError):
        PrivateKey.decode("PRIVATE+KEY+" + text)
    with pytest.raises(ConfigurationError):
        PrivateKey.decode(text)


def test_a_name_that_a_note_cannot_hold() -> None:
    for name in ("", "a b", "a+b", "x" * 201, "line\nbreak"):
        with pytest.raises(ConfigurationError):
            PrivateKey(name, bytes(32))


@pytest.mark.parametrize(
    "text",
    ["a\n1\nAAAA\n", "a\n-1\n" + "A" * 43 + "=\n", "a\n01\n" + "A" * 43 + "=\n", "a\n1\n", "\n1\n" + "A" * 43 + "=\n"],
)
def test_what_is_no_checkpoint_is_refused_although_signed(text: str) -> None:
    note = Note(text, ((KEY.public.name, KEY.public.identifier, KEY.sign(text.encode())),))
    with pytest.raises(NotProvedError):
        check(note.encode(), KEY.public)


def test_the_checkpoint_of_another_log_is_refused() -> None:
    text = Checkpoint("another", 1, bytes(32)).encode()
    note = Note(text, ((KEY.public.name, KEY.public.identifier, KEY.sign(text.encode())),))
    with pytest.raises(NotProvedError, match="another log"):
        check(note.encode(), KEY.public)


def test_key_files(tmp_path: object) -> None:
    assert module.read_public_key(KEY.public.encode()) == KEY.public
    with pytest.raises(ConfigurationError, match="cannot be read"):
        module.read_private_key("/nowhere/key")
