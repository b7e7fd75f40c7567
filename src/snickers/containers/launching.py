"""Starts programs by way of ``launch.py``, and understands what it reports.

What a server's program finds around it (its `Place`) is said here once, for the server and for the
commands that are run beside it. Nothing of Snickers' own environment is handed on, and no
descriptor but the standard ones.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence

from attrs import frozen
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from snickers.config.values import Process
from snickers.containers import launch
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Declared


@frozen
class Place:
    """Where, and as whom, a server's processes run."""

    directory: str
    environment: Mapping[str, str]
    user: tuple[int, int, tuple[int, ...]] | None
    """Its uid, gid and groups; ``None``: whoever Snickers is."""


class Unlaunched(Exception):
    """The launcher's report of what went wrong."""

    def __init__(self, report: bytes) -> None:
        super().__init__(report)
        try:
            step, _, why = json.loads(report)
        except ValueError:
            step, why = "", report.decode(errors="replace")
        self.step: str = step
        self.why: str = why

    def in_words(self, declared: Declared, kind: Process) -> str:
        """Return it for the owner of what was *declared*."""
        what = {
            "user": f"user = {kind.user}: the server cannot become this user",
            "directory": f"directory = {kind.directory or declared.data}: the server cannot enter"
            " it",
            "command": f"command = {kind.command[0]}: it cannot be run",
        }
        return f"{what.get(self.step, 'The server cannot be launched')}: {self.why}."


def spawn(
    reactor: IReactorProcess,
    protocol: ProcessProtocol,
    command: Sequence[str],
    place: Place,
    writes: int | None = None,
    lasting: bool = False,
) -> None:
    """Spawn *command* in *place*; *protocol* hears of it and of the launcher's report.

    :param writes: the descriptor that it writes to; ``None``: pipes to *protocol*.
    :param lasting: it does not end when Snickers does.
    """
    plan = {
        "parent": None if lasting else os.getpid(),
        "user": place.user,
        "directory": place.directory,
        "command": list(command),
    }
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        raise EngineFailed(f"No process could be made: {error.strerror}.") from None
    outputs: dict[int, int | str] = {1: "r", 2: "r"} if writes is None else {1: writes, 2: writes}
    try:
        reactor.spawnProcess(
            protocol,
            sys.executable,
            [sys.executable, "-I", "-S", launch.__file__, json.dumps(plan)],
            place.environment,
            childFDs={0: nothing, **outputs, launch.REPORT: "r"},
        )
    except OSError as error:
        raise EngineFailed(f"No process could be made: {error.strerror}.") from None
    finally:
        os.close(nothing)


def code(reason: Failure) -> int:
    """Return how a child ended, as shells and Docker say it."""
    error = reason.value
    if isinstance(error, ProcessTerminated) and error.signal:
        return 128 + int(error.signal)
    return getattr(error, "exitCode", None) or 0
