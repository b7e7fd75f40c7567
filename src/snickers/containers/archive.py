"""Copies as plain archives: a tar file each, packed by zstd or gzip, needing nothing special.

SNAPSHOTS/HOST/archive/ID.tar.zst with a note beside it. A file is written under another name, made
to last, and then renamed; without its note it is no copy. Whoever has lost Snickers can unpack one
by ``tar --extract``. It must never write into an archive that has its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from snickers import disk
from snickers.containers import durable, note, tool
from snickers.containers.folder import (
    WITHIN,
    InThread,
    Progress,
    clear,
    in_words,
    lack_of_room,
    settle,
    shown,
)
from snickers.interfaces.copies import Copy, CopyFailed, ICopies

FIRST_WORDS = 20
"""Lines that are kept of what tar says: the first are the cause, the others what came of it."""
CHECKPOINT = 2000
"""Records of 10 KiB after which tar says how far it is."""
_TOTAL = re.compile(rb"Total bytes written: (\d+)")
_STEP = re.compile(rb"snickers (\d+)")


@frozen
class Packing:
    """How archives are made smaller."""

    program: str
    """With its options."""
    end: str


ZSTD = Packing("zstd --quiet -3", ".tar.zst")
GZIP = Packing("gzip --fast", ".tar.gz")
PLAIN = Packing("", ".tar")


def packing() -> Packing:
    """Return the best of what is installed."""
    for each in (ZSTD, GZIP):
        if tool.find(each.program.split()[0]):
            return each
    return PLAIN


@implementer(ICopies)
class Archives:
    """Keeps archives in *folder*`()`/HOST/archive.

    :param in_thread: runs a blocking function elsewhere.
    :param wall: seconds since the epoch.
    """

    form = "archive"

    def __init__(
        self,
        reactor: tool.IReactor,
        in_thread: InThread,
        folder: Callable[[], str],
        wall: Callable[[], float],
        packing: Callable[[], Packing] = packing,
    ) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._root = folder
        self._wall = wall
        self._packing = packing

    def make(self, site: str, folder: str, why: str, progress: Progress) -> Deferred[Copy]:
        return Deferred.fromCoroutine(self._make(site, folder, why, progress))

    def list(self, site: str) -> Deferred[Sequence[Copy]]:
        return Deferred.fromCoroutine(self._list(site))

    def restore(self, site: str, id: str, folder: str, progress: Progress) -> Deferred[None]:
        return Deferred.fromCoroutine(self._restore(site, id, folder, progress))

    def forget(self, site: str, ids: Sequence[str], progress: Progress) -> Deferred[None]:
        return self._in_words(self._remove, self._kept(site), tuple(ids))

    def verify(self, site: str, progress: Progress) -> Deferred[None]:
        return Deferred.fromCoroutine(self._verify(site, progress))

    def _kept(self, site: str) -> str:
        return os.path.join(self._root(), site, "archive")

    async def _make(self, site: str, folder: str, why: str, progress: Progress) -> Copy:
        _need("tar")
        kept = self._kept(site)
        time = self._wall()
        begun = datetime.fromtimestamp(time, UTC)
        id = f"{begun:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        how = self._packing()
        partial = os.path.join(kept, id + how.end + durable.PARTIAL)
        await self._in_words(_prepare, kept, partial)
        size = 0
        words: list[str] = []

        def heard(line: bytes) -> None:
            nonlocal size
            if total := _TOTAL.search(line):
                size = int(total[1])
            elif step := _STEP.search(line):
                progress(f"copying: {shown(int(step[1]) * 10240)}")
            else:
                words.append(line.decode(errors="replace"))
                del words[FIRST_WORDS:]

        progress("copying")
        try:
            ended = await tool.run(
                self._reactor,
                [
                    *("tar", "--create", f"--file={partial}", f"--directory={folder}"),
                    *("--format=posix", "--numeric-owner", "--sparse", "--acls", "--xattrs"),
                    *("--xattrs-include=*", "--totals", f"--checkpoint={CHECKPOINT}"),
                    "--checkpoint-action=echo=snickers %u",
                    *([f"--use-compress-program={how.program}"] if how.program else []),
                    ".",
                ],
                WITHIN,
                error_line=heard,
            )
            # 1: something changed while it was read, which is nobody's fault where a server runs.
            if ended.code not in (0, 1):
                raise CopyFailed(f"The copy could not be made: {_cause(words)}")
            progress("making sure that it is kept")
            digest = await self._digest(partial)
            await self._in_words(_finish, kept, partial, note.Note(id, time, why, size, digest))
        except BaseException:
            await self._in_thread(_unlink, partial)
            raise
        return Copy(site, id, time, why, size)

    async def _list(self, site: str) -> Sequence[Copy]:
        found = await self._in_words(_look, self._kept(site))
        return [Copy(site, n.id, n.time, n.why, n.size) for n, _ in found]

    async def _restore(self, site: str, id: str, folder: str, progress: Progress) -> None:
        _need("tar")
        path = (await self._find(site, id))[1]
        try:
            os.mkdir(folder, 0o700)
        except OSError as error:
            raise CopyFailed(f"{folder} cannot be made: {error.strerror}.") from None
        words: list[str] = []

        def heard(line: bytes) -> None:
            if step := _STEP.search(line):
                progress(f"copying back: {shown(int(step[1]) * 10240)}")
            else:
                words.append(line.decode(errors="replace"))
                del words[FIRST_WORDS:]

        progress("copying back")
        try:
            ended = await tool.run(
                self._reactor,
                [
                    *("tar", "--extract", f"--file={path}", f"--directory={folder}"),
                    # Who may not give files away hears of it.
                    *("--same-owner", "--numeric-owner", "--preserve-permissions"),
                    *("--acls", "--xattrs"),
                    *("--xattrs-include=*", f"--checkpoint={CHECKPOINT}"),
                    "--checkpoint-action=echo=snickers %u",
                    *_unpacking(path),
                ],
                WITHIN,
                error_line=heard,
            )
            if ended.code:
                cause = await self._in_thread(lack_of_room, folder) or _cause(words)
                raise CopyFailed(f"Copy {id} could not be written out: {cause}")
            await settle(self._reactor, folder)
        except BaseException:
            await clear(self._reactor, folder)
            raise

    async def _verify(self, site: str, progress: Progress) -> None:
        for noted, path in await self._in_words(_look, self._kept(site)):
            progress(f"reading {noted.id}")
            if await self._digest(path) != noted.digest:
                raise CopyFailed(
                    f"Copy {noted.id} is damaged: {path} is not as it was written. Its disk may be "
                    "failing; make a new copy on another one."
                )

    async def _find(self, site: str, id: str) -> tuple[note.Note, str]:
        for noted, path in await self._in_words(_look, self._kept(site)):
            if noted.id == id:
                return noted, path
        raise CopyFailed(f"There is no copy {id} of {site}.")

    async def _digest(self, path: str) -> str:
        """Have the file last, and return its SHA-256."""
        found: list[bytes] = []
        ended = await tool.run(self._reactor, ["sync", path], WITHIN)
        if not ended.code:
            ended = await tool.run(self._reactor, ["sha256sum", path], WITHIN, line=found.append)
        if ended.code or not found:
            raise CopyFailed(f"{path} could not be read: {ended.said}")
        return found[0].removeprefix(b"\\")[: hashlib.sha256().digest_size * 2].decode()

    def _in_words(self, function: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        return self._in_thread(function, *arguments).addErrback(in_words)

    def _remove(self, kept: str, ids: Sequence[str]) -> None:
        for noted, path in _look(kept):
            if noted.id in ids:
                # Without its note it is no copy any more, whatever befalls the rest.
                note.remove(kept, noted.id)
                disk.keep(kept)
                _unlink(path)


def _need(program: str) -> None:
    if tool.find(program) is None:
        raise CopyFailed(f"{program} is not installed here: install it, or restic.")


def _cause(words: Sequence[str]) -> str:
    return words[0].removeprefix("tar: ") if words else "tar failed without a word."


def _unpacking(path: str) -> list[str]:
    for each in (ZSTD, GZIP):
        if path.endswith(each.end):
            return [f"--use-compress-program={each.program.split()[0]}"]
    return []


def _prepare(kept: str, partial: str) -> None:
    """Have the folder be there, without what an earlier call has left unfinished, and *partial*,
    for its owner alone."""
    disk.make_folder(kept)
    for name in os.listdir(kept):
        if name.endswith(durable.PARTIAL):
            _unlink(os.path.join(kept, name))
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _look(kept: str) -> list[tuple[note.Note, str]]:
    """Return each copy's note and the path of its archive."""
    found = []
    for noted in note.read(kept):
        for each in (ZSTD, GZIP, PLAIN):
            path = os.path.join(kept, noted.id + each.end)
            if os.path.exists(path):
                found.append((noted, path))
                break
    return found


def _finish(kept: str, partial: str, noted: note.Note) -> None:
    os.rename(partial, partial.removesuffix(durable.PARTIAL))
    disk.keep(kept)
    note.write(kept, noted)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
