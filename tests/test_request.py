"""Heads of requests: what is read, what is refused, what is forwarded."""

from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.head import (
    MAX_FIELD,
    MAX_FIELDS,
    MAX_REQUEST_LINE,
)
from snickers.http.request import Refused, Request, forwarding, read_request, websocket_accept

KEY = b64encode(b"0123456789abcdef")


def request(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a.example"):
    """Read a request of *first*, *host* (if any) and *lines*."""
    return read_request(b"\r\n".join([first, *([host] if host else []), *lines]))


class RequestTests(SynchronousTestCase):
    """What a good request head says."""

    def test_plain(self) -> None:
        """A browser's request is read, its end-to-end fields kept as they came."""
        read = request(b"Accept: */*", b"Connection: keep-alive", b"Cookie: a=b; c=d")
        self.assertEqual(
            (read.method, read.target, read.host, read.version, read.length, read.keep_alive),
            (b"GET", b"/", b"a.example", 11, 0, True),
        )
        self.assertEqual(read.lines, [b"Host: a.example", b"Accept: */*", b"Cookie: a=b; c=d"])
        self.assertEqual(read.get(b"cookie"), b"a=b; c=d")
        self.assertIsNone(read.get(b"connection"))

    def test_keep_alive(self) -> None:
        """HTTP/1.1 keeps the connection unless told not to, HTTP/1.0 only when asked."""
        for version, connection, expected in [
            (b"1.1", None, True),
            (b"1.1", b"close", False),
            (b"1.1", b"Keep-Alive, Close", False),
            (b"1.0", None, False),
            (b"1.0", b"Keep-Alive", True),
        ]:
            lines = [b"Connection: " + connection] if connection else []
            read = request(*lines, first=b"GET / HTTP/" + version)
            self.assertEqual(read.keep_alive, expected, (version, connection))

    def test_hosts(self) -> None:
        """The host is compared without case, port and the root's dot."""
        for value, host in [
            (b"A.Example", b"a.example"),
            (b"a.example:8443", b"a.example"),
            (b"a.example.", b"a.example"),
            (b"a.example.:443", b"a.example"),
            (b"[::1]:8443", b"[::1]"),
            (b"127.0.0.1", b"127.0.0.1"),
        ]:
            read = request(host=b"Host: " + value)
            self.assertEqual((read.host, read.authority), (host, value))

    def test_absolute_target_counts_for_the_host(self) -> None:
        """RFC 9112 §3.2.2: the target's authority replaces the Host field, also when forwarded."""
        read = request(first=b"GET https://b.example:8443/x?y HTTP/1.1")
        self.assertEqual((read.host, read.target), (b"b.example", b"/x?y"))
        self.assertEqual(read.lines, [b"Host: b.example:8443"])
        self.assertEqual(request(first=b"GET http://b.example HTTP/1.1").target, b"/")
        self.assertEqual(request(first=b"GET http://b.example?q HTTP/1.1").target, b"/?q")

    def test_asterisk(self) -> None:
        """OPTIONS may ask about the server as a whole."""
        self.assertEqual(request(first=b"OPTIONS * HTTP/1.1").target, b"*")

    def test_bytes_beyond_ascii_in_a_target_are_encoded(self) -> None:
        """What sloppy clients send raw is forwarded percent-encoded."""
        read = request(first="GET /é HTTP/1.1".encode())
        self.assertEqual(read.target, b"/%C3%A9")

    def test_bodies(self) -> None:
        """Content-Length gives a number, chunked an unknown length."""
        post = b"POST / HTTP/1.1"
        self.assertEqual(request(b"Content-Length: 12", first=post).length, 12)
        self.assertEqual(request(b"content-length:0", first=post).length, 0)
        self.assertIsNone(request(b"Transfer-Encoding: Chunked", first=post).length)

    def test_expect(self) -> None:
        """100-continue is waited for only where there is a body and the version knows it."""
        post = b"POST / HTTP/1.1"
        expect = b"Expect: 100-Continue"
        self.assertTrue(request(expect, b"Content-Length: 1", first=post).continues)
        self.assertFalse(request(expect, first=post).continues)
        old = request(expect, b"Content-Length: 1", first=b"POST / HTTP/1.0")
        self.assertFalse(old.continues)

    def test_spoofed_fields_are_removed(self) -> None:
        """What only Snickers may say of a client is removed, look-alikes included."""
        read = request(
            b"X-Forwarded-For: 1.2.3.4",
            b"x-forwarded-whatever: x",
            b"X_Forwarded_For: 1.2.3.4",
            b"Forwarded: for=1.2.3.4",
            b"X-Real-IP: 1.2.3.4",
            b"X_Real_IP: 1.2.3.4",
            b"X.Forwarded~For: 1.2.3.4",
            b"X-Real*IP: 1.2.3.4",
            b"X-Forwarded: 1.2.3.4",
            b"Forwarded.For: 1.2.3.4",
            b"Transfer!Encoding: chunked",
            b"Proxy: http://evil.example",
            b"Content_Length: 5",
            b"Transfer_Encoding: chunked",
            b"X-Kept: yes",
        )
        self.assertEqual(read.lines, [b"Host: a.example", b"X-Kept: yes"])
        self.assertEqual(read.length, 0)

    def test_hop_by_hop_fields_are_removed(self) -> None:
        """Fields for one hop go no further, those that Connection names neither."""
        read = request(
            b"Connection: close, X-Hop, Host",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"Proxy-Authorization: Basic eDp5",
            b"Upgrade: h2c",
            b"HTTP2-Settings: x",
        )
        self.assertEqual(read.lines, [b"Host: a.example"])
        self.assertTrue(read.trailers)
        self.assertEqual(read.upgrade, b"")

    def test_websocket(self) -> None:
        """A WebSocket handshake is recognised (RFC 6455 §4.2.1)."""
        read = request(
            b"Connection: keep-alive, Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + KEY,
        )
        self.assertEqual(read.upgrade, b"websocket")
        self.assertEqual(read.get(b"sec-websocket-key"), KEY)

    def test_upgrade_without_connection_is_none(self) -> None:
        """An Upgrade that Connection does not name is not for us (RFC 9110 §7.8)."""
        self.assertEqual(request(b"Upgrade: websocket").upgrade, b"")

    def test_websocket_accept(self) -> None:
        """The example of RFC 6455 §1.3."""
        self.assertEqual(
            websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        )


class RefusedTests(SynchronousTestCase):
    """Heads that are refused, by what they are refused with."""

    def refused(self, status: int, *lines: bytes, **arguments: bytes) -> None:
        """Assert that the head gets *status*."""
        error = self.assertRaises(Refused, request, *lines, **arguments)
        self.assertEqual(error.status, status, (lines, arguments, error.reason))
        self.assertTrue(error.reason)

    def test_lengths(self) -> None:
        """Two framings, or a length that is no number (RFC 9112 §6)."""
        post = b"POST / HTTP/1.1"
        length = b"Content-Length: 5"
        chunked = b"Transfer-Encoding: chunked"
        self.refused(400, length, chunked, first=post)
        self.refused(400, chunked, length, first=post)
        self.refused(400, length, length, first=post)
        for value in [b"", b"+5", b"-5", b"0x5", b"5_0", b"5, 5", b"5 5", b"9" * 19, b"\xb2"]:
            self.refused(400, b"Content-Length: " + value, first=post)

    def test_codings(self) -> None:
        """Chunked is the only coding, last, once, and not in HTTP/1.0."""
        for value, status in [
            (b"chunked, chunked", 400),
            (b"chunked, gzip", 400),
            (b"gzip", 400),
            (b"identity", 400),
            (b"gzip, chunked", 501),
            (b"xchunked", 501),
            (b"", 400),
            (b"chunked;x=y", 400),
            (b"\x0bchunked", 400),
        ]:
            self.refused(status, b"Transfer-Encoding: " + value, first=b"POST / HTTP/1.1")
        self.refused(400, b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0")
        self.refused(
            400,
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: chunked",
            first=b"POST / HTTP/1.1",
        )

    def test_characters(self) -> None:
        """Folded lines, bare line ends, NUL and other controls (RFC 9112 §2.2, §5.2)."""
        for line in [
            b"X: a\r\n folded",
            b"X: a\nY: b",
            b"X: a\rY: b",
            b"X: a\x00b",
            b"X: a\x0bb",
            b"X: a\x7fb",
            b" X: a",
            b"\tX: a",
        ]:
            self.refused(400, line)
        self.refused(400, first=b"GET / \nHTTP/1.1")
        self.refused(400, first=b"GET /\x00 HTTP/1.1")
        # A server that splits at any white space would see another target, or another version.
        self.refused(400, first=b"GET /a\tHTTP/1.0 HTTP/1.1")

    def test_names(self) -> None:
        """White space before the colon, no name, no colon, illegal characters (§5.1)."""
        for line in [
            b"X : a",
            b"Host : b.example",
            b": a",
            b"X",
            b"X(y): a",
            b"\xc3\xa9: a",
            b"X\t: a",
        ]:
            self.refused(400, line)

    def test_hosts(self) -> None:
        """Host missing, twice, empty, or more than a host and a port (§3.2)."""
        self.refused(400, host=b"")
        self.refused(400, host=b"", first=b"GET / HTTP/1.0")
        self.refused(400, b"Host: a.example")
        for value in [
            b"",
            b"a.example/x",
            b"user@a.example",
            b"a.example:80:80",
            b"a.example:port",
            b"a.example:123456",
            b"a.example:65536",
            b"a b",
            b"a,b",
            b"[::1",
            b"..",
        ]:
            self.refused(400, host=b"Host: " + value)

    def test_request_lines(self) -> None:
        """Anything but METHOD TARGET VERSION with one space between."""
        for first in [
            b"GET /",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET / http/1.1",
            b"GET / HTTP/11",
            b"G(T / HTTP/1.1",
            b"GET x HTTP/1.1",
            b"GET * HTTP/1.1",
            b"GET /#x HTTP/1.1",
            b"GET ftp://a.example/ HTTP/1.1",
            b"GET https:///x HTTP/1.1",
            b"",
        ]:
            self.refused(400, first=first)
        self.refused(505, first=b"GET / HTTP/2.0")
        self.refused(405, first=b"CONNECT /x HTTP/1.1")
        self.refused(405, first=b"TRACE / HTTP/1.1")

    def test_sizes(self) -> None:
        """Too long a request line, too long a field, too many fields."""
        self.refused(414, first=b"GET /" + b"a" * MAX_REQUEST_LINE + b" HTTP/1.1")
        self.refused(431, b"X: " + b"a" * MAX_FIELD)
        self.refused(431, *[b"X: a"] * MAX_FIELDS)

    def test_expectations(self) -> None:
        """An expectation that nobody knows."""
        self.refused(417, b"Expect: a-miracle")

    def test_websockets(self) -> None:
        """A malformed handshake, and one of another version."""
        good = [
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + KEY,
        ]
        self.refused(400, *good[:3])
        self.refused(400, *good[:3], b"Sec-WebSocket-Key: short")
        self.refused(400, *good, good[3])
        self.refused(400, *good, first=b"POST / HTTP/1.1")
        self.refused(400, *good, b"Content-Length: 3")
        self.refused(426, *good[:2], good[3], b"Sec-WebSocket-Version: 8")
        self.refused(426, *good[:2], good[3])

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        """Whatever the bytes, they are a request or they are refused."""
        for head in [data, b"GET / HTTP/1.1\r\nHost: a.example\r\n" + data]:
            try:
                read = read_request(head)
            except Refused as refused:
                self.assertIn(refused.status, (400, 405, 414, 417, 426, 431, 501, 505))
            else:
                self.assertIsInstance(read, Request)
                for line in read.lines:
                    self.assertNotIn(b"\r", line)
                    self.assertNotIn(b"\n", line)
                    self.assertIn(b":", line)

    def test_hosts_without_end(self) -> None:
        """However many lines and hosts were asked for before, a good head stays a good head."""
        for number in range(10_000):
            request(b"X-Number: %d" % (number // 3), host=b"Host: %d.example" % number)
            self.assertEqual(request().host, b"a.example")

    def test_remembered_names_are_judged_alike(self) -> None:
        """A field name that was seen before gets the same answer as at first."""
        for _ in range(2):
            self.refused(400, b"X-Seen")
            self.assertEqual(request(b"X-Seen: 1").get(b"x-seen"), b"1")


class ForwardingTests(SynchronousTestCase):
    """What a site is told of its client."""

    def test_lines(self) -> None:
        """All of them, in lines that end."""
        self.assertEqual(
            forwarding(b"192.0.2.1", True, b"a.example:8443"),
            b"X-Forwarded-For: 192.0.2.1\r\n"
            b"X-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Host: a.example:8443\r\n"
            b'Forwarded: for=192.0.2.1;host="a.example:8443";proto=https\r\n'
            b"Via: 1.1 snickers\r\n",
        )

    def test_ipv6_is_quoted(self) -> None:
        """RFC 7239 §6: an IPv6 address stands in brackets and quotes."""
        self.assertIn(b'for="[2001:db8::1]";', forwarding(b"2001:db8::1", False, b"a.example"))
