"""Runs a command inside of a container, within a time.

Docker ends no command that it has begun: where its processes are this host's, one whose time is
over is killed here. Everything blocks, for threads. Must never signal a process that is not the
container's.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Sequence

from snickers.containers import groups
from snickers.containers.dockerapi import Api, Refused
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Abandoned, Errand, Seen
from snickers.containers.output import Tail
from snickers.interfaces.engine import Ran

NOT_RUN = (126, 127)
"""The codes by which Docker says that there is no such command, as a shell does..."""
NOT_RUN_WORDS = "OCI runtime exec failed: "
"""...and the words that only Docker says then, instead of the command's output."""

SOON = 0.01
"""Seconds until a command is looked at again that has closed its output and not ended yet."""


def run(
    api: Api,
    seen: Seen,
    command: Sequence[str],
    within: float,
    errand: Errand,
    pause: Callable[[float], object],
) -> Ran:
    """Run *command* in the container that is *seen*; return how it ended.

    Cancelling *errand* means that *within*, its time in seconds, is over. *pause* waits for so many
    seconds. Raises `EngineFailed` when it cannot be run, or was not done in time.
    """
    site = seen.instance.site
    prepared = api.prepare(seen.instance.id, command)
    words, tail = shlex.join(command), Tail()
    try:
        try:
            with errand.hold(api.run(prepared)) as written:
                for data in written:
                    tail.add(data)
            errand.check()
            ran = api.ran(prepared)
            while ran.get("Running"):  # Its output ends first.
                errand.check()
                pause(SOON)
                ran = api.ran(prepared)
        except Refused as error:
            if error.status not in (400, 500):
                raise
            raise EngineFailed(f"{words} cannot be run in {site}: {error.why}.") from None
    except Abandoned:
        killed = _kill(api, seen.instance.id, prepared)
        raise EngineFailed(
            f"{words} was not done within {within:g} s, and "
            + ("was killed." if killed else "runs on: only Docker's own host can kill it.")
        ) from None
    code, output = int(ran.get("ExitCode") or 0), tail.text()
    if code in NOT_RUN and output.startswith(NOT_RUN_WORDS):
        why = " ".join(output.rpartition("exec failed: ")[2].split())
        raise EngineFailed(f"{words} cannot be run in {site}: {why.removesuffix(': unknown')}.")
    return Ran(code, output)


def _kill(api: Api, id: str, prepared: str) -> bool:
    """Kill a command in container *id*, with its children; say whether it runs no more."""
    try:
        ran = api.ran(prepared)
    except EngineFailed:
        return False
    if not ran.get("Running"):
        return True
    pid = ran.get("Pid") or 0
    # It leads a session of its own. A number alone is not trusted: it must be of the container,
    # by whose id Docker names control groups.
    if not api.local or not pid or id not in groups.groups_of(pid):
        return False
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return True
