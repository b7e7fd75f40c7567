"""Copies by restic: deduplicated and encrypted, a repository for each site.

SNAPSHOTS/HOST/restic is the repository, SNAPSHOTS/password opens all of them; a note beside each
repository says how large the copies were. Any restic can be used on a repository while Snickers
does nothing with it. It must never ask restic to remove a copy that it was not told to.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from snickers import disk
from snickers.containers import durable, note, tool
from snickers.containers.folder import (
    SOON,
    WITHIN,
    InThread,
    Progress,
    clear,
    in_words,
    lack_of_room,
    may_give_away,
    settle,
    shown,
)
from snickers.interfaces.copies import Copy, CopyFailed, ICopies

PASSWORD = "password"
_INCOMPLETE = 3
"""restic's status for a copy in which files are missing that could not be read."""
_SPARSE_SINCE = (0, 15)


def installed() -> bool:
    """Whether there is a restic here."""
    return tool.find("restic") is not None


@implementer(ICopies)
class Restic:
    """Keeps repositories in *folder*`()`/HOST/restic; its arguments are those of
    `snickers.containers.archive.Archives`."""

    form = "restic"

    def __init__(
        self,
        reactor: tool.IReactor,
        in_thread: InThread,
        folder: Callable[[], str],
        wall: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._in_thread = in_thread
        self._root = folder
        self._sparse: bool | None = None

    def make(self, site: str, folder: str, why: str, progress: Progress) -> Deferred[Copy]:
        return Deferred.fromCoroutine(self._make(site, folder, why, progress))

    def list(self, site: str) -> Deferred[Sequence[Copy]]:
        return Deferred.fromCoroutine(self._list(site))

    def restore(self, site: str, id: str, folder: str, progress: Progress) -> Deferred[None]:
        return Deferred.fromCoroutine(self._restore(site, id, folder, progress))

    def forget(self, site: str, ids: Sequence[str], progress: Progress) -> Deferred[None]:
        return Deferred.fromCoroutine(self._forget(site, ids, progress))

    def verify(self, site: str, progress: Progress) -> Deferred[None]:
        return Deferred.fromCoroutine(self._verify(site, progress))

    def _repository(self, site: str) -> str:
        return os.path.join(self._root(), site, "restic")

    def _notes(self, site: str) -> str:
        return os.path.join(self._root(), site, "sizes")

    async def _make(self, site: str, folder: str, why: str, progress: Progress) -> Copy:
        await self._prepare(site, progress)
        time = self._wall()
        begun = datetime.fromtimestamp(time, UTC)
        made: dict[str, Any] = {}
        unread: list[str] = []

        def heard(line: bytes) -> None:
            said = _read(line)
            match said.get("message_type"):
                case "status":
                    done = said.get("bytes_done", 0)
                    if done:
                        progress(f"copying: {shown(done)} ({said.get('percent_done', 0):.0%})")
                case "summary":
                    made.update(said)
                case "error":
                    unread.append(str(said.get("item", "")))

        progress("copying")
        ended = await self._restic(
            site,
            *("backup", "--host", site, "--tag", why, "--time", f"{begun:%Y-%m-%d %H:%M:%S}"),
            *("--", f"./{os.path.basename(folder)}"),
            within=WITHIN,
            folder=os.path.dirname(folder),
            line=heard,
            error_line=heard,
        )
        # What is there no more was removed meanwhile, which is nobody's fault.
        unread = [path for path in unread if await self._in_thread(os.path.lexists, path)]
        if ended.code and (ended.code != _INCOMPLETE or unread):
            if "snapshot_id" in made:
                await self._forget(site, [str(made["snapshot_id"])[:8]], lambda words: None)
            why_not = f"{unread[0]} cannot be read." if unread else _last(ended.said)
            raise CopyFailed(f"The copy could not be made: {why_not}")
        noted = note.Note(
            str(made["snapshot_id"])[:8], time, why, int(made["total_bytes_processed"])
        )
        await self._in_words(note.write, self._notes(site), noted)
        return Copy(site, noted.id, noted.time, why, noted.size)

    async def _list(self, site: str) -> Sequence[Copy]:
        if not await self._is_there(site):
            return []
        lines: list[bytes] = []
        ended = await self._restic(site, "snapshots", "--no-lock", line=lines.append)
        if ended.code:
            raise CopyFailed(f"The copies of {site} cannot be listed: {_last(ended.said)}")
        noted = {n.id: n for n in await self._in_words(note.read, self._notes(site))}
        found = []
        for said in json.loads(b"".join(lines) or b"[]") or []:
            id = str(said["id"])[:8]
            if id in noted:
                # Restic has the time in whole seconds, and no size.
                found.append(Copy(site, id, noted[id].time, noted[id].why, noted[id].size))
                continue
            why = " ".join(said.get("tags") or ()) or "made by hand"
            time = datetime.fromisoformat(_without_nanoseconds(said["time"])).timestamp()
            found.append(Copy(site, id, time, why))
        return sorted(found, key=lambda copy: (copy.time, copy.id))

    async def _restore(self, site: str, id: str, folder: str, progress: Progress) -> None:
        if os.path.lexists(folder):
            raise CopyFailed(f"{folder} is there already.")
        await self._look_at_owners(site, id)
        # What restic writes has its own name, below.
        above = folder + durable.PARTIAL
        progress("copying back")
        try:
            await clear(self._reactor, above)
            sparse = ["--sparse"] if await self._can_sparse() else []
            ended = await self._restic(
                site, "restore", id, "--no-lock", *sparse, "--target", above, within=WITHIN
            )
            if "no matching ID" in ended.said:
                raise CopyFailed(f"There is no copy {id} of {site}.")
            if ended.code:
                cause = await self._in_thread(_lack_of_room, above) or _last(ended.said)
                raise CopyFailed(f"Copy {id} could not be written out: {cause}")
            await self._in_words(_take_out, above, folder)
            await settle(self._reactor, folder)
        except BaseException:
            await clear(self._reactor, folder)
            raise
        finally:
            await clear(self._reactor, above)

    async def _look_at_owners(self, site: str, id: str) -> None:
        """Fail if files would get another owner than they had, of which restic says nothing."""
        if await self._in_thread(may_give_away):
            return
        others: list[dict[str, Any]] = []

        def heard(line: bytes) -> None:
            said = _read(line)
            if said.get("struct_type") == "node" and said.get("uid") != os.geteuid():
                others[:] = others or [said]

        await self._restic(site, "ls", id, "--no-lock", within=WITHIN, line=heard)
        if others:
            raise CopyFailed(
                f"{others[0].get('path')} of copy {id} belongs to user {others[0].get('uid')}, and "
                "only root can give it back to that user: run Snickers as root to restore it."
            )

    async def _forget(self, site: str, ids: Sequence[str], progress: Progress) -> None:
        there = {copy.id for copy in await self._list(site)}
        gone = [id for id in ids if id in there]
        if not gone:
            return
        await self._unlock(site)
        ended = await self._restic(site, "forget", "--prune", *gone, within=WITHIN)
        if ended.code:
            raise CopyFailed(f"Old copies of {site} could not be removed: {_last(ended.said)}")
        for id in gone:
            await self._in_words(note.remove, self._notes(site), id)

    async def _verify(self, site: str, progress: Progress) -> None:
        if not await self._is_there(site):
            return
        progress("reading all copies")
        await self._unlock(site)
        ended = await self._restic(site, "check", "--read-data", within=WITHIN)
        if ended.code:
            raise CopyFailed(
                f"The copies of {site} are damaged: {_last(ended.said)} Their disk may be failing; "
                "make a new copy on another one."
            )

    async def _unlock(self, site: str) -> None:
        """Remove the locks that killed programs have left. All: whether the one that made a lock
        still lives restic sees by its number, which may be another's by now; ours do not."""
        await self._restic(site, "unlock", "--remove-all")

    async def _prepare(self, site: str, progress: Progress) -> None:
        """Have the password and the repository be there."""
        await self._in_words(self._make_ready, site)
        if await self._is_there(site):
            return
        progress("making a repository")
        # One that was begun and not finished has no copy in it.
        await clear(self._reactor, self._repository(site))
        ended = await self._restic(site, "init")
        if ended.code:
            raise CopyFailed(f"No repository could be made: {_last(ended.said)}")

    async def _is_there(self, site: str) -> bool:
        return bool(await self._in_thread(os.path.exists, self._repository(site) + "/config"))

    def _make_ready(self, site: str) -> None:
        disk.make_folder(self._notes(site))
        password = os.path.join(self._root(), PASSWORD)
        if not os.path.exists(password):
            durable.write(password, secrets.token_hex(32).encode() + b"\n", replace=False)

    async def _can_sparse(self) -> bool:
        if self._sparse is None:
            lines: list[bytes] = []
            await tool.run(self._reactor, ["restic", "version"], SOON, line=lines.append)
            found = re.search(rb"(\d+)\.(\d+)", b"".join(lines))
            self._sparse = found is not None and (int(found[1]), int(found[2])) >= _SPARSE_SINCE
        return self._sparse

    def _restic(
        self,
        site: str,
        *arguments: str,
        within: float = SOON,
        folder: str = "/",
        line: Callable[[bytes], None] = lambda line: None,
        error_line: Callable[[bytes], None] = lambda line: None,
    ) -> Deferred[tool.Ended]:
        if not installed():
            raise CopyFailed("These copies were made by restic, which is not installed any more.")
        return tool.run(
            self._reactor,
            ["restic", "--json", "--no-cache", *arguments],
            within,
            folder,
            {
                "RESTIC_REPOSITORY": self._repository(site),
                "RESTIC_PASSWORD_FILE": os.path.join(self._root(), PASSWORD),
                "RESTIC_PROGRESS_FPS": "1",
                "GOMAXPROCS": "1",
                "TZ": "UTC",
            },
            line,
            error_line,
        )

    def _in_words(self, function: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        return self._in_thread(function, *arguments).addErrback(in_words)


def _read(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _last(said: str) -> str:
    """Return the last line of what restic said as a sentence."""
    lines = [line for line in said.split("\n") if line.strip()]
    line = lines[-1] if lines else "restic failed without a word"
    told = _read(line.encode())
    return str(told.get("message") or told.get("item") or line).removeprefix("Fatal: ")


def _without_nanoseconds(time: str) -> str:
    return re.sub(r"(\.\d{6})\d+", r"\1", time)


def _lack_of_room(above: str) -> str:
    return lack_of_room(above) if os.path.isdir(above) else ""


def _take_out(above: str, folder: str) -> None:
    (name,) = os.listdir(above)
    os.rename(os.path.join(above, name), folder)
