"""How long a transaction of the feed writer waits for further batches."""

from __future__ import annotations

import pytest

from jukinet.server.feed.applying import SHARED_GATHERING, gathering


@pytest.mark.parametrize(
    ("gather", "most", "is_shared", "wanted"),
    [
        (0.02, 0.5, False, 0.02),
        (0.02, 0.5, True, 0.02 * SHARED_GATHERING),
        (0.1, 0.5, True, 0.5),
        (0.0, 0.5, True, 0.0),
    ],
)
def test_several_feeds_share_their_commits(gather: float, most: float, is_shared: bool, wanted: float) -> None:
    assert gathering(gather, most, is_shared=is_shared) == wanted
