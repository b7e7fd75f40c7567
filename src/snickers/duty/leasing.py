"""A team's leases: of its own lives while it is on duty, else of the team that is.

Whoever uses a server gives it back here, whoever counts it by then: what is used when duty passes
is carried over with it, and who waits goes on waiting and is answered once. It must never lose a
use or count one twice, and never call a waiter inside of `TeamLeases.take`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.logger import Logger
from zope.interface import implementer

from snickers.interfaces.engine import Address
from snickers.interfaces.handed import Handed, Kept
from snickers.interfaces.leases import ILeases, IWaiter, Refusal, Stage
from snickers.workers.leases import RemoteLeases

_log = Logger()


class OwnLives(Protocol):
    """The lives of the team itself: see `snickers.containers.service.Lives`."""

    def take(self, site: str, waiter: IWaiter) -> Address | None: ...

    def give_back(self, site: str, address: Address) -> None: ...

    def forget(self, site: str, waiter: IWaiter) -> None: ...

    def failed(self, site: str, address: Address) -> None: ...

    def look(self, site: str, told: Callable[[Stage], None]) -> None: ...

    def ready(self, site: str) -> Address | None: ...

    def inherit(self, site: str, uses: int, kept: Kept | None) -> None: ...


@implementer(ILeases)
class TeamLeases:
    """The leases of a team, which is not on duty at first.

    *borrowed* are those of the other team, *own* are the lives here.
    """

    def __init__(self, own: OwnLives, borrowed: RemoteLeases) -> None:
        self._own = own
        self._borrowed = borrowed
        self._now: OwnLives | RemoteLeases = borrowed
        borrowed.interrupted()

    def take(self, site: str, waiter: IWaiter) -> Address | None:
        return self._now.take(site, waiter)

    def give_back(self, site: str, address: Address) -> None:
        self._now.give_back(site, address)

    def forget(self, site: str, waiter: IWaiter) -> None:
        self._now.forget(site, waiter)

    def failed(self, site: str, address: Address) -> None:
        self._now.failed(site, address)

    def look(self, site: str, told: Callable[[Stage], None]) -> None:
        self._now.look(site, told)

    def ready(self, site: str) -> Address | None:
        return self._now.ready(site)

    def on_duty(self, lives: Mapping[str, Kept]) -> None:
        """Have the own lives be used from now on, which know their sites and are not started yet;
        *lives* is what was told of them."""
        left = self._borrowed.leave()
        self._now = self._own
        for site in {*left.uses, *lives}:
            self._own.inherit(site, left.uses.get(site, 0), lives.get(site))
        for site, waiter in left.waiting:
            self._again(site, waiter)
        for site, told in left.looking:
            try:
                self._own.look(site, told)
            except Exception:
                _log.failure("{site}: a stage was not taken well", site=site)

    def off_duty(self, handed: Mapping[str, Handed]) -> None:
        """Have the other team's leases be used from now on; *handed* is what the own lives have
        left."""
        self._now = self._borrowed
        for site, found in handed.items():
            if found.uses or found.address is not None:
                self._borrowed.bring(site, found.address, found.uses)
        for site, found in handed.items():
            for waiter in found.waiting:
                self._again(site, waiter)

    def _again(self, site: str, waiter: IWaiter) -> None:
        try:
            address = self._now.take(site, waiter)
            if address is not None:
                waiter.leased(address)
        except Exception:
            _log.failure("{site}: one who waits was not carried over", site=site)

    def give_up(self, seconds: float, refusal: Refusal) -> None:
        """Answer *refusal* to those who have waited so long while nobody is on duty at all."""
        self._borrowed.give_up(seconds, refusal)
