"""How many connections each process has open, in memory that all of them see.

A limit for an address holds for all processes together. Each writes its own row and reads those of
the others, so that nothing needs a lock: a sum may miss what happens in the same microsecond, which
a limit can bear. Addresses are counted by a hash with a secret key: two that share a place are
counted together, and nobody outside can find out which do.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b

ROWS = 64
"""Processes at the most: more than a small host has cores."""
PLACES = 1 << 16
"""Counters of addresses in a row: with 10,000 clients some share one, which is felt only by those
who are near the limit."""
KEY = 16
"""Bytes of the key, at the begin of the memory."""
_HEAD = KEY + 4
"""Bytes before the rows: the key, and how many rows were ever in use."""
_ROW = PLACES + 1
"""The row's numbers: all connections, then one for each place."""
_SIZE = _HEAD + 4 * _ROW * ROWS


class Tally:
    """The memory behind *descriptor*, of which *row* is written here."""

    def __init__(self, descriptor: int, row: int) -> None:
        self._map = mmap.mmap(descriptor, _SIZE)
        self._key = bytes(self._map[:KEY])
        self._used = memoryview(self._map)[KEY:_HEAD].cast("I")
        self._numbers = memoryview(self._map)[_HEAD:].cast("I")
        self._begin = row * _ROW
        self._known = 0
        self._found: tuple[int, ...] = ()

    @staticmethod
    def create() -> int:
        """Return the descriptor of new memory; it takes 256 KB for each row that is looked at."""
        descriptor = os.memfd_create("snickers-tally", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _SIZE)
        os.pwrite(descriptor, os.urandom(KEY), 0)
        return descriptor

    def use(self, row: int) -> None:
        """Have *row*, and all before it, count for everybody. For the first process alone."""
        self._used[0] = max(self._used[0], row + 1)

    def _others(self) -> tuple[int, ...]:
        """Where the rows of the others begin."""
        used = self._used[0]
        if used != self._known:
            begins = (row * _ROW for row in range(min(used, ROWS)))
            self._known = used
            self._found = tuple(begin for begin in begins if begin != self._begin)
        return self._found

    def place(self, peer: bytes) -> int:
        """Return the place of the address *peer*."""
        digest = blake2b(peer, digest_size=2, key=self._key).digest()
        return int.from_bytes(digest, "little")

    def open_elsewhere(self) -> int:
        """Return how many connections other processes have open."""
        numbers = self._numbers
        return sum([numbers[begin] for begin in self._others()])

    def count_elsewhere(self, place: int) -> int:
        """Return how many of them are from addresses of *place*."""
        numbers = self._numbers
        place += 1
        return sum([numbers[begin + place] for begin in self._others()])

    def add(self, place: int, number: int) -> None:
        """Count *number* more, or less, of *place* here."""
        numbers = self._numbers
        begin = self._begin
        numbers[begin] = max(0, numbers[begin] + number)
        place += begin + 1
        numbers[place] = max(0, numbers[place] + number)

    def clear(self, row: int) -> None:
        """Forget what the process of *row*, which is no more, had open."""
        begin = _HEAD + 4 * row * _ROW
        self._map[begin : begin + 4 * _ROW] = bytes(4 * _ROW)

    def close(self) -> None:
        """Let go of the memory."""
        self._used.release()
        self._numbers.release()
        self._map.close()
