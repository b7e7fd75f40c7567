"""How a start ends that cannot be: in lines for a person, and with a status.

Must never show a traceback for what a person has written wrong, nor lose the words in a log that
nobody looks at yet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from twisted.logger import LoggingFile


class StartFailed(Exception):
    """A daemon that cannot start: twistd gives the text to whoever waits in the foreground."""


def say(*lines: str, logged: bool = True) -> None:
    """Print *lines* where a person looks, and in the log unless that is seen, too (*logged*)."""
    outputs = [sys.stderr]
    if isinstance(sys.stderr, LoggingFile) and sys.__stderr__ is not None:
        # Once twistd logs, what is printed is in the log; a person looks at the terminal.
        outputs = [*outputs, sys.__stderr__] if logged else [sys.__stderr__]
    for output in outputs:
        for line in lines:
            print(line, file=output)
        output.flush()


def log_shown(twistd: Mapping[str, Any] | None) -> bool:
    """Return whether a person sees the log, on standard output, by *twistd*'s own options."""
    if twistd is None or not twistd.get("nodaemon") or twistd.get("syslog"):
        return False
    return twistd.get("logfile") in (None, "-")


def fail(*lines: str, logged: bool = True) -> NoReturn:
    """End the start: one line for each fault, no traceback, status 1. *logged*: see `say`."""
    say(*lines, logged=logged)
    raise SystemExit(1)


def end_with(status: int) -> NoReturn:
    """End the process with *status* at once, when all else has ended."""
    for output in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if output is not None:
            output.flush()
    os._exit(status)
