"""Tests for `snickers.http.paths`."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.paths import BadPath, Path, read_path

FIXED = settings(derandomize=True, deadline=None, max_examples=400)


class ReadPathTests(SynchronousTestCase):
    """`read_path`."""

    def test_read(self) -> None:
        """Names are decoded once; slashes in a row count as one."""
        for raw, expected in [
            (b"/", Path((), True)),
            (b"/a", Path((b"a",), False)),
            (b"/a/b/", Path((b"a", b"b"), True)),
            (b"//a///b", Path((b"a", b"b"), False)),
            (b"/%61%20b", Path((b"a b",), False)),
            (b"/%2561", Path((b"%61",), False)),
            (b"/%C3%A9", Path(("é".encode(),), False)),
            ("/é".encode(), Path(("é".encode(),), False)),
            (b"/.well-known/acme", Path((b".well-known", b"acme"), False)),
            (b"/a..b/c.", Path((b"a..b", b"c."), False)),
        ]:
            self.assertEqual(read_path(raw), expected, raw)

    def test_refused(self) -> None:
        """Broken encodings are 400; what is hidden or could be elsewhere is 404."""
        for status, paths in {
            400: [b"", b"*", b"a", b"/%", b"/%4", b"/%zz", b"/a%", b"/%ff", b"/\xff", b"/%C0%AE"],
            404: [
                b"/..",
                b"/../a",
                b"/a/../b",
                b"/.",
                b"/%2e%2e/a",
                b"/.%2E",
                b"/a%2fb",
                b"/a%2Fb",
                b"/a\\b",
                b"/%5c",
                b"/a%00",
                b"/a\x00",
                b"/a%0d%0ab",
                b"/%7f",
                b"/.git/config",
                b"/a/.env",
                b"/%2eenv",
                b"/a/.well-known/x",
                b"/.well-known/.hidden",
                b"/...",
                b"/a" * 300,
                b"/" * 300,
            ],
        }.items():
            for raw in paths:
                with self.assertRaises(BadPath, msg=raw) as caught:
                    read_path(raw)
                self.assertEqual(caught.exception.status, status, raw)

    @FIXED
    @given(st.binary(max_size=30) | st.text("/.%2efF5c\\a0", max_size=16).map(str.encode))
    def test_names_are_plain(self, raw: bytes) -> None:
        """Whatever is read is a row of plain names, which encode to what was sent."""
        try:
            path = read_path(raw)
        except BadPath:
            return
        for name in path.names:
            self.assertNotIn(name, (b"", b".", b".."))
            self.assertFalse(set(name) & set(b"/\\\0"))
            name.decode("utf-8")
        plain = [unquote_to_bytes(part) for part in raw.split(b"/") if part]
        self.assertEqual(list(path.names), plain)
