"""Sites whose server somebody else runs."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.http.proxy import LOOK_UP_EVERY, MAX_WAITING, ProxyHandler, read_target
from snickers.interfaces import IHandler
from tests.exchange_fake import RecordingExchange


class Now:
    """A coarse clock."""

    now = 0.0


class FakeUpstream:
    """Notes what it is to carry."""

    def __init__(self, address: Any, failed: Any, ended: Any) -> None:
        self.address = address
        self.failed = failed
        self.carried: list[Any] = []
        self.closed = False

    def carry(self, exchange: Any) -> None:
        self.carried.append(exchange)

    def close(self) -> None:
        self.closed = True


class ProxyHandlerTests(SynchronousTestCase):
    """Where exchanges go."""

    def setUp(self) -> None:
        self.asked: list[tuple[str, Deferred[str]]] = []
        self.upstreams: list[FakeUpstream] = []
        self.clock = Now()

    def make(self, to: str) -> ProxyHandler:
        def resolve(host: str) -> Deferred[str]:
            self.asked.append((host, Deferred()))
            return self.asked[-1][1]

        def upstream(*arguments: Any) -> Any:
            self.upstreams.append(FakeUpstream(*arguments))
            return self.upstreams[-1]

        return ProxyHandler("a.example", to, upstream, resolve, self.clock)  # type: ignore[arg-type]

    def test_interface(self) -> None:
        """It is a handler."""
        verifyObject(IHandler, self.make("http://127.0.0.1"))

    def test_targets(self) -> None:
        """Addresses as the configuration spells them."""
        for to, target in [
            ("http://127.0.0.1:8000", ("127.0.0.1", 8000)),
            ("http://[::1]:8000/", ("::1", 8000)),
            ("http://backend", ("backend", 80)),
            ("unix:/run/x.sock", "/run/x.sock"),
        ]:
            self.assertEqual(read_target(to), target)

    def test_numeric(self) -> None:
        """A numeric address needs no look-up."""
        handler = self.make("http://127.0.0.1:8000")
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.assertEqual(self.upstreams[0].address, ("127.0.0.1", 8000))
        self.assertEqual((self.upstreams[0].carried, self.asked), ([exchange], []))
        handler.close()
        self.assertTrue(self.upstreams[0].closed)

    def test_name(self) -> None:
        """Requests wait for the first look-up; those whose client has gone are left out."""
        handler = self.make("http://backend:8000")
        stays, goes = RecordingExchange(), RecordingExchange()
        handler.handle(stays)
        handler.handle(goes)
        assert goes.responder is not None
        goes.responder.gone()
        self.assertEqual([host for host, _ in self.asked], ["backend"])
        self.asked[0][1].callback("10.0.0.7")
        self.assertEqual(self.upstreams[0].address, ("10.0.0.7", 8000))
        self.assertEqual(self.upstreams[0].carried, [stays])

    def test_look_up_again(self) -> None:
        """An old address goes on being used while the name is looked up anew."""
        handler = self.make("http://backend:8000")
        self.asked[0][1].callback("10.0.0.7")
        self.clock.now = LOOK_UP_EVERY + 1
        handler.handle(RecordingExchange())
        self.assertEqual(len(self.asked), 2)
        self.assertEqual(len(self.upstreams[0].carried), 1)
        self.asked[1][1].callback("10.0.0.8")
        handler.handle(RecordingExchange())
        self.assertEqual(self.upstreams[1].address, ("10.0.0.8", 8000))
        self.assertTrue(self.upstreams[0].closed)

    def test_the_same_address(self) -> None:
        """A look-up that finds the same address keeps the connections."""
        handler = self.make("http://backend:8000")
        self.asked[0][1].callback("10.0.0.7")
        self.upstreams[0].failed(("10.0.0.7", 8000))
        self.asked[1][1].callback("10.0.0.7")
        handler.handle(RecordingExchange())
        self.assertEqual(len(self.upstreams), 1)

    def test_unknown_name(self) -> None:
        """A name that nobody knows: 502, and asked again by the next request."""
        handler = self.make("http://backend:8000")
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.asked[0][1].errback(OSError("unknown"))
        self.assertEqual(exchange.status, 502)
        handler.handle(RecordingExchange())
        self.assertEqual(len(self.asked), 2)

    def test_bounded(self) -> None:
        """Not more than so many wait."""
        handler = self.make("http://backend:8000")
        for _ in range(MAX_WAITING):
            handler.handle(RecordingExchange())
        late = RecordingExchange()
        handler.handle(late)
        self.assertEqual(late.status, 503)
