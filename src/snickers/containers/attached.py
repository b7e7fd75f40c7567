"""Servers that end with Snickers, as its children.

They are told to end when Snickers dies (``launch``), and what a killed Snickers leaves behind all
the same is found by its mark (``leftovers``). What they write goes through pipes of Snickers' own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from snickers.containers import launch, launching, sessions
from snickers.containers.launching import Place
from snickers.containers.output import Output
from snickers.containers.pace import Pace
from snickers.containers.server import LAST_WORDS, IReactor, Server, silence
from snickers.interfaces.engine import Instance


class Attached(Server, ProcessProtocol):
    """One server, as its parent hears of it."""

    def __init__(
        self,
        clock: IReactorTime,
        instance: Instance,
        stop_within: float,
        place: Place,
        gone: Callable[[Server], None],
        output: Output,
    ) -> None:
        super().__init__(clock, instance, stop_within, place, gone)
        self._output = output
        self._report = b""
        self._pace = Pace(
            clock, lambda: self._each_pipe("stopReading"), lambda: self._each_pipe("startReading")
        )

    def _signal(self, number: int) -> None:
        try:
            if not self.ran and not self._exited:
                os.kill(self.pid, number)  # It may lead no group yet.
            else:
                os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def _tell_all(self, number: int) -> None:
        sessions.tell(self.pid, number)

    def _hear_out(self) -> None:
        self._pace.hurry()
        self._call(LAST_WORDS, self._let_go)

    # ProcessProtocol

    def connectionMade(self) -> None:
        assert self.transport is not None
        assert self.transport.pid is not None
        self.pid = self.transport.pid
        self._output.begin(self)
        self.instance = evolve(self.instance, id=str(self.pid))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == launch.REPORT:
            self._report += data
        else:
            self._output.add(self, childFD, data)
            self._pace.read(len(data))

    def childConnectionLost(self, childFD: int) -> None:
        if childFD == launch.REPORT:
            self._reported(self._report)

    def processExited(self, reason: Failure) -> None:
        self._ended(launching.code(reason))

    def processEnded(self, reason: Failure) -> None:
        self._hush()
        self._pace.end()
        self._output.end(self)
        self.silent.callback(None)

    def _each_pipe(self, do: str) -> None:
        for descriptor, pipe in getattr(self.transport, "pipes", {}).items():
            if descriptor != launch.REPORT:
                getattr(pipe, do)()

    def _let_go(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class AttachedServers:
    """Keeps servers that end with Snickers; see `snickers.containers.server.Keeping`."""

    outlive = False

    def __init__(self, reactor: IReactor) -> None:
        self._reactor = reactor
        self._outputs: dict[str, Output] = {}
        self._speaking: set[Server] = set()

    def spawn(
        self,
        instance: Instance,
        stop_within: float,
        command: Sequence[str],
        place: Place,
        gone: Callable[[Server], None],
    ) -> Server:
        output = self._outputs.setdefault(instance.site, Output())
        server = Attached(self._reactor, instance, stop_within, place, gone, output)
        launching.spawn(self._reactor, server, command, place)
        self._speaking.add(server)
        server.silent.addCallback(lambda _: self._speaking.discard(server))
        return server

    def find(self, gone: Callable[[Server], None]) -> Sequence[Server]:
        """As `Keeping.find`: of an earlier Snickers' servers none is to be kept."""
        return []

    def output(self, site: str) -> Output | None:
        return self._outputs.get(site)

    def forget(self, site: str) -> None:
        self._outputs.pop(site, None)

    def close(self, servers: Sequence[Server]) -> Deferred[None]:
        """End *servers*, each within its own time; fires when they and all others are silent."""
        for server in servers:
            server.end(server.stop_within)
        return silence(self._speaking)
