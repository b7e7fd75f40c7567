"""The sites that are live now, found by name: by SNI for a connection, by Host for a request.

A `LiveSite` outlives changes of its configuration: connections hold on to it, a reload puts a
new handler into it. Nothing here may cost more than a look-up in a dictionary.
"""

from __future__ import annotations

from typing import Any

from snickers.config.values import Passthrough, Site
from snickers.http.traffic import Tallied
from snickers.interfaces.exchange import IHandler


class LiveSite:
    """One site as the fronts see it."""

    __slots__ = (
        "carrier",
        "connections",
        "handler",
        "hosts",
        "name",
        "requests",
        "site",
        "traffic",
        "unopened",
        "wild",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.site: Site | None = None
        """What the configuration says; ``None`` for a site that was never without a fault."""
        self.hosts: frozenset[bytes] = frozenset()
        self.wild: tuple[bytes, ...] = ()
        """Suffixes, each with its dot, of the names that begin with ``*``."""
        self.handler: IHandler
        self.requests = 0
        """Of a site whose TLS is not opened here: the connections that were carried."""
        self.connections: set[Any] = set()
        """Each has ``close_if_idle()`` and a ``transport``."""
        self.traffic = Tallied()
        self.unopened = False
        """Whether its TLS is not opened here: see `snickers.passthrough`."""
        self.carrier: Any = None
        """What carries its connections then; made and kept by whoever does."""

    def put(self, names: tuple[str, ...], site: Site | None, handler: IHandler) -> None:
        """Take what a new configuration says; exchanges under way keep the old handler."""
        self.site = site
        encoded = [name.encode("ascii") for name in names]
        self.hosts = frozenset(name for name in encoded if not name.startswith(b"*."))
        self.wild = tuple(name[1:] for name in encoded if name.startswith(b"*."))
        self.handler = handler
        self.unopened = site is not None and isinstance(site.kind, Passthrough)
        if not self.unopened:
            self.carrier = None


class SiteTable:
    """All live sites, by every name they answer to."""

    def __init__(self) -> None:
        self.by_name: dict[str, LiveSite] = {}
        self._hosts: dict[bytes, LiveSite] = {}
        self._wild: dict[bytes, LiveSite] = {}
        self.default: LiveSite | None = None
        """Who gets connections without a name."""

    def find(self, host: bytes) -> LiveSite | None:
        """Return the site that answers to *host* (lower case, no port), an exact name first."""
        site = self._hosts.get(host)
        if site is None and self._wild:
            dot = host.find(b".")
            if dot > 0:
                site = self._wild.get(host[dot:])
        return site

    def owns(self, site: LiveSite, host: bytes) -> bool:
        """Say whether *host* (lower case, no port) is a name of *site*. One that a wildcard covers
        is not, if it is the exact name of another site."""
        if host in site.hosts:
            return True
        return bool(site.wild) and self.find(host) is site

    def route(self, server_name: bytes) -> LiveSite | None:
        """Return the site of a TLS connection: the default site for ``b""``, else as `find`."""
        return self.find(server_name) if server_name else self.default

    def put(
        self, name: str, names: tuple[str, ...], site: Site | None, handler: IHandler
    ) -> LiveSite:
        """Add the site *name*, or change it in place; returns it."""
        live = self.by_name.get(name)
        if live is None:
            live = self.by_name[name] = LiveSite(name)
        else:
            self._forget_names(live)
            live.handler.close()
        live.put(names, site, handler)
        for host in live.hosts:
            self._hosts[host] = live
        for suffix in live.wild:
            self._wild[suffix] = live
        return live

    def remove(self, name: str) -> LiveSite | None:
        """Take the site *name* out: nobody finds it any more. Its connections are the caller's."""
        live = self.by_name.pop(name, None)
        if live is not None:
            self._forget_names(live)
            live.handler.close()
            if self.default is live:
                self.default = None
            live.hosts = frozenset()
            live.wild = ()
        return live

    def _forget_names(self, live: LiveSite) -> None:
        for host in live.hosts:
            if self._hosts.get(host) is live:
                del self._hosts[host]
        for suffix in live.wild:
            if self._wild.get(suffix) is live:
                del self._wild[suffix]
