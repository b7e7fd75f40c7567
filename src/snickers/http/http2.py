"""HTTP/2 to clients (RFC 9113): one connection, many streams, each an exchange of its own.

Frames are taken apart in place; what there is to send is collected and written together. Everything
a client can make us hold or do is counted. This module must never let one stream's fault end
another one, unless the connection as a whole cannot be trusted any more.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from twisted.python.failure import Failure

from snickers.http import frames as f
from snickers.http.abuse import Patience
from snickers.http.exchange2 import OPEN, SENDING, Exchange2
from snickers.http.front import GRACE, Front
from snickers.http.hpack import Decoder, Encoder, HeaderError, HeadersTooLarge, Pairs
from snickers.http.pages import answer_error
from snickers.http.policy import client_of
from snickers.http.priority import DEFAULT, Priority, choose
from snickers.http.priority import read as read_priority
from snickers.http.request import Refused, Request, forwarding, no_request
from snickers.http.request2 import Malformed, read_fields
from snickers.http.sites import LiveSite
from snickers.stream import Stream

STREAM_WINDOW = 512 * 1024
"""Bytes a client may send on one stream before somebody took them: 10 MB/s at 50 ms."""
CONNECTION_WINDOW = 1024 * 1024
"""...and on all of them: what a connection can make us hold of requests."""
MOST_HELD = 2 * 1024 * 1024
"""Bytes of answers that wait for the client's windows, on all streams together, until all makers
are paused, and requests that come wait for their turn: a hundred streams that are never read would
take a hundred times what one takes."""
FLUSH_SIZE = 64 * 1024
"""Bytes that are written at once instead of being collected: the transport has to feel them."""
MAX_CUT = 256
"""Streams that we have reset and whose late frames are forgiven."""
FREE_STREAMS = 16
"""Requests open at once that count for nobody but their connection: see `Front.crowd`."""
MAX_KNOWN = 64
"""Requests that are remembered by their fields."""
MAX_KNOWN_BYTES = 32 * 1024
"""...and bytes of their heads: a few bytes that stand for many must not make us keep many."""
MAX_UNREAD = 64 * 1024
"""Bytes that a client which takes nothing may make us say beside bodies, until we read no more."""
FAREWELL = b"farewell"
"""What the PING carries that is sent with the first GOAWAY of two."""
MAX_EARLY = 64
"""Priorities kept for streams that have not begun."""
SMALL_UPDATE = 1024
"""Bytes of a window's update below which it asks for nothing but work."""


