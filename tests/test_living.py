"""One life obeys the machine: in order, whatever breaks, and never inside of being asked."""

from __future__ import annotations

import math
import sys
from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from snickers.config.values import Container, Lifecycle
from snickers.containers import events as e
from snickers.containers import living
from snickers.containers.living import Living
from snickers.containers.roster import Roster
from snickers.interfaces.engine import Declared
from snickers.interfaces.leases import Stage
from snickers.interfaces.lives import LifeFailed
from snickers.testing import MemoryEngine

HERE = ("127.0.0.1", 40001)


class Around:
    """What a life needs, in memory; probes pass when the test says so."""

    def __init__(self):
        self.clock = Clock()
        self.sweep = self
        self.prober = self
        self.alarm = None
        self.wall = lambda: self.clock.seconds() + 5000
        self.probes = []
        self.dues = []
        self.parted_ones = []
        self.moves = []
        self.calls = set()

    @property
    def now(self):
        return self.clock.seconds()

    def probe(self, instance, health, host, engine, brief=False, unready=None):
        done = Deferred()
        self.unready = unready
        self.probes.append((health, host, brief, done))
        return done

    def moved(self, site):
        self.moves.append(site)

    def scheduled(self, life):
        self.dues.append(life.due)

    def parted(self, life):
        self.parted_ones.append(life)


class Waiter:
    def __init__(self):
        self.answers = []

    def leased(self, address):
        self.answers.append(address)

    def refused(self, refusal):
        self.answers.append(refusal.kind)


