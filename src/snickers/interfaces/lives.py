"""The lives of personal servers, as the reload and the control room know them.

What is asked for is words and names; how a life goes on stays behind this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from snickers.config.values import Site


class LifeFailed(Exception):
    """What was asked of a personal server could not be done; the text says why, for a person."""


class ILives(Interface):
    """The lives of all personal servers, for the reload and the control room."""

    def apply(added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]) -> None:
        """Take a new configuration's sites of kinds `Container` and `Process`; returns at once.

        A changed site whose server is declared as before keeps it running.
        """

    def states() -> Mapping[str, Mapping[str, Any]]:
        """Return for each site ``state`` (a name), ``since`` (epoch seconds), ``uses`` (leases),
        ``waiting``, ``detail`` (words, or ""), ``id`` (container id or pid, or ""); perhaps
        ``image`` (`Instance.image`) and ``notice`` (`IEngineObserver.noticed`)."""

    def wake(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Wake it and fire when it is ready; fails with `LifeFailed` in words."""

    def sleep(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Put it to sleep, draining first; fires when it sleeps."""

    def restart(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Sleep, then wake."""

    def update(site: str, progress: Callable[[str], None], image: str = "") -> Deferred[None]:
        """Have the newest image run, if there is a newer one: no request fails, the old server
        comes back when the new one does not prove itself. Fires when that is done or there is
        nothing newer; fails with `LifeFailed` in words when the old one serves again.

        *image*: this one instead of the file's; if it proves itself it is used until the file names
        another one."""

    def roll_back(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Have the server run again that was replaced last; fails with `LifeFailed` in words."""

    def logs(
        site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        """As `IEngine.logs`, for a site by name."""
