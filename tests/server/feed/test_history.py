"""HISTORY end to end: notified by a prefecture, asked by an agency with both clients and the command."""

from __future__ import annotations

import csv
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from jukinet import clients
from jukinet.clients.command import main
from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import ChangeReason, Function, Item, Outcome
from jukinet.core.wire import messages as m

from ..serving import Caller, Place, Server
from .feeding import Feed, FeedPlace, entries, entry, feed_port, key_of

PERSONS = 300
AFFAIR = {"schedule": 1, "item": "72", "operator": "op", "reason": "test"}
CODES = [code_from_key(key_of(1_000 + person)) for person in range(PERSONS)]
UNKNOWN = code_from_key(123_456)


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def server(fed: FeedPlace, tmp_path: Path) -> Iterator[Server]:
    """Each person entered, every third corrected, and the first corrected twice."""
    with Server(fed.configuration(tmp_path)) as running:
        corrections = [
            entry(2, key_of(1_000 + person), reason=31, name=f"改名{person}") for person in range(0, PERSONS, 3)
        ]
        last = entry(3, key_of(1_000), reason=32, name="改名")
        with Feed(fed, feed_port(running)) as feed:
            assert feed.notify(1, [*entries(PERSONS), *corrections, last]).quarantined == []
        with Caller(fed, running.port) as caller:
            caller.open("72")
            deadline = time.monotonic() + 10
            while bytes(caller.lookup([CODES[0]]).outcomes) != b"\x01":
                assert time.monotonic() < deadline
        yield running


def credentials(fed: FeedPlace) -> clients.Credentials:
    files = fed.files["pensions"]
    return clients.Credentials(
        root=str(fed.directory / "root.pem"), certificate=str(files.certificate), key=str(files.key)
    )


def test_blocking_client(fed: FeedPlace, server: Server) -> None:
    with (
        clients.connect_blocking("localhost", server.port, tls=credentials(fed)) as client,
        client.session(**AFFAIR) as session,
    ):
        assert session.functions == Function.LOOKUP | Function.HISTORY
        answer = session.history([*CODES, UNKNOWN])
        assert len(answer) == PERSONS + 1
        assert answer.records_count == PERSONS // 3 + 1
        row = answer[0]
        assert row.outcome is Outcome.CURRENT
        assert [record.name for record in row.records] == ["改名0", "秘密花子1"]
        assert [record.change_reason for record in row.records] == [ChangeReason.MOVE_WITHIN, ChangeReason.MOVE_IN]
        assert row.records[0].area == "13101"
        assert row.records[0].kana is None
        assert "改名" not in repr(row)
        assert answer[1].records == ()
        assert answer[-1].outcome is Outcome.UNKNOWN
        assert len(session.history(CODES, items=Item.NAME)[3].records) == 1
        with pytest.raises(clients.TooManyCodesError):
            session.history([UNKNOWN] * 1_025)
        with pytest.raises(clients.NotAuthorisedError):
            session.history(CODES, items=Item.KANA)
        many = list(session.history_many([CODES[:100], CODES[100:]]))
        assert sum(part.records_count for part in many) == PERSONS // 3 + 1
        flat = answer.to_arrow()
        assert flat.num_rows == PERSONS + 2
        assert flat.column("name").to_pylist()[:3] == ["改名0", "秘密花子1", None]
        assert flat.column("code").to_pylist()[:3] == [CODES[0], CODES[0], CODES[1]]
        assert list(answer.to_numpy()["row_ends"][:4]) == [2, 2, 2, 3]


def test_trio_client_and_the_record_of_use(fed: FeedPlace, server: Server) -> None:
    async def ask() -> None:
        async with (
            clients.connect("localhost", server.port, tls=credentials(fed)) as client,
            client.session(**AFFAIR) as session,
        ):
            answer = await session.history(CODES[:4])
            assert [len(row.records) for row in answer] == [2, 0, 0, 1]
            many = session.history_many([CODES[:4], CODES[4:]])
            assert [part.records_count async for part in many] == [3, PERSONS // 3 - 2]

    trio.run(ask)
    server.stop()
    heads = [record.head for record in read_segments(server.directory / "record-of-use")]
    provided = [h for h in heads if isinstance(h, ProvisionHead) and h.function == Function.HISTORY]
    assert len(provided) == 3
    assert not any("秘密" in line or "改名" in line for line in server.raw)


def test_limits_of_a_request(fed: FeedPlace, server: Server) -> None:
    with Caller(fed, server.port) as caller:
        caller.open("72")
        column = memoryview(array("Q", [UNKNOWN] * 1_025))
        refused = caller.ask(m.HistoryRequest(caller.new(), caller.session, 0, column))
        assert refused.code is ErrorCode.TOO_MANY_CODES
        answer = caller.ask(m.HistoryRequest(caller.new(), caller.session, 0, column[:1_024]))
        assert isinstance(answer, m.HistoryAnswer)
        assert answer.count == 1_024
    server.wait_for_metric('jukinet_codes_total{function="history"} 1024')


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_command(fed: FeedPlace, server: Server, tmp_path: Path, name: str) -> None:
    files = fed.files["pensions"]
    settings = {
        "host": "localhost",
        "port": server.port,
        "root": fed.directory / "root.pem",
        "certificate": files.certificate,
        "key": files.key,
        **AFFAIR,
    }
    options = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    source = tmp_path / "codes.txt"
    source.write_text("".join(f"{code:011}\n" for code in CODES))
    out = tmp_path / f"out.{name}"
    assert main(["history", *options, "--input", str(source), "--out", str(out), "--batch", "7"]) == 0
    if name == "csv":
        rows = list(csv.DictReader(out.read_text().splitlines()))
    else:
        import pyarrow.parquet as parquet  # noqa: PLC0415

        rows = parquet.read_table(str(out)).to_pylist()
    assert len(rows) == PERSONS + 1
    assert (rows[0]["code"], rows[0]["name"], rows[1]["name"]) == (f"{CODES[0]:011}", "改名0", "秘密花子1")
    assert rows[2]["code"] == f"{CODES[1]:011}"
    assert not rows[2]["name"]
