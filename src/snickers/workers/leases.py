"""A worker's leases: one of the first process for each server, however many requests use it.

With the lease in hand a request is a look-up, an addition and a store, as in the first process.
The lease is kept for a moment after the last use, so that a busy site costs no message, and goes
back at once when it is withdrawn. Whatever happens, as long as one use is open the first process
knows of at least one lease; this must never keep one that nobody uses for longer than `LINGER`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from twisted.logger import Logger
from zope.interface import implementer

from snickers.interfaces import Address, ILeases, IWaiter, Refusal, Stage
from snickers.stream import Sweep

LINGER = 1.0
"""Seconds that an unused lease is kept: the requests of one page come closer together."""
LOST = Refusal("stopping", 5)
"""For those who wait when the first process has gone."""

_log = Logger()


class Lessor(Protocol):
    """The first process, as leases see it."""

    def take(self, site: str, ticket: int) -> None:
        """Ask for a lease; `RemoteLeases.answered` is called with *ticket* and what came of it."""

    def forget(self, ticket: int) -> None:
        """Nobody waits for *ticket* any more; it is answered all the same."""

    def give_back(self, site: str, count: int) -> None:
        """So many leases of *site* are over."""

    def look(self, site: str) -> None:
        """Ask how far *site*'s server is; `RemoteLeases.looked` is called with what is said."""

    def failed(self, site: str, address: Address) -> None:
        """The server at *address* did not take a connection."""


class _Asked:
    """Requests that came in the same moment and wait for one answer."""

    __slots__ = ("at", "site", "ticket", "waiters")

    def __init__(self, site: str, ticket: int, at: float) -> None:
        self.site = site
        self.ticket = ticket
        self.at = at
        self.waiters: list[IWaiter] = []


class _Server:
    """What a worker knows of one site's server."""

    __slots__ = ("address", "asked", "doubted", "leases", "pending", "used", "uses")

    def __init__(self) -> None:
        self.address: Address | None = None
        """Leased, and not withdrawn since."""
        self.leases = 0
        """That the first process has given and not got back."""
        self.uses = 0
        self.used = -inf
        self.asked: _Asked | None = None
        """The last question, while it has no answer."""
        self.pending = 0
        """Questions without an answer."""
        self.doubted = -inf
        """When the first process was last told that a connection failed."""


