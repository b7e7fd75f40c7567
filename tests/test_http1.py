"""HTTP/1.1 to clients: one connection, its requests in turn."""

from __future__ import annotations

from twisted.python.failure import Failure

from snickers.http.exchange import Exchange
from snickers.http.front import Bounds
from snickers.http.http1 import HALF_CLOSED_WITHIN, MAX_KNOWN_HEAD, MAX_PIPELINED
from tests.front_case import GET, FrontCase, say


class RequestTests(FrontCase):
    """How requests arrive."""

    def test_byte_by_byte(self) -> None:
        """A head that comes byte by byte is the same head, an empty line before it included."""
        self.handler.at_once = say(b"x")
        for head in (GET, b"\r\n\r\n" + GET):
            for byte in head[:-1]:
                self.assertEqual(self.ask(bytes([byte])), b"")
            self.assertTrue(self.ask(head[-1:]).endswith(b"\r\n\r\nx"))

    def test_the_same_again(self) -> None:
        """A request that comes again and again is answered each time, also when it is too large to
        be remembered for it."""
        self.handler.at_once = say(b"x")
        for size in (1, MAX_KNOWN_HEAD):
            request = GET[:-2] + b"A: " + b"a" * size + b"\r\n\r\n"
            before = len(self.handler.exchanges)
            for _ in range(4):
                self.assertTrue(self.ask(request).endswith(b"\r\n\r\nx"))
            requests = {exchange.request for exchange in self.handler.exchanges[before:]}
            self.assertEqual(len(requests), 2 if size == 1 else 4)
            connection = self.stream.protocol
            self.assertLessEqual(len(connection._head) + len(connection._whole), 200)

    def test_pipelined(self) -> None:
        """Requests sent ahead are answered in order, one at a time."""
        self.client.send(GET + GET.replace(b"/", b"/2", 1) + GET)
        self.assertEqual(len(self.handler.exchanges), 1)
        say(b"one")(self.handler.exchange)
        self.assertEqual(self.handler.exchange.request.target, b"/2")
        say(b"two")(self.handler.exchange)
        say(b"three")(self.handler.exchange)
        answer = self.client.receive()
        places = [answer.find(word) for word in (b"one", b"two", b"three")]
        self.assertNotIn(-1, places)
        self.assertEqual(places, sorted(places))
        self.assertEqual(answer.count(b"HTTP/1.1 200 "), 3)

    def test_a_bad_request_behind_good_ones(self) -> None:
        """Good requests are answered before a bad one is refused."""
        self.client.send(GET + b"NONSENSE\r\n\r\n" + GET)
        say(b"good")(self.handler.exchange)
        answer = self.client.receive()
        self.assertLess(answer.index(b"good"), answer.index(b"HTTP/1.1 400 "))
        self.assertEqual(len(self.handler.exchanges), 1)
        self.assertTrue(self.client.ended)

    def test_empty_lines_before_a_request(self) -> None:
        """RFC 9112 §2.2: they are forgiven."""
        self.handler.at_once = say(b"x")
        self.assertTrue(self.ask(b"\r\n\r\n" + GET).endswith(b"\r\n\r\nx"))

    def test_bare_line_feeds(self) -> None:
        """A head in bare line feeds never ends; it is refused by its first one."""
        answer = self.ask(b"GET / HTTP/1.1\nHost: a.example\n\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "))
        self.assertTrue(self.client.ended)

    def test_another_host(self) -> None:
        """A Host that is not the connection's site gets 421 and never the site."""
        for request in (
            GET.replace(b"a.example", b"b.example"),
            GET.replace(b"GET /", b"GET https://b.example/"),
        ):
            answer = self.ask(request)
            self.assertTrue(answer.startswith(b"HTTP/1.1 421 Misdirected Request"))
        self.assertFalse(self.handler.exchanges)
        # The other way round it is ours: the target's authority counts.
        self.handler.at_once = say(b"ours")
        answer = self.ask(b"GET https://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n")
        self.assertTrue(answer.endswith(b"ours"))

    def test_wildcard_host(self) -> None:
        """A wildcard stands for one label, and not for a name that another site has exactly."""
        self.handler.at_once = say(b"x")
        self.sites.put("own.wild.example", ("own.wild.example",), None, self.handler)
        self.assertIn(b" 421 ", self.ask(GET.replace(b"a.example", b"own.wild.example")))
        self.assertIn(b" 200 ", self.ask(GET.replace(b"a.example", b"x.wild.example")))
        self.assertIn(b" 421 ", self.ask(GET.replace(b"a.example", b"x.y.wild.example")))

    def test_refusals(self) -> None:
        """What is no request is answered with its status, and the connection closed."""
        for data, status in [
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: x\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00", 400),
            (b"GET /" + b"a" * 9000, 414),
            (b"GET / HTTP/1.1\r\nX: " + b"a" * 40000, 431),
            (b"BREW / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: tea, chunked\r\n\r\n", 501),
        ]:
            self.stream, self.client = self.connect()
            answer = self.ask(data)
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (data[:60], answer[:60]))
            self.assertIn(b"\r\nConnection: close\r\n", answer)
            self.assertTrue(self.client.ended)
        self.assertFalse(self.handler.exchanges)

    def test_sending_far_ahead_is_slowed_down(self) -> None:
        """What a client sends ahead while it waits is bounded."""
        self.client.send(GET)
        self.client.sock.send(b"x" * (2 * MAX_PIPELINED))
        for _ in range(10):
            self.turns.settle()
        self.assertNotIn(self.stream, self.turns.readers)


