"""One request and its answer on a stream of an HTTP/2 connection (RFC 9113 §8.1).

Both directions have windows: what the client gives no room for is kept, its maker is paused; what
the responder does not take is not given back to the client as room. This module must never let an
answer end cleanly that is not complete, or hold more of either direction than a window and what
was written after `IResponder.pause`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from snickers.http import frames as f
from snickers.http.answer import CLIENT_GONE, Answer, IForwardingExchange
from snickers.http.hpack import Pairs
from snickers.http.priority import DEFAULT, Priority
from snickers.http.request import Request
from snickers.http.request2 import Malformed, read_trailers
from snickers.http.tunnel2 import Tunnel
from snickers.interfaces.exchange import Fields, IResponder

if TYPE_CHECKING:
    from snickers.http.http2 import Http2

HIGH_WATER = 128 * 1024
"""Bytes of an answer that wait for the client's windows until its maker is paused."""
LOW_WATER = 32 * 1024
"""...and until it goes on."""
SMALL = 256
"""Bytes of a piece that is put together with the next one: single bytes take fifty each by
themselves, and a window has room for half a million of them."""

OPEN, ANSWERING, UPGRADED, SENDING, ENDED = range(5)
"""Where an answer is: not begun, begun, a tunnel instead, all written but not all sent, over."""

_OF_HTTP1 = frozenset({b"connection", b"upgrade", b"sec-websocket-accept", b"keep-alive"})


