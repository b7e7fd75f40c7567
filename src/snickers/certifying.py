"""What a person may ask of sites' certificates: which there are, a new one now, one from elsewhere.

It knows which of those who care for certificates is asked, and puts together what each of them
says. It reads no file itself and keeps nothing; it must never touch what is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from snickers.config.values import Configuration, Passthrough, Site
from snickers.interfaces.certificates import (
    CertifyingFailed,
    ICertificates,
    ICertifying,
    IRenewer,
    Submitted,
    TakenIn,
)
from snickers.interfaces.colleagues import IColleagues
from snickers.interfaces.plane import Change, IPlane

DAY = 86400.0


TakeIn = Callable[[Site, str, Submitted], Deferred[TakenIn]]
"""Puts a certificate for a host of a site where those of ``files`` are."""


@implementer(ICertifying)
class Certifying:
    """Answers for the certificates of all sites.

    *configuration* is the running one; *certificates* are those of this process, *others* says what
    other processes have loaded; *plane* is the data plane of all of them. *renewer* orders those of
    ``acme``; ``None``: nobody does. *wall* returns epoch seconds.
    """

    def __init__(
        self,
        configuration: Callable[[], Configuration | None],
        certificates: ICertificates,
        others: IColleagues,
        plane: IPlane,
        take_in: TakeIn,
        renewer: IRenewer | None,
        wall: Callable[[], float],
    ) -> None:
        self._configuration = configuration
        self._certificates = certificates
        self._others = others
        self._plane = plane
        self._take_in = take_in
        self._renewer = renewer
        self._wall = wall

    def report(self) -> list[dict[str, Any]]:
        states = self._certificates.states()
        orders = {} if self._renewer is None else self._renewer.states()
        now = self._wall()
        return [
            _elsewhere(site)
            if isinstance(site.kind, Passthrough)
            else self._row(site, states.get(site.name), orders.get(site.name), now)
            for site in self._all()
        ]

    def _row(
        self,
        site: Site,
        state: Mapping[str, Any] | None,
        order: Mapping[str, Any] | None,
        now: float,
    ) -> dict[str, Any]:
        if not (state and state.get("not_after")):
            state = self._others.share(site.name).certificate or state or {}
        order = order or {}
        end = state.get("not_after")
        faults = (str(said.get("fault") or "") for said in (state, order))
        return {
            "site": site.name,
            "names": list(site.names),
            "wanted": site.certificates,
            "source": state.get("source", ""),
            "issuer": state.get("issuer", ""),
            "not_after": end or None,
            "days": round((end - now) / DAY, 1) if end else None,
            "step": order.get("step", ""),
            "next": order.get("next") or state.get("next"),
            "fault": "; ".join(dict.fromkeys(filter(None, faults))),
            "challenge": order.get("challenge", ""),
            "authority": order.get("authority", ""),
        }

    def renew(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        found = self._find(site)
        if found is None:
            return fail(CertifyingFailed(_not_opened(site)))
        if found.certificates == "acme":
            if self._renewer is None:
                return fail(CertifyingFailed(f"{site}: nobody orders certificates here"))
            ordered = self._renewer.renew(site, progress)
        else:
            ordered = succeed(None)
            progress("reading its files" if found.certificates == "files" else "making a new one")
        ordered.addCallback(lambda _: self._certificates.renew(site))
        ordered.addCallback(lambda _: self._reread(site))
        # Who has answered has heard of it.
        return ordered.addCallback(lambda _: self._others.freshen())

    def take_in(self, site: str, host: str, submitted: Submitted) -> Deferred[dict[str, Any]]:
        found = self._find(site)
        if found is None or host not in found.names:
            return fail(CertifyingFailed(_not_opened(site)))
        return self._take_in(found, host, submitted).addCallback(self._taken_in, found, submitted)

    def _taken_in(self, taken: TakenIn, site: Site, submitted: Submitted) -> dict[str, Any]:
        answer = {
            "site": site.name,
            "problems": list(taken.problems),
            "notes": list(taken.notes),
        }
        if taken.problems:
            return answer
        advice = ""
        if site.certificates == "files":
            if not taken.obstacle:
                self._reread(site.name)
        else:
            advice = (
                f"{site.name} has its certificates from {site.certificates}: to have it show this "
                f"one, write `certificates = files` into its section [{site.name}]"
            )
            if site.where.file:
                advice += f", {site.where.file}:{site.where.line}"
        return {
            **answer,
            "folder": taken.folder,
            "names": list(taken.names),
            "issuer": taken.issuer,
            "not_after": taken.not_after,
            "advice": advice,
            "obstacle": taken.obstacle,
            "undone": [list(step) for step in taken.undone],
        }

    def _reread(self, site: str) -> None:
        """Have every process show what is there now."""
        self._plane.apply(Change(certificates=(site,)))

    def _all(self) -> Sequence[Site]:
        configuration = self._configuration()
        if configuration is None:
            return ()
        return [site for _, site in sorted(configuration.sites.items())]

    def _find(self, name: str) -> Site | None:
        """Return the site *name* if its TLS is opened here."""
        opened = (site for site in self._all() if not isinstance(site.kind, Passthrough))
        return next((site for site in opened if site.name == name), None)


def _elsewhere(site: Site) -> dict[str, Any]:
    """Return the row of a site whose certificate is its server's own matter."""
    nothing = dict.fromkeys(("source", "issuer", "fault", "challenge", "authority"), "")
    return {
        **nothing,
        "site": site.name,
        "names": list(site.names),
        "wanted": "its server",
        "not_after": None,
        "days": None,
        "step": "its TLS is not opened here",
        "next": None,
    }


def _not_opened(site: str) -> str:
    return (
        f"{site} has no certificate here: its TLS is opened by its server (type passthrough), or "
        "its section was never without a fault"
    )
