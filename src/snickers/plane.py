"""The data plane of one process, connected: what listens, opens TLS, and answers.

The first process has one, and so has every worker. Whose server is awake and what is wrong are
questions to somebody else (`ILeases`, `IAlarm`); everything that happens to the bytes of a visitor
is in here. It starts nothing before it is told to, and names neither a reactor nor the environment.
"""

from __future__ import annotations

import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from snickers.announced import Proxies
from snickers.config.values import Listen, Settings
from snickers.http.accesslog import LogKeeper
from snickers.http.connections import Connections
from snickers.http.front import GRACE, Bounds, Front
from snickers.http.http1 import Http1
from snickers.http.http2 import Http2
from snickers.http.kinds import HandlerMaker
from snickers.http.plain import PlainHttp1
from snickers.http.policy import Networks
from snickers.http.sites import LiveSite, SiteTable
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.leases import ILeases
from snickers.interfaces.plane import Change, IPlane
from snickers.listening import Limits, Port, private
from snickers.livesites import LiveSites
from snickers.logfile import LogFile
from snickers.passthrough import Carrying, Passages
from snickers.poller import Poller
from snickers.splice import Carried
from snickers.stream import Stream, Sweep
from snickers.tls import clienthello
from snickers.tls.authority import Authority
from snickers.tls.certificates import SURVEY, Certificates
from snickers.tls.challenges import Challenges
from snickers.tls.ordered import Ordered
from snickers.tls.port import CA_OFFERS, TLSPort
from snickers.tls.threads import OwnThreads
from snickers.tls.transport import TLSStream, harden
from snickers.tls.trust import Trust

ALPN = (b"http/1.1", b"http/1.0")
ALPN_2 = (b"h2", *ALPN)
FILE_THREADS = 4
"""Threads that read files: more would only queue at the disk."""
NAME_THREADS = 4
"""Threads that look up names: apart, since a look-up that gets no answer takes half a minute."""
CERTIFICATE_THREADS = 2
CHALLENGE_THREADS = 2
"""Threads that read what certificate authorities ask for: apart, since anybody may ask for it."""


def steady(reactor: Any) -> None:
    """Have *reactor* measure time by a clock that nobody can set: a step back would stall every
    deadline, a step forward would end everything at once."""
    reactor.seconds = time.monotonic


class Part(Protocol):
    """What is started and stopped."""

    def start(self) -> Any: ...

    def stop(self) -> Any: ...


class Called:
    """A part made of two calls."""

    def __init__(self, start: Callable[[], Any], stop: Callable[[], Any]) -> None:
        self.start = start
        self.stop = stop


@implementer(IPlane)
class Several:
    """Several planes as one: each change reaches them in turn, whatever becomes of it in others."""

    log = Logger()

    def __init__(self, *planes: IPlane) -> None:
        self._planes = planes

    def apply(self, change: Change) -> None:
        for plane in self._planes:
            try:
                plane.apply(change)
            except Exception:
                self.log.failure("{plane} did not take a change", plane=type(plane).__name__)


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        settings.head_within,
        settings.keep_alive,
        settings.progress_within,
        settings.minimum_rate,
        settings.request_line_limit,
        settings.head_limit,
        settings.field_limit,
        settings.stream_limit,
        settings.reset_limit,
        settings.control_frame_limit,
    )


