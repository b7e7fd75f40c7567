"""The https port: whom a client wants is known before anything is spent on it.

The ClientHello is only peeked at, so that it is still there for whoever opens the connection,
OpenSSL or, for a site whose TLS is not ours, the site itself. An unknown name is answered by an
alert before any OpenSSL object exists. This module must never show one client anything of a site
that it did not ask for by name, wait for a certificate with anybody else's time, or let a slow
hello cost more than the descriptor it waits on.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.listening import Limits, Port
from snickers.stream import Stream, Sweep
from snickers.tls import clienthello
from snickers.tls.clienthello import BadHello, Hello, NotTLS, alert, looks_like_http, parse
from snickers.tls.transport import TLSStream

T = TypeVar("T")

PEEK = 4096
"""Bytes peeked at first: twice a post-quantum hello."""
STRIKES = 3
"""How often a socket may say that it has what we wait for, and have no more than before: its
client has ended in the middle of the hello."""
ACME = b"acme-tls/1"
"""The protocol of a CA that looks for its challenge's certificate (RFC 8737)."""
CA_OFFERS = (ACME,)
RESULTS = ("ok", "unknown_name", "timeout", "failed", "not_tls", "no_alpn", "refused")

_PLAIN = b"This port speaks https: ask for the same address with https:// in front of it.\n"
USE_HTTPS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n%b"
    % (len(_PLAIN), _PLAIN)
)
"""What a client gets that speaks plain http here."""


