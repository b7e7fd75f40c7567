"""Every pair of stage and event is decided, and whatever happens two teams keep their promises."""

from __future__ import annotations

import math
from itertools import product

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from snickers.teams import machine
from snickers.teams import pair as p
from snickers.teams.ends import ABORT_WITHIN, WATCHDOG
from snickers.teams.machine import LEAVE_WITHIN, TABLE, step
from snickers.teams.moves import (
    DRAIN_MARGIN,
    DUTY,
    ENDED,
    GIVE_WITHIN,
    KILL_AFTER,
    PAUSES,
    PROVE_WITHIN,
    SILENT,
    STEADY,
    TAKE_WITHIN,
    TAKEN_BACK,
    URGE_WITHIN,
)
from snickers.teams.pair import Pair, Stage, due

HEARD = ("proved", "gave", "took", "ended", "stopping", "finishing", "finishes", "beat")
LONGEST = 7200.0
"""Seconds that a team of the world's may say that it needs to finish."""


class Dialogue:
    """A pair on a clock: tell it what happens, and read what it does."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pair = Pair(until=self.now)

    def tell(self, event: p.Event) -> list[p.Command]:
        """Have *event* happen and return what is done."""
        self.pair, commands = step(self.pair, event, self.now)
        return [c for c in commands if not isinstance(c, p.Say)]

    def wait(self, seconds: float) -> list[p.Command]:
        """Let time pass, and return what is done meanwhile."""
        end = self.now + seconds
        done: list[p.Command] = []
        while due(self.pair) <= end:
            self.now = max(self.now, due(self.pair))
            done += self.tell(p.Passed())
        self.now = end
        return done

    def serving(self) -> Dialogue:
        """Have blue serve, for long."""
        self.tell(p.Passed())
        self.tell(p.Proved(1))
        self.tell(p.Took(1))
        self.wait(STEADY)
        return self

    def proving(self, commit_after: float = math.inf) -> Dialogue:
        """...and red be started to stand by."""
        self.serving().tell(p.AskedSwitch(commit_after))
        return self

    def yielding(self, commit_after: float = math.inf) -> Dialogue:
        self.proving(commit_after).tell(p.Proved(2))
        return self

    def taking(self, commit_after: float = math.inf) -> Dialogue:
        self.yielding(commit_after).tell(p.Gave(1))
        return self

    def trial(self, commit_after: float = math.inf) -> Dialogue:
        """...and red be live, on trial, while blue stands by."""
        self.taking(commit_after).tell(p.Took(2))
        assert self.pair.stage is Stage.TRIAL
        return self


class TableTests(SynchronousTestCase):
    def test_every_pair_is_decided(self) -> None:
        """There is an entry for each stage and each event, and for nothing else."""
        self.assertEqual(set(TABLE), set(product(Stage, p.EVENTS)))

    def test_of_one_who_has_gone(self) -> None:
        """What is heard of a process that has gone changes nothing, whatever the stage."""
        for talk in (Dialogue().serving(), Dialogue().taking(), Dialogue().trial()):
            before = talk.pair
            for event in (p.Proved(99), p.Gave(99), p.Took(99), p.Ended(99, "x")):
                self.assertEqual((talk.tell(event), talk.pair), ([], before))


class SwitchTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """The other proves itself, the live one stands by, the other accepts, and is on trial."""
        talk = Dialogue().serving()
        self.assertEqual(talk.tell(p.AskedSwitch()), [p.Spawn(2, "red", True)])
        self.assertEqual(talk.tell(p.Proved(2)), [p.StandBy(1)])
        self.assertEqual(talk.tell(p.Gave(1)), [p.Accept(2)])
        words = "red serves; blue stands by until commit or rollback"
        self.assertEqual(talk.tell(p.Took(2)), [p.Done(words)])
        self.assertEqual(talk.pair.stage, Stage.TRIAL)
        self.assertEqual(talk.wait(1e9), [])

    def test_never_proved(self) -> None:
        """A newcomer that is too slow, or ends, is given up; the live one hears nothing of it."""
        talk = Dialogue().proving()
        done = talk.wait(PROVE_WITHIN)
        self.assertEqual([type(c) for c in done], [p.End, p.Failed])
        self.assertEqual((talk.pair.stage, done[0]), (Stage.SERVING, p.End(2)))
        self.assertEqual(talk.wait(KILL_AFTER), [p.Kill(2)])
        talk = Dialogue().proving()
        words = "red has not proven itself: it ended with status 1 (see the log); blue goes on"
        self.assertEqual(talk.tell(p.Ended(2, "ended with status 1")), [p.Failed(words)])
        # One that finds by itself that it is not fit was asked by nobody.
        talk = Dialogue().proving()
        words = "red has not proven itself: it ends (see the log); blue goes on"
        self.assertEqual(talk.tell(p.Stopping(2)), [p.Failed(words)])

    def test_live_one_dies_meanwhile(self) -> None:
        """It is started again at once; a newcomer that has not proven itself is no use."""
        talk = Dialogue().proving()
        done = talk.tell(p.Ended(1, "was ended by SIGKILL"))
        self.assertEqual(done[0], p.End(2))
        self.assertEqual(done[-1], p.Spawn(3, "blue", False))
        self.assertTrue(any(isinstance(c, p.Failed) for c in done))

    def test_does_not_give(self) -> None:
        """Who does not stand by in time is not waited for any longer."""
        talk = Dialogue().yielding()
        self.assertEqual(talk.wait(GIVE_WITHIN - 0.1), [])
        self.assertEqual(talk.wait(0.1), [p.Accept(2)])

    def test_dies_as_it_stands_by(self) -> None:
        """The other accepts at once, and serves alone."""
        talk = Dialogue().yielding()
        self.assertEqual(talk.tell(p.Ended(1, "was ended by SIGKILL")), [p.Accept(2)])
        self.assertEqual(talk.tell(p.Took(2)), [p.Done("red serves, alone")])
        self.assertEqual((talk.pair.stage, talk.pair.good), (Stage.SERVING, "blue"))
        talk.wait(STEADY)
        self.assertEqual(talk.pair.good, "red")

    def test_newcomer_fails_as_it_takes_over(self) -> None:
        """The live one accepts again, at any moment of the handover."""
        for talk in (Dialogue().yielding(), Dialogue().taking()):
            done = talk.tell(p.Ended(2, "was ended by SIGSEGV"))
            self.assertEqual([type(c) for c in done], [p.Accept, p.Failed])
            self.assertEqual(done[0], p.Accept(1))
            talk.tell(p.Took(1))
            self.assertEqual(talk.pair.stage, Stage.SERVING)

    def test_does_not_take(self) -> None:
        """A newcomer that does not come on duty stands by before the live one accepts again."""
        talk = Dialogue().taking()
        done = talk.wait(TAKE_WITHIN)
        self.assertEqual(done[:3], [p.StandBy(2), p.End(2), p.Accept(1)])
        self.assertEqual([type(c) for c in talk.wait(TAKE_WITHIN)], [p.Raise])
        self.assertEqual(talk.pair.stage, Stage.SERVING)
        self.assertEqual(talk.tell(p.Took(1)), [p.Clear(DUTY)])

    def test_refused(self) -> None:
        """What cannot be done now is refused in words, and nothing changes."""
        for talk in (Dialogue().proving(), Dialogue().yielding(), Dialogue().taking()):
            before = talk.pair
            (refused,) = talk.tell(p.AskedSwitch())
            self.assertIsInstance(refused, p.Refuse)
            self.assertEqual(talk.pair, before)
        talk = Dialogue().trial()
        words = "blue still stands by: commit, or roll back, first"
        self.assertEqual(talk.tell(p.AskedSwitch()), [p.Refuse(words)])
        self.assertEqual(talk.tell(p.AskedRestart()), [p.Refuse(words)])
        talk = Dialogue().serving()
        self.assertIsInstance(talk.tell(p.AskedCommit())[0], p.Refuse)
        self.assertIsInstance(talk.tell(p.AskedRollback())[0], p.Refuse)

    def test_old_one_still_ends(self) -> None:
        """A team can be switched to while a former process of it finishes what it has open."""
        talk = Dialogue().trial()
        talk.tell(p.AskedCommit())
        self.assertEqual(talk.tell(p.AskedSwitch()), [p.Spawn(3, "blue", True)])
        self.assertEqual(talk.tell(p.Ended(1, "ended by itself")), [])
        self.assertEqual(talk.tell(p.Proved(3)), [p.StandBy(2)])

    def test_restart(self) -> None:
        """Another process of the live team takes over, and the one before it ends at once."""
        talk = Dialogue().serving()
        self.assertEqual(talk.tell(p.AskedRestart()), [p.Spawn(2, "blue", True)])
        self.assertEqual(talk.tell(p.Proved(2)), [p.StandBy(1)])
        self.assertEqual(talk.tell(p.Gave(1)), [p.Accept(2)])
        self.assertEqual(talk.tell(p.Took(2))[0], p.End(1))
        self.assertEqual(talk.pair.stage, Stage.SERVING)


class TrialTests(SynchronousTestCase):
    def test_commit(self) -> None:
        """The one before ends, and the newcomer is the good team."""
        talk = Dialogue().trial()
        done = talk.tell(p.AskedCommit())
        self.assertEqual(done[0], p.End(1))
        self.assertIsInstance(done[-1], p.Done)
        self.assertEqual((talk.pair.stage, talk.pair.good), (Stage.SERVING, "red"))

    def test_rollback(self) -> None:
        """The one before accepts when the newcomer stands by, and only then does that one end."""
        talk = Dialogue().trial()
        self.assertEqual(talk.tell(p.AskedRollback()), [p.StandBy(2)])
        self.assertEqual(talk.tell(p.Gave(2)), [p.Accept(1)])
        done = talk.tell(p.Took(1))
        self.assertEqual(done[0], p.End(2))
        self.assertEqual((talk.pair.stage, talk.pair.good), (Stage.SERVING, "blue"))

    def test_rollback_before_it_took_over(self) -> None:
        """The newcomer ends; who waits for the switch hears that it failed."""
        talk = Dialogue().proving()
        done = talk.tell(p.AskedRollback())
        self.assertEqual([type(c) for c in done], [p.End, p.Failed, p.Done])
        self.assertEqual(done[0], p.End(2))

    def test_rollback_that_fails(self) -> None:
        """When the one before is no use either, the newcomer accepts again, with an alarm."""
        talk = Dialogue().trial()
        talk.tell(p.AskedRollback())
        talk.tell(p.Gave(2))
        done = talk.tell(p.Ended(1, "was ended by SIGKILL"))
        self.assertEqual([type(c) for c in done], [p.Accept, p.Raise, p.Failed])
        self.assertEqual(done[0], p.Accept(2))

    def test_newcomer_dies(self) -> None:
        """The one before accepts at once, and an alarm says why."""
        talk = Dialogue().trial()
        done = talk.tell(p.Ended(2, "was ended by SIGKILL"))
        words = "red was ended by SIGKILL on trial: blue has taken over again"
        self.assertEqual(done, [p.Accept(1), p.Raise(TAKEN_BACK, words)])
        talk.tell(p.Took(1))
        self.assertEqual((talk.pair.stage, talk.pair.good), (Stage.SERVING, "blue"))

    def test_newcomer_is_asked_to_end(self) -> None:
        """By somebody else's signal: the one before accepts at once, not when it has ended."""
        talk = Dialogue().trial()
        self.assertEqual(talk.tell(p.Stopping(2))[0], p.Accept(1))
        self.assertEqual(talk.tell(p.Took(1)), [p.Done("blue serves, alone")])
        self.assertEqual(talk.pair.ending[0].id, 2)
        self.assertEqual(talk.tell(p.Ended(2, "ended by itself")), [])
        self.assertEqual(talk.pair.ending, ())

    def test_one_before_is_asked_to_end(self) -> None:
        """By somebody else's signal: it is not counted on any more."""
        talk = Dialogue().trial()
        talk.tell(p.Stopping(1))
        self.assertEqual((talk.pair.stage, talk.pair.other), (Stage.SERVING, None))

    def test_one_before_dies(self) -> None:
        """The newcomer goes on alone; it is good when it has served for some minutes."""
        talk = Dialogue().trial()
        self.assertEqual(talk.tell(p.Ended(1, "was ended by SIGKILL")), [])
        self.assertEqual((talk.pair.stage, talk.pair.good), (Stage.SERVING, "blue"))
        talk.wait(STEADY)
        self.assertEqual(talk.pair.good, "red")

    def test_errors(self) -> None:
        """A newcomer that answers with far more errors than the one before is taken back."""
        talk = Dialogue().taking()
        talk.tell(p.Answered(1, 10000, 10))
        talk.tell(p.Took(2))
        done: list[p.Command] = []
        for second in range(1, 20):
            talk.wait(1.0)
            done = talk.tell(p.Answered(2, 100 * second, 50 * second))
            if done:
                break
        self.assertEqual([type(c) for c in done], [p.Raise, p.StandBy])
        self.assertIn("of 10000", done[0].words if isinstance(done[0], p.Raise) else "")
        self.assertEqual(talk.tell(p.Gave(2)), [p.Accept(1)])
        self.assertEqual(talk.tell(p.Took(1))[0], p.End(2))

    def test_errors_as_before(self) -> None:
        """Neither the same share of errors nor errors from before it took over are a reason."""
        talk = Dialogue().taking()
        talk.tell(p.Answered(1, 10000, 1000))
        talk.tell(p.Answered(2, 500, 500))
        talk.tell(p.Took(2))
        for second in range(1, 100):
            done = talk.tell(p.Answered(2, 500 + 100 * second, 500 + 10 * second))
            self.assertEqual(done, [])

    def test_commit_by_itself(self) -> None:
        """After `commit after` without alarms the newcomer stays."""
        talk = Dialogue().trial(600.0)
        self.assertEqual(talk.wait(599.0), [])
        done = talk.wait(1.0)
        self.assertEqual(done[0], p.End(1))
        self.assertEqual(talk.pair.good, "red")

    def test_no_commit_after_alarms(self) -> None:
        """One alarm more than before, at any time, and a person has to say."""
        talk = Dialogue().taking(600.0)
        talk.tell(p.Counted(1, alarms=1))
        talk.tell(p.Took(2))
        talk.tell(p.Counted(2, alarms=2))
        talk.tell(p.Counted(2, alarms=0))
        self.assertEqual(talk.wait(1e6), [])
        self.assertEqual(talk.pair.stage, Stage.TRIAL)
        self.assertEqual(talk.tell(p.AskedCommit())[0], p.End(1))
        talk = Dialogue().taking(600.0)
        talk.tell(p.Counted(1, alarms=1))
        talk.tell(p.Took(2))
        talk.tell(p.Counted(2, alarms=1))
        self.assertEqual(talk.wait(600.0)[0], p.End(1))


