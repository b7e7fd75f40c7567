"""What Snickers forwards is read the same way by servers that read differently.

nginx, node and Python each stand behind one site. Odd and hostile requests are sent to all three,
each followed by a plain one on the same connection. Either Snickers refuses, and nothing of it
reaches anybody; or all have read the same requests, in the same order, with the same bodies.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import echo_python
from tests.live_setup import SETTINGS, WITHIN, Snickers

SITES = ("nginx", "node", "python")
POST = b"POST /post HTTP/1.1\r\nHost: %b\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

GOOD: list[tuple[str, bytes, list[tuple[str, str, str]]]] = [
    ("a plain request", b"GET /a?b=c HTTP/1.1\r\nHost: %b\r\n\r\n", [("GET", "/a?b=c", "")]),
    (
        "two in one packet",
        b"GET /1 HTTP/1.1\r\nHost: %b\r\n\r\nGET /2 HTTP/1.1\r\nHost: %b\r\n\r\n",
        [("GET", "/1", ""), ("GET", "/2", "")],
    ),
    ("a body", POST + b"Content-Length: 5\r\n\r\nhello", [("POST", "/post", "hello")]),
    ("an empty body", POST + b"Content-Length: 0\r\n\r\n", [("POST", "/post", "")]),
    (
        "a body that looks like a request",
        POST + b"Content-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nX: y\r\n",
        [("POST", "/post", "GET /smuggled HTTP/1.1\r\nX: y\r\n")],
    ),
    ("chunks", CHUNKED + b"3\r\nabc\r\n02\r\nde\r\n0\r\n\r\n", [("POST", "/post", "abcde")]),
    ("a chunk's extension", CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n", [("POST", "/post", "abc")]),
    ("trailers", CHUNKED + b"1\r\na\r\n0\r\nX-T: 1\r\n\r\n", [("POST", "/post", "a")]),
    (
        "a chunk that looks like a request",
        CHUNKED + b"1e\r\nGET /smuggled HTTP/1.1\r\nX: y\r\n\r\n0\r\n\r\n",
        [("POST", "/post", "GET /smuggled HTTP/1.1\r\nX: y\r\n")],
    ),
    (
        "blanks around a value",
        b"GET /b HTTP/1.1\r\nHost: %b\r\nX:  \t y \t\r\n\r\n",
        [("GET", "/b", "")],
    ),
    ("absolute form", b"GET https://%b/abs?x HTTP/1.1\r\nHost: z\r\n\r\n", [("GET", "/abs?x", "")]),
    ("odd bytes", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: %b\r\n\r\n", [("GET", "/%C3%A9", "")]),
    ("an empty line first", b"\r\nGET /e HTTP/1.1\r\nHost: %b\r\n\r\n", [("GET", "/e", "")]),
    (
        "fields of the connection",
        b"GET /c HTTP/1.1\r\nHost: %b\r\nConnection: keep-alive, X-A\r\nX-A: b\r\n"
        b"Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nUpgrade: h2c\r\n\r\n",
        [("GET", "/c", "")],
    ),
    (
        "what only we may say",
        b"GET /f HTTP/1.1\r\nHost: %b\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6\r\n"
        b"Forwarded: for=6\r\nX-Real-IP: 6\r\nX-Request-Id: 6\r\n\r\n",
        [("GET", "/f", "")],
    ),
    ("HEAD", b"HEAD /h HTTP/1.1\r\nHost: %b\r\n\r\n", [("HEAD", "/h", "")]),
    (
        "another method",
        b"PATCH /p HTTP/1.1\r\nHost: %b\r\nContent-Length: 1\r\n\r\nx",
        [("PATCH", "/p", "x")],
    ),
]
"""What is forwarded, and what everybody has to have read."""

BAD: list[tuple[str, bytes]] = [
    ("both lengths", POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "both, the other way",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", POST + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\nabcd"),
    ("a list of lengths", POST + b"Content-Length: 0, 4\r\n\r\nabcd"),
    ("a signed length", POST + b"Content-Length: +4\r\n\r\nabcd"),
    ("a length with an underscore", POST + b"Content-Length: 1_0\r\n\r\nabcd"),
    ("chunked, oddly", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked in two fields", POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n"),
    ("chunked before identity", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("a tab before chunked's comma", POST + b"Transfer-Encoding: gzip\t, chunked\r\n\r\n0\r\n\r\n"),
    ("a vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("a blank before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a folded line", POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "chunked in HTTP/1.0",
        b"POST /x HTTP/1.0\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a bare line feed", POST + b"X: y\nContent-Length: 4\r\n\r\nabcd"),
    ("a bare carriage return", POST + b"X: y\rContent-Length: 4\r\n\r\nabcd"),
    ("NUL", POST + b"X: y\0\r\n\r\n"),
    ("a name with a blank", POST + b"X Y: z\r\n\r\n"),
    ("a line without a colon", POST + b"nothing\r\n\r\n"),
    ("two hosts", b"GET /x HTTP/1.1\r\nHost: %b\r\nHost: %b\r\n\r\n"),
    ("no host", b"GET /x HTTP/1.1\r\nX: %b\r\n\r\n"),
    ("a host with a path", b"GET /x HTTP/1.1\r\nHost: %b/x\r\n\r\n"),
    ("three blanks", b"GET /x y HTTP/1.1\r\nHost: %b\r\n\r\n"),
    ("another version", b"GET /x HTTP/1.2x\r\nHost: %b\r\n\r\n"),
    ("CONNECT", b"CONNECT %b:443 HTTP/1.1\r\nHost: %b\r\n\r\n"),
    ("a chunk's size that is none", CHUNKED + b"x\r\nabc\r\n0\r\n\r\n"),
    ("a signed chunk's size", CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    ("0x before a chunk's size", CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("a chunk's size beyond all", CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    ("a chunk that is longer", CHUNKED + b"2\r\nabc\r\n0\r\n\r\n"),
    ("a line feed behind a size", CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    ("a line feed in an extension", CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
]
"""What is refused."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class DifferentialTests(SynchronousTestCase):
    """One Snickers, three servers."""

    def setUp(self) -> None:
        for program in ("nginx", "node"):
            if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
                if os.environ.get("SNICKERS_REQUIRE_ALL"):
                    self.fail(f"{program} is not installed")
                raise SkipTest(f"{program} is not installed")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.ports = {site: free_port() for site in SITES}
        here = Path(echo_python.__file__).parent
        for site, command in (
            ("node", ["node", str(here / "echo_node.js")]),
            ("python", [sys.executable, str(here / "echo_python.py")]),
        ):
            self.start(site, [*command, str(self.ports[site]), str(self.log(site))])
        self.start("nginx", self.nginx())
        self.snickers = Snickers(
            self,
            "".join(
                f"[{site}.localhost]\ntype = proxy\nto = http://127.0.0.1:{self.ports[site]}\n"
                for site in SITES
            ),
            SETTINGS,
        )

    def log(self, site: str) -> Path:
        return self.folder / f"{site}.json"

    def nginx(self) -> list[str]:
        config = self.folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = " ".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds)
        config.write_text(
            f"daemon off; pid {self.folder}/pid; error_log {self.folder}/error; {user}\n"
            "events {}\nhttp {\n"
            "log_format said escape=json "
            '\'["$request_method","$request_uri","$request_body","$request_completion"]\';\n'
            f"access_log {self.log('nginx')} said; {folders}\n"
            "client_body_buffer_size 64k; client_body_in_single_buffer on;\n"
            f"server {{ listen 127.0.0.1:{self.ports['nginx']};\n"
            # Only what is passed on is read, and told by the log.
            f"location / {{ proxy_pass http://127.0.0.1:{self.ports['python']}/nginx; }} }} }}\n"
        )
        nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
        return [nginx, "-c", str(config)]

    def start(self, site: str, command: list[str]) -> None:
        with (self.folder / f"{site}.out").open("wb") as out:
            running = subprocess.Popen(command, stdout=out, stderr=out, cwd=self.folder)
        self.addCleanup(running.wait, WITHIN)
        self.addCleanup(running.terminate)
        until = time.monotonic() + WITHIN
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.ports[site]), 1).close()
            except OSError:
                continue
            return
        self.fail(f"{site} does not listen")

    def send(self, site: str, data: bytes) -> bytes:
        """Send *data* and a plain request behind it; return all that is answered."""
        host = f"{site}.localhost".encode()
        last = b"GET /last HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host
        answer = b""
        with self.snickers.connect(host.decode()) as sock:
            sock.settimeout(WITHIN)
            try:
                sock.sendall(data.replace(b"%b", host) + last)
                while piece := sock.recv(65536):
                    answer += piece
            except OSError:
                pass
        return answer

    def said(self, site: str) -> list[Any]:
        """Return what the server of *site* has read since the last time."""
        path = self.log(site)
        lines = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        path.write_text("")
        if site == "nginx":
            lines = [line for line in lines if line[3] == "OK"]
        if site == "python":
            lines = [line for line in lines if not line[1].startswith("/nginx")]
        return lines

    def test_read_alike(self) -> None:
        """What is forwarded: everybody has read what we have, body and all, and nothing more."""
        for words, data, expected in GOOD:
            for site in SITES:
                self.send(site, data)
            read = {site: self.said(site) for site in SITES}
            for site in SITES:
                said = [tuple(line[:3]) for line in read[site]]
                self.assertEqual(said, [*expected, ("GET", "/last", "")], f"{words}: {site}")
            for one, other in zip(read["node"], read["python"], strict=True):
                self.assertEqual(self.fields(one[3]), self.fields(other[3]), words)
                names = [name for name, _ in one[3]]
                self.assertEqual(names.count("host"), 1)
                self.assertEqual(names.count("x-forwarded-for"), 1)
                self.assertNotIn("x_forwarded_for", names)
                self.assertNotIn("x-a", names)
                self.assertEqual(dict(one[3])["x-forwarded-for"], "127.0.0.1")

    @staticmethod
    def fields(pairs: list[list[str]]) -> list[tuple[str, str]]:
        """Return fields without what differs from site to site."""
        differ = ("host", "x-request-id", "x-forwarded-host", "forwarded")
        return [(name, value.strip()) for name, value in pairs if name not in differ]

    def test_refused(self) -> None:
        """What is refused: an error, the end of the connection, and nobody has read a complete
        request; least of all the plain one behind it."""
        for words, data in BAD:
            for site in SITES:
                answer = self.send(site, data)
                self.assertRegex(answer[:12], rb"\AHTTP/1.1 (4|5)\d\d", f"{words}: {site}")
                self.assertEqual(answer.count(b"HTTP/1.1 "), 1, f"{words}: {site}")
                self.assertIn(b"onnection: close", answer, words)
            for site in SITES:
                self.assertEqual(self.said(site), [], f"{words}: {site}")
