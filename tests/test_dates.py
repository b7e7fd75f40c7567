"""What time it is at a https server; real ones, on loopback."""

from __future__ import annotations

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.clock import Observation
from snickers.acme.dates import NoDate, date_of
from tests.pairs import DAY, make_pair

FAR = {"Date": "Tue, 15 Nov 1994 08:12:31 GMT", "Age": "9" * 400}
"""An age that no number can be added to."""


class DateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.drips = False
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def serve(
        self, name: str = "localhost", end: float = DAY, trusted: bool = True, **fields: str
    ) -> str:
        """Serve with *fields*, a certificate for *name* that ends in *end* seconds."""
        now = time.time()
        times = {"begin": now - 9 * DAY, "end": now + end}
        root = make_pair(common="root", **times)
        pair = make_pair(name, issuer=root, **times)
        self.trust = str(self.folder / "root.pem")
        Path(self.trust).write_bytes(root.pem if trusted else make_pair(common="another").pem)
        (self.folder / "both.pem").write_bytes(pair.pem + pair.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "both.pem")
        outer = self
        asked = self.asked = []  # type: ignore[var-annotated]

        class Answer(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                asked.append((self.path, dict(self.headers)))
                self.send_response_only(405)
                self.flush_headers()
                for _ in range(30 if outer.drips else 0):
                    try:
                        self.wfile.write(b"X: y\r\n")
                    except OSError:
                        return
                    time.sleep(0.1)
                for field, value in fields.items():
                    self.send_header(field, value)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        server = HTTPServer(("127.0.0.1", 0), Answer)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return f"https://localhost:{server.server_address[1]}/directory"

    def ask(self, url: str) -> Observation:
        times = iter((100.0, 101.0))
        return date_of(url, lambda: next(times), self.trust)

    def no_date(self, url: str) -> str:
        return str(self.assertRaises(NoDate, self.ask, url))

    def test_date(self) -> None:
        """The Date of the answer, whatever the answer is, and what ours said around it."""
        url = self.serve(Date="Tue, 15 Nov 1994 08:12:31 GMT")
        self.assertEqual(self.ask(url), Observation("localhost", 784887151.0, 100.0, 101.0))
        ((path, fields),) = self.asked
        self.assertEqual(path, "/directory")
        self.assertEqual(sorted(fields), ["Accept-Encoding", "Host", "User-Agent"])

    def test_cached(self) -> None:
        """An answer out of a cache is older than its Date says."""
        url = self.serve(Date="Tue, 15 Nov 1994 08:12:31 GMT", Age="60")
        self.assertEqual(self.ask(url).theirs, 784887211.0)

    def test_out_of_time(self) -> None:
        """A certificate that has ended by our clock, which may be what is wrong, is taken."""
        url = self.serve(end=-5 * DAY, Date="Tue, 15 Nov 1994 08:12:31 GMT")
        self.assertEqual(self.ask(url).theirs, 784887151.0)

    def test_no_date(self) -> None:
        """An answer without a Date, or with one that is none."""
        for fields in ({}, {"Date": "yesterday"}, {"Date": "", "Age": "x"}, FAR):
            self.assertEqual(
                self.no_date(self.serve(**fields)),
                "localhost: its answer has no Date that could be read",
            )

    def test_slow_head(self) -> None:
        """A head that comes line by line gets no more time than one that comes at once."""
        self.drips = True
        url = self.serve(Date="Tue, 15 Nov 1994 08:12:31 GMT")
        began = time.monotonic()
        failed = self.assertRaises(NoDate, date_of, url, time.time, self.trust, within=0.5)
        self.assertRegex(str(failed), "takes too long|timed out")
        self.assertLess(time.monotonic() - began, 2.0)

    def test_not_the_one(self) -> None:
        """A certificate for another name, or of an unknown root, says nothing."""
        date = "Tue, 15 Nov 1994 08:12:31 GMT"
        self.assertIn("localhost: ", self.no_date(self.serve("other.example", Date=date)))
        self.assertIn("localhost: ", self.no_date(self.serve(trusted=False, Date=date)))
        self.assertEqual(self.asked, [])

    def test_nobody(self) -> None:
        """Nobody there, or an address that is none."""
        self.trust = ""
        self.assertIn("localhost: ", self.no_date("https://localhost:1/"))
        self.assertIn(": ", self.no_date("https://localhost:99999/"))
