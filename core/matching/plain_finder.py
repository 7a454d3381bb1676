"""A plain matcher over all records of a small register: equal after folding, nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lmdb

from jukinet.core.folding.kana import folded_kana
from jukinet.core.folding.names import folded_name
from jukinet.core.matching.columns import LEVELS, Answers, Hits, MatchRules, Questions
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block, schema
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import Found, Grade, Level

DATABASES: dict[str, Any] = {}


def packed(date: int) -> int:
    return date // 10_000 << 9 | date // 100 % 100 << 5 | date % 100


class PlainFinder:
    def __init__(self, parameters: str) -> None:
        self._parameters = parameters
        self._version = -1
        self._people: list[Resident] = []

    def _load(self, snapshot: Snapshot) -> None:
        if snapshot.version == self._version:
            return
        transaction = snapshot.transaction
        assert transaction is not None
        self._people = []
        width = DATABASES["width"]
        database: Mapping[str, lmdb._Database] = DATABASES["databases"]
        with transaction.cursor(database["residents"]) as cursor:
            for name, value in cursor:
                bucket = schema.NUMBER.unpack(name)[0]
                for delta, status, data in block.decode(value):
                    person = record.decode(bucket * width + delta, status, bytes(data))
                    if person.has_person:
                        self._people.append(person)
        self._version = snapshot.version

    def _found(self, questions: Questions, row: int) -> list[tuple[Resident, int, list[int]]]:
        name, kana = questions.names[row], questions.kanas[row]
        date, sex = questions.birth_dates[row], questions.sexes[row]
        out = []
        for person in self._people:
            levels = [0] * LEVELS
            if date:
                if packed(person.birth_date) != date:
                    continue
                levels[2] = Level.EXACT
            if name:
                if folded_name(name) != folded_name(person.name):
                    continue
                levels[0] = Level.EXACT if name == person.name else Level.FOLDED
            if kana:
                if folded_kana(kana) != folded_kana(person.kana):
                    continue
                levels[1] = Level.EXACT if kana == person.kana else Level.FOLDED
            if sex:
                levels[3] = Level.EXACT if sex == person.sex else Level.DIFFERENT
            grade = Grade.KANA if not name else Grade.EXACT if levels[0] == Level.EXACT else Grade.FOLDED
            out.append((person, grade, levels))
        return out

    def match(
        self, snapshot: Snapshot, questions: Questions, rules: MatchRules, start: int, stop: int, answers: Answers
    ) -> None:
        self._load(snapshot)
        for row in range(start, stop):
            if answers.statuses[row]:
                continue
            found = self._found(questions, row)
            answers.candidates[row] = min(len(found), 65_535)
            answers.statuses[row] = Found.NONE if not found else Found.ONE if len(found) == 1 else Found.SEVERAL
            answers.probabilities[row] = 1 / len(found) if found else 0.0
            if len(found) == 1:
                person, grade, levels = found[0]
                answers.keys[row], answers.grades[row] = person.key, grade
                answers.margins[row] = math.fsum([1.0])
                answers.levels[row * LEVELS : (row + 1) * LEVELS] = bytes(levels)

    def search(
        self, snapshot: Snapshot, questions: Questions, rules: MatchRules, prefix: bool, start: int, stop: int,
        hits: Hits,
    ) -> None:  # fmt: skip
        self._load(snapshot)
        for row in range(start, stop):
            if hits.statuses[row]:
                continue
            found = self._found(questions, row)
            hits.statuses[row] = Found.NONE if not found else Found.ONE if len(found) == 1 else Found.SEVERAL
            if len(found) > hits.cap:
                hits.statuses[row] = Found.TOO_MANY
                continue
            hits.found[row] = len(found)
            for place, (person, grade, levels) in enumerate(found, row * hits.cap):
                hits.keys[place], hits.grades[place] = person.key, grade
                hits.probabilities[place] = 1 / len(found)
                hits.levels[place * LEVELS : (place + 1) * LEVELS] = bytes(levels)
