"""Starts processes of Snickers' own: workers, the broker.

Each has a socket to the first process, and pipes for what it prints. Must never hand down a
variable that was meant for the first process alone, nor a descriptor that was not asked for, and
leaves nothing open where no process could be started.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from twisted.internet.interfaces import IProcessProtocol
from twisted.protocols.amp import AMP

from snickers.workers.wire import Only

NOT_FOR_CHILDREN = (
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "SNICKERS_STAND_BY",
)
"""Variables that are meant for the first process alone."""


def start(
    reactor: Any,
    protocol: IProcessProtocol,
    arguments: Sequence[str],
    line: AMP,
    at: int,
    more: Mapping[int, int] | None = None,
) -> None:
    """Start this Python with *arguments*, and connect *line* with it.

    :param protocol: hears what it prints, and of its end.
    :param at: the number by which the process has its end of the line.
    :param more: descriptors of this process that it is given, by their numbers there.
    """
    with ExitStack() as opened:
        ours, theirs = map(opened.enter_context, socket.socketpair())
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        opened.callback(os.close, nothing)
        ours.setblocking(False)
        reactor.spawnProcess(
            protocol,
            sys.executable,
            [sys.executable, *arguments],
            {k: v for k, v in os.environ.items() if k not in NOT_FOR_CHILDREN},
            childFDs={0: nothing, 1: "r", 2: "r", at: theirs.fileno(), **(more or {})},
        )
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Only(line))
