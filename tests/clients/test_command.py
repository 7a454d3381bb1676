"""The `jukinet` command itself: its table, help, exit codes, and what it says when something goes wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from jukinet.clients import command
from jukinet.clients.command import COMMANDS, main
from jukinet.clients.errors import ConnectionLostError, NotAuthorisedError
from jukinet.core.errors import ConfigurationError, ErrorCode, LocalProtocolError, RecordOfUseError, StoreError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_can_tell_about_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: jukinet {name}")
    assert callable(import_module(COMMANDS[name].module).run)


def test_overview_version_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jukinet ")
    assert main([]) == 2
    for word, message in [("lokup", "did you mean 'lookup'?"), ("--bogus", "no option '--bogus'"), ("x", "no command")]:
        assert main([word]) == 2
        assert message in capsys.readouterr().err


def test_the_overview_loads_nothing_heavy() -> None:
    program = (
        "import sys; from jukinet.clients.command import main; main(['--help']); "
        "print({'trio', 'numpy', 'pyarrow', 'rich', 'lmdb', 'cryptography', 'ssl'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ConfigurationError("server.toml: port"), 2),
        (LocalProtocolError("reason is too long"), 2),
        (NotAuthorisedError("no", ErrorCode.NOT_AUTHORISED), 3),
        (ConnectionLostError("gone"), 4),
        (StoreError("no register"), 5),
        (RecordOfUseError("disk full"), 5),
        (FileNotFoundError(2, "No such file or directory", "codes.txt"), 2),
        (OSError(28, "No space left on device"), 5),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_errors_become_one_line_and_an_exit_code(
    error: BaseException, exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Any) -> int:
        raise error

    module = SimpleNamespace(add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(command, "import_module", lambda name: module)
    assert main(["lookup"]) == exit_code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("jukinet")
    assert "Traceback" not in err
