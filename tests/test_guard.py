"""The guard around a site's handler, alone and between real fronts and upstreams."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import bcrypt
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.config.values import Site, Static
from snickers.http.answer import IForwardingExchange
from snickers.http.checks import Checks
from snickers.http.guard import DressedExchange, GuardedHandler, is_guarded
from snickers.http.passwords import Door
from snickers.http.policy import Edits
from snickers.http.request import read_request
from snickers.interfaces.exchange import Fields, IHandler, IResponder
from snickers.sweep import Sweep
from tests.exchange_fake import RecordingExchange
from tests.threads_fake import FakeThreads
from tests.upstream_case import FORWARDED, GET, OK, UpstreamCase
from tests.wires import Wires

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
RIGHT = b"Basic " + b64encode(b"alice:secret")
HSTS = (b"Strict-Transport-Security", b"max-age=60")


def site(**decided: Any) -> Site:
    """A site with what was decided about it."""
    return Site("a.example", Static("/nowhere"), **decided)


@implementer(IHandler, IResponder)
class Inner:
    """A site's own handler: notes what comes, answers when told to."""

    def __init__(self) -> None:
        self.exchanges: list[Any] = []
        self.heard: list[Any] = []
        self.closed = False

    def handle(self, exchange: Any) -> None:
        self.exchanges.append(exchange)
        exchange.responder = self
        if exchange.request.length != 0:
            exchange.receive()

    def close(self) -> None:
        self.closed = True

    def body(self, data: bytes) -> None:
        self.heard.append(data)

    def body_end(self, trailers: Fields | None) -> None:
        self.heard.append("end")

    def pause(self) -> None:
        self.heard.append("pause")

    def resume(self) -> None:
        self.heard.append("resume")

    def gone(self) -> None:
        self.heard.append("gone")


class GuardCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.inner = Inner()

    def guard(self, door: Door | None = None, **decided: Any) -> GuardedHandler:
        return GuardedHandler(self.inner, site(**decided), door)


class OrderTests(GuardCase):
    """Who comes in."""

    def test_interfaces(self) -> None:
        """A guard is a handler, and gives its handler an exchange that can forward."""
        guard = self.guard(hsts=60.0)
        verifyObject(IHandler, guard)
        guard.handle(_with_forwarding(RecordingExchange()))
        verifyObject(IForwardingExchange, self.inner.exchanges[0])
        guard.close()
        self.assertTrue(self.inner.closed)

    def test_guarded(self) -> None:
        """A site about which nothing was decided needs no guard."""
        self.assertFalse(is_guarded(site()))
        self.assertTrue(is_guarded(site(max_body=0)))

    def test_allow_from(self) -> None:
        """Only who comes from there comes in, WebSockets included; the rest gets 403, dressed."""
        guard = self.guard(allow_from=("192.0.2.0/24",), hsts=60.0)
        for upgrade in (b"", b"websocket"):
            exchange = RecordingExchange(peer=b"198.51.100.1", upgrade=upgrade)
            guard.handle(exchange)
            self.assertEqual((exchange.status, exchange.ended), (403, "finish"))
            self.assertIn(HSTS, exchange.fields)
        self.assertEqual(self.inner.exchanges, [])
        guard.handle(RecordingExchange(peer=b"::ffff:192.0.2.9"))
        self.assertEqual(len(self.inner.exchanges), 1)

    def test_announced(self) -> None:
        """A body that is announced as too long is refused before any of it is taken."""
        guard = self.guard(max_body=10, hsts=60.0)
        exchange = RecordingExchange(b"POST", length=11)
        guard.handle(exchange)
        self.assertEqual((exchange.status, exchange.ended), (413, "finish"))
        self.assertFalse(exchange.receiving)
        self.assertIn(HSTS, exchange.fields)
        exchange = RecordingExchange(b"POST", length=10)
        guard.handle(exchange)
        exchange.send(b"x" * 10, True)
        self.assertEqual(self.inner.heard, [b"x" * 10, "end"])


