"""How much a client may ask of a connection that makes nothing but work.

Pure: the time and the limits come in. What is counted is forgotten after a while: a person who
clicks away from pages now and then must never be taken for an attack (CVE-2023-44487,
CVE-2025-8671).
"""

from __future__ import annotations

PERIOD = 10.0
"""Seconds in which resets and control frames are counted together."""


class Patience:
    """What one client has asked for since the period began."""

    __slots__ = ("_controls", "_resets", "_since")

    def __init__(self, now: float) -> None:
        """*now*: seconds, as in all that follows."""
        self._since = now
        self._controls = 0
        self._resets = 0

    def has_for_control(self, now: float, most: int) -> bool:
        """Count a frame that asks for nothing but work; return whether it is one of *most*."""
        self._begin_anew(now)
        self._controls += 1
        return self._controls <= most

    def has_for_reset(self, now: float, most: int) -> bool:
        """Count a stream that was ended before its time, by the client or because of it; return
        whether it is one of *most*."""
        self._begin_anew(now)
        self._resets += 1
        return self._resets <= most

    def _begin_anew(self, now: float) -> None:
        if now - self._since >= PERIOD:
            self._since = now
            self._controls = self._resets = 0
