"""What a later keeper needs is written, the newest at last, again and again until it is."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.teams.recorder import AGAIN, ALARM, Recorder
from tests.test_keeper import Alarms
from tests.threads_fake import FakeThreads


class RecorderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.threads, self.alarms = Clock(), FakeThreads(), Alarms()
        self.now = b"first"
        self.disk: list[bytes] = []
        self.full = False
        self.recorder = Recorder(
            self.clock,
            self.threads.defer,
            self.alarms,
            "/state/teams/keeper.json",
            lambda: self.now,
            self.write,
        )

    def write(self, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.disk.append(data)

    def test_the_newest(self) -> None:
        """What changes while something is being written is written next, as it is then; who waits
        for it is told after that."""
        self.recorder.changed()
        self.now = b"second"
        self.recorder.changed()
        self.now = b"third"
        written = self.recorder.written()
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run()
        self.assertNoResult(written)
        self.threads.run()
        self.assertEqual(self.disk, [b"first", b"third"])
        self.assertEqual(self.successResultOf(written), "")
        self.assertEqual((self.threads.waiting, self.clock.getDelayedCalls()), ([], []))

    def test_full(self) -> None:
        """A full disk is told to who waits, and by an alarm that says what to do; it is written
        again until it succeeds, which ends the alarm."""
        self.full = True
        written = self.recorder.written()
        self.threads.run()
        words = self.successResultOf(written)
        self.assertIn("keeper.json cannot be written (No space left on device)", words)
        self.assertIn("Make room", words)
        self.assertEqual((self.alarms.now, self.recorder.wrong), ({ALARM: words}, words))
        self.clock.advance(AGAIN)
        self.threads.run()
        self.assertEqual((self.disk, self.alarms.now), ([], {ALARM: words}))
        self.full = False
        self.now = b"second"
        self.clock.advance(AGAIN)
        self.threads.run()
        self.assertEqual((self.disk, self.alarms.now), ([b"second"], {}))
        self.assertEqual((self.clock.getDelayedCalls(), self.recorder.wrong), ([], ""))

    def test_sooner(self) -> None:
        """What changes meanwhile is tried at once, and not twice."""
        self.full = True
        self.recorder.changed()
        self.threads.run()
        self.full = False
        self.recorder.changed()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.threads.run()
        self.assertEqual((self.disk, self.alarms.now), ([b"first"], {}))

    def test_stopped(self) -> None:
        """At the end nothing is tried again; who waits is told all the same."""
        self.full = True
        self.recorder.changed()
        self.threads.run()
        self.recorder.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        written: Deferred[str] = self.recorder.written()
        self.threads.run()
        self.assertTrue(self.successResultOf(written))
        self.assertEqual(self.clock.getDelayedCalls(), [])