class BodyTests(GuardCase):
    """Bodies that were not announced."""

    def begin(self, most: int = 10) -> RecordingExchange:
        exchange = RecordingExchange(b"POST", length=None)
        self.guard(max_body=most, hsts=60.0).handle(exchange)
        return exchange

    def test_within(self) -> None:
        """What is not too long goes through as it comes, and so does the rest of what happens."""
        exchange = self.begin()
        exchange.send(b"x" * 4)
        exchange.responder.pause()
        exchange.responder.resume()
        exchange.send(b"x" * 6, True)
        self.assertEqual(self.inner.heard, [b"x" * 4, "pause", "resume", b"x" * 6, "end"])
        exchange.lose()
        self.assertEqual(self.inner.heard[-1], "gone")

    def test_exceeded(self) -> None:
        """One byte more, and the handler hears that the client has gone, the client 413."""
        exchange = self.begin()
        exchange.send(b"x" * 10)
        exchange.send(b"x")
        self.assertEqual(self.inner.heard, [b"x" * 10, "gone"])
        self.assertEqual((exchange.status, exchange.ended), (413, "finish"))
        self.assertIn(HSTS, exchange.fields)
        self.assertIsNone(exchange.responder)

    def test_exceeded_within_the_answer(self) -> None:
        """When the answer has begun it is broken off, and never ended cleanly."""
        exchange = self.begin()
        self.inner.exchanges[0].answer(200, [], None, b"begun")
        exchange.send(b"x" * 11)
        self.assertEqual((exchange.status, exchange.ended), (200, "abort"))
        self.assertEqual(self.inner.heard, ["gone"])

    def test_another_responder(self) -> None:
        """What was counted counts on when the handler has somebody else listen."""
        exchange = self.begin()
        exchange.send(b"x" * 10)
        dressed = self.inner.exchanges[0]
        dressed.responder = other = Inner()
        self.assertIs(dressed.responder, other)
        exchange.send(b"x")
        self.assertEqual((exchange.status, other.heard), (413, ["gone"]))

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.lists(st.integers(1, 30), max_size=8), st.integers(0, 60))
    def test_cut_anyhow(self, sizes: list[int], most: int) -> None:
        """However a body is cut: all of it, or the status 413 and never more than is allowed."""
        self.inner = Inner()
        exchange = self.begin(most)
        for size in sizes:
            if not exchange.ended:
                exchange.send(b"x" * size)
        if not exchange.ended:
            exchange.send(b"", True)
        taken = sum(len(piece) for piece in self.inner.heard if type(piece) is bytes)
        self.assertLessEqual(taken, most)
        if sum(sizes) <= most:
            self.assertEqual((taken, self.inner.heard[-1]), (sum(sizes), "end"))
        else:
            self.assertEqual((exchange.status, self.inner.heard[-1]), (413, "gone"))


class DressTests(GuardCase):
    """What answers look like."""

    headers = (("Server", ""), ("X-A", "1"))

    def test_answers(self) -> None:
        """Fields are added, replaced and removed; the handler's own list stays as it was."""
        exchange = RecordingExchange()
        self.guard(headers=self.headers, hsts=60.0).handle(exchange)
        fields = [(b"server", b"x"), (b"x-a", b"0"), (b"B", b"2")]
        before = list(fields)
        self.inner.exchanges[0].answer(200, fields, None, b"a")
        self.inner.exchanges[0].write(b"b")
        self.inner.exchanges[0].finish([(b"Server", b"x"), (b"X-Sum", b"1")])
        self.assertEqual(exchange.fields, [(b"B", b"2"), (b"X-A", b"1"), HSTS])
        self.assertEqual((exchange.data, exchange.ended), (b"ab", "finish"))
        self.assertEqual(exchange.trailers, [(b"X-Sum", b"1")])
        self.assertEqual(fields, before)

    def test_the_rest(self) -> None:
        """All else goes through: hints, back-pressure, the end, a WebSocket's beginning."""
        exchange = RecordingExchange(b"POST", length=3)
        self.guard(headers=self.headers).handle(exchange)
        dressed = self.inner.exchanges[0]
        dressed.pause_body()
        self.assertTrue(exchange.body_paused)
        dressed.resume_body()
        self.assertFalse(exchange.body_paused)
        dressed.inform(103, [(b"Link", b"x")])
        self.assertEqual(exchange.informed, [(103, [(b"Link", b"x")])])
        dressed.abort()
        self.assertEqual(exchange.ended, "abort")
        exchange = RecordingExchange(upgrade=b"websocket")
        exchange.upgraded = ("transport", b"ahead")
        self.guard(headers=self.headers).handle(exchange)
        fields = [(b"Upgrade", b"websocket"), (b"Server", b"x")]
        self.assertEqual(self.inner.exchanges[1].upgrade(fields), ("transport", b"ahead"))
        self.assertEqual(exchange.fields, [(b"Upgrade", b"websocket"), (b"X-A", b"1")])

    def test_forwarding(self) -> None:
        """Who asked is what the front says."""
        dressed = DressedExchange(_with_forwarding(RecordingExchange()), Edits([]))
        self.assertEqual(dressed.forwarding, b"Via: x\r\n")