class TLSPort(Port, Generic[T]):
    """Accepts TLS connections and gives each to the site that its SNI names.

    *route* returns the site of a name (``b""``: the client gave none), or ``None``: alert
    unrecognized_name. *contexts* returns the context for a site and a name, or a Deferred of it;
    whoever fails it says why in the log, the client gets internal_error. *build* is called with
    the stream, its ``alpn`` known, and the site, and returns the protocol. *alpn*: what we speak,
    the first preferred; a client that offers only others gets no_application_protocol, one that
    offers none is welcome. *within*: seconds from accept to the end of the handshake.

    *challenge*, if given, is asked about an ``acme-tls/1`` connection to a name, whoever's that
    is; it returns a Deferred of the context, or of ``None``: there is no challenge, and the
    connection is one like others. *unopened*, if given, says of a site that its TLS is not opened
    here; then *carry* is called instead of *build*, with the stream, from which not even the hello
    was read, the site and the name asked for; nothing is read before somebody calls
    ``resumeProducing()``. *carried* makes that stream.
    """

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        sweep: Sweep,
        limits: Limits,
        *,
        route: Callable[[bytes], T | None],
        contexts: Callable[[T, bytes], SSL.Context | Deferred[SSL.Context]],
        build: Callable[[TLSStream, T], Any],
        alpn: Sequence[bytes] = (b"http/1.1",),
        within: float = 10.0,
        challenge: Callable[[bytes], Deferred[SSL.Context | None]] | None = None,
        unopened: Callable[[T], bool] | None = None,
        carry: Callable[[Any, T, bytes], Any] | None = None,
        carried: Callable[[Any, socket.SocketType, Sweep, bytes], Stream] = Stream,
    ) -> None:
        Port.__init__(self, reactor, sock, sweep, limits)
        self.route = route
        self.contexts = contexts
        self.build = build
        self.alpn = tuple(alpn)
        self.within = within
        self.challenge = challenge
        self.unopened = unopened
        self.carry = carry
        self.carried = carried
        self.handshakes = dict.fromkeys(RESULTS, 0)
        """How many ended how: `RESULTS`. Connections carried unopened are not among them."""

    def _refuse(self, sock: socket.SocketType) -> None:
        self.handshakes["refused"] += 1
        sock.close()

    def _take(self, sock: socket.SocketType, peer: bytes, deadline: float) -> None:
        # The hello mostly comes right behind the connection: what else is ready has its turn
        # first, so that nothing needs to wait for it.
        self.reactor.later(self._look, (sock, peer, deadline))

    def _look(self, accepted: tuple[socket.SocketType, bytes, float]) -> None:
        sock, peer, deadline = accepted
        try:
            self._look_at(sock, peer, deadline)
        except Exception:
            self.not_begun(sock, peer)

    def _look_at(self, sock: socket.SocketType, peer: bytes, deadline: float) -> None:
        """See whether the hello of a connection is there."""
        try:
            data = sock.recv(PEEK, socket.MSG_PEEK)
        except BlockingIOError:
            _Greeting(self, sock, peer, deadline).wait()
            return
        except OSError:
            data = b""
        self._peeked(sock, peer, deadline, data, None)

    def _peeked(
        self,
        sock: socket.SocketType,
        peer: bytes,
        deadline: float,
        data: bytes,
        greeting: _Greeting | None,
    ) -> None:
        """Decide on the first bytes of a connection; *greeting* has waited for them, if any."""
        try:
            hello = parse(data)
        except NotTLS:
            self.handshakes["not_tls"] += 1
            self._turn_away(
                sock,
                peer,
                greeting,
                USE_HTTPS if looks_like_http(data) else alert(clienthello.UNEXPECTED_MESSAGE),
            )
            return
        except BadHello as e:
            unknown = e.alert == clienthello.UNRECOGNIZED_NAME
            self.handshakes["unknown_name" if unknown else "failed"] += 1
            self._turn_away(sock, peer, greeting, alert(e.alert))
            return
        if isinstance(hello, int):
            if not data:
                self.handshakes["failed"] += 1
                self._drop(sock, peer, greeting)
                return
            if greeting is None:
                greeting = _Greeting(self, sock, peer, deadline)
            greeting.wait_for(hello, len(data))
            return
        if greeting is None:
            self._greeted(sock, peer, deadline, hello)
        else:
            # It leaves the descriptor's readiness to be taken over by the stream.
            greeting.whole()
            try:
                self._greeted(sock, peer, deadline, hello)
            finally:
                greeting.leave()

    def _greeted(self, sock: socket.SocketType, peer: bytes, deadline: float, hello: Hello) -> None:
        """The hello is whole: is it a CA's? Else find the site."""
        # RFC 8737 section 3: a CA offers this protocol and no other.
        if hello.alpn == CA_OFFERS and self.challenge is not None:
            found = partial(self._challenged, sock, peer, hello)
            _Waiting(self, sock, peer, deadline, found).wait(self.challenge(hello.server_name))
        else:
            self._visited(sock, peer, deadline, hello)

    def _challenged(
        self,
        sock: socket.SocketType,
        peer: bytes,
        hello: Hello,
        deadline: float,
        context: SSL.Context | None,
    ) -> None:
        if context is None:
            self._visited(sock, peer, deadline, hello)
        else:
            self._open(sock, peer, None, deadline, context)

    def _visited(self, sock: socket.SocketType, peer: bytes, deadline: float, hello: Hello) -> None:
        """Find the site, then its context."""
        name = hello.server_name
        site = self.route(name)
        if site is None:
            self.handshakes["unknown_name"] += 1
            self._answer(sock, peer, clienthello.UNRECOGNIZED_NAME)
            return
        if self.unopened is not None and self.unopened(site):
            self._carry(sock, peer, site, name)
            return
        if hello.alpn and not any(offered in self.alpn for offered in hello.alpn):
            self.handshakes["no_alpn"] += 1
            self._answer(sock, peer, clienthello.NO_APPLICATION_PROTOCOL)
            return
        found = self.contexts(site, name)
        if isinstance(found, SSL.Context):
            self._open(sock, peer, site, deadline, found)
        else:
            opening = partial(self._open, sock, peer, site)
            _Waiting(self, sock, peer, deadline, opening).wait(found)

    def _open(
        self,
        sock: socket.SocketType,
        peer: bytes,
        site: T | None,
        deadline: float,
        context: SSL.Context,
    ) -> None:
        """Begin the handshake."""
        stream = TLSStream(self.reactor, sock, self.sweep, peer, context, self, site)
        self.adopt(stream)
        stream.deadline = deadline
        stream.start()

    def drain(self, within: float) -> None:
        until = self.sweep.now + within
        for connection in self.connections:
            if isinstance(connection, TLSStream):
                if connection.protocol is None:
                    connection.deadline = min(connection.deadline, until)
            elif not isinstance(connection, Stream):
                connection.hurry(until)

    def secured(self, stream: TLSStream) -> None:
        self.handshakes["ok"] += 1
        if stream.site is None:
            stream.loseConnection()  # a CA: it has seen the certificate, that was all
        else:
            stream.protocol = self.build(stream, stream.site)

    def unsecured(self, stream: TLSStream, result: str) -> None:
        self.handshakes[result] += 1

    def _carry(self, sock: socket.SocketType, peer: bytes, site: T, name: bytes) -> None:
        assert self.carry is not None
        stream = self.carried(self.reactor, sock, self.sweep, peer)
        self.adopt(stream)
        self.sweep.watch(stream)
        try:
            stream.protocol = self.carry(stream, site, name)
        except Exception:
            stream.abortConnection()
            raise

    def not_begun(self, sock: socket.SocketType, peer: bytes) -> None:
        self.handshakes["failed"] += 1
        Port.not_begun(self, sock, peer)

    # Turning away

    def _answer(self, sock: socket.SocketType, peer: bytes, description: int) -> None:
        """Send an alert to a client whose whole hello is there, and close.

        The hello is read away first: closing with it unread would send a reset, and that could
        overtake the alert. Nobody says anything between the hello and our answer, so that this
        needs no lingering.
        """
        try:
            sock.recv(clienthello.MAX_HELLO)
            sock.send(alert(description))
        except OSError:
            pass
        self._drop(sock, peer, None)

    def _turn_away(
        self, sock: socket.SocketType, peer: bytes, greeting: _Greeting | None, answer: bytes
    ) -> None:
        """Send *answer* to one who may still be talking; linger, so that it is heard."""
        if greeting is not None:
            greeting.end()
        stream = Stream(self.reactor, sock, self.sweep, peer)
        self.adopt(stream)
        stream.start()
        stream.write(answer)
        stream.loseConnection()

    def _drop(self, sock: socket.SocketType, peer: bytes, greeting: _Greeting | None) -> None:
        if greeting is not None:
            greeting.end()
        sock.close()
        self.limits.leave(peer)


