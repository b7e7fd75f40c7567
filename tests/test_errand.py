"""Calls in threads can be cancelled, whatever they wait for."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.errand import Abandoned, Errand, Seen, shut
from snickers.interfaces.engine import Exit, Instance


class FakeStream:
    """A stream that counts how often it was closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = 0
        self.error = error

    def __iter__(self):
        return iter(())

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


class ErrandTests(SynchronousTestCase):
    """`Errand`."""

    def test_check(self) -> None:
        """A check lets pass until it is cancelled."""
        errand = Errand()
        errand.check()
        errand.cancel()
        self.assertRaises(Abandoned, errand.check)

    def test_hold(self) -> None:
        """Cancelling closes the stream that is held."""
        errand, stream = Errand(), FakeStream()
        with errand.hold(stream) as held:
            self.assertIs(held, stream)
            self.assertEqual(stream.closed, 0)
            errand.cancel()
            self.assertEqual(stream.closed, 1)

    def test_held_no_more(self) -> None:
        """A stream is closed at the end, and not touched by what comes later."""
        errand, stream = Errand(), FakeStream()
        with errand.hold(stream):
            pass
        self.assertEqual(stream.closed, 1)
        errand.cancel()
        self.assertEqual(stream.closed, 1)

    def test_cancelled_before(self) -> None:
        """A stream that comes after the cancelling is closed and not read."""
        errand, stream = Errand(), FakeStream()
        errand.cancel()

        def hold() -> None:
            with errand.hold(stream):
                self.fail("It was read.")

        self.assertRaises(Abandoned, hold)
        self.assertEqual(stream.closed, 1)

    def test_note(self) -> None:
        """Ends are kept once each, and nothing that has not ended."""
        errand, instance = Errand(), Instance("alice.example", "id", "print", False, None)
        ended = Seen(instance, "name", "run", Exit("alice.example", "id", 0))
        for seen in (ended, evolve(ended), evolve(ended, exit=None), evolve(ended, run="other")):
            errand.note(seen)
        self.assertEqual(errand.ended, [ended, evolve(ended, run="other")])

    def test_shut(self) -> None:
        """A stream that cannot be closed because it just ended is no failure."""
        stream = FakeStream(AttributeError("no socket"))
        shut(stream)
        self.assertEqual(stream.closed, 1)
