"""The operators' database: lock-out against a plain model over two processes' views, passwords' rules, broken files."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from jukinet.clients.command import main
from jukinet.core.audit.ledger import JAPAN
from jukinet.core.errors import ConfigurationError
from jukinet.core.law.grant import day_in_japan
from jukinet.server.operators import database as module
from jukinet.server.operators.database import Identifier, Operator, OperatorDatabase, OperatorsError, password_fault

FAILURES_MAX = 3
NAMES = ["op-1", "op-2"]


def row(name: str) -> Operator:
    who = Identifier("agency", "pensions", name)
    return module._new(who, "enquiry", "password", b"salt", (64, 1, 1), b"stored", 0)


class Counting(RuleBasedStateMachine):
    """Two workers count proofs while an administrator unlocks and disables; a dictionary says what must come out."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        path = Path(self.directory.name) / "operators.db"
        self.views = [OperatorDatabase(path, make=True), OperatorDatabase(path)]
        self.model: dict[str, tuple[int, bool, bool]] = {}

    @rule(name=st.sampled_from(NAMES))
    def add(self, name: str) -> None:
        self.views[0].put(row(name), "test")
        self.model[name] = (0, False, False)

    @rule(name=st.sampled_from(NAMES), view=st.integers(0, 1), right=st.booleans())
    def prove(self, name: str, view: int, right: bool) -> None:
        who = Identifier("agency", "pensions", name)
        locked_now = self.views[view].count_proof(who, right=right, failures_max=FAILURES_MAX)
        failures, locked, disabled = self.model.get(name, (0, True, False))
        expected = False
        if name in self.model and not locked:
            failures = 0 if right else failures + 1
            expected = failures >= FAILURES_MAX
            self.model[name] = (failures, expected, disabled)
        assert locked_now is expected

    @rule(name=st.sampled_from(NAMES), disabled=st.booleans())
    def set_state(self, name: str, disabled: bool) -> None:
        who = Identifier("agency", "pensions", name)
        assert self.views[0].set_state(who, disabled=disabled, by="test") is (name in self.model)
        if name in self.model:
            self.model[name] = (0, False, disabled)

    @invariant()
    def every_view_agrees(self) -> None:
        for view in self.views:
            told = {one.name: (one.failures, one.locked, one.disabled) for one in view.operators()}
            assert told == self.model

    def teardown(self) -> None:
        for view in self.views:
            view.close()
        self.directory.cleanup()


TestCounting = Counting.TestCase
TestCounting.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_another_process_sees_that_something_changed(tmp_path: Path) -> None:
    with contextlib.closing(OperatorDatabase(tmp_path / "db", make=True)) as one:
        with contextlib.closing(OperatorDatabase(tmp_path / "db")) as other:
            before = other.data_version()
            assert other.data_version() == before
            one.put(row("op-1"), "test")
            assert other.data_version() != before


def test_what_is_old_is_forgotten_and_the_numbering_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    today = day_in_japan()
    past = datetime.datetime(today.year - 8, 1, 5, 12, tzinfo=JAPAN)
    file = str(tmp_path / "db")
    with contextlib.closing(OperatorDatabase(file, make=True)) as database:
        for name in ("gone", "here", "back"):
            database.put(row(name), "test")
        for name in ("gone", "back"):
            assert database.set_state(Identifier("agency", "pensions", name), disabled=True, by="test")
        database._connection.execute("UPDATE change SET at = ?", (int(past.timestamp()),))
        assert database.set_state(Identifier("agency", "pensions", "back"), disabled=True, by="test")
        last = database.last_change()
    young = today.replace(day=1).replace(year=today.year - 6).isoformat()
    assert main(["operator", "forget", "--database", file, "--before", young]) == 2
    assert "7 years" in capsys.readouterr().err
    words = ["operator", "forget", "--database", file, "--before", past.date().isoformat()]
    assert main(words) == 0
    assert capsys.readouterr().out == "0 changes and 0 operators are forgotten\n", "those of that day stay"
    words[-1] = (past.date() + datetime.timedelta(1)).isoformat()
    assert main(words) == 0
    assert capsys.readouterr().out == "5 changes and 1 operators are forgotten\n"
    with contextlib.closing(OperatorDatabase(file)) as database:
        assert [one.name for one in database.operators()] == ["back", "here"]
        assert [change[0] for change in database.changes()] == [last]
        database.put(row("new"), "test")
        assert database.last_change() == last + 1


def test_who_may_come_in() -> None:
    day = datetime.date(2026, 4, 1)
    operator = row("op-1")
    assert operator.may_come_in(day) == ""
    for changes, said in (
        ({"last_day": day.toordinal()}, ""),
        ({"last_day": day.toordinal() - 1}, "expired"),
        ({"locked": True}, "locked"),
        ({"disabled": True, "locked": True}, "disabled"),
    ):
        assert module.msgspec.structs.replace(operator, **changes).may_come_in(day) == said


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("eleven char", "12 to 128"),
        ("x" * 129, "12 to 128"),
        ("abababababababab", "different"),
        ("PENSIONS forever", "name"),
        ("long Op-1 password", "name"),
        ("a horse and a staple", ""),
        ("正しい馬電池ホッチキス長い文", ""),
    ],
)
def test_rules_of_passwords(password: str, said: str) -> None:
    fault = password_fault(password, Identifier("agency", "pensions", "op-1"))
    assert said in fault
    assert bool(said) == bool(fault)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no operators' database"):
        OperatorDatabase(tmp_path / "none")
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 64)
    with pytest.raises(ConfigurationError, match="restore it"):
        OperatorDatabase(tmp_path / "noise")


def test_a_file_that_breaks_later_is_an_error_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with contextlib.closing(OperatorDatabase(path, make=True)) as database:
        database.put(row("op-1"), "test")
        path.write_bytes(b"\xff" * path.stat().st_size)
        who = Identifier("agency", "pensions", "op-1")
        with pytest.raises(OperatorsError):
            database.find(who)
        with pytest.raises(OperatorsError):
            database.count_proof(who, right=True, failures_max=5)
