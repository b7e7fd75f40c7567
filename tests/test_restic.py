"""Copies by the real restic."""

from __future__ import annotations

import os
import subprocess
import time

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest, TestCase

from snickers.containers import restic, tool
from snickers.containers.restic import Restic
from snickers.interfaces.copies import CopyFailed
from tests.copies_contract import SITE, copies_contract, ignore, write
from tests.real_copies import RealCopies, in_thread, random_file


def look() -> None:
    """Skip where there is no restic."""
    if not restic.installed():
        raise SkipTest("restic is not installed.")


class ResticFixture:
    """Repositories of a test."""

    def __init__(self, case: TestCase) -> None:
        look()
        self.folder = os.path.abspath(case.mktemp())

    def copies(self) -> Restic:
        return Restic(reactor, in_thread, lambda: self.folder, time.time)

    def damage(self, id: str) -> None:
        for above, _, names in os.walk(os.path.join(self.folder, SITE, "restic", "data")):
            for name in names:
                path = os.path.join(above, name)
                os.chmod(path, 0o600)
                with open(path, "r+b") as file:
                    file.write(b"damaged")


CopiesContract = copies_contract(ResticFixture)


class RealResticTests(RealCopies, TestCase):
    """What befalls disks and processes."""

    def setUp(self) -> None:
        look()
        super().setUp()

    def keeper(self, folder: str) -> Restic:
        return Restic(reactor, in_thread, lambda: folder, time.time)

    def code(self, folder: str) -> str:
        return (
            "import time\nfrom snickers.containers.restic import Restic\n"
            f"copies = Restic(reactor, deferToThread, lambda: {folder!r}, time.time)\n"
        )

    async def test_deduplicated(self) -> None:
        """What was copied before takes no room again, under another folder's name either."""
        random_file(self.data / "large", 4 * 2**20)
        await self.copies.make(SITE, str(self.data), "asked for", ignore)
        before = self.size_kept()
        write(self.data, page="two")
        await self.copies.make(SITE, str(self.data), "asked for", ignore)
        former = self.above / f".{SITE}.former"
        self.data.rename(former)
        copy = await self.copies.make(SITE, str(former), "before a restore", ignore)
        self.assertLess(self.size_kept(), before + 2**18)
        self.assertEqual((await self.restored(copy.id, "a") / "page").read_text(), "two")

    async def test_password(self) -> None:
        """The password is made once, for its owner alone, and opens the repository by hand."""
        await self.copies.make(SITE, str(self.data), "asked for", ignore)
        path = self.kept / "password"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        before = path.read_bytes()
        await self.copies.make("bob.example", str(self.data), "asked for", ignore)
        self.assertEqual(path.read_bytes(), before)
        listed = subprocess.run(
            [
                *("restic", "--no-cache", "-r", str(self.kept / "bob.example" / "restic")),
                *("--password-file", str(path), "snapshots"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertIn("asked for", listed.stdout)

    async def test_by_hand(self) -> None:
        """A copy that somebody made by hand is listed, and can be restored."""
        await self.copies.make(SITE, str(self.data), "asked for", ignore)
        subprocess.run(
            [
                *("restic", "--no-cache", "-q", "-r", str(self.kept / SITE / "restic")),
                *("--password-file", str(self.kept / "password"), "backup", SITE),
            ],
            cwd=self.above,
            check=True,
        )
        copy = (await self.copies.list(SITE))[-1]
        self.assertEqual((copy.why, copy.size), ("made by hand", None))
        self.assertEqual((await self.restored(copy.id, "a") / "page").read_text(), "one")

    async def test_half_made_repository(self) -> None:
        """A repository whose making was broken off is made anew."""
        (self.kept / SITE / "restic" / "data").mkdir(parents=True)
        await self.copies.make(SITE, str(self.data), "asked for", ignore)
        await self.copies.verify(SITE, ignore)

    async def test_listed_by_restic(self) -> None:
        """A copy is listed with the very time that was said when it was made."""
        made = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        self.assertEqual(list(await self.copies.list(SITE)), [made])

    async def test_unreadable(self) -> None:
        """A copy in which files are missing that are there is not kept: it would pass for whole."""
        kept = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        program = os.path.join(os.path.abspath(self.mktemp()), "restic")
        os.makedirs(os.path.dirname(program))
        real = tool.find("restic")
        page = str(self.data / "page")
        with open(program, "w") as script:
            # As restic does when it may not open a file.
            script.write(
                f'#!/bin/sh\n{real} "$@"; code=$?\n'
                f'case "$*" in *backup*) echo \'{{"message_type": "error", "item": "{page}"}}\''
                " >&2; exit 3;; esac; exit $code\n"
            )
        os.chmod(program, 0o755)
        self.patch(
            os, "environ", {**os.environ, "PATH": os.path.dirname(program) + ":/usr/bin:/bin"}
        )
        failing = self.copies.make(SITE, str(self.data), "asked for", ignore)
        failure = await self.assertFailure(failing, CopyFailed)
        self.assertIn(f"{page} cannot be read", str(failure))
        self.assertEqual(list(await self.copies.list(SITE)), [kept])

    async def test_owners(self) -> None:
        """Who may not give files to their owners restores none that are another's: the server could
        not use them."""
        if os.geteuid():
            raise SkipTest("Only root can give files away.")
        mine = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        os.chown(self.data / "page", 1234, 1234)
        other = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        self.patch(restic, "may_give_away", lambda: False)
        await self.restored(mine.id, "a")
        failure = await self.assertFailure(
            self.copies.restore(SITE, other.id, str(self.above / "b"), ignore), CopyFailed
        )
        self.assertIn("page of copy", str(failure))
        self.assertIn("belongs to user 1234", str(failure))
        self.assertFalse((self.above / "b").exists())

    async def test_not_installed_any_more(self) -> None:
        """Copies that cannot be read without restic are not kept quiet about."""
        await self.copies.make(SITE, str(self.data), "asked for", ignore)
        self.patch(tool, "find", lambda name: None)
        failure = await self.assertFailure(self.copies.list(SITE), CopyFailed)
        self.assertIn("not installed any more", str(failure))
        self.assertEqual(list(await self.copies.list("bob.example")), [])
