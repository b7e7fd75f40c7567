"""What a folder holds, read without running anything of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.control.team_folders import (
    Held,
    deployed,
    installed,
    is_checkout,
    look,
    note_deployed,
)

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@a.example", "-c", "commit.gpgsign=false"]


def metadata(folder: Path, version: str) -> None:
    """Have *version* be installed in *folder*."""
    place = folder / ".venv/lib/python3.11/site-packages" / f"snickers-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.4\nName: snickers\nVersion: {version}\n")


class DeployedTests(SynchronousTestCase):
    def test_known(self) -> None:
        """What is installed was made of is known until something else is installed, by whomever."""
        folder = Path(self.mktemp())
        (folder / ".venv").mkdir(parents=True)
        self.assertEqual(deployed(str(folder)), "")
        metadata(folder, "1.0")
        note_deployed(str(folder), "c0ffee")
        self.assertEqual(deployed(str(folder)), "c0ffee")
        (path,) = folder.glob(".venv/lib/*/site-packages/*/METADATA")
        os.utime(path, (1, 1))
        self.assertEqual(deployed(str(folder)), "")
        note_deployed(str(folder), "")
        note_deployed(str(folder), "")
        self.assertEqual(deployed(str(folder)), "")


class FoldersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def test_installed(self) -> None:
        """The version is what pip has written down."""
        self.assertEqual(installed(str(self.folder)), "")
        metadata(self.folder, "1.2.3")
        self.assertEqual(look(str(self.folder)), Held("1.2.3"))
        self.assertEqual(look(str(self.folder)).words(), "1.2.3")

    def test_damaged(self) -> None:
        """What cannot be read is as good as not installed."""
        place = self.folder / ".venv/lib/python3.11/site-packages/snickers-1.dist-info"
        place.mkdir(parents=True)
        self.assertEqual(installed(str(self.folder)), "")
        (place / "METADATA").write_bytes(b"\xff\xfe")
        self.assertEqual(installed(str(self.folder)), "")

    def test_checkout(self) -> None:
        """The commit of a checkout, and whether there are changes beside it."""
        self.assertFalse(is_checkout(str(self.folder)))

        def git(*arguments: str) -> str:
            done = subprocess.run(
                [*GIT, "-C", str(self.folder), *arguments],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"},
            )
            return done.stdout.strip()

        git("init", "-q")
        self.assertEqual(look(str(self.folder)), Held())
        (self.folder / "file").write_text("a")
        git("add", "file")
        git("commit", "-qm", "first")
        commit = git("rev-parse", "--short", "HEAD")
        self.assertEqual(look(str(self.folder)), Held("", commit, False))
        self.assertEqual(look(str(self.folder)).words(), f"nothing installed ({commit})")
        (self.folder / "file").write_text("b")
        self.assertEqual(look(str(self.folder)).words(), f"nothing installed ({commit}, changed)")

    def test_nothing(self) -> None:
        """A folder that is not there holds nothing."""
        self.assertEqual(look(str(self.folder / "none")).words(), "nothing installed")
