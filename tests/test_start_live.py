"""Start, signals and end of a real Snickers, as its service manager and its visitors meet them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from http.client import HTTPException
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.echo_server import BIG
from tests.live_setup import ECHO, TWISTD, WITHIN, Snickers, ask

FILES = "[files.localhost]\ntype = static\nroot = .\n"


class BadStartTests(SynchronousTestCase):
    """What cannot be started says so and is gone."""

    def start(self, text: str) -> tuple[Path, list[str]]:
        """Start with *text* as configuration; return its path and the lines that are said."""
        path = Path(self.mktemp()).absolute() / "sites.ini"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        done = subprocess.run(
            [
                *(sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile="),
                *("snickers", "--config", str(path)),
            ],
            cwd=path.parent,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        for line in done.stderr.splitlines():
            # The log is seen, too.
            self.assertNotIn(line, done.stdout)
        return path, done.stderr.splitlines()

    def test_faults(self) -> None:
        """Each fault is a line on stderr, with its place, and nothing else is there."""
        path, lines = self.start(
            "[snickers]\nhtps = tcp:1\n[aplication x]\n[a.example]\ntype = statc\n"
        )
        self.assertEqual(
            [line.split(":")[:2] for line in lines],
            [[str(path), "2"], [str(path), "3"], [str(path), "5"]],
        )
        self.assertIn("[snickers] htps: there is no such option; the nearest is 'https'", lines[0])
        self.assertIn("[aplication x] there is no such section; write [application", lines[1])
        self.assertIn("[a.example] type: 'statc' is unknown", lines[2])

    def test_port_taken(self) -> None:
        """A port that is taken is one line that names it."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            _, lines = self.start(
                f"[snickers]\nhttps = tcp:{port}:interface=127.0.0.1\nhttp =\nstate = s\n{FILES}"
            )
        (line,) = lines
        self.assertIn(f"cannot listen on tcp:{port}:interface=127.0.0.1: ", line)

    def test_state_taken(self) -> None:
        """A second one on the same state folder is one line, and the first one, with its servers,
        does not notice."""
        app = f"[app.localhost]\ntype = process\ncommand = {ECHO}\nhealth = /up\n"
        first = Snickers(self, app)
        before = first.get("app.localhost")
        _, lines = self.start(
            "[snickers]\nhttps = tcp:0:interface=127.0.0.1\nhttp =\n"
            f"state = {first.folder / 'state'}\ndata = {first.folder / 'data'}\n{app}"
        )
        (line,) = lines
        self.assertIn("another Snickers listens at ", line)
        self.assertEqual(first.get("app.localhost"), before)


class LifeTests(SynchronousTestCase):
    """One that was given its sockets, and says how it fares."""

    def setUp(self) -> None:
        self.snickers = Snickers(self, FILES)
        (self.snickers.folder / "index.html").write_text("here")
        (self.snickers.folder / "big").write_bytes(BIG)

    def test_sockets_handed_over(self) -> None:
        """The sockets that were handed over by name are used, each for what it is, and none of
        those that the configuration names."""
        self.assertEqual(self.snickers.get("files.localhost"), (200, b"here"))
        with socket.create_connection(("127.0.0.1", self.snickers.http), WITHIN) as plain:
            answer = ask(plain, "files.localhost", "/a?b=c")
            self.assertEqual(answer.status, 308)
            self.assertEqual(
                answer.headers["Location"],
                f"https://files.localhost:{self.snickers.https}/a?b=c",
            )

    def test_standing_by(self) -> None:
        """After SIGUSR1 what is open is answered, and newcomers wait in the kernel's queue; after
        SIGUSR2 they are answered."""
        with self.snickers.connect("files.localhost") as kept:
            self.snickers.signal(signal.SIGUSR1, "STATUS=standing by")
            newcomer = socket.create_connection(("127.0.0.1", self.snickers.http), WITHIN)
            self.addCleanup(newcomer.close)
            newcomer.sendall(b"GET / HTTP/1.1\r\nHost: files.localhost\r\n\r\n")
            # By the time of this answer the newcomer would have been seen, too.
            self.assertEqual(ask(kept, "files.localhost").read(), b"here")
            newcomer.setblocking(False)
            self.assertRaises(BlockingIOError, newcomer.recv, 1)
            self.snickers.signal(signal.SIGUSR2, "STATUS=serving")
            newcomer.settimeout(WITHIN)
            self.assertEqual(newcomer.recv(12), b"HTTP/1.1 308")

    def test_drain(self) -> None:
        """After SIGTERM nobody is accepted, idle connections are closed, a download is finished
        to its last byte, and the exit status is 0."""
        idle = self.snickers.connect("files.localhost")
        self.addCleanup(idle.close)
        self.assertEqual(ask(idle, "files.localhost").read(), b"here")
        with self.snickers.connect("files.localhost") as sock:
            answer = ask(sock, "files.localhost", "/big")
            self.assertEqual(answer.read(1000), BIG[:1000])
            self.snickers.signal(signal.SIGTERM, "STOPPING=1")
            self.assertEqual(idle.recv(1), b"")
            self.assertRaises(
                ConnectionRefusedError,
                socket.create_connection,
                ("127.0.0.1", self.snickers.https),
            )
            self.assertIsNone(self.snickers.process.poll())
            self.assertTrue(answer.read() == BIG[1000:], "the download is not whole")
            answer.close()
        self.assertEqual(self.snickers.process.wait(WITHIN), 0)
        self.assertNotIn("Traceback", self.snickers.log.read_text())

    def test_at_once(self) -> None:
        """A second SIGTERM waits for nobody."""
        with self.snickers.connect("files.localhost") as sock:
            answer = ask(sock, "files.localhost", "/big")
            self.assertEqual(answer.read(1000), BIG[:1000])
            self.snickers.signal(signal.SIGTERM, "STOPPING=1")
            self.assertEqual(self.snickers.end(), 0)
            try:
                self.assertLess(len(answer.read()), len(BIG) - 1000)
            except (OSError, HTTPException):
                pass  # However the client is told: it is not a whole answer.
