"""Tests for snickers.alarm."""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.alarm import HANDED_FOR, MOST, Alarm
from snickers.interfaces.alarm import IAlarm


class FakeTeller:
    """Writes down what is told."""

    def __init__(self):
        self.command = ()
        self.told = []
        self.stopped = False

    def tell(self, alarm):
        self.told.append(json.loads(json.dumps(alarm)))

    def stop(self):
        self.stopped = True

    def look(self):
        self.heard("tell is not there" if self.command == ("tell", "me") else "")


class AlarmTests(SynchronousTestCase):
    def setUp(self):
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.clock = Clock()
        self.clock.advance(100)
        self.teller = FakeTeller()
        self.alarm = Alarm(self.teller, self.clock.seconds)

    def test_interface(self):
        """It is what the rooms expect."""
        verifyObject(IAlarm, self.alarm)

    def test_raised(self):
        """An alarm is logged with its site, kept, and told."""
        self.alarm.raised("certificate", "a.example", "it expired")
        expected = {
            "kind": "certificate",
            "site": "a.example",
            "message": "it expired",
            "since": 100.0,
        }
        self.assertEqual(self.alarm.current(), [expected])
        self.assertEqual(self.teller.told, [expected])
        [event] = self.events
        self.assertEqual(event["log_level"].name, "error")
        self.assertEqual(event["site"], "a.example")

    def test_once(self):
        """The same alarm is told once, and keeps the time it was first raised."""
        self.alarm.raised("certificate", "a.example", "it expired")
        self.clock.advance(50)
        self.alarm.raised("certificate", "a.example", "it expired")
        self.assertEqual(len(self.teller.told), 1)
        self.assertEqual(len(self.events), 1)
        self.assertEqual(self.alarm.current()[0]["since"], 100.0)

    def test_others(self):
        """Another message, site or kind is another alarm."""
        self.alarm.raised("certificate", "a.example", "it expired")
        self.alarm.raised("certificate", "a.example", "it is missing")
        self.alarm.raised("certificate", "b.example", "it expired")
        self.alarm.raised("engine", "a.example", "it expired")
        self.assertEqual(len(self.teller.told), 4)

    def test_silent(self):
        """While somebody else tells, nothing is told; then what holds and was not told of."""
        self.alarm.raised("certificate", "a.example", "one")
        self.assertEqual(self.alarm.be_silent(), [("certificate", "a.example", "one")])
        self.teller.told.clear()
        self.alarm.raised("certificate", "b.example", "two")
        self.alarm.raised("engine", "", "three")
        self.alarm.cleared("certificate", "a.example")
        self.assertEqual((self.alarm.be_silent(), self.teller.told), ([], []))
        self.assertEqual(len(self.alarm.current()), 2)
        self.alarm.speak([("certificate", "b.example", "two"), ("other", "", "four")])
        self.assertEqual([alarm["kind"] for alarm in self.teller.told], ["engine"])
        self.alarm.speak([])
        self.alarm.cleared("engine", "")
        self.assertEqual(len(self.teller.told), 2)

    def test_handed(self) -> None:
        """What somebody else has told of is shown; it is over, and told so, when it is cleared
        here, whoever has raised it. Whoever raises it here has it go on."""
        self.alarm.be_silent()
        self.alarm.speak([("crashed", "a.example", "one"), ("engine", "", "two")])
        self.assertEqual(self.teller.told, [])
        self.assertEqual([alarm["message"] for alarm in self.alarm.current()], ["one", "two"])
        self.assertEqual(self.alarm.count(), 0)
        self.clock.advance(5)
        self.alarm.raised("engine", "", "two")
        self.assertEqual((self.teller.told, self.alarm.count()), ([], 1))
        self.assertEqual(self.alarm.current()[1]["since"], 100.0)
        self.alarm.cleared("crashed", "a.example")
        [over] = self.teller.told
        self.assertEqual((over["message"], over["cleared"]), ("one", True))
        self.alarm.cleared("engine", "")
        self.assertEqual(len(self.teller.told), 2)
        self.assertEqual(self.alarm.current(), [])

    def test_handed_on(self) -> None:
        """What was handed over and holds is handed on."""
        self.alarm.be_silent()
        told = [("crashed", "a.example", "one")]
        self.alarm.speak(told)
        self.assertEqual((self.alarm.be_silent(), self.alarm.current()), (told, []))
        self.alarm.cleared("crashed", "a.example")
        self.assertEqual(self.teller.told, [])

    def test_handed_and_never_found(self) -> None:
        """What nobody here finds to be so is over after a while; what was tried, and failed, is not
        until it succeeds, or its site is no more."""
        alarm = Alarm(self.teller, self.clock.seconds, (), ("snapshots",))
        alarm.be_silent()
        alarm.speak([("engine", "", "one"), ("snapshots", "a.example", "two")])
        self.clock.advance(HANDED_FOR - 1)
        self.assertEqual(len(alarm.current()), 2)
        self.clock.advance(1)
        self.assertEqual([kept["message"] for kept in alarm.current()], ["two"])
        self.assertEqual([told["message"] for told in self.teller.told], ["one"])
        alarm.removed(["b.example"])
        self.assertEqual(len(alarm.current()), 1)
        alarm.removed(["a.example"])
        self.assertEqual(alarm.current(), [])
        self.assertTrue(all(told["cleared"] for told in self.teller.told))

    def test_handed_and_seen(self) -> None:
        """What everybody finds out by himself is over at once where this one has not found it, as
        that a restart is needed is with the restart."""
        alarm = Alarm(self.teller, self.clock.seconds, (), (), ("restart",))
        alarm.be_silent()
        alarm.raised("restart", "", "still so")
        alarm.speak([("restart", "", "still so"), ("restart", "", "over"), ("engine", "", "one")])
        kept = [one["message"] for one in alarm.current()]
        self.assertEqual(kept, ["one", "still so"])
        [told] = self.teller.told
        self.assertEqual((told["message"], told["cleared"]), ("over", True))

    def test_kept(self) -> None:
        """What was raised before, by another process of the same, is not told again, and its end
        is."""
        self.alarm.keep([("team ended", "", "one", 7.0)])
        self.alarm.raised("team ended", "", "one")
        self.assertEqual(self.teller.told, [])
        self.assertEqual(self.alarm.current()[0]["since"], 7.0)
        self.alarm.cleared("team ended", "")
        self.assertTrue(self.teller.told[0]["cleared"])

    def test_always_told(self):
        """What nobody else can know of is told while it is silent, once."""
        alarm = Alarm(self.teller, self.clock.seconds, ("duty",))
        alarm.be_silent()
        alarm.raised("duty", "", "one")
        alarm.raised("engine", "", "two")
        self.assertEqual([told["message"] for told in self.teller.told], ["one"])
        alarm.speak([])
        self.assertEqual([told["message"] for told in self.teller.told], ["one", "two"])
        alarm.be_silent()
        alarm.cleared("duty", "")
        alarm.cleared("engine", "")
        self.assertEqual([told["message"] for told in self.teller.told], ["one", "two", "one"])

    def test_cleared(self):
        """All of a kind and a site are over, told as such, and may be raised again."""
        self.alarm.raised("certificate", "a.example", "one")
        self.alarm.raised("certificate", "a.example", "two")
        self.alarm.raised("engine", "", "three")
        self.alarm.cleared("certificate", "a.example")
        self.assertEqual([alarm["message"] for alarm in self.alarm.current()], ["three"])
        over = self.teller.told[3:]
        self.assertEqual([alarm["message"] for alarm in over], ["one", "two"])
        self.assertEqual([alarm["cleared"] for alarm in over], [True, True])
        self.alarm.raised("certificate", "a.example", "one")
        self.assertNotIn("cleared", self.teller.told[-1])

    def test_cleared_nothing(self):
        """To clear what was not raised is nothing."""
        self.alarm.cleared("certificate", "a.example")
        self.assertEqual((self.teller.told, self.events), ([], []))

    def test_bounded(self):
        """The oldest make room."""
        for number in range(MOST + 5):
            self.alarm.raised("test", "", str(number))
        current = self.alarm.current()
        self.assertEqual(len(current), MOST)
        self.assertEqual(current[0]["message"], "5")

    def test_printable(self):
        """What would drive a terminal is escaped; letters and ends of lines are kept."""
        self.alarm.raised("test", "", "a\nb\r\x1b[2J\x9b é \udc80 {kind}")
        [alarm] = self.alarm.current()
        self.assertEqual(alarm["message"], "a\nb\\r\\x1b[2J\\x9b é \\udc80 {kind}")

    def test_not_changed_from_outside(self):
        """What is returned is a copy."""
        self.alarm.raised("test", "", "one")
        self.alarm.current()[0]["message"] = "other"
        self.assertEqual(self.alarm.current()[0]["message"], "one")

    def test_command(self):
        """The command may be changed, and the end is passed on."""
        self.alarm.command = ("tell", "me")
        self.assertEqual(self.teller.command, ("tell", "me"))
        self.assertEqual(self.alarm.command, ("tell", "me"))
        self.alarm.command = ()
        self.alarm.stop()
        self.assertTrue(self.teller.stopped)

    def test_command_that_does_not_work(self):
        """What is wrong with the command is shown while it is so, and not given to it."""
        self.alarm.command = ("tell", "me")
        [alarm] = self.alarm.current()
        self.assertEqual((alarm["kind"], alarm["site"], alarm["since"]), ("alarm command", "", 100))
        self.assertIn("nobody is told: tell is not there", alarm["message"])
        self.teller.heard("tell failed: \x1b[2J")
        [alarm] = self.alarm.current()
        self.assertIn("tell failed: \\x1b[2J", alarm["message"])
        self.teller.heard("")
        self.assertEqual(self.alarm.current(), [])
        self.alarm.look()
        self.assertEqual(len(self.alarm.current()), 1)
        self.assertEqual(self.teller.told, [])

    def test_command_that_fails_in_the_middle(self):
        """One that cannot be run while much is to be told neither raises nor is told of."""
        self.alarm.be_silent()
        for site in ("a.example", "b.example"):
            self.alarm.raised("disk", site, "it is full")
        asked = []

        def tell(alarm):
            asked.append(alarm["site"])
            self.teller.heard(f"tell cannot be run: {len(asked)}")

        self.teller.tell = tell
        self.alarm.speak(())
        self.assertEqual(asked, ["a.example", "b.example"])
        [said] = [a for a in self.alarm.current() if a["kind"] == "alarm command"]
        self.assertIn("cannot be run: 2", said["message"])

    def test_command_of_another(self):
        """That the command of one team does not work is not handed on, and not told later."""
        self.alarm.command = ("tell", "me")
        self.alarm.raised("disk", "", "it is full")
        self.assertEqual(self.alarm.be_silent(), [("disk", "", "it is full")])
        self.alarm.speak([("disk", "", "it is full"), ("alarm command", "", "does not work")])
        kinds = [alarm["kind"] for alarm in self.alarm.current()]
        self.assertEqual(sorted(kinds), ["alarm command", "disk"])
        self.assertEqual([told["kind"] for told in self.teller.told], ["disk"])
