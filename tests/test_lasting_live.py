"""Process servers of teams outlive a real ``twistd``, and are the next one's."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import sessions
from tests.lasting_setup import end_servers
from tests.live_setup import ECHO, SETTINGS, WITHIN, Snickers

SITE = f"""
[app.localhost]
type = process
command = sh -c "echo begun; exec {ECHO}"
health = /up
pause after = never
"""


class LastingTests(SynchronousTestCase):
    """Teams that end in any way, and those that come after them."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.settings = SETTINGS
        for word in ("state", "data"):
            self.settings = self.settings.replace(
                f"{word} = {word}\n", f"{word} = {self.folder}/{word}\n"
            )
        self.addCleanup(end_servers, self.folder / "state")

    def team(self, name: str, text: str = SITE) -> Snickers:
        with patch.dict(os.environ, {"SNICKERS_TEAM": name}):
            snickers = Snickers(self, text, self.settings)
        root = self.folder / "state" / "internal" / "ca.pem"
        self.until(root.exists, "there is no authority")
        snickers._trust = ssl.create_default_context(cafile=str(root))
        return snickers

    def until(self, look: Callable[[], object], words: str) -> None:
        end = time.monotonic() + WITHIN
        while not look():
            self.assertLess(time.monotonic(), end, words)
            time.sleep(0.02)

    def number(self, snickers: Snickers) -> int:
        """Return the pid of the server, as it answers a visitor."""
        status, body = snickers.get("app.localhost")
        self.assertEqual(status, 200)
        return int(body.split()[-1])

    def state(self, snickers: Snickers) -> str:
        (site,) = snickers.asked("status")["sites"]
        return str(site["state"])

    def until_awake(self, snickers: Snickers) -> None:
        self.until(lambda: self.state(snickers) == "awake", "it was not taken over")

    def gone(self, pid: int) -> bool:
        found = sessions.stat(pid)
        return found is None or found.state == "Z"

    def test_outlives(self) -> None:
        """A server that one team has woken serves visitors of the next, whether the team was killed
        or ended in order; nobody is woken for it, and its log goes on."""
        team = self.team("blue")
        number = self.number(team)
        for end, name in ((Snickers.kill, "red"), (Snickers.end, "blue"), (Snickers.kill, "red")):
            end(team)
            self.assertFalse(self.gone(number))
            team = self.team(name)
            self.until_awake(team)
            self.assertEqual(self.number(team), number)
        self.assertEqual(team.command("logs", "app.localhost").stdout.split("\n")[0], "begun")
        done = team.command("sleep", "app.localhost")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(self.gone(number))
        self.assertNotEqual(self.number(team), number)

    def test_ends_by_itself(self) -> None:
        """The end of a server that was taken over is noticed; the next visitor wakes another."""
        blue = self.team("blue")
        number = self.number(blue)
        blue.kill()
        red = self.team("red")
        self.until_awake(red)
        os.kill(number, 9)
        self.until(lambda: self.state(red) != "awake", "its end was not noticed")
        # It has crashed, so the next start waits for a moment.
        self.until(lambda: red.get("app.localhost")[0] == 200, "it did not come back")
        self.assertNotEqual(self.number(red), number)

    def test_rolled_back(self) -> None:
        """What was replaced under one team comes back under the next."""
        blue = self.team("blue", SITE + "env.TITLE = first\n")
        self.assertEqual(blue.get("app.localhost")[1].split()[0], b"first")
        blue.reload(SITE + "env.TITLE = second\n")
        self.until(
            lambda: blue.get("app.localhost")[1].split()[0] == b"second", "it was not replaced"
        )
        blue.kill()
        red = self.team("red", SITE + "env.TITLE = second\n")
        self.until_awake(red)
        done = red.command("rollback", "app.localhost")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(red.get("app.localhost")[1].split()[0], b"first")

    def test_without_teams(self) -> None:
        """A Snickers that is no team ends what teams have left running, before it is ready to have
        servers of its own."""
        blue = self.team("blue")
        number = self.number(blue)
        blue.kill()
        snickers = Snickers(self, SITE, self.settings)
        self.until(lambda: self.gone(number), "it lives on")
        self.assertEqual(snickers.end(), 0)

    def test_declared_anew(self) -> None:
        """A server whose section was changed meanwhile is replaced by the team that comes."""
        blue = self.team("blue")
        number = self.number(blue)
        blue.kill()
        red = self.team("red", SITE + "env.TITLE = changed\n")
        self.until(lambda: self.gone(number), "the old server lives on")
        status, body = red.get("app.localhost")
        self.assertEqual((status, body.split()[0]), (200, b"changed"))
