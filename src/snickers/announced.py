"""Connections that a proxy in front of us makes for its clients: who they are is read first.

The header is only peeked at and then taken off to its last byte, so that what follows is still
there for whoever reads it. From a proxy that is trusted a header is required; nobody else's is
looked at. This module must never take a client's word for its address.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.proxyheader import MAX_V2, SMALLEST, BadHeader, Header, read

STRIKES = 3
"""How often a socket may say that it has what we wait for, and have no more than before."""


class Announced(bytes):
    """A client's numeric address as a proxy has said it; `header` has the rest."""

    header: Header


class Itself(bytes):
    """A proxy's own numeric address, for connections that it makes for itself (health checks) or
    for clients that it does not name: nobody knows how many those are, so that they are never
    counted as one client's."""


class Networks(Protocol):
    """The addresses of proxies: see `snickers.http.policy.Networks`."""

    def holds(self, peer: bytes) -> bool: ...


class Proxies:
    """Whose word is taken. *networks* makes the judge of addresses."""

    def __init__(
        self, trusted: tuple[str, ...], networks: Callable[[tuple[str, ...]], Networks]
    ) -> None:
        self._unix = "unix" in trusted
        self._networks = networks(tuple(word for word in trusted if word != "unix"))

    def hold(self, peer: bytes) -> bool:
        """Say whether *peer*, ``b""`` on a unix socket, is one of them."""
        return self._networks.holds(peer) if peer else self._unix


class Owner(Protocol):
    """A port; see `snickers.listening.Port`."""

    reactor: Any
    sweep: Any
    connections: set[Any]
    within: float

    def announced(self, sock: Any, peer: bytes, deadline: float) -> None:
        """Begin with the connection of *peer*, whom a proxy has announced. *deadline*, in the
        sweep's time, is that of all that comes before the connection can be used."""

    def unannounced(self, sock: Any, proxy: bytes, reason: str) -> None:
        """Close a connection for which *proxy* has not announced anybody; without a *reason*
        nothing is wrong with that."""


@implementer(IReadDescriptor)
class Announcing:
    """A proxy's connection until its header is there."""

    __slots__ = (
        "_fd",
        "_had",
        "_limit",
        "_owner",
        "_proxy",
        "_socket",
        "_strikes",
        "_wanted",
        "deadline",
    )

    def __init__(self, owner: Owner, sock: Any, proxy: bytes) -> None:
        self._owner = owner
        self._socket = sock
        self._fd = sock.fileno()
        self._proxy = proxy
        self._wanted = SMALLEST
        self._had = 0
        self._strikes = 0
        self._limit: float = owner.sweep.now + owner.within
        self.deadline = self._limit

    def begin(self) -> None:
        """Wait for the header."""
        owner = self._owner
        owner.connections.add(self)
        owner.sweep.watch(self)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self._wanted)
        owner.reactor.addReader(self)

    def doRead(self) -> None:
        try:
            data = self._socket.recv(MAX_V2, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as error:
            self._refuse(error.strerror or str(error))
            return
        if not data:
            # A health check that only connects has not done wrong.
            self._refuse("it has ended" if self._had else "")
            return
        try:
            header = read(data)
        except BadHeader as bad:
            self._refuse(str(bad))
            return
        if isinstance(header, int):
            self._wait_for(header, len(data))
            return
        self._socket.recv(header.length)
        self._end()
        peer: bytes
        if header.source is None:
            # The endpoints are the connection's own then (§2.1, §2.2).
            peer = Itself(self._proxy)
        else:
            peer = Announced(header.source[0].encode("ascii"))
            peer.header = header
        self._owner.announced(self._socket, peer, self._limit)

    def _wait_for(self, wanted: int, had: int) -> None:
        if had < self._wanted and had <= self._had:
            self._strikes += 1
            if self._strikes == STRIKES:
                self._refuse("it has ended")
                return
        self._had = had
        if wanted != self._wanted:
            self._wanted = wanted
            # Or else the part that is there would make a level-triggered poll spin.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def _end(self) -> None:
        owner = self._owner
        self.deadline = math.inf
        owner.connections.discard(self)
        owner.sweep.unwatch(self)
        owner.reactor.removeReader(self)
        self._fd = -1
        if self._wanted != 1 and self._socket.fileno() != -1:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _refuse(self, reason: str) -> None:
        self._end()
        self._owner.unannounced(self._socket, self._proxy, reason)

    def hurry(self, until: float) -> None:
        """Wait no longer than *until*, in the sweep's time."""
        self._limit = min(self._limit, until)
        self.deadline = min(self.deadline, until)

    def expired(self) -> None:
        """The header took too long; called by the sweep."""
        self._refuse("it took too long")

    def abortConnection(self) -> None:
        """Close at once; for the port's owner, when all ends."""
        self._refuse("")

    loseConnection = abortConnection

    def connectionLost(self, reason: Failure) -> None:
        self.abortConnection()

    def fileno(self) -> int:
        fd: int = self._fd
        return fd

    def logPrefix(self) -> str:
        return "proxy"
