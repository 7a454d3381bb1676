"""A change of what names and readings fold to must change the version: indexes are keyed by it."""

from __future__ import annotations

import hashlib

from jukinet.core.folding import DATA, FOLDING_VERSION
from jukinet.core.folding.kana import folded_kana, folded_kana_exact
from jukinet.core.folding.names import folded_name

SAMPLES = ("渡邉　髙志", "佐々木 みすゞ", "O'BRIEN, JEAN-PAUL", "Nguyễn Văn Anh", "ﾊﾟｸ ｼﾞﾐﾝ", "齋藤・ヴィ", "鷗ヶ﨑 𠮷")
READINGS = ("ﾜﾀﾅﾍﾞ ﾀｶｼ", "さとー　きょうこ", "ヴァン・ヂヅヰヱヲ", "ミスヾ Kim 2", "メアリ- アン")
DIGESTS = {1: "905831ffea0ae8d7"}


def test_the_version_stands_for_what_folding_gives() -> None:
    found = hashlib.sha256((DATA / "kanji_variants.txt").read_bytes())
    for text in SAMPLES:
        found.update(folded_name(text).encode() + b"\0")
    for text in READINGS:
        found.update(folded_kana(text) + b"\0" + folded_kana_exact(text) + b"\0")
    kana = "".join(map(chr, (*range(0x3041, 0x3097), *range(0x30A1, 0x30FB))))
    found.update(b"".join(folded_kana(f"{character}ー") for character in kana))
    assert found.hexdigest()[:16] == DIGESTS[FOLDING_VERSION], "give folding a new version, and its digest here"
