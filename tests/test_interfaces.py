"""What passes between the rooms: it cannot be changed on the way, keeps secrets from logs, can
cross a process, and what is counted in several of them adds up.
"""

from __future__ import annotations

import pickle
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

from snickers import interfaces
from snickers.config.values import Settings
from snickers.interfaces import BOUNDS, NO_TRAFFIC, Change, Submitted, TakenIn, Traffic

NUMBERS = st.integers(0, 2**40)
# Seconds that binary fractions hold exactly: their sum does not depend on the order.
SECONDS = NUMBERS.map(lambda number: number / 1024)
TRAFFIC = st.builds(
    Traffic,
    st.dictionaries(st.sampled_from((101, 200, 204, 304, 404, 503)), NUMBERS).map(
        lambda codes: tuple(sorted(codes.items()))
    ),
    st.lists(NUMBERS, min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1).map(tuple),
    SECONDS,
    NUMBERS,
    NUMBERS,
)


def here(kind: type) -> list[Any]:
    """Return what the module defines that is a *kind*."""
    return [
        each
        for each in vars(interfaces).values()
        if isinstance(each, kind) and each.__module__ == interfaces.__name__
    ]


class ValueTests(SynchronousTestCase):
    """Values."""

    def test_frozen(self) -> None:
        """None can be changed by whom it is given to."""
        values = [each for each in here(type) if attrs.has(each)]
        self.assertIn(Traffic, values)
        for each in values:
            value = object.__new__(each)
            for name in attrs.fields_dict(each):
                with self.assertRaises(attrs.exceptions.FrozenInstanceError, msg=each.__name__):
                    setattr(value, name, None)

    def test_secrets(self) -> None:
        """A key is in no line of a log that shows the value, nor is what may hold one."""
        for value in (
            Submitted(b"certificate", b"s3cret"),
            TakenIn(undone=(("key.pem", "s3cret", True),)),
        ):
            self.assertNotIn("s3cret", repr(value))

    def test_cross_a_process(self) -> None:
        """What may cross a process is the same on the other side."""
        traffic = Traffic(((200, 3),), tuple(range(len(BOUNDS) + 1)), 0.5, 3, 4)
        change = Change(Settings(state="/state"), removed=("a.example",), default="b.example")
        for value in (traffic, change):
            self.assertEqual(pickle.loads(pickle.dumps(value)), value)


class TrafficTests(SynchronousTestCase):
    """What several processes have counted of one site."""

    def test_sum(self) -> None:
        """Each number is added to its like; a status that only one has met is kept."""
        empty = (0,) * len(BOUNDS)
        one = Traffic(((200, 1), (404, 5)), (1, *empty), 0.5, 3, 4)
        other = Traffic(((101, 1), (200, 2)), (*empty, 2), 20.0, 1, 1)
        expected = Traffic(
            ((101, 1), (200, 3), (404, 5)), (1, *empty[1:], 2), 20.5, received=4, sent=5
        )
        self.assertEqual(one + other, expected)

    @given(TRAFFIC, TRAFFIC, TRAFFIC)
    def test_order(self, a: Traffic, b: Traffic, c: Traffic) -> None:
        """In whatever order processes are asked, and whether they have counted anything, the sum is
        the same."""
        self.assertEqual(a + b, b + a)
        self.assertEqual((a + b) + c, a + (b + c))
        self.assertEqual(a + NO_TRAFFIC, a)

    def test_other_bounds(self) -> None:
        """What was counted in other steps is not added up to nonsense."""
        self.assertRaises(ValueError, lambda: Traffic(buckets=(1,)) + NO_TRAFFIC)

    def test_bounds(self) -> None:
        """The steps rise, and there is one bucket more, for what took longer than all."""
        self.assertEqual(sorted(set(BOUNDS)), list(BOUNDS))
        self.assertEqual(len(NO_TRAFFIC.buckets), len(BOUNDS) + 1)


class InterfaceTests(SynchronousTestCase):
    """Interfaces."""

    def test_said(self) -> None:
        """Each says what it is for, and each call what it does."""
        found = here(InterfaceClass)
        self.assertGreater(len(found), 10)
        for each in found:
            self.assertTrue(each.__doc__, each.__name__)
            for name, what in each.namesAndDescriptions():
                self.assertTrue(what.__doc__, f"{each.__name__}.{name}")
