"""Copies as an owner and visitors meet them: a real ``twistd snickers``, its command, real folders.

A site's server is a process that serves its own folder, by `SERVE`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.engine import owner_of
from snickers.containers.proof import OWNER
from tests import docker_setup
from tests.live_setup import SETTINGS, SNICKERS, WITHIN, Snickers

HOST = "box.localhost"
SERVE = shlex.join(
    ["sh", "-c", f"exec {shlex.quote(sys.executable)} -m http.server -b $HOST $PORT"]
)
SITE = f"""
[{HOST}]
type = process
command = {SERVE}
health = /page
snapshot = sh -c 'cp page dumped'
copy when asleep = on
keep snapshots = last 20
"""


class Visitors:
    """Some who ask for the page all the time, and remember what they got."""

    def __init__(self, snickers: Snickers) -> None:
        self.got: list[tuple[int, bytes]] = []
        self._over = Event()
        self._snickers = snickers
        self._threads = [Thread(target=self._visit, daemon=True) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _visit(self) -> None:
        while not self._over.is_set():
            try:
                self.got.append(self._snickers.get(HOST, "/page"))
            except Exception as problem:
                self.got.append((0, repr(problem).encode()))

    def leave(self) -> list[tuple[int, bytes]]:
        self._over.set()
        for thread in self._threads:
            thread.join(WITHIN)
        return self.got


class LiveCase(SynchronousTestCase):
    """One Snickers with one site, and what its owner does."""

    def start(self) -> Snickers:
        snickers = Snickers(self, SITE, SETTINGS + "drain within = 10s\n")
        self.folder = snickers.folder / "data" / HOST
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "page").write_text("one")
        return snickers

    def done(self, snickers: Snickers, *arguments: str) -> str:
        ended = snickers.command(*arguments)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout

    def copies(self, snickers: Snickers) -> list[dict[str, Any]]:
        return list(snickers.asked("snapshots", HOST)["copies"])

    def until(self, holds: Any, words: str) -> Any:
        deadline = time.monotonic() + WITHIN
        while True:
            found = holds()
            if found:
                return found
            self.assertLess(time.monotonic(), deadline, words)
            time.sleep(0.02)


class ProcessTests(LiveCase):
    """Written, copied, destroyed, restored."""

    def test_restored(self) -> None:
        """What was destroyed is back, while visitors come all the time and none of them is failed:
        each gets the data as it was before or as it was restored."""
        snickers = self.start()
        self.assertEqual(snickers.get(HOST, "/page"), (200, b"one"))
        self.assertIn("is kept as copy", self.done(snickers, "snapshot", HOST))
        self.assertTrue((self.folder / "dumped").exists())
        (self.folder / "page").write_text("two")
        visitors = Visitors(snickers)
        try:
            self.until(lambda: len(visitors.got) > 20, "nobody is answered")
            self.assertIn("is as in copy", self.done(snickers, "restore", HOST, "latest"))
            count = len(visitors.got)
            self.until(lambda: len(visitors.got) > count + 20, "nobody is answered any more")
        finally:
            got = visitors.leave()
        self.assertEqual({status for status, _ in got}, {200}, set(got))
        bodies = [body for _, body in got]
        self.assertEqual(set(bodies), {b"one", b"two"})
        self.assertEqual(bodies[-1], b"one")
        # Who asked last before the change was answered last before it, give or take the others.
        self.assertLess(bodies.index(b"one") - 6, len(bodies) - bodies[::-1].index(b"two"))
        self.assertEqual(
            [copy["why"] for copy in self.copies(snickers)], ["asked for", "before a restore"]
        )
        self.assertEqual(os.listdir(self.folder.parent), [HOST])
        # The folder destroyed altogether, and the server asleep.
        self.done(snickers, "sleep", HOST)
        self.until(lambda: len(self.copies(snickers)) == 3, "no copy of one that fell asleep")
        shutil.rmtree(self.folder)
        self.done(snickers, "restore", HOST, self.copies(snickers)[0]["id"])
        self.assertEqual(snickers.get(HOST, "/page"), (200, b"one"))
        self.assertEqual(snickers.end(), 0)

    def test_words(self) -> None:
        """Listed, verified, and what cannot be done is said plainly."""
        snickers = self.start()
        self.assertIn("there is no copy yet", self.done(snickers, "snapshots", HOST))
        ended = snickers.command("restore", HOST, "latest")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("make one", ended.stderr)
        self.done(snickers, "snapshot", HOST)
        self.assertIn("asked for", self.done(snickers, "snapshots", HOST))
        self.done(snickers, "snapshot", "verify", HOST)
        ended = snickers.command("snapshot", "prove", HOST)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("cannot be kept away from the network", ended.stderr)
        self.assertEqual((snickers.folder / "state" / "snapshots").stat().st_mode & 0o077, 0)
        self.assertEqual(snickers.end(), 0)

    def test_killed(self) -> None:
        """``kill -9`` while a copy is written out, and while folders are exchanged: at the next
        start the folder is there, whole, and nothing that was in it is lost."""
        snickers = self.start()
        for number in range(40):
            (self.folder / f"large{number}").write_bytes(os.urandom(2**21))
        self.done(snickers, "snapshot", HOST)
        trust = snickers.trust
        (self.folder / "page").write_text("two")
        restoring = subprocess.Popen(
            [
                *(sys.executable, "-c", SNICKERS, "--config", str(snickers.sites)),
                *("restore", HOST, "latest"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(restoring.wait)
        above = self.folder.parent
        self.until(
            lambda: any(name.endswith("restoring") for name in _names(above)),
            "nothing is written out",
        )
        snickers.kill()
        restoring.wait(WITHIN)
        self.assertEqual((self.folder / "page").read_text(), "two")
        # As if it had ended between two renames.
        former = above / f".{HOST}.former"
        self.folder.rename(former)
        (above / f".{HOST}.restored").mkdir()
        (above / f".{HOST}.restored" / "page").write_text("three")
        where = f"state = {snickers.folder}/state\ndata = {snickers.folder}/data\n"
        again = Snickers(self, SITE, SETTINGS.replace("state = state\ndata = data\n", where))
        again._trust = trust
        self.assertEqual((self.folder / "page").read_text(), "two")
        self.assertEqual(again.get(HOST, "/page"), (200, b"two"))
        self.until(lambda: os.listdir(above) == [HOST], "what is left over stays")
        whys = [copy["why"] for copy in self.copies(again)]
        self.assertEqual(whys, ["asked for", "left by a restore that was broken off"])
        self.done(again, "restore", HOST, "latest")
        self.assertEqual(again.get(HOST, "/page"), (200, b"three"))
        self.assertEqual(again.end(), 0)


BOX = f"""
[{HOST}]
type = container
image = {docker_setup.IMAGE}
pull = never
command = sh -c 'exec httpd -f -p 80 -h /data'
data = /data
health = /page
wake within = 3s
stop within = 1s
"""


class ContainerTests(LiveCase):
    """With a container, by a real Docker."""

    def start(self) -> Snickers:
        url = docker_setup.docker_url()
        docker_setup.image()
        settings = SETTINGS.replace("docker = unix:///nonexistent", f"docker = {url}")
        snickers = Snickers(self, BOX, settings)
        owner = owner_of(str(snickers.folder / "state"))
        self.addCleanup(docker_setup.remove_all, owner)
        self.addCleanup(docker_setup.remove_all, owner + OWNER)
        self.owner = owner
        self.folder = snickers.folder / "data" / HOST
        self.folder.mkdir(parents=True, mode=0o755)
        (self.folder / "page").write_text("one")
        return snickers

    def test_proved(self) -> None:
        """A copy proves itself while the site's own server serves on; one of data that no server
        can live from does not, and the exit status says so; nothing of either stays."""
        snickers = self.start()
        self.assertEqual(snickers.get(HOST, "/page"), (200, b"one"))
        self.done(snickers, "snapshot", HOST)
        self.assertIn("has proved itself", self.done(snickers, "snapshot", "prove", HOST))
        (self.folder / "page").unlink()
        self.done(snickers, "snapshot", HOST)
        ended = snickers.command("snapshot", "prove", HOST)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("did not pass its health check (/page)", ended.stderr)
        self.assertEqual(os.listdir(self.folder.parent), [HOST])
        mine = {"label": f"io.snickers.instance={self.owner + OWNER}"}
        self.assertEqual(docker_setup.client().containers(all=True, filters=mine), [])
        first = self.copies(snickers)[0]["id"]
        self.done(snickers, "restore", HOST, first)
        self.assertEqual(snickers.get(HOST, "/page"), (200, b"one"))
        self.assertEqual(snickers.end(), 0)


def _names(folder: Path) -> list[str]:
    return [name.removesuffix(".partial") for name in os.listdir(folder)]
