"""What Snickers forwards is read the same way by servers that read differently.

nginx, Apache, node and Python each stand behind one site. Odd and hostile requests are sent to all
of them, each followed by a plain one on the same connection. Either Snickers refuses, and nothing
of it reaches anybody; or all have read the same requests, in the same order, with the same bodies.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import echo_python
from tests.live_setup import SETTINGS, WITHIN, Snickers

SITES = ("nginx", "apache", "node", "python")
PROXIES = ("nginx", "apache")
"""Those that pass on what they have read, to Python, behind a path of their own."""
PROGRAMS = {"nginx": "nginx", "apache2": "Apache", "node": "node"}
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

HEADS: list[tuple[str, int, bytes]] = [
    (
        "both lengths",
        400,
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "both, the other way",
        400,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", 400, POST + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\nabcd"),
    ("a list of lengths", 400, POST + b"Content-Length: 0, 4\r\n\r\nabcd"),
    ("a signed length", 400, POST + b"Content-Length: +4\r\n\r\nabcd"),
    ("a hexadecimal length", 400, POST + b"Content-Length: 0x4\r\n\r\nabcd"),
    ("a length with an underscore", 400, POST + b"Content-Length: 1_0\r\n\r\nabcd"),
    ("an empty length", 400, POST + b"Content-Length: \r\n\r\nabcd"),
    ("a length beyond all", 400, POST + b"Content-Length: 99999999999999999999\r\n\r\nabcd"),
    ("chunked, oddly", 501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("another coding", 501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", 400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked in two fields", 400, POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n"),
    (
        "chunked before identity",
        400,
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "a tab before chunked's comma",
        501,
        POST + b"Transfer-Encoding: gzip\t, chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a vertical tab", 400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("a blank before the colon", 400, POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a folded line", 400, POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "chunked in HTTP/1.0",
        400,
        b"POST /x HTTP/1.0\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a bare line feed", 400, POST + b"X: y\nContent-Length: 4\r\n\r\nabcd"),
    ("a bare carriage return", 400, POST + b"X: y\rContent-Length: 4\r\n\r\nabcd"),
    ("NUL", 400, POST + b"X: y\0\r\n\r\n"),
    ("a name with a blank", 400, POST + b"X Y: z\r\n\r\n"),
    ("an empty name", 400, POST + b": z\r\n\r\n"),
    ("a line without a colon", 400, POST + b"nothing\r\n\r\n"),
    ("two hosts", 400, b"GET /x HTTP/1.1\r\nHost: %b\r\nHost: %b\r\n\r\n"),
    ("no host", 400, b"GET /x HTTP/1.1\r\nX: %b\r\n\r\n"),
    ("a host with a path", 400, b"GET /x HTTP/1.1\r\nHost: %b/x\r\n\r\n"),
    ("a host with a user", 400, b"GET /x HTTP/1.1\r\nHost: me@%b\r\n\r\n"),
    ("a host with a bad port", 400, b"GET /x HTTP/1.1\r\nHost: %b:70000\r\n\r\n"),
    ("another site's host", 421, b"GET /x HTTP/1.1\r\nHost: x.%b\r\nConnection: close\r\n\r\n"),
    (
        "another site's authority",
        421,
        b"GET https://x.%b/x HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n",
    ),
    ("three blanks", 400, b"GET /x y HTTP/1.1\r\nHost: %b\r\n\r\n"),
    ("a version that is none", 400, b"GET /x HTTP/1.2x\r\nHost: %b\r\n\r\n"),
    ("a line too long", 414, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: %b\r\n\r\n"),
    (
        "a field too long",
        431,
        b"GET / HTTP/1.1\r\nHost: %b\r\nX: " + b"x" * 17000 + b"\r\n\r\n",
    ),
    ("too many fields", 431, b"GET / HTTP/1.1\r\nHost: %b\r\n" + b"X: y\r\n" * 100 + b"\r\n"),
    ("CONNECT", 405, b"CONNECT %b:443 HTTP/1.1\r\nHost: %b\r\n\r\n"),
    ("TRACE", 405, b"TRACE / HTTP/1.1\r\nHost: %b\r\n\r\n"),
    (
        "a WebSocket without a key",
        400,
        b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n",
    ),
    (
        "a WebSocket of another version",
        426,
        b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ),
]
"""What is refused for its head, and the status it gets."""

BODIES: list[tuple[str, bytes]] = [
    ("a chunk's size that is none", CHUNKED + b"x\r\nabc\r\n0\r\n\r\n"),
    ("a signed chunk's size", CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    ("a blank before a chunk's size", CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n"),
    ("0x before a chunk's size", CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("a chunk's size beyond all", CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    ("a chunk that is longer", CHUNKED + b"2\r\nabc\r\n0\r\n\r\n"),
    ("a line feed behind a size", CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    ("a line feed in an extension", CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    ("an extension without end", CHUNKED + b"3;" + b"a" * 4096 + b"\r\nabc\r\n0\r\n\r\n"),
    ("a folded trailer", CHUNKED + b"0\r\nX: y\r\n z\r\n\r\n"),
]
"""What is refused for its body, with 400: its head may have been passed on by then."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


