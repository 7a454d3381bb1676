"""Files into the outbox: by command, by inbox, and what is shown of it."""

from __future__ import annotations

import argparse
import io
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from samples import PREFECTURE, entry

from jukinet.clients.errors import UsageError
from jukinet.clients.feed.delivery_line import DeliveryLine
from jukinet.clients.feed.feed_settings import add_feed_arguments, feed_settings
from jukinet.clients.feed.inbox import Inbox
from jukinet.clients.feed.notification_file import open_file, write_csv
from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import OutboxFullError, read_notification_row
from jukinet.clients.feed.private_file import private_csv
from jukinet.clients.feed.putting import AlreadyPutError, FilePut, put_file
from jukinet.clients.feed.report_output import fault_words
from jukinet.clients.feed.sender import Delivery
from jukinet.core.errors import ConfigurationError
from jukinet.core.vocabulary import Prefecture


def write(path: Path, first: int, count: int, bad_at: int | None = None) -> Path:
    rows = [entry(number) for number in range(first, first + count)]
    if bad_at is not None:
        rows[bad_at] = entry(first + bad_at, name="")
    with path.open("w", newline="") as file:
        write_csv(file, rows)
    return path


def put(outbox: Outbox, path: Path | str, **options: Any) -> FilePut:
    file = open_file(str(path), "csv")
    try:
        return put_file(outbox, file, **options)
    finally:
        file.close()


def test_all_or_nothing_and_origins(outbox: Outbox, tmp_path: Path) -> None:
    found = put(outbox, write(tmp_path / "bad.csv", 0, 20_000, bad_at=15_000))
    assert (found.rows, found.fault_count, found.faults[0].line) == (0, 1, 15_002)
    assert outbox.state.last == 0
    outbox.invariants()
    steps: list[int] = []
    found = put(outbox, tmp_path / "bad.csv", skip_bad=True, progress=lambda rows, share: steps.append(rows))
    assert (found.rows, found.first, found.last, found.fault_count) == (19_999, 1, 19_999, 1)
    assert steps == [4_096, 8_192, 12_288, 16_384]
    assert read_notification_row(outbox.read(15_000, 1, 1)[0].body) == (entry(15_001), "bad.csv:15003")
    outbox.invariants()


def test_the_same_bytes_are_known_whatever_the_name(outbox: Outbox, tmp_path: Path) -> None:
    put(outbox, write(tmp_path / "a.csv", 0, 3))
    with pytest.raises(AlreadyPutError, match=r"a\.csv \(rows 1 to 3\)"):
        put(outbox, write(tmp_path / "b.csv", 0, 3))
    assert outbox.state.last == 3
    for last in (6, 9):
        assert put(outbox, tmp_path / "b.csv", again=True).last == last
    with pytest.raises(AlreadyPutError):
        put(outbox, tmp_path / "b.csv")


