"""Connections of sites whose TLS is not opened here: carried as they are to the server behind.

The site was chosen by the name in the client's hello, which is kept until the server is connected;
then a `Relay` carries bytes both ways, for as long as the two like. This module must never look
into what it carries, send a byte before the server's PROXY header, or let a
change of a site's configuration touch a connection that has begun.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from math import inf
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.announced import Announced
from snickers.config.values import Passthrough, Site
from snickers.proxyprotocol import Endpoint, header
from snickers.relay import Relay
from snickers.splice import Carried, Pipes, connect, join
from snickers.stream import ABORTED, Address, Sweep

CONNECT_WITHIN = 10.0
"""Seconds from the hello until the server must be connected, the look-up of its name included:
what browsers wait with patience, and three retransmissions of a lost SYN."""
LOOK_UP_EVERY = 30.0
"""Seconds an address is taken for true: what stub resolvers keep a typical answer for."""
RESULTS = (
    "carried",
    "unreachable",
    "unresolved",
    "timeout",
    "busy",
    "disabled",
    "forbidden",
    "gone",
)
CUT = "cut"
"""What the log says of a connection that was carried, and that one side left without closing it."""

# Alert descriptions (RFC 8446 §6).
ACCESS_DENIED = 49
INTERNAL_ERROR = 80

_WAITING, _CONNECTING, _CARRIED, _OVER = range(4)


class LiveSite(Protocol):
    """A site as the fronts see it: see `snickers.http.sites.LiveSite`."""

    name: str
    site: Site | None
    requests: int
    connections: set[Any]
    traffic: Any
    """Told with ``left(stream)`` when a connection is over."""
    carrier: Any


@frozen
class Over:
    """A connection that is over: for the access log."""

    peer: bytes
    """The client's numeric address; ``b""``: a unix socket."""
    site: str
    name: bytes
    """What the client asked for by SNI."""
    result: str
    """One of `RESULTS`, or `CUT`."""
    received: int
    """Bytes from the client."""
    sent: int
    """Bytes to it."""
    began: float
    """When its hello was there, by the clock that `Passages` was given."""
    took: float
    """Seconds."""
    request: None = None
    """There is none: so the log tells it from an exchange."""


class Servers(Protocol):
    """Counts the connections to servers: see `snickers.http.connections.Connections`."""

    @property
    def is_full(self) -> bool: ...

    def make_room(self) -> None: ...

    def count(self, stream: Any) -> None: ...


class Networks(Protocol):
    """The addresses that may come in: see `snickers.http.policy.Networks`."""

    def holds(self, peer: bytes) -> bool: ...


def read_target(to: str) -> tuple[str, int]:
    """Return the host and the port of ``tcp:HOST:PORT``."""
    host, _, port = to.removeprefix("tcp:").rpartition(":")
    return host.strip("[]"), int(port)


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class Passages:
    """What all connections that are carried unopened share."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        sweep: Sweep,
        resolve: Callable[[str], Deferred[str]],
        connections: set[Any],
        servers: Servers,
        networks: Callable[[tuple[str, ...]], Networks],
        alert: Callable[[int], bytes],
        seconds: Callable[[], float],
        access: Callable[[], Callable[[Over], None] | None],
        connector: Callable[..., Any] = connect,
    ) -> None:
        """*resolve* takes a host name; its Deferred fires with a numeric address. *connections*
        is the front's: whoever drains or aborts those finds these among them. *networks* makes
        the judge of ``allow from``, which is checked for every connection. *alert* returns
        the record of a fatal TLS alert. *seconds*: a steady clock; *access* returns who is told
        of connections that are over, if anybody. *connector*:
        `snickers.splice.connect`, or a test's."""
        self.reactor = reactor
        self.sweep = sweep
        self.resolve = resolve
        self.connections = connections
        self.servers = servers
        self.networks = networks
        self.alert = alert
        self.seconds = seconds
        self.access = access
        self.connector = connector
        self.pipes = Pipes()
        self.results = dict.fromkeys(RESULTS, 0)
        """How many connections were carried, or why not: `RESULTS`."""
        self.received = 0
        """Bytes received from the clients of connections that are over."""
        self.sent = 0
        """Bytes sent to them."""

    def carry(self, stream: Carried, live: LiveSite, name: bytes) -> Carrying:
        """Carry *stream*, from which nothing was read and which does not read, to the server of
        *live*; *name* is what the client asked for by SNI. Returns the stream's protocol.

        A client whose server cannot be had within `CONNECT_WITHIN` gets internal_error.
        """
        passage = live.carrier
        if passage is None or passage.site is not live.site:
            assert live.site is not None
            passage = live.carrier = Passage(self, live.site)
        carrying = stream.protocol = Carrying(passage, stream, live, name)
        try:
            carrying.begin()
        except Exception:
            carrying.connectionLost(ABORTED)
            raise
        return carrying


