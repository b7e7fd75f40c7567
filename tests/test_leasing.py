"""A team's leases, as duty comes and goes."""

from __future__ import annotations

from collections import Counter

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
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.duty.leasing import TeamLeases
from snickers.interfaces.engine import Address
from snickers.interfaces.handed import Handed, Kept
from snickers.interfaces.leases import ILeases, IWaiter, Refusal, Stage
from snickers.stream import Sweep
from snickers.workers.leases import RemoteLeases
from tests.test_desk import Leases
from tests.test_leases import HERE, RESTING, Lessor, Waiter

SITES = ("a", "b")


class Lives(Leases):
    """Own lives, which begin anew with each term."""

    def __init__(self) -> None:
        super().__init__()
        self.inherited: list[tuple[str, int, Kept | None]] = []

    def inherit(self, site: str, uses: int, kept: Kept | None) -> None:
        self.inherited.append((site, uses, kept))
        self.uses[site] += uses

    def give_back(self, site: str, address: Address) -> None:
        # What was inherited is counted by site alone.
        assert self.uses[site] > 0
        self.uses[site] -= 1

    def hand_over(self) -> dict[str, Handed]:
        handed = {
            site: Handed(
                self.uses[site],
                self.at.get(site),
                tuple(waiter for name, waiter in self.waiting if name == site),
                Kept(),
            )
            for site in SITES
        }
        self.at, self.waiting = {}, []
        self.uses.clear()
        return handed


