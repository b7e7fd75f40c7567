"""The broker's wiring, on the real reactor, without a process of its own and without a Docker."""

from __future__ import annotations

import io
import os
import signal
import socket
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers import broker
from snickers.brokerage.brokered import BrokeredEngine, Line
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.interfaces.engine import Declared
from snickers.workers.wire import Only
from tests.engine_contract import RecordingObserver
from tests.test_tap import Case

TEXT = """
[snickers]
state = {folder}/state
data = {folder}/data
docker = unix://{folder}/docker.sock
docker broker = on

[alice.example]
type = container
image = lamp
"""


class GuardedTests(Case, SynchronousTestCase):
    """What is read of files that others can write."""

    def test_guarded(self) -> None:
        """Files that are root's are read; of others nothing counts, and that is told."""
        path = self.write(TEXT)
        self.assertIn("alice.example", broker.guarded(path).sites)
        os.chmod(path, 0o666)
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        configuration = broker.guarded(path)
        self.assertIsNone(configuration.settings)
        self.assertEqual(dict(configuration.sites), {})
        self.assertIn("chmod go-w", events[-1]["words"])


class ConnectTests(Case, TestCase):
    """Everything connected, the front at the other end."""

    timeout = 120

    def setUp(self) -> None:
        self.handlers: dict[int, Any] = {}
        self.patch(broker.signal, "signal", self.handlers.__setitem__)

    def connect(self, text: str = TEXT) -> Any:
        self.path = self.write(text)
        ours, theirs = socket.socketpair()
        self.patch(broker, "CONTROL", theirs.detach())
        ended: Deferred[None] = Deferred()
        broker.connect(reactor, self.path, lambda: ended.callback(None))
        front = BrokeredEngine(reactor, lambda: False)
        ours.setblocking(False)
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Only(Line(front)))
        ours.close()
        return front, ended

    async def test_away(self) -> None:
        """It asks the Docker that the configuration names, says that this is away, and ends with
        its front."""
        front, ended = self.connect()
        observer = RecordingObserver()
        front.watch(observer)
        await observer.until(lambda: bool(observer.reasons))
        self.assertIn("docker.sock", observer.reasons[0])
        with self.assertRaises(EngineAway):
            await front.list()
        await front.close()
        await ended

    async def test_reads(self) -> None:
        """It reads the configuration at its path, again when a site is new to it."""
        front, ended = self.connect()
        front.watch(RecordingObserver())
        words = await self.refused(front, "bob.example")
        self.assertIn("snickers reload", words)
        with open(self.path, "a") as file:
            file.write("[bob.example]\ntype = container\nimage = lamp\n")
        declared = broker.Ledger(broker.guarded(self.path)).declared("bob.example")
        with self.assertRaises(EngineAway):
            await front.start(declared, lambda words: None)
        await front.close()
        await ended

    async def refused(self, front: BrokeredEngine, site: str) -> str:
        declared = broker.Ledger(broker.guarded(self.path)).declared("alice.example")
        assert declared is not None
        try:
            await front.start(Declared(site, declared.kind, declared.data), lambda words: None)
        except EngineFailed as error:
            return str(error)
        raise self.failureException("It was not refused.")

    async def test_signals(self) -> None:
        """No signal that is meant for the first process ends it."""
        front, ended = self.connect()
        self.assertEqual(set(self.handlers.values()), {signal.SIG_IGN})
        self.assertEqual(
            set(self.handlers),
            {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2},
        )
        await front.close()
        await ended

    def test_at_fault(self) -> None:
        """Without a configuration it says why, a line for each fault, and ends."""
        path = self.write("[snickers]\nno such = option\n")
        errors = io.StringIO()
        with patch("sys.stderr", errors):
            ended = self.assertRaises(SystemExit, broker.connect, reactor, path, lambda: None)
        self.assertEqual(ended.code, 1)
        self.assertIn("no such", errors.getvalue())
