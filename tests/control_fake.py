"""A front door and lives for the control room's tests: they say what they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.interfaces.certificates import ICertifying, Submitted
from snickers.interfaces.copies import Copy, ISnapshots
from snickers.interfaces.front_door import IFrontDoor, Metrics
from snickers.interfaces.lives import ILives

ALICE = {
    "site": "alice.example",
    "also": ["www.alice.example"],
    "kind": "container",
    "state": "ready",
    "since": 1000.0,
    "requests": 12041,
    "connections": 3,
    "certificate_days": 63.4,
    "detail": "",
}
BLOG = {
    "site": "blog.example",
    "also": [],
    "kind": "static",
    "state": "serving",
    "since": None,
    "requests": 1,
    "connections": 0,
    "certificate_days": None,
    "detail": "",
}
BROKEN = {"site": "broken.example", "kind": "", "state": "broken"}


class LifeFailed(Exception):
    """As the lives' own: its text is in words."""


@implementer(IFrontDoor)
class FakeFrontDoor:
    def __init__(self) -> None:
        self.sites: list[dict[str, Any]] = [dict(ALICE), dict(BLOG), dict(BROKEN)]
        self.plans: list[Deferred[dict[str, Any]]] = []
        self.reloads: list[Deferred[dict[str, Any]]] = []
        self.stale: Deferred[None] | None = None
        self.measured = Metrics({}, {}, {"sites": [], "reloads": {}}, {})

    def freshen(self) -> Deferred[None]:
        return succeed(None) if self.stale is None else self.stale

    def status(self) -> dict[str, Any]:
        return {"version": "1.2.3", "pid": 7, "faults": [], "alarms": [], "sites": self.sites}

    def metrics(self) -> Metrics:
        return self.measured

    def plan(self) -> Deferred[dict[str, Any]]:
        self.plans.append(Deferred())
        return self.plans[-1]

    def reload(self) -> Deferred[dict[str, Any]]:
        self.reloads.append(Deferred())
        return self.reloads[-1]


class Call:
    """One call of the lives: what was asked, and what it is to be answered with."""

    def __init__(self, asked: tuple[Any, ...], tell: Callable[..., None]) -> None:
        self.asked = asked
        self.tell = tell
        self.cancelled = False
        self.result: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, result: object) -> None:
        self.cancelled = True


@implementer(ILives)
class FakeLives:
    def __init__(self) -> None:
        self.lives: dict[str, dict[str, Any]] = {"alice.example": {"state": "ready", "uses": 2}}
        self.calls: list[Call] = []

    def apply(self, added: Any, changed: Any, removed: Any) -> None:
        raise AssertionError("the control room changes nothing")

    def states(self) -> dict[str, dict[str, Any]]:
        return self.lives

    def _call(self, tell: Callable[..., None], *asked: Any) -> Deferred[None]:
        call = Call(asked, tell)
        self.calls.append(call)
        return call.result

    def wake(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        return self._call(progress, "wake", site)

    def sleep(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        return self._call(progress, "sleep", site)

    def restart(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        return self._call(progress, "restart", site)

    def update(self, site: str, progress: Callable[[str], None], image: str = "") -> Deferred[None]:
        return self._call(progress, "update", site, *([image] if image else []))

    def roll_back(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        return self._call(progress, "roll_back", site)

    def logs(
        self, site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        return self._call(receive, "logs", site, tail, follow)


@implementer(ICertifying)
class FakeCertifying:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [{"site": "alice.example"}, {"site": "blog.example"}]
        self.calls: list[Call] = []

    def _call(self, tell: Callable[..., None], *asked: Any) -> Deferred[Any]:
        call = Call(asked, tell)
        self.calls.append(call)
        return call.result

    def report(self) -> list[dict[str, Any]]:
        return self.rows

    def renew(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        return self._call(progress, "renew", site)

    def take_in(self, site: str, host: str, submitted: Submitted) -> Deferred[dict[str, Any]]:
        return self._call(print, "take in", site, host, submitted)


@implementer(ISnapshots)
class FakeSnapshots:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def _call(self, tell: Callable[..., None], *asked: Any) -> Deferred[Any]:
        call = Call(asked, tell)
        self.calls.append(call)
        return call.result

    def snapshot(self, site: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        return self._call(progress, "snapshot", site)

    def snapshots(self, site: str) -> Deferred[Sequence[Copy]]:
        return self._call(print, "snapshots", site)

    def restore(self, site: str, id: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        return self._call(progress, "restore", site, id)

    def prove(self, site: str, id: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        return self._call(progress, "prove", site, id)

    def verify(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        return self._call(progress, "verify", site)


verifyObject(ICertifying, FakeCertifying())
verifyObject(ISnapshots, FakeSnapshots())
verifyObject(IFrontDoor, FakeFrontDoor())
verifyObject(ILives, FakeLives())
