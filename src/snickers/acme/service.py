"""Has each site that wants one a certificate from the network, and renews it in time.

One of these works at a time on a state folder: in the process that is on duty. A look, every few
seconds and at once when a site is new, finds what is due; orders are carried out side by side, at
most so many. Whatever befalls one, the certificate that is in place stays. Must never order what
another process is ordering, never ask more often than the ledger and the pauses allow, whatever was
restarted, and never block the reactor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.acme import plan
from snickers.acme.accounts import Accounts, Terms
from snickers.acme.challenges import Challenges, ProofFailed
from snickers.acme.client import AuthorityFailed, Client, identity_of, new_key
from snickers.acme.ledger import Ledger
from snickers.acme.order import Order, usable
from snickers.acme.ordering import Ordering, take_away
from snickers.acme.plan import Held, Known, Memory
from snickers.acme.renewal import ASK_MOST, ask_pause
from snickers.acme.store import Lock, Store, StoreFailed
from snickers.config.values import Passthrough, Settings, Site
from snickers.interfaces import IAlarm, IRenewer
from snickers.tls.credentials import CertificateUnavailable, Credentials, spoken
from snickers.tls.threads import ThreadsStopped

T = TypeVar("T")

LOOK_EVERY = 5.0
"""Seconds between two looks for what is due."""
AT_ONCE = 24
"""Orders carried out side by side: most of an order's time is the authority's."""
SLICE = 100
"""Sites whose files are read in one go of a thread."""
ASKED_AT_ONCE = 4
"""Questions for windows, side by side."""
BUSY_PAUSE = 30.0
"""Seconds after which a site is looked at again that another process is ordering for, or for which
nothing can be kept."""
ASK_FAILED = 3600.0
"""Seconds after which a window is asked for again that could not be had."""
AWAY_FOR = 600.0
"""Seconds for which an authority does not answer before a person hears of it."""

RENEWAL = "renewal"
"""The alarm of a certificate that cannot be had."""
EXPIRY = "expiry"
"""The alarm of a certificate that has little life left."""
KEY = "key"
"""The alarm of a key that others could read, or of files that cannot be kept."""
AUTHORITY = "authority"
"""The alarm of an authority that is away."""

Preflight = Callable[[Sequence[str], Settings, str, Sequence[str], str], Sequence[str]]
"""Called, blocking, with names, the settings, the site's ``acme challenge``, what CAA records call
the authority, and the URL of the account with it; returns what is wrong with the names, in words,
so that the authority would refuse; nothing: go on."""
Progress = Callable[[str], None]


class Threads(Protocol):
    """Runs blocking functions elsewhere, as `snickers.acme.errands.Errands` does."""

    def start(self) -> None: ...

    def stop(self) -> Any: ...

    def run(self, function: Callable[[], T]) -> Deferred[T]: ...


class _Failed(Exception):
    """An order could not be had; *kind* says what kind of failure that is."""

    def __init__(self, kind: str, words: str, wait: float | None = None) -> None:
        super().__init__(words)
        self.kind = kind
        self.wait = wait


_EXPECTED = (
    AuthorityFailed,
    ProofFailed,
    StoreFailed,
    CertificateUnavailable,
    OSError,
    _Failed,
)
"""What an order may fail by; their words are for a person."""


@define(eq=False)
class _Row:
    """One site."""

    site: Site
    known: Known = field(factory=Known)
    read: bool = False
    """Whether its files were read."""
    reading: bool = False
    step: str = "waiting"
    attempt: Deferred[Any] | None = None
    hurry: bool = False
    """Something has changed: the next try does not wait for the pause after a failure."""
    forced: bool = False
    """Somebody wants a new certificate, whatever the date."""
    asking: bool = False
    waiters: list[tuple[Deferred[None], Progress]] = field(factory=list)
    told: dict[str, str] = field(factory=dict)
    """Kinds of failure that a person was told of."""
    expiry_told: float = 0.0
    key_told: str = ""
    busy_until: float = 0.0
    """By the reactor's clock."""
    looked: bool = False
    """The preflight has been made in this attempt."""
    due: tuple[Known, Site, float, float] | None = None
    """When the next try is, for whom, and when that was found out."""
    going: list[Deferred[Any]] = field(factory=list)
    """What runs in threads for its order."""


