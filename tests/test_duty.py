"""A worker, as it deals with the first process: both ends, over wires in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.config.values import Site, Static
from snickers.interfaces import Change, ILeases, IPlane
from snickers.stream import Sweep
from snickers.workers import wire
from snickers.workers.census import Counts, read
from snickers.workers.desk import Desk
from snickers.workers.duty import Duty
from snickers.workers.leases import LINGER, LOST, RemoteLeases
from tests.test_desk import HERE, RESTING, THERE, Alarm, Leases
from tests.test_leases import Waiter


@implementer(IPlane)
class Plane:
    """Notes what is to hold."""

    def __init__(self) -> None:
        self.applied: list[Change] = []
        self.fails = False

    def apply(self, change: Change) -> None:
        if self.fails:
            raise RuntimeError("a fault")
        self.applied.append(change)


class Doors:
    """Notes what is to be done."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def accept(self) -> None:
        self.told.append("accept")

    def stand_by(self) -> None:
        self.told.append("stand by")

    def end(self, within: float) -> None:
        self.told.append(("end", within))

    def abort(self) -> None:
        self.told.append("abort")

    def reopen(self) -> None:
        self.told.append("reopen")


class DutyCase(SynchronousTestCase):
    """A worker's leases on one end, the lives of all servers on the other."""

    def setUp(self) -> None:
        self.clock = Clock()
        sweep = Sweep(self.clock)
        sweep.start()
        self.lives = Leases()
        verifyObject(ILeases, self.lives)
        self.alarm = Alarm()
        self.heard: list[bytes] = []
        self.plane, self.doors = Plane(), Doors()
        verifyObject(IPlane, self.plane)
        self.leases = RemoteLeases(sweep)
        self.counts: dict[str, Counts] = {}
        self.duty = Duty(
            self.clock, self.plane, self.doors, self.leases, lambda: self.counts, lambda: 7.0
        )
        self.leases.lessor = self.duty
        self.desk = Desk(self.lives, self.alarm, self.heard.append, lambda: None)
        _, _, self.pump = connectedServerAndClient(lambda: self.desk, lambda: self.duty)

    def take(self, site: str = "a") -> Waiter:
        waiter = Waiter()
        address = self.leases.take(site, waiter)
        if address is not None:
            waiter.leased(address)
        return waiter

    def withdraw(self, site: str = "a") -> None:
        """Have the server answer nowhere."""
        del self.lives.at[site]
        self.desk.changed(site)

    def linger(self) -> None:
        for _ in range(6):
            self.clock.advance(LINGER / 2)
        self.pump.flush()

    def lose(self) -> None:
        self.desk.transport.abortConnection()
        self.pump.flush()


