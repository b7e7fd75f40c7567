"""HTTP/1.0 and 1.1 to clients (RFC 9112): one connection, its requests in turn.

Heads are read by `snickers.http.request`, answers come from a site's handler through
`Exchange`. This module must never let one request's bytes be taken for another's: whenever
where a message ends is in doubt, the connection ends instead.
"""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.python.failure import Failure

from snickers.http.chunked import BadChunk, ChunkReader
from snickers.http.exchange import COMPLETE, FLOWING, HELD, NO_BODY, OPEN, Exchange
from snickers.http.front import GRACE, Front
from snickers.http.pages import answer_error
from snickers.http.request import Refused, Request, forwarding, no_request, read_request
from snickers.http.sites import LiveSite
from snickers.interfaces.exchange import Fields
from snickers.stream import Stream

MAX_PIPELINED = 64 * 1024
"""Bytes a client may send ahead while its request is being answered."""
MAX_KNOWN_HEAD = 4 * 1024
"""Bytes of a head that is remembered when it comes again: more than browsers send. What is kept of
it is several times as much, and every idle connection may keep it."""
HALF_CLOSED_WITHIN = 10.0
"""Seconds without progress that a client which sent its end of stream is waited for: tools that
half-close get their answer, a browser tab that was closed does not hold a server for long."""


