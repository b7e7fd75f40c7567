"""A worker's leases: one of the first process for however many requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf

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
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from snickers.interfaces.engine import Address
from snickers.interfaces.leases import ILeases, IWaiter, Refusal, Stage
from snickers.stream import Sweep
from snickers.workers.leases import LINGER, LOST, RemoteLeases, _Server

HERE = ("127.0.0.1", 8001)
THERE = ("127.0.0.1", 8002)
RESTING = Refusal("resting", 7)


@implementer(IWaiter)
class Waiter:
    """Keeps its answers; does *act* when it is answered."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.answers: list[Address | Refusal] = []
        self.act = act

    def leased(self, address: Address) -> None:
        self.answers.append(address)
        self.act()

    def refused(self, refusal: Refusal) -> None:
        self.answers.append(refusal)
        self.act()


verifyClass(IWaiter, Waiter)


class Lessor:
    """The first process: notes what it is asked, and counts."""

    def __init__(self) -> None:
        self.asked: dict[int, str] = {}
        """Questions without an answer."""
        self.forgotten: list[int] = []
        self.leases: Counter[str] = Counter()
        self.at: Counter[tuple[str, Address]] = Counter()
        """The leases of each server of a site."""
        self.looks: list[str] = []
        self.messages = 0
        self.doubts: list[tuple[str, Address]] = []

    def take(self, site: str, ticket: int) -> None:
        assert ticket not in self.asked
        self.messages += 1
        self.asked[ticket] = site

    def look(self, site: str) -> None:
        self.looks.append(site)

    def forget(self, ticket: int) -> None:
        assert ticket in self.asked
        self.forgotten.append(ticket)

    def lease(self, site: str, address: Address) -> None:
        self.leases[site] += 1
        self.at[site, address] += 1

    def give_back(self, site: str, address: Address, count: int) -> None:
        assert 0 < count <= self.at[site, address]
        self.messages += 1
        self.leases[site] -= count
        self.at[site, address] -= count

    def failed(self, site: str, address: Address) -> None:
        self.doubts.append((site, address))


