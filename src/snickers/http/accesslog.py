"""The access log: a line for each exchange that is over, as Apache and nginx write it, or as JSON.

Exchanges are collected as they are and become lines together, a few hundred at a time: so a
request costs an addition to a list, and its own words are escaped once for all requests that are
alike. A line must never contain a byte that could end it, leave its quotes or command a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from math import floor
from time import gmtime, localtime, strftime
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from snickers.http.front import Front
from snickers.stream import Sweep

BATCH = 256
"""Exchanges that become lines together: a quarter of a millisecond of work."""
EVERY = 1.0
"""Seconds after which those that are fewer are written, so that a log can be followed."""
MAX_KNOWN = 4096
"""Lines of requests, and ends of lines of the log, that are remembered."""
MAX_LINE = 512
"""Bytes of a request's line that is worth remembering: user agents are long."""

_UNSAFE = re.compile(rb"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
_ESCAPED = [
    b"\\x%02X" % byte if _UNSAFE.match(bytes((byte,))) else bytes((byte,)) for byte in range(256)
]
_NO_UTF8 = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}
"""What stands for a byte that is no UTF-8 in a decoded text, and what is shown of it."""
_PLACES = {b"referer": 1, b"user-agent": 2}


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
    # A call for each odd byte would cost fifteen times as much, and a client can send many.
    return b"".join(map(_ESCAPED.__getitem__, value))


def _version(version: int) -> bytes:
    return b"HTTP/2.0" if version == 20 else b"HTTP/%d.%d" % divmod(version, 10)


Said = tuple[bytes, bytes]
"""What a request says of itself: before the status, and behind the size."""


class Words:
    """What lines of requests say that a log wants to know, remembered by the line."""

    def __init__(self, write: Callable[[bytes], bytes]) -> None:
        """*write* returns a value as it stands in the log."""
        self._write = write
        self._known: dict[bytes, tuple[int, bytes]] = {}

    def find(self, lines: list[bytes]) -> tuple[bytes, bytes]:
        """Return the first referer and user agent in *lines*, as they stand in the log."""
        found = [b"", b"", b""]
        known = self._known.get
        for line in lines:
            # Nearly every line was looked up before when the head was read: its hash is known.
            place, value = known(line) or self._look(line, found)
            if place and not found[place]:
                found[place] = value
        return found[1], found[2]

    def _look(self, line: bytes, found: list[bytes]) -> tuple[int, bytes]:
        name, _, value = line.partition(b":")
        place = _PLACES.get(name.lower(), 0)
        if found[place]:
            # One of many that say the same thing differently: they must not cost much.
            return 0, b""
        meaning = place, self._write(value.strip(b" \t")) if place else b""
        if len(line) <= MAX_LINE:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[line] = meaning
        return meaning


def _quoted(value: bytes) -> bytes:
    return b'"%b"' % escape(value)


class Combined:
    """Apache's and nginx's "combined": no host, no duration; every tool reads it."""

    def __init__(self) -> None:
        self._words = Words(_quoted)
        self._ends: dict[tuple[int, int], bytes] = {}

    def said(self, request: Request) -> Said:
        """Return what *request* says of itself."""
        if not request.host:
            return b'] "-" ', b' "-" "-"\n'
        referer, agent = self._words.find(request.lines)
        return (
            b'] "%b %b %b" '
            % (escape(request.method), escape(request.target), _version(request.version)),
            b" %b %b\n" % (referer or b'"-"', agent or b'"-"'),
        )

    def time(self, seconds: float) -> bytes:
        """Return *seconds* since the epoch as the log writes them."""
        return strftime("%d/%b/%Y:%H:%M:%S %z", localtime(seconds)).encode("ascii")

    def line(self, exchange: Logged, time: bytes, said: Said) -> tuple[bytes, ...]:
        """Return the line of *exchange* in pieces."""
        status = exchange.status
        sent = exchange.sent
        end = self._ends.get((status, sent))
        if end is None:
            if len(self._ends) >= MAX_KNOWN:
                self._ends.clear()
            end = self._ends[status, sent] = b"%d %d" % (status, sent)
        before = b" - - ["
        if exchange.user:
            before = b" - %b [" % escape(exchange.user).replace(b" ", b"\\x20")
        return exchange.peer or b"-", before, time, said[0], end, said[1]


class Json:
    """A JSON object a line, with all there is to say."""

    def __init__(self) -> None:
        self._words = Words(_text)

    def said(self, request: Request) -> Said:
        """Return what *request* says of itself."""
        if not request.host:
            return b'"host":"","method":"","target":"","protocol":""', b'"referer":"","agent":""'
        referer, agent = self._words.find(request.lines)
        return (
            b'"host":%b,"method":%b,"target":%b,"protocol":%b'
            % (
                _text(request.host),
                _text(request.method),
                _text(request.target),
                _text(_version(request.version)),
            ),
            b'"referer":%b,"agent":%b' % (referer or b'""', agent or b'""'),
        )

    def time(self, seconds: float) -> bytes:
        """Return *seconds* since the epoch as the log writes them (RFC 3339, in UTC)."""
        return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds)).encode("ascii")

    def line(self, exchange: Logged, time: bytes, said: Said) -> tuple[bytes, ...]:
        """Return the line of *exchange*."""
        return (
            (
                b'{"time":"%b","site":%b,"client":%b,"user":%b,%b,"secure":%b,"status":%d,'
                b'"bytes":%d,"seconds":%.6f,%b,"id":%b}\n'
            )
            % (
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
            ),
        )


def _text(value: bytes) -> bytes:
    """Return *value* as a JSON string; bytes that are no UTF-8 are shown by their codes."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        # As "backslashreplace" does, whose cost grows with the square of the odd bytes.
        text = value.decode("utf-8", "surrogateescape").translate(_NO_UTF8)
    return json.dumps(text).encode("ascii")


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
            request = exchange.request
            known = request.logged
            if known is None or known[0] is not form:
                known = request.logged = (form, form.said(request))
            ended = exchange.began + exchange.took
            if not since <= ended < until:
                second = floor(epoch + ended)
                since = second - epoch
                until = since + 1.0
                time = form.time(second)
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
