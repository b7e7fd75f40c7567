"""What a life makes of what persons and the configuration want."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import events as e
from tests.life_dialogue import LIFE, SERVER, Dialogue


class WakeTests(SynchronousTestCase):
    """A person wakes it."""

    def test_asleep(self):
        """It is started, whoever else may not."""
        life = Dialogue(wake="manual").asleep().hear(e.WakeAsked)
        self.assertEqual(life.phase, "starting")
        life.hear(e.Started, SERVER).hear(e.HealthPassed)
        self.assertEqual(life.said, (e.SayWoken(),))

    def test_on_its_way(self):
        """It is said when it is awake, or why it is not."""
        for begun in (Dialogue().starting(), Dialogue().checking()):
            self.assertEqual(begun.hear(e.WakeAsked).said, ())
        life = Dialogue().starting().hear(e.WakeAsked).hear(e.StartFailed, "no image")
        self.assertIn(e.SayUnwoken("no image"), life.said)
        self.assertIsNone(life.state.asked)

    def test_awake(self):
        """There is nothing to do."""
        self.assertEqual(Dialogue().awake().hear(e.WakeAsked).said, (e.Confirm(),))

    def test_draining_to_sleep(self):
        """It goes on to serve after a check; who wanted it asleep is told."""
        life = Dialogue().awake(uses=1).hear(e.SleepAsked).hear(e.WakeAsked)
        self.assertEqual(life.kinds, ["SayUnslept", "Probe", "Tell"])
        self.assertEqual(life.hear(e.HealthPassed).phase, "awake")

    def test_draining_for_another(self):
        """It is awake when the next one is."""
        life = Dialogue().awake(uses=1).hear(e.Changed, LIFE, "new").hear(e.Prepared, True)
        life.hear(e.WakeAsked)
        self.assertEqual((life.phase, life.said), ("draining", ()))

    def test_stopping(self):
        """It is started when it has been stopped."""
        life = Dialogue().stopping().hear(e.WakeAsked).hear(e.Stopped)
        self.assertEqual(life.kinds, ["SaySlept", "Start", "Tell"])

    def test_crashed(self):
        """It is started at once, and its crashes are forgotten."""
        life = Dialogue().crashed(5).hear(e.WakeAsked)
        self.assertEqual((life.phase, life.state.crashes), ("starting", 0))

    def test_away(self):
        """It waits ``wake within`` for the engine."""
        life = Dialogue().asleep().hear(e.EngineLost, "Docker is away.").hear(e.WakeAsked)
        self.assertEqual(life.wait(9).said, ())
        self.assertEqual(life.wait(1).said, (e.SayUnwoken("Docker is away."),))
        life.hear(e.WakeAsked).hear(e.EngineFound).hear(e.Listed, None)
        self.assertEqual(life.phase, "starting")
        life = Dialogue().hear(e.EngineLost, "There is none.", for_good=True).hear(e.WakeAsked)
        self.assertEqual(life.said, (e.SayUnwoken("There is none."),))

    def test_gone(self):
        """What is being removed cannot be woken."""
        for life in (
            Dialogue().hear(e.Removed),
            Dialogue().asleep().hear(e.Removed),
            Dialogue().awake().hear(e.Removed),
            Dialogue().awake(uses=1).hear(e.Removed),
        ):
            for wish in (e.WakeAsked, e.RestartAsked):
                self.assertEqual(life.hear(wish).kinds, ["SayUnwoken"])


class SleepTests(SynchronousTestCase):
    """A person puts it to sleep."""

    def test_awake(self):
        """It is stopped when nobody uses it, or after ``drain within``."""
        self.assertEqual(Dialogue().awake().hear(e.SleepAsked).phase, "stopping")
        life = Dialogue().awake(uses=2).hear(e.SleepAsked)
        self.assertEqual(life.phase, "draining")
        self.assertEqual(life.hear(e.GivenBack).phase, "draining")
        self.assertEqual(life.hear(e.GivenBack).phase, "stopping")
        self.assertEqual(life.hear(e.Stopped).said, (e.SaySlept(),))
        self.assertEqual(Dialogue().awake(uses=1).hear(e.SleepAsked).wait(20).phase, "stopping")

    def test_starting(self):
        """Who waits is refused, who wanted it awake is told."""
        life = Dialogue().asleep().hear(e.Arrived, 1).hear(e.WakeAsked).hear(e.SleepAsked)
        self.assertEqual(life.kinds, ["Refuse", "SayUnwoken", "Stop", "Tell"])
        self.assertEqual(life.refused, [(1, "resting", 300)])

    def test_always(self):
        """``always`` sleeps until somebody wants it, or it is changed."""
        life = Dialogue(wake="always").awake().hear(e.SleepAsked).hear(e.Stopped)
        self.assertEqual(life.phase, "asleep")
        life.hear(e.EngineLost, "").hear(e.EngineFound).hear(e.Listed, None)
        self.assertEqual(life.phase, "asleep")
        self.assertEqual(life.hear(e.Arrived, 1).phase, "starting")
        life = Dialogue(wake="always").awake().hear(e.SleepAsked).hear(e.Stopped)
        life.hear(e.Changed, life.state.life, "fp")
        self.assertEqual(life.phase, "starting")

    def test_asleep(self):
        """There is nothing to do."""
        self.assertEqual(Dialogue().asleep().hear(e.SleepAsked).said, (e.SaySlept(),))

    def test_instead_of_a_restart(self):
        """The last wish counts."""
        life = Dialogue().awake(uses=1).hear(e.RestartAsked).hear(e.SleepAsked)
        life.hear(e.GivenBack).hear(e.Stopped)
        self.assertEqual(life.phase, "asleep")

    def test_crashed(self):
        """It is not started again by itself; a long rest goes on."""
        life = Dialogue(wake="always").crashed().hear(e.SleepAsked)
        self.assertEqual((life.phase, life.said), ("asleep", (e.SaySlept(),)))
        life = Dialogue().crashed(5).hear(e.SleepAsked)
        self.assertEqual((life.phase, life.said), ("crashed", (e.SaySlept(),)))

    def test_engine_away(self):
        """Nobody can stop it: it serves on, and the person is told."""
        life = Dialogue().awake().hear(e.EngineLost, "").hear(e.SleepAsked)
        self.assertEqual((life.phase, life.kinds), ("awake", ["SayUnslept"]))
        self.assertEqual(Dialogue().hear(e.SleepAsked).kinds, ["SayUnslept"])


class RestartTests(SynchronousTestCase):
    """A person restarts it."""

    def test_awake(self):
        """Requests wait while it is stopped and started."""
        life = Dialogue().awake(uses=1).hear(e.RestartAsked).hear(e.Arrived, 1)
        self.assertEqual((life.phase, life.said), ("draining", ()))
        life.hear(e.GivenBack).hear(e.Stopped)
        self.assertEqual(life.phase, "starting")
        life.hear(e.Started, SERVER).hear(e.HealthPassed)
        self.assertEqual(life.said, (e.Grant((1,), SERVER.address), e.SayWoken()))

    def test_stopping(self):
        """It is started when it has been stopped."""
        self.assertEqual(
            Dialogue().stopping().hear(e.RestartAsked).hear(e.Stopped).phase, "starting"
        )

    def test_engine_away(self):
        """Nobody can stop it: it serves on, and the person is told."""
        life = Dialogue().awake().hear(e.EngineLost, "").hear(e.RestartAsked)
        self.assertEqual((life.phase, life.kinds), ("awake", ["SayUnwoken"]))


class ChangeTests(SynchronousTestCase):
    """The configuration says something else."""

    def test_lifecycle_alone(self):
        """A running server is not touched when only its lifecycle changes."""
        for life in (Dialogue().starting(), Dialogue().checking(), Dialogue().awake(uses=1)):
            had = life.phase
            life.hear(e.Changed, evolve(LIFE, idle_after=7, wake="always"), "fp")
            self.assertEqual((life.phase, life.said), (had, ()))
            self.assertEqual(life.state.life.idle_after, 7)

    def test_health(self):
        """One that is being checked is checked as the new configuration says, as long in all."""
        life = Dialogue().checking().wait(20).hear(e.Changed, evolve(LIFE, health="/up"), "fp")
        self.assertEqual(life.kinds, ["Probe", "Tell"])
        self.assertEqual(life.wait(10).phase, "stopping")

    def test_unused(self):
        """Nobody uses it: it sleeps; ``always`` and ``manual`` are started anew."""
        for wake, phase in (("demand", "asleep"), ("always", "starting"), ("manual", "starting")):
            life = Dialogue().awake().hear(e.Changed, evolve(LIFE, wake=wake), "new")
            self.assertEqual((life.phase, life.kinds), ("awake", ["Prepare", "Tell"]))
            self.assertEqual(life.hear(e.Prepared, True).phase, "stopping")
            self.assertEqual(life.hear(e.Stopped).phase, phase)

    def test_used(self):
        """New requests wait for the new one while the old one is drained."""
        life = Dialogue().awake(uses=1).hear(e.Changed, LIFE, "new").hear(e.Prepared, True)
        life.hear(e.Arrived, 1)
        self.assertEqual((life.phase, life.said), ("draining", ()))
        self.assertEqual(life.hear(e.GivenBack).hear(e.Stopped).phase, "starting")

    def test_starting(self):
        """What is being started is stopped for the new one; who waits waits on."""
        life = Dialogue().asleep().hear(e.Arrived, 1).hear(e.Changed, LIFE, "new")
        self.assertEqual(life.kinds, ["Stop", "Tell"])
        self.assertEqual(life.hear(e.Stopped).phase, "starting")

    def test_back(self):
        """A change taken back lets the old one serve on, after a check."""
        life = Dialogue().awake(uses=1).hear(e.Changed, LIFE, "new").hear(e.Prepared, True)
        life.hear(e.Changed, LIFE, "fp")
        self.assertEqual(life.phase, "checking")
        self.assertEqual(life.hear(e.HealthPassed).state.uses, 1)

    def test_crashed(self):
        """It may try again."""
        life = Dialogue().crashed(5).hear(e.Changed, LIFE, "new")
        self.assertEqual((life.phase, life.state.crashes), ("asleep", 0))
        life = Dialogue().crashed(5).hear(e.Changed, evolve(LIFE, wake="always"), "fp")
        self.assertEqual(life.phase, "starting")

    def test_to_always(self):
        """What sleeps and shall always be awake is started."""
        life = Dialogue().asleep().hear(e.Changed, evolve(LIFE, wake="always"), "fp")
        self.assertEqual(life.phase, "starting")

    def test_engine_away(self):
        """It serves on until it can be replaced."""
        life = Dialogue().awake(uses=1).hear(e.EngineLost, "").hear(e.Changed, LIFE, "new")
        self.assertEqual(life.phase, "awake")
        self.assertEqual(life.hear(e.EngineFound).hear(e.Listed, SERVER).phase, "draining")

    def test_stopping(self):
        """What was stopped for not answering may be wanted anew."""
        life = Dialogue().checking().wait(30).hear(e.Changed, LIFE, "fp")
        self.assertEqual(life.hear(e.Stopped).phase, "asleep")


class RemoveTests(SynchronousTestCase):
    """The configuration has it no more."""

    def over(self, life):
        """Let all that is asked for come about."""
        for _ in range(5):
            for command in life.said:
                if isinstance(command, e.Stop):
                    life.hear(e.Stopped(command.epoch))
                elif isinstance(command, e.Clear):
                    life.hear(e.Cleared(command.epoch))
        return life

    def test_everywhere(self):
        """From everywhere it comes to its end, and is forgotten by the engine before."""
        for life in (
            Dialogue().asleep(),
            Dialogue().starting(),
            Dialogue().checking(),
            Dialogue().awake(),
            Dialogue().stopping(),
            Dialogue().crashed(),
            Dialogue().asleep().hear(e.Removed),
        ):
            stop, epoch = life.said, life.state.epoch
            life.hear(e.Removed)
            if life.state.epoch == epoch:
                life.said = stop
            self.assertEqual((self.over(life).phase, life.said), ("over", (e.Part(),)))

    def test_waiters(self):
        """Who waits is refused."""
        life = Dialogue().asleep().hear(e.Arrived, 1).hear(e.WakeAsked).hear(e.Removed)
        self.assertEqual(life.refused, [(1, "stopping", 5)])
        self.assertIn("SayUnwoken", life.kinds)

    def test_used(self):
        """It is drained, at most ``drain within``."""
        life = Dialogue().awake(uses=1).hear(e.Removed)
        self.assertEqual(life.phase, "draining")
        life.wait(20)
        self.assertEqual(self.over(life).phase, "over")

    def test_away(self):
        """It is removed when the engine is back, whatever that has of it."""
        for has in (None, SERVER):
            life = Dialogue().hear(e.Removed).hear(e.EngineFound).hear(e.Listed, has)
            self.assertEqual(self.over(life).phase, "over")

    def test_crashes(self):
        """One that crashes on its way out is removed all the same."""
        life = Dialogue().awake(uses=1).hear(e.Removed).hear(e.Exited, "one", "It ended.")
        self.assertEqual((life.phase, life.kinds), ("removing", ["SaySlept", "Clear"]))

    def test_back(self):
        """What is back before its end lives on."""
        life = Dialogue().awake(uses=1).hear(e.Removed).hear(e.Changed, LIFE, "fp")
        self.assertEqual(life.phase, "checking")
        life = Dialogue().awake().hear(e.Removed).hear(e.Changed, LIFE, "fp").hear(e.Stopped)
        self.assertEqual(life.phase, "asleep")


class EndTests(SynchronousTestCase):
    """Snickers ends."""

    def test_end(self):
        """Who waits is told; nothing is stopped."""
        life = Dialogue().starting().hear(e.Arrived, 1).hear(e.Ended)
        self.assertEqual(life.kinds, ["Refuse", "SayUnwoken", "SayUnslept"])
        self.assertEqual(life.refused, [(1, "stopping", 5)])
        life = Dialogue().awake(uses=1).hear(e.Ended)
        self.assertEqual((life.phase, life.kinds), ("over", ["SayUnwoken", "SayUnslept"]))
        self.assertEqual(life.hear(e.WakeAsked).kinds, ["SayUnwoken"])
        self.assertEqual(life.hear(e.SleepAsked).kinds, ["SayUnslept"])
