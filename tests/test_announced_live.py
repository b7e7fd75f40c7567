"""HAProxy in front of a real Snickers, which is told who the clients are."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live_setup import SETTINGS, WITHIN, Snickers

SITE = "[files.localhost]\ntype = static\nroot = files\n"
TRUSTING = SETTINGS + (
    "proxy protocol from = 127.0.0.1\naccess log = access.log\naccess log format = json\n"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class HAProxyTests(SynchronousTestCase):
    """HAProxy in TCP mode, with both versions."""

    def test_clients(self) -> None:
        """A client's own address is logged, not HAProxy's; without a header there is no answer."""
        haproxy = shutil.which("haproxy")
        if haproxy is None and not os.environ.get("SNICKERS_REQUIRE_ALL"):
            raise SkipTest("haproxy is not installed")
        snickers = Snickers(self, SITE, TRUSTING)
        (snickers.folder / "files").mkdir()
        (snickers.folder / "files" / "index.html").write_text("a folder")
        for version, client in (("send-proxy", "127.0.0.7"), ("send-proxy-v2", "127.0.0.8")):
            port = free_port()
            self.start(haproxy or "haproxy", snickers, port, version)
            self.assertEqual(self.curl(port, client), "a folder")
        self.assertEqual(self.curl(snickers.https, "127.0.0.1"), "")
        self.assertEqual(snickers.end(), 0)
        lines = [json.loads(line) for line in (snickers.folder / "access.log").open()]
        self.assertEqual([line["client"] for line in lines], ["127.0.0.7", "127.0.0.8"])
        self.assertIn("'proxy protocol from'", snickers.log.read_text())

    def start(self, haproxy: str, snickers: Snickers, port: int, version: str) -> None:
        """Have HAProxy listen on *port* for Snickers."""
        config = Path(snickers.folder) / f"{version}.cfg"
        config.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n"
            f"listen front\n bind 127.0.0.1:{port}\n"
            f" server snickers 127.0.0.1:{snickers.https} {version}\n"
        )
        running = subprocess.Popen(
            [haproxy, "-db", "-f", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(running.wait, WITHIN)
        self.addCleanup(running.terminate)

    def curl(self, port: int, client: str) -> str:
        """Return what curl gets when it comes from the address *client*."""
        done = subprocess.run(
            [
                *("curl", "--silent", "--insecure", "--interface", client, "--max-time", "20"),
                *("--retry", "20", "--retry-connrefused", "--retry-delay", "1"),
                *("--connect-to", f"::127.0.0.1:{port}", "https://files.localhost/"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout
