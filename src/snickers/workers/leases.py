"""A worker's leases: one of the first process for each server, however many requests use it.

With the lease in hand a request is a look-up, an addition and a store, as in the first process.
The lease is kept for a moment after the last use, so that a busy site costs no message, and goes
back at once when it is withdrawn. Whatever happens, as long as one use is open the first process
knows of at least one lease; this must never keep one that nobody uses for longer than `LINGER`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

from attrs import frozen
from twisted.logger import Logger
from zope.interface import implementer

from snickers.interfaces.engine import Address
from snickers.interfaces.leases import ILeases, IWaiter, Refusal, Stage
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

    def give_back(self, site: str, address: Address, count: int) -> None:
        """So many leases of *site*'s server at *address* are over."""

    def look(self, site: str) -> None:
        """Ask how far *site*'s server is; `RemoteLeases.looked` is called with what is said."""

    def failed(self, site: str, address: Address) -> None:
        """The server at *address* did not take a connection."""


class _Asked:
    """Requests that came in the same moment and wait for one answer."""

    __slots__ = ("at", "claim", "site", "ticket", "waiters")

    def __init__(self, site: str, ticket: int, at: float, claim: bool = False) -> None:
        self.site = site
        self.ticket = ticket
        self.at = at
        self.claim = claim
        """For what is used already: nobody waits."""
        self.waiters: list[IWaiter] = []


class _Former:
    """A server that is leased no more, and still used."""

    __slots__ = ("leases", "uses")

    def __init__(self, leases: int, uses: int) -> None:
        self.leases = leases
        self.uses = uses


class _Server:
    """What a worker knows of one site's server."""

    __slots__ = ("address", "asked", "brought", "doubted", "leases", "pending", "used", "uses")

    def __init__(self) -> None:
        self.address: Address | None = None
        """Leased, and not withdrawn since."""
        self.leases = 0
        """That the first process has given for it and not got back."""
        self.uses = 0
        self.brought = 0
        """Of those the ones that were taken over: they may be of a server before this one."""
        self.used = -inf
        self.asked: _Asked | None = None
        """The last question, while it has no answer."""
        self.pending = 0
        """Questions without an answer."""
        self.doubted = -inf
        """When the first process was last told that a connection failed."""


@frozen(eq=False)
class Left:
    """What was leased, and who waited, for whoever goes on."""

    uses: Mapping[str, int]
    waiting: Sequence[tuple[str, IWaiter]]
    """Each with the site, in the order in which they came."""
    looking: Sequence[tuple[str, Callable[[Stage], None]]]
    """Who wants to know how far a server is."""


