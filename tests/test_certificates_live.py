"""Certificates as clients of a real Snickers meet them: openssl and curl, all processes.

What an authority asks for is answered from files that are put there, as whoever orders certificates
would. Nothing leaves this host: the directory that is configured is no authority's.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live_setup import SETTINGS, WITHIN, Snickers, ask
from tests.pairs import DAY, Pair, make_pair, put, put_ordered

NETWORK = "acme directory = https://127.0.0.1:1/directory\nacme preflight = off\n"
TWO = SETTINGS + NETWORK + "workers = 2\n"
NET = "[net.localhost]\ntype = static\nroot = files\ncertificates = acme\n"
FILE = "[file.localhost]\ntype = static\nroot = files\ncertificates = files\n"
OWN = "[own.localhost]\ntype = static\nroot = files\n"

CLIENTS = 12
"""Connections after which each of two processes has taken one, but for one chance in 2,000."""


def fresh(*names: str, issuer: Pair | None = None) -> Pair:
    """Return a certificate that is valid today."""
    now = time.time()
    return make_pair(*names, begin=now - DAY, end=now + 80 * DAY, issuer=issuer)


class LiveCase(SynchronousTestCase):
    def start(self, text: str, settings: str = SETTINGS, prepare: Any = None) -> Snickers:
        def prepared(folder: Path) -> None:
            (folder / "files").mkdir()
            (folder / "files" / "index.html").write_text("a page")
            if prepare is not None:
                prepare(folder)

        return Snickers(self, text, settings, prepare=prepared)

    def openssl(self, snickers: Snickers, host: str, *options: str, say: str = "") -> str:
        """Return what ``openssl s_client`` says of a connection to *host*."""
        try:
            done = subprocess.run(
                [
                    *("openssl", "s_client", "-connect", f"127.0.0.1:{snickers.https}"),
                    *("-servername", host, *options),
                ],
                input=say,
                capture_output=True,
                text=True,
                timeout=WITHIN,
                check=False,
            )
        except FileNotFoundError:
            raise SkipTest("there is no openssl here") from None
        return done.stdout + done.stderr

    def shown(self, snickers: Snickers, host: str) -> x509.Certificate:
        """Return the certificate that a new connection to *host* is shown."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = socket.create_connection(("127.0.0.1", snickers.https), WITHIN)
        with context.wrap_socket(sock, server_hostname=host) as wrapped:
            data = wrapped.getpeercert(binary_form=True)
        assert data is not None
        return x509.load_der_x509_certificate(data)


