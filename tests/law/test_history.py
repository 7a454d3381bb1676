"""The history of the authority: two approvers, the chain, what is in force when, and every way to break it."""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import random
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.errors import ConfigurationError
from jukinet.core.law import history
from jukinet.core.law.authority import Authority
from jukinet.core.law.differences import differences
from jukinet.core.law.grant import JAPAN
from jukinet.core.signatures import PersonalKey, PrivateKey
from jukinet.server import authority_command

NOW = 1_790_000_000
BODY = """
[[body]]
role = "agency"
name = "pension"
display = "Pensions"

[[body.affair]]
schedule = 1
item = "77"
title = "National pensions"
legal_basis = "Act, schedule 1"
functions = ["LOOKUP"]
items = ["NAME"]
codes_per_day_max = 1_000
valid_from = 2026-04-01
"""


class Place:
    """A directory with approvers' keys, files and a history."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = path / "history"
        kinds = {
            "sato": ed25519.Ed25519PrivateKey.generate(),
            "suzuki": ec.generate_private_key(ec.SECP256R1()),
            "tanaka": rsa.generate_private_key(65_537, 2_048),
        }
        for name, key in kinds.items():
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            self.key(name).write_bytes(pem)

    def key(self, name: str) -> Path:
        return self.path / f"{name}.pem"

    def file(self, name: str, body: str = BODY, approvers: tuple[str, ...] = ("sato", "suzuki", "tanaka")) -> Path:
        text = 'format = 1\ntitle = "test"\n'
        for approver in approvers:
            key = PrivateKey(self.key(approver)).public.text
            text += f'[[approver]]\nname = "{approver}"\ndisplay = "Approver"\nkey = "{key}"\n'
        path = self.path / name
        path.write_text(text + body)
        return path

    def approved(
        self, file: Path, begin: int | None = None, by: tuple[str, ...] = ("sato", "suzuki")
    ) -> history.Proposal:
        proposal = history.propose(self.history, file, begin)
        return self.signed(proposal, by)

    def signed(self, proposal: history.Proposal, by: tuple[str, ...]) -> history.Proposal:
        message = proposal.statement.encode()
        made = [(name, PrivateKey(self.key(name)).sign(message)) for name in by]
        approvals = tuple(history.Approval(name, base64.b64encode(signature).decode()) for name, signature in made)
        return msgspec.structs.replace(proposal, approvals=approvals)

    def apply(self, file: Path, begin: int | None = None, now: int = NOW, **more: tuple[str, ...]) -> history.Version:
        self.history.mkdir(exist_ok=True)
        return history.apply(self.history, file, self.approved(file, begin, **more), now=now, applied_by="test")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def place(keys: Place, tmp_path: Path) -> Place:
    keys.history = tmp_path / "history"
    return keys


def test_two_approvers_make_a_version_and_the_next_is_chained_to_it(place: Place) -> None:
    first = place.apply(place.file("a.toml"))
    assert (first.authority.version, first.effective) == (1, NOW)
    wider = place.file("b.toml", BODY.replace('"NAME"', '"NAME", "ADDRESS"'))
    second = place.apply(wider, NOW + 600, by=("suzuki", "tanaka"))
    assert second.statement.previous == first.authority.record
    versions = history.read_history(place.history)
    assert [version.authority.version for version in versions] == [1, 2]
    assert history.in_force(versions, NOW + 599) == versions[0]
    assert history.in_force(versions, NOW + 600) == versions[1]
    assert history.in_force(versions, NOW - 1) is None
    assert history.planned(versions, NOW) == [versions[1]]
    (found,) = differences(versions[0].authority, versions[1].authority)
    assert (found.change, found.what) == ("changed", "items NAME -> NAME ADDRESS")


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ((), "approved by 0"),
        (("sato",), "approved by 1"),
        (("sato", "sato"), "approved by 1"),
    ],
)
def test_one_person_is_not_enough(place: Place, by: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        place.apply(place.file("a.toml"), by=by)
    assert history.read_history(place.history) == []


def test_whoever_is_not_named_by_the_version_before_cannot_approve(place: Place) -> None:
    place.apply(place.file("a.toml", approvers=("sato", "suzuki")))
    # A newcomer puts itself into the file that it approves.
    with pytest.raises(ConfigurationError, match="'tanaka' is no approver"):
        place.apply(place.file("b.toml", approvers=("sato", "suzuki", "tanaka")), by=("sato", "tanaka"))


def test_two_names_with_one_key_are_one_person(place: Place) -> None:
    file = place.file("a.toml")
    key = PrivateKey(place.key("sato")).public.text
    file.write_text(file.read_text().replace(PrivateKey(place.key("suzuki")).public.text, key))
    with pytest.raises(ConfigurationError, match="is the key of sato too"):
        Authority.load(file)


def test_a_signature_is_for_one_statement_only(place: Place) -> None:
    file = place.file("a.toml")
    place.history.mkdir()
    other = place.approved(file, NOW + 5)
    proposal = msgspec.structs.replace(history.propose(place.history, file, None), approvals=other.approvals)
    with pytest.raises(ConfigurationError, match="is not over this statement"):
        history.apply(place.history, file, proposal, now=NOW, applied_by="test")


def test_another_file_than_the_approved_one_is_refused(place: Place) -> None:
    place.history.mkdir()
    file = place.file("a.toml")
    proposal = place.approved(file)
    file.write_text(file.read_text().replace("1_000", "9_000"))
    with pytest.raises(ConfigurationError, match="is not the file that the statement is about"):
        history.apply(place.history, file, proposal, now=NOW, applied_by="test")


def test_a_proposal_is_used_once(place: Place) -> None:
    file = place.file("a.toml")
    place.history.mkdir()
    proposal = place.approved(file)
    history.apply(place.history, file, proposal, now=NOW, applied_by="test")
    with pytest.raises(ConfigurationError, match="about version 1, not 2"):
        history.apply(place.history, file, proposal, now=NOW, applied_by="test")


def test_a_file_without_two_approvers_cannot_become_a_version(place: Place) -> None:
    place.history.mkdir()
    with pytest.raises(ConfigurationError, match="fewer than two"):
        history.propose(place.history, place.file("a.toml", approvers=("sato",)), None)


def test_an_urgent_version_overtakes_a_planned_one(place: Place) -> None:
    place.apply(place.file("a.toml"))
    place.apply(place.file("b.toml", BODY.replace("1_000", "2_000")), NOW + 1_000)
    place.apply(place.file("c.toml", BODY.replace("1_000", "3_000")), None, now=NOW + 10)
    versions = history.read_history(place.history)
    assert history.in_force(versions, NOW + 2_000) == versions[2]
    assert history.planned(versions, NOW + 5) == [versions[2]]


def chain(place: Place) -> list[Path]:
    place.apply(place.file("a.toml"))
    place.apply(place.file("b.toml", BODY.replace("1_000", "2_000")))
    place.apply(place.file("c.toml", BODY.replace("1_000", "3_000")))
    return sorted(path for path in place.history.iterdir() if path.name != "lock")


def test_a_flipped_byte_anywhere_is_found(place: Place) -> None:
    paths = chain(place)
    draw = random.Random(5)
    for path in paths:
        content = path.read_bytes()
        # Only who ran the command and when is not covered in the newest record; the record of use names its hash.
        unsigned = content.find(b"applied_at") if path.name == "000003.json" else len(content)
        for place_of in draw.sample(range(min(unsigned, len(content)) - 4), 12):
            broken = bytearray(content)
            broken[place_of] ^= 0x04
            if path.suffix == ".json" and not content[place_of : place_of + 1].strip():
                continue
            path.write_bytes(broken)
            with pytest.raises(ConfigurationError):
                history.read_history(place.history)
        path.write_bytes(content)
    assert len(history.read_history(place.history)) == 3


def test_a_missing_or_swapped_version_is_found(place: Place) -> None:
    paths = chain(place)
    second, third = (path for path in paths if path.name in ("000002.json", "000003.json"))
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(ConfigurationError, match="version 2 is missing"):
        history.read_history(place.history)
    second.write_bytes(third.read_bytes())
    with pytest.raises(ConfigurationError, match="about version 3, not 2"):
        history.read_history(place.history)
    second.write_bytes(kept)
    rewritten = json.loads(kept)
    rewritten["applied_by"] = "somebody else"
    second.write_text(json.dumps(rewritten))
    with pytest.raises(ConfigurationError, match="follows another version 2"):
        history.read_history(place.history)


def test_what_a_crash_leaves_of_apply_is_no_version(place: Place) -> None:
    chain(place)
    (place.history / "000004.toml").write_text("half")
    (place.history / "000004.json.new").write_text("{")
    assert len(history.read_history(place.history)) == 3
    place.apply(place.file("d.toml", BODY.replace("1_000", "4_000")))
    assert len(history.read_history(place.history)) == 4


@settings(max_examples=40)
@given(
    st.integers(1, 999_999),
    st.sampled_from([None, 0, NOW]),
    st.dictionaries(st.from_regex(r"[a-z][a-z .]{0,10}[a-z]", fullmatch=True), st.just("ab" * 32), max_size=3),
)
def test_a_statement_is_read_as_it_was_written(number: int, begin: int | None, parameters: dict[str, str]) -> None:
    made = history.Statement(
        number=number, previous="0" * 64, content="1" * 64, parameters=parameters, from_seconds=begin
    )
    assert history.Statement.parse(made.text()) == made
    with pytest.raises(ValueError):  # noqa: PT011
        history.Statement.parse(made.text() + "number 2\n")


@given(st.text(max_size=80))
def test_no_text_is_taken_for_a_key_or_breaks_it(text: str) -> None:
    with pytest.raises(ConfigurationError):
        PersonalKey(text)


def test_the_command_from_proposal_to_show(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    file, proposal = place.file("a.toml"), place.path / "one.proposal"
    proposal.unlink(missing_ok=True)
    directory = str(place.history)

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        authority_command.add_arguments(parser)
        return authority_command.run(parser.parse_args(words))

    begin = datetime.datetime.fromtimestamp(NOW, JAPAN).isoformat()
    assert run("check", str(file)) == 0
    assert run("propose", directory, str(file), "--from", begin, "--out", str(proposal)) == 0
    assert run("apply", directory, str(file), str(proposal)) == 2
    for name in ("sato", "suzuki"):
        words = ("approve", str(proposal), "--file", str(file), "--approver", name, "--key", str(place.key(name)))
        assert run(*words) == 0
    assert run("apply", directory, str(file), str(proposal)) == 0
    assert run("check", directory) == 0
    other = place.file("b.toml", BODY.replace("1_000", "2_000"))
    assert run("diff", directory, str(other)) == 1
    assert "codes_per_day_max 1,000 -> 2,000" in capsys.readouterr().out
    assert run("diff", f"{directory}@1", str(file)) == 0
    assert run("show", directory, "--body", "pension") == 0
    assert "approved by sato, suzuki" in capsys.readouterr().out
    assert run("show", directory, "--at", "yesterday") == 2
