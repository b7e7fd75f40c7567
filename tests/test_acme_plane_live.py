"""A whole Snickers of two processes and a real ACME server: from a saved file to the certificate.

Only loopback; left out where there is no pebble.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from tests.live_setup import SETTINGS, WITHIN, Snickers, ask
from tests.pebble_setup import LACKING, Pebble

CLIENTS = 12
"""Connections after which each of two processes has taken one, but for one chance in 2,000."""
PLAIN = "[plain.localhost]\ntype = static\nroot = files\n"
SITE = """
[net.example]
also = www.net.example
type = static
root = files
certificates = acme
acme challenge = {}
"""


class WholeTests(SynchronousTestCase):
    """One that orders, answers, shows, and renews."""

    if LACKING:
        skip = LACKING

    def setUp(self) -> None:
        def prepare(own: Path) -> None:
            (own / "files").mkdir()
            (own / "files" / "index.html").write_text("a page")

        settings = SETTINGS + "workers = 2\n"
        self.snickers = Snickers(self, PLAIN, settings, prepare=prepare)
        # The authority must know where to look for answers: so its directory is told later.
        folder = Path(self.mktemp()).absolute()
        self.pebble = Pebble(folder, self.snickers.http, self.snickers.https)
        self.addCleanup(self.pebble.close)
        self.snickers.settings = (
            f"{settings}acme directory = {self.pebble.directory}\n"
            f"acme trust = {self.pebble.trust}\nacme preflight = off\n"
        )

    def shown(self, host: str) -> x509.Certificate:
        """Return the certificate that a new connection to *host* is shown."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = socket.create_connection(("127.0.0.1", self.snickers.https), WITHIN)
        with context.wrap_socket(sock, server_hostname=host) as wrapped:
            data = wrapped.getpeercert(binary_form=True)
        assert data is not None
        return x509.load_der_x509_certificate(data)

    def row(self) -> Any:
        (row,) = self.snickers.asked("certs", "net.example")["certificates"]
        return row

    def until_ordered(self) -> None:
        end = time.monotonic() + WITHIN
        while self.row()["source"] != "acme":
            self.assertLess(time.monotonic(), end, json.dumps(self.row()))
            time.sleep(0.1)

    def whole(self, challenge: str) -> None:
        self.snickers.reload(PLAIN + SITE.format(challenge))
        self.until_ordered()
        first = {self.shown("net.example") for _ in range(CLIENTS)}
        self.assertEqual(len(first), 1)
        self.assertEqual({self.shown("www.net.example") for _ in range(CLIENTS)}, first)
        row = self.row()
        self.assertEqual((row["challenge"], row["fault"], row["step"]), (challenge, "", "waiting"))
        self.assertIn("Pebble", row["issuer"])
        # Who is connected while it is renewed goes on.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = socket.create_connection(("127.0.0.1", self.snickers.https), WITHIN)
        with context.wrap_socket(sock, server_hostname="net.example") as connected:
            done = self.snickers.command("renew", "net.example")
            self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
            self.assertIn("net.example: shows its newest certificate", done.stdout)
            second = {self.shown("net.example") for _ in range(CLIENTS)}
            self.assertEqual((len(second), first & second), (1, set()))
            self.assertEqual(ask(connected, "net.example").read(), b"a page")
        self.assertEqual(self.snickers.end(), 0)

    def test_http(self) -> None:
        """By http-01: ordered when the file is saved, shown by both processes for all names, and
        renewed by hand without touching a connection."""
        self.whole("http-01")

    def test_tls(self) -> None:
        """The same by tls-alpn-01."""
        self.whole("tls-alpn-01")