class ChallengeTests(LiveCase):
    """What an authority asks for."""

    def curl(self, snickers: Snickers, host: str, token: str) -> list[str]:
        """Return status, place to go on to, and body, as ``curl`` sees them."""
        try:
            done = subprocess.run(
                [
                    *("curl", "-s", "-w", "\n%{http_code}\n%{redirect_url}", "-H", f"Host: {host}"),
                    f"http://127.0.0.1:{snickers.http}/.well-known/acme-challenge/{token}",
                ],
                capture_output=True,
                text=True,
                timeout=WITHIN,
                check=True,
            )
        except FileNotFoundError:
            raise SkipTest("there is no curl here") from None
        *body, status, place = done.stdout.split("\n")
        return [status, place, "\n".join(body)]

    def test_http(self) -> None:
        """http-01: whatever process is asked, for whatever host, says what was left for a token;
        what is not there is 404 for all hosts alike, and nobody is sent on."""
        snickers = self.start(NET, TWO)
        folder = snickers.folder / "state" / "acme" / "challenges" / "http-01"
        folder.mkdir(parents=True)
        (folder / "a-Token_1").write_text("a-Token_1.thumbprint")
        for host in ("net.localhost", "unknown.example") * (CLIENTS // 2):
            self.assertEqual(
                self.curl(snickers, host, "a-Token_1"), ["200", "", "a-Token_1.thumbprint"]
            )
        unknown = [
            self.curl(snickers, host, token)
            for host in ("net.localhost", "unknown.example")
            for token in ("another", "", "..%2fa-Token_1", "a-Token_1/")
        ]
        self.assertEqual(unknown, [unknown[0]] * len(unknown))
        self.assertEqual(unknown[0][:2], ["404", ""])
        (folder / "a-Token_1").unlink()
        self.assertEqual(self.curl(snickers, "net.localhost", "a-Token_1"), unknown[0])
        self.assertEqual(snickers.end(), 0)

    def test_tls(self) -> None:
        """tls-alpn-01: whatever process is asked shows the certificate that was left for a name,
        and speaks acme-tls/1; without one that protocol is none of ours."""
        snickers = self.start(NET + OWN, TWO)
        folder = snickers.folder / "state" / "acme" / "challenges" / "tls-alpn-01"
        pair = fresh("net.localhost")
        put_ordered(folder, pair, "net.localhost")
        for _ in range(CLIENTS):
            said = self.openssl(snickers, "net.localhost", "-alpn", "acme-tls/1")
            self.assertIn("ALPN protocol: acme-tls/1", said)
            self.assertIn(pair.pem.decode(), said)
        for host, alert in (("own.localhost", 120), ("unknown.example", 112)):
            said = self.openssl(snickers, host, "-alpn", "acme-tls/1")
            self.assertIn(f"SSL alert number {alert}", said)
        # Visitors meanwhile see nothing of it.
        self.assertNotEqual(self.shown(snickers, "net.localhost"), pair.certificate)
        self.assertEqual(snickers.get("own.localhost"), (200, b"a page"))
        self.assertEqual(snickers.end(), 0)

    def test_passed_on(self) -> None:
        """A site whose TLS is opened by its own server has its own challenges answered there, and
        ours here."""
        theirs, ours = fresh("far.localhost"), fresh("far.localhost")
        server = Server(self, theirs)
        snickers = self.start(
            f"[far.localhost]\ntype = passthrough\nto = tcp:127.0.0.1:{server.port}\n{OWN}"
        )
        said = self.openssl(snickers, "far.localhost", "-alpn", "acme-tls/1")
        self.assertIn("ALPN protocol: acme-tls/1", said)
        self.assertIn(theirs.pem.decode(), said)
        folder = snickers.folder / "state" / "acme" / "challenges" / "tls-alpn-01"
        put_ordered(folder, ours, "far.localhost")
        said = self.openssl(snickers, "far.localhost", "-alpn", "acme-tls/1")
        self.assertIn(ours.pem.decode(), said)
        self.assertEqual(self.shown(snickers, "far.localhost"), theirs.certificate)
        self.assertEqual(snickers.end(), 0)


class Server:
    """A server that opens TLS itself, and speaks acme-tls/1."""

    def __init__(self, test: Any, pair: Pair) -> None:
        folder = test.mktemp()
        put(folder, pair)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(
            os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        )
        self._context.set_alpn_protocols(["acme-tls/1", "http/1.1"])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        test.addCleanup(self._close)

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            accepted.settimeout(WITHIN)
            with contextlib.suppress(OSError):
                self._context.wrap_socket(accepted, server_side=True).close()

    def _close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(WITHIN)


class OrderedTests(LiveCase):
    """Certificates that an authority on the network has signed."""

    def test_before_and_after(self) -> None:
        """One that is there is shown by every process from the start; where there is none the
        internal authority's is, and status and certs say so."""
        pair = fresh("net.localhost")
        snickers = self.start(
            NET + NET.replace("net", "new"),
            TWO,
            lambda folder: put_ordered(
                folder / "state" / "acme" / "certificates", pair, "net.localhost"
            ),
        )
        for _ in range(CLIENTS):
            self.assertEqual(self.shown(snickers, "net.localhost"), pair.certificate)
        self.assertNotEqual(self.shown(snickers, "new.localhost"), pair.certificate)
        rows = {row["site"]: row for row in snickers.asked("certs")["certificates"]}
        self.assertEqual(rows["net.localhost"]["source"], "acme")
        self.assertEqual(rows["net.localhost"]["issuer"], "test")
        self.assertEqual(rows["new.localhost"]["source"], "internal (acme: none yet)")
        self.assertTrue(rows["new.localhost"]["issuer"].startswith("Snickers internal authority"))
        said = snickers.command("status", "new.localhost").stdout
        self.assertIn("internal (acme: none yet)", said)
        self.assertEqual(snickers.end(), 0)


class ImportTests(LiveCase):
    """Certificates from elsewhere."""

    def files(self, snickers: Snickers, *pairs: Pair) -> list[str]:
        paths = []
        for pair in pairs:
            paths += [str(snickers.folder / f"{len(paths)}-{kind}") for kind in ("cert", "key")]
            for path, data in zip(paths[-2:], (pair.pem, pair.key_pem), strict=True):
                Path(path).write_bytes(data)
        return paths

    def test_import(self) -> None:
        """It is shown by every process when the command is done; who was connected goes on."""
        root = fresh()
        old, new = fresh("file.localhost", issuer=root), fresh("file.localhost", issuer=root)
        snickers = self.start(
            FILE + OWN,
            TWO + "certificate directory = certificates\n",
            lambda folder: put(folder / "certificates" / "file.localhost", old, root.pem),
        )
        for _ in range(CLIENTS):
            self.assertEqual(self.shown(snickers, "file.localhost"), old.certificate)
        context = ssl.create_default_context(cadata=root.pem.decode())
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = socket.create_connection(("127.0.0.1", snickers.https), WITHIN)
        with context.wrap_socket(sock, server_hostname="file.localhost") as connected:
            certificate, key, chain, _ = self.files(snickers, new, root)
            done = snickers.command("certs", "import", "file.localhost", certificate, key, chain)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for words in ("file.localhost", "certificates/file.localhost", "kept in"):
                self.assertIn(words, done.stdout)
            for _ in range(CLIENTS):
                self.assertEqual(self.shown(snickers, "file.localhost"), new.certificate)
            self.assertEqual(ask(connected, "file.localhost").read(), b"a page")
        self.assertEqual(snickers.end(), 0)

    def test_refused(self) -> None:
        """What is not fit is refused for every reason there is, and touches nothing; what is fit
        for a site that has its certificates from elsewhere says what to write."""
        snickers = self.start(FILE + OWN, SETTINGS + "certificate directory = certificates\n")
        other = fresh("other.localhost", issuer=fresh())
        certificate, key = self.files(snickers, other)
        done = snickers.command("certs", "import", "file.localhost", certificate, key)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        lines = done.stderr.splitlines()
        self.assertIn("the chain is not whole", lines[0])
        self.assertIn("not for file.localhost; it is for other.localhost", lines[1])
        self.assertEqual(lines[2:], ["snickers: certs import file.localhost: nothing was changed"])
        self.assertFalse((snickers.folder / "certificates").exists())
        certificate, key = self.files(snickers, fresh("own.localhost"))
        done = snickers.command("certs", "import", "own.localhost", certificate, key)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"certificates = files.*\[own.localhost\]")
        self.assertEqual(snickers.end(), 0)

    def test_renew(self) -> None:
        """A new one is shown when the command is done."""
        snickers = self.start(OWN, TWO)
        before = {self.shown(snickers, "own.localhost") for _ in range(CLIENTS)}
        self.assertEqual(len(before), 1)
        done = snickers.command("renew", "own.localhost")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("own.localhost: shows its newest certificate", done.stdout)
        after = {self.shown(snickers, "own.localhost") for _ in range(CLIENTS)}
        self.assertEqual(len(after), 1)
        self.assertEqual(before & after, set())
        self.assertEqual(snickers.end(), 0)


