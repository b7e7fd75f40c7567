"""The https port: real sockets on loopback, real clients, no real time."""

from __future__ import annotations

import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from snickers.announced import Proxies
from snickers.config.values import Listen
from snickers.http.policy import Networks
from snickers.listening import Limits, bind
from snickers.proxyprotocol import header
from snickers.stream import Stream
from snickers.sweep import Sweep
from snickers.tls.clienthello import (
    DECODE_ERROR,
    INTERNAL_ERROR,
    NO_APPLICATION_PROTOCOL,
    UNEXPECTED_MESSAGE,
    UNRECOGNIZED_NAME,
    alert,
)
from snickers.tls.port import TLSPort
from snickers.tls.transport import TLSStream
from tests.descriptors import open_descriptors

from .test_clienthello import hello, openssl_hello, records, server_name
from .test_stream import Half
from .tls_wires import TLSWire, client_context, server_context
from .wires import Turns, Wire


class PortCase(TestCase):
    others: dict[str, Any] = {}

    def setUp(self) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        self.limits = Limits(100, 50, 1 << 20)
        self.sites: dict[bytes, str] = {b"site.example": "site"}
        self.context: Any = server_context(b"http/1.1")
        self.asked: list[tuple[str, bytes]] = []
        self.built: list[tuple[TLSStream, str]] = []
        self.port: TLSPort[str] = TLSPort(
            self.turns,
            bind(Listen("tcp", "127.0.0.1", 0)),
            self.sweep,
            self.limits,
            route=self.sites.get,
            contexts=self.contexts,
            build=self.build,
            **self.others,
        )
        self.address = self.port.getHost()
        self.port.startListening()
        self.addCleanup(self.finish)

    def finish(self) -> None:
        for connection in list(self.port.connections):
            connection.abortConnection()
        self.port.stopListening()

    def contexts(self, site: str, name: bytes) -> Any:
        self.asked.append((site, name))
        return self.context

    def build(self, stream: TLSStream, site: str) -> Half:
        self.built.append((stream, site))
        return Half()

    def socket(self) -> socket.socket:
        sock = socket.create_connection(self.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(sock.close)
        return sock

    def plain(self) -> Wire:
        return Wire(self.turns, self.socket())

    def client(self, name: bytes = b"site.example", *alpn: bytes) -> TLSWire:
        return TLSWire(self.turns, self.socket(), name, client_context(*alpn))

    def assertResult(self, **results: int) -> None:
        found = {name: count for name, count in self.port.handshakes.items() if count}
        self.assertEqual(found, results)

    def assertNothingOpen(self) -> None:
        self.assertEqual((self.limits.open, self.port.connections), (0, set()))
        self.assertEqual(self.turns.getReaders(), [self.port])


class WelcomeTests(PortCase):
    def test_known_name(self) -> None:
        """A client that asks for a site is given that site's protocol, with its ALPN."""
        wire = self.client(b"Site.Example", b"h2", b"http/1.1").shake()
        self.assertResult(ok=1)
        self.assertEqual(self.asked, [("site", b"site.example")])
        ((stream, site),) = self.built
        self.assertEqual((site, stream.alpn, stream.peer), ("site", b"http/1.1", b"127.0.0.1"))
        wire.send(b"request")
        self.assertEqual(stream.protocol.data, b"request")
        stream.write(b"answer")
        self.assertEqual(wire.receive(), b"answer")
        self.assertEqual((self.limits.open, self.port.connections), (1, {stream}))
        wire.end()
        stream.loseConnection()
        wire.close()
        self.assertNothingOpen()

    def test_hello_behind_the_connection(self) -> None:
        """A hello that comes while other events are given out is not waited for."""
        memory = SSL.Connection(client_context(), None)
        memory.set_connect_state()
        memory.set_tlsext_host_name(b"site.example")
        self.assertRaises(SSL.WantReadError, memory.do_handshake)
        sock = self.socket()
        self.port.doRead()
        self.assertEqual((self.limits.open, self.port.connections), (1, set()))
        sock.send(memory.bio_read(65536))
        self.turns.advance(0)
        (stream,) = self.port.connections
        self.assertIsInstance(stream, TLSStream)
        self.assertEqual(self.asked, [("site", b"site.example")])

    def test_readiness_left_to_the_stream(self) -> None:
        """Who waited for the hello leaves nothing behind, whoever gets the connection."""
        wire = self.plain()
        self.turns.settle()
        (greeting,) = self.port.connections
        self.assertIn(greeting, self.turns.getReaders())
        TLSWire(self.turns, wire.sock, b"site.example", client_context()).shake()
        ((stream, _),) = self.built
        self.assertEqual(self.port.connections, {stream})
        self.assertEqual(set(self.turns.getReaders()), {self.port, stream})

    def test_without_alpn(self) -> None:
        """A client that does not negotiate a protocol is welcome."""
        self.client().shake()
        self.assertEqual(self.built[0][0].alpn, b"")

    def test_default_site(self) -> None:
        """A client that gives no name gets the site of the empty name, if there is one."""
        self.sites[b""] = "default"
        self.client(b"").shake()
        self.assertEqual(self.built[0][1], "default")

    def test_hello_in_pieces(self) -> None:
        """A hello that comes in any pieces is waited for, without spinning meanwhile."""
        memory = SSL.Connection(client_context(), None)
        memory.set_connect_state()
        memory.set_tlsext_host_name(b"site.example")
        self.assertRaises(SSL.WantReadError, memory.do_handshake)
        flight = memory.bio_read(65536)
        wire = self.plain()
        for start in range(0, len(flight), 200):
            wire.send(flight[start : start + 200])  # settles, or fails because it spins
        memory.bio_write(wire.receive())
        memory.do_handshake()
        wire.send(memory.bio_read(65536))
        self.assertResult(ok=1)

    def test_hello_in_pieces_over_records(self) -> None:
        """So is one that is spread over records as well, and begins with single bytes."""
        data = records(openssl_hello()[5:], 100)
        wire = self.plain()
        # Few of them: after some more the kernel would delay what the test sends.
        for start, end in zip(
            (0, 1, 2, 5, 6, 104, 105, 106, 900), (1, 2, 5, 6, 104, 105, 106, 900, None), strict=True
        ):
            wire.send(data[start:end])
        self.assertEqual(self.asked, [("site", b"site.example")])
        self.assertNotEqual(wire.receive(), b"")

    def test_reads_normally_afterwards(self) -> None:
        """Having waited for many bytes does not make the handshake wait for as many."""
        sock = self.socket()
        memory = SSL.Connection(client_context(), None)
        memory.set_connect_state()
        memory.set_tlsext_host_name(b"site.example")
        self.assertRaises(SSL.WantReadError, memory.do_handshake)
        flight = memory.bio_read(65536)
        wire = Wire(self.turns, sock)
        wire.send(flight[:50])
        wire.send(flight[50:])
        memory.bio_write(wire.receive())
        memory.do_handshake()
        rest = memory.bio_read(65536)
        for piece in (rest[:1], rest[1:6], rest[6:7], rest[7:]):
            wire.send(piece)
        self.assertResult(ok=1)


class RefusalTests(PortCase):
    def refused(self, answer: bytes, data: bytes) -> Wire:
        """Send *data*, expect *answer* and a clean end."""
        wire = self.plain()
        wire.send(data)
        self.assertEqual(wire.receive(), answer)
        self.assertEqual((wire.ended, wire.reset), (True, False))
        wire.close()
        self.assertEqual(self.built, [])
        self.assertNothingOpen()
        return wire

    def test_unknown_name(self) -> None:
        """A name that no site has: unrecognized_name, and OpenSSL is not even asked."""

        def connection(*args: Any) -> Any:
            raise AssertionError("OpenSSL was asked")

        data = openssl_hello(b"other.example")
        self.patch(SSL, "Connection", connection)
        self.refused(alert(UNRECOGNIZED_NAME), data)
        self.assertResult(unknown_name=1)
        self.assertEqual(self.asked, [])

    def test_no_name(self) -> None:
        """No name and no default site: the same."""
        self.refused(alert(UNRECOGNIZED_NAME), openssl_hello(None))
        self.assertResult(unknown_name=1)

    def test_odd_name(self) -> None:
        """A name with odd bytes: the same."""
        self.sites[b""] = "default"
        self.refused(alert(UNRECOGNIZED_NAME), hello(server_name(b"site.example\0")))
        self.assertResult(unknown_name=1)

    def test_unknown_name_as_a_client_sees_it(self) -> None:
        """A client is told in its own words."""
        wire = self.client(b"other.example").shake()
        self.assertIn("unrecognized name", wire.error)

    def test_no_common_alpn(self) -> None:
        """Protocols of which we speak none: no_application_protocol (RFC 7301 §3.2)."""
        self.refused(alert(NO_APPLICATION_PROTOCOL), openssl_hello(alpn=(b"h2", b"spdy/1")))
        self.assertResult(no_alpn=1)
        self.assertEqual(self.asked, [])

    def test_plain_http(self) -> None:
        """Plain HTTP is told, in HTTP, to use https."""
        wire = self.plain()
        wire.send(b"GET / HTTP/1.1\r\nHost: site.example\r\n\r\n")
        answer = wire.receive()
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 400 "))
        self.assertIn(b"https", body)
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head)
        self.assertEqual((wire.ended, wire.reset), (True, False))
        wire.close()
        self.assertResult(not_tls=1)
        self.assertNothingOpen()

    def test_not_tls(self) -> None:
        """What is neither gets an alert."""
        self.refused(alert(UNEXPECTED_MESSAGE), b"SSH-2.0-x\r\n")
        self.assertResult(not_tls=1)

    def test_bad_hello(self) -> None:
        """A damaged hello gets the alert that says so."""
        self.refused(alert(DECODE_ERROR), hello(b"\0\0\0\5x"))
        self.assertResult(failed=1)

    def test_refused_while_sending(self) -> None:
        """Who is refused in the middle of sending hears the answer all the same."""
        wire = self.plain()
        wire.send(b"POST / HTTP/1.1\r\n")
        wire.send(b"x" * 100000)
        self.assertTrue(wire.receive().startswith(b"HTTP/1.1 400 "))
        self.assertFalse(wire.reset)

    def test_truncated_hello(self) -> None:
        """A client that ends in the middle of its hello is closed, and nothing spins."""
        wire = self.plain()
        wire.send(openssl_hello()[:300])
        wire.end()
        wire.receive()
        self.assertTrue(wire.ended or wire.reset)
        self.assertResult(failed=1)
        self.assertNothingOpen()

    def test_nothing_at_all(self) -> None:
        """So is one that ends without a word."""
        wire = self.plain()
        self.turns.settle()
        wire.close()
        self.assertResult(failed=1)
        self.assertNothingOpen()

    def test_reset(self) -> None:
        """So is one that resets, at once or in the middle."""
        for data in (b"", b"\x16\x03\x01"):
            for early in (True, False):
                wire = self.plain()
                if not early:
                    self.turns.settle()
                if data:
                    wire.sock.send(data)
                wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                wire.close()
                self.assertNothingOpen()
        self.assertResult(failed=4)

    def test_slow_hello(self) -> None:
        """The deadline counts from the accept; no byte puts it off."""
        wire = self.plain()
        for byte in openssl_hello()[:9]:
            wire.send(bytes([byte]))
            self.turns.pass_time(1)
        self.assertResult()
        self.turns.pass_time(2)
        self.assertResult(timeout=1)
        self.assertNothingOpen()

    def test_slow_announcement(self) -> None:
        """A proxy's header and the handshake have one deadline together, from the accept."""
        self.port.proxies = Proxies(("127.0.0.0/8",), Networks)
        wire = self.plain()
        self.turns.settle()
        self.turns.pass_time(8)
        wire.send(header("v2", ("192.0.2.7", 4711), ("192.0.2.1", 443)))
        self.assertResult()
        self.assertEqual(self.limits._each, {b"192.0.2.7": 1})
        self.turns.pass_time(3)
        self.assertResult(timeout=1)
        self.assertNothingOpen()

    def test_slow_handshake(self) -> None:
        """Nor does the hello itself: the handshake has what it has left."""
        self.client().begin()
        self.turns.settle()
        self.turns.pass_time(8)
        self.client(b"site.example").begin()
        self.turns.settle()
        self.turns.pass_time(3)
        self.assertResult(timeout=1)
        self.turns.pass_time(8)
        self.assertResult(timeout=2)
        self.assertNothingOpen()

    def test_drained(self) -> None:
        """At the end there is little time left for a hello and for a handshake, wherever it is;
        what can be used already is left alone."""
        used = self.client().shake()
        self.plain().send(b"\x16\x03")
        self.client().begin()
        self.turns.settle()
        self.port.pause()
        self.port.drain(2.0)
        self.turns.pass_time(1)
        self.assertResult(ok=1)
        self.turns.pass_time(2)
        self.assertResult(ok=1, timeout=2)
        ((stream, _),) = self.built
        self.assertEqual(self.port.connections, {stream})
        used.send(b"request")
        self.assertEqual(stream.protocol.data, b"request")

    def test_drained_in_time(self) -> None:
        """A handshake that is quick is done as ever."""
        wire = self.client().begin()
        self.turns.settle()
        self.port.pause()
        self.port.drain(2.0)
        wire.shake()
        self.turns.pass_time(5)
        self.assertResult(ok=1)

    def test_failing_handshake(self) -> None:
        """A handshake that fails is counted."""
        self.client().begin().close()
        self.turns.settle()
        self.assertResult(failed=1)
        self.assertNothingOpen()

    def test_closed_by_the_owner(self) -> None:
        """Whoever is open in whatever state can be closed by the port's owner."""
        silent, partial = self.plain(), self.plain()
        partial.sock.send(b"\x16\x03")
        self.client().begin()
        self.client().shake()
        self.assertEqual(len(self.port.connections), 4)
        for connection in list(self.port.connections):
            connection.abortConnection()
        self.assertNothingOpen()
        self.assertIsNotNone(silent)

    def test_failing_route(self) -> None:
        """A route that raises, whenever, costs that connection only."""

        def fail(name: bytes) -> str | None:
            raise ZeroDivisionError

        self.port.route = fail
        self.client().begin()
        self.turns.settle()
        wire = self.plain()
        data = openssl_hello()
        wire.send(data[:100])
        wire.send(data[100:])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertResult(failed=2)
        self.assertNothingOpen()

    def test_failing_build(self) -> None:
        """So does a factory that raises."""

        def fail(stream: TLSStream, site: str) -> Any:
            raise ZeroDivisionError

        self.port.build = fail
        self.client().shake()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNothingOpen()


