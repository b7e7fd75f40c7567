"""Looking whether a server is well, by the way that requests go."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.http.answer import IForwardingExchange
from snickers.http.health import Check
from snickers.http.upstream import Upstream
from snickers.interfaces import IExchange
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

    def test_given_up(self) -> None:
        """Who does not wait any longer hears nothing more, and the connection is closed."""
        check = self.check()
        check.give_up()
        check.give_up()
        self.assertEqual(self.said, [(False, "it did not answer in time")])
        self.wires.turns.settle()
        self.assertEqual(self.ended, 1)
