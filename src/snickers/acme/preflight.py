"""Would an authority find these names here? Looked at before it is asked.

Failures count against an authority's limits, so what is certain to fail is not ordered: a name that
is not in the DNS, a CAA record that forbids, another server that answers. What only cannot be
told from this host, such as the way of its own packets through its router, is a doubt and stops
nothing. A person is told in words that stay the same as long as the fault does. Everything
blocks, for a bounded time: call it in a thread. Must never ask the authority itself, and never
leave in the folder of challenges what it has put there.
"""

from __future__ import annotations

import os
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from attrs import frozen
from twisted.logger import Logger

from snickers.acme import reach
from snickers.acme.asked import NoSuchName, Unanswered, server_at
from snickers.acme.caa import Asked, Record, forbids, relevant
from snickers.acme.reach import ELSEWHERE, NOTHING, OTHER, OURS, Reached
from snickers.disk import make_folder, replace

WITHIN = 30.0
"""Seconds for all names together."""
STEP = 5.0
"""Seconds for one connection."""
HTTP_PORT = 80
HTTPS_PORT = 443
"""Where authorities ask (RFC 8555 section 8.3, RFC 8737 section 3)."""
PATH = "/.well-known/acme-challenge/"
WAYS = ("http-01", "tls-alpn-01")
OURS_BEGINS = "preflight-"
"""How the names of our own tokens begin: an authority's are random."""
OLD = 3600.0
"""Seconds after which a token is one that a killed process has left."""

Make = Callable[[str, str, float], bytes]
"""Returns the key and the certificate (PEM) for tls-alpn-01: of a name, its key authorization, and
the time."""


class IsWanted(Protocol):
    """What is wanted of ``[snickers]``."""

    @property
    def state(self) -> str: ...

    @property
    def http(self) -> Sequence[object]: ...

    @property
    def acme_directory(self) -> str: ...

    @property
    def acme_resolver(self) -> str: ...

    @property
    def acme_trust(self) -> str: ...

    @property
    def acme_dns_hook(self) -> tuple[str, ...]: ...


class IDns(Protocol):
    """What is asked of the DNS; as `snickers.acme.lookup.Lookup` does it."""

    def addresses(self, name: str) -> tuple[str, ...]: ...

    def caa(self, name: str) -> tuple[Record, ...]: ...


@frozen
class Findings:
    """What was found out."""

    faults: tuple[str, ...] = ()
    """What is certain to fail, in words: what is wrong, where, and what would be right."""
    doubts: tuple[str, ...] = ()
    """What cannot be told from here."""


class Late(Exception):
    """There is no time left for more."""


class Preflight:
    """Looks at names. *dns* is asked; *folder* is ``STATE/acme/challenges``.

    *make* makes certificates for tls-alpn-01; ``None``: that is not looked at. *own* are addresses
    where this Snickers was found; more are put into it, and it may be shared. *by_http*, *by_tls*
    and *place* are those of `snickers.acme.reach`. *now* never goes back; *epoch* returns
    epoch seconds; *within* and *step* are seconds.
    """

    def __init__(
        self,
        dns: IDns,
        folder: str,
        make: Make | None = None,
        own: set[str] | None = None,
        by_http: Callable[[str, str, int, str, bytes, float], Reached] = reach.by_http,
        by_tls: Callable[[str, str, int, bytes, float], Reached] = reach.by_tls,
        place: Callable[[str], str] = reach.place,
        now: Callable[[], float] = time.monotonic,
        epoch: Callable[[], float] = time.time,
        http_port: int = HTTP_PORT,
        https_port: int = HTTPS_PORT,
        within: float = WITHIN,
        step: float = STEP,
    ) -> None:
        self._dns = dns
        self._folder = folder
        self._make = make
        self._own = set() if own is None else own
        self._by_http = by_http
        self._by_tls = by_tls
        self._place = place
        self._now = now
        self._epoch = epoch
        self._http_port = http_port
        self._https_port = https_port
        self._within = within
        self._step = step

    def look(
        self,
        names: Sequence[str],
        ways: Sequence[str] = WAYS,
        identities: Sequence[str] = (),
        account: str = "",
        public: bool = True,
    ) -> Findings:
        """Return what is to be said of *names*.

        *ways*: the challenges that may be used, of which one is enough; *identities*: the
        authority's ``caaIdentities``; *account*: the URL of ours with it; *public*: it asks from
        the internet, so that private addresses lead it nowhere.
        """
        run = _Run(self, tuple(ways), tuple(identities), account, public)
        for name in names:
            try:
                run.look_at(name)
            except Late:
                run.doubts.append(f"{name}: there was no time left to look at it")
        return Findings(tuple(dict.fromkeys(run.faults)), tuple(dict.fromkeys(run.doubts)))


