import datetime

from jukinet.core.records.resident import Resident
from jukinet.server.nation.tables import NationTables

class Population:
    seed: int
    residents: int
    retired: int
    def __init__(self, tables: NationTables, seed: int, residents: int, date: datetime.date) -> None: ...
    def describe(self, number: int) -> Resident: ...
    def household_of(self, number: int) -> tuple[int, str]: ...
