"""Relays, between streams of either kind, on real sockets and without real time."""

from __future__ import annotations

import socket
from typing import Any

from twisted.trial.unittest import TestCase

from snickers.relay import Relay
from snickers.stream import HIGH_WATER, READ_SIZE, Stream
from snickers.sweep import Sweep
from snickers.tls.transport import TLSStream

from .test_stream import BIG, Half
from .test_transport import Owner
from .tls_wires import TLSWire, server_context
from .wires import Turns, Wire


class RelayCase(TestCase):
    def setUp(self) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        self.ended = 0

    def sockets(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours, theirs

    def plain(self) -> tuple[Stream, Any]:
        ours, theirs = self.sockets()
        stream = Stream(self.turns, ours, self.sweep, b"192.0.2.1")
        stream.protocol = Half()
        stream.start()
        return stream, Wire(self.turns, theirs)

    def secure(self) -> tuple[Stream, Any]:
        ours, theirs = self.sockets()
        stream = TLSStream(
            self.turns, ours, self.sweep, b"192.0.2.1", server_context(), Owner(), "site"
        )
        stream.start()
        return stream, TLSWire(self.turns, theirs).shake()

    def end(self) -> None:
        self.ended += 1

    def join(self, *ahead: bytes) -> None:
        self.left, self.client = self.plain()
        self.right, self.server = self.plain()
        self.relay = Relay(self.left, self.right, self.end, *ahead)

    def assertOver(self) -> None:
        self.turns.settle()
        self.assertEqual(self.ended, 1)
        self.assertEqual((self.left.disconnected, self.right.disconnected), (True, True))
        self.assertEqual((self.turns.getReaders(), self.turns.getWriters()), ([], []))


class BothKindsTests(RelayCase):
    def check(self, kinds: str, size: int, first: str) -> None:
        """Both directions arrive whole and end cleanly, whichever side ends first."""
        self.ended = 0
        (self.left, client), (self.right, server) = (
            self.secure() if kind == "t" else self.plain() for kind in kinds
        )
        Relay(self.left, self.right, self.end)
        there, back = BIG[:size], BIG[::-1][:size]
        self.assertEqual(len(there), size)
        one, other = (client, server) if first == "client" else (server, client)
        got = bytearray()
        self.pump(one, other, there, got)
        one.end()
        got += other.receive()
        self.assertTrue(bytes(got) == there)
        self.assertTrue(other.ended)
        self.assertEqual(self.ended, 0)
        got = bytearray()
        self.pump(other, one, back, got)
        other.end()
        got += one.receive()
        self.assertTrue(bytes(got) == back)
        self.assertTrue(one.ended)
        self.assertFalse(getattr(one, "cut", False) or getattr(other, "cut", False))
        self.assertOver()

    def pump(self, source: Any, sink: Any, data: bytes, got: bytearray) -> None:
        for start in range(0, len(data), 100_000):
            source.send(data[start : start + 100_000])
            got += sink.receive()

    def test_all(self) -> None:
        """10 bytes and 3 MB, plain and TLS on either side, the client's end first or last."""
        for kinds in ("pp", "tp", "pt", "tt"):
            for size in (10, 3_000_000):
                for first in ("client", "server"):
                    self.check(kinds, size, first)


class RelayTests(RelayCase):
    def test_ahead(self) -> None:
        """What was received before comes first."""
        self.join(b"from left, ", b"from right, ")
        self.client.send(b"and more")
        self.server.send(b"and more")
        self.assertEqual(self.server.receive(), b"from left, and more")
        self.assertEqual(self.client.receive(), b"from right, and more")

    def test_half_closed_before(self) -> None:
        """An end that came before the relay is passed on, too."""
        self.left, self.client = self.plain()
        self.right, self.server = self.plain()
        self.client.end()
        Relay(self.left, self.right, self.end, b"last words")
        self.assertEqual(self.server.receive(), b"last words")
        self.assertTrue(self.server.ended)
        self.server.send(b"answer")
        self.assertEqual(self.client.receive(), b"answer")
        self.server.end()
        self.assertOver()

    def test_gone_before(self) -> None:
        """A side that was closed before ends it all, once."""
        for which in (0, 1):
            self.ended = 0
            self.left, self.client = self.plain()
            self.right, self.server = self.plain()
            (self.left, self.right)[which].abortConnection()
            Relay(self.left, self.right, self.end)
            self.client.close()
            self.server.close()
            self.assertOver()

    def test_both_gone_before(self) -> None:
        """So do two."""
        self.left, self.client = self.plain()
        self.right, self.server = self.plain()
        self.left.abortConnection()
        self.right.abortConnection()
        Relay(self.left, self.right, self.end)
        self.assertOver()

    def test_back_pressure(self) -> None:
        """When one side does not read, the other one is not read from, and nothing piles up."""
        self.join()
        sent = 0
        try:
            while True:
                sent += self.client.sock.send(b"x" * 65536)
                self.turns.settle()
        except BlockingIOError:
            pass
        self.assertLessEqual(self.right._queued, HIGH_WATER + READ_SIZE)
        self.assertNotIn(self.left, self.turns.getReaders())
        self.server.send(b"the other direction goes on")
        self.assertEqual(self.client.receive(), b"the other direction goes on")
        self.assertEqual(len(self.server.receive()), sent)
        self.assertIn(self.left, self.turns.getReaders())

    def test_takes_over_producers(self) -> None:
        """A producer of before is forgotten, and a pause of before is undone."""
        self.left, self.client = self.plain()
        self.right, self.server = self.plain()
        self.left.registerProducer(Half(), True)
        self.left.pauseProducing()
        Relay(self.left, self.right, self.end)
        self.client.send(b"heard")
        self.assertEqual(self.server.receive(), b"heard")

    def test_lost(self) -> None:
        """When one side is lost, the other one still gets what had come from it, then an end."""
        self.join()
        self.server.send(b"last words")
        self.right.abortConnection()
        self.assertEqual(self.client.receive(), b"last words")
        self.assertTrue(self.client.ended)
        self.client.close()
        self.assertOver()

    def test_peer_gone_while_blocked(self) -> None:
        """A side that goes while the other one waits for it ends both."""
        self.join()
        try:
            while True:
                self.client.sock.send(b"x" * 65536)
                self.turns.settle()
        except BlockingIOError:
            pass
        self.server.close()
        self.client.close()
        self.assertOver()

    def test_deadlines(self) -> None:
        """A deadline of before holds no more, and silence ends nothing."""
        self.left, self.client = self.plain()
        self.right, self.server = self.plain()
        self.left.deadline = self.right.deadline = self.sweep.now + 5
        Relay(self.left, self.right, self.end)
        self.turns.pass_time(100)
        self.assertEqual(self.ended, 0)
        self.client.send(b"still here")
        self.assertEqual(self.server.receive(), b"still here")

    def test_cut(self) -> None:
        """It is known whether both sides have closed, or one went away."""
        self.join()
        self.client.end()
        self.server.close()
        self.assertOver()
        self.assertFalse(self.relay.cut)
        self.ended = 0
        self.join()
        self.right.abortConnection()
        self.client.close()
        self.assertOver()
        self.assertTrue(self.relay.cut)

    def test_close(self) -> None:
        """`close` ends both sides after what was queued."""
        self.join()
        self.relay.close()
        self.relay.close()
        self.client.receive()
        self.server.receive()
        self.assertEqual((self.client.ended, self.server.ended), (True, True))
        self.client.close()
        self.server.close()
        self.assertOver()

    def test_deadline_of_another(self) -> None:
        """A deadline that somebody else sets is nothing to a relay."""
        self.join()
        self.left.deadline = self.sweep.now
        self.turns.pass_time(1)
        self.assertEqual(self.ended, 0)