@implementer(ILeases)
class RemoteLeases:
    """The leases of one worker, from *lessor*, which is set before the first visitor comes."""

    lessor: Lessor

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._servers: dict[str, _Server] = {}
        self._asked: dict[int, _Asked] = {}
        self._by_waiter: dict[int, _Asked] = {}
        self._looking: dict[str, list[Callable[[Stage], None]]] = {}
        """Who wants to know how far a server is, by site: one question is on its way for all."""
        self._tickets = 0
        self._unused: set[str] = set()
        self._lost = False
        self.deadline = inf
        """When unused leases are looked at, by the sweep's clock."""
        sweep.watch(self)

    # ILeases

    def take(self, site: str, waiter: IWaiter) -> Address | None:
        server = self._servers.get(site)
        if server is None:
            server = self._servers[site] = _Server()
        address = server.address
        if address is not None:
            server.uses += 1
            return address
        self._ask(site, server, waiter)
        return None

    def give_back(self, site: str) -> None:
        server = self._servers[site]
        server.uses -= 1
        if not server.uses:
            server.used = self._sweep.now
            if server.address is None:
                self._return(site, server)
            else:
                self._unused.add(site)
                if self.deadline == inf:
                    self.deadline = server.used + LINGER

    def forget(self, site: str, waiter: IWaiter) -> None:
        asked = self._by_waiter.pop(id(waiter), None)
        if asked is None:
            return
        asked.waiters.remove(waiter)
        if not asked.waiters and asked.ticket in self._asked:
            server = self._servers[site]
            if server.asked is asked:
                server.asked = None
            self.lessor.forget(asked.ticket)

    def failed(self, site: str, address: Address) -> None:
        server = self._servers.get(site)
        now = self._sweep.now
        # Once in a step of the clock: a server that is gone fails every request at once.
        if server is not None and server.address == address and server.doubted != now:
            server.doubted = now
            self.lessor.failed(site, address)

    def look(self, site: str, told: Callable[[Stage], None]) -> None:
        looking = self._looking.get(site)
        if looking is None:
            self._looking[site] = [told]
            self.lessor.look(site)
        else:
            looking.append(told)

    def ready(self, site: str) -> Address | None:
        server = self._servers.get(site)
        return None if server is None else server.address

    # Asking

    def _ask(self, site: str, server: _Server, waiter: IWaiter) -> None:
        asked = server.asked
        now = self._sweep.now
        if asked is not None and asked.at == now:
            asked.waiters.append(waiter)
            self._by_waiter[id(waiter)] = asked
            return
        # Another question for each step of the clock: how long one may wait is counted from its
        # arrival.
        self._tickets += 1
        asked = server.asked = _Asked(site, self._tickets, now)
        asked.waiters.append(waiter)
        self._by_waiter[id(waiter)] = asked
        self._asked[asked.ticket] = asked
        server.pending += 1
        self.lessor.take(site, asked.ticket)

    # What the first process says

    def answered(self, ticket: int, answer: Address | Refusal) -> None:
        """Take the answer to a question, once for each: an address, or why there is none."""
        asked = self._asked.pop(ticket)
        site = asked.site
        server = self._servers[site]
        server.pending -= 1
        if server.asked is asked:
            server.asked = None
        waiters = asked.waiters[:]
        if isinstance(answer, Refusal):
            for waiter in waiters:
                if self._by_waiter.pop(id(waiter), None) is not None:
                    waiter.refused(answer)
        elif not waiters or (server.leases and server.address == answer):
            # Nobody is interested any more, or one lease is enough for all.
            self._use(site, server, answer, waiters)
            self.lessor.give_back(site, 1)
        else:
            server.leases += 1
            server.address = answer
            self._use(site, server, answer, waiters)
        self._tidy(site, server)

    def _use(self, site: str, server: _Server, address: Address, waiters: list[IWaiter]) -> None:
        server.uses += len(waiters)
        for waiter in waiters:
            if self._by_waiter.pop(id(waiter), None) is not None:
                waiter.leased(address)
            else:
                # What another one did with its answer has ended this one, too.
                self.give_back(site)

    def withdrawn(self, site: str) -> None:
        """No new use of what was leased; it goes back when the last one is over."""
        server = self._servers.get(site)
        if server is not None and server.address is not None:
            server.address = None
            if not server.uses:
                self._return(site, server)

    def looked(self, site: str, stage: Stage) -> None:
        """Take how far the server of *site* is, once for each time that was asked."""
        for told in self._looking.pop(site, ()):
            try:
                told(stage)
            except Exception:
                _log.failure("{site}: a stage was not taken well", site=site)

    def lost(self) -> None:
        """The first process has gone: no address it gave is used any more. Who waits is
        `answered` by whoever has asked."""
        self._lost = True
        for server in self._servers.values():
            server.address = None

    def uses(self) -> dict[str, tuple[int, int]]:
        """Return for each site whose server is leased here: the uses, and the leases for them."""
        return {
            site: (server.uses, server.leases)
            for site, server in self._servers.items()
            if server.leases
        }

    # Giving back

    def expired(self) -> None:
        """Give back what was not used for `LINGER`; called by the sweep."""
        limit = self._sweep.now - LINGER
        for site in list(self._unused):
            server = self._servers.get(site)
            if server is None or server.uses:
                self._unused.discard(site)
            elif server.used <= limit:
                server.address = None
                self._return(site, server)
            else:
                self.deadline = min(self.deadline, server.used + LINGER)

    def _return(self, site: str, server: _Server) -> None:
        self._unused.discard(site)
        count, server.leases = server.leases, 0
        if count and not self._lost:
            self.lessor.give_back(site, count)
        self._tidy(site, server)

    def _tidy(self, site: str, server: _Server) -> None:
        """Keep nothing of a site that nobody is interested in."""
        if not (server.leases or server.uses or server.pending):
            self._servers.pop(site, None)
