"""What a life makes of requests, the engine, the probe and the passing of time."""

from __future__ import annotations

import math

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import events as e
from snickers.interfaces.leases import Refusal
from tests.life_dialogue import AGAIN, OLD, SERVER, Dialogue


class RequestTests(SynchronousTestCase):
    """Requests."""

    def test_wakes(self):
        """A request wakes it, and is leased it when it answers."""
        life = Dialogue().asleep().hear(e.Arrived, 1)
        self.assertEqual(life.kinds, ["Start", "Tell"])
        life.hear(e.Started, SERVER)
        self.assertEqual(life.kinds, ["Probe", "Tell"])
        life.hear(e.Arrived, 2).hear(e.HealthPassed)
        self.assertEqual(life.said, (e.Grant((1, 2), SERVER.address), e.SayWoken()))
        self.assertEqual((life.phase, life.state.uses), ("awake", 2))
        life.hear(e.Arrived, 3)
        self.assertEqual(life.said, (e.Grant((3,), SERVER.address),))

    def test_manual(self):
        """What only a person wakes refuses requests, also those that waited for the engine."""
        life = Dialogue(wake="manual").hear(e.Arrived, 1).asleep()
        self.assertEqual(life.refused, [(1, "resting", 300)])
        self.assertEqual(life.hear(e.Arrived, 2).refused, [(2, "resting", 300)])

    def test_after_the_stop(self):
        """A request that comes while it is put to sleep wakes it when it sleeps."""
        life = Dialogue().stopping().hear(e.Arrived, 1)
        self.assertEqual(life.said, ())
        life.hear(e.Stopped)
        self.assertEqual(life.kinds, ["SaySlept", "Start", "Tell"])

    def test_manual_after_the_stop(self):
        """It is not to be back by itself: a request is refused at once."""
        life = Dialogue(wake="manual").asleep().hear(e.WakeAsked).hear(e.Started, SERVER)
        life.hear(e.HealthPassed).wait(100)
        self.assertEqual(
            (life.phase, life.hear(e.Arrived, 1).refused[0][1]), ("stopping", "resting")
        )

    def test_unhealthy(self):
        """While one that does not answer is being stopped, requests are refused."""
        life = Dialogue().checking().wait(30)
        self.assertEqual(life.phase, "stopping")
        self.assertEqual(life.hear(e.Arrived, 1).refused, [(1, "crashed", 5)])

    def test_removing(self):
        """What was removed has nobody wait; what is declared again lets them."""
        life = Dialogue().asleep().hear(e.Removed)
        self.assertEqual(life.hear(e.Arrived, 1).refused, [(1, "stopping", 5)])
        life.hear(e.Changed, life.state.life, "fp").hear(e.Arrived, 2).hear(e.Cleared)
        self.assertEqual(life.phase, "starting")

    def test_forgotten(self):
        """Who is forgotten is not leased; the start goes on."""
        life = Dialogue().asleep().hear(e.Arrived, 1).hear(e.Arrived, 2).hear(e.Forgotten, 1)
        life.hear(e.Started, SERVER).hear(e.HealthPassed)
        self.assertEqual(life.said[0], e.Grant((2,), SERVER.address))

    def test_stale_uses(self):
        """Uses of a server that has ended are given back later, and never make less than none."""
        life = Dialogue().awake(uses=1).hear(e.Exited, "one", "It ended.")
        life.hear(e.GivenBack).hear(e.GivenBack)
        self.assertEqual(life.state.uses, 0)
        life = Dialogue().awake(uses=1).hear(e.Exited, "one", "It ended.").wait(1)
        life.hear(e.Arrived, 1).hear(e.Started, AGAIN).hear(e.GivenBack)
        self.assertEqual((life.phase, life.state.uses), ("checking", 0))


