"""How another server takes the place of the one that serves, and how that one comes back."""

from __future__ import annotations

import math
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Lifecycle
from snickers.containers import events as e
from snickers.containers.life import After, Phase, due
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
        self.assertEqual((life.state.phase, life.state.crashes), (Phase.ASLEEP, 0))
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
        # Whoever asked for it hears of it now, and not before: see what they ask for next.
        unwoken, grant, _ = life.hear(e.HealthPassed)
        assert isinstance(unwoken, e.SayUnwoken)
        self.assertEqual(unwoken.words, warn.words)
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

    def test_asked_for_while_it_is_given_up(self) -> None:
        """Who comes while the failed one is being stopped waits for the one before, as all do."""
        life = self.swapping()
        life.hear(e.Started, NEW)
        (stop,) = life.pass_time(30)
        self.assertIsInstance(stop, e.Stop)
        self.assertEqual(life.hear(e.Arrived(4)), ())
        life.hear(e.Stopped)
        life.hear(e.Reverted, SERVER)
        _, grant, *_ = life.hear(e.HealthPassed)
        self.assertEqual(grant, e.Grant((2, 4), ("127.0.0.1", 1)))

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
        """When the old one cannot either, another one of its declaration is tried while they wait;
        if that fails, too, it is a crash, and who waits is told so."""
        life = self.swapping()
        life.hear(e.StartFailed, "no such command")
        warn, unwoken, start = life.hear(e.RevertFailed, "its volume is gone")
        self.assertEqual(warn, e.Warn(unwoken.words, "update"))  # type: ignore[attr-defined]
        self.assertIsInstance(start, e.Start)
        self.assertEqual((life.state.fingerprint, life.state.refused), ("fp", "new"))
        said = life.hear(e.StartFailed, life.state.detail)
        self.assertIs(life.state.phase, Phase.CRASHED)
        self.assertIn("no such command", life.state.detail)
        self.assertIn("its volume is gone", life.state.detail)
        self.assertEqual([c.tickets for c in said if isinstance(c, e.Refuse)], [(2,)])
        life.pass_time(1)
        self.assertIs(life.state.phase, Phase.ASLEEP)

    def test_not_put_back(self) -> None:
        """Where the folder cannot be put back nothing is started, neither what has failed nor the
        one before on what that has left: the way back is tried again, when somebody asks and by
        itself, with growing pauses and without end; a person hears what is wrong."""
        for event, fields in (
            (e.Changed(CAREFUL, "new"), {}),
            (e.UpdateAsked("named"), {}),
            (e.UpdateAsked(), {"declared": "fp"}),
        ):
            life = Dialogue(CAREFUL, good=SERVER, **fields)
            life.hear(event)
            life.hear(e.Arrived(2))
            life.hear(e.Prepared, True)
            life.hear(e.GivenBack)
            life.hear(e.Stopped)
            life.hear(e.Copied, "copy")
            life.hear(e.Started, evolve(NEW, running=False, address=None))
            life.hear(e.Stopped)
            pauses, said = [], set()
            for _ in range(9):
                self.assertEqual(life.said[-1], e.Revert(life.state.epoch, "one", "copy"))
                life.hear(e.RevertFailed, "The disk is full.", False, True)
                self.assertIs(life.state.phase, Phase.CRASHED)
                (warn,) = [each for each in life.said if isinstance(each, e.Warn)]
                self.assertEqual(warn.alarm, "crashed")
                self.assertIn("The disk is full.", warn.words)
                said.add(warn.words)
                pauses.append(life.state.until - life.now)
                life.pass_time(pauses[-1])
                (copy,) = [each for each in life.hear(e.Arrived(3)) if isinstance(each, e.Copy)]
                self.assertEqual(copy.had, "copy")
                life.hear(e.Copied, "copy")
            self.assertEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60])
            self.assertEqual(len(said), 1)
            life.hear(e.Reverted, SERVER)
            life.hear(e.HealthPassed)
            self.assertEqual((life.state.phase, life.state.good), (Phase.AWAKE, SERVER))

    def test_woken_when_there_is_room(self) -> None:
        """A person's wake tries the way back at once."""
        life = Dialogue(CAREFUL, Phase.REVERTING, instance=None, good=SERVER, back=SERVER)
        life.state = evolve(life.state, copied="c", touched=True, held=True, crashes=7)
        life.hear(e.RevertFailed, "The disk is full.", False, True)
        (copy,) = life.hear(e.WakeAsked)
        self.assertIsInstance(copy, e.Copy)
        (revert,) = life.hear(e.Copied, "c")
        self.assertEqual(revert, e.Revert(life.state.epoch, "one", "c"))

    def test_neither_of_the_same(self) -> None:
        """Nothing else can be tried where only the image is newer."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.UpdateAsked)
        life.hear(e.Prepared, True)
        life.hear(e.Stopped)
        life.hear(e.StartFailed, "no such command")
        life.hear(e.RevertFailed, "it has gone")
        self.assertIs(life.state.phase, Phase.CRASHED)

    def test_cannot_be_prepared(self) -> None:
        """An image that cannot be had changes nothing but the alarm; nobody waits for it."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.Changed(LIFE, "new"))
        warn, _ = life.hear(e.PrepareFailed, "There is no such image.")
        self.assertEqual(warn.alarm, "update")  # type: ignore[attr-defined]
        self.assertIs(life.state.phase, Phase.AWAKE)
        (grant,) = life.hear(e.Arrived(1))
        self.assertIsInstance(grant, e.Grant)

    def test_not_prepared_without_the_engine(self) -> None:
        """A newer image that could not be asked for is not tried by the way later: whoever wanted
        it was told so."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.UpdateAsked)
        _, unwoken = life.hear(e.PrepareFailed, "Docker is away.", True)
        self.assertEqual(unwoken, e.SayUnwoken("Docker is away."))
        life.hear(e.SleepAsked)
        life.hear(e.Stopped)
        (start,) = life.hear(e.Arrived(1))
        self.assertEqual(start, e.Start(life.state.epoch, fresh=False))

    def test_forgotten_and_back(self) -> None:
        """A site that comes back while it is being removed has nothing to go back to any more: the
        next start is a first one."""
        life = Dialogue(LIFE, Phase.ASLEEP, instance=None, good=SERVER, before=NEW, updating=True)
        life.hear(e.Removed)
        life.hear(e.Changed(LIFE, "newer"))
        life.hear(e.Cleared)
        (start,) = life.hear(e.Arrived(1))
        self.assertEqual(start, e.Start(life.state.epoch, fresh=False))
        life.hear(e.StartFailed, "no")
        self.assertIs(life.state.phase, Phase.CRASHED)
        (no,) = life.hear(e.RollbackAsked)
        self.assertIn("no server before", no.words)  # type: ignore[attr-defined]

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
        life.hear(e.Reverted, SERVER)
        said = life.hear(e.HealthPassed)
        self.assertEqual(said[0], e.SayUnwoken("no The server before serves again."))
        self.assertEqual(life.state.fingerprint, "fp")

    def test_told_when_it_is_ready(self) -> None:
        """A person hears that an update has failed when the server before answers, or when it is
        known that it does not: whatever they ask for then is not refused as too early."""

        def words(said: tuple[e.Command, ...]) -> list[str]:
            return [each.words for each in said if isinstance(each, e.SayUnwoken)]

        for then, end in (
            (lambda life: life.hear(e.HealthPassed), "no The server before serves again."),
            (lambda life: life.hear(e.SleepAsked), "no The server before was started again, and"),
            (lambda life: life.hear(e.Changed(LIFE, "newer")), "no The server before was started"),
        ):
            life = Dialogue(LIFE, good=SERVER)
            life.hear(e.UpdateAsked)
            life.hear(e.Prepared, True)
            life.hear(e.Stopped)
            self.assertEqual(words(life.hear(e.StartFailed, "no")), [])
            self.assertEqual(words(life.hear(e.Reverted, SERVER)), [])
            # It is probed anew, and they wait on.
            self.assertEqual(words(life.hear(e.Changed(evolve(LIFE, health="/up"), "fp"))), [])
            self.assertTrue(words(then(life))[0].startswith(end))
            self.assertEqual(life.state.verdict, "")

    def test_nothing_newer(self) -> None:
        """Nothing is touched, and an update that failed before is no alarm any more."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.UpdateAsked)
        self.assertEqual(life.hear(e.Prepared, False), (e.Calm("update"), e.SayWoken()))
        self.assertFalse(life.state.updating)

    def test_left_alone_meanwhile(self) -> None:
        """While the newest image is fetched it is not put to sleep, for want of use or of room:
        whoever has asked would never be answered."""
        life = Dialogue(LIFE, good=SERVER)
        life.hear(e.UpdateAsked)
        self.assertEqual(life.hear(e.Crowded), ())
        life.now += LIFE.idle_after + 1
        self.assertEqual(life.hear(e.TimePassed), ())
        self.assertEqual(due(life.state), math.inf)
        self.assertIn(e.SayWoken(), life.hear(e.Prepared, False))
        (stop,) = life.hear(e.TimePassed)
        self.assertIsInstance(stop, e.Stop)

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

    def test_asked_while_preparing(self) -> None:
        """While an update is prepared another one, or the way back, is refused in words, and that
        goes on; the same once more is the same."""
        life = Dialogue(LIFE, good=SERVER, before=NEW)
        life.hear(e.UpdateAsked, "three")
        for event in (e.UpdateAsked("four"), e.RollbackAsked()):
            (no,) = life.hear(event)
            self.assertIn("ask again", no.words)  # type: ignore[attr-defined]
            self.assertEqual((life.state.fingerprint, life.state.preparing), ("three", True))
        (prepare,) = life.hear(e.UpdateAsked, "three")
        self.assertIsInstance(prepare, e.Prepare)

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

    def test_failed_update_keeps_the_way_back(self) -> None:
        """An update that fails changes nothing: the one before the server that comes back can
        still come back, also after a going back that was tried again."""
        oldest = evolve(SERVER, id="zero", fingerprint="oldest")
        for away in (False, True):
            life = Dialogue(LIFE, good=SERVER, before=oldest)
            life.hear(e.UpdateAsked("bad"))
            life.hear(e.Prepared, True)
            life.hear(e.Stopped)
            life.hear(e.StartFailed, "no")
            if away:
                life.hear(e.RevertFailed, "away", True)
                life.hear(e.Listed, NEW)
            life.hear(e.Reverted, SERVER)
            life.hear(e.HealthPassed)
            self.assertEqual((life.state.good, life.state.before), (SERVER, oldest))
            life.hear(e.RollbackAsked)
            *_, revert = life.hear(e.Stopped)
            self.assertEqual(revert, e.Revert(life.state.epoch, "zero"))
            # From there on there is none.
            life.hear(e.Reverted, oldest)
            self.assertEqual((life.state.good, life.state.before), (oldest, None))

    def test_rolled_back_to_what_is_declared(self) -> None:
        """What is declared and has failed once may be what a person goes back to: it stays."""
        life = Dialogue(LIFE, good=SERVER, before=NEW, declared="new", refused="new")
        life.hear(e.RollbackAsked)
        life.hear(e.Stopped)
        life.hear(e.Reverted, NEW)
        self.assertEqual(life.hear(e.HealthPassed), (e.SayWoken(),))
        self.assertEqual((life.state.fingerprint, life.state.refused), ("new", ""))

    def test_rolled_back_to_nothing(self) -> None:
        """Where the server before has gone, the one that was stopped for it serves again, and
        nobody has waited in vain; the person is told why."""
        life = Dialogue(LIFE, instance=NEW, good=NEW, before=SERVER)
        life.state = evolve(life.state, fingerprint="new", declared="new")
        life.hear(e.RollbackAsked)
        self.assertEqual(life.hear(e.Arrived(1)), ())
        life.hear(e.Stopped)
        warn, unwoken, start = life.hear(e.RevertFailed, "It has gone.")
        self.assertEqual(warn, e.Warn("The server before cannot come back: It has gone."))
        self.assertIsInstance(unwoken, e.SayUnwoken)
        self.assertIsInstance(start, e.Start)
        life.hear(e.Started, NEW)
        grant, *_ = life.hear(e.HealthPassed)
        self.assertEqual(grant, e.Grant((1,), ("127.0.0.1", 2)))
        self.assertEqual((life.state.fingerprint, life.state.refused), ("new", ""))
        self.assertIsNone(life.state.before)

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
        life.state = evolve(life.state, held=True)
        life.hear(e.Arrived(1))
        self.assertEqual(life.hear(e.EngineLost("away")), ())
        self.assertEqual(life.hear(e.EngineFound), ())
        self.assertIs(life.state.phase, Phase.REVERTING)
        life.state = evolve(life.state, back=SERVER)
        _, look = life.hear(e.RevertFailed, "away", True)
        self.assertEqual((life.state.phase, look), (Phase.AWAY, e.Look(life.state.epoch)))
        self.assertEqual(life.state.copied, "c")
        # Half of it may be done: it is gone on with, whatever is found.
        (revert,) = life.hear(e.Listed, NEW)
        self.assertEqual(revert, e.Revert(life.state.epoch, "one", "c"))

    def test_nothing_before(self) -> None:
        life = Dialogue(LIFE, good=SERVER)
        (no,) = life.hear(e.RollbackAsked)
        self.assertIn("no server before", no.words)  # type: ignore[attr-defined]


