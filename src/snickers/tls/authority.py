"""The internal authority: certificates for sites that no public authority vouches for.

Everything is in one folder, open to its owner alone. The truth about the root is the one file
``ca-key.pem`` (its key, its certificate, and those of its forerunners), the truth about a site
the one file ``sites/HOST/key.pem`` (key, certificate, chain), each replaced whole: a crash
leaves the old pair or the new one. ``ca.pem``, which clients are to trust, and
``sites/HOST/cert.pem`` are copies for people and other programs, mended when they differ.

Must never replace a root that it merely cannot read, for every client's trust hangs on it, and
must never let two processes make the same thing twice. Everything here blocks: call it in a
thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from attrs import frozen
from cryptography import x509

from snickers.disk import Content, locked, make_folder, read, replace
from snickers.tls.credentials import (
    CertificateUnavailable,
    Credentials,
    join,
    public_bytes,
    public_of,
    read_certificates,
    read_key,
    spoken,
)
from snickers.tls.signing import (
    DAY,
    Root,
    end_of,
    issuer_id,
    key_id,
    key_pem,
    new_pair,
    new_root,
    pem,
    renew_at,
)

ROOT_RENEW = 365 * DAY
"""Seconds before its end a root is followed by a new one: time for people to spread it."""


@frozen(eq=False)
class Issued:
    """A site's certificate from the internal authority."""

    credentials: Credentials
    renew_at: float
    """Epoch seconds from which on it should be asked for again."""
    fault: str = ""
    """Why it could not be renewed, or is in doubt, in words; it may be used all the same."""


def folder_name(name: str) -> str:
    """Return the folder of the host *name*: a wildcard's star would be the shell's."""
    return f"_{name[1:]}" if name.startswith("*") else name


