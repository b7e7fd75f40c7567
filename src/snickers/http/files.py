"""Finding the files of a folder for visitors.

What a request's path asks for is looked up beneath the folder: the file, its index, its compressed
form, its list. All of it looks into the file system and is for threads. Nothing outside of the
folder, nothing hidden and nothing that is not a regular file may ever be opened for reading.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from hashlib import blake2b
from time import time_ns

from attrs import field, frozen

from snickers.config.values import Static
from snickers.http.beneath import open_beneath
from snickers.http.openfile import PIECE, OpenFile
from snickers.http.pages import Listed
from snickers.http.paths import Path, is_utf8, reachable

WHOLE = 64 * 1024
"""Bytes up to which a file is read at once, and can be kept in memory."""
SETTLED = 2 * 10**9
"""Nanoseconds after which a file's times tell it from its next state: file systems count in
ticks, the coarsest (FAT) in 2 s."""
SIDECAR_LATE = 2 * 10**9
"""Nanoseconds that a compressed file may be older than its original: a copy of both writes them
in any order. An older one holds what the original was before."""
MAX_LISTED = 10_000
"""Lines of a folder's list: more is of no use to a person, and would be megabytes."""

_READS = 3
"""Of a small file that is being written to, until two looks agree."""

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_NOT_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))
_STATUS = {
    # Links that lead outside or in circles are as if they were not there.
    errno.ELOOP: 404,
    errno.EXDEV: 404,
    errno.ENXIO: 404,
    errno.ENODEV: 404,
    errno.EACCES: 403,
    errno.EPERM: 403,
    errno.EMFILE: 503,
    errno.ENFILE: 503,
    errno.ENOMEM: 503,
}


Signature = tuple[bytes, bytes, int, int, int, int, int]
"""Name, coding, device, inode, size, mtime and ctime in ns: the same file in the same state."""


@frozen
class Missing:
    """Nothing to be served: the status says why."""

    status: int = 404
    wrong: str = ""
    """Why no file of the folder can be served, where that is so; in words for the owner."""


@frozen
class Slashless:
    """A folder, asked for without the slash that its relative links need."""


@frozen
class Listing:
    """What a folder holds for visitors."""

    entries: Sequence[Listed]
    complete: bool


@frozen
class Same:
    """The file is in the state that the caller knows already."""


@frozen
class Found:
    """A file to be served: as `body`, or from `file`, which the receiver must release."""

    signature: Signature
    settled: bool
    """Whether a later state of the file cannot have the same signature."""
    dated: bool
    """Whether its time lies in the past."""
    body: bytes | None = None
    file: OpenFile | None = None

    @property
    def name(self) -> bytes:
        """The path below the root, as it would be without a coding."""
        return self.signature[0]

    @property
    def coding(self) -> bytes:
        """The content coding that the bytes are in, ``b""`` for none."""
        return self.signature[1]

    @property
    def size(self) -> int:
        """Bytes, as they are sent."""
        return self.signature[4]

    @property
    def modified(self) -> int:
        """Seconds since the epoch."""
        return self.signature[5] // 10**9

    @property
    def tag(self) -> bytes:
        """What goes into the entity tag: inode, size and mtime, so that nothing can be read from
        it. Without the ctime, which changes when a deploy makes another hard link."""
        state = b"%d %d %d %b" % (*self.signature[3:6], self.coding)
        return blake2b(state, digest_size=9).hexdigest().encode()


Look = Missing | Slashless | Listing | Same | Found


def _split(path: str) -> bytes:
    return b"/".join(name for name in os.fsencode(path).split(b"/") if name)


@frozen
class Folder:
    """The folder of a `Static`: finds what a path asks for. Immutable; `look` is for threads.

    The root is opened anew for each look, so that another folder put in its place, or a link
    that is switched, is seen at once.
    """

    root: bytes
    index: tuple[bytes, ...]
    listing: bool
    fallback: bytes
    """Below the root; empty: none."""
    wall_ns: Callable[[], int] = field(default=time_ns, eq=False)
    """Nanoseconds since the epoch, by the clock that files are dated with."""

    @classmethod
    def of(cls, static: Static) -> Folder:
        """Return the folder that a configuration describes."""
        return cls(
            os.fsencode(static.root),
            tuple(_split(name) for name in static.index),
            static.listing,
            _split(static.fallback),
        )

    def look(
        self,
        path: Path,
        codings: Sequence[tuple[bytes, bytes]] = (),
        known: Signature | None = None,
    ) -> Look:
        """Return what is at *path* now. Blocks.

        *codings*: content codings that will do, and the endings of their files, best first.
        *known*: the signature of what the caller has; a file still in that state is `Same`.
        """
        try:
            root = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            # The folder is just being exchanged, or a disk is not mounted: it will be there again.
            # Or it was mistyped.
            where, why = os.fsdecode(self.root), os.strerror(error.errno or 0)
            return Missing(503, f"root = {where} cannot be opened: {why}; visitors get 503")
        try:
            return _Search(self, root, codings, known).find(path)
        except OSError as error:
            return Missing(_STATUS.get(error.errno or 0, 500))
        finally:
            os.close(root)

    @property
    def names(self) -> tuple[bytes, ...]:
        """The absolute paths by which a link may name the root. Blocks."""
        return (os.path.realpath(self.root), self.root)


