"""Whether somebody whom nobody was found for could live in an area that is not connected (docs/protocol.md, 3.8)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final, NamedTuple

_PREFECTURE_ENDS: Final = "都道府県"
_DISTRICT_END: Final = "郡"
_TRAILING: Final = " \u3000"


class ConnectedArea(NamedTuple):
    """An area's name with its prefecture, and whether it is connected."""

    name: str
    connected: bool


class MissingAreas:
    """Invariant: ``_areas`` holds, for each beginning of addresses, whether all areas so called are connected."""

    def __init__(self, areas: Iterable[ConnectedArea]) -> None:
        self._areas: dict[str, bool] = {}
        self.any_missing = False
        for area in areas:
            self.any_missing |= not area.connected
            for name in _beginnings(_plain(area.name)):
                self._areas[name] = self._areas.get(name, True) and area.connected
        self._longest = max(map(len, self._areas), default=0)

    def possible(self, address: bytes) -> bool:
        """Whether the person could be in an area that is not connected: the address (UTF-8, may be empty) lies in one,
        or does not say where it lies. At most as many look-ups as the longest area has characters."""
        if not self.any_missing:
            return False
        # An area's name is among the first characters; what is cut off inside the last one does not matter.
        text = _plain(address[: 12 * self._longest].decode("utf-8", "ignore"))[: self._longest]
        for length in range(len(text), 1, -1):
            connected = self._areas.get(text[:length])
            if connected is not None:
                return not connected
        return True


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).translate({ord(space): None for space in _TRAILING})


def _beginnings(name: str) -> list[str]:
    """An area's name, and as people shorten it: without prefecture, without district, without both."""
    names = [name]
    place = name
    # A prefecture has three characters, or four of which the last is 県.
    for cut, ends in ((3, _PREFECTURE_ENDS), (4, "県")):
        if len(name) > cut and name[cut - 1] in ends:
            place = name[cut:]
            break
    names.append(place)
    district = place.find(_DISTRICT_END, 1)
    if 0 < district < len(place) - 1:
        names += [place[district + 1 :], name.replace(place, place[district + 1 :])]
    return names
