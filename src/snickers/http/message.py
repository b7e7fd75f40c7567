"""HTTP/1 heads: read strictly, classified field by field, ready to be forwarded.

Pure: bytes in, values out. It must never let through a head that two readers could understand
differently (RFC 9112 §11): whatever is ambiguous is refused, never mended. A field is looked at
once; what is forwarded are the very lines that were checked.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from hashlib import sha1
from typing import TypeVar

from attrs import frozen
from zope.interface import Attribute, implementer

from snickers.interfaces import Fields, IExchange, IRequest

MAX_REQUEST_LINE = 8 * 1024
"""Bytes; nginx's and Apache's limit."""
MAX_FIELD = 16 * 1024
"""Bytes of one field line: room for the largest cookie jars browsers keep (80 of 180 bytes)."""
MAX_HEAD = 32 * 1024
"""Bytes of a whole head: nginx's 4 buffers of 8 KiB."""
MAX_FIELDS = 100
"""Apache's limit."""
MAX_LENGTH_DIGITS = 18
"""Digits of a Content-Length: more than any disk holds, and still a 64-bit number."""

CHUNKED = -1
"""A response body's framing: chunked."""
UNTIL_CLOSE = -2
"""A response body's framing: until the connection ends."""

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


T = TypeVar("T")


@frozen
class Refused(Exception):
    """A request head that is not answered by the site: the status it gets, and why."""

    status: int
    reason: str


@frozen
class BadAnswer(Exception):
    """An upstream's answer that cannot be trusted: the client gets 502."""

    reason: str


# What kinds of field there are. Everything above _FORWARD is looked at by name.
_FORWARD = 0
_DROP = 1
_HOST = 2
_LENGTH = 3
_CODING = 4
_CONNECTION = 5
_UPGRADE = 6
_EXPECT = 7
_TE = 8
_DATE = 9
# Lines that were read before and say just this.
_KEPT_ALIVE = 10
_CLOSED = 11
_KNOWN_HOST = 12

_SPECIAL: dict[bytes, int] = {
    # RFC 9110 §7.6.1: meant for one hop.
    b"keep-alive": _DROP,
    b"proxy-connection": _DROP,
    b"proxy-authenticate": _DROP,
    b"proxy-authorization": _DROP,
    b"http2-settings": _DROP,
    # Would become the variable HTTP_PROXY in a CGI program.
    b"proxy": _DROP,
    # Set by us; what a client says of them is not believed. x-forwarded-* as a whole, too.
    b"forwarded": _DROP,
    b"x-real-ip": _DROP,
    b"x-client-ip": _DROP,
    b"x-cluster-client-ip": _DROP,
    b"true-client-ip": _DROP,
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"upgrade": _UPGRADE,
    b"expect": _EXPECT,
    b"te": _TE,
}

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST_FORM = re.compile(
    rb"(?:(?P<name>[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)\.?|(?P<six>\[[0-9a-f:.]+\]))(?::(?P<port>[0-9]{0,5}))?"
)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"})
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND", b"REPORT"})
"""Methods that may be sent again when a kept connection proved dead (RFC 9110 §9.2.2)."""

_MAX_CACHE = 4096
_request_kinds: dict[bytes, int] = {}
_answer_kinds: dict[bytes, int] = {}

# Whole lines that were found good and are passed on as they are: clients and servers say most of
# what they say over and over.
_request_lines: dict[bytes, int] = {}
_answer_lines: dict[bytes, int] = {}
_host_lines: dict[bytes, tuple[bytes, bytes]] = {}
"""What those of `_request_lines` say that are known hosts: never without one of them."""
_status_lines: dict[bytes, tuple[int, bytes, bool]] = {}
MAX_REMEMBERED = 160
"""Bytes of a line that is worth remembering."""


def _remember(lines: dict[bytes, T], line: bytes, meaning: T) -> None:
    if len(line) <= MAX_REMEMBERED:
        if len(lines) >= _MAX_CACHE:
            lines.clear()
        lines[line] = meaning


def _remember_host(line: bytes, authority: bytes, host: bytes) -> None:
    if len(_host_lines) >= _MAX_CACHE:
        _request_lines.clear()
    _remember(_host_lines, line, (authority, host))
    _remember(_request_lines, line, _KNOWN_HOST)


