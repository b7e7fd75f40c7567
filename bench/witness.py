"""A server behind the proxies that lets visitors see whether every byte went its way.

``python -m bench.witness PORT``. ``GET /`` is `HELLO`, ``GET /big`` is `BIG`, a POST is answered
with the SHA-256 of its body, a WebSocket with what it sends. Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.backend import GUID, echo

HELLO = b"hello"
BIG = bytes(range(251)) * (4 * 1024 * 1024 // 251)
"""251 is prime: whatever part of it is lost, repeated or exchanged, it is not the same any more."""


class Witness(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body together, or each request would wait for an acknowledgement

    def do_GET(self) -> None:
        key = self.headers["Sec-WebSocket-Key"]
        if key is None:
            self.say(BIG if self.path == "/big" else HELLO)
            return
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest())
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        # A client says nothing before it has the answer: nothing of it was read ahead.
        echo(self.connection, b"")

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        while left:
            piece = self.rfile.read1(min(left, 65536))  # type: ignore[attr-defined]
            if not piece:
                self.close_connection = True
                return
            digest.update(piece)
            left -= len(piece)
        self.say(digest.hexdigest().encode())

    def say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


class Server(ThreadingHTTPServer):
    """Accepts for ever."""

    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A proxy that was killed has left its connections: that is no news."""


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Witness).serve_forever()
