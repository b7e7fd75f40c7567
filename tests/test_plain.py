"""The plain http listener: what visitors get who have not come by https."""

from __future__ import annotations

from typing import Any

from snickers.http.plain import PlainHttp1
from tests.front_case import GET, FrontCase


class PlainTests(FrontCase):
    """The plain http listener."""

    def connect(self) -> tuple[Any, Any]:
        stream, client = self.wires.pair()
        stream.protocol = PlainHttp1(self.front, stream, 8443)
        stream.start()
        return stream, client

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
        stream, self.client = self.wires.pair()
        stream.protocol = PlainHttp1(self.front, stream, 443)
        stream.start()
        self.assertIn(b"\r\nLocation: https://a.example/\r\n", self.ask(GET))

    def test_asterisk(self) -> None:
        """What is asked of a host as a whole is sent to its first page."""
        answer = self.ask(b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.assertIn(b"\r\nLocation: https://a.example:8443/\r\n", answer)

    def test_refused(self) -> None:
        """What is no request is refused, and reaches no site."""
        self.assertTrue(self.ask(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.handler.exchanges, [])
