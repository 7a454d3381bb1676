"""The report of a match as text: what was read, how rows were answered, what differed, what was not asked and why."""

from __future__ import annotations

import unicodedata
from typing import Final

from msgspec import Struct

from jukinet.clients.matching.tally import ASKED, GRADES, Tally, class_names
from jukinet.core.vocabulary import Found, Prefecture

FOUND_WORDS: Final = {
    Found.ONE.name: "one match",
    Found.SEVERAL.name: "several candidates, none disclosed",
    Found.TOO_MANY.name: "too many candidates",
    Found.NONE.name: "nobody",
    Found.NONE_NOT_CONNECTED.name: "nobody, but areas are not connected",
}
GRADE_WORDS: Final = {
    "EXACT": "exact",
    "FOLDED": "equal after folding",
    "KANA": "by the reading",
    "EARLIER_NAME": "by an earlier record",
    "NEAR_DATE": "near birth date",
    "NEAR_NAME": "near name",
}
ROWS_OF_AREAS_MAX: Final = 20
DEVIATIONS_MAX: Final = 20
MISSING_AREAS_MAX: Final = 10
SMALLEST_SHARE: Final = 1_000
"""A share below one in so many is told as less than that, and one that lacks less as more: not as none or all."""


class About(Struct, frozen=True):
    """What a report says besides the counts."""

    source: str
    """The input's file name and how it was read."""
    out: str
    columns: list[tuple[str, str]]
    """Item and the columns that hold it."""
    seconds: float
    asked_now: int
    """Rows asked in this run; the others were kept from a run before."""
    missing_areas: list[int]
    """Areas that are not connected, JIS X 0402."""
    beyond_era: int = 0
    """Birth dates that were written in an era that had ended, in this run."""


Section = tuple[str, list[tuple[str, int, str]]]
"""A title, and rows of (words, count, share)."""


def area_words(area: str) -> str:
    """The area's number with the prefecture in which it lies."""
    number = int(area) // 1000
    known = number in set(map(int, Prefecture))
    return f"{area} {Prefecture(number).name.capitalize()}" if known else area


def share(part: int, whole: int) -> str:
    if 0 < part < whole / SMALLEST_SHARE:
        return "< 0.1%"
    if whole - whole / SMALLEST_SHARE < part < whole:
        return "> 99.9%"
    return f"{part / whole:.1%}" if whole else ""


def sections(tally: Tally) -> list[Section]:
    """The counts as titled lists; empty ones are left out."""
    rows, matched = tally.rows, tally.matched
    found: list[Section] = [
        ("Answers", [(FOUND_WORDS[f.name], n, share(n, rows)) for f in ASKED if (n := tally.found[f.name])]),
        ("Not asked", [(f"{found}: {why}" if why else found, n, share(n, rows))
                       for (found, why), n in sorted(tally.reasons.items(), key=lambda pair: -pair[1])]),
        ("Matches by grade", [(GRADE_WORDS[g], n, share(n, matched)) for g in GRADES if (n := tally.grades[g])]),
        ("Matches by what differed", [(words, n, share(n, matched))
                                      for words, n in tally.deviations()[:DEVIATIONS_MAX]]),
        ("Matches by probability", [(words, n, share(n, matched)) for place, words in enumerate(class_names())
                                    if (n := tally.probabilities[place])]),
        ("Matches by how the person stands", [(outcome.lower().replace("_", " "), n, share(n, matched))
                                              for outcome, n in tally.outcomes.most_common()]),
        ("Matches by prefecture", [(name, n, share(n, matched)) for name, n in tally.prefectures()]),
        ("Matches by area, the most frequent", [(area_words(area), n, share(n, matched))
                                                for area, n in tally.areas.most_common(ROWS_OF_AREAS_MAX)]),
    ]  # fmt: skip
    return [(title, listed) for title, listed in found if listed]


def headline(tally: Tally, about: About) -> str:
    """The result in one line."""
    rate = about.asked_now / about.seconds if about.seconds > 0 else 0.0
    return (
        f"{tally.rows:,} records: {tally.matched:,} matched ({share(tally.matched, tally.rows) or '0%'}), "
        f"{tally.rows - tally.asked:,} not asked; {about.seconds:.1f} s, {rate:,.0f} records/s"
    )


def notes(about: About) -> list[str]:
    """What somebody who reads the counts should know."""
    found = []
    if about.missing_areas:
        listed = ", ".join(f"{area:05}" for area in about.missing_areas[:MISSING_AREAS_MAX])
        more = len(about.missing_areas) - MISSING_AREAS_MAX
        listed += f" and {more:,} more" if more > 0 else ""
        found.append(f"Areas that are not connected, whose residents cannot be found: {listed}")
    if about.beyond_era:
        found.append(f"{about.beyond_era:,} birth dates stand in an era that had ended; the day meant was asked for")
    return found


def report_text(tally: Tally, about: About) -> str:
    """The whole report."""
    lines = [headline(tally, about), f"read    {about.source}", f"written {about.out}"]
    lines += [f"  {item.replace('_', ' ')}: {columns}" for item, columns in about.columns]
    for title, listed in sections(tally):
        lines += ["", title]
        width = max(map(cells, (words for words, _, _ in listed)))
        lines += [f"  {words}{' ' * (width - cells(words))}  {count:>11,}  {part:>6}" for words, count, part in listed]
    lines += ["", *notes(about)] if notes(about) else []
    return "\n".join(lines) + "\n"


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
