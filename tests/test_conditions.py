"""Tests for `snickers.http.conditions`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from snickers.http.conditions import (
    FAILED,
    GO_ON,
    NOT_MODIFIED,
    Validators,
    http_date,
    read_conditions,
    read_date,
)

FIXED = settings(derandomize=True, deadline=None, max_examples=200)
THEN = 784111777
BEFORE, AT, AFTER = http_date(THEN - 1), http_date(THEN), http_date(THEN + 1)


class DateTests(TestCase):
    """`read_date` and `http_date`."""

    def test_three_forms(self) -> None:
        """The example of RFC 9110 §5.6.7 is read in all its forms."""
        for text in (
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
        ):
            self.assertEqual(read_date(text), THEN)

    def test_two_digits(self) -> None:
        """Small two-digit years are of this century."""
        self.assertEqual(
            read_date(b"Thursday, 01-Jan-26 00:00:00 GMT"),
            read_date(b"Thu, 01 Jan 2026 00:00:00 GMT"),
        )

    def test_leap_second(self) -> None:
        """A leap second is a time."""
        self.assertIsNotNone(read_date(b"Sat, 31 Dec 2016 23:59:60 GMT"))

    def test_not_dates(self) -> None:
        """What is nearly a date is none."""
        for text in (
            b"",
            b"0",
            b"Sun, 06 Nov 1994 08:49:37",
            b"Sun, 06 Nov 1994 08:49:37 CET",
            b"Sun, 31 Feb 1994 08:49:37 GMT",
            b"Sun, 06 Foo 1994 08:49:37 GMT",
            b"Sun, 06 Nov 0000 08:49:37 GMT",
            b"Sun, 06 Nov 1994 25:49:37 GMT",
            b"Sun, 06 Nov 1994 08:49:37 GMT\n",
            b"Sun, 06 Nov 1994 08:49:37 GMT; length=3",
        ):
            self.assertIsNone(read_date(text), text)

    @FIXED
    @given(st.integers(min_value=0, max_value=4102444800))
    def test_round_trip(self, seconds: int) -> None:
        """What is written is read."""
        self.assertEqual(read_date(http_date(seconds)), seconds)

    @FIXED
    @given(st.binary(max_size=40))
    def test_anything(self, text: bytes) -> None:
        """Nothing makes it fail."""
        read_date(text)


class ReadConditionsTests(TestCase):
    """`read_conditions`."""

    def test_none(self) -> None:
        """Most requests have none."""
        self.assertIsNone(read_conditions([(b"Host", b"a"), (b"Accept", b"*/*")]))

    def test_found(self) -> None:
        """Any case is found, and what comes twice is joined."""
        self.assertEqual(
            read_conditions(
                [
                    (b"IF-None-match", b'"a"'),
                    (b"x", b""),
                    (b"if-none-match", b'"b"'),
                    (b"Range", b"r"),
                ]
            ),
            {b"if-none-match": b'"a", "b"', b"range": b"r"},
        )


class OutcomeTests(TestCase):
    """`Validators.outcome`, row by row of RFC 9110 §13.2.2."""

    validators = Validators(b'"abc"', THEN, True)

    def check(self, expected: int, validators: Validators | None = None, **fields: bytes) -> None:
        conditions = {name.replace("_", "-").encode(): value for name, value in fields.items()}
        self.assertEqual((validators or self.validators).outcome(conditions), expected, conditions)

    def test_if_match(self) -> None:
        """If-Match wants one of its tags, by strong comparison."""
        self.check(GO_ON, if_match=b"*")
        self.check(GO_ON, if_match=b'"x", "abc"')
        self.check(FAILED, if_match=b'"x"')
        self.check(FAILED, if_match=b'W/"abc"')
        self.check(FAILED, if_match=b"abc")
        self.check(FAILED, if_match=b'"x",' * 5000 + b'"abc"')

    def test_if_unmodified_since(self) -> None:
        """If-Unmodified-Since fails for a file changed later, and only without If-Match."""
        self.check(FAILED, if_unmodified_since=BEFORE)
        self.check(GO_ON, if_unmodified_since=AT)
        self.check(GO_ON, if_unmodified_since=b"yesterday")
        self.check(GO_ON, if_unmodified_since=BEFORE, if_match=b'"abc"')

    def test_if_none_match(self) -> None:
        """If-None-Match compares weakly."""
        self.check(NOT_MODIFIED, if_none_match=b'"abc"')
        self.check(NOT_MODIFIED, if_none_match=b'W/"abc"')
        self.check(NOT_MODIFIED, if_none_match=b'"x,y",W/"abc" , "z"')
        self.check(NOT_MODIFIED, if_none_match=b"*")
        self.check(GO_ON, if_none_match=b'"x"')
        self.check(GO_ON, if_none_match=b'"abcd"')
        self.check(GO_ON, if_none_match=b"abc")
        self.check(GO_ON, if_none_match=b'"x",' * 5000 + b'"abc"')

    def test_if_modified_since(self) -> None:
        """If-Modified-Since counts only without If-None-Match, and if it is a date."""
        self.check(NOT_MODIFIED, if_modified_since=AT)
        self.check(NOT_MODIFIED, if_modified_since=AFTER)
        self.check(GO_ON, if_modified_since=BEFORE)
        self.check(GO_ON, if_modified_since=b"today")
        self.check(GO_ON, if_modified_since=AFTER, if_none_match=b'"x"')
        self.check(NOT_MODIFIED, if_modified_since=BEFORE, if_none_match=b'"abc"')

    def test_failed_comes_first(self) -> None:
        """What fails is not answered by "not modified"."""
        self.check(FAILED, if_match=b'"x"', if_none_match=b'"abc"')
        self.check(FAILED, if_unmodified_since=BEFORE, if_none_match=b'"abc"')

    def test_weak(self) -> None:
        """A weak tag satisfies If-None-Match, never If-Match."""
        weak = Validators(b'W/"abc"', THEN, False)
        self.check(NOT_MODIFIED, weak, if_none_match=b'W/"abc"')
        self.check(NOT_MODIFIED, weak, if_none_match=b'"abc"')
        self.check(FAILED, weak, if_match=b'W/"abc"')
        self.check(FAILED, weak, if_match=b'"abc"')

    def test_no_date(self) -> None:
        """Without a date of the file, conditions by date are ignored."""
        dateless = Validators(b'"abc"', None, True)
        self.check(GO_ON, dateless, if_modified_since=AFTER)
        self.check(GO_ON, dateless, if_unmodified_since=BEFORE)


class StillTests(TestCase):
    """`Validators.still`: If-Range."""

    def test_tag(self) -> None:
        """The very tag holds, no other, no weak one."""
        validators = Validators(b'"abc"', THEN, True)
        self.assertTrue(validators.still(b'"abc"'))
        self.assertFalse(validators.still(b'"x"'))
        self.assertFalse(validators.still(b'W/"abc"'))
        self.assertFalse(Validators(b'W/"abc"', THEN, False).still(b'W/"abc"'))

    def test_date(self) -> None:
        """The very date holds, no later one, and none of a file that is still changing."""
        validators = Validators(b'"abc"', THEN, True)
        self.assertTrue(validators.still(AT))
        self.assertFalse(validators.still(AFTER))
        self.assertFalse(validators.still(b"odd"))
        self.assertFalse(Validators(b'W/"abc"', THEN, False).still(AT))
        self.assertFalse(Validators(b'"abc"', None, True).still(AT))
