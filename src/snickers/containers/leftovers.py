"""Finds and ends the servers that an earlier Snickers left behind when it was killed.

A server on this host is known by a mark in its environment, and its first process also by its
number, time of start and the host's boot, noted in the state folder: a program may overwrite its
environment, and a number is given anew. Nothing else is ever signalled, and no number is
trusted: a process is held by a descriptor (pidfd_open(2)), then looked at again, then signalled.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

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


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


class IWaitingReactor(IReactorTime, IReactorFDSet):
    """What is needed of the reactor."""


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

    def forget(self, site: str) -> None:
        """Undo `note`."""
        try:
            os.unlink(self._note(site))
        except OSError:
            pass

    def find(self, site: str = "") -> list[int]:
        """Return the processes of *site*'s servers, of all sites' without one."""
        noted, mark = self._noted(site), self._marked(site)
        return [pid for pid in self._pids() if self._is_ours(pid, mark, noted)]

    def end(self, site: str = "") -> Deferred[list[int]]:
        """End what `find` finds: SIGTERM, then SIGKILL after `TERMINATE_WITHIN`.

        Fires with those that are still there after `KILL_WITHIN` more, which should be none.
        """
        held = [_Held(self._reactor, pid, fd) for pid, fd in self._hold(site)]
        for each in held:
            log.info("Ending process {pid}, left behind by an earlier Snickers.", pid=each.pid)
        return _Ending(self._reactor, held).done

    def _hold(self, site: str) -> Iterator[tuple[int, int]]:
        noted, mark = self._noted(site), self._marked(site)
        for pid in self.find(site):
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue
            if self._is_ours(pid, mark, noted):
                yield pid, fd
            else:
                os.close(fd)

    def _marked(self, site: str) -> bytes:
        # In an environ file every variable ends with NUL; without a site any site matches.
        return f"\0{MARK}={self.mark(site)}".encode() + (b"\0" if site else b"")

    def _is_ours(self, pid: int, mark: bytes, noted: list[_Noted]) -> bool:
        state, start = self._stat(pid)
        if state in ("", "Z", "X") or pid == os.getpid():
            return False
        if any(each.pid == pid and each.start == start for each in noted):
            return True
        return mark in b"\0" + _read(f"{self._proc}/{pid}/environ")

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

    def _noted(self, site: str) -> list[_Noted]:
        try:
            names = [site] if site else os.listdir(self._folder)
        except OSError:
            return []
        noted = []
        for name in names:
            try:
                pid, start, boot = json.loads(_read(self._note(name)))
            except (ValueError, TypeError):
                continue  # Torn by the end of the host, or not ours.
            if boot == self._boot():
                noted.append(_Noted(pid, start))
        return noted


@implementer(IReadDescriptor)
class _Held:
    """A process that is not our child, held by its descriptor: readable when it has ended."""

    def __init__(self, reactor: IWaitingReactor, pid: int, fd: int) -> None:
        self.pid = pid
        self.ended: Deferred[_Held] = Deferred()
        self._reactor = reactor
        self._fd = fd
        reactor.addReader(self)

    def signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._fd, number)
        except OSError as error:
            log.warn(
                "Process {pid} could not be signalled: {error}.", pid=self.pid, error=error.strerror
            )

    def let_go(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        self.let_go()
        self.ended.callback(self)

    def connectionLost(self, reason: Failure) -> None:
        self.let_go()

    def logPrefix(self) -> str:
        return "leftover"


class _Ending:
    """Several processes being ended together."""

    def __init__(self, reactor: IWaitingReactor, held: list[_Held]) -> None:
        self.done: Deferred[list[int]] = Deferred(self._cancelled)
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

    def _ended(self, each: _Held) -> None:
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
