"""Certificates that somebody else puts into folders: DIRECTORY/HOST/cert.pem and key.pem.

Finds the folder for a name and reads what is in it. Reads only, and only in a thread, for it
blocks. Must never use a key that others could have read.
"""

from __future__ import annotations

import os
import stat

from attrs import frozen

from snickers.disk import Content, Watched, read, stamp
from snickers.tls.credentials import (
    CertificateUnavailable,
    Credentials,
    check,
    join,
    read_certificates,
    read_key,
)

CERTIFICATE = "cert.pem"
KEY = "key.pem"
CHAIN = "ca.pem"
"""The chain, where it is not in the certificate's own file."""


@frozen
class Place:
    """Where a name's certificate is to be looked for, as found at one moment."""

    folder: str
    """``""``: there is none."""
    watched: Watched
    """What must change before another look can find something else."""


def spellings(name: str) -> tuple[str, ...]:
    """Return the names a folder for the host *name* may have."""
    return (name, f"_{name[1:]}") if name.startswith("*") else (name,)


def key_fault(content: Content, path: str) -> str:
    """Return in words what is wrong with the permissions of the key *content*, or ``""``.

    As PostgreSQL has it: the owner alone; where root owns it, its group may read it too, for a
    server that has shed root's privileges has no other way.
    """
    allowed = 0o640 if content.owner == 0 else 0o600
    if content.mode & 0o077 & ~allowed:
        return f"{path}: others can read the key; it is not used until you: chmod 600 {path}"
    return ""


def _read(path: str) -> Content:
    try:
        return read(path)
    except FileNotFoundError:
        raise CertificateUnavailable(f"{path}: there is no such file; put it there") from None
    except OSError as error:
        raise CertificateUnavailable(f"{path}: it cannot be read: {error.strerror}") from None


class Folders:
    """The folders below *directory*."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def find(self, site: str, name: str) -> Place:
        """Return where the certificate for *name*, one of the names of *site*, is to be found.

        That is the folder of the name itself if there is one, else the folder of the site.
        """
        watched: list[tuple[str, tuple[int, int, int, int, int, int] | None]] = []
        for host in dict.fromkeys((*spellings(name), *spellings(site))):
            folder = os.path.join(self.directory, host)
            found = stamp(folder)
            if found is not None and stat.S_ISDIR(found[-1]):
                paths = [os.path.join(folder, file) for file in (CERTIFICATE, KEY, CHAIN)]
                watched += [(path, stamp(path)) for path in paths]
                return Place(folder, tuple(watched))
            watched.append((folder, found))
        return Place("", tuple(watched))

    def load(self, place: Place, site: str, name: str, now: float) -> Credentials:
        """Return what is in *place*, checked: it may be shown for *name* at *now*.

        Fails with `CertificateUnavailable`.
        """
        if not place.folder:
            wanted = os.path.join(self.directory, spellings(site)[-1])
            raise CertificateUnavailable(
                f"{wanted}: there is no such folder; it should hold the certificate of {name} in "
                f"{CERTIFICATE} and its key in {KEY}"
            )
        path = os.path.join(place.folder, CERTIFICATE)
        certificates = read_certificates(_read(path).data, path)
        key_path = os.path.join(place.folder, KEY)
        key_content = _read(key_path)
        if fault := key_fault(key_content, key_path):
            raise CertificateUnavailable(fault)
        chain_path = os.path.join(place.folder, CHAIN)
        if os.path.lexists(chain_path):
            certificates += read_certificates(_read(chain_path).data, chain_path)
        credentials = join(read_key(key_content.data, key_path), certificates, path)
        check(credentials, name, now, path)
        return credentials
