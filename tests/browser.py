"""A real browser for tests: headless Chromium, in a home of its own that trusts one authority.

The trust is the browser's own (an NSS database), so that a page which opens proves its certificate
good: no error is waved through. Every host name leads to the loopback address; nothing else of the
network is touched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CERTUTIL = shutil.which("certutil")

MISSING = (
    None if CHROMIUM and CERTUTIL else "no browser is here: apt install chromium libnss3-tools"
)
"""Why tests that need a browser are left out, or ``None``."""

WITHIN = 60  # seconds for one page, the start of the browser included

FLAGS = (
    "--headless",
    "--no-sandbox",  # it runs as root in containers and on build machines
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--host-resolver-rules=MAP * 127.0.0.1",
)


class BrowserFailed(Exception):
    """The browser did not show the page; the text is what it said."""


class Browser:
    """Chromium with the home *folder*, trusting the authority in the PEM file *ca_file*."""

    def __init__(self, folder: Path, ca_file: Path | None) -> None:
        self._home = folder.absolute()
        # Where Chromium looks for the user's certificates: before version 139, and since.
        for place in (".pki/nssdb", ".local/share/pki/nssdb"):
            database = self._home / place
            database.mkdir(parents=True)
            self._certutil("-N", "--empty-password", database=database)
            if ca_file is not None:
                self._certutil("-A", "-n", "test", "-t", "C,,", "-i", ca_file, database=database)

    def page(self, url: str) -> str:
        """Return the document at *url* as it stands when it has loaded, scripts run. Blocks."""
        return self._run("--dump-dom", url)

    def picture(self, url: str, target: Path) -> None:
        """Write what the page at *url* looks like to *target*, a PNG. Blocks."""
        target = target.absolute()
        self._run(f"--screenshot={target}", "--window-size=1000,800", "--hide-scrollbars", url)
        if not target.exists():
            raise BrowserFailed(f"no picture of {url}")

    def _certutil(self, *arguments: str | Path, database: Path) -> None:
        assert CERTUTIL is not None
        subprocess.run(
            [CERTUTIL, "-d", f"sql:{database}", *arguments], check=True, capture_output=True
        )

    def _run(self, *arguments: str) -> str:
        assert CHROMIUM is not None
        environment = {
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home / ".config"),
            "XDG_DATA_HOME": str(self._home / ".local/share"),
            "PATH": os.defpath,
        }
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={self._home / 'profile'}", *arguments]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, timeout=WITHIN, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise BrowserFailed(f"{arguments[-1]} did not load within {WITHIN} s") from late
        heard = done.stderr.decode("utf-8", "replace")
        failure = re.search(r"Page load failed: (\S+)", heard)
        if failure is not None:
            raise BrowserFailed(f"{arguments[-1]} was not shown: {failure.group(1)}")
        if done.returncode:
            raise BrowserFailed(f"the browser ended with {done.returncode}:\n{heard[-2000:]}")
        return done.stdout.decode("utf-8", "replace")
