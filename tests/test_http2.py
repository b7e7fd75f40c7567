"""HTTP/2 connections: their rules, what breaks them, and how they end."""

from __future__ import annotations

from struct import pack
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from snickers.http import frames as f
from snickers.http import front as front_module
from snickers.http.abuse import PERIOD
from snickers.http.front import GRACE, MOMENT, Bounds
from snickers.http.hpack import Encoder
from snickers.http.http2 import (
    CONNECTION_WINDOW,
    FAREWELL,
    FREE_STREAMS,
    MAX_CUT,
    MAX_KNOWN_BYTES,
    MAX_UNREAD,
    MOST_HELD,
    STREAM_WINDOW,
)
from snickers.stream import HIGH_WATER
from tests.front2_case import HEAD, Front2Case, head
from tests.front_case import say
from tests.test_frames import read as read_frames
from tests.wires import Wire

FIXED = settings(derandomize=True, deadline=None, max_examples=150)
FIELDS = tuple((name.encode(), value.encode()) for name, value in HEAD)
BLOCK = Encoder().encode(FIELDS)
"""A request's fields, as the first block of a connection."""


def request(number: int, block: bytes = BLOCK, flags: int = f.END_HEADERS | f.END_STREAM) -> bytes:
    return f.frame(f.HEADERS, flags, number, block)


