"""The settings as text: docs/configuration.md and the file of every default, both made from the declaration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from jukinet.server.configuration import RELATIONS, Configuration


class Setting(Struct, frozen=True):
    """One setting as declared: for the documentation and for --print-defaults."""

    section: str
    name: str
    type: str
    default: object
    allowed: str
    description: str


def settings() -> Iterator[tuple[type[Struct], str, list[Setting]]]:
    """Each section's class, name and settings, in the order of their declaration."""
    for section, declaration in get_type_hints(Configuration).items():
        found = []
        hints = get_type_hints(declaration, include_extras=True)
        for field in msgspec.structs.fields(declaration):
            base, meta = get_args(hints[field.name])[:2]
            found.append(
                Setting(section, field.name, _type_name(base), field.default, _allowed(base, meta), meta.description)
            )
        yield declaration, section, found


def _type_name(base: object) -> str:
    names: dict[object, str] = {int: "whole number", float: "number", bool: "true/false"}
    return names.get(base, "text")


def _allowed(base: object, meta: Meta) -> str:
    if get_origin(base) is Literal:
        return ", ".join(str(value) for value in get_args(base))
    if meta.ge is not None and meta.le is not None:
        return f"{meta.ge:,} to {meta.le:,}"
    return "not empty" if meta.min_length else ""


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:_}" if isinstance(value, int) else str(value)


def defaults_document() -> str:
    """A configuration file with every setting at its default; those that have none are left out as comments."""
    lines = ["# Every setting of `jukinet serve`. Settings without a default are commented out and must be given."]
    for declaration, section, found in settings():
        lines += ["", f"# {(declaration.__doc__ or '').strip()}", f"[{section}]"]
        for setting in found:
            lines.append(f"# {setting.description}" + (f" ({setting.allowed})" if setting.allowed else ""))
            if setting.default is msgspec.NODEFAULT:
                lines.append(f"# {setting.name} = ")
            else:
                lines.append(f"{setting.name} = {_toml(setting.default)}")
    return "\n".join(lines) + "\n"


PAGE_HEAD: Final = """# Configuration of `jukinet serve`

The server reads one TOML file, named with `--config`. It is checked whole before anything starts: an unknown key,
a wrong type, a value outside its range or values that contradict one another end the command with exit code 2 and
a sentence that names the key. `jukinet serve --config FILE --check` does only that, and also reads the authority
file and the certificates; `jukinet serve --print-defaults` prints a file with every setting at its default.

Paths that are not absolute are taken from the configuration file's own directory. Settings are read when the
server starts; SIGHUP reads the authority file and the certificates again, not this file.

**What is allowed to a body is counted over all worker processes**: its connections and its codes a second, here and in
the authority file. What protects a worker's memory and descriptors (all other limits) each worker counts for itself.

The smallest file that serves:

```toml
[register]
store = "register"

[tls]
certificate = "server.pem"
key = "server.key"
roots = "root.pem"

[authority]
file = "authority.toml"

[operators]
database = "operators.db"

[record_of_use]
directory = "record-of-use"
```

This page is made from the declaration in `server/configuration.py`, and a test compares the two.
"""


def settings_page() -> str:
    """docs/configuration.md, as Markdown."""
    lines = [PAGE_HEAD]
    for declaration, section, found in settings():
        lines += [f"## [{section}]", "", (declaration.__doc__ or "").strip(), ""]
        lines += ["| setting | type | default | allowed | meaning |", "|---|---|---|---|---|"]
        for setting in found:
            default = "(required)" if setting.default is msgspec.NODEFAULT else f"`{_toml(setting.default)}`"
            lines.append(
                f"| `{setting.name}` | {setting.type} | {default} | {setting.allowed} | {setting.description} |"
            )
        lines.append("")
    lines += ["## Relations between settings", "", "Refused as contradictions:", ""]
    lines += [f"- {sentence}" for sentence in RELATIONS]
    return "\n".join(lines) + "\n"
