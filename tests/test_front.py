"""What all connections share, and how it all ends."""

from __future__ import annotations

from math import inf

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from snickers.http.front import GRACE, MAX_CROWD, MOMENT, Bounds
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
        """At the end each connection has the answer that it waits for, or one more if it asks
        soon; those that have been idle for longer are closed when what they may have sent by now
        is read."""
        self.handler.at_once = say(b"last")
        _, idle = self.connect()
        _, unread = self.connect()
        self.turns.pass_time(GRACE + 1)
        _, fresh = self.connect()
        self.handler.at_once = None
        self.client.send(GET)
        unread.sock.send(GET)
        self.front.drain()
        unread.receive()
        self.assertFalse(unread.ended)
        say(b"last")(self.handler.exchange)
        self.assertIn(b"\r\nConnection: close\r\n", unread.receive())
        self.turns.pass_time(MOMENT)
        idle.receive()
        self.assertTrue(idle.ended)
        fresh.receive()
        self.assertFalse(fresh.ended)
        del self.handler.exchanges[1:]
        for client in (self.client, fresh):
            if client is fresh:
                client.send(GET)
            say(b"last")(self.handler.exchange)
            answer = client.receive()
            self.assertIn(b"\r\nConnection: close\r\n", answer)
            self.assertTrue(client.ended)

    def test_drain_before_it_is_read(self) -> None:
        """A request that has come, but was not read yet when all ends, is answered, however long
        its connection was idle before: a process that is held up reads it late."""
        self.handler.at_once = say(b"last")
        self.ask(GET)
        _, fresh = self.connect()
        _, begun = self.connect()
        self.turns.pass_time(GRACE + 1)
        clients = (self.client, fresh)
        for client in clients:
            client.sock.send(GET)
        begun.sock.send(GET[:-2])
        self.front.drain()
        for client in clients:
            answer = client.receive()
            self.assertIn(b"\r\nConnection: close\r\n", answer)
            self.assertTrue(client.ended)
        begun.send(GET[-2:])
        self.assertIn(b"last", begun.receive())

    def test_drain_within_an_answer(self) -> None:
        """A client that was promised another request has it, although all ends meanwhile."""
        self.client.send(GET)
        exchange = self.handler.exchange
        exchange.answer(200, [], 10, b"12345", False)
        self.assertNotIn(b"Connection: close", self.client.receive())
        self.front.drain()
        exchange.write(b"67890")
        exchange.finish()
        self.assertEqual((self.client.receive(), self.client.ended), (b"67890", False))
        self.handler.at_once = say(b"last")
        self.assertIn(b"\r\nConnection: close\r\n", self.ask(GET))
        self.assertTrue(self.client.ended)

    def test_drain_and_nothing_comes(self) -> None:
        """Connections on which nothing is asked hold the end up for a moment only, whether they
        were there before or are opened now; one whose head is on its way has its time."""
        self.handler.at_once = say(b"hello")
        self.ask(GET)
        _, fresh = self.connect()
        _, begun = self.connect()
        begun.send(GET[:-2])
        self.front.drain()
        _, new = self.connect()
        idle = (self.client, fresh, new)
        self.turns.pass_time(GRACE - 1)
        for client in idle:
            client.receive()
        self.assertEqual([client.ended for client in idle], [False] * 3)
        self.turns.pass_time(2)
        for client in idle:
            client.receive()
        self.assertEqual([client.ended for client in idle], [True] * 3)
        begun.send(GET[-2:])
        self.assertIn(b"hello", begun.receive())
        self.assertTrue(begun.ended)

    def test_idle_within(self) -> None:
        """A connection is kept as long as the settings say, at the end only for a moment."""
        self.assertEqual(self.front.idle_within, 120.0)
        self.front.draining = True
        self.assertEqual(self.front.idle_within, GRACE)
        self.front.bounds = Bounds(keep_alive=0.5)
        self.assertEqual(self.front.idle_within, 0.5)

    def test_last_moment(self) -> None:
        """What was idle before the end has that much less left, but a moment, since what has come
        may not have been read; nothing is kept for longer than it would be anyhow."""
        self.turns.pass_time(100)
        now = self.front.sweep.now
        for deadline, kept_for, left in (
            (now + 10, 10, GRACE),
            (now + 9.5, 10, GRACE - 0.5),
            (now + 5, 10, MOMENT),
            (now + 0.5, 1, 0.5),
            (now + 50, 10, GRACE),
            (inf, inf, GRACE),
            (now + 50, inf, MOMENT),
        ):
            with self.subTest(deadline=deadline - now, kept_for=kept_for):
                self.assertEqual(self.front.last_moment(deadline, kept_for) - now, left)

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
