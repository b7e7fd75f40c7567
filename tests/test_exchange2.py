"""Exchanges on streams of HTTP/2: bodies both ways, windows, and ends."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from snickers.http import frames as f
from snickers.http.answer import CLIENT_GONE, IForwardingExchange, read_answer
from snickers.http.exchange2 import ENDED, HIGH_WATER, SMALL, Exchange2
from snickers.http.http2 import CONNECTION_WINDOW, STREAM_WINDOW
from snickers.interfaces.exchange import IExchange
from tests.front2_case import Front2Case
from tests.front_case import say

FEW = settings(
    derandomize=True,
    deadline=None,
    max_examples=12,
    suppress_health_check=[HealthCheck.differing_executors],
)


class AnswerTests(Front2Case):
    """Answers."""

    @property
    def exchange(self) -> Any:
        return self.handler.exchange

    def test_interfaces(self) -> None:
        """An exchange is what handlers may rely on."""
        self.client.ask()
        self.assertIsInstance(self.exchange, Exchange2)
        verifyObject(IExchange, self.exchange)
        verifyObject(IForwardingExchange, self.exchange)
        self.assertEqual((self.exchange.peer, self.exchange.secure), (b"192.0.2.1", True))
        self.assertEqual(self.exchange.site, "a.example")
        self.assertIn(b"Via: 2.0 snickers", self.exchange.forwarding)

    def test_at_once(self) -> None:
        """A whole answer: head, body and end in one write."""
        self.handler.at_once = say(b"hello")
        number = self.client.ask()
        told = self.client.told[number]
        self.assertEqual((told.status, told.data, told.ended), (200, b"hello", True))
        self.assertEqual((told.fields["x"], told.fields["content-length"]), ("y", "5"))
        self.assertIn("date", told.fields)
        self.assertEqual(self.connection.streams, {})

    def test_in_pieces(self) -> None:
        """A body of unknown length, with trailers behind it."""
        number = self.client.ask()
        self.exchange.answer(200, [], None, b"a")
        self.exchange.write(b"b" * 40000)
        self.exchange.finish([(b"X-Sum", b"7")])
        self.client.take()
        told = self.client.told[number]
        self.assertEqual((told.data, told.ended), (b"a" + b"b" * 40000, True))
        self.assertEqual(told.trailers, {"x-sum": "7"})
        self.assertNotIn("content-length", told.fields)

    def test_without_body(self) -> None:
        """HEAD, 204 and 304 have none, whatever is written."""
        for method, status, length in (("HEAD", 200, "5"), ("GET", 304, "5"), ("GET", 204, None)):
            number = self.client.ask(method=method)
            self.exchange.answer(status, [], 5, b"hello", True)
            self.client.take()
            told = self.client.told[number]
            self.assertEqual((told.status, told.data, told.ended), (status, b"", True))
            self.assertEqual(told.fields.get("content-length"), length)

    def test_length_is_kept(self) -> None:
        """More than announced is cut off, less is never a clean end."""
        number = self.client.ask()
        self.exchange.answer(200, [], 3, b"ab")
        self.exchange.write(b"cdef")
        self.exchange.write(b"g")
        self.exchange.finish()
        self.client.take()
        self.assertEqual(
            (self.client.told[number].data, self.client.told[number].ended), (b"abc", True)
        )
        for end in ("finish", "abort"):
            number = self.client.ask()
            self.exchange.answer(200, [], 3, b"ab")
            getattr(self.exchange, end)()
            self.client.take()
            self.assertEqual(self.client.told[number].reset, f.INTERNAL_ERROR)
        number = self.client.ask()
        self.exchange.answer(200, [], 9, b"ab", True)
        self.client.take()
        self.assertEqual(self.client.told[number].reset, f.INTERNAL_ERROR)

    def test_forwarded(self) -> None:
        """An upstream's answer again and again, whole and in parts."""
        answer = read_answer(
            b"HTTP/1.1 200 OK\r\nDate: today\r\nServer: X\r\nContent-Length: 5", b"GET"
        )
        for _ in range(3):
            number = self.client.ask()
            self.exchange.forward(answer, b"hello", True)
            self.client.take()
            told = self.client.told[number]
            self.assertEqual((told.data, told.ended, told.fields["server"]), (b"hello", True, "X"))
            self.assertEqual(told.fields["date"], "today")
            self.assertEqual(told.fields["content-length"], "5")
        chunked = read_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"GET")
        number = self.client.ask()
        self.exchange.forward(chunked, b"", False)
        self.exchange.write(b"abc")
        self.exchange.finish()
        self.client.take()
        self.assertEqual(self.client.told[number].data, b"abc")
        self.assertIn("date", self.client.told[number].fields)

    def test_informed(self) -> None:
        """Hints go ahead of the answer."""
        number = self.client.ask()
        self.exchange.inform(103, [(b"Link", b"</x>; rel=preload")])
        say(b"ok")(self.exchange)
        self.client.take()
        self.assertEqual(self.client.told[number].informed, ["103"])
        self.assertEqual(self.client.told[number].status, 200)

    def test_large_head(self) -> None:
        """A head beyond a frame's size goes on in CONTINUATION."""
        number = self.client.ask()
        fields = [(b"X-%d" % n, b"%d" % n * 4000) for n in range(10)]
        self.exchange.answer(200, fields, 0, b"", True)
        self.client.take()
        self.assertEqual(self.client.told[number].fields["x-9"], "9" * 4000)

    def test_slow_reader(self) -> None:
        """A client that gives no room pauses the handler; with room it goes on."""
        client = self.connect(keeps=True)
        number = client.ask()
        exchange, responder = self.exchange, self.handler.responder
        exchange.answer(200, [], None)
        while "pause" not in responder.told:
            exchange.write(b"x" * 65536)
        client.take()
        self.assertEqual(len(client.told[number].data), f.WINDOW)
        self.assertEqual(responder.told, ["pause"])
        client.h2.increment_flow_control_window(1 << 20, number)
        client.h2.increment_flow_control_window(1 << 20)
        client.flush()
        self.assertEqual(responder.told, ["pause", "resume"])
        exchange.finish()
        client.take()
        self.assertTrue(client.told[number].ended)

    def test_others_go_on(self) -> None:
        """A stream without room does not keep the others from theirs."""
        client = self.connect(keeps=True)
        client.h2.increment_flow_control_window(1 << 20)
        client.flush()
        first = client.ask()
        self.exchange.answer(200, [], 100_000, b"x" * 100_000, True)
        self.handler.at_once = say(b"hello")
        second = client.ask()
        self.assertEqual(len(client.told[first].data), f.WINDOW)
        self.assertTrue(client.told[second].ended)
        client.h2.increment_flow_control_window(1 << 20, first)
        client.flush()
        self.assertEqual((len(client.told[first].data), client.told[first].ended), (100_000, True))

    def test_log(self) -> None:
        """Each exchange is logged once, with what it came to."""
        logged: list[Any] = []
        self.front.access = logged.append
        self.handler.at_once = say(b"hello")
        self.client.ask()
        self.handler.at_once = None
        number = self.client.ask()
        self.client.h2.reset_stream(number)
        self.client.flush()
        self.client.ask()
        self.exchange.answer(200, [], 9, b"abc")
        self.client.wire.close()
        self.turns.settle()
        self.assertEqual(
            [(e.status, e.sent) for e in logged], [(200, 5), (CLIENT_GONE, 0), (200, 3)]
        )
        self.assertEqual(len({e.id for e in logged}), 3)


