"""A prefecture as witness against a real server: it cosigns what contains what it saw, otherwise raises alarm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jukinet.clients.command import main
from jukinet.core.audit.checkpoint import COSIGNATURE, PrivateKey
from jukinet.core.audit.verification import Verification
from jukinet.core.errors import ErrorCode
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m

from ...audit.sealed_logs import seal_all, sealed_log, write_requests
from ..serving import Place, Server
from .feeding import Feed, FeedPlace, feed_port

LOG = PrivateKey("example.jp/log", bytes(range(32)))
TOKYO = PrivateKey("tokyo", bytes(range(1, 33)), COSIGNATURE)


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Sealed beforehand by a worker that the server does not run, so that it does not grow by itself."""
    directory = tmp_path / "record-of-use"
    sealed_log(directory, requests=12, workers=(7,), key=LOG)
    (directory / "witnesses").mkdir()
    (directory / "witnesses/tokyo.pub").write_text(TOKYO.public.encode() + "\n")
    return directory


def profile(fed: FeedPlace, directory: Path, port: int, body: str = "tokyo") -> str:
    files = fed.files[body]
    (directory / "witness.key").write_text(TOKYO.encode())
    (directory / "log.pub").write_text(LOG.public.encode())
    path = directory / "feed.toml"
    path.write_text(
        f'[server]\nhost = "localhost"\nport = {port}\n'
        f'[tls]\nroot = "{fed.directory}/root.pem"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
        f'[feed]\nprefecture = "{body}"\noutbox = "outbox"\n'
        'witness_key = "witness.key"\nwitness_log = "log.pub"\nwitness_state = "seen"\n'
    )
    return str(path)


def test_checkpoints_are_cosigned_one_after_the_other(
    fed: FeedPlace, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server(fed.configuration(tmp_path)) as server:
        words = ["feed", "witness", "--profile", profile(fed, tmp_path, feed_port(server))]
        for life in range(3):
            assert main(words) == 0
            leaves = Verification(log, LOG.public).run().leaves
            assert f"cosigned: {leaves:,} leaves" in capsys.readouterr().out
            report = Verification(log, LOG.public, witnesses=[TOKYO.public]).run()
            assert report.cosigned == [f"tokyo: {leaves} leaves"]
            write_requests(log, 7, 5, seed=10 + life)
            seal_all(log, LOG)
        server.wait_for("checkpoint_cosigned", count=3)
    report = Verification(log, LOG.public, witnesses=[TOKYO.public]).run()
    kinds = {finding.kind for finding in report.findings}
    assert kinds <= {"swapped"}, "the server's own worker has another register; what was cosigned is of this tree"


def test_a_log_that_was_cut_back_or_rewritten_is_an_alarm(
    fed: FeedPlace, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    shutil.copytree(log, old)
    write_requests(log, 7, 5, seed=30)
    seal_all(log, LOG)
    with Server(fed.configuration(tmp_path)) as server:
        words = ["feed", "witness", "--profile", profile(fed, tmp_path, feed_port(server))]
        assert main(words) == 0
        seen = (tmp_path / "seen").read_text()
        capsys.readouterr()
        shutil.rmtree(log / "tree")
        shutil.copytree(old / "tree", log / "tree")
        assert main(words) == 1
        assert "cut back" in capsys.readouterr().err
        write_requests(old, 7, 6, seed=31)  # another history from there on, sealed with the right key
        seal_all(old, LOG)
        shutil.rmtree(log / "tree")
        shutil.copytree(old / "tree", log / "tree")
        assert main(words) == 1
        assert "does not hold" in capsys.readouterr().err
        shutil.rmtree(log / "tree")
        assert main(words) != 0
    assert (tmp_path / "seen").read_text() == seen, "what was seen stays"
    evidence = list(tmp_path.glob("seen.alarm-*"))
    assert evidence
    assert seen in evidence[0].read_text()


def test_the_server_takes_only_signatures_of_known_witnesses(fed: FeedPlace, log: Path, tmp_path: Path) -> None:
    with Server(fed.configuration(tmp_path)) as server, Feed(fed, feed_port(server)) as feed:

        def asked(message: m.Message) -> m.Message:
            feed.send(message)
            answer = feed.event()
            assert isinstance(answer, m.Message)
            return answer

        shown = asked(fm.CheckpointAsk(1, 0))
        assert isinstance(shown, fm.Checkpoint)
        assert shown.proof == b""
        size = int(shown.note.split("\n")[1])
        refused = asked(fm.CheckpointAsk(2, size + 1))
        assert isinstance(refused, m.Error)
        assert refused.code is ErrorCode.BAD_REQUEST
        for number, (leaves, line) in enumerate([(size, "\u2014 tokyo AAAA"), (size + 5, "x"), (size, "x")]):
            refused = asked(fm.Cosign(3 + number, leaves, line))
            assert isinstance(refused, m.Error)
            assert refused.code is ErrorCode.BAD_REQUEST
        (log / "witnesses/tokyo.pub").unlink()
        refused = asked(fm.Cosign(9, size, "\u2014 tokyo AAAA"))
        assert isinstance(refused, m.Error)
        assert refused.code is ErrorCode.NOT_AUTHORISED
        assert not (log / "tree/witnessed").exists()


def test_nothing_sealed_yet(fed: FeedPlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(fed.configuration(tmp_path)) as server:
        words = ["feed", "witness", "--profile", profile(fed, tmp_path, feed_port(server))]
        assert main(words) == 0
        assert "nothing was sealed yet" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["key", "log", "state", "missing", "name"])
def test_settings_that_do_not_fit(fed: FeedPlace, tmp_path: Path, broken: str) -> None:
    path = Path(profile(fed, tmp_path, 1))
    if broken == "key":
        (tmp_path / "witness.key").write_text(LOG.encode())
    elif broken == "log":
        (tmp_path / "log.pub").write_text("nonsense")
    elif broken == "state":
        (tmp_path / "seen").write_text("nonsense")
    elif broken == "missing":
        path.write_text(path.read_text().replace('witness_state = "seen"\n', ""))
    else:
        path.write_text(path.read_text().replace('prefecture = "tokyo"', 'prefecture = "osaka"'))
    assert main(["feed", "witness", "--profile", str(path)]) == 2
