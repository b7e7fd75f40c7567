"""PROXY headers, read back by a decoder that shares nothing with what writes them."""

from __future__ import annotations

import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.proxyprotocol import header, header_v1, header_v2

PROFILE = settings(derandomize=True, deadline=None, max_examples=200)

ports = st.integers(0, 65535)
four = st.tuples(st.ip_addresses(v=4).map(str), ports)
six = st.tuples(
    st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None).map(lambda a: a.exploded), ports
)
pairs = st.one_of(st.tuples(four, four), st.tuples(six, six))
names = st.from_regex(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){0,3}", fullmatch=True).map(str.encode)

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def decode_v1(data: bytes) -> tuple[int, bytes, bytes, int, int] | None:
    """Family, packed addresses and ports; ``None`` for UNKNOWN."""
    if len(data) > 107 or data[-2:] != b"\r\n" or data.count(b"\r") != 1:
        raise AssertionError(data)
    words = data[:-2].decode("ascii").split(" ")
    if words == ["PROXY", "UNKNOWN"]:
        return None
    protocol, family, source, destination, one, other = words
    if protocol != "PROXY" or family not in ("TCP4", "TCP6"):
        raise AssertionError(data)
    for port in (one, other):
        if str(int(port)) != port:
            raise AssertionError(data)
    number = int(family[-1])
    kind = FAMILIES[number]
    packed = (socket.inet_pton(kind, text) for text in (source, destination))
    return (number, *packed, int(one), int(other))  # type: ignore[return-value]


def decode_v2(data: bytes) -> tuple[int, bytes, bytes, int, int, dict[int, bytes]]:
    """Family (0: unspecified), packed addresses, ports, and TLVs by type."""
    if data[:12] != bytes.fromhex("0d0a0d0a000d0a515549540a"):
        raise AssertionError(data)
    if data[12] >> 4 != 2 or data[12] & 15 != 1:
        raise AssertionError("not version 2, or not PROXY")
    rest = data[16:]
    if int.from_bytes(data[14:16], "big") != len(rest):
        raise AssertionError("a wrong length")
    number, size = {0x11: (4, 4), 0x21: (6, 16), 0x00: (0, 0)}[data[13]]
    source, rest = rest[:size], rest[size:]
    destination, rest = rest[:size], rest[size:]
    one = other = 0
    if number:
        one, other = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        rest = rest[4:]
    found: dict[int, bytes] = {}
    while rest:
        length = int.from_bytes(rest[1:3], "big")
        value, behind = rest[3 : 3 + length], rest[3 + length :]
        if len(value) != length or rest[0] in found:
            raise AssertionError("a wrong TLV")
        found[rest[0]] = value
        rest = behind
    return number, source, destination, one, other, found


def packed(text: str) -> tuple[int, bytes]:
    number = 6 if ":" in text else 4
    return number, socket.inet_pton(FAMILIES[number], text)


class VersionOneTests(SynchronousTestCase):
    @PROFILE
    @given(pairs)
    def test_both_families(self, pair: tuple[tuple[str, int], tuple[str, int]]) -> None:
        """A receiver reads the addresses and ports that were given."""
        source, destination = pair
        number, one = packed(source[0])
        self.assertEqual(
            decode_v1(header_v1(source, destination)),
            (number, one, packed(destination[0])[1], source[1], destination[1]),
        )

    def test_as_written(self) -> None:
        """The line is the one of the document; IPv6 is written short."""
        self.assertEqual(
            header_v1(("192.168.0.1", 56324), ("192.168.0.11", 443)),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        )
        self.assertEqual(
            header_v1(("2001:DB8:0::1", 1), ("::1", 443)),
            b"PROXY TCP6 2001:db8::1 ::1 1 443\r\n",
        )

    def test_unknown(self) -> None:
        """Without both addresses, or with two families, nothing is claimed."""
        four, six = ("192.0.2.1", 1), ("2001:db8::1", 1)
        for pair in [(None, None), (four, None), (None, six), (four, six), (six, four)]:
            self.assertEqual(decode_v1(header_v1(*pair)), None)

    def test_mapped(self) -> None:
        """IPv4 that came in on an IPv6 socket is IPv4; a scope is left out."""
        self.assertEqual(
            header_v1(("::ffff:192.0.2.1", 5), ("::ffff:192.0.2.2", 443)),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\n",
        )
        self.assertEqual(
            header_v1(("fe80::1%eth0", 5), ("fe80::2%eth0", 443)),
            b"PROXY TCP6 fe80::1 fe80::2 5 443\r\n",
        )


class VersionTwoTests(SynchronousTestCase):
    @PROFILE
    @given(pairs, st.one_of(st.just(b""), names))
    def test_both_families(
        self, pair: tuple[tuple[str, int], tuple[str, int]], name: bytes
    ) -> None:
        """A receiver reads the addresses, the ports, and the name that was asked for."""
        source, destination = pair
        number, one = packed(source[0])
        self.assertEqual(
            decode_v2(header_v2(source, destination, name)),
            (
                number,
                one,
                packed(destination[0])[1],
                source[1],
                destination[1],
                {2: name} if name else {},
            ),
        )

    def test_unknown(self) -> None:
        """Without both addresses the name is told all the same."""
        for pair in [(None, None), (("192.0.2.1", 1), None), (("::1", 1), ("192.0.2.1", 1))]:
            self.assertEqual(
                decode_v2(header_v2(*pair, b"a.example")), (0, b"", b"", 0, 0, {2: b"a.example"})
            )

    def test_bytes(self) -> None:
        """The header, byte by byte."""
        self.assertEqual(
            header_v2(("192.0.2.1", 0x1234), ("192.0.2.2", 443), b"a.b").hex(" "),
            "0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a 21 11 00 12 "
            "c0 00 02 01 c0 00 02 02 12 34 01 bb 02 00 03 61 2e 62",
        )


class HeaderTests(SynchronousTestCase):
    def test_versions(self) -> None:
        """The configuration's word decides; off is nothing at all."""
        pair = (("192.0.2.1", 1), ("192.0.2.2", 443))
        self.assertEqual(header("off", *pair, b"a"), b"")
        self.assertEqual(header("v1", *pair, b"a"), header_v1(*pair))
        self.assertEqual(header("v2", *pair, b"a"), header_v2(*pair, b"a"))
