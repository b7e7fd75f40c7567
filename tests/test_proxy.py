"""Sites whose server somebody else runs."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from snickers.http.balance import RESTS
from snickers.http.proxy import ProxyHandler
from snickers.http.servers import LOOK_UP_EVERY
from snickers.interfaces.exchange import IHandler
from tests.exchange_fake import RecordingExchange
from tests.proxy_case import FakeUpstream, ProxyCase


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
        self.assertEqual((self.upstreams[0].carried, self.names), ([exchange], []))
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
        self.assertEqual([host for host, _ in self.names], ["backend"])
        self.names[0][1].callback(("10.0.0.7",))
        self.assertEqual(self.upstreams[0].address, ("10.0.0.7", 8000))
        self.assertEqual(self.upstreams[0].carried, [stays])

    def test_look_up_again(self) -> None:
        """An old address goes on being used while the name is looked up anew."""
        handler = self.make("http://backend:8000")
        self.names[0][1].callback(("10.0.0.7",))
        self.clock.now = LOOK_UP_EVERY + 1
        handler.handle(RecordingExchange())
        self.assertEqual(len(self.names), 2)
        self.assertEqual(len(self.upstreams[0].carried), 1)
        self.names[1][1].callback(("10.0.0.8",))
        handler.handle(RecordingExchange())
        self.assertEqual(self.upstreams[1].address, ("10.0.0.8", 8000))
        self.assertTrue(self.upstreams[0].closed)

    def test_the_same_address(self) -> None:
        """A look-up that finds the same address keeps the connections."""
        handler = self.make("http://backend:8000")
        self.names[0][1].callback(("10.0.0.7",))
        self.upstreams[0].failed(("10.0.0.7", 8000))
        self.names[1][1].callback(("10.0.0.7",))
        handler.handle(RecordingExchange())
        self.assertEqual(len(self.upstreams), 1)

    def test_unknown_name(self) -> None:
        """A name that nobody knows: 502, and asked again by the next request."""
        handler = self.make("http://backend:8000")
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.names[0][1].errback(OSError("unknown"))
        self.assertEqual(exchange.status, 502)
        handler.handle(RecordingExchange())
        self.assertEqual(len(self.names), 2)

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
        self.assertEqual(self.names, [])
        self.secured[0][1].callback("connector")
        self.names[0][1].callback(("10.0.0.7",))
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

    def test_changed_roots(self) -> None:
        """Roots that have changed: connections that trusted the old ones are let go."""
        handler = self.make("https://127.0.0.1")
        self.secured[0][1].callback("old")
        self.clock.now = LOOK_UP_EVERY + 1
        handler.handle(RecordingExchange())
        self.secured[1][1].callback("old")
        self.assertEqual(len(self.upstreams), 1)
        self.clock.now = 2 * LOOK_UP_EVERY + 2
        handler.handle(RecordingExchange())
        self.secured[2][1].callback("new")
        self.assertTrue(self.upstreams[0].closed)
        self.assertEqual((len(self.upstreams), self.upstreams[1].connector), (2, "new"))

    def test_lost_roots(self) -> None:
        """Roots that cannot be read any more: what was trusted goes on being trusted."""
        handler = self.make("https://127.0.0.1")
        self.secured[0][1].callback("old")
        self.clock.now = LOOK_UP_EVERY + 1
        handler.handle(RecordingExchange())
        self.secured[1][1].errback(OSError("no such file"))
        handler.handle(RecordingExchange())
        self.assertEqual(len(self.upstreams[0].carried), 2)

    def test_changed_while_looking(self) -> None:
        """Who waits for an address when the site changes is still carried."""
        handler = self.make("https://backend")
        exchange = RecordingExchange()
        handler.handle(exchange)
        handler.close()
        self.secured[0][1].callback("connector")
        self.names[0][1].callback(("10.0.0.7",))
        self.assertEqual(self.upstreams[0].carried, [exchange])
        self.assertTrue(self.upstreams[0].closed)


class AddressesTests(ProxyCase):
    """A name with several addresses."""

    def setUp(self) -> None:
        super().setUp()
        self.handler = self.make("http://backend")
        self.find("10.0.0.1", "10.0.0.2")

    def find(self, *addresses: str) -> None:
        """Answer the newest look-up."""
        self.names[-1][1].callback(addresses)

    def carried(self) -> dict[str, int]:
        return {upstream.address[0]: len(upstream.carried) for upstream in self.upstreams}

    def test_next_address(self) -> None:
        """When one cannot be connected to the next is, for this request and those that follow."""
        exchange = RecordingExchange()
        self.handler.handle(exchange)
        self.assertTrue(self.upstreams[0].refuse())
        self.assertEqual(self.upstreams[1].carried, [exchange])
        self.handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), {"10.0.0.1": 1, "10.0.0.2": 2})
        self.assertEqual(self.handler.servers[0].uses, 2)

    def test_all_fail(self) -> None:
        """Each address is tried once for a request; the next one begins with the oldest failure."""
        self.handler.handle(RecordingExchange())
        self.assertEqual([upstream.refuse() for upstream in self.upstreams], [True, False])
        self.assertEqual(self.handler.servers[0].uses, 0)
        self.clock.now += 1
        self.handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), {"10.0.0.1": 2, "10.0.0.2": 1})

    def test_rotation(self) -> None:
        """The same addresses in another order keep the connections, and the one in use."""
        self.clock.now = LOOK_UP_EVERY + 1
        self.handler.handle(RecordingExchange())
        self.find("10.0.0.2", "10.0.0.1")
        self.handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), {"10.0.0.1": 2, "10.0.0.2": 0})

    def test_gone(self) -> None:
        """An address that the name has no more is left, and its idle connections are closed."""
        self.clock.now = LOOK_UP_EVERY + 1
        self.handler.handle(RecordingExchange())
        self.find("10.0.0.2", "10.0.0.3")
        self.handler.handle(RecordingExchange())
        self.assertEqual(self.carried(), {"10.0.0.1": 1, "10.0.0.2": 1, "10.0.0.3": 0})
        self.assertEqual([upstream.closed for upstream in self.upstreams], [True, False, False])
        # Its late failure says nothing of those that are in use.
        self.upstreams[0].failed(("10.0.0.1", 80))
        self.handler.handle(RecordingExchange())
        self.assertEqual(self.carried()["10.0.0.2"], 2)

    def test_rest(self) -> None:
        """One of several servers rests only when all its addresses have failed."""
        handler = self.make("http://names", "http://10.9.9.9", balance="first")
        self.find("10.1.0.1", "10.1.0.2")
        one, two = (up for up in self.upstreams if up.address[0].startswith("10.1."))
        exchange = RecordingExchange()
        handler.handle(exchange)
        self.assertTrue(one.refuse())
        self.assertEqual(handler.servers[0].rests_until, -float("inf"))
        self.assertTrue(two.refuse())
        self.assertEqual(handler.servers[0].rests_until, RESTS)
        (other,) = (up for up in self.upstreams if up.address[0] == "10.9.9.9")
        self.assertEqual(other.carried, [exchange])
        self.assertFalse(other.refuse())


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
        self.names[0][1].errback(OSError("unknown"))
        self.assertIsNone(exchange.status)
        self.names[1][1].callback(("10.0.0.2",))
        self.assertEqual(self.upstreams[0].carried, [exchange])

    def test_looks(self) -> None:
        """With a path to ask for, all are asked at once, and no more when the site has changed."""
        handler = self.several(health="/up", health_every=5.0)
        self.clock.sweep(0.5)
        self.assertEqual([upstream.tried for upstream in self.upstreams], [[None]] * 3)
        handler.close()
        self.clock.sweep(10)
        self.assertEqual((self.carried(), self.clock.watched), ([1, 1, 1], []))


EVENTS = st.one_of(
    st.tuples(st.just("request"), st.binary(max_size=1)),
    st.tuples(st.just("refuse"), st.integers(0, 20)),
    st.tuples(st.just("answer"), st.integers(0, 20)),
    st.tuples(st.just("found"), st.lists(st.sampled_from("123"), unique=True, max_size=3)),
    st.tuples(st.just("time"), st.integers(1, 40)),
)


class EveryExchangeTests(ProxyCase):
    """Whatever happens, each exchange ends exactly once."""

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        st.sampled_from(["round robin", "least busy", "address", "first"]),
        st.integers(1, 3),
        st.lists(EVENTS, max_size=40),
    )
    def test_once(self, balance: str, count: int, events: list[tuple[str, Any]]) -> None:
        """An exchange is at one address at a time, was at none twice, and is answered here only
        if nobody has it; what is counted of servers is what they have."""
        self.setUp()
        targets = ["http://10.0.0.1", "http://name", "http://10.0.0.3"][-count:]
        handler = self.make(*targets, balance=balance)
        exchanges: list[RecordingExchange] = []
        ended: set[RecordingExchange] = set()
        under_way: list[tuple[FakeUpstream, Any, Any]] = []
        asked: dict[int, set[Any]] = {}

        def collect() -> None:
            for upstream in self.upstreams:
                while upstream.carried:
                    exchange, tried = upstream.carried.pop(), upstream.tried.pop()
                    self.assertNotIn(upstream.address, asked.setdefault(id(exchange), set()))
                    asked[id(exchange)].add(upstream.address)
                    under_way.append((upstream, exchange, tried))

        def happen(what: str, value: Any) -> None:
            if what == "request":
                exchanges.append(RecordingExchange(peer=value))
                handler.handle(exchanges[-1])
            elif what == "time":
                self.clock.now += value
            elif what == "found":
                for _, waiting in self.names:
                    if not waiting.called and value:
                        waiting.callback([f"10.0.1.{digit}" for digit in value])
                    elif not waiting.called:
                        waiting.errback(OSError("nobody knows it"))
            elif under_way:
                upstream, exchange, tried = under_way.pop(value % len(under_way))
                ended.add(exchange)
                if what == "refuse":
                    upstream.failed(upstream.address)
                    if upstream.again is not None and upstream.again(exchange, tried):
                        ended.discard(exchange)
                upstream.ended()

        for event in [*events, ("found", "1")]:
            happen(*event)
            collect()
            carried = [exchange for _, exchange, _ in under_way]
            self.assertEqual(len(carried), len(set(map(id, carried))))
            for exchange in exchanges:
                here = exchange.status is not None
                self.assertLessEqual(here + (exchange in carried) + (exchange in ended), 1)
            self.assertEqual(sum(server.uses for server in handler.servers), len(under_way))
        for exchange in exchanges:
            here = exchange.status is not None
            self.assertEqual(here + (exchange in carried) + (exchange in ended), 1)
