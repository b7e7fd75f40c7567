"""What all connections share, and how it all ends."""

from __future__ import annotations

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from snickers.http.front import MAX_CROWD
from tests.front_case import GET, FrontCase, say


class FrontTests(FrontCase):
    """All connections together."""

    def test_date(self) -> None:
        """The date is made once a sweep, of what the clock on the wall says (RFC 9110 §6.6.1)."""
        self.assertEqual(self.front.date, b"Date: Thu, 01 Jan 1970 00:00:00 GMT")
        self.front._wall = lambda: 1.0
        self.assertEqual(self.front.date, b"Date: Thu, 01 Jan 1970 00:00:00 GMT")
        self.turns.pass_time(1)
        self.assertEqual(self.front.date, b"Date: Thu, 01 Jan 1970 00:00:01 GMT")

    def test_drain(self) -> None:
        """Draining closes idle connections at once, the others after their exchange."""
        _, idle = self.connect()
        self.client.send(GET)
        self.front.drain()
        idle.receive()
        self.assertTrue(idle.ended)
        say(b"last")(self.handler.exchange)
        answer = self.client.receive()
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(self.client.ended)

    def test_crowd(self) -> None:
        """Each client has its own bound, who has no address none; nothing is kept of who left."""
        for client, most in (("a", MAX_CROWD), ("b", MAX_CROWD), (None, MAX_CROWD + 5)):
            for _ in range(most):
                self.assertTrue(self.front.crowd(client))
            self.assertEqual(self.front.crowd(client), client is None)
            for _ in range(most + (client is None)):
                self.front.disperse(client)
        self.assertEqual(self.front._crowds, {})

    def test_abort(self) -> None:
        """At the very end everything goes."""
        self.client.send(GET)
        self.front.abort()
        self.turns.settle()
        self.assertEqual(self.handler.responder.told, ["gone"])
        self.assertEqual(self.front.connections, set())

    def test_refusals_are_noted(self) -> None:
        """Each request that breaks the rules, before or within its body, is one line of the log:
        the site, who, the status and why."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.client.send(b"GET / HTTP/1.1\r\n\r\n")
        _, client = self.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.handler.exchange.receive()
        client.send(b"no chunk\r\n")
        self.front.note_refusal(None, b"192.0.2.9", 414, "too long")
        lines = [formatEvent(event) for event in events]
        who = "refused a request of 192.0.2.1"
        self.assertEqual(lines[0], f"a.example: {who}: 400, no Host field")
        self.assertTrue(lines[1].startswith(f"a.example: {who}: 400, "), lines)
        self.assertEqual(lines[2:], ["-: refused a request of 192.0.2.9: 414, too long"])
