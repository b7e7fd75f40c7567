"""The broker's wiring: Docker's engine, the configuration, and the front to hear.

``python -m snickers.broker PATH`` is started by the first process, while that still has its
privileges, and by nobody else: it inherits one end of a pair of sockets. It reads the
configuration at PATH itself. This module, `snickers.tap` and `snickers.worker` are the only ones
that name the real reactor. It must never outlive the first process, and loads nothing that listens
to the network.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, globalLogBeginner

from snickers.brokerage.broker import Broker
from snickers.brokerage.guarded import loose, unguarded
from snickers.brokerage.ledger import Ledger
from snickers.brokerage.wire import CONTROL
from snickers.config.parse import load
from snickers.config.values import Configuration
from snickers.containers.docker import DockerEngine
from snickers.containers.engine import owner_of
from snickers.printed import LOG, observer
from snickers.workers.wire import Only

log = Logger()


def guarded(path: str) -> Configuration:
    """Return what the files at *path* say; nothing of it when others can write to them. Blocks."""
    loaded = load(path)
    words = unguarded(name for name, _ in loaded.stamp.seen)
    if not words:
        return loaded.configuration
    log.error("{path}: {words}; what was read before counts", path=path, words=words)
    return evolve(loaded.configuration, settings=None, sites={})


def connect(reactor: Any, path: str, ended: Callable[[], None]) -> Broker:
    """Connect everything; *ended* is called when the front has gone. Exits where the configuration
    is at fault."""
    configuration = guarded(path)
    settings = configuration.settings
    if settings is None:
        for fault in configuration.faults:
            print(fault, file=sys.stderr)
        raise SystemExit(1)
    broker = Broker(
        DockerEngine(reactor, owner_of(settings.state), settings.docker),
        Ledger(configuration),
        lambda: guarded(path),
        deferToThread,
        loose,
        lambda call: reactor.callLater(0, call),
        ended,
    )
    with socket.socket(fileno=CONTROL) as control:
        control.setblocking(False)
        reactor.adoptStreamConnection(control.fileno(), socket.AF_UNIX, Only(broker))
    # Who ends all processes of a terminal, or of a service, ends the first one, which needs this
    # one to end well.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    return broker


def main(arguments: Sequence[str]) -> None:
    """Run a broker: *arguments* are the path of the configuration."""
    from twisted.internet import reactor

    globalLogBeginner.beginLoggingTo([observer(LOG)], redirectStandardIO=False)
    running: Any = reactor
    # A clock that nobody can set.
    running.seconds = time.monotonic
    # Folders of sites are made for their containers, whatever the first process wants of its own.
    os.umask(0o022)
    connect(running, arguments[0], running.stop)
    running.run(installSignalHandlers=False)


if __name__ == "__main__":
    main(sys.argv[1:])
