"""The other processes of the data plane, as the one in charge asks after them.

What they say may be a moment old; nobody may be waited for who does not answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from snickers.interfaces.traffic import NO_TRAFFIC, Traffic


@frozen
class Share:
    """What other processes have of a site, together."""

    requests: int = 0
    connections: int = 0
    uses: int = 0
    """Uses of its server beyond those that its life counts."""
    certificate: Mapping[str, Any] | None = None
    """As `ICertificates.states` says it, where one of them has loaded it."""
    traffic: Traffic = NO_TRAFFIC


NOTHING = Share()


class IColleagues(Interface):
    """The other processes, as the one in charge asks after them."""

    def freshen() -> Deferred[None]:
        """Fire when `share` and `report` say what holds now, or when one is too slow to tell.
        Never fails."""

    def share(site: str) -> Share:
        """Return what they have of *site*."""

    def report() -> list[dict[str, Any]]:
        """Return for each ``pid``, ``since`` (epoch seconds), ``requests``, ``connections``, and
        ``serving``: whether it accepts connections."""

    def handshakes() -> Mapping[str, int]:
        """Return how many of their TLS handshakes ended how."""
