"""Who hangs is made to end, and who is to end does: in its time, or by force."""

from __future__ import annotations

import math

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.teams import pair as p
from snickers.teams.ends import ABORT_WITHIN, LATE, LOOK_AGAIN, WATCHDOG, leaves_within
from snickers.teams.machine import ASK_AGAIN, LEAVE_WITHIN
from snickers.teams.moves import (
    DRAIN_MARGIN,
    ENDED,
    GIVE_WITHIN,
    KILL_AFTER,
    MOST,
    PROVE_WITHIN,
    TAKE_WITHIN,
    TAKEN_BACK,
    URGE_WITHIN,
)
from snickers.teams.pair import Stage
from tests.test_machine import Dialogue


class WatchTests(SynchronousTestCase):
    """One that has said that it lives is held to that."""

    def test_on_trial(self) -> None:
        """A newcomer that hangs is made to end, the one before takes over at once, and an alarm
        says why; if need be force is used."""
        talk = Dialogue().trial()
        talk.tell(p.Beat(2))
        self.assertEqual(talk.wait(WATCHDOG - 0.1), [])
        words = "red hung and was ended on trial: blue has taken over again"
        self.assertEqual(talk.wait(0.1), [p.Abort(2), p.Accept(1), p.Raise(TAKEN_BACK, words)])
        self.assertEqual(talk.tell(p.Took(1)), [p.Done("blue serves, alone")])
        self.assertEqual(talk.wait(ABORT_WITHIN), [p.Kill(2)])
        self.assertEqual(talk.tell(p.Ended(2, "was ended by SIGABRT")), [])
        self.assertEqual(talk.pair.ending, ())

    def test_alone(self) -> None:
        """One that serves alone and hangs is followed by another process at once."""
        talk = Dialogue().serving()
        talk.tell(p.Beat(1))
        words = "blue hung and was ended"
        self.assertEqual(
            talk.wait(WATCHDOG),
            [p.Abort(1), p.Raise(ENDED, words), p.Failed(words), p.Spawn(2, "blue", False)],
        )
        self.assertEqual(talk.pair.failures, 1)

    def test_others(self) -> None:
        """So is one that stands by, and one that proves itself: the live one hears nothing."""
        talk = Dialogue().trial()
        talk.tell(p.Beat(1))
        self.assertEqual(talk.wait(WATCHDOG), [p.Abort(1)])
        self.assertEqual(talk.pair.stage, Stage.SERVING)
        talk = Dialogue().proving()
        talk.tell(p.Beat(2))
        self.assertEqual(talk.wait(WATCHDOG + LOOK_AGAIN), [])
        talk = Dialogue().proving()
        talk.tell(p.Beat(2))
        talk.pair = talk.pair.changed(evolve(talk.pair.member(2), ready=True))
        words = "red has not proven itself: it hung and was ended (see the log); blue goes on"
        self.assertEqual(talk.wait(WATCHDOG), [p.Abort(2), p.Failed(words)])

    def test_as_it_takes_over(self) -> None:
        """At any moment of a handover the one that is left accepts."""
        talk = Dialogue().taking()
        talk.tell(p.Beat(2))
        talk.pair = evolve(talk.pair, until=math.inf)
        self.assertEqual(talk.wait(WATCHDOG)[:2], [p.Abort(2), p.Accept(1)])
        talk = Dialogue().yielding()
        talk.tell(p.Beat(1))
        talk.pair = evolve(talk.pair, until=math.inf)
        self.assertEqual(talk.wait(WATCHDOG), [p.Abort(1), p.Accept(2)])

    def test_of_a_version_that_does_not(self) -> None:
        """One that has never said it may be silent for ever."""
        talk = Dialogue().trial()
        talk.tell(p.Described(2, status="serving"))
        self.assertEqual(talk.wait(1e6), [])

    def test_any_word(self) -> None:
        """Whatever it tells shows that it lives."""
        talk = Dialogue().trial()
        talk.tell(p.Beat(2))
        for second in range(10):
            self.assertEqual(talk.wait(WATCHDOG - 1.0), [])
            talk.tell(p.Answered(2, second, 0) if second % 2 else p.Counted(2, open=second))

    def test_looked_at_twice(self) -> None:
        """A keeper that was held up itself, or whose host was, concludes nothing from what it has
        not heard: it looks anew, and one that is heard then is well."""
        for asleep in (WATCHDOG - LOOK_AGAIN + 0.1, 100.0, 86400.0):
            talk = Dialogue().trial()
            talk.tell(p.Beat(2))
            talk.now += asleep
            self.assertEqual(talk.tell(p.Passed()), [])
            self.assertEqual(talk.wait(LOOK_AGAIN - 0.1), [])
            talk.tell(p.Beat(2))
            self.assertEqual(talk.wait(LOOK_AGAIN), [])
        # In the middle between two looks, too.
        talk = Dialogue().trial()
        talk.tell(p.Beat(2))
        talk.wait(WATCHDOG - 1.0)
        talk.now += 100.0
        self.assertEqual(talk.tell(p.Passed()), [])
        self.assertEqual(talk.wait(LOOK_AGAIN - 0.1), [])
        self.assertEqual(talk.wait(0.2)[0], p.Abort(2))

    def test_a_little_late(self) -> None:
        """A look that comes somewhat late, as on a busy machine, is a look."""
        talk = Dialogue().trial()
        talk.tell(p.Beat(2))
        talk.wait(WATCHDOG - 1.0)
        talk.now += 1.0 + LATE
        self.assertEqual(talk.tell(p.Passed())[0], p.Abort(2))

    def test_one_that_ends(self) -> None:
        """Who finishes what it has open has its time for that; it is made to end when it hangs,
        too, if it ever said that it lives, and need say nothing otherwise."""
        for beats in (True, False):
            talk = Dialogue().trial()
            if beats:
                talk.tell(p.Beat(1))
            talk.tell(p.Configured(1000.0))
            talk.tell(p.AskedCommit())
            done = [p.Abort(1), p.Kill(1)] if beats else []
            self.assertEqual(talk.wait(1000.0), done)

    def test_one_that_loads(self) -> None:
        """Before it has proven itself a team may block for as long as it may take for that; what
        it has said before holds it to nothing, and nothing is due for it."""
        talk = Dialogue()
        talk.tell(p.Passed())
        talk.tell(p.Beat(1))
        self.assertEqual(talk.wait(PROVE_WITHIN - 1.0), [])
        talk.tell(p.Proved(1))
        self.assertEqual(talk.wait(WATCHDOG - 0.1), [])
        self.assertEqual(talk.wait(0.1)[0], p.Abort(1))

    def test_switch_while_the_live_one_hangs(self) -> None:
        """The newcomer, which accepts, is not taken away for one that says nothing any more: it
        has duty when that one has been made to end."""
        for since in (0.0, 5.0, 15.0, 25.0):
            talk = Dialogue().serving()
            talk.tell(p.Beat(1))
            talk.wait(since)
            talk.tell(p.AskedSwitch())
            self.assertEqual(talk.tell(p.Proved(2)), [p.StandBy(1)])
            done = talk.wait(WATCHDOG - since)
            self.assertEqual(done, [p.Accept(2), p.Abort(1)])
            self.assertEqual(talk.wait(TAKE_WITHIN - 0.1), [p.Kill(1)])
            self.assertEqual(talk.tell(p.Took(2)), [p.Done("red serves, alone")])

    def test_switch_from_one_that_is_slow(self) -> None:
        """One that lives and does not give duty up accepts again, as ever; so does one that was
        silent for a while and is heard again."""
        talk = Dialogue().yielding()
        for _ in range(2):
            talk.tell(p.Beat(1))
            done = talk.wait((GIVE_WITHIN + TAKE_WITHIN) / 2)
        self.assertEqual(done[:3], [p.StandBy(2), p.End(2), p.Accept(1)])
        talk = Dialogue().yielding()
        talk.tell(p.Beat(1))
        talk.wait(WATCHDOG - 1.0)
        talk.tell(p.Beat(1))
        self.assertEqual(talk.wait(1.0)[:3], [p.StandBy(2), p.End(2), p.Accept(1)])


