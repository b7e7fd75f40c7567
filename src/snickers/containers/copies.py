"""Copies of the folders of sites that have a server of their own: made, restored, proved, pruned.

One thing at a time is done for a site. What keeps the copies is behind `ICopies`; whether a server
runs is asked of, and changed through, the lives. While a folder is exchanged for a restored one its
server sleeps, and whoever asks for the site waits. What a folder held before is itself kept as a
copy: it must never remove data of which there is no copy, and never leave a site's folder absent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    DeferredSemaphore,
    TimeoutError,
    succeed,
)
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.config.values import Container, Site
from snickers.containers import ontrial, swap, tool
from snickers.containers.engine import EngineAway, EngineFailed, Turns
from snickers.containers.folder import InThread, Progress, clear, settle
from snickers.containers.keep import given_up
from snickers.containers.proof import Proof
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.copies import Copy, CopyFailed, ICopies, ISnapshots
from snickers.interfaces.engine import Ran
from snickers.interfaces.lives import LifeFailed

ASKED = "asked for"
ASLEEP = "fell asleep"
BEFORE = "before a restore"
TRIAL = "before an update"
FAILED = "left by an update that failed"
LEFT = "left by a restore that was broken off"
LATEST = "latest"
TRIED = "tried"
"""The kind of alarm that holds as long as a file says that another server was tried on a folder,
and nobody knows whether the folder is well."""
BY_THEMSELVES = 2
"""Copies that nobody waits for, made at once: when many fall asleep the disk is not theirs."""

TURN_WITHIN = 30.0
"""Seconds for which a trial waits until nothing else is done with the folder: visitors wait."""
MARGIN = 60.0
"""Seconds that a server may take to fall asleep beyond what its section allows it."""

_UNWANTED = "It is not wanted any more."
_AT_REST = ("asleep", "crashed")
_SERVES = ("awake", "replacing")
_log = Logger()


class Servers(Protocol):
    """What is needed of the lives: see `ILeases.stage`, `ILives` and `IEngine.run`."""

    def stage(self, site: str) -> str: ...

    def owes(self, site: str) -> str: ...

    def wake(self, site: str, progress: Progress) -> Deferred[None]: ...

    def wake_alone(self, site: str, progress: Progress) -> Deferred[None]: ...

    def sleep(self, site: str, progress: Progress) -> Deferred[None]: ...

    def run(self, site: str, command: Sequence[str], within: float) -> Deferred[Ran]: ...


@implementer(ISnapshots)
class Copies:
    """Copies of all sites.

    :param stores: where copies are kept; the first makes new ones, all are looked into.
    :param sites: returns the configuration of a site, ``None`` where there is none.
    """

    def __init__(
        self,
        reactor: tool.IReactor,
        in_thread: InThread,
        stores: Callable[[], Sequence[ICopies]],
        sites: Callable[[str], Site | None],
        lives: Servers,
        proof: Proof,
        alarm: IAlarm,
    ) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._stores = stores
        self._sites = sites
        self._lives = lives
        self._proof = proof
        self._alarm = alarm
        self._turns = Turns()
        self._room = DeferredSemaphore(BY_THEMSELVES)
        self._working: set[Deferred[Any]] = set()
        self._lived: set[str] = set()
        """Sites whose server was awake since the last copy that was made of itself."""
        self._restoring: set[str] = set()
        self._trials: dict[str, Deferred[None]] = {}
        """Sites on whose folder another server is tried, and what ends that."""
        self._marks: dict[str, tuple[str, str]] = {}
        """...and the file that says so, should Snickers end meanwhile, and of which copy."""
        self._put: set[str] = set()
        """Sites whose folder was put back in the trial that goes on."""
        self._told: set[str] = set()
        """Sites of which it was told that another server was tried."""
        self._going_on: set[str] = set()
        """Sites of which it was not, as somebody else's trial goes on here."""
        self._ahead: dict[str, Callable[[], None]] = {}
        """Sites whose server is waited for by whoever has the turn, and what ends that."""
        self._heedless: set[str] = set()
        """Sites whose folder is had by one who does not wait for the server."""
        self._closed = False

    def start(self, sites: Iterable[Site]) -> None:
        """Put right what an end in the middle of a restore has left, before any server is started:
        a few looks at the disk for each site. What else is to be done is done by and by."""
        self._closed = False
        self._lived.clear()
        self._told.clear()
        self._going_on.clear()
        for site in sites:
            if site.life is None or not site.data:
                continue
            folder = os.path.realpath(site.data)
            try:
                worthy, worthless = swap.recover(folder)
            except OSError as error:
                self._alarm.raised("snapshots", site.name, f"{folder}: {error.strerror}.")
                continue
            if worthy or worthless:
                self._unasked(site.name, self._tidy)
            self._tell_of_trial(site.name, swap.beside(folder, swap.TRIED))

    def _tell_of_trial(self, name: str, mark: str) -> None:
        said = ontrial.read(mark)
        if not said:
            # Somebody else may have told of it.
            self._alarm.cleared(TRIED, name)
            return
        id = said[0]
        if self._lives.owes(name) == id:
            # Known to be on its way: it goes on with that, or has the folder put back.
            self._going_on.add(name)
            return
        self._tell(name, id, mark)

    def _tell(self, name: str, id: str, mark: str) -> None:
        words = (
            "Snickers ended while another server was tried on its folder, which may be as that one "
            f"has left it. As it was before: snickers restore {name} {id} (or remove {mark}, if "
            "it is well as it is)."
        )
        _log.warn("{site}: {words}", site=name, words=words)
        self._told.add(name)
        self._alarm.raised(TRIED, name, words)

    def _no_mark(self, name: str) -> None:
        """The file is gone that says that another server was tried on the folder of a site."""
        self._told.discard(name)
        self._going_on.discard(name)
        self._alarm.cleared(TRIED, name)

    async def _look_for_mark(self, site: Site) -> None:
        """A person may have removed it."""
        mark = swap.beside(os.path.realpath(site.data), swap.TRIED)
        if site.name in self._told and not await self._in_thread(os.path.lexists, mark):
            self._no_mark(site.name)

    async def _tell_late(self, site: Site) -> None:
        mark = swap.beside(os.path.realpath(site.data), swap.TRIED)
        if said := await self._in_thread(ontrial.read, mark):
            self._tell(site.name, said[0], mark)

    def close(self) -> Deferred[Any]:
        """End what is being done; fires when it has ended."""
        self._closed = True
        for site in list(self._trials):
            self.end_trial(site)
        working = list(self._working)
        for work in working:
            work.cancel()
        return DeferredList(working)

    def moved(self, name: str) -> None:
        """The server of a site may have fallen asleep: see `Lives.moved`."""
        if name in self._going_on and name not in self._trials and not self._lives.owes(name):
            # It turned out that there is nothing to go back to, so nobody puts the folder back.
            self._going_on.discard(name)
            self._in_turn(name, self._tell_late).addErrback(
                lambda failure: _log.failure("{site}: copies", failure, site=name)
            )
        stage = self._lives.stage(name)
        if stage == "awake":
            self._lived.add(name)
        elif stage in _AT_REST and name in self._lived:
            self._lived.discard(name)
            site = self._sites(name)
            wanted = site is not None and site.life is not None and site.life.copy_when_asleep
            if wanted and name not in self._restoring:
                self._unasked(name, self._copy_asleep)

    # ISnapshots

    def snapshot(self, site: str, progress: Progress) -> Deferred[Copy]:
        return self._in_turn(site, lambda s: self._snapshot(s, progress))

    def snapshots(self, site: str) -> Deferred[Sequence[Copy]]:
        async def listed() -> Sequence[Copy]:
            return [copy for _, copy in await self._all(self._site(site))]

        return Deferred.fromCoroutine(listed())

    def restore(self, site: str, id: str, progress: Progress) -> Deferred[Copy]:
        return self._in_turn(site, lambda s: self._restore(s, id, progress))

    def prove(self, site: str, id: str, progress: Progress) -> Deferred[Copy]:
        return self._in_turn(site, lambda s: self._prove(s, id, progress))

    def verify(self, site: str, progress: Progress) -> Deferred[None]:
        async def verify(s: Site) -> None:
            for store in self._stores():
                await store.verify(s.name, progress)

        return self._in_turn(site, verify)

    # Trials: nobody else has the folder from the copy to the end

    def begin_trial(self, site: str, progress: Progress, had: str = "") -> Deferred[str]:
        """Copy the folder of *site*, whose server does not run, and keep it from others until
        `end_trial`; fires with the copy's id, with ``""`` where there is no folder yet.

        *had* is what came of it before, where that trial has not come to its end: no other copy is
        made, unless that one has gone or the folder was restored since.
        """
        self.end_trial(site)
        over: Deferred[None] = Deferred()
        copied: Deferred[str] = Deferred()
        self._trials[site] = over

        async def trial(s: Site) -> None:
            if over.called:
                return  # Given up before it was its turn.
            hurry()
            try:
                id = await self._copy_for_trial(s, progress, had, over)
            except BaseException as problem:
                if not copied.called:
                    copied.errback(_in_words(s.name, problem))
                return
            if not copied.called:
                copied.callback(id)
            await over

        def give_up() -> None:
            if site in self._heedless:
                wait()
            else:
                fail("Something else is being done with it: see snickers status.")

        def fail(words: str) -> None:
            if not copied.called:
                copied.errback(CopyFailed(words))

        def wait() -> None:
            late.append(self._reactor.callLater(TURN_WITHIN, give_up))

        def ended(result: object) -> None:
            hurry()
            if isinstance(result, Failure) and not copied.called:
                copied.errback(result)

        def hurry() -> None:
            for each in late:
                if each.active():
                    each.cancel()

        def ended_early(_: None) -> None:
            hurry()
            fail(_UNWANTED)

        late: list[IDelayedCall] = []
        wait()
        over.addCallback(ended_early)
        ahead = self._ahead.get(site)
        if ahead is not None:
            self._reactor.callLater(0, ahead)
        self._in_turn(site, trial).addBoth(ended)
        return copied

    async def _copy_for_trial(
        self, site: Site, progress: Progress, had: str, over: Deferred[None]
    ) -> str:
        folder = os.path.realpath(site.data)
        mark = swap.beside(folder, swap.TRIED)
        # The file goes with a restore and with a putting back, whichever Snickers did it.
        said = await self._in_thread(ontrial.read, mark)
        good = had and said[:1] == (had,)
        if good and any(copy.id == had for _, copy in await self._all(site)):
            if over.called:
                raise CopyFailed(_UNWANTED)
            self._marks[site.name] = mark, had
            return had
        unmounted = isinstance(site.kind, Container) and not site.kind.data
        if unmounted or not await self._in_thread(os.path.isdir, folder):
            return ""
        # What could not be put back is not tried.
        await self._in_thread(swap.look, folder)
        await self._tidy(site)
        if over.called:
            raise CopyFailed(_UNWANTED)
        making = Deferred.fromCoroutine(self._make(site, folder, TRIAL, progress))
        over.addCallback(lambda _: making.cancel())
        copy = await making

        def write() -> None:
            ontrial.add(mark, copy.id)
            if over.called:
                # Whoever waits for this may not wait any more, and nothing will be tried.
                ontrial.drop(mark, copy.id)

        try:
            if over.called:
                raise CopyFailed(_UNWANTED)
            await self._in_thread(write)
            if over.called:
                raise CopyFailed(_UNWANTED)
        except BaseException:
            self._drop(site.name, mark, copy.id)
            raise
        self._marks[site.name] = mark, copy.id
        return copy.id

    def _drop(self, name: str, mark: str, id: str) -> None:
        self._in_thread(ontrial.drop, mark, id).addCallbacks(
            lambda left: self._dropped(name, mark, left),
            lambda failure: _log.failure("{site}: {mark}", failure, site=name, mark=mark),
        )

    def _dropped(self, name: str, mark: str, left: str) -> None:
        """Of a trial nothing is said any more, but of the one before, of copy *left*, if any."""
        if left:
            self._tell(name, left, mark)
        else:
            self._no_mark(name)

    def _unless_tried(self, site: str, waking: Deferred[None]) -> Deferred[None]:
        """Return what fires as *waking* does, or as soon as a trial waits for the turn that whoever
        calls this has: before that is over the server is not awake."""
        either: Deferred[None] = Deferred(lambda _: waking.cancel())

        def tried() -> None:
            if self._ahead.pop(site, None) is not None:
                self._heedless.add(site)
                either.callback(None)
                waking.cancel()

        def over(result: Failure | None) -> None:
            if self._ahead.pop(site, None) is not None:
                either.callback(result)

        self._ahead[site] = tried
        waking.addBoth(over)
        if site in self._trials:
            tried()
        return either

    def end_trial(self, site: str) -> None:
        """Let others have the folder of *site* again."""
        self._put.discard(site)
        self._going_on.discard(site)
        mark = self._marks.pop(site, None)
        if mark is not None and self._lives.stage(site) == "awake":
            # In all other cases nobody knows whether the folder is well.
            self._drop(site, *mark)
        over = self._trials.pop(site, None)
        if over is not None and not over.called:
            over.callback(None)

    def put_back(self, site: str, copy: str, progress: Progress) -> Deferred[None]:
        """Have the folder of *site* be as in *copy*, within its trial and while nothing runs; what
        it held is kept as a copy later."""

        async def put_back() -> None:
            try:
                await self._put_back(self._site(site), copy, progress)
            except BaseException as problem:
                raise _in_words(site, problem) from None

        return self._keep(Deferred.fromCoroutine(put_back()))

    async def _put_back(self, site: Site, id: str, progress: Progress) -> None:
        if site.name in self._put:
            return  # And the one before may have been at work on it since.
        progress("putting its folder back")
        store, copy = await self._find(site, id)
        folder = os.path.realpath(site.data)
        await self._in_thread(swap.look, folder)
        if await self._in_thread(os.path.lexists, swap.beside(folder, swap.FORMER)):
            # Of an earlier time, and in the way.
            await self._tidy(site)
        restoring, restored = (swap.beside(folder, w) for w in (swap.RESTORING, swap.RESTORED))
        await clear(self._reactor, restoring)
        await store.restore(site.name, copy.id, restoring, progress)
        await self._in_thread(os.rename, restoring, restored)
        former = await self._in_thread(swap.put_in_place, folder)
        # Before it is said that it was put back: else a loss of power could leave neither.
        await settle(self._reactor, os.path.dirname(folder))
        mark = swap.beside(folder, swap.TRIED)
        left = await self._in_thread(ontrial.drop, mark, copy.id)
        self._dropped(site.name, mark, left)
        self._put.add(site.name)

        async def keep(site: Site) -> None:
            if await self._in_thread(os.path.lexists, former):
                await self._store(site, former, FAILED, _ignore)

        if former is not None:
            # Visitors wait: what the server that failed has left is kept when it is over.
            self._unasked(site.name, keep)

    # How it is done

    def _site(self, name: str) -> Site:
        site = self._sites(name)
        if site is None or site.life is None:
            raise CopyFailed(f"There is no site {name} with a server of its own.")
        return site

    def _in_turn(self, name: str, act: Callable[[Site], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        if self._closed:
            return self._keep(Deferred.fromCoroutine(_ends()))

        async def work() -> Any:
            try:
                site = self._site(name)
                await self._look_for_mark(site)
                return await act(site)
            except (LifeFailed, EngineFailed, EngineAway) as problem:
                raise CopyFailed(str(problem)) from None
            except CancelledError:
                raise CopyFailed("It was broken off, since Snickers ends.") from None
            except OSError as error:
                raise CopyFailed(f"{error.filename or name}: {error.strerror}.") from None
            finally:
                self._heedless.discard(name)

        return self._keep(self._turns.run(name, lambda: Deferred.fromCoroutine(work())))

    def _keep(self, work: Deferred[Any]) -> Deferred[Any]:
        self._working.add(work)

        def over(result: Any) -> Any:
            self._working.discard(work)
            return result

        return work.addBoth(over)

    def _unasked(self, name: str, act: Callable[[Site], Coroutine[Any, Any, Any]]) -> None:
        """Do what nobody waits for; an alarm says when it failed."""

        def failed(failure: Failure) -> None:
            if not isinstance(failure.value, CopyFailed):
                _log.failure("{site}: copies", failure, site=name)
            if not self._closed:
                self._alarm.raised("snapshots", name, failure.getErrorMessage())

        def done(_: object) -> None:
            self._alarm.cleared("snapshots", name)

        async def with_room(site: Site) -> bool:
            if not self._room.tokens:
                return False
            await self._room.run(lambda: Deferred.fromCoroutine(act(site)))
            return True

        async def work() -> None:
            try:
                # Whoever waits for one of turn and room has not the other: a long restore of one
                # site holds up no other's copies, nor do those a restore.
                while not await self._in_turn(name, with_room):
                    await self._keep(self._room.run(lambda: succeed(None)))
            except CancelledError:
                await _ends()

        Deferred.fromCoroutine(work()).addCallbacks(done, failed)

    async def _all(self, site: Site) -> list[tuple[ICopies, Copy]]:
        found = []
        for store in self._stores():
            found += [(store, copy) for copy in await store.list(site.name)]
        return sorted(found, key=lambda each: each[1].time)

    async def _find(self, site: Site, id: str) -> tuple[ICopies, Copy]:
        copies = await self._all(site)
        if not copies:
            raise CopyFailed(f"There is no copy of {site.name}: make one by snapshot {site.name}.")
        if id == LATEST:
            return copies[-1]
        exact = [each for each in copies if each[1].id == id]
        like = exact or [each for each in copies if id and each[1].id.startswith(id)]
        if len(like) == 1:
            return like[0]
        what = "There are several copies that begin with" if like else "There is no copy"
        raise CopyFailed(f"{what} {id}; see them with: snickers snapshots {site.name}")

    async def _make(self, site: Site, folder: str, why: str, progress: Progress) -> Copy:
        if not await self._in_thread(os.path.isdir, folder):
            raise CopyFailed(f"There is nothing to copy: {folder} is not there yet.")
        store = self._stores()[0]
        copy: Copy = await store.make(site.name, os.path.realpath(folder), why, progress)
        try:
            await self._prune(site, progress)
        except CopyFailed as problem:
            # The new one is what was asked for.
            _log.warn("{site}: {words}", site=site.name, words=str(problem))
        return copy

    async def _prune(self, site: Site, progress: Progress) -> None:
        assert site.life is not None
        old = given_up([copy for _, copy in await self._all(site)], site.life.keep_snapshots)
        if old:
            progress("removing old copies")
            for store in self._stores():
                await store.forget(site.name, old, progress)

    async def _copy_asleep(self, site: Site) -> None:
        if self._lives.stage(site.name) in _AT_REST:
            await self._make(site, site.data, ASLEEP, lambda words: None)

    async def _snapshot(self, site: Site, progress: Progress) -> Copy:
        await self._steady(site, progress)
        assert site.life is not None
        if site.life.snapshot and self._lives.stage(site.name) in _SERVES:
            progress("its snapshot command runs")
            ran = await self._lives.run(site.name, site.life.snapshot, site.life.snapshot_within)
            if ran.code:
                raise CopyFailed(
                    f"Its snapshot command failed with status {ran.code}, so nothing was copied: "
                    f"{ran.output}"
                )
        return await self._make(site, site.data, ASKED, progress)

    async def _steady(self, site: Site, progress: Progress) -> None:
        """Have its server serve or be at rest, or away from what is known."""
        if self._lives.stage(site.name) not in (*_SERVES, "away", "", *_AT_REST):
            # About to be one of them: whoever waits for it shall not be turned away.
            await self._unless_tried(site.name, self._lives.wake(site.name, progress))

    async def _restore(self, site: Site, id: str, progress: Progress) -> Copy:
        store, copy = await self._find(site, id)
        folder = os.path.realpath(site.data)
        await self._in_thread(swap.look, folder)
        await self._in_thread(swap.recover, folder)
        await self._tidy(site)
        restoring, restored = (swap.beside(folder, w) for w in (swap.RESTORING, swap.RESTORED))
        await store.restore(site.name, copy.id, restoring, progress)
        await self._in_thread(os.rename, restoring, restored)
        fresh = (await self._in_thread(os.lstat, restored)).st_ino
        self._restoring.add(site.name)
        try:
            former = await self._exchange(site, folder, progress)
        except BaseException:
            if await self._in_thread(_is, restored, fresh):
                # Nothing was exchanged: what is there is a copy of a copy.
                await self._in_thread(os.rename, restored, restoring)
                await clear(self._reactor, restoring)
            raise
        finally:
            self._restoring.discard(site.name)
        await settle(self._reactor, os.path.dirname(folder))
        if former is not None:
            progress("keeping what was there before")
            self._heedless.add(site.name)
            try:
                await self._store(site, former, BEFORE, progress)
            except CopyFailed as problem:
                progress(str(problem))
                self._alarm.raised("snapshots", site.name, str(problem))
        return copy

    async def _exchange(self, site: Site, folder: str, progress: Progress) -> str | None:
        """Exchange the folders while the server sleeps; return where the former one is."""
        name = site.name
        try:
            await self._steady(site, progress)
            if self._lives.stage(name) == "replacing":
                # Whoever waits for the next server shall not be turned away.
                await self._lives.wake_alone(name, progress)
        except LifeFailed:
            pass  # It may be the data that keeps it from waking.
        awake = self._lives.stage(name) in (*_SERVES, "starting", "checking", "copying")
        former: list[str | None] = []

        def exchange(_: object) -> None:
            # In the very turn in which it is said that nothing runs: nobody can start it between.
            former.append(swap.put_in_place(folder))
            # Whatever comes of this: it is not what another server has left any more, and from now
            # on it is this that would be put back.
            ontrial.remove(swap.beside(folder, swap.TRIED))
            self._no_mark(name)

        assert site.life is not None
        life = site.life
        within = life.drain_within + life.snapshot_within + life.stop_within + MARGIN
        sleeping = self._lives.sleep(name, progress).addTimeout(within, self._reactor)
        try:
            await sleeping.addCallback(exchange)
        except TimeoutError:
            raise CopyFailed(
                f"Its server was not asleep within {within:g} s, so nothing was exchanged. See "
                f"what it does: snickers status {name}"
            ) from None
        finally:
            if awake:
                await self._wake(name, progress)
        return former[0]

    async def _wake(self, name: str, progress: Progress) -> None:
        try:
            await self._unless_tried(name, self._lives.wake(name, progress))
        except LifeFailed as problem:
            progress(f"not awake: {problem}")

    async def _store(self, site: Site, folder: str, why: str, progress: Progress) -> None:
        """Keep *folder* as a copy, and remove it then."""
        try:
            await self._make(site, folder, why, progress)
        except CopyFailed as problem:
            raise CopyFailed(
                f"What was there before a restore could not be kept as a copy, so it stays in "
                f"{folder}: {problem}"
            ) from None
        worthless = swap.beside(os.path.realpath(site.data), swap.RESTORING)
        await self._in_thread(os.rename, folder, worthless)
        await clear(self._reactor, worthless)

    async def _tidy(self, site: Site) -> None:
        """Keep what a restore that was broken off has left, and remove what is worth nothing."""
        folder = os.path.realpath(site.data)
        worthy, worthless = await self._in_thread(swap.recover, folder)
        if swap.beside(folder, swap.PROVING) in worthless:
            try:
                await self._proof.clean(site)
            except CopyFailed as problem:
                _log.warn("{site}: a proof may be left: {why}", site=site.name, why=str(problem))
        for each in worthless:
            await clear(self._reactor, each)
        for each in worthy:
            await self._store(site, each, LEFT, lambda words: None)

    async def _prove(self, site: Site, id: str, progress: Progress) -> Copy:
        # Before anything is copied back: a folder may be large.
        await self._proof.ready(site)
        store, copy = await self._find(site, id)
        folder = swap.beside(os.path.realpath(site.data), swap.PROVING)
        await clear(self._reactor, folder)
        await store.restore(site.name, copy.id, folder, progress)
        try:
            await self._proof.try_(site, folder, progress)
        except CopyFailed as problem:
            raise CopyFailed(f"Copy {copy.id} does not prove itself. {problem}") from None
        finally:
            await clear(self._reactor, folder)
        return copy


def _is(path: str, number: int) -> bool:
    """Whether *path* is the folder with this inode."""
    try:
        return os.lstat(path).st_ino == number
    except FileNotFoundError:
        return False


def _in_words(name: str, problem: BaseException) -> CopyFailed:
    """Return *problem* as what a person is told."""
    if isinstance(problem, CancelledError):
        return CopyFailed("It was broken off.")
    if isinstance(problem, OSError):
        return CopyFailed(f"{problem.filename or name}: {problem.strerror}.")
    if not isinstance(problem, CopyFailed):
        _log.failure("{site}: copies", site=name)
    return CopyFailed(str(problem))


def _ignore(words: str) -> None:
    """Nobody looks on."""


async def _ends() -> None:
    raise CopyFailed("Snickers ends.")
