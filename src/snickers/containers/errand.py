"""One call's way through a thread, shared by the thread that does it and the reactor that asked.

Who asked may cancel it at any moment, and the thread must then end soon, whatever it waits for. It
must never touch what is the reactor's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from attrs import frozen
from twisted.logger import Logger

from snickers.interfaces.engine import Exit, Instance

log = Logger()


class Stream(Protocol):
    """An answer that is read while it comes, in one thread, and may be closed in another."""

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Stream)


STOP_WITHIN = 10.0
"""Seconds: Docker's own default."""


@frozen
class Seen:
    """A container as it was seen."""

    instance: Instance
    name: str
    run: str
    """Tells one run of the same container from another: the time that Docker gives for its
    start; empty when it cannot be known any more."""
    exit: Exit | None
    """How the run ended, if it did."""
    health: str = ""
    """What the check of its image says; empty when it has none."""
    image: str = ""
    """The id of the image that it was made from."""
    stop_within: float = STOP_WITHIN
    project: str = ""
    """What several containers that were made together are called; empty: it is one alone."""
    remains: bool = False
    """Whether some of those run, though not all that should."""
    binds: tuple[tuple[str, bool], ...] = ()
    """The paths of this host that it was given, and whether each can only be read; of one alone."""
    data: str = ""
    """The folder of the site's own when it was made; empty: it is not known."""


class Abandoned(Exception):
    """The errand was cancelled."""


class Errand:
    """One call's way through a thread: who asked may cancel it, and hears how it goes.

    :param say: takes words of progress; called in the thread.
    """

    def __init__(self, say: Callable[[str], None] = lambda words: None) -> None:
        self.say = say
        self.ended: list[Seen] = []
        """What was found to have ended, or was ended, on the way."""
        self.cancelled = False
        self.began = False
        """Whether something was started, or was to be: it did not run already."""
        self.stale = False
        """Whether something was started from an image of which there may be a newer one."""
        self._lock = threading.Lock()
        self._stream: Stream | None = None

    def note(self, seen: Seen) -> None:
        """Keep it in `ended`, once, if it has ended."""
        if seen.exit is not None and seen not in self.ended:
            self.ended.append(seen)

    def cancel(self) -> None:
        """Make the thread give up at its next `check`, and end what it waits for in `hold`."""
        with self._lock:
            self.cancelled = True
            stream, self._stream = self._stream, None
        if stream is not None:
            shut(stream)

    def check(self) -> None:
        """Raise `Abandoned` if it was cancelled."""
        if self.cancelled:
            raise Abandoned

    @contextmanager
    def hold(self, stream: S) -> Iterator[S]:
        """End *stream* when cancelled, and at the end."""
        with self._lock:
            self._stream = stream
        try:
            self.check()
            yield stream
        finally:
            with self._lock:
                self._stream = None
            shut(stream)


def shut(stream: Stream) -> None:
    """End *stream*, whatever thread reads it."""
    try:
        stream.close()
    except Exception as error:  # Of any class: it may be ending itself at this very moment.
        log.debug("A stream ended before it was closed: {error}.", error=error)