@implementer(ILeases)
class RemoteLeases:
    """The leases of one worker, from *lessor*, which is set before the first visitor comes."""

    lessor: Lessor

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._servers: dict[str, _Server] = {}
        self._former: dict[tuple[str, Address], _Former] = {}
        """What was withdrawn while it was used, until the last use is over."""
        self._asked: dict[int, _Asked] = {}
        self._by_waiter: dict[int, _Asked] = {}
        self._looking: dict[str, list[Callable[[Stage], None]]] = {}
        """Who wants to know how far a server is, by site: one question is on its way for all."""
        self._tickets = 0
        self._unused: set[str] = set()
        self._lost = False
        self._absent = False
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

    def give_back(self, site: str, address: Address) -> None:
        server = self._servers.get(site)
        if server is None or server.address != address or not server.uses:
            self._give_other(site, address)
            return
        server.uses -= 1
        if not server.uses:
            self._rest(site, server)

    def _rest(self, site: str, server: _Server) -> None:
        """Nobody uses it any more."""
        server.used = self._sweep.now
        if server.address is None:
            self._tidy(site, server)
            return
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
            if self._absent:
                self._unask(asked)
            else:
                self.lessor.forget(asked.ticket)

    def failed(self, site: str, address: Address) -> None:
        server = self._servers.get(site)
        now = self._sweep.now
        # Once in a step of the clock: a server that is gone fails every request at once.
        if server is not None and server.address == address and server.doubted != now:
            server.doubted = now
            if not self._absent:
                self.lessor.failed(site, address)

    def look(self, site: str, told: Callable[[Stage], None]) -> None:
        looking = self._looking.get(site)
        if self._absent:
            told(Stage())
        elif looking is None:
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
        if not self._absent:
            self.lessor.take(site, asked.ticket)

    def _unask(self, asked: _Asked) -> None:
        """Have no answer of *asked* expected."""
        del self._asked[asked.ticket]
        server = self._servers[asked.site]
        server.pending -= 1
        if server.asked is asked:
            server.asked = None
        self._tidy(asked.site, server)

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
            if asked.claim and not server.leases:
                self._retire(site, server)  # whoever comes now asks for himself
        elif asked.claim and server.uses and not server.leases:
            if server.address != answer:
                server.brought = server.uses
            server.leases = 1
            server.address = answer
        elif not waiters or (server.leases and server.address == answer):
            # Nobody is interested any more, or one lease is enough for all.
            self._use(site, server, answer, waiters)
            self.lessor.give_back(site, answer, 1)
        else:
            # Another one may have taken the place of the one before, which that is told of later.
            self._retire(site, server)
            former = self._former.pop((site, answer), _Former(0, 0))
            server.leases += former.leases + 1
            server.uses += former.uses
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
                self.give_back(site, address)

    def withdrawn(self, site: str) -> None:
        """No new use of what was leased; it goes back when the last one is over."""
        server = self._servers.get(site)
        if server is not None:
            self._retire(site, server)
            self._tidy(site, server)

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
        for site, server in list(self._servers.items()):
            self._retire(site, server)
            self._tidy(site, server)

    # Lessors that go and come

    def bring(self, site: str, address: Address | None, uses: int) -> None:
        """Take over *uses* of *site*'s server, which answers at *address*; ``None``: no more."""
        server = self._servers.setdefault(site, _Server())
        server.address = address
        server.uses += uses
        server.brought += uses
        self._tidy(site, server)

    def interrupted(self) -> None:
        """There is nobody to ask until `resumed`. Nothing that was asked is answered any more."""
        self._absent = True
        self.deadline = inf
        for server in self._servers.values():
            server.leases = 0
        for former in self._former.values():
            former.leases = 0
        for asked in [asked for asked in self._asked.values() if not asked.waiters]:
            self._unask(asked)
        for site, server in list(self._servers.items()):
            self._tidy(site, server)
        for site in list(self._looking):
            self.looked(site, Stage())

    def resumed(self) -> None:
        """There is somebody to ask, `lessor`: have a lease for all that is used, and ask for those
        who wait. What is used and was left before is not asked for: whoever finds it beside a
        site's server gives it ``drain within``."""
        self._absent = False
        waiting = list(self._asked.values())
        for site, server in list(self._servers.items()):
            if server.uses:
                self._tickets += 1
                claim = _Asked(site, self._tickets, self._sweep.now, claim=True)
                self._asked[claim.ticket] = claim
                server.pending += 1
                self.lessor.take(site, claim.ticket)
            else:
                self._retire(site, server)
                self._tidy(site, server)
        for asked in waiting:
            self.lessor.take(asked.site, asked.ticket)

    def give_up(self, seconds: float, refusal: Refusal) -> None:
        """Answer *refusal* to those who have waited for so many seconds while nobody is there."""
        if not self._absent:
            return
        limit = self._sweep.now - seconds
        for asked in [asked for asked in self._asked.values() if asked.at <= limit]:
            self._unask(asked)
            for waiter in asked.waiters[:]:
                if self._by_waiter.pop(id(waiter), None) is not None:
                    waiter.refused(refusal)

    def leave(self) -> Left:
        """Forget everything, and return it for whoever goes on. Nobody is told, and nothing is
        given back: the lessor has gone, or is told that all is over."""
        uses = {site: server.uses for site, server in self._servers.items() if server.uses}
        for (site, _), former in self._former.items():
            uses[site] = uses.get(site, 0) + former.uses
        waiting = [
            (asked.site, waiter) for asked in self._asked.values() for waiter in asked.waiters
        ]
        looking = [(site, told) for site, all_told in self._looking.items() for told in all_told]
        for kept in (self._servers, self._asked, self._by_waiter, self._looking, self._unused):
            kept.clear()
        self._former.clear()
        self._absent = True
        self.deadline = inf
        return Left(uses, waiting, looking)

    def uses(self) -> dict[str, tuple[int, int]]:
        """Return for each site whose server is leased here: the uses, and the leases for them."""
        found = {
            site: (server.uses, server.leases)
            for site, server in self._servers.items()
            if server.leases
        }
        for (site, _), former in self._former.items():
            uses, leases = found.get(site, (0, 0))
            found[site] = (uses + former.uses, leases + former.leases)
        return found

    # Giving back

    def expired(self) -> None:
        """Give back what was not used for `LINGER`; called by the sweep."""
        if self._absent:
            return
        limit = self._sweep.now - LINGER
        for site in list(self._unused):
            server = self._servers.get(site)
            if server is None or server.uses:
                self._unused.discard(site)
            elif server.used <= limit:
                self._retire(site, server)
                self._tidy(site, server)
            else:
                self.deadline = min(self.deadline, server.used + LINGER)

    def _give_other(self, site: str, address: Address) -> None:
        """Give back a use of another server than the one that is leased."""
        former = self._former.get((site, address))
        if former is not None:
            former.uses -= 1
            if not former.uses:
                del self._former[site, address]
                self._return(site, address, former.leases)
            return
        server = self._servers.get(site)
        # Else what it was counted by has gone before it.
        if server is not None and server.brought and server.uses:
            server.brought -= 1
            server.uses -= 1
            if not server.uses:
                self._rest(site, server)

    def _retire(self, site: str, server: _Server) -> None:
        """Lease what *server* is leased at no more, and give it back with the last use of it."""
        address, server.address = server.address, None
        if address is None:
            return
        self._unused.discard(site)
        leases, uses = server.leases, server.uses
        server.leases = server.uses = server.brought = 0
        if uses:
            self._former[site, address] = _Former(leases, uses)
        else:
            self._return(site, address, leases)

    def _return(self, site: str, address: Address, leases: int) -> None:
        if leases and not self._lost:
            self.lessor.give_back(site, address, leases)

    def _tidy(self, site: str, server: _Server) -> None:
        """Keep nothing of a site that nobody is interested in."""
        if server.leases or server.uses or server.pending:
            return
        if self._absent and server.address is not None:
            return  # nobody could say again where it is
        self._servers.pop(site, None)
