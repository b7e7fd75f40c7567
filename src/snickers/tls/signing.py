"""What the internal authority signs: its root, the root that follows it, sites' certificates.

No file, no clock: a time comes in, keys and certificates go out. Must never make two roots of one
name, nor a root that the clients of the one before it could not follow (RFC 5280).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from snickers.tls.credentials import Credentials, PrivateKey, join

DAY = 86400.0
"""Seconds, as are all that follow."""

ROOT_LIFE = 3650 * DAY
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


def moment(epoch: float) -> datetime:
    """Return epoch seconds as X.509 counts them, in whole ones."""
    return datetime.fromtimestamp(int(epoch), UTC)


def end_of(certificate: x509.Certificate) -> float:
    """Return the last moment it is valid, in epoch seconds."""
    return certificate.not_valid_after_utc.timestamp()


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return *certificates* as PEM text, in this order."""
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def key_pem(key: PrivateKey) -> bytes:
    """Return *key* as PEM text, unlocked: whoever reads it has it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def key_id(certificate: x509.Certificate) -> bytes:
    """Return what marks the key of *certificate*; a root from elsewhere may not say."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    return found.value.digest


def issuer_id(certificate: x509.Certificate) -> bytes | None:
    """Return what marks the key that has signed *certificate*; ``None``: it does not say."""
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


def authority_certificate(
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
        .not_valid_before(moment(begin))
        .not_valid_after(moment(end))
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
    certificate = authority_certificate(name, key, name, key, mark, begin, end, 1)
    if old is None:
        return Root(key, certificate, None, ())
    older = tuple(c for c in (old.certificate, *old.older) if end_of(c) > now)
    cross = None
    if end_of(old.certificate) > now:
        until = min(end, end_of(old.certificate))
        above = old.certificate.subject
        above_id = key_id(old.certificate)
        cross = authority_certificate(name, key, above, old.key, above_id, begin, until, 0)
    return Root(key, certificate, cross, older)


def new_pair(root: Root, names: tuple[str, ...], now: float) -> Credentials:
    """Return a new key and its certificate for *names*, signed by *root*."""
    key = ec.generate_private_key(ec.SECP256R1())
    short = [name for name in names[:1] if len(name) <= COMMON_NAME_LIMIT]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in short])
    begin = now - SITE_BACKDATE
    end = min(begin + SITE_LIFE, end_of(root.certificate))
    mark = x509.AuthorityKeyIdentifier(key_id(root.certificate), None, None)
    hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    certificate = (
        x509.CertificateBuilder(
            root.certificate.subject, subject, key.public_key(), x509.random_serial_number()
        )
        .not_valid_before(moment(begin))
        .not_valid_after(moment(end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        # Critical where nothing else names the subject (RFC 5280 section 4.2.1.6).
        .add_extension(hosts, critical=not list(subject))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(mark, False)
        .sign(root.key, _hash(root.key))
    )
    cross = [root.cross] if root.cross is not None and end_of(root.cross) > now else []
    return join(key, [certificate, *cross], "")


def renew_at(credentials: Credentials) -> float:
    """Return the epoch second from which on *credentials* should be made anew."""
    return credentials.not_after - credentials.life * RENEW_SHARE