class _Search:
    """One look beneath one root."""

    def __init__(
        self,
        folder: Folder,
        root: int,
        codings: Sequence[tuple[bytes, bytes]],
        known: Signature | None,
    ) -> None:
        self._folder = folder
        self._root = root
        self._codings = codings
        self._known = known
        self._names: tuple[bytes, ...] = ()

    def find(self, path: Path) -> Look:
        try:
            look = self._at(path)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            look = None
        if look is None and self._folder.fallback:
            try:
                look = self._file(self._folder.fallback, self._status(self._folder.fallback))
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    raise
        return look or Missing()

    def _at(self, path: Path) -> Look | None:
        """Return what is at *path*, ``None`` (or raise) if nothing is."""
        folder = self._folder
        name = b"/".join(path.names)
        status = self._status(name)
        if not stat.S_ISDIR(status.st_mode):
            return None if path.slash else self._file(name, status)
        if not path.slash:
            return Slashless() if folder.index or folder.listing else None
        for index in folder.index:
            file = b"%b/%b" % (name, index) if name else index
            try:
                look = self._file(file, self._status(file))
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    raise
            else:
                if type(look) is not Missing:
                    return look
        return self._list(name) if folder.listing else None

    def _file(self, name: bytes, status: os.stat_result) -> Look:
        """Return the file *name*, or what of its compressed forms is wanted most."""
        if not stat.S_ISREG(status.st_mode):
            return Missing()
        for coding, ending in self._codings:
            try:
                other = self._status(name + ending)
            except OSError:
                continue
            if (
                stat.S_ISREG(other.st_mode)
                and other.st_mtime_ns >= status.st_mtime_ns - SIDECAR_LATE
            ):
                return self._open(name, coding, name + ending, other)
        return self._open(name, b"", name, status)

    def _open(self, name: bytes, coding: bytes, file: bytes, status: os.stat_result) -> Look:
        signature = _signature(name, coding, status)
        if signature == self._known and self._settled(status):
            return Same()
        descriptor = self._beneath(file, _READ)
        try:
            for _ in range(_READS):
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    return Missing()
                signature = _signature(name, coding, status)
                settled = self._settled(status)
                dated = status.st_mtime_ns <= self._folder.wall_ns()
                if status.st_size > WHOLE:
                    os.posix_fadvise(descriptor, 0, PIECE, os.POSIX_FADV_WILLNEED)
                    kept, descriptor = descriptor, -1
                    return Found(signature, settled, dated, file=OpenFile(kept, status))
                body = _read_whole(descriptor, status.st_size)
                if signature == _signature(name, coding, os.fstat(descriptor)):
                    return Found(signature, settled, dated, body=body)
            # It is written to all the time, such as a log: what it held at one moment will do.
            signature = (*signature[:4], len(body), *signature[5:])
            return Found(signature, False, dated, body=body)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _settled(self, status: os.stat_result) -> bool:
        return self._folder.wall_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED

    def _list(self, name: bytes) -> Listing:
        entries: list[Listed] = []
        descriptor = self._beneath(name or b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)
        for text in found:
            entry = os.fsencode(text)
            if not (reachable(entry) and is_utf8(entry)):
                continue
            if len(entries) == MAX_LISTED:
                return Listing(entries, False)
            try:
                status = self._status(b"%b/%b" % (name, entry) if name else entry)
            except OSError:
                continue
            mode = status.st_mode
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                entries.append(Listed(entry, stat.S_ISDIR(mode), status.st_size, status.st_mtime))
        return Listing(entries, True)

    def _status(self, name: bytes) -> os.stat_result:
        """Return what *name* is, without opening what a device or a fifo would notice."""
        descriptor = self._beneath(name or b".", os.O_PATH)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def _beneath(self, name: bytes, flags: int) -> int:
        try:
            return open_beneath(self._root, name, flags, self._names)
        except OSError as error:
            if error.errno != errno.EXDEV or self._names:
                raise
        self._names = self._folder.names
        return open_beneath(self._root, name, flags, self._names)


def _signature(name: bytes, coding: bytes, status: os.stat_result) -> Signature:
    return (name, coding, status.st_dev, status.st_ino, status.st_size, *_times(status))


def _times(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_ctime_ns


def _read_whole(descriptor: int, size: int) -> bytes:
    """Return the first *size* bytes, fewer if the file has shrunk."""
    pieces = []
    offset = 0
    while offset < size and (piece := os.pread(descriptor, size - offset, offset)):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)
