"""Heads of answers: an upstream's are read as strictly as a client's requests.

Pure: bytes in, values out. It must never let through an answer whose end two readers could see in
different places: the client would take the rest for its next answer.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from zope.interface import Attribute

from snickers.http.head import (
    CHUNKED,
    CLOSED,
    CODING,
    CONNECTION,
    DATE,
    DROP,
    FORWARD,
    KEPT_ALIVE,
    LENGTH,
    MAX_CACHE,
    MAX_FIELDS,
    SPECIAL,
    TOKEN,
    UNTIL_CLOSE,
    UPGRADE,
    clean,
    read_length,
    remember,
    split_fields,
    tokens_of,
    without_named,
)
from snickers.interfaces.exchange import Fields, IExchange


@frozen
class BadAnswer(Exception):
    """An upstream's answer that cannot be trusted: the client gets 502."""

    reason: str


_answer_kinds: dict[bytes, int] = {}
# Whole lines that were found good and are passed on as they are, as in requests.
_answer_lines: dict[bytes, int] = {}
_status_lines: dict[bytes, tuple[int, bytes, bool]] = {}

_ANSWER_DROP = frozenset(
    {b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authentication-info"}
)


def _classify_answer(name: bytes) -> int:
    """Say what an answer's field is; raise `BadAnswer` for what is no field name."""
    if not TOKEN.fullmatch(name):
        raise BadAnswer("a field name has a character that none may have")
    lower = name.lower()
    if lower in _ANSWER_DROP:
        kind = DROP
    elif lower == b"date":
        kind = DATE
    else:
        kind = SPECIAL.get(lower, FORWARD)
        if kind not in (LENGTH, CODING, CONNECTION, UPGRADE):
            kind = FORWARD
    if len(_answer_kinds) >= MAX_CACHE:
        _answer_kinds.clear()
    if len(name) <= 64:
        _answer_kinds[name] = kind
    return kind


class Answer:
    """An upstream's answer head that was checked."""

    __slots__ = (
        "dated",
        "framing",
        "keep_alive",
        "length",
        "lines",
        "pairs",
        "reason",
        "status",
        "upgrade",
        "wire",
    )

    status: int
    reason: bytes
    lines: list[bytes]
    """The end-to-end lines, as they were received."""
    framing: int
    """Bytes of the body that follows, or `CHUNKED`, or `UNTIL_CLOSE`."""
    length: int | None
    """What Content-Length announced, also where no body follows (HEAD, 304)."""
    pairs: Any
    """What HTTP/2 makes of the head, which is kept with it; ``None``: nothing yet."""
    keep_alive: bool
    dated: bool
    upgrade: bytes
    wire: bytes
    """The head as it was last sent to a client whose connection is kept; ``b""``: not yet. An
    upstream's connection gives the same answer again when the same bytes come again."""

    @property
    def fields(self) -> Fields:
        """The end-to-end fields as pairs."""
        return split_fields(self.lines)


def _read_status_line(first: bytes) -> tuple[int, bytes, bool]:
    """Return the status, the reason, and whether the version keeps connections (§4)."""
    version = first[:9]
    code = first[9:12]
    if version not in (b"HTTP/1.1 ", b"HTTP/1.0 "):
        raise BadAnswer("it does not begin with an HTTP/1 status line")
    if not code.isdigit() or len(code) != 3 or first[12:13] not in (b" ", b""):
        raise BadAnswer("the status is not three digits")
    status = int(code)
    if not 100 <= status <= 599:
        raise BadAnswer("the status is not between 100 and 599")
    if not clean(first):
        raise BadAnswer("a control character or a bare line end in the status line")
    read = status, first[13:], version == b"HTTP/1.1 "
    remember(_status_lines, first, read)
    return read


def read_answer(head: bytes, method: bytes) -> Answer:
    """Read the head of an answer to *method*, without its empty line; raise `BadAnswer`.

    RFC 9112 §4 and §6.3, as strictly as `read_request`.
    """
    lines = head.split(b"\r\n")
    answer = Answer()
    first = lines[0]
    del lines[0]
    status_line = _status_lines.get(first) or _read_status_line(first)
    status, answer.reason, keep_alive = status_line
    if len(lines) > MAX_FIELDS:
        raise BadAnswer("too many fields")
    length: int | None = None
    coding: bytes | None = None
    connection: list[bytes] | None = None
    dated = False
    closed = False
    upgrade = b""
    kept: list[bytes] = []
    keep = kept.append
    known = _answer_lines.get
    for line in lines:
        kind = known(line)
        if kind == FORWARD:
            keep(line)
            continue
        if kind is not None:
            if kind < 0:
                if length is not None:
                    raise BadAnswer("more than one Content-Length")
                length = ~kind
            elif kind == DATE:
                dated = True
                keep(line)
            elif kind == KEPT_ALIVE:
                keep_alive = True
            elif kind == CLOSED:
                closed = True
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadAnswer("a line of the head has no colon")
        if not clean(line):
            raise BadAnswer("a control character or a bare line end in the head")
        kind = _answer_kinds.get(name)
        if kind is None:
            kind = _classify_answer(name)
        if kind == FORWARD:
            keep(line)
            remember(_answer_lines, line, FORWARD)
        elif kind == DATE:
            dated = True
            keep(line)
            remember(_answer_lines, line, DATE)
        elif kind == DROP:
            remember(_answer_lines, line, DROP)
        elif kind == LENGTH:
            if length is not None:
                raise BadAnswer("more than one Content-Length")
            length = read_length(value.strip(b" \t"))
            if length is None:
                raise BadAnswer("the Content-Length is not a number")
            remember(_answer_lines, line, ~length)
        elif kind == CONNECTION:
            tokens = tokens_of(value)
            if tokens == [b"keep-alive"]:
                keep_alive = True
                remember(_answer_lines, line, KEPT_ALIVE)
            elif tokens == [b"close"]:
                closed = True
                remember(_answer_lines, line, CLOSED)
            else:
                connection = (connection or []) + tokens
        elif kind == CODING:
            coding = value if coding is None else coding + b"," + value
        elif kind == UPGRADE:
            upgrade = value.strip(b" \t").lower()
    if coding is not None:
        if length is not None:
            raise BadAnswer("both Transfer-Encoding and Content-Length")
        if first[:9] == b"HTTP/1.0 " or coding.strip(b" \t").lower() != b"chunked":
            raise BadAnswer("a Transfer-Encoding other than chunked")
    if connection is not None:
        closed = closed or b"close" in connection
        keep_alive = keep_alive or b"keep-alive" in connection
        kept = without_named(kept, connection)
    if closed:
        keep_alive = False
    if method == b"HEAD" or status in (204, 304) or status < 200:
        framing = 0
    elif coding is not None:
        framing = CHUNKED
    elif length is None:
        framing = UNTIL_CLOSE
        keep_alive = False
    else:
        framing = length
    answer.status = status
    answer.lines = kept
    answer.framing = framing
    answer.length = length
    answer.keep_alive = keep_alive
    answer.dated = dated
    answer.upgrade = upgrade
    answer.wire = b""
    answer.pairs = None
    return answer


REASONS: dict[int, bytes] = {
    100: b"Continue",
    101: b"Switching Protocols",
    103: b"Early Hints",
    200: b"OK",
    204: b"No Content",
    206: b"Partial Content",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    426: b"Upgrade Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
"""Reason phrases of the statuses that Snickers itself sends (RFC 9110 §15)."""

CLIENT_GONE = 499
"""What the access log says of a client that did not wait for its answer; nginx's number for it."""


class IForwardingExchange(IExchange):
    """An exchange that can pass an upstream's answer on without taking it apart again."""

    forwarding: bytes = Attribute("Lines, each with its end, that tell a site who asked and how.")

    def forward(answer: Answer, data: bytes, end: bool) -> None:  # noqa: N805
        """As `IExchange.answer`, with a head that came from an upstream and was checked."""
