"""Sites whose server somebody else runs."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.config.values import Proxy
from snickers.http.answer import read_answer
from snickers.http.balance import RESTS
from snickers.http.proxy import ProxyHandler
from snickers.http.servers import LOOK_UP_EVERY
from snickers.interfaces import IHandler
from tests.exchange_fake import RecordingExchange


class Now:
    """A coarse clock that a test sweeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.watched: list[Any] = []

    def watch(self, item: Any) -> None:
        self.watched.append(item)

    def unwatch(self, item: Any) -> None:
        if item in self.watched:
            self.watched.remove(item)

    def sweep(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self.now += seconds
        for item in list(self.watched):
            if item.deadline <= self.now:
                item.expired()


class FakeUpstream:
    """Notes what it is to carry."""

    def __init__(self, address: Any, failed: Any, ended: Any, connector: Any = None) -> None:
        self.address = address
        self.failed = failed
        self.ended = ended
        self.connector = connector
        self.again: Any = None
        self.carried: list[Any] = []
        self.tried: list[Any] = []
        self.closed = False

    def carry(self, exchange: Any, tried: Any = ()) -> None:
        self.carried.append(exchange)
        self.tried.append(tried)

    def refuse(self) -> bool:
        """The newest exchange finds nobody; return whether somebody else has it."""
        self.failed(self.address)
        again = self.again is not None and self.again(self.carried[-1], self.tried[-1])
        self.ended()
        return bool(again)

    def close(self) -> None:
        self.closed = True


class ProxyCase(SynchronousTestCase):
    """A handler whose upstreams are the test's."""

    def setUp(self) -> None:
        self.asked: list[tuple[str, Deferred[str]]] = []
        self.secured: list[tuple[str, Deferred[Any]]] = []
        self.upstreams: list[FakeUpstream] = []
        self.clock = Now()

    def make(self, *to: str, **options: Any) -> ProxyHandler:
        def secure(name: str) -> Deferred[Any]:
            self.secured.append((name, Deferred()))
            return self.secured[-1][1]

        def resolve(host: str) -> Deferred[str]:
            self.asked.append((host, Deferred()))
            return self.asked[-1][1]

        def upstream(*arguments: Any, **more: Any) -> Any:
            self.upstreams.append(FakeUpstream(*arguments, **more))
            return self.upstreams[-1]

        clock: Any = self.clock
        kind = Proxy(to, **options)
        return ProxyHandler("a.example", kind, upstream, resolve, clock, secure, lambda: 50)


class ProxyHandlerTests(ProxyCase):
    """Where exchanges go."""

    def test_interface(self) -> None:
        """It is a handler."""
        verifyObject(IHandler, self.make("http://127.0.0.1"))

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
        for _ in range(50):
            handler.handle(RecordingExchange())
        late = RecordingExchange()
        handler.handle(late)
        self.assertEqual(late.status, 503)

    def test_https(self) -> None:
        """A server behind https is sent to when its roots are read and its name is known."""
        handler = self.make("https://backend")
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.assertEqual([name for name, _ in self.secured], ["backend"])
        self.secured[0][1].callback("connector")
        self.asked[0][1].callback("10.0.0.7")
        (upstream,) = self.upstreams
        self.assertEqual((upstream.address, upstream.connector), (("10.0.0.7", 443), "connector"))
        self.assertEqual(upstream.carried, [exchange])

    def test_no_roots(self) -> None:
        """Roots that cannot be read: 502, and read again by the next request."""
        handler = self.make("https://127.0.0.1")
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.secured[0][1].errback(OSError("no such file"))
        self.assertEqual(exchange.status, 502)
        again = RecordingExchange()
        handler.handle(again)
        self.secured[1][1].callback("connector")
        self.assertEqual(self.upstreams[0].carried, [again])


class SeveralTests(ProxyCase):
    """Several servers."""

    def several(self, **options: Any) -> ProxyHandler:
        return self.make("http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3", **options)

    def carried(self) -> list[int]:
        return [len(upstream.carried) for upstream in self.upstreams]

    def test_in_turn(self) -> None:
        """Each gets its share."""
        handler = self.several()
        for _ in range(6):
            handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), [2, 2, 2])

    def test_least_busy(self) -> None:
        """The one with the fewest open requests is next."""
        handler = self.several(balance="least busy")
        for _ in range(4):
            handler.handle(RecordingExchange())
        self.upstreams[1].ended()
        handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), [2, 2, 1])

    def test_next_one(self) -> None:
        """One that cannot be reached is tried on the others, each once, and rests for a while."""
        handler = self.several(balance="first")
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.assertTrue(self.upstreams[0].refuse())
        self.assertEqual(self.upstreams[1].carried, [exchange])
        handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), [1, 2, 0])
        self.clock.now += RESTS + 1
        handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), [2, 2, 0])

    def test_nobody(self) -> None:
        """When none can be reached, each was asked once; the next request is tried again."""
        handler = self.several(balance="first")
        handler.handle(RecordingExchange())
        self.assertEqual([upstream.refuse() for upstream in self.upstreams], [True, True, False])
        handler.handle(RecordingExchange())
        self.assertEqual(sum(self.carried()), 4)
        self.assertEqual([server.uses for server in handler.servers], [1, 0, 0])

    def test_names_one_by_one(self) -> None:
        """Requests wait only until the first address is known."""
        handler = self.make("http://one", "http://two")
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.asked[0][1].errback(OSError("unknown"))
        self.assertIsNone(exchange.status)
        self.asked[1][1].callback("10.0.0.2")
        self.assertEqual(self.upstreams[0].carried, [exchange])

    def test_health(self) -> None:
        """Those that do not answer well are left alone until they do."""
        handler = self.several(health="/up", health_every=5.0)
        self.clock.sweep(0.5)
        checks = [upstream.carried[0] for upstream in self.upstreams]
        self.assertEqual([upstream.tried for upstream in self.upstreams], [[None]] * 3)
        self.assertEqual(checks[0].request.target, b"/up")
        checks[0].answer(502, [], None)
        self.clock.sweep(5)
        self.assertEqual([server.well for server in handler.servers], [False, False, False])
        for upstream in self.upstreams[1:]:
            upstream.carried[1].answer(504, [], None)
        handler.handle(RecordingExchange())
        self.assertEqual(sum(self.carried()), 7)
        self.clock.sweep(5)
        newest = [upstream.carried[-1] for upstream in self.upstreams]
        answer = read_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9", b"GET")
        newest[1].forward(answer, b"", False)
        before = self.carried()
        for _ in range(4):
            handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), [before[0], before[1] + 4, before[2]])
        handler.close()
        self.assertEqual(self.clock.watched, [])
