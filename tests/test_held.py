"""Processes held by their descriptors: signalled, watched, and never taken for others."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest, TestCase

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
