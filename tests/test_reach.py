"""What is found at an address: real servers on loopback, clients of theirs that are bounded."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme import reach
from snickers.acme.reach import ELSEWHERE, NOTHING, OTHER, OURS, Reached, by_http, by_tls, place
from tests.pairs import make_pair

CONTENT = b"what nobody else knows"


class ReachCase(SynchronousTestCase):
    def serve(self, speak: Callable[[socket.socket], object]) -> int:
        """Serve one client by *speak* and return the port."""
        listening = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            with listening:
                sock, _ = listening.accept()
                with sock:
                    sock.settimeout(10)
                    try:
                        speak(sock)
                    except OSError:
                        pass

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return int(listening.getsockname()[1])

    def closed_port(self) -> int:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            return int(sock.getsockname()[1])


class HttpTests(ReachCase):
    def asked(self, *answer: bytes, within: float = 10.0) -> Reached:
        """Ask a server that gives *answer*, piece by piece, and ends."""
        self.request = b""

        def speak(sock: socket.socket) -> None:
            self.request = sock.recv(4096)
            for piece in answer:
                sock.sendall(piece)

        return by_http("a.example", "127.0.0.1", self.serve(speak), "/token", CONTENT, within)

    def test_ours(self) -> None:
        """The content comes back, in one piece or in several; the name was asked for."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n"
        self.assertEqual(self.asked(head + CONTENT), Reached(OURS))
        self.assertTrue(self.request.startswith(b"GET /token HTTP/1.1\r\nHost: a.example\r\n"))
        self.assertEqual(self.asked(head[:9], head[9:], CONTENT[:3], CONTENT[3:]), Reached(OURS))

    def test_other(self) -> None:
        """Another answer is somebody else's, whatever it is, and is not repeated."""
        for answer, how in (
            (b"HTTP/1.1 404 Not Found\r\n\r\nnothing here", "404"),
            (b"HTTP/1.0 200 OK\r\n\r\n<h1>Router</h1>", "200"),
            (b"HTTP/1.1 200\r\n\r\n", "200"),
            (b"SSH-2.0-OpenSSH\r\n", "no http"),
            (b"HTTP/1.1 200 OK\r\nX: " + CONTENT + b"\r\n\r\n", "200"),
        ):
            self.assertEqual(self.asked(answer), Reached(OTHER, how))

    def test_elsewhere(self) -> None:
        """A redirect may come here in the end."""
        answer = b"HTTP/1.1 301 Moved\r\nLocation: https://a.example/token\r\n\r\n"
        self.assertEqual(self.asked(answer), Reached(ELSEWHERE, "301"))

    def test_nobody(self) -> None:
        """Nobody listens, or nothing is said."""
        self.assertEqual(
            by_http("a.example", "127.0.0.1", self.closed_port(), "/t", CONTENT, 10.0),
            Reached(NOTHING, "refused"),
        )
        self.assertEqual(self.asked(), Reached(NOTHING, "no answer"))

    def test_slow(self) -> None:
        """A server that says little, and never ends, is not listened to for longer than asked."""
        clock = [0.0]
        over = threading.Event()

        def now() -> float:
            clock[0] += 1.0
            return clock[0]

        def speak(sock: socket.socket) -> None:
            while not over.is_set():
                sock.sendall(b"H")

        port = self.serve(speak)
        found = by_http("a.example", "127.0.0.1", port, "/t", CONTENT, 5.0, now)
        over.set()
        self.assertEqual(found, Reached(OTHER, "no http"))

    def test_silent(self) -> None:
        """A server that accepts and says nothing."""
        over = threading.Event()
        port = self.serve(lambda sock: over.wait(10))
        found = by_http("a.example", "127.0.0.1", port, "/t", CONTENT, 0.05)
        over.set()
        self.assertEqual(found, Reached(NOTHING, "no answer"))

    def test_endless(self) -> None:
        """Only the first bytes of an answer are read."""
        found = self.asked(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1_000_000, CONTENT)
        self.assertEqual(found, Reached(OTHER, "200"))

    def test_odd_errors(self) -> None:
        """Every way a connection can fail has plain words."""
        for error, how in (
            (ConnectionResetError(), "cut off"),
            (OSError(113, "No route to host"), "no route to host"),
            (OSError(), "no connection"),
            (TimeoutError(), "no answer"),
        ):

            def fail(*_: object, error: OSError = error) -> socket.socket:
                raise error

            self.patch(reach, "_connect", fail)
            self.assertEqual(by_http("a", "192.0.2.1", 80, "/", CONTENT, 1), Reached(NOTHING, how))
            self.assertEqual(by_tls("a", "192.0.2.1", 443, b"", 1), Reached(NOTHING, how))