class EndTests(SynchronousTestCase):
    def test_in_order(self) -> None:
        """The one that stands by ends first, then the live one, then the keeper."""
        talk = Dialogue().trial()
        self.assertEqual(talk.tell(p.AskedEnd()), [p.Failed("the keeper ends"), p.End(1)])
        self.assertEqual(talk.tell(p.Ended(1, "ended by itself")), [p.End(2)])
        self.assertEqual(talk.tell(p.Ended(2, "ended by itself")), [p.Quit()])

    def test_slow(self) -> None:
        """The live one does not wait for ever for the one that stands by."""
        talk = Dialogue().trial()
        talk.tell(p.AskedEnd())
        self.assertEqual(talk.wait(LEAVE_WITHIN), [p.End(2)])

    def test_twice(self) -> None:
        """A second time all are told again, which has them end at once."""
        talk = Dialogue().trial()
        talk.tell(p.AskedEnd())
        self.assertEqual(set(talk.tell(p.AskedEnd())), {p.End(2), p.End(1)})

    def test_nobody(self) -> None:
        """With no team there is nothing to wait for."""
        talk = Dialogue()
        self.assertEqual(talk.tell(p.AskedEnd())[-1], p.Quit())


class FinishTests(SynchronousTestCase):
    """Who was committed away and can be told so finishes what it has open, in nobody's way."""

    def finishing(self, opened: int = 1) -> Dialogue:
        """Red serves, blue finishes."""
        talk = Dialogue().trial()
        talk.tell(p.Configured(30.0, 7200.0))
        talk.tell(p.Described(1, finishes=True))
        talk.tell(p.Counted(1, open=opened))
        first, *_, last = talk.tell(p.AskedCommit())
        self.assertEqual(first, p.Finish(1))
        words = "red stays; blue finishes what it has open, within 2h, and ends"
        self.assertEqual(last, p.Done(words))
        return talk

    def test_left_alone(self) -> None:
        """It is told nothing more until it has had its time, is then hurried, asked once more, and
        killed."""
        talk = self.finishing()
        self.assertEqual(talk.wait(7200.0 + DRAIN_MARGIN - 1), [])
        self.assertEqual(talk.wait(1), [p.End(1)])
        self.assertEqual(talk.wait(30.0 + DRAIN_MARGIN), [p.End(1)])
        self.assertEqual(talk.wait(URGE_WITHIN), [p.Kill(1)])

    def test_ends(self) -> None:
        """That it ends is told to nobody."""
        talk = self.finishing()
        self.assertEqual(talk.tell(p.Stopping(1, within=7230.0)), [])
        self.assertEqual(talk.tell(p.Ended(1, "ended by itself")), [])
        self.assertEqual(talk.pair.ending, ())

    def test_says_until_when(self) -> None:
        """Its own word on how long it may take counts, once."""
        talk = self.finishing()
        for within in (9000.0, 1e9):
            talk.tell(p.Stopping(1, within=within))
            self.assertEqual(talk.pair.ending[0].finish_by, talk.now + 9000.0 + DRAIN_MARGIN)

    def test_older_team(self) -> None:
        """One that does not know how is asked to end, as ever."""
        talk = Dialogue().trial()
        first, *_, last = talk.tell(p.AskedCommit())
        self.assertEqual(first, p.End(1))
        self.assertEqual(last, p.Done("red stays; blue finishes what it has open, and ends"))

    def test_rollback_and_restart(self) -> None:
        """The same holds for whoever else is followed, and was well until then."""
        talk = Dialogue().trial()
        talk.tell(p.Described(2, finishes=True))
        talk.tell(p.AskedRollback())
        talk.tell(p.Gave(2))
        self.assertEqual(talk.tell(p.Took(1))[0], p.Finish(2))
        talk = Dialogue().serving()
        talk.tell(p.Described(1, finishes=True))
        talk.tell(p.AskedRestart())
        talk.tell(p.Proved(2))
        talk.tell(p.Gave(1))
        words = "blue serves; the one before it finishes what it has open, within 1d, and ends"
        self.assertEqual(talk.tell(p.Took(2)), [p.Finish(1), p.Done(words)])

    def test_who_failed(self) -> None:
        """Who could not take over has nothing worth a day."""
        talk = Dialogue().taking()
        talk.tell(p.Described(2, finishes=True))
        self.assertEqual(talk.wait(TAKE_WITHIN)[:3], [p.StandBy(2), p.End(2), p.Accept(1)])

    def test_next_switch(self) -> None:
        """Another process from its folder hurries it, and who asked for that hears so."""
        talk = self.finishing()
        talk.tell(p.Stopping(1, within=7230.0))
        talk.pair, commands = step(talk.pair, p.AskedSwitch(), talk.now)
        words = "blue still finishes 1 connection of before; it has 30s more"
        self.assertEqual(commands[:2], (p.Say(words), p.End(1)))
        self.assertEqual(commands[-1], p.Spawn(3, "blue", True))
        # What it says late, or again, gives it no more time.
        talk.tell(p.Stopping(1, within=7230.0, finishing=True))
        self.assertEqual(talk.wait(30.0 + DRAIN_MARGIN), [p.End(1)])
        self.assertEqual(talk.wait(URGE_WITHIN), [p.Kill(1)])

    def test_other_folder(self) -> None:
        """What is started from the other folder is no concern of it, nor is a start that nobody
        asked for."""
        talk = self.finishing()
        self.assertEqual(talk.tell(p.AskedRestart()), [p.Spawn(3, "red", True)])
        talk = self.finishing()
        talk.tell(p.Ended(2, "was ended by SIGKILL"))
        self.assertTrue(talk.pair.member(1) is not None and talk.pair.ending[0].at_leisure)

    def test_hurried(self) -> None:
        """Who is about to do something to its folder has it hurried at any stage, and whoever
        waits for something else goes on waiting."""
        talk = self.finishing(2)
        talk.tell(p.AskedRestart())
        self.assertEqual(talk.tell(p.AskedHurry("red")), [p.Reply("red has nothing to be hurried")])
        done = talk.tell(p.AskedHurry("blue"))
        self.assertEqual(done, [p.End(1), p.Reply("blue has been told to end soon")])

    def test_end_of_all(self) -> None:
        """The keeper's end hurries it; the live one stays for what it may need, and no longer."""
        talk = self.finishing()
        self.assertEqual(talk.tell(p.AskedEnd()), [p.Failed("the keeper ends"), p.End(1)])
        self.assertEqual(talk.wait(LEAVE_WITHIN), [p.End(2)])
        talk.tell(p.Ended(2, "ended by itself"))
        self.assertEqual(talk.tell(p.Ended(1, "ended by itself")), [p.Quit()])

    def test_not_at_the_end(self) -> None:
        """While the keeper ends, nobody has such time, whatever it says."""
        talk = Dialogue().trial()
        talk.tell(p.AskedEnd())
        talk.tell(p.Stopping(2, within=7000.0, finishing=True))
        self.assertEqual([one.at_leisure for one in talk.pair.ending], [False, False])

    def test_hangs(self) -> None:
        """One that has said that it lives, and does not any more, is made to end, as anybody."""
        talk = self.finishing()
        talk.tell(p.Beat(1))
        self.assertEqual(talk.wait(WATCHDOG), [p.Abort(1)])
        self.assertEqual(talk.wait(ABORT_WITHIN), [p.Kill(1)])

    def test_not_written_down(self) -> None:
        """A keeper that knows nothing of the commit hears of it from the team itself."""
        talk = Dialogue().trial()
        talk.tell(p.Stopping(1, within=7000.0, finishing=True))
        self.assertEqual((talk.pair.stage, talk.pair.other), (Stage.SERVING, None))
        self.assertTrue(talk.pair.ending[0].at_leisure)
        self.assertEqual(talk.wait(7000.0 + DRAIN_MARGIN), [p.End(1)])


