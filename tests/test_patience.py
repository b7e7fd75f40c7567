"""Honest slow work lives, over HTTP/1 and over HTTP/2 alike: an upload of hours, a stream of events
of days, a WebSocket that says nothing. Every deadline is as a fresh installation has it.
"""

from __future__ import annotations

from tests import test_carrier
from tests.test_tunnel2 import TunnelCase
from tests.upstream_case import GET, UpstreamCase
from tests.wires import Wires

HOUR = 3600
DAY = 24 * HOUR
SELDOM = 300.0
UPLOADED = b"x" * 6000
"""What is sent every half minute: twice as much as `minimum rate` wants."""


def wait(wires: Wires, seconds: float) -> None:
    """Let *seconds* pass, looked at every five minutes: else that would be half a million looks."""
    sweep, turns = wires.sweep, wires.turns
    usual, sweep.interval = sweep.interval, SELDOM
    for _ in range(int(seconds / SELDOM)):
        turns.advance(SELDOM)
        turns.settle()
    sweep.interval = usual


class OneTests(UpstreamCase):
    """Over HTTP/1."""

    def test_upload_of_hours(self) -> None:
        """A body that moves, if slowly, arrives whole."""
        self.client.send(
            b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n"
            % (360 * len(UPLOADED))
        )
        received = self.server.receive().partition(b"\r\n\r\n")[2]
        for _ in range(360):
            self.turns.pass_time(30)
            self.client.send(UPLOADED)
            received += self.server.receive()
        self.assertEqual(received, 360 * UPLOADED)
        self.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertTrue(self.client.receive().endswith(b"ok"))

    def test_upload_to_a_slow_server(self) -> None:
        """Nor is it the client's fault if the server takes hours to go on."""
        size = 8 << 20
        self.client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0
        try:
            while sent < size:
                sent += self.client.sock.send(b"x" * min(65536, size - sent))
                self.turns.settle()
        except BlockingIOError:
            pass
        self.assertLess(sent, size)
        # By then the server has said that it goes on.
        self.server.send(b"HTTP/1.1 200 OK\r\n\r\nreading")
        wait(self.wires, 3 * HOUR)
        self.assertTrue(self.client.receive().endswith(b"reading\r\n"))
        received = len(self.server.receive().partition(b"\r\n\r\n")[2])
        while sent < size:
            try:
                sent += self.client.sock.send(b"x" * min(65536, size - sent))
            except BlockingIOError:
                pass
            received += len(self.server.receive())
        self.assertEqual(received, size)

    def test_events_of_days(self) -> None:
        """A stream says something now and then, and then nothing for a day."""
        self.client.send(GET)
        self.server.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for pause in (HOUR, HOUR, DAY, DAY):
            wait(self.wires, pause)
            self.server.send(b"data: x\n\n")
            self.assertTrue(self.client.receive().endswith(b"9\r\ndata: x\n\n\r\n"))
        self.assertEqual(self.ended, 0)

    def test_silent_for_days(self) -> None:
        """One that says nothing for three days carries what comes then, both ways."""
        self.client.send(test_carrier.WebSocketTests.ASK)
        self.server.receive()
        self.server.send(test_carrier.WebSocketTests.ACCEPT)
        self.client.receive()
        wait(self.wires, 3 * DAY)
        self.server.send(b"days later")
        self.assertEqual(self.client.receive(), b"days later")
        self.client.send(b"so it is")
        self.assertEqual(self.server.receive(), b"so it is")


class TwoTests(TunnelCase):
    """Over HTTP/2."""

    def test_upload_of_hours(self) -> None:
        """A body that moves, if slowly, arrives whole."""
        number = self.client.ask(end=False, method="POST")
        received = self.wires.server.receive()
        for _ in range(360):
            self.turns.pass_time(30)
            self.client.body(number, UPLOADED)
            received += self.wires.server.receive()
        self.client.body(number, b"", end=True)
        received += self.wires.server.receive()
        self.assertGreaterEqual(received.count(b"x"), 360 * len(UPLOADED))
        self.assertTrue(received.endswith(b"0\r\n\r\n"))
        self.wires.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.client.take()
        told = self.client.told[number]
        self.assertEqual((told.status, told.data, told.ended), (200, b"ok", True))

    def test_events_of_days(self) -> None:
        """A stream says something now and then, and then nothing for a day."""
        number = self.client.ask()
        self.wires.server.receive()
        self.wires.server.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for times, pause in enumerate((HOUR, HOUR, DAY, DAY), 1):
            wait(self.wires, pause)
            self.wires.server.send(b"data: x\n\n")
            self.client.take()
            self.assertEqual(self.client.told[number].data, times * b"data: x\n\n")
        self.assertEqual((self.ended, self.client.gone_away), (0, None))

    def test_silent_for_days(self) -> None:
        """A WebSocket that says nothing for three days carries what comes then, both ways."""
        number = self.open()
        wait(self.wires, 3 * DAY)
        self.client.body(number, b"days later")
        self.assertEqual(self.wires.server.receive(), b"days later")
        self.wires.server.send(b"so it is")
        self.client.take()
        self.assertTrue(self.client.told[number].data.endswith(b"so it is"))