class BodyTests(Front2Case):
    """Requests' bodies."""

    def post(self, *fields: tuple[str, str]) -> int:
        return self.client.ask(*fields, end=False, method="POST")

    def test_received(self) -> None:
        """A body goes to the responder, then its end."""
        number = self.post(("content-length", "6"))
        self.assertEqual(self.handler.exchange.request.length, 6)
        self.handler.exchange.receive()
        self.client.body(number, b"abc")
        self.client.body(number, b"def", end=True)
        responder = self.handler.responder
        self.assertEqual((responder.received, responder.told), (b"abcdef", [("end", None)]))

    def test_held(self) -> None:
        """What comes before anybody asks for it is kept, up to a window."""
        number = self.post()
        self.assertIsNone(self.handler.exchange.request.length)
        self.client.body(number, b"abc", end=True)
        self.assertEqual(self.handler.responder.received, b"")
        self.handler.exchange.receive()
        responder = self.handler.responder
        self.assertEqual((responder.received, responder.told), (b"abc", [("end", None)]))

    def test_crumbs(self) -> None:
        """Bytes that come one by one are held together: they take the room of what they are."""
        number = self.post()
        wire = self.client.wire
        sent = bytes(range(256)) * 80
        for start in range(0, len(sent), 512):
            crumbs = (sent[n : n + 2] for n in range(start, start + 512, 2))
            wire.send(b"".join(f.frame(f.DATA, 0, number, crumb) for crumb in crumbs))
        held = self.handler.exchange._held
        self.assertLessEqual(len(held), len(sent) // SMALL + 1)
        self.handler.exchange.receive()
        self.assertEqual(self.handler.responder.received, sent)

    def test_trailers(self) -> None:
        """Trailers come with the end."""
        number = self.post()
        self.handler.exchange.receive()
        self.client.body(number, b"abc")
        self.client.h2.send_headers(number, [("x-sum", "7")], end_stream=True)
        self.client.flush()
        self.assertEqual(self.handler.responder.told, [("end", [(b"x-sum", b"7")])])

    def test_held_trailers(self) -> None:
        """Trailers wait with the body before them."""
        number = self.post()
        self.client.body(number, b"abc")
        self.client.h2.send_headers(number, [("x-sum", "7")], end_stream=True)
        self.client.flush()
        self.handler.exchange.receive()
        self.assertEqual(self.handler.responder.told, [("end", [(b"x-sum", b"7")])])

    def test_continue(self) -> None:
        """A client that waits for 100 gets it when somebody wants the body."""
        number = self.post(("expect", "100-continue"))
        self.assertNotIn(number, self.client.told)
        self.handler.exchange.receive()
        self.client.take()
        self.assertEqual(self.client.told[number].informed, ["100"])

    def test_slow_taker(self) -> None:
        """A responder that takes nothing gives the client no more room than a window."""
        number = self.post()
        exchange, responder = self.handler.exchange, self.handler.responder
        exchange.receive()
        exchange.pause_body()
        sent = 0
        while room := min(16384, self.client.h2.local_flow_control_window(number)):
            self.client.body(number, b"x" * room)
            sent += room
        self.assertEqual((sent, responder.received), (STREAM_WINDOW, b""))
        exchange.resume_body()
        self.client.take()
        self.assertEqual(len(responder.received), sent)
        self.assertEqual(self.client.h2.local_flow_control_window(number), STREAM_WINDOW)

    def test_large(self) -> None:
        """A body of many windows arrives whole."""
        number = self.post()
        self.handler.exchange.receive()
        sent = b""
        while len(sent) < 3 * CONNECTION_WINDOW:
            piece = b"%05d" % (len(sent) % 99999) * 3000
            self.client.body(number, piece)
            sent += piece
        self.client.body(number, b"", end=True)
        self.assertTrue(self.handler.responder.received == sent)

    def test_answered_before(self) -> None:
        """An answer before the body is complete: the rest is not wanted, and harms nobody."""
        number = self.post()
        self.client.body(number, b"abc")
        say(b"no")(self.handler.exchange)
        self.client.take()
        told = self.client.told[number]
        self.assertEqual((told.data, told.reset), (b"no", f.NO_ERROR))
        self.client.raw(f.frame(f.DATA, 0, number, b"late"))
        self.handler.at_once = say(b"yes")
        self.assertEqual(self.client.told[self.client.ask()].data, b"yes")

    def test_answer_before_its_reset(self) -> None:
        """The answer and the reset behind it are written apart, for clients that read little."""
        written: list[bytes] = []
        write = self.connection.transport.write
        self.patch(
            type(self.connection.transport),
            "write",
            lambda transport, data: (written.append(bytes(data)), write(data)),
        )
        self.handler.at_once = say(b"no")
        reset = f.reset(self.post(), f.NO_ERROR)
        told = b"".join(written)
        self.assertIn(reset, written)
        self.assertLess(told.index(b"no"), told.index(reset))

    def test_gone(self) -> None:
        """A client that resets the stream or goes away: the responder hears it, once."""
        number = self.post()
        self.client.h2.reset_stream(number)
        self.client.flush()
        self.assertEqual(self.handler.responder.told, ["gone"])
        self.post()
        self.client.wire.close()
        self.turns.settle()
        self.assertEqual(self.handler.responder.told, ["gone"])
        self.assertEqual([e.stage for e in self.handler.exchanges], [ENDED, ENDED])


class AnyTests(Front2Case):
    """Any sizes, any windows, any order."""

    @FEW
    @given(st.data())
    def test_bodies(self, data: st.DataObject) -> None:
        """Many streams at once: each gets its own bytes, both ways."""
        client = self.connect()
        count = data.draw(st.integers(1, 6))
        bodies: dict[int, bytes] = {}
        exchanges: dict[int, Any] = {}
        responders: dict[int, Any] = {}
        for n in range(count):
            number = client.ask(end=False, method="POST")
            exchanges[number] = self.handler.exchange
            responders[number] = self.handler.responder
            bodies[number] = b"%d." % n * data.draw(st.integers(1, 20_000))
        left = dict(bodies)
        for number in exchanges:
            exchanges[number].receive()
        while left:
            number = data.draw(st.sampled_from(sorted(left)))
            room = min(16384, client.h2.local_flow_control_window(number))
            size = data.draw(st.integers(min(room, 3000), room))
            piece, left[number] = left[number][:size], left[number][size:]
            client.body(number, piece, end=not left[number])
            if not left[number]:
                del left[number]
        for number, exchange in exchanges.items():
            self.assertTrue(responders[number].received == bodies[number])
            exchange.answer(200, [], None)
            exchange.write(bodies[number])
        for exchange in exchanges.values():
            exchange.finish()
        client.take()
        for number, body in bodies.items():
            self.assertTrue(client.told[number].data == body)
            self.assertTrue(client.told[number].ended)
        connection = self.connection
        self.assertEqual((connection.streams, connection.waiting, connection.held), ({}, {}, 0))
        self.assertLessEqual(HIGH_WATER, 128 * 1024)
