"""One server that is a process: what is the same for all, with processes that are none."""

from __future__ import annotations

import math
import signal

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.launching import Place, Unlaunched
from snickers.containers.server import Server, silence
from snickers.interfaces.engine import Instance

ALICE = Instance("alice.example", "77", "f", True, ("127.0.0.1", 8000), 1.0)


class FakeServer(Server):
    """Remembers what it should do, and is told what happens."""

    def __init__(self, clock: Clock) -> None:
        self.gone: list[str] = []
        super().__init__(clock, ALICE, 5, Place("/", {}, None), lambda _: self.gone.append("gone"))
        self.sent: list[int] = []
        self.told: list[int] = []
        self.heard_out = 0
        self.reported = self._reported
        self.exits = self._ended

    def _signal(self, number: int) -> None:
        self.sent.append(number)

    def _tell_all(self, number: int) -> None:
        self.told.append(number)

    def _hear_out(self) -> None:
        self.heard_out += 1


class ServerTests(SynchronousTestCase):
    """`Server`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = FakeServer(self.clock)

    def test_runs(self) -> None:
        """It runs when the launcher has nothing to report."""
        self.assertFalse(self.server.ran)
        self.server.reported(b"")
        self.assertTrue(self.server.ran)
        self.successResultOf(self.server.launched)

    def test_unlaunched(self) -> None:
        """What the launcher reports is the failure of the start; its end is told once it came."""
        self.server.reported(b'["command", 2, "No such file"]')
        failure = self.failureResultOf(self.server.launched, Unlaunched)
        self.assertEqual((failure.value.step, failure.value.why), ("command", "No such file"))
        self.assertFalse(self.server.ran)
        self.assertEqual(self.server.gone, [])
        self.server.exits(127)
        self.assertEqual(self.server.gone, ["gone"])

    def test_end_before_the_start(self) -> None:
        """Of an end nobody hears before the start, however the two come."""
        ending = self.server.end(5)
        self.server.exits(0)
        self.assertEqual((self.server.gone, self.server.heard_out), ([], 1))
        self.assertNoResult(ending)
        self.server.reported(b"")
        self.assertEqual(self.server.gone, ["gone"])
        self.successResultOf(ending)

    def test_start_cancelled(self) -> None:
        """Who does not wait for the start any more changes nothing of the end."""
        self.server.launched.addErrback(lambda _: None)
        self.server.launched.cancel()
        self.server.exits(137)
        self.assertEqual(self.server.gone, [])
        self.server.reported(b"")
        self.assertEqual(self.server.gone, ["gone"])

    def test_ended(self) -> None:
        """It is asked to end, and killed when it has not; who waits is told of the end."""
        self.server.reported(b"")
        first, second = self.server.end(3), self.server.end(math.inf)
        self.assertTrue(self.server.ending)
        self.assertEqual(self.server.sent, [signal.SIGTERM, signal.SIGTERM])
        self.clock.advance(3)
        self.assertEqual(self.server.sent[2:], [signal.SIGKILL])
        self.server.exits(137)
        self.assertEqual(self.server.code, 137)
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(self.server.end(3))

    def test_left_behind(self) -> None:
        """What it leaves behind in its group is killed, and no call is left."""
        self.server.reported(b"")
        self.server.end(3)
        self.server.exits(0)
        self.assertEqual(self.server.sent, [signal.SIGTERM, signal.SIGKILL])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_paused(self) -> None:
        """Pausing twice is pausing once; one that shall end goes on to hear of it."""
        self.server.reported(b"")
        self.server.resume()
        self.server.pause()
        self.server.pause()
        self.assertTrue(self.server.instance.paused)
        self.assertEqual(self.server.told, [signal.SIGSTOP])
        self.server.end(3)
        self.assertEqual(self.server.told, [signal.SIGSTOP, signal.SIGCONT])
        self.assertFalse(self.server.instance.paused)

    def test_abandoned(self) -> None:
        """What never became the program is killed at once."""
        self.server.abandon()
        self.assertTrue(self.server.ending)
        self.assertEqual(self.server.sent, [signal.SIGKILL])


class SilenceTests(SynchronousTestCase):
    def test_all(self) -> None:
        """All are silent when the last one is; whoever waits for one alone hears of it as well."""
        clock = Clock()
        servers = [FakeServer(clock) for _ in range(3)]
        servers[0].silent.callback(None)
        done = silence(servers)
        alone: list[str] = []
        servers[1].silent.addCallback(lambda _: alone.append("heard"))
        servers[1].silent.callback(None)
        self.assertEqual(alone, ["heard"])
        self.assertNoResult(done)
        servers[2].silent.callback(None)
        self.assertIsNone(self.successResultOf(done))

    def test_nobody(self) -> None:
        """Where there is none it is silent."""
        self.assertIsNone(self.successResultOf(silence([])))