def _acme_settings(settings: Settings) -> tuple[object, ...]:
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


@implementer(IRenewer)
class Acme:
    """The certificates of all sites with ``certificates = acme``.

    *reactor* times looks and waits; *threads* runs what is asked of authorities and the disk,
    *slow* the preflight and the program that writes into the DNS; both are started and stopped with
    this.
    *settings* returns those that hold now; *wall* returns epoch seconds; *replaced* is called with
    the name of a site whose certificate's file was replaced. *preflight* and *dns* are as
    `Preflight` and `snickers.acme.challenges.Dns`; ``None``: there is none. *at* is called before
    and after everything that is awaited, for tests that interrupt there.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        threads: Threads,
        slow: Threads,
        store: Store,
        challenges: Challenges,
        settings: Callable[[], Settings],
        alarm: IAlarm,
        wall: Callable[[], float],
        replaced: Callable[[str], None],
        preflight: Preflight | None = None,
        accounts: Accounts | None = None,
        chance: Callable[[], float] = random.random,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._slow_threads = slow
        self._store = store
        self._challenges = challenges
        self._settings = settings
        self._alarm = alarm
        self._wall = wall
        self._replaced = replaced
        self._preflight = preflight
        self._accounts = accounts or Accounts(store, wall)
        self._chance = chance
        self._at = at
        self._ledger = Ledger(store.ledger)
        self._ordering = Ordering(reactor, wall, store, self._ledger, challenges)
        self._rows: dict[str, _Row] = {}
        self._running = False
        self._asking = 0
        self._away: dict[str, float] = {}
        """Directories of authorities that do not answer, and since when (the reactor's seconds)."""
        self._away_told = False
        self._store_fault = ""
        self._held: tuple[object, ...] = ()
        self._soon: Any = None
        self._loop = LoopingCall(self._look_safely)
        self._loop.clock = reactor

    # Its own life

    def start(self) -> None:
        """Be on duty: look for what is due, and see to it. May be called again after `stop`."""
        if self._running:
            return
        self._running = True
        self._held = _acme_settings(self._settings())
        self._threads.start()
        self._slow_threads.start()
        self._loop.start(LOOK_EVERY, now=False)
        swept = self._threads.run(lambda: self._challenges.sweep(self._wall()))
        swept.addErrback(lambda failure: None)  # what is left over harms nobody
        self._look_soon()

    def stop(self) -> Deferred[None]:
        """Be off duty. Fires when nothing is worked at any more, or what is was left behind; orders
        in flight are on the disk, for whoever is on duty next."""
        if not self._running:
            return maybeDeferred(lambda: None)
        self._running = False
        if self._loop.running:
            self._loop.stop()
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        for row in self._rows.values():
            if row.attempt is not None:
                row.attempt.cancel()
            # What another process does meanwhile is not known here.
            row.read = row.reading = row.asking = False
            self._answer(row, CertificateUnavailable("Snickers is stopping, or off duty"))
        self._asking = 0
        self._accounts.close()
        ended = [maybeDeferred(threads.stop) for threads in (self._threads, self._slow_threads)]
        return gatherResults(ended).addCallback(lambda _: None)

    # The sites

    def apply(
        self, added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]
    ) -> None:
        for site in removed:
            self._drop(site.name)
        for site in (*added, *changed):
            wants = (
                site.certificates == "acme"
                and site.enabled
                and not isinstance(site.kind, Passthrough)
            )
            row = self._rows.get(site.name)
            if not wants:
                self._drop(site.name)
            elif row is None:
                self._rows[site.name] = _Row(site)
            else:
                if row.site.names != site.names or row.site.acme_challenge != site.acme_challenge:
                    row.hurry = True
                row.site = site
        self._look_soon()

    def _drop(self, name: str) -> None:
        row = self._rows.pop(name, None)
        if row is None:
            return
        # An order that is under way goes on to its end: it was paid for.
        self._answer(row, CertificateUnavailable(f"{name}: the site was removed"))
        for kind in (RENEWAL, EXPIRY, KEY):
            self._alarm.cleared(kind, name)

    def renew(self, site: str, progress: Progress) -> Deferred[None]:
        row = self._rows.get(site)
        if row is None:
            return fail(CertificateUnavailable(f"{site}: no such site has certificates = acme"))
        if not self._running:
            return fail(CertificateUnavailable(f"{site}: this process is not on duty"))

        def cancelled(done: Deferred[None]) -> None:
            row.waiters = [waiter for waiter in row.waiters if waiter[0] is not done]

        done: Deferred[None] = Deferred(cancelled)
        row.waiters.append((done, progress))
        if row.attempt is None:
            row.forced = True
            self._begin(row)
        else:
            progress(row.step)
        return done

    def states(self) -> Mapping[str, Mapping[str, Any]]:
        now = self._wall()
        return {name: self._state(row, now) for name, row in self._rows.items()}

    def _state(self, row: _Row, now: float) -> dict[str, Any]:
        memory = row.known.memory
        window = memory.window
        return {
            "step": row.step,
            "next": plan.next_try(row.site, row.known, now) if row.read else None,
            "fault": memory.fault,
            "failures": memory.failures,
            "challenge": memory.challenge,
            "authority": memory.authority,
            "ari": None if window is None else (window.start, window.end),
        }

    # Looking

    def _look_soon(self, after: float = 0.0) -> None:
        if self._running and (self._soon is None or not self._soon.active()):
            self._soon = self._reactor.callLater(after, self._look_safely)

    def _look_safely(self) -> None:
        try:
            self._look()
        except Exception:
            self._log.failure("looking for certificates that are due; looking goes on")

    def _look(self) -> None:
        """Begin what is due."""
        if not self._running:
            return
        held = _acme_settings(self._settings())
        if held != self._held:
            self._held = held
            for row in self._rows.values():
                row.hurry = True
        unread = [row for row in self._rows.values() if not row.read and not row.reading]
        for start in range(0, len(unread), SLICE):
            self._read_slice(unread[start : start + SLICE])
        now = self._wall()
        due = [row for row in self._rows.values() if self._is_due(row, now)]
        due.sort(key=lambda row: plan.urgency(row.site, row.known, now))
        busy = sum(row.attempt is not None for row in self._rows.values())
        for row in due[: max(0, AT_ONCE - busy)]:
            self._begin(row)
        for row in due[max(0, AT_ONCE - busy) :]:
            row.step = "queued"
        for row in self._rows.values():
            if row.read:
                self._look_at_life(row, now)
                self._ask_for_window(row, now)

    def _is_due(self, row: _Row, now: float) -> bool:
        if not row.read or row.attempt is not None:
            return False
        if self._reactor.seconds() < row.busy_until:
            return False
        if row.forced:
            return True
        if not row.known.memory.failures:
            row.hurry = False  # There is no pause to be ended.
        if row.hurry:
            known = evolve(row.known, memory=evolve(row.known.memory, failures=0))
            return plan.next_try(row.site, known, now) <= now
        due = row.due
        if due is None or due[0] is not row.known or due[1] is not row.site or now < due[3]:
            # Asked at every look, of every site: what does not change is not found out again, but
            # when the clock was set back.
            due = row.due = (row.known, row.site, plan.next_try(row.site, row.known, now), now)
        return due[2] <= now

    def _read_slice(self, rows: Sequence[_Row]) -> None:
        for row in rows:
            row.reading = True
        names = [row.site.name for row in rows]
        done = self._threads.run(partial(self._read_known, names))

        def found(all_known: Sequence[tuple[Known, str]]) -> None:
            for row, (known, fault) in zip(rows, all_known, strict=True):
                if row.reading:
                    row.reading, row.read, row.known = False, True, known
                    self._tell_key(row, fault)
            self._clear_store_fault()
            self._look_soon()

        def failed(failure: Failure) -> None:
            for row in rows:
                row.reading = False
            if isinstance(failure.value, StoreFailed):
                self._tell_store_fault(failure.getErrorMessage())
            elif not isinstance(failure.value, ThreadsStopped):
                self._log.failure("reading certificates", failure)

        done.addCallbacks(found, failed)
        done.addErrback(lambda failure: self._log.failure("taking certificates", failure))

    def _read_known(self, names: Iterable[str]) -> list[tuple[Known, str]]:
        """In a thread."""
        self._store.prepare()
        found = []
        for name in names:
            kept = self._store.certificate(name)
            in_flight = self._store.order(name) is not None
            memory = self._store.memory(name)
            made = kept.credentials
            if made and memory.identity != identity_of(made.chain[0]):
                # Somebody else has put it there: whose window that would be is not known.
                memory = evolve(memory, identity="", window=None)
            held = Held.of(made) if made else None
            found.append((Known(held, memory, in_flight), kept.fault))
        return found

    # What a person hears

    def _tell_key(self, row: _Row, fault: str) -> None:
        if fault == row.key_told:
            return
        if row.key_told:
            self._alarm.cleared(KEY, row.site.name)
        row.key_told = fault
        if fault:
            self._alarm.raised(KEY, row.site.name, fault)

    def _tell_store_fault(self, words: str) -> None:
        # Each site has a file of its own that cannot be kept: one alarm for all of them.
        if not self._store_fault:
            self._store_fault = words
            self._alarm.raised(KEY, "", words)

    def _clear_store_fault(self) -> None:
        if self._store_fault:
            self._store_fault = ""
            self._alarm.cleared(KEY, "")

    def _look_at_life(self, row: _Row, now: float) -> None:
        """Tell, once for a certificate, that it has little life left."""
        held = row.known.held
        if held is None or now < held.warn_at:
            return
        if row.expiry_told == held.not_after:
            return
        row.expiry_told = held.not_after
        name, why = row.site.name, row.known.memory.fault
        ends = "has ended" if now >= held.not_after else "ends"
        words = f"{name}: its certificate {ends} at {spoken(held.not_after)}"
        self._alarm.raised(
            EXPIRY, name, f"{words}, and no new one could be had{f': {why}' if why else ''}"
        )

    def _tell_failure(self, row: _Row, lacking: bool) -> None:
        memory, name = row.known.memory, row.site.name
        if memory.kind in row.told or not plan.to_tell(memory, lacking):
            return
        if memory.kind == "away" and self._away_told:
            return  # one authority away is one alarm, not one for each site
        row.told[memory.kind] = memory.fault
        self._alarm.raised(
            RENEWAL,
            name,
            f"{name}: no certificate could be had: {memory.fault}; it is tried again by itself, "
            f"`snickers renew {name}` tries now",
        )

    def _is_away(self, directory: str, words: str) -> None:
        since = self._away.setdefault(directory, self._reactor.seconds())
        if not self._away_told and self._reactor.seconds() - since >= AWAY_FOR:
            self._away_told = True
            self._alarm.raised(AUTHORITY, "", f"no answer for {AWAY_FOR / 60:.0f} minutes: {words}")

    def _came_back(self, directory: str) -> None:
        self._away.pop(directory, None)
        if self._away_told and not self._away:
            self._away_told = False
            self._alarm.cleared(AUTHORITY, "")

    # Windows

    def _ask_for_window(self, row: _Row, now: float) -> None:
        known = row.known
        memory = known.memory
        if (
            row.asking
            or row.attempt is not None
            or self._asking >= ASKED_AT_ONCE
            or known.held is None
            or not memory.identity
            # One that is further ahead was set by a clock that was wrong.
            or now < memory.ask_at <= now + ASK_MOST
            # RFC 9773 section 4.3: not of one that has ended.
            or now >= known.held.not_after
        ):
            return
        row.asking = True
        self._asking += 1
        done = Deferred.fromCoroutine(self._ask(row))

        def over(result: object) -> None:
            if row.asking:
                row.asking = False
                self._asking -= 1
            if isinstance(result, Failure) and not isinstance(result.value, ThreadsStopped):
                self._log.failure("asking when to renew {site}", result, site=row.site.name)

        done.addBoth(over)

    async def _ask(self, row: _Row) -> None:
        """Ask when the site's certificate should be renewed (RFC 9773)."""
        memory = row.known.memory
        try:
            suggested = await self._in_thread(row, "ask", self._asked, memory)
        except (AuthorityFailed, StoreFailed, OSError) as error:
            self._log.info(
                "{site}: when to renew could not be asked: {error}",
                site=row.site.name,
                error=str(error),
            )
            fresh = evolve(memory, ask_at=self._wall() + ASK_FAILED)
        except (CancelledError, ThreadsStopped):
            raise
        except Exception:
            # A fault of ours must not be asked for again at each look.
            self._log.failure("asking when to renew {site}", site=row.site.name)
            fresh = evolve(memory, ask_at=self._wall() + ASK_FAILED)
        else:
            pause = ask_pause(suggested.retry_after if suggested else None)
            # One that makes no suggestions any more: the last one holds no longer.
            window = suggested.window if suggested else None
            fresh = evolve(memory, window=window, ask_at=self._wall() + pause)
            if suggested and suggested.explanation and window != memory.window:
                self._log.info(
                    "{site}: {page} explains when its certificate is to be renewed",
                    site=row.site.name,
                    page=suggested.explanation,
                )
        if row.known.memory is memory and row.attempt is None:
            row.known = evolve(row.known, memory=fresh)
            await self._in_thread(row, "remember", self._store.remember, row.site.name, fresh)
            self._look_soon()

    def _asked(self, memory: Memory) -> Any:
        """In a thread."""
        terms = self._terms(self._settings(), memory.authority)
        client = self._accounts.open(memory.authority, terms)
        try:
            found = client.suggested(memory.identity)
        except BaseException:
            client.close()
            raise
        self._accounts.rest(terms, client)
        return found

    # An attempt

    def _begin(self, row: _Row) -> None:
        """Try to have a certificate for *row*."""
        row.step = "beginning"
        done = Deferred.fromCoroutine(self._attempt(row))
        if not done.called:
            row.attempt = done

        def over(result: CertificateUnavailable | Failure | None) -> None:
            row.attempt = None
            row.step = "waiting"
            if isinstance(result, Failure):
                if self._running and not isinstance(result.value, CancelledError | ThreadsStopped):
                    self._log.failure("{site}: ordering", result, site=row.site.name)
                result = CertificateUnavailable(f"{row.site.name}: the order was broken off")
            # At last, since who is told may ask for the next one at once.
            self._answer(row, result)
            # Not for each of many that end together.
            self._look_soon(0.1)

        done.addBoth(over)

    def _in_thread(
        self, row: _Row, point: str, function: Callable[..., T], *arguments: Any
    ) -> Deferred[T]:
        return self._run(self._threads, row, point, function, *arguments)

    def _slowly(
        self, row: _Row, point: str, function: Callable[..., T], *arguments: Any
    ) -> Deferred[T]:
        return self._run(self._slow_threads, row, point, function, *arguments)

    def _run(
        self,
        threads: Threads,
        row: _Row,
        point: str,
        function: Callable[..., T],
        *arguments: Any,
    ) -> Deferred[T]:
        """Run something in a thread, which goes on when nobody waits for it any more."""
        self._at(f"before {point}")
        shown: Deferred[T] = Deferred()
        going = threads.run(partial(function, *arguments))
        row.going.append(going)

        def over(result: Any) -> None:
            row.going.remove(going)
            if not shown.called:
                self._at(f"after {point}")
                shown.callback(result) if not isinstance(result, Failure) else shown.errback(result)

        going.addBoth(over)
        return shown

    async def _attempt(self, row: _Row) -> CertificateUnavailable | None:
        """Return why there is no certificate, ``None`` when there is one."""
        name, forced = row.site.name, row.forced
        try:
            lock = await self._in_thread(row, "lock", self._lock, name)
        except (StoreFailed, OSError) as error:
            # A full disk, or one that is read-only: what is kept of failures cannot be, either.
            row.busy_until, row.forced = self._reactor.seconds() + BUSY_PAUSE, False
            self._tell_store_fault(str(error))
            return CertificateUnavailable(f"{name}: {error}")
        if lock is None:
            row.busy_until, row.forced = self._reactor.seconds() + BUSY_PAUSE, False
            return CertificateUnavailable(f"{name}: another process is ordering it just now")
        try:
            return await self._try(row, forced)
        finally:
            self._release(row, lock)

    def _lock(self, name: str) -> Lock | None:
        """In a thread."""
        self._store.prepare()
        return self._store.lock(name)

    def _release(self, row: _Row, lock: Lock) -> None:
        """Let go of the site when no thread works for it any more."""
        going = list(row.going)
        if not going:
            lock.release()
            return
        rest = [len(going)]

        def ended(result: object) -> object:
            rest[0] -= 1
            if not rest[0]:
                lock.release()
            return result

        for one in going:
            one.addBoth(ended)

    async def _try(self, row: _Row, forced: bool) -> CertificateUnavailable | None:
        """Try, with the lock held."""
        site, before = row.site, row.known.held
        [(row.known, fault)] = await self._in_thread(row, "read", self._read_known, [site.name])
        self._tell_key(row, fault)
        now = self._wall()
        hurry, row.hurry, row.forced, row.looked = row.hurry, False, False, False
        known = row.known
        if hurry:
            known = evolve(known, memory=evolve(known.memory, failures=0))
        if not forced and plan.next_try(site, known, now) > now:
            # Another process has done it meanwhile.
            if _serial(before) != _serial(known.held):
                self._told_replaced(row)
            return None
        try:
            await self._have_certificate(row, site)
        except (CancelledError, ThreadsStopped):
            raise
        except _EXPECTED as error:
            return await self._has_failed(row, site, error)
        except Exception as error:
            # A fault of ours must not become a storm: it counts like any other failure.
            self._log.failure("{site}: ordering", site=site.name)
            ours = _Failed("fault", f"a fault of Snickers: {error!r}")
            return await self._has_failed(row, site, ours)
        return None

    async def _has_failed(self, row: _Row, site: Site, error: Exception) -> CertificateUnavailable:
        words = str(error)
        self._log.info("{site}: no certificate: {error}", site=site.name, error=words)
        kind = getattr(error, "kind", "proof" if isinstance(error, ProofFailed) else "store")
        if row.site.names == site.names or row.site.name not in self._rows:
            wait = getattr(error, "wait", getattr(error, "retry_after", None))
            staging = bool(plan.staging_of(self._settings()))
            memory = plan.after_failure(
                row.known.memory,
                kind,
                words,
                wait,
                self._wall(),
                self._chance(),
                rehearse=kind == "proof" and staging and isinstance(error, AuthorityFailed),
            )
            row.known = evolve(row.known, memory=memory)
            try:
                await self._in_thread(row, "remember", self._store.remember, site.name, memory)
            except StoreFailed as failed:
                self._tell_store_fault(str(failed))
            else:
                self._clear_store_fault()
            if self._rows.get(site.name) is row:
                lacking = not plan.covers(row.known.held, site.names, self._wall())
                self._tell_failure(row, lacking)
        return CertificateUnavailable(f"{site.name}: {words}")

    async def _have_certificate(self, row: _Row, site: Site) -> None:
        settings = self._settings()
        flight = await self._in_thread(row, "find", self._store.order, site.name)
        if flight is not None and await self._taken_up(row, site, flight, settings):
            return
        words = plan.impossible(site, settings)
        if words:
            raise _Failed("setting", words)
        await self._rehearse(row, site, settings)
        await self._by_authorities(row, site, settings)

    async def _rehearse(self, row: _Row, site: Site, settings: Settings) -> None:
        """Try where failures do not count, after one that did."""
        staging = plan.staging_of(settings)
        if not (row.known.memory.rehearse and staging):
            return
        self._say(row, "rehearsing")
        try:
            challenge = await self._by_challenges(row, site, settings, staging, rehearsal=True)
        except AuthorityFailed as failed:
            if failed.kind not in ("away", "limited", "refused"):
                raise
            return  # nothing was found out
        memory = evolve(row.known.memory, rehearse=False, challenge=challenge)
        row.known = evolve(row.known, memory=memory)
        await self._in_thread(row, "remember", self._store.remember, site.name, memory)

    async def _look_first(self, row: _Row, site: Site, settings: Settings, client: Client) -> None:
        """Have what can be known beforehand found out before the authority is asked."""
        if row.looked or not settings.acme_preflight or self._preflight is None:
            return
        row.looked = True
        self._say(row, "looking whether its names can be proven")
        try:
            faults = await self._slowly(
                row,
                "preflight",
                self._preflight,
                site.names,
                settings,
                site.acme_challenge,
                client.identities,
                client.identity.url,
            )
        except CancelledError:
            raise
        except Exception:
            self._log.failure("{site}: the preflight; the order goes on", site=site.name)
            return
        if faults:
            raise _Failed("preflight", "; ".join(faults))

    async def _by_authorities(self, row: _Row, site: Site, settings: Settings) -> None:
        """Order from the first authority that gives."""
        places = plan.directories(settings)
        for index, directory in enumerate(places):
            try:
                await self._by_challenges(row, site, settings, directory)
                return
            except AuthorityFailed as failed:
                last = index == len(places) - 1
                if last or failed.kind not in ("away", "limited", "refused"):
                    raise
                self._log.info(
                    "{site}: {error}; the fallback is asked", site=site.name, error=str(failed)
                )

    async def _by_challenges(
        self,
        row: _Row,
        site: Site,
        settings: Settings,
        directory: str,
        rehearsal: bool = False,
    ) -> str:
        """Order from one authority, proving by what works; return what that was."""
        ways = plan.challenges(site, settings, row.known.memory.challenge)
        for index, challenge in enumerate(ways):
            try:
                await self._order(row, site, settings, directory, challenge, rehearsal)
                return challenge
            except (AuthorityFailed, ProofFailed) as failed:
                proof = isinstance(failed, ProofFailed) or failed.kind == "proof"
                if not proof or index == len(ways) - 1:
                    raise
                self._log.info(
                    "{site}: {error}; {next} is tried",
                    site=site.name,
                    error=str(failed),
                    next=ways[index + 1],
                )
        raise AssertionError("there is always a way")

    async def _order(
        self,
        row: _Row,
        site: Site,
        settings: Settings,
        directory: str,
        challenge: str,
        rehearsal: bool,
    ) -> None:
        """Place an order, and once more when the authority has forgotten who we are."""
        for again in (True, False):
            client, terms = await self._open(row, settings, directory)
            if not rehearsal:
                await self._look_first(row, site, settings, client)
            replaces = ""
            known = row.known
            if (
                not rehearsal
                and known.held is not None
                and known.memory.window is not None
                and known.memory.authority == directory
                and set(known.held.names) >= set(site.names)
            ):
                replaces = known.memory.identity
            order = Order(
                site=site.name,
                directory=directory,
                account=client.identity.url,
                names=site.names,
                challenge=challenge,
                key=new_key(),
                begun=self._wall(),
                profile=settings.acme_profile if directory == settings.acme_directory else "",
                replaces=replaces,
            )
            try:
                await self._carry_out(row, order, client, terms, rehearsal)
                return
            except AuthorityFailed as failed:
                if failed.kind != "lost" or not again:
                    raise
                await self._in_thread(row, "account lost", self._accounts.unknown, client)

    async def _taken_up(self, row: _Row, site: Site, flight: Order, settings: Settings) -> bool:
        """Go on with an order that was found on the disk; return whether it has led to a
        certificate, or else is done with."""
        known_places = plan.directories(settings)
        if set(flight.names) == set(site.names) and flight.directory in known_places:
            client, terms = await self._open(row, settings, flight.directory)
            if usable(flight, site.names, client.identity.url, self._wall()):
                self._say(row, "taking up the order again")
                try:
                    await self._carry_out(row, flight, client, terms, rehearsal=False)
                    return True
                except AuthorityFailed as failed:
                    if failed.kind != "lost":
                        raise
                    # The authority knows nothing of it: it is done with, a new one is placed.
            else:
                await self._in_thread(row, "rest", self._accounts.rest, terms, client)
        run, slow = partial(self._in_thread, row), partial(self._slowly, row)
        await take_away(flight, self._challenges, run, slow)
        await self._in_thread(row, "forget", self._store.forget_order, site.name)
        row.known = evolve(row.known, in_flight=False)
        return False

    async def _open(self, row: _Row, settings: Settings, directory: str) -> tuple[Client, Terms]:
        self._say(row, f"asking {directory}")
        terms = self._terms(settings, directory)
        try:
            client = await self._in_thread(row, "account", self._accounts.open, directory, terms)
        except AuthorityFailed as failed:
            if failed.kind == "away":
                self._is_away(directory, str(failed))
            raise
        self._came_back(directory)
        return client, terms

    @staticmethod
    def _terms(settings: Settings, directory: str) -> Terms:
        external = settings.acme_external_account if directory == settings.acme_directory else ""
        return Terms(settings.acme_trust, settings.acme_email, external)

    async def _carry_out(
        self, row: _Row, order: Order, client: Client, terms: Terms, rehearsal: bool
    ) -> None:
        held = row.known.held
        renewal = held is not None and set(held.names) == set(order.names)

        async def stored(order: Order, made: Credentials) -> None:
            await self._is_stored(row, order, made)

        try:
            await self._ordering.carry_out(
                order,
                client,
                renewal,
                partial(self._say, row),
                partial(self._in_thread, row),
                partial(self._slowly, row),
                None if rehearsal else stored,
            )
        except BaseException:
            # It may be in the middle of something, in a thread that nobody waits for.
            if not row.going:
                client.close()
            raise
        self._accounts.rest(terms, client)

    async def _is_stored(self, row: _Row, order: Order, made: Credentials) -> None:
        wild_alone = all(name.startswith("*.") for name in order.names)
        memory = plan.after_success(
            row.known.memory,
            "" if wild_alone else order.challenge,
            order.directory,
            identity_of(made.chain[0]),
            # Also when the authority does not take it for a successor.
            row.known.memory.window is not None,
        )
        row.known = Known(Held.of(made), memory)
        await self._in_thread(row, "remember", self._store.remember, order.site, memory)
        self._log.info(
            "{site}: a new certificate from {directory}, until {end}",
            site=order.site,
            directory=order.directory,
            end=spoken(made.not_after),
        )
        row.told.clear()
        row.expiry_told = 0.0
        for kind in (RENEWAL, EXPIRY, KEY):
            self._alarm.cleared(kind, order.site)
        row.key_told = ""
        self._clear_store_fault()
        self._told_replaced(row)

    def _told_replaced(self, row: _Row) -> None:
        if self._rows.get(row.site.name) is row:
            try:
                self._replaced(row.site.name)
            except Exception:
                self._log.failure("{site}: telling of its certificate", site=row.site.name)

    def _say(self, row: _Row, words: str) -> None:
        row.step = words
        for _, progress in list(row.waiters):
            progress(words)

    def _answer(self, row: _Row, problem: CertificateUnavailable | None) -> None:
        """Tell those who wait how it went."""
        waiters, row.waiters = row.waiters, []
        for done, _ in waiters:
            if not done.called:
                done.callback(None) if problem is None else done.errback(problem)


def _serial(held: Held | None) -> int:
    return 0 if held is None else held.serial
