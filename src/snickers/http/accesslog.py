"""The access log: a line for each exchange that is over, as Apache and nginx write it, or as JSON.

Exchanges are collected as they are and become lines together, a few hundred at a time: so a
request costs an addition to a list, and its own words are escaped once for all requests that are
alike. A line must never contain a byte that could end it, leave its quotes or command a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from time import gmtime, localtime, strftime
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from snickers.http.front import Front
from snickers.stream import Sweep

BATCH = 256
"""Exchanges that become lines together: a quarter of a millisecond of work."""
EVERY = 1.0
"""Seconds after which those that are fewer are written, so that a log can be followed."""

_UNSAFE = re.compile(rb"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


class Request(Protocol):
    """What is logged of a request; see `snickers.http.request.Request`."""

    method: bytes
    target: bytes
    version: int
    host: bytes
    lines: list[bytes]
    logged: Any


class Logged(Protocol):
    """An exchange that is over; see `snickers.http.exchange.Exchange`."""

    @property
    def request(self) -> Any: ...

    @property
    def site(self) -> str: ...

    @property
    def id(self) -> bytes: ...

    peer: bytes
    user: bytes
    secure: bool
    status: int
    sent: int
    began: float
    took: float


class File(Protocol):
    """Where lines go: see `snickers.logfile.LogFile`."""

    def write(self, data: bytes) -> None: ...


class KeptFile(File, Protocol):
    """A file that can be opened anew and closed."""

    def reopen(self) -> None: ...

    def close(self) -> Deferred[None]: ...


def escape(value: bytes) -> bytes:
    """Return *value* as it may stand between quotes: what is odd as its hexadecimal code."""
    if _UNSAFE.search(value) is None:
        return value
    return _UNSAFE.sub(lambda match: b"\\x%02X" % match[0][0], value)


def _find(lines: list[bytes], name: bytes) -> bytes:
    """Return the value of the first of *lines* whose field is *name* (with its colon)."""
    size = len(name)
    for line in lines:
        if line[:size].lower() == name:
            return line[size:].strip(b" \t")
    return b""


def _version(version: int) -> bytes:
    return b"HTTP/2.0" if version == 20 else b"HTTP/%d.%d" % divmod(version, 10)


class Combined:
    """Apache's and nginx's "combined": no host, no duration; every tool reads it."""

    def said(self, request: Request) -> tuple[bytes, bytes]:
        """Return what *request* says of itself: before the status, and behind the size."""
        if not request.host:
            return b'"-"', b'"-" "-"'
        return (
            b'"%b %b %b"'
            % (escape(request.method), escape(request.target), _version(request.version)),
            b'"%b" "%b"'
            % (
                escape(_find(request.lines, b"referer:")) or b"-",
                escape(_find(request.lines, b"user-agent:")) or b"-",
            ),
        )

    def time(self, seconds: float) -> bytes:
        """Return *seconds* since the epoch as the log writes them."""
        return strftime("%d/%b/%Y:%H:%M:%S %z", localtime(seconds)).encode("ascii")

    def line(self, exchange: Logged, time: bytes, said: tuple[bytes, bytes]) -> bytes:
        """Return the line of *exchange*."""
        user = exchange.user
        return b"%b - %b [%b] %b %d %d %b\n" % (
            exchange.peer or b"-",
            escape(user).replace(b" ", b"\\x20") if user else b"-",
            time,
            said[0],
            exchange.status,
            exchange.sent,
            said[1],
        )


class Json:
    """A JSON object a line, with all there is to say."""

    def said(self, request: Request) -> tuple[bytes, bytes]:
        """Return what *request* says of itself: before the status, and behind the size."""
        if not request.host:
            return b'"host":"","method":"","target":"","protocol":""', b'"referer":"","agent":""'
        return (
            b'"host":%b,"method":%b,"target":%b,"protocol":%b'
            % (
                _text(request.host),
                _text(request.method),
                _text(request.target),
                _text(_version(request.version)),
            ),
            b'"referer":%b,"agent":%b'
            % (
                _text(_find(request.lines, b"referer:")),
                _text(_find(request.lines, b"user-agent:")),
            ),
        )

    def time(self, seconds: float) -> bytes:
        """Return *seconds* since the epoch as the log writes them (RFC 3339, in UTC)."""
        return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds)).encode("ascii")

    def line(self, exchange: Logged, time: bytes, said: tuple[bytes, bytes]) -> bytes:
        """Return the line of *exchange*."""
        return (
            b'{"time":"%b","site":%b,"client":%b,"user":%b,%b,"secure":%b,"status":%d,'
            b'"bytes":%d,"seconds":%.6f,%b,"id":%b}\n'
        ) % (
            time,
            json.dumps(exchange.site).encode("ascii"),
            _text(exchange.peer),
            _text(exchange.user),
            said[0],
            b"true" if exchange.secure else b"false",
            exchange.status,
            exchange.sent,
            exchange.took,
            said[1],
            _text(exchange.id),
        )


def _text(value: bytes) -> bytes:
    """Return *value* as a JSON string; bytes that are no UTF-8 are shown by their codes."""
    return json.dumps(value.decode("utf-8", "backslashreplace")).encode("ascii")


FORMS: dict[str, Callable[[], Combined | Json]] = {"combined": Combined, "json": Json}


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
        self._second = -1
        self._time = b""
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
        began_at = self._wall() - self._seconds()
        lines = []
        for exchange in over:
            request = exchange.request
            known = request.logged
            if known is None or known[0] is not form:
                known = request.logged = (form, form.said(request))
            second = int(began_at + exchange.began + exchange.took)
            if second != self._second:
                self._second = second
                self._time = form.time(second)
            lines.append(form.line(exchange, self._time, known[1]))
        self._file.write(b"".join(lines))

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
