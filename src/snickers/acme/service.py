"""Has each site that wants one a certificate from the network, and renews it in time.

One of these works at a time on a state folder: in the process that is on duty. A look, every few
seconds and at once when a site is new, finds what is due and begins it: attempts at certificates
(`snickers.acme.attempt`), side by side, at most so many, and questions for windows
(`snickers.acme.suggestions`). Whatever befalls one, the certificate that is in place stays. Must
never begin more than one attempt for a site or any while off duty, never let a site that cannot be
read keep others waiting, and never block the reactor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.acme import plan
from snickers.acme.accounts import Accounts
from snickers.acme.attempt import Attempts, Preflight
from snickers.acme.challenges import Challenges
from snickers.acme.plan import Known
from snickers.acme.standing import Progress, Standing
from snickers.acme.store import Store, StoreFailed
from snickers.acme.suggestions import Suggestions
from snickers.acme.tidings import Tidings
from snickers.acme.work import Threads, Work
from snickers.config.values import Passthrough, Settings, Site
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.certificates import IRenewer
from snickers.tls.credentials import CertificateUnavailable
from snickers.tls.threads import ThreadsStopped

LOOK_EVERY = 5.0
"""Seconds between two looks for what is due."""
AT_ONCE = 24
"""Orders carried out side by side: most of an order's time is the authority's."""
SLICE = 100
"""Sites whose files are read in one go of a thread."""


@implementer(IRenewer)
class Acme:
    """The certificates of all sites with ``certificates = acme``.

    *reactor* times looks and waits; *threads* runs what is asked of authorities and the disk,
    *slow* the preflight and the program that writes into the DNS; both are started and stopped with
    this.
    *settings* returns those that hold now; *wall* returns epoch seconds; *replaced* is called with
    the name of a site whose certificate's file was replaced. *preflight* is as `Preflight`;
    ``None``: there is none. *chance* returns a number from 0 up to 1, by which pauses are spread.
    *at* is called before and after everything that is awaited, for tests that interrupt there.
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
        self._wall = wall
        self._accounts = accounts or Accounts(store, wall)
        self._at = at
        self._rows: dict[str, Standing] = {}
        self._tidings = Tidings(alarm, reactor.seconds)
        self._suggestions = Suggestions(self._accounts, store, settings, wall, self._look_soon)
        self._attempts = Attempts(
            reactor,
            store,
            challenges,
            self._accounts,
            settings,
            wall,
            self._tidings,
            self._rows,
            replaced,
            preflight,
            chance,
        )
        self._running = False
        self._decisive: tuple[object, ...] = ()
        self._soon: Any = None
        self._loop = LoopingCall(self._look_safely)
        self._loop.clock = reactor

    # Its own life

    def start(self) -> None:
        """Be on duty: look for what is due, and see to it. May be called again after `stop`."""
        if self._running:
            return
        self._running = True
        self._decisive = plan.decisive(self._settings())
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
            row.unread()
            row.answer(CertificateUnavailable("Snickers is stopping, or off duty"))
        self._suggestions.stop()
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
                self._rows[site.name] = Standing(
                    site,
                    Work(self._threads, self._slow_threads, self._at),
                    self._tidings.of(site.name),
                )
            else:
                row.changed(site)
        self._look_soon()

    def _drop(self, name: str) -> None:
        row = self._rows.pop(name, None)
        if row is None:
            return
        # An order that is under way goes on to its end: it was paid for.
        row.answer(CertificateUnavailable(f"{name}: the site was removed"))
        row.tidings.over()

    def renew(self, site: str, progress: Progress) -> Deferred[None]:
        row = self._rows.get(site)
        if row is None:
            return fail(CertificateUnavailable(f"{site}: no such site has certificates = acme"))
        if not self._running:
            return fail(CertificateUnavailable(f"{site}: this process is not on duty"))
        done = row.wait(progress)
        if row.attempt is None:
            row.forced = True
            self._begin(row)
        else:
            progress(row.step)
        return done

    def states(self) -> Mapping[str, Mapping[str, Any]]:
        now = self._wall()
        return {name: row.state(now) for name, row in self._rows.items()}

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
        decisive = plan.decisive(self._settings())
        if decisive != self._decisive:
            self._decisive = decisive
            for row in self._rows.values():
                row.hurry = True
        unread = [row for row in self._rows.values() if not row.read and not row.reading]
        for start in range(0, len(unread), SLICE):
            self._read_slice(unread[start : start + SLICE])
        now, seconds = self._wall(), self._reactor.seconds()
        due = [row for row in self._rows.values() if row.is_due(now, seconds)]
        due.sort(key=lambda row: plan.urgency(row.site, row.known, now))
        busy = sum(row.attempt is not None for row in self._rows.values())
        for row in due[: max(0, AT_ONCE - busy)]:
            self._begin(row)
        for row in due[max(0, AT_ONCE - busy) :]:
            row.step = "queued"
        for row in self._rows.values():
            if row.read:
                row.tidings.life(row.known.held, row.known.memory.fault, now)
                self._suggestions.look(row, now)

    def _read_slice(self, rows: Sequence[Standing]) -> None:
        for row in rows:
            row.reading = True
        names = [row.site.name for row in rows]
        done = self._threads.run(partial(self._read_known, names))

        def found(all_known: Sequence[tuple[Known, str]]) -> None:
            for row, (known, fault) in zip(rows, all_known, strict=True):
                if row.reading:
                    row.reading, row.read, row.known = False, True, known
                    row.tidings.key(fault)
            self._tidings.kept()
            self._look_soon()

        def failed(failure: Failure) -> None:
            for row in rows:
                row.reading = False
            if isinstance(failure.value, StoreFailed):
                self._tidings.not_kept(failure.getErrorMessage())
            elif not isinstance(failure.value, ThreadsStopped):
                self._log.failure("reading certificates", failure)

        done.addCallbacks(found, failed)
        done.addErrback(lambda failure: self._log.failure("taking certificates", failure))

    def _read_known(self, names: Iterable[str]) -> list[tuple[Known, str]]:
        """In a thread."""
        self._store.prepare()
        return [self._store.known(name) for name in names]

    # An attempt

    def _begin(self, row: Standing) -> None:
        """Try to have a certificate for *row*."""
        row.step = "beginning"
        done = Deferred.fromCoroutine(self._attempts.make(row))
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
            row.answer(result)
            # Not for each of many that end together.
            self._look_soon(0.1)

        done.addBoth(over)
