"""What a configuration says, as immutable values.

Every other room speaks of a site by the values in this module. Nothing here reads a file,
knows how an option is spelled in the INI text, or changes after it was made; two values that
say the same thing are equal, whatever line they were written on, so that the difference of two
configurations is a comparison.

Units: durations are seconds (``float``; ``math.inf`` means *never*), sizes are bytes (``int``).
Paths are absolute. Host names are lower-case A-labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from attrs import field, frozen

NEVER = math.inf
NO_LINE = 0
"""The line of what is said by no line: of a file that cannot be read."""


@frozen(order=True)
class Where:
    """The place in a file that said something."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@frozen
class Fault:
    """One thing that is wrong with a configuration, in words for the person who wrote it."""

    where: Where
    section: str
    """The section's title as written, or ``""`` where there is none."""
    option: str
    """The option's name, or ``""`` when the section as a whole is at fault."""
    message: str
    """What is wrong and what would be right."""

    def __str__(self) -> str:
        place = f"{self.where}: [{self.section}]" if self.section else f"{self.where}:"
        option = f"{self.option}: " if self.option else ""
        return _printable(f"{place} {option}{self.message}")


def _printable(text: str) -> str:
    """Return *text* on one line; what could command a terminal is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@frozen
class Listen:
    """One listening address, from a Twisted server endpoint string."""

    family: str
    """``"tcp"`` (IPv4), ``"tcp6"`` or ``"unix"``."""
    interface: str
    """The address to bind, ``""`` for all; the path for ``unix``."""
    port: int
    """0 for ``unix``."""
    backlog: int = 1024


@frozen
class Keep:
    """Which copies are kept: as restic and borg understand the same words. All 0: every one."""

    last: int = 0
    """The newest, so many."""
    hourly: int = 0
    """The newest of each of so many hours that have any; and so on. Hours, days, weeks (from
    Monday), months and years are those of UTC."""
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


@frozen
class Lifecycle:
    """When a personal server runs, for the types ``container`` and ``process``."""

    wake: str = "demand"
    """``"demand"``, ``"always"`` or ``"manual"``."""
    health: str = "tcp"
    """``"tcp"``, ``"docker"`` or a path that begins with ``/`` and must answer 200-399."""
    wake_within: float = 60.0
    hold: float = 2.0
    pause_after: float = NEVER
    """Without use for so long it is frozen, to go on within tens of milliseconds."""
    idle_after: float = 1800.0
    stop_within: float = 10.0
    drain_within: float = 30.0
    busy_above: float | None = None
    """Share of one processor, in percent, above which it counts as used; ``None``: never looked."""
    busy_traffic_above: int | None = None
    """Bytes a second over its network, both ways, above which it counts as used; ``None``: never
    looked. Of containers alone."""
    veto: tuple[str, ...] = ()
    """Run inside before it is paused or put to sleep for want of use; another status than 0 means
    that it is in use. Empty: nobody is asked."""
    snapshot: tuple[str, ...] = ()
    """Run inside before every stop; without its success it is not stopped. Empty: nothing is."""
    snapshot_within: float = 300.0
    update: str = "swap"
    """``"swap"``: the next server is started when the one before has ended; ``"parallel"``: beside
    it."""
    copy_before_update: bool = False
    """A copy of the site's own folder is made before another server is tried on it."""
    copy_when_asleep: bool = False
    """A copy of the site's own folder is made each time its server has fallen asleep."""
    keep_snapshots: Keep = Keep(last=3, daily=7, weekly=4)


CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)
"""What ordinary images need that begin as root: give their data folder to the user they become,
become it, signal it, and listen on port 80. Not those of Docker's own set that let a container send
forged packets (NET_RAW), make devices (MKNOD), hand on capabilities (SETFCAP, SETPCAP), change
its root (SYS_CHROOT) or write into the host's audit log (AUDIT_WRITE)."""


