from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jukinet.core.errors import ConfigurationError
from jukinet.core.law.authority import Authority
from jukinet.server import configuration, serve_command, settings_page

from .serving import Place

SMALLEST = """
[register]
store = "register"
[tls]
certificate = "server.pem"
key = "server.key"
roots = "root.pem"
[authority]
file = "authority.toml"
[operators]
required = false
[record_of_use]
directory = "record-of-use"
"""


def load(directory: Path, text: str) -> configuration.Configuration:
    path = directory / "server.toml"
    path.write_text(text)
    return configuration.load(path)


def test_smallest_file_has_every_default_and_absolute_paths(tmp_path: Path) -> None:
    loaded = load(tmp_path, SMALLEST)
    assert loaded.limits == configuration.Limits()
    assert loaded.register.store == str(tmp_path / "register")
    assert loaded.tls.key == str(tmp_path / "server.key")
    assert loaded.tls.revocation_list == ""
    assert loaded.record_of_use.directory == str(tmp_path / "record-of-use")
    assert loaded.worker_count == 1
    with pytest.raises(ConfigurationError, match=r"or say operators\.required = false"):
        load(tmp_path, SMALLEST.replace("required = false", ""))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("[limits]\nconnection_max = 5", "limits: object contains unknown field `connection_max`"),
        ("[limit]\n", "unknown field `limit`"),
        ("[limits]\nconnections_max = 0", "limits.connections_max: expected `int` >= 1"),
        ("[limits]\nconnections_max = '5'", "limits.connections_max: expected `int`, got `str`"),
        ("[waits]\nidle_seconds = 1e9", "waits.idle_seconds: expected `float` <= 86400"),
        ("[observation]\nlog_level = 'loud'", "observation.log_level: invalid enum value 'loud'"),
        ("[limits]\nconnections_max = 5", "connections_per_body_max is above limits.connections_max"),
        ("[limits]\nrequest_bytes_max = 65_536", "limits.request_bytes_max cannot hold"),
        ("[fairness]\ninteractive_codes_max = 4_000\nslice_codes = 64", "is above fairness.slice_codes"),
        ("[server]\nport = 70_000", "server.port: expected `int` <= 65535"),
        ("this is not TOML", "not a TOML file"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, SMALLEST + change)
    assert said in str(caught.value)
    assert "server.toml" in str(caught.value)


def test_missing_setting_and_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"register.*store"):
        load(tmp_path, SMALLEST.replace('store = "register"', ""))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        configuration.load(tmp_path / "none.toml")


def test_every_relation_can_be_broken(tmp_path: Path) -> None:
    """Each relation is about settings that exist and is reachable inside their ranges."""
    broken = {
        "limits": {
            "connections_max": 1,
            "request_bytes_max": 65_536,
            "queued_bytes_per_connection_max": 65_536 * 2,
            "queued_bytes_max": 65_536,
            "unsent_bytes_per_connection_max": 8_192,
            "unsent_bytes_max": 4_096,
        },
        "server": {"port": 7_000},
        "feed": {
            "enabled": True,
            "port": 7_000,
            "key": "k",
            "queued_bytes_max": 65_537,
            "queued_bytes_total_max": 65_536,
            "gather_milliseconds": 20,
            "transaction_milliseconds_max": 10,
        },
        "fairness": {"interactive_codes_max": 4_096, "slice_codes": 64, "write_bytes": 16_384},
        "record_of_use": {"directory": "d", "segment_bytes_max": 1 << 20, "segment_step_bytes": 1 << 21},
        "notices": {"retention_days": 30, "receipt_days": 10},
        "cohorts": {"directory": "d"},
        "watch": {"directory": "d", "stop_rules": "rate"},
        "operators": {"required": True},
        "supervision": {"restart_delay_seconds": 2.0, "restart_delay_seconds_max": 1.0},
    }
    document: dict[str, Any] = tomllib.loads(SMALLEST) | broken
    document["register"] |= {"lock_in_memory": True, "warm": False}
    found = set(msgspec.convert(document, configuration.Configuration).contradictions())
    document["limits"]["queued_bytes_per_connection_max"] = 65_536
    document["limits"]["request_bytes_max"] = 1 << 20
    document["feed"]["enabled"], document["witness"] = False, {"enabled": True}
    found |= set(msgspec.convert(document, configuration.Configuration).contradictions())
    assert found == set(configuration.RELATIONS)


def test_defaults_document_is_a_whole_configuration(tmp_path: Path) -> None:
    document = tomllib.loads(settings_page.defaults_document())
    given = tomllib.loads(SMALLEST)
    for section, values in given.items():
        document[section] |= values
    assert msgspec.convert(document, configuration.Configuration) == msgspec.convert(given, configuration.Configuration)


def test_documentation_is_the_declaration() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
    assert page.read_text() == settings_page.settings_page(), (
        "docs/configuration.md is made by jukinet.server.settings_page.settings_page()"
    )


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    serve_command.add_arguments(parser)
    return serve_command.run(parser.parse_args(words))


def test_check_reads_everything_and_starts_nothing(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place.configuration(tmp_path)
    assert command("--config", str(path), "--check") == 0
    assert "in order" in capsys.readouterr().out
    assert not (tmp_path / "record-of-use").exists()
    (tmp_path / "authority.toml").write_text("format = 2")
    assert command("--config", str(path), "--check") == 2
    assert "authority.toml" in capsys.readouterr().err
    path = place.configuration(tmp_path, tls={"key": str(place.files["pensions"].key)})
    assert command("--config", str(path), "--check") == 2
    assert "tls" in capsys.readouterr().err
    path = place.configuration(tmp_path, register={"store": str(tmp_path / "nowhere")})
    assert command("--config", str(path), "--check") == 2
    assert "jukinet nation build" in capsys.readouterr().err


def test_print_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--print-defaults") == 0
    assert capsys.readouterr().out == settings_page.defaults_document()


def test_print_authority_gives_a_file_that_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--print-authority") == 0
    printed = tmp_path / "authority.toml"
    printed.write_text(capsys.readouterr().out, encoding="utf-8")
    assert Authority.load(printed).body("agency", "japan-pension-service") is not None
