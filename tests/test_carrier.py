"""Carrying exchanges to a site's own server and back, from a client's socket to a server's."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import formatEvent, globalLogPublisher
from zope.interface.verify import verifyObject

from snickers.http.carrier import Carrier
from snickers.interfaces.exchange import IResponder
from tests.upstream_case import FORWARDED, GET, ID, OK, UpstreamCase
from tests.wires import Wires


class ExchangeTests(UpstreamCase):
    """One request, one answer."""

    def test_interface(self) -> None:
        """A carrier is what exchanges call."""
        verifyObject(IResponder, Carrier(self.upstream))

    def test_plain(self) -> None:
        """Head and body go through; who asked is told; the lease ends."""
        self.client.send(
            b"GET /x?y HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 6\r\nA: b\r\n\r\n"
        )
        self.assertEqual(
            self.server.receive(),
            b"GET /x?y HTTP/1.1\r\nHost: a.example\r\nA: b\r\n" + FORWARDED + ID + b"\r\n",
        )
        self.server.send(OK)
        self.assertEqual(
            self.client.receive(),
            b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 2\r\n\r\nok",
        )
        self.assertEqual(self.ended, 1)

    def test_large_heads_are_not_kept(self) -> None:
        """What was sent for a small request is kept for the next one like it, and only then."""
        for size, kept in ((100, True), (5000, False)):
            head = GET.replace(b"\r\n\r\n", b"\r\nA: " + b"b" * size + b"\r\n\r\n")
            for _ in range(2):
                self.client.send(head)
                exchange = next(iter(self.front.connections)).exchange
                self.assertEqual(bool(exchange.request.wire), kept)
                self.assertIn(b"b" * size, self.server.receive())
                self.server.send(OK)

    def test_date_is_added(self) -> None:
        """An answer without a date gets one (RFC 9110 §6.6.1)."""
        self.client.send(GET)
        self.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b"\r\nDate: Thu, 01 Jan 1970", self.client.receive())

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(
        st.lists(st.integers(1, 40), max_size=12), st.sampled_from(["length", "chunked", "close"])
    )
    def test_answers_in_pieces(self, cuts: list, framing: str) -> None:
        """However an answer is cut and framed, the client gets the same body."""
        self.prepare(Wires(self))
        body = bytes(range(97, 123)) * 3
        head = b"HTTP/1.1 200 OK\r\n"
        if framing == "length":
            data = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        elif framing == "chunked":
            data = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
                len(body),
                body,
            )
        else:
            data = head + b"\r\n" + body
        self.client.send(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
        for cut in cuts:
            self.server.send(data[:cut])
            data = data[cut:]
        self.server.send(data)
        if framing == "close":
            self.server.close()
        answer = self.client.receive()
        self.assertTrue(answer.endswith(b"\r\n\r\n" + body), answer)
        self.assertEqual(self.ended, 1)

    def test_chunked_to_chunked(self) -> None:
        """Chunks are framed anew, trailers passed on, the connection kept."""
        self.client.send(GET)
        self.server.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3;x=y\r\nabc\r\n"
        )
        self.server.send(b"0\r\nX-Sum: 1\r\n\r\n")
        self.assertTrue(
            self.client.receive().endswith(
                b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
            )
        )
        self.client.send(GET)
        self.assertEqual(len(self.wires.servers), 1)

    def test_head(self) -> None:
        """An answer to HEAD has no body, but says how long it would be."""
        self.client.send(b"HEAD" + GET[3:])
        self.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        self.assertIn(b"\r\nContent-Length: 5000\r\n", self.client.receive())
        self.client.send(GET)
        self.server.send(OK)
        self.assertTrue(self.client.receive().endswith(b"ok"))
        self.assertEqual(len(self.wires.servers), 1)

    def test_not_modified(self) -> None:
        """304 and 204 have no body."""
        for status in (b"304 Not Modified", b"204 No Content"):
            self.client.send(GET)
            self.server.send(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
            answer = self.client.receive()
            self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), answer)
            self.assertTrue(answer.endswith(b"\r\n\r\n"))
            self.assertNotIn(b"chunked", answer)
        self.assertEqual(len(self.wires.servers), 1)

    def test_interim_answers(self) -> None:
        """Hints are passed on; 100 is the front's to say."""
        self.client.send(GET)
        self.server.send(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
        )
        answer = self.client.receive()
        self.assertTrue(
            answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200")
        )