@implementer(IForwardingExchange)
class Exchange2:
    """One stream of an `Http2` connection (see `IExchange`)."""

    __slots__ = (
        "_announced",
        "_flowing",
        "_held",
        "_id",
        "_left",
        "_paused",
        "_queue",
        "_request_trailers",
        "_stalled",
        "_trailers",
        "_ungiven",
        "began",
        "connection",
        "mark",
        "moved",
        "number",
        "open",
        "priority",
        "queued",
        "receivable",
        "request",
        "responder",
        "sent",
        "stage",
        "status",
        "took",
        "tunnel",
        "user",
        "window",
    )

    def __init__(self, connection: Http2, number: int, request: Request, is_open: bool) -> None:
        """*is_open*: the client sends more than the head."""
        self.connection = connection
        self.number = number
        self.request = request
        self.responder: IResponder | None = None
        self.stage = OPEN
        self.user = b""
        self.status = 0
        self.sent = 0
        """Bytes of the answer's body so far."""
        self.began = connection.front.seconds()
        self.took = 0.0
        self.priority: Priority = DEFAULT
        self.open = is_open
        """Whether the client may send more."""
        self.window = connection.initial_window
        """Bytes that the client takes."""
        self.receivable = connection.stream_window
        """Bytes that the client may send."""
        self.moved = 0
        """Bytes that went either way."""
        self.mark = 0
        """What `moved` was at the last look; -1: nothing was waited for then."""
        self.tunnel: Tunnel | None = None
        self._id = b""
        self._left = -1
        """Bytes of the body that were announced and not written; -1: nothing was announced."""
        self._announced = -1 if request.length is None else request.length
        """The same of the request's."""
        self._queue: deque[bytes] | None = None
        """What of the answer waits for room."""
        self.queued = 0
        """Bytes of those."""
        self._stalled = False
        self._trailers: Fields | None = None
        self._request_trailers: Fields | None = None
        self._held: list[bytes] | None = None
        """What of the request's body waits for somebody who takes it."""
        self._flowing = False
        self._paused = False
        self._ungiven = 0
        """Bytes that were taken, and not yet given back to the client as room."""

    # What it is

    @property
    def peer(self) -> bytes:
        """The client's numeric address."""
        return self.connection.peer

    secure = True

    @property
    def id(self) -> bytes:
        """The request's id (see `IExchange`)."""
        known = self._id
        if not known:
            known = self._id = self.connection.front.next_id()
        return known

    @property
    def site(self) -> str:
        """The name of the connection's site."""
        return self.connection.site.name

    @property
    def forwarding(self) -> bytes:
        """The lines that tell a site who asked (see `IForwardingExchange`)."""
        return self.connection.forwarding(self.request.authority)

    # The request's body

    def receive(self) -> None:
        if self._flowing or self.stage == ENDED:
            return
        self._flowing = True
        if self.request.continues and self._held is None and self.stage == OPEN:
            self.connection.send_fields(self.number, ((b":status", b"100"),), False)
        self.deliver()

    def pause_body(self) -> None:
        self._paused = True

    def resume_body(self) -> None:
        self._paused = False
        self.deliver()

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for more of the request's body."""
        return self.open and self._flowing and not self._paused and self.tunnel is None

    @property
    def is_blocked(self) -> bool:
        """Whether something waits that the client gives this stream no room for."""
        return bool(self.queued) and self.window <= 0

    def data(self, data: bytes, ends: bool) -> bool:
        """Take a piece of the body; return whether it was as announced."""
        left = self._announced
        if left >= 0:
            left = self._announced = left - len(data)
            if left < 0 or (ends and left):
                return False
        self.moved += len(data)
        if ends:
            self.open = False
        if self.tunnel is None and (self.stage == ENDED or self.stage == SENDING):
            self.connection.give_room(len(data))
            return True
        held = self._held
        if held is None:
            held = self._held = []
        if self._flowing and not self._paused:
            # Together with what else came with it: each piece would cost a write of its own.
            if data:
                held.append(data)
            self.connection.fed[self.number] = self
        elif len(data) < SMALL and held and len(held[-1]) < SMALL:
            held[-1] += data
        elif data:
            held.append(data)
        return True

    def trailers(self, fields: Pairs) -> bool:
        """Take the fields behind the body; return whether they and the body are well-formed."""
        if self._announced > 0 or self.tunnel is not None:
            return False
        try:
            read = read_trailers(fields)
        except Malformed:
            return False
        self.open = False
        self._request_trailers = read
        if self._held is None:
            self._held = []
        if self._flowing and not self._paused:
            self.connection.fed[self.number] = self
        return True

    def _give(self, data: bytes) -> None:
        if not data:
            return
        tunnel = self.tunnel
        if tunnel is not None:
            tunnel.received += len(data)
            tunnel.protocol.dataReceived(data)
        elif self.responder is not None:
            self.responder.body(data)
        size = len(data)
        self.connection.give_room(size)
        if self.open and self.stage != ENDED:
            self.give_back(size)

    def give_back(self, size: int) -> None:
        """Let the client send *size* bytes more on this stream."""
        self._ungiven += size
        if self._ungiven * 2 >= self.connection.stream_window:
            self.receivable += self._ungiven
            self.connection.emit(f.window_update(self.number, self._ungiven))
            self._ungiven = 0

    def deliver(self) -> None:
        """Give on what is held."""
        held = self._held
        if held is None or not self._flowing or self._paused:
            return
        self._held = None
        if held:
            self._give(b"".join(held) if len(held) > 1 else held[0])
        if self._held is None and not self.open:
            if self._paused:
                self._held = []
            elif self.stage != ENDED:
                trailers, self._request_trailers = self._request_trailers, None
                self._body_ended(trailers)

    def _body_ended(self, trailers: Fields | None) -> None:
        if self.tunnel is not None:
            self.tunnel.peer_ended()
        elif self.responder is not None:
            self.responder.body_end(trailers or None)

    # The answer

    def inform(self, status: int, fields: Fields) -> None:
        # A client that takes nothing does not take hints either, and nobody else would stop them.
        if self.stage == OPEN and not self.connection.slow:
            pairs = ((b":status", b"%d" % status), *_lower(fields))
            self.connection.send_fields(self.number, pairs, False)

    def answer(
        self,
        status: int,
        fields: Fields,
        length: int | None,
        data: bytes = b"",
        end: bool = False,
    ) -> None:
        pairs = [(b":status", b"%d" % status), *_lower(fields)]
        pairs.append((b"date", self.connection.front.date[6:]))
        bodiless = self._is_bodiless(status)
        if length is not None and status != 204:
            pairs.append((b"content-length", b"%d" % length))
        self._begin(tuple(pairs), status, 0 if bodiless else length, data, end)

    def forward(self, answer: Answer, data: bytes, end: bool) -> None:
        pairs = answer.pairs
        if pairs is None:
            length = answer.length if answer.framing <= 0 else answer.framing
            pairs = _pairs(answer, length)
            if answer.dated:
                answer.pairs = pairs
            else:
                pairs = (*pairs, (b"date", self.connection.front.date[6:]))
        framing = answer.framing
        self._begin(pairs, answer.status, framing if framing >= 0 else None, data, end)

    def _is_bodiless(self, status: int) -> bool:
        return self.request.method == b"HEAD" or status == 304 or status == 204

    def _begin(self, pairs: Pairs, status: int, length: int | None, data: bytes, end: bool) -> None:
        """Send the head, and *data* behind it. *length*: of the body that follows."""
        if self.stage != OPEN:
            return
        self.stage = ANSWERING
        self.status = status
        if length == 0 or self._is_bodiless(status):
            data = b""
            self._left = 0
        elif length is not None:
            self._left = length - len(data)
            if self._left < 0 or (end and self._left):
                self.abort()
                return
        connection = self.connection
        size = len(data)
        self.sent = size
        ends = end and not data
        connection.send_fields(self.number, pairs, ends)
        if data:
            if end and size <= f.FRAME_SIZE and self.may_send(size):
                self.window -= size
                connection.window -= size
                connection.emit(f.HEAD.pack(size << 8 | f.DATA, f.END_STREAM, self.number) + data)
                ends = True
            else:
                if end:
                    self.stage = SENDING
                    self.responder = None
                self._send(data)
                return
        if ends:
            self._over()

    def may_send(self, size: int) -> bool:
        """Say whether there is room for *size* bytes, and nobody before them."""
        connection = self.connection
        return (
            not self.queued
            and not connection.slow
            and self.window >= size
            and connection.window >= size
        )

    def write(self, data: bytes) -> None:
        if self.stage != ANSWERING or not data:
            return
        left = self._left
        if left >= 0:
            if len(data) > left:
                data = data[:left]
                if not data:
                    return
            self._left = left - len(data)
        self.sent += len(data)
        self._send(data)

    def _send(self, data: bytes) -> None:
        """Send *data* as far as there is room, keep the rest."""
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(data)
        size = len(data)
        connection = self.connection
        self.queued += size
        connection.held += size
        if not connection.slow:
            self.pump(size)
        if self.queued:
            connection.waiting[self.number] = self
            if self.queued > HIGH_WATER or connection.is_full:
                self._pause()

    def _pause(self) -> None:
        if not self._stalled:
            self._stalled = True
            if self.tunnel is not None:
                self.tunnel.stall()
            elif self.responder is not None:
                self.responder.pause()

    def pump(self, most: int) -> None:
        """Send up to *most* bytes of what is queued, as far as the windows allow."""
        connection = self.connection
        queue = self._queue
        number = self.number
        size = connection.frame_size
        most = min(most, self.queued, self.window, connection.window)
        if queue is None or most <= 0:
            return
        self.queued -= most
        connection.held -= most
        self.window -= most
        connection.window -= most
        self.moved += most
        ends = f.END_STREAM if self.stage == SENDING and not self._trailers else 0
        pieces = []
        left = most
        while left:
            data = queue.popleft()
            if len(data) > left:
                queue.appendleft(data[left:])
                data = data[:left]
            left -= len(data)
            for start in range(0, len(data), size):
                piece = data[start : start + size] if len(data) > size else data
                last = ends if not left and not self.queued and start + size >= len(data) else 0
                pieces.append(f.HEAD.pack(len(piece) << 8 | f.DATA, last, number))
                pieces.append(piece)
        connection.emit(b"".join(pieces))
        if self.queued:
            return
        if not self._stalled:
            connection.waiting.pop(number, None)
        if self.stage == SENDING:
            self._sent_all(bool(ends))

    def resume(self) -> None:
        """There was room: go on with what was paused for the lack of it."""
        if self._stalled and self.queued <= LOW_WATER:
            self._stalled = False
            if not self.queued:
                self.connection.waiting.pop(self.number, None)
            if self.tunnel is not None:
                self.tunnel.unstall()
            elif self.responder is not None and self.stage != SENDING:
                self.responder.resume()

    def stall(self) -> None:
        """The connection takes nothing now."""
        if self.stage == ANSWERING or self.stage == UPGRADED:
            self.connection.waiting[self.number] = self
            self._pause()

    @property
    def is_ready(self) -> bool:
        """Whether something waits that this stream has room for."""
        return self.queued > 0 and self.window > 0

    @property
    def is_waiting(self) -> bool:
        """Whether something waits."""
        return self.queued > 0

    def finish(self, trailers: Fields | None = None) -> None:
        tunnel = self.tunnel
        if tunnel is not None:
            self.sent = tunnel.sent
            self.tunnel = None
            if self.stage == UPGRADED:
                self._over()
            return
        if self.stage != ANSWERING:
            return
        if self._left > 0:
            self.abort()
            return
        self._trailers = trailers
        self._all_written()

    def _all_written(self) -> None:
        self.stage = SENDING
        self.responder = None
        if not self.queued:
            self._sent_all(False)

    def _sent_all(self, ended: bool) -> None:
        """Everything is sent but, unless it is *ended*, the end."""
        if not ended:
            connection = self.connection
            if self._trailers and self.tunnel is None:
                connection.send_fields(self.number, tuple(_lower(self._trailers)), True)
            else:
                connection.emit(f.frame(f.DATA, f.END_STREAM, self.number))
        if self.tunnel is None:
            self._over()
        else:
            self.stage = UPGRADED
            self.tunnel.writing_ended()

    def upgrade(self, fields: Fields) -> tuple[Any, bytes]:
        self.stage = UPGRADED
        self.status = 200
        self.responder = None
        pairs = [
            (b":status", b"200"),
            *(pair for pair in _lower(fields) if pair[0] not in _OF_HTTP1),
        ]
        self.connection.send_fields(self.number, tuple(pairs), False)
        self.tunnel = Tunnel(self)
        self._flowing = True
        self._announced = -1
        # No byte came before: a client has to wait (RFC 6455 §4.1), and `data` has seen to that.
        # But its end may have come.
        self._held = None
        self.tunnel.eof = not self.open
        return self.tunnel, b""

    # What the tunnel calls

    def tunnel_write(self, data: bytes) -> None:
        """Send *data* of the tunnel."""
        if self.stage == UPGRADED and data:
            self._send(data)

    def tunnel_end(self) -> None:
        """Send the end of our side behind what is queued."""
        if self.stage == UPGRADED:
            self.stage = SENDING
            if not self.queued:
                self._sent_all(False)

    # Ends

    def abort(self) -> None:
        self.cut(f.INTERNAL_ERROR)

    def cut(self, code: int) -> None:
        """End the stream with *code*; the handler is told nothing."""
        if self.stage != ENDED:
            self.open = True  # so that `_over` resets it
            self._over(code)

    def gone(self) -> None:
        """The client has gone, or broke the rules: tell the handler, once."""
        if self.stage == ENDED:
            return
        responder, tunnel = self.responder, self.tunnel
        self.status = self.status or CLIENT_GONE
        self.open = False
        self._over()
        if tunnel is not None:
            tunnel.lost()
        elif responder is not None:
            responder.gone()

    def _over(self, code: int = f.NO_ERROR) -> None:
        self.stage = ENDED
        self.responder = None
        connection = self.connection
        if self.queued:
            connection.held -= self.queued
            self.queued = 0
            connection.waiting.pop(self.number, None)
        self._queue = None
        held, self._held = self._held, None
        if held:
            connection.give_room(sum(map(len, held)))
        front = connection.front
        if front.access is not None:
            self.took = front.seconds() - self.began
            front.access(self)
        connection.over(self, self.open, code)


def _lower(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in fields]


def _pairs(answer: Answer, length: int | None) -> Pairs:
    """Return the fields of *answer* as HTTP/2 sends them."""
    pairs = [(b":status", b"%d" % answer.status), *_lower(answer.fields)]
    if length is not None and answer.status != 204:
        pairs.append((b"content-length", b"%d" % length))
    return tuple(pairs)
