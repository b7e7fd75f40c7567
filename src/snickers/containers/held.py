"""A process that is held by a descriptor (pidfd_open(2)), whoever has started it.

Its number may be given to another process as soon as it has ended; the descriptor never is. So
nothing here is signalled by its number, but where the kernel knows no other way, and then only
while the number is known to be its own. It must never take one process for another: who holds one
says when it was started.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.containers import sessions
from snickers.pidfd import has_ended

log = Logger()

_PROCESS_GROUP = 4
"""PIDFD_SIGNAL_PROCESS_GROUP, of Linux 6.9: the group that the process leads, or has led."""
_GET_INFO = 0xC040FF0B
"""PIDFD_GET_INFO, of Linux 6.13, with the first form of ``struct pidfd_info``."""
_INFO_EXIT = 1 << 3
"""PIDFD_INFO_EXIT, of Linux 6.15: how it has ended, also after somebody waited for it."""
_ENDED = frozenset("ZXx")
"""The states of a process that has ended."""


class IWaitingReactor(IReactorTime, IReactorFDSet):
    """What is needed of the reactor."""


def code_of(status: int) -> int:
    """Return how a process ended, of its wait status, as shells and Docker say it."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def hold(reactor: IWaitingReactor, pid: int, start: int) -> Held | None:
    """Hold the process *pid* that was started at *start* (`sessions.Stat.start`); ``None``: it has
    ended, or the number is another's."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    found = sessions.stat(pid)
    if found is None or found.start != start or found.state in _ENDED:
        os.close(fd)
        return None
    return Held(reactor, pid, fd, start)


@implementer(IReadDescriptor)
class Held:
    """One process.

    :param fd: of pidfd_open(2); closed by `let_go`, or when it has ended.
    :param start: when it was started; ``None``: that is not known, and its number never used.
    :ivar ended: fires with this when it has ended; never after `let_go`.
    """

    def __init__(
        self, reactor: IWaitingReactor, pid: int, fd: int, start: int | None = None
    ) -> None:
        self.pid = pid
        self.start = start
        self.ended: Deferred[Held] = Deferred()
        self._reactor = reactor
        self._fd = fd
        reactor.addReader(self)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._send(number, 0)

    def signal_group(self, number: int) -> None:
        """Send a signal to the group that it leads, or to it alone as long as it leads none; after
        its end to who is left of its group, as far as the kernel can (Linux 6.9)."""
        try:
            sent = self._send(number, _PROCESS_GROUP)
        except _Unknown:
            found = sessions.stat(self.pid)
            # Also of one that has ended the number is not given away before it was waited for.
            if self.start is None or found is None or found.start != self.start:
                return
            try:
                os.killpg(self.pid, number)
                sent = True
            except ProcessLookupError:
                sent = False
            except PermissionError:
                return
        if not sent:
            self.signal(number)

    def _send(self, number: int, flags: int) -> bool:
        if self._fd < 0:
            return True
        try:
            signal.pidfd_send_signal(self._fd, number, None, flags)
        except ProcessLookupError:
            return False
        except OSError as error:
            if flags and error.errno == errno.EINVAL:
                raise _Unknown from None
            log.warn(
                "Process {pid} could not be signalled: {error}.", pid=self.pid, error=error.strerror
            )
        return True

    def code(self) -> int | None:
        """Return how it has ended, as shells and Docker say it.

        Only its parent is told. ``None``: it is not ours, its parent has heard already, and this
        kernel does not say it afterwards (before Linux 6.15); or it runs as somebody whom this
        process may not look into.
        """
        status = self._told()
        if status is None:
            status = self._seen()
        if status is None:
            status = self._told()  # Somebody waited for it in between.
        return None if status is None else code_of(status)

    def _told(self) -> int | None:
        """Return the wait status of one that was waited for."""
        info = bytearray(64)
        struct.pack_into("=Q", info, 0, _INFO_EXIT)
        try:
            fcntl.ioctl(self._fd, _GET_INFO, info)
        except OSError:
            return None
        (has,) = struct.unpack_from("=Q", info)
        return int(struct.unpack_from("=i", info, 60)[0]) if has & _INFO_EXIT else None

    def _seen(self) -> int | None:
        """Return the wait status of one that is still waited for."""
        try:
            owner = os.stat(f"/proc/{self.pid}").st_uid
        except OSError:
            return None
        found = sessions.stat(self.pid)
        if found is None or found.start != self.start or found.state != "Z":
            return None
        # Who may not look is shown a 0.
        return found.status if os.geteuid() in (0, owner) else None

    def let_go(self) -> None:
        """Hold it no more, whether it has ended or not. May be called again."""
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    # IReadDescriptor

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        if has_ended(self._fd):
            # It stays readable for ever.
            self._reactor.removeReader(self)
            self.ended.callback(self)

    def connectionLost(self, reason: Failure) -> None:
        # No such thing can be: the reactor has heard it of another one, see `snickers.pidfd`.
        if self._fd >= 0 and not self.ended.called:
            self._reactor.addReader(self)

    def logPrefix(self) -> str:
        return "process"


class _Unknown(Exception):
    """The kernel does not know what it was asked for."""
