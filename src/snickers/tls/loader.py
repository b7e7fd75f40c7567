"""From a site to a context, whatever its certificate's source.

Runs in a thread, and blocks. Loading must never raise: what is wrong comes back in words,
together with the files that must change before another try can end otherwise.
"""

from __future__ import annotations

import os

from attrs import frozen
from OpenSSL import SSL

from snickers.config.values import NEVER, Site
from snickers.tls.authority import Authority
from snickers.tls.contexts import Harden, make_context
from snickers.tls.credentials import CertificateUnavailable, Credentials
from snickers.tls.disk import Watched, stamp
from snickers.tls.folders import CERTIFICATE, Folders


@frozen(eq=False)
class Loaded:
    """What was found out about one certificate."""

    watched: Watched = ()
    """Files, as they were."""
    context: SSL.Context | None = None
    """``None``: there is nothing to show, and `fault` says why."""
    names: tuple[str, ...] = ()
    not_after: float = 0.0
    """Epoch seconds."""
    warn_at: float = NEVER
    """Epoch seconds from which on its owner should hear that it ends."""
    renew_at: float = NEVER
    """Epoch seconds from which on it should be loaded again, which renews it."""
    path: str = ""
    fault: str = ""
    """What is wrong, in words; it may be so with a context too."""


@frozen(eq=False)
class Loader:
    """Loads the certificates of sites."""

    authority: Authority
    folders: Folders
    harden: Harden

    def load(self, site: Site, name: str, now: float) -> Loaded:
        """Return the certificate for *name*, one of the names of *site*, as good as it can be had.

        *now* is epoch seconds.
        """
        if site.certificates == "files":
            return self._from_folder(site, name, now)
        return self._from_authority(site, now)

    def renew(self, site: Site, now: float) -> None:
        """Make a new certificate for *site* where it is ours to make, to be loaded next.

        Fails with `CertificateUnavailable`.
        """
        if site.certificates != "files":
            self.authority.renew(site.names, now)

    def _from_folder(self, site: Site, name: str, now: float) -> Loaded:
        # Looked for before it is read: what changes in between is found by the next look.
        place = self.folders.find(site.name, name)
        path = os.path.join(place.folder, CERTIFICATE)
        try:
            credentials = self.folders.load(place, site.name, name, now)
            return self._made(credentials, place.watched, path, warn_at=credentials.warn_at)
        except CertificateUnavailable as error:
            return Loaded(place.watched, fault=str(error))

    def _from_authority(self, site: Site, now: float) -> Loaded:
        path = self.authority.path(site.name)
        try:
            issued = self.authority.issue(site.names, now)
            watched = self._watched(path)
            made = self._made(
                issued.credentials, watched, path, renew_at=issued.renew_at, fault=issued.fault
            )
        except CertificateUnavailable as error:
            return Loaded(self._watched(path), fault=str(error))
        return made

    def _watched(self, path: str) -> Watched:
        # The root too: who takes it away wants new certificates from a new one.
        return tuple((file, stamp(file)) for file in (path, self.authority.secret))

    def _made(
        self,
        credentials: Credentials,
        watched: Watched,
        path: str,
        warn_at: float = NEVER,
        renew_at: float = NEVER,
        fault: str = "",
    ) -> Loaded:
        return Loaded(
            watched,
            make_context(credentials, self.harden, path),
            credentials.names,
            credentials.not_after,
            warn_at,
            renew_at,
            path,
            fault,
        )