class _Run:
    """One look."""

    def __init__(
        self,
        owner: Preflight,
        ways: tuple[str, ...],
        identities: tuple[str, ...],
        account: str,
        public: bool,
    ) -> None:
        self._owner = owner
        self._ways = ways
        self._identities = identities
        self._account = account
        self._public = public
        self._deadline = owner._now() + owner._within
        self._records: dict[str, tuple[Record, ...]] = {}
        self.faults: list[str] = []
        self.doubts: list[str] = []

    def _left(self) -> float:
        left = self._deadline - self._owner._now()
        if left <= 0:
            raise Late
        return min(left, self._owner._step)

    def look_at(self, name: str) -> None:
        wildcard = name.startswith("*.")
        # No other way proves a wildcard (RFC 8555 section 7.4.1).
        ways = ("dns-01",) if wildcard else self._ways
        if ways != ("dns-01",):
            self._look_for_addresses(name, ways)
        self._look_for_caa(name, Asked(self._identities, ways, self._account, wildcard))

    # Whose it is to issue

    def _caa(self, domain: str) -> tuple[Record, ...]:
        self._left()
        if domain not in self._records:
            self._records[domain] = self._owner._dns.caa(domain)
        return self._records[domain]

    def _look_for_caa(self, name: str, asked: Asked) -> None:
        try:
            domain, records = relevant(name, self._caa)
        except Unanswered as error:
            self.doubts.append(f"{name}: whether CAA records allow the authority: {error}")
            return
        why = forbids(records, asked)
        if why:
            tag = "issuewild" if why.startswith("issuewild") else "issue"
            authority = self._identities[0] if self._identities else "AUTHORITY"
            self.faults.append(
                f"{name}: the CAA records of {domain} forbid it: {why}. Change them where the DNS "
                f'of {domain} is looked after: `{domain}. CAA 0 {tag} "{authority}"` allows it'
            )

    # Where it leads

    def _look_for_addresses(self, name: str, ways: tuple[str, ...]) -> None:
        self._left()
        # Where the DNS can prove it too, it need not lead here.
        wrong = self.doubts if "dns-01" in ways else self.faults
        try:
            addresses = self._owner._dns.addresses(name)
        except NoSuchName:
            wrong.append(
                f"{name}: the DNS knows no such name: give it an A or AAAA record with an address "
                "of this host"
            )
            return
        except Unanswered as error:
            self.doubts.append(f"{name}: where it leads: {error}")
            return
        if not addresses:
            wrong.append(
                f"{name}: the DNS has no address for it: give it an A or AAAA record with an "
                "address of this host"
            )
            return
        private = [each for each in addresses if not ip_address(each).is_global]
        if private and self._public:
            wrong.append(
                f"{name}: leads to {_and(private)}, where nobody comes from the internet: its A "
                "and AAAA records must be public addresses that lead to this host"
            )
            return
        self._look_for_us(name, addresses, ways, wrong)

    def _look_for_us(
        self, name: str, addresses: Sequence[str], ways: tuple[str, ...], wrong: list[str]
    ) -> None:
        """Ask each address for what only we can answer."""
        owner = self._owner
        try:
            with _Token(owner) as token:
                certificate = _Certificate(owner, name) if "tls-alpn-01" in ways else None
                with certificate or _NOTHING:
                    for address in addresses:
                        tries = self._tries(name, address, ways, token, certificate)
                        self._judge(name, address, tries, wrong)
        except OSError as error:
            self.doubts.append(
                f"{name}: {error.filename or owner._folder} cannot be written to, so that no "
                f"challenge could be looked for: {error.strerror}"
            )

    def _tries(
        self,
        name: str,
        address: str,
        ways: tuple[str, ...],
        token: _Token,
        certificate: _Certificate | None,
    ) -> list[tuple[int, Reached]]:
        """Return what was found at which port, until it is us."""
        owner = self._owner
        found: list[tuple[int, Reached]] = []
        if "http-01" in ways:
            port = owner._http_port
            reached = owner._by_http(
                name, address, port, PATH + token.name, token.content, self._left()
            )
            found.append((port, reached))
            if reached.what == OURS:
                return found
        if certificate is not None and certificate.shown:
            port = owner._https_port
            found.append(
                (port, owner._by_tls(name, address, port, certificate.shown, self._left()))
            )
        return found

    def _judge(
        self,
        name: str,
        address: str,
        tries: Sequence[tuple[int, Reached]],
        wrong: list[str],
    ) -> None:
        """Say what follows from what was found at *address*."""
        if not tries:
            return
        if tries[-1][1].what == OURS:
            self._owner._own.add(address)
            return
        said = ", ".join(f"port {port}: {reached.how}" for port, reached in tries)
        whats = {reached.what for _, reached in tries}
        if whats == {OTHER} and self._can_tell(address):
            wrong.append(
                f"{name}: leads to {address}, where another server answers ({said}): have its A "
                "and AAAA records lead to this host, or that server hand on "
                f"http://{name}{PATH}"
            )
        elif whats == {OTHER}:
            self.doubts.append(
                f"{name}: leads to {address}, where something else answers when it is asked from "
                f"here ({said}): that may be the router alone"
            )
        elif ELSEWHERE in whats:
            self.doubts.append(
                f"{name}: leads to {address}, which sends on to elsewhere ({said}): whether an "
                "authority is led here in the end cannot be told"
            )
        else:
            assert NOTHING in whats
            self.doubts.append(
                f"{name}: leads to {address}, which cannot be reached from here ({said}): whether "
                "it can from the internet cannot be told"
            )

    def _can_tell(self, address: str) -> bool:
        """Whether somebody else's answer at *address* is not perhaps that of our own router."""
        owner = self._owner
        if owner._place(address) != reach.BEHIND:
            return True
        # Where it lets us reach ourselves, it does so by its own address, which is not this one.
        version = ip_address(address).version
        return any(own != address and ip_address(own).version == version for own in owner._own)


