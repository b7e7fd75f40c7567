"""Leases for the other team, over real sockets of a folder of the test's own."""

from __future__ import annotations

import os
import stat
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from snickers.control.socketfile import ControlUnavailable
from snickers.duty.counting import flat
from snickers.duty.lending import Lending, dial
from snickers.interfaces.colleagues import Share
from snickers.workers import wire
from snickers.workers.census import Counts, Reporter
from tests.test_desk import HERE, Leases, Other


async def until(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        await deferLater(reactor, 0.01)  # type: ignore[arg-type]
    raise AssertionError("it never comes to it")


class LendingTests(TestCase):
    """What the other team can ask and tell."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = os.path.join(os.path.abspath(self.mktemp()), "x" * 60, "teams")
        self.path = os.path.join(self.folder, "duty.sock")
        self.leases = Leases()
        self.leases.at["a"] = HERE
        self.lending = Lending(reactor, self.path, self.leases)
        self.addCleanup(self.stop)

    def stop(self) -> Any:
        return self.lending.stop()

    async def connect(self) -> Any:
        """Return the other team's end of a new connection."""
        desks = len(self.lending.desks)
        other = Other()
        self.assertTrue(dial(reactor, self.path, other))
        await until(lambda: len(self.lending.desks) > desks)
        self.addCleanup(lambda: other.transport and other.transport.abortConnection())
        return other

    async def test_leases(self) -> None:
        """It leases, is told what moves, and what it had is given back when it is gone."""
        self.lending.start()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        other = await self.connect()
        answer = await other.callRemote(wire.Take, site="a", ticket=1)
        self.assertEqual(wire.result(answer), HERE)
        self.assertEqual(self.leases.uses["a"], 1)
        del self.leases.at["a"]
        self.lending.changed("a")
        await until(lambda: other.told)
        self.assertEqual(other.told, [("Withdraw", b"a")])
        other.transport.loseConnection()
        await until(lambda: not self.lending.desks)
        self.assertEqual(self.leases.uses["a"], 0)

    async def test_stopped(self) -> None:
        """When duty is given up all is given back in that very turn, and nobody can connect."""
        self.lending.start()
        other = await self.connect()
        await other.callRemote(wire.Take, site="a", ticket=1)
        waiting: Deferred[Any] = other.callRemote(wire.Take, site="b", ticket=2)
        waiting.addErrback(lambda failure: None)
        await until(lambda: self.leases.waiting)
        closed = self.lending.stop()
        self.assertEqual((self.leases.uses["a"], self.leases.waiting), (0, []))
        await closed
        self.assertFalse(os.path.exists(self.path))
        self.assertFalse(dial(reactor, self.path, Other()))
        await until(lambda: not self.lending.desks)
        self.lending.start()
        await self.connect()

    async def test_counts(self) -> None:
        """What it counts is part of what there is; a line that is lost and comes again counts
        nothing twice, and what was open is open no more."""
        self.lending.start()
        reporter = Reporter()
        other = await self.connect()

        def say(reporter: Reporter, counts: Counts) -> None:
            other.callRemote(wire.Counted, part=reporter.changed({"a": counts}), last=True)

        say(reporter, Counts(5, 2, 3, 1))
        await until(lambda: self.lending.share("a") == Share(5, 2, 2))
        self.assertEqual(self.lending.heard(), {os.getpid(): {"a": flat(5)}})
        other.transport.loseConnection()
        await until(lambda: not self.lending.desks)
        self.assertEqual(self.lending.share("a"), Share(5))
        other = await self.connect()
        say(Reporter(), Counts(6, 1))
        await until(lambda: self.lending.share("a") == Share(6, 1))
        self.lending.removed(("a",))
        self.assertEqual(self.lending.heard(), {os.getpid(): {}})
        self.lending.forget()
        self.assertEqual((self.lending.share("a"), self.lending.heard()), (Share(), {}))

    async def test_nonsense(self) -> None:
        """What it says that makes no sense is logged, and ends nothing."""
        self.lending.start()
        other = await self.connect()
        other.callRemote(wire.Counted, part=b"[[1]]", last=True)
        other.callRemote(wire.Raise, kind="x", site="a", message="its own alarm")
        other.callRemote(wire.Clear, kind="x", site="a")
        answer = await other.callRemote(wire.Take, site="a", ticket=1)
        self.assertEqual(wire.result(answer), HERE)
        self.assertEqual(self.lending.share("a"), Share())

    def test_nobody(self) -> None:
        """Without anybody there, there is nobody to connect with."""
        self.assertFalse(dial(reactor, self.path, Other()))

    def test_taken(self) -> None:
        """Where somebody else listens there is a line that says so."""
        self.lending.start()
        other = Lending(reactor, self.path, self.leases)
        self.assertRaises(ControlUnavailable, other.start)
        self.successResultOf(other.stop())
