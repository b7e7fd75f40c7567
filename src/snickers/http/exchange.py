"""One request and its answer on an HTTP/1 connection: how an answer is framed (RFC 9112 §6).

This module must never let an answer end cleanly that is not complete, or send a byte more than
was announced: the client would take it for the next answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from snickers.http.answer import CLIENT_GONE, REASONS, Answer, IForwardingExchange
from snickers.http.chunked import chunk, last_chunk
from snickers.http.head import CHUNKED, UNTIL_CLOSE
from snickers.http.request import Request
from snickers.interfaces.exchange import Fields, IResponder
from snickers.stream import Stream

if TYPE_CHECKING:
    from snickers.http.http1 import Http1

NO_BODY, HELD, FLOWING, COMPLETE = range(4)
"""Where a request's body is: there is none, nobody has asked for it, it comes, it has come."""
OPEN, ANSWERING, UPGRADED, ENDED = range(4)
"""Where an answer is: not begun, begun, no answer any more but a relay, over."""


@implementer(IForwardingExchange)
class Exchange:
    """One request and its answer on an `Http1` connection (see `IExchange`)."""

    __slots__ = (
        "_id",
        "_keep",
        "_left",
        "began",
        "connection",
        "peer",
        "request",
        "responder",
        "secure",
        "sent",
        "stage",
        "status",
        "took",
        "user",
    )

    def __init__(self, connection: Http1, request: Request) -> None:
        self.connection = connection
        self.request = request
        self.peer = connection.peer
        self.secure = connection.secure
        self.responder: IResponder | None = None
        self.stage = OPEN
        self.user = b""
        self.status = 0
        self.sent = 0
        """Bytes of the answer's body so far."""
        self.began = connection.front.seconds()
        self.took = 0.0
        """Seconds from the request's head to the answer's end, once that is known."""
        self._id = b""
        self._keep = False
        self._left = 0

    @property
    def id(self) -> bytes:
        """The request's id (see `IExchange`)."""
        known = self._id
        if not known:
            known = self._id = self.connection.front.next_id()
        return known

    @property
    def site(self) -> str:
        """The name of the connection's site; empty on the plain listener."""
        site = self.connection.site
        return "" if site is None else site.name

    @property
    def forwarding(self) -> bytes:
        """The lines that tell a site who asked (see `IForwardingExchange`)."""
        return self.connection.forwarding(self.request.authority)

    def receive(self) -> None:
        self.connection.receive(self)

    def pause_body(self) -> None:
        self.connection.pause_body(self)

    def resume_body(self) -> None:
        self.connection.resume_body(self)

    def inform(self, status: int, fields: Fields) -> None:
        if self.stage == OPEN and self.request.version > 10:
            self.connection.transport.write(
                b"HTTP/1.1 %d %b\r\n%b\r\n"
                % (
                    status,
                    REASONS.get(status, b"Interim"),
                    b"".join(b"%b: %b\r\n" % field for field in fields),
                )
            )

    def answer(
        self,
        status: int,
        fields: Fields,
        length: int | None,
        data: bytes = b"",
        end: bool = False,
    ) -> None:
        lines = [b"%b: %b" % field for field in fields]
        lines.append(self.connection.front.date)
        self._begin(status, REASONS.get(status, b"Unknown"), lines, length, data, end)

    def forward(self, answer: Answer, data: bytes, end: bool) -> None:
        framing = answer.framing
        if (
            end
            and framing > 0
            and answer.wire
            and self.stage == OPEN
            and (request := self.request).keep_alive
            and request.version > 10
            and not (connection := self.connection).front.draining
            and (connection.body == NO_BODY or connection.body == COMPLETE)
        ):
            # The whole answer, and its head was sent before: most of what a proxy does.
            self._keep = True
            self.status = answer.status
            self.sent = framing
            connection.transport.write(answer.wire + data)
            self._end()
            return
        lines = answer.lines
        if not answer.dated:
            lines = [*lines, self.connection.front.date]
        head = self._begin(
            answer.status,
            answer.reason,
            lines,
            answer.length if framing <= 0 else framing,
            data,
            end,
        )
        if framing > 0 and answer.dated and self._keep and self.request.version > 10:
            answer.wire = head

    def _begin(
        self,
        status: int,
        reason: bytes,
        lines: list[bytes],
        length: int | None,
        data: bytes,
        end: bool,
    ) -> bytes:
        """Send the head, and *data* behind it; return the head."""
        if self.stage != OPEN:
            return b""
        self.stage = ANSWERING
        self.status = status
        request = self.request
        connection = self.connection
        keep = request.keep_alive and not connection.front.draining
        body = connection.body
        if body in (HELD, FLOWING):
            # Bytes of this request may still come: nothing can follow it on this connection.
            keep = False
        modern = request.version > 10
        bodiless = request.method == b"HEAD" or status == 304 or status == 204
        if bodiless:
            data = b""
        self.sent = len(data)
        if bodiless:
            self._left = 0
            framing = b"" if length is None or status == 204 else b"Content-Length: %d\r\n" % length
        elif length is not None:
            self._left = left = length - len(data)
            if left and (end or left < 0):
                self.abort()
                return b""
            framing = b"Content-Length: %d\r\n" % length
        elif modern:
            self._left = CHUNKED
            framing = b"Transfer-Encoding: chunked\r\n"
            if data:
                data = chunk(data)
            if end:
                data += last_chunk()
        else:
            self._left = UNTIL_CLOSE
            framing = b""
            keep = False
        if not keep:
            framing += b"Connection: close\r\n"
        elif not modern:
            framing += b"Connection: keep-alive\r\n"
        self._keep = keep
        lines = [b"HTTP/1.1 %d %b" % (status, reason), *lines, framing]
        head = b"\r\n".join(lines) + b"\r\n"
        connection.transport.write(head + data if data else head)
        if end:
            self._end()
        return head

    def write(self, data: bytes) -> None:
        if self.stage != ANSWERING or not data:
            return
        left = self._left
        if left > 0:
            if len(data) > left:
                # More than was announced would be read as the next answer.
                data = data[:left]
            self._left = left - len(data)
        elif left == 0:
            return
        self.sent += len(data)
        if left == CHUNKED:
            data = chunk(data)
        self.connection.transport.write(data)

    def finish(self, trailers: Fields | None = None) -> None:
        if self.stage == UPGRADED:
            self.stage = ENDED
            self.sent += self.connection.transport.sent
            self._log()
            self.connection.forget()
            return
        if self.stage != ANSWERING:
            return
        if self._left > 0:
            self.abort()
            return
        if self._left == CHUNKED:
            self.connection.transport.write(last_chunk(trailers))
        self._end()

    def abort(self) -> None:
        if self.stage != ENDED:
            self.stage = ENDED
            self.responder = None
            self._log()
            self.connection.transport.abortConnection()

    def upgrade(self, fields: Fields) -> tuple[Stream, bytes]:
        self.stage = UPGRADED
        self.status = 101
        # What the relay carries is known when it is over.
        self.sent = -self.connection.transport.sent
        self.responder = None
        return self.connection.upgrade(fields)

    def _end(self) -> None:
        self.stage = ENDED
        self.responder = None
        front = self.connection.front
        if front.access is not None:
            self.took = front.seconds() - self.began
            front.access(self)
        self.connection.ended(self._keep)

    def _log(self) -> None:
        front = self.connection.front
        if front.access is not None:
            self.took = front.seconds() - self.began
            front.access(self)

    def gone(self) -> None:
        """The client has gone: tell the handler, once."""
        if self.stage == ENDED:
            return
        self.stage = ENDED
        self.status = self.status or CLIENT_GONE
        self._log()
        responder = self.responder
        self.responder = None
        if responder is not None:
            responder.gone()
