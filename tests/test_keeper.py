"""The keeper does what the machine says: with processes, for those who ask, and in words."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from snickers.interfaces.alarm import IAlarm
from snickers.teams.ends import WATCHDOG
from snickers.teams.keeper import Keeper
from snickers.teams.moves import GIVE_WITHIN, PROVE_WITHIN, STEADY
from snickers.teams.pair import Pair, Stage
from snickers.teams.processes import CannotStart
from snickers.teams.record import Process


class Team:
    """A process of a team that does nothing by itself."""

    def __init__(self, pid: int, team: str, stand_by: bool, ended: Callable[[str], None]) -> None:
        self.pid = pid
        self.team = team
        self.stand_by = stand_by
        self.ended = ended
        self.signals: list[int] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)


class Asker:
    """One who asks."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def progress(self, words: str) -> None:
        self.told.append(("progress", words))

    def done(self, words: str) -> None:
        self.told.append(("done", words))

    def failed(self, words: str) -> None:
        self.told.append(("failed", words))


@implementer(IAlarm)
class Alarms:
    """What is wrong now."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}

    def raised(self, kind: str, site: str, message: str) -> None:
        self.now[kind] = message

    def cleared(self, kind: str, site: str) -> None:
        self.now.pop(kind, None)


class KeeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.teams: list[Team] = []
        self.missing: set[str] = set()
        self.alarms = Alarms()
        self.changes = 0
        self.told: list[tuple[Stage, str]] = []
        self.keeper = Keeper(
            self.clock,
            lambda: 1e9 + self.clock.seconds(),
            self.launch,
            lambda pid: pid * 10,
            self.alarms,
            self.changed,
            lambda stage, words: self.told.append((stage, words)),
        )

    def launch(self, team: str, stand_by: bool, ended: Callable[[str], None]) -> Team:
        if team in self.missing:
            raise CannotStart("cannot be started: nothing is there")
        self.teams.append(Team(100 + len(self.teams), team, stand_by, ended))
        return self.teams[-1]

    def changed(self) -> None:
        self.changes += 1

    def say(self, team: Team, *states: str) -> None:
        self.keeper.heard(team.pid, "\n".join(states).encode())

    def serving(self) -> Team:
        self.keeper.begin()
        self.say(self.teams[0], "READY=1", "X_SNICKERS_DUTY=1", "X_SNICKERS_VERSION=1.0")
        return self.teams[0]

    def trial(self) -> tuple[Team, Team]:
        blue = self.serving()
        self.keeper.ask("switch", Asker())
        red = self.teams[1]
        self.say(red, "READY=1")
        self.say(blue, "X_SNICKERS_DUTY=0")
        self.say(red, "X_SNICKERS_DUTY=1")
        self.assertEqual(self.keeper.pair.stage, Stage.TRIAL)
        return blue, red

    def test_starts(self) -> None:
        """The good team is started, to serve; words say how far it is."""
        blue = self.serving()
        self.assertEqual((blue.team, blue.stand_by), ("blue", False))
        self.assertEqual(
            self.told, [(Stage.OPENING, "blue is being started"), (Stage.SERVING, "blue serves")]
        )
        self.assertEqual(self.keeper.processes(), {1: Process(100, 1000)})

    def test_switch(self) -> None:
        """Signals in the order of the handover, and who asked hears of each step."""
        blue = self.serving()
        asker = Asker()
        self.keeper.ask("switch", asker)
        red = self.teams[1]
        self.assertEqual((red.team, red.stand_by), ("red", True))
        self.say(red, "READY=1")
        self.assertEqual((blue.signals, red.signals), ([signal.SIGUSR1], []))
        self.say(blue, "X_SNICKERS_DUTY=0")
        self.assertEqual(red.signals, [signal.SIGUSR2])
        self.say(red, "X_SNICKERS_DUTY=1")
        self.assertEqual(
            asker.told,
            [
                ("progress", "red: is started, to stand by"),
                ("progress", "red: has proven itself"),
                ("progress", "blue: stands by, for red to take over"),
                ("progress", "red: takes over"),
                ("done", "red serves; blue stands by until commit or rollback"),
            ],
        )
        self.assertEqual(self.keeper.waiting, [])

    def test_others_wait_too(self) -> None:
        """Whoever asks while something goes on is refused at once and waits for nothing."""
        self.serving()
        first, second = Asker(), Asker()
        self.keeper.ask("switch", first)
        self.keeper.ask("switch", second)
        self.assertEqual([kind for kind, _ in second.told], ["failed"])
        self.assertEqual(self.keeper.waiting, [first])
        self.keeper.gone(first)
        self.keeper.gone(first)
        self.assertEqual(self.keeper.waiting, [])

    def test_given_up(self) -> None:
        """A rollback of a switch under way: its asker hears that it failed, the other that it is
        done."""
        self.serving()
        first, second = Asker(), Asker()
        self.keeper.ask("switch", first)
        self.keeper.ask("rollback", second)
        words = "given up: red ends, blue goes on"
        self.assertEqual(first.told[-1], ("failed", words))
        self.assertEqual(second.told, [("done", words)])
        self.assertEqual(self.teams[1].signals, [signal.SIGTERM])

    def test_notices_of_others(self) -> None:
        """What a process says that is no team of ours has no effect."""
        self.keeper.begin()
        self.keeper.heard(99, b"READY=1")
        self.assertEqual(self.keeper.pair.stage, Stage.OPENING)

    def test_cannot_be_started(self) -> None:
        """A team without a program is an end like others: told in words, tried again later."""
        self.missing = {"red"}
        self.serving()
        asker = Asker()
        self.keeper.ask("switch", asker)
        words = (
            "red has not proven itself: it cannot be started: nothing is there (see the log); "
            "blue goes on"
        )
        self.assertEqual(asker.told[-1], ("failed", words))
        self.assertEqual(self.keeper.pair.stage, Stage.SERVING)

    def test_finishes(self) -> None:
        """Who was committed away finishes what it has open, and a reload reaches it; what is to be
        done to its folder, or an end of all, has it end as soon as anybody."""
        self.keeper.configured(math.inf, 30.0, 7200.0)
        blue, _ = self.trial()
        self.say(blue, "X_SNICKERS_FINISHES=1", "X_SNICKERS_OPEN=2", "WATCHDOG=1")
        before = self.changes
        self.keeper.ask("commit", Asker())
        self.assertEqual(blue.signals[-1], signal.SIGURG)
        self.assertGreater(self.changes, before)
        self.say(blue, "STOPPING=1", "EXTEND_TIMEOUT_USEC=7230000000")
        (told,) = self.keeper.status()["ending"]
        self.assertEqual(
            (told["open"], told["finishing_since"], told["hurried"], told["ends_by"]),
            (2, 1e9, False, 1e9 + 7290),
        )
        for _ in range(600):
            self.clock.advance(6.0)
            self.say(blue, "WATCHDOG=1", "STOPPING=1")
        self.keeper.signal_all(signal.SIGHUP)
        self.assertEqual(blue.signals[-2:], [signal.SIGURG, signal.SIGHUP])
        asker = Asker()
        self.keeper.ask("hurry red", asker)
        self.assertEqual(asker.told, [("done", "red has nothing to be hurried")])
        asker = Asker()
        self.keeper.ask("hurry blue", asker)
        words = "blue still finishes 2 connections of before; it has 30s more"
        self.assertEqual(
            asker.told, [("progress", words), ("done", "blue has been told to end soon")]
        )
        self.assertEqual(blue.signals[-1], signal.SIGTERM)
        (told,) = self.keeper.status()["ending"]
        self.assertEqual((told["hurried"], told["ends_by"]), (True, 1e9 + 3600 + 90))
        self.keeper.signal_all(signal.SIGHUP)
        self.assertEqual(blue.signals[-1], signal.SIGTERM)

    def test_nothing_can_be_started(self) -> None:
        """With two folders that are no use it goes on trying, more and more seldom."""
        self.missing = {"blue", "red"}
        self.keeper.begin()
        self.clock.pump([1.0] * 10)
        self.assertEqual(self.keeper.pair.stage, Stage.DOWN)
        self.assertIn("cannot be started", self.alarms.now["team ended"])
        self.missing = set()
        self.clock.pump([1.0] * 60)
        self.assertEqual(self.keeper.pair.stage, Stage.OPENING)

    def test_killed(self) -> None:
        """When the newcomer is killed the one before is told at once, and an alarm says why."""
        blue, red = self.trial()
        red.ended("was ended by SIGKILL")
        self.assertEqual(blue.signals, [signal.SIGUSR1, signal.SIGUSR2])
        words = "red was ended by SIGKILL on trial: blue has taken over again"
        self.assertEqual(self.alarms.now, {"team taken back": words})
        self.assertEqual(self.keeper.status()["taken_back"], words)

    def test_fault(self) -> None:
        """A command that cannot be carried out costs none of those after it: who was killed is
        started again though nobody can be alarmed."""
        blue = self.serving()

        def broken(kind: str, site: str, message: str) -> None:
            raise RuntimeError("a fault")

        self.alarms.raised = broken  # type: ignore[method-assign]
        blue.ended("was ended by SIGKILL")
        self.assertEqual(len(self.teams), 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_commit(self) -> None:
        """The one before is asked to end; the alarm of before is over."""
        blue, red = self.trial()
        red.ended("was ended by SIGKILL")
        self.say(blue, "X_SNICKERS_DUTY=1")
        self.keeper.ask("switch", Asker())
        newer = self.teams[2]
        self.say(newer, "READY=1")
        self.clock.advance(GIVE_WITHIN)
        self.say(newer, "X_SNICKERS_DUTY=1")
        asker = Asker()
        self.keeper.ask("commit", asker)
        self.assertEqual([kind for kind, _ in asker.told], ["done"])
        self.assertEqual(blue.signals[-1], signal.SIGTERM)
        self.assertEqual((self.alarms.now, self.keeper.status()["taken_back"]), ({}, ""))

    def test_commit_after(self) -> None:
        """The switch has the `commit after` of its time."""
        self.keeper.commit_after = 600.0
        blue, _ = self.trial()
        self.assertEqual(self.keeper.status()["commits_in"], 600.0)
        self.clock.advance(600.0)
        self.assertEqual(blue.signals[-1], signal.SIGTERM)

    def test_time(self) -> None:
        """Limits of time are kept without anybody's doing."""
        self.serving()
        self.keeper.ask("switch", Asker())
        self.clock.advance(PROVE_WITHIN)
        self.assertEqual(self.teams[1].signals, [signal.SIGTERM])
        self.clock.advance(30.0)
        self.assertEqual(self.teams[1].signals, [signal.SIGTERM, signal.SIGKILL])

    def test_hangs(self) -> None:
        """One that has said that it lives, and does not any more, is made to end, and by force if
        it does not; the one that stands by takes over at once."""
        blue, red = self.trial()
        self.say(red, "WATCHDOG=1")
        self.clock.pump([1.0] * int(WATCHDOG))
        self.assertEqual(red.signals[-1], signal.SIGABRT)
        self.assertEqual(blue.signals, [signal.SIGUSR1, signal.SIGUSR2])
        words = "red hung and was ended on trial: blue has taken over again"
        self.assertEqual(self.alarms.now, {"team taken back": words})
        self.clock.pump([1.0] * 3)
        self.assertEqual(red.signals[-1], signal.SIGKILL)

    def test_listens_first(self) -> None:
        """Before silence counts, what has been told by now is heard, however late the keeper is."""
        _, red = self.trial()
        self.say(red, "WATCHDOG=1")
        heard: list[float] = []

        def listen() -> None:
            heard.append(self.clock.seconds())
            self.say(red, "STATUS=serving")

        self.keeper.listen = listen
        before = list(red.signals)
        for _ in range(5):
            self.clock.advance(1000.0)
        self.assertEqual((red.signals, len(heard)), (before, 5))

        def fault() -> None:
            raise RuntimeError("a fault")

        self.keeper.listen = fault
        self.clock.pump([1.0] * int(WATCHDOG))
        self.assertEqual(red.signals[-1], signal.SIGABRT)
        self.assertGreater(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_does_not_end(self) -> None:
        """A team that does not end is asked once more, after `drain within` and a margin, and then
        killed; what the configuration says counts."""
        self.keeper.configured(math.inf, 600.0, 86400.0)
        blue, _ = self.trial()
        self.keeper.ask("commit", Asker())
        ends = [signal.SIGUSR1, signal.SIGTERM]
        self.clock.advance(600.0)
        self.assertEqual(blue.signals, ends)
        self.clock.pump([1.0] * 60)
        self.assertEqual(blue.signals, [*ends, signal.SIGTERM])
        self.clock.pump([1.0] * 10)
        self.assertEqual(blue.signals, [*ends, signal.SIGTERM, signal.SIGKILL])

    def test_told_again(self) -> None:
        """A team that repeats how it stands changes nothing, and nothing is written for it; one
        that repeats that it ends is heard if that was missed."""
        blue, red = self.trial()
        self.say(red, "WATCHDOG=1")
        before = self.changes, self.keeper.pair.stage, list(red.signals), list(blue.signals)
        for _ in range(3):
            self.say(red, "WATCHDOG=1", "READY=1", "X_SNICKERS_DUTY=1")
            self.say(blue, "READY=1", "X_SNICKERS_VERSION=1.0", "X_SNICKERS_DUTY=0")
        after = self.changes, self.keeper.pair.stage, list(red.signals), list(blue.signals)
        self.assertEqual(before, after)
        self.say(red, "WATCHDOG=1", "STOPPING=1")
        self.assertEqual(blue.signals[-1], signal.SIGUSR2)

    def test_no_timer_without_need(self) -> None:
        """A keeper whose team serves steadily has nothing to wake up for."""
        self.serving()
        self.clock.advance(STEADY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end(self) -> None:
        """All are ended, one after the other; the Deferred fires when none is left."""
        blue, red = self.trial()
        done = self.keeper.end()
        self.assertEqual((blue.signals[-1], red.signals[-1]), (signal.SIGTERM, signal.SIGUSR2))
        blue.ended("ended by itself")
        self.assertEqual(red.signals[-1], signal.SIGTERM)
        self.assertNoResult(done)
        red.ended("ended by itself")
        self.successResultOf(done)

    def test_signal_all(self) -> None:
        """Both teams hear of a reload; one that ends does not."""
        blue, red = self.trial()
        self.keeper.signal_all(signal.SIGHUP)
        self.assertEqual((blue.signals[-1], red.signals[-1]), (signal.SIGHUP, signal.SIGHUP))
        self.keeper.ask("commit", Asker())
        self.keeper.signal_all(signal.SIGHUP)
        self.assertEqual(blue.signals[-1], signal.SIGTERM)

    def test_signal_while_one_starts(self) -> None:
        """A reload does not end one that is being started, which has no handlers yet; it hears of
        it when it has proven itself, once."""
        self.keeper.begin()
        (blue,) = self.teams
        self.keeper.signal_all(signal.SIGHUP)
        self.keeper.signal_all(signal.SIGHUP)
        self.assertEqual(blue.signals, [])
        self.say(blue, "READY=1")
        self.say(blue, "READY=1")
        self.assertEqual(blue.signals, [signal.SIGHUP])
        self.keeper.ask("switch", Asker())
        red = self.teams[1]
        self.keeper.signal_all(signal.SIGHUP)
        self.assertEqual((blue.signals, red.signals), ([signal.SIGHUP] * 2, []))

    def test_status(self) -> None:
        """Who is live and since when, who stands by, what they have told."""
        _, red = self.trial()
        self.clock.advance(5.0)
        self.say(red, "X_SNICKERS_ANSWERS=10 1", "X_SNICKERS_OPEN=3", "STATUS=serving")
        status = self.keeper.status()
        self.assertEqual(status["stage"], "trial")
        self.assertEqual(status["words"], "red serves, on trial; blue stands by")
        self.assertEqual(
            status["live"],
            {
                "id": 2,
                "team": "red",
                "pid": 101,
                "since": 1e9,
                "live_since": 1e9,
                "accepts": True,
                "ready": True,
                "duty": True,
                "version": "",
                "status": "serving",
                "open": 3,
                "answers": 10,
                "errors": 1,
                "alarms": 0,
                "finishing_since": None,
                "hurried": False,
                "ends_by": None,
            },
        )
        self.assertEqual((status["other"]["team"], status["other"]["version"]), ("blue", "1.0"))
        self.assertEqual(status["now"], 1e9 + 5.0)

    def test_remembered(self) -> None:
        """What a later keeper must know is written down when it changes, and not for each
        notice."""
        _, red = self.trial()
        before = self.changes
        self.say(red, "X_SNICKERS_ANSWERS=10 1", "X_SNICKERS_OPEN=3", "STATUS=serving")
        self.assertEqual(self.changes, before)
        self.keeper.ask("commit", Asker())
        self.assertEqual(self.changes, before + 1)

    def test_remembered_of_a_trial(self) -> None:
        """That a newcomer had alarms is written down, since it keeps it from being committed by
        itself; so is its version."""
        _, red = self.trial()
        before = self.changes
        self.say(red, "X_SNICKERS_ALARMS=1")
        self.assertEqual(self.changes, before + 1)
        self.say(red, "X_SNICKERS_ALARMS=2", "X_SNICKERS_VERSION=2.0")
        self.assertEqual(self.changes, before + 2)

    def test_take_up(self) -> None:
        """Another keeper's team is watched and told as one of ours."""
        self.trial()
        pair: Pair = self.keeper.pair
        live = pair.live
        assert live is not None
        later = Keeper(
            self.clock,
            self.clock.seconds,
            self.launch,
            lambda pid: None,
            self.alarms,
            self.changed,
            lambda stage, words: None,
        )
        left = Team(7, "red", False, lambda words: later.ended(live.id, words))
        blue = Team(8, "blue", True, lambda words: later.ended(1, words))
        later.take_up(pair, (), {2: (left, Process(7, 1)), 1: (blue, Process(8, 2))})
        self.assertEqual(later.processes(), {2: Process(7, 1), 1: Process(8, 2)})
        left.ended("ended")
        self.assertEqual(blue.signals, [signal.SIGUSR2])
        self.assertTrue(math.isfinite(later.pair.until))