class LeasesTests(DutyCase):
    """Leases, over the wire."""

    def test_awake(self) -> None:
        """A server that is awake is leased once for all uses, and given back after them."""
        self.lives.at["a"] = HERE
        first, second = self.take(), self.take()
        self.assertEqual(first.answers, [])
        self.pump.flush()
        self.assertEqual((first.answers, second.answers), ([HERE], [HERE]))
        self.assertEqual(self.take().answers, [HERE])
        self.assertEqual(self.lives.uses["a"], 1)
        for _ in range(3):
            self.leases.give_back("a")
        self.linger()
        self.assertEqual((self.lives.uses["a"], self.desk.leased, self.leases._servers), (0, 0, {}))

    def test_asleep(self) -> None:
        """One that sleeps is waited for; how far it is is known meanwhile."""
        self.lives.stages["a"] = "starting"
        waiter = self.take()
        self.pump.flush()
        self.assertEqual((waiter.answers, self.leases.stage("a")), ([], "starting"))
        self.lives.answer("/run/a.sock")
        self.pump.flush()
        self.assertEqual((waiter.answers, self.leases.ready("a")), (["/run/a.sock"], "/run/a.sock"))

    def test_refused(self) -> None:
        """Why there is none is what the first process says."""
        waiter = self.take()
        self.pump.flush()
        self.lives.answer(RESTING)
        self.pump.flush()
        self.assertEqual((waiter.answers, self.leases._servers), ([RESTING], {}))

    def test_forgotten(self) -> None:
        """Who has gone makes nobody wait at the other end."""
        waiter = self.take()
        self.pump.flush()
        self.leases.forget("a", waiter)
        self.pump.flush()
        self.assertEqual((waiter.answers, self.lives.waiting, self.desk._waiting), ([], [], {}))
        self.assertEqual((self.leases._servers, self.leases._asked), ({}, {}))

    def test_forgotten_while_the_answer_is_on_its_way(self) -> None:
        """A lease that comes for nobody goes back at once, whichever of the two was first."""
        for ask_again in (False, True):
            waiter = self.take()
            self.pump.flush()
            self.lives.answer(HERE)
            self.leases.forget("a", waiter)
            again = self.take() if ask_again else None
            self.pump.flush()
            self.assertEqual((waiter.answers, self.lives.waiting), ([], []))
            self.assertEqual(self.lives.uses["a"], int(ask_again))
            if again is not None:
                self.assertEqual(again.answers, [HERE])
                self.leases.give_back("a")
                self.linger()
            self.withdraw()
            self.pump.flush()
        self.assertEqual((self.lives.uses["a"], self.leases._servers), (0, {}))

    def test_withdrawn(self) -> None:
        """What is withdrawn goes back when its last use is over, even if asked for anew."""
        self.lives.at["a"] = HERE
        self.take()
        self.pump.flush()
        self.withdraw()
        self.pump.flush()
        self.assertIsNone(self.leases.ready("a"))
        again = self.take()
        self.pump.flush()
        self.lives.answer(THERE)
        self.pump.flush()
        self.assertEqual((again.answers, self.lives.uses["a"]), ([THERE], 2))
        self.leases.give_back("a")
        self.leases.give_back("a")
        self.linger()
        self.assertEqual((self.lives.uses["a"], self.leases._servers), (0, {}))

    def test_withdrawn_unused(self) -> None:
        """A lease that nobody uses goes back at once."""
        self.lives.at["a"] = HERE
        self.take()
        self.pump.flush()
        self.leases.give_back("a")
        self.withdraw()
        self.pump.flush()
        self.assertEqual(self.lives.uses["a"], 0)

    def test_crossing(self) -> None:
        """A withdrawal that crosses with a giving back takes nothing of the next lease."""
        self.lives.at["a"] = HERE
        self.take()
        self.pump.flush()
        self.leases.give_back("a")
        self.withdraw()
        for _ in range(4):
            self.clock.advance(LINGER / 2)
        waiter = self.take()
        self.pump.flush()
        self.lives.answer(THERE)
        self.pump.flush()
        self.assertEqual((waiter.answers, self.leases.ready("a")), ([THERE], THERE))
        self.assertEqual((self.lives.uses["a"], self.desk.leased), (1, 1))

    def test_failed(self) -> None:
        """A server that takes no connection is looked at by the first process."""
        self.lives.at["a"] = HERE
        self.take()
        self.pump.flush()
        self.leases.failed("a", HERE)
        self.pump.flush()
        self.assertEqual(self.lives.doubts, [("a", HERE)])


class ToldTests(DutyCase):
    """What the first process has it do."""

    def test_doors(self) -> None:
        """Each word is its own door's."""
        self.desk.accept()
        self.desk.stand_by()
        self.desk.reopen()
        self.desk.drain(2.5)
        self.desk.abort()
        self.pump.flush()
        self.assertEqual(self.doors.told, ["accept", "stand by", "reopen", ("end", 2.5), "abort"])

    def test_a_large_change(self) -> None:
        """A change of more than a value can hold is applied once, when all of it is there."""
        sites = tuple(Site(f"{n}.example", Static(f"/{n}" * 200)) for n in range(500))
        self.assertGreater(len(wire.packed(Change(added=sites))), 3 * 65535)
        applied = self.desk.apply(Change(added=sites))
        then = self.desk.apply(Change(removed=("0.example",)))
        self.pump.flush()
        self.successResultOf(applied)
        self.successResultOf(then)
        self.assertEqual(self.plane.applied, [Change(added=sites), Change(removed=("0.example",))])

    def test_a_change_that_fails(self) -> None:
        """A change that cannot be taken at all ends the worker: another one begins anew."""
        self.plane.fails = True
        applied = self.desk.apply(Change())
        self.pump.flush()
        self.assertIsNone(self.successResultOf(applied))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError, amp.UnknownRemoteError)), 2)
        self.assertEqual((self.doors.told, self.desk.connected), ([("end", 7.0)], False))