class OverTests(SynchronousTestCase):
    """What was alarmed about is over when it is."""

    def test_ends(self) -> None:
        """That a team has ended: when one has served for its first minutes, on trial, too."""
        talk = Dialogue().serving()
        talk.tell(p.Ended(1, "was ended by SIGKILL"))
        talk.tell(p.Proved(2))
        talk.wait(10.0)
        talk.tell(p.AskedSwitch())
        talk.tell(p.Proved(3))
        talk.tell(p.Gave(2))
        talk.wait(5.0)
        talk.tell(p.Took(3))
        self.assertEqual(talk.wait(STEADY - 0.1), [])
        self.assertEqual(talk.wait(0.1), [p.Clear(ENDED)])
        self.assertEqual((talk.pair.stage, talk.wait(1e6)), (Stage.TRIAL, []))

    def test_duty(self) -> None:
        """That a team has not taken duty: when it has, or another one, or when it has gone."""

        def without_duty() -> Dialogue:
            talk = Dialogue().taking()
            talk.tell(p.Ended(2, "ended"))
            self.assertEqual([type(c) for c in talk.wait(TAKE_WITHIN)], [p.Raise])
            self.assertEqual(talk.pair.raised, {DUTY})
            return talk

        self.assertEqual(without_duty().tell(p.Took(1)), [p.Clear(DUTY)])
        talk = without_duty()
        talk.tell(p.AskedSwitch())
        talk.tell(p.Proved(3))
        talk.tell(p.Gave(1))
        self.assertEqual(talk.tell(p.Took(3))[0], p.Clear(DUTY))
        talk = without_duty()
        self.assertEqual(talk.tell(p.Ended(1, "ended"))[0], p.Clear(DUTY))
        talk = without_duty()
        talk.tell(p.Beat(1))
        self.assertEqual(talk.wait(WATCHDOG)[:2], [p.Abort(1), p.Clear(DUTY)])

    def test_taken_back(self) -> None:
        """That a newcomer was taken back: when one has taken over after it."""
        talk = Dialogue().trial()
        talk.tell(p.Ended(2, "ended"))
        talk.tell(p.Took(1))
        self.assertEqual(talk.wait(1e6), [])
        talk.tell(p.AskedSwitch())
        talk.tell(p.Proved(3))
        talk.tell(p.Gave(1))
        self.assertEqual(talk.tell(p.Took(3))[0], p.Clear(TAKEN_BACK))


