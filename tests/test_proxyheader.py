"""The PROXY protocol's headers, read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.proxyheader import MAX_V1, MAX_V2, BadHeader, Header, crc32c, read
from snickers.proxyprotocol import SIGNATURE, header

FIXED = settings(derandomize=True, deadline=None, max_examples=300)
PORTS = st.integers(0, 65535)
PAIRS = st.one_of(
    st.tuples(
        st.tuples(st.ip_addresses(v=4).map(str), PORTS),
        st.tuples(st.ip_addresses(v=4).map(str), PORTS),
    ),
    st.tuples(
        st.tuples(st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None).map(str), PORTS),
        st.tuples(st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None).map(str), PORTS),
    ),
)


def v2(payload: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(payload).to_bytes(2, "big") + payload


ADDRESSES = b"\xc0\0\2\1\xc0\0\2\2\0\x50\x01\xbb"


class HeaderTests(SynchronousTestCase):
    """What a proxy says."""

    @FIXED
    @given(
        st.sampled_from(["v1", "v2"]),
        PAIRS,
        st.sampled_from([b"", b"a.example"]),
        st.binary(max_size=9),
    )
    def test_round(self, version: str, pair: tuple, name: bytes, rest: bytes) -> None:
        """What we write we read, to its last byte; every part of it asks for more."""
        data = header(version, *pair, name)
        found = read(data + rest)
        self.assertEqual(found, Header(*pair, len(data)))
        for size in range(1, len(data)):
            wanted = read(data[:size])
            self.assertIsInstance(wanted, int)
            self.assertTrue(size < wanted <= len(data), (size, wanted))

    def test_nobody(self) -> None:
        """The proxy's own connections, and clients that it does not know."""
        for data in (
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
            v2(b"", 0x00, 0x20),
            v2(b"anything", 0x11, 0x20),
            v2(b"", 0x00),
            v2(b"x" * 216, 0x31),
        ):
            self.assertEqual(read(data + b"more"), Header(None, None, len(data)))

    def test_bad(self) -> None:
        """Anything else."""
        for data in (
            *(b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"PROXY\r\n", b"proxy tcp4", b"\r\n\r\n\r\n"),
            *(b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n", b"PROXY TCP4 1.2.3.4 1.2.3.5 1\r\n"),
            *(b"PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.5 1 65536\r\n"),
            *(b"PROXY TCP4 01.2.3.4 1.2.3.5 1 2\r\n", b"PROXY TCP4 1.2.3 1.2.3.5 1 2\r\n"),
            *(b"PROXY TCP4 ::1 ::2 1 2\r\n", b"PROXY TCP6 1.2.3.4 1.2.3.5 1 2\r\n"),
            *(b"PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n", b"PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n"),
            *(b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2 \r\n", b"PROXY TCP4 1.2.3.4 1.2.3.5 +1 2\r\n"),
            b"PROXY UNKNOWN" + b"x" * MAX_V1,
            *(v2(ADDRESSES, 0x11, 0x22), v2(ADDRESSES, 0x11, 0x11), v2(ADDRESSES, 0x12)),
            *(
                v2(ADDRESSES[:-1]),
                v2(ADDRESSES, 0x21),
                v2(ADDRESSES + b"\x02\0"),
                v2(b"x" * MAX_V2),
            ),
            *(v2(ADDRESSES + b"\x02\0\x05a"), v2(ADDRESSES + b"\x03\0\x04abcd")),
            v2(ADDRESSES + b"\x03\0\x02ab"),
        ):
            self.assertRaises(BadHeader, read, data)

    def test_checksum(self) -> None:
        """A checksum that is right is taken."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        plain = v2(ADDRESSES + b"\x04\0\x01x" + b"\x03\0\x04" + bytes(4))
        data = plain[:-4] + crc32c(plain).to_bytes(4, "big")
        self.assertEqual(read(data), Header(("192.0.2.1", 80), ("192.0.2.2", 443), len(data)))

    @FIXED
    @given(
        st.one_of(
            st.binary(max_size=60),
            st.binary(max_size=60).map(lambda b: SIGNATURE + b),
            st.text("PROXY TCP46.:\r\n019f", max_size=60).map(lambda t: b"PROXY " + t.encode()),
        )
    )
    def test_any(self, data: bytes) -> None:
        """Any bytes are a header, ask for more, or are refused."""
        try:
            found = read(data)
        except BadHeader:
            return
        if isinstance(found, int):
            self.assertTrue(len(data) < found <= MAX_V2)
        else:
            self.assertLessEqual(found.length, len(data))