class BodyTests(FrontCase):
    """Bodies of requests."""

    def post(self, head: bytes, body: bytes = b"") -> None:
        self.client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\n" + head + b"\r\n\r\n" + body)

    def test_length(self) -> None:
        """A body of known length is given on to its last byte and no further."""
        self.post(b"Content-Length: 6", b"abc")
        exchange, responder = self.handler.exchange, self.handler.responder
        exchange.receive()
        self.client.send(b"def" + GET)
        self.assertEqual((responder.received, responder.told), (b"abcdef", [("end", None)]))
        say(b"x")(exchange)
        self.assertEqual(len(self.handler.exchanges), 2)

    def test_chunked(self) -> None:
        """A chunked body is given on without its framing, with its trailers."""
        self.post(b"Transfer-Encoding: chunked", b"3\r\nabc\r\n3\r\nd")
        self.handler.exchange.receive()
        self.client.send(b"ef\r\n0\r\nX-T: v\r\n\r\n" + GET)
        responder = self.handler.responder
        self.assertEqual(
            (responder.received, responder.told), (b"abcdef", [("end", [(b"X-T", b"v")])])
        )
        say(b"x")(self.handler.exchange)
        self.assertEqual(len(self.handler.exchanges), 2)

    def test_tiny_chunks(self) -> None:
        """Chunks that come together are given on together: each would cost a call of the system."""
        self.post(b"Transfer-Encoding: chunked")
        pieces: list[bytes] = []
        self.patch(self.handler.responder, "body", pieces.append)
        self.handler.exchange.receive()
        self.client.send(b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
        self.assertEqual(pieces, [b"x" * 1000])
        self.assertEqual(self.handler.responder.told, [("end", None)])

    def test_nothing_is_given_before_it_is_wanted(self) -> None:
        """Until the handler receives, the body waits in the client's socket."""
        self.post(b"Content-Length: 3", b"abc")
        self.assertEqual(self.handler.responder.received, b"")
        self.handler.exchange.receive()
        self.assertEqual(self.handler.responder.received, b"abc")

    def test_continue(self) -> None:
        """A client that waits for 100 Continue gets it when the body is wanted."""
        self.post(b"Content-Length: 3\r\nExpect: 100-continue")
        self.assertEqual(self.client.receive(), b"")
        self.handler.exchange.receive()
        self.assertEqual(self.client.receive(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.client.send(b"abc")
        self.assertEqual(self.handler.responder.told, [("end", None)])

    def test_back_pressure(self) -> None:
        """A paused body is not read; a resumed one is."""
        self.post(b"Content-Length: 6", b"abc")
        exchange = self.handler.exchange
        exchange.receive()
        exchange.pause_body()
        self.client.send(b"def")
        self.assertEqual(self.handler.responder.received, b"abc")
        exchange.resume_body()
        self.turns.settle()
        self.assertEqual(self.handler.responder.received, b"abcdef")

    def test_an_answer_without_the_body(self) -> None:
        """An answer before the body was taken ends the connection: what follows is body."""
        self.handler.at_once = say(b"no")
        self.post(b"Content-Length: 1000", b"abc")
        answer = self.client.receive()
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(self.client.ended)
        self.client.send(GET)
        self.assertEqual(len(self.handler.exchanges), 1)

    def test_bad_chunks(self) -> None:
        """A malformed chunk gets 400, and the handler is told that it is over."""
        self.post(b"Transfer-Encoding: chunked", b"zz\r\n")
        self.handler.exchange.receive()
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.handler.responder.told, ["gone"])
        self.assertTrue(self.client.ended)

    def test_bad_chunks_within_an_answer(self) -> None:
        """When the answer has begun, a malformed chunk breaks it off."""
        self.post(b"Transfer-Encoding: chunked")
        exchange = self.handler.exchange
        exchange.receive()
        exchange.answer(200, [], 10, b"half")
        self.client.send(b"zz\r\n")
        self.client.receive()
        self.assertTrue(self.client.reset or self.client.ended)
        self.assertEqual(self.handler.responder.told, ["gone"])

    def test_the_client_goes_within_its_body(self) -> None:
        """A body that ends early is told as gone, never as complete."""
        self.post(b"Content-Length: 6", b"abc")
        self.handler.exchange.receive()
        self.client.close()
        self.assertEqual(self.handler.responder.told, ["gone"])


class EndTests(FrontCase):
    """Slow and vanishing clients, and the end of everything."""

    def test_the_client_goes(self) -> None:
        """A client that breaks its connection is told to the handler, once."""
        self.client.send(GET)
        self.stream.connectionLost(Failure(ConnectionError()))
        self.assertEqual(self.handler.responder.told, ["gone"])
        self.assertEqual((self.front.connections, self.live.connections), (set(), set()))

    def test_half_closed(self) -> None:
        """A client that has sent its end still gets its answer."""
        self.client.send(GET)
        self.client.end()
        say(b"hello")(self.handler.exchange)
        self.assertTrue(self.client.receive().endswith(b"hello"))
        self.assertTrue(self.client.ended)

    def test_half_closed_behind_several_requests(self) -> None:
        """Requests sent ahead of the end are answered too, and then the connection ends."""
        self.client.send(GET + GET + GET + b"GET /")
        self.client.end()
        for text in (b"one", b"two", b"three"):
            say(text)(self.handler.exchange)
        answer = self.client.receive()
        self.assertEqual([answer.count(text) for text in (b"one", b"two", b"three")], [1, 1, 1])
        self.assertTrue(self.client.ended)

    def test_half_closed_for_long_behind_several_requests(self) -> None:
        """Each of them keeps a server busy only as long."""
        self.client.send(GET + GET)
        self.client.end()
        say(b"one")(self.handler.exchange)
        self.turns.pass_time(HALF_CLOSED_WITHIN + 1)
        self.assertEqual(self.handler.responder.told, ["gone"])

    def test_half_closed_for_long(self) -> None:
        """...but a server is not kept busy for long for a client that may have gone."""
        self.client.send(GET)
        self.client.end()
        self.turns.pass_time(HALF_CLOSED_WITHIN + 1)
        self.assertEqual(self.handler.responder.told, ["gone"])

    def test_idle(self) -> None:
        """An idle connection is closed after a while, not before."""
        self.handler.at_once = say(b"x")
        self.ask(GET)
        self.turns.pass_time(119)
        self.client.receive()
        self.assertFalse(self.client.ended)
        self.turns.pass_time(2)
        self.client.receive()
        self.assertTrue(self.client.ended)

    def test_slow_head(self) -> None:
        """The head's deadline runs from its first byte: drops do not prolong it."""
        self.client.send(b"GET / HTTP/1.1\r\n")
        for _ in range(7):
            self.turns.pass_time(8)
            self.client.send(b"X: y\r\n")
        self.assertEqual(self.client.receive(), b"")
        self.turns.pass_time(8)
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 408 "))
        self.assertTrue(self.client.ended)

    def test_broken_off(self) -> None:
        """When the time for open answers is over, what has no answer yet may be asked again; who
        would have answered hears that nobody waits any more."""
        for request, receives in (
            (GET, False),
            (b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nsome", False),
            (b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nsome", True),
        ):
            with self.subTest(request=request, receives=receives):
                client = self.connect()[1]
                client.send(request)
                if receives:
                    self.handler.exchange.receive()
                self.front.break_off()
                answer = client.receive()
                self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
                self.assertIn(b"\r\nRetry-After: 5\r\n", answer)
                self.assertEqual(self.handler.responder.told, ["gone"])

    def test_broken_off_within(self) -> None:
        """An answer that has begun goes on, and who has asked nothing is told nothing."""
        self.client.send(GET)
        self.handler.exchange.answer(200, [], 9, b"some")
        idle = self.connect()[1]
        self.front.break_off()
        self.assertEqual((idle.receive(), idle.ended), (b"", False))
        self.handler.exchange.write(b" more")
        self.handler.exchange.finish()
        self.assertTrue(self.client.receive().endswith(b"\r\n\r\nsome more"))
        self.assertEqual(self.handler.responder.told, [])

    def test_stalled_body(self) -> None:
        """A body that stands still gets 408; a slow one lives."""
        self.client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 99999\r\n\r\n")
        self.handler.exchange.receive()
        for _ in range(10):
            self.turns.pass_time(50)
            self.client.send(b"x" * 6000)
        self.assertEqual(self.handler.responder.told, [])
        self.turns.pass_time(130)
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.handler.responder.told, ["gone"])

    def test_trickled_body(self) -> None:
        """A body that moves, but less than the minimum rate, is as one that stands still."""
        self.client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 99999\r\n\r\n")
        self.handler.exchange.receive()
        self.turns.pass_time(30)
        self.client.send(b"x" * 5000)
        self.assertEqual(self.handler.responder.told, [])
        self.turns.pass_time(31)
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.handler.responder.told, ["gone"])

    def test_no_minimum_rate(self) -> None:
        """With a rate of 0 a single byte is progress enough."""
        self.front.bounds = Bounds(minimum_rate=0)
        self.client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 99999\r\n\r\n")
        self.handler.exchange.receive()
        for _ in range(10):
            self.turns.pass_time(50)
            self.client.send(b"x")
        self.assertEqual(self.handler.responder.told, [])

    def test_trickling_reader(self) -> None:
        """A client that takes an answer at less than the minimum rate is let go."""
        self.client.send(GET)
        exchange, responder = self.handler.exchange, self.handler.responder
        exchange.answer(200, [], None)
        while "pause" not in responder.told:
            exchange.write(b"x" * 65536)
        for _ in range(4):
            self.turns.pass_time(20)
            if not self.stream.disconnected:
                self.client.sock.recv(100)
        self.assertIn("gone", responder.told)
        self.assertTrue(self.stream.disconnected)

    def test_limits_are_options(self) -> None:
        """How long a request line, a head and a field may be, and how many fields there are."""
        self.front.bounds = Bounds(request_line_limit=100, head_limit=1000, field_limit=3)
        host = b"Host: a.example\r\n"
        for head, status in [
            (b"GET /%b HTTP/1.1\r\n%b\r\n" % (b"x" * 200, host), b"414"),
            (b"GET / HTTP/1.1\r\n%bA: %b\r\n\r\n" % (host, b"x" * 498), b"431"),
            (b"GET / HTTP/1.1\r\n%b%b\r\n" % (host, b"A: b\r\n" * 3), b"431"),
            (b"GET / HTTP/1.1\r\n%b%b\r\n" % (host, b"A: b%b\r\n" % (b"x" * 400) * 2), b""),
            (b"GET / HTTP/1.1\r\n%b%b\r\n" % (host, b"A: b%b\r\n" % (b"x" * 480) * 2), b"431"),
        ]:
            _, client = self.connect()
            client.send(head)
            self.assertEqual(client.receive()[9:12], status)

    def test_a_slow_answer_is_waited_for(self) -> None:
        """A client that waits for its answer is not cut off."""
        self.client.send(GET)
        self.turns.pass_time(600)
        say(b"late")(self.handler.exchange)
        self.assertTrue(self.client.receive().endswith(b"late"))

    def test_slow_reader(self) -> None:
        """A client that reads slowly pauses the handler; when it catches up, it goes on."""
        self.client.send(GET)
        exchange, responder = self.handler.exchange, self.handler.responder
        exchange.answer(200, [], None)
        while "pause" not in responder.told:
            exchange.write(b"x" * 65536)
        self.client.receive()
        self.assertEqual(responder.told, ["pause", "resume"])

    def test_a_reader_that_never_reads(self) -> None:
        """A client that stops reading for good is cut off."""
        self.client.send(GET)
        exchange, responder = self.handler.exchange, self.handler.responder
        exchange.answer(200, [], None)
        while "pause" not in responder.told:
            exchange.write(b"x" * 65536)
        self.turns.pass_time(130)
        self.assertEqual(responder.told, ["pause", "gone"])
        self.assertTrue(self.stream.disconnected)

    def test_pipelining_without_reading(self) -> None:
        """Answers do not pile up for a client that asks on and on and never reads."""
        self.handler.at_once = say(b"x" * 60000)
        self.client.sock.send(GET * 400)
        self.turns.settle()
        self.assertLess(len(self.handler.exchanges), 30)
        answer = self.client.receive()
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 400)

    def test_a_handler_that_raises(self) -> None:
        """A fault of ours ends that connection, and nothing else."""

        def fail(exchange: Exchange) -> None:
            raise RuntimeError("a fault")

        self.handler.at_once = fail
        self.client.send(GET)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.client.receive()
        self.assertTrue(self.client.reset or self.client.ended)
        self.assertEqual(self.front.connections, set())
