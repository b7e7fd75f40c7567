"""A client, a front, and a site's own server, joined by wires, for tests of what is between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from snickers.http.front import Bounds, Front
from snickers.http.http1 import Http1
from snickers.http.sites import SiteTable
from snickers.http.upstream import Upstream
from snickers.interfaces.exchange import IHandler
from tests.wires import Wire, Wires

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 2\r\n\r\nok"
FORWARDED = (
    b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example\r\n"
    b'Forwarded: for=192.0.2.1;host="a.example";proto=https\r\nVia: 1.1 snickers\r\n'
)
ID = b"X-Request-Id: t-100\r\n"


@implementer(IHandler)
class Passing:
    """Passes every exchange on to one upstream."""

    def __init__(self, carry: Callable[[Any], None]) -> None:
        self.handle = carry

    def handle(self, exchange: Any) -> None: ...

    def close(self) -> None: ...


class UpstreamCase(SynchronousTestCase):
    """A client, a front, an upstream, a server."""

    def setUp(self) -> None:
        self.prepare(Wires(self))

    def prepare(self, wires: Wires) -> None:
        self.wires = wires
        self.turns = self.wires.turns
        self.ended = 0
        self.failed: list[Any] = []
        self.upstream = Upstream(
            self.turns,
            self.wires.sweep,
            "a.example",
            ("127.0.0.1", 80),
            300.0,
            self.failed.append,
            self.count_end,
            self.wires.connector,
        )
        self.sites = SiteTable()
        self.live = self.sites.put("a.example", ("a.example",), None, Passing(self.upstream.carry))
        self.front = Front(self.sites, self.wires.sweep, lambda: 0.0, lambda: 0.0, Bounds(), b"t")
        self.client = self.connect()

    def count_end(self) -> None:
        self.ended += 1

    def connect(self) -> Wire:
        stream, client = self.wires.pair()
        stream.protocol = Http1(self.front, stream, self.live, True)
        stream.start()
        return client

    @property
    def server(self) -> Wire:
        return self.wires.server
