"""A personal server is kept awake by those who use it: where the data plane meets the lives.

Who wants a server counts one use more and gives it back; who must wait is told, once, how that
went. Nothing here may say how a server is run, or what runs it.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from zope.interface import Interface

from snickers.interfaces.engine import Address


@frozen
class Refusal:
    """Why a personal server cannot answer now."""

    kind: str
    """``"unreachable"`` 502, ``"slow"`` 504, ``"crashed"`` 503, ``"resting"`` 503 (wake is
    manual), ``"away"`` 503 (no engine), ``"stopping"`` 503 (Snickers itself ends)."""
    retry_after: int
    """Seconds after which asking again makes sense."""


@frozen
class Stage:
    """How far a personal server is."""

    phase: str = ""
    """``"asleep"``, ``"starting"``, ``"checking"``, ``"awake"``... as ``status`` shows it; ``""``:
    there is none, or nobody can say."""
    words: str = ""
    """What the engine says of a start, for its owner: not for visitors as it is."""
    late: bool = False
    """It is on its way for longer than ``wake within``."""
    address: Address | None = None
    """Where it answers, if it is awake: who goes there without a lease is not waited for."""


class IWaiter(Interface):
    """One who waits for a lease. Exactly one of the two is called, once, never inside `take`."""

    def leased(address: Address) -> None:
        """The server is ready at *address*; one use is counted, to be given back."""

    def refused(refusal: Refusal) -> None:
        """It will not be ready in time; nothing is counted, nothing is to be given back."""


class ILeases(Interface):
    """The data plane's view of personal servers' lives."""

    def take(site: str, waiter: IWaiter) -> Address | None:
        """Count one more use of *site*'s server and return its address if it is ready now.

        Otherwise return ``None``: *waiter* is told later, and a sleeping server is woken.
        """

    def give_back(site: str, address: Address) -> None:
        """One use less of the server at *address*: exactly once for each that was returned or
        leased. While one server takes another's place a site has two."""

    def forget(site: str, waiter: IWaiter) -> None:
        """*waiter* waits no more (its client has gone); it will not be called."""

    def failed(site: str, address: Address) -> None:
        """A new connection to *address* was refused or timed out: look whether it still lives."""

    def look(site: str, told: Callable[[Stage], None]) -> None:
        """Have *told* called, once, with how far *site*'s server is: at once or in a later turn.

        Nothing is counted, nothing is woken, and nothing is kept awake by it.
        """

    def ready(site: str) -> Address | None:
        """Return where *site*'s server answers now, ``None`` when nowhere; nothing is counted."""
