"""HPACK's code for strings."""

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.huffman import BadString, decode, encode

FIXED = settings(derandomize=True, deadline=None, max_examples=300)
OTHER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


class HuffmanTests(SynchronousTestCase):
    """Strings and their codes."""

    def test_examples(self) -> None:
        """The examples of RFC 7541, Appendix C.4 and C.6."""
        for text, code in [
            (b"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            (b"no-cache", "a8eb10649cbf"),
            (b"302", "6402"),
            (b"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            (b"https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
        ]:
            self.assertEqual(encode(text).hex(), code)
            self.assertEqual(decode(bytes.fromhex(code)), text)

    @FIXED
    @given(st.binary(max_size=100))
    def test_round(self, data: bytes) -> None:
        """What is encoded is decoded again, and another implementation agrees."""
        encoded = encode(data)
        self.assertEqual(decode(encoded), data)
        if data:
            self.assertEqual(encoded, OTHER.encode(data))

    def test_each_byte(self) -> None:
        """Each byte has a code, by itself and among others."""
        for byte in range(256):
            self.assertEqual(decode(encode(b"a%cb" % byte)), b"a%cb" % byte)
        self.assertEqual(decode(encode(bytes(range(256)))), bytes(range(256)))

    def test_bad(self) -> None:
        """The end's code within, too much padding, and padding that is not its beginning."""
        for data in (
            b"\xff\xff\xff\xff",
            b"\xff\xff\xff\xfc" + encode(b"a"),
            encode(b"a") + b"\xff",
            encode(b"www") + b"\xff",
            b"\x18",
            b"\x00",
        ):
            self.assertRaises(BadString, decode, data)

    @FIXED
    @given(st.binary(max_size=40))
    def test_any(self, data: bytes) -> None:
        """Any bits are a string that is encoded as just these bits, or are refused."""
        try:
            text = decode(data)
        except BadString:
            return
        self.assertEqual(encode(text), data)
