"""Ends a test that blocks, with where it stood: trial's own limit, 120 seconds, holds only for
tests that wait for a Deferred.

It must hold in every process that runs tests, which a reporter cannot: with ``-j`` it is in
another one.
"""

from __future__ import annotations

import signal
from typing import Any

LONGEST_TEST = 900.0
"""Seconds after which a test is told to end: none takes a fifth of that, but on a busy machine."""
AGAIN = 10.0
"""Seconds after which it is told again: what it calls may have caught the first word."""


class BlockedError(AssertionError):
    """Raised in a test, wherever it stands."""


def bound(case: Any, longest: float = LONGEST_TEST, again: float = AGAIN) -> None:
    """Have each test of *case*, a class of trial's, take *longest* seconds at most, and be told
    so each *again* seconds from then on.

    Only in a main thread, as trial runs tests; the signal is SIGALRM.
    """
    run = case.run

    def told(*_: object) -> None:
        raise BlockedError(f"it still blocks after {longest:g} s")

    def bounded(self: Any, result: Any) -> Any:
        if signal.getitimer(signal.ITIMER_REAL)[0]:
            # Within another test, whose time runs already.
            return run(self, result)
        before = signal.signal(signal.SIGALRM, told)
        signal.setitimer(signal.ITIMER_REAL, longest, again)
        try:
            return run(self, result)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    case.run = bounded
