"""One server of a ``proxy`` site: where it is, by which connections it is reached, how it is.

A name is looked up when the site is set up and again from time to time, never while a request
waits if an address is known. It must never send anything to an address that its name has no more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from math import inf
from typing import Any, Protocol
from urllib.parse import urlsplit

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.http.balance import RESTS
from snickers.http.upstream import Connector, Upstream
from snickers.interfaces.engine import Address
from snickers.stream import Sweep

LOOK_UP_EVERY = 30.0
"""Seconds an address is taken for true: what stub resolvers keep a typical answer for."""
MOST_ADDRESSES = 16
"""Addresses of one name that are used: a request that none of them takes has waited long enough."""

Resolve = Callable[[str], "Deferred[tuple[str, ...]]"]
"""Takes a host name; fires with its numeric addresses, one at the least, the best first."""
Secure = Callable[[str], "Deferred[Connector]"]
"""Takes the name of a server; fires with what connects to it by TLS: with the same one as the time
before, unless what it trusts has changed."""
Again = Callable[["Server", Upstream, Any, tuple[Any, ...]], bool]
"""Takes a server, that of its addresses which could not be connected to, the exchange, and what had
been tried for it before; returns whether somebody else carries it now."""


class MakeUpstream(Protocol):
    """Makes the connections to an address."""

    def __call__(
        self,
        address: Address,
        failed: Callable[[Address], None],
        ended: Callable[[], None],
        connector: Connector | None = None,
    ) -> Upstream: ...


def read_target(to: str) -> tuple[str, int] | str:
    """Return the host and port of ``http[s]://HOST[:PORT]``, or the path of ``unix:/path``."""
    if to.startswith("unix:"):
        return to[5:].removeprefix("//")
    parts = urlsplit(to)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


