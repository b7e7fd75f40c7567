"""Tests for `snickers.http.ranges`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from snickers.http.ranges import MAX_RANGES, content_range, multipart, read_ranges

FIXED = settings(derandomize=True, deadline=None, max_examples=300)


class ReadRangesTests(TestCase):
    """`read_ranges`."""

    def test_single(self) -> None:
        """One range of any form becomes one span within the file."""
        for value, expected in [
            (b"bytes=0-0", (0, 1)),
            (b"bytes=2-5", (2, 6)),
            (b"bytes=7-", (7, 10)),
            (b"bytes=7-99", (7, 10)),
            (b"bytes=-3", (7, 10)),
            (b"bytes=-99", (0, 10)),
            (b"Bytes = 2 - 5".replace(b" - ", b"-"), (2, 6)),
        ]:
            self.assertEqual(read_ranges(value, 10), [expected], value)

    def test_unsatisfiable(self) -> None:
        """A range behind the end, or of no bytes, is none; 416 if all are."""
        for value in (b"bytes=10-", b"bytes=10-20", b"bytes=-0", b"bytes=10-,11-"):
            self.assertEqual(read_ranges(value, 10), [], value)
        self.assertEqual(read_ranges(b"bytes=20-30,1-1", 10), [(1, 2)])
        self.assertEqual(read_ranges(b"bytes=0-", 0), [])

    def test_empty_file(self) -> None:
        """The end of an empty file is all of it."""
        self.assertIsNone(read_ranges(b"bytes=-5", 0))

    def test_ignored(self) -> None:
        """What is malformed or of another unit is as if it were not there."""
        for value in (
            b"",
            b"bytes",
            b"bytes=",
            b"bytes=-",
            b"bytes=5-2",
            b"bytes=a-b",
            b"bytes=1",
            b"bytes=+1-2",
            b"bytes=1-2;3-4",
            b"bytes=1-2,",
            b"bytes=1-2,x",
            b"rows=1-2",
            b"bytes=" + b"9" * 25 + b"-",
            "bytes=\u0661-".encode(),
        ):
            self.assertIsNone(read_ranges(value, 10), value)

    def test_several(self) -> None:
        """Several are kept in the order asked for."""
        self.assertEqual(read_ranges(b"bytes=5-6, 0-0 ,-1", 10), [(5, 7), (0, 1), (9, 10)])

    def test_bounds(self) -> None:
        """Too many ranges, or as many bytes as the whole, get the whole."""
        many = b"bytes=" + b",".join(b"%d-%d" % (2 * i, 2 * i) for i in range(MAX_RANGES))
        self.assertEqual(len(read_ranges(many, 1000) or []), MAX_RANGES)
        self.assertIsNone(read_ranges(many + b",99-99", 1000))
        self.assertIsNone(read_ranges(b"bytes=0-,0-,0-", 1000))
        self.assertIsNone(read_ranges(b"bytes=0-4,5-9", 10))

    @FIXED
    @given(
        st.binary(max_size=20).map(b"bytes=".__add__)
        | st.text("0123456789-, ", max_size=30).map(lambda text: b"bytes=" + text.encode()),
        st.integers(0, 200),
    )
    def test_never_more_than_the_whole(self, value: bytes, size: int) -> None:
        """Spans are never empty, never outside, and never more than the file together."""
        spans = read_ranges(value, size)
        for start, stop in spans or []:
            self.assertTrue(0 <= start < stop <= size)
        self.assertLessEqual(sum(stop - start for start, stop in spans or []), size)


class MultipartTests(TestCase):
    """`multipart` and `content_range`."""

    def test_layout(self) -> None:
        """Parts are framed as in the example of RFC 9110 §15.3.7.2, and counted."""
        plan, length = multipart([(0, 3), (5, 6)], 10, b"text/plain", b"XX")
        body = b"".join(b"0123456789"[p[0] : p[1]] if isinstance(p, tuple) else p for p in plan)
        self.assertEqual(
            body,
            b"--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-2/10\r\n\r\n012"
            b"\r\n--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-5/10\r\n\r\n5"
            b"\r\n--XX--\r\n",
        )
        self.assertEqual(length, len(body))

    def test_content_range(self) -> None:
        """The last byte is named, not the one behind it."""
        self.assertEqual(content_range((0, 1), 10), b"bytes 0-0/10")
