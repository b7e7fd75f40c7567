"""What visitors have had, as connections and exchanges of the fronts leave it."""

from __future__ import annotations

from snickers.http.accesslog import LogKeeper
from snickers.http.answer import CLIENT_GONE
from snickers.http.traffic import Tallied
from snickers.interfaces.traffic import BOUNDS, NO_TRAFFIC, Traffic
from tests.front_case import GET, FrontCase, say
from tests.test_accesslog import Kept


class TallyTests(FrontCase):
    """The sums of one site."""

    def setUp(self) -> None:
        super().setUp()
        self.keeper = LogKeeper(self.front, lambda: 0.0, Kept)
        self.keeper.apply("", "combined")
        self.front.seconds = self.turns.seconds

    def total(self) -> Traffic:
        self.keeper.flush()
        return self.live.traffic.total(self.live.connections)

    def test_nothing(self) -> None:
        """At the beginning there is nothing."""
        self.assertEqual(self.total(), NO_TRAFFIC)
        self.assertEqual(Tallied().total(), NO_TRAFFIC)

    def test_answers(self) -> None:
        """Answers count by their status and the time they took, the last instant of it included."""
        for status, seconds in ((200, 0.0), (200, BOUNDS[0]), (404, 0.3), (500, 99.0)):
            self.client.send(GET)
            self.turns.advance(seconds)
            self.handler.exchange.answer(status, [], 2, b"ok", True)
        self.client.send(GET)
        self.client.close()
        self.turns.settle()
        total = self.total()
        self.assertEqual(total.codes, ((200, 2), (404, 1), (CLIENT_GONE, 1), (500, 1)))
        buckets = [0] * (len(BOUNDS) + 1)
        buckets[0] = 3
        buckets[BOUNDS.index(0.5)] = buckets[-1] = 1
        self.assertEqual(total.buckets, tuple(buckets))
        self.assertAlmostEqual(total.seconds, BOUNDS[0] + 0.3 + 99.0)

    def test_another_site(self) -> None:
        """What is no site's own, or a site's that is no more, is nobody's."""
        self.sites.remove("a.example")
        self.ask(GET)
        self.assertEqual(self.total().codes, ())

    def test_websocket(self) -> None:
        """How long a WebSocket was open is no time of an answer."""
        self.client.send(GET)
        exchange = self.handler.exchange
        exchange.upgrade([])
        self.turns.advance(3600)
        exchange.finish()
        total = self.total()
        self.assertEqual((total.codes, sum(total.buckets), total.seconds), (((101, 1),), 0, 0.0))

    def test_bytes(self) -> None:
        """Bytes are those of connections that are open and of those that were, each once."""
        self.handler.at_once = say(b"hello")
        answer = len(self.ask(GET))
        self.assertEqual((self.total().received, self.total().sent), (len(GET), answer))
        self.client.close()
        self.turns.settle()
        self.assertEqual(self.live.connections, set())
        self.assertEqual((self.total().received, self.total().sent), (len(GET), answer))
        _, client = self.connect()
        client.send(GET)
        self.assertEqual((self.total().received, self.total().sent), (2 * len(GET), 2 * answer))

    def test_sum(self) -> None:
        """Sums of sums are of the same kind."""
        one = Traffic(((200, 1),), (1, *[0] * len(BOUNDS)), 0.001, 3, 4)
        self.assertEqual(one + NO_TRAFFIC, one)
        both = one + Traffic(((101, 1), (200, 2)), (*[0] * len(BOUNDS), 2), 20.0, 1, 1)
        self.assertEqual(both.codes, ((101, 1), (200, 3)))
        self.assertEqual((both.buckets[0], both.buckets[-1]), (1, 2))
        self.assertEqual((both.received, both.sent), (4, 5))
