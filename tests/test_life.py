"""When something is due in a life, and the moves between its phases."""

from __future__ import annotations

import math

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import events as e
from snickers.containers.life import After, Phase, State, Waiter, due, leave, refuse, settle
from snickers.interfaces.leases import Refusal
from tests.life_dialogue import LIFE, SERVER, Dialogue


class DueTests(SynchronousTestCase):
    """`due`."""

    def test_never(self):
        """A life in which nothing can be late is never looked at."""
        for life in (
            Dialogue(),
            Dialogue().asleep(),
            Dialogue().stopping(),
            Dialogue().crashed(5),
            Dialogue(wake="always").awake(),
            Dialogue(idle_after=math.inf).awake(),
            Dialogue().awake().hear(e.EngineLost, "away"),
            Dialogue().awake().hear(e.Ended),
        ):
            self.assertEqual(due(life.state), math.inf, life.phase)

    def test_due(self):
        """The earliest of what can be late."""
        for life, seconds in (
            (Dialogue().hear(e.Arrived, 1), 10),
            (Dialogue().hear(e.WakeAsked), 10),
            (Dialogue().asleep().hear(e.Arrived, 1), 10),
            (Dialogue().starting(), 30),
            (Dialogue().checking(), 30),
            (Dialogue().awake(), 100),
            (Dialogue(idle_after=1000).crashed(2), 2),
            (Dialogue().awake(uses=1).hear(e.SleepAsked), 20),
            (Dialogue().stopping().hear(e.Arrived, 1), 10),
            (Dialogue().asleep().hear(e.Removed).hear(e.ClearFailed, "no"), 60),
        ):
            self.assertEqual(due(life.state) - life.now, seconds, life.phase)

    def test_crashes_are_forgotten(self):
        """A server that is awake after a crash is looked at to forget it."""
        state = evolve(Dialogue(wake="always").awake().state, crashes=1, since=7.0)
        self.assertEqual(due(state), 307.0)


class MoveTests(SynchronousTestCase):
    """The moves."""

    def test_refuse(self):
        """All who wait are answered together, and wait no more; whole seconds are told."""
        state = State(LIFE, "fp", waiters=(Waiter(1, 0.0), Waiter(2, 1.0)))
        state, commands = refuse(state, "crashed", 1.5)
        self.assertEqual(state.waiters, ())
        self.assertEqual(commands, (e.Refuse((1, 2), Refusal("crashed", 2)),))
        self.assertEqual(refuse(state, "crashed", 1.5), (state, ()))

    def test_leave(self):
        """In use it is drained, otherwise stopped; either way older results are not heard."""
        state = State(LIFE, "fp", phase=Phase.AWAKE, instance=SERVER, epoch=3, engine=True)
        unused, commands = leave(state, 5.0, After.START)
        self.assertEqual((unused.phase, unused.epoch), (Phase.STOPPING, 4))
        self.assertEqual(commands[0], e.Stop(4, LIFE.stop_within))
        used, commands = leave(evolve(state, uses=1), 5.0, After.START)
        self.assertEqual((used.phase, used.epoch, used.until), (Phase.DRAINING, 4, 25.0))
        self.assertEqual(commands, (e.Tell("draining: 1 in use"),))

    def test_settle(self):
        """What follows when nothing runs depends on who wants it, and whether it can be had."""
        nothing = State(LIFE, "fp", engine=True)
        waited = evolve(nothing, waiters=(Waiter(1, 0.0),))
        manual, always = evolve(LIFE, wake="manual"), evolve(LIFE, wake="always")
        for state, phase in (
            (nothing, Phase.ASLEEP),
            (waited, Phase.STARTING),
            (evolve(waited, life=manual), Phase.ASLEEP),
            (evolve(nothing, life=manual, asked=1.0), Phase.STARTING),
            (evolve(nothing, life=always), Phase.STARTING),
            (evolve(nothing, life=always, put=True), Phase.ASLEEP),
            (evolve(waited, life=always, put=True), Phase.STARTING),
            (evolve(waited, gone=True), Phase.REMOVING),
            (evolve(waited, engine=False), Phase.AWAY),
            (evolve(nothing, engine=False), Phase.AWAY),
        ):
            self.assertIs(settle(state, 5.0)[0].phase, phase)

    def test_settled_says_nothing_old(self):
        """What went wrong before is not said of a server that is asleep; where it waits for the
        engine, it is."""
        words = "Docker cannot be reached."
        found = State(LIFE, "fp", engine=True, detail=words)
        self.assertEqual(settle(found, 5.0)[0].detail, "")
        self.assertEqual(settle(evolve(found, engine=False), 5.0)[0].detail, words)
