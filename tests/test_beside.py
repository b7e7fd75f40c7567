"""One command beside a server: what is told of it, with a process that is none."""

from __future__ import annotations

import os
import signal

from twisted.internet.defer import CancelledError
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import launch
from snickers.containers.beside import FLOOD, LAST_WORDS, REST, Command
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Ran


class FakePipe:
    """Whether it is read."""

    def __init__(self) -> None:
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class FakeProcess:
    """A transport of a process."""

    pid = 4194000

    def __init__(self) -> None:
        self.pipes = {1: FakePipe(), 2: FakePipe(), launch.REPORT: FakePipe()}
        self.lost = False

    def loseConnection(self) -> None:
        self.lost = True


class CommandTests(SynchronousTestCase):
    """`Command`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.killed: list[tuple[str, int, int]] = []
        self.patch(os, "killpg", lambda pid, number: self.killed.append(("group", pid, number)))
        self.patch(os, "kill", lambda pid, number: self.killed.append(("one", pid, number)))
        self.process = FakeProcess()
        self.command = Command(self.clock, "snapshot --all", 5)
        self.command.makeConnection(self.process)

    def ends(self, reason=None) -> None:
        failure = Failure(reason or ProcessDone(0))
        self.command.processExited(failure)
        self.command.processEnded(failure)

    def fails(self) -> str:
        return str(self.failureResultOf(self.command.done, EngineFailed).value)

    def test_ended(self) -> None:
        """It is told how it ended and what it said last, and no call is left."""
        self.command.childDataReceived(1, b"one\ntw")
        self.command.childDataReceived(2, b"o\n")
        self.ends(ProcessTerminated(3))
        self.assertEqual(self.successResultOf(self.command.done), Ran(3, "one\ntwo"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_signalled(self) -> None:
        """One that was killed is told as shells do."""
        self.ends(ProcessTerminated(None, signal.SIGTERM))
        self.assertEqual(self.successResultOf(self.command.done).code, 143)

    def test_late(self) -> None:
        """It is killed with its children when its time is over, and that is said."""
        self.command.childDataReceived(1, b"one\nat work\n")
        self.clock.advance(5)
        self.assertIn(("group", self.process.pid, signal.SIGKILL), self.killed)
        self.assertNoResult(self.command.done)
        self.ends(ProcessTerminated(None, signal.SIGKILL))
        words = self.fails()
        self.assertIn("snapshot --all was not done within 5 s", words)
        self.assertTrue(words.endswith("at work"))

    def test_endless(self) -> None:
        """Without an end of time none is kept."""
        command = Command(self.clock, "snapshot", float("inf"))
        before = len(self.clock.getDelayedCalls())
        command.makeConnection(FakeProcess())
        self.assertEqual(len(self.clock.getDelayedCalls()), before)

    def test_missing(self) -> None:
        """What the launcher reports is told in words, also when it cannot be read."""
        self.command.childDataReceived(launch.REPORT, b'["command", 2, "No such ')
        self.command.childDataReceived(launch.REPORT, b'file or directory"]')
        self.ends(ProcessTerminated(127))
        self.assertIn("snapshot --all cannot be run: No such file", self.fails())
        other = Command(self.clock, "x", 5)
        other.makeConnection(FakeProcess())
        other.childDataReceived(launch.REPORT, b"[torn")
        other.processEnded(Failure(ProcessTerminated(127)))
        self.assertIn("torn", str(self.failureResultOf(other.done, EngineFailed).value))

    def test_cancelled(self) -> None:
        """Cancelled, it is killed, and its end is told to nobody."""
        self.command.done.cancel()
        self.failureResultOf(self.command.done, CancelledError)
        self.assertIn(("group", self.process.pid, signal.SIGKILL), self.killed)
        self.ends()

    def test_not_another(self) -> None:
        """Once it has ended its number alone is never signalled: it may be another's."""
        self.command.processExited(Failure(ProcessDone(0)))
        self.assertEqual({kind for kind, *_ in self.killed}, {"group"})

    def test_held_pipes(self) -> None:
        """Pipes that somebody else holds open are let go."""
        self.command.processExited(Failure(ProcessDone(0)))
        self.clock.advance(LAST_WORDS)
        self.assertTrue(self.process.lost)

    def test_flood(self) -> None:
        """Who writes too much is not read for a while; the launcher's report always is."""
        self.command.childDataReceived(1, bytes(FLOOD))
        reading = {number: pipe.reading for number, pipe in self.process.pipes.items()}
        self.assertEqual(reading, {1: False, 2: False, launch.REPORT: True})
        self.clock.advance(REST)
        self.assertTrue(all(pipe.reading for pipe in self.process.pipes.values()))
        self.command.childDataReceived(1, bytes(FLOOD))
        self.command.processExited(Failure(ProcessDone(0)))
        self.assertTrue(all(pipe.reading for pipe in self.process.pipes.values()))