class Server:
    """One of a site's servers."""

    log = Logger()

    def __init__(
        self,
        site: str,
        to: str,
        make_upstream: MakeUpstream,
        resolve: Resolve,
        sweep: Sweep,
        secure: Secure,
        changed: Callable[[Server], None],
        again: Again | None = None,
    ) -> None:
        """*changed* is called when addresses were found, or were not; *again* when one could not
        be connected to. Without *again* only the addresses of this server are tried."""
        self.to = to
        self.name = to.encode()
        self.uses = 0
        """Exchanges that it has now."""
        self.well = True
        """What the last look at it has found."""
        self.rests_until = -inf
        """Until when it is left alone, by the sweep's clock."""
        self.upstream: Upstream | None = None
        """The connections to the address in use; ``None``: no address is known."""
        self._upstreams: dict[Address, Upstream] = {}
        """Those to all its addresses, in the order in which they were found."""
        self._failures: dict[Address, float] = {}
        """When an address could not be connected to, by the sweep's clock."""
        self._site = site
        self._make_upstream = make_upstream
        self._resolve = resolve
        self._sweep = sweep
        self._changed = changed
        self._again = again
        self._connector: Connector | None = None
        self._closed = False
        self._looking = False
        self._look_at = inf
        self._secure = secure if to.startswith("https:") else None
        self._named = False
        target = read_target(to)
        addresses: list[Address] = []
        if isinstance(target, str):
            self.host, self._port = "localhost", 0
            addresses = [target]
        else:
            self.host, self._port = target
            self._named = not (isIPAddress(self.host) or isIPv6Address(self.host))
            if not self._named:
                addresses = [target]
        self._numeric = addresses
        if self._secure is None and addresses:
            self._use(addresses)
        else:
            self.look_up()

    @property
    def is_looking(self) -> bool:
        """Whether it is being found out where it is."""
        return self._looking

    @property
    def authority(self) -> str:
        """The host and port as a Host field says them (RFC 9110 §7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self._secure is not None else 80
        return host if self._port in (0, usual) else f"{host}:{self._port}"

    def refresh(self) -> None:
        """See anew where it is and what is trusted, if that is due."""
        if self._sweep.now >= self._look_at:
            self.look_up()

    def look_up(self) -> None:
        """Find out what must be known before anything can be sent."""
        if self._looking or (self._secure is None and not self._named):
            return
        self._looking = True
        if self._secure is not None:
            self._ask(self._secure(self.host), self._secured)
        else:
            self._ask(self._resolve(self.host), self._found)

    def _ask(self, asked: Deferred[Any], heard: Callable[[Any], None]) -> None:
        asked.addCallbacks(heard, self._not_found)
        asked.addErrback(
            lambda failure: self.log.failure(
                "{site}: a look-up's answer", failure=failure, site=self._site
            )
        )

    def _secured(self, connector: Connector) -> None:
        if connector is not self._connector:
            # What was trusted before is not any more.
            self._connector = connector
            self._forget()
        if self._named:
            self._ask(self._resolve(self.host), self._found)
        else:
            self._settle(self._numeric)

    def _found(self, addresses: Sequence[str]) -> None:
        self._settle([(address, self._port) for address in addresses[:MOST_ADDRESSES]])

    def _settle(self, addresses: Sequence[Address]) -> None:
        self._looked()
        self._use(addresses)
        self._changed(self)

    def _not_found(self, failure: Failure) -> None:
        self._looked()
        self.log.warn(
            "{site}: {to} cannot be used: {reason}",
            site=self._site,
            to=self.to,
            reason=failure.getErrorMessage(),
        )
        self._changed(self)

    def _looked(self) -> None:
        self._looking = False
        self._look_at = self._sweep.now + LOOK_UP_EVERY

    # Its addresses

    def _use(self, addresses: Sequence[Address]) -> None:
        """Have these from now on; connections to those that stay are kept."""
        old = self._upstreams
        new: dict[Address, Upstream] = {}
        several = len(addresses) > 1
        for address in addresses:
            upstream = old.pop(address, None) or self._made(address)
            if self._again is not None or several:
                upstream.again = partial(self._try_again, upstream)
            new[address] = upstream
        for upstream in old.values():
            upstream.close()
        self._upstreams = new
        self._failures = {a: at for a, at in self._failures.items() if a in new}
        used = self.upstream
        # That it is not the first any more is no reason to leave it: names' addresses rotate.
        if used is None or new.get(used.address) is not used:
            self._prefer()

    def _made(self, address: Address) -> Upstream:
        upstream = self._make_upstream(
            address, self._failed, self._ended, connector=self._connector
        )
        if self._closed:
            upstream.close()
        return upstream

    def _prefer(self) -> None:
        """Use the first address that has not failed, or the one that failed longest ago."""
        self.upstream = min(
            self._upstreams.values(), key=lambda one: self._failures.get(one.address, -inf)
        )

    def _forget(self) -> None:
        for upstream in self._upstreams.values():
            upstream.close()
        self._upstreams = {}
        self.upstream = None

    def other(self, tried: Collection[object]) -> Upstream | None:
        """Return the connections to an address that is not among *tried*, those in use first."""
        used = self.upstream
        if used is not None and used not in tried:
            return used
        left = [upstream for upstream in self._upstreams.values() if upstream not in tried]
        return left[0] if left else None

    def _try_again(self, upstream: Upstream, exchange: Any, tried: tuple[Any, ...]) -> bool:
        again = self._again
        if again is not None:
            return again(self, upstream, exchange, tried)
        return self.carry_on(exchange, (*tried, upstream))

    def carry_on(self, exchange: Any, tried: tuple[Any, ...]) -> bool:
        """Give *exchange* to an address that was not *tried*; return whether there is one."""
        other = self.other(tried)
        if other is None:
            return False
        self.uses += 1
        other.carry(exchange, tried)
        return True

    def _failed(self, address: Address) -> None:
        """A new connection could not be made: leave the address alone, and the server if there is
        no other; and see where it is now."""
        if address in self._upstreams:
            now = self._sweep.now
            failures = self._failures
            failures[address] = now
            if all(failures.get(one, -inf) + RESTS > now for one in self._upstreams):
                self.rests_until = now + RESTS
            self._prefer()
        self.look_up()

    def _ended(self) -> None:
        self.uses -= 1

    def close(self) -> None:
        """Let idle connections go; what is under way goes on, and who waits is still told."""
        self._closed = True
        for upstream in self._upstreams.values():
            upstream.close()
