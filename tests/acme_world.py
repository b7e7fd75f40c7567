"""One host with sites that want certificates, three authorities in memory, and time that passes as
it is told to: for tests of what orders certificates by itself."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.accounts import Accounts
from snickers.acme.challenges import Challenges
from snickers.acme.said import AuthorityFailed
from snickers.acme.service import Acme
from snickers.acme.store import Store
from snickers.config.values import Settings, Site, Static
from snickers.tls.credentials import CertificateUnavailable
from tests.acme_fake import AtOnce, Authority

CA = "https://ca.example/directory"
OTHER = "https://other.example/directory"
STAGING = "https://staging.example/directory"
NOW = 1_800_000_000.0
DAY = 86400.0
MINUTE = 60.0


class Alarms:
    """Keeps what is raised and not cleared."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.current: dict[tuple[str, str], str] = {}
        self.over: list[tuple[str, str]] = []
        """What was cleared of what was raised."""

    def raised(self, kind: str, site: str, message: str) -> None:
        self.told.append((kind, site, message))
        self.current[kind, site] = message

    def cleared(self, kind: str, site: str) -> None:
        if self.current.pop((kind, site), None) is not None:
            self.over.append((kind, site))


class World:
    """One host, three authorities, and time that passes as it is told to."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.store = Store(str(folder))
        self.authorities = {place: Authority(place, self.wall) for place in (CA, OTHER, STAGING)}
        self.authority = self.authorities[CA]
        self.alarms = Alarms()
        self.settings = Settings(acme_directory=CA)
        self.replaced: Counter[str] = Counter()
        self.faults: list[str] = []
        self.preflights: list[Any] = []
        self.off = 0.0
        self.sites: dict[str, Site] = {}
        self.begin()

    def wall(self) -> float:
        """Epoch seconds."""
        return NOW + self.clock.seconds() + getattr(self, "off", 0.0)

    def begin(self) -> None:
        """A process that is on duty."""
        self.threads, self.slow = AtOnce(), AtOnce()

        def make(directory: str, identity: Any, context: Any, wall: Any) -> Any:
            return self.authorities[directory].open(directory, identity)

        def preflight(*asked: Any) -> Sequence[str]:
            self.preflights.append(asked)
            return list(self.faults)

        def replaced(site: str) -> None:
            self.replaced[site] += 1

        self.acme = Acme(
            self.clock,
            self.threads,
            self.slow,
            self.store,
            Challenges(str(self.folder / "challenges")),
            lambda: self.settings,
            self.alarms,
            self.wall,
            replaced,
            preflight,
            Accounts(self.store, self.wall, make),
            chance=lambda: 0.5,
        )
        self.acme.start()
        self.acme.apply(list(self.sites.values()), [], [])

    def restart(self) -> None:
        """Another process in the place of this one."""
        self.acme.stop()
        self.begin()
        self.wait()

    def add(self, name: str, *also: str, **more: Any) -> Site:
        """A site that wants a certificate."""
        site = Site(name, Static("/"), also=also, certificates="acme", **more)
        known = name in self.sites
        self.sites[name] = site
        self.acme.apply([] if known else [site], [site] if known else [], [])
        return site

    def remove(self, name: str) -> None:
        """A site that is no more."""
        self.acme.apply([], [], [self.sites.pop(name)])

    def wait(self, seconds: float = 10.0) -> None:
        """Let time pass: in small steps at first, since one thing leads to another."""
        for _ in range(min(40, math.ceil(seconds / 0.25))):
            self.clock.advance(0.25)
        rest = seconds - 10.0
        while rest > 0:
            step = min(rest, max(5.0, seconds / 300))
            self.clock.advance(step)
            rest -= step

    def orders(self, place: str = CA) -> int:
        """How many orders an authority has."""
        return len(self.authorities[place].orders)

    def state(self, site: str = "a.example") -> Any:
        """What is said of a site."""
        return self.acme.states()[site]

    def trouble(self, what: str, kind: str, times: int = 1, place: str = CA, **more: Any) -> None:
        """Have an authority fail."""
        self.authorities[place].trouble[what] = [
            AuthorityFailed(kind, f"{kind} it is", **more) for _ in range(times)
        ]


class WorldCase(SynchronousTestCase):
    """A test of a `World`."""

    def setUp(self) -> None:
        # What a power cut would leave is not looked at here, and disks may be slow.
        self.patch(os, "fsync", lambda descriptor: None)
        self.world = World(Path(self.mktemp()).absolute())
        self.addCleanup(lambda: self.world.acme.stop())

    def renew(self, site: str = "a.example") -> str:
        """Renew it now; return why that could not be, or ""."""
        done = self.world.acme.renew(site, lambda words: None)
        self.world.wait()
        failures: list[Any] = []
        done.addErrback(failures.append)
        assert done.called
        if not failures:
            return ""
        self.assertIsInstance(failures[0].value, CertificateUnavailable)
        return str(failures[0].value)
