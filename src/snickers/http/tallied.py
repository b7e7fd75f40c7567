"""Counts answers, on their way to the access log or where there is none.

It stands before the log, so that the exchange calls one function as ever; it is there only where
somebody wants to know (a keeper, of two teams).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from snickers.http.front import Front
from snickers.stream import Sweep


class Tallied:
    """What the access log takes for the *front*, which it gets nothing of but through here."""

    def __init__(self, front: Front) -> None:
        self.total = 0
        """Answers, interrupted ones among them; connections carried unopened are none."""
        self.errors = 0
        """Those of them by which a server says that it has failed (5xx, RFC 9110 §15.6)."""
        self.access: Callable[[Any], None] | None = None
        """As `Front.access`."""
        self.sweep: Sweep = front.sweep
        self.seconds = front.seconds
        front.access = self.add

    def add(self, exchange: Any) -> None:
        """Count *exchange*, which is over, and have it logged."""
        if exchange.request is not None:
            self.total += 1
            if exchange.status >= 500:
                self.errors += 1
        if self.access is not None:
            self.access(exchange)
