"""The server end to end: a real process, real TLS, real answers."""

from __future__ import annotations

from pathlib import Path

from jukinet.core.audit.reader import read_segments
from jukinet.core.wire import messages as m

from .serving import Caller, Place, Server


def test_lookup_is_answered_and_recorded(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path)) as server, Caller(place, server.port) as caller:
        opened = caller.open()
        assert isinstance(opened, m.SessionOpened)
        codes = [*place.codes[:20], 10]
        answer = caller.lookup(codes)
        assert isinstance(answer, m.LookupAnswer), answer
        names = answer.names.to_list()
        for code, name, outcome in zip(codes[:20], names, answer.outcomes, strict=False):
            resident = place.table[code // 10]
            assert name == resident.name
            assert outcome == {1: 1, 2: 3, 3: 4}[resident.state]
        assert answer.outcomes[20] == 10
        records = list(read_segments(tmp_path / "record-of-use"))
        asked, outcomes = records[-1].provisions()
        assert list(asked) == codes
        assert outcomes == bytes(answer.outcomes)
