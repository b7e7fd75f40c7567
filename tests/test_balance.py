"""Which of several servers gets the next request."""

from __future__ import annotations

from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.balance import by_address, chooser, fit

FIXED = settings(derandomize=True, deadline=None, max_examples=300)


@define(eq=False)
class Server:
    """What is known of one."""

    name: bytes = b"a"
    uses: int = 0
    well: bool = True
    rests_until: float = 0.0


SERVERS = st.lists(
    st.builds(Server, st.binary(max_size=3), st.integers(0, 5), st.booleans(), st.integers(0, 20)),
    min_size=1,
    max_size=6,
)


class FitTests(SynchronousTestCase):
    """Who may be asked."""

    @FIXED
    @given(SERVERS, st.sets(st.integers(0, 5)), st.integers(0, 20))
    def test_any(self, servers: list[Server], indices: set[int], now: int) -> None:
        """Nobody twice; nobody unwell while another one is not; somebody as long as there is."""
        tried = [server for n, server in enumerate(servers) if n in indices]
        places = fit(servers, tried, now)
        chosen = [servers[place] for place in places]
        self.assertFalse(any(server in tried for server in chosen))
        left = [server for server in servers if server not in tried]
        good = [server for server in left if server.well and server.rests_until <= now]
        self.assertEqual(bool(chosen), bool(left))
        if good:
            self.assertEqual(chosen, good)
        else:
            self.assertLessEqual(len(chosen), 1)

    def test_the_least_bad(self) -> None:
        """When none is fit: one that is well before others, then the one that rests shortest."""
        servers = [Server(well=False), Server(rests_until=9.0), Server(rests_until=8.0)]
        self.assertEqual(fit(servers, [], 0.0), [2])
        self.assertEqual(fit(servers, [servers[2], servers[1]], 0.0), [0])


class ChooserTests(SynchronousTestCase):
    """Whom to ask."""

    @FIXED
    @given(
        st.sampled_from(["round robin", "least busy", "address", "first"]),
        SERVERS,
        st.binary(max_size=8),
        st.data(),
    )
    def test_any(
        self, balance: str, servers: list[Server], peer: bytes, data: st.DataObject
    ) -> None:
        """Only one of those that are fit is chosen."""
        choose = chooser(balance)
        for _ in range(5):
            places = sorted(
                data.draw(st.sets(st.integers(0, len(servers) - 1), min_size=1, max_size=6))
            )
            self.assertIn(choose(servers, places, peer), places)

    def test_in_turn(self) -> None:
        """Each in turn, whoever is missing now and then."""
        choose = chooser("round robin")
        servers = [Server()] * 3
        order = [choose(servers, places, b"") for places in ([0, 1, 2], [0, 1, 2], [0, 1], [0, 2])]
        self.assertEqual(order, [0, 1, 0, 2])

    def test_same_client(self) -> None:
        """A client stays where it is when another server falls out or comes back."""
        servers = [Server(b"http://10.0.0.%d" % n) for n in range(4)]
        peers = [b"192.0.2.%d" % n for n in range(200)]
        before = {peer: by_address(servers, [0, 1, 2, 3], peer) for peer in peers}
        after = {peer: by_address(servers, [0, 1, 3], peer) for peer in peers}
        self.assertEqual(set(before.values()), {0, 1, 2, 3})
        self.assertTrue(all(after[p] == place for p, place in before.items() if place != 2))
        shares = [list(before.values()).count(place) for place in range(4)]
        self.assertGreater(min(shares), 20)
