"""The access log: a line for each exchange that is over, as Apache and nginx write it, or as JSON.

So has each connection that was carried unopened, of which only its ends and its size are known.
Whether there is a log or not, exchanges are counted (`snickers.http.traffic`).

Exchanges are collected as they are and become lines together, a few hundred at a time: so a
request costs an addition to a list, and its own words are made once for all requests that are
alike. Must never lose what was collected when the log is moved, changed or ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from snickers.http.front import Front
from snickers.http.logforms import FORMS, Logged
from snickers.http.traffic import count
from snickers.stream import Sweep

BATCH = 256
"""Exchanges that become lines together: a quarter of a millisecond of work."""
EVERY = 1.0
"""Seconds after which those that are fewer are written, so that a log can be followed."""


class File(Protocol):
    """Where lines go: see `snickers.logfile.LogFile`."""

    def write(self, data: bytes) -> None: ...


class KeptFile(File, Protocol):
    """A file that can be opened anew, left for another one, and closed at the end."""

    def reopen(self) -> None: ...

    def leave(self) -> Deferred[None]: ...

    def close(self) -> Deferred[None]: ...


class Batches:
    """Collects exchanges that are over, and has *count* called with some hundred at a time."""

    def __init__(self, sweep: Sweep, count: Callable[[Sequence[Logged]], None]) -> None:
        self._sweep = sweep
        self._count = count
        self._over: list[Logged] = []
        self.deadline = sweep.now + EVERY
        """When what was collected is written, by the sweep's clock."""
        sweep.watch(self)

    def add(self, exchange: Logged) -> None:
        """Collect *exchange*, which is over."""
        over = self._over
        over.append(exchange)
        if len(over) == BATCH:
            self.flush()

    def expired(self) -> None:
        """Pass on what was collected; called by the sweep."""
        self.deadline = self._sweep.now + EVERY
        self.flush()

    def flush(self) -> None:
        """Pass on what was collected."""
        over = self._over
        if over:
            self._over = []
            self._count(over)
            self._take(over)

    def _take(self, over: Sequence[Logged]) -> None:
        """Do more with what was collected."""

    def close(self) -> None:
        """Pass on what was collected, and collect no more."""
        self._sweep.unwatch(self)
        self.flush()


class AccessLog(Batches):
    """Writes a line for each of them to *file*, too.

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
        count: Callable[[Sequence[Logged]], None] = lambda over: None,
    ) -> None:
        super().__init__(sweep, count)
        self._file = file
        self._form = FORMS[form]()
        self._wall = wall
        self._seconds = seconds

    def _take(self, over: Sequence[Logged]) -> None:
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


class LogKeeper:
    """The access log that the settings ask for now, if any; all exchanges are counted anyhow.

    *open_file* makes the file of a path; *front* is given the log's `Batches.add`.
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
        self._asked: tuple[str, str] | None = None
        """Nothing is counted before there is something."""
        self._log: Batches | None = None
        self._file: KeptFile | None = None

    def apply(self, path: str, form: str) -> None:
        """Log to *path* in *form* from now on; ``""``: nowhere."""
        if (path, form) == self._asked:
            return
        before, _ = self._asked or ("", "")
        self._asked = (path, form)
        if self._log is not None:
            self._log.close()
        if before != path and self._file is not None:
            self._file.leave()
            self._file = None
        front = self._front
        if path:
            file = self._file = self._file or self._open_file(path)
            self._log = AccessLog(file, form, front.sweep, self._wall, front.seconds, self._count)
        else:
            self._log = Batches(front.sweep, self._count)
        front.access = self._log.add

    def _count(self, over: Sequence[Logged]) -> None:
        count(over, self._front.sites.by_name)

    def flush(self) -> None:
        """Count and write what was collected."""
        if self._log is not None:
            self._log.flush()

    def reopen(self) -> None:
        """Open the file anew: it was moved away."""
        if self._file is not None:
            self.flush()
            self._file.reopen()

    def close(self) -> Deferred[None]:
        """Write what is left and log no more; fires when that is done."""
        file, self._file = self._file, None
        log, self._log = self._log, None
        self._asked = self._front.access = None
        if log is not None:
            log.close()
        return succeed(None) if file is None else file.close()
