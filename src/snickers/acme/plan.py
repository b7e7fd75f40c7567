"""What is to be done about one site's certificate, and what follows from a failure.

Pure: what is kept, what is remembered and the time in; a date or a new memory out. Must never have
a failure forgotten by a restart, or a site that cannot succeed asked for without an end to how
often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from snickers.acme import renewal
from snickers.acme.renewal import Window
from snickers.config.values import Settings, Site
from snickers.tls.credentials import Credentials

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
STAGING: Mapping[str, str] = {
    LETS_ENCRYPT: "https://acme-staging-v02.api.letsencrypt.org/directory"
}
"""Where rehearsals are, of authorities that are known to have them."""

QUIET = 3
"""Failures in a row that are not told of while time mends them: the authority was away, or had
enough."""
AGAIN_AFTER = 43200.0
AGAIN_SHARE = 1 / 20
"""A certificate that was had by suggestion is not renewed by suggestion before it is twelve hours
old, or a twentieth of its life: soon enough for an authority that has to revoke once more."""
WAIT_MOST = renewal.LONG_PAUSE * (1 + renewal.JITTER)
"""Seconds from a failure to the next try at the most, whatever an authority asks for: it may be the
other one's turn by then, and what it wants no order for is in the ledger."""
SELF_MENDING = frozenset(["away", "limited", "lost"])


@frozen
class Memory:
    """What is to be known of a site after a restart."""

    failures: int = 0
    """In a row."""
    next: float = 0.0
    """Epoch seconds before which nothing is tried; of no account when nothing has failed."""
    fault: str = ""
    """Why the last try has failed, in words."""
    kind: str = ""
    """What kind of failure that was."""
    rehearse: bool = False
    """The next try is to be made where failures do not count."""
    challenge: str = ""
    """By which names were proven last."""
    authority: str = ""
    """The directory of the authority that has signed the certificate."""
    identity: str = ""
    """The certificate that the window is for, as RFC 9773 calls it."""
    window: Window | None = None
    ask_at: float = 0.0
    """Epoch seconds at which the window is to be asked for."""
    suggested: bool = False
    """The certificate was had because the authority had suggested to renew the one before."""


@frozen
class Held:
    """What matters here of a certificate that is stored: for each of thousands of sites its key and
    chain in memory would be too much."""

    names: tuple[str, ...]
    not_before: float
    """Epoch seconds."""
    not_after: float
    serial: int
    warn_at: float
    """From when on its owner should hear that it was not renewed."""

    @classmethod
    def of(cls, credentials: Credentials) -> Held:
        """Return it of *credentials*."""
        return cls(
            credentials.names,
            credentials.not_before,
            credentials.not_after,
            credentials.chain[0].serial_number,
            credentials.warn_at,
        )

    @property
    def life(self) -> float:
        """Seconds from the first to the last moment it is valid."""
        return self.not_after - self.not_before

    def covers(self, name: str) -> bool:
        """Whether it is valid for *name* (RFC 9525 section 6.3)."""
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names


@frozen
class Known:
    """What is known of a site."""

    held: Held | None = None
    memory: Memory = field(factory=Memory)
    in_flight: bool = False
    """There is an order on the disk."""


def covers(held: Held | None, names: Sequence[str], now: float) -> bool:
    """Whether *held* may be shown at *now* for all *names*."""
    return (
        held is not None
        and held.not_before <= now < held.not_after
        and all(held.covers(name) for name in names)
    )


def renew_at(held: Held, memory: Memory) -> float:
    """Return the epoch second from which on a certificate is to be renewed."""
    begin, end = held.not_before, held.not_after
    serial = f"{held.names[:1]} {held.serial}"
    at = renewal.due(begin, end, memory.window, serial)
    if memory.suggested and memory.window is not None:
        # An authority that suggests the past for each new one would otherwise be asked on and on.
        return max(at, begin + min(AGAIN_AFTER, held.life * AGAIN_SHARE))
    return at


def next_try(site: Site, known: Known, now: float) -> float:
    """Return the epoch second from which on an order is to be placed, or taken up."""
    lacking = not covers(known.held, site.names, now)
    if known.held is None or lacking or known.in_flight:
        wanted = now
    else:
        wanted = renew_at(known.held, known.memory)
    if not known.memory.failures or known.memory.next > now + WAIT_MOST:
        # No pause is that long: it was written by a clock that was wrong.
        return wanted
    return max(wanted, known.memory.next)


