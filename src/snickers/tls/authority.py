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
from datetime import UTC, datetime

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from snickers.tls.credentials import (
    CertificateUnavailable,
    Credentials,
    PrivateKey,
    join,
    public_bytes,
    public_of,
    read_certificates,
    read_key,
    spoken,
)
from snickers.tls.disk import Content, locked, make_folder, read, replace

DAY = 86400.0

ROOT_LIFE = 3650 * DAY
ROOT_RENEW = 365 * DAY
"""How long before its end a root is followed by a new one: time for people to spread it."""
ROOT_BACKDATE = 7 * DAY
"""A clock that is set back by some days must not make the root one of the future."""

SITE_LIFE = 90 * DAY
SITE_BACKDATE = 3600.0
"""For clients whose clock is behind."""
RENEW_SHARE = 1 / 3
"""Renewed when this share of its life is left."""

COMMON_NAME_LIMIT = 64
"""Characters of a common name (RFC 5280, ub-common-name)."""


@frozen(eq=False)
class Root:
    """What signs."""

    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate
    cross: x509.Certificate | None
    """The same key vouched for by the forerunner: clients that only know that one follow it."""
    older: tuple[x509.Certificate, ...]
    """Forerunners, newest first."""


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


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(int(epoch), UTC)


def _end(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _key_id(certificate: x509.Certificate) -> bytes:
    """Return what marks the key of *certificate*; a root from elsewhere may not say."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    return found.value.digest


def _issuer_id(certificate: x509.Certificate) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return found.value.key_identifier


def _hash(key: PrivateKey) -> hashes.SHA256 | None:
    """Return what *key* signs: the curves of Edwards have a hash of their own."""
    own = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return None if own else hashes.SHA256()


def _usage(signs: bool) -> x509.KeyUsage:
    """What the key is for: signing certificates, or handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_certificate(
    subject: x509.Name,
    key: PrivateKey,
    issuer: x509.Name,
    signer: PrivateKey,
    signer_id: bytes,
    begin: float,
    end: float,
    below: int,
) -> x509.Certificate:
    """Return a certificate of an authority (RFC 5280 section 4.2.1); *below*: path length."""
    mark = x509.AuthorityKeyIdentifier(signer_id, None, None)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(_moment(begin))
        .not_valid_after(_moment(end))
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(mark, False)
        .sign(signer, _hash(signer))
    )


def new_root(old: Root | None, now: float) -> Root:
    """Return a new root, vouched for by the *old* one as long as that is valid."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Two roots of the same name would send clients to the wrong one.
    mark = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Snickers"),
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"Snickers internal authority {mark.hex()[:8]}"
            ),
        ]
    )
    begin, end = now - ROOT_BACKDATE, now - ROOT_BACKDATE + ROOT_LIFE
    # A path length of 1 leaves room for the cross certificate of the root that will follow.
    certificate = _authority_certificate(name, key, name, key, mark, begin, end, 1)
    if old is None:
        return Root(key, certificate, None, ())
    older = tuple(c for c in (old.certificate, *old.older) if _end(c) > now)
    cross = None
    if _end(old.certificate) > now:
        until = min(end, _end(old.certificate))
        above = old.certificate.subject
        above_id = _key_id(old.certificate)
        cross = _authority_certificate(name, key, above, old.key, above_id, begin, until, 0)
    return Root(key, certificate, cross, older)


def new_pair(root: Root, names: tuple[str, ...], now: float) -> Credentials:
    """Return a new key and its certificate for *names*, signed by *root*."""
    key = ec.generate_private_key(ec.SECP256R1())
    short = [name for name in names[:1] if len(name) <= COMMON_NAME_LIMIT]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in short])
    begin = now - SITE_BACKDATE
    end = min(begin + SITE_LIFE, _end(root.certificate))
    mark = x509.AuthorityKeyIdentifier(_key_id(root.certificate), None, None)
    hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    certificate = (
        x509.CertificateBuilder(
            root.certificate.subject, subject, key.public_key(), x509.random_serial_number()
        )
        .not_valid_before(_moment(begin))
        .not_valid_after(_moment(end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        # Critical where nothing else names the subject (RFC 5280 section 4.2.1.6).
        .add_extension(hosts, critical=not list(subject))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(mark, False)
        .sign(root.key, _hash(root.key))
    )
    cross = [root.cross] if root.cross is not None and _end(root.cross) > now else []
    return join(key, [certificate, *cross], "")


def renew_at(credentials: Credentials) -> float:
    """Return the epoch second from which on *credentials* should be made anew."""
    return credentials.not_after - credentials.life * RENEW_SHARE


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
        known = {_key_id(c) for c in (root.certificate, *root.older)}
        return (
            stored.not_before <= now < renew_at(stored)
            and set(stored.names) == set(names)
            and _issuer_id(stored.chain[0]) in known
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
                replace(path, _key_pem(made.key) + _pem(made.chain), 0o600)
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
            if root is None or _end(root.certificate) - now < ROOT_RENEW:
                root = self._renew_root(now)
            self._copy(self.trust, [root.certificate, *(c for c in root.older if _end(c) > now)])
        except OSError as error:
            fault = (
                f"{error.filename or self.secret}: the internal authority's root cannot be "
                f"read or stored: {error.strerror}"
            )
            alive = root is not None and now < _end(root.certificate)
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
            if old is not None and _end(old.certificate) - now >= ROOT_RENEW:
                return old  # somebody else was first
            root = new_root(old, now)
            cross = [] if root.cross is None else [root.cross]
            data = _key_pem(root.key) + _pem([root.certificate, *cross, *root.older])
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
        data = _pem(certificates)
        with suppress(OSError):
            if read(path).data == data:
                return
        with suppress(OSError), locked(os.path.join(os.path.dirname(path), "lock")):
            replace(path, data, 0o644)
