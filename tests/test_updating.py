"""How another server takes the place of the one that serves, and how that one comes back."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Lifecycle
from snickers.containers import events as e
from snickers.containers.life import Phase
from snickers.interfaces.engine import Instance
from tests.test_resting import SERVER, Dialogue

LIFE = Lifecycle(wake_within=60, drain_within=20, stop_within=10)
NEW = Instance("a.example", "two", "new", True, ("127.0.0.1", 2))


class SwapTests(SynchronousTestCase):
    """A changed declaration of a server in use."""

    def swapping(self) -> Dialogue:
        """A life whose newcomer has been started while somebody waits."""
        life = Dialogue(LIFE, good=SERVER, uses=1)
        (prepare,) = life.hear(e.Changed(LIFE, "new"))
        self.assertIsInstance(prepare, e.Prepare)
        # While the image is fetched the old one serves.
        (grant,) = life.hear(e.Arrived(1))
        self.assertIsInstance(grant, e.Grant)
        life.hear(e.Prepared, True)
        self.assertIs(life.state.phase, Phase.DRAINING)
        self.assertEqual(life.hear(e.Arrived(2)), ())
        life.hear(e.GivenBack)
        (stop,) = life.hear(e.GivenBack)
        self.assertIsInstance(stop, e.Stop)
        *_, start = life.hear(e.Stopped)
        self.assertIsInstance(start, e.Start)
        return life

    def test_good(self) -> None:
        """The new one answers who has waited, and what is older than the one before is let go."""
        life = self.swapping()
        life.hear(e.Started, NEW)
        grant, *rest = life.hear(e.HealthPassed)
        self.assertEqual(grant, e.Grant((2,), ("127.0.0.1", 2)))
        self.assertIn(e.Settle(NEW.id), rest)
        self.assertEqual((life.state.good, life.state.before), (NEW, SERVER))

    def test_doubted_while_preparing(self) -> None:
        """A request that met the old server badly meanwhile has it looked at, and loses neither
        the change nor who waits for it."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.Changed(LIFE, "new"))
        probe, *_ = life.hear(e.Doubted(("127.0.0.1", 1)))
        self.assertIsInstance(probe, e.Probe)
        life.hear(e.HealthPassed)
        (stop,) = life.hear(e.Prepared, True)
        self.assertIsInstance(stop, e.Stop)

    def test_the_old_one_crashes(self) -> None:
        """A server that ends while it is made ready for its end has not failed as a newcomer: the
        next start is the new one's."""
        life = Dialogue(evolve(LIFE, snapshot=("dump",)), Phase.PAUSED, good=SERVER)
        (resume,) = life.hear(e.Changed(evolve(LIFE, snapshot=("dump",)), "new"))
        self.assertIsInstance(resume, e.Resume)
        life.hear(e.Exited("one", "it ended"))
        self.assertIs(life.state.phase, Phase.CRASHED)
        life.pass_time(60)
        (start,) = life.hear(e.Arrived(1))
        self.assertIsInstance(start, e.Start)
        self.assertEqual((life.state.fingerprint, life.state.refused), ("new", ""))

    def comes_back(self, life: Dialogue, words: str) -> None:
        """Go on with a life that goes back: the old one answers who has waited."""
        self.assertIs(life.state.phase, Phase.REVERTING)
        self.assertIn("one", [c.id for c in life.said if isinstance(c, e.Revert)])
        self.assertEqual(life.hear(e.Arrived(3)), ())
        said = life.hear(e.Reverted, SERVER)
        (warn,) = [command for command in said if isinstance(command, e.Warn)]
        self.assertEqual(warn.alarm, "update")
        self.assertIn(words, warn.words)
        self.assertIn("serves again", warn.words)
        grant, _ = life.hear(e.HealthPassed)
        self.assertEqual(grant, e.Grant((2, 3), ("127.0.0.1", 1)))

    def test_cannot_be_started(self) -> None:
        life = self.swapping()
        life.hear(e.StartFailed, "no such command")
        self.comes_back(life, "no such command")

    def test_crashes(self) -> None:
        life = self.swapping()
        life.hear(e.Started, NEW)
        life.hear(e.Exited("two", "It ended with code 3."))
        life.hear(e.Listed, evolve(NEW, running=False, address=None))
        self.comes_back(life, "code 3")

    def test_hangs(self) -> None:
        """One that does not answer is given up early enough for those who wait."""
        life = self.swapping()
        life.hear(e.Started, NEW)
        self.assertEqual(life.pass_time(29), ())
        (stop,) = life.pass_time(1)
        self.assertIsInstance(stop, e.Stop)
        life.hear(e.Stopped)
        self.comes_back(life, "not ready within 30 s")
        self.assertLess(life.now - 1000, LIFE.wake_within)

    def test_not_tried_again(self) -> None:
        """What has failed is not tried again while it is declared as it was, whatever else
        changes; another declaration is."""
        life = self.swapping()
        life.hear(e.StartFailed, "no")
        life.hear(e.Reverted, SERVER)
        life.hear(e.HealthPassed)
        self.assertEqual(life.hear(e.Changed(evolve(LIFE, idle_after=7), "new")), ())
        self.assertEqual(life.state.life.idle_after, 7)
        (prepare,) = life.hear(e.Changed(LIFE, "newer"))
        self.assertIsInstance(prepare, e.Prepare)

    def test_changed_while_coming_back(self) -> None:
        """The configuration was mended meanwhile: that is tried when the old one is back."""
        life = self.swapping()
        life.hear(e.StartFailed, "no")
        life.hear(e.Changed(LIFE, "newer"))
        life.hear(e.Reverted, SERVER)
        said = life.hear(e.HealthPassed)
        self.assertIsInstance(said[-1], e.Prepare)
        self.assertEqual(life.state.fingerprint, "newer")

    def test_cannot_come_back(self) -> None:
        """When the old one cannot either, it is a crash, and who waits is told so."""
        life = self.swapping()
        life.hear(e.StartFailed, "no such command")
        said = life.hear(e.RevertFailed, "its volume is gone")
        self.assertIs(life.state.phase, Phase.CRASHED)
        self.assertIn("no such command", life.state.detail)
        self.assertIn("its volume is gone", life.state.detail)
        self.assertEqual([c.tickets for c in said if isinstance(c, e.Refuse)], [(2,)])
        life.pass_time(1)
        self.assertIs(life.state.phase, Phase.ASLEEP)

    def test_cannot_be_prepared(self) -> None:
        """An image that cannot be had changes nothing but the alarm; nobody waits for it."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.Changed(LIFE, "new"))
        warn, _ = life.hear(e.PrepareFailed, "There is no such image.")
        self.assertEqual(warn.alarm, "update")  # type: ignore[attr-defined]
        self.assertIs(life.state.phase, Phase.AWAKE)
        (grant,) = life.hear(e.Arrived(1))
        self.assertIsInstance(grant, e.Grant)

    def test_first_start(self) -> None:
        """There is nothing to go back to: a start that fails is a crash, with more patience."""
        life = Dialogue(LIFE, Phase.STARTING, instance=None, began=1000.0, proven=False)
        self.assertEqual(life.pass_time(31), ())
        life.hear(e.StartFailed, "no")
        self.assertIs(life.state.phase, Phase.CRASHED)


class UpdateTests(SynchronousTestCase):
    """A person wants the newest image."""

    def test_newer(self) -> None:
        """There is one: it is swapped in, fresh; whoever asked hears when it answers."""
        life = Dialogue(LIFE, good=SERVER)
        (prepare,) = life.hear(e.UpdateAsked)
        self.assertEqual(prepare, e.Prepare(life.state.epoch, fresh=True))
        (stop,) = life.hear(e.Prepared, True)
        self.assertIsInstance(stop, e.Stop)
        *_, start = life.hear(e.Stopped)
        self.assertEqual(start, e.Start(life.state.epoch, fresh=True))
        life.hear(e.Started, evolve(NEW, fingerprint="fp"))
        said = life.hear(e.HealthPassed)
        self.assertEqual(said, (e.SayWoken(), e.Settle(NEW.id), e.Calm("update"), e.Trust()))
        self.assertFalse(life.state.updating)

    def test_worse(self) -> None:
        """The newer one fails: the old one comes back, though the declaration is the same."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.UpdateAsked)
        life.hear(e.Prepared, True)
        life.hear(e.Stopped)
        life.hear(e.StartFailed, "no")
        self.assertIs(life.state.phase, Phase.REVERTING)
        said = life.hear(e.Reverted, SERVER)
        self.assertIn("SayUnwoken", [type(command).__name__ for command in said])
        life.hear(e.HealthPassed)
        self.assertEqual(life.state.fingerprint, "fp")

    def test_nothing_newer(self) -> None:
        """Nothing is touched."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.UpdateAsked)
        self.assertEqual(life.hear(e.Prepared, False), (e.SayWoken(),))
        self.assertFalse(life.state.updating)

    def test_asleep(self) -> None:
        """A sleeping one is started from the newest image, to see whether it works."""
        life = Dialogue(LIFE, Phase.ASLEEP, instance=None, good=SERVER)
        (start,) = life.hear(e.UpdateAsked)
        self.assertEqual(start, e.Start(life.state.epoch, fresh=True))

    def test_tried_before(self) -> None:
        """Asked for by a person, what failed before is tried again."""
        life = Dialogue(LIFE, good=SERVER, declared="new", refused="new")
        life.hear(e.UpdateAsked)
        self.assertEqual((life.state.fingerprint, life.state.refused), ("new", ""))

    def test_not_now(self) -> None:
        """In the middle of something else it is refused in words."""
        for phase in (Phase.STARTING, Phase.CHECKING, Phase.DRAINING, Phase.REVERTING):
            life = Dialogue(LIFE, phase)
            (no,) = life.hear(e.UpdateAsked)
            self.assertIn("ask again", no.words)  # type: ignore[attr-defined]

    def test_roll_back(self) -> None:
        """The server before is drained for, and comes back; what it replaced is not tried again
        by itself."""
        life = Dialogue(LIFE, instance=NEW, good=NEW, before=SERVER, uses=1)
        life.state = evolve(life.state, fingerprint="new", declared="new")
        life.hear(e.RollbackAsked)
        self.assertIs(life.state.phase, Phase.DRAINING)
        life.hear(e.GivenBack)
        *_, revert = life.hear(e.Stopped)
        self.assertEqual(revert, e.Revert(life.state.epoch, "one"))
        life.hear(e.Reverted, SERVER)
        self.assertEqual(life.hear(e.HealthPassed), (e.SayWoken(),))
        self.assertEqual((life.state.fingerprint, life.state.refused), ("fp", "new"))

    def test_woken_while_going_back(self) -> None:
        """Whoever wakes it on the way, or restarts it, gets the server before."""
        for event in (e.WakeAsked, e.RestartAsked):
            for uses in (0, 1):
                life = Dialogue(LIFE, instance=NEW, good=NEW, before=SERVER, uses=uses)
                life.hear(e.RollbackAsked)
                self.assertIs(life.state.phase, Phase.DRAINING if uses else Phase.STOPPING)
                self.assertEqual(life.hear(event), ())
                life.pass_time(LIFE.drain_within)
                *_, revert = life.hear(e.Stopped)
                self.assertEqual(revert, e.Revert(life.state.epoch, "one"))

    def test_roll_back_crashed(self) -> None:
        """One that rests after crashes is what a person wants to go back from."""
        life = Dialogue(LIFE, Phase.CRASHED, instance=None, good=NEW, before=SERVER, crashes=5)
        self.assertEqual(life.hear(e.RollbackAsked), (e.Revert(life.state.epoch, "one"),))
        life.hear(e.Reverted, SERVER)
        life.hear(e.HealthPassed)
        self.assertEqual((life.state.phase, life.state.crashes), (Phase.AWAKE, 0))

    def test_cannot_now(self) -> None:
        """Without the engine, or while it is paused, a person is told that and not another
        reason."""
        life = Dialogue(LIFE, Phase.AWAY, instance=None, detail="Docker is away.")
        for event in (e.UpdateAsked, e.RollbackAsked):
            self.assertEqual(life.hear(event), (e.Decline("Docker is away."),))
        life = Dialogue(LIFE, Phase.PAUSED)
        (no,) = life.hear(e.RollbackAsked)
        self.assertIn("paused", no.words)  # type: ignore[attr-defined]

    def test_engine_lost_while_going_back(self) -> None:
        """Nothing else is started before that has come to its end: the folder may be being put
        back."""
        life = Dialogue(LIFE, Phase.REVERTING, instance=None, good=SERVER, copied="c", touched=True)
        life.hear(e.Arrived(1))
        self.assertEqual(life.hear(e.EngineLost("away")), ())
        self.assertEqual(life.hear(e.EngineFound), ())
        self.assertIs(life.state.phase, Phase.REVERTING)
        (look,) = life.hear(e.RevertFailed, "away", True)
        self.assertEqual((life.state.phase, look), (Phase.AWAY, e.Look(life.state.epoch)))
        self.assertEqual(life.state.copied, "c")

    def test_nothing_before(self) -> None:
        life = Dialogue(LIFE, good=SERVER)
        (no,) = life.hear(e.RollbackAsked)
        self.assertIn("no server before", no.words)  # type: ignore[attr-defined]
