"""Which servers are being tried, written down so that a trial outlives an end of Snickers.

One small file of JSON in the state folder: by site, what the next Snickers has to know to go on
with the trial, or to undo it. It is written before anything is started, since from then on nobody
could tell a server that is only tried from one that has proven itself. What cannot be read says
nothing; it must never hold up a start for longer than one write takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from snickers.containers.notes import Notes


@frozen
class Trial:
    """Of one site: see `snickers.interfaces.handed.Kept`, of which this is a part."""

    good: str
    """The id of the last good server."""
    updating: bool = False
    """Of its declaration, a newer image is tried."""
    copied: str = ""
    """The copy of the site's folder that was made before; empty: none has to be put back."""
    back: bool = False
    """What was tried has failed: the good one is to come back."""


class Tried:
    """Of all sites.

    :param path: the file.
    :param in_thread: calls what blocks.
    """

    def __init__(self, path: str, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._notes = Notes(
            path, in_thread, _trial, "no trial goes on", "what is tried does not outlive Snickers"
        )
        self._trials: dict[str, Trial] = {}

    def left(self) -> Mapping[str, Trial]:
        """Return, by site, what an end of Snickers has left. Reads the file: that blocks."""
        self._trials = self._notes.read()
        return dict(self._trials)

    def keep(self, site: str, trial: Trial | None) -> Deferred[None]:
        """Let *trial* be what goes on at *site*, ``None``: none does. Fires when that survives a
        loss of power, or cannot be written; never fails."""
        if trial is None:
            self._trials.pop(site, None)
        else:
            self._trials[site] = trial
        return self._notes.write(self._trials)


def _trial(said: Mapping[str, Any]) -> Trial:
    return Trial(str(said["good"]), bool(said["updating"]), str(said["copied"]), bool(said["back"]))


def in_the_folder(state: str) -> str:
    """Return the path of the file in the state folder *state*."""
    return os.path.join(state, "tried.json")
