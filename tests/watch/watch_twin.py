"""Plain-Python twin of the watch, written from docs/detection.md: dictionaries instead of slots."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from jukinet.core.vocabulary import CODE_END, Function, Outcome
from jukinet.core.watch.rules import Finding, Rule, Thresholds

MASK = (1 << 64) - 1
BY_CODE = Function.LOOKUP | Function.STATUS | Function.VERIFY | Function.HISTORY
NO_PERSON = (Outcome.UNKNOWN, Outcome.BAD_CHECK_DIGIT, Outcome.MALFORMED)


def mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


@dataclass
class Request:
    operator: int
    body: int
    affair: int
    codes: list[int]
    outcomes: list[int]
    function: int
    time: float
    batch: bool = False


@dataclass
class Operator:
    seen: float
    hour: int
    asked: float = 0.0
    absent: float = 0.0
    wrong: float = 0.0
    near: float = 0.0
    last: int | None = None
    usual: float = 0.0
    registers: list[int] = field(default_factory=lambda: [0] * 256)

    def different(self) -> float:
        total = 0.0
        for register in self.registers:
            total += math.ldexp(1.0, -register)
        estimate = 0.7213 / (1.0 + 1.079 / 256) * 256 * 256 / total
        empty = self.registers.count(0)
        return 256 * math.log(256 / empty) if estimate <= 640 and empty else estimate


@dataclass
class Habit:
    seen: float
    hour: int
    count: float = 0.0
    usual: list[float] = field(default_factory=lambda: [0.0] * 24)
    number: int = 0

    def roll(self, hour: int) -> None:
        if hour <= self.hour:
            return
        if self.hour < hour - 1_440:
            self.usual = [0.0] * 24
        else:
            for passed in range(self.hour, hour):
                self.usual[passed % 24] += (self.count - self.usual[passed % 24]) / 8
                self.count = 0.0
        self.count, self.hour = 0.0, hour


class WatchTwin:
    """Good for fewer operators, bodies and affairs than there are slots."""

    def __init__(self, key: bytes, created: float, limits: Thresholds) -> None:
        self.keys = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
        self.created = created
        self.limits = limits
        self.operators: dict[int, Operator] = {}
        self.habits: dict[int, Habit] = {}
        self.given: dict[tuple[Rule, int], float] = {}
        self.cells: dict[int, dict[tuple[int, int], int]] = {}
        self.generation = -1
        self.numbered = 0
        self.findings: list[Finding] = []

    def work(self, requests: list[Request]) -> list[Finding]:
        self.findings = []
        for request in requests:
            self.one(request)
        return self.findings

    def alarm(self, r: Request, rule: Rule, subject: int, value: float, limit: float, code: int | None = None) -> None:
        before = self.given.get((rule, subject))
        if before is not None and before <= r.time and r.time - before < self.limits.repeat_seconds:
            return
        self.given[rule, subject] = r.time
        self.findings.append(Finding(rule, r.time, r.operator, r.body, r.affair, code, value, limit))

    def near(self, code: int, other: int) -> bool:
        return 0 < abs(code - other) <= self.limits.sequential_gap

    def one(self, r: Request) -> None:
        hour = math.floor((r.time + 9 * 3_600) / 3_600)
        operator = self.operators.setdefault(r.operator, Operator(r.time, hour))
        by_code = bool(r.function & BY_CODE)
        if by_code:
            self.operator_rules(r, operator)
        operator.seen = max(operator.seen, r.time)
        singles = [
            code
            for code, outcome in zip(r.codes, r.outcomes, strict=True)
            if code < CODE_END and not (by_code and outcome in NO_PERSON)
        ]
        if singles and len(r.codes) <= 16 and not r.batch:
            self.persons(r, operator, singles, hour)
        number = self.habit_rules(r, hour)
        if singles and len(r.codes) <= 16 and self.limits.affairs_min:
            self.affairs(r, singles, number)

    def operator_rules(self, r: Request, o: Operator) -> None:
        limits = self.limits
        factor = math.exp2(-(r.time - o.seen) / limits.half_life_seconds) if r.time > o.seen else 1.0
        chain = r.codes if o.last is None else [o.last, *r.codes]
        near = sum(self.near(code, before) for before, code in pairwise(chain))
        o.last = r.codes[-1]
        o.asked = o.asked * factor + len(r.codes)
        o.absent = o.absent * factor + r.outcomes.count(Outcome.UNKNOWN)
        wrong = r.outcomes.count(Outcome.BAD_CHECK_DIGIT) + r.outcomes.count(Outcome.MALFORMED)
        o.wrong = o.wrong * factor + wrong
        o.near = o.near * factor + near
        for rule, value, least, share in (
            (Rule.ABSENT, o.absent, limits.absent_codes_min, limits.absent_share_min),
            (Rule.CHECK_DIGITS, o.wrong, limits.check_digit_codes_min, limits.check_digit_share_min),
            (Rule.SEQUENTIAL, o.near, limits.sequential_codes_min, limits.sequential_share_min),
        ):
            if least > 0 and value >= least and value >= share * o.asked:
                self.alarm(r, rule, r.operator, value, least)

    def persons(self, r: Request, o: Operator, singles: list[int], hour: int) -> None:
        if hour > o.hour:
            if o.different() > 0:
                o.usual += (o.different() - o.usual) / 8
            o.registers, o.hour = [0] * 256, hour
        before = list(o.registers)
        for code in singles:
            value = mixed(mixed(code ^ self.keys[0]) ^ self.keys[1])
            rest, rank = value >> 8, 1
            while not rest & 1 and rank < 57:
                rest, rank = rest >> 1, rank + 1
            o.registers[value & 255] = max(o.registers[value & 255], rank)
        if before != o.registers and self.limits.persons_per_hour_min > 0:
            limit = max(self.limits.persons_per_hour_min, self.limits.persons_factor * o.usual)
            if o.different() > limit:
                self.alarm(r, Rule.ONE_AT_A_TIME, r.operator, o.different(), limit)

    def affairs(self, r: Request, singles: list[int], number: int) -> None:
        generation = math.floor(r.time / (self.limits.affairs_seconds / 2))
        if generation > self.generation:
            self.cells = {generation - 1: self.cells.get(generation - 1, {}), generation: {}}
            self.generation = generation
        now, past = self.cells[self.generation], self.cells[self.generation - 1]
        for code in singles:
            value = mixed(code ^ self.keys[0])
            step = mixed(value ^ self.keys[1]) | 1
            common = MASK
            for line in range(4):
                place = line, (value + line * step) % 131_072
                now[place] = now.get(place, 0) | 1 << number % 64
                common &= now[place] | past.get(place, 0)
            if common.bit_count() >= self.limits.affairs_min:
                count = common.bit_count()
                self.alarm(r, Rule.MANY_AFFAIRS, value, count, self.limits.affairs_min, code)

    def habit_rules(self, r: Request, hour: int) -> int:
        limits, of_day, count = self.limits, hour % 24, len(r.codes)
        learned = r.time - self.created >= limits.learning_seconds
        body = self.habits.setdefault(r.body, Habit(r.time, hour))
        body.roll(hour)
        body.count += count
        body.seen = max(body.seen, r.time)
        limit = max(limits.rate_codes_min, limits.rate_factor * body.usual[of_day])
        if limits.rate_codes_min > 0 and learned and body.count > limit:
            self.alarm(r, Rule.RATE, r.body, body.count, limit)
        is_new = r.affair not in self.habits
        affair = self.habits.setdefault(r.affair, Habit(r.time, hour))
        away = r.time - affair.seen
        if limits.first_use_seconds > 0 and learned and (is_new or away > limits.first_use_seconds):
            self.alarm(r, Rule.FIRST_USE, r.affair, 0.0 if is_new else away / 86_400, limits.first_use_seconds / 86_400)
        affair.roll(hour)
        start, end = limits.night_from, limits.night_until
        night = start <= of_day < end if start <= end else of_day >= start or of_day < end
        if night and learned and affair.usual[of_day] < 0.01:
            self.alarm(r, Rule.NIGHT, mixed(r.operator) ^ r.affair, of_day, start)
        affair.count += count
        affair.seen = max(affair.seen, r.time)
        if affair.number == 0:
            self.numbered += 1
            affair.number = self.numbered
        return affair.number


__all__ = ["Request", "WatchTwin"]
