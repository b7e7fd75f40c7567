"""One connection to a site's own server: it carries one exchange after the other.

While a `Carrier` carries an exchange it is the exchange's responder as well. Must never be used
again once an answer was not understood to its last byte, nor send a request for a second time that
a server may have read, unless that is harmless (RFC 9110 §9.2.2).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.http.answer import Answer, BadAnswer, read_answer
from snickers.http.chunked import BadChunk, ChunkReader, chunk, last_chunk
from snickers.http.head import CHUNKED, MAX_HEAD, UNTIL_CLOSE
from snickers.http.pages import answer_error
from snickers.http.request import IDEMPOTENT, Request, websocket_accept
from snickers.interfaces.exchange import Fields, IResponder
from snickers.relay import Relay
from snickers.stream import Stream

if TYPE_CHECKING:
    from snickers.http.upstream import Upstream

IDLE_WITHIN = 30.0
"""Seconds an idle connection is kept; shorter than most servers' own limit of 60."""
MAX_KNOWN = 4096
"""Bytes of a head that is kept for the next time: a client may have many requests open."""
MAX_IDLE = 64
"""Idle connections kept to one address."""

BAD = "{site}: bad answer from {address}: {reason}"

_CONNECTING, _IDLE, _HEAD, _BODY, _OVER = range(5)
"""Where a connection is: not there yet, free, waiting for an answer's head, within its body, not to
be used any more."""


