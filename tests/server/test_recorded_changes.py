"""Changes of authority and operators enter the sealed tree, each once; what was cut back is told."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from jukinet.clients.command import main
from jukinet.core.audit.operator_changes import read_changes
from jukinet.core.audit.seal import AuthorityStatement, OperatorChange, OperatorsStatement, list_seals, open_seal
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.verification import Verification
from jukinet.server import recorded_changes
from jukinet.server.operators.database import OperatorDatabase
from jukinet.server.recorded_changes import RecordedChanges

from ..audit.sealed_logs import KEY, write_requests
from .operator_place import BATCH, PASSWORD, WHO, Desk
from .serving import AUTHORITY, Place, Server
from .test_authority_history import ENDED, Approvers

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_log.py"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    write_requests(directory, 0, 5)
    return directory


@pytest.fixture
def approvers(tmp_path: Path) -> Approvers:
    return Approvers(tmp_path)


def taken(log: Path, authority: Path | str = "", operators: Path | str = "") -> tuple[int, list[str]]:
    """One opening of the sealer and one look: statements added, faults."""
    with Sealer(log, KEY) as sealer:
        while sealer.step() is not None:
            pass
        following = RecordedChanges(authority, operators)
        added = following.take_in(sealer)
        again = list(following.faults)
        assert following.take_in(sealer) == 0
        return added, again


def changed(log: Path) -> list[list[OperatorChange]]:
    """Of each operators' statement, what it commits to."""
    found = []
    for number in list_seals(log / "tree"):
        with open_seal(log / "tree", number) as seal:
            statement = seal.decoded()
        if isinstance(statement, OperatorsStatement):
            changes = read_changes(log / "tree", number, statement)
            assert changes is not None
            found.append(changes)
    return found


def statements(log: Path) -> list[AuthorityStatement | OperatorsStatement]:
    found = []
    for number in list_seals(log / "tree"):
        with open_seal(log / "tree", number) as seal:
            statement = seal.decoded()
        if isinstance(statement, AuthorityStatement | OperatorsStatement):
            found.append(statement)
    return found


def whole(log: Path, tmp_path: Path) -> None:
    """The product and the script that shares no code with it agree."""
    assert Verification(log, KEY.public, deep=True).run().findings == []
    key = tmp_path / "verify.pub"
    key.write_text(KEY.public.encode())
    subprocess.run([sys.executable, SCRIPT, log, key], check=True, capture_output=True)


def test_each_version_is_on_record_once_and_planned_ones_too(log: Path, approvers: Approvers, tmp_path: Path) -> None:
    first = approvers.apply(AUTHORITY)
    assert taken(log, approvers.history) == (1, [])
    planned = approvers.apply(ENDED, 4_000_000_000)
    later = approvers.apply(AUTHORITY)
    assert taken(log, approvers.history) == (2, [])
    assert taken(log, approvers.history) == (0, [])
    found = statements(log)
    assert [one.number for one in found if isinstance(one, AuthorityStatement)] == [1, 2, 3]
    for one, version in zip(found, (first, planned, later), strict=True):
        assert isinstance(one, AuthorityStatement)
        assert (one.record, one.content) == (version.authority.record, version.authority.digest)
        assert one.approvers == ["sato", "suzuki"]
    assert isinstance(found[1], AuthorityStatement)
    assert found[1].begin.startswith("2096-")
    whole(log, tmp_path)


def test_a_history_that_was_cut_back_or_replaced_is_told(log: Path, approvers: Approvers) -> None:
    approvers.apply(AUTHORITY)
    approvers.apply(ENDED)
    assert taken(log, approvers.history) == (2, [])
    (approvers.history / "000002.json").unlink()
    added, faults = taken(log, approvers.history)
    assert added == 0
    assert "is not the history whose version 2 is on record" in faults[0]
    shutil.rmtree(approvers.history)
    assert taken(log, approvers.history)[1] == [f"{approvers.history}: cannot be read: No such file or directory"]


def test_a_single_file_is_on_record_whenever_it_is_another(log: Path, tmp_path: Path) -> None:
    file = tmp_path / "authority.toml"
    for text, added in ((AUTHORITY, 1), (AUTHORITY, 0), (ENDED, 1), (AUTHORITY, 1)):
        file.write_text(text)
        assert taken(log, file) == (added, [])
    contents = [one.content for one in statements(log) if isinstance(one, AuthorityStatement)]
    assert contents[0] == contents[2] != contents[1]