@frozen
class Container:
    """A site whose server runs in a Docker container, or in several."""

    image: str = ""
    """Empty: there are `services`."""
    command: tuple[str, ...] = ()
    """Empty: what the image says."""
    port: int = 80
    data: str = ""
    """Where the site's own folder is mounted in the container; empty: nowhere."""
    volumes: tuple[str, ...] = ()
    """``SOURCE:TARGET`` or ``SOURCE:TARGET:ro``."""
    environment: tuple[tuple[str, str], ...] = ()
    """Sorted by name; ``env file`` already merged in, an ``env.NAME`` winning."""
    user: str = ""
    memory: int | None = 2**30
    """``None``: no limit."""
    cpus: float | None = None
    pids: int | None = 512
    """``None``: no limit."""
    read_only: bool = False
    capabilities: tuple[str, ...] = CAPABILITIES
    """Kept on top of none."""
    network: str = ""
    """Empty: one of its own."""
    pull: str = "missing"
    """``"missing"``, ``"always"`` or ``"never"``."""
    registry_auth: str = ""
    """The file with the login for the image's registry; empty: what Docker's client is told."""
    services: str = ""
    """The path of the compose file of a site of several containers; empty: it has one."""
    service: str = ""
    """Which of them answers visitors."""
    composition: str = field(default="", repr=False)
    """What was in that file when the configuration was read."""
    life: Lifecycle = Lifecycle()


@frozen
class Process:
    """A site whose server is a process beside Snickers; needs no Docker."""

    command: tuple[str, ...]
    port: int = 0
    """0: a free one is chosen and given as ``$PORT``."""
    directory: str = ""
    """Working directory; the site's own data folder when empty."""
    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    life: Lifecycle = Lifecycle()


@frozen
class Static:
    """A folder of files."""

    root: str
    index: tuple[str, ...] = ("index.html",)
    listing: bool = False
    fallback: str = ""
    """A path below the root that is served, 200, for what does not exist; empty: 404."""
    precompressed: bool = False
    """Serve ``FILE.br``, ``FILE.zst`` or ``FILE.gz`` beside FILE to clients that take them."""


@frozen
class Redirect:
    """Every request is sent elsewhere."""

    to: str
    status: int = 308
    keep_path: bool = True


@frozen
class Proxy:
    """A server that somebody else runs."""

    to: tuple[str, ...]
    """``http://HOST[:PORT]``, ``https://HOST[:PORT]`` or ``unix:/path``."""
    verify: str = ""
    """The host name or address that the certificates of those behind https must be for; empty:
    the host's own; ``"off"``: nobody looks."""
    trust: str = ""
    """The file of roots for them; empty: the system's."""
    balance: str = "round robin"
    """``"round robin"``, ``"least busy"``, ``"address"`` or ``"first"``."""
    health: str = "off"
    """A path that must answer 200-399, or ``"off"``: nobody looks."""
    health_every: float = 10.0
    health_within: float = 5.0
    connect_within: float = 5.0


@frozen
class Passthrough:
    """A server that opens the TLS itself: connections are carried as they are."""

    to: str
    """``tcp:HOST:PORT``; an IPv6 address in brackets."""
    proxy_protocol: str = "off"
    """``"off"``, ``"v1"`` or ``"v2"``: how the server is told the client's address."""


Kind = Container | Process | Static | Redirect | Proxy | Passthrough


@frozen
class Asleep:
    """What one path is answered with while the site's own server is not awake."""

    path: str
    """Origin form, percent-encoded, without a query."""
    status: int = 200
    file: str = ""
    """The file whose content is sent; empty: words for the status are."""
    content: bytes = field(default=b"", repr=False)
    """What was in it when the configuration was read."""


