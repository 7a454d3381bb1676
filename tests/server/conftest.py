from __future__ import annotations

import pytest

from .serving import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Register, certificates and bodies that all tests of the server share; nobody writes to it."""
    return Place(tmp_path_factory.mktemp("place"))
