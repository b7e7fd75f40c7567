"""What the machine has the engine do becomes one call, and whatever comes of it an event."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from snickers.config.values import Container
from snickers.containers import events as e
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.containers.life import State
from snickers.containers.orders import ORDERS
from snickers.containers.probe import NotReady
from snickers.interfaces.copies import CopyFailed
from snickers.interfaces.engine import Declared, Instance, Ran
from snickers.testing import MemoryEngine

SITE = "a.example"
FAILURES = {
    e.Start(3): e.StartFailed,
    e.Stop(3, 5.0): e.StopFailed,
    e.Clear(3): e.ClearFailed,
    e.Prepare(3, False): e.PrepareFailed,
    e.Revert(3, "one"): e.RevertFailed,
    e.Copy(3, 10.0): e.CopyFailed,
    e.Pause(3): e.PauseFailed,
    e.Resume(3): e.ResumeFailed,
}


class Life:
    """A life that remembers what it is told."""

    site = SITE

    def __init__(self):
        self.clock = Clock()
        self.memory = MemoryEngine(self.clock)
        self.away = ""
        self.roster = self
        self.calls = set()
        self.declared = Declared(SITE, Container("lamp"), "")
        self.state = State(self.declared.kind.life, "fp", epoch=3)
        self.events = []
        self.words = []
        self.looked = []
        self.probed = Deferred()
        self.copying = Deferred()
        self.writing = succeed(None)
        self.putting_back = succeed(None)
        self.put = []
        self.former = None

    def written(self):
        return self.writing

    def copy(self, progress, had):
        return self.copying

    def put_back(self, copy, progress):
        self.put.append((copy, self.memory.calls[-1][0]))
        return self.putting_back

    def engine(self):
        if self.away:
            raise EngineAway(self.away)
        return self.memory

    def wanted(self):
        return self.declared

    def unnamed(self):
        return self.former

    def post(self, event):
        self.events.append(event)

    def tell(self, words):
        self.words.append(words)

    def hear_out(self):
        return succeed(None)

    def look(self, site, epoch):
        self.looked.append((site, epoch))

    def probing(self, epoch, instance, brief):
        return self.probed

    def obey(self, command):
        ORDERS[type(command)](self, command)
        for _ in range(4):
            self.clock.advance(0)
        return self.events


class OrdersTests(TestCase):
    def setUp(self):
        self.life = Life()

    def test_start(self):
        """A start tells how far it is, and then what runs."""
        (event,) = self.life.obey(e.Start(3))
        self.assertIsInstance(event, e.Started)
        self.assertEqual((event.epoch, event.instance.site), (3, SITE))
        self.assertEqual(self.life.words, ["starting"])

    def test_start_unnamed(self):
        """What nobody can make again is started as it is, or what is declared where it has
        gone."""
        (event,) = self.life.obey(e.Start(3))
        self.life.former = event.instance
        self.life.memory.host.end(SITE)
        *_, event = self.life.obey(e.Start(3))
        self.assertEqual(self.life.memory.calls[-1][0], "revert")
        self.assertEqual(event.instance.id, self.life.former.id)
        self.life.former = evolve(self.life.former, id="gone")
        *_, event = self.life.obey(e.Start(3))
        self.assertEqual([call[0] for call in self.life.memory.calls[-2:]], ["revert", "start"])
        self.assertIsInstance(event, e.Started)

    def test_late_words(self):
        """What a start says that is not wanted any more is told to nobody."""
        self.life.state = State(self.life.declared.kind.life, "fp", epoch=4)
        self.life.obey(e.Start(3))
        self.assertEqual(self.life.words, [])

    def test_failed(self):
        """What the engine could not do is told in its words, and whether it was away."""
        for command, failure in FAILURES.items():
            verb = {"clear": "remove"}.get(name := type(command).__name__.lower(), name)
            for error, away in ((EngineFailed("it cannot"), False), (EngineAway("gone"), True)):
                self.life.events.clear()
                if isinstance(command, e.Copy):
                    self.life.copying = fail(error)
                self.life.memory.fail(verb, error)
                self.assertEqual(self.life.obey(command), [failure(3, str(error), away)])

    def test_no_engine(self):
        """Where there is no engine, that is told like any other failure."""
        self.life.away = "Nothing here runs a container."
        for command, failure in FAILURES.items():
            if not isinstance(command, e.Copy):
                self.life.events.clear()
                self.assertEqual(self.life.obey(command), [failure(3, self.life.away, True)])

    def test_broken(self):
        """An engine that breaks is logged, and is a failure like another."""
        self.life.memory.fail("stop", ZeroDivisionError("oh"))
        self.assertEqual(self.life.obey(e.Stop(3, 5.0)), [e.StopFailed(3, "oh")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_commands(self):
        """A snapshot counts when its command ended well; a veto is every other end."""
        self.life.obey(e.Start(3))
        host = self.life.memory.host
        for result, snapshot, inquired in (
            (Ran(0, ""), e.Snapshotted(3), e.Consented(3)),
            (
                Ran(7, "disk full"),
                e.SnapshotFailed(
                    3, "Its snapshot failed with status 7, so it is not stopped: disk full"
                ),
                e.Vetoed(3),
            ),
        ):
            host.results[("dump",)] = result
            self.life.events.clear()
            self.life.obey(e.Snapshot(3, ("dump",), 10))
            self.life.obey(e.Inquire(3, ("dump",)))
            self.assertEqual(self.life.events, [snapshot, inquired])

    def test_no_veto(self):
        """A veto command that cannot be run is a veto."""
        self.assertEqual(self.life.obey(e.Inquire(3, ("in-use",))), [e.Vetoed(3)])

    def test_settle(self):
        """That nothing else runs is told with the server that is left, and the one that was spared;
        so is that it could not be ended."""
        self.assertEqual(self.life.obey(e.Settle("one", "two")), [e.Settled("one", "two")])
        for error, away in ((EngineFailed("it cannot"), False), (EngineAway("gone"), True)):
            self.life.events.clear()
            self.life.memory.fail("settle", error)
            (event,) = self.life.obey(e.Settle("one", "two"))
            self.assertEqual((event.id, event.spare, event.away), ("one", "two", away))
            self.assertIn(str(error), event.words)

    def test_copy(self):
        """A copy is told by its name; one that takes too long fails in words that say so."""
        self.life.copying = succeed("copy-1")
        self.assertEqual(self.life.obey(e.Copy(3, 10.0)), [e.Copied(3, "copy-1")])
        self.life.events.clear()
        self.life.copying = Deferred()
        self.assertEqual(self.life.obey(e.Copy(3, 10.0)), [])
        self.life.clock.advance(10)
        (event,) = self.life.events
        self.assertEqual(event, e.CopyFailed(3, "It was not done within 10 s (snapshot within)."))

    def test_written_before(self):
        """Nothing is started before it is written down that it is tried."""
        life = Life()
        life.writing = Deferred()
        ORDERS[e.Start](life, e.Start(3))
        life.clock.advance(1)
        self.assertEqual([call for call in life.memory.calls if call[0] == "start"], [])
        life.writing.callback(None)
        life.clock.advance(1)
        self.assertEqual([call[0] for call in life.memory.calls], ["start"])

    def test_put_back(self):
        """A folder is put back when what ran has ended, and before what was there before runs; if
        that fails, nothing is started."""
        self.life.obey(e.Start(3))
        self.life.events.clear()
        self.life.obey(e.Revert(3, "server-1", "copy-1"))
        self.assertEqual(self.life.put, [("copy-1", "stop")])
        (event,) = self.life.events
        self.assertIsInstance(event, e.Reverted)
        self.life.events.clear()
        self.life.putting_back = fail(CopyFailed("The disk is full."))
        calls = self.life.memory.calls
        reverts = calls.count(("revert", SITE))
        self.assertEqual(
            self.life.obey(e.Revert(3, "server-1", "copy-1")),
            [e.RevertFailed(3, "The disk is full.", folder=True)],
        )
        self.assertEqual(calls.count(("revert", SITE)), reverts)

    def test_look(self):
        """The roster is asked, once for all who look."""
        self.life.obey(e.Look(3))
        self.assertEqual(self.life.looked, [(SITE, 3)])

    def test_probe(self):
        """A probe passes, or says what was missing."""
        instance = Instance(SITE, "one", "fp", True, ("127.0.0.1", 1))
        self.life.probed = succeed(None)
        self.assertEqual(self.life.obey(e.Probe(3, instance)), [e.HealthPassed(3)])
        self.life.events.clear()
        self.life.probed = fail(NotReady("refused"))
        self.assertEqual(self.life.obey(e.Probe(3, instance)), [e.HealthFailed(3, "refused")])

    def test_probe_cancelled(self):
        """A probe that was cancelled says nothing."""
        instance = Instance(SITE, "one", "fp", True, ("127.0.0.1", 1))
        self.life.obey(e.Probe(3, instance))
        self.life.probed.cancel()
        self.assertEqual(self.life.events, [])