def urgency(site: Site, known: Known, now: float) -> float:
    """Return a number that is the smaller the sooner a site is to be served."""
    if known.held is None or not covers(known.held, site.names, now):
        return 0.0
    return known.held.not_after


def asks_for_window(known: Known, now: float) -> bool:
    """Whether the authority is to be asked when the certificate should be renewed."""
    memory = known.memory
    return (
        known.held is not None
        and bool(memory.identity)
        # One that is further ahead was set by a clock that was wrong.
        and not now < memory.ask_at <= now + renewal.ASK_MOST
        # RFC 9773 section 4.3: not of one that has ended.
        and now < known.held.not_after
    )


def decisive(settings: Settings) -> tuple[object, ...]:
    """Return what of *settings* may make a difference to an order that has failed."""
    return (
        settings.acme_directory,
        settings.acme_fallback,
        settings.acme_staging,
        settings.acme_email,
        settings.acme_trust,
        settings.acme_profile,
        settings.acme_external_account,
        settings.acme_dns_hook,
        settings.acme_preflight,
        settings.acme_resolver,
    )


def staging_of(settings: Settings) -> str:
    """Return the directory of rehearsals, ``""`` when there is none."""
    return settings.acme_staging or STAGING.get(settings.acme_directory, "")


def directories(settings: Settings) -> tuple[str, ...]:
    """Return the directories of the authorities, the first to be asked first."""
    return tuple(dict.fromkeys(filter(None, (settings.acme_directory, settings.acme_fallback))))


def challenges(site: Site, settings: Settings, learnt: str) -> tuple[str, ...]:
    """Return the challenges to be tried for *site* in turn; for wildcards it is always dns-01."""
    if site.acme_challenge != "auto":
        return (site.acme_challenge,)
    if all(name.startswith("*.") for name in site.names):
        return ("dns-01",)
    can = []
    if settings.http:
        can.append("http-01")
    can.append("tls-alpn-01")
    if settings.acme_dns_hook:
        can.append("dns-01")
    return tuple(dict.fromkeys([*(one for one in [learnt] if one in can), *can]))


def impossible(site: Site, settings: Settings) -> str:
    """Return why no order for *site* could succeed, in words, ``""`` when one could."""
    wild = [name for name in site.names if name.startswith("*.")]
    if settings.acme_dns_hook:
        return ""
    if wild:
        return (
            f"{wild[0]}: a name with * is proven by dns-01 alone, and nothing writes into the DNS: "
            "write `acme dns hook = PROGRAM` into [snickers]"
        )
    if site.acme_challenge == "dns-01":
        return (
            "acme challenge = dns-01 needs a program that writes into the DNS: "
            "write `acme dns hook = PROGRAM` into [snickers]"
        )
    if site.acme_challenge == "http-01" and not settings.http:
        return "acme challenge = http-01 needs a listener for plain http: see `http` in [snickers]"
    return ""


def after_failure(
    memory: Memory,
    kind: str,
    words: str,
    wait: float | None,
    now: float,
    jitter: float,
    rehearse: bool = False,
) -> Memory:
    """Return what is remembered after a failure. *wait*: seconds that the authority has asked for,
    where it has. *rehearse*: the next try is to be a rehearsal."""
    failures = memory.failures + 1
    pause = renewal.retry_pause(failures, jitter)
    return evolve(
        memory,
        failures=failures,
        next=now + min(max(pause, wait or 0.0), WAIT_MOST),
        fault=words,
        kind=kind,
        rehearse=memory.rehearse or rehearse,
    )


def after_success(
    memory: Memory, challenge: str, authority: str, identity: str, suggested: bool = False
) -> Memory:
    """Return what is remembered when a certificate was stored."""
    return Memory(
        challenge=challenge or memory.challenge,
        authority=authority,
        identity=identity,
        suggested=suggested,
    )


def to_tell(memory: Memory, lacking: bool) -> bool:
    """Whether a person should hear of the last failure. *lacking*: there is no certificate that
    could be shown meanwhile."""
    if not memory.fault:
        return False
    if memory.kind == "limited" and lacking:
        return True
    return memory.kind not in SELF_MENDING or memory.failures >= QUIET
