"""Certificates that a person brings along, put where ``certificates = files`` finds them.

Whatever moment a crash chooses, the folder holds a pair that can be used: the one of before or the
new one. Everything here blocks: call it in a thread. Must never write anything that was not found
good first, and never throw away what was there.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress

from cryptography import x509

from snickers.disk import keep, make_folder, read, replace
from snickers.interfaces.certificates import CertifyingFailed, Submitted, TakenIn
from snickers.tls.contexts import Harden, make_context
from snickers.tls.credentials import (
    CertificateUnavailable,
    Credentials,
    common_name,
    join,
    read_certificates,
    read_key,
)
from snickers.tls.examination import Examined, Roots, examine
from snickers.tls.folders import CERTIFICATE, CHAIN, KEY, spellings
from snickers.tls.signing import key_pem, pem

PREVIOUS = "previous.pem"
"""What was there before, key and certificates, in one file."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Somebody else may be allowed to."""


def trusted_roots(name: x509.Name) -> list[x509.Certificate]:
    """Return the roots of this *name* that this host trusts."""
    wanted = name.public_bytes()
    # Not all of them are read: some have oddities that nobody cares for in a root.
    return [
        x509.load_der_x509_certificate(data)
        for data in ssl.create_default_context().get_ca_certs(binary_form=True)
        if wanted in data
    ]


def folder_of(directory: str, host: str) -> str:
    """Return the folder of *host*, the one that is there if one is."""
    folders = [os.path.join(directory, spelling) for spelling in spellings(host)]
    return next(filter(os.path.isdir, folders), folders[-1])


def to_cover(directory: str, site: str, names: Sequence[str], host: str) -> list[str]:
    """Return those of the *names* of *site* that the certificate of *host* is to be for: the site's
    is for all that have no folder of their own."""
    if host != site:
        return [host]
    return [name for name in names if name == site or not os.path.isdir(folder_of(directory, name))]


def take_in(
    directory: str,
    site: str,
    names: Sequence[str],
    host: str,
    submitted: Submitted,
    now: float,
    harden: Harden,
    roots: Roots,
) -> TakenIn:
    """Put what was *submitted* for *host* into its folder below *directory*, if it is fit.

    Where it may not be written, what is to be done comes back. Fails with `CertifyingFailed` when
    it cannot be written for another reason, with what was there in place.
    """
    examined = examine(submitted, to_cover(directory, site, names, host), now, roots)
    credentials = examined.credentials
    if credentials is not None:
        try:
            make_context(credentials, harden, submitted.paths[0])
        except CertificateUnavailable as error:
            examined = Examined(problems=(str(error),))
            credentials = None
    if credentials is None:
        return TakenIn(examined.problems, examined.notes)
    folder = folder_of(directory, host)
    steps, notes = _steps(folder, credentials)
    obstacle = ""
    try:
        make_folder(folder)
        for name, text, secret in steps:
            _do(os.path.join(folder, name), text, secret)
    except OSError as error:
        words = f"{error.filename or folder}: it cannot be written: {error.strerror}"
        if error.errno not in FORBIDDEN:
            raise CertifyingFailed(words) from None
        obstacle = words
    return TakenIn(
        (),
        (*examined.notes, *notes),
        folder,
        credentials.names,
        common_name(credentials.chain[0].issuer),
        credentials.not_after,
        obstacle,
        tuple(steps) if obstacle else (),
    )


Step = tuple[str, str | None, bool]
"""See `TakenIn.undone`."""


def _steps(folder: str, credentials: Credentials) -> tuple[list[Step], list[str]]:
    """Return how to have *credentials* in *folder*, and what is to be known of it."""
    chain = os.path.join(folder, CHAIN)
    data, key = pem(credentials.chain).decode(), key_pem(credentials.key).decode()
    before = _usable(os.path.join(folder, CERTIFICATE), os.path.join(folder, KEY), chain)
    steps: list[Step] = []
    notes = []
    if before is not None and before.chain != credentials.chain:
        old = pem(before.chain).decode()
        steps.append((PREVIOUS, key_pem(before.key).decode() + old, True))
        notes.append(f"what was there before is kept in {os.path.join(folder, PREVIOUS)}")
        # Two files cannot be replaced in one step. Whoever reads takes the certificate that belongs
        # to the key: with both in the one file, any of the two keys is right.
        steps.append((CERTIFICATE, data + old, False))
    steps += [(KEY, key, True), (CERTIFICATE, data, False)]
    if os.path.lexists(chain):
        steps.append((CHAIN, None, False))  # of the one before, which has kept it
    return steps, notes


def _do(path: str, text: str | None, secret: bool) -> None:
    if text is None:
        os.unlink(path)
        keep(os.path.dirname(path))
    else:
        replace(path, text.encode(), 0o600 if secret else 0o644)


def _usable(certificate: str, key: str, chain: str) -> Credentials | None:
    """Return the pair that is there, if it is one."""
    try:
        certificates = read_certificates(read(certificate).data, certificate)
        with suppress(FileNotFoundError):
            certificates += read_certificates(read(chain).data, chain)
        return join(read_key(read(key).data, key), certificates, certificate)
    except (OSError, CertificateUnavailable):
        return None
