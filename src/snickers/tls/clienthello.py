"""The first message of a TLS connection, read without answering it.

From the bytes that a client has sent so far, say whom it wants to speak to and how, or how many
bytes are still missing, or that this is not TLS (RFC 8446 §4.1.2, §5.1; names: RFC 6066 §3; ALPN:
RFC 7301 §3.1). Pure; it must never raise anything but `NotTLS` and `BadHello`, whatever it is fed,
nor do work that grows faster than the bytes. What it does not look at, OpenSSL will.
"""

from __future__ import annotations

import re
import struct

from attrs import frozen

MAX_HELLO = 65536
"""Bytes peeked at most: four records of the largest size; a post-quantum hello has about 1,800."""
MAX_RECORDS = 32
"""Records one hello may be spread over. Those who split theirs to pass a censor use two to a dozen;
a record for each byte would only make us work."""
_RECORD = 16384

# Alert descriptions (RFC 8446 §6, RFC 6066 §9, RFC 7301 §3.2)
UNEXPECTED_MESSAGE = 10
ILLEGAL_PARAMETER = 47
DECODE_ERROR = 50
PROTOCOL_VERSION = 70
INTERNAL_ERROR = 80
UNRECOGNIZED_NAME = 112
NO_APPLICATION_PROTOCOL = 120

_SERVER_NAME = 0
_ALPN = 16
_SUPPORTED_VERSIONS = 43

