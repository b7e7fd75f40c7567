"""Listens at the control socket's path, for its owner alone.

Whoever can open that socket steers Snickers, so it has mode 0600 from the moment it has a name.
Nothing here may open it wider, change the umask of the whole process, or remove a socket at which
another Snickers listens.
"""

# Most of Twisted's ports have no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

from snickers.control.client import short_path


class ControlUnavailable(Exception):
    """The control socket cannot be opened; the text says why and what would be right."""


class OwnersPort(unix.Port):
    """A listening unix socket that is its owner's from its first moment to its last."""

    _file: tuple[int, int] | None = None

    def createInternetSocket(self) -> socket.socket:
        made: socket.socket = super().createInternetSocket()
        # Linux gives the file the mode of the socket it is bound to: no moment, and no umask of
        # the whole process with its threads, lies between the name and its mode.
        os.fchmod(made.fileno(), 0o600)
        return made

    def open(self, path: str) -> None:
        """Listen, and remember the file that was made at *path*."""
        self.startListening()
        self._place = path
        self._file = _identity(path)

    def _getLogPrefix(self, applicationObject: object) -> str:
        # What the log says is starting; else it is the name of a class.
        return "socket"

    def _logConnectionLostMsg(self) -> None:
        """Nothing: that a socket closes at an end, or when a team stands by, is no news."""

    def connectionLost(self, reason: Failure) -> None:
        # Twisted's own removes the path, whoever's it is by now, and fails if it has gone.
        if self._file is not None and _identity(self._place) == self._file:
            os.unlink(self._place)
        tcp.Port.connectionLost(self, reason)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def listen(reactor: Any, path: str, factory: IProtocolFactory) -> OwnersPort:
    """Listen at *path* for its owner alone, making its folder (0700) if need be.

    Raises `ControlUnavailable`.
    """
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with _alone_in(folder), short_path(path) as short:
            _clear(path, short)
            port = OwnersPort(os.fsencode(short), factory, 50, 0o600, reactor)
            port.open(path)
    except CannotListenError as problem:
        raise ControlUnavailable(_cannot(path, problem.socketError)) from problem
    except OSError as problem:
        raise ControlUnavailable(_cannot(path, problem)) from problem
    return port


def _cannot(path: str, problem: Exception) -> str:
    words = getattr(problem, "strerror", None) or str(problem)
    return (
        f"cannot open the control socket {path}: {words}; [snickers] state must be a folder in "
        "which the user that runs Snickers may make files"
    )


@contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Hold a lock on *folder*: of two that start at once, only one looks and binds at a time."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ControlUnavailable(
                f"another Snickers is just starting in {folder}; give this one another "
                "folder ([snickers] state)"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _clear(path: str, short: str) -> None:
    """Remove what a Snickers that was killed has left at *path*; never a living one's socket."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ControlUnavailable(
            f"{path} is in the way of the control socket and is no socket; move it elsewhere"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(short)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            # Its queue is full: it is busy, but it is there.
            pass
    raise ControlUnavailable(
        f"another Snickers listens at {path}; stop it first, or give this one another folder "
        "([snickers] state)"
    )
