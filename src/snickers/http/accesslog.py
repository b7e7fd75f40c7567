"""The access log: a line for each exchange that is over, as Apache and nginx write it, or as JSON.

So has each connection that was carried unopened, of which only its ends and its size are known.

Exchanges are collected as they are and become lines together, a few hundred at a time: so a
request costs an addition to a list, and its own words are made once for all requests that are
alike. Must never lose what was collected when the log is moved, changed or ended.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from snickers.http.front import Front
from snickers.http.logforms import FORMS, Logged
from snickers.stream import Sweep

BATCH = 256
"""Exchanges that become lines together: a quarter of a millisecond of work."""
EVERY = 1.0
"""Seconds after which those that are fewer are written, so that a log can be followed."""


class File(Protocol):
    """Where lines go: see `snickers.logfile.LogFile`."""

    def write(self, data: bytes) -> None: ...


class KeptFile(File, Protocol):
    """A file that can be opened anew and closed."""

    def reopen(self) -> None: ...

    def close(self) -> Deferred[None]: ...


class AccessLog:
    """Collects exchanges that are over and writes a line for each to *file*.

    *form*: a key of `FORMS`; *wall* returns seconds since the epoch, *seconds* those of the clock
    that exchanges were timed with.
    """

    def __init__(
        self,
        file: File,
        form: str,
        sweep: Sweep,
        wall: Callable[[], float],
        seconds: Callable[[], float],
    ) -> None:
        self._file = file
        self._form = FORMS[form]()
        self._sweep = sweep
        self._wall = wall
        self._seconds = seconds
        self._over: list[Logged] = []
        self.deadline = sweep.now + EVERY
        """When what was collected is written, by the sweep's clock."""
        sweep.watch(self)

    def add(self, exchange: Logged) -> None:
        """Have *exchange*, which is over, logged."""
        over = self._over
        over.append(exchange)
        if len(over) == BATCH:
            self.flush()

    def expired(self) -> None:
        """Write what was collected; called by the sweep."""
        self.deadline = self._sweep.now + EVERY
        self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        over = self._over
        if not over:
            return
        self._over = []
        form = self._form
        pieces: list[bytes] = []
        epoch = self._wall() - self._seconds()
        since = until = 0.0
        time = b""
        for exchange in over:
            ended = exchange.began + exchange.took
            if not since <= ended < until:
                second = floor(epoch + ended)
                since = second - epoch
                until = since + 1.0
                time = form.time(second)
            request = exchange.request
            if request is None:
                pieces.append(form.carried(exchange, time))  # type: ignore[arg-type]
                continue
            known = request.logged
            if known is None or known[0] is not form:
                known = request.logged = (form, form.said(request))
            pieces += form.line(exchange, time, known[1])
        self._file.write(b"".join(pieces))

    def close(self) -> None:
        """Write what was collected, and collect no more."""
        self._sweep.unwatch(self)
        self.flush()


class LogKeeper:
    """The access log that the settings ask for now, if any.

    *open_file* makes the file of a path; *front* is given the log's `AccessLog.add`.
    """

    def __init__(
        self,
        front: Front,
        wall: Callable[[], float],
        open_file: Callable[[str], KeptFile],
    ) -> None:
        self._front = front
        self._wall = wall
        self._open_file = open_file
        self._asked = ("", "")
        self._log: AccessLog | None = None
        self._file: KeptFile | None = None

    def apply(self, path: str, form: str) -> None:
        """Log to *path* in *form* from now on; ``""``: nowhere."""
        if (path, form) == self._asked:
            return
        before, _ = self._asked
        self._asked = (path, form)
        if self._log is not None:
            self._log.close()
            self._log = self._front.access = None
        if before != path and self._file is not None:
            self._file.close()
            self._file = None
        if path:
            file = self._file = self._file or self._open_file(path)
            front = self._front
            self._log = AccessLog(file, form, front.sweep, self._wall, front.seconds)
            front.access = self._log.add

    def reopen(self) -> None:
        """Open the file anew: it was moved away."""
        if self._log is not None and self._file is not None:
            self._log.flush()
            self._file.reopen()

    def close(self) -> Deferred[None]:
        """Write what is left and log no more; fires when that is done."""
        file = self._file
        self.apply("", "")
        return succeed(None) if file is None else file.close()
