"""Heads of answers from upstreams."""

from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.answer import BadAnswer, read_answer
from snickers.http.head import (
    CHUNKED,
    MAX_FIELDS,
    UNTIL_CLOSE,
)

KEY = b64encode(b"0123456789abcdef")


def answer(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET"):
    """Read an answer to *method* of *first* and *lines*."""
    return read_answer(b"\r\n".join([first, *lines]), method)


class AnswerTests(SynchronousTestCase):
    """What an upstream's answer head says."""

    def test_framing(self) -> None:
        """RFC 9112 §6.3: no body, a number of bytes, chunked, or until the end."""
        length = b"Content-Length: 7"
        chunked = b"Transfer-Encoding: chunked"
        for lines, first, method, framing, announced in [
            ([length], b"HTTP/1.1 200 OK", b"GET", 7, 7),
            ([chunked], b"HTTP/1.1 200 OK", b"GET", CHUNKED, None),
            ([], b"HTTP/1.1 200 OK", b"GET", UNTIL_CLOSE, None),
            ([length], b"HTTP/1.1 200 OK", b"HEAD", 0, 7),
            ([chunked], b"HTTP/1.1 200 OK", b"HEAD", 0, None),
            ([length], b"HTTP/1.1 204 No Content", b"GET", 0, 7),
            ([length], b"HTTP/1.1 304 Not Modified", b"GET", 0, 7),
            ([], b"HTTP/1.1 100 Continue", b"POST", 0, None),
        ]:
            read = answer(*lines, first=first, method=method)
            self.assertEqual((read.framing, read.length), (framing, announced), (lines, first))

    def test_keep_alive(self) -> None:
        """A connection is kept as its version and Connection say, never after until-close."""
        length = b"Content-Length: 7"
        self.assertTrue(answer(length).keep_alive)
        self.assertFalse(answer(length, b"Connection: close").keep_alive)
        self.assertFalse(answer().keep_alive)
        self.assertFalse(answer(length, first=b"HTTP/1.0 200 OK").keep_alive)
        kept = answer(length, b"Connection: keep-alive", first=b"HTTP/1.0 200 OK")
        self.assertTrue(kept.keep_alive)

    def test_hop_by_hop_fields_are_removed(self) -> None:
        """Fields for one hop, and framing, are ours to say."""
        read = answer(
            b"Content-Length: 0",
            b"Connection: X-Hop",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=5",
            b"Date: today",
            b"X-Kept: 1",
        )
        self.assertEqual(read.lines, [b"Date: today", b"X-Kept: 1"])
        self.assertTrue(read.dated)

    def test_statuses(self) -> None:
        """A reason is optional, and any status of three digits will do."""
        self.assertEqual(answer(first=b"HTTP/1.1 299").status, 299)
        self.assertEqual(answer(first=b"HTTP/1.1 200 ").reason, b"")
        self.assertEqual(answer(first=b"HTTP/1.1 404 Not Found").reason, b"Not Found")

    def test_bad_answers(self) -> None:
        """What is ambiguous is refused, as in requests."""
        length = b"Content-Length: 7"
        chunked = b"Transfer-Encoding: chunked"
        for lines, first in [
            ([length, length], b"HTTP/1.1 200 OK"),
            ([length, chunked], b"HTTP/1.1 200 OK"),
            ([b"Content-Length: x"], b"HTTP/1.1 200 OK"),
            ([b"Transfer-Encoding: gzip"], b"HTTP/1.1 200 OK"),
            ([chunked, chunked], b"HTTP/1.1 200 OK"),
            ([chunked], b"HTTP/1.0 200 OK"),
            ([b"X: a\r\n b"], b"HTTP/1.1 200 OK"),
            ([b"X: a\nb"], b"HTTP/1.1 200 OK"),
            ([b"X : a"], b"HTTP/1.1 200 OK"),
            ([b"X"], b"HTTP/1.1 200 OK"),
            ([b"X: \x00"], b"HTTP/1.1 200 OK"),
            ([b"X: a"] * (MAX_FIELDS + 1), b"HTTP/1.1 200 OK"),
            ([], b"HTTP/1.1 20 OK"),
            ([], b"HTTP/1.1 2000 OK"),
            ([], b"HTTP/1.1 999 OK"),
            ([], b"HTTP/2 200 OK"),
            ([], b"ICY 200 OK"),
            ([], b""),
        ]:
            self.assertRaises(BadAnswer, answer, *lines, first=first)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        """Whatever the bytes, they are an answer or a bad one."""
        for head in [data, b"HTTP/1.1 200 OK\r\n" + data]:
            try:
                read_answer(head, b"GET")
            except BadAnswer as bad:
                self.assertTrue(bad.reason)