CAREFUL = evolve(LIFE, copy_before_update=True)


class FolderTests(SynchronousTestCase):
    """What another server has made of the folder before it has proven itself."""

    def trying(self, **fields: Any) -> Dialogue:
        """A newcomer was started on a folder of which there is a copy."""
        life = Dialogue(CAREFUL, Phase.STOPPING, good=SERVER, **fields)
        if not fields.get("updating"):
            life.hear(e.Changed(CAREFUL, "new"))
        life.state = evolve(life.state, after=After.START)
        (copy,) = life.hear(e.Stopped)[1:]
        self.assertEqual(copy, e.Copy(life.state.epoch, CAREFUL.snapshot_within))
        self.assertTrue(life.state.held)
        (start,) = life.hear(e.Copied, "c")
        self.assertEqual(start, e.Start(life.state.epoch, bool(fields.get("updating"))))
        life.hear(e.Started, evolve(NEW, fingerprint=life.state.fingerprint))
        return life

    def asleep(self, **fields: Any) -> Dialogue:
        """...and was put to sleep before it has proven itself."""
        life = self.trying(**fields)
        life.hear(e.SleepAsked)
        life.hear(e.Stopped)
        self.assertEqual((life.state.phase, life.state.held), (Phase.ASLEEP, False))
        return life

    def put_back(self, life: Dialogue) -> None:
        """What fails now has the folder put back."""
        life.hear(e.StartFailed, "no")
        self.assertEqual(life.said, (e.Revert(life.state.epoch, "one", "c"),))

    def test_asleep(self) -> None:
        """Woken again it has the folder as it was left, and if it fails now that is put back; also
        when this start has touched nothing."""
        for fields in ({}, {"updating": True}):
            life = self.asleep(**fields)
            (copy,) = life.hear(e.Arrived(1))
            self.assertEqual(copy, e.Copy(life.state.epoch, CAREFUL.snapshot_within, "c"))
            self.assertIsInstance(*life.hear(e.Copied, "c"), e.Start)
            self.put_back(life)

    def test_restored_meanwhile(self) -> None:
        """What was restored while it slept is what is put back."""
        life = self.asleep()
        life.hear(e.Arrived(1))
        life.hear(e.Copied, "d")
        life.hear(e.Started, NEW)
        life.hear(e.Exited("two", "It ended."))
        life.hear(e.Listed, None)
        self.assertEqual(life.said, (e.Revert(life.state.epoch, "one", "d"),))

    def test_given_up(self) -> None:
        """Where the configuration says again what it said before, the server before has the folder
        as it was: at once, or when it is woken."""
        life = self.trying()
        life.hear(e.Changed(CAREFUL, "fp"))
        life.hear(e.Arrived(1))
        *_, revert = life.hear(e.Stopped)
        self.assertEqual(revert, e.Revert(life.state.epoch, "one", "c"))
        life = self.asleep()
        life.hear(e.Changed(CAREFUL, "fp"))
        (copy,) = life.hear(e.Arrived(1))
        self.assertEqual(copy, e.Copy(life.state.epoch, CAREFUL.snapshot_within, "c"))
        (revert,) = life.hear(e.Copied, "c")
        self.assertEqual(revert, e.Revert(life.state.epoch, "one", "c"))
        life.hear(e.Reverted, SERVER)
        life.hear(e.HealthPassed)
        self.assertEqual((life.state.copied, life.state.held), ("", False))

    def test_rolled_back(self) -> None:
        """A person who goes back from a server that sleeps unproven gets the last good one."""
        life = self.asleep()
        (copy,) = life.hear(e.RollbackAsked)
        self.assertEqual(copy, e.Copy(life.state.epoch, CAREFUL.snapshot_within, "c"))
        (revert,) = life.hear(e.Copied, "c")
        self.assertEqual(revert, e.Revert(life.state.epoch, "one", "c"))
        life.hear(e.Reverted, SERVER)
        self.assertEqual((life.state.fingerprint, life.state.refused), ("fp", "new"))

    def test_not_to_be_had(self) -> None:
        """While others work on the folder nothing is started on it as it is; the next time it is
        put back."""
        life = self.asleep()
        life.hear(e.Changed(CAREFUL, "fp"))
        life.hear(e.Arrived(1))
        life.hear(e.CopyFailed, "Something else is being done with it.")
        self.assertIs(life.state.phase, Phase.CRASHED)
        life.pass_time(2)
        life.hear(e.Arrived(2))
        (revert,) = life.hear(e.Copied, "c")
        self.assertEqual(revert, e.Revert(life.state.epoch, "one", "c"))

    def test_cannot_come_back(self) -> None:
        """Where the one before cannot come back another one of its declaration is tried, on the
        folder that was put back."""
        life = self.trying()
        life.hear(e.Exited("two", "It ended."))
        life.hear(e.Listed, None)
        *_, start = life.hear(e.RevertFailed, "it is gone")
        self.assertIsInstance(start, e.Start)
        self.assertEqual((life.state.fingerprint, life.state.copied), ("fp", ""))

    def test_engine_away_twice(self) -> None:
        """A going back that was broken off is gone on with, also from another image alone."""
        life = self.trying(updating=True)
        life.hear(e.Exited("two", "It ended."))
        life.hear(e.Listed, None)
        for _ in range(2):
            life.hear(e.RevertFailed, "away", True)
            self.assertIs(life.state.phase, Phase.AWAY)
            (revert,) = life.hear(e.Listed, None)
            self.assertEqual(revert, e.Revert(life.state.epoch, "one", "c"))
        life.hear(e.Reverted, SERVER)
        life.hear(e.HealthPassed)
        self.assertIs(life.state.phase, Phase.AWAKE)

    def test_fails_without_the_engine(self) -> None:
        """What fails while the engine is away is gone back from when that is there again."""
        life = self.trying()
        life.hear(e.EngineLost("away"))
        life.hear(e.Exited("two", "It ended."))
        self.assertIs(life.state.phase, Phase.AWAY)
        life.hear(e.EngineFound)
        (revert,) = life.hear(e.Listed, None)
        self.assertEqual(revert, e.Revert(life.state.epoch, "one", "c"))

    def test_engine_lost_while_copying(self) -> None:
        """A copy that is broken off is made anew, when it is its turn."""
        life = Dialogue(CAREFUL, Phase.ASLEEP, instance=None, good=SERVER)
        life.hear(e.Changed(CAREFUL, "new"))
        life.hear(e.Arrived(1))
        life.hear(e.EngineLost("away"))
        self.assertEqual((life.state.phase, life.state.held), (Phase.AWAY, False))
        life.hear(e.EngineFound)
        (copy,) = life.hear(e.Listed, None)
        self.assertEqual(copy, e.Copy(life.state.epoch, CAREFUL.snapshot_within))

    def test_sleep_while_copying(self) -> None:
        """It sleeps already; nothing is tried before somebody wants it."""
        life = Dialogue(CAREFUL, Phase.ASLEEP, instance=None, good=SERVER)
        life.hear(e.Changed(CAREFUL, "new"))
        life.hear(e.Arrived(1))
        refuse, _, slept = life.hear(e.SleepAsked)
        self.assertEqual((refuse.tickets, slept), ((1,), e.SaySlept()))  # type: ignore[attr-defined]
        self.assertEqual((life.state.phase, life.state.held), (Phase.ASLEEP, False))


