"""The first five minutes: ``etc/sites.ini`` served as ./run serves it, from a copy of ``etc``."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

from tests import browser

CHECKOUT = Path(__file__).parent.parent
WITHIN = 90  # seconds for one step
TWISTD = "from twisted.scripts.twistd import run; run()"
SNICKERS = "from snickers.control.command import main; raise SystemExit(main())"


def free_port() -> int:
    """A TCP port of the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class FirstMinutesTests(TestCase):
    """One Snickers for each test, in a folder with a space in its name."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute() / "my host"
        self.folder.mkdir(parents=True)
        own = shutil.ignore_patterns("sites.d")
        shutil.copytree(CHECKOUT / "etc", self.folder / "etc", ignore=own)
        # As ./run makes it.
        (self.folder / "etc" / "sites.d").mkdir()
        self.sites = self.folder / "etc" / "sites.ini"
        self.https, self.http = free_port(), free_port()
        text = self.sites.read_text().replace("8443", str(self.https))
        self.sites.write_text(text.replace("8080", str(self.http)))
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT / "src"),
            "SNICKERS_WELCOME": "1",
        }
        self.log = self.folder / "log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile="),
                    *("snickers", "--config", str(self.sites)),
                ],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(self.end)
        self.welcome = self.read_until("  curl ")

    def end(self) -> None:
        """End it if it runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WITHIN)

    def read_until(self, mark: str) -> str:
        """What it has printed as soon as *mark* is followed by the end of a line."""
        until = time.monotonic() + WITHIN
        while time.monotonic() < until:
            text = self.log.read_text()
            if re.search(re.escape(mark) + ".*\n", text):
                return text
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {mark!r} in:\n{self.log.read_text()[-4000:]}")

    def run_in(self, *command: str) -> str:
        """What *command* prints, run in the folder where Snickers was started."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WITHIN * 3,
            check=False,
        )
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def snickers(self, *arguments: str) -> str:
        """What the ``snickers`` command prints."""
        return self.run_in(sys.executable, "-c", SNICKERS, "--config", str(self.sites), *arguments)

    def curl(self, host: str, path: str = "/", *more: str) -> str:
        """What curl gets of *host*, verified; fails unless it is answered well."""
        where = f"{host}:{self.https}"
        trust = ("--cacert", str(self.authority), "--resolve", f"{where}:127.0.0.1")
        quiet = ("--silent", "--show-error", "--fail", "--max-time", str(WITHIN))
        return self.run_in(curl_program(), *quiet, *trust, *more, f"https://{where}{path}")

    @property
    def authority(self) -> Path:
        """The file that the welcome says to trust."""
        return self.folder / "var" / "state" / "internal" / "ca.pem"

    def test_pasted(self) -> None:
        """The curl line that is printed works as it is, and shows a page."""
        program = curl_program()
        line = next(line for line in self.welcome.splitlines() if line.startswith("  curl "))
        page = self.run_in(program, *shlex.split(line)[1:], "--silent", "--show-error", "--fail")
        self.assertIn("<h1>It works</h1>", page)

    def test_sites(self) -> None:
        """The redirect leads to the folder; the application wakes, and keeps a note."""
        self.assertIn("It works", self.curl("hello.localhost", "/index.html"))
        seen = self.curl("www.localhost", "/a?b=c", "--head")
        self.assertIn(f"location: https://hello.localhost:{self.https}/a?b=c", seen.lower())
        self.assertIn("Nothing yet.", self.curl("notes.localhost"))
        self.curl("notes.localhost", "/", "--data-urlencode", "text=<b>first</b>")
        (note,) = json.loads(self.curl("notes.localhost", "/notes.json"))
        self.assertEqual(note["text"], "<b>first</b>")
        kept = self.folder / "var" / "data" / "notes.localhost" / "notes.json"
        self.assertEqual(json.loads(kept.read_text())[0]["text"], "<b>first</b>")

    def test_plain_http(self) -> None:
        """Plain http sends visitors to the same page by https."""
        found = f"hello.localhost:{self.http}"
        seen = self.run_in(
            *(curl_program(), "--silent", "--head", "--resolve", f"{found}:127.0.0.1"),
            f"http://{found}/a?b=c",
        )
        self.assertTrue(seen.startswith("HTTP/1.1 308 "), seen)
        self.assertIn(f"location: https://hello.localhost:{self.https}/a?b=c", seen.lower())

    def test_sleeps_and_wakes(self) -> None:
        """A note outlives the application's sleep."""
        self.curl("notes.localhost", "/", "--data-urlencode", "text=stays")
        self.snickers("sleep", "notes.localhost")
        (site,) = (
            site
            for site in json.loads(self.snickers("--json", "status"))["sites"]
            if site["site"] == "notes.localhost"
        )
        self.assertEqual(site["state"], "asleep")
        self.assertIn("stays", self.curl("notes.localhost", "/notes.json"))

    def test_own_site(self) -> None:
        """A site that is written into a file of its own is served, without a restart."""
        mine = self.folder / "mine"
        mine.mkdir()
        (mine / "index.html").write_text("my own")
        with (self.folder / "etc" / "sites.d" / "mine.ini").open("w") as file:
            file.write(f"[mine.localhost]\ntype = static\nroot = {mine}\n")
        # The look that comes every few seconds may have been faster.
        self.assertIn("+ mine.localhost", self.snickers("reload"))
        self.assertEqual(self.curl("mine.localhost"), "my own")

    def test_browser(self) -> None:
        """A browser that trusts the authority shows the page and the application."""
        if browser.MISSING:
            raise SkipTest(browser.MISSING)
        seen = browser.Browser(self.folder / "home", self.authority)
        self.assertIn("It works", seen.page(f"https://www.localhost:{self.https}/"))
        self.curl("notes.localhost", "/up")
        self.assertIn("Nothing yet.", seen.page(f"https://notes.localhost:{self.https}/"))

    def test_ends(self) -> None:
        """SIGTERM ends it well, and its processes with it."""
        self.curl("notes.localhost", "/up")
        status = json.loads(self.snickers("--json", "status", "notes.localhost"))
        pid = re.search(r'"id": "(\d+)"', json.dumps(status))
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(WITHIN), 0)
        self.assertIsNotNone(pid, status)
        self.assertFalse(Path(f"/proc/{pid.group(1)}").exists())


def curl_program() -> str:
    """The path of curl; without it the test is left out."""
    found = shutil.which("curl")
    if found is None:
        raise SkipTest("curl is not here: apt install curl")
    return found