class LeasesCase(SynchronousTestCase):
    """Leases of a lessor that answers when the test says so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.leases = RemoteLeases(self.sweep)
        self.lessor = self.leases.lessor = Lessor()

    def take(self, waiter: IWaiter | None = None) -> Address | None:
        return self.leases.take("a", waiter or Waiter())

    def answer(self, answer: Address | Refusal = HERE, ticket: int = 0) -> None:
        """Answer the oldest question, or that of *ticket*."""
        ticket = ticket or min(self.lessor.asked)
        site = self.lessor.asked.pop(ticket)
        if not isinstance(answer, Refusal):
            self.lessor.lease(site, answer)
        self.leases.answered(ticket, answer)

    def leased(self) -> None:
        """Have one use, of one lease."""
        self.take()
        self.answer()

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)


class LeasesTests(LeasesCase):
    """Taking, giving back, and being told no more."""

    def test_interface(self) -> None:
        """It is what the data plane is promised."""
        verifyObject(ILeases, self.leases)

    def test_one_for_all(self) -> None:
        """With a lease in hand, more uses cost no message."""
        waiter = Waiter()
        self.assertIsNone(self.take(waiter))
        self.answer()
        self.assertEqual(waiter.answers, [HERE])
        for _ in range(100):
            self.assertEqual(self.take(), HERE)
            self.leases.give_back("a", HERE)
        self.assertEqual(self.lessor.messages, 1)
        self.assertEqual(self.leases.uses(), {"a": (1, 1)})

    def test_several_wait(self) -> None:
        """Those who come in the same moment share a question, and one lease; the next ones ask
        anew, since how long they may wait is counted from then."""
        waiters = [Waiter() for _ in range(4)]
        for waiter in waiters[:3]:
            self.take(waiter)
        self.clock.advance(0.6)
        self.take(waiters[3])
        self.assertEqual(len(self.lessor.asked), 2)
        self.answer()
        self.answer()
        self.assertEqual([waiter.answers for waiter in waiters], [[HERE]] * 4)
        self.assertEqual(self.leases.uses(), {"a": (4, 1)})
        self.assertEqual(self.lessor.leases["a"], 1)

    def test_refused(self) -> None:
        """Who is refused has nothing to give back, and nothing is kept of the site."""
        waiters = [Waiter(), Waiter()]
        for waiter in waiters:
            self.take(waiter)
        self.answer(RESTING)
        self.assertEqual([waiter.answers for waiter in waiters], [[RESTING]] * 2)
        self.assertEqual(self.leases._servers, {})

    def test_forgotten(self) -> None:
        """Who waits no more is not called; when nobody waits, the first process is told so."""
        first, second = Waiter(), Waiter()
        self.take(first)
        self.take(second)
        self.leases.forget("a", first)
        self.leases.forget("a", first)
        self.assertEqual(self.lessor.forgotten, [])
        self.leases.forget("a", second)
        self.assertEqual(self.lessor.forgotten, [1])
        third = Waiter()
        self.take(third)
        self.answer()
        self.assertEqual((first.answers, second.answers, third.answers), ([], [], []))
        self.assertEqual(self.lessor.leases["a"], 0)
        self.answer(RESTING)
        self.assertEqual(third.answers, [RESTING])
        self.assertEqual(self.leases._servers, {})

    def test_forgotten_by_anothers_answer(self) -> None:
        """One answer may end another one who waits: that one is not called, nor counted."""
        for answer in (HERE, RESTING):
            second, third = Waiter(), Waiter()
            first = Waiter(lambda second=second: self.leases.forget("a", second))
            for waiter in (first, second, third):
                self.take(waiter)
            self.answer(answer)
            self.assertEqual(
                (first.answers, second.answers, third.answers), ([answer], [], [answer])
            )
            uses = 0 if answer is RESTING else 2
            self.assertEqual(self.leases.uses().get("a", (0, 0))[0], uses)
            for _ in range(uses):
                self.leases.give_back("a", HERE)
            self.leases.withdrawn("a")
        self.assertEqual((self.lessor.leases["a"], self.leases._servers), (0, {}))
        self.assertEqual(self.leases._by_waiter, {})

    def test_given_back_within_the_answer(self) -> None:
        """A use may be over before the answer has reached everybody."""
        waiters = [Waiter(lambda: self.leases.give_back("a", HERE)) for _ in range(2)]
        for waiter in waiters:
            self.take(waiter)
        self.answer()
        self.assertEqual(self.leases.uses(), {"a": (0, 1)})
        self.pass_time(2)
        self.assertEqual(self.lessor.leases["a"], 0)

    def test_lingers(self) -> None:
        """An unused lease goes back when it was not used for a while, and no later."""
        self.leased()
        self.leases.give_back("a", HERE)
        self.pass_time(0.75)
        self.assertEqual(self.take(), HERE)
        self.leases.give_back("a", HERE)
        self.pass_time(0.5)
        self.assertEqual(self.lessor.leases["a"], 1)
        self.pass_time(0.5)
        self.assertEqual((self.lessor.leases["a"], self.leases._servers), (0, {}))
        self.assertEqual(self.leases.deadline, inf)

    def test_no_longer_because_of_another(self) -> None:
        """How long a lease is kept is not a matter of when another one was looked at."""
        self.leased()
        self.leases.take("b", Waiter())
        self.answer()
        self.leases.give_back("a", HERE)
        self.pass_time(0.5)
        self.leases.give_back("b", HERE)
        self.pass_time(0.5)
        self.assertEqual((self.lessor.leases["a"], self.lessor.leases["b"]), (0, 1))
        self.pass_time(0.5)
        self.assertEqual(self.lessor.leases["b"], 0)

    def test_used_does_not_end(self) -> None:
        """However long a use lasts, the lease is there."""
        self.leased()
        self.take()
        self.leases.give_back("a", HERE)
        self.pass_time(20)
        self.assertEqual(self.lessor.leases["a"], 1)

    def test_withdrawn(self) -> None:
        """What is withdrawn is not given out any more; it goes back with the last use of it."""
        self.leased()
        self.leases.withdrawn("a")
        self.assertEqual((self.lessor.leases["a"], self.leases.ready("a")), (1, None))
        waiter = Waiter()
        self.assertIsNone(self.take(waiter))
        self.answer(THERE)
        self.assertEqual((waiter.answers, self.leases.ready("a")), ([THERE], THERE))
        self.assertEqual(self.leases.uses(), {"a": (2, 2)})
        self.leases.withdrawn("a")
        self.leases.give_back("a", HERE)
        self.assertEqual(self.lessor.at, {("a", HERE): 0, ("a", THERE): 1})
        self.leases.give_back("a", THERE)
        self.assertEqual((self.lessor.leases["a"], self.leases._servers), (0, {}))

    def test_two_servers(self) -> None:
        """While one takes another's place each has its own uses and lease, whichever is told first:
        the new address, or that the old one holds no more."""
        for told_first in (True, False):
            self.leased()
            if told_first:
                self.leases.withdrawn("a")
            self.leases._ask("a", self.leases._servers.setdefault("a", _Server()), Waiter())
            self.answer(THERE)
            self.assertEqual(self.take(), THERE)
            self.assertEqual(self.leases.uses(), {"a": (3, 2)})
            for _ in range(2):
                self.leases.give_back("a", THERE)
            self.pass_time(2)
            self.assertEqual(+self.lessor.at, {("a", HERE): 1})
            self.leases.give_back("a", HERE)
            self.assertEqual(+self.lessor.at, {})
            self.assertEqual((self.leases._servers, self.leases._former), ({}, {}))

    def test_back_again(self) -> None:
        """What was withdrawn and is leased again while it is used is one server."""
        self.leased()
        self.leases.withdrawn("a")
        self.take()
        self.answer()
        self.assertEqual(self.leases.uses(), {"a": (2, 2)})
        self.leases.give_back("a", HERE)
        self.pass_time(2)
        self.assertEqual((self.leases.ready("a"), self.lessor.leases["a"]), (HERE, 2))
        self.leases.give_back("a", HERE)
        self.pass_time(2)
        self.assertEqual((self.lessor.leases["a"], self.leases._former), (0, {}))

    def test_withdrawn_unused(self) -> None:
        """A lease that nobody uses goes back at once when it is withdrawn; twice is once."""
        self.leased()
        self.leases.give_back("a", HERE)
        self.leases.withdrawn("a")
        self.leases.withdrawn("a")
        self.leases.withdrawn("unknown")
        self.assertEqual((self.lessor.leases["a"], self.leases._servers), (0, {}))

    def test_failed(self) -> None:
        """A doubt is told once in a step of the clock, for what is leased only."""
        self.leases.failed("a", HERE)
        self.leased()
        self.leases.failed("a", THERE)
        self.assertEqual(self.lessor.doubts, [])
        self.leases.failed("a", HERE)
        self.leases.failed("a", HERE)
        self.assertEqual(self.lessor.doubts, [("a", HERE)])
        self.pass_time(0.5)
        self.leases.failed("a", HERE)
        self.assertEqual(len(self.lessor.doubts), 2)

    def test_look(self) -> None:
        """How far the server is is asked once for all who want to know meanwhile; a look is no
        lease. One who fails does not keep the others from it."""
        told: list[Stage] = []

        def broken(stage: Stage) -> None:
            raise RuntimeError("a fault")

        for each in (told.append, broken, told.append):
            self.leases.look("a", each)
        self.leases.look("b", told.append)
        self.assertEqual(self.lessor.looks, ["a", "b"])
        stage = Stage("starting", "pulling x", True)
        self.leases.looked("a", stage)
        self.assertEqual(told, [stage, stage])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.leases.look("a", told.append)
        self.assertEqual(self.lessor.looks, ["a", "b", "a"])
        self.assertEqual((self.leases._servers, self.lessor.asked), ({}, {}))

    def test_lost(self) -> None:
        """When the first process has gone, no address is given out, and nothing given back."""
        self.leased()
        self.leases.take("b", Waiter())
        self.answer()
        self.leases.give_back("b", HERE)
        self.leases.lost()
        messages = self.lessor.messages
        self.assertIsNone(self.leases.ready("a"))
        waiter = Waiter()
        self.assertIsNone(self.take(waiter))
        self.leases.answered(max(self.lessor.asked), LOST)
        self.assertEqual(waiter.answers, [LOST])
        self.leases.give_back("a", HERE)
        self.pass_time(3)
        self.assertEqual(self.lessor.messages, messages + 1)
        self.assertEqual(self.leases._servers, {})


class InterruptedTests(LeasesCase):
    """A lessor that goes, and one that comes."""

    def interrupt(self) -> None:
        self.leases.interrupted()
        self.lessor = self.leases.lessor = Lessor()

    def test_used_on(self) -> None:
        """What was leased is used on while there is nobody, however long; whoever comes then leases
        it anew, once, and gets it back."""
        self.leased()
        self.interrupt()
        self.assertEqual(self.take(), HERE)
        self.leases.give_back("a", HERE)
        self.pass_time(60)
        self.assertEqual((self.take(), self.leases.ready("a")), (HERE, HERE))
        self.assertEqual(self.lessor.messages, 0)
        self.leases.resumed()
        self.assertEqual(self.lessor.asked, {2: "a"})
        self.answer(THERE)
        self.assertEqual((self.leases.uses(), self.take()), ({"a": (2, 1)}, THERE))
        for address in (HERE, THERE, HERE):
            self.leases.give_back("a", address)
        self.pass_time(3)
        self.assertEqual((self.lessor.leases["a"], self.leases._servers), (0, {}))

    def test_unused(self) -> None:
        """What nobody uses is known until somebody comes, and has to be asked for then."""
        self.leased()
        self.interrupt()
        self.leases.give_back("a", HERE)
        self.pass_time(60)
        self.assertEqual(self.leases.ready("a"), HERE)
        self.leases.resumed()
        self.assertEqual((self.leases._servers, self.lessor.messages), ({}, 0))

    def test_waiting(self) -> None:
        """Who waits goes on waiting, is asked for again, and is answered once; who has given up is
        not asked for."""
        first, second, third = Waiter(), Waiter(), Waiter()
        self.take(first)
        self.leases.take("b", third)
        self.interrupt()
        self.take(second)
        self.leases.forget("b", third)
        self.leases.resumed()
        self.assertEqual(set(self.lessor.asked.values()), {"a"})
        while self.lessor.asked:
            self.answer()
        self.assertEqual((first.answers, second.answers, third.answers), ([HERE], [HERE], []))
        self.assertEqual(self.leases.uses(), {"a": (2, 1)})
        self.assertEqual(self.lessor.leases, {"a": 1})

    def test_refused_claim(self) -> None:
        """What is used and not leased any more is not given to others; its uses end as they do."""
        self.leased()
        self.interrupt()
        self.leases.resumed()
        self.answer(RESTING)
        self.assertIsNone(self.leases.ready("a"))
        self.leases.give_back("a", HERE)
        self.assertEqual(self.leases._servers, {})

    def test_late_claim(self) -> None:
        """A claim that is answered when nobody uses it any more goes back."""
        self.leased()
        self.interrupt()
        self.leases.resumed()
        self.leases.give_back("a", HERE)
        self.answer()
        self.pass_time(3)
        self.assertEqual((self.lessor.leases["a"], self.leases._servers), (0, {}))

    def test_looks(self) -> None:
        """Who wants to know how far a server is is told that nobody can say."""
        told: list[Stage] = []
        self.leases.look("a", told.append)
        self.interrupt()
        self.leases.look("a", told.append)
        self.assertEqual(told, [Stage(), Stage()])
        self.assertEqual(self.lessor.looks, [])
        self.leases.failed("a", HERE)
        self.assertEqual(self.lessor.doubts, [])

    def test_give_up(self) -> None:
        """Who has waited too long while nobody is there is refused; the others wait on."""
        early, late = Waiter(), Waiter()
        self.take(early)
        self.leases.give_up(0.0, RESTING)
        self.interrupt()
        self.pass_time(5)
        self.take(late)
        self.leases.give_up(5.0, RESTING)
        self.assertEqual((early.answers, late.answers), ([RESTING], []))
        self.leases.resumed()
        self.answer()
        self.assertEqual(late.answers, [HERE])

    def test_carried_over(self) -> None:
        """What is leased elsewhere is taken over, and what is leased here can be left."""
        self.interrupt()
        self.leases.bring("a", HERE, 2)
        self.leases.bring("b", THERE, 0)
        waiter, looking = Waiter(), []
        self.leases.take("c", waiter)
        self.assertEqual([self.leases.ready(site) for site in "abc"], [HERE, THERE, None])
        self.leases.resumed()
        self.leases.look("c", looking.append)
        left = self.leases.leave()
        self.assertEqual((left.uses, left.waiting), ({"a": 2}, [("c", waiter)]))
        self.assertEqual(left.looking, [("c", looking.append)])
        self.assertEqual((self.leases._servers, waiter.answers, looking), ({}, [], []))
        # What comes late has no effect.
        self.leases.give_back("a", HERE)
        self.leases.withdrawn("a")


SITES = ("a", "b")
sites = st.sampled_from(SITES)
picks = st.integers(0, 1 << 20)


class World(RuleBasedStateMachine):
    """A lessor that answers, refuses and withdraws in any order; requests that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.leases = RemoteLeases(self.sweep)
        self.lessor = self.leases.lessor = Lessor()
        self.waiting: list[tuple[str, Waiter]] = []
        self.forgotten: list[Waiter] = []
        self.uses: dict[str, list[Address]] = {site: [] for site in SITES}
        self.at: dict[str, Address | None] = dict.fromkeys(SITES)
        """Where the first process says the server is, as far as the worker was told."""
        self.answered = 0

    @rule(site=sites)
    def take(self, site: str) -> None:
        waiter = Waiter()
        address = self.leases.take(site, waiter)
        assert not waiter.answers, "called within take"
        if address is None:
            self.waiting.append((site, waiter))
        else:
            assert address == self.at[site], "leased, and not withdrawn since"
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

    @precondition(lambda self: self.lessor.asked)
    @rule(pick=picks, port=st.integers(1, 2), refuse=st.booleans())
    def answer(self, pick: int, port: int, refuse: bool) -> None:
        ticket = sorted(self.lessor.asked)[pick % len(self.lessor.asked)]
        site = self.lessor.asked.pop(ticket)
        answer: Address | Refusal = RESTING
        if not refuse:
            # The server is at one place until that is withdrawn.
            answer = self.at[site] = self.at[site] or ("127.0.0.1", port)
            self.lessor.lease(site, answer)
        self.leases.answered(ticket, answer)
        for entry in [entry for entry in self.waiting if entry[1].answers]:
            assert entry[0] == site
            assert entry[1].answers == [answer]
            self.waiting.remove(entry)
            if not isinstance(answer, Refusal):
                self.uses[site].append(answer)

    @rule(site=sites, port=st.integers(1, 2))
    def move(self, site: str, port: int) -> None:
        """Another server takes its place; the worker hears of it by its next answer."""
        self.at[site] = ("127.0.0.1", port)
        self.leases.withdrawn(site)

    @rule(site=sites)
    def withdraw(self, site: str) -> None:
        self.at[site] = None
        self.leases.withdrawn(site)

    @rule(tenths=st.integers(1, 15))
    def time(self, tenths: int) -> None:
        self.clock.advance(tenths / 10)

    @invariant()
    def used_is_leased(self) -> None:
        for site in SITES:
            for address in self.uses[site]:
                assert self.lessor.at[site, address] >= 1, (site, address)

    @invariant()
    def everybody_has_a_question(self) -> None:
        asked = Counter(self.lessor.asked.values())
        for site, waiter in self.waiting:
            assert not waiter.answers
            assert asked[site]

    @invariant()
    def the_forgotten_are(self) -> None:
        assert not any(waiter.answers for waiter in self.forgotten)
        assert len(self.leases._by_waiter) == len(self.waiting)

    @invariant()
    def nothing_is_kept_in_vain(self) -> None:
        asked = Counter(self.lessor.asked.values())
        for site in self.leases._servers:
            assert self.uses[site] or asked[site] or self.lessor.leases[site], site
        for site, address in self.leases._former:
            assert address in self.uses[site]
        assert self.leases._asked.keys() == self.lessor.asked.keys()

    def teardown(self) -> None:
        """In the end everybody is answered, everything is given back and nothing is kept."""
        while self.lessor.asked:
            self.answer(0, 1, False)
        assert not self.waiting
        for site in SITES:
            while self.uses[site]:
                self.give_back(site, 0)
        for _ in range(4):
            self.clock.advance(LINGER / 2)
        assert not +self.lessor.leases, self.lessor.leases
        assert not self.leases._servers
        assert not self.leases._former
        assert not self.leases._asked
        assert not self.leases._by_waiter
        assert not self.leases._unused
        assert self.leases.deadline == inf


class PromiseTests(SynchronousTestCase):
    """What holds in whatever order things happen."""

    def test_promises(self) -> None:
        """Everybody is answered exactly once unless forgotten; what is used is leased; what is
        not used goes back; nothing is kept of sites that nobody is interested in."""
        run_state_machine_as_test(
            World,
            settings=settings(
                max_examples=200,
                stateful_step_count=50,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
