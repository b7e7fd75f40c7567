"""Connections whose client a proxy announces, through a port, without real time."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.announced import Announced, Announcing, Itself, Proxies
from snickers.http.policy import Networks
from snickers.listening import COMPLAIN_EVERY, WITHIN, Limits, Port
from snickers.proxyprotocol import SIGNATURE, header
from snickers.sweep import Sweep
from tests.test_stream import Half
from tests.wires import Turns

CLIENT = ("192.0.2.7", 4711)
SERVER = ("203.0.113.1", 443)


class AnnouncedCase(SynchronousTestCase):
    """A port on loopback, which trusts loopback."""

    def setUp(self) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        self.limits = Limits(10, 2)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        self.streams: list[Any] = []
        self.port = Port(self.turns, self.listening, self.sweep, self.limits, self.made)
        self.port.proxies = Proxies(("127.0.0.0/8",), Networks)
        self.port.startListening()
        self.addCleanup(self.port.stopListening)

    def made(self, stream: Any) -> Half:
        self.streams.append(stream)
        self.addCleanup(stream.abortConnection)
        return Half()

    def connect(self, data: bytes = b"") -> socket.socket:
        sock = socket.create_connection(self.listening.getsockname())
        self.addCleanup(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if data:
            sock.sendall(data)
        self.turns.settle()
        return sock


class AnnouncedTests(AnnouncedCase):
    """Headers on real sockets."""

    def test_interface(self) -> None:
        """What waits is a descriptor."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        verifyObject(IReadDescriptor, Announcing(self.port, ours, b""))

    def test_announced(self) -> None:
        """Both versions: the client is who the proxy says, and nothing else is read."""
        for version in ("v1", "v2"):
            self.connect(header(version, CLIENT, SERVER) + b"hello")
            stream = self.streams.pop()
            self.assertIsInstance(stream.peer, Announced)
            self.assertEqual(stream.peer, b"192.0.2.7")
            self.assertEqual(stream.peer.header.source, CLIENT)
            self.assertEqual(stream.peer.header.destination, SERVER)
            self.assertEqual(stream.protocol.data, b"hello")
        self.assertEqual(self.limits._each, {b"192.0.2.7": 2})

    def test_in_pieces(self) -> None:
        """A header in pieces; the port does not spin meanwhile."""
        for version in ("v1", "v2"):
            sock = self.connect()
            data = header(version, CLIENT, SERVER)
            for start in range(0, len(data), 6):
                self.assertEqual(self.streams, [])
                sock.sendall(data[start : start + 6])
                self.turns.settle()
            self.assertEqual(self.streams.pop().peer, b"192.0.2.7")
            sock.sendall(b"x")
            self.turns.settle()

    def test_not_one_of_its_clients(self) -> None:
        """The proxy's own connection counts as the proxy's."""
        self.connect(b"PROXY UNKNOWN\r\nhello")
        self.assertIs(type(self.streams[0].peer), Itself)
        self.assertEqual(self.streams[0].peer, b"127.0.0.1")
        self.assertEqual(self.streams[0].protocol.data, b"hello")

    def test_its_own_connections_lock_nobody_out(self) -> None:
        """Health checks, and clients that the proxy does not name, are no one client: neither are
        they refused at the limit of an address, nor is a client with the proxy's address."""
        local = SIGNATURE + b"\x20\x00\x00\x00"
        for data in (local, b"PROXY UNKNOWN\r\n", local + b"hello", local):
            self.connect(data)
        self.assertEqual(len(self.streams), 4)
        self.assertEqual([stream.peer for stream in self.streams], [b"127.0.0.1"] * 4)
        self.connect(header("v1", ("127.0.0.1", 1), ("127.0.0.1", 443)))
        self.assertEqual((len(self.streams), self.port.refused, self.limits.open), (5, 0, 5))
        for stream in self.streams:
            stream.abortConnection()
        self.assertEqual((self.limits.open, self.limits._each), (0, {}))

    def test_only_connected(self) -> None:
        """A health check that connects and says nothing is closed without a complaint."""
        sock = self.connect()
        sock.shutdown(socket.SHUT_WR)
        self.turns.settle()
        self.assertClosed(sock)
        self.assertEqual((self.port.unannounced_by, self.limits.open), (1, 0))
        self.assertEqual(self.port._told, -COMPLAIN_EVERY)
        self.connect(b"nonsense and more of it")
        self.assertGreater(self.port._told, -COMPLAIN_EVERY)

    def test_mapped(self) -> None:
        """IPv4 that a proxy says as IPv6 is that IPv4, for the limits too."""
        for version in ("v1", "v2"):
            said = (
                b"PROXY TCP6 ::ffff:192.0.2.9 ::ffff:203.0.113.1 4711 443\r\n"
                if version == "v1"
                else SIGNATURE
                + b"\x21\x21\x00\x24"
                + (bytes(10) + b"\xff\xff\xc0\x00\x02\x09")
                + (bytes(10) + b"\xff\xff\xcb\x00\x71\x01")
                + b"\x12\x67\x01\xbb"
            )
            self.connect(said)
            stream = self.streams[-1]
            self.assertEqual(stream.peer, b"192.0.2.9")
            self.assertEqual(stream.peer.header.source, ("192.0.2.9", 4711))
            self.assertEqual(stream.peer.header.destination, SERVER)
        self.assertEqual(self.limits._each, {b"192.0.2.9": 2})

    def test_one_deadline(self) -> None:
        """What the header has taken is not given again: whoever begins with the connection has
        what is left of its time."""
        given: list[float] = []
        take = self.port._take

        def note(sock: Any, peer: bytes, deadline: float) -> None:
            given.append(deadline)
            take(sock, peer, deadline)

        self.port._take = note  # type: ignore[method-assign]
        self.port.within = 8.0
        accepted = self.sweep.now
        sock = self.connect()
        self.turns.pass_time(7.0)
        sock.sendall(header("v1", CLIENT, SERVER))
        self.turns.settle()
        self.assertEqual(given, [accepted + 8.0])
        self.assertEqual(len(self.streams), 1)

    def test_required(self) -> None:
        """From a trusted address nothing but a header is taken; the connection is closed."""
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 nonsense\r\n" + b"x" * 20):
            sock = self.connect(data)
            self.assertClosed(sock)
        sock = self.connect()
        sock.shutdown(socket.SHUT_WR)
        self.turns.settle()
        self.assertClosed(sock)
        self.assertEqual((self.streams, self.port.unannounced_by, self.limits.open), ([], 3, 0))

    def assertClosed(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            self.assertEqual(sock.recv(1), b"")
        except ConnectionResetError:
            pass

    def test_cut_off(self) -> None:
        """A header that ends in the middle is not waited for."""
        sock = self.connect(header("v2", CLIENT, SERVER)[:20])
        sock.shutdown(socket.SHUT_WR)
        self.turns.settle()
        self.assertEqual((self.port.unannounced_by, self.limits.open), (1, 0))

    def test_slow(self) -> None:
        """A header has its deadline, which bytes do not extend."""
        sock = self.connect()
        for byte in header("v1", CLIENT, SERVER)[:8]:
            self.turns.pass_time(WITHIN / 8 + 0.2)
            try:
                sock.sendall(bytes((byte,)))
            except OSError:
                break
        self.turns.settle()
        self.assertEqual((self.streams, self.port.unannounced_by, self.limits.open), ([], 1, 0))

    def test_not_trusted(self) -> None:
        """Nobody else's header is looked at: it is what the client has said."""
        self.port.proxies = Proxies(("192.0.2.0/24", "unix"), Networks)
        data = header("v1", CLIENT, SERVER)
        self.connect(data)
        self.assertEqual(self.streams[0].peer, b"127.0.0.1")
        self.assertEqual(self.streams[0].protocol.data, data)

    def test_limits(self) -> None:
        """The limit of an address is the client's own, not the proxy's."""
        for n in range(4):
            self.connect(header("v1", (f"192.0.2.{n}", 1), SERVER))
        self.assertEqual(len(self.streams), 4)
        for _ in range(3):
            self.connect(header("v1", ("192.0.2.1", 1), SERVER))
        self.assertEqual((len(self.streams), self.port.refused), (5, 2))

    def test_drained(self) -> None:
        """At the end a header that is still to come is not waited for long."""
        self.connect()
        self.turns.settle()
        self.port.pause()
        self.port.drain(1.0)
        self.assertEqual(self.limits.open, 1)
        self.turns.pass_time(1.5)
        self.assertEqual((self.port.connections, self.limits.open), (set(), 0))

    def test_ends_with_all(self) -> None:
        """One that waits ends when all does."""
        self.connect()
        for connection in list(self.port.connections):
            connection.abortConnection()
        self.assertEqual((self.port.connections, self.limits.open), (set(), 0))

    def test_unix(self) -> None:
        """Those on unix sockets are one by themselves."""
        self.assertTrue(Proxies(("unix",), Networks).hold(b""))
        self.assertFalse(Proxies(("unix",), Networks).hold(b"127.0.0.1"))
        self.assertFalse(Proxies(("127.0.0.1/32",), Networks).hold(b""))
