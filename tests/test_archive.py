"""Copies as plain archives, by the real tar."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from snickers.containers import tool
from snickers.containers.archive import GZIP, PLAIN, ZSTD, Archives, packing
from snickers.interfaces.copies import CopyFailed
from tests.copies_contract import SITE, copies_contract, ignore, write
from tests.real_copies import RealCopies, in_thread


class ArchiveFixture:
    """Archives of the best packing there is here."""

    def __init__(self, case: TestCase) -> None:
        self.folder = os.path.abspath(case.mktemp())

    def copies(self) -> Archives:
        return Archives(reactor, in_thread, lambda: self.folder, time.time)

    def damage(self, id: str) -> None:
        path = os.path.join(self.folder, SITE, "archive", id + packing().end)
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 0xFF]))


CopiesContract = copies_contract(ArchiveFixture)


class RealArchiveTests(RealCopies, TestCase):
    """What befalls disks and processes."""

    def keeper(self, folder: str) -> Archives:
        return Archives(reactor, in_thread, lambda: folder, time.time)

    def code(self, folder: str) -> str:
        return (
            "import time\nfrom snickers.containers.archive import Archives\n"
            f"copies = Archives(reactor, deferToThread, lambda: {folder!r}, time.time)\n"
        )

    async def test_exact(self) -> None:
        """As all; and the holes of files with holes take no room."""
        self.assertLess(await super().test_exact(), 2**20)  # type: ignore[func-returns-value]

    async def test_by_hand(self) -> None:
        """Who has lost Snickers can unpack an archive by tar alone."""
        copy = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        path = self.kept / SITE / "archive" / (copy.id + packing().end)
        listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True)
        self.assertEqual(sorted(listed.stdout.split()), ["./", "./page"])
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    async def test_note_torn(self) -> None:
        """A note that is not whole, and an archive without one, are no copies."""
        copy = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        folder = self.kept / SITE / "archive"
        (folder / "torn.json").write_text('{"id": "torn", "ti')
        (folder / "alone.tar.zst").write_text("")
        self.assertEqual(list(await self.copies.list(SITE)), [copy])


class PackingTests(TestCase):
    """How archives are made smaller."""

    async def test_each(self) -> None:
        """Whatever is installed is used, and each can be read when it is not the best any more."""
        data = os.path.abspath(self.mktemp())
        folder = os.path.abspath(self.mktemp())
        copies = []
        for each in (ZSTD, GZIP, PLAIN):
            write(Path(data), page=each.end)
            keeper = Archives(reactor, in_thread, lambda: folder, time.time, lambda e=each: e)
            copies.append(await keeper.make(SITE, data, "asked for", ignore))
        keeper = Archives(reactor, in_thread, lambda: folder, time.time)
        await keeper.verify(SITE, ignore)
        for each, copy in zip((ZSTD, GZIP, PLAIN), copies, strict=True):
            out = os.path.abspath(self.mktemp())
            await keeper.restore(SITE, copy.id, out, ignore)
            self.assertEqual(Path(out, "page").read_text(), each.end)

    def test_best(self) -> None:
        """Packed by zstd where it is, else by gzip, else not at all."""
        there = {"zstd", "gzip"}
        self.patch(tool, "find", lambda name: name if name in there else None)
        self.assertEqual(packing(), ZSTD)
        there.remove("zstd")
        self.assertEqual(packing(), GZIP)
        there.clear()
        self.assertEqual(packing(), PLAIN)

    async def test_no_tar(self) -> None:
        """Without tar nothing is begun, and what would help is said."""
        self.patch(tool, "find", lambda name: None)
        keeper = Archives(reactor, in_thread, self.mktemp, time.time)
        failure = await self.assertFailure(keeper.make(SITE, "/", "", ignore), CopyFailed)
        self.assertIn("tar is not installed", str(failure))
