"""What an owner has decided, applied."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.answer import read_answer
from snickers.http.policy import (
    MAX_KNOWN,
    Edits,
    Networks,
    client_of,
    read_address,
    without_field,
)
from snickers.http.request import read_request

FIXED = settings(derandomize=True, deadline=None, max_examples=200)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


class ClientTests(SynchronousTestCase):
    """`client_of`."""

    def test_who(self) -> None:
        """An IPv4 address, however it is written; a /64 of IPv6; nobody."""
        self.assertEqual(client_of(b"192.0.2.7"), client_of(b"::ffff:192.0.2.7"))
        self.assertEqual(client_of(b"2001:db8::1"), client_of(b"2001:db8::2:0:0:1"))
        self.assertNotEqual(client_of(b"2001:db8::1"), client_of(b"2001:db8:0:1::1"))
        self.assertIsNone(client_of(b""))


class NetworksTests(SynchronousTestCase):
    """Where a client comes from."""

    def test_holds(self) -> None:
        """Single addresses and networks of both versions, and nothing beside them."""
        networks = Networks(["192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "::1/128"])
        for peer in (b"192.0.2.7", b"10.255.0.1", b"2001:db8::7", b"2001:DB8:0::7", b"::1"):
            self.assertTrue(networks.holds(peer), peer)
        for peer in (b"192.0.2.8", b"11.0.0.0", b"2001:db9::", b"::2", b"::a00:1"):
            self.assertFalse(networks.holds(peer), peer)

    def test_mapped(self) -> None:
        """An IPv4-mapped address is the IPv4 address it means, on either side."""
        self.assertTrue(Networks(["10.0.0.0/8"]).holds(b"::ffff:10.1.2.3"))
        self.assertTrue(Networks(["::ffff:10.0.0.0/104"]).holds(b"10.1.2.3"))
        self.assertTrue(Networks(["::ffff:10.0.0.0/104"]).holds(b"::ffff:10.1.2.3"))
        self.assertFalse(Networks(["::ffff:10.0.0.0/104"]).holds(b"11.1.2.3"))
        self.assertFalse(Networks(["::/0"]).holds(b"::ffff:10.1.2.3"))

    def test_zone(self) -> None:
        """The interface of a link-local address is no part of it."""
        self.assertTrue(Networks(["fe80::/10"]).holds(b"fe80::1%eth0"))

    def test_no_address(self) -> None:
        """What is no address, such as the other end of a unix socket, is nowhere."""
        for peer in (b"", b"x", b"1.2.3", b"01.2.3.4", b"\xff", b"::g", b"1.2.3.4/0"):
            self.assertFalse(Networks(["0.0.0.0/0", "::/0"]).holds(peer), peer)

    def test_bounded(self) -> None:
        """However many addresses come, few are remembered."""
        networks = Networks(["10.0.0.0/8"])
        for number in range(MAX_KNOWN + 5):
            networks.holds(str(IPv4Address(number)).encode())
        self.assertLessEqual(len(networks._known), MAX_KNOWN)

    @FIXED
    @given(ADDRESSES, ADDRESSES, st.integers(0, 128))
    def test_as_the_library(self, peer: object, base: object, length: int) -> None:
        """An address is held exactly when Python's own networks hold what it means."""

        def plain(address: object) -> IPv4Address | IPv6Address:
            found = ip_address(str(address))
            return getattr(found, "ipv4_mapped", None) or found

        base = plain(base)
        network = ip_network(f"{base}/{min(length, base.max_prefixlen)}", strict=False)
        self.assertEqual(Networks([str(network)]).holds(str(peer).encode()), plain(peer) in network)

    @FIXED
    @given(st.binary(max_size=40))
    def test_anything(self, peer: bytes) -> None:
        """Whatever a peer is called, it is an address or none."""
        read_address(peer)


class EditsTests(SynchronousTestCase):
    """What answers get and lose."""

    edits = Edits([("X-A", "1"), ("server", "")], 3600.5)

    def test_fields(self) -> None:
        """Fields are added, replace their like, or are removed; the given list stays."""
        fields = [(b"Server", b"x"), (b"x-a", b"0"), (b"B", b"2"), (b"X-A", b"00")]
        before = list(fields)
        self.assertEqual(
            self.edits.fields(fields),
            [(b"B", b"2"), (b"X-A", b"1"), (b"Strict-Transport-Security", b"max-age=3600")],
        )
        self.assertEqual(fields, before)
        self.assertEqual(self.edits.without(fields), [(b"B", b"2")])

    def test_answer(self) -> None:
        """An upstream's answer is edited in a copy, which nothing remembers."""
        answer = read_answer(
            b"HTTP/1.1 299 Fine\r\nServer: x\r\nB: 2\r\nx-a:0\r\nContent-Length: 3", b"GET"
        )
        answer.wire = b"as it was"
        lines = list(answer.lines)
        own = self.edits.answer(answer)
        self.assertEqual(
            own.lines, [b"B: 2", b"X-A: 1", b"Strict-Transport-Security: max-age=3600"]
        )
        self.assertEqual((own.status, own.reason, own.framing), (299, b"Fine", 3))
        self.assertEqual(own.wire, b"")
        self.assertEqual((answer.lines, answer.wire), (lines, b"as it was"))

    def test_hsts(self) -> None:
        """What the owner writes by name comes before what ``hsts`` would say."""
        edits = Edits([("Strict-transport-security", "max-age=1; preload")], 60.0)
        self.assertEqual(edits.fields([]), [(b"Strict-transport-security", b"max-age=1; preload")])

    def test_nothing(self) -> None:
        """Without decisions all stays as it is."""
        self.assertFalse(Edits([]))
        self.assertTrue(self.edits)
        self.assertEqual(Edits([]).fields([(b"A", b"1")]), [(b"A", b"1")])
        answer = read_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3", b"GET")
        self.assertIs(Edits([]).answer(answer), answer)


class WithoutFieldTests(SynchronousTestCase):
    def test_copy(self) -> None:
        """A request loses the field in a copy; the one that a connection remembers keeps it."""
        request = read_request(
            b"GET /x HTTP/1.1\r\nHost: a.example\r\nAUTHORIZATION: Basic x\r\nB: 1"
        )
        request.wire = b"as it was"
        own = without_field(request, b"authorization")
        self.assertIsNone(own.get(b"authorization"))
        self.assertEqual(own.lines, [b"Host: a.example", b"B: 1"])
        self.assertEqual((own.target, own.host, own.wire), (b"/x", b"a.example", b""))
        self.assertEqual(request.get(b"authorization"), b"Basic x")
        self.assertEqual(request.wire, b"as it was")
