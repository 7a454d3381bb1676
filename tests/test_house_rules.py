"""Rules of the house that a program can check: layers, names, lengths, first lines, what must not stand in the tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core import limits

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("core", "server", "clients")
FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 90
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}

CLIENTS = {
    "clients",
    "core.wire",
    "core.columns",
    "core.notifications",
    "core.vocabulary",
    "core.errors",
    "core.limits",
    "core.codes",
    "core.signatures",
    "core.folding",
    "core.media",
}
# What each part may import from the product; a part is the longest name here that a module's name starts with.
ALLOWED = {
    "core": {"core"},
    "server": {"server", "core"},
    "clients": CLIENTS,
    # The prefecture's own holdings are a register, changed by the same engine as the centre's.
    # A witness checks checkpoints by itself.
    "clients.feed": CLIENTS
    | {"core.feed", "core.store", "core.audit.checkpoint", "core.audit.merkle", "core.audit.errors"},
}
FORBIDDEN_IN_CORE = {"trio", "socket", "ssl", "asyncio", "selectors"}


def sources(*endings: str) -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in endings)


def imports(path: Path) -> Iterator[str]:
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "jukinet.core")
        return
    for found in re.finditer(r"^\s*(?:from|cimport|import)\s+([\w.]+)", path.read_text(), re.MULTILINE):
        yield found[1]


@pytest.mark.parametrize("path", sources(".py", ".pyx", ".pxd"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts) + "."
    allowed_here = ALLOWED[max((part for part in ALLOWED if own.startswith(part + ".")), key=len)]
    for name in imports(path):
        if folder == "core":
            assert name.split(".")[0] not in FORBIDDEN_IN_CORE, f"{path} imports {name}"
        if not name.startswith("jukinet.") or name == "jukinet.core":
            continue
        module = name.removeprefix("jukinet.")
        assert any(module == allowed or module.startswith(allowed + ".") for allowed in allowed_here), (
            f"{path} imports {name}"
        )


@pytest.mark.parametrize("path", sources(".py", ".pyx"), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_say_what_they_are_for_and_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.startswith('"""'), "the first line says the file's one responsibility"
    assert len(text.splitlines()) <= FILE_LINES_MAX
    assert not VAGUE_NAMES & set(re.split(r"[_\W]", path.stem)), "a name that says nothing"


@pytest.mark.parametrize("path", sources(".py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_stay_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


def test_every_native_module_has_a_stub() -> None:
    missing = [path for path in sources(".pyx") if not path.with_suffix(".pyi").exists()]
    # Modules that only kernels use offer nothing to Python.
    native_only = {"gather", "columns", "packed"}
    assert [path for path in missing if path.stem not in native_only] == []


def test_limits_hold_together() -> None:
    assert limits.CODES_PER_REQUEST_MAX * 8 + 16 <= limits.REQUEST_BYTES_MAX
    assert limits.CODES_PER_REQUEST_MAX * limits.ADDRESS_BYTES_MAX <= limits.ANSWER_BYTES_MAX
    assert limits.RESIDENT_KEYS % 10 == 0
    assert limits.RESIDENTS_PER_BLOCK < limits.BLOCK_ENTRIES_MAX


def test_the_tree_speaks_of_the_product_alone() -> None:
    paths = re.compile(r"(^|[^A-Za-z0-9._-])/(work|farm|root|home)/")
    for path in [
        *sources(".py", ".pyx", ".pxd", ".pyi", ".h", ".toml"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "README.md",
    ]:
        assert not paths.search(path.read_text()), f"{path} names a folder of some machine"