class DoubtTests(SynchronousTestCase):
    """Connections that failed."""

    def test_once(self):
        """A doubt is looked into once, and only if it is about this server."""
        life = Dialogue().awake().hear(e.Doubted, AGAIN.address)
        self.assertEqual(life.said, ())
        life.hear(e.Doubted, SERVER.address)
        epoch = life.state.epoch
        self.assertEqual(life.said, (e.Probe(epoch, SERVER, brief=True), e.Look(epoch)))
        self.assertEqual(life.hear(e.Doubted, SERVER.address).said, ())
        life.hear(e.HealthPassed)
        self.assertEqual((life.phase, life.said), ("awake", ()))
        self.assertEqual(len(life.hear(e.Doubted, SERVER.address).said), 2)

    def test_gone(self):
        """The engine knows that it ended: a crash at once."""
        life = Dialogue().awake().hear(e.Doubted, SERVER.address).hear(e.Listed, None)
        self.assertEqual(life.phase, "crashed")

    def test_unused(self):
        """One that fails the probe and is not in use is stopped, which is a crash."""
        life = Dialogue().awake().hear(e.Doubted, SERVER.address).hear(e.HealthFailed, "no")
        self.assertEqual(life.phase, "stopping")
        life.hear(e.Stopped)
        self.assertEqual((life.phase, life.state.detail), ("crashed", "no"))

    def test_used(self):
        """One in use is checked again, and stopped as soon as nobody uses it."""
        life = Dialogue().awake(uses=2).hear(e.Doubted, SERVER.address).hear(e.HealthFailed, "no")
        self.assertEqual((life.phase, life.kinds), ("checking", ["Warn", "Probe", "Tell"]))
        self.assertEqual(life.hear(e.GivenBack).phase, "checking")
        self.assertEqual(life.hear(e.GivenBack).phase, "stopping")

    def test_used_for_ever(self):
        """One in use that does not answer for three times ``wake within`` is drained, then
        stopped."""
        life = Dialogue().awake(uses=1).hear(e.Doubted, SERVER.address).hear(e.HealthFailed, "no")
        self.assertEqual(life.wait(29).phase, "checking")
        self.assertEqual(life.wait(1).phase, "draining")
        self.assertEqual(life.wait(19).phase, "draining")
        self.assertEqual(life.wait(1).phase, "stopping")

    def test_without_the_engine(self):
        """Nobody can stop it then: it is away until the engine says what it has."""
        life = Dialogue().awake().hear(e.EngineLost, "away").hear(e.Doubted, SERVER.address)
        self.assertEqual(life.kinds, ["Probe"])
        life.hear(e.HealthFailed, "no").hear(e.Arrived, 1)
        self.assertEqual(life.phase, "away")
        life.hear(e.EngineFound).hear(e.Listed, SERVER)
        self.assertEqual(life.phase, "checking")


