"""The engine whose servers are processes beside Snickers; it needs no Docker.

A server is told by its environment where to listen and where its data is: ``PORT``, ``HOST``
(the address to bind, ``127.0.0.1``), ``DATA`` (its folder, also its ``HOME``) and ``SITE``, then
``PATH``, ``LANG`` and what the configuration adds; nothing else of Snickers' own environment. It
leads a session of its own and inherits no descriptor. Servers end with Snickers; two servers
never live on one data folder, even when an earlier Snickers was killed (`leftovers`).
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from attrs import evolve
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    fail,
    maybeDeferred,
    succeed,
)
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.config.values import Process
from snickers.containers import launch, sessions
from snickers.containers.account import Account, account
from snickers.containers.beside import Command
from snickers.containers.engine import EngineFailed, Turns, fingerprint, owner_of
from snickers.containers.leftovers import MARK, IWaitingReactor, Leftovers
from snickers.containers.output import Output
from snickers.interfaces import Declared, Exit, IEngine, IEngineObserver, Instance, Ran

T = TypeVar("T")

AT_ONCE = 200
"""Processes of this host that are looked at in one turn: some milliseconds."""

LAST_WORDS = 1.0
"""Seconds that the output of an ended server is waited for: a child in a session of its own may
hold the pipes open for ever."""

ADDRESS = "127.0.0.1"
"""Where servers listen: nobody but this host shall reach them but through Snickers."""

REST = 1.0
"""Seconds for which no more is read of what a server writes after `FLOOD` of it."""

FLOOD = 1 << 20
"""Bytes in each `REST` that are read of what a server writes; more would take the processor from
all sites. A server that writes faster waits, as on a slow terminal."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class IReactor(IWaitingReactor, IReactorProcess):
    """What is needed of the reactor."""


