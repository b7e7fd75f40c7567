"""The connections to all sites' servers together, kept within what there are descriptors for.

Each site keeps idle connections for its next visitors. Without a common limit, visitors of many
sites in turn would leave no descriptor for anybody else; nor would clients of HTTP/2, each of
which may ask for many things at once. Files that are being sent are counted, too. Costs nothing
where a kept connection is used again; it must never take one that an exchange is on.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

from snickers.interfaces.engine import Address

RESERVE = 192
"""Descriptors that exchanges leave to all else: 128 for control, reloads, logs, looks for files,
and two for each of the pipes of `snickers.splice`."""


def allowed() -> int:
    """Return how many descriptors this process may have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


def shown(address: Address) -> str:
    """Return the address of a server as people write it."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Keeper(Protocol):
    """Who keeps idle connections: an `Upstream`."""

    idle: list[Any]
    """Carriers, each with the time ``since`` which it is idle, and ``drop()``."""


class Connections:
    """Counts connections to servers; when there are too many, those idle longest are closed.

    *most* returns how many there may be, idle ones included, which is how many connections clients
    may have; an exchange that needs one more gets it as long as *descriptors*, by default those
    that the process may have, suffice for both and for `RESERVE`.
    """

    def __init__(self, most: Callable[[], int], descriptors: Callable[[], int] = allowed) -> None:
        self._most = most
        self._descriptors = descriptors
        self._keepers: WeakSet[Any] = WeakSet()
        self.open = 0
        """Connections open now, or being made, and files that are being sent."""

    def join(self, keeper: Keeper) -> None:
        """Have the idle connections of *keeper* closed when there are too many."""
        self._keepers.add(keeper)

    @property
    def is_full(self) -> bool:
        """Whether one more would take a descriptor that others need."""
        return self.open >= self._descriptors() - self._most() - RESERVE

    def make_room(self) -> None:
        """One more is going to be made: close half of the idle ones if there are too many, so
        that they need not be looked through for each."""
        if self.open < self._most():
            return
        idle = [carrier for keeper in self._keepers for carrier in keeper.idle]
        idle.sort(key=lambda carrier: carrier.since)
        for carrier in idle[: (len(idle) + 1) // 2]:
            carrier.drop()

    def count(self, stream: Any) -> None:
        """Count *stream* until it is closed."""
        if not stream.disconnected:
            self.open += 1
            stream.closed = self._closed

    def count_file(self, file: Any) -> None:
        """Count *file*, which is open, until it is closed."""
        self.open += 1
        file.closed = self._closed

    def _closed(self, closed: Any) -> None:
        self.open -= 1
