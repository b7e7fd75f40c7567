"""What one that gives duty up knows of a personal server: where two teams meet.

Only what cannot be asked of an engine is handed on. It must be possible to write it down, so that
it crosses a process.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

from snickers.interfaces.engine import Address
from snickers.interfaces.leases import IWaiter


@frozen
class Kept:
    """What is known of a personal server and cannot be asked of an engine."""

    idle: float = 0.0
    """Seconds since it was used last."""
    crashes: int = 0
    """In a row."""
    rest: float = 0.0
    """Seconds for which it rests after a crash; ``inf``: until it is changed or woken by hand."""
    put: bool = False
    """A person put it to sleep."""
    stopping: bool = False
    """It was about to be stopped, perhaps by a call that goes on."""
    detail: str = ""
    """What went wrong last, in words."""
    wakes: Mapping[str, int] = Factory(dict)
    """How many times it was started, by result."""
    woken: float = 0.0
    """Seconds that all starts together took, of those that were ready."""
    good: str = ""
    """The id of the last good server, while another one is tried; else empty."""
    updating: bool = False
    """That one is of a newer image, though the declaration is the same."""
    copied: str = ""
    """The copy of the site's folder that was made before that was tried on it."""
    back: bool = False
    """That one has failed: the good one was about to come back."""


@frozen(eq=False)
class Handed:
    """A life that is over here and goes on elsewhere."""

    uses: int
    address: Address | None
    """Where its server answers, as far as is known."""
    waiting: tuple[IWaiter, ...]
    """Who waits for a lease, in the order in which they came; none of them was told anything."""
    kept: Kept
