"""What is fuzzed: a function for each reader, which raises when the reader does what it must not.

A target takes any bytes. That nothing but the declared exceptions comes out of a reader is the
least; each also holds it to something that has to be true of whatever it accepts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from snickers.http import frames as f
from snickers.http.answer import BadAnswer, read_answer
from snickers.http.chunked import BadChunk, ChunkReader
from snickers.http.front import Bounds, Front
from snickers.http.hpack import Decoder, Encoder, HeaderError, HeadersTooLarge
from snickers.http.http2 import Http2
from snickers.http.request import Refused, read_request
from snickers.http.sites import SiteTable
from snickers.proxyheader import MAX_V2, BadHeader
from snickers.proxyheader import read as read_header
from snickers.proxyprotocol import header
from snickers.sweep import Sweep
from snickers.tls.clienthello import BadHello, NotTLS, parse

HEAD = b"GET /a?b HTTP/1.1\r\nHost: a.example\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2"


def client_hello(data: bytes) -> None:
    """A hello asks for more than there is, or is the same whatever follows it."""
    try:
        hello = parse(data)
    except (NotTLS, BadHello):
        return
    if isinstance(hello, int):
        assert hello > len(data)
    else:
        assert parse(data + b"more") == hello


def request_head(data: bytes) -> None:
    """What is let through reads the same when it is read again, as a server behind would."""
    try:
        request = read_request(data)
    except Refused as refused:
        assert 400 <= refused.status <= 505
        return
    head = b"%b %b HTTP/1.1\r\n%b" % (request.method, request.target, b"\r\n".join(request.lines))
    again = read_request(head)
    assert (again.method, again.target, again.host) == (
        request.method,
        request.target,
        request.host,
    )
    assert again.lines == request.lines
    assert again.length == 0  # what frames a body is ours to say
    assert b"\n" not in head.replace(b"\r\n", b"")


def answer_head(data: bytes) -> None:
    """An answer's fields read the same when they are sent on."""
    try:
        answer = read_answer(data, b"GET")
    except BadAnswer:
        return
    assert 100 <= answer.status <= 599
    assert answer.framing >= -2
    again = read_answer(b"\r\n".join([b"HTTP/1.1 200 OK", *answer.lines]), b"GET")
    assert again.lines == answer.lines
    assert again.length is None


def _read_chunks(pieces: list[bytes]) -> Any:
    reader = ChunkReader()
    body = b""
    behind = b""
    try:
        for piece in pieces:
            if reader.ended:
                behind += piece
            elif piece:
                found, behind = reader.feed(piece)
                body += b"".join(found)
    except BadChunk:
        return "bad"
    return body, reader.ended, behind if reader.ended else b"", reader.trailers


def chunks(data: bytes) -> None:
    """A body in chunks is the same, in whatever pieces it comes."""
    whole = _read_chunks([data])
    for size in (1, 2, 7):
        split = _read_chunks([data[n : n + size] for n in range(0, len(data), size)])
        assert split == whole, (split, whole)


def proxy_header(data: bytes) -> None:
    """A header ends within what there is, or asks for more, within bounds."""
    try:
        found = read_header(data)
    except BadHeader:
        return
    if isinstance(found, int):
        assert len(data) < found <= MAX_V2
        return
    assert found.length <= len(data)
    if found.source is not None:
        again = read_header(header("v2", found.source, found.destination))
        assert not isinstance(again, int)


def hpack(data: bytes) -> None:
    """Blocks that are read can be written, and are then read the same; tables stay bounded."""
    decoder = Decoder(table_size=256, list_size=2000)
    size = data[0] % 16 + 1 if data else 1
    for start in range(1, len(data), size):
        try:
            fields = decoder.decode(data[start : start + size])
        except HeadersTooLarge:
            continue
        except HeaderError:
            return
        assert sum(len(n) + len(v) + 32 for n, v in fields) <= 2000
        assert sum(len(n) + len(v) + 32 for n, v in decoder._table) <= 256
        assert Decoder().decode(Encoder().encode(fields)) == fields


