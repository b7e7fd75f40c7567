"""What the kernel knows of a session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import sessions
from snickers.containers.sessions import Stat

TICKS = os.sysconf("SC_CLK_TCK")

PARENT = """
import os, time
if os.fork() == 0:
    os.setpgid(0, 0)
    if os.fork() == 0:
        os.setsid()
    print(os.getpid(), flush=True)
time.sleep(60)
"""


class ParsedTests(SynchronousTestCase):
    """`parsed`."""

    def test_odd_name(self) -> None:
        """A name may hold anything, blanks and parentheses too."""
        text = b"12 (a) R (b c) S 1 12 7 0 -1 4194560 1 2 3 4 250 50 25 75 20 0 1 0 4321"
        self.assertEqual(sessions.parsed(text), Stat("S", 7, 400 / TICKS, 4321))

    def test_ended(self) -> None:
        """Of one that has ended it is told how, as wait(2) tells it."""
        child = os.posix_spawnp("sh", ["sh", "-c", "exit 5"], {"PATH": os.environ["PATH"]})
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        found = sessions.stat(child)
        os.waitpid(child, 0)
        self.assertEqual((found.state, found.status), ("Z", 5 << 8))

    def test_torn(self) -> None:
        """What is not whole is nothing."""
        for text in (b"", b"12 (a) S 1 12", b"12 (a) S 1 12 x 0 0 0 0 0 0 0 1 2 3 4 5 6 7 8"):
            self.assertIsNone(sessions.parsed(text))

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=80))
    def test_anything(self, text: bytes) -> None:
        """Whatever comes, it is understood or not, and nothing raises."""
        found = sessions.parsed(text)
        self.assertTrue(found is None or isinstance(found, Stat))

    def test_itself(self) -> None:
        """What is said of this process is so."""
        found = sessions.stat(os.getpid())
        self.assertEqual((found.state, found.session), ("R", os.getsid(0)))
        self.assertGreater(found.start, 0)
        self.assertIn(os.getpid(), sessions.pids())

    def test_gone(self) -> None:
        """Of a process that is gone nothing is said, and where there is no list, no process."""
        child = subprocess.Popen(["true"])
        child.wait()
        self.assertIsNone(sessions.stat(child.pid))
        self.assertEqual(sessions.pids("/no/such/folder"), [])


class SessionTests(SynchronousTestCase):
    """`add` and `tell`, with a session of a leader, a child in another group, and one that left."""

    def setUp(self) -> None:
        self.leader = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PARENT],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.addCleanup(self.leader.stdout.close)
        pids = {int(self.leader.stdout.readline()) for _ in range(2)}
        self.addCleanup(self.end, pids)
        (self.left,) = [pid for pid in pids if os.getsid(pid) == pid]
        (self.child,) = pids - {self.left}

    def end(self, pids: set[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.leader.kill()
        self.leader.wait()

    def test_stopped(self) -> None:
        """Every process of the session is told, in whatever group; one that left is not."""
        sessions.tell(self.leader.pid, signal.SIGSTOP)
        for pid in (self.leader.pid, self.child):
            while sessions.stat(pid).state != "T":
                pass
        self.assertNotEqual(sessions.stat(self.left).state, "T")
        sessions.tell(self.leader.pid, signal.SIGCONT)
        while sessions.stat(self.child).state == "T":
            pass

    def test_nobody(self) -> None:
        """A session that is no more is told nothing."""
        child = subprocess.Popen(["true"], start_new_session=True)
        child.wait()
        sessions.tell(child.pid, signal.SIGTERM)

    def test_others(self) -> None:
        """All but the leader's own group can be told."""
        sessions.tell_others(self.leader.pid, signal.SIGSTOP)
        while sessions.stat(self.child).state != "T":
            pass
        self.assertNotEqual(sessions.stat(self.leader.pid).state, "T")
        self.assertNotEqual(sessions.stat(self.left).state, "T")

    def test_boot(self) -> None:
        """Each boot of the host has a name of its own, where the kernel says so."""
        self.assertEqual(len(sessions.boot()), 36)
        self.assertEqual(sessions.boot("/no/proc"), "")

    def test_add(self) -> None:
        """Each process adds to its own session, if that is looked at."""
        used = {self.leader.pid: 0.0}
        proc = self.mktemp()
        stat = "1 (x) S 1 1 {} 0 0 0 0 0 0 0 100 0 0 0 0 0 0 0 0 0"
        for pid, session in ((1, self.leader.pid), (2, self.leader.pid), (3, 1), (4, 0)):
            os.makedirs(f"{proc}/{pid}")
            with open(f"{proc}/{pid}/stat", "w", encoding="ascii") as file:
                file.write(stat.format(session))
        sessions.add(used, [*sessions.pids(proc), 99], proc)
        self.assertEqual(used, {self.leader.pid: 200 / TICKS})
