"""What one engine has, asked once for the sake of all who want to know."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers.config.values import Container
from snickers.containers import events as e
from snickers.containers.engine import EngineFailed
from snickers.containers.roster import Roster, in_words
from snickers.interfaces.engine import Declared, Exit, IEngineObserver, Instance
from snickers.testing import MemoryEngine


class Member:
    """A life that looks whenever it hears that the engine is there."""

    def __init__(self, roster, site):
        self.roster = roster
        self.site = site
        self.heard = []

    def post(self, event):
        self.heard.append(event)
        if isinstance(event, e.EngineFound):
            self.roster.look(self.site, 7)


class Alarm:
    """What is raised, and what is cleared of that, as `IAlarm` says."""

    def __init__(self):
        self.told = []
        self.current = set()

    def raised(self, kind, site, message):
        self.told.append((kind, site, message))
        self.current.add((kind, site))

    def cleared(self, *about):
        if about in self.current:
            self.current.remove(about)
            self.told.append(about)


class RosterTests(TestCase):
    """A roster over `MemoryEngine`."""

    def setUp(self):
        self.clock = Clock()
        self.engine = MemoryEngine(self.clock)
        self.host = self.engine.host
        self.alarm = Alarm()
        self.roster = Roster("container", self.engine, self.clock, self.alarm)

    def turn(self, seconds=0.0):
        self.clock.advance(seconds)
        for _ in range(6):
            self.clock.advance(0)

    def join(self, site="a.example"):
        member = Member(self.roster, site)
        self.roster.join(site, member)
        return member

    @property
    def lists(self):
        return self.engine.calls.count(("list", ""))

    def run_server(self, site):
        declared = Declared(site, Container("lamp"), "")
        self.host.start(site, self.engine.fingerprint(declared), 0)
        return self.host.servers[site].instance

    def test_interface(self):
        """An engine can tell a roster."""
        verifyObject(IEngineObserver, self.roster)

    def test_two_of_a_site(self):
        """Of two that run it is the one that serves that is told, whichever was started last, and
        what runs beside it."""
        member = self.join()
        first = self.run_server("a.example")
        second = self.host.start_beside("a.example", "new", 5, False)
        self.roster.watch()
        self.turn()
        listed = member.heard[-1]
        self.assertEqual(
            (listed.instance, [each.id for each in listed.others]), (first, [second.id])
        )
        self.host.settle("a.example", second.id, first.id)
        self.roster.look("a.example", 8)
        self.turn()
        listed = member.heard[-1]
        self.assertEqual((listed.instance.id, listed.others), (second.id, (first,)))

    def test_one_list_for_all(self):
        """All who look in one turn are answered by one list."""
        members = [self.join(f"s{i}.example") for i in range(100)]
        server = self.run_server("s1.example")
        self.roster.watch()
        self.turn()
        self.assertEqual(self.lists, 1)
        self.assertEqual(members[0].heard, [e.EngineFound(), e.Listed(7, None)])
        self.assertEqual(members[1].heard, [e.EngineFound(), e.Listed(7, server)])

    def test_late_members(self):
        """Who joins later hears at once how it stands with the engine."""
        self.assertEqual(self.join("early.example").heard, [])
        self.roster.watch()
        self.turn()
        self.assertEqual(self.join("b.example").heard, [e.EngineFound()])
        self.host.lose("away")
        self.turn()
        self.assertEqual(self.join("c.example").heard, [e.EngineLost("away")])
        nothing = Roster("container", None, self.clock, None)
        nothing.watch()
        member = Member(nothing, "d.example")
        nothing.join("d.example", member)
        self.assertTrue(member.heard[0].for_good)
        self.successResultOf(nothing.close())

    def test_parted(self):
        """Who has parted hears nothing any more."""
        member = self.join()
        self.roster.part("a.example")
        self.roster.watch()
        self.turn()
        self.assertEqual(member.heard, [])

    def test_found_after_another(self):
        """What another Snickers has told of the engine is over when it is found; of another engine
        that says nothing."""
        self.alarm.raised("engine", "", "away")
        processes = MemoryEngine(self.clock)
        other = Roster("process", processes, self.clock, self.alarm)
        other.watch()
        self.turn()
        processes.host.lose("gone")
        self.turn()
        processes.host.find()
        self.turn()
        self.assertEqual(self.alarm.told, [("engine", "", "away")])
        self.roster.watch()
        self.turn()
        self.assertEqual(self.alarm.told[1:], [("engine", "")])

    def test_lost_and_found(self):
        """The engine's going and coming are told to all, and to a person."""
        member = self.join()
        self.roster.watch()
        self.turn()
        self.host.lose("away")
        self.turn()
        self.assertEqual(member.heard[-1], e.EngineLost("away"))
        self.host.find()
        self.turn()
        self.assertEqual(member.heard[-2:], [e.EngineFound(), e.Listed(7, None)])
        self.assertEqual(self.alarm.told, [("engine", "", "away"), ("engine", "")])

    def test_nobody_misses_it(self):
        """Of an engine that no site needs the log says nothing, whether it is there or not."""
        with capturedLogs() as logs:
            self.roster.watch()
            self.turn()
            self.host.lose("away")
            self.turn()
        self.assertEqual([event["log_format"] for event in logs if "engine" in str(event)], [])
        self.join()
        with capturedLogs() as logs:
            self.host.find()
            self.turn()
        self.assertEqual(len([event for event in logs if "is there" in str(event)]), 1)

    def test_list_before_the_loss(self):
        """A list that was asked for before the engine was lost is not heard."""
        member = self.join()
        self.engine.hold("list")
        self.roster.watch()
        self.turn()
        self.roster.lost("away")
        self.engine.release("list")
        self.turn()
        self.assertEqual(member.heard, [e.EngineFound(), e.EngineLost("away")])

    def test_list_fails(self):
        """An engine that cannot say what it has is asked again, less and less often."""
        member = self.join()
        for _ in range(3):
            self.engine.fail("list", EngineFailed("no"))
        self.roster.watch()
        self.turn()
        for seconds, lists in ((0.9, 1), (0.2, 2), (1.8, 2), (0.3, 3), (3.9, 3), (0.3, 4)):
            self.turn(seconds)
            self.assertEqual(self.lists, lists)
        self.assertEqual(member.heard[-1], e.Listed(7, None))

    def test_look_during_a_list(self):
        """Who looks while a list is under way is answered by another one."""
        member = self.join()
        self.engine.hold("list")
        self.roster.watch()
        self.turn()
        self.roster.look("a.example", 8)
        self.engine.release("list")
        self.turn()
        self.assertEqual(self.lists, 2)
        self.assertEqual(member.heard[-1], e.Listed(8, None))

    def test_exited(self):
        """The end of a server is told to its life, of others to nobody."""
        member = self.join()
        self.roster.exited(Exit("a.example", "1", 3))
        self.roster.exited(Exit("b.example", "2", 3))
        self.assertEqual(member.heard, [e.Exited("1", "It ended with code 3.")])

    def test_noticed(self):
        """What an owner should know is kept until it is told anew, or the site is no more."""
        self.roster.noticed("a.example", "A newer image is here.")
        self.roster.noticed("b.example", "Another one.")
        self.roster.noticed("b.example", "")
        self.assertEqual(self.roster.notices, {"a.example": "A newer image is here."})
        self.roster.part("a.example")
        self.assertEqual(self.roster.notices, {})

    def test_words(self):
        """How a server ended is said in words."""
        self.assertIn("memory", in_words(Exit("a", "1", 137, out_of_memory=True)))
        self.assertEqual(in_words(Exit("a", "1", 137)), "It ended with code 137 (SIGKILL).")
        self.assertEqual(in_words(Exit("a", "1", 1)), "It ended with code 1.")
        self.assertEqual(
            in_words(Exit("a", "1", 0)),
            "It ended with code 0, as if its work were done; a server has to stay in the "
            "foreground.",
        )
        self.assertIn("code 126: a command could not be run", in_words(Exit("a", "1", 126)))
        self.assertIn("code 127: a command was not found", in_words(Exit("a", "1", 127)))
        self.assertEqual(in_words(Exit("a", "1", 255)), "It ended with code 255.")
        self.assertEqual(in_words(Exit("a", "1", None)), "It ended; with which code is not known.")
        self.assertEqual(
            in_words(Exit("a", "1", 137, part="db")),
            "Its service db ended with code 137 (SIGKILL).",
        )
        self.assertIn("Its service db was", in_words(Exit("a", "1", 1, True, "db")))

    def test_two_of_one_site(self):
        """Of two servers of a site the running one counts."""
        member = self.join()
        stopped = Instance("a.example", "1", "fp", False, None, 1.0)
        running = Instance("a.example", "2", "fp", True, ("127.0.0.1", 1), 2.0)
        for listed in ([stopped, running], [running, stopped]):
            self.engine.list = lambda listed=listed: _fired(listed)
            self.roster.found()
            self.turn()
            self.assertEqual(member.heard[-1], e.Listed(7, running, stopped))

    def test_former(self):
        """Of those that do not run the last one counts, and the one before it could come back."""
        member = self.join()
        made = [
            Instance("a.example", str(when), "fp", False, None, float(when)) for when in range(1, 4)
        ]
        other = Instance("b.example", "9", "fp", False, None, 9.0)
        self.engine.list = lambda: _fired([made[2], made[0], other, made[1]])
        self.roster.found()
        self.turn()
        self.assertEqual(member.heard[-1], e.Listed(7, made[2], made[1]))

    def test_never_started(self):
        """What was made and never started, since Snickers was killed in between, is nothing that
        could come back."""
        member = self.join()
        made = Instance("a.example", "1", "other", False, None)
        running = Instance("a.example", "2", "fp", True, ("127.0.0.1", 1), 2.0)
        self.engine.list = lambda: _fired([made, running])
        self.roster.found()
        self.turn()
        self.assertEqual(member.heard[-1], e.Listed(7, running))

    def test_close(self):
        """After the end the engine is asked nothing."""
        self.join()
        self.roster.watch()
        self.turn()
        closing = self.roster.close()
        self.turn()
        self.successResultOf(closing)
        self.roster.look("a.example", 8)
        self.turn()
        self.assertEqual((self.engine.closed, self.lists), (True, 1))

    def test_closed_during_a_list(self):
        """What is answered after the end is not heard."""
        member = self.join()
        self.engine.list = lambda: listing
        listing = Deferred()
        self.roster.watch()
        self.turn()
        self.roster.close()
        listing.callback([])
        self.assertEqual(member.heard, [e.EngineFound()])

    def test_an_engine_that_nobody_needs(self):
        """...may be away without an alarm, until there is a site for it, and after the last."""
        self.roster.lost("no Docker")
        self.assertEqual(self.alarm.told, [])
        self.join()
        self.join("b.example")
        self.assertEqual(self.alarm.told, [("engine", "", "no Docker")])
        self.roster.part("a.example")
        self.assertEqual(len(self.alarm.told), 1)
        self.roster.part("b.example")
        self.assertEqual(self.alarm.told[1:], [("engine", "")])


def _fired(result):
    done = Deferred()
    done.callback(result)
    return done
