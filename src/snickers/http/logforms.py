"""How a line of the access log is written: as Apache and nginx do, or as JSON.

Pure: an exchange and a time in, bytes out. A line must never contain a byte that could end it,
leave its quotes or command a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from time import gmtime, localtime, strftime
from typing import Any, Protocol

MAX_KNOWN = 4096
"""Lines of requests, and ends of lines of the log, that are remembered."""
MAX_LINE = 512
"""Bytes of a request's line that is worth remembering: user agents are long."""

STATUS = {
    "unreachable": 502,
    "unresolved": 502,
    "timeout": 504,
    "busy": 503,
    "disabled": 503,
    "forbidden": 403,
    "gone": 499,
}
"""What stands where a status does for a connection that was not carried: what a request would have
got. All others: 200."""

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


class Carried(Protocol):
    """A connection that was carried unopened; see `snickers.passthrough.Over`."""

    @property
    def peer(self) -> bytes: ...

    @property
    def site(self) -> str: ...

    @property
    def name(self) -> bytes: ...

    @property
    def result(self) -> str: ...

    @property
    def received(self) -> int: ...

    @property
    def sent(self) -> int: ...

    @property
    def took(self) -> float: ...


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

    def carried(self, over: Carried, time: bytes) -> bytes:
        """Return the line of a connection that was carried unopened: what has no place of its own
        stands where browsers name themselves."""
        return b'%b - - [%b] "CONNECT %b TLS" %d %d "-" "%b, %d bytes received, %.3fs"\n' % (
            over.peer or b"-",
            time,
            escape(over.name or over.site.encode("ascii", "backslashreplace")),
            STATUS.get(over.result, 200),
            over.sent,
            over.result.encode("ascii"),
            over.received,
            over.took,
        )


class VHost(Combined):
    """Apache's "vhost_combined": the site and the port before what `Combined` writes."""

    def line(self, exchange: Logged, time: bytes, said: Said) -> tuple[bytes, ...]:
        """Return the line of *exchange* in pieces; a request of no site has ``-`` there."""
        site = exchange.site.encode("ascii", "backslashreplace") or b"-"
        port = b":443 " if exchange.secure else b":80 "
        return site, port, *super().line(exchange, time, said)

    def carried(self, over: Carried, time: bytes) -> bytes:
        """Return the line of a connection that was carried unopened."""
        site = over.site.encode("ascii", "backslashreplace")
        return b"%b:443 %b" % (site or b"-", super().carried(over, time))


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

    def carried(self, over: Carried, time: bytes) -> bytes:
        """Return the line of a connection that was carried unopened: all fields of a request's,
        and ``result`` and ``received``."""
        name = _text(over.name)
        return (
            b'{"time":"%b","site":%b,"client":%b,"user":"","host":%b,"method":"CONNECT",'
            b'"target":%b,"protocol":"TLS","secure":true,"status":%d,"bytes":%d,"seconds":%.6f,'
            b'"referer":"","agent":"","id":"","result":"%b","received":%d}\n'
        ) % (
            time,
            json.dumps(over.site).encode("ascii"),
            _text(over.peer),
            name,
            name,
            STATUS.get(over.result, 200),
            over.sent,
            over.took,
            over.result.encode("ascii"),
            over.received,
        )


def _text(value: bytes) -> bytes:
    """Return *value* as a JSON string; bytes that are no UTF-8 are shown by their codes."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        # As "backslashreplace" does, whose cost grows with the square of the odd bytes.
        text = value.decode("utf-8", "surrogateescape").translate(_NO_UTF8)
    return json.dumps(text).encode("ascii")


FORMS: dict[str, Callable[[], Combined | Json]] = {
    "combined": Combined,
    "vhost": VHost,
    "json": Json,
}
