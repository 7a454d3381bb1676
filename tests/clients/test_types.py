"""The public API's types, checked strictly: what a caller's editor will say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_public_api_has_the_types_that_it_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--warn-unused-ignores", str(Path(__file__).with_name("typed_api.py"))],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
