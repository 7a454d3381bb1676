"""The tables are the same for every nation and take seconds to make: once for all tests."""

from __future__ import annotations

import pytest

from jukinet.server.nation.build import NATION_DATE
from jukinet.server.nation.population import Population
from jukinet.server.nation.tables import NationTables, load_tables


@pytest.fixture(scope="session")
def tables() -> NationTables:
    return load_tables()


@pytest.fixture(scope="session")
def population(tables: NationTables) -> Population:
    """Two million residents, made one at a time where a test wants them."""
    return Population(tables, 20_260_101, 2_000_000, NATION_DATE)
