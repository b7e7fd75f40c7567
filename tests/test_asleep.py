"""What is answered for a site whose own server is not awake."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Asleep
from snickers.http.asleep import ROBOTS, AsleepAnswers, answer_asleep
from tests.exchange_fake import RecordingExchange


def answered(answer: Asleep, method: bytes = b"GET") -> RecordingExchange:
    """How *answer* arrives."""
    exchange = RecordingExchange(method=method, fields=[(b"Accept", b"text/html")])
    answer_asleep(exchange, answer)
    assert exchange.ended == "finish"
    return exchange


class FindTests(SynchronousTestCase):
    """Which request is answered, and with what."""

    def find(self, target: bytes, method: bytes = b"GET", *listed: Asleep, **more: bytes) -> object:
        return AsleepAnswers(listed).find(RecordingExchange(method, target, **more))

    def test_robots(self) -> None:
        """``/robots.txt`` is answered though nothing is listed, and as it is listed if it is."""
        self.assertEqual(self.find(b"/robots.txt"), ROBOTS)
        mine = Asleep("/robots.txt", 404)
        self.assertEqual(self.find(b"/robots.txt", b"GET", mine), mine)
        self.assertEqual(self.find(b"/robots.txt", b"GET", Asleep("/up")), ROBOTS)
        self.assertIsNone(self.find(b"/up"))

    def test_exact(self) -> None:
        """A path is meant as it is; its query does not matter."""
        up = Asleep("/up%20", 204)
        for target in (b"/up%20", b"/up%20?", b"/up%20?a=/up"):
            self.assertEqual(self.find(target, b"GET", up), up)
        for target in (b"/", b"/up", b"/up%20/", b"/UP%20", b"//up%20", b"/x?/up%20", b"*"):
            self.assertIsNone(self.find(target, b"GET", up))

    def test_methods(self) -> None:
        """Only who reads is answered: anything else is for the server, and so is a WebSocket."""
        for method, found in [(b"GET", ROBOTS), (b"HEAD", ROBOTS), (b"POST", None)]:
            self.assertEqual(self.find(b"/robots.txt", method), found)
        self.assertIsNone(self.find(b"/robots.txt", upgrade=b"websocket"))


class AnswerTests(SynchronousTestCase):
    """What arrives."""

    def test_file(self) -> None:
        """A file comes whole, with the type that its name says, and is not kept by caches."""
        for name, media, coding in [
            ("/etc/robots.txt", b"text/plain; charset=utf-8", None),
            ("/etc/favicon.ico", b"image/x-icon", None),
            ("/etc/icon.svgz", b"image/svg+xml", b"gzip"),
            ("/etc/\udce4", b"application/octet-stream", None),
        ]:
            exchange = answered(Asleep("/a", 200, name, b"\0content"))
            self.assertEqual((exchange.status, exchange.data), (200, b"\0content"))
            self.assertEqual(exchange.get(b"content-type"), media)
            self.assertEqual(exchange.get(b"content-encoding"), coding)
            self.assertEqual(exchange.get(b"cache-control"), b"no-store")
            self.assertEqual(exchange.get(b"x-content-type-options"), b"nosniff")

    def test_head(self) -> None:
        """HEAD says how long it is, and sends nothing."""
        exchange = answered(Asleep("/a", 200, "/a.txt", b"content"), b"HEAD")
        self.assertEqual((exchange.length, exchange.data), (7, b""))

    def test_robots(self) -> None:
        """Robots get 503 and when to come again: they stay away (RFC 9309 §2.3.1.4)."""
        exchange = answered(ROBOTS)
        self.assertEqual((exchange.status, exchange.get(b"retry-after")), (503, b"3600"))
        self.assertEqual(exchange.get(b"cache-control"), b"no-store")

    def test_statuses(self) -> None:
        """Each status that can be listed is sent, is not stored, and is whole."""
        for status in (200, 204, 403, 404, 410, 429, 503):
            exchange = answered(Asleep("/a", status))
            self.assertEqual(exchange.status, status)
            self.assertEqual(exchange.get(b"cache-control"), b"no-store")
            self.assertEqual(exchange.get(b"retry-after") is not None, status in (429, 503))
            self.assertEqual(exchange.data == b"", status == 204)
