"""Cohorts by the clients and by `jukinet cohort`, against a real server that is fed."""

from __future__ import annotations

import datetime
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from jukinet.clients import ChangesAnswer, Credentials, Cursor, CursorExpiredError, batches, connect, connect_blocking
from jukinet.clients.blocking_client import BlockingSession
from jukinet.clients.cohorts import put_requests
from jukinet.clients.command import main
from jukinet.clients.errors import BadRequestError
from jukinet.core.codes import code_from_key, format_code
from jukinet.core.vocabulary import ChangeReason, Outcome

from ..serving import Place, Server
from .feeding import Feed, FeedPlace, entry, feed_port, key_of

CODES = array("Q", sorted(code_from_key(key_of(person)) for person in range(1_000, 1_100)))
AFFAIR: dict[str, Any] = {"schedule": 1, "item": "77", "operator": "operator-1", "reason": "yearly check"}


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def server(fed: FeedPlace, tmp_path: Path) -> Iterator[Server]:
    with Server(fed.configuration(tmp_path, cohorts={"directory": "cohorts"})) as running:
        yield running


@pytest.fixture
def tls(fed: FeedPlace) -> Credentials:
    files = fed.files["pensions"]
    return Credentials(fed.directory / "root.pem", files.certificate, files.key)


def change(fed: FeedPlace, server: Server) -> None:
    """The third and the fifth of CODES enter, and somebody else."""
    with Feed(fed, feed_port(server)) as feed:
        people = [CODES[2] // 10, CODES[4] // 10, key_of(9_999)]
        feed.notify(1, [entry(1, key, event_date=20261102) for key in people])


def changed(session: BlockingSession, cursor: Cursor) -> ChangesAnswer:
    deadline = time.monotonic() + 5
    while not (answer := session.cohort_changes("all", cursor)):
        assert time.monotonic() < deadline
    return answer


def test_a_cohort_by_the_blocking_client(fed: FeedPlace, server: Server, tls: Credentials) -> None:
    with (
        connect_blocking("localhost", server.port, tls=tls) as client,
        client.session(**AFFAIR) as session,
    ):
        cursor = session.register_cohort("all", batches(CODES, 30)).cursor
        assert cursor == Cursor(1)
        (cohort,) = session.cohorts()
        assert (cohort.name, cohort.codes, cohort.cursor, cohort.complete) == ("all", 100, cursor, True)
        assert isinstance(cohort.registered_date, datetime.date)
        change(fed, server)
        answer = changed(session, cursor)
        assert [row.code for row in answer] == [format_code(CODES[2]), format_code(CODES[4])]
        row = answer[0]
        assert (row.outcome, row.change_reason) == (Outcome.CURRENT, ChangeReason.MOVE_IN)
        assert row.change_date == datetime.date(2026, 11, 2)
        assert isinstance(row.registered_date, datetime.date)
        assert not answer.more
        assert len(session.cohort_changes("all", answer.cursor)) == 0
        paged = session.cohort_changes("all", cursor, rows_max=2)
        assert len(paged) <= 2
        with pytest.raises(CursorExpiredError, match="register the cohort anew"):
            session.cohort_changes("all", Cursor(99))
        with pytest.raises(BadRequestError, match="ascend"):
            session.register_cohort("all", [CODES[1:2], CODES[:1]])
        assert session.drop_cohort("all").codes == 100
        with pytest.raises(BadRequestError, match="no such cohort"):
            session.cohort_changes("all", cursor)
        assert session.cohorts() == []


def test_a_cohort_by_the_trio_client(fed: FeedPlace, server: Server, tls: Credentials) -> None:
    async def act() -> list[str]:
        async with (
            connect("localhost", server.port, tls=tls) as client,
            client.session(**AFFAIR) as session,
        ):
            cursor = (await session.register_cohort("all", batches(CODES, 30))).cursor
            await trio.to_thread.run_sync(change, fed, server)
            with trio.fail_after(5):
                while not (answer := await session.cohort_changes("all", cursor)):
                    await trio.sleep(0.01)
            assert [cohort.name for cohort in await session.cohorts()] == ["all"]
            await session.drop_cohort("all")
            assert await session.cohorts() == []
            return [row.code for row in answer]

    assert trio.run(act) == [format_code(CODES[2]), format_code(CODES[4])]


def test_a_cohort_by_the_command(
    fed: FeedPlace, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = fed.files["pensions"]
    profile = tmp_path / "profile.toml"
    profile.write_text(
        f'[server]\nhost = "localhost"\nport = {server.port}\n[tls]\nroot = "{fed.directory / "root.pem"}"\n'
        f'certificate = "{files.certificate}"\nkey = "{files.key}"\n'
        '[affair]\nschedule = 1\nitem = "77"\noperator = "op"\nreason = "yearly check"\n'
    )
    mine = ["--profile", str(profile)]
    codes, cursor, out = tmp_path / "codes.txt", tmp_path / "cursor", tmp_path / "changed.csv"
    texts = [format_code(code) for code in CODES]
    codes.write_text("\n".join([*reversed(texts), texts[0]]))
    assert main(["cohort", "put", "all", "--input", str(codes), "--cursor-file", str(cursor), *mine]) == 0
    assert cursor.read_text() == "1.0\n"
    assert capsys.readouterr().out.startswith("all: kept, 100 codes, registered 20")
    change(fed, server)
    deadline = time.monotonic() + 5
    while cursor.read_text() == "1.0\n":
        assert main(["cohort", "changes", "all", "--cursor-file", str(cursor), "--out", str(out), *mine]) == 0
        assert time.monotonic() < deadline
    rows = out.read_text().splitlines()
    assert rows[0] == "code,outcome,change_reason,change_date,registered_date"
    assert [row.rsplit(",", 1)[0] for row in rows[1:]] == [
        f"{texts[2]},CURRENT,MOVE_IN,2026-11-02",
        f"{texts[4]},CURRENT,MOVE_IN,2026-11-02",
    ]
    assert cursor.read_text() == "4.0\n"
    capsys.readouterr()
    assert main(["cohort", "changes", "all", "--cursor", "1.0", *mine]) == 0
    assert capsys.readouterr().out.splitlines() == rows
    assert main(["cohort", "list", *mine]) == 0
    assert capsys.readouterr().out.startswith("all: kept, 100 codes, registered 20")
    codes.write_text(f"{texts[0]}\n12345\n")
    assert main(["cohort", "put", "all", "--input", str(codes), *mine]) == 2
    said = capsys.readouterr().err
    assert "1 of the input's texts" in said
    assert "12345" not in said
    codes.write_text("\n")
    assert main(["cohort", "put", "all", "--input", str(codes), *mine]) == 2, "nothing takes the place of what is kept"
    assert "holds no codes" in capsys.readouterr().err
    assert main(["cohort", "list", *mine]) == 0
    assert capsys.readouterr().out.startswith("all: kept, 100 codes")
    for nonsense in (b"\xff\xfe", b"1.0\n" * 40):
        cursor.write_bytes(nonsense)
        assert main(["cohort", "changes", "all", "--cursor-file", str(cursor), *mine]) == 2
        assert "holds no cursor" in capsys.readouterr().err
    assert main(["cohort", "drop", "all", *mine]) == 0
    assert main(["cohort", "drop", "all", *mine]) == 2
    assert main(["cohort", "changes", "all", "--cursor", "x", *mine]) == 2


@pytest.mark.parametrize(
    ("sizes", "steps"),
    [([], [3]), ([0], [3]), ([5], [3]), ([5, 0, 5], [1, 2]), ([12], [1, 2]), ([10, 10, 1], [1, 0, 2])],
)
def test_codes_are_cut_into_chunks(sizes: list[int], steps: list[int]) -> None:
    made = [array("Q", range(size)) for size in sizes]
    cut = list(put_requests("all", made, 10))
    assert [step for step, _, _ in cut] == steps
    assert [code for _, _, column in cut for code in column] == [code for batch in made for code in batch]
    assert all(len(column) <= 10 for _, _, column in cut)


def test_cursors_as_text() -> None:
    assert str(Cursor(7, 12)) == "7.12"
    assert Cursor.parse("7.12\n") == Cursor(7, 12)
    for text in ("", "7", "7.", "-1.0", "a.b", "7.1.2", "1" * 80 + ".0"):
        with pytest.raises(BadRequestError):
            Cursor.parse(text)