def _and(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


class _Token:
    """A file of our own among the answers to http-01, as long as it is used."""

    def __init__(self, owner: Preflight) -> None:
        self._folder = os.path.join(owner._folder, "http-01")
        self.name = OURS_BEGINS + secrets.token_urlsafe(16)
        # Not what is asked for: there are servers that answer with the question.
        self.content = secrets.token_urlsafe(32).encode()
        self._path = os.path.join(self._folder, self.name)

    def __enter__(self) -> _Token:
        make_folder(self._folder)
        replace(self._path, self.content, 0o600)
        self._sweep()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            os.unlink(self._path)

    def _sweep(self) -> None:
        """Remove what killed processes have left; by the clock that has dated the files."""
        with suppress(OSError):
            now = os.stat(self._path).st_mtime
            for entry in os.scandir(self._folder):
                if entry.name.startswith(OURS_BEGINS) and entry.stat().st_mtime < now - OLD:
                    os.unlink(entry.path)


class _Certificate:
    """A certificate of our own among the answers to tls-alpn-01, as long as it is used."""

    def __init__(self, owner: Preflight, name: str) -> None:
        self._folder = os.path.join(owner._folder, "tls-alpn-01")
        self._path = os.path.join(self._folder, f"{name}.pem")
        self._data = b""
        self.shown = b""
        """DER; empty: none is."""
        if owner._make is not None and not os.path.exists(self._path):
            self._data = owner._make(name, secrets.token_urlsafe(32), owner._epoch())

    def __enter__(self) -> None:
        if self._data:
            make_folder(self._folder)
            replace(self._path, self._data, 0o600)
            text = self._data.decode("ascii")
            self.shown = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self.shown:
                with open(self._path, "rb") as file:
                    ours = file.read() == self._data
                # An order that has begun meanwhile has put its own there.
                if ours:
                    os.unlink(self._path)


class _Nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


_NOTHING = _Nothing()


def ways(challenge: str, settings: IsWanted) -> tuple[str, ...]:
    """Return the challenges that may prove a site whose ``acme challenge`` is *challenge*."""
    if challenge != "auto":
        return (challenge,)
    by_http = ("http-01",) if settings.http else ()
    by_dns = ("dns-01",) if settings.acme_dns_hook else ()
    return (*by_http, "tls-alpn-01", *by_dns)


def is_public(settings: IsWanted, dns: IDns) -> bool:
    """Return whether the authority asks from the internet: not if its directory needs a root of its
    own, or is at a private address itself, or that cannot be told."""
    if settings.acme_trust:
        return False
    host = urlsplit(settings.acme_directory).hostname or ""
    try:
        return ip_address(host).is_global
    except ValueError:
        pass
    try:
        found = dns.addresses(host)
    except (NoSuchName, Unanswered):
        return False
    return bool(found) and all(ip_address(each).is_global for each in found)


class BeforeOrders:
    """Looks before each order; remembers where this Snickers was found. *make* and the ports are
    as in `Preflight`."""

    _log = Logger()

    def __init__(
        self,
        make: Make | None = None,
        http_port: int = HTTP_PORT,
        https_port: int = HTTPS_PORT,
    ) -> None:
        self._make = make
        self._ports = http_port, https_port
        self._own: set[str] = set()

    def __call__(
        self,
        names: Sequence[str],
        settings: IsWanted,
        challenge: str = "auto",
        identities: Sequence[str] = (),
        account: str = "",
    ) -> Sequence[str]:
        """Return the faults of *names*, and log the doubts.

        *challenge*: as the site says it; the others as in `Preflight.look`.
        """
        # In a thread, when it is asked first: it takes 3 MB that others shall not pay.
        from snickers.acme.lookup import Lookup

        http_port, https_port = self._ports
        dns = Lookup(server_at(settings.acme_resolver))
        found = Preflight(
            dns,
            os.path.join(settings.state, "acme", "challenges"),
            self._make,
            self._own,
            http_port=http_port,
            https_port=https_port,
        ).look(names, ways(challenge, settings), identities, account, is_public(settings, dns))
        for doubt in found.doubts:
            self._log.info("preflight: {doubt}", doubt=doubt)
        return found.faults