def fields(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return *pairs* as a block that changes no table."""
    return b"".join(
        b"\x00" + pack("BB", 0x7F, len(n) - 0x7F) + n + pack("B", len(v)) + v
        if len(n) >= 0x7F
        else b"\x00" + pack("B", len(n)) + n + pack("B", len(v)) + v
        for n, v in pairs
    )


def ending(data: bytes) -> list[tuple[str, int, int]]:
    """Return what *data* ends: kind, stream, code."""
    found = []
    for frame in read_frames(data):
        if frame.type == f.GOAWAY:
            found.append(("goaway", frame.last_stream_id, frame.error_code))
        elif frame.type == f.RST_STREAM:
            found.append(("reset", frame.stream_id, frame.error_code))
    return found


OPEN_POST = request(1, BLOCK, f.END_HEADERS)
GET = request(1)
KNOWN = f.frame(f.PING, f.ACK, 0, FAREWELL)
"""What a client answers that has read the first GOAWAY of two."""

CONNECTION_ERRORS: list[tuple[str, bytes, int]] = [
    # RFC 9113 §4.1, §4.2
    ("a frame larger than was agreed", f.frame(f.PING, 0, 0, b"x" * 16385), f.FRAME_SIZE_ERROR),
    # §4.3
    ("a block that cannot be read", request(1, b"\x80"), f.COMPRESSION_ERROR),
    ("another frame within a block", request(1, BLOCK, 0) + f.frame(f.PING, 0, 0, b"x" * 8), 1),
    ("another stream's HEADERS within a block", request(1, BLOCK, 0) + request(3), 1),
    # §5.1
    ("DATA on an idle stream", f.frame(f.DATA, 0, 1, b"x"), f.PROTOCOL_ERROR),
    ("RST_STREAM on an idle stream", f.reset(1, 8), f.PROTOCOL_ERROR),
    ("WINDOW_UPDATE on an idle stream", f.window_update(1, 5), f.PROTOCOL_ERROR),
    ("CONTINUATION of nothing", f.frame(f.CONTINUATION, 4, 1, BLOCK), f.PROTOCOL_ERROR),
    ("DATA after RST_STREAM", OPEN_POST + f.reset(1, 8) + f.frame(f.DATA, 0, 1, b"x"), 5),
    ("HEADERS after RST_STREAM", OPEN_POST + f.reset(1, 8) + GET, f.STREAM_CLOSED),
    # §5.1.1
    ("an even stream", request(2), f.PROTOCOL_ERROR),
    ("a stream below the last one", request(5) + f.reset(5, 8) + request(3), f.STREAM_CLOSED),
    # §6.1
    ("DATA on stream 0", f.frame(f.DATA, 0, 0, b"x"), f.PROTOCOL_ERROR),
    ("more padding than DATA", OPEN_POST + f.frame(f.DATA, f.PADDED, 1, b"\x05abc"), 1),
    ("padded DATA without bytes", OPEN_POST + f.frame(f.DATA, f.PADDED, 1, b""), 1),
    # §6.2
    ("HEADERS on stream 0", request(0), f.PROTOCOL_ERROR),
    ("more padding than HEADERS", request(1, b"\xff" + BLOCK, 4 | f.PADDED), f.PROTOCOL_ERROR),
    ("padded HEADERS without bytes", request(1, b"", 4 | f.PADDED), f.PROTOCOL_ERROR),
    ("HEADERS with half a priority", request(1, b"\0\0", 4 | f.WITH_PRIORITY), 6),
    ("a stream that depends on itself", request(1, b"\0\0\0\x01\0" + BLOCK, 4 | 0x20), 1),
    # §6.3
    ("PRIORITY on stream 0", f.frame(f.PRIORITY, 0, 0, b"\0\0\0\x01\0"), f.PROTOCOL_ERROR),
    # §6.4
    ("RST_STREAM on stream 0", f.reset(0, 8), f.PROTOCOL_ERROR),
    ("RST_STREAM of another size", OPEN_POST + f.frame(f.RST_STREAM, 0, 1, b"abc"), 6),
    # §6.5
    ("SETTINGS of a stream", f.frame(f.SETTINGS, 0, 1), f.PROTOCOL_ERROR),
    ("an ACK that says something", f.frame(f.SETTINGS, f.ACK, 0, b"\0" * 6), f.FRAME_SIZE_ERROR),
    ("SETTINGS of another size", f.frame(f.SETTINGS, 0, 0, b"abc"), f.FRAME_SIZE_ERROR),
    ("ENABLE_PUSH that is no switch", f.settings({f.ENABLE_PUSH: 2}), f.PROTOCOL_ERROR),
    ("a window beyond all", f.settings({f.INITIAL_WINDOW_SIZE: 2**31}), f.FLOW_CONTROL_ERROR),
    ("frames too small", f.settings({f.MAX_FRAME_SIZE: 16383}), f.PROTOCOL_ERROR),
    ("frames too large", f.settings({f.MAX_FRAME_SIZE: 2**24}), f.PROTOCOL_ERROR),
    # §6.6
    ("PUSH_PROMISE", OPEN_POST + f.frame(f.PUSH_PROMISE, 4, 1, b"\0\0\0\x02" + BLOCK), 1),
    # §6.7
    ("PING of a stream", f.frame(f.PING, 0, 1, b"x" * 8), f.PROTOCOL_ERROR),
    ("PING of another size", f.frame(f.PING, 0, 0, b"x" * 7), f.FRAME_SIZE_ERROR),
    # §6.8
    ("GOAWAY of a stream", f.frame(f.GOAWAY, 0, 1, b"\0" * 8), f.PROTOCOL_ERROR),
    ("GOAWAY of another size", f.frame(f.GOAWAY, 0, 0, b"\0" * 7), f.FRAME_SIZE_ERROR),
    # §6.9
    ("WINDOW_UPDATE of 0", f.window_update(0, 0), f.PROTOCOL_ERROR),
    ("WINDOW_UPDATE of another size", f.frame(f.WINDOW_UPDATE, 0, 0, b"abc"), f.FRAME_SIZE_ERROR),
    ("a window that overflows", f.window_update(0, 2**31 - 1), f.FLOW_CONTROL_ERROR),
    (
        "a stream's window that settings make overflow",
        OPEN_POST + f.window_update(1, 2**31 - 1 - f.WINDOW) + f.settings({4: f.WINDOW + 1}),
        f.FLOW_CONTROL_ERROR,
    ),
    # RFC 9218 §7.1
    ("PRIORITY_UPDATE of a stream", f.frame(f.PRIORITY_UPDATE, 0, 1, b"\0\0\0\x01u=1"), 1),
    ("PRIORITY_UPDATE cut off", f.frame(f.PRIORITY_UPDATE, 0, 0, b"\0\0\0"), 6),
    ("PRIORITY_UPDATE of no stream", f.frame(f.PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1"), 1),
]
"""What ends a connection, and with which code."""


def changed(
    *changes: tuple[bytes, bytes | None], more: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    """Return a whole request whose fields are changed, left out, or more."""
    new = dict(changes)
    pairs = [(name, new.get(name, value)) for name, value in FIELDS]
    return request(1, fields(*[(n, v) for n, v in pairs if v is not None], *more))


STREAM_ERRORS: list[tuple[str, bytes, int]] = [
    # §5.1
    ("DATA behind the end", GET + f.frame(f.DATA, 0, 1, b"x"), f.STREAM_CLOSED),
    ("HEADERS behind the end", GET + GET, f.STREAM_CLOSED),
    # §6.3
    ("PRIORITY of another size", f.frame(f.PRIORITY, 0, 1, b"abcd"), f.FRAME_SIZE_ERROR),
    ("PRIORITY of itself", f.frame(f.PRIORITY, 0, 1, b"\0\0\0\x01\0"), f.PROTOCOL_ERROR),
    # §6.9
    ("a stream's WINDOW_UPDATE of 0", OPEN_POST + f.window_update(1, 0), f.PROTOCOL_ERROR),
    ("a stream's window overflows", OPEN_POST + f.window_update(1, 2**31 - 1), 3),
    # §8.1
    ("trailers that do not end", OPEN_POST + request(1, fields((b"x", b"y")), 4), 1),
    ("pseudo-fields in trailers", OPEN_POST + request(1, fields((b":path", b"y"))), 1),
    (
        "a body longer than announced",
        request(1, BLOCK + fields((b"content-length", b"1")), 4) + f.frame(f.DATA, 0, 1, b"xx"),
        1,
    ),
    (
        "a body shorter than announced",
        request(1, BLOCK + fields((b"content-length", b"3")), 4)
        + f.frame(f.DATA, f.END_STREAM, 1, b"xx"),
        1,
    ),
    ("no body, though announced", changed(more=((b"content-length", b"3"),)), 1),
    # §8.2
    ("a name in upper case", changed(more=((b"Accept", b"x"),)), 1),
    ("a field of a connection", changed(more=((b"connection", b"keep-alive"),)), 1),
    ("te that says more", changed(more=((b"te", b"trailers, deflate"),)), 1),
    ("a line end in a value", changed(more=((b"x", b"a\r\nb"),)), 1),
    ("NUL in a value", changed(more=((b"x", b"a\0"),)), 1),
    ("a blank before a value", changed(more=((b"x", b" a"),)), 1),
    # §8.3
    ("an unknown pseudo-field", changed(more=((b":x", b"y"),)), 1),
    ("an answer's pseudo-field", changed(more=((b":status", b"200"),)), 1),
    ("no method", changed((b":method", None)), 1),
    ("no scheme", changed((b":scheme", None)), 1),
    ("no path", changed((b":path", None)), 1),
    ("an empty path", changed((b":path", b"")), 1),
    ("two paths", changed(more=((b":path", b"/"),)), 1),
    ("a pseudo-field behind others", request(1, fields((b"x", b"y"), *FIELDS)), 1),
    ("a host that differs", changed(more=((b"host", b"b.example"),)), 1),
]
"""What ends a stream, and with which code."""


class RulesTests(Front2Case):
    """The rules of RFC 9113, by frames as they come."""

    def answered(self, data: bytes) -> bytes:
        wire = self.raw_wire()
        wire.send(data)
        answer: bytes = wire.receive()
        self.ended = wire.ended
        return answer

    def test_connection_errors(self) -> None:
        """GOAWAY with the right code, then the end; a handler that was asked hears of it."""
        for words, data, code in CONNECTION_ERRORS:
            before = len(self.handler.responders)
            answer = ending(self.answered(data))
            self.assertEqual([end[0] for end in answer[-1:]], ["goaway"], words)
            self.assertEqual(answer[-1][2], code, words)
            self.assertTrue(self.ended, words)
            for responder in self.handler.responders[before:]:
                self.assertEqual(responder.told[-1:], ["gone"], words)

    def test_stream_errors(self) -> None:
        """RST_STREAM with the right code; the connection lives and answers another request."""
        for words, data, code in STREAM_ERRORS:
            wire = self.raw_wire()
            self.handler.at_once = None
            wire.send(data)
            self.assertEqual(ending(wire.receive()), [("reset", 1, code)], words)
            for exchange in self.handler.exchanges:
                self.assertTrue(exchange.stage in (0, 4), words)
            self.handler.at_once = say(b"hello")
            wire.send(request(7))
            self.assertIn(b"hello", wire.receive(), words)

    def test_handlers_hear_of_stream_errors(self) -> None:
        """A handler that was asked hears that its client is gone, once."""
        for words, data, _ in STREAM_ERRORS:
            before = len(self.handler.responders)
            self.answered(data)
            for responder in self.handler.responders[before:]:
                self.assertEqual(responder.told.count("gone"), 1, words)

    def test_ignored(self) -> None:
        """Frames of unknown types, of streams that we reset, and flags that mean nothing."""
        self.handler.at_once = say(b"hello")
        for data in (
            f.frame(99, 0xFF, 0, b"x") + GET,
            f.settings({99: 7}) + GET,
            f.frame(f.PRIORITY, 0, 1, b"\0\0\0\x03\0") + GET,
            request(1, b"\x01" + BLOCK + b"\0", f.END_HEADERS | f.END_STREAM | f.PADDED | 0x40),
            request(1, b"\0\0\0\x03\0" + BLOCK, f.END_HEADERS | f.END_STREAM | f.WITH_PRIORITY),
            request(1, BLOCK[:2], f.END_STREAM) + f.frame(f.CONTINUATION, 4, 1, BLOCK[2:]),
            GET + f.window_update(1, 9) + f.reset(1, 8) + f.frame(f.PRIORITY, 0, 1, b"\0" * 5),
        ):
            answer = self.answered(data)
            self.assertIn(b"hello", answer)
            self.assertEqual(ending(answer), [])

    def test_ping(self) -> None:
        """A ping comes back, an answer to one does not."""
        answer = self.answered(
            f.frame(f.PING, 0, 0, b"12345678") + f.frame(f.PING, f.ACK, 0, b"87654321")
        )
        (ping,) = [frame for frame in read_frames(answer) if frame.type == f.PING]
        self.assertEqual((ping.opaque_data, ping.flags), (b"12345678", {"ACK"}))

    def test_hello(self) -> None:
        """What we say first, and what a client has to."""
        wire = self.wire()
        ours, update = read_frames(wire.receive())
        self.assertEqual(ours.settings, {3: 128, 4: STREAM_WINDOW, 6: 32768, 8: 1, 9: 1})
        self.assertEqual(update.window_increment, CONNECTION_WINDOW - f.WINDOW)
        for data in (b"GET / HTTP/1.1\r\n\r\n", f.PREFACE + GET, b"PRI * HTTP/2.0\r\n\r\nXX"):
            wire = self.wire()
            wire.receive()
            wire.send(data)
            self.assertEqual(ending(wire.receive())[0][2], f.PROTOCOL_ERROR)
            self.assertTrue(wire.ended)

    def test_byte_by_byte(self) -> None:
        """A connection that comes in single bytes is read as one that comes at once."""
        self.handler.at_once = say(b"hello")
        wire = self.wire()
        for byte in f.PREFACE + f.settings({}) + GET:
            wire.send(bytes((byte,)))
        self.assertIn(b"hello", wire.receive())

    @FIXED
    @given(
        st.lists(
            st.one_of(
                st.builds(
                    f.frame,
                    st.integers(0, 17),
                    st.integers(0, 255),
                    st.integers(0, 9),
                    st.one_of(st.binary(max_size=40), st.just(BLOCK)),
                ),
                st.sampled_from([GET, OPEN_POST, request(3), f.reset(1, 8)]),
                st.sampled_from([data for _, data, _ in CONNECTION_ERRORS + STREAM_ERRORS]),
            ),
            max_size=12,
        ),
        st.booleans(),
    )
    def test_any(self, frames: list[bytes], at_once: bool) -> None:
        """Whatever frames come: nothing raises, nothing is held, each exchange has one end."""
        self.handler.at_once = say(b"hello") if at_once else None
        before = len(self.handler.exchanges)
        wire = self.raw_wire()
        connection = self.connection
        try:
            wire.send(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            pass
        for exchange in self.handler.exchanges[before:]:
            if exchange.request.length != 0:
                exchange.receive()
        wire.receive()
        wire.close()
        self.turns.settle()
        self.assertEqual((connection.streams, connection.waiting), ({}, {}))
        self.assertNotIn(connection, self.front.connections)
        self.assertNotIn(connection, self.live.connections)
        for exchange, responder in zip(
            self.handler.exchanges[before:], self.handler.responders[before:], strict=True
        ):
            self.assertEqual(exchange.stage, 4)
            self.assertLessEqual(responder.told.count("gone"), 1)
        self.assertEqual(self.flushLoggedErrors(), [])


class AbuseTests(Front2Case):
    """Clients that mean harm."""

    bounds = Bounds(streams=4, resets=10, control_frames=50, head_limit=2000, field_limit=10)

    def calm(self, wire: Wire) -> None:
        """The connection was ended because there was too much of something."""
        answer = ending(wire.receive())
        self.assertEqual([end for end in answer if end[0] == "goaway"][-1][2], f.ENHANCE_YOUR_CALM)
        self.assertEqual(self.connection.streams, {})

    def test_rapid_reset(self) -> None:
        """Requests that are cancelled as fast as they come (CVE-2023-44487)."""
        wire = self.raw_wire()
        wire.send(b"".join(request(n) + f.reset(n, 8) for n in range(1, 41, 2)))
        self.calm(wire)
        self.assertEqual(len(self.handler.exchanges), self.bounds.resets + 1)
        for responder in self.handler.responders:
            self.assertEqual(responder.told, ["gone"])

    def test_provoked_resets(self) -> None:
        """Requests whose faults make us reset them count as cancelled (CVE-2025-8671)."""
        wire = self.raw_wire()
        wire.send(b"".join(request(n) + f.window_update(n, 0) for n in range(1, 41, 2)))
        self.calm(wire)
        wire = self.raw_wire()
        wire.send(b"".join(request(n, fields((b"X", b""))) for n in range(1, 41, 2)))
        self.calm(wire)

    def test_cancelled_now_and_then(self) -> None:
        """A person who clicks away from pages is no attack."""
        wire = self.raw_wire()
        for n in range(1, 121, 2):
            wire.send(request(n) + f.reset(n, 8))
            self.turns.pass_time(PERIOD / 5)
        self.assertEqual(ending(wire.receive()), [])

    def test_too_many_streams(self) -> None:
        """More than allowed are refused; those that are open go on."""
        wire = self.raw_wire()
        wire.send(b"".join(request(n) for n in range(1, 13, 2)))
        self.assertEqual(ending(wire.receive()), [("reset", 9, f.REFUSED_STREAM), ("reset", 11, 7)])
        say(b"hello")(self.handler.exchanges[0])
        wire.send(request(13))
        self.assertEqual(len(self.handler.exchanges), 5)

    def test_many_streams_on_many_connections(self) -> None:
        """What a client has open at once on all its connections is bounded, but for a few on each;
        what was refused may come again when others are over."""
        self.front.bounds = Bounds(streams=100)
        self.patch(front_module, "MAX_CROWD", 30)
        first, second = self.raw_wire(), self.raw_wire()
        ask = b"".join([request(n) for n in range(1, 2 * (FREE_STREAMS + 20), 2)])
        first.send(ask)
        self.assertEqual(ending(first.receive()), [])
        second.send(ask)
        refused = [2 * n + 1 for n in range(FREE_STREAMS + 10, FREE_STREAMS + 20)]
        self.assertEqual(
            ending(second.receive()), [("reset", n, f.REFUSED_STREAM) for n in refused]
        )
        first.close()
        self.turns.settle()
        second.send(request(201))
        self.assertEqual(ending(second.receive()), [])
        for exchange in list(self.handler.exchanges):
            say(b"")(exchange)
        self.assertEqual((self.connection._crowd, self.front._crowds), (0, {}))

    def test_floods(self) -> None:
        """Frames that ask for nothing but work."""
        for data in (
            f.frame(f.PING, 0, 0, b"12345678"),
            f.settings({}),
            f.frame(f.SETTINGS, f.ACK, 0),
            f.frame(f.PRIORITY, 0, 1, b"\0\0\0\x03\0"),
            f.frame(f.DATA, 0, 1, b""),
            f.window_update(0, 1),
            f.window_update(1, 1),
            f.frame(f.PRIORITY_UPDATE, 0, 0, b"\0\0\0\x09u=1"),
            f.frame(77, 0, 0),
            f.reset(3, 8),
        ):
            wire = self.raw_wire()
            wire.send(request(3) + f.reset(3, 8) if data == f.reset(3, 8) else OPEN_POST)
            wire.send(data * 60)
            self.calm(wire)

    def test_continuations(self) -> None:
        """A block that does not end (CVE-2024-27316), large or in nothing at all."""
        for piece, count in ((b"x" * 500, 5), (b"", 60)):
            wire = self.raw_wire()
            wire.send(request(1, b"", 0) + f.frame(f.CONTINUATION, 0, 1, piece) * count)
            self.calm(wire)

    def test_hpack_bomb(self) -> None:
        """A small block that means much gets 431, and costs what its bytes cost."""
        block = b"\x40\x01a\x7f\x81\x02" + b"x" * 256 + b"\xbe" * 1000
        wire = self.raw_wire()
        self.assertEqual(self.handler.exchanges, [])
        wire.send(request(1, block))
        self.assertIn(b"431", _status(wire.receive()))
        wire.send(request(3))
        self.assertEqual(len(self.handler.exchanges), 1)

    def test_many_fields(self) -> None:
        """More fields than allowed: 431."""
        wire = self.raw_wire()
        wire.send(request(1, BLOCK + fields(*[(b"x%d" % n, b"") for n in range(20)])))
        self.assertIn(b"431", _status(wire.receive()))

    def test_more_than_there_is_room_for(self) -> None:
        """A body beyond the windows."""
        wire = self.raw_wire()
        wire.send(OPEN_POST)
        data = f.frame(f.DATA, 0, 1, b"x" * 16384)
        wire.send(data * (STREAM_WINDOW // 16384) + data)
        self.assertEqual(ending(wire.receive()), [("reset", 1, f.FLOW_CONTROL_ERROR)])
        wire = self.raw_wire()
        for n in (1, 3, 5):
            wire.send(request(n, BLOCK, f.END_HEADERS))
        for n in (1, 3):
            wire.send(f.frame(f.DATA, 0, n, b"x" * 16384) * (STREAM_WINDOW // 16384))
        wire.send(f.frame(f.DATA, 0, 5, b"x"))
        self.assertEqual(ending(wire.receive()), [("goaway", 5, f.FLOW_CONTROL_ERROR)])

    def test_windows_never_opened(self) -> None:
        """A client that asks and never makes room for the answer is let go, and held little."""
        client = self.connect(keeps=True)
        number = client.ask()
        self.handler.exchange.answer(200, [], None)
        while "pause" not in self.handler.responder.told:
            self.handler.exchange.write(b"x" * 65536)
        self.turns.pass_time(130)
        client.take()
        self.assertTrue(client.told[number].reset is not None or client.gone_away is not None)
        self.assertEqual(self.handler.responder.told, ["pause", "gone"])

    def test_no_window_at_all(self) -> None:
        """An initial window of 0, and no update: as above, for each stream by itself."""
        wire = self.raw_wire()
        wire.send(f.settings({f.INITIAL_WINDOW_SIZE: 0}) + GET)
        self.handler.exchange.answer(200, [], 5, b"hello", True)
        self.turns.pass_time(130)
        self.assertIn(("reset", 1, f.CANCEL), ending(wire.receive()))
        self.assertEqual(self.connection.streams, {})

    def test_windows_never_opened_with_pings(self) -> None:
        """Other frames, and the answers to them, do not count for what a client takes of bodies."""
        self.front.bounds = Bounds()
        wire = self.raw_wire()
        wire.send(f.settings({f.INITIAL_WINDOW_SIZE: 2**31 - 1}) + GET)
        self.handler.exchange.answer(200, [], None)
        self.handler.exchange.write(b"x" * 70_000)
        said = b""
        for _ in range(13):
            wire.send(f.frame(f.PING, 0, 0, b"x" * 8) * 400)
            said += wire.receive()
            self.turns.pass_time(PERIOD)
            if self.stream.disconnected or self.connection._failed:
                break
        said += wire.receive()
        self.assertIn(("goaway", 1, f.ENHANCE_YOUR_CALM), ending(said))
        self.assertEqual(self.handler.responder.told[-1], "gone")

    def test_answers_that_are_not_read(self) -> None:
        """A client that asks on and on and takes nothing is not listened to; once it reads, all
        that it has asked is answered."""
        large = [(b"Location", b"/" * 4000)]
        self.handler.at_once = lambda exchange: exchange.answer(302, large, 0, b"", True)
        wire = self.raw_wire()
        number, rest, asked = 1, b"", 0
        while asked < 20_000:
            rest += b"".join([request(n) for n in range(number, number + 200, 2)])
            number += 200
            try:
                while rest:
                    rest = rest[wire.sock.send(rest) :]
            except BlockingIOError:
                pass
            if not self.turns.turn():
                break
            asked += 100
        self.assertLess(asked, 20_000)
        self.assertLess(self.stream._queued, HIGH_WATER + 4 * MAX_UNREAD)
        data = bytearray()
        while True:
            data += wire.receive()
            if not rest:
                break
            rest = rest[wire.sock.send(rest) :]
        found = [frame.stream_id for frame in read_frames(bytes(data)) if frame.type == f.HEADERS]
        self.assertEqual(found, list(range(1, number, 2)))

    def test_what_is_remembered(self) -> None:
        """Streams that were reset are not remembered for ever."""
        self.front.bounds = Bounds()
        wire = self.raw_wire()
        for n in range(1, 900, 2):
            wire.send(OPEN_POST.replace(b"\0\0\0\x01", pack(">I", n), 1))
            say(b"no")(self.handler.exchange)
            self.turns.pass_time(1)
        self.assertLessEqual(len(self.connection._cut), MAX_CUT)

    def test_thousands_of_settings(self) -> None:
        """A frame full of windows' sizes is work for all streams once, and the last one counts."""
        wire = self.raw_wire()
        wire.send(request(1) + request(3))
        looks: list[int] = []

        class Streams(dict[int, Any]):
            """Notes when all streams are looked at."""

            def values(self) -> Any:
                looks.append(len(self))
                return super().values()

        self.connection.streams = Streams(self.connection.streams)
        sizes = [*range(1, 2000), 70000]
        wire.send(f.frame(f.SETTINGS, 0, 0, b"".join(pack(">HI", 4, size) for size in sizes)))
        self.assertEqual([exchange.window for exchange in self.handler.exchanges], [70000] * 2)
        self.assertEqual(self.connection.initial_window, 70000)
        self.assertEqual(looks, [2])

    def test_thousands_of_table_sizes(self) -> None:
        """...and so is one full of the table's sizes: the least of them and the last one count."""
        sizes: list[int] = []

        class Noting(Encoder):
            """Notes the table's sizes."""

            def set_table_size(self, size: int) -> None:
                sizes.append(size)
                super().set_table_size(size)

        self.connection._encoder = Noting()
        self.handler.at_once = say(b"")
        said = b"".join(
            pack(">HI", f.HEADER_TABLE_SIZE, size) for size in [*range(4000, 0, -2), 4096]
        )
        self.client.wire.send(f.frame(f.SETTINGS, 0, 0, said))
        self.assertEqual(sizes, [2, 4096])

    def test_large_requests_are_not_kept(self) -> None:
        """What is remembered of requests is bounded in bytes, whatever few bytes stand for them:
        here each refers to a long field of the table six times."""
        self.front.bounds = Bounds(resets=1000)
        self.handler.at_once = say(b"")
        wire = self.raw_wire()
        wire.send(request(1, BLOCK + b"\x40\x01x\x7f\xa1\x1e" + b"x" * 4000))
        self.assertEqual(len(self.handler.exchanges), 1)
        for n in range(3, 203, 2):
            path = fields((b":path", b"/%d" % n))
            wire.send(request(n, b"\x82\x87\x01\x09a.example" + path + b"\xbe" * 6))
            wire.receive()
        self.assertEqual(len(self.handler.exchanges), 101)
        kept = [request for _, request, _ in self.connection._requests.values()]
        self.assertTrue(kept)
        self.assertLessEqual(sum(len(line) for r in kept for line in r.lines), MAX_KNOWN_BYTES)


def _status(data: bytes) -> bytes:
    """Return the statuses that *data* says."""
    from hpack import Decoder

    decoder = Decoder()
    found = []
    for frame in read_frames(data):
        if frame.type == f.HEADERS:
            found += [
                value for name, value in decoder.decode(frame.data, raw=True) if name == b":status"
            ]
    return b" ".join(map(bytes, found))


class ConnectionTests(Front2Case):
    """A connection's life."""

    def test_other_names(self) -> None:
        """A name that the connection may not speak for: 421, also when a certificate covers it."""
        self.sites.put("b.example", ("b.example",), None, self.handler)
        self.sites.put("own.wild.example", ("own.wild.example",), None, self.handler)
        for other in ("b.example", "own.wild.example"):
            number = self.client.ask(authority=other)
            self.assertEqual(self.client.told[number].status, 421)
        self.assertEqual(self.handler.exchanges, [])
        self.handler.at_once = say(b"hello")
        number = self.client.ask(authority="x.wild.example")
        self.assertEqual(self.client.told[number].status, 200)
        self.assertEqual(self.live.requests, 1)

    def test_refused(self) -> None:
        """What is a request, and not for the site, is answered on its stream."""
        number = self.client.ask(method="TRACE")
        self.assertEqual(self.client.told[number].status, 405)

    def test_same_again(self) -> None:
        """The same fields again are the same request, and what was sent for it holds."""
        for _ in range(4):
            self.client.ask()
        first, *_, third, fourth = (e.request for e in self.handler.exchanges)
        self.assertIs(third, fourth)
        self.assertEqual(first.lines, fourth.lines)

    def test_a_handler_that_raises(self) -> None:
        """Its request is ended; the others go on."""

        def fail(exchange: Any) -> None:
            raise ValueError("a test's")

        first = self.client.ask()
        self.handler.at_once = fail
        second = self.client.ask()
        self.assertEqual(self.client.told[second].reset, f.INTERNAL_ERROR)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        say(b"hello")(self.handler.exchanges[0])
        self.client.take()
        self.assertEqual(self.client.told[first].data, b"hello")

    def test_priorities(self) -> None:
        """What is urgent goes first, whatever was asked first."""
        client = self.connect(keeps=True)
        late = client.ask(("priority", "u=5"))
        soon = client.ask(("priority", "u=0"))
        later = client.ask()
        client.raw(f.frame(f.PRIORITY_UPDATE, 0, 0, pack(">I", later) + b"u=7"))
        for exchange in self.handler.exchanges:
            exchange.answer(200, [], 60_000, b"x" * 60_000, True)
        client.take()
        room = 20_000
        order = []
        for _ in range(12):
            before = {n: len(told.data) for n, told in client.told.items()}
            client.h2.increment_flow_control_window(room)
            client.flush()
            order += [n for n, told in client.told.items() if len(told.data) != before[n]]
        self.assertLess(order.index(soon), order.index(later))
        self.assertEqual(order[-1], later)
        self.assertTrue(all(client.told[n].ended for n in (late, soon, later)))

    def test_drained(self) -> None:
        """At the end a client is told to ask no more (RFC 9113 §6.8). What it has asked before it
        says that it knows is answered; what it asks then is not, and is above what GOAWAY names."""
        wire = self.raw_wire()
        wire.send(GET)
        self.front.drain()
        self.assertEqual(ending(wire.receive()), [("goaway", f.MAX_STREAM, f.NO_ERROR)])
        wire.send(request(3) + KNOWN + request(5))
        self.assertEqual(ending(wire.receive()), [("goaway", 3, f.NO_ERROR)])
        self.assertEqual(len(self.handler.exchanges), 2)
        for exchange in self.handler.exchanges:
            self.assertFalse(wire.ended)
            say(b"hello")(exchange)
            self.assertIn(b"hello", wire.receive())
        self.assertTrue(wire.ended)

    def test_drained_while_idle(self) -> None:
        """At the end an idle connection is closed as soon as its client knows, or has had time to
        know; a client that says so without having been told ends nothing."""
        for says in (KNOWN, b""):
            with self.subTest(says=says):
                self.front.draining = False
                wire = self.raw_wire()
                wire.send(KNOWN + GET)
                say(b"hello")(self.handler.exchange)
                self.assertEqual(ending(wire.receive()), [])
                self.front.drain()
                self.assertEqual(ending(wire.receive()), [("goaway", f.MAX_STREAM, f.NO_ERROR)])
                self.assertFalse(wire.ended)
                wire.send(says)
                self.turns.pass_time(0 if says else GRACE + 1)
                self.assertEqual(ending(wire.receive()), [("goaway", 1, f.NO_ERROR)])
                self.assertTrue(wire.ended)

    def test_drained_before_it_has_asked(self) -> None:
        """At the end a connection on which nothing was asked may ask, if it does so soon, or if it
        comes to be during the end; then it is told to ask no more."""
        for before in (True, False):
            with self.subTest(before=before):
                self.front.draining = False
                if before:
                    wire = self.raw_wire()
                    self.front.drain()
                else:
                    self.front.drain()
                    wire = self.raw_wire()
                self.assertEqual(ending(wire.receive()), [])
                wire.send(GET)
                self.assertEqual(ending(wire.receive()), [("goaway", f.MAX_STREAM, f.NO_ERROR)])
                say(b"hello")(self.handler.exchange)
                self.assertIn(b"hello", wire.receive())
                self.assertFalse(wire.ended)
                wire.send(KNOWN)
                self.assertEqual(ending(wire.receive()), [("goaway", 1, f.NO_ERROR)])
                self.assertTrue(wire.ended)

    def test_drained_before_it_is_read(self) -> None:
        """What was asked first, but not read yet when all ends, is answered, however long nothing
        was asked before: a process that is held up reads it late."""
        wire = self.raw_wire()
        self.turns.pass_time(GRACE + 1)
        wire.sock.send(GET)
        self.front.drain()
        self.assertEqual(ending(wire.receive()), [("goaway", f.MAX_STREAM, f.NO_ERROR)])
        say(b"hello")(self.handler.exchange)
        self.assertIn(b"hello", wire.receive())

    def test_drained_and_never_asked(self) -> None:
        """A connection on which nothing is asked holds the end up for a moment at most."""
        for before in (True, False):
            with self.subTest(before=before):
                self.front.draining = False
                if before:
                    wire = self.raw_wire()
                    self.front.drain()
                else:
                    self.front.drain()
                    wire = self.raw_wire()
                self.turns.pass_time(GRACE + 1)
                self.assertEqual(ending(wire.receive()), [("goaway", 0, f.NO_ERROR)])
                self.assertTrue(wire.ended)
        self.front.draining = False
        wire = self.raw_wire()
        self.turns.pass_time(GRACE + 1)
        self.front.drain()
        self.turns.pass_time(MOMENT + 0.5)
        self.assertEqual(ending(wire.receive()), [("goaway", 0, f.NO_ERROR)])
        self.assertTrue(wire.ended)

    def test_broken_off(self) -> None:
        """When the time for open answers is over, what has no answer yet may be asked again; who
        would have answered hears that nobody waits any more. Answers that have begun go on."""
        waiting = self.client.ask()
        begun = self.client.ask()
        self.handler.exchange.answer(200, [], 9, b"some")
        uploading = self.client.ask(end=False, method="POST")
        self.handler.exchange.receive()
        self.client.body(uploading, b"x" * 3000)
        self.front.break_off()
        self.client.take()
        for number in (waiting, uploading):
            told = self.client.told[number]
            self.assertEqual((told.status, told.ended), (503, True))
            self.assertEqual(dict(told.fields)["retry-after"], "5")
        self.assertEqual([r.told for r in self.handler.responders], [["gone"], [], ["gone"]])
        self.handler.exchanges[1].write(b" more")
        self.handler.exchanges[1].finish()
        self.client.take()
        self.assertEqual(self.client.told[begun].data, b"some more")

    def test_uploads_that_come_too_late(self) -> None:
        """A request that GOAWAY did not name any more is ignored with its body, and all that
        belongs to it: those before it are answered."""
        wire = self.raw_wire()
        wire.send(GET)
        self.connection.close_if_idle()
        wire.send(
            request(3, BLOCK, f.END_HEADERS)
            + f.frame(f.DATA, 0, 3, b"x" * 100)
            + f.window_update(3, 5000)
            + f.frame(f.DATA, f.END_STREAM, 3, b"x" * 100)
            + request(5)
            + f.reset(5, f.CANCEL)
        )
        self.assertEqual(ending(wire.receive()), [("goaway", 1, f.NO_ERROR)])
        say(b"hello")(self.handler.exchange)
        self.assertEqual(len(self.handler.exchanges), 1)
        self.assertIn(b"hello", wire.receive())
        wire = self.raw_wire()
        wire.send(GET)
        self.connection.close_if_idle()
        wire.send(f.frame(f.DATA, 0, 3, b"x"))
        self.assertIn(("goaway", 1, f.PROTOCOL_ERROR), ending(wire.receive()))

    def test_the_client_leaves(self) -> None:
        """A client that says GOAWAY gets what it has asked for, then the end."""
        wire = self.raw_wire()
        wire.send(GET + f.go_away(0, 0))
        say(b"hello")(self.handler.exchange)
        self.assertIn(b"hello", wire.receive())
        self.assertTrue(wire.ended)

    def test_idle(self) -> None:
        """A connection on which nothing is asked ends after a while, a silent answer's does not."""
        self.client.ask()
        self.turns.pass_time(1000)
        say(b"late")(self.handler.exchange)
        self.client.take()
        self.assertEqual(self.client.told[1].data, b"late")
        self.turns.pass_time(self.front.bounds.keep_alive + 2)
        self.client.take()
        self.assertEqual((self.client.gone_away, self.client.wire.ended), (f.NO_ERROR, True))

    def test_says_nothing(self) -> None:
        """A client that never says hello, or never ends a head, is not waited for."""
        for data in (b"", f.PREFACE, f.PREFACE + f.settings({}) + request(1, BLOCK, 0)):
            wire = self.wire()
            wire.send(data)
            self.turns.pass_time(self.front.bounds.head_within + 1)
            self.assertTrue(ending(wire.receive()))
            self.assertTrue(wire.ended)

    def test_half_a_head_among_others(self) -> None:
        """A head that does not end is not waited for because something else goes on."""
        wire = self.raw_wire()
        wire.send(GET + request(3, b"\x82", 0))
        self.turns.pass_time(2 * self.front.bounds.head_within + 1)
        self.assertEqual(ending(wire.receive())[-1][2], f.ENHANCE_YOUR_CALM)
        self.assertEqual(self.handler.responder.told, ["gone"])

    def test_stalled_body(self) -> None:
        """A body that stands still gets 408; the connection, and a slow one on it, live."""
        stalled = self.client.ask(end=False, method="POST")
        self.handler.exchange.receive()
        slow = self.client.ask(end=False, method="POST")
        self.handler.exchange.receive()
        for _ in range(8):
            self.turns.pass_time(20)
            self.client.body(slow, b"x" * 3000)
        self.assertEqual(self.client.told[stalled].status, 408)
        self.assertEqual(self.handler.responders[0].told, ["gone"])
        self.assertEqual(self.handler.responders[1].told, [])
        self.assertEqual(len(self.handler.responders[1].received), 24_000)

    def test_reader_that_stops(self) -> None:
        """A client that takes nothing off its socket is let go."""
        wire = self.raw_wire()
        wire.send(f.settings({f.INITIAL_WINDOW_SIZE: 2**31 - 1}) + f.window_update(0, 2**30) + GET)
        exchange, responder = self.handler.exchange, self.handler.responder
        exchange.answer(200, [], None)
        while "pause" not in responder.told:
            exchange.write(b"x" * 65536)
        self.turns.pass_time(200)
        self.assertEqual(responder.told[-1], "gone")
        self.turns.pass_time(60)
        self.assertTrue(self.stream.disconnected)

    def test_reader_that_catches_up(self) -> None:
        """A client that was slow and reads on gets everything."""
        wire = self.raw_wire()
        wire.send(f.settings({f.INITIAL_WINDOW_SIZE: 2**31 - 1}) + f.window_update(0, 2**30) + GET)
        exchange, responder = self.handler.exchange, self.handler.responder
        exchange.answer(200, [], None)
        count = 0
        while "pause" not in responder.told:
            exchange.write(b"x" * 65536)
            count += 1
        data = wire.receive()
        self.assertEqual(responder.told, ["pause", "resume"])
        exchange.finish()
        data += wire.receive()
        got = sum(len(frame.data) for frame in read_frames(data) if frame.type == f.DATA)
        self.assertEqual(got, count * 65536)

    def test_site_gone(self) -> None:
        """A site that was removed has no names any more."""
        self.sites.remove("a.example")
        number = self.client.ask()
        self.assertEqual(self.client.told[number].status, 421)

    def test_head(self) -> None:
        """What the tests send is what they mean."""
        self.assertEqual(head(path="/x")[3], (":path", "/x"))


class CrowdTests(Front2Case):
    """Many streams of one client that reads slowly, or never."""

    def fill(self, exchange: Any) -> None:
        """Answer as a large file does: pieces until the client is too slow for more."""
        exchange.answer(200, [], None)
        responder = self.handler.responder
        while "pause" not in responder.told:
            exchange.write(b"x" * 65536)

    def test_many_that_never_read(self) -> None:
        """A hundred streams that are not read hold little more than one: makers are paused, and
        for what comes then nobody is asked before there is room again."""
        client = self.connect(keeps=True)
        self.handler.at_once = self.fill
        numbers = [client.ask() for _ in range(100)]
        held = self.connection.held
        self.assertEqual(
            held, sum([exchange.queued for exchange in self.connection.streams.values()])
        )
        self.assertLess(held, MOST_HELD + 256 * 1024)
        asked = len(self.handler.exchanges)
        self.assertLess(asked, 20)
        self.assertEqual(len(self.connection.streams), 100)
        # Who cancels what nobody was asked for: nobody will be.
        client.h2.reset_stream(numbers[-1], 8)
        client.flush()
        self.handler.at_once = say(b"small")
        for number in numbers[:asked]:
            client.h2.reset_stream(number, 8)
        client.flush()
        self.assertEqual([r.told[-1] for r in self.handler.responders[:asked]], ["gone"] * asked)
        self.assertEqual(len(self.handler.exchanges), 99)
        client.h2.increment_flow_control_window(1 << 20)
        client.flush()
        told = [client.told[number] for number in numbers[asked:-1]]
        self.assertEqual([one.data for one in told], [b"small"] * (99 - asked))
        self.assertTrue(all(one.ended for one in told))
        self.assertEqual((self.connection.streams, self.connection.held), ({}, 0))

    def test_many_that_read_slowly(self) -> None:
        """Requests that had to wait are asked for as soon as the client has made room."""
        client = self.connect(keeps=True)
        self.handler.at_once = self.fill
        numbers = [client.ask() for _ in range(30)]
        asked = len(self.handler.exchanges)
        self.assertLess(asked, 20)
        self.handler.at_once = say(b"small")
        client.h2.increment_flow_control_window(1 << 24)
        for number in numbers:
            client.h2.increment_flow_control_window(1 << 20, number)
        client.flush()
        self.assertEqual(len(self.handler.exchanges), 30)
        self.assertEqual({client.told[number].data for number in numbers[asked:]}, {b"small"})
        self.assertIn("resume", self.handler.responders[0].told)

    def test_ended_while_requests_wait(self) -> None:
        """Of requests that wait nothing is left when the connection is gone."""
        client = self.connect(keeps=True)
        self.handler.at_once = self.fill
        for _ in range(30):
            client.ask()
        asked = len(self.handler.exchanges)
        client.wire.close()
        self.turns.settle()
        self.assertEqual((self.connection.streams, len(self.handler.exchanges)), ({}, asked))
        self.assertFalse(self.connection._delayed)
