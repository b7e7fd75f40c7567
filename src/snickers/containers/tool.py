"""Runs the programs that copy folders, one process group each, and reads what they say.

A program ends with Snickers, however that ends, and with whoever waits for it. It gives way to the
sites: it has a low priority. What is kept of its words is bounded. It must never be given a shell.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from snickers.containers import launch
from snickers.containers.output import Tail
from snickers.interfaces.copies import CopyFailed

LONGEST = 16 * 2**20
"""Bytes of one line: restic lists thousands of copies in one."""
GENTLE = ("nice", "-n", "10")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class IReactor(IReactorTime, IReactorProcess):
    """What is needed of the reactor."""


@frozen
class Ended:
    """How a program ended, by itself."""

    code: int
    said: str
    """The last lines of what it wrote as errors."""


def find(name: str) -> str | None:
    """Return the path of the program *name*, ``None`` where it is not installed."""
    return shutil.which(name, path=os.environ.get("PATH", PATH))


def run(
    reactor: IReactor,
    command: Sequence[str],
    within: float,
    folder: str = "/",
    environment: Mapping[str, str] | None = None,
    line: Callable[[bytes], None] = lambda line: None,
    error_line: Callable[[bytes], None] = lambda line: None,
) -> Deferred[Ended]:
    """Run *command* in *folder*, for *within* seconds at most.

    *line* and *error_line* are called with each line of its outputs. Fires with how it ended; fails
    with `CopyFailed` when it cannot be run or was not done in time: then, and when cancelled, all
    of it is killed.
    """
    running = _Running(reactor, os.path.basename(command[0]), within, line, error_line)
    gentle = GENTLE if find(GENTLE[0]) else ()
    plan = {
        "parent": os.getpid(),
        "user": None,
        "directory": folder,
        "command": [*gentle, *command],
    }
    environment = {
        "PATH": os.environ.get("PATH", PATH),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",
        **(environment or {}),
    }
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        reactor.spawnProcess(
            running,
            sys.executable,
            [sys.executable, "-I", "-S", launch.__file__, json.dumps(plan)],
            environment,
            childFDs={0: nothing, 1: "r", 2: "r", launch.REPORT: "r"},
        )
    except OSError as error:
        words = f"No process could be made of {sys.executable}: {error.strerror}."
        if isinstance(error, PermissionError):
            words += " The user that Snickers has become must be able to run it."
        running.done.errback(CopyFailed(words))
    finally:
        os.close(nothing)
    return running.done


class _Running(ProcessProtocol):
    """One program, from its spawning to the end of its output."""

    def __init__(
        self,
        clock: IReactorTime,
        name: str,
        within: float,
        line: Callable[[bytes], None],
        error_line: Callable[[bytes], None],
    ) -> None:
        self.done: Deferred[Ended] = Deferred(self._cancel)
        self._clock = clock
        self._name = name
        self._within = within
        self._tell = {1: line, 2: error_line}
        self._begun = {1: b"", 2: b""}
        self._tail = Tail()
        self._report = b""
        self._pid = 0
        self._failure: Exception | None = None
        self._late: IDelayedCall | None = None
        self._exited = False

    def connectionMade(self) -> None:
        self._pid = getattr(self.transport, "pid", None) or 0
        self._late = self._clock.callLater(self._within, self._too_late)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == launch.REPORT:
            self._report += data
            return
        if childFD == 2:
            self._tail.add(data)
        *lines, rest = (self._begun[childFD] + data).split(b"\n")
        self._begun[childFD] = rest[:LONGEST]
        for line in lines:
            self._tell[childFD](line)

    def processExited(self, reason: Failure) -> None:
        self._exited = True
        self._kill()  # What it left behind in its group.

    def processEnded(self, reason: Failure) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()
        for descriptor, rest in self._begun.items():
            if rest:
                self._tell[descriptor](rest)
        if self.done.called:
            return
        if self._failure is not None:
            self.done.errback(self._failure)
        elif self._report:
            self.done.errback(CopyFailed(f"{self._name} cannot be run: {self._why()}."))
        else:
            error = reason.value
            if isinstance(error, ProcessTerminated) and error.signal:
                code = 128 + error.signal
            else:
                code = getattr(error, "exitCode", None) or 0
            self.done.callback(Ended(code, self._tail.text()))

    def _why(self) -> str:
        try:
            return str(json.loads(self._report)[2])
        except (ValueError, LookupError, TypeError):
            return self._report.decode(errors="replace")

    def _too_late(self) -> None:
        self._failure = CopyFailed(f"{self._name} was not done within {self._within:g} s.")
        self._kill()

    def _cancel(self, done: Deferred[Ended]) -> None:
        self._kill()

    def _kill(self) -> None:
        # At first it leads no group yet; ended, its number may be another's.
        for kill in (os.killpg,) if self._exited else (os.killpg, os.kill):
            try:
                if self._pid:
                    kill(self._pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