@implementer(IReadDescriptor)
class _Greeting:
    """A connection whose hello is not yet whole."""

    __slots__ = (
        "_fd",
        "_had",
        "_limit",
        "_peer",
        "_port",
        "_reading",
        "_socket",
        "_strikes",
        "_wanted",
        "deadline",
    )

    def __init__(
        self, port: TLSPort[Any], sock: socket.SocketType, peer: bytes, deadline: float
    ) -> None:
        self._port = port
        self._socket = sock
        self._fd = sock.fileno()
        self._peer = peer
        self._limit = deadline
        self._had = 0
        self._wanted = 1
        self._strikes = 0
        self._reading = False
        self.deadline = deadline

    def wait(self) -> None:
        if not self._reading:
            self._reading = True
            self._port.connections.add(self)
            self._port.sweep.watch(self)
            self._port.reactor.addReader(self)

    def wait_for(self, wanted: int, had: int) -> None:
        """Wait until there are *wanted* bytes; *had* were there the last time."""
        if had < self._wanted and had <= self._had:
            self._strikes += 1
            if self._strikes == STRIKES:
                self._port.handshakes["failed"] += 1
                self._port._drop(self._socket, self._peer, self)
                return
        self._had = had
        if wanted != self._wanted:
            self._wanted = wanted
            # Or else the part that is there would make a level-triggered poll spin.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
        self.wait()

    def whole(self) -> None:
        """The hello is there: only the descriptor's readiness is still ours."""
        self.deadline = math.inf
        if self._reading:
            self._port.connections.discard(self)
            self._port.sweep.unwatch(self)
        if self._wanted != 1:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def leave(self) -> None:
        """Watch the descriptor no more, unless that is somebody else's by now."""
        if self._reading:
            self._reading = False
            self._port.reactor.removeReader(self)
        self._fd = -1

    def end(self) -> None:
        """Leave the socket to whoever comes next."""
        self.whole()
        self.leave()

    def doRead(self) -> None:
        try:
            data = self._socket.recv(max(PEEK, self._wanted), socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            self._port._peeked(self._socket, self._peer, self._limit, data, self)
        except Exception:
            self._port.not_begun(self._socket, self._peer)

    def hurry(self, until: float) -> None:
        """Wait no longer than *until*, in the sweep's time."""
        self._limit = min(self._limit, until)
        self.deadline = min(self.deadline, until)

    def expired(self) -> None:
        self._port.handshakes["timeout"] += 1
        self._port._drop(self._socket, self._peer, self)

    def abortConnection(self) -> None:
        """Close at once; for the port's owner, when all ends."""
        self._port.handshakes["failed"] += 1
        self._port._drop(self._socket, self._peer, self)

    loseConnection = abortConnection

    def connectionLost(self, reason: Failure) -> None:
        self.abortConnection()

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "hello"


class _Waiting:
    """A connection that waits for a context; *found* is called with its deadline and that."""

    __slots__ = ("_go_on", "_limit", "_peer", "_port", "_socket", "deadline", "over")

    def __init__(
        self,
        port: TLSPort[Any],
        sock: socket.SocketType,
        peer: bytes,
        deadline: float,
        found: Callable[[float, Any], None],
    ) -> None:
        self._port = port
        self._socket = sock
        self._peer = peer
        self._limit = deadline
        self._go_on = found
        self.deadline = deadline
        self.over = False

    def wait(self, context: Deferred[Any]) -> None:
        self._port.connections.add(self)
        self._port.sweep.watch(self)
        context.addCallbacks(self._found, self._failed)

    def _end(self) -> bool:
        """Wait no more; whether we did."""
        if self.over:
            return False
        self.over = True
        self._port.connections.discard(self)
        self._port.sweep.unwatch(self)
        return True

    def _found(self, context: SSL.Context | None) -> None:
        if self._end():
            try:
                self._go_on(self._limit, context)
            except Exception:
                self._port.not_begun(self._socket, self._peer)

    def _failed(self, failure: Failure) -> None:
        if self._end():
            self._port.handshakes["failed"] += 1
            self._port._answer(self._socket, self._peer, clienthello.INTERNAL_ERROR)

    def hurry(self, until: float) -> None:
        """Wait no longer than *until*, in the sweep's time."""
        self._limit = min(self._limit, until)
        self.deadline = min(self.deadline, until)

    def expired(self) -> None:
        if self._end():
            self._port.handshakes["timeout"] += 1
            self._port._drop(self._socket, self._peer, None)

    def abortConnection(self) -> None:
        """Close at once; for the port's owner, when all ends."""
        if self._end():
            self._port.handshakes["failed"] += 1
            self._port._drop(self._socket, self._peer, None)

    loseConnection = abortConnection
