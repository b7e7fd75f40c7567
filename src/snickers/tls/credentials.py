"""A certificate, its chain and its key, checked: what may be shown to a browser.

Pure: bytes and a time in, a value or words about what is wrong out. Must never let a pair
through that a browser would refuse for a reason that can be seen here, and never put anything
of a key into words.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

PrivateKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

WARN_SHARE = 1 / 5
WARN_MOST = 14 * 86400.0
"""A certificate that nobody renewed is told of when less than a fifth of its life, and less than
14 days, is left. Everybody renews at a third: a fifth means that renewing has failed; and a
certificate of a year should not alarm for ten weeks."""


MALFORMED = (
    ValueError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What a certificate fails with when it is looked at and is not as it should be (RFC 5280)."""


class CertificateUnavailable(Exception):
    """There is no certificate to show; the text says in words for the owner why not."""


@frozen(eq=False)
class Credentials:
    """A certificate whose key we hold."""

    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    """The certificate itself first, then those that lead to, but are not, a root."""
    names: tuple[str, ...]
    """Its DNS names, lower case, as in the certificate."""
    not_before: float
    """Epoch seconds."""
    not_after: float
    """Epoch seconds."""

    @property
    def life(self) -> float:
        """Seconds from the first to the last moment it is valid."""
        return self.not_after - self.not_before

    @property
    def warn_at(self) -> float:
        """When, in epoch seconds, its owner should hear that it was not renewed."""
        return self.not_after - min(self.life * WARN_SHARE, WARN_MOST)

    def covers(self, name: str) -> bool:
        """Whether it is valid for the host *name*, or for all hosts of the wildcard *name*.

        RFC 9525 section 6.3: a wildcard stands for exactly one whole left-most label.
        """
        return covers(self.names, name)


def covers(names: Sequence[str], name: str) -> bool:
    """Whether a certificate for *names* is valid for the host *name*: see `Credentials.covers`."""
    return name in names or f"*.{name.partition('.')[2]}" in names


def common_name(name: x509.Name) -> str:
    """Return what people call the one that is *name*: organization and common name, once each."""
    found = [
        str(attribute.value)
        for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        for attribute in name.get_attributes_for_oid(kind)[:1]
    ]
    if len(found) == 2 and found[1].startswith(found[0]):
        del found[0]
    return " ".join(found) or name.rfc4514_string()


def spoken(epoch: float) -> str:
    """Return the moment in words, such as ``2026-03-01 12:00 UTC``."""
    try:
        return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "an impossible time"


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names of *certificate*, lower case; its common name counts for nothing."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in names.value.get_values_for_type(x509.DNSName))


def public_bytes(key: Any) -> bytes:
    """Return what two public keys have in common only when they are the same."""
    return bytes(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def public_of(certificate: x509.Certificate) -> bytes:
    """Return what `public_bytes` returns of the certificate's key; nothing of an unknown kind."""
    try:
        return public_bytes(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return b""


def read_key(data: bytes, path: str) -> PrivateKey:
    """Return the private key in the PEM text *data*; *path* is for the words alone."""
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError:
        raise CertificateUnavailable(
            f"{path}: the key is locked by a passphrase, and nobody is there to type it: "
            "store it without, with `openssl pkey`"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateUnavailable(
            f"{path}: no private key can be read from it; a PEM file that holds a line "
            "`-----BEGIN PRIVATE KEY-----` would be right"
        ) from None
    if not isinstance(key, PrivateKey):
        raise CertificateUnavailable(
            f"{path}: this kind of key cannot be used for TLS; ECDSA P-256 would be right"
        )
    return key


def read_certificates(data: bytes, path: str) -> list[x509.Certificate]:
    """Return the certificates in the PEM text *data*; *path* is for the words alone."""
    try:
        return x509.load_pem_x509_certificates(data)
    except MALFORMED:
        raise CertificateUnavailable(
            f"{path}: no certificate can be read from it; a PEM file that holds a line "
            "`-----BEGIN CERTIFICATE-----` would be right"
        ) from None


def join(key: PrivateKey, certificates: list[x509.Certificate], path: str) -> Credentials:
    """Return the key with its own certificate and the rest as the chain.

    Fails with `CertificateUnavailable` when none of *certificates* is the key's.
    """
    public = public_bytes(key.public_key())
    try:
        mine = [c for c in certificates if public_of(c) == public]
        if not mine:
            raise CertificateUnavailable(
                f"{path}: the certificate and the key beside it do not belong together"
            )
        leaf = mine[0]
        # A root is left out: whoever trusts it has it (RFC 8446 section 4.4.2).
        rest = [c for c in certificates if c != leaf and c.subject != c.issuer]
        return Credentials(
            key,
            (leaf, *dict.fromkeys(rest)),
            dns_names(leaf),
            leaf.not_valid_before_utc.timestamp(),
            leaf.not_valid_after_utc.timestamp(),
        )
    except MALFORMED as error:
        raise CertificateUnavailable(f"{path}: the certificate cannot be used: {error}") from None


def check(credentials: Credentials, name: str, now: float, path: str) -> None:
    """Fail with `CertificateUnavailable` unless *credentials* may be shown for *name* at *now*."""
    if now >= credentials.not_after:
        raise CertificateUnavailable(
            f"{path}: the certificate expired at {spoken(credentials.not_after)}: put a new one "
            "and its key there"
        )
    if now < credentials.not_before:
        raise CertificateUnavailable(
            f"{path}: the certificate is not valid before {spoken(credentials.not_before)}, and "
            f"this host's clock says {spoken(now)}: one of the two is wrong"
        )
    if not credentials.covers(name):
        has = ", ".join(credentials.names[:10]) or "no host at all"
        raise CertificateUnavailable(
            f"{path}: the certificate is not for {name}, it is for {has}: one that names {name} "
            "would be right"
        )
