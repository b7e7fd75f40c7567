"""Parts of a representation (RFC 9110 §14): which were asked for, and how they are framed.

Pure. A request must never make the answer larger than the whole would have been, but for the
few lines between its parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Span = tuple[int, int]
"""First byte, and the one behind the last."""

MAX_RANGES = 16
"""Parts in one answer: more than any reader of documents asks for; who asks for more gets all."""
_UNIT = re.compile(rb"bytes[ \t]*=", re.I)
_RANGE = re.compile(rb"[ \t]*(\d{0,19})-(\d{0,19})[ \t]*")


def read_ranges(value: bytes, size: int) -> list[Span] | None:
    """Return the satisfiable spans of a Range field for *size* bytes, in the order asked for.

    ``[]``: none is satisfiable, 416. ``None``: to be ignored, because it is malformed, of another
    unit, too long, or asks for as much as all there is in more than one piece (RFC 9110 §14.2).
    """
    unit = _UNIT.match(value)
    if unit is None:
        return None
    spans: list[Span] = []
    items = value[unit.end() :].split(b",", MAX_RANGES)
    if len(items) > MAX_RANGES:
        return None
    for item in items:
        found = _RANGE.fullmatch(item)
        if found is None:
            return None
        first, last = found.groups()
        if first:
            if last and int(last) < int(first):
                return None
            if int(first) < size:
                spans.append((int(first), min(int(last) + 1, size) if last else size))
        elif not last:
            return None
        elif int(last):
            if size == 0:
                # Satisfiable, but no Content-Range can say so.
                return None
            spans.append((max(0, size - int(last)), size))
    if len(spans) > 1 and sum(stop - start for start, stop in spans) >= size:
        return None
    return spans


def content_range(span: Span, size: int) -> bytes:
    """Return the Content-Range of *span* of *size* bytes (RFC 9110 §14.4)."""
    return b"bytes %d-%d/%d" % (span[0], span[1] - 1, size)


def multipart_type(boundary: bytes) -> bytes:
    """Return the Content-Type of `multipart`."""
    return b"multipart/byteranges; boundary=" + boundary


def multipart(
    spans: Sequence[Span], size: int, media_type: bytes, boundary: bytes
) -> tuple[list[bytes | Span], int]:
    """Lay out several *spans* (RFC 9110 §14.6): return what to send in order, bytes or a span,
    and the bytes of it all."""
    plan: list[bytes | Span] = []
    total = 0
    before = b""
    for span in spans:
        head = b"%b--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % (
            before,
            boundary,
            media_type,
            content_range(span, size),
        )
        plan += (head, span)
        total += len(head) + span[1] - span[0]
        before = b"\r\n"
    end = b"\r\n--%b--\r\n" % boundary
    return [*plan, end], total + len(end)
