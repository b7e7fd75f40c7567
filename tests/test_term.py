"""What duty is made of: begun and let go of in order, with faults and slow ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.counting import Numbers, flat
from snickers.duty.handover import Handover, take, write
from snickers.duty.term import LET_GO_WITHIN, READ_WITHIN, WRITE_WITHIN, Term
from snickers.interfaces.handed import Handed, Kept

NOW = 5000.0
PID = 77


class Everything:
    """All that a term has to do with: notes what is done."""

    def __init__(self) -> None:
        self.noted: list[Any] = []
        self.handed: Mapping[str, Handed] = {}
        self.slow: Deferred[None] | None = None
        self.cannot = ""
        """What cannot be started."""

    def part(self, name: str) -> Part:
        return Part(self, name)

    # Lives

    def start(self) -> None:
        self.noted.append("lives start")

    def hand_over(self) -> Mapping[str, Handed]:
        self.noted.append("hand over")
        return self.handed

    def release(self, within: float) -> Deferred[None]:
        self.noted.append("release")
        return self.slow or succeed(None)

    # Leases

    def on_duty(self, lives: Mapping[str, Kept]) -> None:
        self.noted.append(("on duty", dict(lives)))

    def off_duty(self, handed: Mapping[str, Handed]) -> None:
        self.noted.append(("off duty", dict(handed)))

    # The alarm

    def speak(self, told: Any) -> None:
        self.noted.append(("speak", list(told)))

    def be_silent(self) -> list[tuple[str, str, str]]:
        return [("crashed", "a", "it crashed")]


class Part:
    """A part that is started and stopped."""

    def __init__(self, everything: Everything, name: str) -> None:
        self.everything = everything
        self.name = name

    def start(self) -> None:
        if self.everything.cannot == self.name:
            raise OSError(f"{self.name} cannot be started")
        self.everything.noted.append(f"{self.name} start")

    def stop(self) -> Any:
        self.everything.noted.append(f"{self.name} stop")
        return self.everything.slow or succeed(None)


class Lending(Part):
    def heard(self) -> dict[int, dict[str, Numbers]]:
        return {78: {"a": flat(2)}}

    def forget(self) -> None:
        self.everything.noted.append("forget")


class Counting:
    def __init__(self, everything: Everything) -> None:
        self.everything = everything

    def hand_over(self) -> dict[str, Numbers]:
        return {"a": flat(9)}

    def take(self, counts: Any, heard: Any) -> None:
        self.everything.noted.append(("counted", dict(counts), dict(heard)))


class TermCase(SynchronousTestCase):
    """A term with one part before servers, and one after."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.all = Everything()
        self.path = os.path.join(os.path.abspath(self.mktemp()), "teams", "handover.json")
        self.threads: list[Deferred[Any]] | None = None
        """Where a thread does not come to its end: what it was given."""
        self.term = Term(
            self.clock,
            self.path,
            PID,
            lambda: NOW,
            self.in_thread,
            self.all,
            lambda: self.all.noted.append("anew"),
            self.all,
            Counting(self.all),
            Lending(self.all, "lending"),
            self.all.part("borrowing"),
            self.all,
            [self.all.part("control")],
            [self.all.part("copies")],
        )

    def in_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        if self.threads is not None:
            self.threads.append(Deferred())
            return self.threads[-1]
        return maybeDeferred(function, *arguments)

    def noted(self) -> list[Any]:
        noted, self.all.noted = self.all.noted, []
        return noted


