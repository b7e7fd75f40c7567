"""Tests for snickers.alarm_command."""

from __future__ import annotations

import json
import os
import sys

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers.alarm_command import AT_ONCE, LINGER, WAITING, WITHIN, AlarmCommand


class FakeProcess:
    """A process and its transport."""

    def __init__(self, protocol, executable, args):
        self.protocol = protocol
        self.executable = executable
        self.args = args
        self.stdin = b""
        self.closed = False
        self.signals = []
        self.lost = False
        self.gone = False
        protocol.makeConnection(self)

    def write(self, data):
        self.stdin += data

    def closeStdin(self):
        self.closed = True

    def loseConnection(self):
        self.lost = True
        self.protocol.processEnded(self.reason)

    def signalProcess(self, signal):
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(signal)

    def exit(self, code=0, *, pipes=True):
        """End, and with *pipes* let go of the output."""
        self.gone = True
        self.reason = Failure(ProcessTerminated(code) if code else ProcessDone(0))
        self.protocol.processExited(self.reason)
        if pipes:
            self.protocol.processEnded(self.reason)


class FakeReactor(Clock):
    """A clock that starts processes, or fails to."""

    def __init__(self):
        super().__init__()
        self.processes = []
        self.error = None

    def spawnProcess(self, protocol, executable, args=(), env=None):
        if self.error is not None:
            raise self.error
        self.processes.append(FakeProcess(protocol, executable, args))


class LogCase:
    def watch_log(self):
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def formats(self):
        return [event["log_format"] for event in self.events if event.get("log_format")]


