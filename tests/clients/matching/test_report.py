"""The report: counts that add up, as text and as a page, without anything of a person."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

from jukinet.clients.matching.report_page import report_page
from jukinet.clients.matching.report_text import About, area_words, cells, report_text, share
from jukinet.clients.matching.tally import Tally, class_names, class_of

ABOUT = About("a<b>.csv: CSV", "out.parquet", [("name", "column 1 氏名 & 姓")], 2.0, 100, [13215], beyond_era=3)
TALLY = Tally(
    rows=100,
    found=Counter(ONE=80, SEVERAL=5, NONE=10, BAD_BIRTH_DATE=3, UNDECODABLE=2),
    grades=Counter(EXACT=50, KANA=30),
    reasons=Counter({("BAD_BIRTH_DATE", "no calendar has the birth date"): 3, ("UNDECODABLE", "column 2 ..."): 2}),
    levels={"name": Counter(EXACT=50, FOLDED=20), "kana": Counter(EXACT=79, NEAR=1), "birth_date": Counter(),
            "sex": Counter(), "address": Counter()},
    areas=Counter({"13101": 60, "47201": 20}),
    outcomes=Counter(CURRENT=70, DEAD=10),
    probabilities=Counter({4: 30, 7: 50}),
)  # fmt: skip


def test_text_holds_what_was_counted() -> None:
    text = report_text(TALLY, ABOUT)
    assert "100 records: 80 matched (80.0%), 5 not asked; 2.0 s, 50 records/s" in text
    for line in (
        r"one match +80 +80\.0%",
        r"BAD_BIRTH_DATE: no calendar has the birth date +3",
        r"exact +50 +62\.5%",
        r"name folded +20",
        r"kana near +1",
        r"Tokyo +60",
        r"Okinawa +20",
        r"0\.99 to 0\.995 +30",
        r"not connected, whose residents cannot be found: 13215",
        r"3 birth dates stand in an era that had ended",
    ):
        assert re.search(line, text), line


def test_of_many_areas_that_are_not_connected_it_is_told_how_many_are_not_listed() -> None:
    many = About(ABOUT.source, ABOUT.out, ABOUT.columns, 2.0, 100, list(range(13101, 13113)))
    assert "13109, 13110 and 2 more\n" in report_text(TALLY, many)
    assert "13109, 13110 and 2 more<" in report_page(TALLY, many)


def test_the_page_is_whole_and_escapes_what_it_shows() -> None:
    page = report_page(TALLY, ABOUT)
    assert "a&lt;b&gt;.csv" in page
    assert "氏名 &amp; 姓" in page
    assert "<script" not in page
    assert "http" not in page
    charts = re.findall(r"<svg.*?</svg>", page)
    assert len(charts) == 8
    for chart in charts:
        root = ElementTree.fromstring(chart)
        widths = [float(bar.get("width", "0")) for bar in root.iter("rect")]
        assert widths
        assert max(widths) == 360.0


def test_what_a_chart_cuts_off_stands_below_it_in_full() -> None:
    reason = "the reading holds other characters than kana, or is too long when folded"
    page = report_page(Tally(rows=1, reasons=Counter({("BAD_KANA", reason): 1})), ABOUT)
    assert f"<li>BAD_KANA: {reason}</li>" in page
    assert "<li>UNDECODABLE" not in report_page(TALLY, ABOUT), "it is short enough for the chart"


def test_an_empty_job_has_a_report() -> None:
    assert "0 records" in report_text(Tally(), ABOUT)
    assert "Match report" in report_page(Tally(), ABOUT)


def test_probabilities_are_counted_in_their_classes() -> None:
    names = class_names()
    assert [names[class_of(share)] for share in (0.0, 0.5, 0.94, 0.99, 0.9999, 1.0)] == [
        "0 to 0.5", "0.5 to 0.9", "0.9 to 0.95", "0.99 to 0.995", "0.9999 to 1", "0.9999 to 1",
    ]  # fmt: skip


def test_wide_characters_take_two_cells() -> None:
    assert cells("氏名 a") == 6


def test_a_small_share_is_not_told_as_none_nor_a_large_one_as_all() -> None:
    told = [share(part, 100_000) for part in (0, 1, 99, 100, 99_900, 99_901, 100_000)]
    assert told == ["0.0%", "< 0.1%", "< 0.1%", "0.1%", "99.9%", "> 99.9%", "100.0%"]
    assert [area_words(area) for area in ("13101", "00000")] == ["13101 Tokyo", "00000"]
