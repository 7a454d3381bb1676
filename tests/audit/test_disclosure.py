"""Disclosure: all provisions of a code and no one else's, proofs that hold and forged ones that do not, withholding."""

from __future__ import annotations

import datetime
import itertools
from array import array
from pathlib import Path

import msgspec
import pytest

from jukinet.core.audit import inbox
from jukinet.core.audit.checkpoint import PrivateKey
from jukinet.core.audit.disclosure import (
    Disclosure,
    DisclosureReader,
    Proof,
    Provision,
    check_disclosure,
    disclose,
)
from jukinet.core.audit.errors import NotProvedError, RecordOfUseDamagedError, TreeDamagedError
from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.audit.runs import list_runs
from jukinet.core.audit.seal import ErasureStatement, WithholdingStatement, list_seals, open_seal, seal_name
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.withholding import Rule, read_rules
from jukinet.core.errors import ConfigurationError

from .logs import append, open_writer, segments
from .sealed_logs import CODES, KEY, OTHER, START_NS, seal_all, sealed_log, write_requests

NOW_NS = START_NS + 10**18 // 100


def ask(directory: Path, *codes: int, rules: list[Rule] | None = None) -> Disclosure:
    with DisclosureReader(directory) as reader:
        return disclose(reader, codes, NOW_NS, rules)[0]


def expected(directory: Path, code: int) -> set[tuple[int, int, int]]:
    """(worker, sequence, row) of each provision, by reading everything."""
    return {
        (record.worker, record.sequence, row)
        for record in read_segments(directory)
        if isinstance(record.head, ProvisionHead)
        for row, one in enumerate(record.provisions()[0])
        if one == code
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed_log(tmp_path_factory.mktemp("sealed"), requests=40)


@pytest.mark.parametrize("code", CODES)
def test_every_provision_is_found_and_proved(made: Path, code: int) -> None:
    answer = ask(made, code)
    found = {(one.worker, one.sequence, one.row) for one in answer.provisions}
    assert found == expected(made, code)
    assert len(found) == len(answer.provisions) > 20
    again = Disclosure.decode(answer.encode())
    assert again == answer
    assert check_disclosure(again, KEY.public) == len(found)
    times = [one.time_ns for one in answer.provisions]
    assert times == sorted(times)


def test_what_is_disclosed_is_what_was_recorded(made: Path) -> None:
    records = {(record.worker, record.sequence): record for record in read_segments(made)}
    for one in ask(made, CODES[0]).provisions:
        record = records[one.worker, one.sequence]
        head = record.head
        assert isinstance(head, ProvisionHead)
        for name in ("time_ns", "function", "items", "since", "body", "schedule", "item", "number", "reason"):
            assert getattr(one, name) == getattr(head, name)
        assert one.outcome == record.provisions()[1][one.row]
        assert one.matches == (record.matches[one.row] if record.matches else None)


def test_a_proof_shows_no_one_else(made: Path) -> None:
    """Neither another code nor its packed form nor a salt of another row stands in the answer."""
    answer = ask(made, CODES[0])
    data = answer.encode()
    for other in CODES[1:4]:
        assert str(other).encode() not in data
        for one in answer.provisions:
            proof = one.proof
            assert proof is not None
            pieces = [proof.head, proof.head_salt, proof.row_bytes, proof.row_salt, proof.entry]
            for piece in itertools.chain(pieces, proof.head_path, proof.row_path, proof.path):
                assert other.to_bytes(5, "little") not in piece
            assert (len(proof.row_salt), len(proof.row_bytes) in (6, 7)) == (16, True)


def test_no_record_exists(made: Path) -> None:
    answer = ask(made, 11111111116)
    assert answer.provisions == []
    assert check_disclosure(answer, KEY.public) == 0


def test_former_codes_are_disclosed_with_the_code(made: Path) -> None:
    answer = ask(made, CODES[0], CODES[1])
    assert {one.code for one in answer.provisions} == set(CODES[:2])
    assert check_disclosure(answer, KEY.public) == len(answer.provisions)


def forged(provision: Provision) -> list[Provision]:
    """The same provision with one thing changed in each."""
    proof = provision.proof
    assert proof is not None

    def with_proof(**changes: object) -> Provision:
        return msgspec.structs.replace(provision, proof=msgspec.structs.replace(proof, **changes))

    def flipped(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1])

    plain = [
        msgspec.structs.replace(provision, **{name: value})
        for name, value in {
            "time_ns": provision.time_ns + 1,
            "function": 64,
            "items": 1,
            "outcome": 11,
            "body": "nobody",
            "reason": "",
            "sequence": provision.sequence + 1,
            "row": provision.row + 1,
            "item": "1",
        }.items()
    ]
    changed = [
        with_proof(**{name: flipped(getattr(proof, name))})
        for name in ("head", "head_salt", "row_bytes", "row_salt", "entry")
    ]
    changed += [with_proof(**{name: [flipped(one) for one in getattr(proof, name)]}) for name in ("head_path", "path")]
    changed += [with_proof(path=proof.path[:-1]), with_proof(leaf=proof.leaf + 1), with_proof(row=proof.row + 1)]
    changed += [with_proof(head=b""), with_proof(entry=b"x"), with_proof(row_bytes=bytes(6)), with_proof(leaf=10**9)]
    changed += [with_proof(head=proof.head + b"x"), with_proof(row_bytes=b""), with_proof(row=-1)]
    return plain + changed


