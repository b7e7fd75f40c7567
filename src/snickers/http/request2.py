"""Heads of HTTP/2 requests: a list of fields, checked and made what HTTP/1 would have said.

Pure. It must never let through what a server behind could understand differently than we do
(RFC 9113 §8.2, §10.3): a field that could end a line, a second length, another host.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from snickers.http.head import (
    CODING,
    CONNECTION,
    DROP,
    EXPECT,
    FORWARD,
    HOST,
    LENGTH,
    TE,
    TOKEN,
    UPGRADE,
    clean,
    in_ascii,
    may_trail,
    read_length,
)
from snickers.http.hpack import Pairs
from snickers.http.request import Refused, Request, kind_of, read_host
from snickers.interfaces.exchange import Fields

WEBSOCKET = b"websocket"

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_SCHEMES = frozenset({b"https", b"http"})
_OF_A_CONNECTION = frozenset({CODING, CONNECTION, UPGRADE})
_NEVER = frozenset({b"keep-alive", b"proxy-connection"})
_MAX_KNOWN = 4096
_MAX_LINE = 512
"""Bytes of a line that is worth remembering."""

_good: dict[tuple[bytes, bytes], bytes] = {}
"""Lines of fields that were found good and are passed on; ``b""``: good, and not passed on."""


@frozen
class Malformed(Exception):
    """No request at all: the stream is reset (§8.1.1)."""

    reason: str


def read_fields(
    fields: Pairs, ends: bool, key: Callable[[], bytes], line_limit: int, most: int
) -> Request:
    """Read a request's fields; raise `Malformed` or, with the status it gets, `Refused`.

    *ends*: no body follows. *key* returns the Sec-WebSocket-Key of the handshake that a WebSocket
    becomes behind us (RFC 8441 §5); it is called for no other request. *line_limit*: bytes of a
    method and a path, *most*: fields.
    """
    if len(fields) > most:
        raise Refused(431, "too many fields")
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    length: int | None = None
    host_field: bytes | None = None
    cookies: list[bytes] = []
    regular = continues = trailers = False
    known = _good.get
    for field in fields:
        line = known(field)
        if line is not None:
            regular = True
            if line:
                lines.append(line)
            continue
        name, value = field
        if name[:1] == b":":
            if name in pseudo or name not in _PSEUDO or regular:
                raise Malformed("a pseudo-field is unknown, repeated, or comes too late")
            pseudo[name] = value
            continue
        regular = True
        kind = _checked(name, value)
        if kind == FORWARD:
            if name == b"cookie":
                cookies.append(value)
            else:
                lines.append(_remember(field, b"%b: %b" % field))
        elif kind == DROP:
            _remember(field, b"")
        elif kind == HOST:
            if host_field is not None:
                raise Malformed("more than one host")
            host_field = value
        elif kind == LENGTH:
            if length is not None:
                raise Malformed("more than one content-length")
            length = read_length(value)
            if length is None:
                raise Malformed("the content-length is not a number")
        elif kind == TE:
            if value.lower() != b"trailers":
                raise Malformed("te says something else than trailers")
            trailers = True
        elif kind == EXPECT:
            if value.lower() != b"100-continue":
                raise Refused(417, "the only expectation known is 100-continue")
            continues = True
    request = _with_pseudo(pseudo, host_field, line_limit)
    if cookies:
        # RFC 9113 §8.2.3: a jar that was taken apart to be compressed.
        lines.append(b"cookie: " + b"; ".join(cookies))
    if b":protocol" in pseudo:
        _be_websocket(request, pseudo, lines, key())
        length = 0
    elif ends:
        if length:
            raise Malformed("a body was announced, and none comes")
        length = 0
    request.length = length
    request.lines = [b"Host: " + request.authority, *lines]
    request.continues = continues and length != 0
    request.trailers = trailers
    return request


def _remember(field: tuple[bytes, bytes], line: bytes) -> bytes:
    if len(field[0]) + len(field[1]) <= _MAX_LINE:
        if len(_good) >= _MAX_KNOWN:
            _good.clear()
        _good[field] = line
    return line


def _checked(name: bytes, value: bytes) -> int:
    """Return what kind of field it is, if it is a good one (§8.2.1, §8.2.2)."""
    if name != name.lower():
        raise Malformed("a field name in upper case")
    if not clean(value) or value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
        raise Malformed("a control character in a field, or blanks around it")
    try:
        kind = kind_of(name)
    except Refused as refused:
        raise Malformed(refused.reason) from None
    if (kind in _OF_A_CONNECTION and b"_" not in name) or name in _NEVER:
        raise Malformed("a field that is a connection's in HTTP/1")
    return kind


def _with_pseudo(pseudo: dict[bytes, bytes], host_field: bytes | None, limit: int) -> Request:
    """Return a request with what the pseudo-fields say (§8.3.1)."""
    try:
        method = pseudo[b":method"]
        scheme = pseudo[b":scheme"]
        path = pseudo[b":path"]
    except KeyError:
        if pseudo.get(b":method") == b"CONNECT" and b":authority" in pseudo:
            raise Refused(405, "the method is not allowed here") from None
        raise Malformed("a pseudo-field is missing") from None
    authority = pseudo.get(b":authority", host_field)
    if not authority:
        raise Malformed("nobody is asked")
    if host_field is not None and host_field.lower() != authority.lower():
        raise Malformed("host and :authority differ")
    if not TOKEN.fullmatch(method):
        raise Malformed("the method is not a word")
    if scheme not in _SCHEMES:
        raise Malformed("the scheme is neither https nor http")
    if len(method) + len(path) > limit:
        raise Refused(414, "the path is too long")
    if method == b"TRACE" or (method == b"CONNECT" and b":protocol" not in pseudo):
        raise Refused(405, "the method is not allowed here")
    if path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS"):
        raise Malformed("the path does not begin with a slash")
    if not clean(path) or b" " in path or b"\t" in path or b"#" in path:
        raise Malformed("the path has a blank, a control character or a fragment")
    path = in_ascii(path)
    request = Request()
    try:
        request.host = read_host(authority)
    except Refused as refused:
        raise Malformed(refused.reason) from None
    request.method = method
    request.target = path
    request.authority = authority
    request.version = 20
    request.upgrade = b""
    request.keep_alive = True
    request.fields_ = None
    request.wire = b""
    request.logged = None
    return request


def _be_websocket(
    request: Request, pseudo: dict[bytes, bytes], lines: list[bytes], key: bytes
) -> None:
    """Make the request the handshake that a server behind us understands (RFC 8441 §4, §5)."""
    if request.method != b"CONNECT":
        raise Malformed(":protocol without CONNECT")
    if pseudo[b":protocol"] != WEBSOCKET:
        raise Refused(501, "the only protocol known is websocket")
    version = [line for line in lines if line[:23] == b"sec-websocket-version: "]
    if version not in ([], [b"sec-websocket-version: 13"]):
        raise Refused(426, "the WebSocket version spoken here is 13")
    lines[:] = [line for line in lines if line[:19] != b"sec-websocket-key: "]
    if not version:
        lines.append(b"sec-websocket-version: 13")
    lines.append(b"sec-websocket-key: " + key)
    request.method = b"GET"
    request.upgrade = WEBSOCKET


def read_trailers(fields: Pairs) -> Fields:
    """Return the trailers of a request that may be passed on (RFC 9110 §6.5.1)."""
    kept: Fields = []
    for name, value in fields:
        if name[:1] == b":":
            raise Malformed("a pseudo-field among the trailers")
        if _checked(name, value) == FORWARD and may_trail(name):
            kept.append((name, value))
    return kept
