"""Writes docs/vectors/feed-*.json: conversations of the feed protocol, and frames that must be refused.

Run: python tests/wire/make_feed_vectors.py. As in make_vectors.py the frames are written by the twins alone.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "notifications"))
sys.path.insert(0, str(Path(__file__).parent))

import wire_twin as twin
from make_vectors import Files, Json, broken, files_of, write
from notification_twin import COLUMNS, batch_bytes

TYPES = {
    "PING": 0x06,
    "PONG": 0x07,
    "ERROR": 0x0A,
    "GOODBYE": 0x0B,
    "FEED_GREETING": 0x41,
    "NOTIFY": 0x50,
    "ACKNOWLEDGED": 0x51,
    "OUT_OF_SEQUENCE": 0x52,
    "LOAD_RANGE": 0x54,
    "COMPARE": 0x56,
    "COMPARED": 0x57,
    "NOTICE_LEAVE": 0x60,
    "NOTICE_KEPT": 0x61,
    "NOTICE_TAKE": 0x62,
    "NOTICES": 0x63,
    "NOTICE_RECEIVED": 0x64,
    "NOTICE_CLOSED": 0x65,
    "NOTICE_LIST": 0x66,
    "NOTICE_STATES": 0x67,
    "CHECKPOINT_ASK": 0x70,
    "CHECKPOINT": 0x71,
    "COSIGN": 0x72,
    "COSIGNED": 0x73,
}
LIMITS = {
    "batch_bytes_max": 1_000_000,
    "notifications_per_batch_max": 100,
    "range_rows_max": 200,
    "requests_in_flight_max": 4,
    "idle_seconds_max": 300,
}
SUMS = [bytes(range(start, start + 16)).hex() for start in (16, 32, 48)]
PERSON: Json = {
    "reason": 11,
    "state": 0,
    "sex": 2,
    "update_number": 3,
    "area": 13101,
    "event_date": 20240401,
    "birth_date": 19650220,
    "code": "24727059608",
    "code_before": "0",
    "name": "髙橋 𠮷子",
    "kana": "タカハシ ヨシコ",
    "alias": "",
    "address": "東京都千代田区丸の内1丁目1-1",
}
NOBODY: Json = {"sex": 0, "birth_date": 0, "name": "", "kana": "", "alias": "", "address": ""}
DEATH: Json = {**PERSON, **NOBODY, "reason": 22, "update_number": 4, "event_date": 20240402}
CODE_CHANGE: Json = {**PERSON, "reason": 41, "code": "98765432103", "code_before": "12345678903", "update_number": 9}
RETIRED: Json = {**CODE_CHANGE, **NOBODY, "state": 5, "code": "98765432103", "code_before": "24727059608"}
PAGE_KEYS = 64 * 2_441_407


def columns_of(notifications: list[Json]) -> bytes:
    numbers = {name for name, letter in COLUMNS if letter == "Q"}
    rows = [{name: int(v) if name in numbers else v for name, v in row.items()} for row in notifications]
    return batch_bytes([SimpleNamespace(**row) for row in rows])  # type: ignore[misc]


def compared(fields: Json) -> bytes:
    rows = fields["rows"]
    out = struct.pack("<IIQQ", fields["kind"], len(rows), fields["register_version"], fields["position"])
    if fields["offsets"] is not None:
        out += twin.u32(fields["offsets"])
    return out + b"".join(struct.pack("<Q", number) + bytes.fromhex(digest) for number, digest in rows)


def payload_of(kind: str, fields: Json) -> bytes:
    """The payload of a message, from docs/protocol.md alone."""
    if kind in ("PING", "PONG"):
        return bytes.fromhex(fields["data"])
    if kind == "NOTIFY":
        rows = fields["notifications"]
        return struct.pack("<QII", fields["first_sequence"], len(rows), 0) + columns_of(rows)
    if kind == "LOAD_RANGE":
        rows = fields["notifications"]
        head = (fields["sequence"], fields["first_key"], fields["stop_key"], len(rows), 0)
        return struct.pack("<QQQII", *head) + columns_of(rows)
    if kind == "COMPARE":
        keys = [key for pair in fields["ranges"] for key in pair]
        return struct.pack("<II", fields["kind"], len(fields["ranges"])) + twin.u64(keys)
    if kind == "COMPARED":
        return compared(fields)
    return msgspec.msgpack.encode({name: plain(name, value) for name, value in fields.items()})


def plain(name: str, value: Any) -> Any:
    """A field of a map as it travels: digests and proofs are bytes, a record code (a decimal string) an integer."""
    if name in ("digest_sum", "proof"):
        return bytes.fromhex(value)
    return int(value) if name == "code" and isinstance(value, str) else value


def step(side: str, kind: str, request_id: int, /, **fields: Any) -> Json:
    data = twin.frame(payload_of(kind, fields), TYPES[kind], request_id)
    return {"from": side, "type": kind, "request_id": request_id, "fields": fields, "frame": data.hex()}


GREETING: Json = {
    "protocol": 1,
    "server": "jukinet 1.0",
    "register": "0123456789abcdef0123456789abcdef",
    "role": "prefecture",
    "body": "tokyo",
    "prefecture": 13,
    "position": 41,
    "digest_count": 1000,
    "digest_sum": SUMS[0],
    "areas": [13101, 13102],
    "today": 20240402,
    "limits": LIMITS,
}
NO_FEED: Json = {"prefecture": 0, "position": 0, "digest_count": 0, "digest_sum": "00" * 16, "areas": []}


def opening(**changes: Any) -> list[Json]:
    return [step("server", "FEED_GREETING", 0, **{**GREETING, **changes})]


def acknowledged(request_id: int, position: int, **fields: Any) -> Json:
    told = {"digest_count": 1001, "digest_sum": SUMS[1], "applied": 1, "kept": 0, "quarantined": [], **fields}
    return step("server", "ACKNOWLEDGED", request_id, position=position, **told)


def notify() -> list[Json]:
    bad = {**PERSON, "birth_date": 20240402}
    return [
        *opening(),
        step("client", "NOTIFY", 1, first_sequence=42, notifications=[DEATH, CODE_CHANGE]),
        step("client", "NOTIFY", 2, first_sequence=44, notifications=[bad, {**PERSON, "code": "12345678900"}, PERSON]),
        acknowledged(1, 43, applied=2, digest_count=999),
        acknowledged(2, 46, quarantined=[[44, 6], [45, 2]]),
        step("client", "NOTIFY", 3, first_sequence=43, notifications=[CODE_CHANGE]),
        acknowledged(3, 46, applied=0),
        step("client", "NOTIFY", 4, first_sequence=50, notifications=[PERSON]),
        step("server", "OUT_OF_SEQUENCE", 4, expected=47),
    ]


def load() -> list[Json]:
    stated = [{**PERSON, "state": 1, "code": code} for code in ("12345678903", "24727059608")]
    ranges = [
        (0, 2_000_000_000, stated[:1]),
        (2_000_000_000, 2_500_000_000, stated[1:]),
        (2_500_000_000, 9_000_000_000, []),
        (9_000_000_000, 10**10, [RETIRED]),
    ]
    frames = opening()
    for number, (first_key, stop_key, rows) in enumerate(ranges):
        keys = {"first_key": first_key, "stop_key": stop_key}
        frames.append(step("client", "LOAD_RANGE", number + 1, sequence=42 + number, **keys, notifications=rows))
    frames.append(acknowledged(1, 45, applied=1))
    frames.append(acknowledged(2, 45, applied=0, quarantined=[[0, 34]]))
    frames.append(acknowledged(3, 45, applied=0))
    frames.append(acknowledged(4, 45, applied=1, digest_count=1002))
    return frames


def compare() -> list[Json]:
    at = {"register_version": 42, "position": 41}
    none = "00" * 16
    pages = [[15, SUMS[2]] if page == 63 else [0, none] for page in range(64)]
    last_page = [63 * PAGE_KEYS, 10**10]
    two = [[2_441_407, 2_500_000], [2_500_000, 2_600_000]]
    entries = [[2_441_500, SUMS[0]], [2_499_999, SUMS[1]]]
    asked: list[tuple[int, list[list[int]], list[int] | None, list[Any]]] = [
        (0, [], None, [[990, SUMS[0]], [10, SUMS[1]]]),
        (1, [], None, pages),
        (2, [last_page], None, pages[::-1]),
        (3, two, None, [[2, SUMS[2]], [0, none]]),
        (4, two, [0, 2, 2], entries),
    ]
    frames = opening()
    for kind, ranges, offsets, rows in asked:
        frames.append(step("client", "COMPARE", 1, kind=kind, ranges=ranges))
        frames.append(step("server", "COMPARED", 1, kind=kind, **at, offsets=offsets, rows=rows))
    return frames


def notices() -> list[Json]:
    moved = {
        "from_area": 13101,
        "to_area": 47201,
        "code": "24727059608",
        "name": "髙橋 𠮷子",
        "kana": "タカハシ ヨシコ",
        "birth_date": 19650220,
        "sex": 2,
        "address": "東京都千代田区丸の内1丁目1-1",
        "event_date": 20240401,
    }
    kept = [*moved.values()]
    kept[2] = 24727059608
    taken = [1_000_000, 5, 47201, 13102, 12345678903, "山田", "ヤマダ", 19800000, 1, "沖縄県那覇市1", 20240329]
    return [
        *opening(),
        step("client", "NOTICE_LEAVE", 1, notice_id=77, **moved),
        step("server", "NOTICE_KEPT", 1, number=1_000_001),
        step("client", "NOTICE_TAKE", 2, notices_max=100),
        step("server", "NOTICES", 2, notices=[[*taken, 1_711_929_600, 1_712_016_000, 2]], remaining=0),
        step("client", "NOTICE_RECEIVED", 3, numbers=[1_000_000]),
        step("server", "NOTICE_CLOSED", 3, closed=1),
        step("client", "NOTICE_LIST", 4, after=0, notices_max=1_000),
        step(
            "server",
            "NOTICE_STATES",
            4,
            notices=[[1_000_001, 77, *kept, 1_712_016_000, 0, 1]],
            remaining=0,
        ),
    ]


def witness() -> list[Json]:
    """A witness that has seen 3 leaves is shown 7, and cosigns them; signatures and hashes stand for real ones."""
    root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    note = f"example.jp/record-of-use\n7\n{root}\n\n\u2014 example.jp/record-of-use AAECAwQF\n"
    return [
        *opening(),
        step("client", "CHECKPOINT_ASK", 1, seen=3),
        step("server", "CHECKPOINT", 1, note=note, proof=bytes(range(128)).hex()),
        step("client", "COSIGN", 2, size=7, line="\u2014 tokyo AAECAwQF"),
        step("server", "COSIGNED", 2, size=7),
        step("client", "CHECKPOINT_ASK", 3, seen=0),
        step("server", "CHECKPOINT", 3, note="", proof=""),
    ]


def witness_port() -> list[Json]:
    """The same on the witness port, by a witness that is no prefecture."""
    _, *exchange = witness()
    exchange[2] = step("client", "COSIGN", 2, size=7, line="\u2014 auditor AAECAwQF")
    return [*opening(role="witness", body="auditor", **NO_FEED), *exchange]


def closing() -> list[Json]:
    return [
        *opening(),
        step("client", "PING", 1, data="0102030405060708"),
        step("server", "PING", 0, data="1112131415161718"),
        step("client", "PONG", 0, data="1112131415161718"),
        step("server", "PONG", 1, data="0102030405060708"),
        step("client", "NOTIFY", 2, first_sequence=42, notifications=[PERSON]),
        step("client", "NOTIFY", 3, first_sequence=43, notifications=[DEATH]),
        step("server", "ERROR", 3, code=17, message="the register cannot be written", retry_after_ms=5000),
        step("server", "GOODBYE", 0, reason="draining"),
        step("client", "GOODBYE", 0, reason="the server is stopping"),
        acknowledged(2, 42),
    ]


def taken() -> list[Json]:
    return [step("server", "ERROR", 0, code=20, message="the feed is held by a connection", retry_after_ms=30000)]


def refused() -> Json:
    """Frames after the opening; for those of the server a NOTIFY of 42 is under way as id 2, one of 43 as id 3."""
    one = payload_of("NOTIFY", {"first_sequence": 42, "notifications": [PERSON]})
    stated = [{**PERSON, "state": 1}]
    loaded = {"sequence": 42, "first_key": 0, "stop_key": 10**10, "notifications": stated}

    def client(title: str, error: str, kind: str, payload: bytes, *, closes: bool = False) -> Json:
        return broken(title, "client", error, twin.frame(payload, TYPES[kind], 2), closes=closes)

    def server(title: str, error: str, told: Json) -> Json:
        return broken(title, "server", error, bytes.fromhex(told["frame"]))

    frames = [
        client("a query on a feed connection", "UNKNOWN_TYPE", "NOTIFY", b"", closes=True)
        | {"frame": twin.frame(twin.question(7, 1, [1]), 0x10, 2).hex()},
        client("bytes behind the batch", "MALFORMED_FRAME", "NOTIFY", one + bytes(8), closes=True),
        client("a batch that is cut", "MALFORMED_FRAME", "NOTIFY", one[:-8], closes=True),
        client("reserved is set", "MALFORMED_FRAME", "NOTIFY", one[:12] + b"\1" + one[13:], closes=True),
        client("a text is not UTF-8", "MALFORMED_FRAME", "NOTIFY", one.replace(b"\xe9", b"\xff", 1), closes=True),
        client("a length that does not fit", "MALFORMED_FRAME", "COMPARE", struct.pack("<II", 3, 2), closes=True),
        client("a map with a field missing", "MALFORMED_FRAME", "NOTICE_TAKE", b"\x80", closes=True),
        broken("a PONG to no PING", "client", "WRONG_STATE", twin.frame(bytes(8), TYPES["PONG"], 0)),
        client("no rows", "BAD_REQUEST", "NOTIFY", struct.pack("<QII", 42, 0, 0) + columns_of([])),
        client("sequence number 0", "BAD_REQUEST", "NOTIFY", bytes(8) + one[8:]),
        client(
            "more rows than allowed",
            "TOO_MANY_CODES",
            "NOTIFY",
            struct.pack("<QII", 42, 101, 0) + columns_of([DEATH] * 101),
        ),
        client(
            "a range that is none", "BAD_REQUEST", "LOAD_RANGE", payload_of("LOAD_RANGE", {**loaded, "stop_key": 0})
        ),
        client(
            "a key outside the range",
            "BAD_REQUEST",
            "LOAD_RANGE",
            payload_of("LOAD_RANGE", {**loaded, "first_key": 9 * 10**9}),
        ),
        client(
            "keys that do not ascend",
            "BAD_REQUEST",
            "LOAD_RANGE",
            payload_of("LOAD_RANGE", {**loaded, "notifications": stated * 2}),
        ),
        client(
            "a range of no statements",
            "BAD_REQUEST",
            "LOAD_RANGE",
            payload_of("LOAD_RANGE", {**loaded, "notifications": [PERSON]}),
        ),
        client("a kind that is none", "BAD_REQUEST", "COMPARE", struct.pack("<II", 5, 0)),
        client("areas with ranges", "BAD_REQUEST", "COMPARE", struct.pack("<IIQQ", 0, 1, 0, 1)),
        client("leaves of no page", "BAD_REQUEST", "COMPARE", struct.pack("<IIQQ", 2, 1, 0, 1)),
        client("too many notices", "BAD_REQUEST", "NOTICE_TAKE", msgspec.msgpack.encode({"notices_max": 1_001})),
        server("the second batch before the first", "WRONG_STATE", acknowledged(3, 43)),
        server("a position below the batch", "MALFORMED_FRAME", acknowledged(2, 41)),
        server("a fault of another batch", "MALFORMED_FRAME", acknowledged(2, 42, quarantined=[[43, 6]])),
        server("a fault that is none", "MALFORMED_FRAME", acknowledged(2, 42, quarantined=[[42, 14]])),
        server("no gap", "MALFORMED_FRAME", step("server", "OUT_OF_SEQUENCE", 2, expected=42)),
        server("an answer to another request", "WRONG_STATE", step("server", "NOTICE_KEPT", 2, number=1)),
        client("a cosignature of no line", "BAD_REQUEST", "COSIGN", msgspec.msgpack.encode({"size": 1, "line": ""})),
        client("a cosignature of nothing", "BAD_REQUEST", "COSIGN", msgspec.msgpack.encode({"size": 0, "line": "x"})),
        server("a second greeting", "WRONG_STATE", opening()[0]),
        server("a PING of the server with an id", "MALFORMED_FRAME", step("server", "PING", 4, data="00" * 8)),
    ]
    under_way = [
        step("client", "NOTIFY", 2, first_sequence=42, notifications=[PERSON]),
        step("client", "NOTIFY", 3, first_sequence=43, notifications=[DEATH]),
    ]
    return {"opening": opening(), "under_way": under_way, "frames": frames}


CONVERSATIONS = {
    "feed-notify": notify,
    "feed-load": load,
    "feed-compare": compare,
    "feed-notices": notices,
    "feed-witness": witness,
    "feed-witness-port": witness_port,
    "feed-closing": closing,
    "feed-taken": taken,
}


def vectors() -> Files:
    return files_of(CONVERSATIONS, "feed-refused.json", refused())


if __name__ == "__main__":
    write(vectors())
