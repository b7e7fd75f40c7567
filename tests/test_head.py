"""What the heads of requests and answers have in common."""

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from snickers.http.head import (
    in_ascii,
    plain,
    read_trailers,
)

KEY = b64encode(b"0123456789abcdef")


class TrailerTests(SynchronousTestCase):
    """Fields behind a chunked body."""

    def test_fields(self) -> None:
        """Good ones are kept; those that frame, route or authorise are left out."""
        block = b"X-Sum: 1\r\nContent-Length: 5\r\nSet-Cookie: a\r\nX_Forwarded_For: b\r\nY:z"
        block += b"\r\nX.Real.IP: c\r\nX-Forwarded+For: d"
        self.assertEqual(read_trailers(block), [(b"X-Sum", b"1"), (b"Y", b"z")])
        self.assertEqual(read_trailers(b""), [])

    def test_in_ascii(self) -> None:
        """A target's bytes beyond ASCII are encoded, the others stay."""
        self.assertEqual(in_ascii(b"/%C3?a b~"), b"/%C3?a b~")
        self.assertEqual(in_ascii("/é".encode()), b"/%C3%A9")

    def test_plain(self) -> None:
        """Names that a server may take for each other are the same."""
        for name in (b"X-Real-IP", b"x_real_ip", b"X.Real!IP"):
            self.assertEqual(plain(name), b"x-real-ip")

    def test_malformed(self) -> None:
        """What is no field is an error."""
        for block in [b"x", b"a b: c", b"a: b\n c: d", b"a: \x00", b"\r\n".join([b"a: b"] * 101)]:
            self.assertRaises(ValueError, read_trailers, block)
