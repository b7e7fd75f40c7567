"""What visitors of a site have had, counted: where those who count meet those who show it.

Pure: numbers that only grow, and are added up over processes.
"""

from __future__ import annotations

from attrs import frozen

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, the bounds of a histogram of answers: those that Prometheus' own clients have."""


@frozen
class Traffic:
    """What visitors of a site have had so far. It may cross a process."""

    codes: tuple[tuple[int, int], ...] = ()
    """How many answers there were of each status."""
    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """How many took no longer than each of `BOUNDS`, and longer than the one before; the last:
    longer than all."""
    seconds: float = 0.0
    """That they took together."""
    received: int = 0
    """Bytes from visitors, without TLS."""
    sent: int = 0
    """...and to them."""

    def __add__(self, other: Traffic) -> Traffic:
        codes = dict(self.codes)
        for status, number in other.codes:
            codes[status] = codes.get(status, 0) + number
        return Traffic(
            tuple(sorted(codes.items())),
            tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True)),
            self.seconds + other.seconds,
            self.received + other.received,
            self.sent + other.sent,
        )


NO_TRAFFIC = Traffic()
