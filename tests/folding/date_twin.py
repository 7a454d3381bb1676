"""Plain-Python twins of the kernels of dates: a writer of every form that is read, and comparison with the calendar."""

from __future__ import annotations

import datetime

from hypothesis import strategies as st

ERAS = (
    ("明治", "M", "㍾", datetime.date(1868, 1, 25)),
    ("大正", "T", "㍽", datetime.date(1912, 7, 30)),
    ("昭和", "S", "㍼", datetime.date(1926, 12, 25)),
    ("平成", "H", "㍻", datetime.date(1989, 1, 8)),
    ("令和", "R", "㋿", datetime.date(2019, 5, 1)),
)
FULL_WIDTH = str.maketrans("0123456789/-.", "０１２３４５６７８９／－．")
POSITIONS = str.maketrans("0123456789", "〇一二三四五六七八九")


def kanji_numeral(number: int) -> str:
    """二十三 for 23, 千九百六十五 for 1965."""
    text = ""
    for unit, word in ((1000, "千"), (100, "百"), (10, "十")):
        digit = number // unit % 10
        text += ("" if digit == 1 else str(digit)) + word if digit else ""
    return (text + (str(number % 10) if number % 10 else "")).translate(POSITIONS)


def era_of(date: datetime.date) -> int:
    """Place of the date's era; -1 before 明治."""
    return max((place for place, era in enumerate(ERAS) if date >= era[3]), default=-1)


@st.composite
def written_dates(draw: st.DrawFn) -> tuple[str, int]:
    """A text and the date (yyyymmdd) that it gives."""
    date = draw(st.dates(min_value=datetime.date(1868, 1, 25), max_value=datetime.date(2099, 12, 31)))
    known = draw(st.sampled_from([3, 3, 3, 2, 1]))
    parts = [date.year, date.month, date.day][:known]
    decimal = sum(part * unit for part, unit in zip(parts, (10_000, 100, 1), strict=False))
    place = era_of(date if known == 3 else datetime.date(date.year, date.month if known > 1 else 1, 1))
    number = draw(st.sampled_from([str, str, kanji_numeral, lambda value: str(value).translate(POSITIONS)]))
    year = f"{date.year}"
    if place >= 0 and draw(st.booleans()):
        era = ERAS[place]
        years = date.year - era[3].year + 1
        form = draw(st.sampled_from(["words", "points", "packed"]))
        if form == "packed" and known == 3:
            head = draw(st.sampled_from([era[1], era[1].lower(), str(place + 1)]))
            return f"{head}{years:02}{date.month:02}{date.day:02}", decimal
        if form == "points" and known == 3:
            mark = draw(st.sampled_from(["/", ".", "-", "．"]))
            text = (
                f"{draw(st.sampled_from([era[1], era[0][0], era[0], era[2]]))}{years}{mark}{date.month}{mark}{date.day}"
            )
            return draw(st.sampled_from([text, text.translate(FULL_WIDTH)])), decimal
        written = "元" if years == 1 else number(years)
        year = f"{draw(st.sampled_from([era[0], era[2], era[0][0], era[1]]))}{written}"
        return words(draw, year, [number(part) for part in parts[1:]], known), decimal
    form = draw(st.sampled_from(["words", "iso", "packed", "slashes", "database"]))
    if form == "packed":
        return f"{decimal:08}", decimal
    if form == "iso":
        return "-".join(f"{part:02}" for part in parts) + draw(st.sampled_from(["", "-00" * (3 - known)])), decimal
    if form == "database" and known == 3:
        return (
            f"{date.isoformat()}{draw(st.sampled_from([' 00:00:00', 'T00:00:00', '  0:00', ' 00:00:00.000']))}",
            decimal,
        )
    if form == "slashes" and known == 3:
        return "/".join(str(part) for part in parts).translate(draw(st.sampled_from([{}, FULL_WIDTH]))), decimal
    head = draw(st.sampled_from(["", "西暦"]))
    return words(
        draw, head + (year if number is str else year.translate(POSITIONS)), [number(part) for part in parts[1:]], known
    ), decimal


def words(draw: st.DrawFn, year: str, others: list[str], known: int) -> str:
    space = draw(st.sampled_from(["", " ", "　"]))
    text = space.join([f"{year}年", *(f"{part}{mark}" for part, mark in zip(others, "月日", strict=False))])
    endings = {
        3: [""],
        2: ["", "日不詳", "(日不詳)", "（日不詳）", "不詳日", "  日"],
        1: ["", "月日不詳", "(月日不詳)", " 月 日", "不詳"],
    }
    text += draw(st.sampled_from(endings[known]))
    return text if draw(st.booleans()) else text.translate(FULL_WIDTH)


def split(decimal: int) -> tuple[int, int, int]:
    return decimal // 10_000, decimal // 100 % 100, decimal % 100


def alternatives(decimal: int) -> list[int]:
    year, month, day = split(decimal)
    own = era_of(datetime.date(year, month or 1, day or 1)) if decimal else -1
    if own < 0:
        return []
    found = []
    for place, era in enumerate(ERAS):
        other = era[3].year + year - ERAS[own][3].year
        last = ERAS[place + 1][3].year if place < 4 else 4095
        if place != own and other <= last and exists(other, month, day):
            found.append(other * 10_000 + month * 100 + day)
    return found


def exists(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year, month or 1, day or 1)
    except ValueError:
        return False
    return bool(month) or not day


def nearness(one: int, other: int) -> int:
    """The values of DateNearness."""
    if not one or not other:
        return 8
    if one == other:
        return 0
    (year, month, day), (other_year, other_month, other_day) = split(one), split(other)
    if year == other_year and (not month or not other_month or (month == other_month and (not day or not other_day))):
        return 1
    if other in alternatives(one) or one in alternatives(other):
        return 2
    same_day = (month, day) == (other_month, other_day)
    if not day or not other_day:
        return 6 if same_day else 7
    if (year, month, day) == (other_year, other_day, other_month):
        return 3
    apart = [place for place, (a, b) in enumerate(zip(f"{one:08}", f"{other:08}", strict=True)) if a != b]
    if len(apart) == 1:
        return 4
    eras = era_of(datetime.date(year, month, day)), era_of(datetime.date(other_year, other_month, other_day))
    if same_day and eras[0] == eras[1] >= 0:
        first = ERAS[eras[0]][3].year - 1
        years = f"{year - first:02}"[-2:], f"{other_year - first:02}"[-2:]
        if sum(a != b for a, b in zip(*years, strict=True)) == 1:
            return 4
        if years[0] == years[1][::-1]:
            return 5
    if len(apart) == 2 and apart[1] == apart[0] + 1 and (apart[0] < 3 or apart[0] > 3):
        a, b = f"{one:08}", f"{other:08}"
        if a[apart[0]] == b[apart[1]] and a[apart[1]] == b[apart[0]]:
            return 5
    return 6 if same_day else 7