class Http2:
    """A client's connection, as the protocol of a `Stream`, for *site*."""

    __slots__ = (
        "_authority",
        "_block",
        "_buffer",
        "_busy",
        "_client",
        "_crowd",
        "_cut",
        "_deaf",
        "_decoder",
        "_delayed",
        "_dirty",
        "_early",
        "_encoder",
        "_failed",
        "_farewell",
        "_forwarding",
        "_full",
        "_gone_away",
        "_granted",
        "_known_bytes",
        "_last",
        "_leaving",
        "_mark",
        "_out",
        "_passed",
        "_patience",
        "_preface",
        "_receivable",
        "_requests",
        "_settled",
        "_size",
        "_turn",
        "_ungiven",
        "_unread",
        "fed",
        "front",
        "held",
        "initial_window",
        "peer",
        "site",
        "slow",
        "streams",
        "transport",
        "waiting",
        "window",
    )

    stream_window = STREAM_WINDOW
    frame_size = f.FRAME_SIZE

    def __init__(self, front: Front, transport: Stream, site: LiveSite) -> None:
        self.front = front
        self.transport = transport
        self.site = site
        self.peer: bytes = transport.peer
        self.streams: dict[int, Exchange2] = {}
        """The open ones, by number."""
        self.waiting: dict[int, Exchange2] = {}
        """Those of them that wait for room."""
        self.fed: dict[int, Exchange2] = {}
        """Those for which something has come in what is being read."""
        self.held = 0
        """Bytes of answers that wait for room, on all streams: the sum of `Exchange2.queued`."""
        self.window = f.WINDOW
        """Bytes that the client takes."""
        self.initial_window = f.WINDOW
        """The same, of a new stream."""
        self.slow = False
        """Whether the transport is full."""
        self._unread = 0
        """Bytes that were written nevertheless since it is."""
        self._client: Hashable = None
        self._crowd = 0
        """Requests of it that are counted for its client."""
        self._deaf = False
        """Whether nothing is read until they are gone."""
        self._granted = 0
        """Bytes by which the client has opened its window."""
        self._receivable = CONNECTION_WINDOW
        self._ungiven = 0
        self._buffer = b""
        self._preface = True
        self._settled = False
        self._block: _Block | None = None
        self._last = 0
        """The highest number of a stream that the client has begun."""
        self._delayed: deque[Exchange2] = deque()
        """Requests that nobody was asked for yet, since too much waits for the client."""
        self._passed = 0
        """The highest one that came too late: what still comes for it is nobody's fault."""
        self._cut: dict[int, None] = {}
        self._early: dict[int, Priority] = {}
        self._turn = 0
        self._decoder = Decoder(list_size=front.bounds.head_limit)
        self._encoder = Encoder()
        self._requests: dict[int, tuple[Pairs, Request, Priority]] = {}
        """Requests by the identity of their fields, which are kept with them: a client that polls
        sends the same again and again."""
        self._known_bytes = 0
        """Bytes of the heads in `_requests`."""
        self._out: list[bytes] = []
        self._size = 0
        self._busy = False
        self._dirty = False
        self._failed = False
        """Whether nothing is read or sent any more."""
        self._leaving = False
        """Whether no new stream is taken."""
        self._farewell = False
        """Whether the client was told that there will be none."""
        self._gone_away = False
        self._full = self._mark = 0
        """Why the client took nothing when it was looked last, and what it had taken until then."""
        self._patience = Patience(front.sweep.now)
        self._authority = b""
        self._forwarding = b""
        front.connections.add(self)
        site.connections.add(self)
        transport.registerProducer(self, True)
        bounds = front.bounds
        transport.deadline = front.sweep.now + (
            min(bounds.head_within, GRACE) if front.draining else bounds.head_within
        )
        self.emit(
            f.settings(
                {
                    f.MAX_CONCURRENT_STREAMS: front.bounds.streams,
                    f.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    f.MAX_HEADER_LIST_SIZE: front.bounds.head_limit,
                    f.ENABLE_CONNECT_PROTOCOL: 1,
                    f.NO_RFC7540_PRIORITIES: 1,
                }
            )
            + f.window_update(0, CONNECTION_WINDOW - f.WINDOW)
        )

    # What the transport calls

    def dataReceived(self, data: bytes) -> None:
        if self._failed:
            return
        self._busy = True
        try:
            try:
                self._read(self._buffer + data if self._buffer else data)
            except f.BadFrame as bad:
                self._fail(bad.code, bad.reason)
            while self.fed:
                fed, self.fed = self.fed, {}
                for exchange in fed.values():
                    exchange.deliver()
        finally:
            self._busy = False
        if self._out:
            self.flush()

    def readConnectionLost(self) -> None:
        """The client will neither send nor take notice any more."""
        self._end()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        self._end()
        self.front.connections.discard(self)
        self.site.connections.discard(self)
        self.site.traffic.left(self.transport)

    def _end(self) -> None:
        """Nothing is read or sent any more."""
        self._failed = True
        self._out = []
        self._delayed.clear()
        for exchange in list(self.streams.values()):
            exchange.gone()

    def pauseProducing(self) -> None:
        """The client takes nothing now."""
        self.slow = True
        for exchange in list(self.streams.values()):
            exchange.stall()

    def resumeProducing(self) -> None:
        """The client takes more."""
        self.slow = False
        self._unread = 0
        if self._deaf:
            self._deaf = False
            self.transport.resumeProducing()
            if self._buffer:
                self.dataReceived(b"")
        self._pump()
        for exchange in list(self.waiting.values()):
            if self.slow:
                return
            exchange.resume()

    def stopProducing(self) -> None:
        """The transport is going down; `connectionLost` says the rest."""

    def deadlinePassed(self) -> None:
        transport = self.transport
        front = self.front
        now = front.sweep.now
        bounds = front.bounds
        if self._failed:
            transport.abortConnection()
            return
        if self._block is not None and now - self._block.began >= bounds.head_within:
            self._fail(f.ENHANCE_YOUR_CALM, "a head took too long")
            return
        if not self.streams:
            self._bye()
            return
        least = max(1, int(bounds.minimum_rate * bounds.progress_within))
        full = moved = 0
        if self.slow:
            full, moved = 1, transport.sent
        elif self.window <= 0 and self.waiting:
            # Of bodies alone: an answered PING is no progress.
            full, moved = 2, self._granted - self.window
        if full and full == self._full and moved - self._mark < least:
            self._fail(f.ENHANCE_YOUR_CALM, "the client takes nothing, or nearly")
            return
        self._full = full
        self._mark = moved
        for exchange in list(self.streams.values()):
            if not (exchange.is_waited_for or exchange.is_blocked):
                exchange.mark = -1
            elif exchange.mark >= 0 and exchange.moved - exchange.mark < least:
                self._stands_still(exchange)
            else:
                exchange.mark = exchange.moved
        if self.streams:
            transport.deadline = now + bounds.progress_within

    def _stands_still(self, exchange: Exchange2) -> None:
        self._log(408, "a body stood still, or nearly")
        if exchange.stage == OPEN:
            self._answer_for(exchange, 408)
        else:
            self._reset(exchange.number, f.CANCEL)

    def _answer_for(self, exchange: Exchange2, status: int, kind: str = "") -> None:
        """Answer a request whose own answer has not begun; its handler hears that it has gone."""
        responder, exchange.responder = exchange.responder, None
        if responder is not None:
            responder.gone()
        answer_error(exchange, status, kind)

    # Sending

    def emit(self, data: bytes) -> None:
        """Send *data*, whole frames, together with what else there is to send soon."""
        if self._failed:
            return
        self._out.append(data)
        self._size += len(data)
        if self._size >= FLUSH_SIZE:
            self.flush()
        elif not self._busy and not self._dirty:
            self._dirty = True
            self.front.soon(self.flush)

    def flush(self) -> None:
        """Send what was collected."""
        self._dirty = False
        out = self._out
        if out:
            self._out = []
            if self.slow:
                self._unread += self._size
                if self._unread > MAX_UNREAD and not self._deaf:
                    self._deaf = True
                    self.transport.pauseProducing()
            self._size = 0
            self.transport.write(b"".join(out) if len(out) > 1 else out[0])

    def later(self, call: Callable[[], None]) -> None:
        """Call *call* when what is done now is done."""
        self.front.soon(call)

    def send_fields(self, number: int, pairs: Pairs, ends: bool) -> None:
        """Send a block of fields."""
        block = self._encoder.encode(pairs)
        self.emit(f.headers(number, block, ends, f.FRAME_SIZE))

    def _pump(self) -> None:
        """Send what waits, in the order of the client's wishes, as far as there is room."""
        waiting = self.waiting
        while waiting and not self.slow and self.window > 0 and not self._failed:
            ready = [(n, exchange.priority) for n, exchange in waiting.items() if exchange.is_ready]
            if not ready:
                break
            self._turn = number = choose(ready, self._turn)
            exchange = waiting[number]
            exchange.pump(f.FRAME_SIZE * (1 if exchange.priority[1] else 4))
            exchange.resume()
        if self._delayed:
            self._begin_delayed()

    @property
    def is_full(self) -> bool:
        """Whether as much waits for the client as may."""
        return self.held > MOST_HELD

    def _begin_delayed(self) -> None:
        """Ask for what had to wait, as long as there is room for the answers."""
        delayed = self._delayed
        while delayed and not self.is_full and not self._failed:
            exchange = delayed.popleft()
            if exchange.number in self.streams:
                self._ask(exchange)

    def give_room(self, size: int) -> None:
        """Let the client send *size* bytes more, on whatever stream."""
        self._ungiven += size
        if self._ungiven * 2 >= CONNECTION_WINDOW:
            self._receivable += self._ungiven
            self.emit(f.window_update(0, self._ungiven))
            self._ungiven = 0

    # Receiving

    def _read(self, data: bytes) -> None:
        """Take whole frames off *data*."""
        position = 0
        end = len(data)
        if self._preface:
            if data[:24] != f.PREFACE[:end]:
                self._fail(f.PROTOCOL_ERROR, "this is not HTTP/2")
                return
            if end < 24:
                self._buffer = data
                return
            position = 24
            self._preface = False
        unpack = f.HEAD.unpack_from
        while end - position >= f.HEAD_SIZE:
            head, flags, number = unpack(data, position)
            size = head >> 8
            kind = head & 0xFF
            if size > f.FRAME_SIZE:
                self._fail(f.FRAME_SIZE_ERROR, "a frame is too large")
                return
            start = position + f.HEAD_SIZE
            stop = start + size
            if stop > end:
                break
            position = stop
            if self._block is not None and kind != f.CONTINUATION:
                self._fail(f.PROTOCOL_ERROR, "a block of fields was interrupted")
                return
            if not self._settled and kind != f.SETTINGS:
                self._fail(f.PROTOCOL_ERROR, "the first frame is not SETTINGS")
                return
            act = _ACTS.get(kind)
            if act is None:
                f.check_shape(kind, flags, number & 0x7FFFFFFF, size)
                act = _SHAPED_ACTS.get(kind, Http2._unknown)
            act(self, flags, number & 0x7FFFFFFF, data[start:stop])
            if self._failed:
                return
            if self._deaf:
                break
        self._buffer = data[position:] if position < end else b""

    def _state(self, number: int) -> int:
        """Return the state of a stream."""
        exchange = self.streams.get(number)
        if exchange is not None:
            return f.OPEN if exchange.open else f.HALF_CLOSED
        if number > self._last:
            return f.CUT if number <= self._passed else f.IDLE
        return f.CUT if number in self._cut else f.CLOSED

    def _takes(self, kind: int, number: int) -> bool:
        """Say whether a frame of the stream *number* is to be taken; answer it if it is wrong."""
        if number == 0 or not number & 1:
            self._fail(f.PROTOCOL_ERROR, "a frame belongs to no stream of the client's")
            return False
        verdict = f.VERDICTS[self._state(number), kind]
        if verdict is f.TAKE:
            return True
        if isinstance(verdict, tuple):
            whose, code = verdict
            if whose == "stream":
                self._reset(number, code)
            else:
                self._fail(code, "a frame comes at the wrong time")
        return False

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & f.PADDED:
            payload = f.without_padding(payload)
        if number == 0 or not number & 1:
            self._fail(f.PROTOCOL_ERROR, "a frame belongs to no stream of the client's")
            return
        if flags & f.WITH_PRIORITY:
            payload = f.without_priority(number, payload)
        if flags & f.END_HEADERS:
            self._fields(flags, number, payload)
            return
        now = self.front.sweep.now
        self._block = _Block(number, flags, payload, now)
        transport = self.transport
        transport.deadline = min(transport.deadline, now + self.front.bounds.head_within)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        block = self._block
        if block is None or number != block.number:
            self._fail(f.PROTOCOL_ERROR, "a continuation of nothing")
            return
        block.pieces.append(payload)
        block.size += len(payload)
        if len(payload) < SMALL_UPDATE and not flags & f.END_HEADERS:
            self._count_control()
        if block.size > self.front.bounds.head_limit:
            self._fail(f.ENHANCE_YOUR_CALM, "a block of fields is too large")
        elif flags & f.END_HEADERS and not self._failed:
            self._block = None
            self._fields(block.flags, number, b"".join(block.pieces))

    def _fields(self, flags: int, number: int, block: bytes) -> None:
        """A whole block of fields: a request, or what follows its body."""
        try:
            fields = self._decoder.decode(block)
        except HeaderError as error:
            self._fail(f.COMPRESSION_ERROR, str(error))
            return
        except HeadersTooLarge:
            fields = None
        ends = bool(flags & f.END_STREAM)
        if number > self._last:
            if self._leaving:
                # Above what GOAWAY has named: the client asks again elsewhere (§6.8).
                self._passed = max(self._passed, number)
                return
            self._last = number
            self._begin(number, fields, ends, block)
            return
        if not self._takes(f.HEADERS, number):
            return
        exchange = self.streams[number]
        if not ends or fields is None or not exchange.trailers(fields):
            self._reset(number, f.PROTOCOL_ERROR)

    def _begin(self, number: int, fields: Pairs | None, ends: bool, block: bytes) -> None:
        """Begin an exchange."""
        front = self.front
        bounds = front.bounds
        streams = self.streams
        open_now = len(streams)
        if open_now >= FREE_STREAMS:
            if open_now >= bounds.streams or not front.crowd(self._of()):
                self._refuse_stream(number, f.REFUSED_STREAM)
                return
            self._crowd += 1
        elif open_now >= bounds.streams:
            self._refuse_stream(number, f.REFUSED_STREAM)
            return
        refused: Refused | None = None
        known = self._requests.get(id(fields)) if ends else None
        if known is not None and known[0] is fields:
            request = known[1]
            priority = known[2]
        else:
            try:
                request, priority = self._read_request(fields, ends, block)
            except Malformed as malformed:
                self._thin()
                self._log(400, malformed.reason)
                self._refuse_stream(number, f.PROTOCOL_ERROR)
                return
            except Refused as error:
                refused = error
                request, priority = no_request(), DEFAULT
        exchange = Exchange2(self, number, request, not ends)
        exchange.priority = self._early.pop(number, priority) if self._early else priority
        streams[number] = exchange
        if len(streams) == 1:
            self.transport.deadline = front.sweep.now + bounds.progress_within
            if front.draining:
                self._say_farewell()
        if refused is not None:
            self._log(refused.status, refused.reason)
            answer_error(exchange, refused.status)
            return
        site = self.site
        host = request.host
        if not (host in site.hosts or front.sites.owns(site, host)):
            answer_error(exchange, 421)
            return
        site.requests += 1
        if self._delayed or self.is_full:
            self._delayed.append(exchange)
        else:
            self._ask(exchange)

    def _ask(self, exchange: Exchange2) -> None:
        """Give a request to its site."""
        site = self.site
        try:
            site.handler.handle(exchange)
        except Exception:
            self.front.log.failure("{site}: a request could not be handled", site=site.name)
            self._reset(exchange.number, f.INTERNAL_ERROR)

    def _read_request(
        self, fields: Pairs | None, ends: bool, block: bytes
    ) -> tuple[Request, Priority]:
        """Read a request that is not known; raise `Malformed` or `Refused`. *fields*: what *block*
        says, ``None`` for more than was taken."""
        if fields is None:
            raise Refused(431, "the head is too long")
        priority = DEFAULT
        for name, value in fields:
            if name == b"priority":
                priority = read_priority(value)
        bounds = self.front.bounds
        request = read_fields(fields, ends, _new_key, bounds.request_line_limit, bounds.field_limit)
        if ends and self._decoder.remembers(block):
            # Only then the same fields, by their identity, can come again.
            size = sum(map(len, request.lines), len(request.target))
            self._known_bytes += size
            if len(self._requests) >= MAX_KNOWN or self._known_bytes > MAX_KNOWN_BYTES:
                self._requests.clear()
                self._known_bytes = size
            self._requests[id(fields)] = fields, request, priority
        return request, priority

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._receivable -= size
        if self._receivable < 0:
            self._fail(f.FLOW_CONTROL_ERROR, "more was sent than there was room for")
            return
        padding = 0
        if flags & f.PADDED:
            payload = f.without_padding(payload)
            padding = size - len(payload)
        if not self._takes(f.DATA, number):
            self.give_room(size)
            return
        exchange = self.streams[number]
        exchange.receivable -= size
        if exchange.receivable < 0:
            self.give_room(size)
            self._reset(number, f.FLOW_CONTROL_ERROR)
            return
        ends = bool(flags & f.END_STREAM)
        if padding:
            self.give_room(padding)
            exchange.give_back(padding)
        if not payload and not ends:
            self._count_control()
            return
        if not exchange.data(payload, ends):
            self.give_room(len(payload))
            self._log(400, "the body is not what was announced")
            self._reset(number, f.PROTOCOL_ERROR)

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        """RFC 7540's priorities: deprecated, read for their faults only (§5.3.2)."""
        if number == 0:
            self._fail(f.PROTOCOL_ERROR, "a priority of the connection")
        elif len(payload) != 5:
            self._refuse_stream(number, f.FRAME_SIZE_ERROR)
        elif f.read_long(payload) == number:
            self._refuse_stream(number, f.PROTOCOL_ERROR)
        else:
            self._count_control()

    def _rst_stream(self, flags: int, number: int, payload: bytes) -> None:
        if self._takes(f.RST_STREAM, number):
            exchange = self.streams[number]
            if exchange.stage != SENDING:
                self._count_reset()
            exchange.gone()
        else:
            self._count_control()

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        self._count_control()
        if not flags & f.ACK:
            self._settled = True
            window = self.initial_window
            sizes: list[int] = []
            for name, value in f.read_settings(payload):
                if name == f.HEADER_TABLE_SIZE:
                    sizes.append(value)
                elif name == f.INITIAL_WINDOW_SIZE:
                    window = value
            # Once a frame: it has room for thousands of values, each of which is all streams' work,
            # or the table's, of whose sizes the least and the last count (RFC 7541 §4.2).
            self._set_window(window)
            if sizes:
                self._encoder.set_table_size(min(sizes))
                self._encoder.set_table_size(sizes[-1])
            self.emit(f.frame(f.SETTINGS, f.ACK, 0))
            self._pump()

    def _set_window(self, size: int) -> None:
        """Have streams begin with *size* bytes from now on, and change the open ones (§6.9.2)."""
        more = size - self.initial_window
        if not more:
            return
        self.initial_window = size
        for exchange in self.streams.values():
            exchange.window += more
            if exchange.window > f.MAX_WINDOW:
                self._fail(f.FLOW_CONTROL_ERROR, "a window is too large")
                return

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        self._count_control()
        if not flags & f.ACK:
            self.emit(f.frame(f.PING, f.ACK, 0, payload))
        elif payload == FAREWELL and self._farewell:
            # What the client asked before it knew has come before this.
            self.close_if_idle()

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        self.close_if_idle()

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        more = f.read_long(payload)
        if more < SMALL_UPDATE:
            self._count_control()
        if number == 0:
            self.window += more
            self._granted += more
            if not more:
                self._fail(f.PROTOCOL_ERROR, "a window's update of 0")
            elif self.window > f.MAX_WINDOW:
                self._fail(f.FLOW_CONTROL_ERROR, "a window is too large")
            else:
                self._pump()
        elif self._takes(f.WINDOW_UPDATE, number):
            exchange = self.streams[number]
            exchange.window += more
            if not more:
                self._reset(number, f.PROTOCOL_ERROR)
            elif exchange.window > f.MAX_WINDOW:
                self._reset(number, f.FLOW_CONTROL_ERROR)
            elif exchange.is_waiting:
                self._pump()

    def _priority_update(self, flags: int, number: int, payload: bytes) -> None:
        """RFC 9218 §7.1."""
        self._count_control()
        which = f.read_long(payload)
        priority = read_priority(payload[4:])
        exchange = self.streams.get(which)
        if not which & 1:
            self._fail(f.PROTOCOL_ERROR, "a priority of no stream of the client's")
        elif exchange is not None:
            exchange.priority = priority
        elif which > self._last and len(self._early) < MAX_EARLY:
            self._early[which] = priority

    def _unknown(self, flags: int, number: int, payload: bytes) -> None:
        """Nothing is done with a frame of an unknown type (§5.5)."""
        self._count_control()

    # What is counted

    def _count_control(self) -> None:
        """Count a frame that asks for nothing but work."""
        front = self.front
        if not self._patience.has_for_control(front.sweep.now, front.bounds.control_frames):
            self._fail(f.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def _count_reset(self) -> None:
        """Count a stream that was ended before its time, by the client or because of it."""
        front = self.front
        if not self._patience.has_for_reset(front.sweep.now, front.bounds.resets):
            self._fail(f.ENHANCE_YOUR_CALM, "too many requests were cancelled")

    # Ends

    def over(self, exchange: Exchange2, is_open: bool, code: int) -> None:
        """An exchange is over; *is_open*: the stream is not, so it is reset with *code*."""
        number = exchange.number
        self.streams.pop(number, None)
        self._thin()
        self.waiting.pop(number, None)
        if self._delayed:
            self.later(self._begin_delayed)
        if is_open:
            if code == f.NO_ERROR:
                # In a record of its own: some clients (curl 7.88) that find the answer and the
                # reset in one read, in the middle of an upload, take the answer for lost.
                self.flush()
            self._send_reset(number, code)
        if not self.streams:
            if self._leaving:
                self.later(self._bye_if_idle)
            else:
                self.transport.deadline = self.front.sweep.now + self.front.idle_within

    def _of(self) -> Hashable:
        """Return whose connection it is."""
        if self._client is None:
            self._client = client_of(self.peer)
        return self._client

    def _thin(self) -> None:
        """Count no more than are open now."""
        if self._crowd and len(self.streams) < FREE_STREAMS + self._crowd:
            self._crowd -= 1
            self.front.disperse(self._of())

    def _send_reset(self, number: int, code: int) -> None:
        cut = self._cut
        cut[number] = None
        if len(cut) > MAX_CUT:
            del cut[next(iter(cut))]
        self.emit(f.reset(number, code))

    def _reset(self, number: int, code: int) -> None:
        """End a stream because of what the client did; its handler hears that it has gone."""
        exchange = self.streams.get(number)
        if exchange is not None:
            exchange.gone()
        self._refuse_stream(number, code)

    def _refuse_stream(self, number: int, code: int) -> None:
        self._send_reset(number, code)
        self._count_reset()

    def _fail(self, code: int, reason: str) -> None:
        """End the connection because of what the client did (§5.4.1)."""
        if self._failed:
            return
        self._log(400, reason)
        self.emit(f.go_away(self._last, code, reason))
        self.flush()
        self._end()
        self.transport.loseConnection()

    def _bye_if_idle(self) -> None:
        if not self.streams and not self._failed:
            self._bye()

    def _bye(self) -> None:
        """End a connection on which nothing is asked."""
        self._go_away()
        self.flush()
        self._failed = True
        self.transport.loseConnection()

    def _go_away(self) -> None:
        if not self._gone_away:
            self._gone_away = True
            self.emit(f.go_away(self._last, f.NO_ERROR))

    def _say_farewell(self) -> None:
        """Tell the client that there will be no new stream soon; what is on its way by then is
        still taken, until its answer to a PING says that it knows (§6.8)."""
        if not self._farewell:
            self._farewell = True
            self.emit(f.go_away(f.MAX_STREAM, f.NO_ERROR) + f.frame(f.PING, 0, 0, FAREWELL))

    def drain(self) -> None:
        """All ends: have the client ask nothing more, and close when it knows and everything is
        answered. A connection on which nothing was asked yet may ask within `GRACE`."""
        if self._failed or self._leaving:
            return
        front = self.front
        transport = self.transport
        if self._last:
            self._say_farewell()
            if not self.streams:
                transport.deadline = min(transport.deadline, front.sweep.now + GRACE)
            return
        transport.deadline = front.last_moment(transport.deadline, front.bounds.head_within)

    def break_off(self) -> None:
        """There is no time left: requests whose answers have not begun may come again (503)."""
        for exchange in list(self.streams.values()):
            if exchange.stage == OPEN:
                self._answer_for(exchange, 503, "stopping")

    def close_if_idle(self) -> None:
        """Take no new request; close when the last one is answered."""
        if self._failed:
            return
        self._leaving = True
        if self.streams:
            self._go_away()
        else:
            self._bye()

    def forwarding(self, authority: bytes) -> bytes:
        """Return the forwarding lines; kept, since a connection asks for one host mostly."""
        if authority != self._authority:
            self._authority = authority
            self._forwarding = forwarding(self.peer, True, authority, b"2.0")
        return self._forwarding

    def _log(self, status: int, reason: str) -> None:
        self.front.note_refusal(self.site, self.peer, status, reason)


class _Block:
    """A block of fields that is not whole: HEADERS, and perhaps CONTINUATION, have come (§6.10)."""

    __slots__ = ("began", "flags", "number", "pieces", "size")

    def __init__(self, number: int, flags: int, payload: bytes, began: float) -> None:
        """*flags*: of HEADERS; *began*: when they came, by the sweep's clock."""
        self.number = number
        self.flags = flags
        self.pieces = [payload]
        self.size = len(payload)
        self.began = began


def _new_key() -> bytes:
    """Return a nonce as RFC 6455 §4.1 wants it of a client, which is what we are to servers."""
    return b64encode(os.urandom(16))


_Act = Callable[[Any, int, int, bytes], None]
_ACTS: dict[int, _Act] = {
    f.DATA: Http2._data,
    f.HEADERS: Http2._headers,
    f.PRIORITY: Http2._priority,
    f.CONTINUATION: Http2._continuation,
}
"""What is done with frames that have no shape of their own."""
_SHAPED_ACTS: dict[int, _Act] = {
    f.RST_STREAM: Http2._rst_stream,
    f.SETTINGS: Http2._settings,
    f.PING: Http2._ping,
    f.GOAWAY: Http2._goaway,
    f.WINDOW_UPDATE: Http2._window_update,
    f.PRIORITY_UPDATE: Http2._priority_update,
}
"""...and with those that `f.check_shape` has found good."""
