"""Reading the areas and towns tables of one transaction into the arrays that kernels use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lmdb

from jukinet.core.errors import StoreCorruptError
from jukinet.core.store import schema
from jukinet.core.store.schema import Area, Meta, Town
from jukinet.core.store.snapshot import PlaceTables


def read_places(
    transaction: lmdb.Transaction, databases: Mapping[str, lmdb._Database], meta: Meta, directory: Path
) -> PlaceTables:
    """All areas and towns. StoreCorruptError when a row is damaged or there are not as many as ``meta`` says."""
    with transaction.cursor(db=databases["areas"]) as cursor:
        areas: list[Area] = [schema.unpack_area(value) for value in cursor.iternext(keys=False)]
    if len(areas) != meta.areas:
        raise StoreCorruptError(f"{directory}: the areas table has {len(areas)} rows instead of {meta.areas}")
    towns: list[Town] = []
    with transaction.cursor(db=databases["towns"]) as cursor:
        for value in cursor.iternext(keys=False):
            towns += schema.unpack_towns(value)
    if len(towns) != meta.towns:
        raise StoreCorruptError(f"{directory}: the towns table has {len(towns)} rows instead of {meta.towns}")
    return PlaceTables(areas, towns)
