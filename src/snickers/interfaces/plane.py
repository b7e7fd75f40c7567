"""The data plane, as a change of the configuration meets it, in this process and in others.

A change is a frozen value that may cross a process; no fault of one site may keep it from another.
"""

from __future__ import annotations

from attrs import frozen
from zope.interface import Interface

from snickers.config.values import Settings, Site


@frozen
class Change:
    """What of a new configuration concerns the data plane. It may cross a process."""

    settings: Settings | None = None
    """``[snickers]``, where something of it has changed."""
    added: tuple[Site, ...] = ()
    changed: tuple[Site, ...] = ()
    removed: tuple[str, ...] = ()
    """Sites that are no more, those that were never without a fault among them."""
    broken: tuple[str, ...] = ()
    """Sites that are new and were never without a fault: they are answered for all the same."""
    default: str = ""
    """The site that gets connections without a name, by one of its names; ``""``: none does."""
    certificates: tuple[str, ...] = ()
    """Sites whose certificate's files were replaced and are to be read again, by name. A change
    that names some says nothing else, not even of the default site."""


class IPlane(Interface):
    """The data plane: all who answer visitors, in this process and in others."""

    def apply(change: Change) -> None:
        """Have *change* hold from now on. What fails for one site is logged and harms no other."""