_two = struct.Struct("!HH").unpack_from
_one = struct.Struct("!H").unpack_from
_name = re.compile(rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*").fullmatch
_METHODS = tuple(
    method + b" "
    for method in (
        b"GET",
        b"HEAD",
        b"POST",
        b"PUT",
        b"DELETE",
        b"OPTIONS",
        b"PATCH",
        b"CONNECT",
        b"TRACE",
        b"PRI",
        b"PROPFIND",
    )
)


class NotTLS(Exception):
    """These bytes do not begin a TLS connection."""


class BadHello(Exception):
    """It is TLS, but no acceptable hello."""

    def __init__(self, alert: int, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert
        """The description of the fatal alert to be sent."""


@frozen
class Hello:
    """What a client says of itself."""

    server_name: bytes
    """The lower-case A-label it asks for, without a trailing dot; ``b""``: none."""
    alpn: tuple[bytes, ...]
    """The protocols it offers, in its order; empty when it does not negotiate them."""
    versions: tuple[int, ...]
    """The TLS versions it offers, such as ``0x0304`` for 1.3; GREASE values among them."""
    size: int
    """Bytes of all the records that the hello came in."""


def alert(description: int) -> bytes:
    """Return the record of a fatal alert, to be sent before anything is encrypted."""
    return b"\x15\x03\x03\x00\x02\x02" + bytes((description,))


def looks_like_http(data: bytes) -> bool:
    """Return whether *data* begins as a plain HTTP request does."""
    return data.startswith(_METHODS) or any(method.startswith(data) for method in _METHODS)


def parse(data: bytes) -> Hello | int:
    """Return the whole hello that *data* begins with, or how many bytes there must be at least.

    The number is always more than ``len(data)``.
    """
    have = len(data)
    if have < 11:
        _begins(data)
        if have < 5:
            return 5
    elif data[0] != 22 or data[1] != 3 or data[5] != 1:
        _begins(data)
    size: int = _one(data, 3)[0]
    if not 0 < size <= _RECORD:
        raise BadHello(DECODE_ERROR, "a record of an impossible size")
    end = 5 + size
    if have < end:
        return end
    if size >= 4:
        length = int.from_bytes(data[6:9], "big")
        if length == size - 4:
            return _hello(data, 9, end, end)
        if length > MAX_HELLO:
            raise BadHello(ILLEGAL_PARAMETER, "a hello too large")
    return _gather(data, end)


def _begins(data: bytes) -> None:
    """Check the fixed bytes of a record and of a hello, as far as there are any."""
    if data and data[0] != 22:
        raise NotTLS("not a handshake record")
    if len(data) > 1 and data[1] != 3:
        raise NotTLS("not a record of TLS")
    if len(data) > 5 and data[5] != 1:
        raise BadHello(UNEXPECTED_MESSAGE, "the first message is not a hello")


def _gather(data: bytes, end: int) -> Hello | int:
    """Read a hello that is spread over records; the first one, which ends at *end*, is whole."""
    have = len(data)
    message = data[5:end]
    for _ in range(MAX_RECORDS):
        if len(message) >= 4:
            missing = 4 + int.from_bytes(message[1:4], "big") - len(message)
            if missing > MAX_HELLO:
                raise BadHello(ILLEGAL_PARAMETER, "a hello too large")
            if missing < 0:
                raise BadHello(UNEXPECTED_MESSAGE, "something else in the hello's record")
            if not missing:
                return _hello(message, 4, len(message), end)
        else:
            missing = 4 - len(message)
        if have < end + 5:
            least = end + missing + 5 * -(-missing // _RECORD)
            if least > MAX_HELLO:
                raise BadHello(ILLEGAL_PARAMETER, "a hello too large")
            _continues(data[end:])
            return least
        _continues(data[end : end + 5])
        size = _one(data, end + 3)[0]
        if not 0 < size <= _RECORD:
            raise BadHello(DECODE_ERROR, "a record of an impossible size")
        start, end = end + 5, end + 5 + size
        if end > MAX_HELLO:
            raise BadHello(ILLEGAL_PARAMETER, "a hello too large")
        if have < end:
            return end
        message += data[start:end]
    raise BadHello(ILLEGAL_PARAMETER, "a hello in too many records")


def _continues(header: bytes) -> None:
    if (header and header[0] != 22) or (len(header) > 1 and header[1] != 3):
        raise BadHello(UNEXPECTED_MESSAGE, "the hello is not followed by the rest of it")


def _hello(data: bytes, at: int, end: int, size: int) -> Hello:
    """Read the body of a hello: ``data[at:end]``, of which every byte is there."""
    try:
        version = _one(data, at)[0]
        at += 34
        if data[at] > 32:
            raise BadHello(DECODE_ERROR, "a session id too long")
        at += 1 + data[at]
        ciphers = _one(data, at)[0]
        if ciphers < 2 or ciphers & 1:
            raise BadHello(DECODE_ERROR, "a damaged list of ciphers")
        at += 2 + ciphers
        if not data[at]:
            raise BadHello(DECODE_ERROR, "no compression method")
        at += 1 + data[at]
        name = b""
        alpn: tuple[bytes, ...] = ()
        versions: tuple[int, ...] = (version,)
        if at != end:
            at += 2
            if at + _one(data, at - 2)[0] != end:
                raise BadHello(DECODE_ERROR, "damaged extensions")
            seen = set()
            while at < end:
                kind, length = _two(data, at)
                at += 4
                if kind in seen:
                    raise BadHello(ILLEGAL_PARAMETER, "an extension twice")
                seen.add(kind)
                stop = at + length
                if stop > end:
                    raise BadHello(DECODE_ERROR, "damaged extensions")
                if kind == _SERVER_NAME:
                    name = _server_name(data[at:stop])
                elif kind == _ALPN:
                    alpn = _protocols(data[at:stop])
                elif kind == _SUPPORTED_VERSIONS:
                    versions = _versions(data[at:stop])
                at = stop
            if at != end:
                raise BadHello(DECODE_ERROR, "damaged extensions")
    except (IndexError, struct.error):
        raise BadHello(DECODE_ERROR, "a hello cut short") from None
    return Hello(name, alpn, versions, size)


def _server_name(data: bytes) -> bytes:
    """Return the one host name in *data* (RFC 6066 §3): lower case, no trailing dot."""
    whole, kind, length = struct.unpack_from("!HBH", data)
    if whole != len(data) - 2 or length != whole - 3 or kind or not length:
        raise BadHello(DECODE_ERROR, "a damaged server name")
    name = data[5:].lower()
    if name.endswith(b"."):
        name = name[:-1]
    if not _name(name):
        raise BadHello(UNRECOGNIZED_NAME, "a server name that no server can have")
    return name


def _protocols(data: bytes) -> tuple[bytes, ...]:
    """Return the protocols offered in *data* (RFC 7301 §3.1)."""
    at, end = 2, len(data)
    if _one(data)[0] != end - 2 or end == 2:
        raise BadHello(DECODE_ERROR, "a damaged list of protocols")
    found = []
    while at < end:
        stop = at + 1 + data[at]
        if stop > end or not data[at]:
            raise BadHello(DECODE_ERROR, "a damaged list of protocols")
        found.append(data[at + 1 : stop])
        at = stop
    return tuple(found)


def _versions(data: bytes) -> tuple[int, ...]:
    """Return the versions offered in *data* (RFC 8446 §4.2.1)."""
    if data[0] != len(data) - 1 or not data[0] or data[0] & 1:
        raise BadHello(DECODE_ERROR, "a damaged list of versions")
    return struct.unpack(f"!{data[0] // 2}H", data[1:])