class _Server(ProcessProtocol):
    """One process, from its spawning to the end of its output.

    :param gone: called once, when the process has ended and, if it ran, its start was told.
    """

    def __init__(
        self,
        reactor: IReactor,
        instance: Instance,
        stop_within: float,
        output: Output,
        gone: Callable[[_Server], None],
    ) -> None:
        self.instance = instance
        self.stop_within = stop_within
        self.launched: Deferred[None] = Deferred()
        """Fires when the program runs; fails with the launcher's report when it cannot."""
        self.ran = False
        self.ending = False
        self.code: int | None = None
        self.silent: Deferred[None] = Deferred()
        """Fires when its output has ended, which is after its end."""
        self.pid = 0
        self.spawn: Callable[[ProcessProtocol, Sequence[str]], None] = _unspawned
        """Spawns a command as the same user, in the same folder, with the same environment."""
        self._reactor = reactor
        self._output = output
        self._gone = gone
        self._report: bytes | None = b""
        self._exited = False
        self._waiting: list[Deferred[None]] = []
        self._later: list[IDelayedCall] = []
        self._read = 0
        """Bytes read since the last rest."""
        self._since = reactor.seconds()

    def end(self, within: float) -> Deferred[None]:
        """SIGTERM to all of it, SIGKILL after *within* seconds; fires when it has ended."""
        done: Deferred[None] = Deferred()
        if self._exited and self._report is None:
            done.callback(None)
            return done
        self.ending = True
        self._waiting.append(done)
        self._signal(signal.SIGTERM)
        self.resume()  # What is stopped hears of nothing but its end by force.
        if math.isfinite(within):
            self._later.append(self._reactor.callLater(within, self._signal, signal.SIGKILL))
        return done

    def pause(self) -> None:
        """Stop all of it; whoever began a session of its own goes on."""
        if not self.instance.paused:
            sessions.tell(self.pid, signal.SIGSTOP)
            self.instance = evolve(self.instance, paused=True)

    def resume(self) -> None:
        """Undo `pause`."""
        if self.instance.paused:
            sessions.tell(self.pid, signal.SIGCONT)
            self.instance = evolve(self.instance, paused=False)

    def abandon(self) -> None:
        """Kill what has not become the program yet, and never will."""
        self.ending = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            if not self.ran and not self._exited:
                os.kill(self.pid, number)  # It may lead no group yet.
            else:
                os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    # ProcessProtocol

    def connectionMade(self) -> None:
        assert self.transport is not None
        assert self.transport.pid is not None
        self.pid = self.transport.pid
        self._output.begin(self)
        self.instance = evolve(self.instance, id=str(self.pid))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == launch.REPORT:
            self._report = (self._report or b"") + data
        else:
            self._output.add(self, childFD, data)
            self._rest(len(data))

    def childConnectionLost(self, childFD: int) -> None:
        if childFD != launch.REPORT:
            return
        report, self._report = self._report, None
        if report:
            self.launched.errback(_Unlaunched(report))
        else:
            self.ran = True
            self.launched.callback(None)
        self._tell()

    def processExited(self, reason: Failure) -> None:
        self._exited = True
        error = reason.value
        if isinstance(error, ProcessTerminated) and error.signal:
            self.code = 128 + error.signal  # As shells and Docker say it.
        else:
            self.code = getattr(error, "exitCode", None) or 0
        # Whoever it left behind in its group shall not live on beside the next one.
        self._signal(signal.SIGKILL)
        for later in self._later:
            if later.active():
                later.cancel()
        self._each_pipe("startReading")
        self._later = [self._reactor.callLater(LAST_WORDS, self._let_go)]
        self._tell()

    def _rest(self, size: int) -> None:
        """Read no more for a while after `FLOOD` was read in as long a time."""
        now = self._reactor.seconds()
        if not self._since <= now < self._since + REST:
            self._read, self._since = 0, now
        self._read += size
        if self._read > FLOOD and not self._exited:
            self._read = 0
            self._each_pipe("stopReading")
            self._later.append(self._reactor.callLater(REST, self._each_pipe, "startReading"))

    def _each_pipe(self, do: str) -> None:
        for descriptor, pipe in getattr(self.transport, "pipes", {}).items():
            if descriptor != launch.REPORT:
                getattr(pipe, do)()

    def processEnded(self, reason: Failure) -> None:
        for later in self._later:
            if later.active():
                later.cancel()
        self._output.end(self)
        self.silent.callback(None)

    def _let_go(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def _tell(self) -> None:
        # The report always comes, as the program's beginning or the process's end closes it, but
        # may come after the end; and nobody shall hear of an end before the start.
        if self._exited and self._report is None:
            self._gone(self)
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done.callback(None)


class _Unlaunched(Exception):
    """The launcher's report of what went wrong."""

    def __init__(self, report: bytes) -> None:
        super().__init__(report)
        try:
            step, _, why = json.loads(report)
        except ValueError:
            step, why = "", report.decode(errors="replace")
        self.step: str = step
        self.why: str = why


@implementer(IEngine)
class ProcessEngine:
    """Runs servers as processes.

    :param reactor: spawns them, and waits for those of an earlier Snickers.
    :param state: Snickers' state folder: says whose servers are left over, and notes them.
    :param environment: Snickers' own, of which only ``PATH`` and ``LANG`` are handed on.
    """

    def __init__(
        self, reactor: IReactor, state: str, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._reactor = reactor
        self._leftovers = Leftovers(reactor, os.path.join(state, "processes"), owner_of(state))
        self._path = environment.get("PATH") or _PATH
        self._lang = environment.get("LANG") or "C.UTF-8"
        self._observer: IEngineObserver | None = None
        self._servers: dict[str, _Server] = {}
        self._outputs: dict[str, Output] = {}
        self._speaking: set[_Server] = set()
        self._turns = Turns()
        self._made: dict[str, list[tuple[str, Declared]]] = {}
        """For each site the id and the declaration of its last servers, the last two at the most:
        one of another declaration each."""
        self._closed = False

    def fingerprint(self, declared: Declared) -> str:
        return fingerprint(declared)

    def watch(self, observer: IEngineObserver) -> None:
        """As `IEngine.watch`; ``found`` comes when all that an earlier Snickers left has ended."""
        self._observer = observer

        def found(remaining: object) -> None:
            if not self._closed:
                observer.found()

        # Looked for now, as what is started from now on is not left over.
        ended = self._leftovers.end()
        self._reactor.callLater(0, ended.addCallback, found)

    def list(self) -> Deferred[Sequence[Instance]]:
        """As `IEngine.list`; of an ended process nothing is left to be listed."""
        return succeed([server.instance for server in self._servers.values() if server.ran])

    def prepare(
        self, declared: Declared, fresh: bool, progress: Callable[[str], None]
    ) -> Deferred[bool]:
        """As `IEngine.prepare`: what can be seen to be wrong is seen. A program has no newer one:
        with *fresh* it is started anew."""

        def look() -> bool:
            kind = declared.kind
            if not isinstance(kind, Process):
                raise EngineFailed(f"{declared.site} is no process.")
            self._look(kind, _folders(declared, account(kind.user)))
            server = self._servers.get(declared.site)
            same = server is not None and server.instance.fingerprint == self.fingerprint(declared)
            return fresh or not same

        return maybeDeferred(look)

    def settle(self, site: str) -> Deferred[None]:
        """As `IEngine.settle`: of a process only its declaration is kept, and never more than one
        before the last."""
        return succeed(None)

    def revert(self, site: str, id: str, progress: Callable[[str], None]) -> Deferred[Instance]:
        def begin() -> Deferred[Instance]:
            made = self._made.get(site, [])
            for index, (known, declared) in enumerate(made):
                if known == id:
                    del made[index + 1 :]
                    return Deferred.fromCoroutine(self._start(declared, progress, True))
            return fail(EngineFailed("How it was started is not known any more."))

        return self._turns.run(site, begin)

    def start(
        self, declared: Declared, progress: Callable[[str], None], fresh: bool = False
    ) -> Deferred[Instance]:
        def begin() -> Deferred[Instance]:
            return Deferred.fromCoroutine(self._start(declared, progress, fresh))

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
            self._outputs.pop(site, None)
            self._made.pop(site, None)

        return self._turns.run(site, end)

    def pause(self, site: str) -> Deferred[None]:
        """As `IEngine.pause`. A child in a session of its own is not frozen."""

        def freeze(server: _Server) -> Deferred[None]:
            server.pause()
            return succeed(None)

        return self._turns.run(site, lambda: self._with(site, freeze))

    def resume(self, site: str) -> Deferred[None]:
        def go_on(server: _Server) -> Deferred[None]:
            server.resume()
            return succeed(None)

        return self._turns.run(site, lambda: self._with(site, go_on))

    def run(self, site: str, command: Sequence[str], within: float) -> Deferred[Ran]:
        """As `IEngine.run`; what the command leaves behind ends with it. It waits for no other
        call, and none waits for it."""

        def spawn(server: _Server) -> Deferred[Ran]:
            if server.instance.paused:
                raise EngineFailed(f"{site} is paused: nothing is run beside it before it goes on.")
            running = Command(self._reactor, shlex.join(command), within)
            server.spawn(running, command)
            return running.done

        return self._with(site, spawn)

    def loads(self) -> Deferred[Mapping[str, float]]:
        return Deferred.fromCoroutine(self._loads())

    def healthy(self, instance: Instance) -> Deferred[bool]:
        """As `IEngine.healthy`; a process has no check of its own, it is healthy while it runs."""
        server = self._servers.get(instance.site)
        return succeed(server is not None and server.instance.id == instance.id)

    def logs(
        self, site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        """As `IEngine.logs`: what was written since Snickers was started, as far as it is kept."""
        output = self._outputs.get(site)
        if output is None:
            return fail(EngineFailed(f"{site} has no log: it was not started since Snickers was."))
        last = output.last(tail)
        if last:
            receive(last)
        return output.follow(receive) if follow else succeed(None)

    def close(self) -> Deferred[None]:
        """End all servers, each within its own ``stop within``, and what they left behind; fire
        when they have ended."""
        self._closed = True
        for server in self._servers.values():
            server.end(server.stop_within)
        silent: list[Deferred[None]] = []
        for server in self._speaking:
            done: Deferred[None] = Deferred()
            server.silent.chainDeferred(done)
            silent.append(done)
        ended = DeferredList(silent).addCallback(lambda _: self._leftovers.end())
        return ended.addCallback(lambda _: None)

    def _with(self, site: str, act: Callable[[_Server], Deferred[T]]) -> Deferred[T]:
        server = self._servers.get(site)
        if server is None or not server.ran:
            return fail(EngineFailed(f"{site} does not run."))
        return maybeDeferred(act, server)

    async def _loads(self) -> dict[str, float]:
        servers = {
            site: server
            for site, server in self._servers.items()
            if server.ran and not server.instance.paused
        }
        if not servers:
            return {}
        used = dict.fromkeys((server.pid for server in servers.values()), 0.0)
        ahead = sessions.pids()
        while ahead:
            some, ahead = ahead[:AT_ONCE], ahead[AT_ONCE:]
            sessions.add(used, some)
            if ahead:
                await deferLater(self._reactor, 0)
        return {
            site: used[server.pid]
            for site, server in servers.items()
            if self._servers.get(site) is server and not server.instance.paused
        }

    async def _start(
        self, declared: Declared, progress: Callable[[str], None], fresh: bool
    ) -> Instance:
        site, kind = declared.site, declared.kind
        if not isinstance(kind, Process):
            raise EngineFailed(f"{site} is no process, but a {type(kind).__name__.lower()}.")
        self._look_closed()
        wanted = self.fingerprint(declared)
        server = self._servers.get(site)
        same = server is not None and server.instance.fingerprint == wanted and not fresh
        if server is not None and same and not server.ending:
            server.resume()
            return server.instance
        # All that can be seen to be wrong is seen before the one that runs is touched.
        user = account(kind.user)
        directory = _folders(declared, user)
        self._look(kind, directory)
        if kind.port and not (
            server is not None and server.instance.address == (ADDRESS, kind.port)
        ):
            _free(kind.port)
        if server is not None:
            progress("stopping the one before")
        await self._end(site)
        self._look_closed()
        progress("starting")
        port = _free(kind.port)
        output = self._outputs.setdefault(site, Output())
        made = Instance(site, "", wanted, True, (ADDRESS, port), self._reactor.seconds())
        server = _Server(self._reactor, made, kind.life.stop_within, output, self._gone)
        self._spawn(server, declared, kind, directory, user, port)
        self._leftovers.note(site, server.pid)
        self._servers[site] = server
        try:
            await server.launched
        except _Unlaunched as report:
            server.abandon()
            raise EngineFailed(_in_words(report, declared, kind)) from None
        except CancelledError:
            server.abandon()
            raise
        last = self._made.setdefault(site, [])
        if last and self.fingerprint(last[-1][1]) == wanted:
            last.pop()
        last.append((server.instance.id, declared))
        del last[:-2]
        return server.instance

    def _look_closed(self) -> None:
        if self._closed:
            raise EngineFailed("Snickers is ending and starts nothing.")

    async def _end(self, site: str, within: float | None = None) -> None:
        """End all that runs of *site*, this run's or an earlier one's."""
        server = self._servers.get(site)
        if server is not None:
            await server.end(server.stop_within if within is None else within)
        remaining = await self._leftovers.end(site)
        if remaining:
            raise EngineFailed(
                f"Process {remaining[0]} of {site} does not end, even killed; it may wait for a "
                "disk. It must be gone before another one uses the same folder."
            )

    def _spawn(
        self,
        server: _Server,
        declared: Declared,
        kind: Process,
        directory: str,
        user: Account | None,
        port: int,
    ) -> None:
        who = user and [user.uid, user.gid, user.groups]
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

        def spawn(protocol: ProcessProtocol, command: Sequence[str]) -> None:
            plan = {
                "parent": os.getpid(),
                "user": who,
                "directory": directory,
                "command": list(command),
            }
            nothing = os.open(os.devnull, os.O_RDONLY)
            try:
                self._reactor.spawnProcess(
                    protocol,
                    sys.executable,
                    [sys.executable, "-I", "-S", launch.__file__, json.dumps(plan)],
                    environment,
                    childFDs={0: nothing, 1: "r", 2: "r", launch.REPORT: "r"},
                )
            except OSError as error:
                raise EngineFailed(f"No process could be made: {error.strerror}.") from None
            finally:
                os.close(nothing)

        server.spawn = spawn
        spawn(server, kind.command)
        self._speaking.add(server)
        server.silent.addCallback(lambda _: self._speaking.discard(server))

    def _gone(self, server: _Server) -> None:
        site = server.instance.site
        del self._servers[site]
        self._leftovers.forget(site)
        if server.ran and self._observer is not None and not self._closed:
            self._observer.exited(Exit(site, server.instance.id, server.code))

    def _look(self, kind: Process, directory: str) -> None:
        """Fail if the command cannot be found."""
        name = kind.command[0]
        if "/" in name:
            found = shutil.which(os.path.join(directory, name))
        else:
            found = shutil.which(name, path=dict(kind.environment).get("PATH", self._path))
        if found is None and "/" in name and os.path.isfile(os.path.join(directory, name)):
            raise EngineFailed(
                f"command = {name}: the file may not be executed. Allow it: chmod +x "
                f"{os.path.join(directory, name)}"
            )
        if found is None:
            where = f"in {directory}" if "/" in name and not name.startswith("/") else "here"
            where = where if "/" in name else "in PATH"
            raise EngineFailed(
                f"command = {name}: there is no such program {where}. Install it, or give its "
                "whole path."
            )


def _unspawned(protocol: ProcessProtocol, command: Sequence[str]) -> None:
    raise EngineFailed("The server was not launched yet.")


def _in_words(report: _Unlaunched, declared: Declared, kind: Process) -> str:
    what = {
        "user": f"user = {kind.user}: the server cannot become this user",
        "directory": f"directory = {kind.directory or declared.data}: the server cannot enter it",
        "command": f"command = {kind.command[0]}: it cannot be run",
    }
    return f"{what.get(report.step, 'The server cannot be launched')}: {report.why}."


def _free(wanted: int) -> int:
    """Return a port of `ADDRESS` that nothing listens on: *wanted*, or any for 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Else connections that have just ended would count as listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, wanted))
        except OSError as error:
            raise EngineFailed(
                f"port = {wanted}: {error.strerror}. Whatever listens there would answer instead "
                "of this site; leave port out to have a free one chosen."
            ) from None
        port: int = probe.getsockname()[1]
    return port


def _folders(declared: Declared, user: Account | None) -> str:
    """Make the site's own folder if it is missing; return the directory to work in."""
    assert isinstance(declared.kind, Process)
    try:
        if declared.data and not os.path.isdir(declared.data):
            os.makedirs(declared.data, 0o700)
            if user is not None:
                os.chown(declared.data, user.uid, user.gid)
    except OSError as error:
        raise EngineFailed(
            f"The site's folder {declared.data} cannot be made: {error.strerror}."
        ) from None
    directory = declared.kind.directory or declared.data
    if not os.path.isdir(directory):
        raise EngineFailed(f"directory = {directory}: there is no such folder. Make it.")
    return directory