class ContextTests(PortCase):
    """The context may have to be loaded first."""

    def setUp(self) -> None:
        super().setUp()
        self.loaded = self.context
        self.context = Deferred()

    def test_loaded_later(self) -> None:
        """The client waits, and is served."""
        wire = self.client().begin()
        self.turns.settle()
        self.assertEqual(len(self.port.connections), 1)
        self.context.callback(self.loaded)
        wire.shake()
        self.assertResult(ok=1)

    def test_loaded_before(self) -> None:
        """A Deferred may have fired already."""
        self.context.callback(self.loaded)
        self.client().shake()
        self.assertResult(ok=1)

    def test_failed(self) -> None:
        """One that cannot be loaded: internal_error."""
        wire = self.plain()
        wire.send(openssl_hello())
        self.context.errback(ZeroDivisionError())
        self.assertEqual(wire.receive(), alert(INTERNAL_ERROR))
        self.assertFalse(wire.reset)
        self.assertResult(failed=1)
        self.assertNothingOpen()

    def test_too_late(self) -> None:
        """The handshake's deadline holds; what comes later is for the next one."""
        self.client().begin()
        self.turns.pass_time(11)
        self.assertResult(timeout=1)
        self.assertNothingOpen()
        self.context.callback(self.loaded)
        self.assertResult(timeout=1)

    def test_drained(self) -> None:
        """At the end it is not waited for long."""
        self.client().begin()
        self.turns.settle()
        self.port.pause()
        self.port.drain(2.0)
        self.turns.pass_time(1)
        self.assertResult()
        self.turns.pass_time(2)
        self.assertResult(timeout=1)
        self.assertEqual((self.limits.open, self.port.connections), (0, set()))

    def test_failed_too_late(self) -> None:
        """The same for a failure."""
        self.client().begin()
        self.turns.pass_time(11)
        self.context.errback(ZeroDivisionError())
        self.assertResult(timeout=1)

    def test_closed_meanwhile(self) -> None:
        """The port's owner may close who waits."""
        self.client().begin()
        self.turns.settle()
        for connection in list(self.port.connections):
            connection.loseConnection()
            connection.loseConnection()
        self.assertResult(failed=1)
        self.assertNothingOpen()
        self.context.callback(self.loaded)

    def test_not_a_context(self) -> None:
        """What is no context at all is a failure like any other."""
        self.client().begin()
        self.turns.settle()
        self.context.callback(None)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertResult(failed=1)
        self.assertNothingOpen()


