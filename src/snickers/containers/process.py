"""The engine whose servers are processes beside Snickers; it needs no Docker.

A server is told by its environment where to listen and where its data is: ``PORT``, ``HOST``
(the address to bind, ``127.0.0.1``), ``DATA`` (its folder, also its ``HOME``) and ``SITE``, then
``PATH``, ``LANG`` and what the configuration adds; nothing else of Snickers' own environment. It
leads a session of its own and inherits no descriptor. Servers end with Snickers (``attached``), or
outlive it and are taken over by the next (``detached``); two servers never live on one data folder,
even when an earlier Snickers was killed (``leftovers``).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    fail,
    maybeDeferred,
    succeed,
)
from twisted.internet.task import deferLater
from zope.interface import implementer

from snickers.config.values import Process
from snickers.containers import launching, premises, sessions
from snickers.containers.account import Account, account
from snickers.containers.attached import AttachedServers
from snickers.containers.beside import Command
from snickers.containers.declarations import Declarations
from snickers.containers.detached import AWAY, DetachedServers
from snickers.containers.engine import EngineAway, EngineFailed, Turns, fingerprint, owner_of
from snickers.containers.launching import Place, Unlaunched
from snickers.containers.leftovers import MARK, Leftovers
from snickers.containers.premises import ADDRESS
from snickers.containers.server import IReactor, Keeping, Server
from snickers.interfaces.engine import Declared, Exit, IEngine, IEngineObserver, Instance, Load, Ran

T = TypeVar("T")

AT_ONCE = 200
"""Processes of this host that are looked at in one turn: some milliseconds."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@implementer(IEngine)
class ProcessEngine:
    """Runs servers as processes.

    :param reactor: spawns them, and waits for those of an earlier Snickers.
    :param state: Snickers' state folder: says whose servers are left over, and notes them.
    :param environment: Snickers' own, of which only ``PATH`` and ``LANG`` are handed on.
    :param lasting: servers outlive this engine, whatever ends it; another one that watches the same
        state folder has them then. Only one at a time may be watched by an observer and not closed.
    """

    def __init__(
        self,
        reactor: IReactor,
        state: str,
        environment: Mapping[str, str] = os.environ,
        lasting: bool = False,
    ) -> None:
        folder = os.path.join(state, "processes")
        self._reactor = reactor
        self._leftovers = Leftovers(reactor, folder, owner_of(state))
        keep = os.path.join(folder, "lasting")
        self._keeping: Keeping = (
            DetachedServers(reactor, keep) if lasting else AttachedServers(reactor)
        )
        self._made = Declarations(keep if lasting else "")
        self._path = environment.get("PATH") or _PATH
        self._lang = environment.get("LANG") or "C.UTF-8"
        self._observer: IEngineObserver | None = None
        self._servers: dict[str, list[Server]] = {}
        """What runs of each site, the one started last at the end; two while one takes the place
        of the other."""
        self._beside: set[Deferred[Ran]] = set()
        """The commands that run."""
        self._clearing: set[Deferred[Sequence[int]]] = set()
        """What is being ended that an earlier Snickers left behind."""
        self._turns = Turns()
        self._closed = False

    def fingerprint(self, declared: Declared) -> str:
        return fingerprint(declared)

    def watch(self, observer: IEngineObserver) -> None:
        """As `IEngine.watch`; ``found`` comes when all that an earlier Snickers left has ended but
        what is taken over."""
        self._observer = observer
        for server in self._keeping.find(self._gone):
            self._servers[server.instance.site] = [server]
        # Looked for now, as what is started from now on is not left over.
        ended: list[Deferred[Any]] = [self._clear("", self._servers)]
        for server in self._all():
            if server.ending:
                ended.append(server.end(server.stop_within))

        def found(_: object) -> None:
            if not self._closed:
                observer.found()

        whole = DeferredList(ended, consumeErrors=True)
        self._reactor.callLater(0, whole.addCallback, found)

    def list(self) -> Deferred[Sequence[Instance]]:
        """As `IEngine.list`; of an ended process there is something to be listed if another engine
        could have it come back."""

        def look() -> Sequence[Instance]:
            self._look_away()
            running = [
                evolve(server.instance, beside=server.beside)
                for server in self._all()
                if server.ran
            ]
            if not self._keeping.outlive:
                return running
            ids = {instance.id for instance in running}
            return running + [
                Instance(site, made.id, fingerprint(made.declared), False, None, made.started)
                for site in self._made.sites()
                for made in self._made.of(site)
                if made.id not in ids
            ]

        return maybeDeferred(look)

    def prepare(
        self, declared: Declared, fresh: bool, progress: Callable[[str], None]
    ) -> Deferred[bool]:
        """As `IEngine.prepare`: what can be seen to be wrong is seen. A program has no newer one:
        with *fresh* it is started anew."""

        def look() -> bool:
            kind = declared.kind
            if not isinstance(kind, Process):
                raise EngineFailed(f"{declared.site} is no process.")
            directory = premises.folders(declared, account(kind.user))
            premises.program(kind, directory, self._path)
            server = self._serving(declared.site)
            same = server is not None and server.instance.fingerprint == self.fingerprint(declared)
            return fresh or not same

        return maybeDeferred(look)

    def settle(self, site: str, id: str, spare: str = "") -> Deferred[None]:
        """As `IEngine.settle`: of a process only its declaration is kept, and never more than one
        before the last."""

        async def settle() -> None:
            self._look_away()
            servers = self._servers.get(site, ())
            right = next((server for server in servers if server.instance.id == id), None)
            if right is None:
                return
            right.beside = False
            self._leftovers.note(site, right.pid)
            ends = [
                server.end(server.stop_within)
                for server in servers
                if server.instance.id not in (id, spare)
            ]
            for end in ends:
                await end
            self._made.settle(site, id)

        return self._turns.run(site, lambda: Deferred.fromCoroutine(settle()))

    def revert(self, site: str, id: str, progress: Callable[[str], None]) -> Deferred[Instance]:
        def begin() -> Deferred[Instance]:
            self._look_away()
            declared = self._made.back_to(site, id)
            if declared is None:
                raise EngineFailed("How it was started is not known any more.")
            return Deferred.fromCoroutine(self._start(declared, progress, True, ""))

        return self._turns.run(site, begin)

    def start(
        self,
        declared: Declared,
        progress: Callable[[str], None],
        fresh: bool = False,
        beside: str = "",
    ) -> Deferred[Instance]:
        def begin() -> Deferred[Instance]:
            return Deferred.fromCoroutine(self._start(declared, progress, fresh, beside))

        return self._turns.run(declared.site, begin)

    def stop(self, site: str, within: float) -> Deferred[None]:
        """As `IEngine.stop`; what it left behind, in a session of its own even, ends too."""

        def end() -> Deferred[None]:
            return Deferred.fromCoroutine(self._end(site, within))

        return self._turns.run(site, end)

    def remove(self, site: str) -> Deferred[None]:
        def end() -> Deferred[None]:
            return Deferred.fromCoroutine(self._end(site)).addCallback(forget)

        def forget(_: object) -> None:
            self._made.forget(site)
            self._keeping.forget(site)

        return self._turns.run(site, end)

    def pause(self, site: str) -> Deferred[None]:
        """As `IEngine.pause`. A child in a session of its own is not frozen."""

        def freeze(server: Server) -> Deferred[None]:
            server.pause()
            return succeed(None)

        return self._turns.run(site, lambda: self._with(site, freeze))

    def resume(self, site: str) -> Deferred[None]:
        def go_on(server: Server) -> Deferred[None]:
            server.resume()
            return succeed(None)

        return self._turns.run(site, lambda: self._with(site, go_on))

    def run(self, site: str, command: Sequence[str], within: float) -> Deferred[Ran]:
        """As `IEngine.run`; what the command leaves behind ends with it. It waits for no other
        call, and none waits for it."""

        def spawn(server: Server) -> Deferred[Ran]:
            if server.instance.paused:
                raise EngineFailed(f"{site} is paused: nothing is run beside it before it goes on.")
            running = Command(self._reactor, shlex.join(command), within)
            launching.spawn(self._reactor, running, command, server.place)
            self._beside.add(running.done)

            def ended(result: T) -> T:
                self._beside.discard(running.done)
                return result

            return running.done.addBoth(ended)

        return self._with(site, spawn)

    def loads(self) -> Deferred[Mapping[str, Load]]:
        return Deferred.fromCoroutine(self._loads())

    def healthy(self, instance: Instance) -> Deferred[bool]:
        """As `IEngine.healthy`; a process has no check of its own, it is healthy while it runs."""
        servers = self._servers.get(instance.site, ())
        return succeed(any(server.instance.id == instance.id for server in servers))

    def logs(
        self, site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        """As `IEngine.logs`: what was written since Snickers was started, or since the first one
        was whose servers have outlived it, as far as it is kept."""
        output = self._keeping.output(site)
        if output is None:
            return fail(EngineFailed(f"{site} has no log: it was not started since Snickers was."))
        last = output.last(tail)
        if last:
            receive(last)
        return output.follow(receive) if follow else succeed(None)

    def close(self) -> Deferred[None]:
        """End all servers, each within its own ``stop within``, and what they left behind; fire
        when they have ended. Those that outlive this engine run on, and it touches them no more:
        calls that are under way fail with `EngineAway`, commands that run are killed."""
        self._closed = True
        servers = self._all()
        if not self._keeping.outlive:
            ended = self._keeping.close(servers)
            return ended.addCallback(lambda _: self._leftovers.end()).addCallback(lambda _: None)
        for command in [*self._beside]:
            command.cancel()
        for clearing in [*self._clearing]:
            clearing.cancel()
        self._servers.clear()
        return self._keeping.close(servers)

    def _look_away(self) -> None:
        """Fail if the servers are another's to look after."""
        if self._closed and self._keeping.outlive:
            raise EngineAway(AWAY)

    def _clear(self, site: str, but: Collection[str] = ()) -> Deferred[Sequence[int]]:
        """As `Leftovers.end`, until this is closed."""
        clearing: Deferred[Sequence[int]] = self._leftovers.end(site, but)
        self._clearing.add(clearing)

        def ended(remaining: Sequence[int]) -> Sequence[int]:
            self._clearing.discard(clearing)
            return remaining

        return clearing.addCallback(ended)

    def _with(self, site: str, act: Callable[[Server], Deferred[T]]) -> Deferred[T]:
        def begin() -> Deferred[T]:
            self._look_away()
            server = self._serving(site)
            if server is None or not server.ran:
                raise EngineFailed(f"{site} does not run.")
            return act(server)

        return maybeDeferred(begin)

    def _all(self) -> Sequence[Server]:
        return [server for servers in self._servers.values() for server in servers]

    def _serving(self, site: str) -> Server | None:
        """Return the server that serves: one that is only tried beside it does not yet."""
        servers = self._servers.get(site, ())
        return next((server for server in reversed(servers) if not server.beside), None)

    async def _loads(self) -> dict[str, Load]:
        servers = [server for server in self._all() if server.ran and not server.instance.paused]
        if not servers:
            return {}
        used = dict.fromkeys((server.pid for server in servers), 0.0)
        ahead = sessions.pids()
        while ahead:
            some, ahead = ahead[:AT_ONCE], ahead[AT_ONCE:]
            sessions.add(used, some)
            if ahead:
                await deferLater(self._reactor, 0)
        loads: dict[str, float] = {}
        for server in servers:
            site = server.instance.site
            if server in self._servers.get(site, ()) and not server.instance.paused:
                loads[site] = loads.get(site, 0.0) + used[server.pid]
        return {site: Load(processor) for site, processor in loads.items()}

    async def _start(
        self, declared: Declared, progress: Callable[[str], None], fresh: bool, beside: str
    ) -> Instance:
        site, kind = declared.site, declared.kind
        if not isinstance(kind, Process):
            raise EngineFailed(f"{site} is no process, but a {type(kind).__name__.lower()}.")
        self._look_closed()
        wanted = self.fingerprint(declared)
        servers = self._servers.get(site, [])
        apart = any(server.instance.id == beside for server in servers)
        if apart and self._keeping.outlive:
            raise EngineFailed(
                "update = parallel: two processes of a site cannot outlive Snickers together, as "
                "they would with teams; write update = swap."
            )
        server = next((each for each in reversed(servers) if each.beside == apart), None)
        same = server is not None and server.instance.fingerprint == wanted
        same = same and (apart or (not fresh and len(servers) == 1))
        if server is not None and same and not server.ending:
            server.resume()
            return server.instance
        # All that can be seen to be wrong is seen before the one that runs is touched.
        user = account(kind.user)
        directory = premises.folders(declared, user)
        premises.program(kind, directory, self._path)
        if kind.port and not (
            server is not None and server.instance.address == (ADDRESS, kind.port)
        ):
            premises.free(kind.port)
        if server is not None:
            progress("stopping the one before")
        if apart:
            for each in [each for each in servers if each.beside]:
                await each.end(each.stop_within)
        else:
            await self._end(site)
        self._look_closed()
        progress("starting")
        port = premises.free(kind.port)
        made = Instance(site, "", wanted, True, (ADDRESS, port), self._reactor.seconds())
        place = self._place(declared, kind, directory, user, port)
        server = self._keeping.spawn(made, kind.life.stop_within, kind.command, place, self._gone)
        self._leftovers.note(site, server.pid)
        server.beside = apart
        self._servers.setdefault(site, []).append(server)
        try:
            await server.launched
        except Unlaunched as report:
            server.abandon()
            raise EngineFailed(report.in_words(declared, kind)) from None
        except CancelledError:
            server.abandon()
            raise
        self._made.add(server.instance.id, server.instance.started, declared, apart)
        return server.instance

    def _look_closed(self) -> None:
        self._look_away()
        if self._closed:
            raise EngineFailed("Snickers is ending and starts nothing.")

    async def _end(self, site: str, within: float | None = None) -> None:
        """End all that runs of *site*, this run's or an earlier one's."""
        self._look_away()
        ends = [
            server.end(server.stop_within if within is None else within)
            for server in self._servers.get(site, ())
        ]
        for end in ends:
            await end
            self._look_away()
        remaining = await self._clear(site)
        self._look_away()
        if remaining:
            raise EngineFailed(
                f"Process {remaining[0]} of {site} does not end, even killed; it may wait for a "
                "disk. It must be gone before another one uses the same folder."
            )

    def _place(
        self, declared: Declared, kind: Process, directory: str, user: Account | None, port: int
    ) -> Place:
        environment = {
            "PATH": self._path,
            "LANG": self._lang,
            "HOME": declared.data,
            "PORT": str(port),
            "HOST": ADDRESS,
            "DATA": declared.data,
            "SITE": declared.site,
            **dict(kind.environment),
            MARK: self._leftovers.mark(declared.site),
        }
        who = None if user is None else (user.uid, user.gid, user.groups)
        return Place(directory, environment, who)

    def _gone(self, server: Server) -> None:
        site = server.instance.site
        servers = self._servers.get(site, [])
        if server in servers:
            servers.remove(server)
            if not servers:
                del self._servers[site]
        self._leftovers.forget(site, server.pid)
        if server.ran and self._observer is not None and not self._closed:
            self._observer.exited(Exit(site, server.instance.id, server.code))
