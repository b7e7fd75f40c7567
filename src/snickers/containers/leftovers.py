"""Finds and ends the servers that an earlier Snickers left behind when it was killed, and that
nobody adopts.

A server on this host is known by a mark in its environment, and its first process also by its
number, time of start and the host's boot, noted in the state folder: a program may overwrite its
environment, and a number is given anew. Nothing else is ever signalled, and no number is
trusted: a process is held by a descriptor (pidfd_open(2)), then looked at again, then signalled.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Collection, Iterator, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from snickers.containers.held import Held, IWaitingReactor

log = Logger()

MARK = "SNICKERS_SERVER"
"""The variable in the environment of every server: ``OWNER/SITE``."""

TERMINATE_WITHIN = 5.0
"""Seconds that a leftover is given to end: enough to write its data, and waited for only after
Snickers was killed."""

KILL_WITHIN = 5.0
"""Seconds that the kernel is given to end what was killed; longer means a stuck disk."""


@frozen
class _Noted:
    """The first process of a server, as noted in the state folder."""

    pid: int
    start: str
    """Clock ticks from the host's boot to its start."""


@frozen
class _Marks:
    """What is looked for in a process' environment."""

    wanted: bytes
    unwanted: tuple[bytes, ...]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


class Leftovers:
    """The servers of one owner that no engine holds.

    :param reactor: waits for their ends.
    :param folder: where first processes are noted; made when needed.
    :param owner: whose servers, see `snickers.containers.engine.owner_of`.
    """

    def __init__(
        self, reactor: IWaitingReactor, folder: str, owner: str, proc: str = "/proc"
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._owner = owner
        self._proc = proc

    def mark(self, site: str) -> str:
        """Return the value of `MARK` for *site*'s server."""
        return f"{self._owner}/{site}"

    def note(self, site: str, pid: int) -> None:
        """Note that *pid* is the first process of *site*'s server. Never fails: a state folder
        that cannot be written leaves the mark."""
        noted = [pid, self._start(pid), self._boot()]
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            with open(self._note(site) + ".new", "w", encoding="ascii") as file:
                json.dump(noted, file)
            os.replace(self._note(site) + ".new", self._note(site))
        except OSError as error:
            log.warn(
                "The process of {site} could not be noted in {folder}: {error}.",
                site=site,
                folder=self._folder,
                error=error.strerror,
            )

    def forget(self, site: str, pid: int) -> None:
        """Undo `note`, unless another process was noted since."""
        try:
            if json.loads(_read(self._note(site)))[0] == pid:
                os.unlink(self._note(site))
        except (OSError, ValueError, LookupError, TypeError):
            pass

    def find(self, site: str = "", but: Collection[str] = ()) -> list[int]:
        """Return the processes of *site*'s servers; without one of all sites' *but* these."""
        noted, marks = self._noted(site, but), self._marks(site, but)
        return [pid for pid in self._pids() if self._is_ours(pid, marks, noted)]

    def end(self, site: str = "", but: Collection[str] = ()) -> Deferred[Sequence[int]]:
        """End what `find` finds: SIGTERM, then SIGKILL after `TERMINATE_WITHIN`.

        Fires with those that are still there after `KILL_WITHIN` more, which should be none;
        cancelled, it fires at once with those that are still there, and lets go of them.
        """
        held = [Held(self._reactor, pid, fd) for pid, fd in self._hold(site, but)]
        for each in held:
            log.info("Ending process {pid}, left behind by an earlier Snickers.", pid=each.pid)
        return _Ending(self._reactor, held).done

    def _hold(self, site: str, but: Collection[str]) -> Iterator[tuple[int, int]]:
        noted, marks = self._noted(site, but), self._marks(site, but)
        for pid in self.find(site, but):
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue
            if self._is_ours(pid, marks, noted):
                yield pid, fd
            else:
                os.close(fd)

    def _marks(self, site: str, but: Collection[str]) -> _Marks:
        # In an environ file every variable ends with NUL; without a site any site matches.
        if site:
            return _Marks(self._variable(site) + b"\0", ())
        return _Marks(self._variable(""), tuple(self._variable(each) + b"\0" for each in but))

    def _variable(self, site: str) -> bytes:
        return f"\0{MARK}={self.mark(site)}".encode()

    def _is_ours(self, pid: int, marks: _Marks, noted: list[_Noted]) -> bool:
        state, start = self._stat(pid)
        if state in ("", "Z", "X") or pid == os.getpid():
            return False
        if any(each.pid == pid and each.start == start for each in noted):
            return True
        environment = b"\0" + _read(f"{self._proc}/{pid}/environ")
        return marks.wanted in environment and not any(
            each in environment for each in marks.unwanted
        )

    def _pids(self) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self._proc) if name.isdecimal()]
        except OSError:
            return []

    def _stat(self, pid: int) -> tuple[str, str]:
        # The name in parentheses may hold anything (proc_pid_stat(5)); state is the 3rd field,
        # starttime the 22nd.
        fields = _read(f"{self._proc}/{pid}/stat").rpartition(b")")[2].split()
        return (fields[0].decode(), fields[19].decode()) if len(fields) > 19 else ("", "")

    def _start(self, pid: int) -> str:
        return self._stat(pid)[1]

    def _boot(self) -> str:
        return _read(f"{self._proc}/sys/kernel/random/boot_id").decode().strip()

    def _note(self, site: str) -> str:
        return os.path.join(self._folder, site)

    def _noted(self, site: str, but: Collection[str]) -> list[_Noted]:
        try:
            names = [site] if site else os.listdir(self._folder)
        except OSError:
            return []
        noted = []
        for name in names:
            if name in but:
                continue
            try:
                pid, start, boot = json.loads(_read(self._note(name)))
            except (ValueError, TypeError):
                continue  # Torn by the end of the host, or not ours.
            if boot == self._boot():
                noted.append(_Noted(pid, start))
        return noted


class _Ending:
    """Several processes being ended together."""

    def __init__(self, reactor: IWaitingReactor, held: list[Held]) -> None:
        self.done: Deferred[Sequence[int]] = Deferred(self._cancelled)
        self._reactor = reactor
        self._held = set(held)
        self._later: IDelayedCall | None = None
        if not held:
            self.done.callback([])
            return
        self._later = reactor.callLater(TERMINATE_WITHIN, self._kill)
        for each in held:
            each.ended.addCallback(self._ended)
            each.signal(signal.SIGTERM)
            # One that was paused would hear of that only when it goes on.
            each.signal(signal.SIGCONT)

    def _ended(self, each: Held) -> None:
        each.let_go()
        self._held.discard(each)
        if not self._held:
            self._finish()

    def _kill(self) -> None:
        for each in self._held:
            each.signal(signal.SIGKILL)
        self._later = self._reactor.callLater(KILL_WITHIN, self._give_up)

    def _give_up(self) -> None:
        self._later = None
        self._finish()

    def _cancelled(self, _: object) -> None:
        self._finish()

    def _finish(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        held, self._held = self._held, set()
        for each in held:
            each.let_go()
        if not self.done.called:
            self.done.callback(sorted(each.pid for each in held))