class Http1:
    """A client's connection, as the protocol of a `Stream`.

    *site* is the connection's own (by SNI), ``None`` on the plain listener (`snickers.http.plain`).
    *secure*: whether the client came by https.
    """

    __slots__ = (
        "_authority",
        "_closing",
        "_forwarding",
        "_half_closed",
        "_head",
        "_least",
        "_left",
        "_mark",
        "_processing",
        "_reader",
        "_request",
        "_scanned",
        "_seen",
        "_slow",
        "_whole",
        "body",
        "buffer",
        "exchange",
        "front",
        "peer",
        "secure",
        "site",
        "transport",
    )

    def __init__(
        self, front: Front, transport: Stream, site: LiveSite | None, secure: bool
    ) -> None:
        self.front = front
        self.transport = transport
        self.site = site
        self.secure = secure
        self.peer: bytes = transport.peer
        self.exchange: Exchange | None = None
        self.buffer = b""
        self.body = NO_BODY
        self._left = 0
        self._reader: ChunkReader | None = None
        self._scanned = 0
        self._processing = False
        self._half_closed = False
        self._closing = False
        self._slow = False
        self._mark = 0
        self._least = 1
        self._authority = b""
        self._forwarding = b""
        self._head = b""
        self._request: Any = None
        """What the last head said that came twice in a row: a client that polls sends the same
        bytes again and again."""
        self._seen = 0
        self._whole = b""
        """The bytes of that request, when they came together and it had no body."""
        front.connections.add(self)
        if site is not None:
            site.connections.add(self)
        transport.registerProducer(self, True)
        bounds = front.bounds
        transport.deadline = front.sweep.now + (
            min(bounds.head_within, GRACE) if front.draining else bounds.head_within
        )

    # What the transport calls

    def dataReceived(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            if data == self._whole and not self.buffer and not self._slow:
                # Just the same request again: a client that polls, or an API's.
                self.transport.deadline = inf
                self.exchange = exchange = Exchange(self, self._request)
                self._dispatch(exchange)
                return
            if self.buffer:
                data = self.buffer + data
            if self._slow:
                self.buffer = data
                self.transport.pauseProducing()
            else:
                self._process(data)
        elif self.body == FLOWING:
            self._feed(exchange, data)
        else:
            self.buffer = self.buffer + data if self.buffer else data
            if len(self.buffer) > MAX_PIPELINED or self.body == HELD:
                self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The client will send no more; what it has asked for is still answered."""
        exchange = self.exchange
        if exchange is None:
            self.transport.loseConnection()
            return
        self._half_closed = True
        if self.body in (HELD, FLOWING):
            exchange.gone()
            self.transport.abortConnection()
            return
        self._arm(HALF_CLOSED_WITHIN)

    def connectionLost(self, reason: Failure) -> None:
        self.forget()
        exchange = self.exchange
        if exchange is not None:
            self.exchange = None
            exchange.gone()

    def pauseProducing(self) -> None:
        """The client reads slowly: nothing more is made for it until it has caught up."""
        self._slow = True
        self._arm(self.front.bounds.progress_within)
        exchange = self.exchange
        if exchange is not None and exchange.responder is not None:
            exchange.responder.pause()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self._slow = False
        exchange = self.exchange
        if exchange is None:
            self._next()
            return
        if self.body != FLOWING and not self._half_closed:
            self.transport.deadline = inf
        if exchange.responder is not None:
            exchange.responder.resume()

    def stopProducing(self) -> None:
        """The transport is going down; `connectionLost` says the rest."""

    def deadlinePassed(self) -> None:
        transport = self.transport
        exchange = self.exchange
        moved = transport.received + transport.sent
        if exchange is not None:
            if moved - self._mark >= self._least:
                self._arm(
                    HALF_CLOSED_WITHIN if self._half_closed else self.front.bounds.progress_within
                )
                return
            if exchange.stage == OPEN and self.body == FLOWING:
                self._break_off(exchange, 408, "the body stood still, or nearly")
                return
            exchange.gone()
            transport.abortConnection()
        elif self._slow:
            if moved - self._mark < self._least:
                transport.abortConnection()
            else:
                self._arm(self.front.bounds.progress_within)
        elif self.buffer:
            self._refuse(Refused(408, "the head took too long"))
        else:
            transport.loseConnection()

    # Requests

    def _process(self, data: bytes) -> None:
        """Take whole heads off *data* and answer them, until one has to wait."""
        if self._processing:
            self.buffer = data
            return
        self._processing = True
        try:
            while True:
                if data[:2] == b"\r\n":
                    # RFC 9112 §2.2: an empty line or two before a request is forgiven.
                    data = data.lstrip(b"\r\n")
                if not data:
                    self.buffer = b""
                    return
                end = data.find(b"\r\n\r\n", self._scanned)
                if end < 0:
                    self._wait_for_head(data)
                    return
                self._scanned = 0
                bounds = self.front.bounds
                if end > bounds.head_limit:
                    self._refuse_size(data)
                    return
                head = data[:end]
                if head == self._head:
                    request = self._request
                else:
                    try:
                        request = read_request(
                            head,
                            bounds.request_line_limit,
                            bounds.head_limit // 2,
                            bounds.field_limit,
                        )
                    except Refused as refused:
                        self._refuse(refused)
                        return
                    seen = hash(head)
                    if seen == self._seen and end <= MAX_KNOWN_HEAD:
                        self._head = head
                        self._request = request
                        whole = len(data) == end + 4 and request.length == 0
                        self._whole = data if whole else b""
                    else:
                        # Most connections ask once, and then wait: that is no memory's worth.
                        self._seen = seen
                self.buffer = b""
                self._begin(request, data[end + 4 :])
                if self.exchange is not None or self._slow or self._closing:
                    return
                data = self.buffer
        finally:
            self._processing = False

    def _wait_for_head(self, data: bytes) -> None:
        """Keep a head that is not whole; the deadline runs from its first byte."""
        if not self.buffer or self._scanned == 0:
            self.transport.deadline = self.front.sweep.now + self.front.bounds.head_within
        self.buffer = data
        self._scanned = max(1, len(data) - 3)
        bounds = self.front.bounds
        line = bounds.request_line_limit
        if len(data) > bounds.head_limit or (
            len(data) > line and data.find(b"\n", 0, line + 2) < 0
        ):
            self._refuse_size(data)
        elif (data[0] < 0x21 or data[0] > 0x7E) and data != b"\r":
            self._refuse(Refused(400, "this is not an HTTP request"))
        elif (feed := data.find(b"\n")) > 0 and data[feed - 1] != 0x0D:
            self._refuse(Refused(400, "a bare line feed in the head"))

    def _refuse_size(self, data: bytes) -> None:
        if data.find(b"\n", 0, self.front.bounds.request_line_limit + 2) < 0:
            self._refuse(Refused(414, "the request line is too long"))
        else:
            self._refuse(Refused(431, "the head is too long"))

    def _begin(self, request: Request, rest: bytes) -> None:
        """Give one request to its site."""
        self.buffer = rest
        length = request.length
        if length == 0:
            self.body = NO_BODY
        else:
            self.body = HELD
            if length is None:
                self._reader = ChunkReader()
                self._left = -1
            else:
                self._reader = None
                self._left = length
        self.transport.deadline = inf
        exchange = self.exchange = Exchange(self, request)
        self._dispatch(exchange)

    def _dispatch(self, exchange: Exchange) -> None:
        """Find who answers. One connection speaks for one site (RFC 9110 §7.4)."""
        site = self.site
        host = exchange.request.host
        if site is None or not (host in site.hosts or self.front.sites.owns(site, host)):
            answer_error(exchange, 421)
            return
        site.requests += 1
        site.handler.handle(exchange)

    def _refuse(self, refused: Refused) -> None:
        """Answer what is no request, and close."""
        self.body = NO_BODY
        self.buffer = b""
        self.front.note_refusal(self.site, self.peer, refused.status, refused.reason)
        exchange = self.exchange = Exchange(self, no_request())
        answer_error(exchange, refused.status)

    def _break_off(self, exchange: Exchange, status: int, reason: str) -> None:
        """Answer a request whose body broke the rules, if its answer has not begun, and close."""
        responder = exchange.responder
        exchange.responder = None
        self.body = HELD
        self.front.note_refusal(self.site, self.peer, status, reason)
        if responder is not None:
            responder.gone()
        if exchange.stage == OPEN:
            answer_error(exchange, status)
        else:
            self.transport.abortConnection()

    # Bodies of requests

    def receive(self, exchange: Exchange) -> None:
        """Begin to give the body to the exchange's responder."""
        if exchange is not self.exchange or self.body != HELD:
            return
        self.body = FLOWING
        if exchange.request.continues and not self.buffer:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._arm(self.front.bounds.progress_within)
        held = self.buffer
        self.transport.resumeProducing()
        if held:
            self.buffer = b""
            self._feed(exchange, held)

    def _feed(self, exchange: Exchange, data: bytes) -> None:
        responder = exchange.responder
        if responder is None:
            # Nobody wants it; the answer has said that the connection ends.
            return
        reader = self._reader
        if reader is None:
            left = self._left
            if len(data) > left:
                self.buffer = data[left:]
                data = data[:left]
            self._left = left = left - len(data)
            if left == 0:
                self.body = COMPLETE
                if not self._slow:
                    self.transport.deadline = inf
            if data:
                responder.body(data)
            if left == 0 and exchange.responder is responder:
                responder.body_end(None)
            return
        try:
            pieces, behind = reader.feed(data)
        except BadChunk as error:
            self._break_off(exchange, 400, str(error))
            return
        if reader.ended:
            self.body = COMPLETE
            self.buffer = behind
            if not self._slow:
                self.transport.deadline = inf
        if pieces:
            # Together: each would cost a write of its own.
            responder.body(b"".join(pieces) if len(pieces) > 1 else pieces[0])
            if exchange.responder is not responder:
                return
        if reader.ended:
            responder.body_end(reader.trailers or None)

    def pause_body(self, exchange: Exchange) -> None:
        if exchange is self.exchange and self.body == FLOWING:
            # It is not the client who is slow now.
            self.transport.deadline = inf
            self.transport.pauseProducing()

    def resume_body(self, exchange: Exchange) -> None:
        if exchange is self.exchange and self.body == FLOWING:
            self._arm(self.front.bounds.progress_within)
            self.transport.resumeProducing()

    # Ends

    def ended(self, keep: bool) -> None:
        """The exchange is over: go on with the next request, or close."""
        self.exchange = None
        if not keep or (self._half_closed and not self.buffer) or self.body == FLOWING:
            self._closing = True
            self.transport.loseConnection()
            return
        self.body = NO_BODY
        if not self._slow:
            self._next()

    def _next(self) -> None:
        """Wait for the next request, or take the one that has already come."""
        transport = self.transport
        transport.deadline = self.front.sweep.now + self.front.idle_within
        if self.buffer:
            transport.resumeProducing()
            if not self._processing:
                self._process(self.buffer)
                if self._half_closed and not self._slow:
                    if self.exchange is None:
                        transport.loseConnection()
                    else:
                        self._arm(HALF_CLOSED_WITHIN)

    def upgrade(self, fields: Fields) -> tuple[Stream, bytes]:
        """Send 101 and hand the raw transport over."""
        transport = self.transport
        transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n"
            % b"".join(b"%b: %b\r\n" % field for field in fields)
        )
        transport.unregisterProducer()
        transport.deadline = inf
        leftover = self.buffer
        self.buffer = b""
        transport.resumeProducing()
        return transport, leftover

    def forget(self) -> None:
        """The connection is nobody's any more."""
        self.front.connections.discard(self)
        site = self.site
        if site is not None and self in site.connections:
            site.connections.remove(self)
            site.traffic.left(self.transport)

    def close_if_idle(self) -> None:
        """Close a connection on which nothing is asked or being asked."""
        if self.exchange is None and not self.buffer:
            self.transport.loseConnection()

    def drain(self) -> None:
        """All ends: close the connection when it has been idle for `GRACE`. A request that comes
        before is answered, and is the last one."""
        if self.exchange is not None or self.buffer or self._slow:
            return
        front = self.front
        transport = self.transport
        asked = self._seen != 0
        kept_for = front.bounds.keep_alive if asked else front.bounds.head_within
        transport.deadline = front.last_moment(transport.deadline, kept_for)

    def break_off(self) -> None:
        """There is no time left: a request whose answer has not begun may come again (503)."""
        exchange = self.exchange
        if exchange is None or exchange.stage != OPEN:
            return
        responder, exchange.responder = exchange.responder, None
        if self.body == FLOWING:
            self.body = HELD
        if responder is not None:
            responder.gone()
        answer_error(exchange, 503, "stopping")

    def forwarding(self, authority: bytes) -> bytes:
        """Return the forwarding lines; kept from the second time on, since a connection that asks
        twice asks for one host mostly, and one that asks once and waits is to be small."""
        if authority == self._authority:
            lines = self._forwarding
            if not lines:
                lines = self._forwarding = forwarding(self.peer, self.secure, authority)
            return lines
        self._authority = authority
        self._forwarding = b""
        return forwarding(self.peer, self.secure, authority)

    def _arm(self, seconds: float) -> None:
        """Look after *seconds* whether enough has moved."""
        transport = self.transport
        self._mark = transport.received + transport.sent
        # One byte at the least: the rate may be 0.
        self._least = max(1, int(self.front.bounds.minimum_rate * seconds))
        transport.deadline = self.front.sweep.now + seconds
