"""Writes docs/vectors/*.json: whole conversations as frames with their meaning, and frames that must be refused.

Run: python tests/wire/make_vectors.py. The frames are written by the twins in this folder, not by the implementation;
test_vectors.py holds the implementation against the files in both directions, and the files against this program.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

sys.path.insert(0, str(Path(__file__).parent))

import wire_twin as twin

FOLDER = Path(__file__).parents[2] / "docs" / "vectors"
TYPES = {
    "GREETING": 0x01,
    "OPEN_SESSION": 0x02,
    "SESSION_OPENED": 0x03,
    "CLOSE_SESSION": 0x04,
    "SESSION_CLOSED": 0x05,
    "PING": 0x06,
    "PONG": 0x07,
    "CANCEL": 0x08,
    "PROGRESS": 0x09,
    "ERROR": 0x0A,
    "GOODBYE": 0x0B,
    "OPERATOR_LOGIN": 0x0C,
    "OPERATOR_CHALLENGE": 0x0D,
    "OPERATOR_PROOF": 0x0E,
    "OPERATOR_ACCEPTED": 0x0F,
    "LOOKUP": 0x10,
    "LOOKUP_ANSWER": 0x11,
    "STATUS": 0x12,
    "STATUS_ANSWER": 0x13,
    "VERIFY": 0x14,
    "VERIFY_ANSWER": 0x15,
    "HISTORY": 0x16,
    "HISTORY_ANSWER": 0x17,
    "COHORT_PUT": 0x18,
    "COHORT_STORED": 0x19,
    "COHORT_CHANGES": 0x1A,
    "COHORT_CHANGES_ANSWER": 0x1B,
    "SEARCH": 0x1C,
    "SEARCH_ANSWER": 0x1D,
    "MATCH": 0x1E,
    "MATCH_ANSWER": 0x1F,
    "TOWNS": 0x20,
    "TOWNS_ANSWER": 0x21,
}
LIMITS = {
    "request_bytes_max": 1_000_000,
    "answer_bytes_max": 2_000_000,
    "codes_per_request_max": 1_000,
    "requests_in_flight_max": 4,
    "sessions_max": 2,
    "idle_seconds_max": 300,
}
Json = dict[str, Any]
Files = dict[str, Json]
MALFORMED_CODE = 2**64 - 1


def payload_of(kind: str, fields: Json) -> bytes:
    """The payload of a message, from docs/protocol.md alone."""
    if kind in ("PING", "PONG"):
        return bytes.fromhex(fields["data"])
    if kind == "CANCEL":
        return b""
    if TYPES[kind] < 0x10:
        octets = {name: bytes.fromhex(fields[name]) for name in ("nonce", "salt", "proof") if name in fields}
        return msgspec.msgpack.encode({**fields, **octets})
    if kind.startswith("COHORT"):
        return cohort_payload(kind, fields)
    columns = {name: value for name, value in fields.items() if isinstance(value, list)}
    if kind == "TOWNS":
        return struct.pack("<IIII", fields["session_id"], fields["after"], fields["towns_max"], 0)
    if kind == "TOWNS_ANSWER":
        numbers = [fields[name] for name in ("after", "register_version", "towns")]
        return twin.towns_answer(*numbers, fields["areas"], fields["texts"])
    if kind in ("LOOKUP", "STATUS", "VERIFY", "HISTORY"):
        codes = [int(code) for code in columns.pop("codes")]
        claims = b"".join(
            claim(name, columns[name]) for name in ("names", "birth_dates", "sexes", "addresses") if name in columns
        )
        return twin.question(
            fields["session_id"], fields["since" if kind == "STATUS" else "items"], codes, claims, fields.get("form", 0)
        )
    if kind in ("SEARCH", "MATCH"):
        return twin.find(fields["session_id"], fields["items"], fields["count"], fields["prefix"], **columns)
    version, outcomes = fields["register_version"], columns.pop("outcomes")
    if "codes" in columns:
        columns["codes"] = [int(code) for code in columns["codes"]]
    if kind == "SEARCH_ANSWER":
        found, ends = columns.pop("found"), columns.pop("row_ends")
        return twin.search_answer(fields["items"], version, found, ends, outcomes, **columns)
    if kind == "MATCH_ANSWER":
        found, candidates = columns.pop("found"), columns.pop("candidates")
        return twin.match_answer(fields["items"], version, found, candidates, outcomes, **columns)
    if kind == "STATUS_ANSWER":
        return twin.status_answer(fields["since"], version, outcomes, columns["change_dates"])
    if kind == "HISTORY_ANSWER":
        return twin.history_answer(fields["items"], version, outcomes, **columns)
    if kind == "VERIFY_ANSWER":
        return twin.verify_answer(fields["items"], version, outcomes, columns["matches"])
    if "successor_codes" in columns:
        columns["successor_codes"] = [int(code) for code in columns["successor_codes"]]
    if "packed" in fields:
        packed = fields["packed"]
        columns = {**{name: column for name, column in columns.items() if name not in ("areas", "addresses")}, **packed}
        return twin.packed_lookup_answer(fields["items"], version, outcomes, **columns)
    return twin.lookup_answer(fields["items"], version, outcomes, **columns)


def cohort_payload(kind: str, fields: Json) -> bytes:
    codes = [int(code) for code in fields.get("codes", ())]
    if kind == "COHORT_PUT":
        return twin.cohort_put(fields["session_id"], fields["step"], fields["name"], codes)
    if kind == "COHORT_CHANGES":
        return twin.cohort_changes(*[fields[name] for name in ("session_id", "rows_max", "name", "order", "place")])
    if kind == "COHORT_STORED":
        rows = [tuple(row.values()) for row in fields["cohorts"]]
        return twin.cohort_stored(fields["step"], fields["register_version"], rows)
    columns = [fields[name] for name in ("outcomes", "reasons", "change_dates", "registered_dates")]
    cursor = (fields["order"], fields["place"])
    return twin.cohort_changes_answer(fields["more"], fields["register_version"], cursor, codes, *columns)


def claim(name: str, values: list[Any]) -> bytes:
    if name in ("names", "addresses"):
        return twin.text_column(values)
    return twin.u32(values) if name == "birth_dates" else twin.u8(values)


def step(side: str, kind: str, request_id: int, **fields: Any) -> Json:
    data = twin.frame(payload_of(kind, fields), TYPES[kind], request_id)
    return {"from": side, "type": kind, "request_id": request_id, "fields": fields, "frame": data.hex()}


def opening(functions: int = 7) -> list[Json]:
    return [
        step(
            "server",
            "GREETING",
            0,
            protocol=1,
            server="jukinet 1.0",
            register="0123456789abcdef0123456789abcdef",
            role="agency",
            body="pension-service",
            limits=LIMITS,
            areas_not_connected=[7483, 13215],
        ),
        step(
            "client",
            "OPEN_SESSION",
            1,
            schedule=1,
            item="77",
            number=0,
            operator="op-0042",
            reason="現況確認",
            case_reference="2024-0017",
        ),
        step(
            "server",
            "SESSION_OPENED",
            1,
            session_id=7,
            functions=functions,
            items=255,
            codes_per_request_max=500,
            valid_until=20301231,
        ),
    ]


def session() -> list[Json]:
    return [
        *opening(),
        step("client", "PING", 2, data="0102030405060708"),
        step("server", "PONG", 2, data="0102030405060708"),
        step("client", "CLOSE_SESSION", 3, session_id=7),
        step("server", "SESSION_CLOSED", 3, session_id=7),
        step("client", "GOODBYE", 0, reason="done"),
        step("server", "GOODBYE", 0, reason="done"),
    ]


def operator() -> list[Json]:
    """A login by password with parameters small enough to try by hand; the proof is made from docs/operators.md."""
    nonce, salt = bytes(range(32)), bytes(range(16))
    text = (
        f"jukinet operator proof 1\nregister 0123456789abcdef0123456789abcdef\nnonce {nonce.hex()}\n"
        f"client-certificate {'11' * 32}\nserver-certificate {'22' * 32}\n"
        "role agency\nbody pension-service\noperator op-0042\n"
    ).encode()
    kdf = Argon2id(salt=salt, length=32, iterations=2, lanes=1, memory_cost=64)
    key = hmac.new(kdf.derive(b"correct horse battery"), b"jukinet operator client key", hashlib.sha256).digest()
    mask = hmac.new(hashlib.sha256(key).digest(), text, hashlib.sha256).digest()
    proof = bytes(left ^ right for left, right in zip(key, mask, strict=True))
    challenge = {"nonce": nonce.hex(), "salt": salt.hex(), "memory_kibibytes": 64, "iterations": 2, "lanes": 1}
    accepted = {"functions": 7, "codes_per_request_max": 64, "idle_seconds_max": 900, "valid_until": 20261231}
    without = {"salt": "", "memory_kibibytes": 8, "iterations": 1}
    return [
        opening()[0],
        step("client", "OPERATOR_LOGIN", 1, operator="op-0042"),
        step("server", "OPERATOR_CHALLENGE", 1, method="password", **challenge),
        step("client", "OPERATOR_PROOF", 2, operator="op-0042", proof=proof.hex()),
        step("server", "OPERATOR_ACCEPTED", 2, operator_class="enquiry", **accepted),
        step("client", "OPERATOR_LOGIN", 3, operator="op-9"),
        step("server", "OPERATOR_CHALLENGE", 3, method="key", **{**challenge, **without}),
        step("client", "OPERATOR_PROOF", 4, operator="op-9", proof="00" * 64),
        step("server", "ERROR", 4, code=24, message="operator or proof is not right", retry_after_ms=0),
    ]


def lookup() -> list[Json]:
    return [
        *opening(),
        step("client", "LOOKUP", 2, session_id=7, items=0, codes=["24727059608", "12345678903", "10000000006"]),
        step(
            "server",
            "LOOKUP_ANSWER",
            2,
            items=255,
            count=3,
            register_version=42,
            outcomes=[1, 6, 9],
            names=["髙橋 𠮷子", "", ""],
            kana=["タカハシ ヨシコ", "", ""],
            aliases=["", "", ""],
            birth_dates=[19650220, 0, 0],
            sexes=[2, 0, 0],
            areas=[13101, 0, 0],
            addresses=["東京都千代田区丸の内1丁目1-1", "", ""],
            reasons=[31, 41, 0],
            change_dates=[20200331, 20210401, 0],
            successor_codes=["0", "98765432103", "0"],
        ),
        step("client", "LOOKUP", 3, session_id=7, items=9, codes=["24727059608", str(MALFORMED_CODE)]),
        step(
            "server",
            "LOOKUP_ANSWER",
            3,
            items=9,
            count=2,
            register_version=42,
            outcomes=[1, 11],
            names=["髙橋 𠮷子", ""],
            birth_dates=[19650220, 0],
        ),
    ]


def packed() -> list[Json]:
    """``packed`` holds what the frame has in place of areas and addresses; the other fields are what they mean."""
    return [
        *opening(135),
        step("client", "TOWNS", 2, session_id=7, after=0, towns_max=2),
        step("server", "TOWNS_ANSWER", 2, after=0, count=2, register_version=42, towns=3, areas=[13101, 13215],
             texts=["東京都千代田区丸の内", "東京都国立市東"]),
        step("client", "TOWNS", 3, session_id=7, after=2, towns_max=2),
        step("server", "TOWNS_ANSWER", 3, after=2, count=1, register_version=42, towns=3, areas=[13101, 13215],
             texts=["東京都千代田区神田神保町"]),
        step("client", "LOOKUP", 4, session_id=7, items=0, form=1, codes=["24727059608", "12345678903", "10000000006"]),
        step(
            "server",
            "LOOKUP_ANSWER",
            4,
            items=255,
            count=3,
            register_version=42,
            outcomes=[1, 6, 3],
            names=["髙橋 𠮷子", "", "SMITH ANN"],
            kana=["タカハシ ヨシコ", "", "スミス　アン"],
            aliases=["", "", "山田"],
            birth_dates=[19650220, 0, 19700000],
            sexes=[2, 0, 9],
            areas=[13101, 0, 13215],
            addresses=["東京都千代田区丸の内1丁目1-1", "", "東京都国立市中2-3"],
            reasons=[31, 41, 22],
            change_dates=[20200331, 20210401, 20240301],
            successor_codes=["0", "98765432103", "0"],
            packed={"towns": 3, "areas": 2, "area_numbers": [0, 0, 1], "town_numbers": [1, 0, 0],
                    "rests": ["1丁目1-1", "", "東京都国立市中2-3"]},
        ),
    ]  # fmt: skip


def status() -> list[Json]:
    codes = ["24727059608", "12345678903", "10000000006", "98765432103", "98765432104"]
    return [
        *opening(),
        step("client", "STATUS", 2, session_id=7, since=20240401, codes=codes),
        step(
            "server",
            "STATUS_ANSWER",
            2,
            since=20240401,
            count=5,
            register_version=42,
            outcomes=[1, 2, 3, 8, 10],
            change_dates=[0, 20240415, 20240329, 0, 0],
        ),
    ]


def verify() -> list[Json]:
    return [
        *opening(),
        step(
            "client",
            "VERIFY",
            2,
            session_id=7,
            items=57,
            codes=["24727059608", "12345678903"],
            names=["高橋 吉子", ""],
            birth_dates=[19650220, 19800000],
            sexes=[2, 0],
            addresses=["", "東京都千代田区丸の内１－１－１"],
        ),
        step("server", "VERIFY_ANSWER", 2, items=57, count=2, register_version=42, outcomes=[1, 9], matches=[0x2B, 0]),
    ]


def history() -> list[Json]:
    codes = ["24727059608", "12345678903", "10000000006"]
    return [
        *opening(),
        step("client", "HISTORY", 2, session_id=7, items=105, codes=codes),
        step(
            "server",
            "HISTORY_ANSWER",
            2,
            items=105,
            count=3,
            register_version=42,
            outcomes=[1, 3, 9],
            row_ends=[2, 3, 3],
            replaced_dates=[20240415, 20200401, 20240329],
            names=["髙橋 𠮷子", "山田 𠮷子", "鈴木"],
            birth_dates=[19650220, 19650220, 19400000],
            areas=[13101, 47201, 13102],
            addresses=["東京都千代田区丸の内1丁目1-1", "沖縄県那覇市1", "東京都中央区1"],
            reasons=[11, 31, 33],
            change_dates=[20200331, 19980401, 20010101],
        ),
    ]


def cohort() -> list[Json]:
    """A registration in two chunks, what changed since, the list, and the end."""
    row: Json = {"name": "pensions", "codes": 2, "order": 4_000, "place": 0, "registered_date": 0, "complete": False}
    whole = {**row, "codes": 3, "registered_date": 20240415, "complete": True}
    stored: Json = {"register_version": 42}
    asked: Json = {"session_id": 7, "name": "pensions"}
    return [
        *opening(),
        step("client", "COHORT_PUT", 2, **asked, step=1, codes=["10000000006", "12345678903"]),
        step("server", "COHORT_STORED", 2, step=1, **stored, cohorts=[row]),
        step("client", "COHORT_PUT", 3, **asked, step=2, codes=["24727059608"]),
        step("server", "COHORT_STORED", 3, step=2, **stored, cohorts=[whole]),
        step("client", "COHORT_CHANGES", 4, **asked, rows_max=500, order=4_000, place=0),
        step(
            "server",
            "COHORT_CHANGES_ANSWER",
            4,
            more=False,
            count=2,
            register_version=43,
            order=4_120,
            place=0,
            codes=["12345678903", "24727059608"],
            outcomes=[3, 1],
            reasons=[22, 31],
            change_dates=[20240401, 20240412],
            registered_dates=[20240416, 20240416],
        ),
        step("client", "COHORT_PUT", 5, session_id=7, step=8, name="", codes=[]),
        step("server", "COHORT_STORED", 5, step=8, **stored, cohorts=[whole]),
        step("client", "COHORT_PUT", 6, **asked, step=4, codes=[]),
        step("server", "COHORT_STORED", 6, step=4, **stored, cohorts=[whole]),
    ]


def persons() -> list[Json]:
    """A SEARCH that finds two persons for its first question and nobody for its second; a MATCH of four rows."""
    return [
        *opening(),
        step(
            "client",
            "SEARCH",
            2,
            session_id=7,
            items=137,
            given=9,
            prefix=False,
            count=2,
            names=["高橋 吉子", "山田 花子"],
            birth_dates=[19650220, 19700000],
        ),
        step(
            "server",
            "SEARCH_ANSWER",
            2,
            items=137,
            count=2,
            register_version=42,
            found=[2, 5],
            row_ends=[2, 2],
            grades=[2, 6],
            levels=[0x00102, 0x00107],
            probabilities=[999_998, 740_000],
            outcomes=[1, 3],
            names=["髙橋 𠮷子", "髙橋 吉"],
            birth_dates=[19650220, 19650220],
            codes=["24727059608", "12345678903"],
        ),
        step(
            "client",
            "MATCH",
            3,
            session_id=7,
            items=129,
            given=58,
            prefix=False,
            count=4,
            kana=["ﾀｶﾊｼ ﾖｼｺ", "ヤマダ ハナコ", "", "スズキ"],
            birth_dates=[19650220, 19700101, 19700101, 19701301],
            sexes=[2, 0, 1, 0],
            addresses=["", "", "", "東京都千代田区丸の内1-1"],
        ),
        step(
            "server",
            "MATCH_ANSWER",
            3,
            items=129,
            count=4,
            register_version=42,
            found=[1, 2, 6, 9],
            candidates=[1, 3, 0, 0],
            grades=[2, 0, 0, 0],
            levels=[0x01120, 0, 0, 0],
            probabilities=[999_998, 480_000, 0, 0],
            margins=[999_990, 1_000, 0, 0],
            outcomes=[1, 9, 9, 9],
            names=["髙橋 𠮷子", "", "", ""],
            codes=["24727059608", "0", "0", "0"],
        ),
    ]


def under_way() -> list[Json]:
    """Progress, cancellation, errors that stay, draining, and an answer after both goodbyes."""
    error: Json = {"message": "", "retry_after_ms": 0}
    codes = ["24727059608", "12345678903"]
    return [
        *opening(),
        step("client", "LOOKUP", 2, session_id=7, items=1, codes=codes),
        step("client", "STATUS", 3, session_id=7, since=20240401, codes=codes),
        step("server", "PROGRESS", 2, done=1, total=2),
        step("client", "CANCEL", 2),
        step("server", "ERROR", 2, code=15, message="cancelled", retry_after_ms=0),
        step("client", "OPEN_SESSION", 4, schedule=1, item="30", number=0, operator="o", reason="r", case_reference=""),
        step("server", "ERROR", 4, code=12, message="the body has no authority for this affair", retry_after_ms=0),
        step("client", "LOOKUP", 5, session_id=7, items=1, codes=codes),
        step("server", "ERROR", 5, **{"code": 11, **error, "retry_after_ms": 250}),
        step("server", "GOODBYE", 0, reason="draining"),
        step("client", "GOODBYE", 0, reason="the server is stopping"),
        step(
            "server",
            "STATUS_ANSWER",
            3,
            since=20240401,
            count=2,
            register_version=43,
            outcomes=[7, 4],
            change_dates=[0, 20190501],
        ),
    ]


def closing() -> list[Json]:
    return [*opening(), step("server", "ERROR", 0, code=18, message="no frame for 300 seconds", retry_after_ms=0)]


def broken(title: str, side: str, error: str, data: bytes, *, closes: bool = True) -> Json:
    return {"title": title, "from": side, "error": error, "closes": closes, "frame": data.hex()}


def refused() -> Json:
    """Frames after the opening; for those of the server a LOOKUP (items NAME) of two codes, id 2, is under way."""
    sound = twin.question(7, 1, [24727059608])
    names = twin.text_column(["髙橋"])
    answer = twin.lookup_answer(1, 42, [1, 9], names=["髙橋", ""])
    frames = [
        broken("flags are set", "client", "MALFORMED_FRAME", twin.header(sound, 0x10, 2, flags=1) + sound),
        broken("reserved is set", "client", "MALFORMED_FRAME", twin.header(sound, 0x10, 2, reserved=9) + sound),
        broken("request_id is 0", "client", "MALFORMED_FRAME", twin.frame(sound, 0x10, 0)),
        broken("no such type", "client", "UNKNOWN_TYPE", twin.frame(b"", 0x7F, 2)),
        broken("a server's message from a client", "client", "UNKNOWN_TYPE", twin.frame(bytes(8), 0x07, 2)),
        broken("above request_bytes_max", "client", "FRAME_TOO_LARGE", struct.pack("<IHHII", 1_000_001, 0x10, 0, 2, 0)),
        broken(
            "a control message above 65,536 bytes",
            "client",
            "FRAME_TOO_LARGE",
            struct.pack("<IHHII", 65_537, 2, 0, 2, 0),
        ),
        broken("bytes after the codes", "client", "MALFORMED_FRAME", twin.frame(sound + bytes(8), 0x10, 2)),
        broken("fewer codes than counted", "client", "MALFORMED_FRAME", twin.frame(sound[:-8], 0x10, 2)),
        broken(
            "padding is not zero",
            "client",
            "MALFORMED_FRAME",
            twin.frame(twin.question(7, 1, [1], names[:-1] + b"\1"), 0x14, 2),
        ),
        broken(
            "claims are not UTF-8",
            "client",
            "MALFORMED_FRAME",
            twin.frame(twin.question(7, 1, [1], twin.u32([0, 1]) + twin.pad8(b"\xff")), 0x14, 2),
        ),
        broken(
            "a map with a field missing", "client", "MALFORMED_FRAME", twin.frame(msgspec.msgpack.encode({}), 0x0B, 0)
        ),
        broken(
            "a map with a field too many",
            "client",
            "MALFORMED_FRAME",
            twin.frame(msgspec.msgpack.encode({"reason": "", "x": 1}), 0x0B, 0),
        ),
        broken(
            "a field of the wrong type",
            "client",
            "MALFORMED_FRAME",
            twin.frame(msgspec.msgpack.encode({"reason": 1}), 0x0B, 0),
        ),
        broken(
            "bytes after the map",
            "client",
            "MALFORMED_FRAME",
            twin.frame(msgspec.msgpack.encode({"reason": ""}) + b"\0", 0x0B, 0),
        ),
        broken("no codes", "client", "BAD_REQUEST", twin.frame(twin.question(7, 1, []), 0x10, 2), closes=False),
        broken(
            "an item that is none",
            "client",
            "BAD_REQUEST",
            twin.frame(twin.question(7, 256, [1]), 0x10, 2),
            closes=False,
        ),
        broken(
            "since is no full date",
            "client",
            "BAD_REQUEST",
            twin.frame(twin.question(7, 20240400, [1]), 0x12, 2),
            closes=False,
        ),
        broken(
            "a claimed date that is none",
            "client",
            "BAD_REQUEST",
            twin.frame(twin.question(7, 8, [1], twin.u32([19651301])), 0x14, 2),
            closes=False,
        ),
        broken(
            "no such session", "client", "UNKNOWN_SESSION", twin.frame(twin.question(8, 1, [1]), 0x10, 2), closes=False
        ),
        broken(
            "more codes than the session allows",
            "client",
            "TOO_MANY_CODES",
            twin.frame(twin.question(7, 1, range(501)), 0x10, 2),
            closes=False,
        ),
        broken("a second greeting", "server", "WRONG_STATE", bytes.fromhex(opening()[0]["frame"])),
        broken("an answer to nothing under way", "server", "WRONG_STATE", twin.frame(answer, 0x11, 3)),
        broken(
            "another count than asked",
            "server",
            "MALFORMED_FRAME",
            twin.frame(twin.lookup_answer(1, 42, [1], names=["a"]), 0x11, 2),
        ),
        broken(
            "other items than asked",
            "server",
            "MALFORMED_FRAME",
            twin.frame(twin.lookup_answer(8, 42, [1, 9], birth_dates=[0, 0]), 0x11, 2),
        ),
        broken(
            "offsets decrease",
            "server",
            "MALFORMED_FRAME",
            twin.frame(answer[:24] + struct.pack("<4I", 0, 6, 3, 0) + answer[40:], 0x11, 2),
        ),
        broken(
            "offsets beyond the payload",
            "server",
            "MALFORMED_FRAME",
            twin.frame(answer[:24] + struct.pack("<4I", 0, 6, 600, 0) + answer[40:], 0x11, 2),
        ),
        broken(
            "an outcome that LOOKUP does not have",
            "server",
            "MALFORMED_FRAME",
            twin.frame(answer[:16] + b"\2\2" + answer[18:], 0x11, 2),
        ),
    ]
    return {
        "opening": opening(),
        "under_way": step("client", "LOOKUP", 2, session_id=7, items=1, codes=["24727059608", "1"]),
        "frames": frames,
    }


CONVERSATIONS = {
    "session": session,
    "operator": operator,
    "lookup": lookup,
    "packed": packed,
    "status": status,
    "verify": verify,
    "history": history,
    "cohort": cohort,
    "persons": persons,
    "under-way": under_way,
    "closing": closing,
}


def files_of(conversations: Mapping[str, Callable[[], list[Json]]], refused_name: str, refused_frames: Json) -> Files:
    """File name -> content."""
    files: Files = {f"{name}.json": {"protocol": 1, "frames": make()} for name, make in conversations.items()}
    files[refused_name] = {"protocol": 1, **refused_frames}
    return files


def vectors() -> Files:
    return files_of(CONVERSATIONS, "refused.json", refused())


def text_of(content: Json) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def write(files: Files) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, content in files.items():
        (FOLDER / name).write_text(text_of(content), encoding="utf-8")


if __name__ == "__main__":
    write(vectors())
