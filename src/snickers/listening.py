"""Listening sockets: bound or handed over, accepted from within limits.

A port never gives up and never spins: when there are no descriptors it rests a moment, and a
connection beyond the limits is closed before anything is spent on it. It must never call
``shutdown`` on a listening socket: the same socket may serve another process, whose clients would
then be refused.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from snickers.announced import Announcing, Itself, Proxies
from snickers.config.values import Listen
from snickers.stream import Stream, Sweep

ACCEPTS = 64
"""Connections accepted in one turn of the reactor: those already open must not wait for long."""
SHARED_ACCEPTS = 4
"""...where other processes accept from the same socket: they should have their part of a crowd."""
REST = 0.25
"""Seconds for which nothing is accepted when there are no descriptors left."""
COMPLAIN_EVERY = 60.0
"""Seconds between two complaints of that: it would fill the disk, too."""
RESERVE = 192
"""Descriptors never given to clients: 128 for listening, control, logs, the reload, certificates,
and two for each of the pipes of `snickers.splice`."""
WITHIN = 10.0
"""Seconds from accept until a connection can be used, unless a port is told otherwise."""
KEEPALIVE_AFTER = 60
"""Seconds of silence after which the kernel asks whether a client is still there."""
KEEPALIVE_EVERY = 15
"""...seconds between its questions..."""
KEEPALIVE_TIMES = 4
"""...and how many may go unanswered: a dead client is noticed after two minutes."""
HELD_UP = struct.pack("@ll", 0, 1000)
"""A timeval of one millisecond: as long as accepting may take when another process that has the
same socket has made it block. The kernel rounds it up to its tick, 1 to 10 ms (socket(7))."""
FIRST_INHERITED = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

_log = Logger()


class CannotListen(Exception):
    """A line for the person who started us: which address, why not, and what would be right."""


def bind(listen: Listen) -> socket.socket:
    """Return a non-blocking listening socket, or raise `CannotListen`."""
    where = describe(listen)
    family = {
        "tcp": socket.AF_INET,
        "tcp6": socket.AF_INET6,
        "unix": socket.AF_UNIX,
    }[listen.family]
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as e:
        raise CannotListen(f"cannot listen on {where}: {e.strerror}") from None
    try:
        if family == socket.AF_UNIX:
            _remove_stale(listen.interface)
            sock.bind(listen.interface)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((listen.interface, listen.port))
        _prepare(sock)
        sock.listen(listen.backlog)
    except OSError as e:
        sock.close()
        advice = _ADVICE.get(e.errno or 0, "")
        if e.errno == errno.EACCES and family == socket.AF_UNIX:
            advice = "; its folder must be writable"
        raise CannotListen(f"cannot listen on {where}: {e.strerror or e}{advice}") from None
    return sock


_ADVICE = {
    errno.EACCES: "; run as root, use a port above 1023, or hand the socket over (LISTEN_FDS)",
    errno.EADDRINUSE: "; another server listens there: stop it, or use another port",
    errno.EADDRNOTAVAIL: "; no interface of this host has this address",
    errno.ENOENT: "; its folder does not exist",
}


def describe(listen: Listen) -> str:
    """Return *listen* as a person would write it: ``tcp:443``, ``unix:/run/snickers.sock``."""
    if listen.family == "unix":
        return f"unix:{listen.interface}"
    if not listen.interface:
        return f"{listen.family}:{listen.port}"
    interface = listen.interface.replace(":", r"\:")
    return f"{listen.family}:{listen.port}:interface={interface}"


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    # That it does not block holds for all processes that share it, and so does the contrary:
    # systemd says it anew each time it starts a service, while teams accept. Then this is what
    # keeps them from standing still.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, HELD_UP)
    if sock.family != socket.AF_UNIX:
        # Inherited by what is accepted: no system call for each connection.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A phone that lost its network says no good-bye: without this its silent WebSocket would
        # keep a personal server awake for ever.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_AFTER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_TIMES)


def private(family: int) -> socket.socket:
    """Return a non-blocking listening socket of *family* at an address that nobody else knows, of
    this host alone. Raises `OSError`."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_UNIX:
            sock.bind("")  # the kernel gives it an abstract name (unix(7))
        else:
            sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        _prepare(sock)
        sock.listen(8)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket at *path* if nobody listens there any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # its backlog is full, or it is not ours: somebody listens


