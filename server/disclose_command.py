"""The command `jukinet disclose`: who asked about a resident, with proof; and the offline check of such an answer."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from jukinet.core.audit.checkpoint import read_public_key
from jukinet.core.audit.disclosure import Disclosure, DisclosureReader, check_disclosure, disclose
from jukinet.core.audit.errors import NotProvedError
from jukinet.core.codes import code_from_key, format_code, parse_code
from jukinet.core.errors import ConfigurationError, StoreCorruptError
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.succession import Succession
from jukinet.server import disclosure_page as page
from jukinet.server.names_in_law import NamesInLaw

CHAIN_CODES_MAX = 100
DISCLOSURE_BYTES_MAX = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`disclose CODE` and `disclose verify FILE`."""
    parser.usage = (
        "jukinet disclose CODE --record DIR [--former CODE ...] [--store DIR] [--authority PATH]\n"
        "                        [--json | --html] [--out FILE]\n"
        "       jukinet disclose verify FILE --key PUBLIC"
    )
    parser.add_argument(
        "words", nargs="+", metavar="CODE", help="the code, '-' to read it from standard input; or verify"
    )
    parser.add_argument("--record", type=Path, metavar="DIR", help="directory of the record of use")
    parser.add_argument("--former", action="append", default=[], metavar="CODE", help="a code the person had before")
    parser.add_argument("--store", type=Path, metavar="DIR", help="a register: also all other codes of the person")
    parser.add_argument(
        "--authority", type=Path, metavar="PATH", help="file or history: what recipients and affairs are called"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="with proofs, for `disclose verify`")
    how.add_argument("--html", action="store_true", help="a page to print, in Japanese")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there, readable for the owner alone")
    parser.add_argument("--key", metavar="PUBLIC", help="verify: the log's public key, a file or the text")


def run(arguments: argparse.Namespace) -> int:
    """0 when disclosed (or no record exists) or proved, 1 when a proof fails. Raises JukinetError and OSError."""
    if arguments.words[0] == "verify":
        return verify(arguments)
    if len(arguments.words) != 1 or arguments.record is None:
        raise ConfigurationError("disclose needs one CODE and --record DIR")
    text = sys.stdin.readline().strip() if arguments.words[0] == "-" else arguments.words[0]
    codes = [parse_code(text), *(parse_code(one) for one in arguments.former)]
    if arguments.store is not None:
        codes = all_codes(arguments.store, codes)
    names = NamesInLaw(arguments.authority)
    with DisclosureReader(arguments.record) as reader:
        answer, withheld = disclose(reader, list(dict.fromkeys(codes)), time.time_ns())
    if withheld:
        print(f"{withheld:,} provisions are withheld; that is on record", file=sys.stderr)
    if arguments.json:
        write(arguments.out, answer.encode() + b"\n")
    elif arguments.html:
        write(arguments.out, page.document(answer, names).encode())
    else:
        write(arguments.out, as_text(answer, names).encode())
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Check a disclosure offline. Raises ConfigurationError and NotProvedError (exit code 1)."""
    if len(arguments.words) != 2 or arguments.key is None:
        raise ConfigurationError("disclose verify needs one FILE and --key PUBLIC")
    path = Path(arguments.words[1])
    with path.open("rb") as file:
        answer = Disclosure.decode(file.read(DISCLOSURE_BYTES_MAX))
    try:
        proved = check_disclosure(answer, read_public_key(arguments.key))
    except NotProvedError as error:
        print(f"not proved: {error}")
        return 1
    print(f"{path}: {proved:,} provisions are proved by the checkpoint in it")
    waiting = len(answer.provisions) - proved
    if waiting:
        print(f"  {waiting:,} are not sealed yet: ask again later for their proofs")
    if not answer.provisions:
        print("  it says that no record exists")
    return 0


def all_codes(store: Path, codes: list[int]) -> list[int]:
    """The codes, and all others that the same persons have or had, by the register. Raises StoreError."""
    succession = Succession()
    with RegisterReader(store) as reader, reader.pin() as snapshot:
        succession.gather(snapshot)
    found = list(codes)
    for code in codes:
        try:
            found += [code_from_key(key) for key in succession.family(code // 10, CHAIN_CODES_MAX)]
        except ValueError as error:
            raise StoreCorruptError(f"{store}: {error}") from None
    return list(dict.fromkeys(found))


def write(path: Path | None, data: bytes) -> None:
    """To standard output, or to a new file that only the owner reads. Raises OSError."""
    if path is None:
        sys.stdout.buffer.write(data)
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def as_text(answer: Disclosure, names: NamesInLaw) -> str:
    """A line a provision, tabs between the columns of the page."""
    codes = ", ".join(format_code(code) for code in answer.codes)
    if not answer.provisions:
        return f"{codes}\n{page.NONE} (no record exists)\n"
    lines = ["\t".join(page.COLUMNS), *("\t".join(page.cells(one, names)) for one in answer.provisions)]
    return f"{codes}: {len(answer.provisions):,}\n" + "\n".join(lines) + "\n"
