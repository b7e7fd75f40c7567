"""The engine of the front: a broker in between changes nothing of what an engine promises."""

from __future__ import annotations

from collections.abc import Sequence
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
from snickers.config.values import Configuration, Container, Lifecycle, Settings, Site
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.interfaces import Declared, Exit, IEngine
from snickers.testing import MemoryEngine
from tests.engine_contract import Gathered, RecordingObserver, engine_contract
from tests.test_testing import MemoryFixture


class Pair:
    """A front's engine and a broker, joined by a line in memory.

    :ivar files: what the files say now.
    """

    def __init__(self, clock: Clock, engine: IEngine, again: bool = True) -> None:
        self.clock = clock
        self.files = Configuration(Settings())
        self.read = 0
        self.loose: dict[str, str] = {}
        self.ended: list[bool] = []
        self.behind = engine
        self.front = BrokeredEngine(clock, lambda: again)
        self.connect()

    def connect(self) -> None:
        """Have a broker, which has read the files."""
        self.line, self.broker, self.pump = connectedServerAndClient(
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


class BrokeredFixture(MemoryFixture):
    """A `BrokeredEngine` whose broker has a `MemoryEngine`."""

    def __init__(self, case: TestCase) -> None:
        super().__init__(case)
        self.pairs: list[Pair] = []
        self.files: dict[str, Declared] = {}
        self.snapshot: tuple[str, ...] = ()

    def engine(self) -> IEngine:
        pair = Pair(self.clock, super().engine())
        self.pairs.append(pair)
        self._write()
        return pair.front

    def _write(self) -> None:
        for pair in self.pairs:
            for declared in self.files.values():
                pair.write(declared, snapshot=self.snapshot)

    def declared(self, site: str, does: str) -> Declared:
        declared = self.files[site] = super().declared(site, does)
        self._write()
        return declared

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
