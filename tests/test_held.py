"""Processes held by their descriptors: signalled, watched, and never taken for others."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from snickers.containers import held, sessions
from snickers.containers.held import Held, code_of, hold
from tests.descriptors import open_descriptors

FAMILY = """
import os, sys, time
if sys.argv[1] == "leads":
    os.setsid()
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""

RELEASE = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
"""Of the kernel."""


@implementer(IReadDescriptor)
class Reader:
    """One end of a pipe, watched; *heard* is called when the reactor has something to tell."""

    def __init__(self, heard: Callable[[Reader], None]) -> None:
        self._reads, self._writes = os.pipe()
        self._heard = heard
        reactor.addReader(self)

    def tell(self, hangs_up: bool) -> None:
        """Give the reactor something to tell."""
        if not hangs_up:
            os.write(self._writes, b"x")
        os.close(self._writes)

    def fileno(self) -> int:
        return self._reads

    def doRead(self) -> None:
        self._heard(self)

    def connectionLost(self, reason: Failure) -> None:
        self._heard(self)

    def logPrefix(self) -> str:
        return "reader"


class HeldTests(TestCase):
    """`hold` and `Held`, with real processes."""

    def spawn(self, *command: str, **options) -> subprocess.Popen:
        process = subprocess.Popen(command or ("sleep", "60"), **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def hold(self, pid: int) -> Held:
        each = hold(reactor, pid, sessions.stat(pid).start)
        assert each is not None
        self.addCleanup(each.let_go)
        return each

    def family(self, does: str) -> tuple[subprocess.Popen, Held, Held]:
        """Return a process that leads a session or not, and it and its child as they are held."""
        leader = self.spawn(sys.executable, "-c", FAMILY, does, stdout=subprocess.PIPE)
        pid = int(leader.stdout.readline())
        leader.stdout.close()
        child = self.hold(pid)
        self.addCleanup(child.signal, signal.SIGKILL)
        return leader, self.hold(leader.pid), child

    def old_kernel(self) -> None:
        """Let the kernel know nothing of groups."""
        send = signal.pidfd_send_signal

        def refuse(fd: int, number: int, info: None, flags: int) -> None:
            if flags:
                raise OSError(errno.EINVAL, "Invalid argument")
            send(fd, number)

        self.patch(signal, "pidfd_send_signal", refuse)

    async def ended(self, each: Held) -> None:
        await each.ended.addTimeout(60, reactor)

    async def test_ended(self) -> None:
        """It hears of the end, though the process is nobody's child here."""
        process = self.spawn("sh", "-c", "sleep 60 & echo $!", stdout=subprocess.PIPE)
        orphan = int(process.stdout.readline())
        process.stdout.close()
        process.wait()
        each = self.hold(orphan)
        each.signal(signal.SIGTERM)
        await self.ended(each)
        self.assertIn(each.code(), (143, None))

    def test_another(self) -> None:
        """A process that was not started when it should have been is not held."""
        process = self.spawn()
        before = open_descriptors()
        start = sessions.stat(process.pid).start
        self.assertIsNone(hold(reactor, process.pid, start - 1))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assertIsNone(hold(reactor, process.pid, start))
        process.wait()
        self.assertIsNone(hold(reactor, process.pid, start))
        self.assertEqual(open_descriptors() - before, set())

    async def test_group(self) -> None:
        """A group is signalled whole, before and after the end of who leads it."""
        leader, first, child = self.family("leads")
        first.signal_group(signal.SIGSTOP)
        while {sessions.stat(each.pid).state for each in (first, child)} != {"T"}:
            pass
        leader.kill()
        leader.wait()
        if RELEASE < (6, 9):
            raise SkipTest("Linux 6.9 signals groups by a descriptor.")
        first.signal_group(signal.SIGKILL)
        await self.ended(child)

    async def test_no_group(self) -> None:
        """Who leads no group yet is signalled alone."""
        for old in (False, True):
            if old:
                self.old_kernel()
            leader, first, child = self.family("follows")
            first.signal_group(signal.SIGKILL)
            leader.wait()
            self.assertNotIn(sessions.stat(child.pid).state, "ZX")

    async def test_group_on_old_kernels(self) -> None:
        """Where the kernel knows no groups by descriptors, one is signalled by its number as long
        as that is its leader's, one that has ended and is waited for included."""
        self.old_kernel()
        _, first, child = self.family("leads")
        first.signal_group(signal.SIGTERM)
        await self.ended(child)
        leader, first, child = self.family("leads")
        leader.kill()
        os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
        first.signal_group(signal.SIGTERM)
        await self.ended(child)

    def test_number_given_anew(self) -> None:
        """A group whose number was given to others is not signalled by it."""
        self.old_kernel()
        process = self.spawn()
        each = self.hold(process.pid)
        process.kill()
        process.wait()
        stranger = self.spawn(start_new_session=True)
        each.pid = stranger.pid
        # Both may have been started in one tick of the clock, here.
        each.start = sessions.stat(stranger.pid).start - 1
        self.patch(os, "killpg", lambda group, number: self.fail("A group was signalled."))
        each.signal_group(signal.SIGKILL)
        each.signal(signal.SIGKILL)
        each.start = None
        each.signal_group(signal.SIGKILL)
        self.assertIsNone(each._seen())
        self.assertIsNone(stranger.poll())

    def test_code_of(self) -> None:
        """Ends are told as shells tell them."""
        self.assertEqual([code_of(status) for status in (0, 3 << 8, 9, 15)], [0, 3, 137, 143])

    async def test_code_waited_for(self) -> None:
        """How one ended that is still waited for can be seen, by who may look into it."""
        process = self.spawn("sh", "-c", "read line; exit 3", stdin=subprocess.PIPE)
        each = self.hold(process.pid)
        process.stdin.close()
        await self.ended(each)
        self.assertEqual(each.code(), 3)
        self.patch(held.Held, "_told", lambda each: None)
        self.assertEqual(each.code(), 3)
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.assertIsNone(each.code())

    async def test_code_afterwards(self) -> None:
        """How one ended that somebody has waited for is told by newer kernels, and by none is it
        made up."""
        process = self.spawn()
        each = self.hold(process.pid)
        process.kill()
        process.wait()
        await self.ended(each)
        self.assertEqual(each.code(), 137 if RELEASE >= (6, 15) else None)
        self.patch(held.Held, "_told", lambda each: None)
        self.assertIsNone(each.code())

    async def test_number_of_another_descriptor(self) -> None:
        """What the reactor has heard of a descriptor that had the same number a moment ago is not
        taken for the end of a process, which is heard all the same."""
        for hangs_up in (False, True):
            with self.subTest(hangs_up=hangs_up):
                process = self.spawn()
                readers: list[Reader] = []
                holding: list[Held] = []

                def hold_as(reader: Reader, process=process, holding=holding) -> None:
                    def opened(pid: int) -> int:
                        number = reader.fileno()
                        descriptor = os_pidfd_open(pid)
                        os.dup2(descriptor, number)
                        os.close(descriptor)
                        return number

                    os_pidfd_open = os.pidfd_open
                    reactor.removeReader(reader)
                    patched = self.patch(os, "pidfd_open", opened)
                    holding.append(self.hold(process.pid))
                    patched.restore()

                def heard(one: Reader, readers=readers, hold_as=hold_as) -> None:
                    reactor.removeReader(one)
                    (other,) = (each for each in readers if each is not one)
                    hold_as(other)
                    os.close(one.fileno())

                readers += [Reader(heard), Reader(heard)]
                for each in readers:
                    each.tell(hangs_up)
                await self.turns()
                (each,) = holding
                self.assertNoResult(each.ended)
                process.kill()
                await self.ended(each)

    async def turns(self) -> None:
        """Let the reactor look at everything, twice."""
        for _ in range(3):
            await deferLater(reactor, 0)

    async def test_let_go(self) -> None:
        """What was let go of is neither watched nor signalled, and may be let go of again."""
        process = self.spawn()
        before = open_descriptors()
        each = self.hold(process.pid)
        each.let_go()
        each.let_go()
        self.assertEqual(open_descriptors() - before, set())
        each.signal(signal.SIGKILL)
        each.signal_group(signal.SIGKILL)
        self.assertIsNone(process.poll())
        self.assertNoResult(each.ended)
        each.connectionLost(None)

    def test_not_allowed(self) -> None:
        """What may not be signalled is said in the log, and nothing fails."""

        def refuse(fd: int, number: int, info: None, flags: int) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        self.patch(signal, "pidfd_send_signal", refuse)
        each = self.hold(self.spawn().pid)
        each.signal(signal.SIGTERM)
        each.signal_group(signal.SIGTERM)