class StartTests(SynchronousTestCase):
    """Starts that go wrong."""

    def test_slow(self):
        """Who waited ``wake within`` is refused; the start goes on for three times as long."""
        life = Dialogue().asleep().hear(e.Arrived, 1)
        life.wait(5).hear(e.Arrived, 2).wait(5)
        self.assertEqual(life.refused, [(1, "slow", 5)])
        self.assertEqual(life.wait(5).refused, [(2, "slow", 5)])
        self.assertEqual(life.wait(14).phase, "starting")
        life.hear(e.Arrived, 3).wait(1)
        self.assertEqual((life.phase, life.refused), ("stopping", []))
        life.hear(e.Stopped)
        self.assertEqual((life.phase, life.refused), ("crashed", [(3, "crashed", 1)]))

    def test_checked_as_long(self):
        """Start and check have the three times together."""
        life = Dialogue().starting()
        life.wait(20).hear(e.Started, SERVER)
        self.assertEqual(life.wait(9).phase, "checking")
        self.assertEqual(life.wait(1).phase, "stopping")

    def test_why_it_is_slow(self):
        """Its owner is told what was waited for in vain."""
        for health, address, lack in (
            ("tcp", ("127.0.0.1", 80), "s: it accepted no connections on port 80 of 127.0.0.1."),
            ("tcp", "/run/x.sock", "s: it accepted no connections."),
            ("/up", ("127.0.0.1", 80), "/up was not answered with 200 to 399 (health = /up)."),
            ("docker", ("127.0.0.1", 80), "its own check did not pass (health = docker)."),
        ):
            life = Dialogue(health=health).starting()
            life.hear(e.Started, evolve(SERVER, address=address)).wait(30)
            detail = life.state.detail
            self.assertTrue(detail.startswith("It was not ready within 30 s: "), detail)
            self.assertTrue(detail.endswith(lack), detail)
        unstarted = Dialogue().starting().wait(30)
        self.assertEqual(unstarted.state.detail, "It was not ready within 30 s.")

    def test_slow_after_a_crash(self):
        """Uses left over from the one before do not keep a slow start alive."""
        life = Dialogue().awake(uses=1).hear(e.Exited, "one", "It ended.").wait(1)
        life.hear(e.Arrived, 1).wait(30)
        self.assertEqual(life.phase, "stopping")

    def test_how_it_ended(self):
        """A server that ended as soon as it was started is said to have ended as it did."""
        early = Dialogue().starting().hear(e.Exited, "one", "Code 3.").hear(e.Started, SERVER)
        late = Dialogue().checking().hear(e.Exited, "one", "Code 3.")
        for life in (early, late):
            self.assertEqual(life.hear(e.Listed, None).state.detail, "Code 3.")
        silent = Dialogue().checking().hear(e.Listed, None)
        self.assertEqual(silent.state.detail, "It ended while nobody looked.")

    def test_former(self):
        """What another Snickers left can be gone back from, whether it runs or sleeps; what this
        one knows itself is not forgotten for that."""
        for found in (SERVER, evolve(SERVER, running=False, address=None)):
            life = Dialogue().hear(e.EngineFound).hear(e.Listed, found, OLD)
            self.assertEqual((life.state.good, life.state.before), (found, OLD))
        life = Dialogue().awake().hear(e.EngineLost, "away").hear(e.EngineFound)
        life.hear(e.Listed, SERVER, OLD)
        self.assertEqual((life.state.good, life.state.before), (SERVER, None))

    def test_no_address(self):
        """A server without an address is stopped."""
        life = Dialogue().starting().hear(e.Started, evolve(SERVER, address=None))
        self.assertEqual(life.phase, "stopping")
        self.assertIn("no address", life.state.detail)
        self.assertEqual(life.hear(e.Stopped).phase, "crashed")

    def test_ended_at_once(self):
        """A server that is found ended when it was started is said to have ended, and how."""
        ended = evolve(SERVER, running=False, address=None)
        life = Dialogue().starting().hear(e.Started, ended)
        self.assertEqual(life.state.detail, "It ended as soon as it was started.")
        later = life.hear(e.Exited, "one", "Code 3.").hear(e.Stopped)
        self.assertEqual((later.phase, later.state.detail), ("crashed", "Code 3."))
        told = Dialogue().starting().hear(e.Exited, "one", "Code 3.").hear(e.Started, ended)
        self.assertEqual(told.state.detail, "Code 3.")

    def test_engine_away(self):
        """Not reaching the engine is no crash: requests wait on, and the engine is asked."""
        life = Dialogue().asleep().hear(e.Arrived, 1).hear(e.StartFailed, "away", away=True)
        self.assertEqual(
            (life.phase, life.kinds, life.state.crashes), ("away", ["Tell", "Look"], 0)
        )
        self.assertEqual(life.hear(e.Listed, None).phase, "starting")

    def test_ended_before_it_was_told(self):
        """A server whose end is heard of before its start is looked at."""
        life = Dialogue().starting().hear(e.Exited, "one", "It ended.").hear(e.Started, SERVER)
        self.assertEqual(life.kinds, ["Probe", "Tell", "Look"])
        self.assertEqual(life.hear(e.Listed, evolve(SERVER, running=False)).phase, "crashed")

    def test_late_news(self):
        """News of its last end that come late are no news of this one's."""
        life = Dialogue().checking().hear(e.Exited, "one", "It ended.")
        self.assertEqual(life.kinds, ["Look"])
        self.assertEqual(life.hear(e.Listed, SERVER).phase, "checking")
        self.assertEqual(life.hear(e.Exited, "other", "It ended.").said, ())

    def test_late_start(self):
        """A start that was given up and comes about all the same leaves no server behind."""
        life = Dialogue().starting()
        late = life.state.epoch
        life.hear(e.EngineLost, "away").hear(e.EngineFound).hear(e.Listed, None)
        self.assertEqual(life.phase, "asleep")
        life.hear(e.Started(late, SERVER))
        self.assertEqual(life.kinds, ["Look"])
        self.assertEqual(life.hear(e.Listed, SERVER).phase, "checking")


