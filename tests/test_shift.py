"""A team's turn: what is done, in order, without a process and without real time."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.passing import Phase
from snickers.duty.shift import (
    ALARM,
    BEGIN_AGAIN,
    SAY_AGAIN,
    TELL_AFTER,
    TRY_EVERY,
    Shift,
    Unproven,
)
from tests.test_desk import Alarm


class World:
    """Everything around a shift, which notes what is done."""

    path = "/state/duty.lock"

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.taken = False
        """Whether somebody else holds the lock."""
        self.problem: OSError | None = None
        self.fault = ""
        self.full = False
        self.letting: Deferred[None] | None = None
        self.proving: Deferred[None] = Deferred()

    def take(self) -> bool:
        if self.problem is not None:
            raise self.problem
        if not self.taken:
            self.noted.append("lock")
        return not self.taken

    def send(self, *states: str) -> bool:
        if not self.full:
            self.noted += [state.removeprefix("X_SNICKERS_") for state in states]
        return not self.full

    def pause(self) -> None:
        self.noted.append("pause")

    def resume(self) -> None:
        self.noted.append("resume")


class Lock:
    def __init__(self, world: World) -> None:
        self.path = world.path
        self.take = world.take
        self.let_go = lambda: world.noted.append("unlock")


class Work:
    def __init__(self, world: World) -> None:
        self.world = world

    def begin(self) -> Deferred[Any]:
        self.world.noted.append("begin")
        return fail(RuntimeError(self.world.fault)) if self.world.fault else succeed(None)

    def let_go(self) -> Deferred[Any]:
        self.world.noted.append("let go")
        return self.world.letting or succeed(None)


class ShiftCase(SynchronousTestCase):
    """A team, *stands_by* or not."""

    stands_by = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.world = World()
        self.alarm = Alarm()
        self.failed: list[str] = []
        self.shift = Shift(
            self.clock,
            Lock(self.world),
            Work(self.world),
            self.world,
            self.alarm,
            self.failed.append,
            (lambda: self.world.proving) if self.stands_by else None,
            "1.2",
        )
        self.shift.doors = [self.world]

    def noted(self) -> list[str]:
        noted, self.world.noted = self.world.noted, []
        return noted


READY = ["READY=1", "STATUS=serving", "VERSION=1.2"]


class DutyTests(ShiftCase):
    """A team that is on duty from its start on."""

    def test_start(self) -> None:
        """It is ready, takes the lock, begins and says so; its doors are open already."""
        self.shift.start()
        self.assertEqual(self.noted(), [*READY, "lock", "begin", "DUTY=1"])
        self.assertIs(self.shift.phase, Phase.ON_DUTY)

    def test_give_and_take(self) -> None:
        """It gives duty up, its doors first and its lock last, and takes it again, its doors
        first."""
        self.shift.start()
        self.noted()
        self.shift.give()
        self.assertEqual(
            self.noted(), ["pause", "STATUS=standing by", "let go", "unlock", "DUTY=0"]
        )
        self.shift.give()
        self.assertEqual(self.noted(), ["DUTY=0"])
        self.shift.take()
        self.assertEqual(self.noted(), ["resume", "STATUS=serving"])
        self.clock.advance(TRY_EVERY)
        self.assertEqual(self.noted(), ["lock", "begin", "DUTY=1"])

    def test_another_has_it(self) -> None:
        """While another one holds the lock it is tried again and again, and a person is told when
        that takes long; not any more when it is over."""
        self.world.taken = True
        self.shift.start()
        self.clock.pump([TRY_EVERY] * int(TELL_AFTER / TRY_EVERY - 1))
        self.assertEqual(self.alarm.told, [])
        self.clock.pump([TRY_EVERY] * 100)
        ((kind, site, words),) = self.alarm.told
        self.assertEqual((kind, site), (ALARM, ""))
        self.assertIn(World.path, words)
        self.world.taken = False
        self.clock.advance(TRY_EVERY)
        self.assertEqual(self.noted()[-3:], ["lock", "begin", "DUTY=1"])
        self.assertEqual(self.alarm.told[1:], [(ALARM, "")])

    def test_given_up_while_another_has_it(self) -> None:
        """Who is told to stand by tries no more."""
        self.world.taken = True
        self.shift.start()
        self.shift.give()
        self.world.taken = False
        self.clock.pump([TRY_EVERY] * 10)
        self.assertNotIn("lock", self.noted())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lock_cannot_be_had(self) -> None:
        """A lock that cannot be opened is told of in words, and tried again."""
        self.world.problem = OSError(30, "Read-only file system")
        self.shift.start()
        self.clock.pump([TRY_EVERY] * int(TELL_AFTER / TRY_EVERY + 2))
        self.assertEqual(self.alarm.told, [(ALARM, "", f"{World.path}: Read-only file system.")])
        self.world.problem = None
        self.clock.advance(TRY_EVERY)
        self.assertIs(self.shift.phase, Phase.ON_DUTY)

    def test_cannot_begin(self) -> None:
        """What cannot be begun is told of, the lock let go of, and tried again."""
        self.world.fault = "the socket is in use"
        self.shift.start()
        self.assertEqual(self.noted(), [*READY, "lock", "begin", "unlock"])
        self.assertEqual(self.alarm.told, [(ALARM, "", "the socket is in use")])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.world.fault = ""
        self.clock.advance(BEGIN_AGAIN)
        self.assertEqual(self.noted(), ["lock", "begin", "DUTY=1"])
        self.assertEqual(self.alarm.told[1:], [(ALARM, "")])

    def test_letting_go_takes_time(self) -> None:
        """The lock is held until all is let go of."""
        self.shift.start()
        letting = self.world.letting = Deferred()
        self.noted()
        self.shift.give()
        self.assertEqual(self.noted(), ["pause", "STATUS=standing by", "let go"])
        letting.callback(None)
        self.assertEqual(self.noted(), ["unlock", "DUTY=0"])

    def test_letting_go_breaks(self) -> None:
        """A fault while letting go does not keep the lock."""
        self.shift.start()
        self.world.letting = fail(RuntimeError("a fault"))
        self.noted()
        self.shift.give()
        self.assertEqual(self.noted()[-2:], ["unlock", "DUTY=0"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_again(self) -> None:
        """How it stands, for a keeper that has missed it: only what is so, and not before it was
        said for the first time."""
        self.assertEqual(self.shift.again(), ())
        self.world.taken = True
        self.shift.start()
        ready = ("READY=1", "X_SNICKERS_VERSION=1.2")
        self.assertEqual(self.shift.again(), ready)
        self.world.taken = False
        self.clock.advance(TRY_EVERY)
        self.assertEqual(self.shift.again(), (*ready, "X_SNICKERS_DUTY=1"))
        letting = self.world.letting = Deferred()
        self.shift.give()
        self.assertEqual(self.shift.again(), ready)
        letting.callback(None)
        self.assertEqual(self.shift.again(), (*ready, "X_SNICKERS_DUTY=0"))
        self.world.full = True
        self.shift.take()
        # What waits to be said comes first.
        self.assertEqual(self.shift.again(), ())
        self.world.full = False
        self.clock.advance(SAY_AGAIN)
        self.world.letting = Deferred()
        self.shift.end()
        self.assertEqual(self.shift.again(), ("STOPPING=1",))
        self.world.letting.callback(None)
        self.assertEqual(self.shift.again(), ("STOPPING=1",))

    def test_end(self) -> None:
        """Who ends gives duty up, and that is waited for; its doors are the service's."""
        self.shift.start()
        letting = self.world.letting = Deferred()
        self.noted()
        ended = [self.shift.end(), self.shift.end()]
        for each in ended:
            self.assertNoResult(each)
        letting.callback(None)
        for each in ended:
            self.successResultOf(each)
        self.assertEqual(self.noted(), ["let go", "unlock", "DUTY=0"])
        self.shift.take()
        self.successResultOf(self.shift.end())
        self.assertEqual(self.noted(), [])

    def test_a_full_keeper(self) -> None:
        """What the keeper has no room for is said when it has, in order."""
        self.world.full = True
        self.shift.start()
        self.shift.give()
        self.assertEqual([said for said in self.noted() if "=" in said], [])
        self.world.full = False
        self.clock.advance(SAY_AGAIN)
        self.assertEqual(self.noted(), [*READY, "DUTY=1", "STATUS=standing by", "DUTY=0"])
        self.clock.advance(SAY_AGAIN)
        self.assertEqual((self.noted(), self.clock.getDelayedCalls()), ([], []))

    def test_a_door_that_breaks(self) -> None:
        """What cannot be done is logged, and the rest is done."""
        self.shift.start()

        def broken() -> None:
            raise RuntimeError("a fault")

        self.world.pause = broken  # type: ignore[method-assign]
        self.noted()
        self.shift.give()
        self.assertEqual(self.noted(), ["let go", "unlock", "DUTY=0"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class StandByTests(ShiftCase):
    """A team that stands by at first."""

    stands_by = True

    def test_proven(self) -> None:
        """It says that it is ready when it is proven, and does nothing more."""
        self.shift.start()
        self.assertEqual(self.noted(), [])
        self.world.proving.callback(None)
        self.assertEqual(self.noted(), ["READY=1", "STATUS=standing by", "VERSION=1.2", "DUTY=0"])
        self.shift.take()
        self.assertEqual(self.noted(), ["resume", "STATUS=serving"])
        self.clock.advance(TRY_EVERY)
        self.assertEqual(self.noted(), ["lock", "begin", "DUTY=1"])

    def test_unproven(self) -> None:
        """Who is not proven ends with the reason."""
        self.shift.start()
        self.world.proving.errback(Unproven("no certificate"))
        self.assertEqual((self.failed, self.noted()), (["no certificate"], []))
        self.assertIs(self.shift.phase, Phase.ENDING)

    def test_a_proof_that_breaks(self) -> None:
        """A fault of the proof is no proof."""
        self.shift.start()
        self.world.proving.errback(RuntimeError("a fault"))
        self.assertEqual(self.failed, ["a fault"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_needed(self) -> None:
        """Who is needed while it proves itself serves, whatever comes of the proof."""
        self.shift.start()
        self.shift.take()
        self.assertEqual(self.noted(), ["resume", "STATUS=serving", *READY])
        self.clock.advance(TRY_EVERY)
        self.assertEqual(self.noted(), ["lock", "begin", "DUTY=1"])
        self.world.proving.errback(Unproven("no certificate"))
        self.assertEqual((self.failed, self.shift.phase), ([], Phase.ON_DUTY))