class Passage:
    """Where one site's connections go, as one configuration says it.

    A name is looked up in a thread when the first connection comes and again from time to time;
    nobody waits for that who has an address. A new configuration has a passage of its own.
    """

    def __init__(self, passages: Passages, site: Site) -> None:
        kind = site.kind
        assert isinstance(kind, Passthrough)
        self.passages = passages
        self.site = site
        self.proxy_protocol = kind.proxy_protocol
        self.to = kind.to
        networks = site.allow_from
        self._admitted = passages.networks(networks) if networks else None
        self._host, self._port = read_target(kind.to)
        self._address: Address | None = None
        self._look_at = inf
        self._looking = False
        self._waiting: list[Carrying] = []
        if _is_numeric(self._host):
            self._address = (self._host, self._port)

    def admits(self, peer: bytes) -> bool:
        """Say whether a client at the numeric address *peer* may come in."""
        return self._admitted is None or self._admitted.holds(peer)

    def find(self, carrying: Carrying) -> None:
        """Have *carrying* told the server's address, now or when it is known."""
        address = self._address
        if address is None:
            self._waiting.append(carrying)
            self._look_up()
            return
        if self.passages.sweep.now >= self._look_at:
            self._look_up()
        carrying.reach(address)

    def failed(self) -> None:
        """The server was not reached: it may have moved."""
        if self._look_at != inf:
            self._look_up()

    def _look_up(self) -> None:
        if self._looking:
            return
        self._looking = True
        found = self.passages.resolve(self._host)
        found.addCallbacks(self._found, self._not_found)
        found.addErrback(
            lambda failure: self.passages.log.failure(
                "{site}: a look-up's answer", failure=failure, site=self.site.name
            )
        )

    def _looked_up(self) -> list[Carrying]:
        self._looking = False
        self._look_at = self.passages.sweep.now + LOOK_UP_EVERY
        waiting, self._waiting = self._waiting, []
        return waiting

    def _found(self, address: str) -> None:
        self._address = (address, self._port)
        for carrying in self._looked_up():
            carrying.reach(self._address)

    def _not_found(self, failure: Failure) -> None:
        reason = f"the name {self._host} cannot be resolved: {failure.getErrorMessage()}"
        waiting = self._looked_up()
        if not waiting:
            self.passages.log.warn("{site}: {reason}", site=self.site.name, reason=reason)
        for carrying in waiting:
            carrying.refuse("unresolved", reason)


