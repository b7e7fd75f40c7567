"""From a site to a context, whatever its certificate's source.

Runs in a thread, and blocks. Loading must never raise: what is wrong comes back in words,
together with the files that must change before another try can end otherwise.
"""

from __future__ import annotations

import hashlib
import os

from attrs import evolve, frozen
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL

from snickers.config.values import NEVER, Site
from snickers.disk import Watched, stamp
from snickers.tls.authority import Authority
from snickers.tls.contexts import Harden, make_context
from snickers.tls.credentials import CertificateUnavailable, Credentials, common_name
from snickers.tls.folders import CERTIFICATE, Folders
from snickers.tls.ordered import Ordered


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
    source: str = ""
    """Where it comes from, in words: ``files``, ``internal``, ``acme``; or what stands in for it
    and why, such as ``internal (acme: none yet)``."""
    stand_in: bool = False
    """It is less than what the site asks for: what was in use before may be better."""
    issuer: str = ""
    """Who has signed it, for a person."""
    mark: bytes = b""
    """The same only for the same chain, whose key is then the same, too."""


@frozen(eq=False)
class Loader:
    """Loads the certificates of sites."""

    authority: Authority
    folders: Folders
    ordered: Ordered
    harden: Harden

    def load(self, site: Site, name: str, now: float) -> Loaded:
        """Return the certificate for *name*, one of the names of *site*, as good as it can be had.

        *now* is epoch seconds.
        """
        if site.certificates == "files":
            return self._from_folder(site, name, now)
        if site.certificates == "acme":
            return self._from_order(site, name, now)
        return self._from_authority(site, now)

    def renew(self, site: Site, now: float) -> None:
        """Make a new certificate for *site* where it is ours to make, to be loaded next.

        Fails with `CertificateUnavailable`.
        """
        if site.certificates == "internal":
            self.authority.renew(site.names, now)

    def _from_folder(self, site: Site, name: str, now: float) -> Loaded:
        # Looked for before it is read: what changes in between is found by the next look.
        place = self.folders.find(site.name, name)
        path = os.path.join(place.folder, CERTIFICATE)
        try:
            credentials = self.folders.load(place, site.name, name, now)
            return self._made(
                credentials,
                place.watched,
                path,
                warn_at=credentials.warn_at,
                source="files",
            )
        except CertificateUnavailable as error:
            return Loaded(place.watched, fault=str(error), source="files")

    def _from_order(self, site: Site, name: str, now: float) -> Loaded:
        found = self.ordered.find(site.name, name, now)
        lack, fault = found.lack, found.fault
        if found.credentials is not None:
            try:
                return self._made(
                    found.credentials,
                    found.watched,
                    found.path,
                    # Who renews it tells when that fails.
                    renew_at=found.credentials.not_after,
                    fault=fault,
                    source="acme",
                )
            except CertificateUnavailable as error:
                lack, fault = "at fault", str(error)
        # No visitor waits for an authority on the network.
        loaded = self._from_authority(site, now)
        return evolve(
            loaded,
            watched=(*found.watched, *loaded.watched),
            fault="; ".join(filter(None, (fault, loaded.fault))),
            source=f"internal (acme: {lack})",
            stand_in=True,
        )

    def _from_authority(self, site: Site, now: float) -> Loaded:
        path = self.authority.path(site.name)
        try:
            issued = self.authority.issue(site.names, now)
            watched = self._watched(path)
            made = self._made(
                issued.credentials,
                watched,
                path,
                renew_at=issued.renew_at,
                fault=issued.fault,
                source="internal",
            )
        except CertificateUnavailable as error:
            return Loaded(self._watched(path), fault=str(error), source="internal")
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
        source: str = "",
    ) -> Loaded:
        mark = hashlib.sha256(b"".join(c.fingerprint(SHA256()) for c in credentials.chain))
        return Loaded(
            watched,
            make_context(credentials, self.harden, path),
            credentials.names,
            credentials.not_after,
            warn_at,
            renew_at,
            path,
            fault,
            source,
            issuer=common_name(credentials.chain[0].issuer),
            mark=mark.digest(),
        )