class LeasingCase(SynchronousTestCase):
    """A team that stands by, and could be on duty."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.lives = Lives()
        self.borrowed = RemoteLeases(self.sweep)
        self.lessor = self.borrowed.lessor = Lessor()
        self.leases = TeamLeases(self.lives, self.borrowed)


class LeasingTests(LeasingCase):
    """What is carried over."""

    def test_interface(self) -> None:
        """It is what the data plane is promised."""
        verifyObject(ILeases, self.leases)

    def test_on_duty(self) -> None:
        """On duty the own lives are asked, for everything."""
        self.leases.on_duty({"a": Kept(5.0)})
        self.assertEqual(self.lives.inherited, [("a", 0, Kept(5.0))])
        self.lives.at["a"] = HERE
        self.lives.stages["a"] = Stage("awake")
        self.assertEqual((self.leases.take("a", Waiter()), self.leases.ready("a")), (HERE, HERE))
        self.leases.failed("a", HERE)
        told: list[Stage] = []
        self.leases.look("a", told.append)
        waiter = Waiter()
        self.leases.take("b", waiter)
        self.leases.forget("b", waiter)
        self.leases.give_back("a", HERE)
        self.assertEqual((self.lives.doubts, told), ([("a", HERE)], [Stage("awake")]))
        self.assertEqual((self.lives.waiting, self.lives.uses["a"]), ([], 0))

    def test_uses(self) -> None:
        """What is used when duty is given up is leased of the other team, and what is used when it
        comes is the own lives' again; it is given back once, where it is counted then."""
        self.leases.on_duty({})
        self.lives.at["a"] = HERE
        self.leases.take("a", Waiter())
        self.leases.take("a", Waiter())
        self.leases.off_duty(self.lives.hand_over())
        self.assertEqual(self.leases.ready("a"), HERE)
        self.borrowed.resumed()
        self.assertEqual(list(self.lessor.asked.values()), ["a"])
        self.lessor.asked.clear()
        self.borrowed.answered(1, HERE)
        self.leases.give_back("a", HERE)
        self.leases.on_duty({})
        self.assertEqual(self.lives.inherited, [("a", 1, None)])
        self.assertEqual(self.lives.uses["a"], 1)
        self.leases.give_back("a", HERE)
        self.assertEqual(self.lives.uses["a"], 0)

    def test_waiting(self) -> None:
        """Who waits waits on, wherever the answer comes from."""
        waiter, other = Waiter(), Waiter()
        self.leases.take("a", waiter)
        self.leases.take("b", other)
        self.leases.on_duty({})
        self.assertEqual(self.lives.waiting, [("a", waiter), ("b", other)])
        self.leases.off_duty(self.lives.hand_over())
        self.leases.give_up(0.0, RESTING)
        self.assertEqual((waiter.answers, other.answers), ([RESTING], [RESTING]))

    def test_ready_meanwhile(self) -> None:
        """Who waits for what is ready where it is asked then is told at once."""
        waiter = Waiter()
        self.leases.take("a", waiter)
        self.lives.at["a"] = HERE
        self.leases.on_duty({})
        self.assertEqual((waiter.answers, self.lives.uses["a"]), ([HERE], 1))

    def test_a_fault(self) -> None:
        """One who does not take his answer well is in nobody's way."""

        def fail() -> None:
            raise RuntimeError("a fault")

        bad, good = Waiter(fail), Waiter()
        self.leases.take("a", bad)
        self.leases.take("b", good)
        self.lives.at.update(a=HERE, b=HERE)
        self.leases.on_duty({})
        self.assertEqual(good.answers, [HERE])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_fault_in_one_who_looks(self) -> None:
        """Nor is one who does not take well how far a server is."""
        told: list[Stage] = []

        def fail(stage: Stage) -> None:
            raise RuntimeError("a fault")

        self.borrowed.resumed()
        self.leases.look("a", fail)
        self.leases.look("a", told.append)
        self.leases.on_duty({})
        self.assertEqual(len(told), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_looking(self) -> None:
        """Who wants to know how far a server is hears it of whoever is on duty by then."""
        told: list[Stage] = []
        self.borrowed.resumed()
        self.leases.look("a", told.append)
        self.lives.stages["a"] = Stage("starting")
        self.leases.on_duty({})
        self.assertEqual(told, [Stage("starting")])


class World(RuleBasedStateMachine):
    """Requests come and go, duty passes, lines break, servers are where they are."""

    def __init__(self) -> None:
        super().__init__()
        case = LeasingCase("run")
        case.setUp()
        self.clock, self.lives, self.borrowed = case.clock, case.lives, case.borrowed
        self.leases = case.leases
        self.lessor: Lessor | None = None
        self.on = False
        self.uses: Counter[str] = Counter()
        self.waiting: list[tuple[str, Waiter]] = []
        self.forgotten: list[IWaiter] = []

    def note(self) -> None:
        """Note who was answered."""
        for entry in [entry for entry in self.waiting if entry[1].answers]:
            assert len(entry[1].answers) == 1
            self.waiting.remove(entry)
            self.uses[entry[0]] += not isinstance(entry[1].answers[0], Refusal)

    @rule(site=st.sampled_from(SITES))
    def take(self, site: str) -> None:
        waiter = Waiter()
        address = self.leases.take(site, waiter)
        assert not waiter.answers, "called within take"
        if address is None:
            self.waiting.append((site, waiter))
        else:
            self.uses[site] += 1

    @rule(site=st.sampled_from(SITES))
    def give_back(self, site: str) -> None:
        if self.uses[site]:
            self.uses[site] -= 1
            self.leases.give_back(site, HERE)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 99))
    def forget(self, pick: int) -> None:
        site, waiter = self.waiting.pop(pick % len(self.waiting))
        self.leases.forget(site, waiter)
        self.forgotten.append(waiter)

    @precondition(lambda self: self.on)
    @rule()
    def give_duty_up(self) -> None:
        self.on = False
        self.leases.off_duty(self.lives.hand_over())
        self.note()

    @precondition(lambda self: not self.on)
    @rule()
    def take_duty(self) -> None:
        self.on = True
        self.lessor = None
        self.leases.on_duty({})
        self.note()

    @precondition(lambda self: not self.on and self.lessor is None)
    @rule()
    def connect(self) -> None:
        self.lessor = self.borrowed.lessor = Lessor()
        self.borrowed.resumed()

    @precondition(lambda self: self.lessor is not None)
    @rule()
    def lose(self) -> None:
        self.lessor = None
        self.borrowed.interrupted()

    @precondition(lambda self: self.lessor is not None and self.lessor.asked)
    @rule(pick=st.integers(0, 99), refuse=st.booleans())
    def answer(self, pick: int, refuse: bool) -> None:
        assert self.lessor is not None
        ticket = sorted(self.lessor.asked)[pick % len(self.lessor.asked)]
        site = self.lessor.asked.pop(ticket)
        answer: Address | Refusal = RESTING if refuse else HERE
        if not refuse:
            self.lessor.lease(site, HERE)
        self.borrowed.answered(ticket, answer)
        self.note()

    @precondition(lambda self: self.on and self.lives.waiting)
    @rule(refuse=st.booleans())
    def own_answer(self, refuse: bool) -> None:
        self.lives.answer(RESTING if refuse else HERE)
        self.note()

    @rule(site=st.sampled_from(SITES))
    def moves(self, site: str) -> None:
        if self.on:
            self.lives.at.pop(site, None)
        elif self.lessor is not None:
            self.borrowed.withdrawn(site)

    @rule(tenths=st.integers(1, 15))
    def time(self, tenths: int) -> None:
        self.clock.advance(tenths / 10)

    @invariant()
    def counted_once(self) -> None:
        if self.on:
            assert all(self.lives.uses[site] == self.uses[site] for site in SITES)
        else:
            assert not any(self.lives.uses.values())
            counted: Counter[str] = Counter()
            for site, server in self.borrowed._servers.items():
                counted[site] += server.uses
            for (site, _), former in self.borrowed._former.items():
                counted[site] += former.uses
            assert +counted == +self.uses

    @invariant()
    def the_forgotten_are(self) -> None:
        assert not any(waiter.answers for waiter in self.forgotten)  # type: ignore[attr-defined]

    @invariant()
    def everybody_is_asked_for(self) -> None:
        if self.on:
            assert len(self.lives.waiting) == len(self.waiting)
        elif self.lessor is not None:
            asked = set(self.lessor.asked.values())
            assert all(site in asked for site, _ in self.waiting)

    def teardown(self) -> None:
        """In the end everybody is answered, and everything is given back."""
        if not self.on and self.lessor is None:
            self.connect()
        while self.lessor is not None and self.lessor.asked:
            self.answer(0, False)
        while self.on and self.lives.waiting:
            self.own_answer(False)
        assert not self.waiting
        for site in SITES:
            while self.uses[site]:
                self.give_back(site)
        for _ in range(8):
            self.clock.advance(0.5)
        if self.on:
            assert not any(self.lives.uses.values())
        else:
            assert self.lessor is not None
            assert not any(self.lessor.leases.values()), self.lessor.leases
            assert not self.borrowed._servers


class PromiseTests(SynchronousTestCase):
    """In any order."""

    def test_promises(self) -> None:
        """Whatever comes in whatever order: every use is counted once and given back once, and
        everybody who waits is answered once."""
        run_state_machine_as_test(
            World,
            settings=settings(
                deadline=None, suppress_health_check=list(HealthCheck), max_examples=200
            ),
        )
