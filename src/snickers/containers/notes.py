"""What is written down of sites, by name, in one small file of JSON of the state folder.

The file is there whole or not at all, also after a loss of power. What cannot be read of one site
says nothing of that one, and holds up nobody; it must never take from the others what is said of
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from attrs import AttrsInstance, asdict
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from snickers.containers import durable
from snickers.containers.engine import Turns

N = TypeVar("N", bound=AttrsInstance)
"""A note of one site: a frozen class of attrs, of what JSON has."""

_log = Logger()


class Notes(Generic[N]):
    """The notes of all sites.

    :param path: the file.
    :param in_thread: calls what blocks.
    :param made: makes a note of what is written of one site; raises LookupError, TypeError,
        ValueError or AttributeError where that is none.
    :param unread: what follows when nothing can be read, for the log: ``"no pin holds"``.
    :param unwritten: what follows when nothing can be written.
    """

    def __init__(
        self,
        path: str,
        in_thread: Callable[..., Deferred[Any]],
        made: Callable[[Mapping[str, Any]], N],
        unread: str,
        unwritten: str,
    ) -> None:
        self._path = path
        self._in_thread = in_thread
        self._made = made
        self._unread = unread
        self._unwritten = unwritten
        self._turns = Turns()

    def read(self) -> dict[str, N]:
        """Return what the file says, by site. Blocks for as long as a small file takes."""
        try:
            with open(self._path, encoding="utf-8") as file:
                said = json.load(file).items()
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as problem:
            _log.warn(
                "{path} cannot be read, so {unread}: {why}",
                path=self._path,
                unread=self._unread,
                why=str(problem),
            )
            return {}
        found = {}
        for site, note in said:
            try:
                found[site] = self._made(note)
            except (LookupError, TypeError, ValueError, AttributeError) as problem:
                _log.warn(
                    "{path}: what it says of {site} is not understood, so {unread} there: {why!r}",
                    path=self._path,
                    site=site,
                    unread=self._unread,
                    why=problem,
                )
        return found

    def write(self, notes: Mapping[str, N]) -> Deferred[None]:
        """Have the file say *notes*, and no others. Fires when that survives a loss of power, or
        cannot be written; never fails."""
        said = {site: asdict(note) for site, note in sorted(notes.items())}
        data = json.dumps(said, indent=1).encode()
        # One after the other: the last word is what the file says.
        written = self._turns.run("", lambda: self._in_thread(durable.write, self._path, data))
        return written.addErrback(
            lambda failure: _log.warn(
                "{path} could not be written, so {unwritten}: {why}",
                path=self._path,
                unwritten=self._unwritten,
                why=failure.getErrorMessage(),
            )
        )
