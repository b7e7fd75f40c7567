"""How the next server starts beside the one that serves: proven first, and nobody is cut off."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Lifecycle
from snickers.containers import events as e
from snickers.containers.life import CLEAR_AGAIN, Parting, Phase
from snickers.interfaces.engine import Instance
from tests.test_resting import SERVER, Dialogue

LIFE = Lifecycle(wake_within=10, idle_after=100, drain_within=20, update="parallel")
NEW = Instance("a.example", "two", "new", True, ("127.0.0.1", 2))
HERE, THERE = SERVER.address, NEW.address


class ParallelCase(SynchronousTestCase):
    """A life that is awake, and changed."""

    def life(self, uses: int = 2) -> Dialogue:
        return Dialogue(LIFE, Phase.AWAKE, good=SERVER, uses=uses, declared="fp")

    def replacing(self, uses: int = 2) -> Dialogue:
        """The next one is being started."""
        life = self.life(uses)
        life.hear(e.Changed, LIFE, "new")
        (start,) = life.hear(e.Prepared, True)
        self.assertEqual(start, e.Start(life.state.epoch, beside="one"))
        self.assertIs(life.state.phase, Phase.REPLACING)
        return life

    def proving(self, uses: int = 2) -> Dialogue:
        """The next one runs, and is being checked."""
        life = self.replacing(uses)
        (probe,) = life.hear(e.Started, NEW)
        self.assertEqual(probe, e.Probe(life.state.epoch, NEW))
        return life

    def replaced(self, uses: int = 2) -> Dialogue:
        """The next one serves."""
        life = self.proving(uses)
        life.hear(e.HealthPassed)
        self.assertEqual((life.state.phase, life.state.instance), (Phase.AWAKE, NEW))
        return life

    def goes_on(self, life: Dialogue, words: str) -> None:
        """The newcomer has failed: nobody has noticed, it is removed, and a person hears of it."""
        state = life.state
        self.assertEqual((state.phase, state.instance, state.uses), (Phase.AWAKE, SERVER, 2))
        warn, unwoken, keep, settle = life.said
        assert isinstance(warn, e.Warn)
        assert isinstance(unwoken, e.SayUnwoken)
        self.assertEqual((warn.alarm, keep), ("update", e.Keep(SERVER)))
        self.assertEqual(settle, e.Settle("one", failed=True))
        self.assertIn(words, warn.words)
        self.assertIn("goes on serving", unwoken.words)
        self.assertEqual((state.fingerprint, state.refused), ("fp", "new"))
        # It is not tried again by the same declaration; after a person's wish it is.
        self.assertEqual(life.hear(e.Settled("one")), ())
        self.assertEqual(life.hear(e.Changed, LIFE, "new"), ())
        (prepare,) = life.hear(e.UpdateAsked)
        self.assertIsInstance(prepare, e.Prepare)


class TakesOverTests(ParallelCase):
    """The newcomer proves itself."""

    def test_serves_meanwhile(self) -> None:
        """Until then whoever comes is leased the old one, and what is over is given back to it."""
        for life in (self.replacing(), self.proving()):
            (grant,) = life.hear(e.Arrived(7))
            self.assertEqual(grant, e.Grant((7,), HERE))
            life.hear(e.Taken)
            life.hear(e.GivenBack(HERE))
            self.assertEqual(life.state.uses, 3)

    def test_takes_over(self) -> None:
        """Then it gets all requests, and the old one keeps what it has: it is ended after that."""
        life = self.proving()
        said = life.hear(e.HealthPassed)
        spared = e.Settle("two", spare="one")
        self.assertEqual(said, (e.SayWoken(), e.Calm("update"), e.Trust(), spared))
        self.assertEqual(life.hear(e.Settled("two", "one")), ())
        (grant,) = life.hear(e.Arrived(7))
        self.assertEqual(grant, e.Grant((7,), THERE))
        self.assertEqual(life.hear(e.GivenBack(HERE)), ())
        self.assertEqual(life.hear(e.GivenBack(THERE)), ())
        self.assertEqual(life.hear(e.GivenBack(HERE)), (e.Settle("two"),))
        self.assertEqual(life.hear(e.Settled("two")), ())
        self.assertEqual((life.state.parting, life.state.before), (None, SERVER))

    def test_unused(self) -> None:
        """An old one that nobody uses is ended at once."""
        life = self.proving(0)
        self.assertIn(e.Settle("two"), life.hear(e.HealthPassed))

    def test_drain_within(self) -> None:
        """Who uses the old one is cut off after ``drain within``, and not before."""
        life = self.replaced()
        self.assertEqual(life.pass_time(19), ())
        self.assertEqual(life.pass_time(1), (e.Settle("two"),))
        self.assertEqual(life.pass_time(1), ())

    def test_idle(self) -> None:
        """While somebody uses the old one the site is in use."""
        life = self.replaced()
        life.pass_time(20)
        life.hear(e.Settled("two"))
        life.pass_time(200)
        self.assertIs(life.state.phase, Phase.AWAKE)
        life.hear(e.GivenBack(HERE))
        life.hear(e.GivenBack(HERE))
        life.pass_time(100)
        self.assertIs(life.state.phase, Phase.STOPPING)

    def test_not_ended(self) -> None:
        """An end that failed is tried again later; one that found no engine, when it is back."""
        life = self.replaced(0)
        (warn,) = life.hear(e.SettleFailed("two", "no room"))
        self.assertEqual(warn, e.Warn("no room"))
        self.assertEqual(life.pass_time(CLEAR_AGAIN), (e.Settle("two"),))
        life.hear(e.EngineLost("away"))
        life.hear(e.SettleFailed("two", "away", away=True))
        self.assertEqual(life.pass_time(1), ())
        life.hear(e.EngineFound)
        self.assertEqual(life.hear(e.TimePassed), (e.Settle("two"),))

    def test_not_frozen_meanwhile(self) -> None:
        """It is not paused while another one runs beside it, of which nothing would be known then;
        it is put to sleep, which ends both."""
        for life in (
            evolve(LIFE, pause_after=10),
            evolve(LIFE, pause_after=10, veto=("in-use",)),
        ):
            told = self.replaced(0)
            told.state = evolve(told.state, life=life)
            told.hear(e.SettleFailed("two", "no room"))
            told.pass_time(50)
            self.assertEqual((told.state.phase, told.said), (Phase.AWAKE, (e.Warn("no room"),)))
            self.assertEqual(told.pass_time(10), (e.Settle("two"),))
            told.hear(e.SettleFailed("two", "no room"))
            *_, rest = told.pass_time(40)
            if life.veto:
                self.assertIsInstance(rest, e.Inquire)
                (rest,) = told.hear(e.Consented)
            self.assertIsInstance(rest, e.Stop)
        told = self.replaced(0)
        told.state = evolve(told.state, life=evolve(LIFE, pause_after=10))
        self.assertEqual(told.pass_time(10), ())
        told.hear(e.Settled("two"))
        (pause,) = told.hear(e.TimePassed)
        self.assertIsInstance(pause, e.Pause)

    def test_uses_of_one_long_gone(self) -> None:
        """A use of a server that has gone before both is never counted as one more than there
        are."""
        life = self.replaced(0)
        life.state = evolve(life.state, uses=1)
        life.hear(e.Exited("two", "It ended."))
        life.hear(e.Reverted, SERVER)
        life.state = evolve(life.state, parting=Parting(NEW, 1, 2000.0))
        life.hear(e.GivenBack(("127.0.0.1", 7)))
        assert life.state.parting is not None
        self.assertEqual((life.state.uses, life.state.parting.uses), (0, 0))

    def test_three_are_too_many(self) -> None:
        """A change that comes while the old one is still used waits until it has gone."""
        life = self.replaced()
        life.hear(e.Changed, LIFE, "newer")
        self.assertEqual(life.hear(e.Prepared, True), ())
        life.hear(e.GivenBack(HERE))
        life.hear(e.GivenBack(HERE))
        (prepare,) = life.hear(e.Settled("two"))
        self.assertIsInstance(prepare, e.Prepare)
        (start,) = life.hear(e.Prepared, True)
        self.assertEqual(start, e.Start(life.state.epoch, beside="two"))

    def test_update(self) -> None:
        """A newer image is started beside, fresh; where there is none nothing happens."""
        for newer in (False, True):
            life = self.life()
            life.hear(e.UpdateAsked)
            said = life.hear(e.Prepared, newer)
            expected: tuple[e.Command, ...] = (e.Calm("update"), e.SayWoken())
            if newer:
                expected = (e.Start(life.state.epoch, True, "one"),)
            self.assertEqual(said, expected)

    def test_old_one_ends(self) -> None:
        """An old one that ends while the next one is on its way makes visitors wait for that."""
        for life, then in (
            (self.replacing(), Phase.STARTING),
            (self.proving(), Phase.CHECKING),
        ):
            life.hear(e.Exited("one", "It ended."))
            self.assertIs(life.state.phase, then)
            self.assertEqual(life.hear(e.Arrived(7)), ())
            if then is Phase.STARTING:
                life.hear(e.Started, NEW)
            grant, *rest = life.hear(e.HealthPassed)
            self.assertEqual(grant, e.Grant((7,), THERE))
            self.assertIn(e.Settle("two"), rest)

    def test_old_one_ends_and_the_next_fails(self) -> None:
        """If that fails, too, the old one is started again."""
        life = self.replacing()
        life.hear(e.Exited("one", "It ended."))
        life.hear(e.Arrived(7))
        (revert,) = life.hear(e.StartFailed, "no")
        self.assertEqual(revert, e.Revert(life.state.epoch, "one"))
        self.assertEqual([waiter.ticket for waiter in life.state.waiters], [7])

    def test_stray(self) -> None:
        """What runs beside for no known reason, as after an end of Snickers, is ended; of two the
        one that served is the right one."""
        life = self.life()
        life.hear(e.EngineFound)
        life.hear(e.Listed, NEW, None, (SERVER,))
        self.assertEqual(life.state.instance, SERVER)
        self.assertEqual(life.hear(e.TimePassed), (e.Settle("one"),))

    def test_engine_away(self) -> None:
        """An engine that goes away costs nothing but time."""
        life = self.proving()
        warn, unwoken = life.hear(e.EngineLost("away"))
        self.assertEqual((warn, unwoken), (e.Warn("away"), e.SayUnwoken("away")))
        self.assertEqual((life.state.phase, life.state.instance), (Phase.AWAKE, SERVER))
        life.hear(e.EngineFound)
        (prepare,) = life.hear(e.Listed, SERVER, None, (NEW,))
        self.assertIsInstance(prepare, e.Prepare)
        self.assertEqual(life.hear(e.TimePassed), (e.Settle("one"),))
        # What is still there is ended first.
        self.assertEqual(life.hear(e.Prepared, True), ())
        (prepare,) = life.hear(e.Settled("one"))
        (start,) = life.hear(e.Prepared, True)
        self.assertEqual(start, e.Start(life.state.epoch, beside="one"))

    def test_another_found(self) -> None:
        """One of another declaration that is found running, after a restart or a change of duty in
        the middle, serves until the next one has proven itself."""
        life = Dialogue(LIFE, Phase.AWAY, instance=None, proven=False, declared="new", uses=2)
        life.state = evolve(life.state, fingerprint="new")
        life.hear(e.Inherited(1000.0, 0, 0.0, False, False, ""))
        (probe,) = life.hear(e.Listed, SERVER, None, (NEW,))
        self.assertEqual(probe, e.Probe(life.state.epoch, SERVER))
        life.hear(e.Arrived(1))
        grant, _, prepare = life.hear(e.HealthPassed)
        self.assertEqual(grant, e.Grant((1,), HERE))
        self.assertEqual(prepare, e.Prepare(life.state.epoch, False))
        self.assertIs(life.state.phase, Phase.AWAKE)

    def found(self, *, later: float = 20.0, told: bool = True, **life: Any) -> Dialogue:
        """Another Snickers has left two: the new one serves, and the old one is beside it."""
        found = Dialogue(evolve(LIFE, **life), Phase.AWAY, instance=None, proven=False)
        found.state = evolve(found.state, fingerprint="new")
        if told:
            found.hear(e.Inherited(1000.0))
        new, old = evolve(NEW, started=later), evolve(SERVER, started=10.0)
        (probe,) = found.hear(e.Listed, new, None, (old,))
        self.assertEqual(probe, e.Probe(found.state.epoch, new))
        found.hear(e.HealthPassed)
        return found

    def test_used_by_others(self) -> None:
        """After a restart or a change of duty the old one may be in use by processes that nobody
        hears of: it is ended after ``drain within``, and not before, whatever befalls the site."""
        for told in (True, False):
            life = self.found(told=told, idle_after=5, pause_after=2)
            self.assertNotIn(e.Settle("two"), life.said)
            life.hear(e.GivenBack(HERE))
            life.hear(e.Crowded)
            self.assertEqual((life.pass_time(19), life.state.phase), ((), Phase.AWAKE))
            settle, *_ = life.pass_time(1)
            self.assertEqual(settle, e.Settle("two"))

    def test_used_by_others_and_vetoed(self) -> None:
        """Nor is it put to sleep for others' sake because it has been asked before."""
        life = self.found(veto=("in-use",))
        life.state = evolve(life.state, inquiring=True, crowded=True)
        life.hear(e.Consented)
        self.assertIs(life.state.phase, Phase.AWAKE)

    def test_ends_by_itself(self) -> None:
        """When it has ended nobody waits for it."""
        life = self.found()
        self.assertEqual(life.hear(e.Exited("one", "It ended.")), (e.Settle("two"),))

    def test_tried_beside(self) -> None:
        """One that was started after the one that serves was only tried: it is ended at once."""
        life = self.found(later=5.0)
        self.assertIn(e.Settle("two"), life.said)

    def test_start_away(self) -> None:
        """A start that found no engine says nothing about the newcomer: it is tried again."""
        life = self.replacing()
        warn, unwoken, look = life.hear(e.StartFailed, "away", True)
        self.assertEqual((warn, unwoken), (e.Warn("away"), e.SayUnwoken("away")))
        self.assertEqual(look, e.Look(life.state.epoch))
        self.assertEqual((life.state.phase, life.state.instance), (Phase.AWAKE, SERVER))
        self.assertEqual((life.state.fingerprint, life.state.refused), ("new", ""))
        life.hear(e.EngineLost("away"))
        life.hear(e.EngineFound)
        (prepare,) = life.hear(e.Listed, SERVER)
        self.assertIsInstance(prepare, e.Prepare)


