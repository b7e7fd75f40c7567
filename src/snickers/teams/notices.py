"""What a team says of itself: the datagrams of ``sd_notify(3)`` and some lines of our own.

The kernel says whose process a datagram came from (``SO_PASSCRED``); what cannot be understood is
left out, since a team may be of a version that says more, or less. Nothing here may fail, or keep
the keeper busy, whatever is sent.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import evolve
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.teams import pair as p

SIZE = 4096
"""Bytes of a datagram that are read: a few lines; the rest is left out."""
AT_ONCE = 64
"""Datagrams read in one turn of the reactor."""
PATH_LIMIT = 107
"""Bytes of a socket's path beside the closing NUL (unix(7)): a team must be able to name it."""
WORDS = 200
"""Letters of a team's words about itself that are kept."""

_CREDENTIALS = struct.Struct("3i")
"""pid, uid and gid of ``struct ucred`` (unix(7))."""
_ANCILLARY = socket.CMSG_SPACE(_CREDENTIALS.size)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _words(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:WORDS])


def events(id: int, data: bytes) -> list[p.Event]:
    """Return what the datagram *data* of the member *id* tells, in its order."""
    told: list[p.Event] = []
    within: float | None = None
    finishing = False
    for line in data.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition("=")
        match name:
            case "READY" if value == "1":
                told.append(p.Proved(id))
            case "WATCHDOG" if value == "1":
                told.append(p.Beat(id))
            case "STOPPING" if value == "1":
                told.append(p.Stopping(id))
            case "EXTEND_TIMEOUT_USEC" if (number := _number(value)) is not None:
                within = number / 1e6
            case "X_SNICKERS_DUTY" if value in ("0", "1"):
                told.append(p.Took(id) if value == "1" else p.Gave(id))
            case "X_SNICKERS_ANSWERS":
                numbers = [_number(word) for word in value.split()]
                match numbers:
                    case [int(total), int(errors)]:
                        told.append(p.Answered(id, total, errors))
            case "X_SNICKERS_OPEN" if (number := _number(value)) is not None:
                told.append(p.Counted(id, open=number))
            case "X_SNICKERS_ALARMS" if (number := _number(value)) is not None:
                told.append(p.Counted(id, alarms=number))
            case "X_SNICKERS_VERSION":
                told.append(p.Described(id, version=_words(value)))
            case "X_SNICKERS_FINISHES" if value in ("0", "1"):
                told.append(p.Described(id, finishes=value == "1"))
            case "X_SNICKERS_FINISHING" if value == "1":
                finishing = True
            case "STATUS":
                told.append(p.Described(id, status=_words(value)))
    return [
        evolve(one, within=within, finishing=finishing) if isinstance(one, p.Stopping) else one
        for one in told
    ]


class CannotHear(Exception):
    """The socket of notices cannot be made; the text says why and what would be right."""


def check(path: str) -> None:
    """Raise `CannotHear` if teams could not name a socket at *path*."""
    excess = len(os.fsencode(path)) - PATH_LIMIT
    if excess > 0:
        raise CannotHear(
            f"{path} is too long for a socket's path by {excess} bytes; give [snickers] state a "
            "shorter one"
        )


def listen(path: str, shared: bool = False) -> socket.socket:
    """Return a datagram socket at *path*, for its owner alone; raises `CannotHear`.

    Whatever lies there is replaced: who calls this holds the keeper's lock. Where it is *shared*
    everybody who reaches the folder may send to it: who is a team is known by the process.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        # Linux gives the file the mode of the socket that is bound to it, less the umask.
        os.fchmod(sock.fileno(), 0o666 if shared else 0o600)
        with suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0 if shared else 0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
    except OSError as problem:
        sock.close()
        raise CannotHear(f"cannot listen at {path}: {problem.strerror}") from None
    return sock


@implementer(IReadDescriptor)
class Ear:
    """Reads notices from *sock* and gives each to *told*, with the process it came from."""

    log = Logger()

    def __init__(
        self, reactor: Any, sock: socket.socket, told: Callable[[int, bytes], None]
    ) -> None:
        self._reactor = reactor
        self._socket = sock
        self._told = told

    def start(self) -> None:
        """Listen from now on."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Listen no more."""
        self._reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "notices"

    def doRead(self) -> None:
        for _ in range(AT_ONCE):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(SIZE, _ANCILLARY)
            except OSError:
                return
            for level, kind, content in ancillary:
                if (
                    level == socket.SOL_SOCKET
                    and kind == socket.SCM_CREDENTIALS
                    and len(content) >= _CREDENTIALS.size
                ):
                    self._told(_CREDENTIALS.unpack_from(content)[0], data)

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()