class LivingTests(TestCase):
    """A life over `MemoryEngine`."""

    def setUp(self):
        self.around = Around()
        self.engine = MemoryEngine(self.around.clock)
        self.roster = Roster("container", self.engine, self.around.clock, None)
        self.life = self.make()
        self.roster.join("a.example", self.life)
        self.roster.watch()
        self.turn()

    def make(self, **life):
        kind = Container("lamp", life=Lifecycle(health="/up", **life))
        return Living(self.around, Declared("a.example", kind, ""), self.roster, None)

    def turn(self):
        for _ in range(8):
            self.around.clock.advance(0)

    def checking(self):
        self.life.arrive(1, Waiter())
        self.turn()
        return self.around.probes[-1][3]

    def test_small(self):
        """What a life that sleeps keeps for the time when it does not is small: there are thousands
        that sleep."""
        self.assertEqual(self.life.state.phase.value, "asleep")
        other = self.make()
        held = [(getattr(self.life, name), getattr(other, name)) for name in Living.__slots__]
        own = sum(
            sys.getsizeof(mine)
            for mine, its in held
            if mine is not its and isinstance(mine, dict | list | set | frozenset | deque)
        )
        self.assertLess(own, 1000)

    def test_not_ready_yet(self):
        """While it is checked the owner can see what it answers; when that is over, no more."""
        passed = self.checking()
        self.around.unready("/up answers 404")
        self.assertEqual((self.life.unready, self.life.words), ("/up answers 404", "checking"))
        passed.callback(None)
        self.turn()
        self.assertEqual((self.life.state.phase.value, self.life.unready), ("awake", ""))
        self.around.unready("too late")
        self.assertEqual(self.life.unready, "")

    def test_what_was_prepared(self):
        """What could not be had for an update is not said to be on its way any more."""
        self.checking().callback(None)
        self.turn()
        self.life.tell("pulling lamp")
        self.life._warn(e.Warn("It cannot be pulled.", "update"))
        self.assertEqual(self.life.words, "")

    def test_nothing_newer(self):
        """Nor is it where there was nothing newer, or where the engine went away meanwhile."""
        self.checking().callback(None)
        self.turn()
        self.engine.hold("prepare")
        updating = self.life.ask(e.UpdateAsked(), lambda words: None)
        self.turn()
        self.life.tell("pulling lamp")
        self.engine.release("prepare")
        self.turn()
        self.assertEqual(self.life.state.phase.value, "awake")
        self.successResultOf(updating)
        self.assertEqual(self.life.words, "")
        self.engine.hold("prepare")
        updating = self.life.ask(e.UpdateAsked(), lambda words: None)
        self.turn()
        self.life.tell("pulling lamp")
        self.life.post(e.PrepareFailed(self.life.state.epoch, "Docker is away.", away=True))
        self.failureResultOf(updating, LifeFailed)
        self.assertEqual(self.life.words, "")

    def test_answered_apart(self):
        """Of two who ask, each gets his own answer, whoever asked last."""
        self.checking().callback(None)
        self.turn()
        self.engine.hold("prepare")
        updating = self.life.ask(e.UpdateAsked(), lambda words: None)
        asked = []

        def ask(words):
            # While the life is at work: two more, of whom the first gives up at once.
            if not asked:
                asked.append(self.life.ask(e.RollbackAsked(), lambda words: None))
                asked.append(self.life.ask(e.WakeAsked(), lambda words: None))
                asked.append(self.life.ask(e.RollbackAsked(), lambda words: None))
                asked[2].addErrback(lambda _: None)
                asked[2].cancel()

        again = self.life.ask(e.UpdateAsked(), ask)
        self.turn()
        self.failureResultOf(asked[0], LifeFailed)
        self.successResultOf(asked[1])
        self.assertNoResult(updating)
        self.assertNoResult(again)
        self.life.post(e.Ended())
        self.failureResultOf(updating, LifeFailed)
        self.failureResultOf(again, LifeFailed)

    def test_moved(self):
        """Whoever wants to know where it answers, and how far it is, is told at each step, when
        the new address holds already."""
        seen = []
        self.around.moved = lambda site: seen.append(
            (site, self.life.state.phase.value, self.life.words, self.life.address)
        )
        start = self.engine.start

        def slow(declared, progress, fresh=False, beside=""):
            progress("pulling")
            return start(declared, progress, fresh)

        self.engine.start = slow
        here = ("127.0.0.1", 40001)
        self.checking().callback(None)
        self.assertEqual(
            list(dict.fromkeys(seen)),
            [
                ("a.example", "starting", "pulling", None),
                ("a.example", "starting", "starting", None),
                ("a.example", "checking", "checking", None),
                ("a.example", "awake", "", here),
            ],
        )
        seen.clear()
        self.life.uses = 0
        self.life.ask(e.SleepAsked(), lambda words: None)
        self.turn()
        self.assertEqual({entry[3] for entry in seen}, {None})
        self.assertEqual(seen[-1][1], "asleep")
        seen.clear()
        self.life.later(e.TimePassed())
        self.turn()
        self.assertEqual(seen, [])

    def test_stage(self):
        """How far it is: its phase, what the engine says of the start, and whether that takes
        longer than it may."""
        self.assertEqual(self.life.stage(), Stage("asleep"))
        self.engine.hold("start")
        start = self.engine.start

        def slow(declared, progress, fresh=False, beside=""):
            progress("pulling lamp, 45 %")
            return start(declared, lambda words: None, fresh)

        self.engine.start = slow
        self.life.arrive(1, Waiter())
        self.turn()
        # "starting" is what the machine says of it, after the engine was called.
        self.assertEqual(self.life.stage(), Stage("starting", "starting"))
        self.around.clock.advance(59)
        self.assertFalse(self.life.stage().late)
        self.around.clock.advance(1)
        self.assertTrue(self.life.stage().late)
        self.engine.release("start")
        self.turn()
        self.assertEqual(self.life.stage(), Stage("checking", "checking", True))
        self.around.probes[-1][3].callback(None)
        self.assertEqual(self.life.stage(), Stage("awake", address=HERE))

    def test_nothing_inside_the_call(self):
        """Arriving and being forgotten are dealt with in a later turn."""
        waiter = Waiter()
        self.life.arrive(1, waiter)
        self.assertEqual((self.life.state.waiters, self.engine.calls), ((), [("list", "")]))
        self.turn()
        self.assertEqual(len(self.life.state.waiters), 1)
        self.life.forget(waiter)
        self.assertEqual(len(self.life.state.waiters), 1)
        self.turn()
        self.assertEqual(self.life.state.waiters, ())
        self.life.forget(waiter)

    def test_come_and_gone(self):
        """Who goes in the turn in which it came has woken nobody; who stays is served."""
        for ticket in range(5):
            waiter = Waiter()
            self.life.arrive(ticket, waiter)
            self.life.forget(waiter)
        self.turn()
        self.assertEqual(self.engine.calls, [("list", "")])
        self.assertEqual(self.life.state.waiters, ())
        gone, stays = Waiter(), Waiter()
        self.life.arrive(5, gone)
        self.life.arrive(6, stays)
        self.life.forget(gone)
        self.turn()
        self.assertEqual([waiter.ticket for waiter in self.life.state.waiters], [6])

    def test_many_at_once(self):
        """However many come in one turn, one call is planned for them."""
        planned = len(self.around.clock.getDelayedCalls())
        for ticket in range(100):
            self.life.arrive(ticket, Waiter())
        self.assertEqual(len(self.around.clock.getDelayedCalls()), planned + 1)

    def test_probe(self):
        """It is probed as the configuration says, by the site's name."""
        self.checking()
        self.assertEqual(self.around.probes[0][:3], ("/up", "a.example", False))

    def test_address(self):
        """The address is there while it is awake, and gone before it is stopped."""
        self.checking().callback(None)
        self.assertEqual(self.life.address, ("127.0.0.1", 40001))
        seen = []
        stop = self.engine.stop
        self.engine.stop = lambda *a: seen.append(self.life.address) or stop(*a)
        self.life.uses = 0
        self.life.ask(e.SleepAsked(), lambda words: None)
        self.assertEqual((seen, self.life.address), ([None], None))

    def test_uses_are_carried(self):
        """What was counted outside counts for the machine: it is not stopped in use."""
        self.checking().callback(None)
        self.life.uses += 4
        self.life.ask(e.SleepAsked(), lambda words: None)
        self.assertEqual((self.life.state.phase.value, self.life.state.uses), ("draining", 5))
        self.life.used = 77.0
        for _ in range(5):
            self.life.give_last(HERE)
        self.turn()
        self.assertEqual((self.life.state.phase.value, self.life.uses), ("asleep", 0))

    def test_in_order(self):
        """An event that happens while one is dealt with comes after it."""
        life = self.life
        seen = []

        class Eager(Waiter):
            def leased(self, address):
                seen.append(("leased", life.address))
                life.post(e.SleepAsked())
                seen.append(("posted", life.address))

        life.arrive(1, Eager())
        life.arrive(2, Eager())
        self.turn()
        self.around.probes[0][3].callback(None)
        here = ("127.0.0.1", 40001)
        self.assertEqual(seen, [("leased", here), ("posted", here)] * 2)
        self.assertEqual(life.state.phase.value, "draining")

    def test_machine_breaks(self):
        """An exception of the machine is logged with the site; the next event is dealt with."""
        step = living.step
        self.patch(living, "step", lambda *a: 1 / 0)
        self.life.post(e.WakeAsked())
        self.patch(living, "step", step)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.life.post(e.WakeAsked())
        self.assertEqual(self.life.state.phase.value, "starting")

    def test_command_breaks(self):
        """An exception in one command is logged; the others are carried out."""
        self.patch(self.roster, "look", lambda *a: 1 / 0)
        self.life.post(e.EngineFound())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.life.post(e.WakeAsked())
        self.assertEqual(self.life.state.phase.value, "starting")

    def test_due(self):
        """When something is due is said after each event, and is never while it sleeps."""
        self.assertEqual(self.around.dues[-1], math.inf)
        self.checking()
        self.assertEqual(self.around.dues[-1], 60.0)

    def test_awake_already(self):
        """Who wants it awake while it is, and something newer is prepared, is answered; who wants
        that is not."""
        self.checking().callback(None)
        self.turn()
        self.engine.hold("prepare")
        updating = self.life.ask(e.UpdateAsked(), lambda words: None)
        waking = self.life.ask(e.WakeAsked(), lambda words: None)
        self.assertIsNone(self.successResultOf(waking))
        self.assertNoResult(updating)

    def test_late_progress(self):
        """Progress of a start that was given up is told to nobody."""
        told = []
        waking = self.life.ask(e.WakeAsked(), told.append)
        waking.addErrback(lambda f: f.trap(LifeFailed))
        self.engine.hold("start")
        sleeping = self.life.ask(e.SleepAsked(), told.append)
        self.turn()
        self.successResultOf(sleeping)
        words = list(told)
        self.engine.release("start")
        self.turn()
        self.assertEqual(told, words)
        self.assertNotIn("pulling", words)

    def test_cancelled_wish(self):
        """A person who waits no more is told nothing more."""
        told = []
        waking = self.life.ask(e.WakeAsked(), told.append)
        waking.addErrback(lambda _: None)
        waking.cancel()
        said = list(told)
        self.turn()
        self.around.probes[0][3].callback(None)
        self.assertEqual(told, said)

    def test_parts(self):
        """At its end whoever still asked for something is told, and it is said."""
        sleeping = []
        self.life.post(e.Removed())
        self.life._sleepers.append((Deferred(), sleeping.append))
        done = self.life._sleepers[0][0]
        self.turn()
        self.failureResultOf(done, LifeFailed)
        self.assertEqual(self.around.parted_ones, [self.life])

    def test_wakes_are_counted(self):
        """How often it was woken and how long that took; a server taken over counts as none."""
        probing = self.checking()
        self.around.clock.advance(3)
        probing.callback(None)
        self.assertEqual((self.life.wakes, self.life.woken), ({"ready": 1, "failed": 0}, 3.0))
        self.assertEqual(self.life.changed, 5003.0)
        self.life.post(e.GivenBack(self.life.address))
        self.life.post(e.RestartAsked())
        self.turn()
        probing = self.around.probes[-1][3]
        self.around.clock.advance(2)
        probing.callback(None)
        self.assertEqual((self.life.wakes, self.life.woken), ({"ready": 2, "failed": 0}, 5.0))
        taken_over = self.make()
        self.roster.join("a.example", taken_over)
        self.turn()
        self.around.probes[-1][3].callback(None)
        self.assertEqual(taken_over.state.phase.value, "awake")
        self.assertEqual(taken_over.wakes, {"ready": 0, "failed": 0})