class Authority:
    """The internal authority whose files are in *folder*."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.trust = os.path.join(folder, "ca.pem")
        """What clients are to trust: the root, and its forerunners until their end."""
        self.secret = os.path.join(folder, "ca-key.pem")
        """The root's key and certificate, and its forerunners' certificates."""
        self._sites = os.path.join(folder, "sites")

    def path(self, name: str) -> str:
        """Return the file that holds the key and certificate of the site *name*."""
        return os.path.join(self._sites, folder_name(name), "key.pem")

    def root(self, now: float) -> Root:
        """Return the root, made or followed by a new one where it is time.

        Fails with `CertificateUnavailable`.
        """
        found, fault = self._root(now)
        if found is None:
            raise CertificateUnavailable(fault)
        return found

    def issue(self, names: tuple[str, ...], now: float) -> Issued:
        """Return the certificate of the site whose names are *names*, its own first.

        What is stored is used as long as it is valid, for these names, and far from its end;
        else it is made anew. When that fails the stored one goes on being used, with the fault
        in words, while it is valid at all. Fails with `CertificateUnavailable`.
        """
        root, fault = self._root(now)
        stored = self._stored(names[0])
        if root is None:
            return self._fallback(stored, now, fault)
        if stored is None or not self._fresh(stored, root, names, now):
            try:
                stored = self._make(root, names, now, stored)
            except CertificateUnavailable as error:
                return self._fallback(stored, now, str(error))
        self._copy(os.path.join(os.path.dirname(self.path(names[0])), "cert.pem"), stored.chain)
        return Issued(stored, renew_at(stored), fault)

    def renew(self, names: tuple[str, ...], now: float) -> None:
        """Make a new certificate in place of the stored one, however fresh that is.

        Fails with `CertificateUnavailable`, with the stored one in place.
        """
        self._make(self.root(now), names, now, self._stored(names[0]))

    def _fallback(self, stored: Credentials | None, now: float, fault: str) -> Issued:
        if stored is None or not stored.not_before <= now < stored.not_after:
            raise CertificateUnavailable(fault)
        # Nothing will have changed in the folder when it can be written again: ask again soon.
        return Issued(stored, now, fault)

    def _fresh(self, stored: Credentials, root: Root, names: tuple[str, ...], now: float) -> bool:
        known = {key_id(c) for c in (root.certificate, *root.older)}
        return (
            stored.not_before <= now < renew_at(stored)
            and set(stored.names) == set(names)
            and issuer_id(stored.chain[0]) in known
        )

    def _stored(self, name: str) -> Credentials | None:
        """Return what is stored for *name*, ``None`` when it is nothing that can be used."""
        path = self.path(name)
        try:
            content = read(path)
            if content.mode & 0o077:
                return None  # others may have read it: a new key costs nothing
            return join(read_key(content.data, path), read_certificates(content.data, path), path)
        except (OSError, CertificateUnavailable):
            return None

    def _make(
        self, root: Root, names: tuple[str, ...], now: float, before: Credentials | None
    ) -> Credentials:
        """Make the successor of *before*, unless somebody else makes it at the same time."""
        path = self.path(names[0])
        folder = os.path.dirname(path)
        try:
            make_folder(folder)
            with locked(os.path.join(folder, "lock")):
                stored = self._stored(names[0])
                same = before is not None and stored is not None and stored.chain == before.chain
                if stored is not None and not same and self._fresh(stored, root, names, now):
                    return stored
                made = new_pair(root, names, now)
                replace(path, key_pem(made.key) + pem(made.chain), 0o600)
        except OSError as error:
            raise CertificateUnavailable(
                f"{error.filename or path}: the certificate of {names[0]} cannot be stored: "
                f"{error.strerror}"
            ) from None
        return made

    def _root(self, now: float) -> tuple[Root | None, str]:
        """Return the root, if there is one that can be used, and what is wrong, in words."""
        root = None
        try:
            root = self._read_root()
            if root is None or end_of(root.certificate) - now < ROOT_RENEW:
                root = self._renew_root(now)
            self._copy(self.trust, [root.certificate, *(c for c in root.older if end_of(c) > now)])
        except OSError as error:
            fault = (
                f"{error.filename or self.secret}: the internal authority's root cannot be "
                f"read or stored: {error.strerror}"
            )
            alive = root is not None and now < end_of(root.certificate)
            return (root if alive else None), fault
        except CertificateUnavailable as error:
            return None, str(error)
        begin = root.certificate.not_valid_before_utc.timestamp()
        if now < begin:
            return root, (
                f"{self.secret}: the internal authority's root is not valid before "
                f"{spoken(begin)}, and this host's clock says {spoken(now)}: set the clock, or "
                "move the file away to have a new root that no client trusts yet"
            )
        return root, ""

    def _renew_root(self, now: float) -> Root:
        make_folder(self.folder)
        with locked(os.path.join(self.folder, "lock")):
            old = self._read_root()
            if old is not None and end_of(old.certificate) - now >= ROOT_RENEW:
                return old  # somebody else was first
            root = new_root(old, now)
            cross = [] if root.cross is None else [root.cross]
            data = key_pem(root.key) + pem([root.certificate, *cross, *root.older])
            replace(self.secret, data, 0o600)
        return root

    def _read_root(self) -> Root | None:
        """Return the stored root, ``None`` when there is none.

        Fails with `CertificateUnavailable` when there is one that must not, or cannot, be used.
        """
        path = self.secret
        try:
            content = read(path)
        except FileNotFoundError:
            return None
        if content.mode & 0o077:
            raise CertificateUnavailable(
                f"{path}: others can read the internal authority's key: chmod 600 {path}"
            )
        return self._parse_root(content)

    def _parse_root(self, content: Content) -> Root:
        path = self.secret
        try:
            key = read_key(content.data, path)
            certificates = read_certificates(content.data, path)
        except CertificateUnavailable as error:
            raise CertificateUnavailable(
                f"{error}; bring the file back from a backup, or move it away to have a new root "
                "that no client trusts yet"
            ) from None
        public = public_bytes(key.public_key())
        own = [c for c in certificates if public_of(c) == public]
        selves = [c for c in own if c.subject == c.issuer]
        if not selves:
            raise CertificateUnavailable(
                f"{path}: the root's certificate is missing behind its key: bring the file back "
                "from a backup, or move it away to have a new root that no client trusts yet"
            )
        crosses = [c for c in own if c.subject != c.issuer]
        return Root(
            key,
            selves[0],
            crosses[0] if crosses else None,
            tuple(c for c in certificates if c not in own),
        )

    def _copy(self, path: str, certificates: Iterable[x509.Certificate]) -> None:
        """Have *path* hold *certificates*; a copy that cannot be written harms nobody."""
        data = pem(certificates)
        with suppress(OSError):
            if read(path).data == data:
                return
        with suppress(OSError), locked(os.path.join(os.path.dirname(path), "lock")):
            replace(path, data, 0o644)