class Carrying:
    """One client's connection: its stream's protocol until the relay takes over."""

    __slots__ = (
        "_ahead",
        "_began",
        "_deadline",
        "_name",
        "_passage",
        "_relay",
        "_site",
        "_stage",
        "_upstream",
        "transport",
    )

    def __init__(self, passage: Passage, transport: Carried, site: LiveSite, name: bytes) -> None:
        self._passage = passage
        self._site = site
        self._name = name
        self._stage = _WAITING
        self._upstream: Carried | None = None
        self._began = passage.passages.seconds()
        self._relay: Relay | None = None
        self._ahead = b""
        """What the client has sent so far: mostly its hello."""
        self._deadline = transport.sweep.now + CONNECT_WITHIN
        self.transport = transport

    def begin(self) -> None:
        """Look for the server."""
        passage = self._passage
        passage.passages.connections.add(self)
        self._site.connections.add(self)
        if not passage.site.enabled:
            self.refuse("disabled", "the site is switched off")
        elif not passage.admits(self.transport.peer):
            self.refuse(
                "forbidden", "its address is not among those of 'allow from'", ACCESS_DENIED
            )
        else:
            self.transport.deadline = self._deadline
            # Reading from now on notices a client that does not wait for its server.
            self.transport.resumeProducing()
            self.transport.doRead()
            passage.find(self)

    def reach(self, address: Address) -> None:
        """Connect to the server, whose PROXY header goes ahead of everything."""
        if self._stage != _WAITING:
            return
        passage = self._passage
        passages = passage.passages
        servers = passages.servers
        servers.make_room()
        if servers.is_full:
            self.refuse("busy", "no descriptor is left for a connection to its server")
            return
        first = b""
        if passage.proxy_protocol != "off":
            peer = self.transport.peer
            if isinstance(peer, Announced):
                source, destination = peer.header.source, peer.header.destination
            else:
                try:
                    source = _endpoint(self.transport.getPeer())
                    destination = _endpoint(self.transport.getHost())
                except OSError:
                    # The client has gone; `connectionLost` counts it.
                    self.transport.abortConnection()
                    return
            first = header(passage.proxy_protocol, source, destination, self._name)
        self._stage = _CONNECTING
        self.transport.deadline = inf
        upstream = self._upstream = passages.connector(
            passages.reactor,
            passages.sweep,
            address,
            _Reaching(self),
            self._deadline - passages.sweep.now,
        )
        servers.count(upstream)
        if first:
            upstream.write(first)

    def reached(self) -> None:
        """The server is connected: from now on the two speak with each other."""
        upstream = self._upstream
        assert upstream is not None
        self._stage = _CARRIED
        self._passage.passages.results["carried"] += 1
        self._site.requests += 1
        # A client is looked after by its listening socket's options.
        upstream.setTcpKeepAlive(True)
        ahead, self._ahead = self._ahead, b""
        self._relay = Relay(self.transport, upstream, self._ended, ahead)
        join(self.transport, upstream, self._passage.passages.pipes)

    def not_reached(self, reason: Failure) -> None:
        """The server refused, or did not answer in time."""
        late = isinstance(reason.value, TimeoutError)
        words = f"{self._passage.to} cannot be reached: {reason.getErrorMessage()}"
        self._upstream = None
        self.refuse("timeout" if late else "unreachable", words)
        self._passage.failed()

    def refuse(self, result: str, reason: str, description: int = INTERNAL_ERROR) -> None:
        """Send an alert and close."""
        if self._stage in (_CARRIED, _OVER):
            return
        self._stage = _OVER
        passages = self._passage.passages
        passages.results[result] += 1
        passages.log.info(
            "{site}: refused a connection of {peer}: {reason}",
            site=self._site.name,
            peer=self.transport.peer.decode("ascii", "backslashreplace"),
            reason=reason,
        )
        self.transport.write(passages.alert(description))
        self._log(result)
        self.transport.loseConnection()

    def close_if_idle(self) -> None:
        """A connection of which we see only bytes is never known to be idle."""

    def drain(self) -> None:
        """It ends when its client or its server ends it."""

    def break_off(self) -> None:
        """Nothing can be said here."""

    # What the client's stream calls until there is a relay

    def dataReceived(self, data: bytes) -> None:
        """The hello; if more comes before there is a server, that is enough."""
        if self._ahead:
            self.transport.pauseProducing()
        self._ahead += data

    def readConnectionLost(self) -> None:
        """The client has said all: the server hears that too, from the relay."""

    def deadlinePassed(self) -> None:
        """The look-up took too long."""
        self.refuse("timeout", f"{self._passage.to} was not found in time")

    def connectionLost(self, reason: Failure) -> None:
        if self._stage != _OVER:
            self._stage = _OVER
            self._passage.passages.results["gone"] += 1
            self._log("gone")
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abortConnection()
        self._forget()

    def _ended(self) -> None:
        """The relay is over."""
        self._stage = _OVER
        passages = self._passage.passages
        passages.received += self.transport.received
        passages.sent += self.transport.sent
        relay, self._relay = self._relay, None
        self._log(CUT if relay is not None and relay.cut else "carried")
        self._forget()

    def _log(self, result: str) -> None:
        passages = self._passage.passages
        log = passages.access()
        if log is not None:
            client = self.transport
            log(
                Over(
                    client.peer,
                    self._site.name,
                    self._name,
                    result,
                    client.received,
                    client.sent,
                    self._began,
                    passages.seconds() - self._began,
                )
            )

    def _forget(self) -> None:
        self._passage.passages.connections.discard(self)
        site = self._site
        if self in site.connections:
            site.connections.remove(self)
            site.traffic.left(self.transport)


class _Reaching:
    """The protocol of a stream to a server that is being connected."""

    __slots__ = ("_carrying", "transport")

    def __init__(self, carrying: Carrying) -> None:
        self._carrying = carrying
        self.transport: Any = None

    def connectionMade(self) -> None:
        self._carrying.reached()

    def connectionFailed(self, reason: Failure) -> None:
        self._carrying.not_reached(reason)

    def connectionLost(self, reason: Failure) -> None:
        """The relay could not begin, or we would not be the stream's protocol any more."""
        self._carrying.transport.abortConnection()


def _endpoint(address: Any) -> Endpoint | None:
    if isinstance(address, IPv4Address | IPv6Address):
        return address.host, address.port
    return None