class ChallengeTests(PortCase):
    def setUp(self) -> None:
        self.looked_for: list[bytes] = []
        self.challenge: Deferred[SSL.Context | None] = Deferred()
        self.carried: list[bytes] = []
        self.others = {
            "challenge": self.look_for,
            "unopened": lambda site: site == "closed",
            "carry": self.carry,
        }
        super().setUp()
        self.sites[b"closed.example"] = "closed"
        self.proof = server_context(b"acme-tls/1")

    def look_for(self, name: bytes) -> Deferred[SSL.Context | None]:
        self.looked_for.append(name)
        return self.challenge

    def carry(self, stream: Stream, site: str, name: bytes) -> Half:
        self.carried.append(name)
        stream.resumeProducing()
        return Half()

    def test_challenge(self) -> None:
        """A CA that looks for its challenge is shown that certificate, and nothing else."""
        self.challenge.callback(self.proof)
        wire = self.client(b"new.example", b"acme-tls/1").shake()
        self.assertEqual(wire.tls.get_alpn_proto_negotiated(), b"acme-tls/1")
        wire.receive()
        self.assertTrue(wire.ended)
        self.assertEqual((self.looked_for, self.built), ([b"new.example"], []))
        self.assertResult(ok=1)

    def test_looked_for_later(self) -> None:
        """The CA waits until the files were looked at; others do not."""
        ca = self.client(b"site.example", b"acme-tls/1").begin()
        self.turns.settle()
        self.client().shake()
        self.assertResult(ok=1)
        self.challenge.callback(self.proof)
        ca.shake()
        self.assertEqual(ca.tls.get_alpn_proto_negotiated(), b"acme-tls/1")
        self.assertResult(ok=2)

    def test_no_challenge(self) -> None:
        """Where there is none, its protocol is none of ours (RFC 7301 §3.2)."""
        self.challenge.callback(None)
        wire = self.plain()
        wire.send(openssl_hello(alpn=(b"acme-tls/1",)))
        self.assertEqual(wire.receive(), alert(NO_APPLICATION_PROTOCOL))
        self.assertResult(no_alpn=1)
        self.assertNothingOpen()

    def test_unknown_name(self) -> None:
        """A name that is nobody's is answered as ever."""
        self.challenge.callback(None)
        wire = self.plain()
        wire.send(openssl_hello(b"other.example", (b"acme-tls/1",)))
        self.assertEqual(wire.receive(), alert(UNRECOGNIZED_NAME))
        self.assertResult(unknown_name=1)

    def test_unopened(self) -> None:
        """A site whose TLS is not ours answers its own challenges, every byte of the hello passed
        on; but for a challenge of ours."""
        wire = self.plain()
        data = openssl_hello(b"closed.example", (b"acme-tls/1",))
        wire.send(data)
        self.assertEqual(self.carried, [])
        self.challenge.callback(None)
        self.turns.settle()
        self.assertEqual(self.carried, [b"closed.example"])
        (stream,) = self.port.connections
        self.assertEqual(stream.protocol.data, data)
        self.challenge = Deferred()
        self.challenge.callback(self.proof)
        self.client(b"closed.example", b"acme-tls/1").shake()
        self.assertEqual(len(self.carried), 1)
        self.assertResult(ok=1)

    def test_one_protocol_among_others(self) -> None:
        """Who offers other protocols as well is no CA (RFC 8737 §3)."""
        self.client(b"site.example", b"acme-tls/1", b"http/1.1").shake()
        self.assertEqual((self.looked_for, self.built[0][0].alpn), ([], b"http/1.1"))

    def test_slow(self) -> None:
        """A disk that is too slow costs that connection only."""
        self.client(b"site.example", b"acme-tls/1").begin()
        self.turns.pass_time(11)
        self.assertResult(timeout=1)
        self.assertNothingOpen()
        self.challenge.callback(self.proof)
        self.assertResult(timeout=1)

    def test_too_many(self) -> None:
        """So does a question that is not answered."""
        self.challenge.errback(ZeroDivisionError())
        self.client(b"site.example", b"acme-tls/1").begin()
        self.turns.settle()
        self.assertResult(failed=1)
        self.assertNothingOpen()