@frozen
class Site:
    """One site: what a section of its own says."""

    name: str
    """The section's title: a host name, or ``*.`` and a host name."""
    kind: Kind
    also: tuple[str, ...] = ()
    certificates: str = "internal"
    """``"internal"``, ``"files"`` or ``"acme"``."""
    acme_challenge: str = "auto"
    """``"auto"``, ``"http-01"``, ``"tls-alpn-01"`` or ``"dns-01"``."""
    enabled: bool = True
    answer_within: float = 300.0
    """How long an upstream may take to begin its answer."""
    asleep: tuple[Asleep, ...] = ()
    """What is answered without waking the site's own server, by path; no path twice."""
    hsts: float = 0.0
    """For how long browsers shall insist on https; 0: nothing is said."""
    basic_auth: str = ""
    """The path of the file of users; empty: no password is asked for."""
    allow_from: tuple[str, ...] = ()
    """Addresses and networks that may come in; empty: all."""
    max_body: int | None = None
    """The most bytes of a request's body."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names and values of the fields that every answer gets, sorted; an empty value removes."""
    data: str = ""
    """The site's own folder on this host: DATA/HOST."""
    where: Where = field(default=Where("", 0), eq=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Every host name the site answers to, its own first."""
        return (self.name, *self.also)

    @property
    def life(self) -> Lifecycle | None:
        """The lifecycle of a site that has a server of its own, else ``None``."""
        return self.kind.life if isinstance(self.kind, Container | Process) else None


@frozen
class Settings:
    """What ``[snickers]`` says."""

    https: tuple[Listen, ...] = (Listen("tcp", "", 443),)
    http: tuple[Listen, ...] = (Listen("tcp", "", 80),)
    state: str = "/var/lib/snickers"
    data: str = "/data/domains"
    reload_every: float = 5.0
    certificate_directory: str = "/etc/snitch"
    acme_directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    acme_fallback: str = ""
    """Another authority's directory; empty: none."""
    acme_staging: str = ""
    """The directory for rehearsals; empty: the well-known one of `acme_directory`, if any."""
    acme_email: str = ""
    acme_trust: str = ""
    """The file of roots for the directory's own TLS, besides the system's."""
    acme_profile: str = ""
    acme_external_account: str = ""
    """The file with the key identifier and the key; empty: none."""
    acme_dns_hook: tuple[str, ...] = ()
    acme_preflight: bool = True
    acme_resolver: str = ""
    """``ADDRESS:PORT`` of the DNS server that is asked; empty: the system's."""
    default_site: str = ""
    alarm_command: tuple[str, ...] = ()
    access_log: str = ""
    """The file that gets a line for each request; empty: none."""
    access_log_format: str = "combined"
    """``"combined"``, ``"vhost"`` or ``"json"``."""
    metrics: tuple[Listen, ...] = ()
    """Where what is measured can be fetched."""
    proxy_protocol_from: tuple[str, ...] = ()
    """Addresses and networks that speak the PROXY protocol to us; ``"unix"``: unix sockets."""
    docker: str = ""
    """Where the engine is; empty: the environment's."""
    docker_broker: bool = False
    """Whether a process of its own speaks with the engine."""
    connections: int = 10000
    """Client connections open at once."""
    connections_per_address: int = 250
    handshake_within: float = 10.0
    """From accept to the end of the TLS handshake."""
    head_within: float = 60.0
    """From the first byte of a request head to its last."""
    request_line_limit: int = 8 * 1024
    """Bytes of the longest request line."""
    head_limit: int = 32 * 1024
    """Bytes of the largest request head."""
    field_limit: int = 100
    """The most fields of a request."""
    keep_alive: float = 120.0
    """How long an idle client connection is kept."""
    progress_within: float = 60.0
    """How long a body may stand still, either way, while somebody waits for bytes of it."""
    minimum_rate: int = 100
    """Bytes a second that a body must move at the least, on average over `progress_within`."""
    http2: bool = True
    """Whether HTTP/2 is offered to clients."""
    stream_limit: int = 128
    """Requests open at once on one HTTP/2 connection."""
    reset_limit: int = 100
    """Requests that may be cancelled in any ten seconds on one HTTP/2 connection."""
    control_frame_limit: int = 1000
    """HTTP/2 frames that ask for nothing but work, in any ten seconds on one connection."""
    waiting_limit: int = 1000
    """Requests that may wait for one site's server."""
    awake_limit: int | None = None
    """Servers awake at once."""
    keep_free: int | None = None
    """Bytes of memory that shall stay available."""
    workers: int = 1
    """Processes that take connections; 0: one a core."""
    commit_after: float = math.inf
    """Of two teams: how long a new one serves without alarms until the one before it ends."""
    drain_within: float = 30.0
    """At the end: how long open exchanges are given..."""
    finish_within: float = 86400.0
    """...and by a team that another one has taken over from."""
    snapshots_directory: str = ""
    """Where copies of sites' folders are kept; empty: the folder ``snapshots`` of `state`."""
    where: Where = field(default=Where("", 0), eq=False)


def _frozen_mapping(value: Mapping[str, Site]) -> Mapping[str, Site]:
    return MappingProxyType(dict(value))


def _frozen_faults(value: Mapping[str, tuple[Fault, ...]]) -> Mapping[str, tuple[Fault, ...]]:
    return MappingProxyType(dict(value))


@frozen
class Configuration:
    """A whole configuration: what holds, and what is at fault."""

    settings: Settings | None
    """``None`` when ``[snickers]`` itself, or the text as a whole, is at fault."""
    sites: Mapping[str, Site] = field(default=MappingProxyType({}), converter=_frozen_mapping)
    """The sites without a fault, by name."""
    broken: Mapping[str, tuple[Fault, ...]] = field(
        default=MappingProxyType({}), converter=_frozen_faults
    )
    """The sites whose section is in error, by name (a valid host name each)."""
    faults: tuple[Fault, ...] = ()
    """Every fault, those of broken sites included, in the order of files and lines."""
    damaged: tuple[str, ...] = ()
    """The files that could not be read, or not wholly: sites may be missing because of it."""
