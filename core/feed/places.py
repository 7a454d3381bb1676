"""Areas by their JIS number, and addresses split at the town that the register knows."""

from __future__ import annotations

from jukinet.core import limits
from jukinet.core.store.schema import Area, Town


class Places:
    """What the engine asks of the areas and towns tables; both stay as they are while a register is open for feeds."""

    def __init__(self, areas: list[Area], towns: list[Town]) -> None:
        self.jis = [area.jis for area in areas]
        self.known = {area.jis: number for number, area in enumerate(areas)}
        """Area number by JIS number, of all areas."""
        self.connected = {area.jis: number for number, area in enumerate(areas) if area.connected}
        """Area number by JIS number, of connected areas."""
        self._town_texts = [town.text for town in towns]
        self._towns: list[dict[str, int]] = [{} for _ in areas]
        for number, town in enumerate(towns, 1):
            if town.text:
                self._towns[town.area].setdefault(town.text, number)
        self._lengths = [sorted({len(text) for text in texts}, reverse=True) for texts in self._towns]

    def split(self, area: int, address: str) -> tuple[int, str] | None:
        """(town number, rest): the longest text of the area's towns that the address begins with, 0 when none does.

        None when the rest does not fit a record: such an address is a fault of the notification.
        """
        towns = self._towns[area]
        for length in self._lengths[area]:
            town = towns.get(address[:length])
            if town is not None and length <= len(address):
                rest = address[length:]
                return (town, rest) if len(rest.encode()) <= limits.ADDRESS_REST_BYTES_MAX else None
        return (0, address) if len(address.encode()) <= limits.ADDRESS_REST_BYTES_MAX else None

    def town_text(self, town: int) -> str:
        """The text of a town number, '' for 0."""
        return self._town_texts[town - 1] if town else ""