class CrashTests(SynchronousTestCase):
    """Servers that end by themselves."""

    def test_pauses(self):
        """1, 2, 4, 8 seconds of rest, then no end of it; requests are told when to come back."""
        for times, pause in ((1, 1), (2, 2), (3, 4), (4, 8), (5, math.inf)):
            life = Dialogue().crashed(times)
            self.assertEqual(life.state.until - life.now, pause)
            retry = 300 if pause == math.inf else pause
            self.assertEqual(life.hear(e.Arrived, 1).refused, [(1, "crashed", retry)])
        self.assertEqual(life.wait(10**6).phase, "crashed")

    def test_alarm(self):
        """The fifth crash in a row is for a person."""
        self.assertEqual(Dialogue().crashed(4).said[0], e.Warn("It ended."))
        self.assertTrue(Dialogue().crashed(5).said[0].alarm)

    def test_forgiven(self):
        """Five minutes awake, and former crashes are forgotten."""
        life = Dialogue(idle_after=1000).crashed().wait(1).hear(e.Arrived, 1)
        life.hear(e.Started, SERVER).hear(e.HealthPassed)
        self.assertEqual(life.wait(299).state.crashes, 1)
        self.assertEqual(life.wait(1).state.crashes, 0)

    def test_what_follows(self):
        """After the rest it sleeps until somebody wants it; ``always`` is started."""
        self.assertEqual(Dialogue().crashed().wait(1).phase, "asleep")
        self.assertEqual(Dialogue(wake="always").crashed().wait(1).phase, "starting")

    def test_another(self):
        """The end of another server is none of its own."""
        self.assertEqual(Dialogue().awake().hear(e.Exited, "two", "It ended.").phase, "awake")

    def test_draining(self):
        """One that ends while it is drained is stopped."""
        life = Dialogue().awake(uses=1).hear(e.SleepAsked).hear(e.Exited, "one", "It ended.")
        self.assertEqual((life.phase, life.kinds), ("asleep", ["SaySlept"]))

    def test_check_given_up(self):
        """A check that is given up is a crash."""
        life = Dialogue().checking().hear(e.HealthFailed, "broken")
        self.assertEqual(life.phase, "stopping")
        self.assertEqual(life.hear(e.Stopped).phase, "crashed")


