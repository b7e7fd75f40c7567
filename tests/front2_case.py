"""A front with one site and an HTTP/2 connection to it, spoken to by another implementation."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from twisted.trial.unittest import SynchronousTestCase

from snickers.http import frames as f
from snickers.http.front import Bounds, Front
from snickers.http.http2 import Http2
from snickers.http.sites import SiteTable
from tests.front_case import Handler
from tests.wires import Wire, Wires

HEAD = (
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.example"),
    (":path", "/"),
)


def head(**changes: str) -> list[tuple[str, str]]:
    """Return the pseudo-fields of a request, with changes."""
    return [(name, changes.get(name[1:], value)) for name, value in HEAD]


class Told:
    """What a client was told on one stream."""

    def __init__(self) -> None:
        self.status = 0
        self.fields: dict[str, str] = {}
        self.data = b""
        self.ended = False
        self.reset: int | None = None
        self.trailers: dict[str, str] = {}
        self.informed: list[str] = []


class Client:
    """A client. *keeps* the windows closed: what it reads makes no room."""

    def __init__(self, wire: Wire, keeps: bool = False) -> None:
        self.wire = wire
        self.keeps = keeps
        config = H2Configuration(client_side=True, header_encoding="utf-8")
        config.validate_outbound_headers = config.normalize_outbound_headers = False
        config.validate_inbound_headers = True
        self.h2 = H2Connection(config)
        self.told: dict[int, Told] = {}
        self.gone_away: int | None = None
        self.received = b""
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what there is to send, and take what comes."""
        data = self.h2.data_to_send()
        if data:
            self.wire.send(data)
        self.take()

    def raw(self, *frames: bytes) -> None:
        """Send bytes past the implementation."""
        self.wire.send(b"".join(frames))
        self.take()

    def ask(self, *fields: tuple[str, str], end: bool = True, **changes: str) -> int:
        """Begin a request; return its stream."""
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, [*head(**changes), *fields], end_stream=end)
        self.flush()
        return number

    def body(self, number: int, data: bytes, end: bool = False) -> None:
        """Send a piece of a request's body."""
        self.h2.send_data(number, data, end_stream=end)
        self.flush()

    def take(self) -> None:
        """Take what has come."""
        data = self.wire.receive()
        if not data:
            return
        self.received += data
        for event in self.h2.receive_data(data):
            self._note(event)
        answer = self.h2.data_to_send()
        if answer and not self.wire.ended:
            self.wire.send(answer)
            self.take()

    def _note(self, event: Any) -> None:
        if isinstance(event, ConnectionTerminated):
            self.gone_away = int(event.error_code)
            return
        number = getattr(event, "stream_id", None)
        if not number:
            return
        told = self.told.setdefault(number, Told())
        if isinstance(event, ResponseReceived):
            told.fields = dict(event.headers)
            told.status = int(told.fields[":status"])
        elif isinstance(event, InformationalResponseReceived):
            told.informed.append(dict(event.headers)[":status"])
        elif isinstance(event, DataReceived):
            told.data += event.data
            if not self.keeps:
                self.h2.acknowledge_received_data(event.flow_controlled_length, number)
        elif isinstance(event, TrailersReceived):
            told.trailers = dict(event.headers)
        elif isinstance(event, StreamEnded):
            told.ended = True
        elif isinstance(event, StreamReset):
            told.reset = int(event.error_code)


class Front2Case(SynchronousTestCase):
    """A front with one site, ``a.example``, and one HTTP/2 connection to it."""

    bounds = Bounds()

    def setUp(self) -> None:
        self.wires = Wires(self)
        self.turns = self.wires.turns
        self.sites = SiteTable()
        self.handler = Handler()
        self.live = self.sites.put("a.example", ("a.example", "*.wild.example"), None, self.handler)
        self.front = Front(
            self.sites, self.wires.sweep, lambda: 0.0, lambda: 0.0, self.bounds, b"t"
        )
        self.client = self.connect()
        self.addCleanup(self.check_held)

    def check_held(self) -> None:
        """What waits for a client is counted, stream by stream and together."""
        for connection in self.front.connections:
            queued = sum([exchange.queued for exchange in connection.streams.values()])
            self.assertEqual(connection.held, queued)

    def connect(self, keeps: bool = False) -> Client:
        """Return a client that has said hello."""
        return Client(self.wire(), keeps)

    def wire(self) -> Wire:
        """Return the end of a connection that has said nothing."""
        self.stream, wire = self.wires.pair()
        self.connection = self.stream.protocol = Http2(self.front, self.stream, self.live)
        self.stream.start()
        return wire

    def raw_wire(self) -> Wire:
        """Return the end of a connection that has said hello and read the answer."""
        wire = self.wire()
        wire.send(f.PREFACE + f.settings({}))
        wire.receive()
        return wire
