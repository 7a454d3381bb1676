"""The commands lookup, status and verify, run against a peer."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peer import Behaviour, Peer, person

from jukinet.clients.command import main
from jukinet.clients.query.connection_settings import SETTINGS
from jukinet.clients.query.job import open_job
from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import Outcome

CODES = [f"{code_from_key(key):011}" for key in range(1000, 1200)]
Run = Callable[..., int]


def options(peer: Peer) -> list[str]:
    pki = peer.certificates
    return [
        "--host", "127.0.0.1", "--port", str(peer.port), "--root", str(pki / "root.pem"),
        "--certificate", str(pki / "agency-test.pem"), "--key", str(pki / "agency-test.key"),
        "--schedule", "1", "--item", "74", "--operator", "op", "--reason", "test",
    ]  # fmt: skip


def write_codes(path: Path, codes: list[str] = CODES) -> Path:
    path.write_text("".join(f"{code}\n" for code in codes))
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_table_on_the_terminal(make_peer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    peer = make_peer()
    assert main(["lookup", *options(peer), CODES[0], CODES[7], CODES[8]]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["code", "outcome", "name"]
    assert "山田 花子0" in out
    assert "DEAD" in out
    assert "12345678903" in out
    assert "3 codes" in err


def test_malformed_codes_are_rows_and_exit_1(make_peer: Any, tmp_path: Path) -> None:
    peer = make_peer()
    source = write_codes(tmp_path / "codes.txt", [CODES[0], "12345", "", CODES[1], "12345678901"])
    out = tmp_path / "out.csv"
    assert main(["lookup", *options(peer), "--input", str(source), "--out", str(out)]) == 1
    rows = read_csv(out)
    assert [row["outcome"] for row in rows] == ["CURRENT", "MALFORMED", "CURRENT", "BAD_CHECK_DIGIT"]
    assert rows[0]["birth_date"] == "1965-02-20"
    assert not list(tmp_path.glob("out.csv.*"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize(("column", "header"), [("住民票コード", []), ("2", ["--header"])])
def test_csv_input(make_peer: Any, tmp_path: Path, encoding: str, column: str, header: list[str]) -> None:
    peer = make_peer()
    source = tmp_path / "in.csv"
    lines = ["整理番号,住民票コード", *(f"{number},{code}" for number, code in enumerate(CODES))]
    source.write_text("\r\n".join(lines), encoding=encoding)
    out = tmp_path / "out.csv"
    words = ["--input", str(source), "--encoding", encoding, "--column", column, *header, "--since", "2024-04-01"]
    assert main(["status", *options(peer), *words, "--out", str(out), "--out-encoding", "utf-8-sig"]) == 0
    rows = read_csv(out)
    assert [row["code"] for row in rows] == CODES
    assert rows[1] == {"code": CODES[1], "outcome": "CHANGED", "change_date": "2024-06-01"}
    assert out.read_bytes().startswith(b"\xef\xbb\xbf")


def test_csv_input_must_be_clear(make_peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = make_peer()
    source = tmp_path / "in.csv"
    source.write_text("番号,コード\n1,2\n", encoding="cp932")
    base = ["lookup", *options(peer), "--input", str(source), "--format", "csv"]
    for words, message in [
        (["--column", "1"], "--header or --no-header"),
        (["--column", "code", "--encoding", "cp932"], "no column named 'code'"),
        ([], "--encoding"),
        (["--column", "code", "--no-header"], "by number"),
    ]:
        assert main([*base, *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["text", "uint64", "int64"])
def test_parquet_both_ways(make_peer: Any, tmp_path: Path, kind: str) -> None:
    peer = make_peer()
    values: list[Any] = [*CODES[:20], None]
    if kind == "text":
        column = pa.array(values)
    else:
        column = pa.array([value and int(value) for value in values], getattr(pa, kind)())
    pq.write_table(pa.table({"code": column, "other": list(range(21))}), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    words = ["--input", str(tmp_path / "in.parquet"), "--out", str(out), "--batch", "8"]
    assert main(["lookup", *options(peer), *words]) == 1
    table = pq.read_table(out)
    assert table.num_rows == 21
    assert table.column("code").to_pylist() == values
    assert table.column("outcome").to_pylist()[-1] == "MALFORMED"
    assert table.column("name").to_pylist() == [*(person(int(c)).name for c in CODES[:20]), ""]
    assert table.column("successor_code").to_pylist()[8] == "12345678903"
    assert table.column("area").to_pylist()[0] == "13101"


def test_arrow_output_and_verify(make_peer: Any, tmp_path: Path) -> None:
    peer = make_peer()
    source = tmp_path / "claims.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["code", "n", "b", "s"])
        for code in CODES:
            held = person(int(code))
            writer.writerow([code, held.name, "1965-02-20", "男" if held.sex == 1 else "女"])
    words = ["--input", str(source), "--name-column", "n", "--birth-date-column", "b", "--sex-column", "s"]
    out = tmp_path / "out.arrow"
    assert main(["verify", *options(peer), *words, "--out", str(out), "--batch", "64"]) == 1
    with pa.memory_map(str(out)) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.schema.names == ["code", "outcome", "name", "birth_date", "sex"]
    assert table.column("name").to_pylist()[:10] == ["EXACT"] * 8 + ["NOT_ASKED"] * 2
    assert table.column("birth_date").to_pylist()[:6] == ["EXACT"] * 3 + ["DIFFERENT"] * 3
    assert not list(tmp_path.glob("out.arrow.*"))


def test_a_claim_that_cannot_be_read_names_its_row(
    make_peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = make_peer()
    source = tmp_path / "claims.csv"
    source.write_text(f"code,b\n{CODES[0]},1965-02-20\n{CODES[1]},yesterday\n")
    words = ["--input", str(source), "--birth-date-column", "b", "--format", "csv"]
    assert main(["verify", *options(peer), *words]) == 2
    err = capsys.readouterr().err
    assert "row 3" in err
    assert "yesterday" not in err
    assert peer.questions == 0


def test_settings_from_environment_and_profile(
    make_peer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = make_peer()
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    profile = tmp_path / "profile.toml"
    pki = peer.certificates
    for name in ("root.pem", "agency-test.pem", "agency-test.key"):
        (tmp_path / name).write_bytes((pki / name).read_bytes())
    text = (
        f'[server]\nhost = "127.0.0.1"\nport = {peer.port}\n'
        '[tls]\nroot = "root.pem"\ncertificate = "agency-test.pem"\nkey = "agency-test.key"\n'
        '[affair]\nschedule = 1\nitem = "77-2"\noperator = "op-9"\nreason = "a reason"\n'
    )
    profile.write_text(text)
    monkeypatch.setenv("JUKINET_OPERATOR", "op-env")
    assert main(["lookup", "--profile", str(profile), "--case-reference", "c-1", CODES[0]]) == 0
    opened = peer.affairs[0]
    assert (opened.item, opened.operator, opened.case_reference) == ("77-2", "op-env", "c-1")
    capsys.readouterr()
    for wrong, message in [
        (text.replace("port", "prot"), "no key 'prot'"),
        (text.replace(f"{peer.port}", '"x"'), "a whole number"),
        (text.replace("[server]", "[srv]"), "no table [srv]"),
        (text.replace('root = "root.pem"\n', ""), "root (--root)"),
        ("x = [", "not TOML"),
    ]:
        profile.write_text(wrong)
        assert main(["lookup", "--profile", str(profile), CODES[0]]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "exit_code"),
    [
        ({"refuse_session": ErrorCode.NOT_AUTHORISED}, 3),
        ({"greeting_error": ErrorCode.UNKNOWN_BODY}, 3),
        ({"greeting_error": ErrorCode.TOO_MANY_CONNECTIONS}, 4),
        ({"garbage": b"SSH-2.0-x\r\n" * 9}, 4),
        ({"plan": lambda *_: Behaviour(error=ErrorCode.RECORD_OF_USE_UNAVAILABLE)}, 5),
        ({"plan": lambda *_: Behaviour(error=ErrorCode.INTERNAL)}, 5),
    ],
)
def test_exit_codes(
    make_peer: Any, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], exit_code: int
) -> None:
    peer = make_peer(**settings)
    assert main(["lookup", *options(peer), "--tries", "1", CODES[0]]) == exit_code
    err = capsys.readouterr().err
    assert err.startswith("jukinet lookup: ")
    assert "Traceback" not in err
    assert CODES[0] not in err


def test_usage_errors(make_peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = make_peer()
    many = write_codes(tmp_path / "many.txt", CODES * 6)
    cases = [
        (["lookup", "--format", "parquet", CODES[0]], "--out FILE"),
        (["lookup", "--out", "x.unknown", CODES[0]], "--format"),
        (["lookup", "--resume", CODES[0]], "--resume needs --out"),
        (["lookup", "--input", str(many)], "at most 1000 rows"),
        (["lookup", "--input", str(tmp_path / "absent.txt")], "absent.txt: No such file"),
        (["lookup", "--input", "x", CODES[0]], "not both"),
        (["verify", CODES[0]], "claim something"),
        (["verify", "--input", str(many), "--name", "x"], "claims as columns"),
    ]
    for words, message in cases:
        assert main([words[0], *options(peer), *words[1:]]) == 2, words
        assert message in capsys.readouterr().err
    assert peer.questions == 0
    with pytest.raises(SystemExit) as caught:
        main(["status", *options(peer), "--since", "2024-04", CODES[0]])
    assert caught.value.code == 2


def test_existing_output_is_kept(make_peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = make_peer()
    out = tmp_path / "out.csv"
    out.write_text("precious")
    assert main(["lookup", *options(peer), "--out", str(out), CODES[0]]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert main(["lookup", *options(peer), "--out", str(out), "--overwrite", CODES[0]]) == 0
    assert len(read_csv(out)) == 1


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_resume_after_an_error(make_peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    broken = make_peer(plan=lambda number, _: Behaviour(error=ErrorCode.INTERNAL if number == 7 else None))
    source = write_codes(tmp_path / "codes.txt")
    out = tmp_path / name
    words = ["--input", str(source), "--out", str(out), "--batch", "10", "--in-flight", "1"]
    assert main(["lookup", *options(broken), *words]) == 5
    assert "70 rows are kept" in capsys.readouterr().err
    assert not out.exists()

    whole = make_peer()
    assert main(["lookup", *options(whole), *words]) == 2
    assert "--resume" in capsys.readouterr().err
    other = write_codes(tmp_path / "other.txt", [*reversed(CODES)])
    assert main(["lookup", *options(whole), "--resume", *words, "--input", str(other)]) == 2
    assert "not the one" in capsys.readouterr().err
    assert main(["lookup", *options(whole), "--resume", *words, "--items", "name"]) == 2
    assert "items" in capsys.readouterr().err
    # A torn line at the journal's end and half a batch in the work file: as a power cut leaves them.
    with (tmp_path / f"{name}.journal").open("ab") as journal:
        journal.write(b'{"rows": 99')
    with (tmp_path / f"{name}.work").open("ab") as work:
        work.write(b"torn")
    before = whole.questions
    assert main(["lookup", *options(whole), "--resume", *words]) == 0
    assert whole.questions - before == 13
    codes = pq.read_table(out).column("code").to_pylist() if name.endswith("t") else [r["code"] for r in read_csv(out)]
    assert codes == CODES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["codes.txt", "other.txt", name])


def command_line(peer: Peer, *words: str) -> list[str]:
    return [sys.executable, "-m", "jukinet.clients.command", *words[:1], *options(peer), *words[1:]]


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_kill_9_then_resume(make_peer: Any, tmp_path: Path) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(delay=0.03))
    source = write_codes(tmp_path / "codes.txt", CODES * 5)
    out = tmp_path / "out.csv"
    line = command_line(peer, "lookup", "--input", str(source), "--out", str(out), "--batch", "10", "--in-flight", "2")
    journal = tmp_path / "out.csv.journal"
    with subprocess.Popen(line, stderr=subprocess.PIPE) as process:
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not out.exists()
    saved = json.loads(journal.read_bytes().splitlines()[-1])
    assert 0 < saved["rows"] < 1000
    assert not any(code in journal.read_text() for code in CODES)
    before = len(peer.asked)
    done = subprocess.run([*line, "--resume"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["code"] for row in read_csv(out)] == CODES * 5
    assert len(peer.asked) - before == 1000 - saved["rows"]


def test_interrupt_keeps_what_was_answered(make_peer: Any, tmp_path: Path) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(hold=number >= 5))
    source = write_codes(tmp_path / "codes.txt")
    out = tmp_path / "out.csv"
    line = command_line(peer, "lookup", "--input", str(source), "--out", str(out), "--batch", "10", "--in-flight", "1")
    with subprocess.Popen(line, stderr=subprocess.PIPE) as process:
        wait_until(lambda: peer.questions >= 6)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"50 rows are kept" in err
    assert b"Traceback" not in err


def test_pipes(make_peer: Any) -> None:
    peer = make_peer()
    line = command_line(peer, "lookup", "--format", "csv", "--batch", "50", "--items", "kana")
    codes = "\n".join(CODES * 200).encode()
    done = subprocess.run(line, input=codes, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0
    rows = list(csv.reader(io.StringIO(done.stdout.decode())))
    assert rows[0] == ["code", "outcome", "kana"]
    assert [row[0] for row in rows[1:]] == CODES * 200
    # The reader goes away: quietly, and with the code of a broken pipe.
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -1', "_", *line], input=codes, capture_output=True, timeout=30,
        check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert done.stdout == b"code,outcome,kana\n"
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_reconnects_in_the_middle_of_a_job(make_peer: Any, tmp_path: Path) -> None:
    peer = make_peer(cuts=[3000, 5000, 7000])
    out = tmp_path / "out.csv"
    source = write_codes(tmp_path / "codes.txt")
    assert main(["lookup", *options(peer), "--input", str(source), "--out", str(out), "--batch", "10"]) == 0
    assert [row["code"] for row in read_csv(out)] == CODES
    assert peer.connections == 4
    assert Outcome.CURRENT.name in out.read_text()


def test_two_processes_cannot_write_one_output(
    make_peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = make_peer()
    out = tmp_path / "out.csv"
    job = open_job(out, {}, resume=False, overwrite=False)
    assert job is not None
    try:
        assert main(["lookup", *options(peer), "--out", str(out), "--overwrite", CODES[0]]) == 2
        assert "another process" in capsys.readouterr().err
    finally:
        job.close()


@pytest.mark.parametrize("left", ["work", "published"])
def test_broken_off_while_publishing(make_peer: Any, tmp_path: Path, left: str) -> None:
    peer = make_peer()
    source = write_codes(tmp_path / "codes.txt")
    out = tmp_path / "out.csv"
    words = ["lookup", *options(peer), "--input", str(source), "--out", str(out), "--items", "name"]
    assert main(words) == 0
    whole = out.read_bytes()
    # The states that a crash leaves between the journal's last line and the end.
    identity = {"function": "lookup", "format": "csv", "items": 1, "schedule": 1, "item": "74", "number": 0}
    lines = [{"journal": 1, **identity}, {"rows": 200, "bytes": len(whole), "crc": 0, "complete": True}]
    (tmp_path / "out.csv.journal").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if left == "work":
        out.rename(tmp_path / "out.csv.work")
    before = peer.questions
    assert main([*words, "--resume"]) == 0
    assert out.read_bytes() == whole
    assert peer.questions == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes.txt", "out.csv"]


def test_output_replaces_no_device_and_no_link(make_peer: Any, tmp_path: Path) -> None:
    peer = make_peer()
    source = write_codes(tmp_path / "codes.txt")
    pipe, link, target = tmp_path / "pipe", tmp_path / "link.csv", tmp_path / "target.csv"
    os.mkfifo(pipe)
    target.write_text("kept")
    link.symlink_to(target)
    for out in (pipe, link, tmp_path):
        to = ["--input", str(source), "--out", str(out), "--format", "csv", "--overwrite"]
        assert main(["lookup", *options(peer), *to]) == 2
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert target.read_text() == "kept"
    assert not list(tmp_path.glob("*.journal"))


def test_output_named_minus_is_standard_output(
    make_peer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = make_peer()
    monkeypatch.chdir(tmp_path)
    assert main(["lookup", *options(peer), "--out", "-", CODES[0]]) == 0
    assert CODES[0] in capsys.readouterr().out
    assert main(["lookup", *options(peer), "--out", "-", "--format", "parquet", CODES[0]]) == 2
    assert not list(tmp_path.iterdir())
