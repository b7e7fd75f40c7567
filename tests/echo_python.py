"""Writes what Python's http.server has read of each request as lines of JSON; for the differential
tests: one when its head is there, without a body, and one when all is. ``python echo_python.py PORT
FILE``."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    """Answers any method with what was asked."""

    protocol_version = "HTTP/1.1"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _note(self, body: str | None) -> None:
        fields = [(name.lower(), value) for name, value in self.headers.items()]
        with open(sys.argv[2], "a") as file:
            file.write(json.dumps([self.command, self.path, body, fields]) + "\n")

    def _answer(self) -> None:
        self._note(None)
        self._note(self._body().decode("latin-1"))
        said = f"{self.command} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
