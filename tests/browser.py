"""A real browser for tests: headless Chromium, in a home of its own that trusts one authority.

The trust is the browser's own (an NSS database), so that a page which opens proves its certificate
good: no error is waved through. Every host name leads to the loopback address; nothing else of the
network is touched.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CERTUTIL = shutil.which("certutil")

MISSING = (
    None if CHROMIUM and CERTUTIL else "no browser is here: apt install chromium libnss3-tools"
)
"""Why tests that need a browser are left out, or ``None``."""

WITHIN = 60  # seconds for one page, the start of the browser included
RETRIES = 5

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


class NetworkChanged(BrowserFailed):
    """It was told meanwhile that the host has other networks: that proves nothing."""


def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for what it leaves behind at each start: a socket, whose path must be short."""
    return tempfile.TemporaryDirectory(prefix="snickers-chromium-", ignore_cleanup_errors=True)


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

    def tab(self, test: Any) -> Tab:
        """Return a tab that stays open until the end of *test*. Blocks."""
        assert CHROMIUM is not None
        temporary = _temporary()
        # Last of all, when it has ended.
        test.addCleanup(temporary.cleanup)
        command = [*self._command(), "--remote-debugging-port=0"]
        return Tab(test, command, self._environment(temporary.name))

    def _command(self) -> list[str]:
        assert CHROMIUM is not None
        return [CHROMIUM, *FLAGS, f"--user-data-dir={self._home / 'profile'}"]

    def _environment(self, temporary: str) -> dict[str, str]:
        return {
            "TMPDIR": temporary,
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home / ".config"),
            "XDG_DATA_HOME": str(self._home / ".local/share"),
            "PATH": os.defpath,
        }

    def _certutil(self, *arguments: str | Path, database: Path) -> None:
        assert CERTUTIL is not None
        subprocess.run(
            [CERTUTIL, "-d", f"sql:{database}", *arguments], check=True, capture_output=True
        )

    def _run(self, *arguments: str) -> str:
        """Run it; once more when it was told meanwhile that the host has other networks, as tests
        beside this one make them."""
        for _ in range(RETRIES):
            try:
                return self._run_once(*arguments)
            except NetworkChanged:
                pass
        return self._run_once(*arguments)

    def _run_once(self, *arguments: str) -> str:
        command = [*self._command(), *arguments]
        try:
            with _temporary() as temporary:
                done = subprocess.run(
                    command,
                    env=self._environment(temporary),
                    capture_output=True,
                    timeout=WITHIN,
                    check=False,
                )
        except subprocess.TimeoutExpired as late:
            raise BrowserFailed(f"{arguments[-1]} did not load within {WITHIN} s") from late
        heard = done.stderr.decode("utf-8", "replace")
        failure = re.search(r"Page load failed: (\S+)", heard)
        if failure is not None:
            kind = NetworkChanged if "NETWORK_CHANGED" in failure.group(1) else BrowserFailed
            raise kind(f"{arguments[-1]} was not shown: {failure.group(1)}")
        if done.returncode:
            raise BrowserFailed(f"the browser ended with {done.returncode}:\n{heard[-2000:]}")
        return done.stdout.decode("utf-8", "replace")


class Tab:
    """A tab of a browser that stays open, told what to do by the DevTools protocol."""

    def __init__(self, test: Any, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        test.addCleanup(self._close)
        assert self._process.stderr is not None
        heard = ""
        for line in self._process.stderr:
            heard += line
            if found := re.search(r"DevTools listening on ws://([^/]+)/", line):
                break
        else:
            raise BrowserFailed(f"the browser has no tab:\n{heard[-2000:]}")
        with urlopen(f"http://{found[1]}/json/list", timeout=WITHIN) as answer:
            (page,) = [each for each in json.load(answer) if each["type"] == "page"]
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=WITHIN)
        test.addCleanup(self._socket.close)
        self._last = 0
        self.call("Page.enable")

    def _close(self) -> None:
        self._process.terminate()
        self._process.wait(WITHIN)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return what the method of the protocol answers. Blocks."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            heard = json.loads(self._socket.recv(WITHIN))
            if heard.get("id") == self._last:
                if "error" in heard:
                    raise BrowserFailed(f"{method}: {heard['error']['message']}")
                result: dict[str, Any] = heard["result"]
                return result

    def visit(self, url: str) -> None:
        """Type *url* into the address."""
        for _ in range(RETRIES):
            told = self.call("Page.navigate", url=url)
            if "NETWORK_CHANGED" not in told.get("errorText", ""):
                return

    def evaluate(self, expression: str) -> Any:
        """Return the value of the JavaScript *expression*, ``None`` while there is no page."""
        try:
            result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        except BrowserFailed as failed:
            if "navigated" in str(failed):
                return None
            raise
        return result["result"].get("value")

    def text(self) -> str:
        """Return what can be read."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def until(self, seen: Callable[[], bool], what: str) -> None:
        """Wait until *seen*; *what* is said when that does not come about."""
        limit = time.monotonic() + WITHIN
        while not seen():
            if time.monotonic() > limit:
                raise BrowserFailed(f"{what}: not within {WITHIN} s; the page says {self.text()!r}")
            time.sleep(0.05)

    def reads(self, words: str) -> None:
        """Wait until *words* can be read."""
        self.until(lambda: words in self.text(), words)

    def picture(self, target: Path) -> None:
        """Write what the tab shows to *target*, a PNG."""
        target.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
