"""Header fields of HTTP/2, compressed (RFC 7541): read from a client, written for it.

Pure. A block that changes nothing in the table means the same as long as the table does not change:
such blocks, which is what a busy client sends, are remembered whole in both directions. This module
must never hold more than the sizes it was given, or do more work for a block than its bytes allow.
"""

from __future__ import annotations

import re
from collections import deque

from snickers.http.huffman import BadString
from snickers.http.huffman import decode as read_code

Pairs = tuple[tuple[bytes, bytes], ...]
"""Names and values in order; names in lower case."""

OVERHEAD = 32
"""Bytes that a field counts beside its name and value (§4.1)."""
TABLE_SIZE = 4096
"""Bytes of a table unless something else was agreed (RFC 9113 §6.5.2)."""
MAX_CONTINUATIONS = 4
"""Bytes behind the first one of an integer: no size here needs more than 28 bits."""
MAX_KNOWN = 64
"""Blocks, or lists of fields, that are remembered."""
MAX_KNOWN_BLOCK = 1024
"""Bytes of a block that is worth remembering."""
MAX_KNOWN_FIELDS = 32768
"""Bytes of the fields that are remembered each way, counted as in a table: a block of small codes
can stand for many fields, and every connection may have one made to be remembered."""
MAX_KNOWN_STRING = 128
"""Bytes of a string whose meaning is remembered: decoding costs a tenth of a microsecond a byte."""
MAX_KNOWN_STRINGS = 4096

STATIC: Pairs = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)
"""RFC 7541, Appendix A; the first one has the index 1."""

_FIRST_DYNAMIC = len(STATIC) + 1
_NAMES: dict[bytes, int] = {}
for _index in range(len(STATIC), 0, -1):
    _NAMES[STATIC[_index - 1][0]] = _index
_FIELDS = {field: index for index, field in enumerate(STATIC, 1)}

_NEVER_AGAIN = frozenset(
    {
        b"content-length",
        b"content-range",
        b"etag",
        b"last-modified",
        b"location",
        b"age",
        b"x-request-id",
    }
)
"""Fields whose value seldom comes twice on a connection: they would only push others out."""
_SECRET = frozenset({b"set-cookie", b"authorization", b"www-authenticate", b"proxy-authenticate"})
"""Fields that no intermediary may put into a table (§7.1.3)."""


_RUN = re.compile(rb"[\x81-\xfe]+")
"""Fields of one byte each."""


class HeaderError(Exception):
    """The block cannot be read; the connection is of no use any more (COMPRESSION_ERROR)."""


class HeadersTooLarge(Exception):
    """The fields are more than was allowed. The table is as the block left it."""


_strings: dict[bytes, bytes] = {}
"""What coded strings mean: clients say the same ones again and again."""


def _read_string(code: bytes) -> bytes:
    known = _strings.get(code)
    if known is not None:
        return known
    try:
        text = read_code(code)
    except BadString as bad:
        raise HeaderError(str(bad)) from None
    if len(code) <= MAX_KNOWN_STRING:
        if len(_strings) >= MAX_KNOWN_STRINGS:
            _strings.clear()
        _strings[code] = text
    return text


