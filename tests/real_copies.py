"""What the real keepers of copies must do beyond the contract: what befalls disks and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from snickers.interfaces.copies import CopyFailed, ICopies
from tests.copies_contract import SITE, ignore, write

SOURCE = Path(__file__).parent.parent / "src"


def in_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Run *function* in the reactor's pool."""
    return deferToThread(function, *arguments)


def random_file(path: Path, size: int) -> None:
    """Make a file that nothing makes smaller."""
    path.write_bytes(os.urandom(size))


CHILD = """
import sys
sys.path.insert(0, {source!r})
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
{make}
def said(words):
    print(words, flush=True)
def over(result):
    print("over", result, flush=True)
    reactor.stop()
def begin():
    {act}.addBoth(over)
reactor.callWhenRunning(begin)
reactor.run()
"""


class RealCopies:
    """A mixin for a `TestCase` that has `keeper` and `made`: Python that makes the same one."""

    mktemp: Any
    addCleanup: Any
    assertEqual: Any
    assertIn: Any
    assertFailure: Any
    assertTrue: Any
    assertFalse: Any
    fail: Any

    def keeper(self, folder: str) -> ICopies:
        raise NotImplementedError

    def code(self, folder: str) -> str:
        raise NotImplementedError

    def setUp(self) -> None:
        self.above = Path(self.mktemp()).absolute()
        self.data = self.above / SITE
        self.kept = self.above / "kept"
        write(self.data, page="one")
        self.copies = self.keeper(str(self.kept))

    def child(self, act: str) -> subprocess.Popen[str]:
        """Do *act* in a process of its own, which is killed at the end."""
        text = CHILD.format(source=str(SOURCE), make=self.code(str(self.kept)), act=act)
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True
        )

        def end() -> None:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()

        self.addCleanup(end)
        return child

    async def restored(self, id: str, name: str) -> Path:
        await self.copies.restore(SITE, id, str(self.above / name), ignore)
        return self.above / name

    async def kill_during(self, act: str, seen: Callable[[], bool]) -> None:
        """Do *act* in a process of its own and kill that by SIGKILL when *seen* says so; return
        when what it had started has ended too."""
        child = self.child(act)
        for _ in range(3000):
            if await deferToThread(seen):
                break
            if child.poll() is not None:
                self.fail(f"It was over before it could be killed: {child.stdout.read()}")
            await deferLater(reactor, 0.002)
        else:
            self.fail("It was not seen to work.")
        child.send_signal(signal.SIGKILL)
        await deferToThread(child.wait)
        for _ in range(500):
            if not await deferToThread(_works_on, str(self.above)):
                return
            await deferLater(reactor, 0.02)
        self.fail("What it had started goes on without it.")

    def size_kept(self) -> int:
        size = 0
        for above, _, names in os.walk(self.kept):
            for name in names:
                try:
                    size += os.lstat(os.path.join(above, name)).st_size
                except FileNotFoundError:
                    pass
        return size

    async def test_killed_making(self) -> None:
        """A ``kill -9`` while a copy is made harms no older one; the next is made as ever."""
        first = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        before = self.size_kept()
        random_file(self.data / "large", 96 * 2**20)
        await self.kill_during(
            f"copies.make({SITE!r}, {str(self.data)!r}, 'asked for', said)",
            lambda: self.size_kept() > before + 2**20,
        )
        self.assertEqual([c.id for c in await self.copies.list(SITE)], [first.id])
        await self.copies.verify(SITE, ignore)
        write(self.data, page="two")
        second = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        self.assertEqual((await self.restored(first.id, "a") / "page").read_text(), "one")
        self.assertEqual((await self.restored(second.id, "b") / "page").read_text(), "two")
        await self.copies.forget(SITE, [first.id], ignore)
        await self.copies.verify(SITE, ignore)
        left = [n for a, _, names in os.walk(self.kept) for n in names if n.endswith(".partial")]
        self.assertEqual(left, [])

    async def test_cancelled(self) -> None:
        """A copy that nobody waits for any more is ended, and nothing of it is listed."""
        random_file(self.data / "large", 64 * 2**20)
        making = self.copies.make(SITE, str(self.data), "asked for", ignore)
        for _ in range(1000):
            if await deferToThread(self.size_kept) > 2**20:
                break
            await deferLater(reactor, 0.005)
        making.cancel()
        await self.assertFailure(making, CancelledError)
        self.assertEqual(list(await self.copies.list(SITE)), [])
        (self.data / "large").unlink()
        await self.copies.make(SITE, str(self.data), "asked for", ignore)
        await self.copies.verify(SITE, ignore)

    async def test_disk_full(self) -> None:
        """A full disk is said; the copies that are there are whole, and there is room again."""
        if os.geteuid():
            raise SkipTest("Only root can make a small disk.")
        self.kept.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(self.kept)]
        if subprocess.run(mount, check=False).returncode:
            raise SkipTest("No small disk can be made here.")
        self.addCleanup(lambda: subprocess.run(["umount", str(self.kept)], check=True))
        first = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        random_file(self.data / "large", 32 * 2**20)
        making = self.copies.make(SITE, str(self.data), "asked for", ignore)
        failure = await self.assertFailure(making, CopyFailed)
        self.assertIn("no space left", str(failure).lower())
        self.assertEqual([c.id for c in await self.copies.list(SITE)], [first.id])
        self.assertEqual((await self.restored(first.id, "a") / "page").read_text(), "one")

    async def test_restored_to_full_disk(self) -> None:
        """Where there is no room to write a copy out, that is said and nothing of it stays."""
        if os.geteuid():
            raise SkipTest("Only root can make a small disk.")
        random_file(self.data / "large", 8 * 2**20)
        copy = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        small = self.above / "small"
        small.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]
        if subprocess.run(mount, check=False).returncode:
            raise SkipTest("No small disk can be made here.")
        self.addCleanup(lambda: subprocess.run(["umount", str(small)], check=True))
        restoring = self.copies.restore(SITE, copy.id, str(small / "out"), ignore)
        failure = await self.assertFailure(restoring, CopyFailed)
        self.assertIn("no space left", str(failure).lower())
        self.assertEqual(os.listdir(small), [])

    async def test_exact(self) -> None:
        """Owners, extended attributes, hard links and the content of files with holes are kept."""
        if os.geteuid():
            raise SkipTest("Only root can give files away.")
        (self.data / "twin").hardlink_to(self.data / "page")
        os.chown(self.data / "page", 1234, 4321)
        os.chown(self.data, 1235, 4322)
        with open(self.data / "holes", "wb") as file:
            file.truncate(20 * 2**20)
            file.seek(10 * 2**20)
            file.write(b"island")
        try:
            os.setxattr(self.data / "page", "user.colour", b"green")
            coloured = True
        except OSError:
            coloured = False
        copy = await self.copies.make(SITE, str(self.data), "asked for", ignore)
        there = await self.restored(copy.id, "a")
        page = (there / "page").stat()
        self.assertEqual((page.st_uid, page.st_gid, page.st_nlink), (1234, 4321, 2))
        self.assertEqual((there.stat().st_uid, there.stat().st_gid), (1235, 4322))
        self.assertEqual((there / "holes").read_bytes(), (self.data / "holes").read_bytes())
        if coloured:
            self.assertEqual(os.getxattr(there / "page", "user.colour"), b"green")
        return (there / "holes").stat().st_blocks * 512  # type: ignore[return-value]

    async def test_not_seen_by_others(self) -> None:
        """Nobody but the owner can look into copies, which hold what the sites keep for
        themselves."""
        await self.copies.make(SITE, str(self.data), "asked for", ignore)
        for folder in (self.kept, self.kept / SITE):
            self.assertEqual(folder.stat().st_mode & 0o077, 0, folder)


def _works_on(folder: str) -> bool:
    """Whether any process is working on *folder*."""
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                said = file.read()
            with open(f"/proc/{pid}/environ", "rb") as file:
                said += file.read()
        except OSError:
            continue
        if folder.encode() in said and said.split(b"\0")[0].split(b"/")[-1] in (
            b"tar",
            b"restic",
            b"nice",
        ):
            return True
    return False
