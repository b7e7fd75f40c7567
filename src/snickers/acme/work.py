"""What threads do for one site, which goes on when nobody waits for it any more.

A thread cannot be told to stop: who breaks an order off must still know when the last thread has
let go of the site's files and of the conversation with the authority. Must never tell a result to
one who has given up, and never forget a thread that runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Threads(Protocol):
    """Runs blocking functions elsewhere, as `snickers.acme.errands.Errands` does."""

    def start(self) -> None: ...

    def stop(self) -> Any: ...

    def run(self, function: Callable[[], T]) -> Deferred[T]: ...


class Work:
    """The work for one site.

    *threads* run what is asked of authorities and the disk, *slow* what may take minutes; *at* is
    called with ``"before POINT"`` and ``"after POINT"``, for tests that interrupt there.
    """

    def __init__(self, threads: Threads, slow: Threads, at: Callable[[str], None]) -> None:
        self._threads = threads
        self._slow = slow
        self._at = at
        self._going: list[Deferred[Any]] = []

    @property
    def goes_on(self) -> bool:
        """Whether a thread works."""
        return bool(self._going)

    def in_thread(self, point: str, function: Callable[..., T], /, *arguments: Any) -> Deferred[T]:
        """Fire with what *function* returns, or fail with what it raises or `ThreadsStopped`.

        *point* says what it is. Cancelling ends the waiting, not the thread.
        """
        return self._run(self._threads, point, partial(function, *arguments))

    def slowly(self, point: str, function: Callable[..., T], /, *arguments: Any) -> Deferred[T]:
        """The same, for what may take minutes and must keep nobody else from a thread."""
        return self._run(self._slow, point, partial(function, *arguments))

    def when_over(self, act: Callable[[], object]) -> None:
        """Call *act*, once, when what works now has ended: at once when nothing does."""
        going = list(self._going)
        if not going:
            act()
            return
        rest = [len(going)]

        def ended(result: object) -> object:
            rest[0] -= 1
            if not rest[0]:
                act()
            return result

        for one in going:
            one.addBoth(ended)

    def _run(self, threads: Threads, point: str, function: Callable[[], T]) -> Deferred[T]:
        self._at(f"before {point}")
        shown: Deferred[T] = Deferred()
        going = threads.run(function)
        self._going.append(going)

        def over(result: Any) -> None:
            self._going.remove(going)
            if not shown.called:
                self._at(f"after {point}")
                shown.callback(result) if not isinstance(result, Failure) else shown.errback(result)

        going.addBoth(over)
        return shown
