#!/usr/bin/env python3
"""Checks a sealed record of use with nothing of the product: docs/record-of-use.md, chapters 2 to 8, and Ed25519.

    python3 verify_log.py DIRECTORY PUBLIC_KEY_FILE [CHECKPOINT ...]

Every seal is read, the RFC 6962 tree is computed again, each checkpoint must name its root and be signed. Every record
of every segment that is there is hashed and must be the one that was sealed. Segments that are not there must have been
erased by a statement. The tree must hold the checkpoint in tree/checkpoint and every CHECKPOINT given besides: one kept
by a witness or from an earlier visit shows that nothing was taken off the end together with its checkpoint. Prints the
last root and how many segments are not sealed yet; exits 1 with a sentence when anything does not hold.
"""

import base64
import hashlib
import pathlib
import struct
import sys

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


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


def check_note(note, key_text):
    """(size, root) that the signed note says."""
    name, identifier, blob = key_text.split("+", 2)
    key = base64.b64decode(blob)
    text, _, lines = note.rpartition("\n\n")
    for line in lines.splitlines():
        raw = base64.b64decode(line.split(" ")[-1])
        if line.split(" ")[1] == name and raw[:4].hex() == identifier:
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
    require(len(data) == end_bytes, f"{path}: truncated")
    require(h(data[:128]) == header, f"{path}: not the segment that was sealed")
    salt, place, seen = data[72:104], 128, 0
    while place < end_bytes:
        (second,) = struct.unpack_from("<I", data, place + 4)
        if second == 0x50555247:  # the header of a group
            place += 40
            continue
        require(seen < records and second >= 32, f"{path}: byte {place}: a record that was not sealed")
        record = data[place : place + second]
        sequence = record[8:16]
        own = h(b"JKN-SALT", salt, sequence, struct.pack("<I", 2**32 - 1))
        expected = entries[seen]
        fields = struct.unpack_from("<4sHHQ8sQI", expected)
        found = (b"JKRE", worker, fields[2], segment, sequence, place, second)
        require(fields == found and h(own, record[8:]) == expected[40:72], f"{path}: byte {place}: changed")
        place += second
        seen += 1
    require(seen == records, f"{path}: {records - seen} records are missing")


def check_checkpoint(path, key_text, roots):
    """The tree had this signed root at this size."""
    require(path.exists(), f"{path}: missing: nothing says how far the tree must go")
    size, root = check_note(path.read_text(), key_text)
    require(roots.get(size) == root, f"{path}: the tree does not hold this checkpoint of {size} leaves")


def main(directory, key_file, *checkpoints):
    directory, key_text = pathlib.Path(directory), pathlib.Path(key_file).read_text().strip()
    tree, erased, segments, heads, root = Tree(), set(), [], {}, h()
    roots = {}
    for number, path in enumerate(sorted((directory / "tree" / "seals").glob("*.seal"))):
        data = path.read_bytes()
        require(path.name == f"{number:012d}.seal", f"{path}: seal {number} is missing")
        _, _, _, found, first_leaf, records, statement_bytes, note_bytes = struct.unpack_from("<8sIIQQQII", data)
        require((found, first_leaf) == (number, tree.size), f"{path}: does not follow the seal before it")
        entries = [data[48 + 104 * row : 152 + 104 * row] for row in range(records)]
        place = 48 + 104 * records
        encoded = data[place : place + statement_bytes]
        for entry in (*entries, encoded):
            tree.add(entry)
        note = data[place + statement_bytes : place + statement_bytes + note_bytes].decode()
        root = tree.root()
        require(check_note(note, key_text) == (tree.size, root), f"{path}: does not lead to the signed root")
        roots[tree.size] = root
        statement = msgspec.msgpack.decode(encoded[8:])
        if statement[0] == "segment":
            worker, segment, first, following = statement[4], statement[5], statement[7], statement[8]
            require(heads.get(worker, (segment, first)) == (segment, first), f"{path}: a segment is missing before it")
            heads[worker] = (segment + 1, following)
            segments.append((statement, entries))
        elif statement[0] == "erasure":
            for worker, first, last in statement[6]:
                erased |= {(worker, segment) for segment in range(first, last + 1)}
    for statement, entries in segments:
        path = directory / f"worker-{statement[4]:02d}-{statement[5]:012d}.rou"
        if path.exists():
            check_segment(path, statement, entries)
        else:
            require((statement[4], statement[5]) in erased, f"{path}: missing, and not erased")
    for path in (directory / "tree" / "checkpoint", *checkpoints):
        check_checkpoint(pathlib.Path(path), key_text, roots)
    waiting = len(list(directory.glob("worker-*.rou"))) - sum(
        (directory / f"worker-{one[4]:02d}-{one[5]:012d}.rou").exists() for one, _ in segments
    )
    print(f"whole: {tree.size} leaves, root {root.hex()}; {waiting} segments are not sealed yet and not checked")


if __name__ == "__main__":
    main(*sys.argv[1:])
