"""A certificate that somebody brings along: what is wrong with it, before a visitor finds out.

Pure: the texts of files, names and a time in; what may be shown, or every reason why not, out. It
puts right what can only have been meant one way, such as the order of the chain (RFC 8446 section
4.4.2), and says so. Must never let through what browsers would refuse for a reason that can be
seen here, and never put anything of a key into words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from snickers.interfaces.certificates import Submitted
from snickers.tls.credentials import (
    MALFORMED,
    CertificateUnavailable,
    Credentials,
    PrivateKey,
    common_name,
    covers,
    dns_names,
    public_bytes,
    public_of,
    read_certificates,
    read_key,
    spoken,
)

T = TypeVar("T")
Roots = Callable[[x509.Name], Sequence[x509.Certificate]]

LEAST_RSA = 2048
"""Bits: what browsers ask for, and every authority has since 2014."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@frozen(eq=False)
class Examined:
    """What came out."""

    credentials: Credentials | None = None
    """``None``: there are problems. Its chain is whole, in order, and has no root."""
    problems: tuple[str, ...] = ()
    """In words, each with what would be right."""
    notes: tuple[str, ...] = ()
    """What was put right, or is to be known."""


class _Wrong(Exception):
    """A problem that leaves nothing else to be looked at."""


def examine(submitted: Submitted, names: Sequence[str], now: float, roots: Roots) -> Examined:
    """Examine what was *submitted* for the hosts *names*. *now*: epoch seconds; *roots* returns
    those of a name that this host trusts."""
    problems: list[str] = []
    notes: list[str] = []
    given = _collect(problems, lambda: _given(submitted))
    key = _collect(problems, lambda: _key(submitted))
    if key is None or given is None:
        return Examined(problems=tuple(problems))
    try:
        leaf = _leaf(key, given, submitted, notes)
    except _Wrong as wrong:
        return Examined(problems=(str(wrong),))
    chain = _chain(leaf, given, roots, submitted, problems, notes)
    path = submitted.paths[0]
    problems += _of_leaf(leaf, names, now, path)
    problems += _of_key(key, submitted.paths[1])
    for certificate in chain[1:]:
        problems += _of_authority(certificate, now)
    if problems:
        return Examined(problems=tuple(problems), notes=tuple(notes))
    credentials = Credentials(key, tuple(chain), dns_names(leaf), *_life(leaf))
    if now >= credentials.warn_at:
        notes.append(f"{path}: it is valid until {spoken(credentials.not_after)} only")
    return Examined(credentials, notes=tuple(notes))


def _collect(problems: list[str], read: Callable[[], T]) -> T | None:
    """Return what *read* returns; what is wrong becomes one of the *problems*."""
    try:
        return read()
    except (_Wrong, CertificateUnavailable) as wrong:
        problems.append(str(wrong))
        return None


# What the files hold


def _labels(data: bytes) -> list[bytes]:
    return [found[1] for found in _BLOCK.finditer(data)]


def _blocks(data: bytes, ending: bytes) -> bytes:
    """Return the PEM blocks in *data* whose label has this *ending*."""
    return b"\n".join(f[0] for f in _BLOCK.finditer(data) if f[1].endswith(ending)) + b"\n"


def _key(submitted: Submitted) -> PrivateKey:
    path = submitted.paths[1]
    labels = _labels(submitted.key)
    if labels and not any(label.endswith(b"PRIVATE KEY") for label in labels):
        raise _Wrong(
            f"{path}: there is no key in it but {_called(labels)}: the certificate comes first, "
            "then the key"
        )
    data = _blocks(submitted.key, b"PRIVATE KEY") if labels else submitted.key
    if not labels and submitted.key[:1] == b"\x30":
        raise _Wrong(f"{path}: it is not PEM but DER: turn it with `openssl pkey -in {path}`")
    return read_key(data, path)


def _given(submitted: Submitted) -> list[x509.Certificate]:
    """Return all certificates in the files, each once, in their order."""
    given = _certificates(submitted.certificate, submitted.paths[0])
    if submitted.chain:
        given += _certificates(submitted.chain, submitted.paths[2])
    return list(dict.fromkeys(given))


def _certificates(data: bytes, path: str) -> list[x509.Certificate]:
    labels = _labels(data)
    if not labels and data[:1] == b"\x30":
        raise _Wrong(
            f"{path}: it is not PEM but DER: turn it with `openssl x509 -in {path}` (or, when it "
            f"ends in .p12 or .pfx, `openssl pkcs12 -in {path}`)"
        )
    if labels and b"CERTIFICATE" not in labels:
        raise _Wrong(
            f"{path}: there is no certificate in it but {_called(labels)}: a file with a line "
            "`-----BEGIN CERTIFICATE-----` would be right"
        )
    certificates = read_certificates(data, path)
    for certificate in certificates:
        try:
            # All of them are taken apart here, and found good, before anything is asked of them.
            _ = certificate.extensions
        except MALFORMED as error:
            raise _Wrong(f"{path}: a certificate in it is damaged: {error}") from None
    return certificates


def _called(labels: Iterable[bytes]) -> str:
    """Return what PEM blocks with such *labels* are, for a person."""
    words = []
    for label in labels:
        if label.endswith(b"REQUEST"):
            words.append("a request for a certificate")
        elif label.endswith(b"PRIVATE KEY"):
            words.append("a key")
        elif label == b"CERTIFICATE":
            words.append("a certificate")
        else:
            words.append(label.decode("ascii").lower())
    return ", ".join(dict.fromkeys(words))