class TlsTests(ReachCase):
    def setUp(self) -> None:
        self.pair = make_pair("a.example")
        self.der = self.pair.certificate.public_bytes(serialization.Encoding.DER)
        self.file = Path(self.mktemp())
        self.file.write_bytes(self.pair.pem + self.pair.key_pem)

    def asked(self, *alpn: str) -> Reached:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        context.set_alpn_protocols(list(alpn))
        self.name = ""

        def named(sock: ssl.SSLObject, name: str, _: object) -> None:
            self.name = name

        context.sni_callback = named  # type: ignore[assignment]

        def speak(sock: socket.socket) -> None:
            with context.wrap_socket(sock, server_side=True) as secure:
                secure.recv(1)

        return by_tls("a.example", "127.0.0.1", self.serve(speak), self.der, 10.0)

    def test_ours(self) -> None:
        """Our certificate, by the challenge's protocol, for the name."""
        self.assertEqual(self.asked("acme-tls/1"), Reached(OURS))
        self.assertEqual(self.name, "a.example")

    def test_other(self) -> None:
        """Another certificate, or another protocol, is somebody else's."""
        self.assertEqual(self.asked(), Reached(OTHER, "another certificate"))
        self.der = b"other"
        self.assertEqual(self.asked("acme-tls/1"), Reached(OTHER, "another certificate"))

    def test_no_tls(self) -> None:
        """An alert, and no TLS at all, are answers; a port where nobody listens gives none."""

        def refuse(sock: socket.socket) -> None:
            sock.recv(4096)
            sock.sendall(b"\x15\x03\x03\x00\x02\x02\x70")
            sock.recv(1)

        found = by_tls("a.example", "127.0.0.1", self.serve(refuse), self.der, 10.0)
        self.assertEqual(found.what, OTHER)
        self.assertIn("unrecognized name", found.how)
        found = by_tls(
            "a.example", "127.0.0.1", self.serve(lambda s: s.sendall(b"HTTP/1.1 400")), b"", 10.0
        )
        self.assertEqual(found.what, OTHER)
        found = by_tls("a.example", "127.0.0.1", self.closed_port(), b"", 10.0)
        self.assertEqual(found, Reached(NOTHING, "refused"))


class PlaceTests(SynchronousTestCase):
    def test_here(self) -> None:
        """An address of this host."""
        self.assertEqual(place("127.0.0.1"), reach.HERE)

    def test_elsewhere(self) -> None:
        """Another one, reached from a public address or from a private one, or not at all."""
        for own, found in (
            ("8.8.8.8", reach.DIRECT),
            ("192.168.1.2", reach.BEHIND),
            ("fe80::1%eth0", reach.BEHIND),
            (None, reach.BEHIND),
        ):

            class Sock(_NoBind):
                name = own

            self.patch(reach.socket, "socket", Sock)
            self.assertEqual(place("203.0.113.7"), found, own)


class _NoBind:
    """A socket of a host that does not have the address, and goes there from *name*."""

    name: str | None

    def __init__(self, family: int, kind: int) -> None:
        pass

    def __enter__(self) -> _NoBind:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def bind(self, address: object) -> None:
        raise OSError(99, "Cannot assign requested address")

    def connect(self, address: object) -> None:
        if self.name is None:
            raise OSError(101, "Network is unreachable")

    def getsockname(self) -> tuple[str | None, int]:
        return self.name, 1
