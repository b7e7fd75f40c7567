"""Visitors who keep asking, each in a thread of its own, and note every answer that did not come.

Each is what clients of its kind are: one opens a connection for each request, one keeps its
connection for as long as it is told that it may, one does so over HTTP/2 with several requests at
once; one uploads slowly, one downloads slowly, one chats over a WebSocket, one comes so rarely that
it finds servers asleep. None of them asks again for what was lost: here that is a failure. What
they ask is a `bench.witness`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

from bench.witness import BIG, HELLO

AT_ONCE = 3
"""Requests that a visitor has open on one HTTP/2 connection."""
PIECES = 20
"""Pieces of an upload and of a download, messages of a chat."""
PAUSE = 0.1
"""Seconds between two of them."""
RARELY = 2.5
"""Seconds in which a server that is left alone may fall asleep."""
GOAWAY = 7
"""A frame's type (RFC 9113 §6.8)."""


class Lost(Exception):
    """An answer that did not come, or was another one."""


class Visitors:
    """Some visitors: all ask *host*, at *port* of this machine. *trust* has the authorities that
    they trust; without any they trust everybody."""

    def __init__(self, port: int, trust: ssl.SSLContext | None, host: str) -> None:
        self._port = port
        self.host = host
        self._contexts = {}
        for protocol in ("h2", "http/1.1"):
            if trust is None:
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            else:
                roots = b"".join(trust.get_ca_certs(binary_form=True))
                context = ssl.create_default_context(cadata=roots)
            context.set_alpn_protocols([protocol])
            self._contexts[protocol] = context
        self._kinds: dict[str, Callable[[], None]] = {
            "fresh": self._fresh,
            "kept": self._kept,
            "h2": self._h2,
            "upload": self._upload,
            "download": self._download,
            "chat": self._chat,
            "rare": self._rare,
        }
        self._ports: dict[int, int] = {}
        """Of each thread, the port of its connection."""
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answered = dict.fromkeys(self._kinds, 0)
        """How many requests were answered, of each kind of visitor."""
        self.connections = 0
        self.lost: list[tuple[int, str]] = []
        """What went wrong: the port of this end of the connection, 0 where there was none, and
        words."""

    def start(self, **numbers: int) -> None:
        """Begin with so many visitors of each kind."""
        for kind, number in numbers.items():
            for _ in range(number):
                thread = threading.Thread(target=self._visit, args=(kind,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def stop(self) -> None:
        """Have all of them finish what they do, and wait for that."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a visitor waits for ever"

    def _visit(self, kind: str) -> None:
        visit = self._kinds[kind]
        while not self._over.is_set():
            self._ports[threading.get_ident()] = 0
            try:
                visit()
            except Exception as problem:
                words = f"{kind}: {type(problem).__name__}: {problem}"
                self.lost.append((self._ports[threading.get_ident()], words))
                time.sleep(0.01)  # where nobody listens that would be all there is

    def _open(self, protocol: str = "http/1.1", buffer: int = 0) -> ssl.SSLSocket:
        sock = socket.socket()
        try:
            sock.settimeout(60)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.connect(("127.0.0.1", self._port))
            self._ports[threading.get_ident()] = sock.getsockname()[1]
            self.connections += 1
            return self._contexts[protocol].wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise

    def _send(self, sock: ssl.SSLSocket, first: str, *fields: str) -> None:
        lines = "".join(f"{line}\r\n" for line in (first, f"Host: {self.host}", *fields))
        sock.sendall(f"{lines}\r\n".encode())

    def _fresh(self) -> None:
        with self._open() as sock:
            self._send(sock, "GET / HTTP/1.1")
            _read(sock, HELLO)
            self.answered["fresh"] += 1

    def _rare(self) -> None:
        with self._open() as sock:
            self._send(sock, "GET / HTTP/1.1")
            _read(sock, HELLO)
            self.answered["rare"] += 1
        self._over.wait(RARELY)

    def _kept(self) -> None:
        with self._open() as sock:
            while not self._over.is_set():
                self._send(sock, "GET / HTTP/1.1")
                answer = _read(sock, HELLO)
                self.answered["kept"] += 1
                if answer.will_close:
                    return

    def _h2(self) -> None:
        with self._open("h2") as sock:
            _H2Visit(self, sock).run(self._over)

    def _upload(self) -> None:
        piece = os.urandom(16384)
        with self._open() as sock:
            self._send(sock, "POST / HTTP/1.1", f"Content-Length: {PIECES * len(piece)}")
            for _ in range(PIECES):
                sock.sendall(piece)
                time.sleep(PAUSE)
            _read(sock, hashlib.sha256(piece * PIECES).hexdigest().encode())
            self.answered["upload"] += 1

    def _download(self) -> None:
        with self._open(buffer=65536) as sock:
            self._send(sock, "GET /big HTTP/1.1")
            answer = HTTPResponse(sock)
            answer.begin()
            body = b""
            while piece := answer.read(-(-len(BIG) // PIECES)):
                body += piece
                time.sleep(PAUSE)
            if answer.status != 200 or body != BIG:
                raise Lost(f"{answer.status}, {len(body)} of {len(BIG)} bytes")
            self.answered["download"] += 1

    def _chat(self) -> None:
        with self._open() as sock:
            key = base64.b64encode(os.urandom(16)).decode()
            self._send(
                sock,
                "GET /chat HTTP/1.1",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                f"Sec-WebSocket-Key: {key}",
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += _some(sock, 1)
            if not head.startswith(b"HTTP/1.1 101 "):
                raise Lost(f"no WebSocket: {head[:80]!r}")
            for _ in range(PIECES):
                text = os.urandom(16).hex().encode()
                # Masked, with a mask that changes nothing.
                sock.sendall(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)
                heard = b""
                while len(heard) < 2 + len(text):
                    heard += _some(sock, 2 + len(text) - len(heard))
                if heard[2:] != text:
                    raise Lost(f"another echo: {heard!r}")
                self.answered["chat"] += 1
                time.sleep(PAUSE)


def _some(sock: ssl.SSLSocket, size: int) -> bytes:
    data = sock.recv(size)
    if not data:
        raise Lost("the connection ended")
    return data


def _read(sock: ssl.SSLSocket, expected: bytes) -> HTTPResponse:
    try:
        answer = HTTPResponse(sock)
        answer.begin()
        body = answer.read()
    except Exception as problem:
        raise Lost(repr(problem)) from problem
    if answer.status != 200 or body != expected:
        raise Lost(f"{answer.status} {body[:80]!r}")
    return answer


class _H2Visit:
    """One HTTP/2 connection."""

    def __init__(self, visitors: Visitors, sock: ssl.SSLSocket) -> None:
        self.visitors = visitors
        self.sock = sock
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.open: dict[int, bytes] = {}
        self.told_to_leave = False
        self._rest = b""
        """The beginning of a frame."""

    def run(self, over: threading.Event) -> None:
        self.h2.initiate_connection()
        head = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", self.visitors.host),
            (":path", "/"),
        ]
        while True:
            while not self.told_to_leave and not over.is_set() and len(self.open) < AT_ONCE:
                number = self.h2.get_next_available_stream_id()
                self.h2.send_headers(number, head, end_stream=True)
                self.open[number] = b""
            self.sock.sendall(self.h2.data_to_send())
            if not self.open:
                return
            data = self.sock.recv(65536)
            if not data:
                raise Lost(f"the connection ended with {len(self.open)} requests open")
            self._take(data)

    def _take(self, data: bytes) -> None:
        # The library takes no frame after a GOAWAY, though answers still come (RFC 9113 §6.8).
        for piece in self._frames(data):
            if piece[3] == GOAWAY:
                self.told_to_leave = True
                last = int.from_bytes(piece[9:13], "big") & 0x7FFFFFFF
                code = int.from_bytes(piece[13:17], "big")
                late = [number for number in self.open if number > last]
                if code or late:
                    raise Lost(f"GOAWAY {code}, which does not name {late}")
                continue
            for event in self.h2.receive_data(piece):
                self._note(event)

    def _frames(self, data: bytes) -> list[bytes]:
        """Return the whole frames that have come."""
        data = self._rest + data
        found = []
        while len(data) >= 9 and len(data) >= (size := 9 + int.from_bytes(data[:3], "big")):
            found.append(data[:size])
            data = data[size:]
        self._rest = data
        return found

    def _note(self, event: Any) -> None:
        if isinstance(event, ResponseReceived):
            status = dict(event.headers)[":status"]
            if status != "200":
                raise Lost(f"stream {event.stream_id}: {status}")
        elif isinstance(event, DataReceived):
            self.open[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            body = self.open.pop(event.stream_id)
            if body != HELLO:
                raise Lost(f"stream {event.stream_id}: {body[:80]!r}")
            self.visitors.answered["h2"] += 1
        elif isinstance(event, (StreamReset, ConnectionTerminated)):
            raise Lost(f"{event!r}")
