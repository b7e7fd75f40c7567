"""The plain http listener: what visitors get who have not come by https."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from snickers.http.plain import PlainHttp1
from snickers.interfaces.exchange import IResponder
from tests.front_case import GET, FrontCase


class PlainTests(FrontCase):
    """The plain http listener."""

    def setUp(self) -> None:
        self.asked: list[tuple[bytes, Deferred[bytes | None]]] = []
        super().setUp()

    def connect(self, port: int = 8443) -> tuple[Any, Any]:
        stream, client = self.wires.pair()
        stream.protocol = PlainHttp1(self.front, stream, port, self.prove)
        stream.start()
        return stream, client

    def prove(self, token: bytes) -> Deferred[bytes | None]:
        answer: Deferred[bytes | None] = Deferred()
        self.asked.append((token, answer))
        return answer

    def test_known_host(self) -> None:
        """A known host is sent to https, same path and query."""
        answer = self.ask(b"GET /x?y=z HTTP/1.1\r\nHost: A.example:8080\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n"))
        self.assertIn(b"\r\nLocation: https://a.example:8443/x?y=z\r\n", answer)

    def test_unknown_host(self) -> None:
        """An unknown host gets 404, and nothing about others."""
        answer = self.ask(GET.replace(b"a.example", b"b.example"))
        self.assertTrue(answer.startswith(b"HTTP/1.1 404 Not Found\r\n"))
        self.assertNotIn(b"a.example", answer)

    def test_the_usual_port_is_not_named(self) -> None:
        """The port 443 is not named in an address."""
        _, self.client = self.connect(443)
        self.assertIn(b"\r\nLocation: https://a.example/\r\n", self.ask(GET))

    def test_asterisk(self) -> None:
        """What is asked of a host as a whole is sent to its first page."""
        answer = self.ask(b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.assertIn(b"\r\nLocation: https://a.example:8443/\r\n", answer)

    def test_refused(self) -> None:
        """What is no request is refused, and reaches no site."""
        self.assertTrue(self.ask(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.handler.exchanges, [])

    # What certificate authorities ask for

    def challenge(self, host: bytes = b"a.example", method: bytes = b"GET") -> bytes:
        return self.ask(
            b"%b /.well-known/acme-challenge/a-Token_1 HTTP/1.1\r\nHost: %b\r\n\r\n"
            % (method, host)
        )

    def test_challenge(self) -> None:
        """An authority gets what answers its token, for any host, and goes on asking."""
        for host in (b"a.example", b"b.example:8080"):
            self.assertEqual(self.challenge(host), b"")
            token, answer = self.asked.pop()
            self.assertEqual(token, b"a-Token_1")
            answer.callback(b"a-Token_1.thumbprint")
            head, _, body = self.client.receive().partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"))
            self.assertIn(b"\r\nContent-Type: application/octet-stream\r\n", head)
            self.assertIn(b"\r\nCache-Control: no-store\r\n", head)
            self.assertEqual(body, b"a-Token_1.thumbprint")
        self.assertEqual(self.handler.exchanges, [])

    def test_no_challenge(self) -> None:
        """Where there is none it is 404 for hosts that are known and for others, the same."""
        answers = []
        for host in (b"a.example", b"b.example"):
            self.challenge(host)
            self.asked.pop()[1].callback(None)
            answers.append(self.client.receive())
        self.assertTrue(answers[0].startswith(b"HTTP/1.1 404 Not Found\r\n"))
        self.assertEqual(answers[0], answers[1])

    def test_challenge_head(self) -> None:
        """Who asks for the head alone gets that; other methods are none of this place."""
        self.challenge(method=b"HEAD")
        self.asked.pop()[1].callback(b"proof")
        answer = self.client.receive()
        self.assertIn(b"\r\nContent-Length: 5\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\n"))
        answer = self.challenge(method=b"DELETE")
        self.assertTrue(answer.startswith(b"HTTP/1.1 405 "))
        self.assertEqual(self.asked, [])

    def test_challenge_not_now(self) -> None:
        """What cannot be said now is to be asked again soon."""
        self.challenge()
        self.asked.pop()[1].errback(ZeroDivisionError())
        answer = self.client.receive()
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"\r\nRetry-After: 1\r\n", answer)

    def test_challenge_gone(self) -> None:
        """Who has gone meanwhile is not answered; nobody else waited for that."""
        self.challenge()
        first = self.asked.pop()[1]
        (connection,) = self.front.connections
        responder = connection.exchange.responder
        connection.transport.abortConnection()
        self.turns.settle()
        self.assertEqual(self.front.connections, set())
        self.assertIsNone(responder._exchange)
        _, self.client = self.connect()
        self.assertTrue(self.ask(GET).startswith(b"HTTP/1.1 308 "))
        first.callback(b"too late")
        self.assertEqual(self.client.receive(), b"")

    def test_responder(self) -> None:
        """Who waits for an answer is a responder."""
        self.challenge()
        (connection,) = self.front.connections
        verifyObject(IResponder, connection.exchange.responder)
        self.asked.pop()[1].callback(None)
