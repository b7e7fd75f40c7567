"""Processes that leave while visitors never stop asking: no connection ends without its answer.

A real Snickers whose number of workers changes again and again. What leaves has connections
on which nothing was asked yet, has promised others that they may ask once more, and has requests in
its hands: all of them are answered, and by GOAWAY or ``Connection: close`` told to ask elsewhere.
"""

from __future__ import annotations

from itertools import cycle, islice

from twisted.trial.unittest import SynchronousTestCase

from tests.callers import Callers, connecting
from tests.live_setup import SETTINGS, Snickers

FILES = "[files.localhost]\ntype = static\nroot = site\n"
RELOADS = 12


class DrainTests(SynchronousTestCase):
    """Workers come and go."""

    def test_workers(self) -> None:
        """However often there are more or fewer workers, every visitor has every answer."""
        settings = SETTINGS + "workers = {}\n"
        snickers = Snickers(self, FILES, settings.format(3))
        (snickers.folder / "site").mkdir()
        (snickers.folder / "site" / "index.html").write_text("hello")
        connect = connecting(snickers.https, "files.localhost", snickers.trust)
        callers = Callers(connect, "files.localhost", "/", b"hello")
        callers.start()
        self.addCleanup(callers.stop)
        before = {entry["pid"] for entry in snickers.asked("status")["workers"]}
        for number in islice(cycle((1, 3, 2, 1, 2, 3)), RELOADS):
            snickers.settings = settings.format(number)
            snickers.reload(FILES)
        after = {entry["pid"] for entry in snickers.asked("status")["workers"]}
        callers.stop()
        self.assertEqual(callers.lost, [])
        self.assertFalse(before & after)
        for kind, answered in callers.answered.items():
            self.assertGreater(answered, 100, kind)
