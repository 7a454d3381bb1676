"""The yearly report of provisions (Rules 27 and 31) as text and as one HTML file with plots, in Japanese."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from jukinet.core.audit.seal import Tally
from jukinet.server.disclosure_page import FUNCTIONS
from jukinet.server.names_in_law import NamesInLaw

METHODS: Final = {"interactive": "即時提供", "bulk": "一括提供"}
COLOURS: Final = {"interactive": "#1f5a99", "bulk": "#c46a1b"}
MONTHS: Final = tuple(range(1, 13))
RECIPIENTS_SHOWN_MAX: Final = 20
NAME_PLACES_MAX: Final = 46
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 880, 260, 90, 30, 10
BAR_HEIGHT: Final = 22
HEAD: Final = """\
<!DOCTYPE html>
<html lang="ja">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>本人確認情報の提供状況 {year}年</title>
<style>
@page {{ size: A4 portrait; margin: 15mm; }}
body {{ font-family: "Noto Sans CJK JP", "Yu Gothic", sans-serif; font-size: 10pt; }}
@media screen {{ body {{ max-width: 240mm; margin: 10mm auto; }} }}
h1 {{ font-size: 16pt; }} h2 {{ font-size: 12pt; margin-top: 8mm; }}
table {{ border-collapse: collapse; width: 100%; }}
thead {{ display: table-header-group; }} tr {{ break-inside: avoid; }}
th, td {{ border: 0.5pt solid #888; padding: 1mm 2mm; text-align: left; }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
svg {{ width: 100%; height: auto; }}
svg text {{ font-size: 12px; fill: #222; }}
.key span {{ display: inline-block; width: 1em; height: 1em; vertical-align: -0.1em; margin: 0 0.4em 0 1.2em; }}
</style>
</head>
<body>
<h1>本人確認情報の提供状況（{year}年）</h1>
"""


def of_year(tallies: Iterable[Tally], year: int) -> list[Tally]:
    """The rows of one calendar year."""
    return [tally for tally in tallies if tally.month // 100 == year]


def by_recipient(tallies: Sequence[Tally], names: NamesInLaw) -> list[tuple[str, int, str, int, int]]:
    """(recipient, month, method, requests, provisions), the rows that the report is made of."""
    sums: Counter[tuple[str, int, str]] = Counter()
    requests: Counter[tuple[str, int, str]] = Counter()
    for tally in tallies:
        key = (names.recipient(tally.role, tally.body), tally.month, tally.method)
        sums[key] += tally.provisions
        requests[key] += tally.requests
    return [(*key, requests[key], amount) for key, amount in sorted(sums.items())]


def as_text(tallies: Sequence[Tally], names: NamesInLaw) -> str:
    """A line a row, tabs between: recipient, month, method, requests, provisions."""
    lines = ["提供先\t年月\t方法\t件数（要求）\t件数（提供）"]
    for name, month, method, requests, provisions in by_recipient(tallies, names):
        lines.append(f"{name}\t{month // 100}-{month % 100:02d}\t{METHODS[method]}\t{requests}\t{provisions}")
    return "\n".join(lines) + "\n"


def document(tallies: Sequence[Tally], year: int, leaves: int, note: str, names: NamesInLaw) -> str:
    """The whole file for one year. leaves, note: the tree that the ledger was summed from, and its checkpoint."""
    total = sum(tally.provisions for tally in tallies)
    requests = sum(tally.requests for tally in tallies)
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{month // 100}年{month % 100}月</td><td>{METHODS[method]}</td>"
        f'<td class="n">{asked:,}</td><td class="n">{provided:,}</td></tr>\n'
        for name, month, method, asked, provided in by_recipient(tallies, names)
    )
    key = "".join(f'<span style="background:{COLOURS[name]}"></span>{word}' for name, word in METHODS.items())
    return (
        HEAD.format(year=year)
        + f"<p>提供件数 {total:,} 件（要求 {requests:,} 件）</p>\n"
        + f'<h2>月別・方法別</h2>\n<p class="key">{key}</p>\n{monthly_plot(tallies)}\n'
        + f"<h2>提供先別</h2>\n{bars(recipients(tallies, names))}\n"
        + f"<h2>機能別</h2>\n{bars(functions(tallies))}\n"
        + "<h2>提供先・年月・方法別の件数</h2>\n<table>\n<thead><tr><th>提供先</th><th>年月</th><th>方法</th>"
        + f'<th class="n">要求</th><th class="n">提供</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n'
        + f"<p>利用記録の木の葉 {leaves:,} 枚までの集計。</p>\n<pre>{escape(note)}</pre>\n</body>\n</html>\n"
    )


def recipients(tallies: Sequence[Tally], names: NamesInLaw) -> list[tuple[str, int]]:
    """The largest first; what does not fit is one row."""
    sums: Counter[str] = Counter()
    for tally in tallies:
        sums[names.recipient(tally.role, tally.body)] += tally.provisions
    ordered = sorted(sums.items(), key=lambda one: (-one[1], one[0]))
    rest = sum(amount for _, amount in ordered[RECIPIENTS_SHOWN_MAX:])
    return ordered[:RECIPIENTS_SHOWN_MAX] + ([("その他", rest)] if rest else [])


def functions(tallies: Sequence[Tally]) -> list[tuple[str, int]]:
    sums: Counter[str] = Counter()
    for tally in tallies:
        name = next((word for one, word in FUNCTIONS.items() if one == tally.function), str(tally.function))
        sums[name] += tally.provisions
    return sorted(sums.items(), key=lambda one: (-one[1], one[0]))


def scale_top(largest: int) -> int:
    """The end of an axis: 1, 2 or 5 times a power of ten."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if factor * step >= largest:
                return factor * step
        step *= 10


def monthly_plot(tallies: Sequence[Tally]) -> str:
    """Twelve stacked bars as SVG."""
    sums: Counter[tuple[int, str]] = Counter()
    for tally in tallies:
        sums[tally.month % 100, tally.method] += tally.provisions
    top = scale_top(max((sum(sums[month, method] for method in METHODS) for month in MONTHS), default=1) or 1)
    room = HEIGHT - BOTTOM - TOP
    width = (WIDTH - LEFT) / 12
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="月別の提供件数">']
    for quarter in range(5):
        y = HEIGHT - BOTTOM - room * quarter / 4
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH}" y2="{y:.1f}" stroke="#ccc"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * quarter / 4:,.0f}</text>')
    for month in MONTHS:
        x = LEFT + width * (month - 1)
        y = float(HEIGHT - BOTTOM)
        for method in METHODS:
            tall = room * sums[month, method] / top
            y -= tall
            parts.append(
                f'<rect x="{x + width * 0.15:.1f}" y="{y:.1f}" width="{width * 0.7:.1f}" height="{tall:.1f}" '
                f'fill="{COLOURS[method]}"><title>{month}月 {METHODS[method]} {sums[month, method]:,}</title></rect>'
            )
        parts.append(f'<text x="{x + width / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{month}月</text>')
    return "\n".join([*parts, "</svg>"])


def shortened(name: str) -> str:
    """A name that fits beside its bar: kanji and kana take two places."""
    taken = 0
    for place, character in enumerate(name):
        taken += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if taken > NAME_PLACES_MAX:
            return name[:place] + "…"
    return name


def bars(amounts: Sequence[tuple[str, int]]) -> str:
    """Horizontal bars with their numbers, as SVG."""
    left, right = 300, 140
    largest = max((amount for _, amount in amounts), default=1) or 1
    height = BAR_HEIGHT * len(amounts) + 4
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="件数">']
    for place, (name, amount) in enumerate(amounts):
        y = BAR_HEIGHT * place + 2
        long = (WIDTH - left - right) * amount / largest
        shown = shortened(name)
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(shown)}</text>')
        parts.append(
            f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{BAR_HEIGHT - 5}" fill="{COLOURS["interactive"]}"/>'
        )
        parts.append(f'<text x="{left + long + 6:.1f}" y="{y + 15}">{amount:,}</text>')
    return "\n".join([*parts, "</svg>"])