class StopTests(SynchronousTestCase):
    """Stops."""

    def test_idle(self):
        """Unused for ``idle after``: stopped, with the time it is given."""
        life = Dialogue().awake()
        self.assertEqual(life.wait(99).said, ())
        life.wait(1)
        self.assertEqual(life.said[0], e.Stop(life.state.epoch, 5))
        self.assertEqual(life.hear(e.Stopped).phase, "asleep")

    def test_not_idle(self):
        """In use, meant to be always awake, or without the engine: it is not stopped."""
        self.assertEqual(Dialogue().awake(uses=1).wait(1000).phase, "awake")
        self.assertEqual(Dialogue(wake="always").awake().wait(1000).phase, "awake")
        self.assertEqual(Dialogue().awake().hear(e.EngineLost, "").wait(1000).phase, "awake")

    def test_idle_since_the_last_use(self):
        """Idleness begins when the last use is given back."""
        life = Dialogue().awake(uses=1).wait(500).hear(e.GivenBack).wait(99)
        self.assertEqual(life.phase, "awake")
        self.assertEqual(life.wait(1).phase, "stopping")

    def test_fails(self):
        """One that cannot be stopped for idleness serves on, after a check."""
        life = Dialogue().stopping().hear(e.StopFailed, "it cannot")
        self.assertEqual(life.kinds, ["Warn", "SayUnslept", "Probe", "Tell", "Look"])

    def test_fails_where_it_must_go(self):
        """One that must not serve on is stopped again after a while."""
        life = Dialogue().awake().hear(e.RestartAsked).hear(e.StopFailed, "it cannot")
        self.assertEqual((life.phase, life.wait(4).kinds), ("stopping", []))
        self.assertEqual(life.wait(1).kinds, ["Stop", "Tell"])

    def test_ends_after_all(self):
        """One that could not be stopped and then ends has been stopped."""
        life = Dialogue().awake().hear(e.RestartAsked)
        self.assertEqual(life.hear(e.Exited, "one", "It ended.").phase, "stopping")
        life.hear(e.StopFailed, "it cannot").hear(e.Exited, "one", "It ended.")
        self.assertEqual(life.phase, "starting")

    def test_engine_away(self):
        """Without the engine the stop waits for it."""
        life = Dialogue().stopping().hear(e.EngineLost, "away")
        life.hear(e.StopFailed, "away", away=True)
        self.assertEqual(life.wait(10**6).kinds, [])
        self.assertEqual(life.hear(e.EngineFound).kinds, ["Stop", "Tell"])

    def test_waiters_of_a_long_stop(self):
        """Nobody waits for a stop longer than ``wake within``."""
        life = Dialogue().stopping().hear(e.Arrived, 1).wait(10)
        self.assertEqual(life.refused, [(1, "slow", 5)])