def _with_forwarding(exchange: Any) -> Any:
    exchange.forwarding = b"Via: x\r\n"
    return exchange


class PasswordTests(GuardCase):
    """A site with ``basic auth``."""

    def setUp(self) -> None:
        super().setUp()
        clock = Clock()
        sweep = Sweep(clock)
        self.threads = FakeThreads()
        path = Path(self.mktemp()).absolute()
        path.write_text(f"alice:{HASH}\n")
        checks = Checks(self.threads.defer, sweep)
        door = Door("a.example", str(path), checks, self.threads.defer, sweep)
        self.handler = self.guard(door, basic_auth=str(path), max_body=10, hsts=60.0)
        self.path = path

    def send(self, *lines: bytes, **more: Any) -> RecordingExchange:
        """Begin an exchange with a real request."""
        exchange: Any = RecordingExchange(**more)
        head = b"\r\n".join([b"POST / HTTP/1.1", b"Host: a.example", *lines])
        exchange.request = read_request(head)
        self.handler.handle(exchange)
        return exchange

    def test_right(self) -> None:
        """Who has the right password comes in, and the site's server never sees it."""
        exchange = self.send(b"authorization: " + RIGHT, b"Content-Length: 3", b"A: b")
        self.assertEqual(self.inner.exchanges, [])
        self.assertFalse(exchange.receiving)
        self.threads.run_all()
        (dressed,) = self.inner.exchanges
        self.assertEqual(dressed.request.lines, [b"Host: a.example", b"A: b"])
        self.assertEqual(exchange.request.get(b"authorization"), RIGHT)
        exchange.send(b"abc", True)
        self.assertEqual(self.inner.heard, [b"abc", "end"])
        self.send(b"Authorization: " + RIGHT)
        self.assertEqual(len(self.inner.exchanges), 2)

    def test_wrong(self) -> None:
        """All others are asked for one, for the realm that is the site, by a dressed page."""
        for said in (b"A: b", b"Authorization: x", b"Authorization: " + RIGHT[:-4]):
            exchange = self.send(said)
            self.threads.run_all()
            self.assertEqual((exchange.status, exchange.ended), (401, "finish"))
            self.assertEqual(
                exchange.get(b"www-authenticate"), b'Basic realm="a.example", charset="UTF-8"'
            )
            self.assertIn(HSTS, exchange.fields)
        self.assertEqual(self.inner.exchanges, [])

    def test_before_the_body(self) -> None:
        """Who may not come in learns nothing of how much may be sent."""
        exchange = self.send(b"Content-Length: 11")
        self.threads.run_all()
        self.assertEqual(exchange.status, 401)
        exchange = self.send(b"Content-Length: 11", b"Authorization: " + RIGHT)
        self.threads.run_all()
        self.assertEqual(exchange.status, 413)

    def test_broken(self) -> None:
        """A file that cannot be read is ours to mend: 500, whatever was said."""
        self.path.unlink()
        exchange = self.send(b"Authorization: " + RIGHT)
        self.threads.run_all()
        self.assertEqual((exchange.status, exchange.ended), (500, "finish"))

    def test_gone(self) -> None:
        """Who leaves while waiting is not answered, and not checked."""
        exchange = self.send(b"Authorization: " + RIGHT)
        exchange.lose()
        self.threads.run_all()
        self.assertEqual(self.threads.ran, ["look"])
        self.assertEqual(self.inner.exchanges, [])

    def test_slow_reader(self) -> None:
        """What was said while waiting is told to who comes next."""
        exchange = self.send(b"Authorization: " + RIGHT)
        exchange.responder.pause()
        self.threads.run_all()
        self.assertEqual(self.inner.heard, ["pause"])
        exchange = self.send(b"Authorization: " + RIGHT[:-4] + b"AAAA")
        exchange.responder.pause()
        exchange.responder.resume()
        self.threads.run_all()
        self.assertEqual(exchange.status, 401)