class _Transport:
    """Takes everything."""

    peer = b"192.0.2.1"
    received = sent = 0
    deadline = inf
    written = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Nobody is paused."""

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def loseConnection(self) -> None:
        """The target ends it."""

    abortConnection = loseConnection


class _Handler:
    """Answers every other request at once, and takes every body."""

    def __init__(self) -> None:
        self.begun: list[Any] = []

    def handle(self, exchange: Any) -> None:
        self.begun.append(exchange)
        exchange.responder = self
        if exchange.request.length != 0:
            exchange.receive()
        elif len(self.begun) % 2:
            exchange.answer(200, [(b"X", b"y")], 5, b"hello", True)

    def body(self, data: bytes) -> None:
        assert data

    def body_end(self, trailers: Any) -> None:
        """It is complete."""

    def pause(self) -> None:
        """Little is written."""

    resume = gone = close = pause


def http2(data: bytes) -> None:
    """Any frames: every exchange has one end, and nothing is held when the connection is gone."""
    handler: Any = _Handler()
    sites = SiteTable()
    live = sites.put("a.example", ("a.example",), None, handler)
    front = Front(sites, Sweep(Clock()), lambda: 0.0, lambda: 0.0, Bounds(), b"t")
    ended: list[Any] = []
    front.access = ended.append
    transport: Any = _Transport()
    connection = Http2(front, transport, live)
    connection.dataReceived(f.PREFACE + f.settings({}))
    with suppress(IndexError):
        cut = data[0]
        connection.dataReceived(data[1 : 1 + cut])
        connection.dataReceived(data[1 + cut :])
    held = sum(len(p) for e in connection.streams.values() for p in e._held or ())
    assert held <= 1 << 20
    connection.connectionLost(None)  # type: ignore[arg-type]
    assert not connection.streams
    assert not connection.waiting
    assert {id(exchange) for exchange in handler.begun} <= {id(exchange) for exchange in ended}
    assert len({id(exchange) for exchange in ended}) == len(ended)


_BLOCK = Encoder().encode(
    ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/"))
)

HELLOS: dict[str, bytes] = {
    path.name: path.read_bytes()
    for path in sorted((Path(__file__).parent / "corpus" / "client_hello").iterdir())
}
"""What real clients say first; ``tests/fuzz/capture.py`` has written them."""


def _in_records(hello: bytes, size: int) -> bytes:
    """Return *hello*, which came in one record, in records of *size* bytes."""
    message = hello[5:]
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(hello[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "client_hello": (
        client_hello,
        [*HELLOS.values(), _in_records(HELLOS["openssl-3-classic"], 99), b"GET / HTTP/1.1\r\n"],
    ),
    "request_head": (
        request_head,
        [
            HEAD + b"A: b\r\nConnection: close, A",
            HEAD + b"Transfer-Encoding: chunked\r\nTE: trailers",
            b"GET https://a.example/x HTTP/1.1\r\nHost: b\r\nContent-Length: 5",
        ],
    ),
    "answer_head": (
        answer_head,
        [ANSWER + b"\r\nDate: x", b"HTTP/1.0 304 Y\r\nConnection: A\r\nA: b"],
    ),
    "chunks": (chunks, [b"3\r\nabc\r\n0\r\n\r\n", b"a;b=c\r\n0123456789\r\n0\r\nX: y\r\n\r\nmore"]),
    "proxy_header": (
        proxy_header,
        [
            header("v1", ("192.0.2.1", 1), ("192.0.2.2", 2)),
            header("v2", ("2001:db8::1", 1), ("2001:db8::2", 2), b"a.example"),
        ],
    ),
    "hpack": (hpack, [b"\x0f" + bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")]),
    "http2": (
        http2,
        [
            b"\xff" + f.frame(f.HEADERS, 5, 1, _BLOCK) + f.frame(f.PING, 0, 0, b"12345678"),
            b"\x20" + f.frame(f.HEADERS, 4, 1, _BLOCK) + f.frame(f.DATA, 1, 1, b"body"),
            b"\x05" + f.frame(f.HEADERS, 1, 1, b"") + f.frame(f.CONTINUATION, 4, 1, _BLOCK),
            b"\x05" + f.frame(f.HEADERS, 5, 1, _BLOCK) + f.reset(1, 8) + f.window_update(0, 9),
        ],
    ),
}
"""Each target with bytes to begin from."""