class BodyTests(UpstreamCase):
    """Requests with bodies."""

    POST = b"POST / HTTP/1.1\r\nHost: a.example\r\n"

    def test_length(self) -> None:
        """A body of known length is passed on as it comes."""
        self.client.send(self.POST + b"Content-Length: 6\r\n\r\nabc")
        self.assertTrue(self.server.receive().endswith(b"Content-Length: 6\r\n" + ID + b"\r\nabc"))
        self.client.send(b"def")
        self.assertEqual(self.server.receive(), b"def")
        self.server.send(OK)
        self.assertTrue(self.client.receive().endswith(b"ok"))
        self.client.send(GET)
        self.assertEqual(len(self.wires.servers), 1)

    def test_no_body(self) -> None:
        """A POST without a body says so."""
        self.client.send(self.POST + b"\r\n")
        self.assertIn(b"\r\nContent-Length: 0\r\n", self.server.receive())

    def test_chunked(self) -> None:
        """A chunked body stays chunked."""
        self.client.send(self.POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        self.assertTrue(
            self.server.receive().endswith(
                b"Transfer-Encoding: chunked\r\n" + ID + b"\r\n3\r\nabc\r\n"
            )
        )
        self.client.send(b"2;x\r\nde\r\n0\r\n\r\n")
        self.assertEqual(self.server.receive(), b"2\r\nde\r\n0\r\n\r\n")

    def test_continue(self) -> None:
        """A client that waits for 100 gets it once there is a server to send to."""
        self.client.send(self.POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(self.client.receive(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertNotIn(b"Expect", self.server.receive())

    def test_slow_server(self) -> None:
        """A server that takes the body slowly slows the client down."""
        self.client.send(self.POST + b"Content-Length: 100000000\r\n\r\n")
        sent = 0
        try:
            while sent < 50_000_000:
                sent += self.client.sock.send(b"x" * 65536)
                self.turns.settle()
        except BlockingIOError:
            pass
        self.assertLess(sent, 5_000_000)
        received = len(self.server.receive())
        self.assertGreater(received, sent - 10)

    def test_an_answer_before_the_body_is_complete(self) -> None:
        """It is passed on; neither connection is used again."""
        self.client.send(self.POST + b"Content-Length: 6\r\n\r\nabc")
        self.server.send(OK)
        answer = self.client.receive()
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(self.client.ended)
        self.assertEqual(self.upstream.idle, [])
        self.assertEqual(self.ended, 1)

    def test_a_slow_upload_lives(self) -> None:
        """An upload of hours is no slow answer."""
        self.client.send(self.POST + b"Content-Length: 1000000\r\n\r\n")
        received = b""
        for _ in range(60):
            self.turns.pass_time(40)
            self.client.send(b"x" * 9000)
            received += self.server.receive()
        self.assertEqual(len(received.partition(b"\r\n\r\n")[2]), 540_000)
        self.assertEqual(self.ended, 0)


class FaultTests(UpstreamCase):
    """Servers that fail, and clients that vanish."""

    def test_bad_answers(self) -> None:
        """An answer that cannot be trusted: 502, and the connection is never used again."""
        for data in [
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40000,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        ]:
            self.prepare(Wires(self))
            self.client.send(GET)
            self.server.send(data)
            answer = self.client.receive()
            self.assertTrue(answer.startswith(b"HTTP/1.1 502 "), (data, answer))
            self.assertEqual((self.upstream.idle, self.ended), ([], 1))

    def test_head_without_its_end(self) -> None:
        """A head whose lines end with LF alone is told as what it is, and at once: its end, which
        is CR LF twice, would be waited for."""
        logged: list[dict[str, object]] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        self.client.send(GET)
        self.server.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\n")
        self.assertEqual(self.client.receive(), b"")
        self.server.send(b"\nhello")
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 502 "))
        self.assertEqual((self.upstream.idle, self.ended), ([], 1))
        self.assertTrue(any("LF alone" in str(formatEvent(event)) for event in logged))

    def test_no_answer(self) -> None:
        """A server that accepts and says nothing: 504 after `answer within`."""
        self.client.send(GET)
        self.turns.pass_time(299)
        self.assertEqual(self.client.receive(), b"")
        self.turns.pass_time(2)
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 504 "))
        self.assertEqual(self.ended, 1)

    def test_a_silent_stream_lives(self) -> None:
        """Once an answer has begun, silence is allowed: server-sent events of days."""
        self.client.send(GET)
        self.server.send(b"HTTP/1.1 200 OK\r\n\r\none\n")
        self.turns.pass_time(5000)
        self.server.send(b"two\n")
        answer = self.client.receive()
        self.assertTrue(answer.endswith(b"4\r\none\n\r\n4\r\ntwo\n\r\n"), answer)

    def test_half_an_answer(self) -> None:
        """A server that dies within its answer: the client's answer never ends cleanly."""
        for head in (b"Content-Length: 10", b"Transfer-Encoding: chunked"):
            self.prepare(Wires(self))
            self.client.send(GET)
            self.server.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n3\r\nabc\r\n"[:9])
            self.server.close()
            answer = self.client.receive()
            self.assertFalse(answer.endswith(b"\r\n0\r\n\r\n"))
            self.assertTrue(self.client.reset or self.client.ended)
            self.assertEqual(self.ended, 1)

    def test_no_head(self) -> None:
        """A server that closes a new connection without an answer: 502."""
        self.client.send(GET)
        self.server.close()
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 502 "))
        self.assertEqual((len(self.wires.servers), self.ended), (1, 1))

    def test_a_kept_connection_that_had_died(self) -> None:
        """A request that met a dying kept connection is sent once more, on a new one."""
        self.client.send(GET)
        self.server.send(OK)
        self.client.receive()
        first = self.server
        self.client.sock.send(GET)
        first.sock.close()
        self.turns.settle()
        self.assertEqual(len(self.wires.servers), 2)
        self.server.send(OK)
        self.assertTrue(self.client.receive().endswith(b"ok"))
        self.assertEqual(self.ended, 2)

    def test_bytes_nobody_asked_for(self) -> None:
        """What a server sends on an idle connection is never taken for the next answer."""
        self.client.send(GET)
        self.server.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        self.client.receive()
        self.assertEqual(self.upstream.idle, [])
        self.client.send(GET)
        self.server.send(OK)
        self.client.receive()
        self.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        self.client.send(GET)
        self.server.send(OK)
        self.assertTrue(self.client.receive().endswith(b"\r\n\r\nok"))
        self.assertEqual(len(self.wires.servers), 3)

    def test_the_client_goes(self) -> None:
        """The server's connection is given up, the lease given back, once."""
        self.client.send(GET)
        for connection in list(self.front.connections):
            connection.transport.abortConnection()
        self.turns.settle()
        self.server.receive()
        self.assertTrue(self.server.ended or self.server.reset)
        self.assertEqual((self.ended, self.upstream.idle), (1, []))

    def test_the_client_goes_while_connecting(self) -> None:
        """...also before there is a connection."""
        self.client.sock.send(GET)
        self.turns.getReaders()[0].doRead()
        next(iter(self.front.connections)).transport.abortConnection()
        self.turns.settle()
        self.assertEqual(self.ended, 1)

    def test_slow_client(self) -> None:
        """A client that reads slowly slows the server down."""
        self.client.send(GET)
        self.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        sent = 0
        try:
            while sent < 50_000_000:
                sent += self.server.sock.send(b"x" * 65536)
                self.turns.settle()
        except BlockingIOError:
            pass
        self.assertLess(sent, 5_000_000)
        self.assertGreaterEqual(len(self.client.receive()), sent)

    def test_slow_client_is_not_felt_by_the_next(self) -> None:
        """A client that is full with the last bytes of an answer does not leave a kept connection
        that nobody reads from, however the answer was framed."""
        head = b"HTTP/1.1 200 OK\r\nDate: today\r\n"
        for size in range(0, 2_000_000, 20_000):
            for sized in (True, False):
                slow = self.connect()
                slow.send(GET)
                before = len(self.wires.servers)
                piece = b"x" * 60_000
                if sized:
                    length = size + len(piece)
                    self.server.send(b"%bContent-Length: %d\r\n\r\n" % (head, length))
                    self.server.send(b"x" * size)
                    self.server.send(piece)
                else:
                    self.server.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
                    self.server.send(b"%x\r\n%b\r\n" % (size or 1, b"x" * (size or 1)))
                    self.server.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), piece))
                idle = self.upstream.idle
                if not idle:
                    self.assertGreater(size, 0)
                    return
                self.client.send(GET)
                self.assertEqual(len(self.wires.servers), before)
                self.server.send(OK)
                self.assertTrue(self.client.receive().endswith(b"ok"))
                slow.close()


class WebSocketTests(UpstreamCase):
    """Becoming a relay."""

    ASK = (
        b"GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    ACCEPT = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n\r\n"
    )

    def test_relay(self) -> None:
        """After the server's 101 bytes go both ways, those sent ahead included."""
        self.client.send(self.ASK + b"ahead")
        asked = self.server.receive()
        self.assertIn(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", asked)
        self.assertNotIn(b"ahead", asked)
        self.server.send(self.ACCEPT + b"hello")
        answer = self.client.receive()
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "))
        self.assertIn(b"\r\nSec-WebSocket-Protocol: chat\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nhello"))
        self.assertEqual(self.server.receive(), b"ahead")
        self.client.send(b"\x81\x00")
        self.assertEqual(self.server.receive(), b"\x81\x00")
        self.turns.pass_time(100000)
        self.server.send(b"days later")
        self.assertEqual(self.client.receive(), b"days later")
        self.assertEqual((self.ended, len(self.front.connections)), (0, 1))
        self.client.close()
        self.server.close()
        self.turns.settle()
        self.assertEqual((self.ended, self.front.connections), (1, set()))

    def test_no_tunnel_without_a_true_101(self) -> None:
        """A 101 with another key's answer, or none, is a bad answer."""
        for accept in (b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=", b""):
            self.prepare(Wires(self))
            self.client.send(self.ASK)
            self.server.send(self.ACCEPT.replace(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", accept))
            self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 502 "))
            self.assertEqual(self.ended, 1)

    def test_refused_by_the_site(self) -> None:
        """A site that will not speak WebSocket answers as always."""
        self.client.send(self.ASK)
        self.server.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 404 "))
        self.client.send(GET)
        self.server.send(OK)
        self.assertTrue(self.client.receive().endswith(b"ok"))