def test_a_forged_answer_does_not_hold(made: Path) -> None:
    answer = ask(made, CODES[2])
    for chosen in (0, len(answer.provisions) // 2):
        for number, provision in enumerate(forged(answer.provisions[chosen])):
            with pytest.raises(NotProvedError):
                check_disclosure(msgspec.structs.replace(answer, provisions=[provision]), KEY.public)
            assert number >= 0
    with pytest.raises(NotProvedError, match="codes asked"):
        check_disclosure(msgspec.structs.replace(answer, codes=[1]), KEY.public)
    twice = [*answer.provisions, answer.provisions[0]]
    with pytest.raises(NotProvedError, match="twice"):
        check_disclosure(msgspec.structs.replace(answer, provisions=twice), KEY.public)
    with pytest.raises(NotProvedError, match="not signed"):
        check_disclosure(answer, PrivateKey("another", bytes(32)).public)
    for data in (b"", b"{}", b"[]", answer.encode()[:-1], answer.encode().replace(b'"format":1', b'"format":2')):
        with pytest.raises(NotProvedError):
            Disclosure.decode(data)


def test_what_is_not_sealed_yet_is_disclosed_and_says_so(tmp_path: Path) -> None:
    sealed_log(tmp_path, requests=10)
    write_requests(tmp_path, 0, 10, seed=8)
    writer = open_writer(tmp_path, 0)
    append(writer, [CODES[0], CODES[0], 5])
    writer.commit()
    answer = ask(tmp_path, CODES[0])
    waiting = [one for one in answer.provisions if one.proof is None]
    assert {(one.worker, one.sequence, one.row) for one in answer.provisions} == expected(tmp_path, CODES[0])
    assert len(waiting) >= 2
    assert check_disclosure(answer, KEY.public) == len(answer.provisions) - len(waiting)
    writer.close()
    seal_all(tmp_path)
    later = ask(tmp_path, CODES[0])
    assert check_disclosure(later, KEY.public) == len(answer.provisions)


def test_a_missing_run_is_an_error_and_never_an_empty_answer(tmp_path: Path) -> None:
    sealed_log(tmp_path, requests=10)
    list_runs(tmp_path / "tree")[1].path(tmp_path / "tree").unlink()
    with pytest.raises(TreeDamagedError, match="no run holds leaf"):
        ask(tmp_path, CODES[0])


def test_no_flipped_byte_hides_a_provision(tmp_path: Path) -> None:
    """Of all that a search reads beside the records, each byte of small files: an error, or the same answer."""
    sealed_log(tmp_path, requests=10)
    tree = tmp_path / "tree"
    with DisclosureReader(tmp_path) as reader:
        expected_places = {code: reader.find(code) for code in CODES[:2]}
    assert all(expected_places.values())
    damaged = 0
    for path in [run.path(tree) for run in list_runs(tree)][:2]:
        content = path.read_bytes()
        gap = range(64 + 2_000, 4_096)  # zeros that nothing reads
        for place in (place for place in range(len(content)) if place not in gap):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
            try:
                with DisclosureReader(tmp_path) as reader:
                    assert {code: reader.find(code) for code in CODES[:2]} == expected_places
            except TreeDamagedError:
                damaged += 1
        path.write_bytes(content)
    assert damaged > 500


def test_no_flipped_byte_of_an_erasure_hides_a_provision(tmp_path: Path) -> None:
    sealed_log(tmp_path, requests=10)
    tree = tmp_path / "tree"
    with Sealer(tmp_path, KEY) as sealer:
        number = sealer.add_statement(
            ErasureStatement(
                time_ns=1,
                month=sealer.month(),
                erased_month=1,
                first_leaf=0,
                next_leaf=0,
                segments=[],
                retention_days=1,
            )
        )
    path = tree / "seals" / seal_name(number)
    with DisclosureReader(tmp_path) as reader:
        places = reader.find(CODES[0])
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            with DisclosureReader(tmp_path) as reader:
                assert reader.find(CODES[0]) == places
        except TreeDamagedError:
            pass


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    sealed_log(tmp_path, requests=10)
    path = segments(tmp_path)[0]
    content = path.read_bytes()
    path.write_bytes(content[:168] + bytes(len(content) - 168))
    with pytest.raises(RecordOfUseDamagedError):
        ask(tmp_path, CODES[0])
    path.unlink()
    with pytest.raises(Exception, match="cannot be read"):
        ask(tmp_path, CODES[0])


def test_a_log_that_was_never_sealed(tmp_path: Path) -> None:
    write_requests(tmp_path, 0, 3)
    with pytest.raises(TreeDamagedError, match="never sealed"):
        ask(tmp_path, 1)


# --------------------------------------------------------------------------------------------------- withholding

RULES = """
[[rule]]
name = "investigation-12"
until = {until}
basis = "Act on the Protection of Personal Information, article 78"
ordered_by = "privacy officer 3"
body = "ministry-of-justice"
"""


def test_entries_are_withheld_until_the_day_and_that_is_on_record(tmp_path: Path) -> None:
    sealed_log(tmp_path, requests=40)
    (tmp_path / "withholding.toml").write_text(RULES.format(until="2026-03-01"))
    everything = ask(tmp_path, CODES[0], rules=[])
    with DisclosureReader(tmp_path) as reader:
        answer, withheld = disclose(reader, [CODES[0]], NOW_NS)
    assert withheld > 0
    assert {one.body for one in everything.provisions} == {"ministry-of-justice", "japan-pension-service"}
    assert {one.body for one in answer.provisions} == {"japan-pension-service"}
    assert len(answer.provisions) + withheld == len(everything.provisions)
    assert b"justice" not in answer.encode()
    with Sealer(tmp_path, KEY) as sealer:
        assert inbox.take_in(sealer) == withheld
        assert inbox.take_in(sealer) == 0
    statements = []
    for number in list_seals(tmp_path / "tree")[-withheld:]:
        with open_seal(tmp_path / "tree", number) as seal:
            statements.append(seal.decoded())
    assert all(isinstance(one, WithholdingStatement) and one.rule == "investigation-12" for one in statements)
    hidden = {
        (one.proof.leaf, one.row) for one in everything.provisions if one.body != "japan-pension-service" and one.proof
    }
    assert {(one.leaf, one.row) for one in statements if isinstance(one, WithholdingStatement)} == hidden
    hidden_records = {(one.worker, one.sequence, one.row) for one in everything.provisions} - {
        (one.worker, one.sequence, one.row) for one in answer.provisions
    }
    told = {(one.worker, one.sequence, one.row) for one in statements if isinstance(one, WithholdingStatement)}
    assert told == hidden_records
    (tmp_path / "withholding.toml").write_text(RULES.format(until="2025-10-01"))
    assert len(ask(tmp_path, CODES[0]).provisions) == len(everything.provisions), "the day has come"


def test_a_withheld_entry_that_is_not_sealed_yet_is_named_too(tmp_path: Path) -> None:
    sealed_log(tmp_path, requests=5)
    (tmp_path / "withholding.toml").write_text(RULES.format(until="2026-03-01"))
    with open_writer(tmp_path, 0) as writer:
        for _ in range(2):
            codes = array("Q", [CODES[0]])
            sequence = writer.append(OTHER, codes, b"\1", function=1, items=255, register_version=1, time_ns=NOW_NS)
        writer.commit()
        with DisclosureReader(tmp_path) as reader:
            disclose(reader, [CODES[0]], NOW_NS)
    found = [one for _, one in inbox.waiting(tmp_path / "tree") if isinstance(one, WithholdingStatement)]
    assert sorted((one.worker, one.sequence, one.row) for one in found if one.leaf == -1) == [
        (0, sequence - 1, 0),
        (0, sequence, 0),
    ]


def test_a_withholding_that_cannot_be_put_on_record_is_no_answer(tmp_path: Path) -> None:
    sealed_log(tmp_path, requests=40)
    (tmp_path / "withholding.toml").write_text(RULES.format(until="2026-03-01"))
    (tmp_path / "tree/inbox").write_text("in the way")
    with pytest.raises(OSError, match="inbox"):
        ask(tmp_path, CODES[0])


@pytest.mark.parametrize(
    "text",
    [
        "[[rule]]\nname = 'x'\n",
        RULES.format(until="'soon'"),
        RULES.format(until="2026-03-01") + "typo = 1\n",
        RULES.format(until="2026-03-01") * 2,
        RULES.format(until="2026-03-01").replace('body = "ministry-of-justice"', "schedule = 1"),
        "\xff",
        "[[rule",
    ],
)
def test_a_rule_that_cannot_be_read_is_no_answer(tmp_path: Path, text: str) -> None:
    (tmp_path / "withholding.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError):
        read_rules(tmp_path)


def test_what_a_rule_holds_back(tmp_path: Path) -> None:
    head = ProvisionHead(START_NS, 1, 1, 1, 0, 1, 1, 1, "agency", "b", "op", 1, "30", 0, "r", "case")
    day = datetime.date(2025, 10, 20)

    def rule(**fields: object) -> Rule:
        base: dict[str, object] = {"name": "n", "until": datetime.date(2026, 1, 1), "basis": "b", "ordered_by": "o"}
        return msgspec.convert(base | fields, Rule)

    assert rule(body="b").holds_back(head, day)
    assert rule(body="b", item="30", schedule=1, number=0, role="agency", case_reference="case").holds_back(head, day)
    for name, value in {
        "body": "c",
        "item": "31",
        "schedule": 2,
        "number": 1,
        "role": "x",
        "case_reference": "y",
    }.items():
        assert not rule(**({"body": "b"} | {name: value})).holds_back(head, day)
    assert not rule(body="b", valid_from=datetime.date(2025, 10, 11)).holds_back(head, day)
    assert not rule(body="b").holds_back(head, datetime.date(2026, 1, 1))


def test_proofs_need_not_be_made(made: Path) -> None:
    with DisclosureReader(made) as reader:
        leaf, row = reader.find(CODES[0])[0]
        assert reader.provision(leaf, row, prove=False)[0].proof is None
        assert isinstance(reader.provision(leaf, row)[0].proof, Proof)
