"""`jukinet retention run`: counts, and never a person; a rehearsal changes nothing."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from jukinet.clients.command import main
from jukinet.core.feed.engine import day_in_japan
from jukinet.core.law.retention import EPOCH
from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import State

from ..feed.registers import build

OLD = (datetime.date(2020, 1, 1) - EPOCH).days


@pytest.fixture
def store(tmp_path: Path) -> Path:
    dead = [
        Resident(key=key, state=State.DEAD, reason=22, name="故人", registered_day=OLD + 500 * key) for key in range(5)
    ]
    build(tmp_path / "r", [*dead, Resident(key=9, name="東京", registered_day=OLD)])
    return tmp_path / "r"


def counted(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["retention", "run", "--json", *arguments]) == 0
    out = capsys.readouterr().out
    assert "故人" not in out
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def residents(store: Path) -> int:
    with RegisterReader(store) as reader:
        return reader.meta.residents


def test_a_rehearsal_and_a_run(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--store", str(store), "--rule", "five-years", "--date", "2026-11-01")
    assert counted(capsys, *where, "--dry-run")["dead"] == 2
    assert residents(store) == 6
    assert counted(capsys, *where)["dead"] == 2
    assert residents(store) == 4
    assert counted(capsys, *where)["dead"] == 0
    assert counted(capsys, "--store", str(store))["rule"] == "150-years"
    assert main(["retention", "run", "--store", str(store)]) == 0
    assert "0 records of the dead" in capsys.readouterr().out


def test_what_cannot_be_done_is_said(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tomorrow = day_in_japan() + datetime.timedelta(2)
    assert main(["retention", "run", "--store", str(store), "--date", tomorrow.isoformat()]) == 5
    assert "future" in capsys.readouterr().err
    assert main(["retention", "run", "--store", str(tmp_path / "none")]) == 5
    with pytest.raises(SystemExit):
        main(["retention", "run", "--store", str(store), "--date", "1 April"])


def test_rule_and_store_come_from_the_configuration(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "jukinet.toml"
    file.write_text(
        f'[register]\nstore = "{store}"\n[tls]\ncertificate = "c"\nkey = "k"\nroots = "r"\n'
        '[authority]\nfile = "a"\n[operators]\nrequired = false\n'
        '[record_of_use]\ndirectory = "u"\n[retention]\nrule = "five-years"\n'
    )
    assert counted(capsys, "--config", str(file), "--dry-run")["rule"] == "five-years"