class UnopenedTests(PortCase):
    def setUp(self) -> None:
        self.carried: list[tuple[Stream, str]] = []
        self.others = {"unopened": lambda site: site == "closed", "carry": self.carry}
        super().setUp()
        self.sites[b"closed.example"] = "closed"

    def carry(self, stream: Stream, site: str, name: bytes) -> Half:
        self.carried.append((stream, site))
        self.assertEqual(name, b"closed.example")
        return Half()

    def test_unopened(self) -> None:
        """A site whose TLS is not ours gets every byte from the first one on."""
        data = openssl_hello(b"closed.example", (b"h2",))
        wire = self.plain()
        wire.send(data)
        ((stream, site),) = self.carried
        self.assertEqual(stream.protocol.data, b"")
        stream.resumeProducing()
        self.turns.settle()
        self.assertEqual((site, stream.protocol.data), ("closed", data))
        self.assertEqual(self.port.connections, {stream})
        self.assertResult()
        wire.close()
        stream.loseConnection()
        self.turns.settle()
        self.assertNothingOpen()

    def test_others(self) -> None:
        """The others are opened as ever."""
        self.client().shake()
        self.assertEqual((self.carried, len(self.built)), ([], 1))


class LimitTests(PortCase):
    def test_refused(self) -> None:
        """Beyond the limits connections are closed at once, and counted."""
        self.limits.change(2, 50, 1 << 20)
        wires = [self.plain() for _ in range(3)]
        self.turns.settle()
        wires[2].receive()
        self.assertTrue(wires[2].ended)
        self.assertResult(refused=1)
        self.assertEqual(self.limits.open, 2)

    def test_descriptors_are_not_leaked(self) -> None:
        """Whatever becomes of a connection, its descriptor is free afterwards."""
        before = open_descriptors()
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n", openssl_hello(b"x.example"), b"\x16\x03"):
            wire = self.plain()
            if data:
                wire.send(data)
            wire.receive()
            wire.close()
        self.assertNothingOpen()
        self.assertEqual(open_descriptors() - before, set())