class CarriedTests(UpstreamCase):
    """From a client's socket to a server's, through a guard."""

    def prepare(self, wires: Wires) -> None:
        super().prepare(wires)
        self.threads = FakeThreads()

    def decide(self, door: Door | None = None, **decided: Any) -> None:
        """Have a guard stand before the upstream."""
        guard = GuardedHandler(self.live.handler, site(**decided), door)
        self.sites.put("a.example", ("a.example",), None, guard)

    def test_dressed(self) -> None:
        """Answers on one kept connection are dressed each time, and once each."""
        self.decide(hsts=60.0, headers=(("Server", ""), ("X-A", "1")))
        answer = OK.replace(b"Date", b"Server: x\r\nx-a: 0\r\nDate")
        for _ in range(3):
            self.client.send(GET)
            self.server.send(answer)
            self.assertEqual(
                self.client.receive(),
                b"HTTP/1.1 200 OK\r\nDate: today\r\nX-A: 1\r\n"
                b"Strict-Transport-Security: max-age=60\r\nContent-Length: 2\r\n\r\nok",
            )
        self.assertEqual(len(self.wires.servers), 1)
        self.assertEqual(self.ended, 3)

    def test_decided_later(self) -> None:
        """What an upstream's connection remembers of its answers never meets another decision."""
        plain = self.live.handler
        self.client.send(GET)
        self.server.send(OK)
        bare = self.client.receive()
        self.decide(hsts=60.0)
        self.client.send(GET)
        self.server.send(OK)
        self.assertIn(b"Strict-Transport-Security", self.client.receive())
        self.sites.put("a.example", ("a.example",), None, plain)
        self.upstream.closed = False
        self.client.send(GET)
        self.server.send(OK)
        self.assertEqual(self.client.receive(), bare)

    def test_chunked_too_long(self) -> None:
        """A chunked body is broken off where it is too long; the server's connection, too."""
        self.decide(max_body=10)
        self.client.send(
            b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"a\r\n0123456789\r\n"
        )
        self.assertTrue(self.server.receive().endswith(b"a\r\n0123456789\r\n"))
        self.client.send(b"1\r\nx\r\n")
        answer = self.client.receive()
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 Content Too Large\r\n"), answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertNotIn(b"x\r\n", self.server.receive())
        self.assertTrue(self.server.ended or self.server.reset)
        self.assertEqual(self.ended, 1)
        # What comes behind is no request.
        self.client.sock.setblocking(False)
        self.client.send(b"0\r\n\r\n" + GET)
        self.assertEqual(self.client.receive(), b"")
        self.assertTrue(self.client.ended or self.client.reset)
        self.assertEqual(len(self.wires.servers), 1)

    def test_whole_body_too_long(self) -> None:
        """The same, when the whole body comes at once with its head."""
        self.decide(max_body=10)
        self.client.send(
            b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"b\r\n0123456789x\r\n0\r\n\r\n"
        )
        answer = self.client.receive()
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)
        self.assertEqual(self.ended, 1)

    def test_announced_too_long(self) -> None:
        """No server is asked, no 100 said, and the connection ends."""
        self.decide(max_body=10)
        self.client.send(
            b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        answer = self.client.receive()
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertEqual(self.wires.servers, [])

    def test_websocket(self) -> None:
        """A WebSocket from elsewhere is refused; one from here is carried."""
        handshake = (
            b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        plain = self.live.handler
        self.decide(allow_from=("198.51.100.0/24",))
        self.client.send(handshake)
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 403 "))
        self.assertEqual(self.wires.servers, [])
        guard = GuardedHandler(plain, site(allow_from=("192.0.2.1",), hsts=60.0))
        self.sites.put("a.example", ("a.example",), None, guard)
        self.upstream.closed = False
        self.client.send(handshake)
        self.server.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 101 "))
        self.client.send(b"frame")
        self.assertTrue(self.server.receive().endswith(b"frame"))
        self.client.close()
        self.turns.settle()
        self.server.receive()
        self.server.close()
        self.assertEqual(self.ended, 1)

    def test_passwords(self) -> None:
        """The same head again and again: asked for each time, and never forwarded with it."""
        path = Path(self.mktemp()).absolute()
        path.write_text(f"alice:{HASH}\n")
        checks = Checks(self.threads.defer, self.wires.sweep)
        door = Door("a.example", str(path), checks, self.threads.defer, self.wires.sweep)
        self.decide(door)
        for count in range(3):
            self.client.send(GET[:-2] + b"Authorization: " + RIGHT + b"\r\nA: b\r\n\r\n")
            self.threads.run_all()
            self.assertEqual(
                self.server.receive(),
                b"GET / HTTP/1.1\r\nHost: a.example\r\nA: b\r\n%bX-Request-Id: t-10%d\r\n\r\n"
                % (FORWARDED, count),
            )
            self.server.send(OK)
            self.assertTrue(self.client.receive().endswith(b"\r\n\r\nok"))
        self.client.send(GET)
        self.assertTrue(self.client.receive().startswith(b"HTTP/1.1 401 Unauthorized\r\n"))
        self.assertEqual(self.ended, 3)