class Plane:
    """The data plane of one process.

    *sweep* is its coarse clock, to be started with `parts`. *survey*: how many certificates that
    nobody asked for are looked at in one go; one process is enough for that.
    """

    def __init__(
        self,
        reactor: Any,
        sweep: Sweep,
        settings: Settings,
        leases: ILeases,
        alarm: IAlarm,
        survey: int = SURVEY,
    ) -> None:
        self.settings = settings
        self.sweep = sweep
        self.poller = Poller(reactor)
        self.limits = Limits(settings.connections, settings.connections_per_address)
        self.files = OwnThreads(reactor, FILE_THREADS, "files")
        self.names = OwnThreads(reactor, NAME_THREADS, "names")
        self._log_thread = OwnThreads(reactor, 1, "log")
        self.sites = SiteTable()
        self.front = Front(
            self.sites,
            sweep,
            time.time,
            time.perf_counter,
            _bounds(settings),
            os.urandom(4).hex().encode(),
        )
        self.front.soon = self.poller.soon
        self.alpn = ALPN_2 if settings.http2 else ALPN
        self.access = LogKeeper(
            self.front, time.time, lambda path: LogFile(path, self._log_thread.run, alarm)
        )
        self.authority = Authority(os.path.join(settings.state, "internal"))
        self.certificates = Certificates(
            reactor,
            OwnThreads(reactor, CERTIFICATE_THREADS, "certificates"),
            self.authority,
            settings.certificate_directory,
            Ordered(os.path.join(settings.state, "acme", "certificates")),
            lambda context: harden(context, self.alpn),
            alarm,
            time.time,
            survey=survey,
        )
        self._challenge_threads = OwnThreads(reactor, CHALLENGE_THREADS, "challenges")
        self.challenges = Challenges(
            os.path.join(settings.state, "acme", "challenges"),
            self._challenge_threads.run,
            lambda context: harden(context, CA_OFFERS),
        )
        servers = Connections(lambda: self.limits.total)
        self.passages = Passages(
            self.poller,
            sweep,
            self.resolve,
            self.front.connections,
            servers,
            Networks,
            clienthello.alert,
            self.front.seconds,
            lambda: self.front.access,
        )
        handlers = HandlerMaker(
            self.poller,
            sweep,
            leases,
            self.defer,
            self.addresses,
            servers,
            lambda: self.settings.waiting_limit,
            Trust(self.files, reactor.seconds).secure,
            alarm,
        )
        self.live = LiveSites(
            self.sites, handlers.make, handlers.broken, self.certificates, self.apply_settings
        )
        self.parts: Sequence[Part] = (
            self.files,
            self.names,
            self._log_thread,
            self._challenge_threads,
            self.poller,
            sweep,
            Called(self._log_access, self.access.close),
            Called(lambda: None, self.passages.pipes.close),
        )
        """In the order in which they are started; `certificates` come after what is to be asked
        for, and are not among them."""

    # What parts ask of the world

    def defer(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run a blocking call in a thread."""
        return self.files.run(lambda: function(*arguments))

    def addresses(self, host: str) -> Deferred[tuple[str, ...]]:
        """Look a host name up: all its addresses, IPv4 and IPv6 as the system prefers."""

        def look_up() -> tuple[str, ...]:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))

        return self.names.run(look_up)

    def resolve(self, host: str) -> Deferred[str]:
        """Look a host name up: the address the system prefers."""
        return self.addresses(host).addCallback(itemgetter(0))

    def _log_access(self) -> None:
        self.access.apply(self.settings.access_log, self.settings.access_log_format)

    def apply_settings(self, settings: Settings) -> None:
        """Take what of ``[snickers]`` can change while running."""
        self.settings = settings
        self.limits.change(settings.connections, settings.connections_per_address)
        self.front.bounds = _bounds(settings)
        self._log_access()
        self.certificates.directory = settings.certificate_directory
        self._set_ports(self.ports)

    def measured(self) -> dict[str, int]:
        """Bring the sites' traffic up to date; return how many TLS handshakes ended how."""
        self.access.flush()
        results: Counter[str] = Counter()
        for port in self.ports:
            if isinstance(port, TLSPort):
                results.update(port.handshakes)
        return dict(+results)

    # The end

    @property
    def open(self) -> int:
        """How many connections of clients are open, those included that cannot be used yet."""
        return self.limits.open

    def drain(self) -> None:
        """Let all connections go, each when it has had its answer: see `Front.drain`. The ports
        must not accept any more."""
        for port in self.ports:
            port.drain(GRACE)
        self.front.drain()

    def break_off(self) -> None:
        """Answer requests that have no answer yet: they may come again."""
        self.front.break_off()

    def abort(self) -> None:
        """End what is still open."""
        self.front.abort()
        for port in self.ports:
            for connection in list(port.connections):
                connection.abortConnection()

    # Listening

    ports: list[Port] = []
    _kinds: Sequence[str] = ()

    def listen(
        self, https: Sequence[socket.socket], http: Sequence[socket.socket]
    ) -> Sequence[Port]:
        """Make the ports of listening sockets; nothing is accepted yet."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.limits.change(self.settings.connections, self.settings.connections_per_address)
        self.https_port = _port_of(https, self.settings.https)
        self.http_port = _port_of(http, self.settings.http)
        self._kinds = ["https"] * len(https) + ["http"] * len(http)
        self.ports = [self._port("https", sock) for sock in https]
        self.ports += [self._port("http", sock) for sock in http]
        self._set_ports(self.ports)
        return self.ports

    def _port(self, kind: str, sock: socket.socket) -> Port:
        if kind == "http":
            return Port(self.poller, sock, self.sweep, self.limits, self._build_plain)
        return TLSPort(
            self.poller,
            sock,
            self.sweep,
            self.limits,
            route=self.sites.route,
            contexts=self._context,
            build=self._build,
            alpn=self.alpn,
            within=self.settings.handshake_within,
            challenge=self._challenge,
            unopened=attrgetter("unopened"),
            carry=self._carry,
            carried=Carried,
        )

    def doubles(self) -> Sequence[tuple[str, socket.socket, Port]]:
        """Make for each port another one like it, at a socket that nobody else knows; nothing is
        accepted yet. Return for each ``https`` or ``http``, the socket and the port."""
        made = []
        for kind, port in zip(self._kinds, self.ports, strict=True):
            sock = private(port.family)
            made.append((kind, sock, self._port(kind, sock)))
        self._set_ports([port for _, _, port in made])
        return made

    def _set_ports(self, ports: Sequence[Port]) -> None:
        """Have *ports* do as the settings say."""
        settings = self.settings
        trusted = settings.proxy_protocol_from
        proxies = Proxies(trusted, Networks) if trusted else None
        for port in ports:
            port.proxies = proxies
            port.within = settings.handshake_within

    https_port = 443
    http_port = 0

    def _context(self, site: LiveSite, name: bytes) -> SSL.Context | Deferred[SSL.Context]:
        return self.certificates.context(site.name, name)

    def _challenge(self, name: bytes) -> Deferred[SSL.Context | None]:
        site = self.sites.find(name)
        if site is None or name not in site.hosts:
            return succeed(None)  # nobody orders a certificate for it
        return self.challenges.context(name)

    def _build(self, stream: TLSStream, site: LiveSite) -> Http1 | Http2:
        if stream.alpn == b"h2":
            return Http2(self.front, stream, site)
        return Http1(self.front, stream, site, True)

    def _carry(self, stream: Carried, site: LiveSite, name: bytes) -> Carrying:
        return self.passages.carry(stream, site, name)

    def _build_plain(self, stream: Stream) -> PlainHttp1:
        return PlainHttp1(self.front, stream, self.https_port, self.challenges.key_authorization)


def _port_of(sockets: Sequence[socket.socket], listens: Sequence[Listen]) -> int:
    for sock in sockets:
        if sock.family != socket.AF_UNIX:
            return int(sock.getsockname()[1])
    return listens[0].port if listens else 0
