"""The last deployment is remembered, and a damaged or foreign file says nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attrs import asdict, evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.control.last_deploy import NAME, LastDeploy, read, write

DEPLOY = LastDeploy("red", "v2", 1000.0)


class LastDeployTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_back(self) -> None:
        """What was written last is read, by its owner alone."""
        write(str(self.folder), DEPLOY)
        self.assertEqual(read(str(self.folder)), asdict(DEPLOY))
        ended = evolve(DEPLOY, ended=1060.0, failed=True, words="check: no")
        write(str(self.folder), ended)
        self.assertEqual(read(str(self.folder)), asdict(ended))
        self.assertEqual(os.listdir(self.folder), [NAME])
        self.assertEqual(stat.S_IMODE((self.folder / NAME).stat().st_mode), 0o600)

    def test_nothing(self) -> None:
        """Nothing is known where nothing is, or nothing that makes sense."""
        self.assertIsNone(read(str(self.folder)))
        self.assertIsNone(read(str(self.folder / "none")))
        for text in ("", "{", "[1]", "[" * 100_000):
            (self.folder / NAME).write_text(text)
            self.assertIsNone(read(str(self.folder)))

    def test_links(self) -> None:
        """No link is followed, neither to be read nor to be written."""
        victim = Path(self.mktemp()).absolute()
        victim.write_text('{"precious": 1}')
        for name in (NAME, f"{NAME}.new"):
            (self.folder / name).symlink_to(victim)
        self.assertIsNone(read(str(self.folder)))
        write(str(self.folder), DEPLOY)
        self.assertEqual(victim.read_text(), '{"precious": 1}')
        self.assertEqual(read(str(self.folder)), asdict(DEPLOY))
        link = Path(self.mktemp()).absolute()
        link.symlink_to(self.folder.absolute())
        with self.assertRaises(OSError):
            write(str(link), DEPLOY)
