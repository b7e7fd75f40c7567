"""Tests for `snickers.http.representation`."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from snickers.http.files import Found
from snickers.http.representation import Representation

THEN = 784111777
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def found(
    name: bytes = b"a.html",
    coding: bytes = b"",
    inode: int = 1,
    size: int = 10,
    modified: int = THEN * 10**9 + 5,
    changed: int = 0,
    settled: bool = True,
    dated: bool = True,
) -> Found:
    return Found((name, coding, 7, inode, size, modified, changed), settled, dated)


class RepresentationTests(TestCase):
    """`Representation`."""

    def test_fields(self) -> None:
        """A file has its type, its validators, and can be had in parts."""
        representation = Representation(found(), False)
        fields = dict(representation.fields)
        self.assertEqual(fields[b"Content-Type"], b"text/html; charset=utf-8")
        self.assertEqual(fields[b"Last-Modified"], DATE)
        self.assertEqual(fields[b"Accept-Ranges"], b"bytes")
        self.assertRegex(fields[b"ETag"], rb'\A"[0-9a-f]+"\Z')
        self.assertEqual(
            set(fields), {b"Content-Type", b"Last-Modified", b"Accept-Ranges", b"ETag"}
        )
        self.assertEqual(representation.fields[0][0], b"Content-Type")

    def test_not_modified(self) -> None:
        """A 304 has what RFC 9110 §15.4.5 asks for, and no type."""
        names = [name for name, _ in Representation(found(), True).not_modified]
        self.assertEqual(names, [b"ETag", b"Last-Modified", b"Vary"])

    def test_coding(self) -> None:
        """A compressed form keeps the type, says its coding, and has a tag of its own."""
        plain = Representation(found(), True)
        other = Representation(found(coding=b"br"), True)
        fields = dict(other.fields)
        self.assertEqual(fields[b"Content-Encoding"], b"br")
        self.assertEqual(fields[b"Content-Type"], b"text/html; charset=utf-8")
        self.assertEqual(fields[b"Vary"], b"Accept-Encoding")
        self.assertIn((b"Vary", b"Accept-Encoding"), plain.fields)
        self.assertNotEqual(fields[b"ETag"], dict(plain.fields)[b"ETag"])

    def test_svgz(self) -> None:
        """A file that is compressed by nature says so, in the order of the codings."""
        fields = dict(Representation(found(b"a.svgz", b"br"), True).fields)
        self.assertEqual(fields[b"Content-Encoding"], b"gzip, br")

    def test_tags_differ(self) -> None:
        """Another inode, size or time is another tag; another ctime is not."""
        states = [found(), found(inode=2), found(size=11), found(modified=THEN * 10**9 + 6)]
        tags = {Representation(state, False).validators.etag for state in states}
        self.assertEqual(len(tags), 4)
        self.assertIn(Representation(found(changed=5), False).validators.etag, tags)

    def test_unsettled(self) -> None:
        """A file that was changed a moment ago has a weak tag."""
        representation = Representation(found(settled=False), False)
        self.assertTrue(representation.validators.etag.startswith(b'W/"'))
        self.assertFalse(representation.validators.strong)

    def test_from_the_future(self) -> None:
        """A time that has not come is not sent (RFC 9110 §8.8.2.1)."""
        representation = Representation(found(dated=False), False)
        self.assertNotIn(b"Last-Modified", dict(representation.fields))
        self.assertIsNone(representation.validators.modified)


class ChooseTests(TestCase):
    """`Representation.choose`."""

    def setUp(self) -> None:
        self.representation = Representation(found(size=100), False)
        self.etag = self.representation.validators.etag

    def check(self, status: int, spans: list, method: bytes = b"GET", **fields: bytes) -> None:
        conditions = {name.replace("_", "-").encode(): value for name, value in fields.items()}
        self.assertEqual(self.representation.choose(method, conditions), (status, spans))

    def test_whole(self) -> None:
        """Without conditions, or with those that hold, it is the whole."""
        self.check(200, [])
        self.check(200, [], if_none_match=b'"x"')

    def test_ranges(self) -> None:
        """A range is for GET; what is malformed is ignored, what is outside refused."""
        self.check(206, [(0, 5)], range=b"bytes=0-4")
        self.check(206, [(0, 5), (99, 100)], range=b"bytes=0-4,-1")
        self.check(416, [], range=b"bytes=100-")
        self.check(200, [], range=b"lines=1-2")
        self.check(200, [], b"HEAD", range=b"bytes=0-4")

    def test_if_range(self) -> None:
        """A range holds only for the state that the client has."""
        self.check(206, [(0, 5)], range=b"bytes=0-4", if_range=self.etag)
        self.check(206, [(0, 5)], range=b"bytes=0-4", if_range=DATE)
        self.check(200, [], range=b"bytes=0-4", if_range=b'"x"')
        self.check(200, [], range=b"bytes=500-", if_range=b'"x"')

    def test_conditions_come_first(self) -> None:
        """A range of what the client has already, or must not get, is not sent."""
        self.check(304, [], range=b"bytes=0-4", if_none_match=self.etag)
        self.check(412, [], range=b"bytes=0-4", if_match=b'"x"')
