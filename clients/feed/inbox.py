"""The inbox of `jukinet feed run`: files that are moved into a directory are put into the outbox, one after another.

A file must appear whole, by a rename; names that begin with a dot, or with other endings than those of the formats, are
passed over. What was put goes to ``done``, what was refused to ``refused``, with the bad lines named in ``NAME.errors``
beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jukinet.clients.errors import ClientError
from jukinet.clients.feed.notification_file import SUFFIXES, open_file
from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import OutboxError
from jukinet.clients.feed.putting import AlreadyPutError, FilePut, put_file

FILES_PER_LOOK_MAX: Final = 10_000


class Inbox:
    """One directory. `take` never loses a file: it is moved only when what became of it is durable."""

    def __init__(self, directory: str | Path, encoding: str = "utf-8") -> None:
        self.directory = Path(directory)
        self._encoding = encoding
        for folder in (self.directory, self.directory / "done", self.directory / "refused"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def waiting(self) -> list[Path]:
        """Files to be put, by name."""
        found = [
            path
            for path in self.directory.iterdir()
            if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in SUFFIXES
        ]
        return sorted(found)[:FILES_PER_LOOK_MAX]

    def take(self, path: Path, outbox: Outbox) -> FilePut:
        """Put one file and move it away. OutboxError when the outbox cannot take it: it stays and is tried again."""
        kind = SUFFIXES[path.suffix.lower()]
        try:
            file = open_file(str(path), kind, self._encoding if kind == "csv" else "utf-8")
            try:
                found = put_file(outbox, file)
            finally:
                file.close()
            lines = [str(fault) for fault in found.faults]
            if found.fault_count > len(lines):
                lines.append(f"and {found.fault_count - len(lines)} more")
        except AlreadyPutError:
            found, lines = FilePut(), []
        except OutboxError:
            raise
        except (ClientError, OSError) as error:
            found, lines = FilePut(fault_count=1), [str(error)]
        self._move(path, "refused" if lines else "done", lines)
        return found

    def _move(self, path: Path, folder: str, lines: list[str]) -> None:
        """The reasons are there before the file moves: killed in between, it is refused again."""
        target = self.directory / folder / path.name
        number = 0
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        if lines:
            target.with_name(f"{target.name}.errors").write_text("\n".join([*lines, ""]))
        path.rename(target)
