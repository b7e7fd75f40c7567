"""Which connection to a site's own server an exchange gets, and how long one is kept."""

from __future__ import annotations

from typing import Any

from snickers.http.carrier import IDLE_WITHIN
from snickers.http.upstream import FRESH_WITHIN
from tests.upstream_case import GET, OK, POST, UpstreamCase


class UpstreamTests(UpstreamCase):
    """Kept connections, new ones, and none."""

    def test_reuse(self) -> None:
        """The next request uses the kept connection."""
        for _ in range(3):
            self.client.send(GET)
            self.server.send(OK)
        self.assertEqual(self.client.receive().count(b"\r\n\r\nok"), 3)
        self.assertEqual(len(self.wires.servers), 1)
        self.assertEqual(self.ended, 3)

    def test_what_must_not_be_sent_twice(self) -> None:
        """A POST gets a kept connection only if that is fresh, and is never sent twice."""
        post = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\nx"
        self.client.send(GET)
        self.server.send(OK)
        self.turns.pass_time(FRESH_WITHIN + 1)
        self.client.send(post)
        self.assertEqual(len(self.wires.servers), 2)
        self.server.send(OK)
        self.client.send(post)
        self.assertEqual(len(self.wires.servers), 2)
        self.server.close()
        self.assertIn(b"HTTP/1.1 502 ", self.client.receive())
        self.assertEqual(len(self.wires.servers), 2)

    def test_idle_connections_end(self) -> None:
        """Idle connections are not kept for ever."""
        self.client.send(GET)
        self.server.send(OK)
        self.turns.pass_time(IDLE_WITHIN + 1)
        self.server.receive()
        self.assertTrue(self.server.ended)
        self.assertEqual(self.upstream.idle, [])

    def test_close(self) -> None:
        """Closing lets idle connections go and finishes what is under way."""
        self.client.send(GET)
        self.upstream.close()
        self.server.send(OK)
        self.assertTrue(self.client.receive().endswith(b"ok"))
        self.server.receive()
        self.assertTrue(self.server.ended)

    def test_connect_within(self) -> None:
        """A server is given as long to accept as its site says."""
        given: list[float] = []
        connector = self.upstream.connector

        def note(reactor: Any, sweep: Any, address: Any, protocol: Any, within: float) -> Any:
            given.append(within)
            return connector(reactor, sweep, address, protocol, within)

        self.upstream.connector = note
        self.upstream.connect_within = 3.0
        self.client.send(GET)
        self.server.send(OK)
        self.assertTrue(self.client.receive().endswith(b"ok"))
        self.assertEqual(given, [3.0])

    def test_tried_on_another(self) -> None:
        """A server that cannot be reached: who knows another one has it carried, body and all,
        since nothing of it was received yet; each exchange is counted once at each."""
        tried: list[Any] = []
        begin, rest = POST[:-2], POST[-2:]

        def again(exchange: Any, before: Any) -> bool:
            tried.append(before)
            self.wires.refuse = False
            self.upstream.carry(exchange, (*before, "first"))
            return True

        self.upstream.again = again
        self.wires.refuse = True
        self.client.send(begin)
        self.client.send(rest)
        self.assertTrue(self.server.receive().endswith(b"\r\n\r\nhello"))
        self.assertEqual((tried, self.ended, len(self.wires.servers)), ([()], 1, 1))
        self.server.send(OK)
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 200 "))
        self.assertEqual(self.ended, 2)

    def test_refused(self) -> None:
        """A server that cannot be reached: 502, and whoever leads it there is told."""
        self.wires.refuse = True
        self.client.send(GET)
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 502 "))
        self.assertEqual((self.failed, self.ended), ([("127.0.0.1", 80)], 1))
