"""Processes that leave while visitors never stop asking: no connection ends without its answer.

A real Snickers whose number of workers changes again and again. What leaves has connections on
which nothing was asked yet, has promised others that they may ask once more, and has requests in
its hands: all of them are answered, and by GOAWAY or ``Connection: close`` told to ask elsewhere.
Where a worker is killed it is seen whose connections were lost: its own, and nobody else's.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from http.client import HTTPResponse
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench.visitors import Visitors
from bench.witness import HELLO
from twisted.trial.unittest import SynchronousTestCase

from tests.live_setup import SETTINGS, WITHIN, Snickers, until

FILES = "[files.localhost]\ntype = static\nroot = site\n"
WORKERS = SETTINGS + "workers = {}\n"
NEVER_READY = "[box.localhost]\ntype = process\ncommand = sleep 600\nhealth = /\n"
RELOADS = 12
KILLS = 6


def clients_of(pid: int, port: int) -> set[int]:
    """Return the ports of the clients whose connections to *port* the process *pid* has."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(entry)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if rest[6] in inodes and int(local.split(":")[1], 16) == port:
            found.add(int(remote.split(":")[1], 16))
    return found


class DrainTests(SynchronousTestCase):
    """Workers come and go."""

    def start(self) -> tuple[Snickers, Visitors]:
        snickers = Snickers(self, FILES, WORKERS.format(3))
        (snickers.folder / "site").mkdir()
        (snickers.folder / "site" / "index.html").write_bytes(HELLO)
        visitors = Visitors(snickers.https, snickers.trust, "files.localhost")
        visitors.start(fresh=2, kept=2, h2=2)
        self.addCleanup(visitors.stop)
        return snickers, visitors

    def workers(self, snickers: Snickers) -> list[int]:
        """Return those that serve."""
        found: list[dict[str, Any]] = snickers.asked("status")["workers"]
        return [entry["pid"] for entry in found if entry["serving"]]

    def test_dismissed(self) -> None:
        """However often there are more or fewer workers, every visitor has every answer."""
        snickers, visitors = self.start()
        before = set(self.workers(snickers))
        for number in islice(cycle((1, 3, 2, 1, 2, 3)), RELOADS):
            snickers.settings = WORKERS.format(number)
            snickers.reload(FILES)
        after = set(self.workers(snickers))
        visitors.stop()
        self.assertEqual(visitors.lost, [])
        self.assertFalse(before & after)
        for kind in ("fresh", "kept", "h2"):
            self.assertGreater(visitors.answered[kind], 100, kind)

    def test_killed(self) -> None:
        """A worker that is killed takes its own connections with it, and no others."""
        snickers, visitors = self.start()
        its_own: set[int] = set()
        for _ in range(KILLS):
            pid = until(lambda: self.workers(snickers), "no worker serves")[-1]
            # It accepts nothing more, so that what it has now is what it will be killed with.
            os.kill(pid, signal.SIGSTOP)
            until(lambda pid=pid: is_stopped(pid), "it does not stop")
            its_own |= clients_of(pid, snickers.https)
            os.kill(pid, signal.SIGKILL)
        visitors.stop()
        self.assertEqual([words for port, words in visitors.lost if port not in its_own], [])
        for kind in ("fresh", "kept", "h2"):
            self.assertGreater(visitors.answered[kind], 100, kind)

    def test_waits_in_vain(self) -> None:
        """Whoever still waits for a server to wake when the time of an end is over is told, and
        not cut off; in workers, too."""
        for workers in (1, 2):
            with self.subTest(workers=workers):
                more = WORKERS.format(workers) + "drain within = 1s\n"
                snickers = Snickers(self, NEVER_READY, more)
                with snickers.connect("box.localhost") as sock:
                    sock.settimeout(WITHIN)
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: box.localhost\r\n\r\n")
                    asked = partial(snickers.asked, "status", "box.localhost")
                    until(lambda asked=asked: asked()["waiting"], "nobody waits")
                    snickers.process.send_signal(signal.SIGTERM)
                    answer = HTTPResponse(sock)
                    answer.begin()
                    self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "5"))
                    self.assertIn(b"restarting", answer.read())
                self.assertEqual(snickers.process.wait(WITHIN), 0)


def is_stopped(pid: int) -> bool:
    """Say whether the process *pid* is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
