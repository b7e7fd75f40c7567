"""Heads of HTTP/2 requests: what is read, what resets the stream, what is refused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http import request2
from snickers.http.hpack import Pairs
from snickers.http.request import Refused, Request, read_request
from snickers.http.request2 import Malformed, read_fields, read_trailers

FIXED = settings(derandomize=True, deadline=None, max_examples=300)
KEY = b"MDEyMzQ1Njc4OWFiY2RlZg=="
HEAD = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"A.example:8443"),
    (b":path", b"/x?y"),
)


def read(*fields: tuple[bytes, bytes], head: Pairs = HEAD, ends: bool = True) -> Request:
    return read_fields((*head, *fields), ends, lambda: KEY, 8192, 100)


def without(name: bytes, *more: tuple[bytes, bytes]) -> Pairs:
    return (*(field for field in HEAD if field[0] != name), *more)


class RequestTests(SynchronousTestCase):
    """Good requests."""

    def test_plain(self) -> None:
        """It becomes what HTTP/1 would have said, host first."""
        request = read((b"accept", b"*/*"), (b"x-a", b"b"))
        self.assertEqual(
            (request.method, request.target, request.host, request.authority, request.version),
            (b"GET", b"/x?y", b"a.example", b"A.example:8443", 20),
        )
        self.assertEqual(request.lines, [b"Host: A.example:8443", b"accept: */*", b"x-a: b"])
        self.assertEqual((request.length, request.upgrade), (0, b""))
        self.assertEqual(request.get(b"x-a"), b"b")

    def test_same_as_before(self) -> None:
        """The same field is understood the same the second time."""
        for _ in range(2):
            request = read((b"x-forwarded-for", b"6"), (b"x-b", b"c"), (b"x_real_ip", b"6"))
            self.assertEqual(request.lines[1:], [b"x-b: c"])

    def test_long_fields_are_not_remembered(self) -> None:
        """Neither a long value nor a long name fills the memory."""
        for name, value in ((b"x-a", b"b" * 600), (b"x-" + b"a" * 600, b"b")):
            for _ in range(2):
                self.assertEqual(read((name, value)).lines[1:], [b"%b: %b" % (name, value)])
            self.assertNotIn((name, value), request2._good)

    def test_bodies(self) -> None:
        """A body of a length, of none that is known, and none."""
        self.assertEqual(read((b"content-length", b"7"), ends=False).length, 7)
        self.assertIsNone(read(ends=False).length)
        self.assertEqual(read((b"content-length", b"0")).length, 0)

    def test_cookies(self) -> None:
        """A jar that was taken apart is put together."""
        request = read((b"cookie", b"a=1"), (b"x-a", b"b"), (b"cookie", b"c=2"))
        self.assertEqual(request.get(b"cookie"), b"a=1; c=2")

    def test_host(self) -> None:
        """Host stands in for :authority, and may repeat it."""
        head = without(b":authority")
        self.assertEqual(read((b"host", b"b.example"), head=head).host, b"b.example")
        self.assertEqual(read((b"host", b"a.EXAMPLE:8443")).host, b"a.example")

    def test_trailers_are_taken(self) -> None:
        """Te may say trailers."""
        self.assertTrue(read((b"te", b"trailers")).trailers)
        self.assertFalse(read().trailers)

    def test_continue(self) -> None:
        """A client may wait for 100."""
        self.assertTrue(read((b"expect", b"100-continue"), ends=False).continues)
        self.assertFalse(read((b"expect", b"100-continue")).continues)

    def test_path(self) -> None:
        """Odd bytes are encoded; an asterisk is for OPTIONS."""
        head = without(b":path", (b":path", b"/\xc3\xa9"))
        self.assertEqual(read(head=head).target, b"/%C3%A9")
        head = ((b":method", b"OPTIONS"), (b":scheme", b"https"), (b":path", b"*"))
        self.assertEqual(read((b"host", b"a.example"), head=head).target, b"*")

    def test_websocket(self) -> None:
        """An extended CONNECT becomes the handshake that servers know (RFC 8441)."""
        head = without(b":method", (b":method", b"CONNECT"), (b":protocol", b"websocket"))
        request = read((b"sec-websocket-version", b"13"), (b"origin", b"x"), head=head, ends=False)
        self.assertEqual(
            (request.method, request.upgrade, request.length), (b"GET", b"websocket", 0)
        )
        self.assertEqual(request.get(b"sec-websocket-key"), KEY)
        self.assertEqual(request.get(b"sec-websocket-version"), b"13")
        other = read((b"sec-websocket-key", b"6"), head=head, ends=False)
        self.assertEqual(other.get(b"sec-websocket-key"), KEY)
        self.assertEqual(other.get(b"sec-websocket-version"), b"13")


class MalformedTests(SynchronousTestCase):
    """What is no request."""

    def malformed(
        self, *fields: tuple[bytes, bytes], head: Pairs = HEAD, ends: bool = True
    ) -> None:
        for _ in range(2):
            self.assertRaises(Malformed, read, *fields, head=head, ends=ends)

    def test_pseudo_fields(self) -> None:
        """Missing, repeated, unknown, late, or meant for answers."""
        for name in (b":method", b":scheme", b":path"):
            self.malformed(head=without(name))
            self.malformed(head=(*HEAD, (name, b"GET")))
        self.malformed(head=without(b":authority"))
        self.malformed(head=without(b":authority", (b":authority", b"")))
        self.malformed((b":status", b"200"))
        self.malformed((b":unknown", b"x"))
        self.malformed(head=(*HEAD[:2], (b"accept", b"*/*"), *HEAD[2:]))
        self.malformed(head=(*HEAD[:2], (b"x-forwarded-for", b"6"), *HEAD[2:]))
        self.malformed(head=without(b":path", (b":path", b"")))

    def test_names(self) -> None:
        """Upper case, blanks, controls, nothing at all."""
        for name in (b"Accept", b"a b", b"a\r\nb", b"", b"a:", b"\x00", b"\xff"):
            self.malformed((name, b"x"))

    def test_values(self) -> None:
        """Line ends, NUL, and blanks around."""
        for value in (b"a\r\nb", b"a\nb", b"a\x00", b" a", b"a\t"):
            self.malformed((b"x-a", value))

    def test_fields_of_connections(self) -> None:
        """What means a connection in HTTP/1 means nothing here."""
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding"):
            self.malformed((name, b"x"))
        self.malformed((b"upgrade", b"h2c"))
        self.malformed((b"te", b"gzip"))

    def test_hosts(self) -> None:
        """Two hosts, a host that differs, one with a user or a path."""
        self.malformed((b"host", b"b.example"))
        self.malformed((b"host", b"a.example:8443"), (b"host", b"a.example:8443"))
        for authority in (b"me@a.example", b"a.example/", b"a.example:99999", b"a example"):
            self.malformed(head=without(b":authority", (b":authority", authority)))

    def test_lengths(self) -> None:
        """Two lengths, none that is a number, one without a body."""
        self.malformed((b"content-length", b"1"), (b"content-length", b"1"), ends=False)
        for value in (b"+1", b"1,1", b"", b"x"):
            self.malformed((b"content-length", value), ends=False)
        self.malformed((b"content-length", b"1"))

    def test_targets(self) -> None:
        """Paths that are none, other schemes, methods that are no words."""
        for path in (b"x", b"/ x", b"/\x00", b"/#a", b"*", b"https://a.example/"):
            self.malformed(head=without(b":path", (b":path", path)))
        self.malformed(head=without(b":scheme", (b":scheme", b"ftp")))
        self.malformed(head=without(b":method", (b":method", b"G T")))
        self.malformed(head=(*HEAD, (b":protocol", b"websocket")))

    def test_refused(self) -> None:
        """What is a request, and is not answered by the site."""
        connect = without(b":method", (b":method", b"CONNECT"))
        for fields, head, status in [
            ([(b"x-a", b"%d" % n) for n in range(100)], HEAD, 431),
            ([], without(b":path", (b":path", b"/" + b"x" * 8192)), 414),
            ([(b"expect", b"more")], HEAD, 417),
            ([], without(b":method", (b":method", b"TRACE")), 405),
            ([], connect, 405),
            ([], ((b":method", b"CONNECT"), (b":authority", b"a.example:443")), 405),
            ([], (*connect, (b":protocol", b"connect-udp")), 501),
            (
                [(b"sec-websocket-version", b"8")],
                (*connect, (b":protocol", b"websocket")),
                426,
            ),
        ]:
            with self.assertRaises(Refused) as caught:
                read(*fields, head=head)
            self.assertEqual(caught.exception.status, status)

    def test_trailers(self) -> None:
        """Trailers are fields; those that came too late are left out."""
        self.assertEqual(
            read_trailers(((b"x-sum", b"1"), (b"authorization", b"x"), (b"host", b"a"))),
            [(b"x-sum", b"1")],
        )
        for field in ((b":path", b"/"), (b"X", b"y"), (b"x", b"y\n"), (b"connection", b"close")):
            self.assertRaises(Malformed, read_trailers, (field,))

    @FIXED
    @given(
        st.lists(
            st.tuples(
                st.one_of(
                    st.sampled_from(
                        [*dict(HEAD), b":protocol", b"host", b"cookie", b"te", b"content-length"]
                    ),
                    st.binary(max_size=6),
                ),
                st.one_of(
                    st.sampled_from([b"GET", b"https", b"/", b"a.example", b"7", b"trailers"]),
                    st.binary(max_size=12),
                ),
            ),
            max_size=8,
        ),
        st.booleans(),
    )
    def test_any(self, fields: list[tuple[bytes, bytes]], ends: bool) -> None:
        """Whatever is let through reads the same as an HTTP/1 head."""
        for head in ((), HEAD):
            try:
                request = read_fields((*head, *fields), ends, lambda: KEY, 8192, 100)
            except (Malformed, Refused):
                continue
            again = read_request(
                b"%b %b HTTP/1.1\r\n%b"
                % (request.method, request.target, b"\r\n".join(request.lines))
            )
            self.assertEqual(
                (again.method, again.target, again.host, again.lines, again.length),
                (request.method, request.target, request.host, request.lines, 0),
            )
