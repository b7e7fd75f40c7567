"""Threads for what may hang: who stops them does not wait for the network.

An authority may take half a minute for an answer, and a program that writes into the DNS several.
What is under way when this is stopped is given a moment and then left behind; it may not keep the
process from ending, and nothing it does is half done on the disk. Must never let a result into the
reactor's thread other than through a Deferred.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from snickers.tls.threads import ThreadsStopped

T = TypeVar("T")

STOP_WITHIN = 2.0
"""Seconds."""


class Errands:
    """At most *size* threads, none before the first use; may be started again."""

    def __init__(self, reactor: Any, size: int, name: str) -> None:
        self._reactor = reactor
        self._size = size
        self._name = name
        self._pool: ThreadPool | None = None

    def start(self) -> None:
        """Be ready to run."""
        if self._pool is None:
            pool = ThreadPool(0, self._size, self._name)
            # Those that are left behind must not keep the process from ending.
            pool.threadFactory = partial(threading.Thread, daemon=True)  # type: ignore[assignment]
            pool.start()
            self._pool = pool

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Fire with what *function* returns, fail with what it raises or `ThreadsStopped`."""
        if self._pool is None:
            return fail(ThreadsStopped())
        return deferToThreadPool(self._reactor, self._pool, function)

    def stop(self) -> Deferred[None]:
        """Run nothing more. Fires when what was begun has ended, or `STOP_WITHIN` is over."""
        done: Deferred[None] = Deferred()
        pool, self._pool = self._pool, None

        def over() -> None:
            if not done.called:
                done.callback(None)

        if pool is None:
            over()
            return done
        timer = self._reactor.callLater(STOP_WITHIN, over)

        def ended() -> None:
            if timer.active():
                timer.cancel()
            over()

        def wait() -> None:
            pool.stop()
            self._reactor.callFromThread(ended)

        threading.Thread(target=wait, daemon=True).start()
        return done
