"""Frames of HTTP/2 (RFC 9113 §4, §6): their names, how they are written, and when they may come.

Pure. Must never decide what a frame means for an exchange: it knows numbers, sizes and states of
streams, nothing else.
"""

from __future__ import annotations

from struct import Struct

from attrs import frozen

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client's connection begins with (§3.4)."""

# Types of frames.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = range(6)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
PRIORITY_UPDATE = 16
"""RFC 9218 §7.1."""

# Flags.
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

# Errors (§7).
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT = range(5)
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = range(5, 10)
CONNECT_ERROR, ENHANCE_YOUR_CALM = 10, 11

# Settings (§6.5.2; RFC 8441 §3; RFC 9218 §2.1).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = range(1, 5)
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 5, 6
ENABLE_CONNECT_PROTOCOL = 8
NO_RFC7540_PRIORITIES = 9

FRAME_SIZE = 16384
"""Bytes of the largest frame unless something else was agreed; what we take."""
MAX_WINDOW = 2**31 - 1
MAX_STREAM = 2**31 - 1
WINDOW = 65535
"""Bytes of a window unless something else was agreed."""

HEAD = Struct(">IBI")
"""Length and type together, flags, stream (§4.1)."""
HEAD_SIZE = 9
_LONG = Struct(">I")
_SETTING = Struct(">HI")


@frozen
class BadFrame(Exception):
    """A frame that no connection can go on behind, whatever it is about (§5.4.1)."""

    code: int
    reason: str


_OF_THE_CONNECTION = frozenset({SETTINGS, PING, GOAWAY, PRIORITY_UPDATE})
_SIZES = {
    RST_STREAM: (4, 4),
    PING: (8, 8),
    GOAWAY: (8, FRAME_SIZE),
    WINDOW_UPDATE: (4, 4),
    PRIORITY_UPDATE: (4, FRAME_SIZE),
}
"""Bytes of a payload, at the least and at the most, where the type says so."""


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """Return a frame of the stream *number*."""
    return HEAD.pack(len(payload) << 8 | kind, flags, number) + payload


def reset(number: int, code: int) -> bytes:
    """Return what ends the stream *number* (§6.4)."""
    return frame(RST_STREAM, 0, number, _LONG.pack(code))


def window_update(number: int, more: int) -> bytes:
    """Return what lets the peer send *more* bytes (§6.9)."""
    return frame(WINDOW_UPDATE, 0, number, _LONG.pack(more))


def go_away(last: int, code: int, words: str = "") -> bytes:
    """Return what says that no stream above *last* is served (§6.8)."""
    return frame(GOAWAY, 0, 0, _LONG.pack(last) + _LONG.pack(code) + words.encode("ascii"))


