"""Servers behind https, and several of them, as visitors of a real Snickers meet them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live_setup import SETTINGS, Snickers
from tests.pairs import DAY, make_pair


class Backend:
    """A server of Python's own: it answers with its title."""

    def __init__(
        self, test: SynchronousTestCase, title: str, context: ssl.SSLContext | None = None
    ) -> None:
        class Answer(BaseHTTPRequestHandler):
            # Each request has a connection of its own: the end of the server is felt at once.
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                said = f"{title} {self.headers['X-Forwarded-Proto']}".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}
        )
        self.thread.start()
        test.addCleanup(self.end)

    def end(self) -> None:
        """Serve no more."""
        if not self.thread.is_alive():
            return
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class ProxyLiveTests(SynchronousTestCase):
    """Sites of the type proxy."""

    def test_https(self) -> None:
        """A trusted server answers; one with another name, or of an unknown root, is a 502."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        now = time.time()
        times = {"begin": now - DAY, "end": now + DAY}
        root = make_pair(common="root", **times)
        pair = make_pair("localhost", issuer=root, **times)
        (folder / "root.pem").write_bytes(root.pem)
        (folder / "both.pem").write_bytes(pair.pem + pair.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "both.pem")
        backend = Backend(self, "inner", context)
        to = f"type = proxy\nto = https://localhost:{backend.port}\n"
        snickers = Snickers(
            self,
            f"[good.localhost]\n{to}trust = {folder}/root.pem\n"
            f"[named.localhost]\n{to}trust = {folder}/root.pem\nverify = other.example\n"
            f"[unknown.localhost]\n{to}"
            f"[off.localhost]\n{to}verify = off\n",
            SETTINGS,
        )
        for _ in range(2):
            self.assertEqual(snickers.get("good.localhost"), (200, b"inner https"))
        self.assertEqual(snickers.get("named.localhost")[0], 502)
        self.assertEqual(snickers.get("unknown.localhost")[0], 502)
        self.assertEqual(snickers.get("off.localhost"), (200, b"inner https"))
        log = snickers.log.read_text()
        self.assertIn("its certificate is for localhost, not for other.example", log)
        self.assertIn("is not trusted: unable to get local issuer certificate", log)

    def test_several(self) -> None:
        """Requests go in turn; one server ends, and no visitor is told."""
        first, second = Backend(self, "first"), Backend(self, "second")
        snickers = Snickers(
            self,
            "[app.localhost]\ntype = proxy\n"
            f"to = http://127.0.0.1:{first.port} http://127.0.0.1:{second.port}\n",
            SETTINGS,
        )
        said = [snickers.get("app.localhost")[1] for _ in range(4)]
        self.assertEqual(sorted(said), [b"first https"] * 2 + [b"second https"] * 2)
        first.end()
        said = [snickers.get("app.localhost")[1] for _ in range(4)]
        self.assertEqual(said, [b"second https"] * 4)
        self.assertRaises(OSError, socket.create_connection, ("127.0.0.1", first.port), 1)
