"""Small networks are chosen where nothing else is."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.subnets import POOL, PREFIX, free, has_room, routed

TABLE = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
)


@st.composite
def networks(draw) -> str:
    """A network in or around the pool, of any size."""
    prefix = draw(st.integers(8, 32))
    base = draw(st.sampled_from(["10.213.0.0", "10.212.255.0", "10.214.0.0", "0.0.0.0"]))
    at = int(IPv4Network(base).network_address) + draw(st.integers(0, 0xFFFF))
    return str(IPv4Network((min(at, 0xFFFFFFFF), prefix), strict=False))


class FreeTests(SynchronousTestCase):
    """`free`."""

    def test_first(self) -> None:
        """With nothing taken the lowest come first."""
        self.assertEqual(
            list(islice(free(POOL, ()), 3)), ["10.213.0.0/28", "10.213.0.16/28", "10.213.0.32/28"]
        )

    @given(st.integers(1, 1000), st.lists(networks(), max_size=3))
    def test_room(self, room: int, taken: list[str]) -> None:
        """Each has room for as many as asked for, is no larger than needed, and overlaps nothing
        that is taken."""
        for found in islice(free(POOL, taken, room), 3):
            network = IPv4Network(found)
            self.assertTrue(has_room(found, room))
            if network.prefixlen < PREFIX:
                self.assertFalse(has_room(f"10.0.0.0/{network.prefixlen + 1}", room))
            self.assertFalse(any(network.overlaps(IPv4Network(each)) for each in taken))

    def test_has_room(self) -> None:
        """The first and the last address and the bridge's are nobody's."""
        self.assertEqual([has_room("10.213.0.0/28", room) for room in (13, 14)], [True, False])
        self.assertTrue(has_room("fd00::/64", 10**6))

    def test_all(self) -> None:
        """A pool has as many as fit."""
        self.assertEqual(len(list(free(POOL, ()))), 4096)
        self.assertEqual(list(free("10.1.0.0/28", ())), ["10.1.0.0/28"])
        self.assertEqual(list(free("10.1.0.0/29", ())), [])

    def test_taken(self) -> None:
        """What is taken, in part or as a part of more, is left out."""
        taken = ["10.213.0.0/30", "10.213.0.32/27", "172.17.0.0/16", "fd00::/8", "10.213.0.70/32"]
        self.assertEqual(
            list(islice(free(POOL, taken), 3)),
            ["10.213.0.16/28", "10.213.0.80/28", "10.213.0.96/28"],
        )
        self.assertEqual(list(free(POOL, ["10.0.0.0/8"])), [])

    @settings(derandomize=True, deadline=None)
    @given(st.lists(networks(), max_size=6))
    def test_never_overlaps(self, taken: list[str]) -> None:
        """What is yielded is in the pool and overlaps nothing; what is not, overlaps."""
        found = set(free("10.213.0.0/22", taken))
        others = [IPv4Network(each) for each in taken]
        for network in IPv4Network("10.213.0.0/22").subnets(new_prefix=PREFIX):
            overlaps = any(network.overlaps(other) for other in others)
            self.assertEqual(str(network) in found, not overlaps)

    def test_no_pool(self) -> None:
        """What is no network is refused."""
        self.assertRaises(ValueError, next, free("10.213.0.0/99", ()))


class RoutedTests(SynchronousTestCase):
    """`routed`."""

    def test_routed(self) -> None:
        """The kernel's table is read; the default route is no network."""
        self.assertEqual(routed(TABLE), ["172.17.0.0/16", "192.0.2.0/24"])

    def test_nothing(self) -> None:
        """No table, no networks."""
        self.assertEqual(routed(""), [])
