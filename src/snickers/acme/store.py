"""What is kept of certificates from the network: their files, orders in flight, accounts.

Everything lies in one folder, open to its owner alone, that both teams share. A site's key and
certificate are one file, so that they can never be of two minds; every file is replaced whole, and
durably. Must never write a certificate whose key is not with it, never follow a site's name out
of the folder, and never be asked in the reactor's thread: everything here blocks.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from hashlib import sha256
from urllib.parse import urlsplit

from attrs import asdict, evolve, field, frozen
from cryptography.hazmat.primitives.serialization import Encoding

from snickers.acme.keys import identity_of
from snickers.acme.order import Order, from_text, to_text
from snickers.acme.plan import Held, Known, Memory
from snickers.acme.renewal import Window
from snickers.disk import keep, make_folder, read, replace
from snickers.tls.credentials import (
    CertificateUnavailable,
    Credentials,
    join,
    read_certificates,
    read_key,
    spoken,
)

FOLDERS = ("certificates", "orders", "sites", "accounts", "locks")


class NotYet(CertificateUnavailable):
    """A certificate that is not valid yet by this host's clock."""

    def __init__(self, words: str, seconds: float) -> None:
        """*seconds*: until it is."""
        super().__init__(words)
        self.seconds = seconds


class StoreFailed(Exception):
    """What must be kept cannot be; the text says which file and why."""


@frozen(eq=False)
class Kept:
    """What was found of a site's certificate."""

    credentials: Credentials | None = None
    fault: str = ""
    """Why there is none although there is a file, in words."""


@frozen
class Account:
    """An account with an authority."""

    directory: str
    key: str = field(repr=False)
    """The private key, PEM."""
    url: str = ""
    """Empty: the authority may not know of it yet."""
    email: str = ""


class Lock:
    """A lock on one site, against other processes; a process that dies lets go of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of it; once."""
        os.close(self._descriptor)


def file_name(site: str) -> str:
    """Return what the site is called in the names of files: a star would be the shell's, and
    ``HOST.previous`` another site's certificate of before. No host has an underscore."""
    name = f"_wildcard{site[1:]}" if site.startswith("*") else site
    if name.endswith(".previous"):
        name = f"{name}_"
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise StoreFailed(f"{site!r} cannot be the name of a file")
    return name


