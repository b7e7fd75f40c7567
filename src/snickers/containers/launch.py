"""Becomes a personal server: the steps between Snickers' spawning and the server's own program.

Run as a script by a bare interpreter (``python -I -S launch.py PLAN``), so it imports nothing of
Snickers. It leads a session of its own, is told to end when Snickers dies (unless it is to outlive
Snickers), becomes the user it shall be and then the program, in the same process. When a step
fails it says so on descriptor 3 and ends; it must never run the program with a step left out.
Descriptor 3 closing without a word means that the program runs.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

REPORT = 3
"""The descriptor for what went wrong: ``[step, errno, strerror]`` in JSON."""

PR_SET_PDEATHSIG = 1


def close_others() -> None:
    """Close every descriptor but the standard ones and `REPORT`, which the program never sees."""
    os.set_inheritable(REPORT, False)
    for name in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
        if int(name) > REPORT:
            try:
                os.close(int(name))
            except OSError:
                pass  # The listing's own.


def default_signals() -> None:
    """Undo what the interpreters on the way ignore or block: it would be inherited."""
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def end_with(parent: int) -> None:
    """Ask for SIGTERM when *parent* dies, and end now if it is dead already (prctl(2)).

    Comes after the change of user, which would undo it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def launch(plan: dict[str, Any]) -> None:
    """Become ``plan["command"]``; does not return."""
    step = "session"
    try:
        os.setsid()
        os.umask(0o022)
        close_others()
        default_signals()
        step = "user"
        if plan["user"]:
            uid, gid, groups = plan["user"]
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
        if plan["parent"]:
            end_with(plan["parent"])
        step = "directory"
        os.chdir(plan["directory"])
        step = "command"
        os.execvp(plan["command"][0], plan["command"])
    except OSError as error:
        os.write(REPORT, json.dumps([step, error.errno, error.strerror]).encode())
    os._exit(127)


if __name__ == "__main__":
    launch(json.loads(sys.argv[1]))
