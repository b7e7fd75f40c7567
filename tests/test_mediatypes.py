"""Tests for `snickers.http.mediatypes`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from snickers.http.mediatypes import (
    CODINGS,
    UNKNOWN,
    accepted_codings,
    inherent_coding,
    media_type,
)

FIXED = settings(derandomize=True, deadline=None, max_examples=100)


class MediaTypeTests(TestCase):
    """`media_type` and `inherent_coding`."""

    def test_common_types(self) -> None:
        """What a site is made of has its registered type, text with its charset."""
        for name, expected in [
            (b"index.html", b"text/html; charset=utf-8"),
            (b"a/b.c/STYLE.CSS", b"text/css; charset=utf-8"),
            (b"app.mjs", b"text/javascript; charset=utf-8"),
            (b"app.js.map", b"application/json"),
            (b"a.svg", b"image/svg+xml"),
            (b"a.wasm", b"application/wasm"),
            (b"a.woff2", b"font/woff2"),
            (b"a.tar.gz", b"application/gzip"),
            (b"site.webmanifest", b"application/manifest+json"),
        ]:
            self.assertEqual(media_type(name), expected, name)

    def test_unknown(self) -> None:
        """What nobody knows, and what has no ending, is bytes."""
        for name in (b"README", b"a.", b"a.odd-ending", b"html", b"a.\xff"):
            self.assertEqual(media_type(name), UNKNOWN, name)

    def test_others_from_python(self) -> None:
        """Types that only Python's own table knows are taken from there."""
        self.assertEqual(media_type(b"a.doc"), b"application/msword")

    def test_svgz(self) -> None:
        """A compressed drawing is a drawing that is compressed."""
        self.assertEqual(media_type(b"a.svgz"), b"image/svg+xml")
        self.assertEqual(inherent_coding(b"a.SVGZ"), b"gzip")
        self.assertEqual(inherent_coding(b"a.svg"), b"")


class CodingTests(TestCase):
    """`accepted_codings`."""

    def test_order(self) -> None:
        """The client's order counts; among equals the smallest result comes first."""
        for accept, expected in [
            (b"gzip, deflate, br, zstd", [b"br", b"zstd", b"gzip"]),
            (b"gzip", [b"gzip"]),
            (b"x-gzip", [b"gzip"]),
            (b"GZIP;Q=0.5, br;q=0.1", [b"gzip", b"br"]),
            (b"br;q=0, gzip", [b"gzip"]),
            (b"*", [b"br", b"zstd", b"gzip"]),
            (b"*;q=0.5, br;q=0", [b"zstd", b"gzip"]),
            (b"identity, gzip;q=0.5", []),
            (b"identity;q=0.5, gzip", [b"gzip"]),
            (b"identity;q=0, gzip;q=0.1", [b"gzip"]),
            (b"*;q=0", []),
            (b"deflate", []),
            (b"", []),
            (b"gzip;q=2, br;q=-1, zstd;q=nan", []),
            (b"gzip;level=9", []),
            # No more is looked at than browsers say.
            (b"gzip," + b"x," * 1000 + b"br", [b"gzip"]),
        ]:
            self.assertEqual([coding for coding, _ in accepted_codings(accept)], expected, accept)

    @FIXED
    @given(st.binary(max_size=40) | st.text("gzipbr*;q=0.1, ", max_size=30).map(str.encode))
    def test_anything(self, accept: bytes) -> None:
        """Any field gives some of our codings, none twice."""
        found = accepted_codings(accept)
        self.assertLessEqual(set(found), set(CODINGS))
        self.assertEqual(len(found), len(set(found)))
