"""The certificates of all sites: loaded on first use, kept while in use, watched.

The table of sites is in memory and costs nothing to change; a file is looked at, and a context
made, in threads of its own only when a handshake asks for it, when the periodic look finds a
change, or in the slow survey that finds what is wrong before a visitor does. Handshakes are
answered at once from what was loaded.

Must never drop a context that works because its successor does not, never hold a handshake of
one site up for another site's disk, and never stop looking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import define, evolve, field
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.config.values import Site
from snickers.disk import Watched, changed
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.certificates import ICertificates
from snickers.tls.authority import Authority
from snickers.tls.contexts import Harden, Recent
from snickers.tls.credentials import CertificateUnavailable, covers
from snickers.tls.folders import Folders
from snickers.tls.loader import Loaded, Loader
from snickers.tls.ordered import Ordered
from snickers.tls.table import Entry, Row
from snickers.tls.threads import Threads

CONTEXTS = 1000
"""Contexts kept: some 23 MB."""
LOOK_EVERY = 10.0
"""Seconds between two looks: a new certificate is in use before whoever put it there wonders."""
SLICE = 500
"""Certificates whose files are looked at in one go: some 3 ms of one thread."""
SURVEY = 100
"""Sites of `files` and `acme` that nobody asked for yet, read in one look: some 30 ms."""
CONTEXT_LIFE = 6 * 3600.0
"""Seconds after which a context is replaced though its certificate has not changed. OpenSSL seals
session tickets with keys that are made with the context and never changed: who steals the memory
of today must not be able to read what was said with TLS 1.2 tickets weeks ago. A ticket is good
for two hours, so a client pays at most every third one with a whole handshake."""

SURVEYED = ("files", "acme")
"""Sources whose faults are to be found before a visitor finds them."""

ALARM = "certificate"


@define(eq=False)
class _Load:
    """A load under way, and who waits for it."""

    version: int
    keep: bool
    """Whether somebody will use the context: it is kept."""
    waiting: list[Deferred[SSL.Context]] = field(factory=list)


def _changed(slice_: Sequence[Watched]) -> list[int]:
    return [index for index, watched in enumerate(slice_) if changed(watched)]


@implementer(ICertificates)
class Certificates:
    """The certificates of all sites.

    *reactor* times the looks; *threads* runs what blocks, and is started and stopped with this;
    *directory* is where the certificates of ``files`` are, *ordered* has those of ``acme``;
    *harden* is called, in a thread, with every new context; *epoch* returns epoch seconds; *limit*
    contexts are kept; *survey* sites that nobody asked for are read in one look, of those whose
    source is one of `SURVEYED`.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        threads: Threads,
        authority: Authority,
        directory: str,
        ordered: Ordered,
        harden: Harden,
        alarm: IAlarm,
        epoch: Callable[[], float],
        limit: int = CONTEXTS,
        survey: int = SURVEY,
    ) -> None:
        self._threads = threads
        self._clock = reactor
        self._loader = Loader(authority, Folders(directory), ordered, harden)
        self._alarm = alarm
        self._epoch = epoch
        self._survey = survey
        self._rows: dict[str, Row] = {}
        self._recent: Recent[tuple[str, str]] = Recent(limit)
        self._loads: dict[tuple[str, str], _Load] = {}
        self._unseen: deque[str] = deque()
        self._running = False
        self._loop = LoopingCall(self.look)
        self._loop.clock = reactor

    # Its own life

    def start(self) -> None:
        """Begin to load and to look."""
        self._running = True
        self._threads.start()
        self._loop.start(LOOK_EVERY, now=False)

    def stop(self) -> None:
        """Load and look no more; who waits is refused. Blocks for what a thread has begun."""
        self._running = False
        if self._loop.running:
            self._loop.stop()
        self._threads.stop()
        for key in list(self._loads):
            self._refuse(self._loads.pop(key), "Snickers is stopping")

    # The table

    @property
    def directory(self) -> str:
        """Where the certificates of sites with ``certificates = files`` are; may be changed."""
        return self._loader.folders.directory

    @directory.setter
    def directory(self, directory: str) -> None:
        if directory == self.directory:
            return
        self._loader = evolve(self._loader, folders=Folders(directory))
        for row in self._rows.values():
            if row.site.certificates == "files":
                row.outdate()
                self._survey_later(row.site)

    def apply(
        self, added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]
    ) -> None:
        """Take a new configuration's sites; returns at once and reads nothing."""
        for site in removed:
            self._remove(site.name)
        for site in (*added, *changed):
            row = self._rows.get(site.name)
            if row is None:
                self._rows[site.name] = Row(site)
            else:
                news, gone = row.change(site)
                for name in gone:
                    self._recent.drop((site.name, name))
                if not news:
                    continue
                self._tell(row)
            self._survey_later(site)

    def _survey_later(self, site: Site) -> None:
        if self._survey and site.certificates in SURVEYED:
            self._unseen.append(site.name)

    def _remove(self, site: str) -> None:
        row = self._rows.pop(site, None)
        if row is None:
            return
        for name in row.entries:
            self._recent.drop((site, name))
        if row.told:
            self._alarm.cleared(ALARM, site)

    def states(self) -> Mapping[str, Mapping[str, Any]]:
        """See `ICertificates`. Where a site's names have certificates of their own, it is the one
        that ends first."""
        states: dict[str, dict[str, Any]] = {}
        for name, row in self._rows.items():
            known = [entry.last for entry in row.entries.values() if entry.known]
            if known:
                first = min(known, key=lambda last: last.not_after)
                ours = first.source == "internal"
                states[name] = {
                    "source": first.source,
                    "issuer": first.issuer,
                    "not_after": first.not_after,
                    "names": list(first.names),
                    "next": first.renew_at if ours else None,
                    "fault": "; ".join(sorted(row.told)),
                }
            elif row.told:
                states[name] = {
                    "source": row.site.certificates,
                    "issuer": "",
                    "not_after": 0.0,
                    "names": [],
                    "next": None,
                    "fault": "; ".join(sorted(row.told)),
                }
        return states

    # Handshakes

    def context(self, site: str, server_name: bytes) -> SSL.Context | Deferred[SSL.Context]:
        """Return the context for a handshake of the site named *site*.

        *server_name* is what the client asked for, lower case, ``b""`` if nothing. What was
        loaded is returned at once; else a Deferred fires with it when it is, or fails with
        `CertificateUnavailable`. It may be cancelled.
        """
        row = self._rows.get(site)
        if row is None:
            return fail(CertificateUnavailable(f"{site}: there is no such site"))
        name = row.choose(server_name)
        entry = row.entries.get(name)
        if entry is not None and not entry.stale:
            context = self._recent.get((site, name))
            if context is not None:
                return context
            if not entry.known:
                return fail(CertificateUnavailable(entry.fault))
        if not self._running:
            return fail(CertificateUnavailable(f"{site}: Snickers is not running"))
        return self._load(row, name, keep=True)

    def reread(self, site: str) -> None:
        """See `ICertificates`. Handshakes meanwhile get what was loaded."""
        row = self._rows.get(site)
        if row is None or not self._running:
            return
        row.version += 1  # what is being loaded at this moment may have been read before
        for name in row.names:
            if self._survey or name in row.entries or (site, name) in self._loads:
                Deferred.fromCoroutine(self._again(row, name))

    def prove(self, site: str, name: str) -> Deferred[None]:
        """Load the certificate of *site* for *name*, one of its names, and keep nothing of it.

        Fires when it is as it should be; fails with `CertificateUnavailable` when there is none to
        show.
        """
        row = self._rows.get(site)
        if row is None or name not in row.names or not self._running:
            return fail(CertificateUnavailable(f"{site}: there is no such site"))
        return self._load(row, name, keep=False).addCallback(lambda _: None)

    def renew(self, site: str) -> Deferred[None]:
        """See `ICertificates`."""
        return Deferred.fromCoroutine(self._renew(site))

    async def _renew(self, site: str) -> None:
        row = self._rows.get(site)
        if row is None or not self._running:
            raise CertificateUnavailable(f"{site}: there is no such site")
        await self._threads.run(partial(self._loader.renew, row.site, self._epoch()))
        for name in row.names:
            await self._again(row, name)
        if row.told:
            raise CertificateUnavailable("; ".join(sorted(row.told)))

    # Loading

    def _load(self, row: Row, name: str, keep: bool) -> Deferred[SSL.Context]:
        """Load the certificate of *name*, once for all who ask meanwhile."""
        waiter: Deferred[SSL.Context] = Deferred()
        key = (row.site.name, name)
        load = self._loads.get(key)
        if load is not None:
            load.keep = load.keep or keep
            load.waiting.append(waiter)
        else:
            load = self._loads[key] = _Load(row.version, keep, [waiter])
            self._begin(row, name, load)
        return waiter

    def _begin(self, row: Row, name: str, load: _Load) -> None:
        load.version = row.version
        work = partial(self._loader.load, row.site, name, self._epoch())
        done = self._threads.run(work)
        done.addErrback(self._broken, row.site.name)
        done.addCallback(self._finish, row, name, load)
        done.addErrback(self._lost, row, name, load)

    def _broken(self, failure: Failure, site: str) -> Loaded:
        """Turn what should not have been raised into words."""
        self._log.failure("loading the certificate of {site}", failure, site=site)
        return Loaded(fault=f"{site}: its certificate cannot be loaded: {failure.value!r}")

    def _lost(self, failure: Failure, row: Row, name: str, load: _Load) -> None:
        """Let nobody wait for ever for what went wrong in here."""
        self._log.failure("taking the certificate of {site}", failure, site=row.site.name)
        self._loads.pop((row.site.name, name), None)
        self._refuse(load, f"{row.site.name}: its certificate cannot be loaded")

    def _refuse(self, load: _Load, words: str) -> None:
        waiting, load.waiting = load.waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(CertificateUnavailable(words))

    def _finish(self, loaded: Loaded, row: Row, name: str, load: _Load) -> None:
        key = (row.site.name, name)
        if self._loads.get(key) is not load:
            return  # stopped meanwhile
        if self._rows.get(row.site.name) is not row or name not in row.names:
            del self._loads[key]
            self._refuse(load, f"{name}: the site was removed")
            return
        if row.version != load.version:
            self._begin(row, name, load)  # asked for again by a newer configuration
            return
        del self._loads[key]
        entry = row.entries.get(name)
        if entry is None:
            entry = row.entries[name] = Entry(name)
        context = self._recent.peek(key)
        if context is not None and self._is_worse(loaded, entry.last, name):
            loaded = evolve(loaded, context=None)
        if loaded.context is not None:
            if context is None or loaded.mark != entry.last.mark or self._is_old(entry):
                context = loaded.context
                entry.made = self._clock.seconds()
            # Else it is the same again: with another context every session would be lost.
            if load.keep:
                self._recent.put(key, context)
            else:
                self._recent.refresh(key, context)
        elif load.keep:
            self._recent.get(key)
        entry.take(loaded, kept=context is not None)
        self._tell(row)
        if context is None:
            self._refuse(load, loaded.fault)
            return
        waiting, load.waiting = load.waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(context)

    def _is_worse(self, loaded: Loaded, used: Loaded, name: str) -> bool:
        """Whether what is *used* for *name* is to go on instead of what was *loaded*."""
        return (
            loaded.stand_in
            and not used.stand_in
            and self._epoch() < used.not_after
            and covers(used.names, name)
        )

    def _is_old(self, entry: Entry) -> bool:
        return self._clock.seconds() - entry.made >= CONTEXT_LIFE

    def _tell(self, row: Row) -> None:
        words = row.words(self._epoch())
        if words == row.told:
            return
        told, row.told = row.told, words
        if told - words:
            self._alarm.cleared(ALARM, row.site.name)
            told = frozenset()
        for message in sorted(words - told):
            self._alarm.raised(ALARM, row.site.name, message)

    # Looking

    def look(self) -> Deferred[None]:
        """Look at everything once: what changed is loaded, what is due renewed.

        Fires when it is done, and never fails.
        """
        done = Deferred.fromCoroutine(self._look())
        done.addErrback(self._looked_badly)
        return done

    def _looked_badly(self, failure: Failure) -> None:
        if self._running:
            self._log.failure("looking at the certificates; looking goes on", failure)

    async def _look(self) -> None:
        entries = [(row, entry) for row in self._rows.values() for entry in row.entries.values()]
        for start in range(0, len(entries), SLICE):
            part = entries[start : start + SLICE]
            watched = [entry.last.watched for _, entry in part]
            found = set(await self._threads.run(partial(_changed, watched)))
            now = self._epoch()
            for index, (row, entry) in enumerate(part):
                aged = self._is_old(entry) and (row.site.name, entry.name) in self._recent
                if entry.due(now) or index in found or aged:
                    await self._again(row, entry.name)
                elif row.told or now >= entry.last.warn_at:
                    self._tell(row)
        await self._look_at_unseen()

    async def _look_at_unseen(self) -> None:
        for _ in range(min(self._survey, len(self._unseen))):
            row = self._rows.get(self._unseen.popleft())
            if row is not None and row.site.certificates in SURVEYED:
                for name in row.names:
                    if name not in row.entries or row.entries[name].stale:
                        await self._again(row, name)

    async def _again(self, row: Row, name: str) -> None:
        """Load without a use; the context is kept only in the place of one that is kept."""
        if not self._running or self._rows.get(row.site.name) is not row:
            return
        if name not in row.names:
            return
        try:
            await self._load(row, name, keep=False)
        except CertificateUnavailable:
            pass  # told of already
