"""Tests for `snickers.http.filecache`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from snickers.http.filecache import SLOT_COST, FileCache, Kept, Shelf
from snickers.http.files import Found
from snickers.http.representation import Representation

FIXED = settings(derandomize=True, deadline=None, max_examples=150)


def kept(name: bytes = b"a", size: int = 10, state: int = 1, settled: bool = True) -> Kept:
    found = Found((name, b"", 1, 2, size, state, state), settled, True, body=b"x" * size)
    return Kept(found, found.body, Representation(found, False))


class FileCacheTests(TestCase):
    """`FileCache` and its shelves."""

    def test_kept(self) -> None:
        """What is put is found, with the fields and the length of its representation."""
        cache = FileCache()
        shelf = Shelf(cache)
        file = kept()
        shelf.put(b"/a", file, 5.0, 2)
        slot = shelf.slots[b"/a"]
        self.assertIs(slot.kept, file)
        self.assertEqual(slot.checked, 5.0)
        self.assertEqual((file.length, file.fields), (10, file.representation.fields))
        self.assertEqual(cache.size, 10 + 2 + SLOT_COST)

    def test_shared_by_keys(self) -> None:
        """Two keys of one file share its bytes, which are counted once, until both are gone."""
        cache = FileCache()
        shelf = Shelf(cache)
        shelf.put(b"/", kept(), 0.0, 0)
        shelf.put(b"/a", kept(), 0.0, 0)
        self.assertIs(shelf.slots[b"/"].kept, shelf.slots[b"/a"].kept)
        self.assertEqual(cache.size, 10 + 2 * SLOT_COST)
        shelf.drop(shelf.slots[b"/"])
        self.assertEqual(cache.size, 10 + SLOT_COST)
        shelf.drop(shelf.slots[b"/a"])
        self.assertEqual(cache.size, 0)

    def test_unsettled_is_not_shared(self) -> None:
        """Two reads of a file that is changing may differ: each key has its own."""
        shelf = Shelf(FileCache())
        shelf.put(b"/", kept(settled=False), 0.0, 0)
        shelf.put(b"/a", kept(settled=False), 0.0, 0)
        shelf.put(b"/b", kept(), 0.0, 0)
        self.assertEqual(len({id(slot.kept) for slot in shelf.slots.values()}), 3)

    def test_replaced(self) -> None:
        """A newer state takes the place of the older, whose bytes are let go."""
        cache = FileCache()
        shelf = Shelf(cache)
        shelf.put(b"/a", kept(size=100), 0.0, 0)
        shelf.put(b"/a", kept(size=7, state=2), 1.0, 0)
        self.assertEqual(cache.size, 7 + SLOT_COST)
        self.assertEqual(shelf.slots[b"/a"].kept.length, 7)

    def test_oldest_go_first(self) -> None:
        """When the budget is spent, those go that were not seen for longest, on any shelf."""
        cache = FileCache(3 * (SLOT_COST + 10))
        one, two = Shelf(cache), Shelf(cache)
        one.put(b"/1", kept(b"1"), 0.0, 0)
        two.put(b"/2", kept(b"2"), 0.0, 0)
        one.put(b"/3", kept(b"3"), 0.0, 0)
        one.seen(one.slots[b"/1"], 9.0)
        self.assertEqual(one.slots[b"/1"].checked, 9.0)
        two.put(b"/4", kept(b"4"), 0.0, 0)
        self.assertEqual((set(one.slots), set(two.slots)), ({b"/1", b"/3"}, {b"/4"}))

    def test_larger_than_the_budget(self) -> None:
        """What does not fit at all is not kept."""
        cache = FileCache(100)
        shelf = Shelf(cache)
        shelf.put(b"/a", kept(), 0.0, 0)
        self.assertEqual((shelf.slots, cache.size), ({}, 0))

    def test_dropped_twice(self) -> None:
        """A slot that has gone already can be dropped or seen again without harm."""
        cache = FileCache()
        shelf = Shelf(cache)
        shelf.put(b"/a", kept(), 0.0, 0)
        slot = shelf.slots[b"/a"]
        shelf.clear()
        shelf.drop(slot)
        shelf.seen(slot, 1.0)
        self.assertEqual(cache.size, 0)
        shelf.put(b"/b", kept(size=5), 0.0, 0)
        self.assertEqual(cache.size, 5 + SLOT_COST)

    @FIXED
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["put", "drop", "seen", "clear"]),
                st.integers(0, 1),
                st.integers(0, 5),
                st.integers(0, 3),
                st.booleans(),
            ),
            max_size=40,
        )
    )
    def test_accounts(self, steps: list[tuple[str, int, int, int, bool]]) -> None:
        """Whatever happens, what is counted is what is held, and within the budget."""
        cache = FileCache(6000)
        shelves = Shelf(cache), Shelf(cache)
        for what, which, key, state, settled in steps:
            shelf = shelves[which]
            slot = shelf.slots.get(key)
            if what == "put":
                shelf.put(key, kept(b"%d" % (key // 2), 900 * state, state, settled), 0.0, 3)
            elif what == "clear":
                shelf.clear()
            elif slot is not None:
                if what == "drop":
                    shelf.drop(slot)
                else:
                    shelf.seen(slot, 1.0)
            slots = [slot for shelf in shelves for slot in shelf.slots.values()]
            bodies = {id(slot.kept): slot.kept.length for slot in slots}
            self.assertEqual(cache.size, sum(slot.cost for slot in slots) + sum(bodies.values()))
            self.assertLessEqual(cache.size, cache.limit)
            self.assertEqual(set(cache._order), set(slots))
