"""Real workers: a real ``twistd snickers`` with several processes on the same listening sockets."""

from __future__ import annotations

import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live_setup import ECHO, SETTINGS, WITHIN, Snickers

WORKERS = SETTINGS + "workers = 3\ndrain within = 5s\n"
BOX = f"[box.localhost]\ntype = process\ncommand = {ECHO}\nhealth = /\nidle after = 30s\n"
FILES = "[files.localhost]\ntype = static\nroot = site\n"


def children(pid: int) -> set[int]:
    """Return the process ids of *pid*'s children that are workers."""
    found = set()
    for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            line = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        if b"snickers.worker" in line:
            found.add(int(number))
    return found


class WorkersTests(SynchronousTestCase):
    """What is the same with several processes as with one, and what becomes of one that dies."""

    def start(self, text: str = FILES + BOX, settings: str = WORKERS) -> Snickers:
        snickers = Snickers(self, text, settings)
        site = snickers.folder / "site"
        site.mkdir()
        (site / "index.html").write_text("hello")
        return snickers

    def workers(self, snickers: Snickers, number: int) -> set[int]:
        """Wait until *number* workers have answered, which they do when they serve."""
        deadline = time.monotonic() + WITHIN
        while True:
            found = {entry["pid"] for entry in snickers.asked("status")["workers"]}
            if len(found) == number and found == children(snickers.process.pid):
                return found
            assert time.monotonic() < deadline, found

    def test_everything(self) -> None:
        snickers = self.start()
        pids = self.workers(snickers, 2)
        print(pids, snickers.log.read_text())
        for _ in range(20):
            self.assertEqual(snickers.get("files.localhost")[0], 200)
        print(snickers.asked("status"))
        for _ in range(20):
            self.assertEqual(snickers.get("box.localhost")[0], 200)
        print(snickers.asked("status"))
        print(snickers.end())
        print(snickers.log.read_text())