@implementer(IResponder)
class Carrier:
    """One connection to an upstream; the responder of the exchange that it carries."""

    __slots__ = (
        "_answer",
        "_buffer",
        "_framing",
        "_head",
        "_keep",
        "_left",
        "_method",
        "_reader",
        "_reused",
        "_sending",
        "_state",
        "exchange",
        "since",
        "transport",
        "tried",
        "upstream",
    )

    transport: Stream

    def __init__(self, upstream: Upstream, tried: tuple[Any, ...] | None = ()) -> None:
        self.upstream = upstream
        self.tried = tried
        self.exchange: Any = None
        self.since = 0.0
        """When it became idle, by the sweep's clock."""
        self._state = _CONNECTING
        self._buffer = b""
        self._left = 0
        self._framing = 0
        self._reader: ChunkReader | None = None
        self._keep = True
        self._reused = False
        self._sending = False
        self._head = b""
        self._method = b""
        self._answer: Any = None
        """What the last head, its empty line included, said to the last method: within a second
        most answers begin alike."""

    # An exchange begins

    def open(self, exchange: Any) -> None:
        """Connect, then carry *exchange*."""
        self.exchange = exchange
        exchange.responder = self
        upstream = self.upstream
        connections = upstream.connections
        if connections is not None:
            connections.make_room()
            if connections.is_full:
                self._state = _OVER
                self.exchange = exchange.responder = None
                answer_error(exchange, 503, "busy")
                upstream.ended()
                return
        self.transport = upstream.connector(
            upstream.reactor, upstream.sweep, upstream.address, self, upstream.connect_within
        )
        if connections is not None:
            connections.count(self.transport)

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        exchange = self.exchange
        if exchange is None:
            self.transport.abortConnection()
            return
        self.begin(exchange)

    def connectionFailed(self, reason: Failure) -> None:
        self._state = _OVER
        exchange = self.exchange
        self.exchange = None
        if exchange is None:
            return
        upstream = self.upstream
        upstream.warn("{site}: {address} cannot be reached: {reason}", reason.getErrorMessage())
        upstream.failed(upstream.address)
        again, tried = upstream.again, self.tried
        if again is None or tried is None or not again(exchange, tried):
            exchange.responder = None
            answer_error(exchange, 502, "unreachable")
        upstream.ended()

    def begin(self, exchange: Any) -> None:
        """Send the request of *exchange* on this connection."""
        self._reused = self._state == _IDLE
        self._state = _HEAD
        self.exchange = exchange
        exchange.responder = self
        request: Request = exchange.request
        self._sending = request.length != 0
        transport = self.transport
        transport.deadline = self.upstream.sweep.now + self.upstream.answer_within
        transport.write(
            b"%bX-Request-Id: %b\r\n\r\n"
            % (request.wire or self._wire(request, exchange), exchange.id)
        )
        if self._sending and self.exchange is exchange:
            exchange.receive()

    def _wire(self, request: Request, exchange: Any) -> bytes:
        """Return the head to send for *request* but its id, and leave it there for the next
        time, if it is small."""
        length = request.length
        if length is None:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif length:
            framing = b"Content-Length: %d\r\n" % length
        elif request.upgrade:
            framing = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade
        elif request.method in (b"POST", b"PUT", b"PATCH"):
            framing = b"Content-Length: 0\r\n"
        else:
            framing = b""
        if request.trailers and not request.upgrade:
            framing += b"TE: trailers\r\nConnection: TE\r\n"
        wire = b"%b %b HTTP/1.1\r\n%b\r\n%b%b" % (
            request.method,
            request.target,
            b"\r\n".join(request.lines),
            exchange.forwarding,
            framing,
        )
        if len(wire) <= MAX_KNOWN:
            request.wire = wire
        return wire

    # The request's body, and the client (IResponder)

    def body(self, data: bytes) -> None:
        if self.exchange.request.length is None:
            data = chunk(data)
        if self._state == _HEAD:
            self.transport.deadline = self.upstream.sweep.now + self.upstream.answer_within
        self.transport.write(data)

    def body_end(self, trailers: Fields | None) -> None:
        self._sending = False
        if self.exchange.request.length is None:
            self.transport.write(last_chunk(trailers))

    def pause(self) -> None:
        # The last bytes of an answer may be what is too much: nobody would resume it then.
        if self.exchange is not None:
            self.transport.pauseProducing()

    def resume(self) -> None:
        self.transport.resumeProducing()

    def gone(self) -> None:
        if self.exchange is None:
            return
        self.exchange = None
        self._state = _OVER
        self.transport.abortConnection()
        self.upstream.ended()

    # What the transport calls

    def pauseProducing(self) -> None:
        """The upstream takes the request's body slowly."""
        if self.exchange is not None and self._sending:
            self.exchange.pause_body()

    def resumeProducing(self) -> None:
        if self.exchange is not None and self._sending:
            self.exchange.resume_body()

    def stopProducing(self) -> None:
        """The transport is going down; `connectionLost` says the rest."""

    def dataReceived(self, data: bytes) -> None:
        state = self._state
        if state == _BODY:
            self._take_body(data)
        elif state == _HEAD:
            self._take_head(self._buffer + data if self._buffer else data)
        elif state == _IDLE:
            # An answer nobody asked for: whatever it is, it must not meet the next request.
            self.drop()

    def _take_head(self, data: bytes) -> None:
        exchange = self.exchange
        while True:
            method = exchange.request.method
            if method == self._method and data.startswith(self._head):
                answer = self._answer
                data = data[len(self._head) :]
                break
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MAX_HEAD or data[:5] != b"HTTP/"[: len(data)]:
                    self._fail("it does not begin with an HTTP/1 head")
                    return
                if b"\n\n" in data:
                    # No head will come of this, however long it is waited for.
                    self._fail("its head ends lines with LF alone, and not with CR LF (RFC 9112)")
                    return
                self._buffer = data
                return
            try:
                answer = read_answer(data[:end], method)
            except BadAnswer as bad:
                self._fail(bad.reason)
                return
            end += 4
            if answer.status >= 200:
                self._head = data[:end]
                self._method = method
                self._answer = answer
                data = data[end:]
                break
            data = data[end:]
            if answer.status == 101:
                self._switch(answer, data)
                return
            # 100 is the front's to say; hints and the like are passed on.
            if answer.status != 100:
                exchange.inform(answer.status, answer.fields)
            self._buffer = b""
        self._buffer = b""
        self.transport.deadline = inf
        framing = answer.framing
        self._keep = answer.keep_alive
        if framing >= 0:
            size = len(data)
            if size >= framing:
                if size > framing:
                    self._keep = False
                    data = data[:framing]
                self._over()
                exchange.forward(answer, data, True)
                self.upstream.ended()
                return
            self._left = framing - size
            self._state = _BODY
            self._framing = framing
            exchange.forward(answer, data, False)
            return
        self._state = _BODY
        self._framing = framing
        if framing == CHUNKED:
            self._reader = ChunkReader()
            exchange.forward(answer, b"", False)
            if data and self.exchange is exchange:
                self._take_body(data)
            return
        exchange.forward(answer, data, False)

    def _take_body(self, data: bytes) -> None:
        exchange = self.exchange
        framing = self._framing
        if framing >= 0:
            left = self._left - len(data)
            if left > 0:
                self._left = left
                exchange.write(data)
                return
            if left < 0:
                self._keep = False
                data = data[:left]
            self._over()
            exchange.write(data)
            exchange.finish()
            self.upstream.ended()
            return
        if framing == UNTIL_CLOSE:
            exchange.write(data)
            return
        reader = self._reader
        assert reader is not None
        try:
            pieces, behind = reader.feed(data)
        except BadChunk as bad:
            self._fail(str(bad))
            return
        if pieces:
            exchange.write(b"".join(pieces) if len(pieces) > 1 else pieces[0])
        if reader.ended and self.exchange is exchange:
            if behind:
                self._keep = False
            trailers = reader.trailers
            self._reader = None
            self._over()
            exchange.finish(trailers or None)
            self.upstream.ended()

    def connectionLost(self, reason: Failure) -> None:
        state = self._state
        if state == _IDLE:
            self._leave_pool()
        self._state = _OVER
        exchange = self.exchange
        if exchange is None:
            return
        self.exchange = None
        upstream = self.upstream
        if state == _HEAD:
            request = exchange.request
            if (
                self._reused
                and not self._buffer
                and request.length == 0
                and request.method in IDEMPOTENT
            ):
                # The server had closed a kept connection before it read this request.
                Carrier(upstream, self.tried).open(exchange)
                return
            self.upstream.warn(BAD, "it closed the connection before its answer was complete")
            exchange.responder = None
            answer_error(exchange, 502, "unreachable")
        elif self._framing == UNTIL_CLOSE and reason.type is ConnectionDone:
            exchange.finish()
        else:
            self.upstream.warn(BAD, "it closed the connection within its answer")
            exchange.abort()
        upstream.ended()

    def deadlinePassed(self) -> None:
        if self._state == _IDLE:
            self._leave_pool()
            self._state = _OVER
            self.transport.loseConnection()
            return
        exchange = self.exchange
        if exchange is None:
            self.transport.abortConnection()
            return
        self.upstream.warn(BAD, f"no answer within {self.upstream.answer_within:g}s")
        self.exchange = None
        self._state = _OVER
        self.transport.abortConnection()
        exchange.responder = None
        answer_error(exchange, 504, "slow")
        self.upstream.ended()

    # An exchange ends

    def _over(self) -> None:
        """The answer is whole: make the connection free for the next exchange, or close it.

        Comes before the answer's end is given on, so that a request that waits behind it finds
        this connection.
        """
        self.exchange = None
        upstream = self.upstream
        transport = self.transport
        idle = upstream.idle
        if self._keep and not self._sending and not upstream.closed and len(idle) < MAX_IDLE:
            self._state = _IDLE
            now = upstream.sweep.now
            self.since = now
            transport.deadline = now + IDLE_WITHIN
            # A client that was too slow for this answer must not be felt by the next one's.
            transport.resumeProducing()
            idle.append(self)
        else:
            self._state = _OVER
            transport.loseConnection()

    def _fail(self, reason: str) -> None:
        """The answer cannot be trusted."""
        self.upstream.warn(BAD, reason)
        exchange = self.exchange
        begun = self._state == _BODY
        self.exchange = None
        self._state = _OVER
        self.transport.abortConnection()
        if begun:
            exchange.abort()
        else:
            exchange.responder = None
            answer_error(exchange, 502, "unreachable")
        self.upstream.ended()

    def _switch(self, answer: Answer, leftover: bytes) -> None:
        """Become a relay, if the upstream's 101 is the right one (RFC 6455 §4.1)."""
        exchange = self.exchange
        request: Request = exchange.request
        key = request.get(b"sec-websocket-key") or b""
        accepted = [v for k, v in answer.fields if k.lower() == b"sec-websocket-accept"]
        if (
            request.upgrade != b"websocket"
            or answer.upgrade != b"websocket"
            or accepted != [websocket_accept(key)]
        ):
            self._fail("it switched protocols without being asked, or wrongly")
            return
        self.exchange = None
        self._state = _OVER
        transport = self.transport
        transport.deadline = inf
        transport.unregisterProducer()
        fields: Fields = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), *answer.fields]
        client, ahead = exchange.upgrade(fields)

        def ended() -> None:
            exchange.finish()
            self.upstream.ended()

        Relay(client, transport, ended, ahead, leftover)

    def drop(self) -> None:
        """Close an idle connection at once: its descriptor is needed."""
        self._leave_pool()
        self._state = _OVER
        self.transport.abortConnection()

    def _leave_pool(self) -> None:
        try:
            self.upstream.idle.remove(self)
        except ValueError:
            pass
