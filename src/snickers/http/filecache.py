"""Small files in memory, ready to be sent: the least recently used go first.

One `FileCache` is a budget of bytes that the `Shelf` of each site shares. Nothing here looks at
a file or a clock, and no request can make it hold more than its budget.
"""

from __future__ import annotations

from collections.abc import Hashable

from snickers.http.files import Found, Signature
from snickers.http.representation import Representation

LIMIT = 32 * 1024 * 1024
"""Bytes by default: some five hundred of the largest files that are kept at all."""
SLOT_COST = 1024
"""Bytes a slot is counted for besides the file itself: fields, keys and the objects around."""


class Kept:
    """A small file with what is said of it."""

    __slots__ = ("body", "fields", "length", "representation", "settled", "signature", "uses")

    def __init__(self, found: Found, body: bytes, representation: Representation) -> None:
        self.signature = found.signature
        self.settled = found.settled
        self.body = body
        self.representation = representation
        # The same again, one look-up nearer to those who want the whole file.
        self.length = representation.length
        self.fields = representation.fields
        self.uses = 0
        """Slots that hold it."""


class Slot:
    """What a key of one shelf stands for, and when that was last seen to be true."""

    __slots__ = ("checked", "cost", "kept", "key", "shelf")

    def __init__(self, shelf: Shelf, key: Hashable, kept: Kept, checked: float, cost: int) -> None:
        self.shelf = shelf
        self.key = key
        self.kept = kept
        self.checked = checked
        self.cost = cost


class FileCache:
    """A budget of *limit* bytes for files in memory."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.size = 0
        """Bytes counted now."""
        self._order: dict[Slot, None] = {}

    def used(self, slot: Slot) -> None:
        """Put *slot* last among those to go."""
        if self._order.pop(slot, self) is None:
            self._order[slot] = None

    def add(self, slot: Slot) -> None:
        """Take a new slot, and let others go for it."""
        self._order[slot] = None
        while self.size > self.limit:
            oldest = next(iter(self._order))
            oldest.shelf.drop(oldest)

    def remove(self, slot: Slot) -> None:
        """Forget *slot*."""
        self._order.pop(slot, None)


class Shelf:
    """The files of one site in a `FileCache`: `slots` by key. Several keys may share a file."""

    __slots__ = ("_cache", "_kept", "slots")

    def __init__(self, cache: FileCache) -> None:
        self._cache = cache
        self._kept: dict[Signature, Kept] = {}
        self.slots: dict[Hashable, Slot] = {}

    def put(self, key: Hashable, kept: Kept, now: float, key_size: int) -> None:
        """Let *key*, of *key_size* bytes, stand for *kept* as seen at *now*."""
        old = self.slots.get(key)
        if old is not None:
            self.drop(old)
        known = self._kept.get(kept.signature)
        if known is not None and known.settled and kept.settled:
            kept = known
        elif known is None:
            self._kept[kept.signature] = kept
        if kept.uses == 0:
            self._cache.size += kept.length
        kept.uses += 1
        slot = Slot(self, key, kept, now, SLOT_COST + key_size)
        self._cache.size += slot.cost
        self.slots[key] = slot
        self._cache.add(slot)

    def seen(self, slot: Slot, now: float) -> None:
        """What *slot* says was true at *now*."""
        slot.checked = now
        self._cache.used(slot)

    def drop(self, slot: Slot) -> None:
        """Forget *slot*, and its file if no other slot has it."""
        if self.slots.get(slot.key) is not slot:
            return
        del self.slots[slot.key]
        self._cache.remove(slot)
        self._cache.size -= slot.cost
        kept = slot.kept
        kept.uses -= 1
        if kept.uses == 0:
            self._cache.size -= kept.length
            if self._kept.get(kept.signature) is kept:
                del self._kept[kept.signature]

    def clear(self) -> None:
        """Forget all."""
        for slot in list(self.slots.values()):
            self.drop(slot)
