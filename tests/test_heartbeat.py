"""Signs of life: how often, with what, and that nothing keeps them back."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.heartbeat import OFTEN, REPEAT, Heartbeat, every
from tests.test_reporting import Teller


class EveryTests(SynchronousTestCase):
    def test_asked(self) -> None:
        """Several times within the time that is given."""
        self.assertEqual(every({"WATCHDOG_USEC": "30000000"}, 7), 30.0 / OFTEN)
        self.assertEqual(every({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "7"}, 7), 1.0 / OFTEN)

    def test_not_asked(self) -> None:
        """Not where nobody asks, another process is asked, or nonsense is said."""
        for environ in (
            {},
            {"WATCHDOG_USEC": ""},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-5"},
            {"WATCHDOG_USEC": "soon"},
            {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"},
        ):
            self.assertIsNone(every(environ, 7))


class HeartbeatTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.teller = Teller()

    def test_beats(self) -> None:
        """At once, and then again and again until it is stopped."""
        heartbeat = Heartbeat(self.clock, self.teller, 2.0)
        heartbeat.start()
        self.clock.pump([1.0] * 4)
        self.assertEqual(self.teller.sent, [("WATCHDOG=1",)] * 3)
        heartbeat.stop()
        heartbeat.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_asks(self) -> None:
        """Nothing is sent, and nothing runs."""
        heartbeat = Heartbeat(self.clock, self.teller, None)
        heartbeat.start()
        self.assertEqual((self.teller.sent, self.clock.getDelayedCalls()), ([], []))
        heartbeat.stop()

    def test_words(self) -> None:
        """What may have been missed goes with it, also where nobody asks for a sign of life."""
        words = ["READY=1"]
        Heartbeat(self.clock, self.teller, 2.0, lambda: words).start()
        self.assertEqual(self.teller.sent, [("WATCHDOG=1", "READY=1")])
        self.teller.sent.clear()
        clock = Clock()
        Heartbeat(clock, self.teller, None, lambda: words).start()
        clock.advance(REPEAT)
        words.clear()
        clock.advance(REPEAT)
        self.assertEqual(self.teller.sent, [("READY=1",)] * 2)

    def test_words_are_not_rare(self) -> None:
        """They are said often enough, also where a sign of life is asked for each half hour."""
        Heartbeat(self.clock, self.teller, 450.0, lambda: ["READY=1"]).start()
        self.clock.advance(REPEAT)
        self.assertEqual(self.teller.sent, [("WATCHDOG=1", "READY=1")] * 2)

    def test_words_fail(self) -> None:
        """What cannot be said for once keeps no sign of life back, neither now nor later."""

        def fault() -> list[str]:
            raise ValueError("a fault")

        Heartbeat(self.clock, self.teller, 2.0, fault).start()
        self.clock.advance(2.0)
        self.assertEqual(self.teller.sent, [("WATCHDOG=1",)] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_full(self) -> None:
        """A manager that has too much to read is told again the next time."""
        self.teller.full = True
        Heartbeat(self.clock, self.teller, 2.0).start()
        self.teller.full = False
        self.clock.advance(2.0)
        self.assertEqual(self.teller.sent, [("WATCHDOG=1",)])
