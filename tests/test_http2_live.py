"""HTTP/2 as curl and nghttp speak it with a real Snickers."""

from __future__ import annotations

import os
import shutil
import subprocess

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.echo_server import BIG
from tests.live_setup import ECHO, SETTINGS, WITHIN, Snickers

SITES = (
    "[files.localhost]\ntype = static\nroot = files\n"
    f"[app.localhost]\ntype = process\ncommand = {ECHO}\nhealth = /up\n"
)


def need(program: str) -> str:
    """Return the path of *program*, or skip the test where it is missing and may be."""
    path = shutil.which(program)
    if path is None and not os.environ.get("SNICKERS_REQUIRE_ALL"):
        raise SkipTest(f"{program} is not installed")
    return path or program


class Http2LiveTests(SynchronousTestCase):
    """One Snickers with a folder of files and an application."""

    def setUp(self) -> None:
        self.snickers = Snickers(self, SITES, SETTINGS)
        files = self.snickers.folder / "files"
        files.mkdir()
        (files / "big").write_bytes(BIG)
        for n in range(20):
            (files / f"{n}.txt").write_text(f"file {n}\n")

    def curl(self, *arguments: str) -> str:
        """Return what curl prints."""
        self.assertIsNotNone(self.snickers.trust)
        done = subprocess.run(
            [
                *(need("curl"), "--silent", "--show-error", "--http2", "--max-time", str(WITHIN)),
                *("--cacert", str(self.snickers.folder / "state" / "internal" / "ca.pem")),
                *("--connect-to", f"::127.0.0.1:{self.snickers.https}"),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_curl(self) -> None:
        """It is chosen by ALPN; a sleeping application wakes; downloads are whole."""
        version = "%{http_version} %{http_code}"
        self.assertEqual(
            self.curl("-w", version, "-o", "/dev/null", "https://app.localhost/"), "2 200"
        )
        target = self.snickers.folder / "got"
        for host in ("app", "files"):
            self.curl("-o", str(target), f"https://{host}.localhost/big")
            self.assertTrue(target.read_bytes() == BIG)
        self.assertEqual(
            self.curl("--http1.1", "-w", version, "-o", "/dev/null", "https://app.localhost/"),
            "1.1 200",
        )

    def test_many_at_once(self) -> None:
        """Many files on one connection, each its own."""
        self.assertIsNotNone(self.snickers.trust)
        done = subprocess.run(
            [
                *(need("nghttp"), "--no-dep", "--header=:authority: files.localhost"),
                *(f"https://127.0.0.1:{self.snickers.https}/{n}.txt" for n in range(20)),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN,
        )
        files = sorted(f"file {n}" for n in range(20))
        said = [line for line in done.stdout.splitlines() if line.startswith("file")]
        self.assertEqual(sorted(said), files, done.stderr)
        out = self.curl(*(f"https://files.localhost/{n}.txt" for n in range(20)), "--parallel")
        self.assertEqual(sorted(out.splitlines()), files)
        self.assertEqual(self.snickers.asked("status", "files.localhost")["requests"], 40)

    def test_drained(self) -> None:
        """A download that runs when Snickers is told to end is finished first."""
        target = self.snickers.folder / "got"
        self.assertIsNotNone(self.snickers.trust)
        with subprocess.Popen(
            [
                *(need("curl"), "--silent", "--http2", "--limit-rate", "24M"),
                *("--cacert", str(self.snickers.folder / "state" / "internal" / "ca.pem")),
                *("--connect-to", f"::127.0.0.1:{self.snickers.https}"),
                *("-o", str(target), "-D", "/dev/stdout", "https://files.localhost/big"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as curl:
            assert curl.stdout is not None
            self.assertEqual(curl.stdout.readline(), "HTTP/2 200 \n")
            self.assertEqual(self.snickers.end(), 0)
            self.assertEqual(curl.wait(WITHIN), 0)
        self.assertTrue(target.read_bytes() == BIG)
