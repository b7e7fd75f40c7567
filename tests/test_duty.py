"""A worker, as it deals with the first process: both ends, over wires in memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.config.values import Site, Static
from snickers.interfaces.engine import Address
from snickers.interfaces.leases import ILeases, Refusal, Stage
from snickers.interfaces.plane import Change, IPlane
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
            self.leases.give_back("a", HERE)
        self.linger()
        self.assertEqual((self.lives.uses["a"], self.desk.leased, self.leases._servers), (0, 0, {}))

    def test_asleep(self) -> None:
        """One that sleeps is waited for."""
        waiter = self.take()
        self.pump.flush()
        self.assertEqual(waiter.answers, [])
        self.lives.answer("/run/a.sock")
        self.pump.flush()
        self.assertEqual((waiter.answers, self.leases.ready("a")), (["/run/a.sock"], "/run/a.sock"))

    def test_look(self) -> None:
        """How far the server is is what the first process says; nothing is leased for it."""
        self.lives.stages["a"] = Stage("starting", "pulling \ud800", True)
        told: list[Stage] = []
        self.leases.look("a", told.append)
        self.assertEqual(told, [])
        self.pump.flush()
        self.assertEqual(told, [Stage("starting", "pulling \\ud800", True)])
        self.assertEqual((self.lives.waiting, self.leases._servers), ([], {}))

    def test_look_at_nobody(self) -> None:
        """When the first process has gone, or goes meanwhile, nobody can say, and that is said."""
        told: list[Stage] = []
        self.leases.look("a", told.append)
        self.lose()
        self.assertEqual(told, [Stage()])
        self.leases.look("a", told.append)
        self.clock.advance(0)
        self.assertEqual(told, [Stage(), Stage()])

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
                self.leases.give_back("a", HERE)
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
        self.leases.give_back("a", HERE)
        self.leases.give_back("a", THERE)
        self.linger()
        self.assertEqual((self.lives.uses["a"], self.leases._servers), (0, {}))

    def test_withdrawn_unused(self) -> None:
        """A lease that nobody uses goes back at once."""
        self.lives.at["a"] = HERE
        self.take()
        self.pump.flush()
        self.leases.give_back("a", HERE)
        self.withdraw()
        self.pump.flush()
        self.assertEqual(self.lives.uses["a"], 0)

    def test_crossing(self) -> None:
        """A withdrawal that crosses with a giving back takes nothing of the next lease."""
        self.lives.at["a"] = HERE
        self.take()
        self.pump.flush()
        self.leases.give_back("a", HERE)
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
        self.leases.give_back("a", HERE)
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


SITES = ("a", "b")
sites = st.sampled_from(SITES)
picks = st.integers(0, 1 << 20)


class World(RuleBasedStateMachine):
    """Requests that come and go in a worker, servers that wake and move, and messages that take
    their time in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        sweep = Sweep(self.clock)
        sweep.start()
        self.lives = Leases()
        self.leases = RemoteLeases(sweep)
        self.duty = Duty(self.clock, Plane(), Doors(), self.leases, dict, lambda: 7.0)
        self.leases.lessor = self.duty
        self.desk = Desk(self.lives, Alarm(), lambda data: None, lambda: None)
        _, _, self.pump = connectedServerAndClient(lambda: self.desk, lambda: self.duty)
        self.waiting: list[tuple[str, Waiter]] = []
        self.forgotten: list[Waiter] = []
        self.uses: dict[str, list[Address]] = {site: [] for site in SITES}

    def hear(self) -> None:
        """Note who has been answered."""
        for entry in [entry for entry in self.waiting if entry[1].answers]:
            site, waiter = entry
            self.waiting.remove(entry)
            (answer,) = waiter.answers
            if not isinstance(answer, Refusal):
                self.uses[site].append(answer)

    @rule(site=sites)
    def take(self, site: str) -> None:
        waiter = Waiter()
        address = self.leases.take(site, waiter)
        if address is None:
            self.waiting.append((site, waiter))
        else:
            self.uses[site].append(address)

    @rule(site=sites, pick=picks)
    def give_back(self, site: str, pick: int) -> None:
        if self.uses[site]:
            self.leases.give_back(site, self.uses[site].pop(pick % len(self.uses[site])))

    @precondition(lambda self: self.waiting)
    @rule(pick=picks)
    def forget(self, pick: int) -> None:
        site, waiter = self.waiting.pop(pick % len(self.waiting))
        self.leases.forget(site, waiter)
        self.forgotten.append(waiter)

    @rule(site=sites, port=st.integers(1, 3))
    def wake(self, site: str, port: int) -> None:
        """The server is there: all who wait for it are leased it."""
        if site not in self.lives.at:
            self.lives.at[site] = ("127.0.0.1", port)
            self.desk.changed(site)
            for entry in [entry for entry in self.lives.waiting if entry[0] == site]:
                self.lives.waiting.remove(entry)
                entry[1].leased(self.lives.lease(site, self.lives.at[site]))

    @rule(site=sites, port=st.integers(1, 3))
    def replace(self, site: str, port: int) -> None:
        """Another server takes the place of the one there."""
        if site in self.lives.at:
            self.lives.at[site] = ("127.0.0.1", port)
            self.desk.changed(site)

    @rule(site=sites)
    def sleep(self, site: str) -> None:
        if self.lives.at.pop(site, None):
            self.desk.changed(site)

    @precondition(lambda self: self.lives.waiting)
    @rule()
    def refuse(self) -> None:
        _, waiter = self.lives.waiting.pop(0)
        waiter.refused(RESTING)

    @rule(tenths=st.integers(1, 12))
    def time(self, tenths: int) -> None:
        self.clock.advance(tenths / 10)

    @rule()
    def to_the_first(self) -> None:
        data = self.duty.transport.getOutBuffer()
        if data:
            self.desk.dataReceived(data)

    @rule()
    def to_the_worker(self) -> None:
        data = self.desk.transport.getOutBuffer()
        if data:
            self.duty.dataReceived(data)
        self.hear()

    @invariant()
    def counted_alike(self) -> None:
        for site in SITES:
            for address in self.uses[site]:
                assert self.lives.used[site, address] >= 1
        assert +self.lives.used == Counter(self.desk._held)

    @invariant()
    def the_forgotten_are(self) -> None:
        assert not any(waiter.answers for waiter in self.forgotten)

    def teardown(self) -> None:
        """When all has been said both know the same; when all is over nothing is left."""
        self.pump.flush()
        for site in SITES:
            assert self.leases.ready(site) in (None, self.lives.at.get(site))
            self.wake(site, 1)
        self.pump.flush()
        self.hear()
        assert not self.waiting
        for site in SITES:
            while self.uses[site]:
                self.give_back(site, 0)
        for _ in range(4):
            self.clock.advance(LINGER / 2)
        self.pump.flush()
        assert not +self.lives.uses
        assert self.desk.leased == 0
        for kept in (
            *(self.desk._waiting, self.desk._at, self.lives.waiting),
            *(self.leases._servers, self.leases._former),
            *(self.leases._asked, self.leases._by_waiter),
        ):
            assert not kept


class PromiseTests(SynchronousTestCase):
    """What holds however messages cross."""

    def test_promises(self) -> None:
        """Both ends count alike, what is used is leased, everybody is answered, no address is
        used after it was withdrawn, and in the end nothing is left."""
        run_state_machine_as_test(
            World,
            settings=settings(
                max_examples=150,
                stateful_step_count=60,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