class DrainTests(SynchronousTestCase):
    """Whoever is asked to end does, at last."""

    def test_never_ends(self) -> None:
        """A team that has served finishes what it has open for as long as it may; then it is asked
        once more, and then killed."""
        talk = Dialogue().trial()
        talk.tell(p.Configured(600.0))
        talk.tell(p.AskedCommit())
        self.assertEqual(talk.wait(600.0 + DRAIN_MARGIN - 0.1), [])
        self.assertEqual(talk.wait(0.1), [p.End(1)])
        self.assertEqual(talk.wait(URGE_WITHIN - 0.1), [])
        self.assertEqual(talk.wait(0.1), [p.Kill(1)])
        self.assertEqual(talk.wait(1e6), [])

    def test_each_way(self) -> None:
        """So it is whoever ends, and why."""
        talk = Dialogue().trial()
        talk.tell(p.AskedRollback())
        talk.tell(p.Gave(2))
        talk.tell(p.Took(1))
        self.assertEqual(talk.wait(1e4), [p.End(2), p.Kill(2)])
        talk = Dialogue().serving()
        talk.tell(p.AskedRestart())
        talk.tell(p.Proved(2))
        talk.tell(p.Gave(1))
        talk.tell(p.Took(2))
        self.assertEqual(talk.wait(1e4), [p.End(1), p.Kill(1)])
        talk = Dialogue().trial()
        talk.tell(p.AskedEnd())
        done = talk.wait(1e4)
        self.assertEqual(done, [p.End(2), p.End(1), p.Kill(1), p.End(2), p.Kill(2)])

    def test_newcomer_that_stops_and_hangs(self) -> None:
        """A newcomer that says that it ends and does not is killed: it has nothing open."""
        talk = Dialogue().proving()
        self.assertEqual([type(c) for c in talk.tell(p.Stopping(2))], [p.Failed])
        self.assertEqual(talk.wait(KILL_AFTER), [p.Kill(2)])

    def test_newcomer_that_served_as_it_took_over(self) -> None:
        """A newcomer that accepted, but never came on duty, has visitors: what they have open it
        may finish, like anybody, whatever it says when it is asked to end."""
        for within in (None, 3600.0):
            talk = Dialogue().taking()
            self.assertIn(p.End(2), talk.wait(TAKE_WITHIN))
            self.assertEqual(talk.tell(p.Stopping(2, within=within)), [])
            (member,) = talk.pair.ending
            self.assertFalse(member.urged)
            self.assertGreaterEqual(member.kill_at, talk.now + 30.0 + DRAIN_MARGIN)
        # At the keeper's end, too.
        talk = Dialogue().taking()
        self.assertIn(p.End(2), talk.tell(p.AskedEnd()))
        talk.tell(p.Stopping(2, within=60.0))
        self.assertEqual(talk.wait(30.0 + DRAIN_MARGIN - 0.1), [p.End(1)])

    def test_live_one_that_stops(self) -> None:
        """One that somebody else has asked to end has its time, too."""
        talk = Dialogue().serving()
        talk.tell(p.Configured(100.0))
        talk.tell(p.Stopping(1))
        talk.tell(p.Proved(2))
        self.assertEqual(talk.wait(100.0 + DRAIN_MARGIN - 0.1), [])
        self.assertEqual(talk.wait(0.1), [p.End(1)])

    def test_what_it_says_itself(self) -> None:
        """How long it needs it knows best, if it says so: once, however often it says it."""
        talk = Dialogue().trial()
        talk.tell(p.AskedCommit())
        talk.tell(p.Stopping(1, within=3600.0))
        talk.wait(1800.0)
        self.assertEqual(talk.tell(p.Stopping(1, within=3600.0)), [])
        self.assertEqual(talk.wait(1800.0 - 0.1), [])
        self.assertEqual(talk.wait(0.1), [p.End(1)])
        talk.tell(p.Stopping(1, within=3600.0))
        self.assertEqual(talk.wait(URGE_WITHIN), [p.Kill(1)])

    def test_all_at_once(self) -> None:
        """When the keeper is asked to end twice nobody is waited for long."""
        talk = Dialogue().trial()
        talk.tell(p.Configured(3600.0))
        talk.tell(p.AskedEnd())
        talk.tell(p.AskedEnd())
        # The live one was not asked before: a second word has it end at once.
        self.assertEqual(talk.wait(ASK_AGAIN), [p.End(2)])
        talk.tell(p.Stopping(2, within=3600.0))
        self.assertEqual(talk.wait(URGE_WITHIN), [p.Kill(2)])
        self.assertEqual(talk.wait(KILL_AFTER), [p.Kill(1)])

    def test_drain_within_and_a_minute(self) -> None:
        """A team says that it needs half a minute more than `drain within`: it has a whole one."""
        talk = Dialogue().trial()
        talk.tell(p.AskedCommit())
        talk.tell(p.Stopping(1, within=60.0))
        self.assertEqual(talk.wait(30.0 + DRAIN_MARGIN - 0.1), [])
        self.assertEqual(talk.wait(0.1), [p.End(1)])

    def test_boast(self) -> None:
        """What a team says is believed within reason."""
        for finishing in (False, True):
            talk = Dialogue().trial()
            talk.tell(p.Stopping(1, within=1e12, finishing=finishing))
            (member,) = talk.pair.ending
            by = min(member.kill_at, member.finish_by)
            self.assertLessEqual(by, talk.now + MOST + DRAIN_MARGIN)

    def test_leaves_within(self) -> None:
        """How long the end of all takes is known at each moment, and true when nobody ends."""
        talk = Dialogue().trial()
        talk.tell(p.Configured(100.0))
        talk.tell(p.AskedEnd())
        whole = talk.now + leaves_within(talk.pair, talk.now)
        talk.tell(p.Stopping(1, within=600.0))
        longer = talk.now + leaves_within(talk.pair, talk.now)
        self.assertEqual(whole, talk.now + LEAVE_WITHIN + 100.0 + DRAIN_MARGIN + URGE_WITHIN)
        self.assertEqual(longer, talk.now + 600.0 + URGE_WITHIN)
        self.assertEqual(talk.wait(longer - talk.now)[-1], p.Kill(1))
        self.assertEqual(leaves_within(talk.pair, talk.now), 0.0)
