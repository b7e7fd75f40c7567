"""One request and its answer: framing, and handing the connection over."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from snickers.http.answer import IForwardingExchange
from snickers.http.exchange import Exchange
from snickers.interfaces.exchange import IExchange, IResponder
from tests.front_case import GET, FrontCase, say


class AnswerTests(FrontCase):
    """Answers, and how they are framed."""

    def test_interfaces(self) -> None:
        """An exchange is what handlers may rely on."""
        self.client.send(GET)
        verifyObject(IExchange, self.handler.exchange)
        verifyObject(IForwardingExchange, self.handler.exchange)
        verifyObject(IResponder, self.handler.responder)

    def test_whole_answer(self) -> None:
        """An answer of known length is sent in one piece and the connection kept."""
        self.handler.at_once = say(b"hello")
        self.assertEqual(
            self.ask(GET),
            b"HTTP/1.1 200 OK\r\nX: y\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
            b"Content-Length: 5\r\n\r\nhello",
        )
        self.assertTrue(self.ask(GET).endswith(b"\r\n\r\nhello"))
        self.assertFalse(self.client.ended)
        self.assertEqual(self.live.requests, 2)

    def test_chunked(self) -> None:
        """An answer of unknown length is chunked, with trailers at its end."""
        self.client.send(GET)
        exchange = self.handler.exchange
        exchange.answer(200, [], None, b"one")
        exchange.write(b"two")
        exchange.finish([(b"X-Sum", b"6")])
        answer = self.client.receive()
        self.assertIn(b"Transfer-Encoding: chunked\r\n\r\n", answer)
        self.assertTrue(answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 6\r\n\r\n"))
        self.assertFalse(self.client.ended)

    def test_unknown_length_to_http_1_0(self) -> None:
        """HTTP/1.0 knows no chunks: the connection's end is the answer's end."""
        self.client.send(b"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n")
        self.handler.exchange.answer(200, [], None, b"one")
        self.handler.exchange.finish()
        answer = self.client.receive()
        self.assertTrue(answer.endswith(b"\r\nConnection: close\r\n\r\none"), answer)
        self.assertTrue(self.client.ended)

    def test_http_1_0_kept_alive(self) -> None:
        """HTTP/1.0 is told when its connection is kept."""
        self.handler.at_once = say(b"x")
        answer = self.ask(b"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n")
        self.assertIn(b"\r\nConnection: keep-alive\r\n", answer)
        self.assertFalse(self.client.ended)

    def test_close(self) -> None:
        """A client that asks for it gets its connection closed."""
        self.handler.at_once = say(b"x")
        answer = self.ask(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(self.client.ended)

    def test_bodiless(self) -> None:
        """HEAD, 204 and 304 get no body, whatever the handler gives."""
        for method, status, announced in [
            (b"HEAD", 200, True),
            (b"GET", 304, True),
            (b"GET", 204, False),
        ]:

            def respond(exchange: Exchange, status: int = status) -> None:
                exchange.answer(status, [], 5)
                exchange.write(b"hello")
                exchange.finish()

            self.handler.at_once = respond
            answer = self.ask(method + GET[3:])
            self.assertTrue(answer.endswith(b"\r\n\r\n"), answer)
            self.assertEqual(b"Content-Length: 5" in answer, announced)
            self.assertNotIn(b"chunked", answer)

    def test_too_short_an_answer_is_never_ended_cleanly(self) -> None:
        """Fewer bytes than announced: the client sees a broken connection."""
        self.client.send(GET)
        self.handler.exchange.answer(200, [], 10, b"short")
        self.handler.exchange.finish()
        self.client.receive()
        self.assertTrue(self.client.reset or self.client.ended)
        self.assertFalse(self.handler.responder.told)

    def test_too_long_an_answer_is_cut(self) -> None:
        """More bytes than announced never become the next answer's."""
        self.client.send(GET)
        exchange = self.handler.exchange
        exchange.answer(200, [], 3, b"")
        exchange.write(b"abcdef")
        exchange.finish()
        self.assertTrue(self.client.receive().endswith(b"\r\n\r\nabc"))
        self.handler.at_once = say(b"next")
        self.assertTrue(self.ask(GET).startswith(b"HTTP/1.1 200 OK"))

    def test_more_at_once_than_announced(self) -> None:
        """A handler that gives more with the head than it announces: nothing of it is sent, and
        the connection breaks, by however many bytes it is wrong."""
        for data in (b"abcd", b"abcde", b"abcdef"):
            for end in (True, False):
                _, client = self.connect()
                client.send(GET)
                exchange = self.handler.exchange
                exchange.answer(200, [], 3, data, end)
                exchange.write(b"more")
                exchange.finish()
                self.assertEqual(client.receive(), b"")
                self.assertTrue(client.reset or client.ended)

    def test_interim_answers(self) -> None:
        """Hints go to those who know them."""
        self.client.send(GET)
        self.handler.exchange.inform(103, [(b"Link", b"</x>")])
        self.assertEqual(self.client.receive(), b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        self.handler.exchange.answer(200, [], 0, b"", True)

    def test_after_its_end_an_exchange_is_silent(self) -> None:
        """A handler that goes on talking disturbs nobody."""
        self.handler.at_once = say(b"x")
        self.ask(GET)
        exchange = self.handler.exchange
        exchange.write(b"more")
        exchange.finish()
        exchange.answer(500, [], 0, b"", True)
        exchange.abort()
        self.assertEqual(self.client.receive(), b"")


class UpgradeTests(FrontCase):
    """Handing the raw connection over."""

    def test_upgrade(self) -> None:
        """101 is sent, the transport is handed over with what was sent ahead."""
        self.client.send(
            b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\nahead"
        )
        exchange = self.handler.exchange
        stream, ahead = exchange.upgrade([(b"Upgrade", b"websocket")])
        self.assertIs(stream, self.stream)
        self.assertEqual(ahead, b"ahead")
        self.assertEqual(
            self.client.receive(),
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        )
        self.assertEqual(len(self.front.connections), 1)
        exchange.finish()
        self.assertEqual(self.front.connections, set())
