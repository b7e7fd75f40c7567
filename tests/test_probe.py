"""A server is known to be ready soon after it is, and not before."""

from __future__ import annotations

import socket

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from snickers.containers.probe import ATTEMPT, BRIEF, BRIEF_PAUSE, CONNECT, SETTLE, NotReady, Prober
from snickers.interfaces.engine import Instance

SERVER = Instance("a.example", "one", "fp", True, ("10.0.0.7", 80))


class Engine:
    """An engine whose own check a test answers."""

    def __init__(self):
        self.asked = 0
        self.answers = []

    def healthy(self, instance):
        self.asked += 1
        return self.answers.pop(0)


class ProbeTests(TestCase):
    """Probes over a reactor in memory."""

    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.engine = Engine()

    def probe(self, health, instance=SERVER, brief=False, host="a.example"):
        prober = Prober(self.reactor, self.reactor)
        return prober.probe(instance, health, host, self.engine, brief)

    @property
    def tried(self):
        return len(self.reactor.tcpClients)

    def refuse(self):
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def connect(self):
        unix, tcp = self.reactor.unixClients, self.reactor.tcpClients
        factory = unix[-1][1] if unix else tcp[-1][2]
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def test_tcp(self):
        """``tcp``: ready when a connection was made and is kept for a moment; then it is ended."""
        probing = self.probe("tcp")
        self.assertEqual(self.reactor.tcpClients[0][:2], ("10.0.0.7", 80))
        _, transport = self.connect()
        self.assertNoResult(probing)
        self.reactor.advance(SETTLE)
        self.successResultOf(probing)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closed_at_once(self):
        """A forwarder that accepts and closes stands before a server that is not ready."""
        probing = self.probe("tcp")
        protocol, _ = self.connect()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertNoResult(probing)
        self.reactor.advance(0.02)
        self.assertEqual(self.tried, 2)
        self.connect()
        self.reactor.advance(SETTLE)
        self.successResultOf(probing)

    def test_unix(self):
        """A server may listen on a unix socket."""
        probing = self.probe("tcp", Instance("a", "1", "fp", True, "/run/a.sock"))
        self.assertEqual(self.reactor.unixClients[0][0], "/run/a.sock")
        self.connect()
        self.reactor.advance(SETTLE)
        self.successResultOf(probing)

    def test_pace(self):
        """Attempts lag less than 20 ms behind in the first half second, never more than a
        twentieth of the time waited, nor more than a second; there are not many."""
        probing = self.probe("tcp")
        start, last = self.reactor.seconds(), self.reactor.seconds()
        while self.reactor.seconds() < start + 60:
            tried = self.tried
            self.refuse()
            while self.tried == tried:
                self.reactor.advance(0.001)
            now = self.reactor.seconds()
            self.assertLess(now - last, min(1.01, 0.007 + (now - start) / 40))
            last = now
        self.assertLess(self.tried, 300)
        probing.cancel()
        self.failureResultOf(probing, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_silent_connect(self):
        """A connection that is not made soon is tried anew: its first packet may be lost."""
        self.probe("tcp")
        self.reactor.tcpClients[0]
        self.reactor.advance(CONNECT)
        self.reactor.advance(0.02)
        self.assertEqual(self.tried, 2)

    def test_cancel(self):
        """A probe that is cancelled lets go of its connection, and tries no more."""
        probing = self.probe("/up")
        _, transport = self.connect()
        probing.cancel()
        self.failureResultOf(probing, CancelledError)
        self.assertTrue(transport.disconnecting)
        self.reactor.advance(10)
        self.assertEqual((self.tried, self.reactor.getDelayedCalls()), (1, []))

    def test_path(self):
        """A path: asked for with the site's name, ready when the answer is 200 to 399."""
        for status in (b"200 OK", b"204", b"302 Found", b"399 x"):
            probing = self.probe("/up?x=1")
            protocol, transport = self.connect()
            head = transport.value()
            self.assertTrue(head.startswith(b"GET /up?x=1 HTTP/1.1\r\nHost: a.example\r\n"))
            self.assertTrue(head.endswith(b"\r\n\r\n"))
            protocol.dataReceived(b"HTTP/1.1 " + status + b"\r\n")
            self.successResultOf(probing)
            self.assertTrue(transport.disconnecting)
            protocol.dataReceived(b"more")
            protocol.connectionLost(Failure(ConnectionLost()))

    def test_path_in_pieces(self):
        """The answer may come byte by byte."""
        probing = self.probe("/up")
        protocol, _ = self.connect()
        for byte in b"HTTP/1.0 200 OK\r":
            protocol.dataReceived(bytes([byte]))
        self.assertNoResult(probing)
        protocol.dataReceived(b"\n")
        self.successResultOf(probing)

    def test_path_refused(self):
        """Any other answer, or none, is no readiness; the next attempt may be."""
        answers = (
            b"HTTP/1.1 503 Starting\r\n",
            b"HTTP/1.1 404 Not Found\r\n",
            b"HTTP/1.1 100 Continue\r\n",
            b"220 mail.example ESMTP\r\n",
            b"HTTP/1.1 \xb2\xb2\xb2\r\n",
            b"HTTP/1.1\r\n",
            b"\r\n",
            b"x" * 5000,
            b"",
        )
        for answer in answers:
            probing = self.probe("/up")
            tried = self.tried
            protocol, transport = self.connect()
            protocol.dataReceived(answer)
            if not answer:
                protocol.connectionLost(Failure(ConnectionLost()))
            self.assertTrue(transport.disconnecting, answer)
            self.assertNoResult(probing)
            self.reactor.advance(0.02)
            self.assertEqual(self.tried, tried + 1)
            self.connect()[0].dataReceived(b"HTTP/1.1 200 OK\r\n")
            self.successResultOf(probing)

    def test_silence(self):
        """A server that accepts and says nothing is asked again after five seconds."""
        probing = self.probe("/up")
        _, transport = self.connect()
        self.reactor.advance(ATTEMPT - 0.1)
        self.assertFalse(transport.disconnecting)
        self.reactor.advance(0.1)
        self.assertTrue(transport.disconnecting)
        self.reactor.advance(0.02)
        self.assertEqual(self.tried, 2)
        self.assertNoResult(probing)

    def test_wildcard(self):
        """A site of many names is asked for one of them."""
        self.probe("/up", host="*.a.example")
        self.assertIn(b"\r\nHost: health.a.example\r\n", self.connect()[1].value())

    def test_brief(self):
        """A brief probe gives up after three attempts and says what is wrong."""
        probing = self.probe("tcp", brief=True)
        for _ in range(BRIEF - 1):
            self.refuse()
            self.assertNoResult(probing)
            self.reactor.advance(BRIEF_PAUSE * 1.1)
        self.refuse()
        failure = self.failureResultOf(probing, NotReady)
        self.assertEqual(str(failure.value), "The server at 10.0.0.7:80 refuses connections.")

    def test_unready(self):
        """Whoever waits is told what came of each attempt."""
        said = []
        prober = Prober(self.reactor, self.reactor)
        probing = prober.probe(SERVER, "/up", "a.example", self.engine, unready=said.append)
        self.refuse()
        self.reactor.advance(BRIEF_PAUSE)
        self.connect()[0].dataReceived(b"HTTP/1.1 404\r\n")
        self.assertEqual(
            said,
            [
                "The server at 10.0.0.7:80 refuses connections.",
                "The server at 10.0.0.7:80 is not ready: /up answers 404, wanted is 200 to 399.",
            ],
        )
        self.reactor.advance(BRIEF_PAUSE)
        self.connect()[0].dataReceived(b"HTTP/1.1 200\r\n")
        self.successResultOf(probing)
        self.assertEqual(len(said), 2)

    def words(self, health, end, instance=SERVER):
        """What a brief probe says whose attempts all end as *end* makes them."""
        probing = self.probe(health, instance, brief=True)
        for _ in range(BRIEF):
            end()
            self.reactor.advance(BRIEF_PAUSE * 1.2)
        return str(self.failureResultOf(probing, NotReady).value)

    def test_words(self):
        """What is wrong is said in words for the owner."""

        def answers(data):
            return lambda: self.connect()[0].dataReceived(data)

        def closes():
            self.connect()[0].connectionLost(Failure(ConnectionLost()))

        self.assertIn(
            "/up answers 500, wanted is 200 to 399", self.words("/up", answers(b"HTTP/1.1 500\r\n"))
        )
        self.assertIn("not with HTTP", self.words("/up", answers(b"hello\n")))
        self.assertIn("without an answer to /up", self.words("/up", closes))
        self.assertIn("closes a new connection at once", self.words("tcp", closes))
        self.assertIn("in time", self.words("tcp", lambda: self.reactor.advance(CONNECT)))
        six = Instance("a", "1", "fp", True, ("fd00::7", 80))
        self.assertIn("[fd00::7]:80 refuses", self.words("tcp", self.refuse, six))
        nowhere = Instance("a", "1", "fp", True, None)
        self.assertIn("no address", self.words("tcp", lambda: None, nowhere))

    def test_docker(self):
        """``docker``: what the engine's own check says, asked for anew until it passes."""
        self.engine.answers = [succeed(False), fail(RuntimeError("busy")), succeed(True)]
        probing = self.probe("docker")
        self.assertEqual(self.engine.asked, 1)
        self.reactor.advance(0.2)
        self.assertEqual(self.engine.asked, 1)
        self.reactor.advance(0.06)
        self.assertEqual(self.engine.asked, 2)
        self.reactor.advance(0.3)
        self.successResultOf(probing)
        self.assertEqual(self.tried, 0)

    def test_docker_hangs(self):
        """An engine that does not answer is asked again."""
        self.engine.answers = [Deferred(), succeed(True)]
        probing = self.probe("docker")
        self.reactor.advance(ATTEMPT)
        self.reactor.advance(0.3)
        self.successResultOf(probing)


class Answering(Protocol):
    def dataReceived(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class SocketTests(TestCase):
    """Probes of real servers."""

    def probe(self, address, health):
        prober = Prober(reactor, reactor)
        instance = Instance("a.example", "1", "fp", True, address)
        return prober.probe(instance, health, "a.example", Engine())

    async def test_ready(self):
        """Servers that answer are ready, by any check, over TCP and on unix sockets."""
        factory = Factory.forProtocol(Answering)
        for listen in ("tcp:0:interface=127.0.0.1", f"unix:{self.mktemp()}"):
            port = await serverFromString(reactor, listen).listen(factory)
            host = port.getHost()
            address = host.name.decode() if hasattr(host, "name") else (host.host, host.port)
            await self.probe(address, "tcp")
            await self.probe(address, "/up")
            await port.stopListening()

    async def test_not_ready_yet(self):
        """A server that begins to listen later is found then."""
        held = socket.socket()
        self.addCleanup(held.close)
        held.bind(("127.0.0.1", 0))
        probing = self.probe(held.getsockname(), "tcp")
        self.assertNoResult(probing)
        held.listen()
        await probing
