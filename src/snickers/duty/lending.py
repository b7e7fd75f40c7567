"""Leases for the other team, of the one on duty: listens at ``STATE/teams/duty.sock``.

Each connection is a `Desk`, as for a worker: what it has leased is given back when it ends. What
the other team counts goes into the sums here, by process, so that a line that was lost and came
again counts nothing twice. Only the socket's owner can connect; and whoever does can lease, and
tell numbers, but nothing else.
"""

# Twisted's AMP has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from snickers.control.client import short_path
from snickers.control.socketfile import OwnersPort, listen
from snickers.duty.counting import Numbers, flat
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.colleagues import Share
from snickers.interfaces.leases import ILeases
from snickers.workers import wire
from snickers.workers.census import Census, Counts, read
from snickers.workers.desk import Desk

_log = Logger()
_CREDENTIALS = struct.Struct("3i")
"""``struct ucred`` of unix(7): process, user, group."""


def dial(reactor: Any, path: str, protocol: Any) -> bool:
    """Connect *protocol* with whoever listens at *path*; say whether somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            with short_path(path) as short:
                sock.connect(short)
        except OSError:
            return False
        reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, wire.Only(protocol))
    return True


@implementer(IAlarm)
class _Unheard:
    """The other team tells its alarms itself."""

    def raised(self, kind: str, site: str, message: str) -> None: ...

    def cleared(self, kind: str, site: str) -> None: ...


class _Other(Desk):
    """One connection of the other team."""

    def __init__(self, lending: Lending) -> None:
        super().__init__(lending.leases, _Unheard(), self._counted_there, self._left_there)
        self._lending = lending
        self.pid = 0

    def connectionMade(self) -> None:
        super().connectionMade()
        self.pid = _peer(self.transport)
        self._lending.desks.add(self)

    def _counted_there(self, data: bytes) -> None:
        self._lending.counted(self.pid, data)

    def _left_there(self) -> None:
        self._lending.left(self)


class _Desks(Factory):
    noisy = False

    def __init__(self, lending: Lending) -> None:
        self._lending = lending

    def buildProtocol(self, addr: IAddress | None) -> _Other:
        return _Other(self._lending)


class Lending:
    """Lends *leases* at *path* while it runs."""

    def __init__(
        self,
        reactor: Any,
        path: str,
        leases: ILeases,
        listening: Callable[[Any, str, Any], OwnersPort] = listen,
    ) -> None:
        self.leases = leases
        self.desks: set[_Other] = set()
        self._reactor = reactor
        self._path = path
        self._listening = listening
        self._port: Any = None
        self._census = Census()
        self._heard: dict[int, dict[str, Counts]] = {}
        self._odd: set[int] = set()
        """Processes whose counts were not understood."""

    def start(self) -> None:
        """Listen; raises `snickers.control.socketfile.ControlUnavailable` when that cannot be."""
        self._port = self._listening(self._reactor, self._path, _Desks(self))

    def stop(self) -> Deferred[Any]:
        """Give back all that the other team has leased, and hear nothing more of it."""
        port, self._port = self._port, None
        closed = succeed(None) if port is None else maybeDeferred(port.stopListening)
        for desk in list(self.desks):
            desk.hang_up()
            # Not when the connection is found to have ended: what it held is not to be handed over.
            desk.let_go()
        return closed

    def changed(self, site: str) -> None:
        """The life of *site* has moved on."""
        for desk in list(self.desks):
            desk.changed(site)

    # What the other team counts

    def counted(self, pid: int, data: bytes) -> None:
        """Take what the process *pid* has told."""
        try:
            news = read(data)
        except ValueError as error:
            if pid not in self._odd:
                # It may be of another version, and will go on like that.
                self._odd.add(pid)
                _log.error("The other team counted oddly: {error}", error=error)
            return
        self._heard.setdefault(pid, {}).update(news)
        self._census.counted(pid, news)

    def left(self, desk: _Other) -> None:
        """A connection has ended: what it has counted is kept, what it had open is not."""
        self.desks.discard(desk)
        if any(other.pid == desk.pid for other in self.desks):
            return
        heard = self._heard.get(desk.pid, {})
        still = {
            site: evolve(counts, connections=0, uses=0, leases=0) for site, counts in heard.items()
        }
        self._census.counted(desk.pid, still)

    def share(self, site: str) -> Share:
        """Return what the other team has of *site*, and has had."""
        return self._census.share(site)

    def handshakes(self) -> dict[str, int]:
        """Return how many of its TLS handshakes ended how."""
        return self._census.handshakes()

    def heard(self) -> dict[int, dict[str, Numbers]]:
        """Return, by process, what it has told of each site."""
        return {
            pid: {
                site: numbers
                for site, counts in heard.items()
                if (numbers := flat(counts.requests, counts.traffic, counts.handshakes))
            }
            for pid, heard in self._heard.items()
        }

    def forget(self) -> None:
        """Begin to count at nothing: what was counted is in what was handed over."""
        self._census = Census()
        self._heard = {}

    def removed(self, sites: tuple[str, ...]) -> None:
        """The configuration has *sites* no more."""
        for heard in self._heard.values():
            for site in sites:
                heard.pop(site, None)


def _peer(transport: Any) -> int:
    """Return the process at the other end, 0 where that is not known."""
    sock = getattr(transport, "socket", None)
    if sock is None:
        return 0
    said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(said)[0])