class BeginTests(TermCase):
    """Beginning."""

    def test_alone(self) -> None:
        """What may fail is first, servers are last."""
        self.successResultOf(self.term.begin())
        self.assertEqual(
            self.noted(),
            [
                *("control start", "lending start", "anew", "borrowing stop"),
                *(("speak", []), ("on duty", {}), "copies start", "lives start"),
            ],
        )

    def test_told(self) -> None:
        """What the team before has told of is gone on with, once."""
        kept = {"a": Kept(3.0)}
        alarm = ("crashed", "b", "it crashed")
        write(
            self.path, Handover(NOW - 1, 78, kept, {"a": flat(5)}, {PID: {"a": flat(2)}}, (alarm,))
        )
        self.successResultOf(self.term.begin())
        noted = self.noted()
        for entry in (
            "forget",
            ("counted", {"a": flat(5)}, {"a": flat(2)}),
            ("speak", [alarm]),
            ("on duty", kept),
        ):
            self.assertIn(entry, noted)
        self.assertFalse(os.path.exists(self.path))

    def test_own(self) -> None:
        """Who takes up again what he gave up himself has lost count of nothing."""
        write(self.path, Handover(NOW - 1, PID, {"a": Kept(3.0)}, {"a": flat(5)}))
        self.successResultOf(self.term.begin())
        noted = self.noted()
        self.assertIn(("on duty", {"a": Kept(3.0)}), noted)
        self.assertNotIn("forget", noted)

    def test_cannot_be_read(self) -> None:
        """What cannot be read is gone on without."""
        self.threads = []
        begun = self.term.begin()
        self.threads[0].errback(OSError("a fault"))
        self.successResultOf(begun)
        self.assertEqual(self.noted()[-1], "lives start")
        begun = self.term.begin()
        self.clock.advance(READ_WITHIN)
        self.successResultOf(begun)

    def test_cannot_be_begun(self) -> None:
        """What was begun is undone when the rest cannot be; nothing of servers is touched."""
        self.all.cannot = "lending"
        self.failureResultOf(self.term.begin(), OSError)
        self.assertEqual(self.noted(), ["control start", "control stop"])

    def test_next_time(self) -> None:
        """What was handed over is still known when duty can be begun at last."""
        told = Handover(NOW - 1, 78, {"a": Kept(3.0)}, {"a": flat(5)})
        write(self.path, told)
        self.all.cannot = "control"
        self.failureResultOf(self.term.begin(), OSError)
        self.all.cannot = ""
        self.successResultOf(self.term.begin())
        self.assertIn(("on duty", {"a": Kept(3.0)}), self.noted())

    def test_no_lives(self) -> None:
        """Lives that were made by halves do not live on without duty."""

        def broken() -> None:
            raise RuntimeError("a fault")

        self.term._anew = broken
        self.failureResultOf(self.term.begin(), RuntimeError)
        self.assertEqual(self.noted()[-3:], ["control stop", "hand over", "release"])

    def test_a_fault(self) -> None:
        """When something goes wrong halfway, all is let go of before the lock may be."""
        self.all.slow = Deferred()

        def broken() -> None:
            raise RuntimeError("a fault")

        self.all.start = broken  # type: ignore[method-assign]
        begun = self.term.begin()
        self.assertNoResult(begun)
        self.all.slow.callback(None)
        self.failureResultOf(begun, RuntimeError)
        noted = self.noted()
        for entry in ("control stop", "hand over", ("off duty", {}), "release"):
            self.assertIn(entry, noted)
        self.assertEqual(noted[-1], "borrowing start")

    def test_a_part_less(self) -> None:
        """Servers are not kept from being started by what may be missing."""
        self.all.cannot = "copies"
        self.successResultOf(self.term.begin())
        self.assertEqual(self.noted()[-1], "lives start")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class LetGoTests(TermCase):
    """Letting go."""

    def test_counts_cannot_be_said(self) -> None:
        """Duty is let go of whole, whatever cannot be counted."""

        def broken() -> dict[str, Numbers]:
            raise RuntimeError("a fault")

        self.term._counting.hand_over = broken  # type: ignore[method-assign]
        self.successResultOf(self.term.let_go())
        self.assertIn("hand over", self.noted())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_order(self) -> None:
        """Nobody can ask for anything any more before lives are handed over; what was known is
        written, and the other team asked from then on."""
        kept = Kept(3.0)
        self.all.handed = {
            "a": Handed(1, ("127.0.0.1", 1), (), kept),
            "b": Handed(0, None, (), Kept()),
        }
        self.successResultOf(self.term.let_go())
        self.assertEqual(
            self.noted(),
            [
                *("lending stop", "control stop", "hand over"),
                *(("off duty", self.all.handed), "copies stop", "release", "borrowing start"),
            ],
        )
        self.assertEqual(
            take(self.path, NOW),
            Handover(
                NOW,
                PID,
                {"a": kept},
                {"a": flat(9)},
                {78: {"a": flat(2)}},
                (("crashed", "a", "it crashed"),),
            ),
        )

    def test_slow(self) -> None:
        """Who does not end is waited for, but not for long; a disk is not either."""
        self.all.slow = Deferred()
        self.threads = []
        gone = self.term.let_go()
        # The lives have a bound of their own.
        self.clock.advance(max(LET_GO_WITHIN, WRITE_WITHIN))
        self.assertNoResult(gone)
        self.all.slow.callback(None)
        self.successResultOf(gone)
        self.assertEqual(self.noted()[-1], "borrowing start")
        self.threads[0].callback(None)

    def test_cannot_be_written(self) -> None:
        """Duty passes though what is known cannot be written."""
        self.threads = []
        gone = self.term.let_go()
        self.threads[0].errback(OSError("the disk is full"))
        self.successResultOf(gone)
