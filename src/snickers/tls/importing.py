"""Certificates that a person brings along, put where ``certificates = files`` finds them.

Whatever moment a crash chooses, the folder holds a pair that can be used: the one of before or the
new one. Everything here blocks: call it in a thread. Must never write anything that was not found
good first, and never throw away what was there.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from contextlib import suppress

from cryptography import x509

from snickers.interfaces import CertifyingFailed, Submitted, TakenIn
from snickers.tls.contexts import Harden, make_context
from snickers.tls.credentials import (
    CertificateUnavailable,
    Credentials,
    common_name,
    join,
    read_certificates,
    read_key,
)
from snickers.tls.disk import keep, make_folder, read, replace
from snickers.tls.examination import Examined, Roots, examine
from snickers.tls.folders import CERTIFICATE, CHAIN, KEY, spellings
from snickers.tls.signing import key_pem, pem

PREVIOUS = "previous.pem"
"""What was there before, key and certificates, in one file."""


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

    Fails with `CertifyingFailed` when it cannot be written, with what was there in place.
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
    try:
        make_folder(folder)
        notes = _put(folder, credentials)
    except OSError as error:
        raise CertifyingFailed(
            f"{error.filename or folder}: it cannot be written by the user that runs Snickers: "
            f"{error.strerror}; put {CERTIFICATE} (the chain behind it) and {KEY} (chmod 600) into "
            f"{folder} yourself, or have `certificate directory` name a folder of that user"
        ) from None
    return TakenIn(
        (),
        (*examined.notes, *notes),
        folder,
        credentials.names,
        common_name(credentials.chain[0].issuer),
        credentials.not_after,
    )


def _put(folder: str, credentials: Credentials) -> list[str]:
    """Have *credentials* be in *folder*; returns what is to be known."""
    certificate, key, chain = (os.path.join(folder, file) for file in (CERTIFICATE, KEY, CHAIN))
    data = pem(credentials.chain)
    before = _usable(certificate, key, chain)
    notes = []
    if before is not None and before.chain != credentials.chain:
        previous = os.path.join(folder, PREVIOUS)
        replace(previous, key_pem(before.key) + pem(before.chain), 0o600)
        notes.append(f"what was there before is kept in {previous}")
        # Two files cannot be replaced in one step. Whoever reads takes the certificate that belongs
        # to the key: with both in the one file, any of the two keys is right.
        replace(certificate, data + pem(before.chain), 0o644)
    replace(key, key_pem(credentials.key), 0o600)
    replace(certificate, data, 0o644)
    if os.path.lexists(chain):
        os.unlink(chain)  # it was the chain of the one before, which has kept it
        keep(folder)
    return notes


def _usable(certificate: str, key: str, chain: str) -> Credentials | None:
    """Return the pair that is there, if it is one."""
    try:
        certificates = read_certificates(read(certificate).data, certificate)
        with suppress(FileNotFoundError):
            certificates += read_certificates(read(chain).data, chain)
        return join(read_key(read(key).data, key), certificates, certificate)
    except (OSError, CertificateUnavailable):
        return None
