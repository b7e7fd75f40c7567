"""How a life comes to rest and back, as dialogues: what happens, and what is said to that."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Lifecycle
from snickers.containers import events as e
from snickers.containers.life import SNAPSHOT_AGAIN, After, Phase, State, due
from snickers.containers.lifecycle import step
from snickers.interfaces.engine import Instance

LIFE = Lifecycle(wake_within=10, pause_after=30, idle_after=100)
DUMPED = evolve(LIFE, snapshot=("dump", "/data"), snapshot_within=60.0)
SERVER = Instance("a.example", "one", "fp", True, ("127.0.0.1", 1))


class Dialogue:
    """A life, the time, and what it has said last."""

    def __init__(self, life: Lifecycle, phase: Phase = Phase.AWAKE, **fields: Any) -> None:
        self.now = 1000.0
        fields = {"engine": True, "instance": SERVER, "proven": True, **fields}
        self.state = State(life, "fp", phase=phase, used=self.now, since=self.now, **fields)
        self.said: tuple[e.Command, ...] = ()

    def hear(self, event: type[e.Event] | e.Event, *arguments: Any) -> tuple[e.Command, ...]:
        """Let *event* happen; one that has an epoch is given the current one."""
        if isinstance(event, type):
            if event is e.GivenBack and not arguments:
                arguments = (SERVER.address,)
            named = "epoch" in getattr(event, "__annotations__", {})
            event = event(*([self.state.epoch] if named else []), *arguments)
        self.state, said = step(self.state, event, self.now)
        # What is told to those who look on is another matter.
        self.said = tuple(command for command in said if not isinstance(command, e.Tell))
        return self.said

    def pass_time(self, seconds: float) -> tuple[e.Command, ...]:
        """Let so much time pass; who is due hears of it."""
        self.now += seconds
        return self.hear(e.TimePassed) if due(self.state) <= self.now else ()


class PauseTests(SynchronousTestCase):
    """The first stage of rest."""

    def paused(self) -> Dialogue:
        life = Dialogue(LIFE)
        self.assertEqual(life.pass_time(29), ())
        (pause,) = life.pass_time(1)
        self.assertIsInstance(pause, e.Pause)
        self.assertEqual(life.hear(e.Paused), ())
        self.assertIs(life.state.phase, Phase.PAUSED)
        return life

    def test_removed(self) -> None:
        """A site that is removed takes nobody in any more while its server is being resumed for
        its end."""
        life = Dialogue(DUMPED, Phase.PAUSED)
        life.hear(e.Removed())
        self.assertIs(life.state.phase, Phase.RESUMING)
        (refuse,) = life.hear(e.Arrived(1))
        self.assertEqual((refuse.tickets, refuse.refusal.kind), ((1,), "stopping"))

    def test_woken_while_changed(self) -> None:
        """Who wakes it while it is resumed to be replaced calls nothing off but a sleep."""
        for sleep in (False, True):
            life = self.paused()
            life.hear(e.Arrived(1))
            life.hear(e.Changed, life.state.life, "another")
            if sleep:
                life.hear(e.SleepAsked)
            life.hear(e.WakeAsked)
            self.assertIsNotNone(life.state.leaving)
            life.hear(e.Resumed)
            self.assertIsNot(life.state.phase, Phase.AWAKE)
            life = self.paused()
            life.hear(e.Arrived(1))
            life.hear(e.SleepAsked)
            life.hear(e.WakeAsked)
            life.hear(e.Resumed)
            self.assertIs(life.state.phase, Phase.AWAKE)

    def test_changed_between(self) -> None:
        """A change that needs no other server calls off nothing that a person has asked for and is
        waiting for; one that is taken back has it go on as it is."""
        other = evolve(LIFE, idle_after=50.0)
        for ask in (e.SleepAsked(), e.RestartAsked()):
            life = self.paused()
            life.hear(e.Arrived(1))
            life.hear(ask)
            life.hear(e.Changed(other, "fp"))
            self.assertIsInstance(life.hear(e.Resumed)[-1], e.Stop)
            self.assertIn(e.SaySlept(), life.hear(e.Stopped))
        life = self.paused()
        life.hear(e.Arrived(1))
        life.hear(e.Changed(LIFE, "new"))
        life.hear(e.Changed(other, "fp"))
        life.hear(e.Resumed)
        self.assertIs(life.state.phase, Phase.AWAKE)

    def test_sleepers_are_answered(self) -> None:
        """Whoever wants it asleep hears what comes of that, whatever befalls it on the way."""

        def sleeping(*events: e.Event) -> tuple[e.Command, ...]:
            life = self.paused()
            life.hear(e.Arrived(1))
            life.hear(e.SleepAsked())
            said: tuple[e.Command, ...] = ()
            for event in events:
                if hasattr(event, "epoch"):
                    event = evolve(event, epoch=life.state.epoch)
                said = (*said, *life.hear(event))
            return said

        woken = e.SayUnslept("It was woken meanwhile.")
        self.assertIn(woken, sleeping(e.WakeAsked()))
        changed = e.Changed(evolve(LIFE, idle_after=50.0), "fp")
        self.assertIn(woken, sleeping(changed, e.Arrived(2), e.Resumed(0)))
        self.assertIn(e.SaySlept(), sleeping(e.Exited("one", "It ended.")))
        for away in (False, True):
            self.assertIn(e.SayUnslept("no"), sleeping(e.ResumeFailed(0, "no", away)))
        life = Dialogue(LIFE)
        life.pass_time(30)
        life.hear(e.SleepAsked())
        self.assertIn(e.SayUnslept("no"), life.hear(e.PauseFailed, "no", True))
        life = Dialogue(LIFE)
        life.pass_time(30)
        self.assertNotIn(e.SaySlept(), life.hear(e.Exited("one", "It ended.")))
        self.assertIs(life.state.phase, Phase.CRASHED)

    def test_always_between(self) -> None:
        """One that is to be always awake from now on goes to rest no more."""
        life = self.paused()
        life.state = evolve(life.state, phase=Phase.RESUMING, leaving=After.SLEEP)
        life.hear(e.Changed(evolve(LIFE, wake="always"), "fp"))
        life.hear(e.Resumed)
        self.assertIs(life.state.phase, Phase.AWAKE)

    def test_and_back(self) -> None:
        """A request has it go on, and is answered as soon as it does."""
        life = self.paused()
        (resume,) = life.hear(e.Arrived(1))
        self.assertIsInstance(resume, e.Resume)
        self.assertEqual(life.hear(e.Arrived(2)), ())
        grant, _ = life.hear(e.Resumed)
        self.assertEqual(grant, e.Grant((1, 2), ("127.0.0.1", 1)))

    def test_while_it_is_frozen(self) -> None:
        """Who comes in the middle of it waits for it to be done and undone."""
        life = Dialogue(LIFE)
        life.pass_time(30)
        self.assertEqual(life.hear(e.Arrived(1)), ())
        (resume,) = life.hear(e.Paused)
        self.assertIsInstance(resume, e.Resume)

    def test_second_stage(self) -> None:
        """Without use for long enough it is stopped, counted from its last use."""
        life = self.paused()
        self.assertEqual(life.pass_time(69), ())
        (stop,) = life.pass_time(1)
        self.assertIsInstance(stop, e.Stop)

    def test_stopped_with_a_snapshot(self) -> None:
        """It must go on to make its snapshot; somebody who comes meanwhile keeps it awake."""
        life = self.paused()
        life.state = evolve(life.state, life=DUMPED)
        (resume,) = life.pass_time(70)
        self.assertIsInstance(resume, e.Resume)
        (snapshot,) = life.hear(e.Resumed)
        self.assertEqual(snapshot, e.Snapshot(life.state.epoch, ("dump", "/data"), 60.0))
        (grant,) = life.hear(e.Arrived(1))
        self.assertEqual(grant, e.Grant((1,), ("127.0.0.1", 1)))
        life.hear(e.Snapshotted)
        self.assertIs(life.state.phase, Phase.AWAKE)
        self.assertEqual(life.state.uses, 1)

    def test_never(self) -> None:
        """One that is always awake is not paused; one that is used is not."""
        for life in (
            Dialogue(evolve(LIFE, wake="always")),
            Dialogue(LIFE, uses=1),
            Dialogue(evolve(LIFE, pause_after=float("inf"))),
        ):
            self.assertEqual(life.pass_time(50), ())
            self.assertIs(life.state.phase, Phase.AWAKE)

    def test_failed(self) -> None:
        """What cannot be frozen goes on as before, looked at first."""
        life = Dialogue(LIFE)
        life.pass_time(30)
        warn, probe = life.hear(e.PauseFailed, "no freezer")
        self.assertEqual(warn, e.Warn("no freezer"))
        self.assertIsInstance(probe, e.Probe)

    def test_ended_while_paused(self) -> None:
        """A paused server that ends is one that crashed; nobody waits, so it stays asleep."""
        life = self.paused()
        life.hear(e.Exited("one", "killed"))
        self.assertIs(life.state.phase, Phase.CRASHED)
        life.pass_time(1)
        self.assertIs(life.state.phase, Phase.ASLEEP)

    def test_found_paused(self) -> None:
        """Another Snickers had paused it: it is found so, and goes on for the first who comes."""
        life = Dialogue(LIFE, Phase.AWAY, engine=False, instance=None)
        life.hear(e.EngineFound)
        life.hear(e.Listed, evolve(SERVER, paused=True))
        self.assertIs(life.state.phase, Phase.PAUSED)
        (resume,) = life.hear(e.Arrived(1))
        self.assertIsInstance(resume, e.Resume)

    def test_put_to_sleep(self) -> None:
        """A person puts a paused one to sleep; one that is being frozen goes when that is done."""
        life = self.paused()
        self.assertIsInstance(life.hear(e.SleepAsked)[-1], e.Stop)
        life = Dialogue(LIFE)
        life.pass_time(30)
        self.assertEqual(life.hear(e.SleepAsked), (e.SayUnwoken("It was put to sleep."),))
        (stop,) = life.hear(e.Paused)
        self.assertIsInstance(stop, e.Stop)

    def test_changed(self) -> None:
        """A paused one of another declaration is stopped, to sleep, since nobody wants it."""
        life = self.paused()
        (stop,) = life.hear(e.Changed(LIFE, "new"))
        self.assertIsInstance(stop, e.Stop)
        life.hear(e.Stopped)
        self.assertIs(life.state.phase, Phase.ASLEEP)


class VetoTests(SynchronousTestCase):
    """Work that no request asked for."""

    def test_asked_first(self) -> None:
        """Before it rests it is asked, once; a veto counts as a use."""
        life = Dialogue(evolve(LIFE, veto=("in-use",)))
        (inquire,) = life.pass_time(30)
        self.assertEqual(inquire, e.Inquire(life.state.epoch, ("in-use",)))
        self.assertEqual(life.pass_time(10), ())
        life.hear(e.Vetoed)
        self.assertEqual(life.pass_time(29), ())
        life.pass_time(1)
        (pause,) = life.hear(e.Consented)
        self.assertIsInstance(pause, e.Pause)

    def test_used_meanwhile(self) -> None:
        """Who came while it was asked keeps it awake."""
        life = Dialogue(evolve(LIFE, veto=("in-use",)))
        life.pass_time(30)
        life.state = evolve(life.state, uses=1, used=life.now)
        self.assertEqual(life.hear(e.Consented), ())
        self.assertIs(life.state.phase, Phase.AWAKE)

    def test_busy(self) -> None:
        """A server that works is not idle."""
        life = Dialogue(LIFE)
        self.assertEqual(life.pass_time(29), ())
        life.hear(e.Busy)
        self.assertEqual(life.pass_time(29), ())
        self.assertEqual(len(life.pass_time(1)), 1)

    def test_crowded(self) -> None:
        """Who is not in use makes room at once, paused or awake; who is in use, or always awake,
        never does, and a veto is heard."""
        for life in (Dialogue(LIFE), Dialogue(LIFE, Phase.PAUSED)):
            (stop,) = life.hear(e.Crowded)
            self.assertIsInstance(stop, e.Stop)
        for life in (Dialogue(LIFE, uses=1), Dialogue(evolve(LIFE, wake="always"))):
            self.assertEqual(life.hear(e.Crowded), ())
        life = Dialogue(evolve(LIFE, veto=("in-use",)))
        (inquire,) = life.hear(e.Crowded)
        self.assertIsInstance(inquire, e.Inquire)
        (stop,) = life.hear(e.Consented)
        self.assertIsInstance(stop, e.Stop)


class SnapshotTests(SynchronousTestCase):
    """A snapshot before every stop, and no stop without it."""

    def test_before_sleep(self) -> None:
        """Idle: the snapshot, then the stop."""
        life = Dialogue(evolve(DUMPED, pause_after=float("inf")))
        (snapshot,) = life.pass_time(100)
        self.assertIsInstance(snapshot, e.Snapshot)
        calm, stop = life.hear(e.Snapshotted)
        self.assertEqual(calm, e.Calm("snapshot"))
        self.assertIsInstance(stop, e.Stop)

    def test_failed(self) -> None:
        """It is not stopped, whoever wanted it; a person is told, with what it said; it serves on,
        and tries again when it is idle again."""
        for event in (e.SleepAsked(), e.RestartAsked(), e.Changed(DUMPED, "new")):
            life = Dialogue(DUMPED)
            life.hear(event)
            if life.state.preparing:
                life.hear(e.Prepared, True)
            self.assertIs(life.state.phase, Phase.SNAPSHOTTING, event)
            said = life.hear(e.SnapshotFailed, "disk full")
            self.assertIn(e.Warn("disk full", "snapshot"), said)
            self.assertIn(e.SayUnslept("disk full"), said)
            self.assertNotIn(e.Stop, {type(command) for command in said})
            life.hear(e.HealthPassed)
            self.assertIs(life.state.phase, Phase.AWAKE)

    def test_removed(self) -> None:
        """A site that is to go waits for its snapshot, and tries again."""
        life = Dialogue(DUMPED)
        life.hear(e.Removed)
        life.hear(e.SnapshotFailed, "disk full")
        self.assertEqual(life.pass_time(SNAPSHOT_AGAIN - 1), ())
        (snapshot,) = life.pass_time(1)
        self.assertIsInstance(snapshot, e.Snapshot)
        life.hear(e.Snapshotted)
        life.hear(e.Stopped)
        self.assertIs(life.state.phase, Phase.REMOVING)

    def test_held(self) -> None:
        """Before a restart or a change requests wait for the new server."""
        life = Dialogue(DUMPED)
        life.hear(e.RestartAsked)
        self.assertEqual(life.hear(e.Arrived(1)), ())
        life.hear(e.Snapshotted)
        self.assertIs(life.state.phase, Phase.STOPPING)
        self.assertIs(life.state.after, After.START)
        self.assertEqual([waiter.ticket for waiter in life.state.waiters], [1])

    def test_not_of_one_that_never_answered(self) -> None:
        """A server that has not answered since it was started can make none."""
        life = Dialogue(DUMPED, Phase.CHECKING, proven=False)
        said = life.hear(e.SleepAsked)
        self.assertIn(e.Stop, {type(command) for command in said})

    def test_not_of_one_that_failed(self) -> None:
        """A server that does not answer any more is stopped all the same."""
        life = Dialogue(DUMPED, doubted=True)
        (stop,) = life.hear(e.HealthFailed, "refused")
        self.assertIsInstance(stop, e.Stop)
