"""`jukinet audit` and `jukinet disclose` as commands: output, files, exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest

from jukinet.clients.command import main
from jukinet.core.audit.disclosure import Disclosure, Provision
from jukinet.core.audit.reader import read_segments
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import Function, Item, Outcome
from jukinet.server import disclosure_page, ledger_page
from jukinet.server.names_in_law import NamesInLaw

from ..audit.logs import segments
from ..audit.sealed_logs import CODES, START_NS, write_requests
from ..core.stores import build_store
from .serving import AUTHORITY


@pytest.fixture
def log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Sealed by the command, with a key made by the command; key.pub lies beside it."""
    key = str(tmp_path / "key")
    assert main(["audit", "key", key, "--name", "example.jp/log"]) == 0
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().out.strip() == (tmp_path / "key.pub").read_text().strip()
    assert main(["audit", "key", key, "--name", "example.jp/log"]) == 2, "never written over"
    directory = tmp_path / "log"
    for life in range(2):
        write_requests(directory, 0, 20, seed=life)
    assert main(["audit", "seal", str(directory), "--key", key]) == 0
    assert "40 records" in capsys.readouterr().out
    return directory


def public(log: Path) -> str:
    return str(log.parent / "key.pub")


def test_verify(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(log), "--key", public(log), "--deep"]) == 0
    assert "whole, and as it was signed" in capsys.readouterr().out
    assert main(["audit", "verify", str(log), "--key", (log.parent / "key.pub").read_text().strip(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 40
    kept = log.parent / "kept"
    kept.write_text((log / "tree/checkpoint").read_text())
    assert main(["audit", "verify", str(log), "--key", public(log), "--checkpoint", str(kept)]) == 0
    path = segments(log)[1]
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\0\0" + content[202:])
    capsys.readouterr()
    assert main(["audit", "verify", str(log), "--key", public(log)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("changed: ")
    assert "at byte 168 (worker 0, record 21)" in out
    path.unlink()
    assert main(["audit", "verify", str(log), "--key", public(log)]) == 1
    assert main(["audit", "verify", str(log), "--key", public(log), "--without-content"]) == 0
    assert main(["audit", "verify", str(log), "--key", "nonsense"]) == 2
    kept.write_text("nonsense")
    assert main(["audit", "verify", str(log), "--key", public(log), "--checkpoint", str(kept)]) == 2
    assert main(["audit", "verify", str(log / "nowhere"), "--key", public(log)]) == 5


def test_disclose_and_the_resident_who_checks_it(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = str(CODES[0])
    file = log.parent / "answer.json"
    assert main(["disclose", code, "--record", str(log), "--json", "--out", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    answer = Disclosure.decode(file.read_bytes())
    assert main(["disclose", "verify", str(file), "--key", public(log)]) == 0
    assert f"{len(answer.provisions):,} provisions are proved" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(code + "\n"))
    assert main(["disclose", "-", "--record", str(log)]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) == len(answer.provisions) + 2
    assert "現況確認" in text
    assert main(["disclose", code, "--record", str(log), "--html"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<tr>") == len(answer.provisions) + 1
    assert "http" not in page.replace("http-equiv", "")
    forged = file.read_bytes().replace(b"japan-pension-service", b"nobody")
    file.write_bytes(forged)
    assert main(["disclose", "verify", str(file), "--key", public(log)]) == 1
    assert "not proved" in capsys.readouterr().out


PROVISION = Provision(
    code=CODES[0],
    time_ns=START_NS,
    function=Function.LOOKUP,
    items=Item.NAME | Item.ADDRESS,
    outcome=Outcome.CURRENT,
    matches=None,
    since=0,
    role="agency",
    body="pensions",
    schedule=1,
    item="77",
    number=0,
    reason="<b>",
    worker=0,
    sequence=1,
    row=0,
)


@pytest.mark.parametrize(
    ("function", "outcome", "items", "told"),
    [
        (Function.LOOKUP, Outcome.CURRENT, PROVISION.items, "氏名・住所"),
        (Function.LOOKUP, Outcome.DEAD, PROVISION.items, "氏名・住所"),
        (Function.LOOKUP, Outcome.CODE_CHANGED, PROVISION.items, "（異動の有無のみ）"),
        (Function.LOOKUP, Outcome.CODE_CHANGED, PROVISION.items | Item.CHANGE | Item.CODE, "変更情報・住民票コード"),
        (Function.HISTORY, Outcome.CODE_CHANGED, PROVISION.items, "氏名・住所"),
        (Function.STATUS, Outcome.CODE_CHANGED, 0, "（異動の有無のみ）"),
        (Function.VERIFY, Outcome.CODE_CHANGED, PROVISION.items, "（異動の有無のみ）"),
        (Function.LOOKUP, Outcome.EXPIRED, PROVISION.items, "（提供なし）"),
        (Function.VERIFY, Outcome.CURRENT, PROVISION.items, "（一致・不一致のみ）氏名・住所"),
        (Function.VERIFY, Outcome.NOT_CONNECTED, PROVISION.items, "（提供なし）"),
        (Function.STATUS, Outcome.CHANGED, 0, "（異動の有無のみ）"),
        (Function.STATUS, Outcome.UNKNOWN, 0, "（提供なし）"),
    ],
)
def test_a_page_says_what_the_outcome_let_be_provided(
    function: Function, outcome: Outcome, items: int, told: str
) -> None:
    provision = msgspec.structs.replace(PROVISION, function=function, outcome=outcome, items=items)
    assert disclosure_page.cells(provision, NamesInLaw())[5] == told


def test_recipients_and_affairs_have_the_names_of_the_authority(tmp_path: Path) -> None:
    file = tmp_path / "authority.toml"
    file.write_text(AUTHORITY)
    named, bare = NamesInLaw(file), NamesInLaw()
    assert named.recipient("agency", "pensions") != bare.recipient("agency", "pensions") == "pensions（国の機関等）"
    assert named.affair("agency", "pensions", 1, "77", 0).startswith("別表第1 77の項 ")
    assert bare.affair("agency", "pensions", 1, "77", 0) == "別表第1 77の項"
    assert named.recipient("municipality", "nowhere") == "nowhere（市区町村）"
    assert named.affair("municipality", "nowhere", 0, "3", 2) == "条例 3の項 2号"
    answer = Disclosure(codes=[CODES[0]], made_ns=START_NS, checkpoint="", provisions=[PROVISION])
    page = disclosure_page.document(answer, named)
    assert named.recipient("agency", "pensions") in page
    assert "<b>" not in page


def test_names_that_fit_beside_a_bar() -> None:
    assert ledger_page.shortened("年" * 23) == "年" * 23
    assert ledger_page.shortened("年" * 24) == "年" * 23 + "…"
    assert ledger_page.shortened("a" * 47) == "a" * 46 + "…"


def test_no_record_exists(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disclose", "24727059608", "--former", "10000000006", "--record", str(log)]) == 0
    capsys.readouterr()
    file = log.parent / "none.json"
    assert main(["disclose", "01354788434", "--record", str(log), "--json", "--out", str(file)]) == 0
    assert main(["disclose", "verify", str(file), "--key", public(log)]) == 0
    assert "no record exists" in capsys.readouterr().out
    assert main(["disclose", "01354788434", "--record", str(log)]) == 0
    assert "no record exists" in capsys.readouterr().out
    assert main(["disclose", "01354788434", "--record", str(log), "--html"]) == 0
    assert "存在しません" in capsys.readouterr().out


def test_usage(log: Path) -> None:
    assert main(["disclose", "01354788434"]) == 2
    assert main(["disclose", "verify", "x"]) == 2
    assert main(["disclose", "not a code", "--record", str(log)]) != 0


def test_ledger_and_report(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provisions = sum(record.count for record in read_segments(log))
    assert main(["audit", "ledger", str(log)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert sum(int(line.split("\t")[-1]) for line in lines) == provisions
    assert main(["audit", "ledger", str(log), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(row["provisions"] for row in rows) == provisions
    assert {row["method"] for row in rows} == {"interactive", "bulk"}
    page = log.parent / "report.html"
    assert main(["audit", "report", str(log), "--year", "2025", "--html", str(page)]) == 0
    text = page.read_text()
    assert f"提供件数 {provisions:,} 件" in text
    assert text.count("<svg") == text.count("</svg>") == 3
    for name in ("japan-pension-service（国の機関等）", "即時提供", "一括提供", "照合"):
        assert name in text
    assert main(["audit", "report", str(log), "--year", "1999"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["audit", "report", str(log), "--year", "1999", "--html", str(page)]) == 0
    (log / "tree/ledger").unlink()
    assert main(["audit", "ledger", str(log), "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows, "from the seals alone"


def test_the_ledger_needs_no_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "ledger", str(log)]) == 0
    before = capsys.readouterr().out
    for path in segments(log):
        path.unlink()
    (log / "tree/ledger").unlink()
    assert main(["audit", "ledger", str(log)]) == 0
    assert capsys.readouterr().out == before


def test_export_for_an_auditor(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare, whole = log.parent / "bare", log.parent / "whole"
    assert main(["audit", "export", str(log), str(bare)]) == 0
    assert main(["audit", "verify", str(bare), "--key", public(log), "--without-content"]) == 0
    assert main(["audit", "verify", str(bare), "--key", public(log)]) == 1
    data = b"".join(path.read_bytes() for path in bare.rglob("*") if path.is_file())
    for code in CODES[:4]:
        assert code.to_bytes(5, "little") not in data
        assert str(code).encode() not in data
    assert not list(bare.glob("*.rou"))
    assert main(["audit", "export", str(log), str(whole), "--with-content"]) == 0
    assert main(["audit", "verify", str(whole), "--key", public(log)]) == 0
    assert main(["audit", "export", str(log), str(whole)]) == 2
    capsys.readouterr()


def test_all_codes_of_a_person_are_found_in_the_register(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def resident(key: int, **fields: object) -> Resident:
        base = {"reason": 11, "sex": 1, "area": 0, "change_date": 20100401, "registered_day": 4_000, "town": 1}
        shown = {"birth_date": 19500220, "name": "試験太郎", "kana": "シケンタロウ", "update_number": 1}
        return Resident(key=key, **{**base, **shown, "state": 1, **fields})  # type: ignore[arg-type]

    retired = {"name": "", "kana": "", "birth_date": 0, "sex": 0, "town": 0, "state": 5, "reason": 41}
    first, second, third = (code // 10 for code in CODES[:3])
    build_store(
        tmp_path / "register",
        [
            resident(first, **retired, successor_key=second),
            resident(second, **retired, successor_key=third),
            resident(third),
        ],
    )
    for asked in (0, 1, 2):
        words = ["disclose", str(CODES[asked]), "--record", str(log), "--store", str(tmp_path / "register")]
        assert main(words) == 0
        told = capsys.readouterr().out.split(":")[0].split(", ")
        assert told[0] == str(CODES[asked])
        assert sorted(told) == sorted(str(code) for code in CODES[:3])
