"""The end of what a site's servers wrote, on disk, so that it outlives who has read it.

Two files: the one that is written, and the one before it. When the first is full it takes the
second's place, so that there is never more than twice `FULL` and a piece, and never less than
`FULL` of what there was. It is no archive: what a power cut takes away is lost. It must never fail:
a disk that is full costs lines, no server.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from contextlib import suppress

from twisted.logger import Logger

from snickers.containers.output import KEPT, Output, broken

log = Logger()

FULL = KEPT
"""Bytes of a file that is full."""


class Journal:
    """What one site's servers wrote.

    :param folder: where, made when needed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, "log")
        self._former = os.path.join(folder, "log.former")
        self._fd = -1
        self._size = 0
        self._whole = True
        """It ends with a newline, or is empty."""
        self._warned = False

    def add(self, data: bytes) -> None:
        """Take what came, in any pieces."""
        try:
            self._open()
            if self._size >= FULL:
                self._turn()
            self._write(data)
        except OSError as error:
            if not self._warned:
                log.warn(
                    "What a server writes cannot be kept in {folder}: {error}. It can be followed,"
                    " but not read afterwards.",
                    folder=self._folder,
                    error=error.strerror,
                )
            self._warned = True

    def end_line(self) -> None:
        """What was begun counts as a line."""
        self.add(b"")
        if not self._whole:
            self.add(b"\n")

    def last(self, count: int) -> bytes:
        """Return the last *count* lines that were ended, each with its newline."""
        text = self._read(self._path)
        if text.count(b"\n") <= count:
            # The former one begins anywhere in a line.
            text = self._read(self._former).partition(b"\n")[2] + text
        lines = text.split(b"\n")[:-1]
        return b"".join(broken(lines[-count:])[-count:]) if count > 0 else b""

    def there(self) -> bool:
        """Say whether there is anything to read."""
        return os.path.exists(self._path)

    def close(self) -> None:
        """Let go of the file; it is opened again when needed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Forget all of it."""
        self.close()
        for path in (self._path, self._former):
            with suppress(OSError):
                os.unlink(path)

    def _open(self) -> None:
        if self._fd >= 0:
            return
        os.makedirs(self._folder, 0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._whole = not self._size or os.pread(self._fd, 1, self._size - 1) == b"\n"

    def _write(self, data: bytes) -> None:
        while data:
            written = os.write(self._fd, data)
            self._size += written
            self._whole = data[written - 1 : written] == b"\n"
            data = data[written:]
        self._warned = False

    def _turn(self) -> None:
        self.close()
        os.replace(self._path, self._former)
        self._open()

    def _read(self, path: str) -> bytes:
        try:
            with open(path, "rb") as file:
                return file.read(2 * FULL)
        except OSError:
            return b""


class Written(Output):
    """The lines of one site's server, kept in a journal instead of in memory."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.journal = journal

    def begin(self, run: Hashable) -> None:
        super().begin(run)
        self.journal.add(b"")  # Who writes nothing has a log, too.

    def add(self, run: Hashable, descriptor: int, data: bytes) -> None:
        # As it comes: what was read and not yet written would be lost by a kill.
        self.journal.add(data)
        super().add(run, descriptor, data)

    def end(self, run: Hashable) -> None:
        if self._run == run:
            self.journal.end_line()
        super().end(run)
        if self._run is None:
            self.journal.close()

    def last(self, count: int) -> bytes:
        return self.journal.last(count)

    def leave(self, run: Hashable) -> None:
        """Let go of *run*: somebody else goes on, with the line that it has begun."""
        self._begun = {key: rest for key, rest in self._begun.items() if key[0] != run}
        if self._run == run:
            self._run = None
            self._part()
            self.journal.close()

    def _remember(self, lines: list[bytes]) -> None:
        pass