class Store:
    """The folder *folder*, ``STATE/acme``."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.ledger = os.path.join(folder, "ledger.json")

    def path(self, kind: str, name: str) -> str:
        """Return the path of a file called *name* in the folder of its *kind*."""
        return os.path.join(self.folder, kind, name)

    def certificate_path(self, site: str) -> str:
        """Return where the key and the certificate of *site* are."""
        return self.path("certificates", f"{file_name(site)}.pem")

    def prepare(self) -> None:
        """Make the folders."""
        try:
            for folder in FOLDERS:
                make_folder(os.path.join(self.folder, folder))
        except OSError as error:
            raise _failed(self.folder, error) from None

    # Certificates

    def certificate(self, site: str) -> Kept:
        """Return what is kept of *site*'s certificate, whatever its date."""
        path = self.certificate_path(site)
        try:
            content = read(path)
            credentials = join(
                read_key(content.data, path), read_certificates(content.data, path), path
            )
        except FileNotFoundError:
            return Kept()
        except OSError as error:
            return Kept(fault=f"{path}: cannot be read: {error.strerror}")
        except CertificateUnavailable as error:
            return Kept(fault=str(error))
        if content.mode & 0o077:
            return Kept(
                fault=f"{path}: others could read this key, so it is not used any more; a new one "
                "is ordered by itself"
            )
        return Kept(credentials)

    def keep_certificate(self, order: Order, chain: bytes, now: float) -> Credentials:
        """Have *chain*, which the authority has given for *order*, be its site's certificate.

        What it replaces is kept once. When it is in place already nothing is written. Fails with
        `CertificateUnavailable` when it is not what was ordered, with `NotYet` when it is not valid
        at *now* (epoch seconds) but will be, and with `StoreFailed`.
        """
        path = self.certificate_path(order.site)
        data = order.key.encode().rstrip() + b"\n" + chain.strip() + b"\n"
        words = f"what {order.directory} has given for {order.site}"
        made = join(read_key(data, words), read_certificates(chain, words), words)
        lacking = [name for name in order.names if not made.covers(name)]
        if lacking:
            raise CertificateUnavailable(f"{words} is not for {', '.join(lacking)}")
        if now < made.not_before:
            raise NotYet(
                f"{words} is not valid before {spoken(made.not_before)}, and this host's clock "
                f"says {spoken(now)}: set the clock",
                made.not_before - now,
            )
        if now >= made.not_after:
            raise CertificateUnavailable(
                f"{words} has ended at {spoken(made.not_after)}, and this host's clock says "
                f"{spoken(now)}: set the clock, if it is the clock"
            )
        # Certificates alone: whatever else was sent is nobody's business to keep.
        data = order.key.encode().rstrip() + b"\n"
        data += b"".join(one.public_bytes(Encoding.PEM) for one in made.chain)
        try:
            with suppress(OSError):
                before = read(path).data
                if before == data:
                    return made
                replace(path.removesuffix(".pem") + ".previous.pem", before, 0o600)
            replace(path, data, 0o600)
        except OSError as error:
            raise _failed(path, error) from None
        return made

    # Orders in flight

    def order(self, site: str) -> Order | None:
        """Return the order of *site* that is in flight, ``None`` when there is none."""
        try:
            order = from_text(read(self.path("orders", f"{file_name(site)}.json")).data)
        except (OSError, ValueError):
            return None
        return order if order.site == site else None

    def keep_order(self, order: Order) -> Order:
        """Have *order* survive this process, and the host; returns it."""
        path = self.path("orders", f"{file_name(order.site)}.json")
        self._replace(path, to_text(order))
        return order

    def forget_order(self, site: str) -> None:
        """The order of *site* has ended."""
        path = self.path("orders", f"{file_name(site)}.json")
        try:
            os.unlink(path)
            keep(os.path.dirname(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _failed(path, error) from None

    # What is known of sites

    def known(self, site: str) -> tuple[Known, str]:
        """Return all that is known of *site*, and what is wrong with its certificate's file, as
        `Kept.fault`."""
        kept = self.certificate(site)
        in_flight = self.order(site) is not None
        memory = self.memory(site)
        made = kept.credentials
        if made and memory.identity != identity_of(made.chain[0]):
            # Somebody else has put it there: whose window that would be is not known.
            memory = evolve(memory, identity="", window=None)
        return Known(Held.of(made) if made else None, memory, in_flight), kept.fault

    def memory(self, site: str) -> Memory:
        """Return what is known of *site*."""
        try:
            said = json.loads(read(self.path("sites", f"{file_name(site)}.json")).data)
            window = said["window"]
            return Memory(**{**said, "window": Window(**window) if window else None})
        except (OSError, ValueError, TypeError, KeyError):
            return Memory()

    def remember(self, site: str, memory: Memory) -> None:
        """Have *memory* be what is known of *site*."""
        self._replace(self.path("sites", f"{file_name(site)}.json"), json.dumps(asdict(memory)))

    # Accounts

    def account_path(self, directory: str) -> str:
        """Return the path of the account with the authority that has this directory."""
        host = "".join(c if c.isalnum() or c in ".-" else "-" for c in urlsplit(directory).netloc)
        return self.path("accounts", f"{host}-{sha256(directory.encode()).hexdigest()[:12]}.json")

    def account(self, directory: str) -> Account | None:
        """Return the account with one authority, ``None`` when there is none."""
        path = self.account_path(directory)
        try:
            account = Account(**json.loads(read(path).data))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            # A new one would be easily made, but this one has the orders and the authority's trust.
            raise StoreFailed(
                f"{path}: the account cannot be read ({error}): bring the file back from a backup, "
                "or move it away to have a new account"
            ) from None
        return account

    def keep_account(self, account: Account) -> Account:
        """Have *account* survive; returns it."""
        self._replace(self.account_path(account.directory), json.dumps(asdict(account), indent=1))
        return account

    # Locks

    def lock(self, site: str) -> Lock | None:
        """Return the lock on *site*; ``None`` when another process, or a thread, has it."""
        path = self.path("locks", f"{file_name(site)}.lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failed(path, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return Lock(descriptor)

    def _replace(self, path: str, text: str) -> None:
        try:
            replace(path, text.encode(), 0o600)
        except OSError as error:
            raise _failed(path, error) from None


def _failed(path: str, error: OSError) -> StoreFailed:
    return StoreFailed(f"{error.filename or path}: cannot be kept: {error.strerror}")
