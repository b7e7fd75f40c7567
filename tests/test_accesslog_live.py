"""The access log of a real Snickers: written, moved away, opened anew, whole at the end."""

from __future__ import annotations

import json
import signal
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.live_setup import SETTINGS, WITHIN, Snickers

SITE = "[files.localhost]\ntype = static\nroot = files\n"
LOGGED = SETTINGS + "access log = access.log\naccess log format = json\n"


class AccessLogTests(SynchronousTestCase):
    """One Snickers with a folder of files and an access log."""

    def test_rotated(self) -> None:
        """No request is missing, none is there twice, and each is in the file of its time."""
        snickers = Snickers(self, SITE, LOGGED)
        (snickers.folder / "files").mkdir()
        (snickers.folder / "files" / "index.html").write_text("a folder")
        path = snickers.folder / "access.log"
        moved = snickers.folder / "access.log.1"
        for n in range(3):
            self.assertEqual(snickers.get("files.localhost", f"/?{n}")[0], 200)
        # A thread writes them: each question is a while in which it can.
        deadline = time.monotonic() + WITHIN
        while not path.exists() or len(path.read_bytes().splitlines()) < 3:
            self.assertLess(time.monotonic(), deadline, "they are never written")
            snickers.asked("status")
        path.rename(moved)
        snickers.signal(signal.SIGHUP, "READY=1")
        for n in range(3, 6):
            self.assertEqual(snickers.get("files.localhost", f"/none?{n}")[0], 404)
        self.assertEqual(snickers.end(), 0)
        old, new = ([json.loads(line) for line in file.open()] for file in (moved, path))
        self.assertEqual([line["target"] for line in old], ["/?0", "/?1", "/?2"])
        self.assertEqual([line["target"] for line in new], ["/none?3", "/none?4", "/none?5"])
        for line in old:
            self.assertEqual((line["site"], line["status"]), ("files.localhost", 200))
            self.assertEqual((line["client"], line["bytes"]), ("127.0.0.1", 8))
        self.assertEqual(len({line["id"] for line in old + new}), 6)
