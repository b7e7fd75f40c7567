"""A small pool of threads of its own, for what blocks.

The reactor's own pool resolves host names: a slow disk must not fill that one. Must never let a
result into the reactor's thread other than through a Deferred.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class ThreadsStopped(Exception):
    """Nothing is run any more."""


class Threads(Protocol):
    """Runs blocking functions elsewhere."""

    def start(self) -> None:
        """Be ready to run."""
        ...

    def stop(self) -> None:
        """Finish what was begun, blocking, and run nothing more."""
        ...

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Fire with what *function* returns, fail with what it raises or `ThreadsStopped`."""
        ...


class OwnThreads:
    """At most *size* threads, none before the first use."""

    def __init__(self, reactor: IReactorFromThreads, size: int, name: str) -> None:
        self._reactor = reactor
        self._size = size
        self._name = name
        self._pool: ThreadPool | None = None

    def start(self) -> None:
        """Be ready to run."""
        if self._pool is None:
            self._pool = ThreadPool(0, self._size, self._name)
            self._pool.start()

    def stop(self) -> None:
        """Finish what was begun, blocking, and run nothing more."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Fire with what *function* returns, fail with what it raises or `ThreadsStopped`."""
        if self._pool is None:
            return fail(ThreadsStopped())
        return deferToThreadPool(self._reactor, self._pool, function)
