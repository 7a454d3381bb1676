"""The paper fall-back: what stands on a page, that nothing of it is markup, and what the commands do."""

from __future__ import annotations

import argparse
import stat
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from jukinet.core.errors import StoreError
from jukinet.core.feed.notice_records import Content, Kept, Passage
from jukinet.server import notices_command
from jukinet.server.notice_paper import date, document

from ..feed.test_notices import OSAKA, SAPPORO, START, TOKYO, left
from ..feed.test_notices import Kept as Book

PASSAGE = Passage(number=7, notice_id=70, from_area=TOKYO, to_area=OSAKA, left_at=START)
CONTENT = Content(
    code=1234567893,
    name='<script>alert("名")</script>',
    kana="ヒミツ & ハナコ",
    birth_date=19800100,
    sex=2,
    address="東京都千代田区'丸の内'</td></table>",
    event_date=20261101,
)
NAMES = {TOKYO: "東京都<千代田区>", OSAKA: "大阪府大阪市北区"}


class Page(HTMLParser):
    """Tags and texts of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_page_says_everything_and_none_of_it_is_markup() -> None:
    text = document([Kept(PASSAGE, CONTENT)], NAMES, START)
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("table") == page.tags.count("section") == 1
    for wanted in (CONTENT.name, CONTENT.kana, CONTENT.address, "01234567893", "1980年1月（日不詳）", "女",
                   "東京都<千代田区>（13101）", "大阪府大阪市北区（27127）", "2026年11月1日", "第7号"):  # fmt: skip
        assert wanted in page.texts
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_file_needs_nothing_from_elsewhere_and_has_a_page_for_each() -> None:
    text = document([Kept(PASSAGE, CONTENT)] * 3, NAMES, START)
    assert text.count("<section>") == 3
    assert "size: A4" in text
    assert not {"link", "img", "iframe", "script"} & set(Page(text).tags)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text


def test_a_page_printed_before_says_so() -> None:
    again = msgspec.structs.replace(PASSAGE, printed_at=START)
    assert "再印刷" in document([Kept(again, CONTENT)], NAMES, START)
    assert "再印刷" not in document([Kept(PASSAGE, CONTENT)], NAMES, START)


@pytest.mark.parametrize(
    ("decimal", "words"),
    [(0, "不詳"), (19800000, "1980年（月日不詳）"), (19800100, "1980年1月（日不詳）"), (19801231, "1980年12月31日")],
)
def test_dates_in_words(decimal: int, words: str) -> None:
    assert date(decimal) == words


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    notices_command.add_arguments(parser)
    return notices_command.run(parser.parse_args(words))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Notices 1 and 2 for Osaka, 3 for Sapporo, 4 for Osaka and received."""
    book = Book(tmp_path / "r")
    for notice_id, to_area in ((1, OSAKA), (2, OSAKA), (3, SAPPORO), (4, OSAKA)):
        book("leave", 13, left(notice_id, to_area=to_area), START)
    book("receive", 27, [4], START)
    book.register.close()
    return tmp_path / "r"


def test_print_by_area_marks_what_it_wrote_and_closes_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "paper.html"
    assert command("print", "--store", str(store), "--area", str(OSAKA), "--out", str(out)) == 0
    text = out.read_text()
    assert [name in text for name in ("秘密1", "秘密2", "秘密3", "秘密4")] == [True, True, False, False]
    assert "東京都千代田区（13101）" in text
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    capsys.readouterr()
    assert command("list", "--store", str(store)) == 1
    listed = capsys.readouterr().out.splitlines()
    assert [("overdue" in line, "printed" in line) for line in listed[:3]] == [
        (True, True),
        (True, True),
        (True, False),
    ]
    assert listed[3] == "3 not received, 3 overdue"
    assert "秘密" not in "".join(listed)


def test_print_overdue_leaves_out_what_was_printed(store: Path, tmp_path: Path) -> None:
    words = ["print", "--store", str(store), "--out"]
    assert command(*words, str(tmp_path / "1.html"), "--number", "2") == 0
    assert "秘密2" in (tmp_path / "1.html").read_text()
    assert command(*words, str(tmp_path / "2.html"), "--overdue") == 0
    text = (tmp_path / "2.html").read_text()
    assert [name in text for name in ("秘密1", "秘密2", "秘密3")] == [True, False, True]
    assert command(*words, str(tmp_path / "3.html"), "--overdue") == 0
    assert not (tmp_path / "3.html").exists()
    assert command(*words, str(tmp_path / "4.html"), "--number", "4") == 0  # received: not printed any more
    assert not (tmp_path / "4.html").exists()


def test_print_never_writes_over_a_file_and_marks_nothing_then(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "there.html"
    out.write_text("mine")
    with pytest.raises(StoreError, match="exists"):
        command("print", "--store", str(store), "--overdue", "--out", str(out))
    assert out.read_text() == "mine"
    assert command("print", "--store", str(store), "--overdue", "--out", str(tmp_path / "new.html")) == 0
    assert "秘密1" in (tmp_path / "new.html").read_text()


def test_not_yet_overdue(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("list", "--store", str(store), "--alarm-hours", "10000000") == 0
    assert capsys.readouterr().out.endswith("3 not received, 0 overdue\n")