class World(RuleBasedStateMachine):
    """Teams that do anything at any time, a person who asks for anything, and what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pair = Pair(until=0.0)
        self.accepting: dict[int, bool] = {}
        """Which processes there are, and whether each was last told to accept."""
        self.heard_at: dict[int, float] = {}
        """When each that has ever beaten was last heard."""
        self.accepted: set[int] = set()
        """Those that were ever told to accept: they may have visitors."""
        self.asked_at: dict[int, float] = {}
        """When each was first asked to end, or said that it does."""
        self.at_once = False
        """Whether the keeper was told to end and not to wait."""
        self.killed: set[int] = set()
        self.can_finish: set[int] = set()
        self.told_to_finish: set[int] = set()
        self.told_to_end: set[int] = set()
        self.late: set[int] = set()
        """Those that said by themselves that they finish: nobody can have told them not to."""
        self.waiting = 0
        self.least_drain = self.pair.drain_within
        self.feed(p.Passed())

    def feed(self, event: p.Event) -> None:
        """Have it happen, and obey."""
        before = self.pair
        self.at_once |= isinstance(event, p.AskedEnd) and before.stage is Stage.LEAVING
        if isinstance(event, p.Ended):
            self.accepting.pop(event.id, None)
        if isinstance(event, p.Stopping):
            self.accepting[event.id] = False
            self.asked_at.setdefault(event.id, self.now)
        if isinstance(event, p.Beat) or (isinstance(event, p.Told) and event.id in self.heard_at):
            self.heard_at[event.id] = self.now
        self.pair, commands = step(before, event, self.now)
        asked = isinstance(event, p.Asked) and not isinstance(event, p.AskedEnd)
        if isinstance(event, p.Described) and event.finishes:
            self.can_finish.add(event.id)
        for command in commands:
            match command:
                case p.Spawn(id, _, stand_by):
                    assert id not in self.accepting
                    self.accepting[id] = not stand_by
                    self.accepted |= set() if stand_by else {id}
                case p.Finish(id):
                    # Only one that knows how, that has not been told, and that does not serve.
                    assert id in self.can_finish
                    assert id not in self.told_to_finish | self.told_to_end
                    self.told_to_finish.add(id)
                    self.may_end(before, event, id)
                    if id in self.accepting:
                        self.accepting[id] = False
                case p.StandBy(id) | p.End(id) | p.Kill(id) | p.Abort(id):
                    if isinstance(command, p.End):
                        self.told_to_end.add(id)
                        self.asked_at.setdefault(id, self.now)
                    if isinstance(command, p.Kill):
                        self.has_had_time(before, event, id)
                        self.killed.add(id)
                    if not isinstance(command, p.StandBy):
                        self.may_end(before, event, id)
                    if id in self.accepting:
                        self.accepting[id] = False
                case p.Accept(id):
                    assert id in self.accepting
                    if isinstance(event, p.Passed) and before.stage is Stage.TAKING:
                        # While another one accepts, nothing is given back to one that may hang.
                        assert self.silence(id) < SILENT + 1e-6
                    self.accepting[id] = True
                    self.accepted.add(id)
                case p.Failed():
                    self.waiting = 0
                case p.Reply():
                    assert isinstance(event, p.AskedHurry)
                    asked = False
                case p.Done() | p.Refuse():
                    self.waiting = 0 if isinstance(command, p.Done) else self.waiting
                    asked = False
                case p.Quit():
                    assert not self.accepting
            # Never two at once, not even between two commands.
            assert sum(self.accepting.values()) <= 1, (before, event, commands)
        self.waiting += asked

    def may_end(self, before: Pair, event: p.Event, id: int) -> None:
        """What happens to a newcomer never ends the one that serves."""
        if before.live is None or before.live.id != id:
            return
        assert (
            isinstance(event, p.AskedEnd)
            or before.stage is Stage.LEAVING
            # It hangs...
            or (isinstance(event, p.Passed) and self.silence(id) >= WATCHDOG - 1e-6)
            # ...or has never served...
            or (before.stage is Stage.OPENING and isinstance(event, p.Passed))
            # ...or another one does by now.
            or (isinstance(event, p.Took) and before.stage is Stage.TAKING)
        ), (before, event)

    def has_had_time(self, before: Pair, event: p.Event, id: int) -> None:
        """Who may have visitors is killed only when it hangs, has never proven itself, or has had
        its time since it was asked to end; unless a person wants no waiting."""
        member = before.member(id)
        assert member is not None
        hung = self.silence(id) >= WATCHDOG - 1e-6
        unproven = not member.ready and member.serves is None
        if id in self.accepted and not (self.at_once or hung or unproven):
            least = self.least_drain + DRAIN_MARGIN
            assert self.now - self.asked_at[id] >= least - 1e-6, (before, event)

    def silence(self, id: int) -> float:
        """How long one that beats has not been heard."""
        return self.now - self.heard_at.get(id, math.inf)

    @rule(within=st.sampled_from([1.0, 30.0, 3600.0]))
    def configured(self, within: float) -> None:
        self.least_drain = min(self.least_drain, within)
        self.feed(p.Configured(within, 2 * within))

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 10.0, 60.0, 400.0]))
    def time(self, seconds: float) -> None:
        end = self.now + seconds
        while due(self.pair) <= end:
            self.now = max(self.now, due(self.pair))
            self.feed(p.Passed())
        self.now = end

    @rule(which=st.integers(0, 9), what=st.sampled_from(HEARD))
    def heard(self, which: int, what: str) -> None:
        ids = sorted(self.accepting)
        if not ids:
            return
        id = ids[which % len(ids)]
        match what:
            case "proved":
                self.feed(p.Proved(id))
            case "gave":
                self.feed(p.Gave(id))
            case "took":
                self.feed(p.Took(id))
            case "ended":
                self.feed(p.Ended(id, "ended"))
            case "stopping":
                self.feed(p.Stopping(id, within=1000.0 if which % 2 else None))
            case "finishing":
                self.late.add(id)
                self.feed(p.Stopping(id, within=LONGEST, finishing=True))
            case "finishes":
                self.feed(p.Described(id, finishes=True))
            case "beat":
                self.feed(p.Beat(id))

    @rule(
        which=st.integers(0, 9),
        answers=st.integers(0, 1000),
        share=st.floats(0, 1),
        alarms=st.integers(0, 2),
    )
    def told(self, which: int, answers: int, share: float, alarms: int) -> None:
        ids = sorted(self.accepting)
        if ids:
            id = ids[which % len(ids)]
            for more in range(6):
                total = answers + more * 50
                self.feed(p.Answered(id, total, int(total * share)))
            self.feed(p.Counted(id, alarms=alarms))

    @rule(
        event=st.sampled_from(
            [
                p.AskedSwitch(),
                p.AskedSwitch(30.0),
                p.AskedRestart(),
                p.AskedCommit(),
                p.AskedRollback(),
                p.AskedHurry("blue"),
                p.AskedHurry("red"),
            ]
        )
    )
    def asked(self, event: p.Event) -> None:
        self.feed(event)

    @rule(beats=st.booleans(), gives=st.booleans(), stops=st.booleans())
    def handed_over(self, beats: bool, gives: bool, stops: bool) -> None:
        """A switch comes as far as it seldom does by chance: the other accepts, no more."""
        live = self.pair.live
        if live is None or self.pair.stage is not Stage.SERVING:
            return
        if beats:
            self.feed(p.Beat(live.id))
        self.feed(p.AskedSwitch())
        newcomer = self.pair.other
        assert newcomer is not None
        self.feed(p.Proved(newcomer.id))
        if gives:
            self.feed(p.Gave(live.id))
        self.time(GIVE_WITHIN)
        self.time(TAKE_WITHIN)
        if stops and newcomer.id in self.accepting:
            self.feed(p.Stopping(newcomer.id))

    @rule(sure=st.integers(0, 19))
    def end(self, sure: int) -> None:
        if sure == 0:
            self.feed(p.AskedEnd())

    @invariant()
    def somebody_accepts(self) -> None:
        """At every moment one team accepts, or is being told to within a known time."""
        pair = self.pair
        left = pair.until - self.now
        match pair.stage:
            case Stage.YIELDING:
                assert left <= GIVE_WITHIN and pair.other is not None  # noqa: PT018
            case Stage.DOWN:
                assert left <= PAUSES[-1]
            case Stage.LEAVING | Stage.OVER:
                pass
            case _:
                assert sum(self.accepting.values()) == 1

    @invariant()
    def knows_all(self) -> None:
        """The pair's members are the processes there are, and what it thinks of them is so."""
        assert {m.id: m.accepts for m in self.pair.members()} == self.accepting

    @invariant()
    def nobody_is_waited_for_for_ever(self) -> None:
        """Whoever is to end is killed at last; whoever beats is not silent for long."""
        for member in self.pair.ending:
            if member.at_leisure:
                assert member.finish_by <= self.now + 86400.0 + DRAIN_MARGIN
                continue
            assert member.kill_at <= self.now + 3600.0 + DRAIN_MARGIN or member.id in self.killed
        for one in self.pair.watched():
            assert not one.beats or self.silence(one.id) <= WATCHDOG + 1e-6

    @invariant()
    def nobody_is_in_the_way_for_long(self) -> None:
        """What was started because a person asked hurries what its folder still has open; the end
        of all hurries everybody."""
        for member in self.pair.ending:
            if member.at_leisure:
                assert self.pair.stage not in (Stage.LEAVING, Stage.OVER)
                newcomer = self.pair.other
                if self.pair.stage is Stage.PROVING and newcomer is not None:
                    assert member.team != newcomer.team or member.id in self.late

    @invariant()
    def everybody_is_answered(self) -> None:
        """When nothing goes on, nobody waits."""
        if self.pair.stage in (Stage.SERVING, Stage.TRIAL, Stage.OVER):
            assert self.waiting == 0

    @invariant()
    def goes_on(self) -> None:
        """No stage in which something is waited for lasts for ever."""
        if self.pair.stage not in (Stage.SERVING, Stage.TRIAL, Stage.LEAVING, Stage.OVER):
            assert math.isfinite(self.pair.until)
        assert due(self.pair) > self.now or self.pair.until <= self.now


class PromisesTests(SynchronousTestCase):
    def test_whatever_happens(self) -> None:
        """One team accepts at a time, somebody always does, and a newcomer's end ends nobody."""
        run_state_machine_as_test(
            World,
            settings=settings(
                max_examples=200,
                stateful_step_count=60,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def test_is_found(self) -> None:
        """The world notices a machine that lets two accept."""

        def careless(pair: Pair, event: p.Proved, now: float) -> p.Step:
            assert pair.other is not None
            return pair, (p.Accept(pair.other.id),)

        key = (Stage.PROVING, p.Proved)
        self.patch(machine, "TABLE", {**TABLE, key: careless})
        world = World()
        world.feed(p.Proved(1))
        world.feed(p.AskedSwitch())
        with self.assertRaises(AssertionError):
            world.feed(p.Proved(2))
