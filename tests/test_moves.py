"""Which team is started when none serves, and after which pause."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.teams import pair as p
from snickers.teams.moves import ENDED, PAUSES, PROVE_WITHIN, SHORT_PAUSE, STEADY
from snickers.teams.pair import Stage
from tests.test_machine import Dialogue


class StartTests(SynchronousTestCase):
    def test_good_team_first(self) -> None:
        """The good team is started, to serve; it serves when it has proven itself."""
        talk = Dialogue()
        talk.pair = evolve(talk.pair, good="red")
        self.assertEqual(talk.tell(p.Passed()), [p.Spawn(1, "red", False)])
        self.assertEqual(talk.pair.stage, Stage.OPENING)
        self.assertEqual(talk.tell(p.Proved(1)), [p.Done("red serves")])
        self.assertEqual(talk.pair.stage, Stage.SERVING)

    def test_never_ready(self) -> None:
        """One that does not prove itself in time is ended by force, and another one is started."""
        talk = Dialogue()
        talk.tell(p.Passed())
        words = f"blue has not proven itself within {PROVE_WITHIN:g} s"
        self.assertEqual(
            talk.wait(PROVE_WITHIN),
            [p.Kill(1), p.Raise(ENDED, words), p.Failed(words), p.Spawn(2, "blue", False)],
        )

    def test_pauses(self) -> None:
        """Who ends in its first minutes is started again after growing pauses; from the third
        time on by turns with the other team."""
        talk = Dialogue()
        talk.tell(p.Passed())
        started = []
        for number in range(len(PAUSES) + 2):
            began = talk.now
            commands = talk.tell(p.Ended(number + 1, "ended with status 1"))
            while not any(isinstance(c, p.Spawn) for c in commands):
                commands = talk.wait(1.0)
            (spawn,) = (c for c in commands if isinstance(c, p.Spawn))
            started.append((spawn.team, talk.now - began))
        self.assertEqual(
            started,
            [
                ("blue", 0.0),
                ("blue", 1.0),
                ("red", 2.0),
                ("blue", 5.0),
                ("red", 10.0),
                ("blue", 30.0),
                ("red", 60.0),
                ("blue", 60.0),
                ("red", 60.0),
            ],
        )

    def test_short_pauses(self) -> None:
        """One that had proven itself is never waited for long, however often it is killed."""
        talk = Dialogue()
        talk.tell(p.Passed())
        for number in range(1, 20):
            talk.tell(p.Proved(number))
            talk.tell(p.Ended(number, "was ended by SIGKILL"))
            talk.wait(SHORT_PAUSE)
            self.assertEqual(talk.pair.stage, Stage.OPENING)
        # Neither is one that fails once after that.
        self.assertIsInstance(talk.tell(p.Ended(20, "ended with status 1"))[-1], p.Spawn)

    def test_steady(self) -> None:
        """A team that has served for some minutes is good: its end is a first one again, and what
        was alarmed about is over."""
        talk = Dialogue()
        talk.tell(p.Passed())
        for number in (1, 2):
            talk.tell(p.Ended(number, "ended with status 1"))
            talk.wait(1.0)
        talk.tell(p.Proved(3))
        done = talk.wait(STEADY)
        self.assertIn(p.Clear(ENDED), done)
        self.assertEqual(talk.pair.failures, 0)
        self.assertIn(p.Spawn(4, "blue", False), talk.tell(p.Ended(3, "was ended by SIGKILL")))

    def test_the_other_becomes_good(self) -> None:
        """A team that had to stand in, and has served for some minutes, is the good one."""
        talk = Dialogue()
        talk.tell(p.Passed())
        for number in (1, 2, 3):
            talk.tell(p.Ended(number, "ended with status 1"))
            talk.wait(2.0)
        self.assertEqual(talk.pair.live and talk.pair.live.team, "red")
        talk.tell(p.Proved(4))
        self.assertEqual(talk.pair.good, "blue")
        talk.wait(STEADY)
        self.assertEqual(talk.pair.good, "red")

    def test_asked_to_end(self) -> None:
        """A lone team that somebody asks to end is followed at once, while it finishes what it
        has open, however often that is."""
        talk = Dialogue().serving()
        for number in range(1, 9):
            self.assertEqual(talk.tell(p.Stopping(number))[-1], p.Spawn(number + 1, "blue", False))
            talk.tell(p.Proved(number + 1))
        self.assertEqual(len(talk.pair.ending), 8)

    def test_switch_while_down(self) -> None:
        """While the good team fails again and again a person can have the other one started."""
        talk = Dialogue()
        talk.tell(p.Passed())
        for number in (1, 2):
            talk.tell(p.Ended(number, "ended with status 1"))
        self.assertEqual(talk.pair.stage, Stage.DOWN)
        self.assertEqual(talk.tell(p.AskedSwitch()), [p.Spawn(3, "red", False)])
        self.assertEqual(talk.tell(p.Proved(3)), [p.Done("red serves")])
