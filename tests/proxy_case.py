"""Proxy sites for tests: their upstreams, look-ups, time and alarms are the test's."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from snickers.config.values import Proxy
from snickers.http.proxy import ProxyHandler
from snickers.interfaces.alarm import IAlarm


class Now:
    """A coarse clock that a test sweeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.watched: list[Any] = []

    def watch(self, item: Any) -> None:
        self.watched.append(item)

    def unwatch(self, item: Any) -> None:
        if item in self.watched:
            self.watched.remove(item)

    def sweep(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self.now += seconds
        for item in list(self.watched):
            if item.deadline <= self.now:
                item.expired()


class FakeUpstream:
    """Notes what it is to carry."""

    def __init__(self, address: Any, failed: Any, ended: Any, connector: Any = None) -> None:
        self.address = address
        self.failed = failed
        self.ended = ended
        self.connector = connector
        self.again: Any = None
        self.carried: list[Any] = []
        self.tried: list[Any] = []
        self.closed = False

    def carry(self, exchange: Any, tried: Any = ()) -> None:
        self.carried.append(exchange)
        self.tried.append(tried)

    def refuse(self) -> bool:
        """The newest exchange finds nobody; return whether somebody else has it."""
        self.failed(self.address)
        again = self.again is not None and self.again(self.carried[-1], self.tried[-1])
        self.ended()
        return bool(again)

    def close(self) -> None:
        self.closed = True


@implementer(IAlarm)
class RecordingAlarm:
    """Notes what is wrong."""

    def __init__(self) -> None:
        self.now: list[tuple[str, str, str]] = []

    def raised(self, kind: str, site: str, message: str) -> None:
        self.now.append((kind, site, message))

    def cleared(self, kind: str, site: str) -> None:
        self.now = [one for one in self.now if one[:2] != (kind, site)]


class ProxyCase(SynchronousTestCase):
    """A handler whose upstreams are the test's."""

    def setUp(self) -> None:
        self.names: list[tuple[str, Deferred[Any]]] = []
        self.secured: list[tuple[str, Deferred[Any]]] = []
        self.upstreams: list[FakeUpstream] = []
        self.clock = Now()
        self.alarm = RecordingAlarm()

    def make(self, *to: str, site: str = "a.example", **options: Any) -> ProxyHandler:
        def secure(name: str) -> Deferred[Any]:
            self.secured.append((name, Deferred()))
            return self.secured[-1][1]

        def resolve(host: str) -> Deferred[Any]:
            self.names.append((host, Deferred()))
            return self.names[-1][1]

        def upstream(*arguments: Any, **more: Any) -> Any:
            self.upstreams.append(FakeUpstream(*arguments, **more))
            return self.upstreams[-1]

        clock: Any = self.clock
        kind = Proxy(to, **options)
        return ProxyHandler(site, kind, upstream, resolve, clock, secure, lambda: 50, self.alarm)