class FailsTests(ParallelCase):
    """The newcomer does not."""

    def test_cannot_start(self) -> None:
        """It cannot be started."""
        life = self.replacing()
        life.hear(e.StartFailed, "There is no such image.")
        self.goes_on(life, "no such image")

    def test_ends_at_once(self) -> None:
        """It has ended when its start is told."""
        life = self.replacing()
        life.hear(e.Started, evolve(NEW, running=False, address=None))
        self.goes_on(life, "as soon as")

    def test_crashes(self) -> None:
        """It ends while it is checked."""
        life = self.proving()
        self.assertEqual(
            life.hear(e.Exited("two", "It ended with code 3.")), (e.Look(life.state.epoch),)
        )
        # It answered before that, and does no more.
        self.assertEqual(life.hear(e.HealthPassed), ())
        life.hear(e.Listed, SERVER)
        self.goes_on(life, "code 3")

    def test_both_end_at_once(self) -> None:
        """When both have ended, whichever is heard of first, nobody is told that the one before
        goes on: it is started again, and serves when that is said."""
        for first, last in (("one", "two"), ("two", "one")):
            for known in (False, True):
                life = self.proving()
                said = [*life.hear(e.Exited(first, "It ended with code 137."))]
                if known:
                    said += life.hear(e.Listed, evolve(NEW, running=False, address=None))
                said += life.hear(e.Exited(last, "It ended with code 137."))
                if life.state.phase is not Phase.REVERTING:
                    said += life.hear(e.Listed, None)
                self.assertEqual([each for each in said if isinstance(each, e.SayUnwoken)], [])
                self.assertIs(life.state.phase, Phase.REVERTING)
                self.assertEqual(said[-1], e.Revert(life.state.epoch, "one"))
                life.hear(e.Reverted, SERVER)
                unwoken, *_ = life.hear(e.HealthPassed)
                assert isinstance(unwoken, e.SayUnwoken)
                self.assertIn("serves again", unwoken.words)

    def test_hangs(self) -> None:
        """It does not answer within ``wake within``, which nobody has to wait for."""
        life = self.proving()
        self.assertEqual(life.pass_time(9), ())
        life.pass_time(1)
        self.goes_on(life, "not ready within 10 s: it accepted no connections on port 2")

    def test_fails_after_all(self) -> None:
        """One that crashes while the old one is still there has not proven itself: that one serves
        again, at once."""
        life = self.replaced()
        warn, keep, probe = life.hear(e.Exited("two", "It ended."))
        assert isinstance(warn, e.Warn)
        self.assertEqual((warn.alarm, probe), ("update", e.Probe(life.state.epoch, SERVER)))
        self.assertEqual(keep, e.Keep(SERVER))
        self.assertIn("serves again", warn.words)
        self.assertEqual((life.state.phase, life.state.instance), (Phase.CHECKING, SERVER))
        said = life.hear(e.HealthPassed)
        self.assertEqual(said, (e.SayWoken(), e.Settle("one", failed=True)))
        self.assertEqual((life.state.uses, life.state.refused), (2, "new"))

    def test_sick_after_all(self) -> None:
        """So does one that is found not to answer; who uses it is not cut off before the drain is
        over."""
        life = self.replaced()
        life.hear(e.Taken)
        life.hear(e.Doubted(THERE))
        life.hear(e.HealthFailed, "It does not answer.")
        self.assertEqual((life.state.phase, life.state.instance), (Phase.CHECKING, SERVER))
        self.assertEqual(life.hear(e.HealthPassed), (e.SayWoken(),))
        self.assertEqual(life.hear(e.GivenBack(THERE)), (e.Settle("one", failed=True),))

    def test_back_to_one_that_was_told_to_end(self) -> None:
        """When the old one is being ended already it is started again."""
        life = self.replaced(0)
        (revert,) = life.hear(e.Exited("two", "It ended."))
        self.assertEqual(revert, e.Revert(life.state.epoch, "one"))

    def test_both_end(self) -> None:
        """When both have ended it is a crash like another."""
        life = self.replaced()
        life.hear(e.Exited("one", "It ended."))
        life.hear(e.Settled("two"))
        life.hear(e.Exited("two", "It ended, too."))
        self.assertIs(life.state.phase, Phase.CRASHED)


