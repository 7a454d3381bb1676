"""MATCH on media: signed files in and out, what is refused, and that the record of use stands before the answer."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from jukinet.clients import command
from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.codes import code_from_key, format_code
from jukinet.core.media import signing
from jukinet.core.media.package import MediaError, Package
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import Function, Role

from .serving import Place


def persons(place: Place, count: int) -> list[Resident]:
    return [person for person in place.table.values() if person.has_person and person.kana != "シケンタロウ"][:count]


def profile(place: Place, directory: Path, body: str, item: str = "74") -> str:
    files = place.files[body]
    tables = {
        "server": {"host": "localhost", "port": 7700},
        "tls": {
            "root": str(place.directory / "root.pem"), "certificate": str(files.certificate), "key": str(files.key),
        },
        "affair": {"schedule": 1, "item": item, "operator": "op-17", "reason": "no line"},
    }  # fmt: skip
    path = directory / f"{body}-{item}.toml"
    path.write_text(
        "\n".join(
            f"[{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
            for name, table in tables.items()
        )
    )
    return str(path)


class Exchange:
    """The three steps, in one directory."""

    def __init__(self, place: Place, directory: Path, body: str = "pensions", item: str = "74") -> None:
        self.directory = directory
        self.configuration = str(place.configuration(directory))
        self.profile = profile(place, directory, body, item)
        self.people = persons(place, 25)
        rows = ["番号,氏名,生年月日", *(f"{i},{p.name},{p.birth_date}" for i, p in enumerate(self.people))]
        rows += ["98,居内太郎,1900-01-01", "99,居内太郎,1900-02-30"]
        (directory / "records.csv").write_bytes("\n".join(rows).encode("cp932"))

    def match(self, *arguments: str) -> int:
        return command.main(
            ["match", str(self.directory / "records.csv"), "--profile", self.profile, "--batch", "10", *arguments]
        )

    def ask(self) -> int:
        return self.match("--media-out", str(self.directory / "request.jkm"))

    def answer(self) -> int:
        return command.main(
            [
                "media",
                "answer",
                str(self.directory / "request.jkm"),
                "--out",
                str(self.directory / "answer.jkm"),
                "--config",
                self.configuration,
            ]
        )

    def take(self, *arguments: str) -> int:
        out = str(self.directory / "results.parquet")
        return self.match("--media-in", str(self.directory / "answer.jkm"), "--out", out, *arguments)


@pytest.fixture
def exchange(place: Place, tmp_path: Path) -> Exchange:
    return Exchange(place, tmp_path)


def test_records_go_and_answers_come_as_signed_files(
    place: Place, exchange: Exchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exchange.ask() == 0
    assert exchange.answer() == 0
    assert "27 records answered for agency pensions: 25 ONE" in capsys.readouterr().out
    assert exchange.take() == 1, "one record could not be asked"
    table = pyarrow.parquet.read_table(tmp_path / "results.parquet")
    assert table.column("code").to_pylist() == [
        *(format_code(code_from_key(person.key)) for person in exchange.people), None, None,
    ]  # fmt: skip
    assert table.column("found").to_pylist()[25:] == ["NONE_NOT_CONNECTED", "BAD_BIRTH_DATE"]
    records = [record for record in read_segments(tmp_path / "record-of-use") if record.kind == 1]
    assert [record.count for record in records] == [10, 10, 7]
    head = records[0].head
    assert isinstance(head, ProvisionHead)
    assert (head.function, head.role, head.body, head.operator) == (Function.MATCH, "agency", "pensions", "op-17")
    assert exchange.answer() == 2, "an answer is not written over"


def test_answers_to_other_records_are_refused(exchange: Exchange, tmp_path: Path) -> None:
    assert exchange.ask() == 0
    assert exchange.answer() == 0
    records = tmp_path / "records.csv"
    sound = records.read_bytes()
    records.write_bytes(sound.replace(b"1900-01-01", b"1900-01-02"))
    assert exchange.take() == 2
    assert not (tmp_path / "results.parquet").exists()
    records.write_bytes(sound)
    assert exchange.take("--overwrite") == 1


@pytest.mark.parametrize("item", ["77", "72"])
def test_an_affair_without_match_is_refused(place: Place, tmp_path: Path, item: str) -> None:
    exchange = Exchange(place, tmp_path, item=item)
    assert exchange.ask() == 0
    assert exchange.answer() == 3
    assert not (tmp_path / "answer.jkm").exists()
    assert list(read_segments(tmp_path / "record-of-use")) == []


def test_a_body_without_authority_is_refused(place: Place, tmp_path: Path) -> None:
    exchange = Exchange(place, tmp_path, body="strangers")
    assert exchange.ask() == 0
    assert exchange.answer() == 3


def test_a_changed_file_is_refused_whatever_was_changed(exchange: Exchange, tmp_path: Path) -> None:
    assert exchange.ask() == 0
    path = tmp_path / "request.jkm"
    sound = path.read_bytes()
    for place in range(0, len(sound), 97):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert exchange.answer() == 2, place
    for cut in (0, 7, 19, 20, 200, len(sound) - 1):
        path.write_bytes(sound[:cut])
        assert exchange.answer() == 2, cut
    path.write_bytes(sound + b"\0")
    assert exchange.answer() == 2
    path.write_bytes(sound)
    assert exchange.answer() == 0
    assert not list(tmp_path.glob("*.new"))


def test_an_answer_is_no_request_and_a_request_no_answer(exchange: Exchange, tmp_path: Path) -> None:
    assert exchange.ask() == 0
    assert exchange.answer() == 0
    request, answer = tmp_path / "request.jkm", tmp_path / "answer.jkm"
    request_bytes, answer_bytes = request.read_bytes(), answer.read_bytes()
    answer.unlink()
    request.write_bytes(answer_bytes)
    assert exchange.answer() == 2
    answer.write_bytes(request_bytes)
    assert exchange.take() == 2


def test_whose_signature_counts(place: Place, exchange: Exchange, tmp_path: Path) -> None:
    assert exchange.ask() == 0
    roots = signing.read_certificates(place.directory / "root.pem")
    now = datetime.datetime.now(datetime.UTC)
    agencies = frozenset({Role.AGENCY})
    with (tmp_path / "request.jkm").open("rb") as file:
        package = Package(file, 1 << 20)
        assert signing.check(package, roots, agencies, now) == (Role.AGENCY, "pensions")
        for trusted, roles, day in (
            ([], agencies, now),
            (roots, frozenset({Role.SERVER}), now),
            (roots, agencies, now + datetime.timedelta(days=36_500)),
            (signing.read_certificates(place.files["pensions"].certificate)[:1], agencies, now),
        ):
            with pytest.raises(MediaError):
                signing.check(package, trusted, roles, day)