def test_standard_input(outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write(tmp_path / "a.csv", 0, 3).read_bytes()
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        if outbox.state.last:
            with pytest.raises(AlreadyPutError):
                put(outbox, "-")
        else:
            assert put(outbox, "-").rows == 3
    assert read_notification_row(outbox.read(0, 1, 1)[0].body)[1] == "stdin:2"


def test_a_file_without_rows_puts_nothing(outbox: Outbox, tmp_path: Path) -> None:
    assert put(outbox, write(tmp_path / "a.csv", 0, 0)) == FilePut()
    assert outbox.state.files == 0


def test_the_inbox(outbox: Outbox, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "in")
    write(tmp_path / "in" / "b.csv", 10, 2)
    write(tmp_path / "in" / "a.csv", 0, 2)
    write(tmp_path / "in" / ".hidden.csv", 0, 2)
    write(tmp_path / "in" / "c.csv.part", 0, 2)
    (tmp_path / "in" / "d.jsonl").write_text("{")
    (tmp_path / "in" / "e.csv").write_text("x,y\n")
    assert [path.name for path in inbox.waiting()] == ["a.csv", "b.csv", "d.jsonl", "e.csv"]
    for path in inbox.waiting():
        inbox.take(path, outbox)
    assert inbox.waiting() == []
    assert outbox.state.last == 4
    names = {path.name for path in (tmp_path / "in" / "refused").iterdir()}
    assert names == {"d.jsonl", "d.jsonl.errors", "e.csv", "e.csv.errors"}
    assert "no column reason" in (tmp_path / "in" / "refused" / "e.csv.errors").read_text()
    # The same file again, as after a crash between putting and moving: known, and moved beside the first.
    write(tmp_path / "in" / "a.csv", 0, 2)
    assert inbox.take(tmp_path / "in" / "a.csv", outbox).rows == 0
    assert {path.name for path in (tmp_path / "in" / "done").iterdir()} == {"a.csv", "a.csv.1", "b.csv"}
    assert outbox.state.last == 4
    # Another bad file of a known name leaves the reasons for the first as they are.
    (tmp_path / "in" / "e.csv").write_text("reason,area\n")
    assert inbox.take(tmp_path / "in" / "e.csv", outbox).fault_count == 1
    reasons = [(tmp_path / "in" / "refused" / f"{name}.errors").read_text() for name in ("e.csv", "e.csv.1")]
    assert ["no column reason," in text for text in reasons] == [True, False]


def test_a_full_outbox_leaves_the_file_in_the_inbox(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "in")
    path = write(tmp_path / "in" / "a.csv", 0, 50)
    with Outbox(tmp_path / "outbox", PREFECTURE, create=True, bytes_max=2_000) as outbox:
        with pytest.raises(OutboxFullError):
            inbox.take(path, outbox)
    assert inbox.waiting() == [path]


def test_private_files(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with private_csv(str(path)) as file:
        file.write("x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="exists"):
        with private_csv(str(path)):
            pass
    with pytest.raises(ZeroDivisionError):
        with private_csv(str(tmp_path / "b.csv")):
            raise ZeroDivisionError
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_the_line_tells_troubles_once_and_progress_only_when_shown(capsys: pytest.CaptureFixture[str]) -> None:
    delivery = Delivery(rows=12_000, waiting=3, quarantined=1)
    with DeliveryLine("send", shown=False) as line:
        line.show(delivery)
        delivery.trouble = "nothing listens there"
        line.show(delivery)
        line.show(delivery)
        delivery.trouble = ""
        line.show(delivery)
    assert capsys.readouterr().err == ("jukinet feed: nothing listens there\njukinet feed: delivering again\n")
    with DeliveryLine("send", shown=True) as line:
        line.show(delivery)
        assert "12,000 delivered  3 waiting" in line.text(delivery, line._started + 2)
        assert "6,000/s  1 in quarantine" in line.text(delivery, line._started + 2)
    assert capsys.readouterr().err.endswith("quarantine\n")


def test_a_fault_that_this_program_does_not_know() -> None:
    assert fault_words(250)[0] == "fault 250"


PROFILE = '[server]\nhost = "h"\nport = 1\n[tls]\nroot = "r"\ncertificate = "c"\nkey = "k"\n[feed]\n'


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ('outbox = "o"', r"prefecture \(--prefecture\)"),
        ('prefecture = "edo"\noutbox = "o"', "romanised name"),
        ('prefecture = "48"\noutbox = "o"', "1 to 47"),
        ('prefecture = "13"\noutbox = "o"\nbatch_notifications = 0', "at least one notification"),
        ('prefecture = "13"\noutbox = "o"\noutbox_bytes_max = 5', "outbox_bytes_max"),
        ('prefecture = "13"\nshoe = "o"', "no key 'shoe'"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, feed: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        settings_of(tmp_path, feed)


def settings_of(tmp_path: Path, feed: str) -> Any:
    (tmp_path / "feed.toml").write_text(PROFILE + feed)
    parser = argparse.ArgumentParser()
    add_feed_arguments(parser)
    return feed_settings(parser.parse_args(["--profile", str(tmp_path / "feed.toml")]))


def test_settings_from_a_profile(tmp_path: Path) -> None:
    found = settings_of(tmp_path, 'prefecture = "13"\noutbox = "o"\nlinger_milliseconds = 20')
    assert found.prefecture is Prefecture.TOKYO
    assert (found.outbox, found.holdings) == (str(tmp_path / "o"), "")
    assert found.sending.linger_seconds == 0.02
