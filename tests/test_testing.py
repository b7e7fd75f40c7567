"""The fakes behave like the real thing, and do to order what the real thing does by accident."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from snickers.config.values import Container
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.interfaces.engine import Address, Declared, Exit, Instance, Load, Ran
from snickers.testing import MemoryEngine, MemoryHost
from tests.engine_contract import Gathered, RecordingObserver, engine_contract


class MemoryFixture:
    """A `MemoryEngine` on a fake clock."""

    lasting = True
    lossy = True
    sole = False

    def __init__(self, case: TestCase) -> None:
        self.clock = Clock()
        self.host = MemoryHost()
        self.host.results[("says",)] = Ran(3, "first\nsecond")
        self.host.results[("talks",)] = Ran(0, "the last one")
        self.host.endless.add(("hangs",))
        self.host.unknown.add("missing")
        self.engines: list[MemoryEngine] = []
        self.does: dict[str, str] = {}

    def engine(self) -> MemoryEngine:
        engine = _Behaving(self)
        self.engines.append(engine)
        return engine

    def declared(self, site: str, does: str) -> Declared:
        return Declared(site, Container(does), f"/data/{site}")

    def ask(self, address: Address, instance: Instance) -> Deferred[bytes]:
        done: Deferred[bytes] = Deferred()
        self.host.say(instance.site, b"asked")
        self.clock.callLater(0, done.callback, instance.site.encode())
        return done

    def command(self, does: str) -> Sequence[str]:
        return (does,)

    def crash(self, instance: Instance) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.host.end(instance.site, 137)
        self.clock.callLater(0, done.callback, None)
        return done

    def lose(self) -> None:
        self.host.lose("The engine in memory was lost.")
        self.clock.advance(0)

    def find(self) -> None:
        self.host.find()
        self.clock.advance(0)

    def wait(self, done, passing=0.0):
        self.clock.advance(0)
        self.clock.advance(passing)
        return done

    def close(self) -> None:
        for engine in self.engines:
            engine.close()
        self.clock.advance(0)


class _Behaving(MemoryEngine):
    """Gives the servers of the contract their behaviour, by the name of their image."""

    def __init__(self, fixture: MemoryFixture) -> None:
        super().__init__(fixture.clock, fixture.host)
        self.clock = fixture.clock

    def prepare(self, declared, fresh, progress):
        if declared.kind.image == "wrong":
            return fail(EngineFailed("There is no image wrong."))
        return super().prepare(declared, fresh, progress)

    def start(self, declared, progress, fresh=False, beside=""):
        site, does, host = declared.site, declared.kind.image, self.host
        host.refused.pop(site, None)
        host.stubborn.discard(site)
        if does == "wrong":
            host.refused[site] = f"There is no image {does}."
        if does == "stubborn":
            host.stubborn.add(site)
        before = host.starts
        started = super().start(declared, progress, fresh, beside)

        def behave() -> None:
            if host.starts == before or does == "wrong":
                return
            for line in (b"one", b"two", b"three"):
                host.say(site, line)
            if does == "exits":
                host.end(site, 3)

        self.clock.callLater(0, behave)
        return started


class MemoryEngineContract(engine_contract(MemoryFixture)):
    """The engine in memory keeps the contract of all engines."""


DECLARED = Declared("alice.example", Container("lamp"), "/data/alice.example")


class MemoryEngineTests(TestCase):
    """What a test can make a `MemoryEngine` do."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = MemoryEngine(self.clock)
        self.host = self.engine.host
        self.observer = RecordingObserver()
        self.engine.watch(self.observer)
        self.clock.advance(0)

    def start(self):
        return self.engine.start(DECLARED, lambda words: None)

    def started(self) -> Instance:
        done = self.start()
        self.clock.advance(0)
        return self.successResultOf(done)

    def test_nothing_within_a_call(self) -> None:
        """Nothing happens before the clock moves."""
        done = self.start()
        self.assertNoResult(done)
        self.assertEqual(self.host.servers, {})
        self.clock.advance(0)
        self.successResultOf(done)

    def test_takes(self) -> None:
        """A call takes as long as it was told to."""
        self.engine.takes["start"] = 3
        done = self.start()
        self.clock.advance(2.9)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        self.successResultOf(done)

    def test_hold(self) -> None:
        """Held calls wait for their release; other calls do not."""
        self.engine.hold("start")
        done = self.start()
        listed = self.engine.list()
        self.clock.advance(10)
        self.assertEqual(self.successResultOf(listed), [])
        self.assertNoResult(done)
        self.engine.release("start")
        self.clock.advance(0)
        self.successResultOf(done)
        self.started()

    def test_cancelled(self) -> None:
        """A cancelled call does nothing, held or not."""
        self.engine.hold("start")
        held = self.start()
        held.cancel()
        self.engine.release("start")
        other = self.start()
        other.cancel()
        self.clock.advance(0)
        self.failureResultOf(held, CancelledError)
        self.failureResultOf(other, CancelledError)
        self.assertEqual(self.host.servers, {})

    def test_fail(self) -> None:
        """One call fails with what it was told to, the next does not."""
        self.engine.fail("start", EngineFailed("no space"))
        done = self.start()
        self.clock.advance(0)
        self.assertEqual(str(self.failureResultOf(done, EngineFailed).value), "no space")
        self.started()

    def test_calls(self) -> None:
        """Calls are remembered in order."""
        self.started()
        self.engine.list()
        self.engine.stop("alice.example", 1)
        self.clock.advance(0)
        self.assertEqual(
            self.engine.calls,
            [("start", "alice.example"), ("list", ""), ("stop", "alice.example")],
        )

    def test_lost_at_first(self) -> None:
        """An observer of an engine that is away hears so first."""
        self.host.lose("gone")
        observer = RecordingObserver()
        MemoryEngine(self.clock, self.host).watch(observer)
        self.clock.advance(0)
        self.assertEqual(observer.events, [("lost", "gone")])

    def test_away(self) -> None:
        """What ends while the engine is away is not told, and shows in the list afterwards."""
        self.started()
        self.host.lose("gone")
        self.host.end("alice.example")
        self.clock.advance(0)
        listing = self.engine.list()
        self.clock.advance(0)
        self.failureResultOf(listing, EngineAway)
        self.host.find()
        listing = self.engine.list()
        self.clock.advance(0)
        self.assertEqual([i.running for i in self.successResultOf(listing)], [False])
        self.assertEqual(self.observer.events, ["found", ("lost", "gone"), "found"])

    def test_out_of_memory(self) -> None:
        """A server can end for want of memory."""
        id = self.started().id
        self.host.end("alice.example", 137, out_of_memory=True)
        self.clock.advance(0)
        self.assertEqual(self.observer.exits, [Exit("alice.example", id, 137, True)])

    def test_run_takes(self) -> None:
        """A command that takes longer than it may fails after that time."""
        self.started()
        self.engine.takes["run"] = 3
        done = self.engine.run("alice.example", ("snapshot",), 2)
        self.clock.advance(1.9)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        self.assertIn("2 s", str(self.failureResultOf(done, EngineFailed).value))
        self.clock.advance(9)
        done = self.engine.run("alice.example", ("snapshot",), 4)
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(done), Ran(0, ""))
        self.assertEqual(self.host.ran, [("alice.example", ("snapshot",))])

    def test_used(self) -> None:
        """What servers use is what a test says; one that cannot be looked at is left out."""
        self.started()
        for used, unseen, loads in (
            (0.5, set(), {"alice.example": Load(0.5, 9)}),
            (0.5, {"alice.example"}, {}),
        ):
            self.host.used["alice.example"] = used
            self.host.moved["alice.example"] = 9
            self.host.unseen = unseen
            done = self.engine.loads()
            self.clock.advance(0)
            self.assertEqual(self.successResultOf(done), loads)

    def test_notice(self) -> None:
        """A test can have something noticed."""
        self.host.notice("alice.example", "A newer image is here.")
        self.clock.advance(0)
        self.assertEqual(self.observer.notices, [("alice.example", "A newer image is here.")])

    def test_unhealthy(self) -> None:
        """A server can be made unhealthy."""
        instance = self.started()
        self.host.unhealthy.add("alice.example")
        done = self.engine.healthy(instance)
        self.clock.advance(0)
        self.assertFalse(self.successResultOf(done))

    def test_closed(self) -> None:
        """A closed engine tells nothing more, and its servers run on."""
        self.started()
        self.engine.close()
        self.host.end("alice.example")
        self.clock.advance(0)
        self.assertEqual(self.observer.events, ["found"])

    def test_followers(self) -> None:
        """Each who follows a log gets what comes, until cancelled."""
        self.started()
        one, two = Gathered(), Gathered()
        first = self.engine.logs("alice.example", 10, True, one)
        self.engine.logs("alice.example", 10, True, two)
        self.clock.advance(0)
        self.host.say("alice.example", b"a")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.host.say("alice.example", b"b")
        self.assertEqual((one.data, two.data), (b"a\n", b"a\nb\n"))
