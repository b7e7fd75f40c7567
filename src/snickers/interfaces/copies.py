"""Copies of sites' own folders: where they are kept, and what a person may ask of them.

Whatever is asked, copies that were there before are whole afterwards; what fails must never leave
something that looks like a copy and is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class CopyFailed(Exception):
    """What was asked of copies could not be done; the text says why and what would be right."""


@frozen
class Copy:
    """One copy of a site's own folder, whole and at rest where it is kept."""

    site: str
    id: str
    """Tells it from all others of the site; letters, digits and ``-``."""
    time: float
    """When it was begun, seconds since the epoch."""
    why: str
    """In words: ``"asked for"``, ``"fell asleep"``, ``"before a restore"``..."""
    size: int | None = None
    """Bytes that were copied, before anything is left out or made smaller; ``None``: not known."""


class ICopies(Interface):
    """Where copies of sites' own folders are kept. Every Deferred fails with `CopyFailed`; each may
    be cancelled: what works for it is ended, and what it had begun is removed, now or by the next
    call. Whatever befalls a call, copies that were there before are whole.

    Not for two calls for one site at a time, but for several sites at once. An implementation
    passes the suite in ``tests/copies_contract.py``.
    """

    form: str = Attribute("In a word, for a person: ``restic``, ``archive``.")

    def make(site: str, folder: str, why: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        """Copy *folder*: owners, modes, times, symbolic and hard links, extended attributes; no
        sockets. Fires with the copy when it would survive a loss of power. *why* has no comma."""

    def list(site: str) -> Deferred[Sequence[Copy]]:
        """Fire with the site's copies, the oldest first."""

    def restore(site: str, id: str, folder: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Write the copy out as *folder*, which must not be there; fires when it would survive a
        loss of power. When it fails there is no *folder*."""

    def forget(site: str, ids: Sequence[str], progress: Callable[[str], None]) -> Deferred[None]:
        """Remove these copies and give their room back; those that are not there are no matter."""

    def verify(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Read all that is kept of the site; fires when every copy is as it was made."""


class ISnapshots(Interface):
    """Copies of the folders of sites that have a server of their own, for the control room. Every
    Deferred fails with `CopyFailed` in words; what was begun goes on when nobody waits any more."""

    def snapshot(site: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        """Copy now; an awake server runs its ``snapshot`` command first."""

    def snapshots(site: str) -> Deferred[Sequence[Copy]]:
        """Fire with the copies there are, the oldest first."""

    def restore(site: str, id: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        """Have the site's folder be as in the copy *id* (or a beginning of it that no other has, or
        ``"latest"``); fires with that copy when its server, if one was awake, is awake again.

        What was in the folder before is kept as a copy. Requests that come meanwhile wait.
        """

    def prove(site: str, id: str, progress: Callable[[str], None]) -> Deferred[Copy]:
        """Fire with the copy *id* when a server was started on it, apart from the site's own and
        from all networks, and has passed its health check."""

    def verify(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """As `ICopies.verify`."""