# Which of them is the site's, and what leads from it to a root


def _said(certificate: x509.Certificate) -> str:
    """Return what to call *certificate*: by its subject, or its first name."""
    names = dns_names(certificate)
    return names[0] if names else common_name(certificate.subject)


def _leaf(
    key: PrivateKey, given: Sequence[x509.Certificate], submitted: Submitted, notes: list[str]
) -> x509.Certificate:
    public = public_bytes(key.public_key())
    mine = [certificate for certificate in given if public_of(certificate) == public]
    if not mine:
        raise _Wrong(
            f"{submitted.paths[1]}: the key does not belong to the certificate of "
            f"{_said(given[0])} in {submitted.paths[0]}: the key that its request was made with "
            "would be right"
        )
    if mine[0] != given[0]:
        notes.append(
            f"{submitted.paths[0]}: the certificate of {_said(mine[0])} was not the first; it is "
            "put first"
        )
    return mine[0]


def _has_signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _is_root(certificate: x509.Certificate) -> bool:
    """Whether it has signed itself: that it has its issuer's name is not enough."""
    return certificate.subject == certificate.issuer and _has_signed(certificate, certificate)


def _chain(
    leaf: x509.Certificate,
    given: Sequence[x509.Certificate],
    roots: Roots,
    submitted: Submitted,
    problems: list[str],
    notes: list[str],
) -> list[x509.Certificate]:
    """Return *leaf* and what leads to, but is not, a root."""
    rest = [certificate for certificate in given if certificate != leaf]
    chain = [leaf]
    used = set()
    while not _is_root(chain[-1]):
        last = chain[-1]
        above = [c for c in rest if c not in chain and c.subject == last.issuer]
        found = [c for c in above if _has_signed(c, last)]
        if found:
            chain.append(found[0])
            used.add(found[0])
        elif any(_has_signed(root, last) for root in roots(last.issuer)):
            break
        else:
            problems.append(_broken_chain(last, bool(above), submitted))
            break
    if len(chain) > 1 and _is_root(chain[-1]):
        chain.pop()  # whoever trusts a root has it
    elif _is_root(leaf):
        notes.append(
            f"{submitted.paths[0]}: it has signed itself: only who trusts it by name accepts it"
        )
    if [c for c in rest if c in chain] != chain[1:]:
        notes.append("the chain was not in its order; it is put in order")
    notes += [
        f"{_said(certificate)}: left out, since it is no part of the chain"
        for certificate in rest
        if certificate not in used
    ]
    return chain


def _broken_chain(last: x509.Certificate, named: bool, submitted: Submitted) -> str:
    issuer = common_name(last.issuer)
    if named:
        return (
            f"{_said(last)}: it was not signed by the certificate of {issuer} that was given, "
            f"though that has the name: the one that belongs to it would be right{_source(last)}"
        )
    where = submitted.paths[2] if submitted.chain else submitted.paths[0]
    return (
        f"{where}: the chain is not whole: {_said(last)} was signed by {issuer}, whose certificate "
        f"is not there, and which is no root that this host knows: give it as CHAIN, also when it "
        f"is a root of your own{_source(last)}"
    )


def _source(certificate: x509.Certificate) -> str:
    """Return where the issuer's certificate is to be had, if *certificate* says so."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return ""
    for access in found.value:
        if access.access_method == AuthorityInformationAccessOID.CA_ISSUERS:
            return f"; it is to be had at {access.access_location.value}"
    return ""


# Each by itself


def _life(certificate: x509.Certificate) -> tuple[float, float]:
    return (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def _dates(certificate: x509.Certificate, now: float, what: str) -> list[str]:
    begin, end = _life(certificate)
    if now >= end:
        return [f"{what} expired at {spoken(end)}: a newer one would be right"]
    if now < begin:
        return [
            f"{what} is not valid before {spoken(begin)}, and this host's clock says "
            f"{spoken(now)}: one of the two is wrong"
        ]
    return []


def _of_leaf(leaf: x509.Certificate, names: Sequence[str], now: float, path: str) -> list[str]:
    problems = _dates(leaf, now, f"{path}: the certificate")
    has = dns_names(leaf)
    lacking = [name for name in names if not covers(has, name)]
    if lacking and has:
        problems.append(
            f"{path}: the certificate is not for {', '.join(lacking)}; it is for "
            f"{', '.join(has[:10])}: one that has all names of the site would be right"
        )
    elif lacking:
        problems.append(
            f"{path}: the certificate names no host where browsers look (subjectAltName); it is "
            f"for {common_name(leaf.subject)}"
        )
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return problems
    except ValueError as error:
        return [*problems, f"{path}: the certificate is damaged: {error}"]
    servers = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if not any(use in usage for use in servers):
        problems.append(
            f"{path}: the certificate was not made for servers: one for TLS servers "
            "(serverAuth) would be right"
        )
    return problems


def _of_key(key: PrivateKey, path: str) -> list[str]:
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < LEAST_RSA:
        return [
            f"{path}: a key of {key.key_size} bits is too short: {LEAST_RSA}, or ECDSA P-256, "
            "would be right"
        ]
    return []


def _of_authority(certificate: x509.Certificate, now: float) -> list[str]:
    what = f"{_said(certificate)} in the chain"
    problems = _dates(certificate, now, what)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        may_sign = constraints.value.ca
    except (x509.ExtensionNotFound, ValueError):
        may_sign = False
    if not may_sign:
        problems.append(f"{what} is no authority's certificate, and may not sign others")
    return problems