class CommandTests(LogCase, SynchronousTestCase):
    def setUp(self):
        self.watch_log()
        self.reactor = FakeReactor()
        self.command = AlarmCommand(self.reactor, ("tell", "me"))
        self.heard = []
        self.command.heard = self.heard.append

    def tell(self, number=0):
        self.command.tell({"kind": "test", "site": str(number), "message": str(number)})

    def test_run(self):
        """The program gets one JSON object and the end of its input."""
        self.tell(7)
        [process] = self.reactor.processes
        self.assertEqual((process.executable, process.args), ("tell", ("tell", "me")))
        self.assertEqual(json.loads(process.stdin), {"kind": "test", "site": "7", "message": "7"})
        self.assertTrue(process.closed)
        process.exit()
        self.assertEqual(self.formats(), [])
        self.assertEqual(self.heard, [""])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_none(self):
        """Without a program nothing is run."""
        self.command.command = ()
        self.tell()
        self.assertEqual(self.reactor.processes, [])

    def test_changed(self):
        """Another program is run from the next alarm on, also for those that wait."""
        for number in range(AT_ONCE + 1):
            self.tell(number)
        self.command.command = ("other",)
        self.reactor.processes[0].exit()
        self.assertEqual(self.reactor.processes[-1].executable, "other")

    def test_few_at_once(self):
        """A few run at a time, in order; the others wait for one to end."""
        for number in range(AT_ONCE + 2):
            self.tell(number)
        self.assertEqual(len(self.reactor.processes), AT_ONCE)
        self.reactor.processes[1].exit()
        self.assertEqual(len(self.reactor.processes), AT_ONCE + 1)
        self.assertEqual(json.loads(self.reactor.processes[-1].stdin)["message"], str(AT_ONCE))

    def test_in_order(self):
        """What is told of one thing waits until what was told of it before has been heard."""
        for site, message in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")):
            self.command.tell({"kind": "test", "site": site, "message": message})
        told = lambda: [json.loads(one.stdin)["message"] for one in self.reactor.processes]  # noqa: E731
        self.assertEqual(told(), ["1", "3"])
        self.reactor.processes[0].exit()
        self.assertEqual(told(), ["1", "3", "2"])
        self.reactor.processes[2].exit(1)
        self.assertEqual(told(), ["1", "3", "2", "4"])

    def test_there(self):
        """Whether the program is there can be known before it is needed."""
        self.command.command = ("/nonexistent/tell", "me")
        self.command.look()
        self.command.command = (sys.executable,)
        self.command.look()
        self.command.command = ()
        self.command.look()
        missing = "/nonexistent/tell is not there, or may not be run here"
        self.assertEqual(self.heard, [missing, "", ""])

    def test_bounded(self):
        """Beyond a number of waiting ones an alarm is only logged."""
        for number in range(AT_ONCE + WAITING + 1):
            self.tell(number)
        self.assertEqual(len(self.formats()), 1)
        self.assertIn("too many alarms", self.formats()[0])

    def test_too_slow(self):
        """A program that takes longer than it may is killed, and that is logged."""
        self.tell()
        [process] = self.reactor.processes
        self.reactor.advance(WITHIN - 0.1)
        self.assertEqual(process.signals, [])
        self.reactor.advance(0.2)
        self.assertEqual(process.signals, ["KILL"])
        process.exit(9)
        [line] = self.formats()
        self.assertIn("was killed", line)
        self.assertIn("took longer than 30 s", self.heard[-1])

    def test_killed_too_late(self):
        """One that ended just before it was to be killed does no harm."""
        self.tell()
        self.reactor.processes[0].gone = True
        self.reactor.advance(WITHIN)
        self.reactor.processes[0].exit()

    def test_failure(self):
        """A program that fails is logged with what it said, but not all of it."""
        self.tell()
        [process] = self.reactor.processes
        for _ in range(3):
            process.protocol.errReceived(b"x" * 1000)
        process.exit(3)
        [line] = self.formats()
        self.assertIn("failed", line)
        self.assertEqual(len(self.events[-1]["said"]), 2000)
        self.assertIn("tell failed: ", self.heard[-1])

    def test_no_such_program(self):
        """A program that cannot be run at all is logged; the next alarm tries again."""
        self.reactor.error = FileNotFoundError("tell")
        self.tell()
        self.tell()
        self.assertEqual(len(self.formats()), 2)
        self.assertEqual(self.heard, ["tell cannot be run: tell"] * 2)
        self.reactor.error = None
        self.tell()
        self.assertEqual(len(self.reactor.processes), 1)

    def test_grandchildren(self):
        """The output that a child of an ended program holds open is not waited for long."""
        for number in range(AT_ONCE + 1):
            self.tell(number)
        self.reactor.processes[0].exit(pipes=False)
        self.assertEqual(len(self.reactor.processes), AT_ONCE)
        self.reactor.advance(LINGER)
        self.assertTrue(self.reactor.processes[0].lost)
        self.assertEqual(len(self.reactor.processes), AT_ONCE + 1)

    def test_stop(self):
        """After the end nothing is run, killed or timed any more."""
        for number in range(AT_ONCE + 1):
            self.tell(number)
        self.command.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.processes[0].exit()
        self.tell()
        self.assertEqual(len(self.reactor.processes), AT_ONCE)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class RealTests(LogCase, TestCase):
    """With real processes."""

    def setUp(self):
        from twisted.internet import reactor

        self.watch_log()
        self.reactor = reactor

    def run_command(self, *command):
        """Return a Deferred that fires when the command has ended."""
        ended = Deferred()
        told = AlarmCommand(self.reactor, command)
        original = told.ended

        def note(run):
            original(run)
            ended.callback(None)

        told.ended = note
        told.tell({"message": "é"})
        return ended

    async def test_told(self):
        """A real program reads the alarm to its end."""
        path = os.path.abspath(self.mktemp())
        code = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
        await self.run_command(sys.executable, "-c", code, path)
        with open(path, "rb") as file:
            self.assertEqual(json.loads(file.read()), {"message": "é"})
        self.assertEqual(self.formats(), [])

    async def test_fails_without_reading(self):
        """One that reads nothing and fails is logged with what it said."""
        await self.run_command(sys.executable, "-c", "raise SystemExit('out of paper')")
        self.assertIn("out of paper", self.events[-1]["said"])

    async def test_missing(self):
        """One that does not exist is logged."""
        told = AlarmCommand(self.reactor, ("/nonexistent/tell",))
        ended = Deferred()
        original = told.ended
        told.ended = lambda run: (original(run), ended.callback(None))
        told.tell({"message": "x"})
        if told._running:
            await ended
        self.assertEqual(len(self.formats()), 1)
