"""One server of a ``proxy`` site: where it is, by which connections it is reached, how it is.

A name is looked up when the site is set up and again from time to time, never while a request
waits if an address is known. It must never send anything to an address that its name has no more.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Protocol
from urllib.parse import urlsplit

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.http.balance import RESTS
from snickers.http.upstream import Connector, Upstream
from snickers.interfaces import Address
from snickers.stream import Sweep

LOOK_UP_EVERY = 30.0
"""Seconds an address is taken for true: what stub resolvers keep a typical answer for."""

Resolve = Callable[[str], "Deferred[str]"]
Secure = Callable[[str], "Deferred[Connector]"]
"""Takes the name of a server; fires with what connects to it by TLS."""


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
    ) -> None:
        """*changed* is called when an address was found, or was not."""
        self.to = to
        self.name = to.encode()
        self.uses = 0
        """Exchanges that it has now."""
        self.well = True
        """What the last look at it has found."""
        self.rests_until = -inf
        """Until when it is left alone, by the sweep's clock."""
        self.upstream: Upstream | None = None
        """The connections to it; ``None``: its address is not known."""
        self._site = site
        self._make_upstream = make_upstream
        self._resolve = resolve
        self._sweep = sweep
        self._changed = changed
        self._connector: Connector | None = None
        self._closed = False
        self._looking = False
        self._look_at = inf
        self._address: Address | None = None
        target = read_target(to)
        self.host = "localhost" if isinstance(target, str) else target[0]
        self._port = 0
        self._named = False
        self._secure = secure if to.startswith("https:") else None
        if isinstance(target, str):
            self._address = target
        else:
            host, self._port = target
            if isIPAddress(host) or isIPv6Address(host):
                self._address = target
            else:
                self._named = True
        if self._secure is None and self._address is not None:
            self._use(self._address)
        else:
            self.look_up()

    @property
    def is_looking(self) -> bool:
        """Whether it is being found out where it is."""
        return self._looking

    @property
    def authority(self) -> str:
        """The host as a Host field says it."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def refresh(self) -> None:
        """Look the name up again, if that is due."""
        if self._sweep.now >= self._look_at:
            self.look_up()

    def look_up(self) -> None:
        """Find out what must be known before anything can be sent."""
        if self._looking or self._closed:
            return
        if self._secure is not None and self._connector is None:
            self._looking = True
            found: Deferred[Any] = self._secure(self.host)
            found.addCallbacks(self._secured, self._not_found)
        elif self._named:
            self._looking = True
            found = self._resolve(self.host)
            found.addCallbacks(self._found, self._not_found)
        else:
            return
        found.addErrback(
            lambda failure: self.log.failure(
                "{site}: a look-up's answer", failure=failure, site=self._site
            )
        )

    def _secured(self, connector: Connector) -> None:
        self._looking = False
        self._connector = connector
        if self._address is not None:
            self._use(self._address)
            self._changed(self)
        else:
            self.look_up()

    def _found(self, address: str) -> None:
        self._looking = False
        self._look_at = self._sweep.now + LOOK_UP_EVERY
        self._use((address, self._port))
        self._changed(self)

    def _not_found(self, failure: Failure) -> None:
        self._looking = False
        self._look_at = self._sweep.now + LOOK_UP_EVERY
        self.log.warn(
            "{site}: {to} cannot be used: {reason}",
            site=self._site,
            to=self.to,
            reason=failure.getErrorMessage(),
        )
        self._changed(self)

    def _use(self, address: Address) -> None:
        old = self.upstream
        if old is not None:
            if old.address == address:
                return
            old.close()
        self.upstream = self._make_upstream(
            address, self._failed, self._ended, connector=self._connector
        )
        if self._closed:
            self.upstream.close()

    def _failed(self, address: Address) -> None:
        """A new connection could not be made: leave the server alone, and see where it is now."""
        self.rests_until = self._sweep.now + RESTS
        self.look_up()

    def _ended(self) -> None:
        self.uses -= 1

    def close(self) -> None:
        """Let idle connections go; what is under way goes on."""
        self._closed = True
        if self.upstream is not None:
            self.upstream.close()
