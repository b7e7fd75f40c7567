"""Certificates that an authority on the network has signed, as they are stored: who uses them.

Whoever orders them replaces ``STATE/acme/certificates/SITE.pem`` whole, the key and then the chain,
the site's own certificate first, and keeps what was there before as ``SITE.previous.pem``. Reads
only, and only in a thread, for it blocks. Must never use a key that others could have read, nor
take for a failure what is only not there yet.
"""

from __future__ import annotations

import os

from attrs import frozen

from snickers.disk import Watched, read, stamp
from snickers.tls.credentials import (
    CertificateUnavailable,
    Credentials,
    join,
    read_certificates,
    read_key,
    spoken,
)
from snickers.tls.folders import key_fault


@frozen(eq=False)
class Found:
    """What there is for a name."""

    watched: Watched
    """What must change before another look can find something else."""
    path: str
    credentials: Credentials | None = None
    """``None``: there is nothing that could be shown for the name."""
    lack: str = ""
    """Why not, in a few words, such as ``"none yet"``."""
    fault: str = ""
    """What the owner should hear; it may be so with credentials too."""


class _NotThere(Exception):
    """There is no such file, which is nothing wrong."""


def file_name(site: str) -> str:
    """Return what files of the site *site* begin with: a wildcard's star would be the shell's, and
    ``HOST.previous`` another site's certificate of before. No host has an underscore."""
    name = f"_wildcard.{site[2:]}" if site.startswith("*.") else site
    return f"{name}_" if name.endswith(".previous") else name


class Ordered:
    """The ordered certificates in *folder*."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, site: str) -> str:
        """Return the file of the site *site*."""
        return os.path.join(self.folder, f"{file_name(site)}.pem")

    def previous(self, site: str) -> str:
        """Return the file with what was replaced last."""
        return os.path.join(self.folder, f"{file_name(site)}.previous.pem")

    def find(self, site: str, name: str, now: float) -> Found:
        """Return what may be shown for *name*, one of the names of *site*, at *now*.

        That is what is in the site's file; where that is missing or cannot be used, what was
        there before it.
        """
        path, previous = self.path(site), self.previous(site)
        # Looked for before it is read: what changes in between is found by the next look.
        watched = tuple((file, stamp(file)) for file in (path, previous))
        try:
            credentials = _read(path)
        except _NotThere:
            lack, fault = "none yet", ""
        except CertificateUnavailable as error:
            lack, fault = "at fault", f"{error}; a new one is ordered by: snickers renew {site}"
        else:
            lack, fault = _unfit(credentials, name, now, path)
            return Found(watched, path, None if lack else credentials, lack, fault)
        try:
            credentials = _read(previous)
        except (_NotThere, CertificateUnavailable):
            return Found(watched, path, None, lack, fault)
        if _unfit(credentials, name, now, previous)[0]:
            return Found(watched, path, None, lack, fault)
        return Found(watched, previous, credentials, "", fault)


def _read(path: str) -> Credentials:
    try:
        content = read(path)
    except FileNotFoundError:
        raise _NotThere from None
    except OSError as error:
        raise CertificateUnavailable(f"{path}: it cannot be read: {error.strerror}") from None
    if fault := key_fault(content, path):
        raise CertificateUnavailable(fault)
    return join(read_key(content.data, path), read_certificates(content.data, path), path)


def _unfit(credentials: Credentials, name: str, now: float, path: str) -> tuple[str, str]:
    """Return why *credentials* may not be shown for *name* at *now*, in a few words and, where its
    owner should hear of it, in more; empty where they may be."""
    if now >= credentials.not_after:
        return "expired", (
            f"{path}: the certificate expired at {spoken(credentials.not_after)} and was not "
            "renewed: `snickers certs` says what is in the way"
        )
    if now < credentials.not_before:
        return "not valid yet", (
            f"{path}: the certificate is not valid before {spoken(credentials.not_before)}, and "
            f"this host's clock says {spoken(now)}: set the clock"
        )
    # Not a fault: a name that was just added has its certificate when that has been ordered.
    return ("" if credentials.covers(name) else f"not for {name} yet"), ""
