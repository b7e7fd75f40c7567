"""The engine of the front: a broker in between changes nothing of what an engine promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers.brokerage import wire
from snickers.brokerage.broker import Broker
from snickers.brokerage.brokered import AGAIN, FOR_GOOD, NOT_YET, BrokeredEngine, Line
from snickers.brokerage.ledger import Ledger
from snickers.config.values import Configuration, Container, Settings, Site
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.interfaces.engine import Declared, Exit, IEngine
from snickers.testing import MemoryEngine
from tests.engine_contract import Gathered, RecordingObserver, engine_contract
from tests.test_testing import MemoryFixture


class Pair:
    """A front's engine and a broker, joined by a line in memory.

    :ivar files: what the files say now.
    """

    front: Any

    def __init__(
        self,
        clock: Clock,
        engine: IEngine,
        again: bool = True,
        front: type[BrokeredEngine] = BrokeredEngine,
    ) -> None:
        self.clock = clock
        self.files = Configuration(Settings())
        self.read = 0
        self.loose: dict[str, str] = {}
        self.ended: list[bool] = []
        self.behind = engine
        self.front = front(clock, lambda: again)
        self.connect()

    def connect(self) -> None:
        """Have a broker, which has read the files."""
        self.broker, self.line, self.pump = connectedServerAndClient(
            lambda: Line(self.front), self.make
        )

    def make(self) -> Broker:
        return Broker(
            self.behind,
            Ledger(self.files),
            self.load,
            lambda work: succeed(work()),
            lambda path: self.loose.get(path, ""),
            lambda call: self.clock.callLater(0, call),
            lambda: self.ended.append(True),
        )

    def load(self) -> Configuration:
        self.read += 1
        return self.files

    def write(self, declared: Declared, **life: Any) -> None:
        """Have the files declare this."""
        kind = declared.kind
        assert isinstance(kind, Container)
        kind = evolve(kind, life=evolve(kind.life, **life))
        site = Site(declared.site, kind, data=declared.data)
        self.files = evolve(self.files, sites={**self.files.sites, site.name: site})

    def settle(self, passing: float = 0.0) -> None:
        """Let everything happen that happens within so many seconds."""
        for seconds in (0, passing, 0):
            self.pump.flush()
            self.clock.advance(seconds)
            for _ in range(5):
                self.pump.flush()
                self.clock.advance(0)


class Front(BrokeredEngine):
    """Whatever it wants to have is what the files say by then."""

    wants: Callable[[Declared], None]

    def fingerprint(self, declared: Declared) -> str:
        self.wants(declared)
        return super().fingerprint(declared)


class BrokeredFixture(MemoryFixture):
    """A `BrokeredEngine` whose broker has a `MemoryEngine`."""

    def __init__(self, case: TestCase) -> None:
        super().__init__(case)
        self.pairs: list[Pair] = []
        self.files: dict[str, Declared] = {}
        """What the files say."""
        self.snapshot: tuple[str, ...] = ()

    def engine(self) -> IEngine:
        pair = Pair(self.clock, super().engine(), front=Front)
        pair.front.wants = self.wants
        self.pairs.append(pair)
        self._write()
        return pair.front

    def wants(self, declared: Declared) -> None:
        self.files[declared.site] = declared
        self._write()

    def _write(self) -> None:
        for pair in self.pairs:
            for declared in self.files.values():
                pair.write(declared, snapshot=self.snapshot)

    def command(self, does: str) -> Sequence[str]:
        self.snapshot = tuple(super().command(does))
        self._write()
        return self.snapshot

    def lose(self) -> None:
        super().lose()
        self.settle()

    def find(self) -> None:
        super().find()
        self.settle()

    def settle(self, passing: float = 0.0) -> None:
        for pair in self.pairs:
            pair.settle()
        if passing:
            self.clock.advance(passing)
        for pair in self.pairs:
            pair.settle()

    def wait(self, done: Any, passing: float = 0.0) -> Any:
        self.settle(passing)
        return done

    def close(self) -> None:
        for pair in self.pairs:
            pair.front.close()
        self.settle()
        super().close()


class BrokeredEngineContract(engine_contract(BrokeredFixture)):
    """The engine of the front keeps the contract of all engines."""


DECLARED = Declared("alice.example", Container("lamp"), "/data/alice.example")


class BrokeredEngineTests(SynchronousTestCase):
    """What the front hears of a broker that comes and goes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.behind = MemoryEngine(self.clock)
        self.pair = Pair(self.clock, self.behind)
        self.pair.write(DECLARED)
        self.pair.settle()
        self.front = self.pair.front
        self.observer = RecordingObserver()
        self.front.watch(self.observer)
        self.pair.settle()

    def result(self, done: Any) -> Any:
        self.pair.settle()
        return self.successResultOf(done)

    def start(self) -> Any:
        return self.front.start(DECLARED, lambda words: None)

    def break_off(self) -> None:
        """Let the broker die."""
        self.pair.broker.transport.abortConnection()
        self.pair.settle()

    def test_not_yet(self) -> None:
        """Before a broker is connected nothing is known, and nothing is told."""
        front = BrokeredEngine(self.clock, lambda: True)
        observer = RecordingObserver()
        front.watch(observer)
        self.assertEqual(self.failureResultOf(front.list(), EngineAway).getErrorMessage(), NOT_YET)
        self.clock.advance(0)
        self.assertEqual(observer.events, [])
        self.assertIsNone(self.successResultOf(front.reload()))
        self.assertIsNone(self.successResultOf(front.close()))

    def test_broken_off(self) -> None:
        """When the broker dies, who waits for it is told, and so is who watches."""
        waiting = self.start()
        self.break_off()
        error = self.failureResultOf(waiting, EngineAway)
        self.assertEqual(error.getErrorMessage(), AGAIN)
        self.assertEqual(self.observer.events, ["found", ("lost", AGAIN)])
        self.failureResultOf(self.front.list(), EngineAway)
        late = RecordingObserver()
        self.front.watch(late)
        self.clock.advance(0)
        self.assertEqual(late.events, [("lost", AGAIN)])

    def test_for_good(self) -> None:
        """Where nobody can start another one, what to do about it is said."""
        pair = Pair(self.clock, MemoryEngine(self.clock), again=False)
        observer = RecordingObserver()
        pair.front.watch(observer)
        pair.settle()
        pair.broker.transport.abortConnection()
        pair.settle()
        self.assertEqual(observer.events, ["found", ("lost", FOR_GOOD)])
        self.assertIn("restart Snickers", FOR_GOOD)

    def test_another_broker(self) -> None:
        """Another broker goes on where the last one ended: what runs is listed."""
        instance = self.result(self.start())
        self.break_off()
        self.pair.behind = MemoryEngine(self.clock, self.behind.host)
        self.pair.connect()
        self.pair.settle()
        self.assertEqual(self.observer.events[-1], "found")
        self.assertEqual(self.result(self.front.list()), [instance])

    def test_large(self) -> None:
        """A list that is larger than a message comes in parts."""
        for number in range(2000):
            self.behind.host.start(f"site-{number}.example", "f" * 32, 0.0)
        found = self.result(self.front.list())
        self.assertEqual(len(found), 2000)
        self.assertEqual(found, [server.instance for server in self.behind.host.servers.values()])
        self.assertGreater(len(wire.instances(found)), 200_000)

    def test_a_log_without_end(self) -> None:
        """Of a log more than the window comes, since what has come is acknowledged."""
        self.result(self.start())
        got = Gathered()
        following = self.front.logs("alice.example", 0, True, got)
        self.pair.settle()
        line = b"x" * 99_999
        for _ in range(40):
            self.behind.host.say("alice.example", line)
            self.pair.settle()
        self.assertEqual(got.data, (line + b"\n") * 40)
        self.assertNoResult(following)

    def test_progress(self) -> None:
        """How far a start is comes through, for this start alone."""
        words: list[str] = []
        self.result(self.front.start(DECLARED, words.append))
        self.assertEqual(words, ["starting"])
        self.pair.broker.say(wire.Progress, call=1, words="too late")
        self.pair.settle()
        self.assertEqual(words, ["starting"])

    def test_noticed(self) -> None:
        """What owners should know, and how a server ended, comes through whole."""
        self.result(self.start())
        self.behind.host.notice("alice.example", "A newer image is here ☃.")
        self.behind.host.end("alice.example", None, True)
        self.pair.settle()
        self.assertEqual(self.observer.notices, [("alice.example", "A newer image is here ☃.")])
        self.assertEqual(self.observer.exits, [Exit("alice.example", "server-1", None, True)])

    def test_an_observer_that_fails(self) -> None:
        """An observer that fails does not cost the connection."""
        self.observer.exited = None  # type: ignore[assignment,method-assign]
        self.result(self.start())
        self.behind.host.end("alice.example")
        self.pair.settle()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(len(self.result(self.front.list())), 1)

    def test_cancelled(self) -> None:
        """What is cancelled is cancelled there, and may be answered late."""
        self.behind.hold("healthy")
        instance = self.result(self.start())
        asked = self.front.healthy(instance)
        self.pair.settle()
        asked.cancel()
        self.failureResultOf(asked)
        self.pair.settle()
        self.behind.release("healthy")
        self.assertTrue(self.result(self.front.healthy(instance)))

    def test_not_understood(self) -> None:
        """A broker that does not understand fails the call in words."""
        self.patch(wire, "TO_BROKER", frozenset())
        asked = self.front.list()
        self.pair.settle()
        self.assertIn("see the log", str(self.failureResultOf(asked, EngineFailed)))
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_close(self) -> None:
        """Closed, it lets the broker let go of its engine, and end; nothing is told any more."""
        self.behind.hold("start")
        waiting = self.start()
        self.result(self.front.close())
        self.assertTrue(self.behind.closed)
        self.assertEqual(self.pair.ended, [True])
        self.failureResultOf(waiting)
        self.failureResultOf(self.front.list(), EngineAway)
        self.assertEqual(self.observer.events, ["found"])

    def test_a_broker_that_does_not_end(self) -> None:
        """One that does not let go is left after a while."""
        self.behind.close = lambda: Deferred()  # type: ignore[method-assign]
        closing = self.front.close()
        self.pair.settle()
        self.assertNoResult(closing)
        self.clock.advance(60)
        self.pair.settle()
        self.successResultOf(closing)

    def test_reload(self) -> None:
        """A reload is over when the broker has read."""
        reading = self.front.reload()
        self.assertNoResult(reading)
        self.result(reading)
        self.assertEqual(self.pair.read, 1)

    def test_lost(self) -> None:
        """Why there is no broker is told once."""
        self.break_off()
        self.front.lost("It cannot be started.")
        self.front.lost("It cannot be started.")
        self.assertEqual(self.observer.reasons, [AGAIN, "It cannot be started."])
