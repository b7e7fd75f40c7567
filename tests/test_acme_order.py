"""Orders as values, and what is to be done about them."""

from __future__ import annotations

import json

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.order import (
    ACTS,
    LIFE,
    Act,
    Answer,
    Order,
    Status,
    Step,
    act,
    from_text,
    to_text,
    usable,
)

TEXT = st.text(max_size=20)
ANSWERS = st.builds(Answer, TEXT, TEXT, TEXT, TEXT)
ORDERS = st.builds(
    Order,
    site=TEXT,
    directory=TEXT,
    account=TEXT,
    names=st.lists(TEXT, max_size=3).map(tuple),
    challenge=TEXT,
    key=TEXT,
    begun=st.floats(0, 1e10),
    profile=TEXT,
    replaces=TEXT,
    step=st.sampled_from(Step),
    url=TEXT,
    answers=st.lists(ANSWERS, max_size=2).map(tuple),
)

ORDER = Order(
    site="a.example",
    directory="https://ca.example/directory",
    account="https://ca.example/account/1",
    names=("a.example", "www.a.example"),
    challenge="http-01",
    key="the private key",
    begun=1000.0,
)


class ActTests(SynchronousTestCase):
    def test_table(self) -> None:
        """An order that was not asked for is placed, one that may have been is looked for, one that
        is there is asked after and then does as the authority says."""
        self.assertEqual(act(ORDER, Status.UNKNOWN), Act.CREATE)
        self.assertEqual(act(evolve(ORDER, step=Step.ASKED), Status.UNKNOWN), Act.SEARCH)
        placed = evolve(ORDER, step=Step.OPEN)
        self.assertEqual(
            [act(placed, status) for status in Status],
            [Act.LOOK, Act.PROVE, Act.FINALIZE, Act.WAIT, Act.FETCH, Act.GIVE_UP],
        )

    def test_never_twice(self) -> None:
        """Only an order of which nothing was asked is placed without a look."""
        creating = [key for key, todo in ACTS.items() if todo is Act.CREATE]
        self.assertEqual(creating, [(Step.NEW, Status.UNKNOWN)])

    def test_no_status_without_a_place(self) -> None:
        """What has no address has no status."""
        for step in (Step.NEW, Step.ASKED):
            for status in set(Status) - {Status.UNKNOWN}:
                self.assertRaises(KeyError, act, evolve(ORDER, step=step), status)


class UsableTests(SynchronousTestCase):
    def test_usable(self) -> None:
        """An order goes on for the same names, in any order, of the same account, while the
        authority knows it."""
        account, names = ORDER.account, ORDER.names
        self.assertTrue(usable(ORDER, names, account, 1000.0))
        self.assertTrue(usable(ORDER, names[::-1], account, 1000.0 + LIFE - 1))
        self.assertFalse(usable(ORDER, names, account, 1000.0 + LIFE))
        self.assertFalse(usable(ORDER, names[:1], account, 1000.0))
        self.assertFalse(usable(ORDER, (*names, "b.example"), account, 1000.0))
        self.assertFalse(usable(ORDER, names, "https://ca.example/account/2", 1000.0))


class TextTests(SynchronousTestCase):
    @given(ORDERS)
    def test_round(self, order: Order) -> None:
        """What is stored is read as it was."""
        self.assertEqual(from_text(to_text(order)), order)

    @given(st.text() | st.recursive(st.none() | TEXT, st.lists).map(json.dumps))
    def test_anything(self, text: str) -> None:
        """Any other text is none, and nothing worse."""
        self.assertRaises(ValueError, from_text, text)

    def test_lacking(self) -> None:
        """An order that lacks something, or has too much, is none."""
        said = json.loads(to_text(ORDER))
        for name in said:
            less = {other: value for other, value in said.items() if other != name}
            if name in ("profile", "replaces", "url"):
                from_text(json.dumps(less))
            else:
                self.assertRaises(ValueError, from_text, json.dumps(less))
        self.assertRaises(ValueError, from_text, json.dumps({**said, "more": 1}))
        self.assertRaises(ValueError, from_text, json.dumps({**said, "step": "far"}))

    def test_no_key_in_words(self) -> None:
        """What is printed of an order shows neither its key nor its proofs."""
        order = evolve(ORDER, answers=(Answer("http-01", "a.example", "t", "the proof"),))
        self.assertNotIn("private", repr(order))
        self.assertNotIn("the proof", repr(order))