class WishesTests(ParallelCase):
    """What persons and the configuration want meanwhile."""

    def test_changed_again(self) -> None:
        """Another change calls the newcomer off; it is ended before the next one is started."""
        life = self.proving()
        self.assertEqual(life.hear(e.Changed, LIFE, "newer"), (e.Settle("one"),))
        (prepare,) = life.hear(e.Settled("one"))
        self.assertIsInstance(prepare, e.Prepare)

    def test_changed_back(self) -> None:
        """A change back to what serves ends it."""
        life = self.proving()
        self.assertEqual(life.hear(e.Changed, LIFE, "fp"), (e.SayWoken(), e.Settle("one")))
        self.assertEqual(life.hear(e.Settled("one")), ())

    def test_changed_check(self) -> None:
        """Another check is what the newcomer has to pass then."""
        life = self.proving()
        (probe,) = life.hear(e.Changed, evolve(LIFE, health="/up"), "new")
        self.assertEqual(probe, e.Probe(life.state.epoch, NEW))
        self.assertEqual(life.hear(e.Changed, evolve(LIFE, health="/up"), "new"), ())

    def test_sleep(self) -> None:
        """A person who wants it asleep is obeyed: both end."""
        life = self.proving(0)
        life.hear(e.SleepAsked)
        self.assertIs(life.state.phase, Phase.STOPPING)

    def test_wake(self) -> None:
        """It is awake: who wants that need not wait for the newcomer, unless there shall be none;
        who waits for that waits on."""
        for life in (self.replacing(), self.proving()):
            self.assertEqual(life.hear(e.WakeAsked()), (e.Confirm(),))
            self.assertEqual(life.hear(e.WakeAsked(alone=True)), ())
            self.assertIs(life.state.phase, Phase.REPLACING)
        self.assertIn(e.SayWoken(), life.hear(e.HealthPassed))

    def test_sleep_and_wake(self) -> None:
        """If it is woken while it drains, the newcomer is ended."""
        life = self.proving()
        life.hear(e.SleepAsked)
        self.assertIs(life.state.phase, Phase.DRAINING)
        # The old one is of another declaration by now, and is stopped for the next one.
        life.hear(e.Changed, LIFE, "fp")
        life.hear(e.WakeAsked)
        said = life.hear(e.HealthPassed)
        self.assertEqual(said, (e.SayWoken(), e.Settle("one")))

    def test_removed(self) -> None:
        """A site that is gone has no server left."""
        life = self.proving(0)
        life.hear(e.Removed)
        life.hear(e.Stopped)
        self.assertIs(life.state.phase, Phase.REMOVING)

    def test_restart(self) -> None:
        """A restart starts what is declared, when both have ended."""
        life = self.proving(0)
        life.hear(e.RestartAsked)
        *_, start = life.hear(e.Stopped)
        self.assertEqual(start, e.Start(life.state.epoch))

    def test_not_now(self) -> None:
        """Two changes at a time are too many."""
        for event in (e.UpdateAsked, e.RollbackAsked):
            (said,) = self.proving().hear(event)
            self.assertIsInstance(said, e.Decline)

    def test_roll_back(self) -> None:
        """Going back by hand holds requests, as with every other ``update``."""
        life = self.replaced(0)
        life.hear(e.Settled("two"))
        life.hear(e.RollbackAsked)
        (revert,) = life.hear(e.Stopped)
        self.assertEqual(revert, e.Revert(life.state.epoch, "one"))

    def test_paused(self) -> None:
        """One that rests is replaced without a second one: nobody uses it."""
        life = Dialogue(LIFE, Phase.PAUSED, good=SERVER)
        life.hear(e.Changed, LIFE, "new")
        self.assertIs(life.state.phase, Phase.STOPPING)
        self.assertEqual(life.state.parting, None)

    def test_parting_has_gone(self) -> None:
        """An old one that ends by itself is only forgotten."""
        life = self.replaced()
        self.assertEqual(life.hear(e.Exited("one", "It ended.")), (e.Settle("two"),))
        parting = life.state.parting
        assert isinstance(parting, Parting)
        self.assertEqual((parting.uses, parting.sound), (0, False))
