"""Alarms of several processes as one (``snickers.workers.alarms``)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.interfaces.alarm import IAlarm
from snickers.workers.alarms import Messages, OwnAlarm, RemoteAlarm


@implementer(IAlarm)
class Alarm:
    """Keeps what is wrong, and how often somebody was told that something was over."""

    def __init__(self) -> None:
        self.now: set[tuple[str, str, str]] = set()
        self.over = 0

    def raised(self, kind: str, site: str, message: str) -> None:
        self.now.add((kind, site, message))

    def cleared(self, kind: str, site: str) -> None:
        self.over += 1
        self.now = {entry for entry in self.now if entry[:2] != (kind, site)}


class MessagesTests(SynchronousTestCase):
    """Two processes, one alarm."""

    def setUp(self) -> None:
        self.alarm = Alarm()
        verifyObject(IAlarm, self.alarm)
        self.messages = Messages(self.alarm)
        self.first, self.second = (OwnAlarm(self.messages, origin) for origin in (1, 2))

    def test_interface(self) -> None:
        """Each process' alarm is one."""
        verifyObject(IAlarm, self.first)
        verifyObject(IAlarm, RemoteAlarm())

    def test_one(self) -> None:
        """What one raises is raised, and over when that one says so."""
        self.first.raised("health", "a", "down")
        self.assertEqual(self.alarm.now, {("health", "a", "down")})
        self.first.cleared("health", "a")
        self.assertEqual((self.alarm.now, self.alarm.over), (set(), 1))
        self.assertEqual(self.messages._raised, {})

    def test_over_for_all(self) -> None:
        """It is over when it is over for all."""
        self.first.raised("health", "a", "down")
        self.second.raised("health", "a", "down")
        self.first.cleared("health", "a")
        self.assertEqual(self.alarm.now, {("health", "a", "down")})
        self.second.cleared("health", "a")
        self.assertEqual(self.alarm.now, set())

    def test_several_messages(self) -> None:
        """What others have found holds on with their words; one's own is over in all its words."""
        self.first.raised("health", "a", "no answer")
        self.first.raised("health", "a", "refused")
        self.first.raised("health", "a", "refused")
        self.second.raised("health", "a", "refused")
        # What is found over and over is kept once.
        self.assertEqual(self.messages._raised["health", "a"][1], ["no answer", "refused"])
        self.first.cleared("health", "a")
        self.assertEqual(self.alarm.now, {("health", "a", "refused")})

    def test_not_raised(self) -> None:
        """Who has raised nothing clears nothing of another's."""
        self.first.raised("health", "a", "down")
        self.second.cleared("health", "a")
        self.second.cleared("health", "b")
        self.assertEqual((len(self.alarm.now), self.alarm.over), (1, 0))

    def test_gone(self) -> None:
        """With a process goes what it has found out, and nothing else."""
        self.first.raised("health", "a", "down")
        self.first.raised("log", "", "disk full")
        self.second.raised("log", "", "disk full")
        self.messages.gone(1)
        self.assertEqual(self.alarm.now, {("log", "", "disk full")})
        self.messages.gone(2)
        self.messages.gone(3)
        self.assertEqual((self.alarm.now, self.messages._raised), (set(), {}))


class RemoteAlarmTests(SynchronousTestCase):
    """The alarm of a worker."""

    def test_told(self) -> None:
        """It tells the first process, as it was told."""
        told: list[tuple[str, ...]] = []

        class Teller:
            def raise_alarm(self, kind: str, site: str, message: str) -> None:
                told.append((kind, site, message))

            def clear_alarm(self, kind: str, site: str) -> None:
                told.append((kind, site))

        alarm = RemoteAlarm()
        alarm.teller = Teller()
        alarm.raised("health", "a", "down")
        alarm.cleared("health", "a")
        self.assertEqual(told, [("health", "a", "down"), ("health", "a")])