def settings(values: dict[int, int]) -> bytes:
    """Return the frame that tells *values* (§6.5)."""
    payload = b"".join([_SETTING.pack(name, value) for name, value in values.items()])
    return frame(SETTINGS, 0, 0, payload)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return names and values in order; *payload* is a multiple of six bytes.

    Raises `BadFrame` for a value that its setting cannot have (§6.5.2).
    """
    read = list(_SETTING.iter_unpack(payload))
    for name, value in read:
        if name == ENABLE_PUSH and value > 1:
            raise BadFrame(PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise BadFrame(FLOW_CONTROL_ERROR, "a window is too large")
        if name == MAX_FRAME_SIZE and not FRAME_SIZE <= value < 1 << 24:
            raise BadFrame(PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
    return read


def read_long(payload: bytes) -> int:
    """Return the number of four bytes, without the highest bit, which means nothing (§4.1)."""
    number: int = _LONG.unpack_from(payload)[0]
    return number & 0x7FFFFFFF


def check_shape(kind: int, flags: int, number: int, size: int) -> None:
    """Raise `BadFrame` for a frame that comes on the wrong stream, in the wrong size, or never from
    a client (§6.4 to §6.9; RFC 9218 §7.1).

    DATA and HEADERS have no shape but their padding, and a PRIORITY that is wrong harms only its
    stream (§6.3): they are good here.
    """
    if kind in _OF_THE_CONNECTION and number:
        raise BadFrame(PROTOCOL_ERROR, "a frame of the connection names a stream")
    least, most = _SIZES.get(kind, (0, size))
    if not least <= size <= most:
        raise BadFrame(FRAME_SIZE_ERROR, "a frame is of the wrong size")
    if kind == SETTINGS and (size % 6 or (flags & ACK and size)):
        raise BadFrame(FRAME_SIZE_ERROR, "settings of the wrong size")
    if kind == PUSH_PROMISE:
        raise BadFrame(PROTOCOL_ERROR, "a client promises nothing")


def without_padding(payload: bytes) -> bytes:
    """Return what a frame that is `PADDED` holds (§6.1); raise `BadFrame` if it is less than
    nothing."""
    padding = payload[0] if payload else 0
    if padding >= len(payload):
        raise BadFrame(PROTOCOL_ERROR, "a frame has more padding than bytes")
    return payload[1 : len(payload) - padding]


def without_priority(number: int, payload: bytes) -> bytes:
    """Return what HEADERS `WITH_PRIORITY` holds besides it (§6.2); raise `BadFrame` if it is cut
    off, or the stream depends on itself."""
    if len(payload) < 5:
        raise BadFrame(FRAME_SIZE_ERROR, "a priority is cut off")
    if read_long(payload) == number:
        raise BadFrame(PROTOCOL_ERROR, "a stream depends on itself")
    return payload[5:]


def headers(number: int, block: bytes, ends: bool, most: int) -> bytes:
    """Return a block of fields as HEADERS and, beyond *most* bytes, CONTINUATION (§6.2, §6.10)."""
    flags = END_STREAM if ends else 0
    if len(block) <= most:
        return HEAD.pack(len(block) << 8 | HEADERS, flags | END_HEADERS, number) + block
    pieces = [frame(HEADERS, flags, number, block[:most])]
    for start in range(most, len(block), most):
        last = END_HEADERS if start + most >= len(block) else 0
        pieces.append(frame(CONTINUATION, last, number, block[start : start + most]))
    return b"".join(pieces)


# The states of a stream, as we see them (§5.1). We never promise streams.
IDLE, OPEN, HALF_CLOSED, CUT, CLOSED = range(5)
"""Not begun; the client may send more; it has sent all; we have reset it, so that what was on its
way is nobody's fault; it is over."""

TAKE, IGNORE = "take", "ignore"

VERDICTS: dict[tuple[int, int], str | tuple[str, int]] = {
    (IDLE, DATA): ("connection", PROTOCOL_ERROR),
    (IDLE, HEADERS): TAKE,
    (IDLE, PRIORITY): IGNORE,
    (IDLE, RST_STREAM): ("connection", PROTOCOL_ERROR),
    (IDLE, WINDOW_UPDATE): ("connection", PROTOCOL_ERROR),
    (OPEN, DATA): TAKE,
    (OPEN, HEADERS): TAKE,
    (OPEN, PRIORITY): IGNORE,
    (OPEN, RST_STREAM): TAKE,
    (OPEN, WINDOW_UPDATE): TAKE,
    (HALF_CLOSED, DATA): ("stream", STREAM_CLOSED),
    (HALF_CLOSED, HEADERS): ("stream", STREAM_CLOSED),
    (HALF_CLOSED, PRIORITY): IGNORE,
    (HALF_CLOSED, RST_STREAM): TAKE,
    (HALF_CLOSED, WINDOW_UPDATE): TAKE,
    (CUT, DATA): IGNORE,
    (CUT, HEADERS): IGNORE,
    (CUT, PRIORITY): IGNORE,
    (CUT, RST_STREAM): IGNORE,
    (CUT, WINDOW_UPDATE): IGNORE,
    (CLOSED, DATA): ("connection", STREAM_CLOSED),
    (CLOSED, HEADERS): ("connection", STREAM_CLOSED),
    (CLOSED, PRIORITY): IGNORE,
    (CLOSED, RST_STREAM): IGNORE,
    (CLOSED, WINDOW_UPDATE): IGNORE,
}
"""What a frame of a stream gets in each state: it is taken, ignored, or an error of the stream or
of the connection with a code. CONTINUATION belongs to a HEADERS, or is an error by itself."""
