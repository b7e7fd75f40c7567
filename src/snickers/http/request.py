"""Heads of requests: read strictly, classified field by field, ready to be forwarded.

Pure: bytes in, values out. It must never let through a head that two readers could understand
differently (RFC 9112 §11): whatever is ambiguous is refused, never mended. A field is looked at
once; what is forwarded are the very lines that were checked.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from hashlib import sha1
from typing import Any

from attrs import frozen
from zope.interface import implementer

from snickers.http.head import (
    CODING,
    CONNECTION,
    DROP,
    EXPECT,
    FORWARD,
    HOST,
    KEPT_ALIVE,
    KNOWN_HOST,
    LENGTH,
    MAX_CACHE,
    MAX_FIELD,
    MAX_FIELDS,
    MAX_REQUEST_LINE,
    SPECIAL,
    TE,
    TOKEN,
    UPGRADE,
    clean,
    in_ascii,
    plain,
    read_length,
    remember,
    split_fields,
    tokens_of,
    without_named,
)
from snickers.interfaces.exchange import Fields, IRequest

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@frozen
class Refused(Exception):
    """A request head that is not answered by the site: the status it gets, and why."""

    status: int
    reason: str


_HOST_FORM = re.compile(
    rb"(?:(?P<name>[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)\.?|(?P<six>\[[0-9a-f:.]+\]))(?::(?P<port>[0-9]{0,5}))?"
)
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"})
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND", b"REPORT"})
"""Methods that may be sent again when a kept connection proved dead (RFC 9110 §9.2.2)."""


_request_kinds: dict[bytes, int] = {}
# Whole lines that were found good and are passed on as they are: clients say most of what they
# say over and over.
_request_lines: dict[bytes, int] = {}
_host_lines: dict[bytes, tuple[bytes, bytes]] = {}
"""What those of `_request_lines` say that are known hosts: never without one of them."""


def _remember_host(line: bytes, authority: bytes, host: bytes) -> None:
    if len(_host_lines) >= MAX_CACHE:
        _request_lines.clear()
    remember(_host_lines, line, (authority, host))
    remember(_request_lines, line, KNOWN_HOST)


def _classify(name: bytes) -> int:
    """Say what a request's field is; raise `Refused` for what is no field name (RFC 9110 §5.1)."""
    if not TOKEN.fullmatch(name):
        raise Refused(400, "a field name has a character that none may have")
    lower = name.lower()
    # A look-alike is as good as the field.
    meant = plain(name)
    if meant.startswith(b"x-forwarded-"):
        kind = DROP
    else:
        kind = SPECIAL.get(meant, FORWARD)
        if kind > DROP and meant != lower:
            kind = DROP
    if len(_request_kinds) >= MAX_CACHE:
        _request_kinds.clear()
    if len(name) <= 64:
        _request_kinds[name] = kind
    return kind


