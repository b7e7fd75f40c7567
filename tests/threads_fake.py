"""Threads without threads: calls wait until a test lets them run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class FakeThreads:
    """A pool whose calls run when `run` or `run_all` says so, in order."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.ran: list[str] = []
        """Names of the functions that were called."""

    def defer(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call later; fires with the result."""
        result: Deferred[Any] = Deferred()
        self.waiting.append((result, call, args))
        return result

    def run(self) -> None:
        """Run the call that waits longest, and tell its result."""
        result, call, args = self.waiting.pop(0)
        self.ran.append(call.__name__)
        try:
            value = call(*args)
        except Exception:
            result.errback(Failure())
        else:
            result.callback(value)

    def run_all(self) -> None:
        """Run until nothing waits."""
        while self.waiting:
            self.run()
