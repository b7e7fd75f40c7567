"""The chunked transfer coding (RFC 9112 §7.1), read strictly and written simply.

Pure. It must never pass on a chunk head as it came: what is forwarded is framed anew, so that a
reader with other ideas about sizes, signs, white space or extensions has nothing to disagree on.
"""

from __future__ import annotations

import re

from snickers.http.head import MAX_HEAD, read_trailers
from snickers.interfaces.exchange import Fields

MAX_CHUNK_HEAD = 256
"""Bytes of a chunk's size and extensions; nobody uses extensions, abuse does."""

_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")

_PLAIN_HEAD = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")

_SIZE, _DATA, _DATA_END, _TRAILERS, _END = range(5)


class BadChunk(ValueError):
    """The bytes are not in the chunked coding; where the message ends is unknown."""


class ChunkReader:
    """Takes the bytes of a chunked body in pieces of any size."""

    __slots__ = ("_held", "_left", "_state", "trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._held = b""
        self.trailers: Fields = []

    @property
    def ended(self) -> bool:
        """Whether the last chunk and the trailers were read."""
        return self._state == _END

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Take *data*; return the pieces of the body in it, and what lies behind the body's end.

        Raises `BadChunk`.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        at = 0
        size = len(data)
        while True:
            if self._state == _DATA:
                take = min(self._left, size - at)
                if take:
                    pieces.append(data[at : at + take] if take != size else data)
                    at += take
                    self._left -= take
                if self._left:
                    return pieces, b""
                self._state = _DATA_END
            if self._state == _DATA_END:
                end = data[at : at + 2]
                if end != b"\r\n":
                    if end not in (b"", b"\r"):
                        raise BadChunk("a chunk does not end where its size says")
                    self._held = end
                    return pieces, b""
                at += 2
                self._state = _SIZE
            if self._state == _SIZE:
                # Whole chunks without extensions first: a client may send each byte as one.
                while (match := _PLAIN_HEAD.match(data, at)) is not None:
                    start = match.end()
                    end_at = start + int(match[1], 16)
                    if end_at == start or data[end_at : end_at + 2] != b"\r\n":
                        break
                    pieces.append(data[start:end_at])
                    at = end_at + 2
                stop = data.find(b"\r\n", at, at + MAX_CHUNK_HEAD + 2)
                if stop < 0:
                    if size - at > MAX_CHUNK_HEAD + 1:
                        raise BadChunk("a chunk head is too long")
                    if b"\n" in data[at:]:
                        raise BadChunk("a chunk head ends in a bare line feed")
                    self._held = data[at:]
                    return pieces, b""
                match = _CHUNK_HEAD.fullmatch(data, at, stop)
                if match is None:
                    raise BadChunk("a chunk's size is not a hexadecimal number")
                at = stop + 2
                self._left = int(match[1], 16)
                self._state = _DATA if self._left else _TRAILERS
                continue
            # _TRAILERS
            if data[at : at + 2] == b"\r\n":
                self._state = _END
                return pieces, data[at + 2 :]
            stop = data.find(b"\r\n\r\n", at)
            if stop < 0:
                if size - at > MAX_HEAD:
                    raise BadChunk("the trailers are too long")
                self._held = data[at:]
                return pieces, b""
            try:
                self.trailers = read_trailers(data[at:stop])
            except ValueError as error:
                raise BadChunk(str(error)) from None
            self._state = _END
            return pieces, data[stop + 4 :]


def chunk(data: bytes) -> bytes:
    """Return *data*, which must not be empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields | None = None) -> bytes:
    """Return the end of a chunked body, with its *trailers*."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % field for field in trailers)
