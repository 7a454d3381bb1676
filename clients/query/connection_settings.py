"""Settings of the client commands: from options, else the environment, else a profile file (TOML)."""

from __future__ import annotations

import argparse
import getpass
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jukinet.clients.operators import OperatorCard, OperatorCredential, OperatorKey, OperatorPassword
from jukinet.clients.settings import Credentials
from jukinet.core.errors import ConfigurationError

PROFILE_BYTES_MAX: Final = 65_536
PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its place in a profile, and what it is. ``default`` None: it must be given."""

    section: str
    key: str
    kind: type[int] | type[str]
    help: str
    default: int | str | None = None
    is_path: bool = False
    """Relative to the profile that names it."""

    @property
    def option(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        return "JUKINET_" + self.key.upper()


SERVER_SETTINGS: Final = (
    Setting("server", "host", str, "host name or address of the service"),
    Setting("server", "port", int, "its port"),
    Setting("tls", "root", str, "PEM file of the authority that signed the server's certificate", None, True),
    Setting("tls", "certificate", str, "PEM file of this body's certificate, with its chain", None, True),
    Setting("tls", "key", str, "PEM file of its private key", None, True),
)
AFFAIR_SETTINGS: Final = (
    Setting("affair", "schedule", int, "the affair: schedule of the Act (0: by ordinance)"),
    Setting("affair", "item", str, "the affair: item, such as 74 or 77-2"),
    Setting("affair", "number", int, "the affair: number, 0 when the item has none", 0),
    Setting("affair", "operator", str, "the operator who asks; recorded with every provision"),
    Setting("affair", "operator_key", str, "PEM file of the operator's private key (batch systems)", "", True),
    Setting("affair", "card_module", str, "PKCS #11 library of the operator's smart card", ""),
    Setting("affair", "card_token", str, "label of the card's token", ""),
    Setting("affair", "card_label", str, "label of the private key on the card", ""),
    Setting("affair", "reason", str, "the reason for use; recorded with every provision"),
    Setting("affair", "case_reference", str, "your own reference for the case; recorded", ""),
)
SETTINGS: Final = SERVER_SETTINGS + AFFAIR_SETTINGS
AFFAIR_FIELDS: Final = ("schedule", "item", "number", "operator", "reason", "case_reference")
OPERATOR_PASSWORD_VARIABLE: Final = "JUKINET_OPERATOR_PASSWORD"  # noqa: S105 - the name of a variable
OPERATOR_PIN_VARIABLE: Final = "JUKINET_OPERATOR_PIN"
KEY_PASSWORD_VARIABLE: Final = "JUKINET_KEY_PASSWORD"  # noqa: S105 - the name of a variable
PROFILE_VARIABLE: Final = "JUKINET_PROFILE"


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Everything that a query command must know before it connects."""

    host: str
    port: int
    tls: Credentials
    affair: dict[str, Any]
    credential: OperatorCredential | None = None

    @property
    def opening(self) -> dict[str, Any]:
        """Arguments of ``client.session``: the affair, and what the operator proves itself with."""
        return {**self.affair, "credential": self.credential}


def add_connection_arguments(
    parser: argparse.ArgumentParser, settings: Sequence[Setting] = SETTINGS, title: str = "connection and affair"
) -> None:
    """An option for each setting, and --profile."""
    sections = list(dict.fromkeys(setting.section for setting in settings))
    listed = ", ".join(f"[{section}]" for section in sections)
    group = parser.add_argument_group(
        title,
        f"Each may stand in the environment (JUKINET_HOST, ...) or in a profile file: TOML with tables {listed}. "
        "An option wins over the environment, the environment over the profile.",
    )
    group.add_argument("--profile", metavar="FILE", help=f"profile file (environment: {PROFILE_VARIABLE})")
    for setting in settings:
        group.add_argument(
            setting.option, type=setting.kind, metavar=setting.key.upper(), help=setting.help, default=None
        )


