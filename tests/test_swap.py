"""Folders exchanged by renames, and what is found after an end at any moment of it."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import swap
from snickers.containers.swap import FORMER, RESTORED, RESTORING, beside, put_in_place, recover
from snickers.interfaces.copies import CopyFailed
from tests.copies_contract import write


class Killed(BaseException):
    """The process is no more."""


class SwapTests(SynchronousTestCase):
    """A folder with data, and a restored one beside it."""

    exchanges = True

    def setUp(self) -> None:
        self.above = Path(self.mktemp()).absolute()
        self.folder = self.above / "alice.example"
        self.fresh = Path(beside(str(self.folder), RESTORED))
        self.former = Path(beside(str(self.folder), FORMER))
        if not self.exchanges:
            self.patch(swap, "_exchange", lambda one, other: False)
        write(self.folder, page="old")
        write(self.fresh, page="new")

    def text(self, folder: Path) -> str:
        return (folder / "page").read_text()

    def test_exchanged(self) -> None:
        """The restored one is in place, the former beside it, and nothing else is there."""
        self.assertEqual(put_in_place(str(self.folder)), str(self.former))
        self.assertEqual(self.text(self.folder), "new")
        self.assertEqual(self.text(self.former), "old")
        self.assertEqual(len(os.listdir(self.above)), 2)

    def test_nothing_before(self) -> None:
        """Where the site had no folder yet there is no former one."""
        self.folder.rename(self.above / "elsewhere")
        self.assertIsNone(put_in_place(str(self.folder)))
        self.assertEqual(self.text(self.folder), "new")

    def test_former_in_the_way(self) -> None:
        """What was not kept as a copy yet is never written over."""
        write(self.former, page="older")
        failure = self.assertRaises(CopyFailed, put_in_place, str(self.folder))
        self.assertIn("not kept as a copy yet", str(failure))
        self.assertEqual(self.text(self.folder), "old")
        self.assertEqual(self.text(self.former), "older")

    def test_failing(self) -> None:
        """When the disk refuses a rename everything is as it was."""
        real, calls = os.rename, []

        def rename(one: str, other: str) -> None:
            calls.append((one, other))
            if one == str(self.fresh):
                raise PermissionError(13, "Permission denied")
            real(one, other)

        if self.exchanges:
            self.patch(swap, "_exchange", lambda one, other: rename(one, other) or True)
        with patch("os.rename", rename):
            failure = self.assertRaises(CopyFailed, put_in_place, str(self.folder))
        self.assertIn("Permission denied", str(failure))
        self.assertTrue(calls)
        self.assertEqual(self.text(self.folder), "old")
        self.assertEqual(self.text(self.fresh), "new")

    def test_killed_anywhere(self) -> None:
        """Before or after each single rename the process may end: the site's folder is there at the
        next start, whole, and both states of the data are still there, to be kept as copies."""
        real_rename, real_exchange = os.rename, swap._exchange
        killed = 0
        for moment in range(6):
            with self.subTest(moment):
                for folder, text in ((self.folder, "old"), (self.fresh, "new")):
                    write(folder, page=text)
                left = [moment]

                def step(act, one, other, left=left):
                    for when in ("before", "after"):
                        if left[0] == 0:
                            left[0] = -1
                            raise Killed(when)
                        left[0] -= 1
                        if when == "before":
                            done = act(one, other)
                    return done

                try:
                    with (
                        patch("os.rename", lambda a, b: step(real_rename, a, b)),
                        patch.object(swap, "_exchange", lambda a, b: step(real_exchange, a, b)),
                    ):
                        put_in_place(str(self.folder))
                except Killed:
                    killed += 1
                worthy, worthless = recover(str(self.folder))
                self.assertEqual(worthless, [])
                self.assertIn(self.text(self.folder), ("old", "new"))
                there = {self.text(self.folder), *(self.text(Path(each)) for each in worthy)}
                self.assertEqual(there, {"old", "new"})
                for each in worthy:
                    os.rename(each, self.mktemp())
        self.assertGreaterEqual(killed, 4)

    def test_half_written(self) -> None:
        """What was being written out is worth nothing, and the site's folder is left alone."""
        os.rename(self.fresh, beside(str(self.folder), RESTORING))
        write(Path(beside(str(self.folder), RESTORING) + ".partial"), page="half")
        worthy, worthless = recover(str(self.folder))
        self.assertEqual(worthy, [])
        self.assertEqual(len(worthless), 2)
        self.assertEqual(self.text(self.folder), "old")


class TwoRenamesTests(SwapTests):
    """The same where folders cannot be exchanged in one step."""

    exchanges = False


class LookTests(SwapTests):
    """What cannot be exchanged is known before."""

    def test_disk_of_its_own(self) -> None:
        """A folder where a disk is mounted has no place that another could take."""
        swap.look(str(self.folder))
        failure = self.assertRaises(CopyFailed, swap.look, "/proc")
        self.assertIn("disk of its own", str(failure))

    def test_names(self) -> None:
        """Companions have names that no site can have."""
        self.assertEqual(beside("/d/a.example", FORMER), "/d/.a.example.former")