class TriedElsewhereTests(SynchronousTestCase):
    """Another Snickers has tried a server, and this one goes on."""

    def told(self, **told: Any) -> Dialogue:
        life = Dialogue(CAREFUL, Phase.AWAY, instance=None, declared="new", proven=False)
        life.state = evolve(life.state, fingerprint="new")
        life.hear(e.Inherited(1000.0, good="one", **told))
        return life

    def test_begun_anew(self) -> None:
        """With a copy of the folder the trial is begun anew, others being kept from the folder."""
        life = self.told(copied="c")
        (stop,) = life.hear(e.Listed, NEW, evolve(SERVER, running=False))
        self.assertIsInstance(stop, e.Stop)
        _, copy = life.hear(e.Stopped)
        self.assertEqual(copy, e.Copy(life.state.epoch, CAREFUL.snapshot_within, "c"))
        self.assertIsInstance(*life.hear(e.Copied, "c"), e.Start)
        life.hear(e.Started, NEW)
        life.hear(e.Exited("two", "It ended."))
        life.hear(e.Listed, None)
        self.assertEqual(life.said, (e.Revert(life.state.epoch, "one", "c"),))

    def test_without_a_copy(self) -> None:
        """Without one it is checked as it runs, and if it fails the good one comes back."""
        for updating in (False, True):
            life = self.told(updating=updating)
            new = evolve(NEW, fingerprint="new")
            (probe,) = life.hear(e.Listed, new, evolve(SERVER, running=False))
            self.assertEqual(probe, e.Probe(life.state.epoch, new))
            life.hear(e.Exited("two", "It ended."))
            life.hear(e.Listed, None)
            self.assertEqual(life.said, (e.Revert(life.state.epoch, "one"),))

    def test_had_failed(self) -> None:
        """One that has failed is not tried again: the good one comes back."""
        life = self.told(copied="c", back=True)
        life.hear(e.Listed, NEW, evolve(SERVER, running=False))
        life.hear(e.Arrived(1))
        _, copy = life.hear(e.Stopped)
        self.assertEqual(copy, e.Copy(life.state.epoch, CAREFUL.snapshot_within, "c"))
        self.assertEqual(life.hear(e.Copied, "c"), (e.Revert(life.state.epoch, "one", "c"),))
        life.hear(e.Reverted, SERVER)
        self.assertEqual((life.state.fingerprint, life.state.refused), ("fp", "new"))

    def test_had_failed_of_the_same(self) -> None:
        """Also where it was of the same declaration, and no copy tells them apart: whether it runs
        still or has ended, it is the good one that is started."""
        good = evolve(SERVER, running=False, fingerprint="new")
        for running in (True, False):
            life = self.told(back=True)
            life.hear(e.Listed, evolve(NEW, running=running, fingerprint="new"), good)
            self.assertEqual(life.said[0], e.Revert(life.state.epoch, "one"))
            life.hear(e.Reverted, evolve(SERVER, fingerprint="new"))
            self.assertEqual(
                (life.state.phase, life.state.good), (Phase.CHECKING, life.state.instance)
            )

    def test_came_back(self) -> None:
        """If the good one runs already, the folder is its own, and what has failed is not tried
        again."""
        life = self.told(copied="c", back=True)
        self.assertEqual(life.hear(e.Listed, SERVER)[0], e.Keep(SERVER))
        self.assertEqual((life.state.phase, life.state.copied), (Phase.CHECKING, ""))
        self.assertEqual((life.state.fingerprint, life.state.refused), ("fp", "new"))

    def test_asleep(self) -> None:
        """One that was put to sleep unproven is tried on the folder as it left it."""
        life = self.told(copied="c", put=True)
        life.hear(e.Listed, evolve(NEW, running=False), evolve(SERVER, running=False))
        self.assertIs(life.state.phase, Phase.ASLEEP)
        (copy,) = life.hear(e.Arrived(1))
        self.assertEqual(copy, e.Copy(life.state.epoch, CAREFUL.snapshot_within, "c"))

    def test_gone(self) -> None:
        """Where the good one is not there any more it is a start like another."""
        life = self.told(copied="c")
        life.hear(e.Listed, NEW)
        self.assertEqual((life.state.phase, life.state.copied), (Phase.CHECKING, ""))
