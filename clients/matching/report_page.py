"""The report of a match as one HTML file with drawn charts (inline SVG): nothing is fetched, nothing runs in it."""

from __future__ import annotations

import html
from typing import Final

from jukinet.clients.matching.report_text import About, Section, headline, notes, sections
from jukinet.clients.matching.tally import Tally

BAR_WIDTH: Final = 360
BAR_HEIGHT: Final = 16
ROW_HEIGHT: Final = 24
LABEL_WIDTH: Final = 330
LABEL_CHARACTERS: Final = 44
NUMBER_WIDTH: Final = 170
COLOURS: Final = {"Answers": "#2f6f8f", "Not asked": "#b3543e"}
COLOUR: Final = "#4f8a5b"
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1d2529; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
th { white-space: nowrap; }
svg { max-width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: #1d2529; }
.note { background: #f6efdc; padding: .4rem .8rem; border-left: 3px solid #c9a227; }
@media (prefers-color-scheme: dark) { body { background: #16191b; color: #dfe4e6; } svg text { fill: #dfe4e6; }
.note { background: #2c2818; } }
"""


def chart(section: Section) -> str:
    """A bar for each row, as long as its count against the longest."""
    title, listed = section
    most = max(count for _, count, _ in listed)
    width, height = LABEL_WIDTH + BAR_WIDTH + NUMBER_WIDTH, ROW_HEIGHT * len(listed) + 4
    colour = COLOURS.get(title, COLOUR)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">']
    for place, (words, count, part) in enumerate(listed):
        top = ROW_HEIGHT * place + 4
        length = max(1.0, BAR_WIDTH * count / most)
        text = html.escape(words if len(words) <= LABEL_CHARACTERS else words[: LABEL_CHARACTERS - 1] + "…")
        number = f"{count:,}" + (f" ({part})" if part else "")
        parts.append(
            f'<text x="{LABEL_WIDTH - 10}" y="{top + 13}" text-anchor="end">{text}'
            f"<title>{html.escape(words)}</title></text>"
            f'<rect x="{LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="{BAR_HEIGHT}" rx="2" fill="{colour}"/>'
            f'<text x="{LABEL_WIDTH + length + 8:.1f}" y="{top + 13}">{number}</text>'
        )
    parts.append("</svg>")
    return "".join(parts)


def in_full(section: Section) -> str:
    """The labels that the chart cuts off, as a list."""
    cut = [words for words, _, _ in section[1] if len(words) > LABEL_CHARACTERS]
    return "<ul>" + "".join(f"<li>{html.escape(words)}</li>" for words in cut) + "</ul>" if cut else ""


def report_page(tally: Tally, about: About) -> str:
    """The whole page. It holds counts, column names and file names, and nothing of any person."""
    rows = [("Read", about.source), ("Written", about.out)]
    rows += [(item.replace("_", " ").capitalize(), columns) for item, columns in about.columns]
    table = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
    told = "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes(about))
    charts = "".join(
        f"<h2>{html.escape(section[0])}</h2>{chart(section)}{in_full(section)}" for section in sections(tally)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Match report</title>'
        f"<style>{STYLE}</style></head><body><h1>Match report</h1>"
        f"<p>{html.escape(headline(tally, about))}</p>{told}<table>{table}</table>{charts}</body></html>\n"
    )
