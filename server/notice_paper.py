"""The paper fall-back of move-in notices: one HTML file, self-contained, A4, a notice a page, in Japanese."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from jukinet.core.codes import format_code
from jukinet.core.feed.notice_records import Kept
from jukinet.core.vocabulary import Sex

JAPAN: Final = datetime.timezone(datetime.timedelta(hours=9))
SEXES: Final = {Sex.MALE: "男", Sex.FEMALE: "女"}
UNKNOWN: Final = "不詳"
HEAD: Final = """\
<!DOCTYPE html>
<html lang="ja">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="robots" content="noindex">
<title>転入通知</title>
<style>
@page { size: A4 portrait; margin: 20mm; }
body { font-family: "Noto Serif CJK JP", "IPAmjMincho", "Yu Mincho", serif; font-size: 12pt; margin: 0; }
section { break-after: page; }
section:last-child { break-after: auto; }
h1 { font-size: 20pt; text-align: center; letter-spacing: 1em; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 0.5pt solid #000; padding: 3mm; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { width: 40mm; font-weight: normal; }
p.note { font-size: 10pt; }
@media screen { section { max-width: 170mm; margin: 10mm auto; } }
</style>
</head>
<body>
"""
TAIL: Final = "</body>\n</html>\n"
NOTE: Final = (
    "住民基本台帳法第９条第１項の規定により通知します。"
    "電子による通知が受領されなかったため、書面をもって送付するものです。"
)


def document(notices: Iterable[Kept], area_names: Mapping[int, str], now: int) -> str:
    """The whole file. ``area_names`` by JIS number; ``now``: seconds since 1970-01-01 UTC, the day of the print."""
    return HEAD + "".join(page(kept, area_names, now) for kept in notices) + TAIL


def page(kept: Kept, area_names: Mapping[int, str], now: int) -> str:
    """One notice. Everything that came from outside is escaped."""
    passage, content = kept.passage, kept.content
    assert content is not None, "only open notices are printed"
    rows = {
        "通知番号": f"第{passage.number}号",
        "転入先市区町村": area(passage.from_area, area_names),
        "転出元市区町村": area(passage.to_area, area_names),
        "住民票コード": format_code(content.code),
        "氏名": content.name,
        "フリガナ": content.kana,
        "生年月日": date(content.birth_date),
        "性別": SEXES.get(Sex(content.sex), "－") if content.sex in set(Sex) else "－",
        "転入後の住所": content.address,
        "転入年月日": date(content.event_date),
        "受付日時": moment(passage.left_at),
        "印刷日時": moment(now),
    }
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>\n" for name, text in rows.items())
    again = '<p class="note">再印刷</p>\n' if passage.printed_at else ""
    return f'<section>\n<h1>転入通知</h1>\n<table>\n{body}</table>\n<p class="note">{NOTE}</p>\n{again}</section>\n'


def area(jis: int, area_names: Mapping[int, str]) -> str:
    """A municipality's name and number."""
    return f"{area_names.get(jis, UNKNOWN)}（{jis:05d}）"


def date(decimal: int) -> str:
    """A decimal date in words; parts that nobody knows are named so."""
    year, month, day = decimal // 10_000, decimal // 100 % 100, decimal % 100
    if not year:
        return UNKNOWN
    if not month:
        return f"{year}年（月日{UNKNOWN}）"
    return f"{year}年{month}月{day}日" if day else f"{year}年{month}月（日{UNKNOWN}）"


def moment(seconds: int) -> str:
    """A time in Japan."""
    there = datetime.datetime.fromtimestamp(seconds, JAPAN)
    return f"{date(there.year * 10_000 + there.month * 100 + there.day)} {there:%H:%M}"