class ResumptionTests(LiveCase):
    """Sessions that openssl keeps."""

    def visit(self, snickers: Snickers, *options: str) -> str:
        """Ask for a page; return how openssl says that its session came to be."""
        request = "GET / HTTP/1.1\r\nHost: own.localhost\r\nConnection: close\r\n\r\n"
        said = self.openssl(snickers, "own.localhost", "-ign_eof", *options, say=request)
        self.assertIn("a page", said)
        found = re.search(r"^(New|Reused), ", said, re.MULTILINE)
        self.assertIsNotNone(found, said)
        assert found is not None
        return found[1]

    def test_reload(self) -> None:
        """A session is resumed after a reload that changes its site, and others, and the settings;
        it is not when the certificate has changed."""
        snickers = self.start(OWN)
        for version in ("-tls1_2", "-tls1_3"):
            session = str(snickers.folder / version)
            self.assertEqual(self.visit(snickers, version, "-sess_out", session), "New")
            snickers.reload(OWN + f"hsts = {len(version)}d\n[other.localhost]\n" + FILE[17:])
            snickers.reload(OWN)
            self.assertEqual(self.visit(snickers, version, "-sess_in", session), "Reused")
            self.assertEqual(snickers.command("renew", "own.localhost").returncode, 0)
            self.assertEqual(self.visit(snickers, version, "-sess_in", session), "New")
        self.assertEqual(snickers.end(), 0)
