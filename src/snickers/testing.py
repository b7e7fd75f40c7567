"""Fakes that pass the same contract tests as the real thing.

`MemoryEngine` is an engine without servers; it passes ``tests/engine_contract.py`` as the
engines with servers do. `MemoryCopies` keeps copies of folders in memory; it passes
``tests/copies_contract.py``. Nothing here is imported by a running Snickers.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from snickers.containers.engine import EngineAway, EngineFailed, fingerprint
from snickers.interfaces.copies import Copy, CopyFailed, ICopies
from snickers.interfaces.engine import Declared, Exit, IEngine, IEngineObserver, Instance, Load, Ran


@define(eq=False)
class _Server:
    instance: Instance
    lines: list[bytes] = field(factory=list)
    followers: list[tuple[Callable[[bytes], None], Deferred[None]]] = field(factory=list)


class MemoryHost:
    """The world outside of a `MemoryEngine`: the servers, and what befalls them.

    Several engines may share one host, as two runs of Snickers share one Docker.
    """

    def __init__(self) -> None:
        self.servers: dict[str, _Server] = {}
        self.former: dict[str, list[_Server]] = {}
        """What was replaced and can come back, by site, the latest last."""
        self.others: dict[str, list[_Server]] = {}
        """What runs beside `servers`, by site."""
        self.newer: set[str] = set()
        """Sites for which there is a newer image."""
        self.engines: list[MemoryEngine] = []
        """Those that watch."""
        self.stubborn: set[str] = set()
        """Sites whose servers end only when they are killed."""
        self.refused: dict[str, str] = {}
        """Sites that cannot be started, and the words of the failure."""
        self.unhealthy: set[str] = set()
        """Sites whose servers fail the engine's own check."""
        self.results: dict[tuple[str, ...], Ran] = {}
        """How commands end that are run inside of servers; others with 0 and without a word."""
        self.endless: set[tuple[str, ...]] = set()
        """Commands that do not end by themselves."""
        self.unknown: set[str] = set()
        """Programs that servers do not have."""
        self.ran: list[tuple[str, tuple[str, ...]]] = []
        """What was run, and in which site's server."""
        self.used: dict[str, float] = {}
        """Seconds of processor time that servers have used, by site."""
        self.moved: dict[str, int] = {}
        """Bytes that servers' networks have moved, by site, where somebody can say."""
        self.unseen: set[str] = set()
        """Sites whose servers' load cannot be looked at."""
        self.away = ""
        """Why no engine can be reached; empty: it can."""
        self.made = 0
        """How many servers were ever made."""
        self.starts = 0
        """How many times a server was started."""

    def running(self, site: str) -> Instance | None:
        """Return *site*'s server if it runs."""
        server = self.servers.get(site)
        return server.instance if server is not None and server.instance.running else None

    def start(self, site: str, wanted: str, now: float, fresh: bool = False) -> Instance:
        """Have one server of the fingerprint *wanted* run, of a newer image if there is one."""
        self.end_beside(site, 0)
        server = self.servers.get(site)
        newer = fresh and site in self.newer
        if newer:
            self.newer.discard(site)
        if server is not None and (newer or server.instance.fingerprint != wanted):
            self.end(site, 0)
            self.former[site] = [server]
            server = None
        if server is None:
            self.made += 1
            made = Instance(site, f"server-{self.made}", wanted, False, None)
            server = self.servers[site] = _Server(made)
        if not server.instance.running:
            self.starts += 1
            address = ("127.0.0.1", 40000 + self.starts)
            server.instance = evolve(server.instance, running=True, address=address, started=now)
            self.used.pop(site, None)
        server.instance = evolve(server.instance, paused=False)
        return server.instance

    def start_beside(self, site: str, wanted: str, now: float, fresh: bool) -> Instance:
        """Have one more server run, of the fingerprint *wanted*."""
        if fresh:
            self.newer.discard(site)
        for other in self.others.get(site, ()):
            if other.instance.fingerprint == wanted and other.instance.beside:
                return evolve(other.instance, beside=False)
        self.made += 1
        self.starts += 1
        address = ("127.0.0.1", 40000 + self.starts)
        made = Instance(site, f"server-{self.made}", wanted, True, address, now, beside=True)
        self.others.setdefault(site, []).append(_Server(made))
        return evolve(made, beside=False)

    def settle(self, site: str, id: str, spare: str) -> None:
        """Have *id* be the site's server, and nothing beside it run but *spare*."""
        main, others = self.servers.get(site), self.others.pop(site, [])
        known = [*others, *([main] if main is not None else [])]
        right = next((server for server in known if server.instance.id == id), None)
        if right is None:
            return
        if main is not None and main is not right:
            self.former[site] = [main]
        right.instance = evolve(right.instance, beside=False)
        self.servers[site] = right
        for server in known:
            if server is right:
                continue
            if server.instance.id == spare:
                self.others.setdefault(site, []).append(server)
            else:
                self._end(server, 0)

    def revert(self, site: str, id: str, now: float) -> Instance | None:
        """Have the server *id* run again, if it is known."""
        for other in self.others.pop(site, ()):
            if other.instance.id == id:
                self.former[site] = [other]
            else:
                self._end(other, 0)
        known = [
            *self.former.get(site, ()),
            *([self.servers[site]] if site in self.servers else ()),
        ]
        for server in known:
            if server.instance.id == id:
                self.end(site, 0)
                self.former.pop(site, None)
                self.servers[site] = server
                return self.start(site, server.instance.fingerprint, now)
        return None

    def freeze(self, site: str, paused: bool) -> bool:
        """Pause *site*'s server, or let it go on; say whether it runs."""
        server = self.servers.get(site)
        if server is None or not server.instance.running:
            return False
        server.instance = evolve(server.instance, paused=paused)
        return True

    def end(self, site: str, code: int | None = 1, out_of_memory: bool = False) -> None:
        """End *site*'s server, as a crash does; observers are told unless the engine is away."""
        server = self.servers.get(site)
        if server is not None:
            self._end(server, code, out_of_memory)

    def end_beside(self, site: str, code: int | None = 1) -> None:
        """End what runs beside it, as a crash does."""
        for server in self.others.pop(site, ()):
            self._end(server, code)

    def _end(self, server: _Server, code: int | None, out_of_memory: bool = False) -> None:
        if not server.instance.running:
            return
        site = server.instance.site
        server.instance = evolve(server.instance, running=False, address=None, paused=False)
        followers, server.followers = server.followers, []
        exit = Exit(site, server.instance.id, code, out_of_memory)
        if not self.away:
            for engine in self.engines:
                engine.tell(lambda observer: observer.exited(exit))
        for _, done in followers:
            if not done.called:
                done.callback(None)

    def lose(self, reason: str = "The engine was lost.") -> None:
        """Make every call fail with `EngineAway`; servers run on."""
        self.away = reason
        for engine in self.engines:
            engine.tell(lambda observer: observer.lost(reason))

    def find(self) -> None:
        """Undo `lose`."""
        self.away = ""
        for engine in self.engines:
            engine.tell(lambda observer: observer.found())

    def notice(self, site: str, words: str) -> None:
        """Tell the engines' observers *words* of *site*'s server."""
        for engine in self.engines:
            engine.tell(lambda observer: observer.noticed(site, words))

    def say(self, site: str, line: bytes) -> None:
        """Let *site*'s server write *line* (without its newline) to its log."""
        server = self.servers[site]
        server.lines.append(line)
        for receive, done in server.followers:
            if not done.called:
                receive(line + b"\n")