class Decoder:
    """Reads a client's blocks, in order.

    *table_size* is what we have announced (SETTINGS_HEADER_TABLE_SIZE), *list_size* the most bytes
    of a list of fields, counted as RFC 9113 §6.5.2 does.
    """

    __slots__ = ("_kept", "_known", "_limit", "_list_size", "_size", "_table", "_used")

    def __init__(self, table_size: int = TABLE_SIZE, list_size: int = 65536) -> None:
        self._limit = table_size
        self._size = table_size
        self._list_size = list_size
        self._table: deque[tuple[bytes, bytes]] = deque()
        self._used = 0
        self._known: dict[bytes, Pairs] = {}
        self._kept = 0
        """Bytes of the fields in `_known`."""

    def decode(self, block: bytes) -> Pairs:
        """Return the fields of *block*; the same object again for a block that comes again.

        Raises `HeaderError`, or `HeadersTooLarge` when the whole block was read.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        fields: list[tuple[bytes, bytes]] = []
        total = 0
        changed = False
        position = 0
        end = len(block)
        while position < end:
            byte = block[position]
            if byte & 0x80:  # §6.1: indexed
                if total > self._list_size and (run := _RUN.match(block, position)) is not None:
                    # It is too much already: that they exist is all that still counts.
                    self._field(max(run[0]) & 0x7F)
                    position = run.end()
                    continue
                if byte != 0xFF:
                    index = byte & 0x7F
                    position += 1
                else:
                    index, position = _integer(block, position, 0x7F)
                field = self._field(index)
            elif byte & 0x40:  # §6.2.1: literal, to be put into the table
                index, position = _integer(block, position, 0x3F)
                field, position = self._literal(block, position, index)
                self._insert(field)
                changed = True
            elif byte & 0x20:  # §6.3: another size of the table
                if fields or total:
                    raise HeaderError("the table's size changes within a block")
                size, position = _integer(block, position, 0x1F)
                if size > self._limit:
                    raise HeaderError("the table grows beyond what was announced")
                self._size = size
                self._evict(0)
                changed = True
                continue
            else:  # §6.2.2, §6.2.3: literal, not to be put there
                index, position = _integer(block, position, 0x0F)
                field, position = self._literal(block, position, index)
            total += len(field[0]) + len(field[1]) + OVERHEAD
            if total <= self._list_size:
                fields.append(field)
        if changed:
            self._known.clear()
            self._kept = 0
        if total > self._list_size:
            raise HeadersTooLarge
        pairs = tuple(fields)
        if not changed and end <= MAX_KNOWN_BLOCK and total <= MAX_KNOWN_FIELDS:
            self._kept += total
            if len(self._known) >= MAX_KNOWN or self._kept > MAX_KNOWN_FIELDS:
                self._known.clear()
                self._kept = total
            self._known[block] = pairs
        return pairs

    def remembers(self, block: bytes) -> bool:
        """Say whether *block* has just the meaning that it had, and `decode` returns that again."""
        return block in self._known

    def _field(self, index: int) -> tuple[bytes, bytes]:
        if index < _FIRST_DYNAMIC:
            if not index:
                raise HeaderError("a field has the index 0")
            return STATIC[index - 1]
        index -= _FIRST_DYNAMIC
        if index >= len(self._table):
            raise HeaderError("a field has an index that the table does not have")
        return self._table[index]

    def _literal(self, block: bytes, position: int, index: int) -> tuple[tuple[bytes, bytes], int]:
        if index:
            name = self._field(index)[0]
        else:
            name, position = _string(block, position)
        value, position = _string(block, position)
        return (name, value), position

    def _insert(self, field: tuple[bytes, bytes]) -> None:
        size = len(field[0]) + len(field[1]) + OVERHEAD
        self._evict(size)
        if size <= self._size:
            self._table.appendleft(field)
            self._used += size

    def _evict(self, room: int) -> None:
        """Make *room*; a field that finds none empties the table (§4.4)."""
        table = self._table
        while table and self._used + room > self._size:
            name, value = table.pop()
            self._used -= len(name) + len(value) + OVERHEAD


def _integer(block: bytes, position: int, most: int) -> tuple[int, int]:
    """Return the integer at *position* whose first byte has room up to *most*, and where it ends
    (§5.1)."""
    value = block[position] & most
    position += 1
    if value < most:
        return value, position
    shift = 0
    try:
        for _ in range(MAX_CONTINUATIONS):
            byte = block[position]
            position += 1
            value += (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
    except IndexError:
        raise HeaderError("the block ends within a number") from None
    raise HeaderError("a number is too long")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """Return the string at *position* and where it ends (§5.2)."""
    try:
        coded = block[position] & 0x80
    except IndexError:
        raise HeaderError("the block ends where a string begins") from None
    length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise HeaderError("the block ends within a string")
    data = block[position:end]
    return (_read_string(data) if coded else data), end


class Encoder:
    """Writes our blocks, in order. Strings are sent plain: what comes again is in the table."""

    __slots__ = (
        "_announce",
        "_inserted",
        "_kept",
        "_known",
        "_numbers",
        "_size",
        "_table",
        "_used",
    )

    def __init__(self) -> None:
        self._size = TABLE_SIZE
        self._table: deque[tuple[bytes, bytes]] = deque()
        self._used = 0
        self._inserted = 0
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        """Which insertion each field of the table was."""
        self._known: dict[int, tuple[Pairs, bytes]] = {}
        """Blocks by the identity of their list of fields, which is kept with them."""
        self._kept = 0
        """Bytes of the fields in `_known`."""
        self._announce: list[int] = []

    def set_table_size(self, size: int) -> None:
        """Obey the client's SETTINGS_HEADER_TABLE_SIZE; more than `TABLE_SIZE` is not used."""
        size = min(size, TABLE_SIZE)
        if size != self._size or self._announce:
            # §4.2: the least of several changes must be said, too.
            self._announce = [min([size, *self._announce]), size]
            self._size = size
            self._evict(0)
            self._forget()

    def encode(self, fields: Pairs) -> bytes:
        """Return the block of *fields*. Whoever gives the same object again gets it for less."""
        known = self._known.get(id(fields))
        if known is not None and known[0] is fields:
            return known[1]
        before = self._inserted
        pieces: list[bytes] = []
        if self._announce:
            low, size = self._announce
            self._announce = []
            if low != size:
                pieces.append(_number(low, 0x1F, 0x20))
            pieces.append(_number(size, 0x1F, 0x20))
            before = -1
        numbers = self._numbers
        for field in fields:
            index = _FIELDS.get(field)
            if index is not None:
                pieces.append(_INDEXED[index])
                continue
            number = numbers.get(field)
            if number is not None:
                pieces.append(_number(_FIRST_DYNAMIC + self._inserted - number, 0x7F, 0x80))
                continue
            name, value = field
            if name in _SECRET:
                pieces.append(_number(_NAMES.get(name, 0), 0x0F, 0x10))
            elif name in _NEVER_AGAIN or (len(name) + len(value) + OVERHEAD) * 2 > self._size:
                # One that fills the table would push out all that comes again.
                pieces.append(_number(_NAMES.get(name, 0), 0x0F, 0x00))
            else:
                pieces.append(_number(_NAMES.get(name, 0), 0x3F, 0x40))
                self._insert(field)
            if name not in _NAMES:
                pieces.append(_number(len(name), 0x7F, 0x00))
                pieces.append(name)
            pieces.append(_number(len(value), 0x7F, 0x00))
            pieces.append(value)
        block = b"".join(pieces)
        if self._inserted != before:
            self._forget()
        elif len(block) <= MAX_KNOWN_BLOCK:
            self._remember(fields, block)
        return block

    def _remember(self, fields: Pairs, block: bytes) -> None:
        size = sum([len(name) + len(value) + OVERHEAD for name, value in fields])
        if size > MAX_KNOWN_FIELDS:
            return
        if len(self._known) >= MAX_KNOWN or self._kept + size > MAX_KNOWN_FIELDS:
            self._forget()
        self._kept += size
        self._known[id(fields)] = fields, block

    def _forget(self) -> None:
        self._known.clear()
        self._kept = 0

    def _insert(self, field: tuple[bytes, bytes]) -> None:
        """Put *field* into the table, which has room for two of it."""
        size = len(field[0]) + len(field[1]) + OVERHEAD
        self._evict(size)
        self._inserted += 1
        self._table.appendleft(field)
        self._numbers[field] = self._inserted
        self._used += size

    def _evict(self, room: int) -> None:
        table = self._table
        while table and self._used + room > self._size:
            field = table.pop()
            del self._numbers[field]
            self._used -= len(field[0]) + len(field[1]) + OVERHEAD


def _number(value: int, most: int, flags: int) -> bytes:
    """Return *value* as an integer whose first byte has room up to *most*, and *flags* (§5.1)."""
    if value < most:
        return bytes((flags | value,))
    value -= most
    written = [flags | most]
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


_INDEXED = [_number(index, 0x7F, 0x80) for index in range(len(STATIC) + 1)]
