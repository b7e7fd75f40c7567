"""What every keeper of copies promises, as tests: run against the fake and the real ones.

`copies_contract` makes a test case for one out of a `CopiesFixture`.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers.interfaces.copies import CopyFailed, ICopies

SITE = "alice.example"


class CopiesFixture(Protocol):
    """What `copies_contract` needs to know of a keeper to test it."""

    def copies(self) -> ICopies:
        """Return another keeper of the same copies."""

    def damage(self, id: str) -> None:
        """Have copy *id* be other than it was made."""


def write(folder: Path, **files: str) -> None:
    """Make *folder* with files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def ignore(words: str) -> None:
    """Take progress."""


def copies_contract(make_fixture: Any) -> type[TestCase]:
    """Return the test case for the keepers of *make_fixture*`(case)`."""

    class CopiesContract(TestCase):
        def setUp(self) -> None:
            self.fixture: CopiesFixture = make_fixture(self)
            self.copies = self.fixture.copies()
            self.above = Path(self.mktemp()).absolute()
            self.data = self.above / SITE
            write(self.data, page="one")

        def make(self, why: str = "asked for") -> Deferred[Any]:
            return self.copies.make(SITE, str(self.data), why, ignore)

        def restored(self, name: str = ".restored") -> Path:
            return self.above / name

        def test_interface(self) -> None:
            """It is what it says it is."""
            verifyObject(ICopies, self.copies)

        async def test_nothing_yet(self) -> None:
            """A site of which there is no copy has an empty list, and all of them are well."""
            self.assertEqual(list(await self.copies.list(SITE)), [])
            await self.copies.verify(SITE, ignore)
            await self.copies.forget(SITE, ["none"], ignore)

        async def test_made_and_listed(self) -> None:
            """A copy is listed as it was made, also by another keeper, and for its site alone."""
            said: list[str] = []
            made = await self.copies.make(SITE, str(self.data), "before a restore", said.append)
            again = await self.make()
            self.assertTrue(said)
            self.assertEqual((made.site, made.why), (SITE, "before a restore"))
            self.assertGreaterEqual(made.size, 3)
            self.assertNotEqual(made.id, again.id)
            other = self.fixture.copies()
            self.assertEqual(list(await other.list(SITE)), [made, again])
            self.assertEqual(list(await other.list("bob.example")), [])

        async def test_restored(self) -> None:
            """What is written out is the folder as it was when it was copied: not only the
            latest."""
            first = await self.make()
            write(self.data, page="two", more="three")
            second = await self.make()
            (self.data / "page").unlink()
            await self.copies.restore(SITE, first.id, str(self.restored()), ignore)
            self.assertEqual(sorted(os.listdir(self.restored())), ["page"])
            self.assertEqual((self.restored() / "page").read_text(), "one")
            await self.copies.restore(SITE, second.id, str(self.restored(".2")), ignore)
            self.assertEqual((self.restored(".2") / "page").read_text(), "two")
            self.assertEqual(sorted(os.listdir(self.above)), sorted([".2", ".restored", SITE]))

        async def test_kinds(self) -> None:
            """Folders, modes (the folder's own too), times, symbolic links that lead nowhere, odd
            names and hidden files are kept; sockets are left out and no matter."""
            inner = self.data / "a folder" / "inner"
            write(inner, script="#!/bin/sh")
            (inner / "script").chmod(0o751)
            os.utime(inner / "script", (1_000_000_000, 1_100_000_000))
            (self.data / ".hidden").write_text("h")
            (self.data / "-x\n'$(y) ü").write_text("odd")
            (self.data / "empty").mkdir()
            (self.data / "link").symlink_to("/nowhere/at/all")
            listening = socket.socket(socket.AF_UNIX)
            self.addCleanup(listening.close)
            here = os.getcwd()
            os.chdir(self.data)
            try:
                listening.bind("socket")
            finally:
                os.chdir(here)
            self.data.chmod(0o710)
            copy = await self.make()
            await self.copies.restore(SITE, copy.id, str(self.restored()), ignore)
            there = self.restored()
            self.assertEqual(
                sorted(os.listdir(there)),
                sorted(set(os.listdir(self.data)) - {"socket"}),
            )
            self.assertEqual(stat.S_IMODE(there.stat().st_mode), 0o710)
            script = there / "a folder" / "inner" / "script"
            self.assertEqual(stat.S_IMODE(script.stat().st_mode), 0o751)
            self.assertEqual(script.stat().st_mtime, 1_100_000_000)
            self.assertEqual(os.readlink(there / "link"), "/nowhere/at/all")
            self.assertEqual((there / "-x\n'$(y) ü").read_text(), "odd")

        async def test_no_such_copy(self) -> None:
            """A copy that is not there is said, and nothing is written."""
            await self.make()
            failing = self.copies.restore(SITE, "12345678", str(self.restored()), ignore)
            failure = await self.assertFailure(failing, CopyFailed)
            self.assertIn("no copy 12345678", str(failure))
            self.assertFalse(self.restored().exists())

        async def test_in_the_way(self) -> None:
            """A folder that is there is not written to."""
            copy = await self.make()
            write(self.restored(), mine="mine")
            failing = self.copies.restore(SITE, copy.id, str(self.restored()), ignore)
            await self.assertFailure(failing, CopyFailed)
            self.assertEqual(os.listdir(self.restored()), ["mine"])

        async def test_forgotten(self) -> None:
            """What is forgotten is not there any more; the others are whole."""
            first = await self.make()
            write(self.data, page="two")
            second = await self.make()
            await self.copies.forget(SITE, [first.id, "never-was"], ignore)
            self.assertEqual(list(await self.copies.list(SITE)), [second])
            await self.copies.verify(SITE, ignore)
            await self.copies.restore(SITE, second.id, str(self.restored()), ignore)
            self.assertEqual((self.restored() / "page").read_text(), "two")

        async def test_damaged(self) -> None:
            """A copy that is not as it was made is found."""
            copy = await self.make()
            await self.copies.verify(SITE, ignore)
            self.fixture.damage(copy.id)
            failure = await self.assertFailure(self.copies.verify(SITE, ignore), CopyFailed)
            self.assertIn("damaged", str(failure))

        async def test_nothing_to_copy(self) -> None:
            """A folder that is not there cannot be copied, and that is said."""
            kept = await self.make()
            failing = self.copies.make(SITE, str(self.above / "none"), "asked for", ignore)
            await self.assertFailure(failing, CopyFailed)
            self.assertEqual(list(await self.copies.list(SITE)), [kept])

    CopiesContract.__module__ = make_fixture.__module__
    CopiesContract.__qualname__ = CopiesContract.__name__
    return CopiesContract
