"""Lines of the access log, in each form."""

from __future__ import annotations

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http import logforms
from snickers.http.logforms import FORMS, MAX_KNOWN, Combined, Json, VHost, Words, escape
from snickers.http.request import no_request, read_request

FIXED = settings(derandomize=True, deadline=None, max_examples=200)
COMBINED = re.compile(
    rb'(\S+) - (\S+) \[\d\d/\w\w\w/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "([ -~]*)" (\d+) (\d+) '
    rb'"([ -~]*)" "([ -~]*)"'
)


class Over:
    """An exchange that is over."""

    site = "a.example"
    id = b"t-1"
    peer = b"192.0.2.1"
    secure = True
    status = 200
    sent = 1
    began = 0.0
    took = 0.0

    def __init__(self, request: object, user: bytes = b"") -> None:
        self.request = request
        self.user = user


class Carried:
    """A connection that was carried unopened."""

    peer = b"192.0.2.1"
    site = "a.example"
    name = b"www.a.example"
    result = "carried"
    received = 3
    sent = 4
    took = 1.5


class LineTests(SynchronousTestCase):
    """Any bytes of a client make one well-formed line."""

    @FIXED
    @given(st.binary(max_size=60))
    def test_escape(self, value: bytes) -> None:
        """What is escaped is printable, has no quote, and can be read back."""
        escaped = escape(value)
        self.assertRegex(escaped, rb"\A[ !#-~]*\Z")
        back = re.sub(rb"\\x(..)", lambda m: bytes([int(m[1], 16)]), escaped)
        self.assertEqual(back, value)

    def test_said_often(self) -> None:
        """Of fields that come again and again the first one counts; the others are not escaped."""
        request = read_request(b"GET / HTTP/1.1\r\nHost: a.example")
        request.lines = [b"User-Agent: " + b'"' * 600, *[b"user-agent: %d" % n for n in range(9)]]
        written: list[bytes] = []
        words = Words(lambda value: written.append(value) or value)
        self.assertEqual(words.find(request.lines), (b"", b'"' * 600))
        self.assertEqual(written, [b'"' * 600])

    @FIXED
    @given(st.binary(max_size=60))
    def test_text(self, value: bytes) -> None:
        """A JSON string shows what is no UTF-8 by its codes, in the midst of what is."""
        shown = json.loads(logforms._text(value))
        self.assertEqual(shown, value.decode("utf-8", "backslashreplace"))

    @FIXED
    @given(
        st.binary(max_size=30),
        st.binary(max_size=30).filter(lambda b: not set(b) & set(b"\r\n\0")),
    )
    def test_any(self, user: bytes, agent: bytes) -> None:
        """Whatever a client says of itself, it is one line of the form."""
        request = read_request(b"GET / HTTP/1.1\r\nHost: a.example")
        request.lines = [*request.lines, b"User-Agent: " + agent]
        for asked in (request, no_request()):
            combined, plain = (
                b"".join(form.line(Over(asked, user), form.time(0.0), form.said(asked)))
                for form in (Combined(), Json())
            )
            self.assertIsNotNone(COMBINED.fullmatch(combined[:-1]))
            for line in (combined, plain):
                self.assertEqual(line.find(b"\n"), len(line) - 1)
            self.assertIsInstance(json.loads(plain), dict)

    def test_same_again(self) -> None:
        """What is remembered of a line says the same, and is bounded."""
        form = Combined()
        for number in range(MAX_KNOWN + 2):
            request = read_request(b"GET / HTTP/1.1\r\nHost: a.example\r\nReferer: %d" % number)
            said = form.said(request)
            self.assertEqual(said, form.said(request))
            self.assertEqual(said[1], b' "%d" "-"\n' % number)

    def test_forms(self) -> None:
        """The forms are what the configuration offers."""
        self.assertEqual(FORMS, {"combined": Combined, "vhost": VHost, "json": Json})

    def test_vhost(self) -> None:
        """The site and the port stand before what is a line of the other form."""
        request = read_request(b"GET /x HTTP/1.1\r\nHost: www.a.example")
        for site, secure, before in (
            ("a.example", True, b"a.example:443 "),
            ("a.example", False, b"a.example:80 "),
            ("", True, b"-:443 "),
        ):
            over = Over(request)
            over.site, over.secure = site, secure
            line, plain = (
                b"".join(form.line(over, form.time(0.0), form.said(request)))
                for form in (VHost(), Combined())
            )
            self.assertEqual(line, before + plain)
        carried = Carried()
        self.assertEqual(
            VHost().carried(carried, b"now"),
            b"a.example:443 " + Combined().carried(carried, b"now"),
        )
