"""Keys of accounts and certificates, the requests that are made with them, and what names a
certificate to its authority.

It keeps nothing, and must never show a key in words.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

from snickers.acme.renewal import certificate_id
from snickers.tls.credentials import MALFORMED


def new_key() -> str:
    """Return a fresh private key, ECDSA P-256, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def request_for(key: str, names: Sequence[str]) -> x509.CertificateSigningRequest:
    """Return the request for a certificate of *names* with the private *key* (PEM)."""
    private = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    subject = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(subject, critical=False)
        .sign(private, hashes.SHA256())
    )


def identity_of(certificate: x509.Certificate) -> str:
    """Return what RFC 9773 calls *certificate*; ``""`` when it does not say who has signed it, or
    not as it should."""
    try:
        said = certificate.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    except (x509.ExtensionNotFound, *MALFORMED):
        return ""
    found = getattr(said.value, "key_identifier", None)
    if not found or certificate.serial_number < 0:
        return ""
    return certificate_id(found, certificate.serial_number)
