"""Looking whether a server is well, by the way that requests go."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.http.answer import IForwardingExchange, read_answer
from snickers.http.health import Check
from snickers.http.upstream import Upstream
from snickers.interfaces.exchange import IExchange
from tests.exchange_fake import RecordingExchange
from tests.proxy_case import ProxyCase
from tests.wires import Wires


class CheckTests(SynchronousTestCase):
    """Checks through a real upstream."""

    def setUp(self) -> None:
        self.wires = Wires(self)
        self.ended = 0
        self.said: list[tuple[bool, str]] = []
        self.upstream = Upstream(
            self.wires.turns,
            self.wires.sweep,
            "a.example",
            ("127.0.0.1", 80),
            30.0,
            lambda address: None,
            self.end,
            self.wires.connector,
        )

    def end(self) -> None:
        self.ended += 1

    def check(self) -> Check:
        check = Check("/up", "backend", lambda well, words: self.said.append((well, words)))
        self.upstream.carry(check, None)
        self.wires.turns.settle()
        return check

    def test_interface(self) -> None:
        """It is an exchange."""
        check = self.check()
        verifyObject(IExchange, check)
        verifyObject(IForwardingExchange, check)

    def test_answers(self) -> None:
        """200 to 399 is well; a body is not waited for; the connection is used again."""
        for status, well in ((200, True), (204, True), (302, True), (404, False), (500, False)):
            self.check()
            request = self.wires.server.receive()
            self.assertTrue(request.startswith(b"GET /up HTTP/1.1\r\nHost: backend\r\n"))
            self.wires.server.send(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
            self.assertEqual(self.said.pop(), (well, f"it answered {status}"))
        self.assertEqual((len(self.wires.servers), self.ended), (1, 5))
        self.check()
        self.wires.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        self.assertEqual(self.said, [(True, "it answered 200")])
        self.assertEqual(self.ended, 6)
        self.check()
        self.assertEqual(len(self.wires.servers), 2)

    def test_no_answer(self) -> None:
        """Refused, nonsense, silence: each is said once."""
        self.wires.refuse = True
        self.check()
        self.wires.refuse = False
        self.assertEqual(self.said.pop(), (False, "it gave no answer"))
        self.check()
        self.wires.server.send(b"hello\r\n\r\n")
        self.assertEqual(self.said.pop(), (False, "it gave no answer"))
        self.check()
        self.wires.turns.pass_time(32)
        self.assertEqual(self.said.pop(), (False, "it did not answer in time"))
        self.assertEqual((self.said, self.ended), ([], 3))

    def test_dropped(self) -> None:
        """A look that is dropped says nothing, and its connection is closed."""
        self.check().drop()
        self.wires.turns.settle()
        self.assertEqual((self.said, self.ended), ([], 1))

    def test_given_up(self) -> None:
        """Who does not wait any longer hears nothing more, and the connection is closed."""
        check = self.check()
        check.give_up()
        check.give_up()
        self.assertEqual(self.said, [(False, "it did not answer in time")])
        self.wires.turns.settle()
        self.assertEqual(self.ended, 1)


class LooksTests(ProxyCase):
    """Looks at several servers, in rounds."""

    def setUp(self) -> None:
        super().setUp()
        self.handler = self.make(
            "http://10.0.0.1", "http://10.0.0.2:8080", health="/up", health_every=10.0
        )
        self.clock.sweep(0)

    def asked(self, index: int) -> Any:
        """Return the newest look at a server."""
        return self.upstreams[index].carried[-1]

    def answer(self, index: int, status: int) -> None:
        head = b"HTTP/1.1 %d X\r\nContent-Length: 9" % status
        self.asked(index).forward(read_answer(head, b"GET"), b"", False)
        self.upstreams[index].ended()

    def well(self) -> list[bool]:
        return [server.well for server in self.handler.servers]

    def counts(self) -> list[int]:
        return [len(upstream.carried) for upstream in self.upstreams]

    def test_what_is_asked(self) -> None:
        """The path, by the name that visitors use; of a wildcard site, by the server's own."""
        request = self.asked(0).request
        self.assertEqual((request.target, request.host), (b"/up", b"a.example"))
        self.upstreams.clear()
        self.make("http://10.0.0.2:8080", site="*.example", health="/up")
        self.clock.sweep(0)
        self.assertEqual(self.asked(0).request.authority, b"10.0.0.2:8080")

    def test_in_time(self) -> None:
        """Who has not answered within its time is not well; the next look comes in its time."""
        self.answer(0, 200)
        self.clock.sweep(4.5)
        self.assertEqual(self.well(), [True, True])
        self.clock.sweep(0.5)
        self.assertEqual(self.well(), [True, False])
        self.assertEqual(self.counts(), [1, 1])
        self.clock.sweep(5)
        self.assertEqual(self.counts(), [2, 2])
        self.answer(1, 204)
        self.assertEqual(self.well(), [True, True])

    def test_short_rounds(self) -> None:
        """Nobody is asked a second time before the first answer is given up."""
        self.handler.close()
        self.upstreams.clear()
        self.handler = self.make("http://10.0.0.1", health="/up", health_every=1.0)
        self.clock.sweep(0)
        self.clock.sweep(1)
        self.assertEqual((self.well(), self.counts()), ([False], [2]))
        self.answer(0, 200)
        self.assertEqual(self.well(), [True])

    def test_left_alone(self) -> None:
        """Visitors' requests go to those that are well, and to anybody if none is."""
        self.answer(0, 503)
        self.answer(1, 200)
        for _ in range(4):
            self.handler.handle(RecordingExchange())
        self.assertEqual(self.counts(), [1, 5])
        self.clock.sweep(5)
        self.clock.sweep(5)
        self.answer(1, 404)
        self.handler.handle(RecordingExchange())
        self.assertEqual(sum(self.counts()), 9)

    def test_alarm(self) -> None:
        """That none is well is an alarm, which is over when one is back or the site changes."""
        self.answer(0, 500)
        self.assertEqual(self.alarm.now, [])
        self.answer(1, 500)
        words = "none of its servers answers /up well: http://10.0.0.1, http://10.0.0.2:8080"
        self.assertEqual(self.alarm.now, [("upstream", "a.example", words)])
        self.clock.sweep(5)
        self.clock.sweep(5)
        self.answer(1, 301)
        self.assertEqual(self.alarm.now, [])
        self.answer(0, 500)
        self.clock.sweep(5)
        self.clock.sweep(5)
        self.answer(1, 500)
        self.assertEqual(len(self.alarm.now), 1)
        self.handler.close()
        self.assertEqual(self.alarm.now, [])

    def test_no_address(self) -> None:
        """A server whose name nobody knows is looked up at each look, and is an alarm."""
        self.handler.close()
        self.handler = self.make("http://backend", health="/up")
        self.clock.sweep(0)
        self.assertEqual(self.alarm.now, [])
        self.names[-1][1].errback(OSError("nobody knows it"))
        self.clock.sweep(10)
        self.assertEqual(len(self.alarm.now), 1)
        self.names[-1][1].callback(("10.0.0.7",))
        self.clock.sweep(10)
        self.assertEqual(self.alarm.now, [])

    def test_closed(self) -> None:
        """When the site changes open looks end, and nothing is said of them."""
        self.handler.close()
        self.clock.sweep(20)
        self.assertEqual((self.well(), self.counts()), ([True, True], [1, 1]))
        self.assertEqual(self.clock.watched, [])
