"""Servers that end with Snickers, with processes that are none; real ones: `tests.test_process`."""

from __future__ import annotations

import os
import signal

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import launch, pace
from snickers.containers.attached import Attached, AttachedServers
from snickers.containers.launching import Place
from snickers.containers.server import LAST_WORDS, Server
from snickers.interfaces.engine import Instance
from tests.test_beside import FakeProcess

MADE = Instance("alice.example", "", "f", True, ("127.0.0.1", 8000), 1.0)
PLACE = Place("/", {}, None)


class FakeReactor(Clock):
    """Spawns nothing, and says it did."""

    def spawnProcess(self, protocol, *arguments, **options) -> None:
        self.transport = FakeProcess()
        protocol.makeConnection(self.transport)


class AttachedTests(SynchronousTestCase):
    """`Attached` and `AttachedServers`."""

    def setUp(self) -> None:
        self.killed: list[tuple[str, int]] = []
        self.patch(os, "killpg", lambda pid, number: self.killed.append(("group", number)))
        self.patch(os, "kill", lambda pid, number: self.killed.append(("one", number)))
        self.reactor = FakeReactor()
        self.servers = AttachedServers(self.reactor)
        self.gone: list[Server] = []
        self.server = self.spawn()

    def spawn(self) -> Attached:
        server = self.servers.spawn(MADE, 5, ("serve",), PLACE, self.gone.append)
        assert isinstance(server, Attached)
        self.process = self.reactor.transport
        return server

    def runs(self) -> None:
        self.server.childConnectionLost(launch.REPORT)

    def ends(self, error: Exception | None = None) -> None:
        reason = Failure(error or ProcessDone(0))
        self.server.processExited(reason)
        self.server.processEnded(reason)

    def test_number(self) -> None:
        """Its id is its process'."""
        self.assertEqual(self.server.instance.id, str(FakeProcess.pid))
        self.assertEqual(self.server.pid, FakeProcess.pid)

    def test_report(self) -> None:
        """The launcher's report is no output."""
        self.server.childDataReceived(launch.REPORT, b'["command", 2, ')
        self.server.childDataReceived(launch.REPORT, b'"No such file"]')
        self.runs()
        self.assertEqual(self.failureResultOf(self.server.launched).value.why, "No such file")
        self.assertEqual(self.servers.output("alice.example").last(9), b"")

    def test_alone_at_first(self) -> None:
        """Before its program runs the process may lead no group."""
        self.server.abandon()
        self.runs()
        self.server.end(5)
        self.assertEqual(self.killed, [("one", signal.SIGKILL), ("group", signal.SIGTERM)])

    def test_ended(self) -> None:
        """Its end is told with its code, its last words are heard."""
        self.runs()
        self.server.childDataReceived(1, b"one\nlast")
        self.server.processExited(Failure(ProcessTerminated(None, signal.SIGTERM)))
        self.assertEqual((self.gone, self.server.code), ([self.server], 143))
        self.server.childDataReceived(1, b" words")
        self.assertNoResult(self.server.silent)
        self.server.processEnded(Failure(ProcessDone(0)))
        self.successResultOf(self.server.silent)
        self.assertEqual(self.servers.output("alice.example").last(9), b"one\nlast words\n")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_held_pipes(self) -> None:
        """Pipes that somebody else holds open are let go of."""
        self.runs()
        self.server.processExited(Failure(ProcessDone(0)))
        self.assertFalse(self.process.lost)
        self.reactor.advance(LAST_WORDS)
        self.assertTrue(self.process.lost)

    def test_flood(self) -> None:
        """Who writes too much is not read for a while, but for the launcher's report; its last
        words are read at once."""
        self.runs()
        self.server.childDataReceived(1, bytes(pace.FLOOD + 1))
        reading = {number: pipe.reading for number, pipe in self.process.pipes.items()}
        self.assertEqual(reading, {1: False, 2: False, launch.REPORT: True})
        self.server.processExited(Failure(ProcessDone(0)))
        self.assertTrue(all(pipe.reading for pipe in self.process.pipes.values()))

    def test_closed(self) -> None:
        """Closing ends all that run, and waits for those that still speak."""
        self.runs()
        former, process = self.server, self.process
        former.processExited(Failure(ProcessDone(0)))
        self.server = self.spawn()
        self.runs()
        closing = self.servers.close([self.server])
        self.assertIn(("group", signal.SIGTERM), self.killed)
        self.ends()
        self.assertNoResult(closing)
        former.processEnded(Failure(ProcessDone(0)))
        self.successResultOf(closing)
        self.assertIsNot(process, self.process)

    def test_forgotten(self) -> None:
        """Of a site that was forgotten there is no output; none is found of an earlier Snickers."""
        self.servers.forget("alice.example")
        self.servers.forget("alice.example")
        self.assertIsNone(self.servers.output("alice.example"))
        self.assertEqual(self.servers.find(self.gone.append), [])
        self.assertFalse(self.servers.outlive)
