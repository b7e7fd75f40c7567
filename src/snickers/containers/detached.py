"""Servers that outlive the Snickers that has started them, and are taken over by the next.

They write into a pipe that lasts (``pipe``), kept on disk (``journal``), and are noted in the state
folder with all that is needed to know them again (``marks``). Each is held by its descriptor
(``held``), whoever has started it: a number that was given away is never touched. Only the Snickers
that is on duty has this; another one must do nothing with these servers, so `DetachedServers.close`
lets go of them and leaves them running.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.containers import launching, pipe, sessions
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.containers.held import Held, hold
from snickers.containers.journal import Journal, Written
from snickers.containers.launching import Place
from snickers.containers.marks import Mark, Marks
from snickers.containers.output import Output
from snickers.containers.server import LAST_WORDS, IReactor, Server, silence
from snickers.interfaces.engine import Instance

log = Logger()

AWAY = "Another Snickers looks after the servers now."


class Detached(Server):
    """One server.

    :param mark: what is noted of it.
    :param held: its process.
    :param reads: the descriptor of what it writes; ``None``: that cannot be heard.
    :param child: it is a child of this process, which is told of its start and its end (`reported`,
        `exited`); otherwise it has started already.
    """

    def __init__(
        self,
        reactor: IReactor,
        mark: Mark,
        held: Held,
        output: Written,
        reads: int | None,
        marks: Marks,
        gone: Callable[[Server], None],
        child: bool,
    ) -> None:
        super().__init__(reactor, mark.instance, mark.stop_within, mark.place, gone)
        self.pid = held.pid
        self._mark = mark
        self._marks = marks
        self._held = held
        self._output = output
        self._left = False
        self._silent = False
        output.begin(self)
        self._pipe: pipe.Pipe | None = None
        if reads is not None:
            self._pipe = pipe.Pipe(reactor, reads, self._hear, self._unheard)
        if not child:
            self._reported(b"")
            held.ended.addCallback(lambda _: self._ended(held.code()))

    def end(self, within: float) -> Deferred[None]:
        if not self.ending and not self._exited:
            # Whoever takes it over goes on with that.
            self._note(evolve(self._mark, ending=True))
        return super().end(within)

    def pause(self) -> None:
        super().pause()
        # The kernel takes a moment to stop it, and somebody may look before.
        self._note(evolve(self._mark, instance=self.instance))

    def resume(self) -> None:
        super().resume()
        self._note(evolve(self._mark, instance=self.instance))

    def _note(self, mark: Mark) -> None:
        if mark != self._mark and not self._exited:
            self._mark = mark
            self._marks.write(mark)

    def leave(self) -> None:
        """Do nothing with it any more: another Snickers may."""
        self._left = True
        self._hush()
        self._held.let_go()
        if self._pipe is None:
            self._unheard()
        else:
            self._pipe.close()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.errback(EngineAway(AWAY))

    def reported(self, report: bytes) -> None:
        """The launcher has said all that it says."""
        if not self._left:
            self._reported(report)

    def exited(self, code: int) -> None:
        """It has ended, as its parent is told."""
        if not self._left:
            self._ended(code)

    def _signal(self, number: int) -> None:
        if not self.ran and not self._exited:
            self._held.signal(number)  # It may lead no group yet.
        else:
            self._held.signal_group(number)

    def _tell_all(self, number: int) -> None:
        self._held.signal_group(number)
        sessions.tell_others(self.pid, number)

    def _ended(self, code: int | None) -> None:
        self._marks.forget(self.instance.site, self.instance.id)
        super()._ended(code)

    def _hear_out(self) -> None:
        self._held.let_go()
        if self._pipe is None:
            self._unheard()
        else:
            self._pipe.hurry()
            self._call(LAST_WORDS, self._pipe.close)

    def _hear(self, data: bytes) -> None:
        self._output.add(self, 1, data)

    def _unheard(self) -> None:
        """Nothing more is heard of it, or will be."""
        self._pipe = None
        if self._silent or not (self._left or self._exited):
            return  # It may have closed its output, and live on.
        self._silent = True
        self._hush()
        if self._left:
            self._output.leave(self)
        else:
            self._output.end(self)
        self.silent.callback(None)


class _Child(ProcessProtocol):
    """A server that this process has started, as its parent hears of it."""

    server: Detached | None = None

    def __init__(self) -> None:
        self.pid = 0
        self._report = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        assert self.transport.pid is not None
        self.pid = self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._report += data

    def childConnectionLost(self, childFD: int) -> None:
        if self.server is not None:
            self.server.reported(self._report)

    def processExited(self, reason: Failure) -> None:
        if self.server is not None:
            self.server.exited(launching.code(reason))


class DetachedServers:
    """Keeps servers that outlive Snickers; see `snickers.containers.server.Keeping`.

    :param folder: where they are noted, and what they write is kept.
    """

    outlive = True

    def __init__(self, reactor: IReactor, folder: str) -> None:
        self._reactor = reactor
        self._marks = Marks(folder)
        self._outputs: dict[str, Written] = {}
        self._there: set[Detached] = set()

    def spawn(
        self,
        instance: Instance,
        stop_within: float,
        command: Sequence[str],
        place: Place,
        gone: Callable[[Server], None],
    ) -> Server:
        reads, writes = self._pipe(instance.site)
        child = _Child()
        try:
            launching.spawn(self._reactor, child, command, place, writes, lasting=True)
            held, start = _held(self._reactor, child.pid)
        except BaseException:
            os.close(reads)
            raise
        finally:
            os.close(writes)
        mark = Mark(start, sessions.boot(), evolve(instance, id=str(child.pid)), stop_within, place)
        self._marks.write(mark)
        child.server = self._keep(mark, held, reads, gone, child=True)
        return child.server

    def find(self, gone: Callable[[Server], None]) -> Sequence[Server]:
        found = []
        for mark in self._marks.read():
            instance = mark.instance
            held = hold(self._reactor, int(instance.id), mark.start)
            if held is None:
                self._marks.forget(instance.site, instance.id)
                continue
            log.info("{site}: taking over process {pid}", site=instance.site, pid=instance.id)
            now = sessions.stat(held.pid)
            if now is not None and now.state in "Tt":
                mark = evolve(mark, instance=evolve(instance, paused=True))
            reads = pipe.find(self._marks.pipe(instance.site))
            server = self._keep(mark, held, reads, gone, child=False)
            server.ending = mark.ending
            found.append(server)
        return found

    def output(self, site: str) -> Output | None:
        output = self._written(site)
        return output if site in self._outputs or output.journal.there() else None

    def forget(self, site: str) -> None:
        for server in [each for each in self._there if each.instance.site == site]:
            server.leave()  # It has ended; its last words are not wanted.
        self._written(site).journal.remove()
        self._outputs.pop(site, None)
        self._marks.remove(site)

    def close(self, servers: Sequence[Server]) -> Deferred[None]:
        """Leave those that run to the next one; of those that are about to, none is left."""
        begun = []
        for server in list(self._there):
            if server.ran:
                server.leave()
            else:
                server.abandon()
                begun.append(server)
        return silence(begun)

    def _keep(
        self,
        mark: Mark,
        held: Held,
        reads: int | None,
        gone: Callable[[Server], None],
        child: bool,
    ) -> Detached:
        output = self._outputs[mark.instance.site] = self._written(mark.instance.site)
        server = Detached(self._reactor, mark, held, output, reads, self._marks, gone, child)
        self._there.add(server)
        server.silent.addCallback(lambda _: self._there.discard(server))
        return server

    def _written(self, site: str) -> Written:
        return self._outputs.get(site) or Written(Journal(self._marks.folder(site)))

    def _pipe(self, site: str) -> tuple[int, int]:
        try:
            self._marks.make_folder(site)
            return pipe.make(self._marks.pipe(site))
        except OSError as error:
            log.warn(
                "{site}: no pipe could be made in {folder} ({error}). What its server writes is"
                " lost when this Snickers ends.",
                site=site,
                folder=self._marks.folder(site),
                error=error.strerror,
            )
        reads, writes = os.pipe()
        os.set_blocking(reads, False)
        return reads, writes


def _held(reactor: IReactor, pid: int) -> tuple[Held, int]:
    """Return our own child as it is held, and when it was started."""
    found = sessions.stat(pid)
    try:
        if found is None:  # Nobody has waited for it yet.
            raise FileNotFoundError(errno.ENOENT, "there is no /proc to find it in")
        return Held(reactor, pid, os.pidfd_open(pid), found.start), found.start
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        raise EngineFailed(
            f"The process cannot be held ({error.strerror}), so it could not outlive Snickers."
        ) from None