def load_profile(path: str, settings: Sequence[Setting] = SETTINGS) -> dict[str, dict[str, Any]]:
    """The profile's tables; ConfigurationError naming file, key and remedy. Paths are relative to the file."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(PROFILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"profile {path}: {error.strerror}; give the path of a TOML file") from None
    if len(content) > PROFILE_BYTES_MAX:
        raise ConfigurationError(f"profile {path}: larger than {PROFILE_BYTES_MAX} bytes; this is no profile")
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"profile {path}: not TOML ({error})") from None
    known: dict[str, dict[str, Setting]] = {}
    for setting in settings:
        known.setdefault(setting.section, {})[setting.key] = setting
    for section, table in tables.items():
        if section not in known or not isinstance(table, dict):
            raise ConfigurationError(f"profile {path}: no table [{section}]; there are " + ", ".join(known))
        for key, value in table.items():
            found = known[section].get(key)
            if found is None:
                raise ConfigurationError(
                    f"profile {path}: no key {key!r} in [{section}]; there are " + ", ".join(known[section])
                )
            if type(value) is not found.kind:
                raise ConfigurationError(f"profile {path}: {section}.{key} must be {_kind(found)}")
            if found.is_path and value:
                table[key] = str(Path(path).parent / str(value))
    return tables


def gathered(
    arguments: argparse.Namespace,
    settings: Sequence[Setting],
    environment: Mapping[str, str] | None = None,
    known: Sequence[Setting] | None = None,
) -> dict[str, Any]:
    """Each setting's value by key. ConfigurationError lists everything that is missing, and where it may be given.

    known: what a profile may hold besides; default: these settings."""
    environment = os.environ if environment is None else environment
    profile_path = arguments.profile or environment.get(PROFILE_VARIABLE)
    profile = load_profile(profile_path, known or settings) if profile_path else {}
    values: dict[str, Any] = {}
    missing: list[Setting] = []
    for setting in settings:
        value = getattr(arguments, setting.key)
        if value is None and setting.variable in environment:
            value = _from_text(setting, environment[setting.variable])
        if value is None:
            value = profile.get(setting.section, {}).get(setting.key, setting.default)
        if value is None:
            missing.append(setting)
        values[setting.key] = value
    if missing:
        raise ConfigurationError(
            "not known: " + ", ".join(f"{setting.key} ({setting.option})" for setting in missing)
            + f"; give the option, the environment variable (such as {missing[0].variable}) or a --profile FILE"
        )  # fmt: skip
    if "port" in values and not 1 <= values["port"] <= PORT_MAX:
        raise ConfigurationError(f"port must be 1 to {PORT_MAX}")
    return values


def credentials(values: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Credentials:
    """Those of gathered settings, with the key's password from the environment."""
    environment = os.environ if environment is None else environment
    return Credentials(values["root"], values["certificate"], values["key"], environment.get(KEY_PASSWORD_VARIABLE))


def operator_credential(
    values: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> OperatorCredential | None:
    """What the operator proves itself with: card, key file or password, the first that is given; else None."""
    environment = os.environ if environment is None else environment
    if values["card_module"]:
        pin = environment.get(OPERATOR_PIN_VARIABLE)
        if pin is None:
            pin = getpass.getpass("PIN of the card: ")
        return OperatorCard(values["card_module"], values["card_token"], values["card_label"], pin)
    password = environment.get(OPERATOR_PASSWORD_VARIABLE)
    if values["operator_key"]:
        return OperatorKey(values["operator_key"], password)
    return None if password is None else OperatorPassword(password)


def connection_settings(
    arguments: argparse.Namespace, environment: Mapping[str, str] | None = None
) -> ConnectionSettings:
    """Gather a query command's settings; raises as `gathered`."""
    values = gathered(arguments, SETTINGS, environment)
    affair = {name: values[name] for name in AFFAIR_FIELDS}
    credential = operator_credential(values, environment)
    return ConnectionSettings(values["host"], values["port"], credentials(values, environment), affair, credential)


def media_settings(
    arguments: argparse.Namespace, environment: Mapping[str, str] | None = None
) -> tuple[Credentials, dict[str, Any]]:
    """Credentials and affair, for a file that is signed instead of a connection; raises as `gathered`."""
    settings = [setting for setting in SETTINGS if setting.section != "server"]
    values = gathered(arguments, settings, environment, SETTINGS)
    return credentials(values, environment), {name: values[name] for name in AFFAIR_FIELDS}


def _kind(setting: Setting) -> str:
    return "a whole number" if setting.kind is int else "a text"


def _from_text(setting: Setting, text: str) -> int | str:
    try:
        return setting.kind(text)
    except ValueError:
        raise ConfigurationError(f"environment variable {setting.variable} must be {_kind(setting)}") from None
