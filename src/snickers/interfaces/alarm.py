"""Tells a person: where everything that can go wrong meets the one who mends it.

Telling must never fail, nor hold up whoever tells.
"""

from __future__ import annotations

from zope.interface import Interface


class IAlarm(Interface):
    """Tells a person."""

    def raised(kind: str, site: str, message: str) -> None:
        """Raise an alarm: logged, kept for ``status``, given to the alarm command. The same
        (kind, site, message) is told once until `cleared`."""

    def cleared(kind: str, site: str) -> None:
        """What was raised holds no more."""
