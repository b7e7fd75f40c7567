"""What is done to whole folders."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import TestCase

from snickers.containers import folder
from snickers.containers.folder import clear, in_words, lack_of_room, may_give_away, settle, shown
from snickers.interfaces.copies import CopyFailed
from tests.copies_contract import write


class FolderTests(TestCase):
    async def test_cleared(self) -> None:
        """A folder is removed with what is in it; what a link leads to stays; one that is not there
        is no matter."""
        path, other = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        write(path / "inner", page="x")
        write(other, page="y")
        (path / "link").symlink_to(other)
        await clear(reactor, str(path))
        await clear(reactor, str(path))
        self.assertFalse(path.exists())
        self.assertEqual(os.listdir(other), ["page"])

    async def test_settled(self) -> None:
        """A folder that is not there cannot be made to last, and that is said."""
        await settle(reactor, os.getcwd())
        settling = Deferred.fromCoroutine(settle(reactor, "/never/there"))
        await self.assertFailure(settling, CopyFailed)

    async def test_words(self) -> None:
        """What the operating system said is said with the file's name; the rest is let through."""
        failing = fail(OSError(13, "Permission denied", "/x")).addErrback(in_words)
        self.assertEqual(
            str(await self.assertFailure(failing, CopyFailed)), "/x: Permission denied."
        )
        await self.assertFailure(fail(KeyError("x")).addErrback(in_words), KeyError)

    def test_giving_away(self) -> None:
        """Root may, and who has the capability."""
        self.patch(os, "geteuid", lambda: 0)
        self.assertTrue(may_give_away())
        self.patch(os, "geteuid", lambda: 1000)
        capable = bool(
            int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16) & 1
        )
        self.assertEqual(may_give_away(), capable)

    def test_room(self) -> None:
        """A disk with almost nothing left is full."""
        self.assertEqual(lack_of_room(os.getcwd()), "")
        self.patch(folder, "ROOM", 2**63)
        self.assertIn("No space left", lack_of_room(os.getcwd()))

    def test_sizes(self) -> None:
        """Sizes are said in the unit a person would use."""
        self.assertEqual(
            [shown(size) for size in (0, 999, 20_480_000, 3_000_000_000)],
            ["0 bytes", "999 bytes", "20 MB", "3 GB"],
        )
