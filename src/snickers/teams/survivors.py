"""Which teams run that the record does not know of: it is lost, or older than they are.

A keeper that was killed while its disk was full leaves such a record. Who started a process, and as
what, is in its environment (proc(5)). Nothing is signalled or started here; what may not be looked
at is passed over, so `holder` says who is on duty even then.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from attrs import frozen

from snickers.teams.pair import TEAMS
from snickers.teams.processes import began


@frozen
class Survivor:
    """A process of a team."""

    pid: int
    began: int
    """Ticks since the boot: see `snickers.teams.processes.began`."""
    team: str
    names: tuple[str, ...]
    """Of the listening sockets it was handed, in order."""


def survivors(notify: str, known: Collection[int], proc: str = "/proc") -> list[Survivor]:
    """Return the teams whose keeper hears them at *notify* but for the processes *known*, the
    oldest first. Blocks."""
    found = [one for pid in _pids(proc) if pid not in known and (one := _team(pid, notify, proc))]
    return sorted(found, key=lambda one: (one.began, one.pid))


def _pids(proc: str) -> Iterator[int]:
    for name in os.listdir(proc):
        if name.isascii() and name.isdigit():
            yield int(name)


def _team(pid: int, notify: str, proc: str) -> Survivor | None:
    """Return the process *pid* if it is a team's first one: its workers and servers are others'."""
    try:
        with open(f"{proc}/{pid}/environ", "rb") as file:
            variables = dict(
                entry.partition("=")[::2]
                for entry in file.read().decode("utf-8", "replace").split("\0")
            )
        if variables.get("SNICKERS_TEAM") not in TEAMS:
            return None
        if not _same(variables.get("NOTIFY_SOCKET", ""), notify):
            return None
        with open(f"{proc}/{pid}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
    except OSError:
        return None
    names = tuple(name for name in variables.get("LISTEN_FDNAMES", "").split(":") if name)
    since = began(pid, proc)
    # As `snickers.teams.tap.team_arguments` has it.
    if since is None or not names or not {b"--nodaemon", b"snickers"} <= set(arguments):
        return None
    return Survivor(pid, since, variables["SNICKERS_TEAM"], names)


def _same(path: str, other: str) -> bool:
    """Say whether both are the same file's path, however the folder is spelled."""
    if os.path.basename(path) != os.path.basename(other):
        return False
    try:
        return os.path.samefile(os.path.dirname(path), os.path.dirname(other))
    except OSError:
        return False


def holder(path: str, proc: str = "/proc") -> int:
    """Return the process that holds the lock (flock(2)) of the file *path*, 0 if none is known or
    it has gone. Only looked at (proc(5)), and not tried."""
    try:
        found = os.stat(path)
        with open(f"{proc}/locks", encoding="ascii") as file:
            locks = [line.split() for line in file]
    except OSError:
        return 0
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for fields in locks:
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted:
            pid = int(fields[4])
            return pid if pid > 0 and began(pid, proc) is not None else 0
    return 0
