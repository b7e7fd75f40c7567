"""WebSockets over HTTP/2 (RFC 8441): through a stream to a server that speaks HTTP/1."""

from __future__ import annotations

from typing import Any

from snickers.http import frames as f
from snickers.http.request import websocket_accept
from snickers.http.upstream import Upstream
from tests.front2_case import Front2Case

CONNECT = {"method": "CONNECT"}
PROTOCOL = (":protocol", "websocket")


class TunnelCase(Front2Case):
    """A client, a stream, a relay, a server."""

    def setUp(self) -> None:
        super().setUp()
        self.ended = 0
        self.upstream = Upstream(
            self.turns,
            self.wires.sweep,
            "a.example",
            ("127.0.0.1", 80),
            300.0,
            lambda address: None,
            self.end,
            self.wires.connector,
        )
        self.handler.handle = self.upstream.carry  # type: ignore[method-assign]
        self.logged: list[Any] = []
        self.front.access = self.logged.append

    def end(self) -> None:
        self.ended += 1

    def begin(self) -> int:
        """Open a WebSocket; return its stream."""
        fields = [*self.head(), PROTOCOL]
        number: int = self.client.h2.get_next_available_stream_id()
        self.client.h2.send_headers(number, [*fields, ("sec-websocket-version", "13")])
        self.client.flush()
        return number

    def head(self) -> list[tuple[str, str]]:
        return [
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":authority", "a.example"),
            (":path", "/socket"),
        ]

    def open(self) -> int:
        """The same, and have the server agree."""
        number = self.begin()
        self.agree()
        return number

    def agree(self) -> None:
        """Have the server answer 101."""
        request = self.wires.server.receive()
        self.assertTrue(request.startswith(b"GET /socket HTTP/1.1\r\nHost: a.example\r\n"))
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", request)
        key = request.partition(b"sec-websocket-key: ")[2].partition(b"\r\n")[0]
        self.wires.server.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: chat\r\n\r\nahead"
            % websocket_accept(key)
        )
        self.client.take()


class TunnelTests(TunnelCase):
    """WebSockets on streams."""

    def test_both_ways(self) -> None:
        """200 instead of 101, then bytes both ways, then a clean end of each direction."""
        number = self.open()
        told = self.client.told[number]
        self.assertEqual((told.status, told.data), (200, b"ahead"))
        self.assertEqual(told.fields["sec-websocket-protocol"], "chat")
        self.assertNotIn("sec-websocket-accept", told.fields)
        self.assertNotIn("upgrade", told.fields)
        self.client.body(number, b"from the client")
        self.assertEqual(self.wires.server.receive(), b"from the client")
        self.wires.server.send(b" from the server")
        self.client.take()
        self.assertEqual(told.data, b"ahead from the server")
        self.client.body(number, b"bye", end=True)
        self.assertEqual(self.wires.server.receive(), b"bye")
        self.assertTrue(self.wires.server.ended)
        self.assertEqual(self.ended, 0)
        self.wires.server.send(b"bye")
        self.wires.server.close()
        self.client.take()
        self.assertTrue(told.ended)
        self.assertEqual((self.ended, self.connection.streams), (1, {}))
        ((status, sent),) = [(e.status, e.sent) for e in self.logged]
        self.assertEqual((status, sent), (200, len(told.data)))

    def test_sent_ahead(self) -> None:
        """A client that does not wait for the server is no WebSocket's (RFC 6455 §4.1)."""
        number = self.begin()
        self.client.body(number, b"x")
        self.assertEqual(self.client.told[number].reset, f.PROTOCOL_ERROR)
        self.wires.server.receive()
        self.assertTrue(self.wires.server.ended)
        self.assertEqual(self.ended, 1)

    def test_ended_ahead(self) -> None:
        """A client that has ended before the server has agreed has its end passed on."""
        number = self.begin()
        self.client.body(number, b"", end=True)
        self.agree()
        server = self.wires.server
        self.assertEqual(server.receive(), b"")
        self.assertTrue(server.ended)
        server.send(b" there is")
        server.close()
        self.client.take()
        told = self.client.told[number]
        self.assertEqual((told.data, told.ended), (b"ahead there is", True))
        self.assertEqual((self.ended, self.connection.streams), (1, {}))

    def test_the_server_ends(self) -> None:
        """A server that goes ends the stream, all that it said before included."""
        number = self.open()
        self.wires.server.send(b"x" * 200_000)
        self.wires.server.close()
        self.client.take()
        self.client.body(number, b"", end=True)
        told = self.client.told[number]
        self.assertEqual((len(told.data), told.ended), (200_005, True))
        self.assertEqual((self.ended, self.connection.streams), (1, {}))

    def test_the_client_resets(self) -> None:
        """A client that goes ends the server's connection, by stream or as a whole."""
        number = self.open()
        self.client.h2.reset_stream(number)
        self.client.flush()
        self.wires.server.receive()
        self.assertTrue(self.wires.server.ended)
        self.wires.server.close()
        self.turns.settle()
        self.assertEqual(self.ended, 1)
        self.open()
        self.client.wire.close()
        self.turns.settle()
        self.wires.server.receive()
        self.wires.server.close()
        self.turns.settle()
        self.assertEqual(self.ended, 2)

    def test_back_pressure(self) -> None:
        """A client that takes nothing slows the server down; others are not felt."""
        client = self.client
        client.keeps = True
        number = self.open()
        sent = 0
        server = self.wires.server
        try:
            while sent < 50_000_000:
                sent += server.sock.send(b"x" * 65536)
                self.turns.settle()
        except BlockingIOError:
            pass
        self.assertLess(sent, 5_000_000)
        client.keeps = False
        client.take()
        client.h2.increment_flow_control_window(1 << 24, number)
        client.h2.increment_flow_control_window(1 << 24)
        client.flush()
        self.assertEqual(len(client.told[number].data), sent + 5)

    def test_silent(self) -> None:
        """A WebSocket that says nothing lives."""
        number = self.open()
        self.turns.pass_time(1000)
        self.client.body(number, b"still here")
        self.assertEqual(self.wires.server.receive(), b"still here")

    def test_refused(self) -> None:
        """A server that does not switch: its answer is passed on; a wrong switch is 502."""
        number = self.begin()
        self.wires.server.receive()
        self.wires.server.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        self.client.take()
        told = self.client.told[number]
        self.assertEqual((told.status, told.data, told.reset), (403, b"no", f.NO_ERROR))
        number = self.begin()
        self.wires.server.receive()
        self.wires.server.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: wrong\r\n\r\n"
        )
        self.client.take()
        self.assertEqual(self.client.told[number].status, 502)
        self.assertEqual(self.ended, 2)