def _clean(line: bytes) -> bool:
    """Say whether *line* has no control character but tabs, no bare line end among them."""
    # Almost every line is printable ASCII, which is seen at once.
    if line.isascii() and line.decode("ascii").isprintable():
        return True
    return _CONTROL.search(line) is None


def _classify_request(name: bytes) -> int:
    """Say what a request's field is; raise `Refused` for what is no field name (RFC 9110 §5.1)."""
    if not _TOKEN.fullmatch(name):
        raise Refused(400, "a field name has a character that none may have")
    lower = name.lower()
    # Many servers turn _ and - into the same variable: a look-alike is as good as the field.
    plain = lower.replace(b"_", b"-")
    if plain.startswith(b"x-forwarded-"):
        kind = _DROP
    else:
        kind = _SPECIAL.get(plain, _FORWARD)
        if kind > _DROP and plain != lower:
            kind = _DROP
    if len(_request_kinds) >= _MAX_CACHE:
        _request_kinds.clear()
    if len(name) <= 64:
        _request_kinds[name] = kind
    return kind


_ANSWER_DROP = frozenset(
    {b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authentication-info"}
)


def _classify_answer(name: bytes) -> int:
    """Say what an answer's field is; raise `BadAnswer` for what is no field name."""
    if not _TOKEN.fullmatch(name):
        raise BadAnswer("a field name has a character that none may have")
    lower = name.lower()
    if lower in _ANSWER_DROP:
        kind = _DROP
    elif lower == b"date":
        kind = _DATE
    else:
        kind = _SPECIAL.get(lower, _FORWARD)
        if kind not in (_LENGTH, _CODING, _CONNECTION, _UPGRADE):
            kind = _FORWARD
    if len(_answer_kinds) >= _MAX_CACHE:
        _answer_kinds.clear()
    if len(name) <= 64:
        _answer_kinds[name] = kind
    return kind


def _read_host(value: bytes) -> bytes:
    """Return the host of a Host field's value (RFC 9110 §7.2): lower case, no port."""
    match = _HOST_FORM.fullmatch(value.lower())
    if match is None or int(match["port"] or 0) > 65535:
        raise Refused(400, "the Host field is not a host name and perhaps a port")
    host: bytes = match["name"] or match["six"]
    return host


def _read_length(value: bytes) -> int | None:
    """Return a Content-Length's number, ``None`` for what is none (RFC 9110 §8.6)."""
    if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        return None
    return int(value)


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def _split_fields(lines: list[bytes]) -> Fields:
    fields = []
    for line in lines:
        name, _, value = line.partition(b":")
        fields.append((name, value.strip(b" \t")))
    return fields


@implementer(IRequest)
class Request:
    """A request head that was checked (see `IRequest`)."""

    __slots__ = (
        "authority",
        "continues",
        "fields_",
        "host",
        "keep_alive",
        "length",
        "lines",
        "method",
        "target",
        "trailers",
        "upgrade",
        "version",
        "wire",
    )

    method: bytes
    target: bytes
    host: bytes
    authority: bytes
    version: int
    length: int | None
    upgrade: bytes
    lines: list[bytes]
    """The lines to forward, as they were received, Host among them."""
    keep_alive: bool
    """Whether the client's connection may serve another request."""
    continues: bool
    """Whether the client waits for ``100 Continue``."""
    trailers: bool
    """Whether the client takes trailers (``TE: trailers``)."""
    fields_: Fields | None
    wire: bytes
    """The head as it was last sent to an upstream; ``b""``: not yet. A client's connection gives
    the same request again when the same bytes come again."""

    @property
    def fields(self) -> Fields:
        """The end-to-end fields as pairs; made when first asked for."""
        fields = self.fields_
        if fields is None:
            fields = self.fields_ = _split_fields(self.lines)
        return fields

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the field *name* (lower case), several joined by ``b', '``."""
        found = [value for key, value in self.fields if key.lower() == name]
        return b", ".join(found) if found else None


def read_request(head: bytes) -> Request:
    """Read a request head, without its empty line; raise `Refused` for what is not one.

    RFC 9112 §2 to §7, with every choice that the standard leaves made for refusal.
    """
    lines = head.split(b"\r\n")
    first = lines[0]
    del lines[0]
    if not _clean(first) or b"\t" in first:
        raise Refused(400, "a control character or a bare line end in the request line")
    request = Request()
    parts = first.split(b" ")
    if len(parts) != 3:
        raise Refused(400, "the request line is not METHOD TARGET VERSION")
    method, target, version = parts
    if version == b"HTTP/1.1":
        request.version = 11
        keep_alive = True
    elif version == b"HTTP/1.0":
        request.version = 10
        keep_alive = False
    elif re.fullmatch(rb"HTTP/[0-9]\.[0-9]", version):
        raise Refused(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    else:
        raise Refused(400, "the request line does not end in an HTTP version")
    if len(first) > MAX_REQUEST_LINE:
        raise Refused(414, "the request line is too long")
    if method not in _METHODS:
        if not _TOKEN.fullmatch(method):
            raise Refused(400, "the method is not a word")
        if method in (b"CONNECT", b"TRACE"):
            raise Refused(405, "the method is not allowed here")
    if len(lines) > MAX_FIELDS:
        raise Refused(431, "too many fields")
    host: bytes | None = None
    authority = b""
    length: int | None = 0
    has_length = False
    coding: bytes | None = None
    connection: list[bytes] | None = None
    upgrade = b""
    continues = False
    trailers = False
    kept: list[bytes] = []
    keep = kept.append
    known = _request_lines.get
    for line in lines:
        kind = known(line)
        if kind == _FORWARD:
            keep(line)
            continue
        if kind is not None:
            if kind == _KNOWN_HOST:
                if host is not None:
                    raise Refused(400, "more than one Host field")
                authority, host = _host_lines[line]
                keep(line)
            elif kind == _KEPT_ALIVE:
                connection = [*connection, b"keep-alive"] if connection else [b"keep-alive"]
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise Refused(400, "a line of the head has no colon")
        if not _clean(line):
            raise Refused(400, "a control character or a bare line end in the head")
        kind = _request_kinds.get(name)
        if kind is None:
            kind = _classify_request(name)
        if kind == _FORWARD:
            keep(line)
            if len(line) > MAX_FIELD:
                raise Refused(431, "a field is too long")
            _remember(_request_lines, line, _FORWARD)
        elif kind == _DROP:
            _remember(_request_lines, line, _DROP)
        elif kind == _HOST:
            if host is not None:
                raise Refused(400, "more than one Host field")
            authority = value.strip(b" \t")
            host = _read_host(authority)
            keep(line)
            _remember_host(line, authority, host)
        elif kind == _CONNECTION:
            tokens = _tokens(value)
            connection = (connection or []) + tokens
            if tokens == [b"keep-alive"]:
                _remember(_request_lines, line, _KEPT_ALIVE)
        elif kind == _LENGTH:
            if has_length:
                raise Refused(400, "more than one Content-Length")
            has_length = True
            length = _read_length(value.strip(b" \t"))
            if length is None:
                raise Refused(400, "the Content-Length is not a number")
        elif kind == _CODING:
            coding = value if coding is None else coding + b"," + value
        elif kind == _UPGRADE:
            upgrade = value if not upgrade else upgrade + b"," + value
        elif kind == _EXPECT:
            if value.strip(b" \t").lower() != b"100-continue":
                raise Refused(417, "the only expectation known is 100-continue")
            continues = request.version == 11
        elif kind == _TE:
            trailers = trailers or b"trailers" in _tokens(value)
    if coding is not None:
        _check_request_coding(coding, has_length, request.version)
        length = None
    if target[:1] != b"/":
        target, absolute = _read_target(method, target)
        if absolute:
            # RFC 9112 §3.2.2: the target's authority replaces what Host said.
            if host is None:
                raise Refused(400, "no Host field")
            authority = absolute
            host = _read_host(absolute)
            kept = [line for line in kept if line[:5].lower() != b"host:"]
            kept.insert(0, b"Host: " + absolute)
    if host is None:
        raise Refused(400, "no Host field")
    if not target.isascii():
        target = b"".join(b"%c" % byte if byte < 0x80 else b"%%%02X" % byte for byte in target)
    if b"#" in target:
        raise Refused(400, "the target has a fragment")
    request.upgrade = b""
    if connection is not None:
        if b"close" in connection:
            keep_alive = False
        elif b"keep-alive" in connection:
            keep_alive = True
        if connection != [b"keep-alive"] and connection != [b"close"]:
            kept = _without_named(kept, connection)
            if upgrade and b"upgrade" in connection and request.version == 11:
                request.upgrade = _read_upgrade(upgrade, method, kept, length)
    request.method = method
    request.target = target
    request.host = host
    request.authority = authority
    request.length = length
    request.lines = kept
    request.keep_alive = keep_alive
    request.continues = continues and length != 0
    request.trailers = trailers
    request.fields_ = None
    request.wire = b""
    return request


def _read_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return a target that is not in origin form as origin form, and its authority (or b"")."""
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    match = re.fullmatch(rb"https?://([^/?#]+)([/?][^#]*)?", target, re.IGNORECASE)
    if match is None:
        raise Refused(400, "the target is neither a path nor an address")
    path: bytes = match[2] or b"/"
    return (path if path[:1] == b"/" else b"/" + path), match[1]


def _check_request_coding(coding: bytes, has_length: bool, version: int) -> None:
    """Refuse every Transfer-Encoding but ``chunked`` alone (RFC 9112 §6.1, §6.3)."""
    if has_length:
        raise Refused(400, "both Transfer-Encoding and Content-Length")
    if version == 10:
        raise Refused(400, "Transfer-Encoding in HTTP/1.0")
    codings = [part.strip(b" \t").lower() for part in coding.split(b",")]
    if codings == [b"chunked"]:
        return
    known = {b"chunked", b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity"}
    if all(coding in known for coding in codings) and (
        codings[-1] != b"chunked" or codings.count(b"chunked") != 1
    ):
        raise Refused(400, "chunked must be the last Transfer-Encoding, once")
    if any(not _TOKEN.fullmatch(coding) for coding in codings):
        raise Refused(400, "the Transfer-Encoding is malformed")
    raise Refused(501, "no Transfer-Encoding but chunked is known here")


def _without_named(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """Leave out the fields that Connection names (RFC 9110 §7.6.1), but never Host."""
    named = {*connection} - {b"host", b"close", b"keep-alive", b"upgrade"}
    if not named:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in named]


def _read_upgrade(upgrade: bytes, method: bytes, lines: list[bytes], length: int | None) -> bytes:
    """Return ``b"websocket"`` for a WebSocket handshake, ``b""`` for another upgrade.

    RFC 6455 §4.2.1; a malformed handshake is refused, another version is told which one to use.
    """
    if b"websocket" not in _tokens(upgrade):
        return b""
    if method != b"GET" or length != 0:
        raise Refused(400, "a WebSocket handshake is a GET without a body")
    keys = versions = 0
    version = b""
    for line in lines:
        name, _, value = line.partition(b":")
        lower = name.lower()
        if lower == b"sec-websocket-key":
            keys += 1
            try:
                good = len(b64decode(value.strip(b" \t"), validate=True)) == 16
            except (BinasciiError, ValueError):
                good = False
            if not good:
                raise Refused(400, "the Sec-WebSocket-Key is not 16 bytes in base64")
        elif lower == b"sec-websocket-version":
            versions += 1
            version = value.strip(b" \t")
    if versions != 1 or version != b"13":
        raise Refused(426, "the WebSocket version spoken here is 13")
    if keys != 1:
        raise Refused(400, "a WebSocket handshake has one Sec-WebSocket-Key")
    return b"websocket"


def websocket_accept(key: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` that belongs to *key* (RFC 6455 §4.2.2)."""
    return b64encode(sha1(key + WEBSOCKET_GUID, usedforsecurity=False).digest())


class Answer:
    """An upstream's answer head that was checked."""

    __slots__ = (
        "dated",
        "framing",
        "keep_alive",
        "length",
        "lines",
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
    keep_alive: bool
    dated: bool
    upgrade: bytes
    wire: bytes
    """The head as it was last sent to a client whose connection is kept; ``b""``: not yet. An
    upstream's connection gives the same answer again when the same bytes come again."""

    @property
    def fields(self) -> Fields:
        """The end-to-end fields as pairs."""
        return _split_fields(self.lines)


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
    if not _clean(first):
        raise BadAnswer("a control character or a bare line end in the status line")
    read = status, first[13:], version == b"HTTP/1.1 "
    _remember(_status_lines, first, read)
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
        if kind == _FORWARD:
            keep(line)
            continue
        if kind is not None:
            if kind < 0:
                if length is not None:
                    raise BadAnswer("more than one Content-Length")
                length = ~kind
            elif kind == _DATE:
                dated = True
                keep(line)
            elif kind == _KEPT_ALIVE:
                keep_alive = True
            elif kind == _CLOSED:
                closed = True
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadAnswer("a line of the head has no colon")
        if not _clean(line):
            raise BadAnswer("a control character or a bare line end in the head")
        kind = _answer_kinds.get(name)
        if kind is None:
            kind = _classify_answer(name)
        if kind == _FORWARD:
            keep(line)
            _remember(_answer_lines, line, _FORWARD)
        elif kind == _DATE:
            dated = True
            keep(line)
            _remember(_answer_lines, line, _DATE)
        elif kind == _DROP:
            _remember(_answer_lines, line, _DROP)
        elif kind == _LENGTH:
            if length is not None:
                raise BadAnswer("more than one Content-Length")
            length = _read_length(value.strip(b" \t"))
            if length is None:
                raise BadAnswer("the Content-Length is not a number")
            _remember(_answer_lines, line, ~length)
        elif kind == _CONNECTION:
            tokens = _tokens(value)
            if tokens == [b"keep-alive"]:
                keep_alive = True
                _remember(_answer_lines, line, _KEPT_ALIVE)
            elif tokens == [b"close"]:
                closed = True
                _remember(_answer_lines, line, _CLOSED)
            else:
                connection = (connection or []) + tokens
        elif kind == _CODING:
            coding = value if coding is None else coding + b"," + value
        elif kind == _UPGRADE:
            upgrade = value.strip(b" \t").lower()
    if coding is not None:
        if length is not None:
            raise BadAnswer("both Transfer-Encoding and Content-Length")
        if first[:9] == b"HTTP/1.0 " or coding.strip(b" \t").lower() != b"chunked":
            raise BadAnswer("a Transfer-Encoding other than chunked")
    if connection is not None:
        closed = closed or b"close" in connection
        keep_alive = keep_alive or b"keep-alive" in connection
        kept = _without_named(kept, connection)
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
    return answer


def forwarding(peer: bytes, secure: bool, authority: bytes) -> bytes:
    """Return the lines, each with its end, that tell a site who asked and how (RFC 7239)."""
    scheme = b"https" if secure else b"http"
    node = b'"[%b]"' % peer if b":" in peer else peer
    return (
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n"
        b'Forwarded: for=%b;host="%b";proto=%b\r\nVia: 1.1 snickers\r\n'
    ) % (peer, scheme, authority, node, authority, scheme)


_NO_TRAILER = frozenset(
    {
        *_SPECIAL,
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"trailer",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"cache-control",
        b"location",
    }
)


def read_trailers(block: bytes) -> Fields:
    """Read trailer lines (without the empty one); raise ``ValueError`` for what are none.

    Fields that frame, route or authorise may not come so late and are left out (RFC 9110 §6.5.1).
    """
    fields: Fields = []
    if not block:
        return fields
    lines = block.split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise ValueError("too many trailers")
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name) or not _clean(line):
            raise ValueError("a trailer is not a field")
        plain = name.lower().replace(b"_", b"-")
        if plain not in _NO_TRAILER and not plain.startswith(b"x-forwarded-"):
            fields.append((name, value.strip(b" \t")))
    return fields


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


class IForwardingExchange(IExchange):
    """An exchange that can pass an upstream's answer on without taking it apart again."""

    forwarding: bytes = Attribute("Lines, each with its end, that tell a site who asked and how.")

    def forward(answer: Answer, data: bytes, end: bool) -> None:  # noqa: N805
        """As `IExchange.answer`, with a head that came from an upstream and was checked."""