@implementer(IEngine)
class MemoryEngine:
    """An engine whose servers are only remembered. Nothing happens inside a call: everything
    takes a turn of *clock* (``clock.advance(0)``), or as long as `takes` says.

    :ivar calls: every call in order: ``(verb, site)``, of `list` and `loads` with ``""``.
    :ivar takes: seconds that a call takes, by verb; 0 when it is not named.
    """

    def __init__(self, clock: IReactorTime, host: MemoryHost | None = None) -> None:
        self.host = MemoryHost() if host is None else host
        self.calls: list[tuple[str, str]] = []
        self.takes: dict[str, float] = {}
        self.closed = False
        self._clock = clock
        self._observer: IEngineObserver | None = None
        self._failures: dict[str, list[Exception]] = {}
        self._held: dict[str, list[Callable[[], None]]] = {}

    # What a test does with it

    def hold(self, verb: str) -> None:
        """Let calls of *verb* wait until `release`."""
        self._held.setdefault(verb, [])

    def release(self, verb: str) -> None:
        """Let the calls that `hold` kept, and those to come, go on."""
        for go in self._held.pop(verb, []):
            go()

    def fail(self, verb: str, error: Exception) -> None:
        """Let the next call of *verb* fail with *error*."""
        self._failures.setdefault(verb, []).append(error)

    def tell(self, what: Callable[[IEngineObserver], None]) -> None:
        """Tell the observer, if there is one, in a later turn."""
        self._clock.callLater(0, self._tell, what)

    def _tell(self, what: Callable[[IEngineObserver], None]) -> None:
        if self._observer is not None and not self.closed:
            what(self._observer)

    def _call(self, verb: str, site: str, act: Callable[[Deferred[Any]], None]) -> Deferred[Any]:
        self.calls.append((verb, site))
        cancelled: list[object] = []
        done: Deferred[Any] = Deferred(cancelled.append)
        failures = self._failures.get(verb)
        failure = failures.pop(0) if failures else None

        def go() -> None:
            self._clock.callLater(self.takes.get(verb, 0), run)

        def run() -> None:
            if cancelled:
                return
            if failure is not None:
                done.errback(failure)
            elif self.host.away:
                done.errback(EngineAway(self.host.away))
            else:
                act(done)

        if verb in self._held:
            self._held[verb].append(go)
        else:
            go()
        return done

    # IEngine

    def fingerprint(self, declared: Declared) -> str:
        return fingerprint(declared)

    def watch(self, observer: IEngineObserver) -> None:
        self._observer = observer
        self.host.engines.append(self)
        reason = self.host.away
        self.tell(lambda observer: observer.lost(reason) if reason else observer.found())

    def list(self) -> Deferred[Sequence[Instance]]:
        def act(done: Deferred[Sequence[Instance]]) -> None:
            former = [server for kept in self.host.former.values() for server in kept]
            others = [server for each in self.host.others.values() for server in each]
            # One that was replaced and is spared is both.
            former = [server for server in former if server not in others]
            servers = [*former, *self.host.servers.values(), *others]
            done.callback([server.instance for server in servers])

        return self._call("list", "", act)

    def prepare(
        self, declared: Declared, fresh: bool, progress: Callable[[str], None]
    ) -> Deferred[bool]:
        site = declared.site

        def act(done: Deferred[bool]) -> None:
            progress("preparing")
            if site in self.host.refused:
                done.errback(EngineFailed(self.host.refused[site]))
                return
            server = self.host.servers.get(site)
            same = server and server.instance.fingerprint == self.fingerprint(declared)
            done.callback(not same or (fresh and site in self.host.newer))

        return self._call("prepare", site, act)

    def settle(self, site: str, id: str, spare: str = "") -> Deferred[None]:
        def act(done: Deferred[None]) -> None:
            self.host.settle(site, id, spare)
            self._later(done, None)

        return self._call("settle", site, act)

    def revert(self, site: str, id: str, progress: Callable[[str], None]) -> Deferred[Instance]:
        def act(done: Deferred[Instance]) -> None:
            instance = self.host.revert(site, id, self._clock.seconds())
            if instance is None:
                done.errback(EngineFailed("It is forgotten."))
            else:
                self._later(done, instance)

        return self._call("revert", site, act)

    def start(
        self,
        declared: Declared,
        progress: Callable[[str], None],
        fresh: bool = False,
        beside: str = "",
    ) -> Deferred[Instance]:
        site = declared.site

        def act(done: Deferred[Instance]) -> None:
            progress("starting")
            if site in self.host.refused:
                done.errback(EngineFailed(self.host.refused[site]))
            else:
                wanted, now = self.fingerprint(declared), self._clock.seconds()
                running = self.host.running(site)
                if running is not None and running.id == beside:
                    instance = self.host.start_beside(site, wanted, now, fresh)
                else:
                    instance = self.host.start(site, wanted, now, fresh)
                self._later(done, instance)

        return self._call("start", site, act)

    def stop(self, site: str, within: float) -> Deferred[None]:
        def act(done: Deferred[None]) -> None:
            self._end(site, within, lambda: self._later(done, None))

        return self._call("stop", site, act)

    def remove(self, site: str) -> Deferred[None]:
        def forget(done: Deferred[None]) -> None:
            self.host.servers.pop(site, None)
            self.host.former.pop(site, None)
            self._later(done, None)

        def act(done: Deferred[None]) -> None:
            self._end(site, 0, lambda: forget(done))

        return self._call("remove", site, act)

    def pause(self, site: str) -> Deferred[None]:
        return self._freeze("pause", site, True)

    def resume(self, site: str) -> Deferred[None]:
        return self._freeze("resume", site, False)

    def _freeze(self, verb: str, site: str, paused: bool) -> Deferred[None]:
        def act(done: Deferred[None]) -> None:
            if self.host.freeze(site, paused):
                done.callback(None)
            else:
                done.errback(EngineFailed(f"{site} does not run."))

        return self._call(verb, site, act)

    def run(self, site: str, command: Sequence[str], within: float) -> Deferred[Ran]:
        """As `IEngine.run`; `MemoryHost.results` says how it ends, `takes` after how long."""
        wanted = tuple(command)
        takes = self.takes.get("run", 0)

        def late() -> None:
            if not done.called:
                done.errback(EngineFailed(f"{wanted[0]} was not done within {within:g} s."))

        def act(done: Deferred[Ran]) -> None:
            live = self.host.running(site)
            if done.called:
                return
            if live is None:
                done.errback(EngineFailed(f"{site} does not run."))
            elif live.paused:
                done.errback(EngineFailed(f"{site} is paused: nothing can be run in it."))
            elif wanted[0] in self.host.unknown:
                done.errback(EngineFailed(f"{wanted[0]} cannot be run: there is no such command."))
            else:
                self.host.ran.append((site, wanted))
                if wanted in self.host.endless:
                    self._clock.callLater(max(0, within - takes), late)
                else:
                    done.callback(self.host.results.get(wanted, Ran(0, "")))

        done = self._call("run", site, act)
        if within < takes:
            self._clock.callLater(within, late)
        return done

    def loads(self) -> Deferred[Mapping[str, Load]]:
        def act(done: Deferred[Mapping[str, Load]]) -> None:
            done.callback(
                {
                    site: Load(self.host.used.get(site, 0.0), self.host.moved.get(site))
                    for site, server in self.host.servers.items()
                    if server.instance.running and not server.instance.paused
                    if site not in self.host.unseen
                }
            )

        return self._call("loads", "", act)

    def healthy(self, instance: Instance) -> Deferred[bool]:
        def act(done: Deferred[bool]) -> None:
            site = instance.site
            others = [server.instance for server in self.host.others.get(site, ())]
            live = [self.host.running(site), *others]
            same = any(each is not None and each.id == instance.id for each in live)
            done.callback(same and instance.site not in self.host.unhealthy)

        return self._call("healthy", instance.site, act)

    def logs(
        self, site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        def act(done: Deferred[None]) -> None:
            server = self.host.servers.get(site)
            if server is None:
                done.errback(EngineFailed(f"{site} has no server, so it has no log."))
                return
            for line in server.lines[-tail:] if tail else ():
                receive(line + b"\n")
            if follow and server.instance.running:
                server.followers.append((receive, done))
            else:
                done.callback(None)

        return self._call("logs", site, act)

    def close(self) -> Deferred[None]:
        self.closed = True
        if self in self.host.engines:
            self.host.engines.remove(self)
        done: Deferred[None] = Deferred()
        self._later(done, None)
        return done

    def _end(self, site: str, within: float, then: Callable[[], None]) -> None:
        stubborn = site in self.host.stubborn

        def end() -> None:
            self.host.end_beside(site, 0)
            self.host.end(site, 137 if stubborn else 0)
            then()

        if stubborn and self.host.running(site) is not None:
            self._clock.callLater(within, end)
        else:
            end()

    def _later(self, done: Deferred[Any], result: object) -> None:
        # A turn later, so that observers have heard by then of what ended on the way.
        def tell() -> None:
            if not done.called:
                done.callback(result)

        self._clock.callLater(0, tell)


@implementer(ICopies)
class MemoryCopies:
    """Copies that are forgotten with this object: in a folder of its own that nobody else knows.
    Everything is done at once.

    :param wall: seconds since the epoch.
    :ivar calls: every call in order: ``(verb, site)``.
    """

    form = "memory"

    def __init__(self, wall: Callable[[], float]) -> None:
        self.calls: list[tuple[str, str]] = []
        self.damaged: set[str] = set()
        """Ids of copies that are not as they were made."""
        self._wall = wall
        self._folder = tempfile.TemporaryDirectory(prefix="snickers-copies-")
        self._copies: list[Copy] = []
        self._failures: dict[str, list[CopyFailed]] = {}
        self._held: dict[str, Deferred[None]] = {}

    def fail(self, verb: str, words: str) -> None:
        """Let the next call of *verb* fail."""
        self._failures.setdefault(verb, []).append(CopyFailed(words))

    def hold(self, verb: str) -> Deferred[None]:
        """Let the next call of *verb* wait until what is returned fires."""
        self._held[verb] = Deferred()
        return self._held[verb]

    def make(
        self, site: str, folder: str, why: str, progress: Callable[[str], None]
    ) -> Deferred[Copy]:
        async def make() -> Copy:
            await self._called("make", site)
            progress("copying")
            if not os.path.isdir(folder):
                raise CopyFailed(f"{folder} is not there.")
            # Never one that was another's before.
            id = f"copy-{len(self.calls):04}"
            shutil.copytree(folder, self._path(id), symlinks=True, ignore=_sockets)
            size = sum(
                os.lstat(os.path.join(above, name)).st_size
                for above, _, names in os.walk(folder)
                for name in names
            )
            copy = Copy(site, id, self._wall(), why, size)
            self._copies.append(copy)
            return copy

        return Deferred.fromCoroutine(make())

    def list(self, site: str) -> Deferred[Sequence[Copy]]:
        async def found() -> Sequence[Copy]:
            await self._called("list", site)
            return [copy for copy in self._copies if copy.site == site]

        return Deferred.fromCoroutine(found())

    def restore(
        self, site: str, id: str, folder: str, progress: Callable[[str], None]
    ) -> Deferred[None]:
        async def restore() -> None:
            await self._called("restore", site)
            progress("copying back")
            if (site, id) not in {(copy.site, copy.id) for copy in self._copies}:
                raise CopyFailed(f"There is no copy {id} of {site}.")
            if os.path.lexists(folder):
                raise CopyFailed(f"{folder} is there already.")
            shutil.copytree(self._path(id), folder, symlinks=True)

        return Deferred.fromCoroutine(restore())

    def forget(
        self, site: str, ids: Sequence[str], progress: Callable[[str], None]
    ) -> Deferred[None]:
        async def forget() -> None:
            await self._called("forget", site)
            for copy in [c for c in self._copies if c.site == site and c.id in ids]:
                self._copies.remove(copy)
                shutil.rmtree(self._path(copy.id))

        return Deferred.fromCoroutine(forget())

    def verify(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        async def verify() -> None:
            await self._called("verify", site)
            for copy in self._copies:
                if copy.site == site and copy.id in self.damaged:
                    raise CopyFailed(f"Copy {copy.id} is damaged.")

        return Deferred.fromCoroutine(verify())

    async def _called(self, verb: str, site: str) -> None:
        self.calls.append((verb, site))
        held = self._held.pop(verb, None)
        if held is not None:
            await held
        failures = self._failures.get(verb)
        if failures:
            raise failures.pop(0)

    def _path(self, id: str) -> str:
        return os.path.join(self._folder.name, id)


def _sockets(folder: str, names: Sequence[str]) -> list[str]:
    modes = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}
    return [name for name, mode in modes.items() if stat.S_ISSOCK(mode)]
