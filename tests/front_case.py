"""A front with one site and a handler in the test's hand, on real sockets without real time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from snickers.http.exchange import Exchange
from snickers.http.front import Bounds, Front
from snickers.http.http1 import Http1
from snickers.http.sites import SiteTable
from snickers.interfaces.exchange import IHandler, IResponder
from tests.wires import Wires


@implementer(IResponder)
class Responder:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.received = b""

    def body(self, data: bytes) -> None:
        self.received += data

    def body_end(self, trailers: Any) -> None:
        self.told.append(("end", trailers))

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def gone(self) -> None:
        self.told.append("gone")


@implementer(IHandler)
class Handler:
    """Keeps exchanges for the test, or answers them at once by a function of the test's."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.responders: list[Responder] = []
        self.at_once: Callable[[Exchange], None] | None = None

    def handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        responder = Responder()
        self.responders.append(responder)
        exchange.responder = responder
        if self.at_once is not None:
            self.at_once(exchange)

    def close(self) -> None:
        pass

    @property
    def exchange(self) -> Exchange:
        """The newest one."""
        return self.exchanges[-1]

    @property
    def responder(self) -> Responder:
        """The newest one."""
        return self.responders[-1]


def say(text: bytes) -> Callable[[Exchange], None]:
    """Answer 200 with *text* at once."""
    return lambda exchange: exchange.answer(200, [(b"X", b"y")], len(text), text, True)


GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


class FrontCase(SynchronousTestCase):
    """A front with one site, ``a.example``, and one connection to it."""

    def setUp(self) -> None:
        self.wires = Wires(self)
        self.turns = self.wires.turns
        self.sites = SiteTable()
        self.handler = Handler()
        self.live = self.sites.put("a.example", ("a.example", "*.wild.example"), None, self.handler)
        self.front = Front(self.sites, self.wires.sweep, lambda: 0.0, lambda: 0.0, Bounds())
        self.stream, self.client = self.connect()

    def connect(self) -> tuple[Any, Any]:
        stream, client = self.wires.pair()
        stream.protocol = Http1(self.front, stream, self.live, True)
        stream.start()
        return stream, client

    def ask(self, data: bytes) -> bytes:
        """Send *data* and return what comes back at once."""
        self.client.send(data)
        answer: bytes = self.client.receive()
        return answer
