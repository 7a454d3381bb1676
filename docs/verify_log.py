#!/usr/bin/env python3
"""Checks a sealed record of use with nothing of the product: docs/record-of-use.md, chapters 2 to 8, and Ed25519.

    python3 verify_log.py DIRECTORY PUBLIC_KEY_FILE [CHECKPOINT ...]

Every seal is read, the RFC 6962 tree is computed again, each checkpoint must name its root and be signed. Every record
of every segment that is there is hashed and must be the one that was sealed. A worker's segments begin with its first
and have no gap. Segments that are not there must have been erased by a statement that names them, with all of their
provisions at least YEARS old. The tree must hold the checkpoint in tree/checkpoint and every CHECKPOINT given besides:
one kept by a witness or from an earlier visit shows that nothing was taken off the end together with its checkpoint.
Prints the last root, what was erased and when, and how many segments are not sealed yet; exits 1 with a sentence when
anything does not hold. What the tree does not hold is not looked at: a record's own checksum, which is its first four
bytes, and what stands in a file behind its sealed end.
"""

import base64
import contextlib
import datetime
import hashlib
import pathlib
import re
import struct
import sys

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

YEARS = 7
DAY_NS = 86_400_000_000_000


def h(*pieces):
    return hashlib.sha256(b"".join(pieces)).digest()


class Tree:
    """RFC 6962 as a stack of whole subtrees: (leaves, hash), larger ones first."""

    def __init__(self):
        self.size, self.stack = 0, []

    def add(self, entry):
        self.size += 1
        node = (1, h(b"\0", entry))
        while self.stack and self.stack[-1][0] == node[0]:
            node = (2 * node[0], h(b"\1", self.stack.pop()[1], node[1]))
        self.stack.append(node)

    def root(self):
        hashes = [one for _, one in self.stack]
        if not hashes:
            return h()
        found = hashes.pop()
        while hashes:
            found = h(b"\1", hashes.pop(), found)
        return found


def require(holds, sentence):
    if not holds:
        sys.exit(sentence)