class Witness:
    """A server that answers every head, and knows all that it was ever sent.

    On loopback what was sent is there at once: what is not there when a request that came later
    was answered was not sent at all.
    """

    def __init__(self, test: DifferentialTests) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        test.addCleanup(self._close)

    def _close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(WITHIN)
        for sock in self._sockets:
            sock.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                self._sockets.append(sock)
                # Only looked at: it is the test that takes it.
                threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if b"/marker" in sock.recv(65536, socket.MSG_PEEK):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    def said(self) -> list[bytes]:
        """Return what each connection was sent since the last time, if anything."""
        said = []
        sockets, self._sockets[:] = self._sockets[:], []
        for sock in sockets:
            data = b""
            with contextlib.suppress(OSError), sock:
                sock.setblocking(False)
                while piece := sock.recv(65536):
                    data += piece
            if data:
                said.append(data)
        return said


class DifferentialTests(SynchronousTestCase):
    """One Snickers, four servers."""

    def setUp(self) -> None:
        for name, words in PROGRAMS.items():
            if program(name) is None:
                if os.environ.get("SNICKERS_REQUIRE_ALL"):
                    self.fail(f"{words} is not installed")
                raise SkipTest(f"{words} is not installed")
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
        self.start("apache", self.apache())
        self.witness = Witness(self)
        ports = {**self.ports, "witness": self.witness.port}
        self.snickers = Snickers(
            self,
            "".join(
                f"[{site}.localhost]\ntype = proxy\nto = http://127.0.0.1:{port}\n"
                for site, port in ports.items()
            ),
            SETTINGS,
        )
        self.markers = 0

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
        return [program("nginx") or "nginx", "-c", str(config)]

    def apache(self) -> list[str]:
        config = self.folder / "apache.conf"
        modules = "".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
            for name in ("mpm_event", "authz_core", "proxy", "proxy_http")
        )
        config.write_text(
            f"{modules}ServerName localhost\nServerRoot {self.folder}\n"
            f"DefaultRuntimeDir {self.folder}\nPidFile {self.folder}/apache.pid\n"
            f"ErrorLog {self.folder}/apache.error\nListen 127.0.0.1:{self.ports['apache']}\n"
            "StartServers 1\nThreadsPerChild 8\nMaxRequestWorkers 8\nServerLimit 1\n"
            "MinSpareThreads 1\nMaxSpareThreads 8\nKeepAliveTimeout 60\n"
            f'LogFormat "%r" said\nCustomLog {self.folder}/apache.log said\n'
            f"ProxyPass / http://127.0.0.1:{self.ports['python']}/apache/ nocanon\n"
        )
        return [program("apache2") or "apache2", "-D", "FOREGROUND", "-f", str(config)]

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
        self.fail(f"{site} does not listen: {(self.folder / f'{site}.out').read_text()}")

    def send(self, site: str, data: bytes, last: bytes = b"/last") -> bytes:
        """Send *data* and a plain request behind it; return all that is answered."""
        host = f"{site}.localhost".encode()
        data = data.replace(b"%b", host)
        data += b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (last, host)
        answer = b""
        with self.snickers.connect(host.decode()) as sock:
            sock.settimeout(WITHIN)
            try:
                sock.sendall(data)
                while piece := sock.recv(65536):
                    answer += piece
            except OSError:
                pass
        return answer

    def said(self, site: str) -> tuple[list[Any], list[str]]:
        """Return what the server of *site* has read since the last time, and what it has begun
        with: all of that, since a request that was asked for afterwards is in the same log."""
        self.markers += 1
        marker = f"/marker{self.markers}"
        answer = self.send(site, b"", marker.encode())
        self.assertEqual(answer[:12], b"HTTP/1.1 200", site)
        until = time.monotonic() + WITHIN
        while True:
            self.assertLess(time.monotonic(), until, f"{site} has not read what came last")
            read, begun = self.lines(site)
            paths = [line[1] for line in read]
            # nginx and Apache write of a request when they have answered it.
            if marker in paths and any(marker in line for line in begun):
                read = [line for line in read if line[1] != marker]
                begun = [line for line in begun if marker not in line]
                for path in self.folder.glob("*.json"):
                    path.write_text("")
                (self.folder / "apache.log").write_text("")
                return read, begun
            time.sleep(0.002)

    def lines(self, site: str) -> tuple[list[Any], list[str]]:
        """Return the lines of the logs of *site*."""
        path = self.log(site)
        lines = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        if site == "nginx":
            return [line for line in lines if line[3] == "OK"], [line[1] for line in lines]
        if site == "apache":
            behind = self.log("python").read_text().splitlines()
            read = [
                [method, path.removeprefix("/apache"), body, fields]
                for method, path, body, fields in map(json.loads, behind)
                if path.startswith("/apache") and body is not None
            ]
            return read, (self.folder / "apache.log").read_text().splitlines()
        lines = [line for line in lines if not line[1].startswith(("/nginx", "/apache"))]
        # Both write of a request twice: when they have its head, and when they have all of it.
        read = [line for line in lines if line[2] is not None]
        return read, [line[1] for line in lines if line[2] is None]

    def test_read_alike(self) -> None:
        """What is forwarded: everybody has read what we have, body and all, and nothing more."""
        for words, data, expected in GOOD:
            read = {}
            for site in SITES:
                self.send(site, data)
                read[site], begun = self.said(site)
                said = [tuple(line[:3]) for line in read[site]]
                self.assertEqual(said, [*expected, ("GET", "/last", "")], f"{words}: {site}")
                self.assertEqual(len(begun), len(said), f"{words}: {site}")
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

    def refused(self, words: str, site: str, data: bytes, status: int) -> None:
        """Check that *data* gets *status*, once, and the end of the connection."""
        answer = self.send(site, data)
        self.assertEqual(answer[:13], b"HTTP/1.1 %d " % status, f"{words}: {site}")
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1, f"{words}: {site}")
        self.assertIn(b"onnection: close", answer, words)

    def test_refused(self) -> None:
        """What is refused for its head: its own status, the end of the connection, and not a byte
        of it goes to a server; least of all the plain request behind it."""
        for words, status, data in HEADS:
            self.refused(words, "witness", data, status)
            self.send("witness", b"", b"/marker")
            (said,) = self.witness.said()
            self.assertEqual(said.count(b" HTTP/1.1\r\n"), 1, words)
            self.assertEqual(said[:12], b"GET /marker ", words)
            for site in SITES:
                self.refused(words, site, data, status)
                self.assertEqual(self.said(site), ([], []), f"{words}: {site}")

    def test_broken_off(self) -> None:
        """What is refused for its body: 400, the end of the connection, and nobody has read a
        whole request; least of all the plain one behind it."""
        for words, data in BODIES:
            self.refused(words, "witness", data, 400)
            self.send("witness", b"", b"/marker")
            *before, last = self.witness.said()
            self.assertEqual(last[:12], b"GET /marker ", words)
            for said in before:
                self.assertEqual(said.count(b"HTTP/1.1\r\n"), 1, words)
                _, _, body = said.partition(b"\r\n\r\n")
                self.assertNotIn(b"0\r\n\r\n", b"\n" + body, words)
            for site in SITES:
                self.refused(words, site, data, 400)
                read, begun = self.said(site)
                self.assertEqual(read, [], f"{words}: {site}")
                self.assertNotIn("/last", "".join(begun), f"{words}: {site}")