def read_host(value: bytes) -> bytes:
    """Return the host of a Host field's value (RFC 9110 §7.2): lower case, no port."""
    match = _HOST_FORM.fullmatch(value.lower())
    if match is None or int(match["port"] or 0) > 65535:
        raise Refused(400, "the Host field is not a host name and perhaps a port")
    host: bytes = match["name"] or match["six"]
    return host


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
        "logged",
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
    """The head as it was last sent to an upstream, but for its id; ``b""``: not yet. A client's
    connection gives the same request again when the same bytes come again."""
    logged: Any
    """What the access log keeps of it; ``None``: nothing yet."""

    @property
    def fields(self) -> Fields:
        """The end-to-end fields as pairs; made when first asked for."""
        fields = self.fields_
        if fields is None:
            fields = self.fields_ = split_fields(self.lines)
        return fields

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the field *name* (lower case), several joined by ``b', '``."""
        found = [value for key, value in self.fields if key.lower() == name]
        return b", ".join(found) if found else None


def no_request() -> Request:
    """Return what stands for the request of bytes that were none, so that they are answered."""
    request = Request()
    request.method = b"GET"
    request.target = b"/"
    request.host = request.authority = request.upgrade = b""
    request.version = 11
    request.length = 0
    request.lines = []
    request.fields_ = None
    request.wire = b""
    request.logged = None
    request.keep_alive = request.continues = request.trailers = False
    return request


def read_request(
    head: bytes,
    line_limit: int = MAX_REQUEST_LINE,
    field_size: int = MAX_FIELD,
    field_limit: int = MAX_FIELDS,
) -> Request:
    """Read a request head, without its empty line; raise `Refused` for what is not one.

    *line_limit* and *field_size* are bytes of the request line and of one field, *field_limit*
    is the number of fields.

    RFC 9112 §2 to §7, with every choice that the standard leaves made for refusal.
    """
    lines = head.split(b"\r\n")
    first = lines[0]
    del lines[0]
    if not clean(first) or b"\t" in first:
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
    if len(first) > line_limit:
        raise Refused(414, "the request line is too long")
    if method not in _METHODS:
        if not TOKEN.fullmatch(method):
            raise Refused(400, "the method is not a word")
        if method in (b"CONNECT", b"TRACE"):
            raise Refused(405, "the method is not allowed here")
    if len(lines) > field_limit:
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
        if kind == FORWARD:
            keep(line)
            continue
        if kind is not None:
            if kind == KNOWN_HOST:
                if host is not None:
                    raise Refused(400, "more than one Host field")
                authority, host = _host_lines[line]
                keep(line)
            elif kind == KEPT_ALIVE:
                connection = [*connection, b"keep-alive"] if connection else [b"keep-alive"]
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise Refused(400, "a line of the head has no colon")
        if not clean(line):
            raise Refused(400, "a control character or a bare line end in the head")
        kind = _request_kinds.get(name)
        if kind is None:
            kind = _classify(name)
        if kind == FORWARD:
            keep(line)
            if len(line) > field_size:
                raise Refused(431, "a field is too long")
            remember(_request_lines, line, FORWARD)
        elif kind == DROP:
            remember(_request_lines, line, DROP)
        elif kind == HOST:
            if host is not None:
                raise Refused(400, "more than one Host field")
            authority = value.strip(b" \t")
            host = read_host(authority)
            keep(line)
            _remember_host(line, authority, host)
        elif kind == CONNECTION:
            tokens = tokens_of(value)
            connection = (connection or []) + tokens
            if tokens == [b"keep-alive"]:
                remember(_request_lines, line, KEPT_ALIVE)
        elif kind == LENGTH:
            if has_length:
                raise Refused(400, "more than one Content-Length")
            has_length = True
            length = read_length(value.strip(b" \t"))
            if length is None:
                raise Refused(400, "the Content-Length is not a number")
        elif kind == CODING:
            coding = value if coding is None else coding + b"," + value
        elif kind == UPGRADE:
            upgrade = value if not upgrade else upgrade + b"," + value
        elif kind == EXPECT:
            if value.strip(b" \t").lower() != b"100-continue":
                raise Refused(417, "the only expectation known is 100-continue")
            continues = request.version == 11
        elif kind == TE:
            trailers = trailers or b"trailers" in tokens_of(value)
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
            host = read_host(absolute)
            kept = [line for line in kept if line[:5].lower() != b"host:"]
            kept.insert(0, b"Host: " + absolute)
    if host is None:
        raise Refused(400, "no Host field")
    target = in_ascii(target)
    if b"#" in target:
        raise Refused(400, "the target has a fragment")
    request.upgrade = b""
    if connection is not None:
        if b"close" in connection:
            keep_alive = False
        elif b"keep-alive" in connection:
            keep_alive = True
        if connection != [b"keep-alive"] and connection != [b"close"]:
            kept = without_named(kept, connection)
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
    request.logged = None
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
    if any(not TOKEN.fullmatch(coding) for coding in codings):
        raise Refused(400, "the Transfer-Encoding is malformed")
    raise Refused(501, "no Transfer-Encoding but chunked is known here")


def _read_upgrade(upgrade: bytes, method: bytes, lines: list[bytes], length: int | None) -> bytes:
    """Return ``b"websocket"`` for a WebSocket handshake, ``b""`` for another upgrade.

    RFC 6455 §4.2.1; a malformed handshake is refused, another version is told which one to use.
    """
    if b"websocket" not in tokens_of(upgrade):
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


def kind_of(name: bytes) -> int:
    """Say what a request's field is; raise `Refused` for what is no field name."""
    kind = _request_kinds.get(name)
    return _classify(name) if kind is None else kind


def forwarding(peer: bytes, secure: bool, authority: bytes, version: bytes = b"1.1") -> bytes:
    """Return the lines, each with its end, that tell a site who asked and how (RFC 7239).

    *version*: of the HTTP that the client spoke."""
    scheme = b"https" if secure else b"http"
    node = b'"[%b]"' % peer if b":" in peer else peer
    return (
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n"
        b'Forwarded: for=%b;host="%b";proto=%b\r\nVia: %b snickers\r\n'
    ) % (peer, scheme, authority, node, authority, scheme, version)
