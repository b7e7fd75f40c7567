"""Header fields of HTTP/2, compressed: read as RFC 7541 says, written so that others read it."""

from __future__ import annotations

import hpack as other
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http import hpack
from snickers.http.hpack import Decoder, Encoder, HeaderError, HeadersTooLarge
from snickers.http.huffman import encode as code

FIXED = settings(derandomize=True, deadline=None, max_examples=200)
NAMES = st.sampled_from(
    [b":status", b"content-type", b"etag", b"set-cookie", b"x-a", b"x-b", b"date", b"server"]
)
VALUES = st.one_of(
    st.sampled_from([b"", b"200", b"text/html", b"a", b"b" * 100, b"c" * 5000]),
    st.binary(max_size=40),
)
LISTS = st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=8).map(tuple), max_size=12)


def read(*blocks: str, **sizes: int) -> list[object]:
    """Decode hexadecimal *blocks* by one decoder."""
    decoder = Decoder(**sizes)
    return [decoder.decode(bytes.fromhex(block)) for block in blocks]


REQUESTS = [
    (
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
    ),
    (
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ),
    (
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ),
]
ANSWERS = [
    (
        (b":status", b"302"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (b"location", b"https://www.example.com"),
    ),
    (
        (b":status", b"307"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (b"location", b"https://www.example.com"),
    ),
]


class DecoderTests(SynchronousTestCase):
    """What blocks say."""

    def test_literals(self) -> None:
        """RFC 7541, Appendix C.2."""
        self.assertEqual(
            read(
                "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
                "040c2f73616d706c652f70617468",
                "100870617373776f726406736563726574",
                "82",
            ),
            [
                ((b"custom-key", b"custom-header"),),
                ((b":path", b"/sample/path"),),
                ((b"password", b"secret"),),
                ((b":method", b"GET"),),
            ],
        )

    def test_requests(self) -> None:
        """RFC 7541, Appendix C.3 and C.4: a table that grows, strings plain and coded."""
        plain = [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ]
        coded = [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ]
        self.assertEqual(read(*plain), REQUESTS)
        self.assertEqual(read(*coded), REQUESTS)

    def test_eviction(self) -> None:
        """RFC 7541, Appendix C.5: fields fall out of a table of 256 bytes."""
        blocks = [
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a3231"
            "20474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
        ]
        self.assertEqual(read(*blocks, table_size=256), ANSWERS)

    def test_remembered(self) -> None:
        """A block that changes nothing is the same object again, until the table changes."""
        decoder = Decoder()
        add = bytes.fromhex("400178017a")
        decoder.decode(add)
        first = decoder.decode(b"\x82\xbe")
        self.assertTrue(decoder.remembers(b"\x82\xbe"))
        self.assertFalse(decoder.remembers(add))
        self.assertIs(decoder.decode(b"\x82\xbe"), first)
        decoder.decode(bytes.fromhex("4001780179"))
        self.assertFalse(decoder.remembers(b"\x82\xbe"))
        self.assertEqual(decoder.decode(b"\x82\xbe")[1], (b"x", b"y"))
        self.assertEqual(decoder.decode(b"\x82\xbf")[1], (b"x", b"z"))

    def test_bad(self) -> None:
        """What is no block ends the connection."""
        for block, words in [
            ("80", "index 0"),
            ("be", "index that the table"),
            ("ff80", "within a number"),
            ("ff8080808001", "too long"),
            ("ffffffffff7f", "too long"),
            ("40", "where a string begins"),
            ("4003", "within a string"),
            ("400161", "where a string begins"),
            ("3fe21f", "beyond what was announced"),
            ("823f00", "within a block"),
            ("000161" + "84" + "ffffffff", "end-of-string"),
            ("000161" + "81" + "00", "does not end"),
        ]:
            with self.assertRaises(HeaderError, msg=block) as caught:
                read(block)
            self.assertIn(words, str(caught.exception))

    def test_sizes(self) -> None:
        """The table may be made smaller, and as large again as was announced, by a block."""
        add = "40" + "0161" + "0162"
        self.assertEqual(read(add, "be"), [((b"a", b"b"),)] * 2)
        self.assertEqual(read(add, "203fe11f" + "82"), [((b"a", b"b"),), ((b":method", b"GET"),)])
        self.assertRaises(HeaderError, read, add, "203fe11f" + "be")

    def test_too_large(self) -> None:
        """A list beyond its limit is refused, and the table is right all the same."""
        decoder = Decoder(list_size=100)
        entry = b"\x40\x01a\x32" + b"x" * 50
        self.assertEqual(decoder.decode(entry), ((b"a", b"x" * 50),))
        self.assertRaises(HeadersTooLarge, decoder.decode, b"\xbe\xbe" + b"\x40\x01b\x01c")
        self.assertEqual(decoder.decode(b"\xbe"), ((b"b", b"c"),))
        self.assertRaises(HeadersTooLarge, decoder.decode, b"\xbf" * 100_000)
        # What is no field is an error, also where nothing is kept any more.
        self.assertRaises(HeaderError, decoder.decode, b"\xbf" * 100 + b"\xc0" + b"\xbf")
        self.assertRaises(HeaderError, decoder.decode, b"\xbf" * 100 + b"\x80" + b"\xbf")
        self.assertRaises(HeaderError, decoder.decode, b"\xbf" * 100 + b"\xff\x05" + b"\xbf")

    @FIXED
    @given(LISTS)
    def test_another_encoder(self, lists: list[hpack.Pairs]) -> None:
        """What another implementation writes is read, block after block."""
        encoder = other.Encoder()
        decoder = Decoder(list_size=1 << 20)
        for n, fields in enumerate(lists):
            block = encoder.encode(list(fields), huffman=bool(n % 2))
            self.assertEqual(decoder.decode(block), fields)

    @FIXED
    @given(st.lists(st.binary(max_size=60), max_size=6))
    def test_any(self, blocks: list[bytes]) -> None:
        """Any bytes are read or refused, and the table never holds more than it may."""
        decoder = Decoder(table_size=200, list_size=300)
        for block in blocks:
            try:
                decoder.decode(block)
            except HeadersTooLarge:
                pass
            except HeaderError:
                return
            held = sum(len(name) + len(value) + 32 for name, value in decoder._table)
            self.assertEqual(held, decoder._used)
            self.assertLessEqual(held, 200)

    def test_bounded(self) -> None:
        """What is remembered is bounded, whatever a client sends."""
        decoder = Decoder()
        for n in range(10_000):
            value = b"%d" % n
            coded = code(value)
            decoder.decode(b"\x00\x01a" + bytes((0x80 | len(coded),)) + coded)
        self.assertLessEqual(len(decoder._known), hpack.MAX_KNOWN)
        self.assertLessEqual(len(hpack._strings), hpack.MAX_KNOWN_STRINGS)

    def test_bounded_fields(self) -> None:
        """Blocks whose few bytes stand for many fields are remembered to a size, too."""
        decoder = Decoder()
        most = 0
        for n in range(200):
            decoder.decode(b"\x82" * 300 + b"\x00\x01a\x02%02d" % (n % 100))
            held = sum(len(a) + len(b) + 32 for p in decoder._known.values() for a, b in p)
            self.assertEqual(held, decoder._kept)
            most = max(most, held)
        self.assertLessEqual(most, hpack.MAX_KNOWN_FIELDS)
        self.assertGreater(most, hpack.MAX_KNOWN_FIELDS // 2)
        decoder.decode(b"\x40\x01a\x01b")
        self.assertEqual((decoder._known, decoder._kept), ({}, 0))
        decoder.decode(b"\x82" * 900)
        self.assertEqual(decoder._known, {})


class EncoderTests(SynchronousTestCase):
    """What is written."""

    @FIXED
    @given(LISTS)
    def test_another_decoder(self, lists: list[hpack.Pairs]) -> None:
        """Another implementation, and ours, read what is written, block after block."""
        encoder = Encoder()
        theirs = other.Decoder(max_header_list_size=1 << 20)
        ours = Decoder(list_size=1 << 20)
        for fields in lists:
            for _ in range(2):
                block = encoder.encode(fields)
                self.assertEqual(ours.decode(block), fields)
                self.assertEqual(
                    tuple((bytes(n), bytes(v)) for n, v in theirs.decode(block, raw=True)), fields
                )

    @FIXED
    @given(st.lists(st.one_of(st.integers(0, 10_000), LISTS.filter(bool)), max_size=8))
    def test_table_sizes(self, acts: list[object]) -> None:
        """A client may change the size of its table at any time, also several times."""
        encoder = Encoder()
        theirs = other.Decoder(max_header_list_size=1 << 20)
        theirs.max_allowed_table_size = 10_000
        for act in acts:
            if isinstance(act, int):
                encoder.set_table_size(act)
                continue
            for fields in act:
                got = theirs.decode(encoder.encode(fields), raw=True)
                self.assertEqual(tuple((bytes(n), bytes(v)) for n, v in got), fields)

    def test_again(self) -> None:
        """The same answer again is a few bytes, and the same block object."""
        encoder = Encoder()
        fields = ((b":status", b"200"), (b"server", b"x"), (b"content-type", b"text/plain"))
        first = encoder.encode(fields)
        second = encoder.encode(fields)
        self.assertEqual(len(second), 3)
        self.assertLess(len(second), len(first))
        self.assertIs(encoder.encode(fields), second)

    def test_secrets(self) -> None:
        """Cookies are never put into a table, here or on the way (§7.1.3)."""
        encoder = Encoder()
        fields = ((b"set-cookie", b"secret"),)
        for _ in range(2):
            self.assertEqual(encoder.encode(fields), b"\x1f\x28\x06secret")

    def test_seldom(self) -> None:
        """What seldom comes twice does not push out what does."""
        encoder = Encoder()
        encoder.encode(((b"etag", b'"1"'), (b"content-length", b"77")))
        self.assertEqual(encoder._used, 0)

    def test_large_field(self) -> None:
        """A field that would empty the table stays out: what was said before goes on to hold."""
        encoder = Encoder()
        decoder = other.Decoder(max_header_list_size=1 << 20)
        small = ((b"server", b"x"),)
        for size in (1000, 2100, 4064, 4065, 5000):
            large = ((b"x-a", b"c" * size),)
            for fields in (small, small, large, large, small):
                got = decoder.decode(encoder.encode(fields), raw=True)
                self.assertEqual(tuple((bytes(n), bytes(v)) for n, v in got), fields)
            self.assertEqual(encoder.encode(small), b"\xbe" if size > 1000 else b"\xbf")
            encoder = Encoder()
            decoder = other.Decoder(max_header_list_size=1 << 20)

    def test_no_table(self) -> None:
        """Nothing is put into a table that a client does not keep."""
        encoder = Encoder()
        encoder.set_table_size(0)
        self.assertEqual(encoder.encode(((b"x", b"y"),)), b"\x20\x00\x01x\x01y")
        self.assertEqual(encoder._used, 0)

    @FIXED
    @given(LISTS.filter(bool), st.lists(st.integers(0, 20), max_size=30))
    def test_objects_again(self, lists: list[hpack.Pairs], turns: list[int]) -> None:
        """The same objects in any order are read as they are."""
        encoder = Encoder()
        theirs = other.Decoder(max_header_list_size=1 << 20)
        for turn in turns:
            fields = lists[turn % len(lists)]
            got = theirs.decode(encoder.encode(fields), raw=True)
            self.assertEqual(tuple((bytes(n), bytes(v)) for n, v in got), fields)

    def test_bounded(self) -> None:
        """Answers that come once are not kept beyond a size."""
        encoder = Encoder()
        for n in range(200):
            encoder.encode(((b":status", b"200"), (b"set-cookie", b"%d" % n + b"x" * 30_000)))
        self.assertEqual(encoder._known, {})
        for n in range(200):
            encoder.encode(((b":status", b"200"), (b"set-cookie", b"%d" % n + b"x" * 900)))
            held = sum(
                len(a) + len(b) + 32 for fields, _ in encoder._known.values() for a, b in fields
            )
            self.assertEqual(held, encoder._kept)
            self.assertLessEqual(held, hpack.MAX_KNOWN_FIELDS)
        self.assertTrue(encoder._known)