def handed_over(path: str = "/proc/self/environ") -> dict[str, str]:
    """Return the ``LISTEN_`` variables that this process was started with (proc(5)).

    Twisted's endpoints take them out of the environment as soon as anything imports them, and
    ``twistd`` always has.
    """
    try:
        with open(path, "rb") as file:
            text = os.fsdecode(file.read())
    except OSError:
        return {}
    variables = (entry.partition("=") for entry in text.split("\0"))
    return {name: value for name, _, value in variables if name.startswith("LISTEN_")}


def inherited(
    environ: Mapping[str, str], first: int = FIRST_INHERITED
) -> dict[str, list[socket.socket]]:
    """Return the listening sockets that were handed over, by name (sd_listen_fds(3)).

    Those without a name are under ``"unknown"``. Where ``LISTEN_PID`` is missing, whoever reads
    this is meant. Raises `CannotListen` for what is no listening socket.
    """
    found: dict[str, list[socket.socket]] = {}
    if environ.get("LISTEN_PID") not in (None, "", str(os.getpid())):
        return found
    count = environ.get("LISTEN_FDS") or "0"
    if not (count.isascii() and count.isdigit()):
        raise CannotListen(f"LISTEN_FDS is {count!r}: it must be a number")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    for index in range(int(count)):
        fd = first + index
        name = (names[index] if index < len(names) else "") or "unknown"
        try:
            sock = socket.socket(fileno=fd)
        except OSError as e:
            raise CannotListen(f"descriptor {fd}, handed over as {name!r}: {e.strerror}") from None
        if (
            sock.type != socket.SOCK_STREAM
            or sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
            or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            sock.detach()
            raise CannotListen(
                f"descriptor {fd}, handed over as {name!r}, is not a listening stream socket"
            )
        sock.set_inheritable(False)
        _prepare(sock)
        found.setdefault(name, []).append(sock)
    return found


class Elsewhere(Protocol):
    """The connections of other processes: see `snickers.workers.tally.Tally`."""

    def place(self, peer: bytes) -> int: ...

    def open_elsewhere(self) -> int: ...

    def count_elsewhere(self, place: int) -> int: ...

    def add(self, place: int, number: int) -> None: ...


class Limits:
    """Counts open client connections, in all and for each address (IPv6: each /64).

    *total* is lowered where the process may not open as many descriptors: each connection may
    need a file or another one to its site, as many to sites may be kept idle, and `RESERVE` are
    for everything else. *descriptors* is that limit; by default what the operating system says now.
    Where other processes take connections too, `share` has the limits hold for all together.
    """

    def __init__(self, total: int, per_address: int, descriptors: int | None = None) -> None:
        self.change(total, per_address, descriptors)
        self.open = 0
        """Connections open now."""
        self._each: dict[bytes, int] = {}
        self._elsewhere: Elsewhere | None = None

    def share(self, elsewhere: Elsewhere) -> None:
        """Count together with other processes from now on, what is open already included."""
        self._elsewhere = elsewhere
        for peer, count in self._each.items():
            elsewhere.add(elsewhere.place(peer), count)

    def change(self, total: int, per_address: int, descriptors: int | None = None) -> None:
        """Have other limits hold from now on; what is open stays."""
        if descriptors is None:
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            descriptors = 1 << 30 if soft == resource.RLIM_INFINITY else soft
        self.total = max(1, min(total, (descriptors - RESERVE) // 3))
        """Connections that may be open in this process."""
        self.together = total
        """Connections that may be open in all processes."""
        self.per_address = per_address

    def enter(self, peer: bytes) -> bool:
        """Count one more from *peer*, a numeric address; return whether it may be."""
        if type(peer) is Itself:
            peer = b""
        if b":" in peer:
            peer = _network(peer)
        each = self._each
        count = each.get(peer, 0)
        if self.open >= self.total or (count >= self.per_address and peer):
            return False
        elsewhere = self._elsewhere
        if elsewhere is not None:
            place = elsewhere.place(peer)
            if self.open + elsewhere.open_elsewhere() >= self.together or (
                count + elsewhere.count_elsewhere(place) >= self.per_address and peer
            ):
                return False
            elsewhere.add(place, 1)
        self.open += 1
        each[peer] = count + 1
        return True

    def leave(self, peer: bytes) -> None:
        """Count one less. Once for each `enter` that returned ``True``."""
        if type(peer) is Itself:
            peer = b""
        if b":" in peer:
            peer = _network(peer)
        self.open -= 1
        if self._elsewhere is not None:
            self._elsewhere.add(self._elsewhere.place(peer), -1)
        count = self._each[peer] - 1
        if count:
            self._each[peer] = count
        else:
            del self._each[peer]


def _network(peer: bytes) -> bytes:
    """Return the /64 of an IPv6 address: what one subscriber has for himself."""
    try:
        return socket.inet_pton(socket.AF_INET6, peer.decode().partition("%")[0])[:8]
    except (OSError, ValueError):
        return peer


Factory = Callable[[Stream], Any]


@implementer(IReadDescriptor)
class Port:
    """Accepts from a listening socket, makes a `Stream` of each and gives it a protocol.

    *factory* is called with the stream, not yet reading, and returns its protocol; the stream is
    then started. The port owns *sock*, which another process may share.
    """

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        sweep: Sweep,
        limits: Limits,
        factory: Factory | None = None,
    ) -> None:
        self.reactor = reactor
        self.sweep = sweep
        self.limits = limits
        self.factory = factory
        self.connections: set[Any] = set()
        """What is open now: streams, and in the course of TLS what becomes one."""
        self.accepted = 0
        self.refused = 0
        """Connections closed at once because of the limits."""
        self.proxies: Proxies | None = None
        """Who announces clients by the PROXY protocol; may change at any time."""
        self.within = WITHIN
        """Seconds from accept until a connection can be used: a proxy's header and the TLS
        handshake together. May change at any time."""
        self.unannounced_by = 0
        """Connections of those that were closed for the lack of a good header."""
        self.shared = False
        """Whether other processes accept from the same socket."""
        self._socket: socket.socket | None = sock
        self._fd = sock.fileno()
        self.family = self._family = sock.family
        """Of addresses."""
        self._accept: Any = sock._accept  # type: ignore[attr-defined]
        self._forget = self._closed
        self._listening = False
        self._paused = False
        self._resting: Any = None
        self._complained = -COMPLAIN_EVERY
        self._told = -COMPLAIN_EVERY

    # Listening

    def startListening(self) -> None:
        """Accept from now on."""
        self._paused = False
        self._listen()

    def pause(self) -> None:
        """Stand by: accept no more, but keep the socket, and with it the kernel's queue."""
        self._paused = True
        self._listen_no_more()

    def resume(self) -> None:
        """Accept again."""
        self.startListening()

    def share(self) -> None:
        """Other processes accept from the same socket from now on."""
        listening = self._listening
        if listening:
            self._listen_no_more()
        self.shared = True
        if listening:
            self._listen()

    def stopListening(self) -> None:
        """Accept no more and close our descriptor; what was accepted goes on."""
        self.pause()
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
        self._fd = -1

    def drain(self, within: float) -> None:
        """All ends: what is not yet a connection that can be used has so many seconds left to
        become one."""
        until = self.sweep.now + within
        for connection in self.connections:
            if not isinstance(connection, Stream):
                connection.hurry(until)

    def look(self) -> None:
        """Accept what waits, although nobody was woken for it."""
        if self._listening:
            self.doRead()

    def getHost(self) -> Any:
        """Return the address the socket is bound to, as the operating system says it."""
        return self._socket.getsockname() if self._socket is not None else None

    def _listen(self) -> None:
        if not self._listening and self._socket is not None and self._resting is None:
            self._listening = True
            if self.shared:
                self.reactor.addSharedReader(self)
            else:
                self.reactor.addReader(self)

    def _listen_no_more(self) -> None:
        if self._listening:
            self._listening = False
            self.reactor.removeReader(self)
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()

    def _rest(self, problem: OSError) -> None:
        """There are no descriptors, or no memory: the queue would wake us again at once."""
        self._listen_no_more()
        self._resting = self.reactor.callLater(REST, self._rested)
        if self.sweep.now - self._complained >= COMPLAIN_EVERY:
            self._complained = self.sweep.now
            _log.error(
                "Cannot accept connections: {problem}; {open} are open. Raise the limit of"
                " descriptors (LimitNOFILE=, ulimit -n), or lower 'connection limit'",
                problem=problem.strerror,
                open=self.limits.open,
            )

    def _rested(self) -> None:
        self._resting = None
        if not self._paused:
            self._listen()

    # Accepting

    def doRead(self) -> None:
        for _ in range(SHARED_ACCEPTS if self.shared else ACCEPTS):
            try:
                fd, name = self._accept()
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._rest(e)
                    return
                if e.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
                    self.connectionLost(None)
                    return
                continue  # this client has gone while it was queued
            sock = socket.SocketType(self._family, socket.SOCK_STREAM, 0, fd)
            sock.setblocking(False)
            peer = name[0].encode() if type(name) is tuple else b""
            if peer[:7] == b"::ffff:" and b"." in peer:
                # IPv4 on a socket of both kinds: all of it together would be one /64.
                peer = peer[7:]
            self.accepted += 1
            proxies = self.proxies
            if proxies is not None and proxies.hold(peer):
                # Counted in all until it is known whom it is for.
                if self._enter(sock, b""):
                    Announcing(self, sock, peer).begin()
            elif self._enter(sock, peer):
                self._begin(sock, peer, self.sweep.now + self.within)

    def _enter(self, sock: socket.SocketType, peer: bytes) -> bool:
        if self.limits.enter(peer):
            return True
        self.refused += 1
        self._refuse(sock)
        return False

    def _begin(self, sock: socket.SocketType, peer: bytes, deadline: float) -> None:
        try:
            self._take(sock, peer, deadline)
        except Exception:
            self.not_begun(sock, peer)

    def announced(self, sock: socket.SocketType, peer: bytes, deadline: float) -> None:
        """Begin with the connection of *peer*, whom a proxy has announced. *deadline*, in the
        sweep's time, is that of all that comes before the connection can be used."""
        self.limits.leave(b"")
        if self._enter(sock, peer):
            self._begin(sock, peer, deadline)

    def unannounced(self, sock: socket.SocketType, proxy: bytes, reason: str) -> None:
        """Close a connection for which *proxy* has not announced anybody; without a *reason*
        nothing is wrong with that."""
        self.limits.leave(b"")
        self.unannounced_by += 1
        sock.close()
        if reason and self.sweep.now - self._told >= COMPLAIN_EVERY:
            self._told = self.sweep.now
            _log.warn(
                "A connection of {proxy} was closed: {reason}. It is named in 'proxy protocol"
                " from', so it must send the PROXY protocol's header; have it do so, or take it"
                " out there",
                proxy=proxy.decode("ascii", "backslashreplace") or "a unix socket",
                reason=reason,
            )

    def _refuse(self, sock: socket.SocketType) -> None:
        sock.close()

    def not_begun(self, sock: socket.SocketType, peer: bytes) -> None:
        """Log the exception that kept a connection from being begun, and let go of it."""
        _log.failure("A connection could not be begun")
        if sock.fileno() != -1:
            sock.close()
            self.limits.leave(peer)

    def _take(self, sock: socket.SocketType, peer: bytes, deadline: float) -> None:
        """Begin with a connection that is within the limits; *deadline* is for what has to be
        done before it can be used."""
        assert self.factory is not None
        stream = Stream(self.reactor, sock, self.sweep, peer)
        self.adopt(stream)
        try:
            stream.protocol = self.factory(stream)
        except Exception:
            stream.abortConnection()
            raise
        if not stream.disconnected:
            stream.start()

    def adopt(self, stream: Any) -> None:
        """Count *stream* among `connections` until it is closed."""
        self.connections.add(stream)
        stream.closed = self._forget

    def _closed(self, stream: Any) -> None:
        self.connections.discard(stream)
        self.limits.leave(stream.peer)

    # The rest of the interface

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "port"

    def connectionLost(self, reason: Any) -> None:
        """The reactor ends, or has found the socket dead."""
        self.stopListening()