@contextlib.contextmanager
def reading(path):
    """Bytes that cannot be what they must be are damage, wherever they are stumbled over."""
    try:
        yield
    except InvalidSignature:
        sys.exit(f"{path}: the key did not sign this")
    except (struct.error, msgspec.MsgspecError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        sys.exit(f"{path}: damaged, or cannot be read: {error}")


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def day(time_ns):
    return (datetime.datetime(1970, 1, 1, 9) + datetime.timedelta(microseconds=time_ns // 1000)).date()


def check_note(note, key_text):
    """(size, root) that the signed note says."""
    name, identifier, blob = key_text.split("+", 2)
    key = base64.b64decode(blob)
    text, _, lines = note.rpartition("\n\n")
    require(lines.endswith("\n"), "a note without its last line")
    for line in lines[:-1].split("\n"):
        mark, signer, encoded = line.split(" ")
        raw = base64.b64decode(encoded, validate=True)
        require((mark, base64.b64encode(raw).decode()) == ("\u2014", encoded), "a signature that is not written as one")
        if signer == name and raw[:4].hex() == identifier:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[4:], (text + "\n").encode())
            origin, size, root = text.split("\n")[:3]
            require(origin == name, "a checkpoint of another log")
            return int(size), base64.b64decode(root)
    sys.exit("a checkpoint that the key did not sign")


def check_segment(path, statement, entries):
    """Every record of the segment is that of its entry, in order, and there is no other."""
    _, _, _, _, worker, segment, header, _, _, records, end_bytes = statement[:11]
    with path.open("rb") as file:
        data = file.read(end_bytes)
    require(h(data[:128]) == header, f"{path}: not the segment that was sealed")
    salt, place, seen, group_end = data[72:104], 128, 0, 128
    (seed,) = struct.unpack_from("<I", data, 124)
    while place < end_bytes:
        require(place + 40 <= len(data), f"{path}: truncated at byte {len(data)}")
        (second,) = struct.unpack_from("<I", data, place + 4)
        if second == 0x50555247:  # the header of a group
            checksum, _, offset, size = struct.unpack_from("<IIQQ", data, place)
            require(offset == place == group_end, f"{path}: byte {place}: a group that does not belong here")
            require(checksum == crc32c(data[place + 4 : place + 40], seed), f"{path}: byte {place}: changed")
            group_end = place + size
            place += 40
            continue
        require(seen < records and second >= 32, f"{path}: byte {place}: a record that was not sealed")
        record = data[place : place + second]
        require(len(record) == second, f"{path}: truncated at byte {len(data)}")
        sequence = record[8:16]
        own = h(b"JKN-SALT", salt, sequence, struct.pack("<I", 2**32 - 1))
        expected = entries[seen]
        fields = struct.unpack_from("<4sHHQ8sQI", expected)
        found = (b"JKRE", worker, fields[2], segment, sequence, place, second)
        require(fields == found and h(own, record[8:]) == expected[40:72], f"{path}: byte {place}: changed")
        place += second
        seen += 1
    require(seen == records, f"{path}: {records - seen} records are missing")
    require(place == group_end == end_bytes, f"{path}: does not end where it was sealed")


def check_erasure(path, seals, number):
    """The segments that it names are all those of its leaves, and were old enough; what to say of it."""
    _, said_ns, _, _, first_leaf, next_leaf, named, days = seals[number][1][:8]
    said = {(worker, segment) for worker, first, last in named for segment in range(first, last + 1)}
    there = [one for leaf, one in seals[:number] if one[0] == "segment" and first_leaf <= leaf < next_leaf]
    require(said == {(one[4], one[5]) for one in there}, f"{path}: erases other segments than its leaves hold")
    made_ns = min(one[1] for _, one in seals[number:])  # not after any seal that follows
    newest_ns = max((one[12] for one in there), default=0)
    least = max(days, round(YEARS * 365.25)) - 2  # the calendar's years, in days
    require(made_ns - newest_ns >= least * DAY_NS, f"{path}: erased provisions of less than {least} days")
    return said, f"erased on {day(said_ns)}: {len(said)} segments, the newest provision of {day(newest_ns)}"


def check_checkpoint(path, key_text, roots):
    """The tree had this signed root at this size."""
    require(path.exists(), f"{path}: missing: nothing says how far the tree must go")
    with reading(path):
        size, root = check_note(path.read_text(), key_text)
    require(roots.get(size) == root, f"{path}: the tree does not hold this checkpoint of {size} leaves")


def check_seal(path, number, tree, key_text):
    """Its entries and statement follow in the tree and lead to its signed root: (entries, statement)."""
    data = path.read_bytes()
    magic, version, _, found, first_leaf, records, statement_bytes, note_bytes = struct.unpack_from("<8sIIQQQII", data)
    require((magic, version) == (b"JKN-SEA\0", 1), f"{path}: not a seal")
    require((found, first_leaf) == (number, tree.size), f"{path}: does not follow the seal before it")
    place = 48 + 104 * records
    encoded = data[place : place + statement_bytes]
    require(len(data) == place + statement_bytes + note_bytes, f"{path}: truncated, or longer than it says")
    entries = [data[48 + 104 * row : 152 + 104 * row] for row in range(records)]
    for entry in (*entries, encoded):
        tree.add(entry)
    note = data[place + statement_bytes :].decode()
    require(check_note(note, key_text) == (tree.size, tree.root()), f"{path}: does not lead to the signed root")
    return entries, msgspec.msgpack.decode(encoded[8:])


def check_changes(path, statement):
    """Names of operators beside the tree, if they are still there, are those that were sealed."""
    if path.exists():
        changes = msgspec.msgpack.decode(path.read_bytes()[16:])
        numbers = [msgspec.msgpack.decode(change)[0] for _, change in changes]
        made = [[number, h(b"JKN-OPER", *change)] for number, change in zip(numbers, changes, strict=True)]
        require(made == statement[4], f"{path}: other changes of operators than were sealed")


def check_segments(directory, segments, erased):
    """Every sealed segment is there as it was sealed, or erased; how many others wait to be sealed."""
    for statement, entries in segments:
        path = directory / f"worker-{statement[4]:02d}-{statement[5]:012d}.rou"
        require(path.exists() or (statement[4], statement[5]) in erased, f"{path}: missing, and not erased")
        if path.exists():
            require((statement[4], statement[5]) not in erased, f"{path}: still there although it was erased")
            with reading(path):
                check_segment(path, statement, entries)
    following = {}
    for statement, _ in segments:
        following[statement[4]] = statement[5] + 1
    waiting = 0
    for path in sorted(directory.glob("*.rou")):
        name = re.fullmatch(r"worker-(\d{2})-(\d{12})\.rou", path.name)
        require(name, f"{path}: not the name of a segment")
        worker, segment = map(int, name.groups())
        if segment < following.get(worker, 0):
            continue  # sealed: they have no gaps
        with reading(path), path.open("rb") as file:
            header = struct.unpack_from("<8sII16sIIQ", file.read(128))
        found = (header[0], header[4], header[6])
        require(found == (b"JKN-ROU\0", worker, segment), f"{path}: not the segment that its name says")
        require(segment == following.get(worker, 0), f"{path}: the segment before it is missing")
        following[worker] = segment + 1
        waiting += 1
    return waiting


def main(directory, key_file, *checkpoints):
    directory = pathlib.Path(directory)
    with reading(key_file):
        key_text = pathlib.Path(key_file).read_text().strip()
        require(len(base64.b64decode(key_text.split("+", 2)[2])) == 33, f"{key_file}: not a public key")
    tree, erased, segments, heads, roots = Tree(), set(), [], {}, {}
    paths, seals, register = sorted((directory / "tree" / "seals").glob("*.seal")), [], None
    for number, path in enumerate(paths):
        require(path.name == f"{number:012d}.seal", f"{path}: seal {number} is missing")
        with reading(path):
            first_leaf = tree.size
            entries, statement = check_seal(path, number, tree, key_text)
            roots[tree.size] = tree.root()
            seals.append((first_leaf, statement))
            if statement[0] == "segment":
                of, worker, segment, _, first, following, records = statement[3:10]
                require(heads.get(worker, (0, 1)) == (segment, first), f"{path}: a segment is missing before it")
                require(records == len(entries), f"{path}: counts other records than it holds")
                require(register in (None, of), f"{path}: of another register")
                heads[worker], register = (segment + 1, following), of
                segments.append((statement, entries))
    said = []
    below = max((one[5] for _, one in seals if one[0] == "erasure"), default=0)
    for number, (leaf, statement) in enumerate(seals):
        if statement[0] == "operators":
            changes = directory / "tree" / "operators" / f"{number:012d}.operators"
            require(changes.exists() or leaf < below, f"{changes}: missing, and not erased")
            with reading(changes):
                check_changes(changes, statement)
        if statement[0] == "erasure":
            with reading(paths[number]):
                gone, sentence = check_erasure(paths[number], seals, number)
                erased |= gone
                said.append(sentence)
    waiting = check_segments(directory, segments, erased)
    for path in (directory / "tree" / "checkpoint", *checkpoints):
        check_checkpoint(pathlib.Path(path), key_text, roots)
    newest = check_note((directory / "tree" / "checkpoint").read_text(), key_text)[0]
    require(newest == tree.size, f"{directory / 'tree' / 'checkpoint'}: not that of the newest seal")
    for sentence in said:
        print(sentence)
    print(f"whole: {tree.size} leaves, root {tree.root().hex()}; {waiting} segments are not sealed yet and not checked")


if __name__ == "__main__":
    main(*sys.argv[1:])
