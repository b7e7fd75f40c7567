"""The limits of a certificate authority, as far as what was asked of it is known.

Pure: what was counted and a time in, what may be asked now out. The numbers are Let's Encrypt's,
the narrowest there are; another authority's own words (`Counts.paused`) hold beside them. Must
never forget what still counts, and never keep what counts no more.

What a registered domain is would take the list of public suffixes to know. It is guessed instead:
names below a suffix that many share (``github.io``) are then counted together, which matters to
nobody with fewer than fifty of them, and where the guess is too wide the authority says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType

from attrs import evolve, field, frozen

HOUR = 3600.0
WEEK = 7 * 86400.0

ORDERS = 300
ORDERS_WITHIN = 3 * HOUR
PER_DOMAIN = 50
PER_SET = 5
CERTIFICATES_WITHIN = WEEK
FAILURES = 5
FAILURES_WITHIN = HOUR

EVERYTHING = ""
"""In `Counts.paused`: the authority wants nothing at all."""


@frozen
class Ordered:
    """An order that was placed."""

    time: float
    """Epoch seconds."""
    names: str
    """Which set of names, as `set_of` calls it."""
    domains: tuple[str, ...]
    """The registered domains in it."""
    renewal: bool = False
    """For names that a certificate was had for: does not count against a domain."""
    lost: bool = False
    """It has come to nothing: only the order itself counts."""


def _frozen(value: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(value))


def _frozen_times(value: Mapping[str, Sequence[float]]) -> Mapping[str, tuple[float, ...]]:
    return MappingProxyType({name: tuple(times) for name, times in value.items()})


@frozen
class Counts:
    """What was asked of one authority, by one account."""

    orders: tuple[Ordered, ...] = ()
    failures: Mapping[str, tuple[float, ...]] = field(
        default=MappingProxyType({}), converter=_frozen_times
    )
    """When the authority found that a name was not proven, by name."""
    paused: Mapping[str, float] = field(default=MappingProxyType({}), converter=_frozen)
    """Until when (epoch seconds) the authority itself wants no order of a set of names."""


@frozen
class Refused:
    """An order that would be one too many."""

    until: float
    """Epoch seconds."""
    words: str


def set_of(names: Iterable[str]) -> str:
    """Return what tells one set of names from another."""
    return sha256(" ".join(sorted(set(names))).encode()).hexdigest()[:20]


def registered(name: str) -> str:
    """Return the registered domain of the host *name*, guessed: its last two labels, three where
    the last is a country's and the one before it as short as ``co`` and ``com``."""
    labels = name.removeprefix("*.").split(".")
    short = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if short else -2 :])


def refusal(counts: Counts, names: Sequence[str], renewal: bool, now: float) -> Refused | None:
    """Return why an order for *names* must not be placed at *now*, ``None`` when it may.

    *renewal*: a certificate for the same names was had before. Orders that replace a certificate as
    the authority suggests (RFC 9773) are exempt from all limits: ask only for others.
    """
    counts = current(counts, now)
    mine = set_of(names)
    found = [
        *_paused(counts, mine),
        *_too_many_orders(counts, now),
        *_too_many_certificates(counts, names, mine, renewal),
        *_too_many_failures(counts, names),
    ]
    return max(found, key=lambda refused: refused.until, default=None)


def _paused(counts: Counts, mine: str) -> Iterable[Refused]:
    for key in (EVERYTHING, mine):
        if key in counts.paused:
            yield Refused(counts.paused[key], "the authority has said that it wants no more now")


def _too_many_orders(counts: Counts, now: float) -> Iterable[Refused]:
    times = [o.time for o in counts.orders if now - o.time < ORDERS_WITHIN]
    if len(times) >= ORDERS:
        until = sorted(times)[-ORDERS] + ORDERS_WITHIN
        yield Refused(until, f"{ORDERS} orders within three hours are all an authority takes")


def _too_many_certificates(
    counts: Counts, names: Sequence[str], mine: str, renewal: bool
) -> Iterable[Refused]:
    had = [ordered for ordered in counts.orders if not ordered.lost]
    same = sorted(ordered.time for ordered in had if ordered.names == mine)
    if len(same) >= PER_SET:
        yield Refused(
            same[-PER_SET] + CERTIFICATES_WITHIN,
            f"{PER_SET} certificates a week for the same names are all an authority gives",
        )
    if renewal:
        return
    for domain in dict.fromkeys(map(registered, names)):
        times = sorted(o.time for o in had if domain in o.domains and not o.renewal)
        if len(times) >= PER_DOMAIN:
            yield Refused(
                times[-PER_DOMAIN] + CERTIFICATES_WITHIN,
                f"{PER_DOMAIN} certificates a week below {domain} are all an authority gives",
            )


def _too_many_failures(counts: Counts, names: Sequence[str]) -> Iterable[Refused]:
    for name in names:
        times = counts.failures.get(name.removeprefix("*."), ())
        if len(times) >= FAILURES:
            yield Refused(
                sorted(times)[-FAILURES] + FAILURES_WITHIN,
                f"{name} could not be proven {FAILURES} times within an hour, and an authority "
                "looks no more often",
            )


def current(counts: Counts, now: float) -> Counts:
    """Return *counts* without what counts no more at *now*.

    What lies in the future was written by a clock that was wrong: it is kept no longer than if
    it were new.
    """
    failures = {
        name: tuple(time for time in times if abs(now - time) < FAILURES_WITHIN)
        for name, times in counts.failures.items()
    }
    return Counts(
        tuple(
            ordered
            for ordered in counts.orders
            if abs(now - ordered.time) < (ORDERS_WITHIN if ordered.lost else CERTIFICATES_WITHIN)
        ),
        {name: times for name, times in failures.items() if times},
        {key: until for key, until in counts.paused.items() if now < until <= now + WEEK},
    )


def with_order(counts: Counts, names: Sequence[str], renewal: bool, now: float) -> Counts:
    """Return *counts* with an order for *names*."""
    domains = tuple(sorted({registered(name) for name in names}))
    counts = current(counts, now)
    return evolve(counts, orders=(*counts.orders, Ordered(now, set_of(names), domains, renewal)))


def with_loss(counts: Counts, names: Sequence[str]) -> Counts:
    """Return *counts* with the last order for *names* come to nothing."""
    mine = set_of(names)
    orders = list(counts.orders)
    for index in reversed(range(len(orders))):
        if orders[index].names == mine and not orders[index].lost:
            orders[index] = evolve(orders[index], lost=True)
            break
    return evolve(counts, orders=tuple(orders))


def with_failure(counts: Counts, name: str, now: float) -> Counts:
    """Return *counts* with one more time that *name* was not proven."""
    name = name.removeprefix("*.")
    failures = {**counts.failures, name: (*counts.failures.get(name, ()), now)}
    return current(evolve(counts, failures=failures), now)


def with_pause(counts: Counts, names: Sequence[str], until: float) -> Counts:
    """Return *counts* with no order for *names* until then; no names: for none at all."""
    key = set_of(names) if names else EVERYTHING
    return evolve(counts, paused={**counts.paused, key: until})
