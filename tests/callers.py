"""Visitors who keep asking, each in a thread of its own, and note every answer that did not come.

Each is what clients of its kind are: one opens a connection for each request, one keeps its
connection for as long as it is told that it may, one does so over HTTP/2 with several requests at
once. None of them asks again for what was lost: here that is a failure.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

AT_ONCE = 3
"""Requests that a visitor has open on one HTTP/2 connection."""


class Lost(Exception):
    """An answer that did not come, or was another one."""


class Callers:
    """Some visitors: all ask *host*, at *port* of this machine, for *path*, and expect *body*.
    *trust* has the authorities that they trust."""

    def __init__(self, port: int, trust: ssl.SSLContext, host: str, path: str, body: bytes) -> None:
        self._port = port
        self._contexts = {}
        for protocol in ("h2", "http/1.1"):
            context = ssl.create_default_context(
                cadata=b"".join(trust.get_ca_certs(binary_form=True))
            )
            context.set_alpn_protocols([protocol])
            self._contexts[protocol] = context
        self._ports: dict[int, int] = {}
        """Of each thread, the port of its connection."""
        self._host = host
        self._path = path
        self._body = body
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answered = {"fresh": 0, "kept": 0, "h2": 0}
        """How many requests were answered, of each kind of visitor."""
        self.connections = 0
        self.lost: list[tuple[int, str]] = []
        """What went wrong: the port of this end of the connection, 0 where there was none, and
        words."""

    def start(self, fresh: int = 2, kept: int = 2, h2: int = 2) -> None:
        """Begin with so many visitors of each kind."""
        for kind, number, visit in (
            ("fresh", fresh, self._fresh),
            ("kept", kept, self._kept),
            ("h2", h2, self._h2),
        ):
            for _ in range(number):
                thread = threading.Thread(target=self._visit, args=(kind, visit), daemon=True)
                thread.start()
                self._threads.append(thread)

    def stop(self) -> None:
        """Have all of them finish what they do, and wait for that."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a visitor waits for ever"

    def _visit(self, kind: str, visit: Callable[[], None]) -> None:
        while not self._over.is_set():
            self._ports[threading.get_ident()] = 0
            try:
                visit()
            except Exception as problem:
                words = f"{kind}: {type(problem).__name__}: {problem}"
                self.lost.append((self._ports[threading.get_ident()], words))

    def _open(self, protocol: str) -> ssl.SSLSocket:
        sock = socket.create_connection(("127.0.0.1", self._port), 60)
        self._ports[threading.get_ident()] = sock.getsockname()[1]
        self.connections += 1
        try:
            return self._contexts[protocol].wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise

    def _ask(self, sock: ssl.SSLSocket, count: int) -> HTTPResponse:
        try:
            sock.sendall(f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
            answer = HTTPResponse(sock)
            answer.begin()
            body = answer.read()
        except Exception as problem:
            raise Lost(f"request {count}: {problem!r}") from problem
        if answer.status != 200 or body != self._body:
            raise Lost(f"request {count}: {answer.status} {body[:80]!r}")
        return answer

    def _fresh(self) -> None:
        with self._open("http/1.1") as sock:
            self._ask(sock, 1)
            self.answered["fresh"] += 1

    def _kept(self) -> None:
        with self._open("http/1.1") as sock:
            count = 0
            while not self._over.is_set():
                count += 1
                answer = self._ask(sock, count)
                self.answered["kept"] += 1
                if answer.will_close:
                    return

    def _h2(self) -> None:
        with self._open("h2") as sock:
            _H2Visit(self, sock).run(self._over)


class _H2Visit:
    """One HTTP/2 connection."""

    def __init__(self, callers: Callers, sock: ssl.SSLSocket) -> None:
        self.callers = callers
        self.sock = sock
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.open: dict[int, bytes] = {}
        self.told_to_leave = False
        self._rest = b""
        """The beginning of a frame."""

    def run(self, over: threading.Event) -> None:
        self.h2.initiate_connection()
        while True:
            while not self.told_to_leave and not over.is_set() and len(self.open) < AT_ONCE:
                number = self.h2.get_next_available_stream_id()
                host, path = self.callers._host, self.callers._path
                self.h2.send_headers(
                    number,
                    [
                        (":method", "GET"),
                        (":scheme", "https"),
                        (":authority", host),
                        (":path", path),
                    ],
                    end_stream=True,
                )
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
            if piece[3] == 7:
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
        callers = self.callers
        if isinstance(event, ResponseReceived):
            status = dict(event.headers)[":status"]
            if status != "200":
                raise Lost(f"stream {event.stream_id}: {status}")
        elif isinstance(event, DataReceived):
            self.open[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            body = self.open.pop(event.stream_id)
            if body != callers._body:
                raise Lost(f"stream {event.stream_id}: {body[:80]!r}")
            callers.answered["h2"] += 1
        elif isinstance(event, (StreamReset, ConnectionTerminated)):
            raise Lost(f"{event!r}")
