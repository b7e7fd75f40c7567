"""The sites that are live in one process, and how a change of the configuration reaches them.

A change touches only what differs: certificates' table, handlers, names. A live site outlives its
configuration, so that no connection of it, nor of another one, notices. What fails for one site
must never keep another one from its change.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger
from zope.interface import implementer

from snickers.config.values import Passthrough, Settings, Site, Static
from snickers.interfaces.certificates import ICertificates
from snickers.interfaces.exchange import IHandler
from snickers.interfaces.plane import Change, IPlane


class SiteRegister(Protocol):
    """Where live sites are put: the table of the http room."""

    by_name: dict[str, Any]
    default: Any

    def put(
        self, name: str, names: tuple[str, ...], site: Site | None, handler: IHandler
    ) -> Any: ...

    def remove(self, name: str) -> Any: ...

    def find(self, host: bytes) -> Any: ...


def is_opened(site: Site) -> bool:
    """Whether the site's TLS is opened here, with a certificate of its own."""
    return not isinstance(site.kind, Passthrough)


def _nameless(name: str) -> Site:
    """Return a site of which only the name matters."""
    return Site(name=name, kind=Static(root=os.devnull))


@implementer(IPlane)
class LiveSites:
    """Applies changes to *sites*.

    *make* and *broken* make the handlers of sites; *apply_settings* takes what of ``[snickers]``
    can change while running.
    """

    log = Logger()

    def __init__(
        self,
        sites: SiteRegister,
        make: Callable[[Site], IHandler],
        broken: Callable[[], IHandler],
        certificates: ICertificates,
        apply_settings: Callable[[Settings], None],
    ) -> None:
        self._sites = sites
        self._make = make
        self._broken = broken
        self._certificates = certificates
        self._apply_settings = apply_settings

    def apply(self, change: Change) -> None:
        if change.certificates:
            for name in change.certificates:
                self._certificates.reread(name)
            return
        if change.settings is not None:
            self._apply_settings(change.settings)
        news = (*change.added, *change.changed)
        self._certificates.apply(
            # Sites that were never without a fault still need a certificate to say so.
            [*filter(is_opened, change.added), *map(_nameless, change.broken)],
            [*filter(is_opened, change.changed)],
            # Also of one that had none: it may have had a stand-in.
            [*map(_nameless, change.removed), *(site for site in news if not is_opened(site))],
        )
        for name in change.removed:
            self._remove(name)
        for site in news:
            self._put(site)
        for name in change.broken:
            self._sites.put(name, (name,), None, self._broken())
        default = change.default
        self._sites.default = self._sites.by_name.get(default) or self._sites.find(default.encode())

    def _put(self, site: Site) -> None:
        live = self._sites.by_name.get(site.name)
        before = None if live is None else live.site
        try:
            live = self._sites.put(site.name, site.names, site, self._make(site))
        except Exception:
            self.log.failure("{site}: applying its configuration", site=site.name)
            return
        if before is not None and is_opened(before) and not is_opened(site):
            self._close_idle(live)

    def _remove(self, name: str) -> None:
        live = self._sites.remove(name)
        if live is not None:
            self._close_idle(live)

    @staticmethod
    def _close_idle(live: Any) -> None:
        for connection in list(live.connections):
            connection.close_if_idle()
