"""The browser of the tests: it shows a page whose certificate it trusts, and only such a page."""

from __future__ import annotations

import datetime
import ssl
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import TestCase

from tests.browser import MISSING, Browser, BrowserFailed

PAGE = b"""<!doctype html><title>t</title><p id=p>as sent</p>
<script>document.getElementById("p").textContent = "as " + location.hostname</script>"""


class Handler(BaseHTTPRequestHandler):
    """One page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:
        pass


def self_signed(name: str, folder: Path) -> Path:
    """Write a certificate for *name* that signs itself, and its key, into one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(title)
        .issuer_name(title)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class BrowserTests(TestCase):
    """Against a server of the standard library."""

    skip = MISSING

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.pem = self_signed("page.localhost", self.folder)
        server = HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.port = server.server_port
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join, 20)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

    def test_trusted(self) -> None:
        """A page with a good certificate is shown, its scripts run, and can be pictured."""
        browser = Browser(self.folder / "home", self.pem)
        url = f"https://page.localhost:{self.port}/"
        self.assertIn("as page.localhost", browser.page(url))
        picture = self.folder / "page.png"
        browser.picture(url, picture)
        self.assertEqual(picture.read_bytes()[:4], b"\x89PNG")

    def test_untrusted(self) -> None:
        """A page whose authority is not trusted is not shown."""
        browser = Browser(self.folder / "home", None)
        problem = self.assertRaises(
            BrowserFailed, browser.page, f"https://page.localhost:{self.port}/"
        )
        self.assertIn("ERR_CERT_AUTHORITY_INVALID", str(problem))

    def test_wrong_name(self) -> None:
        """Nor one whose certificate is another's."""
        browser = Browser(self.folder / "home", self.pem)
        problem = self.assertRaises(
            BrowserFailed, browser.page, f"https://other.localhost:{self.port}/"
        )
        self.assertIn("ERR_CERT_COMMON_NAME_INVALID", str(problem))