class EngineTests(SynchronousTestCase):
    """The engine that goes and comes."""

    def test_at_first(self):
        """Nothing is known until the engine has said what it has; requests wait."""
        life = Dialogue().hear(e.Arrived, 1)
        self.assertEqual((life.phase, life.said), ("away", ()))
        self.assertEqual(life.hear(e.EngineFound).kinds, ["Look"])
        self.assertEqual(life.hear(e.Listed, None).phase, "starting")

    def test_always(self):
        """What is always awake is started when the engine has nothing of it."""
        self.assertEqual(Dialogue(wake="always").asleep().phase, "starting")

    def test_away(self):
        """A request waits ``wake within`` for the engine."""
        life = Dialogue().asleep().hear(e.EngineLost, "away").hear(e.Arrived, 1)
        self.assertEqual(life.wait(9).said, ())
        self.assertEqual(life.wait(1).refused, [(1, "away", 30)])

    def test_back(self):
        """That the engine was away is not said any more when it is back."""
        life = Dialogue().awake().hear(e.EngineLost, "away").wait(10)
        life.hear(e.HealthFailed, "It does not answer in time.")
        self.assertEqual((life.phase, life.state.detail), ("away", "It does not answer in time."))
        life.hear(e.EngineFound).hear(e.Listed, None)
        self.assertEqual((life.phase, life.state.detail), ("asleep", ""))

    def test_none(self):
        """Where there will never be an engine, nobody waits."""
        life = Dialogue().hear(e.Arrived, 1).hear(e.EngineLost, "none", for_good=True)
        self.assertEqual(life.refused, [(1, "away", 300)])
        self.assertEqual(life.hear(e.Arrived, 2).said, (e.Refuse((2,), Refusal("away", 300)),))
        life.hear(e.Removed)
        self.assertEqual((life.phase, life.kinds[-1]), ("over", "Part"))

    def test_removed_without_hope(self):
        """What was removed while the engine was away is over when there is none any more."""
        life = Dialogue().hear(e.Removed).hear(e.EngineLost, "none", for_good=True)
        self.assertEqual((life.phase, life.kinds[-1]), ("over", "Part"))

    def test_adopted(self):
        """A server that runs already is checked, and serves."""
        life = Dialogue().hear(e.EngineFound).hear(e.Listed, SERVER)
        self.assertEqual(life.phase, "checking")
        self.assertEqual(life.hear(e.HealthPassed).phase, "awake")

    def test_not_adopted(self):
        """A server of another declaration is stopped; one that is wanted is started then."""
        life = Dialogue().hear(e.EngineFound).hear(e.Listed, OLD)
        self.assertEqual(life.phase, "stopping")
        self.assertEqual(life.hear(e.Stopped).phase, "asleep")
        life = Dialogue().hear(e.Arrived, 1).hear(e.EngineFound).hear(e.Listed, OLD)
        self.assertEqual(life.hear(e.Stopped).phase, "starting")

    def test_inherited(self):
        """What another Snickers had awake is as idle here as it was there, unless it was used
        meanwhile; what it had frozen too."""
        for used, expected in ((False, 940.0), (True, 1000.0)):
            life = Dialogue().hear(e.Inherited, 940.0, crashes=2).hear(e.EngineFound)
            if used:
                life.hear(e.Arrived, 1)
            life.hear(e.Listed, SERVER).hear(e.HealthPassed)
            self.assertEqual((life.phase, life.state.used), ("awake", expected))
            self.assertEqual((life.state.crashes, life.state.inherited), (2, None))
        life = Dialogue().hear(e.Inherited, 940.0).hear(e.EngineFound)
        life.hear(e.Listed, evolve(SERVER, paused=True))
        self.assertEqual((life.phase, life.state.used), ("paused", 940.0))

    def test_inherited_stop(self):
        """What another Snickers was about to stop is stopped, and started for those who wait: its
        call may go on, and would end the server under their hands."""
        life = Dialogue().hear(e.Inherited, 940.0, stopping=True).hear(e.Arrived, 1)
        life.hear(e.EngineFound).hear(e.Listed, SERVER)
        self.assertEqual((life.phase, life.kinds), ("stopping", ["Stop", "Tell"]))
        self.assertEqual(life.hear(e.Stopped).phase, "starting")
        life = Dialogue().hear(e.Inherited, 940.0, stopping=True).hear(e.EngineFound)
        self.assertEqual(life.hear(e.Listed, None).phase, "asleep")

    def test_inherited_rest(self):
        """What rests after a crash rests on, until the same moment."""
        life = Dialogue().hear(e.Inherited, 940.0, 3, 1004.0, detail="it crashed")
        life.hear(e.Arrived, 1).hear(e.EngineFound).hear(e.Listed, None)
        self.assertEqual((life.phase, life.refused), ("crashed", [(1, "crashed", 300)]))
        self.assertEqual((life.state.crashes, life.state.detail), (3, "it crashed"))
        self.assertEqual(life.wait(4).phase, "asleep")
        life = Dialogue().hear(e.Inherited, 940.0, 3, 1000.0).hear(e.EngineFound)
        self.assertEqual(life.hear(e.Listed, None).phase, "asleep")

    def test_inherited_put(self):
        """What a person has put to sleep is left asleep."""
        for put, expected in ((True, "asleep"), (False, "starting")):
            life = Dialogue(wake="always").hear(e.Inherited, 940.0, put=put).hear(e.EngineFound)
            self.assertEqual(life.hear(e.Listed, None).phase, expected)

    def test_lost_while_starting(self):
        """The start is forgotten; the requests wait on."""
        life = Dialogue().asleep().hear(e.Arrived, 1).hear(e.EngineLost, "away")
        self.assertEqual((life.phase, life.refused), ("away", []))

    def test_lost_while_awake(self):
        """It is leased on, and compared when the engine is back."""
        life = Dialogue().awake().hear(e.EngineLost, "away").hear(e.Arrived, 1)
        self.assertEqual(life.kinds, ["Grant"])
        self.assertEqual(life.hear(e.EngineFound).kinds, ["Look"])
        self.assertEqual(life.hear(e.Listed, SERVER).phase, "awake")

    def test_changed_meanwhile(self):
        """What is found in its place is checked, replaced, or a crash."""
        for found, phase in (
            (None, "crashed"),
            (evolve(SERVER, running=False, address=None), "crashed"),
            (evolve(SERVER, address=("127.0.0.1", 3)), "checking"),
            (AGAIN, "checking"),
            (OLD, "stopping"),
        ):
            life = Dialogue().awake().hear(e.EngineLost, "away").hear(e.EngineFound)
            self.assertEqual(life.hear(e.Listed, found).phase, phase)

    def test_drained_meanwhile(self):
        """One that ended while it was drained and nobody could hear of it is stopped."""
        life = (
            Dialogue().awake(uses=1).hear(e.SleepAsked).hear(e.EngineLost, "").hear(e.EngineFound)
        )
        self.assertEqual(life.hear(e.Listed, SERVER).phase, "draining")
        life.hear(e.EngineFound)
        self.assertEqual(life.hear(e.Listed, None).phase, "asleep")

    def test_asleep_after_a_crash(self):
        """One that nobody asks for after a crash is asleep, and it is known why it ended until it
        answers again; only five in a row are an alarm."""
        life = Dialogue().asleep()
        for crash in range(1, 6):
            life.hear(e.Arrived, crash).hear(e.StartFailed, "no such command")
            (warn,) = [each for each in life.said if isinstance(each, e.Warn)]
            self.assertEqual((life.phase, warn.alarm), ("crashed", "crashed" if crash == 5 else ""))
            if crash < 5:
                life.wait(2.0 ** (crash - 1))
                self.assertEqual((life.phase, life.state.detail), ("asleep", "no such command"))
        life.wait(1000)
        self.assertEqual(life.phase, "crashed")
        life.hear(e.WakeAsked).hear(e.Started, SERVER).hear(e.HealthPassed)
        self.assertEqual((life.phase, life.state.detail), ("awake", ""))

    def test_crashed_meanwhile(self):
        """A rest is not cut short by the engine, but a server found running is no crash."""
        life = Dialogue().crashed(5).hear(e.EngineLost, "").hear(e.EngineFound)
        self.assertEqual((life.phase, life.kinds), ("crashed", ["Look"]))
        self.assertEqual(life.hear(e.Listed, None).phase, "crashed")
        self.assertEqual(life.hear(e.EngineFound).hear(e.Listed, SERVER).phase, "checking")
        self.assertEqual(Dialogue().crashed().hear(e.EngineLost, "").phase, "away")

    def test_removal(self):
        """A removal that fails is tried again: later, or when the engine is back."""
        life = Dialogue().asleep().hear(e.Removed).hear(e.ClearFailed, "it cannot")
        self.assertEqual(life.kinds, ["Warn"])
        self.assertEqual(life.wait(59).kinds, [])
        self.assertEqual(life.wait(1).kinds, ["Clear"])
        life.hear(e.EngineLost, "").hear(e.ClearFailed, "away", away=True)
        self.assertEqual(life.hear(e.EngineFound).kinds, ["Clear"])
        self.assertEqual(life.hear(e.Cleared).said, (e.Part(),))
