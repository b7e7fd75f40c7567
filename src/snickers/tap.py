"""The only wiring: from a configuration's path to the service that ``twistd snickers`` runs.

This is the one module that names the real reactor, the real clock and the environment. It starts
nothing: ``twistd`` forks, and sheds privileges, after `makeService` has returned.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, NoReturn

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LoggingFile
from twisted.python import usage

from snickers import __version__
from snickers.alarm import Alarm
from snickers.alarm_command import AlarmCommand
from snickers.announced import Proxies
from snickers.config.parse import Loaded, load
from snickers.config.values import Container, Listen, Passthrough, Process, Settings
from snickers.containers.docker import DockerEngine
from snickers.containers.engine import owner_of
from snickers.containers.process import ProcessEngine
from snickers.containers.service import Lives
from snickers.control.api import ControlService, ControlUnavailable
from snickers.front_door import FrontDoorService, ListeningPort
from snickers.http.accesslog import LogKeeper
from snickers.http.connections import Connections
from snickers.http.front import Bounds, Front
from snickers.http.http1 import Http1, PlainHttp1
from snickers.http.http2 import Http2
from snickers.http.kinds import HandlerMaker
from snickers.http.policy import Networks
from snickers.http.sites import LiveSite, SiteTable
from snickers.listening import CannotListen, Limits, Port, bind, handed_over, inherited
from snickers.logfile import LogFile
from snickers.notify import Notifier
from snickers.passthrough import Carrying, Passages
from snickers.poller import Poller
from snickers.running import Running
from snickers.stream import Stream, Sweep
from snickers.tls import clienthello
from snickers.tls.authority import Authority
from snickers.tls.certificates import Certificates
from snickers.tls.port import TLSPort
from snickers.tls.threads import OwnThreads
from snickers.tls.transport import TLSStream, harden
from snickers.tls.trust import Trust
from snickers.welcome import welcome

ALPN = (b"http/1.1", b"http/1.0")
ALPN_2 = (b"h2", *ALPN)
FILE_THREADS = 4
"""Threads that read files: more would only queue at the disk."""
NAME_THREADS = 4
"""Threads that look up names: apart, since a look-up that gets no answer takes half a minute."""
CERTIFICATE_THREADS = 2
SETTLE = 0.2
"""Seconds in which an editor, or a copy over a network, writes on if it writes at all."""


class Options(usage.Options):
    """The command line behind ``twistd snickers``."""

    synopsis = "[--config FILE]"
    longdesc = "Serve the sites of an INI file, or of a folder of *.ini files."
    optParameters = [
        ["config", "c", "etc/sites.ini", "The file, or the folder whose *.ini files are read."],
    ]


def _fail(*lines: str) -> NoReturn:
    """End the start: one line for each fault, no traceback."""
    outputs = [sys.stderr]
    if isinstance(sys.stderr, LoggingFile) and sys.__stderr__ is not None:
        # Once twistd logs, what is printed is in the log; a person looks at the terminal.
        outputs.append(sys.__stderr__)
    for output in outputs:
        for line in lines:
            print(line, file=output)
        output.flush()
    raise SystemExit(1)


class StartFailed(Exception):
    """A daemon that cannot start: twistd gives the text to whoever waits in the foreground."""


class _Called:
    """A part of the service made of two calls."""

    def __init__(self, start: Callable[[], Any], stop: Callable[[], Any]) -> None:
        self.start = start
        self.stop = stop


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


class Wiring:
    """Everything there is, connected."""

    log = Logger()

    def __init__(self, reactor: Any, path: str, loaded: Loaded, environ: dict[str, str]) -> None:
        settings = loaded.configuration.settings
        assert settings is not None
        self.reactor = reactor
        self.environ = environ
        self.path = path
        self.loaded = loaded
        self.settings = settings
        self.poller = Poller(reactor)
        self.sweep = Sweep(reactor)
        self.limits = Limits(settings.connections, settings.connections_per_address)
        self.files = OwnThreads(reactor, FILE_THREADS, "files")
        self.names = OwnThreads(reactor, NAME_THREADS, "names")
        self.sites = SiteTable()
        self.front = Front(
            self.sites,
            self.sweep,
            time.time,
            time.perf_counter,
            _bounds(settings),
            os.urandom(4).hex().encode(),
        )
        self.alarm = Alarm(AlarmCommand(reactor, settings.alarm_command), time.time)
        self.front.soon = self.poller.soon
        self.alpn = ALPN_2 if settings.http2 else ALPN
        self.log_thread = OwnThreads(reactor, 1, "log")
        self.access = LogKeeper(
            self.front,
            time.time,
            lambda path: LogFile(path, self.log_thread.run, self.alarm),
        )
        self.authority = Authority(os.path.join(settings.state, "internal"))
        self.certificates = Certificates(
            reactor,
            OwnThreads(reactor, CERTIFICATE_THREADS, "certificates"),
            self.authority,
            settings.certificate_directory,
            lambda context: harden(context, self.alpn),
            self.alarm,
            time.time,
        )
        self.lives = Lives(
            reactor,
            reactor,
            self.sweep,
            {
                Container: DockerEngine(
                    reactor, owner_of(settings.state), settings.docker, environment=environ
                ),
                Process: ProcessEngine(reactor, settings.state, environ),
            },
            self.alarm,
        )
        servers = Connections(lambda: self.limits.total)
        self.passages = Passages(
            self.poller,
            self.sweep,
            self.resolve,
            self.front.connections,
            servers,
            Networks,
            clienthello.alert,
        )
        handlers = HandlerMaker(
            self.poller,
            self.sweep,
            self.lives,
            self.defer,
            self.addresses,
            servers,
            lambda: self.settings.waiting_limit,
            Trust(self.files, reactor.seconds).secure,
            self.alarm,
        )
        self.running = Running(
            lambda: load(path),
            self.defer,
            self.sites,
            handlers.make,
            handlers.broken,
            self.certificates,
            self.lives,
            self.alarm,
            self.apply_settings,
            lambda what: self.service.told(what),
            time.time,
            lambda: {"version": __version__, "pid": os.getpid(), "config": path},
            lambda: time.sleep(SETTLE),
        )
        control = ControlService(
            reactor, os.path.join(settings.state, "control.sock"), self.running, self.lives
        )
        self.daemon = False
        """Whether twistd has gone to the background."""
        self.service = FrontDoorService(
            reactor,
            self.bind,
            [
                # First, since another Snickers may have it: nothing has been started by then.
                _Called(lambda: self.open_control(control), control.stopService),
                self.files,
                self.names,
                self.log_thread,
                self.poller,
                self.sweep,
                _Called(self.log_access, self.access.close),
                _Called(self.begin, lambda: None),
                _Called(self.lives.start, self.lives.close),
                self.certificates,
                _Called(lambda: None, self.alarm.stop),
            ],
            self.front,
            self.running.watch,
            self.reload,
            settings.reload_every,
            lambda: self.settings.drain_within,
            Notifier(environ),
            self.welcome,
        )

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

    def log_access(self) -> None:
        """Write the access log where the settings say."""
        self.access.apply(self.settings.access_log, self.settings.access_log_format)

    def reload(self) -> Deferred[dict[str, Any]]:
        """Reload as SIGHUP asks: the access log may have been moved away, too."""
        self.access.reopen()
        return self.running.reload()

    def apply_settings(self, settings: Settings) -> None:
        """Take what of ``[snickers]`` can change while running."""
        self.settings = settings
        self.limits.change(settings.connections, settings.connections_per_address)
        self.front.bounds = _bounds(settings)
        self.log_access()
        self.alarm.command = settings.alarm_command
        self.certificates.directory = settings.certificate_directory
        self.service.look_every(settings.reload_every)
        self.set_ports()

    # Listening

    ports: Sequence[Port] = ()

    def bind(self) -> Sequence[ListeningPort]:
        """Make the ports, of sockets that were handed over where there are any."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.limits.change(self.settings.connections, self.settings.connections_per_address)
        try:
            given = inherited(self.environ)
            for name in given.keys() - {"https", "http"}:
                self.log.warn(
                    "a socket was handed over as {name!r} and is not used; FileDescriptorName="
                    " (LISTEN_FDNAMES) must be https or http",
                    name=name,
                )
            https = given.get("https") or [bind(listen) for listen in self.settings.https]
            http = given.get("http") or [bind(listen) for listen in self.settings.http]
        except CannotListen as problem:
            self.fail(problem)
        self.https_port = _port_of(https, self.settings.https)
        self.http_port = _port_of(http, self.settings.http)
        ports: list[Port] = [
            TLSPort(
                self.poller,
                sock,
                self.sweep,
                self.limits,
                route=self.sites.route,
                contexts=self.context,
                build=self.build,
                alpn=self.alpn,
                within=self.settings.handshake_within,
                unopened=attrgetter("unopened"),
                carry=self.carry,
            )
            for sock in https
        ]
        ports += [
            Port(self.poller, sock, self.sweep, self.limits, self.build_plain) for sock in http
        ]
        self.ports = ports
        self.set_ports()
        return ports

    def set_ports(self) -> None:
        """Have the ports do as the settings say."""
        settings = self.settings
        trusted = settings.proxy_protocol_from
        proxies = Proxies(trusted, Networks) if trusted else None
        for port in self.ports:
            port.proxies = proxies
            if isinstance(port, TLSPort):
                port.within = settings.handshake_within

    https_port = 443
    http_port = 0

    def context(self, site: LiveSite, name: bytes) -> SSL.Context | Deferred[SSL.Context]:
        """Return the context for a connection to *site* that asked for *name*."""
        return self.certificates.context(site.name, name)

    def build(self, stream: TLSStream, site: LiveSite) -> Http1 | Http2:
        """Make the protocol of a TLS connection."""
        if stream.alpn == b"h2":
            return Http2(self.front, stream, site)
        return Http1(self.front, stream, site, True)

    def carry(self, stream: Stream, site: LiveSite, name: bytes) -> Carrying:
        """Make the protocol of a connection whose TLS is not opened here."""
        return self.passages.carry(stream, site, name)

    def build_plain(self, stream: Stream) -> PlainHttp1:
        """Make the protocol of a plain connection."""
        return PlainHttp1(self.front, stream, self.https_port)

    # Starting

    def begin(self) -> None:
        """Have the configuration run that was read at the start."""
        self.running.begin(self.loaded)
        sites = self.loaded.configuration.sites.values()
        if any(
            site.certificates == "internal" and not isinstance(site.kind, Passthrough)
            for site in sites
        ):
            # People look for the file to trust before they make the first visit.
            made = self.files.run(lambda: self.authority.root(time.time()))
            made.addErrback(
                lambda failure: self.log.error(
                    "the internal authority cannot be made: {reason}",
                    reason=failure.getErrorMessage(),
                )
            )

    def open_control(self, control: ControlService) -> None:
        """Open the control socket; without one Snickers does not start."""
        try:
            control.startService()
        except ControlUnavailable as problem:
            self.fail(problem)

    def fail(self, problem: Exception) -> NoReturn:
        """End the start with a line that says why."""
        if self.daemon:
            # twistd hands on a hundred bytes: the path is left out for the reason.
            raise StartFailed(str(problem)) from None
        _fail(f"{self.path}: {problem}")

    def welcome(self) -> None:
        """Print where to go, for who has started Snickers by hand for the first time."""
        if not self.environ.get("SNICKERS_WELCOME"):
            return
        made = self.files.run(lambda: self.authority.root(time.time()))
        made.addBoth(
            lambda _: print(
                welcome(
                    self.loaded.configuration,
                    self.https_port,
                    self.http_port,
                    self.authority.trust,
                    sys.__stdout__ is not None
                    and sys.__stdout__.isatty()
                    and not self.environ.get("NO_COLOR"),
                ),
                file=sys.__stdout__,
                flush=True,
            )
        )


def _port_of(sockets: Sequence[socket.socket], listens: Sequence[Listen]) -> int:
    for sock in sockets:
        if sock.family != socket.AF_UNIX:
            return int(sock.getsockname()[1])
    return listens[0].port if listens else 0


def steady(reactor: Any) -> None:
    """Have *reactor* measure time by a clock that nobody can set: a step back would stall every
    deadline, a step forward would end everything at once."""
    reactor.seconds = time.monotonic


def makeService(options: Options) -> FrontDoorService:
    """Read the configuration and connect everything; start nothing.

    Faults end the start: a line each on stderr, exit status 1.
    """
    from twisted.internet import reactor

    path = os.path.abspath(options["config"])
    loaded = load(path)
    if loaded.configuration.faults:
        _fail(*[str(fault) for fault in loaded.configuration.faults])
    environ = {**handed_over(), **os.environ}
    if environ.get("LISTEN_PID") == str(os.getpid()):
        # Meant for us, also when twistd goes on under another number.
        del environ["LISTEN_PID"]
    steady(reactor)
    wiring = Wiring(reactor, path, loaded, environ)
    twistd = options.parent
    wiring.daemon = twistd is not None and not twistd.get("nodaemon")
    return wiring.service
