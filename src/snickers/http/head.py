"""What the heads of requests and of answers have in common: fields, read strictly.

Pure: bytes in, values out. It must never call a line good that two readers could understand
differently (RFC 9112 §11), nor know which message it stands in.
"""

from __future__ import annotations

import re
from typing import TypeVar

from snickers.interfaces.exchange import Fields

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

T = TypeVar("T")

_IN_ASCII = [bytes((byte,)) if byte < 0x80 else b"%%%02X" % byte for byte in range(256)]

# What kinds of field there are. Everything above FORWARD is looked at by name.
FORWARD = 0
DROP = 1
HOST = 2
LENGTH = 3
CODING = 4
CONNECTION = 5
UPGRADE = 6
EXPECT = 7
TE = 8
DATE = 9
# Lines that were read before and say just this.
KEPT_ALIVE = 10
CLOSED = 11
KNOWN_HOST = 12

SPECIAL: dict[bytes, int] = {
    # RFC 9110 §7.6.1: meant for one hop.
    b"keep-alive": DROP,
    b"proxy-connection": DROP,
    b"proxy-authenticate": DROP,
    b"proxy-authorization": DROP,
    b"http2-settings": DROP,
    # Would become the variable HTTP_PROXY in a CGI program.
    b"proxy": DROP,
    # Set by us; what a client says of them is not believed. x-forwarded-* as a whole, too.
    b"forwarded": DROP,
    b"forwarded-for": DROP,
    b"x-forwarded": DROP,
    b"x-real-ip": DROP,
    b"x-client-ip": DROP,
    b"x-cluster-client-ip": DROP,
    b"true-client-ip": DROP,
    b"x-request-id": DROP,
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"te": TE,
}

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

MAX_CACHE = 4096
"""Names, or lines, that are known at a time."""
MAX_REMEMBERED = 160
"""Bytes of a line that is worth remembering."""


def remember(lines: dict[bytes, T], line: bytes, meaning: T) -> None:
    """Keep what *line* means, if it is worth it; *lines* never grows beyond `MAX_CACHE`."""
    if len(line) <= MAX_REMEMBERED:
        if len(lines) >= MAX_CACHE:
            lines.clear()
        lines[line] = meaning


def clean(line: bytes) -> bool:
    """Say whether *line* has no control character but tabs, no bare line end among them."""
    # Almost every line is printable ASCII, which is seen at once.
    if line.isascii() and line.decode("ascii").isprintable():
        return True
    return _CONTROL.search(line) is None


def read_length(value: bytes) -> int | None:
    """Return a Content-Length's number, ``None`` for what is none (RFC 9110 §8.6)."""
    if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        return None
    return int(value)


def in_ascii(target: bytes) -> bytes:
    """Return *target* with what is beyond ASCII percent-encoded."""
    return target if target.isascii() else b"".join(map(_IN_ASCII.__getitem__, target))


_ODD = bytes(
    byte if byte in b"abcdefghijklmnopqrstuvwxyz0123456789" else 0x2D for byte in range(256)
)


def plain(name: bytes) -> bytes:
    """Return what servers may take the field *name* for: all of them ignore its case, and many
    make the same variable of everything that is no letter or digit."""
    return name.lower().translate(_ODD)


def tokens_of(value: bytes) -> list[bytes]:
    """Return the members of a list such as Connection's, in lower case (RFC 9110 §5.6.1)."""
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def split_fields(lines: list[bytes]) -> Fields:
    """Return checked *lines* as pairs of name and value."""
    fields = []
    for line in lines:
        name, _, value = line.partition(b":")
        fields.append((name, value.strip(b" \t")))
    return fields


def without_named(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """Leave out the fields that Connection names (RFC 9110 §7.6.1), but never Host."""
    named = {*connection} - {b"host", b"close", b"keep-alive", b"upgrade"}
    if not named:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in named]


_NO_TRAILER = frozenset(
    {
        *SPECIAL,
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


def may_trail(name: bytes) -> bool:
    """Say whether the field *name* may come behind a body: none that frames, routes or authorises
    (RFC 9110 §6.5.1)."""
    meant = plain(name)
    return meant not in _NO_TRAILER and not meant.startswith(b"x-forwarded-")


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
        if not colon or not TOKEN.fullmatch(name) or not clean(line):
            raise ValueError("a trailer is not a field")
        if may_trail(name):
            fields.append((name, value.strip(b" \t")))
    return fields