class SaidTests(DutyCase):
    """What it reports."""

    def test_counts(self) -> None:
        """Counts are told before the question is answered; where nothing is new, nothing is."""
        self.counts = {"a": Counts(requests=3)}
        counted = self.desk.count()
        self.pump.flush()
        self.successResultOf(counted)
        self.assertEqual([read(data) for data in self.heard], [self.counts])
        self.desk.count()
        self.duty.report()
        self.pump.flush()
        self.assertEqual(len(self.heard), 1)

    def test_many_counts(self) -> None:
        """Counts of thousands of sites arrive whole."""
        self.counts = {f"{n}.example": Counts(requests=n + 1) for n in range(5000)}
        self.duty.report()
        self.pump.flush()
        self.assertEqual([read(data) for data in self.heard], [self.counts])

    def test_alarms(self) -> None:
        """Alarms are told in words, of any length and of any characters."""
        self.duty.raise_alarm("health", "a", "down")
        self.duty.clear_alarm("health", "a")
        self.duty.raise_alarm("log", "", "\N{BELL}" * 90_000 + "\udcff")
        self.duty.raise_alarm("log", "", "no \udcff")
        self.pump.flush()
        self.assertEqual(self.alarm.told[:2], [("health", "a", "down"), ("health", "a")])
        self.assertEqual(self.alarm.told[2][2], "\N{BELL}" * (wire.PART // 4))
        self.assertEqual(self.alarm.told[3][2], r"no \udcff")


class LeaveTests(DutyCase):
    """A worker's own end."""

    def test_leaves(self) -> None:
        """What it has counted last is told; it is over when that has been sent."""
        over: list[bool] = []
        self.counts = {"a": Counts(requests=3)}
        self.duty.leave(lambda: over.append(True))
        self.assertEqual(over, [])
        self.pump.flush()
        self.assertEqual([read(data) for data in self.heard], [self.counts])
        self.assertEqual((over, self.desk.connected), ([True], False))

    def test_left_alone(self) -> None:
        """Without the first process there is nobody to tell."""
        over: list[bool] = []
        self.lose()
        self.duty.leave(lambda: over.append(True))
        self.assertEqual(over, [True])


class LostTests(DutyCase):
    """The first process has gone."""

    def test_ends(self) -> None:
        """It finishes what is open, and ends."""
        self.lose()
        self.assertEqual(self.doors.told, [("end", 7.0)])

    def test_waiting(self) -> None:
        """Who waits is refused, and so is who comes later, never within the question."""
        waiter = self.take()
        self.lose()
        self.assertEqual(waiter.answers, [LOST])
        later = self.take()
        self.assertEqual(later.answers, [])
        self.clock.advance(0)
        self.assertEqual((later.answers, self.leases._servers), ([LOST], {}))

    def test_waiting_again(self) -> None:
        """Who asks again when refused is refused again."""
        again = Waiter()

        def ask() -> None:
            self.assertIsNone(self.leases.take("a", again))

        first = Waiter(ask)
        self.leases.take("a", first)
        self.lose()
        self.clock.advance(0)
        self.assertEqual((first.answers, again.answers), ([LOST], [LOST]))

    def test_in_use(self) -> None:
        """No address is given out any more; what is in use ends without a word to anybody."""
        self.lives.at["a"] = HERE
        self.take()
        self.pump.flush()
        self.lose()
        self.assertEqual(self.lives.uses["a"], 0)
        self.assertIsNone(self.leases.ready("a"))
        self.leases.failed("a", HERE)
        self.leases.give_back("a")
        self.duty.raise_alarm("health", "a", "down")
        self.counts = {"a": Counts(1)}
        self.duty.report()
        self.assertEqual(self.leases._servers, {})

    def test_an_answer_that_is_not_taken_well(self) -> None:
        """A bug of whoever waits is logged, and the connection goes on."""

        def fail() -> None:
            raise ZeroDivisionError

        self.leases.take("a", Waiter(fail))
        self.pump.flush()
        self.lives.answer(HERE)
        self.pump.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.desk.connected)