def test_each_change_of_an_operator_is_on_record_and_no_password(log: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert taken(log, "", desk.path) == (1, [])
    desk.set_state(True)
    desk.set_state(False)
    old_key = desk.find(BATCH)
    desk.put(desk.find(BATCH))
    with contextlib.closing(OperatorDatabase(desk.path)) as database:
        for _ in range(3):
            database.count_proof(WHO, right=False, failures_max=3)
    assert taken(log, "", desk.path) == (1, [])
    changes = [one for found in changed(log) for one in found]
    assert [(one.number, one.what, one.name) for one in changes] == [
        (1, "add", WHO.name),
        (2, "add", BATCH.name),
        (3, "disable", WHO.name),
        (4, "unlock", WHO.name),
        (5, "change", BATCH.name),
        (6, "lock", WHO.name),
    ]
    assert [one.detail.partition(" by ")[2].partition(" ")[0] for one in changes[:2]] == ["password", "key"]
    files = [*(log / "tree/seals").iterdir(), *(log / "tree/operators").iterdir()]
    sealed = b"".join(path.read_bytes() for path in files)
    for secret in (PASSWORD.encode(), desk.find(WHO).credential, desk.find(WHO).salt, old_key.credential):
        assert secret not in sealed
    whole(log, tmp_path)


def test_many_changes_share_statements(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_changes, "CHANGES_MAX", 3)
    desk = Desk(tmp_path)
    for number in range(5):
        desk.set_state(number % 2 == 0)
    assert taken(log, "", desk.path) == (3, [])
    numbers = [[one.number for one in found] for found in changed(log)]
    assert numbers == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_database_that_was_set_back_is_told_and_another_one_begins_anew(log: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    kept = desk.path.read_bytes()
    desk.set_state(True)
    assert taken(log, "", desk.path) == (1, [])
    desk.path.write_bytes(kept)
    added, faults = taken(log, "", desk.path)
    assert added == 0
    assert "ends before change 3 that is on record" in faults[0]
    desk.path.unlink()
    assert taken(log, "", desk.path) == (0, [])
    again = Desk(tmp_path)
    assert taken(log, "", again.path) == (1, [])
    desk.path.write_bytes(b"no database")
    assert "is no operators' database" in taken(log, "", desk.path)[1][0]


def test_a_database_of_an_earlier_version_goes_on(log: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with contextlib.closing(sqlite3.connect(desk.path)) as connection:
        connection.execute("ALTER TABLE change DROP COLUMN detail")
        connection.commit()
    assert taken(log, "", desk.path) == (1, [])
    desk.put(desk.find(BATCH))
    assert taken(log, "", desk.path) == (1, [])
    details = [one.detail for found in changed(log) for one in found]
    assert details[:2] == ["", ""]
    assert details[2].startswith("class batch, by key ")


def test_commands_show_and_export_them(
    log: Path, approvers: Approvers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path)
    approvers.apply(AUTHORITY)
    key = tmp_path / "log.key"
    key.write_text(KEY.encode())
    sources = ["--authority", str(approvers.history), "--operators", str(desk.path)]
    assert main(["audit", "seal", str(log), "--key", str(key), *sources]) == 0
    capsys.readouterr()
    assert main(["audit", "changes", str(log), "--json"]) == 0
    shown = capsys.readouterr().out
    rows = [json.loads(line) for line in shown.splitlines()]
    assert [(row["kind"], row.get("what"), row.get("name")) for row in rows] == [
        ("authority", None, None),
        ("operator", "add", WHO.name),
        ("operator", "add", BATCH.name),
    ]
    assert rows[0]["approvers"] == ["sato", "suzuki"]
    assert main(["audit", "changes", str(log)]) == 0
    assert "sato suzuki" in capsys.readouterr().out
    target = tmp_path / "export"
    assert main(["audit", "export", str(log), str(target)]) == 0
    assert (target / "changes.jsonl").read_text() == shown


def test_a_running_server_puts_them_on_record_by_itself(place: Place, approvers: Approvers, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    approvers.apply(AUTHORITY)
    (tmp_path / "log.key").write_text(KEY.encode())
    configuration = place.configuration(
        tmp_path,
        sealing={"key": "log.key", "poll_seconds": 0.05},
        authority={"file": str(approvers.history)},
        operators={"database": str(desk.path), "required": False},
    )
    log = tmp_path / "record-of-use"
    with Server(configuration) as server:
        server.wait_for_metric("jukinet_seals_total 2")
        desk.set_state(True)
        server.wait_for_metric("jukinet_seals_total 3")
        approvers.apply(ENDED)
        server.wait_for_metric("jukinet_seals_total 4")
        (approvers.history / "000002.json").unlink()
        server.wait_for("changes_not_recorded")
    kinds = [type(one).__name__ for one in statements(log)]
    assert kinds[:4] == ["AuthorityStatement", "OperatorsStatement", "OperatorsStatement", "AuthorityStatement"]
    assert Verification(log, KEY.public, deep=True).run().findings == []
