"""The processes of the teams: started, taken up, told, and reaped.

A team that this keeper started is its child; one that a former keeper started is known by its
number and the moment it began, and is watched and told through a descriptor of the process
(pidfd_open(2)), so that a number that was given to somebody else meanwhile is never signalled.
Nothing here decides anything.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet import process as twisted_process
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.pidfd import has_ended

FIRST = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3): where a team finds its listening sockets."""
NOT_FOR_TEAMS = (
    *("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET"),
    *("WATCHDOG_PID", "WATCHDOG_USEC", "MAINPID"),
    # A team has an environment of its own, and must not find the keeper's modules first.
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
)
"""Variables of the keeper's that a team does not get."""

_PR_SET_CHILD_SUBREAPER = 36
_SYS_PIDFD_GETFD = 438
"""The number of pidfd_getfd(2), the same on all of Linux' architectures (since 5.6)."""

Ended = Callable[[str], None]
"""Called with words when a process has ended."""


class IProcess(Protocol):
    """A process of a team."""

    pid: int

    def signal(self, number: int) -> None:
        """Send it a signal; nothing, if it has ended."""


# Children


class Child(ProcessProtocol):
    """One that was started here."""

    def __init__(self, ended: Ended) -> None:
        self.pid = 0
        self._ended = ended

    def connectionMade(self) -> None:
        self.pid = int(getattr(self.transport, "pid", None) or 0)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.transport is not None
        try:
            self.transport.signalProcess(number)
        except ProcessExitedAlready:
            pass

    def processEnded(self, reason: Failure) -> None:
        self._ended(in_words(reason))


def in_words(reason: Failure) -> str:
    """Return how a process has ended."""
    value = reason.value
    if isinstance(value, ProcessDone):
        return "ended by itself"
    number = getattr(value, "signal", None)
    if number is not None:
        try:
            return f"was ended by {signal.Signals(number).name}"
        except ValueError:
            return f"was ended by signal {number}"
    return f"ended with status {getattr(value, 'exitCode', None)}"


class CannotStart(Exception):
    """A team cannot be started; the text says why and what would be right."""


def program(folder: str) -> str:
    """Return the program of the team in *folder*; raises `CannotStart`."""
    path = os.path.join(folder, ".venv", "bin", "twistd")
    if not os.path.isdir(folder):
        raise CannotStart(f"cannot be started: {folder} is no folder")
    if not os.access(path, os.X_OK):
        raise CannotStart(f"cannot be started: {path} cannot be run; install Snickers there")
    return path


def environment(
    base: Mapping[str, str],
    team: str,
    notify: str,
    names: Sequence[str],
    stand_by: bool,
    watchdog: float = 0.0,
) -> dict[str, str]:
    """Return the environment of a team: what it is handed over, and whom it tells.

    *names*: of the listening sockets, in order; *watchdog*: seconds within which it has to say that
    it is alive, 0 if it need not. There is no ``LISTEN_PID``: it is not known before
    the process is there.
    """
    variables = {name: value for name, value in base.items() if name not in NOT_FOR_TEAMS}
    variables.pop("SNICKERS_STAND_BY", None)
    variables |= {
        "LISTEN_FDS": str(len(names)),
        "LISTEN_FDNAMES": ":".join(names),
        "NOTIFY_SOCKET": notify,
        "SNICKERS_TEAM": team,
    }
    if watchdog:
        # sd_watchdog_enabled(3).
        variables["WATCHDOG_USEC"] = str(round(watchdog * 1e6))
    if stand_by:
        variables["SNICKERS_STAND_BY"] = "1"
    return variables


def spawn(
    reactor: Any,
    folder: str,
    arguments: Sequence[str],
    variables: Mapping[str, str],
    sockets: Sequence[socket.socket],
    ended: Ended,
) -> Child:
    """Start the team of *folder* with these *arguments*; raises `CannotStart`.

    It writes where the keeper does, so that a keeper that dies breaks nothing of it.
    """
    path = program(folder)
    child = Child(ended)
    try:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError as problem:
        raise CannotStart(f"cannot be started: {problem.strerror}") from None
    descriptors = {0: nothing, 1: 1, 2: 2}
    for index, sock in enumerate(sockets):
        descriptors[FIRST + index] = sock.fileno()
    try:
        reactor.spawnProcess(
            child, path, [path, *arguments], dict(variables), path=folder, childFDs=descriptors
        )
    except OSError as problem:
        raise CannotStart(f"cannot be started: {problem.strerror}") from None
    finally:
        os.close(nothing)
    return child


# Those of a former keeper


def began(pid: int, proc: str = "/proc") -> int | None:
    """Return when the process *pid* began, in ticks since the boot (proc(5)); ``None``: gone."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            # The name of the program, which may contain anything, is in brackets.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])


@implementer(IReadDescriptor)
class TakenUp:
    """One that a former keeper started."""

    def __init__(self, reactor: Any, pid: int, descriptor: int, ended: Ended) -> None:
        self.pid = pid
        self._reactor = reactor
        self._descriptor = descriptor
        self._ended = ended
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "team"

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._descriptor < 0:
            return
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            pass

    def doRead(self) -> None:
        """The process has ended (pidfd_open(2))."""
        if has_ended(self._descriptor):
            self._let_go()
            self._ended("ended")

    def connectionLost(self, reason: Failure) -> None:
        # No such thing can be: the reactor has heard it of another one, see `snickers.pidfd`.
        if self._descriptor >= 0:
            self._reactor.addReader(self)

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._descriptor = descriptor
            self._reactor.removeReader(self)
            self._descriptor = -1
            os.close(descriptor)


def take_up(reactor: Any, pid: int, ticks: int, ended: Ended) -> TakenUp | None:
    """Watch the process *pid* that began at *ticks*; ``None`` when it has gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    # Looked at after it is held: the number cannot come to mean another one in between.
    if began(pid) != ticks:
        os.close(descriptor)
        return None
    return TakenUp(reactor, pid, descriptor, ended)


def sockets_of(pid: int, count: int) -> list[socket.socket]:
    """Return the listening sockets that the team *pid* was handed over; raises `OSError`.

    Needs the rights of a debugger over it (ptrace(2)): the same user, where the kernel's Yama lets
    one, or root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    holder = os.pidfd_open(pid)
    found: list[socket.socket] = []
    try:
        for index in range(count):
            descriptor = libc.syscall(_SYS_PIDFD_GETFD, holder, FIRST + index, 0)
            if descriptor < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            sock = socket.socket(fileno=descriptor)
            found.append(sock)
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError(0, f"its descriptor {FIRST + index} is no listening socket")
    except BaseException:
        for sock in found:
            sock.close()
        raise
    finally:
        os.close(holder)
    return found


# What is left behind


def become_subreaper() -> None:
    """Have what the teams' own children leave behind come to this process (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Reaper:
    """Reaps children that nobody here has started; *known*: those that Twisted reaps itself."""

    log = Logger()

    def __init__(self, known: Callable[[int], bool] | None = None) -> None:
        self._known = known or (lambda pid: pid in twisted_process.reapProcessHandlers)

    def reap(self) -> int:
        """Reap what has ended, and return how many."""
        count = 0
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return count
            if found is None or self._known(found.si_pid):
                # Twisted's turn comes; those behind it are seen the next time.
                return count
            try:
                os.waitpid(found.si_pid, os.WNOHANG)
            except ChildProcessError:
                return count
            count += 1
