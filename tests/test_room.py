"""Who makes room for others."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Lifecycle
from snickers.containers.life import Phase, State
from snickers.containers.room import CAN_GO, HOLDS_ROOM, Held, held, who_goes

FIXED = settings(derandomize=True, deadline=None, max_examples=300)
SERVERS = st.lists(
    st.builds(
        Held,
        st.integers(0, 50).map("s{}.example".format),
        st.sampled_from(Phase),
        st.booleans(),
        st.floats(0, 1000),
    ),
    unique_by=lambda server: server.site,
)


class RoomTests(SynchronousTestCase):
    @FIXED
    @given(SERVERS, st.one_of(st.none(), st.integers(0, 20)), st.booleans())
    def test_promises(self, servers: list[Held], limit: int | None, short: bool) -> None:
        """Nobody goes who is in use; no more go than must, at least as many as may; and none
        that stays could have gone and has been idle for longer."""
        gone = set(who_goes(servers, limit, short))
        there = [server for server in servers if server.phase in HOLDS_ROOM]
        may = [server for server in there if server.idle and server.phase in CAN_GO]
        surplus = 0 if limit is None else max(0, len(there) - limit)
        surplus = max(surplus, short)
        self.assertEqual(len(gone), min(surplus, len(may)))
        self.assertLessEqual(gone, {server.site for server in may})
        left = [server.used for server in may if server.site not in gone]
        self.assertTrue(all(s.used <= min(left, default=1e9) for s in may if s.site in gone))

    def test_without_a_limit(self) -> None:
        """Where there is room for all, nobody is looked at."""
        servers = [Held("a.example", Phase.AWAKE, True, 0.0)]
        self.assertEqual(who_goes(servers, None, False), [])
        self.assertEqual(who_goes(servers, 1, False), [])
        self.assertEqual(who_goes(servers, 1, True), ["a.example"])

    def test_held(self) -> None:
        """In use, always awake, or asked already: none of these is idle."""
        state = State(Lifecycle(), "fp", phase=Phase.AWAKE)
        self.assertTrue(held("a.example", state, 0, 1.0).idle)
        self.assertFalse(held("a.example", state, 1, 1.0).idle)
        for other in (
            State(Lifecycle(wake="always"), "fp", phase=Phase.AWAKE),
            State(Lifecycle(), "fp", phase=Phase.AWAKE, crowded=True),
        ):
            self.assertFalse(held("a.example", other, 0, 1.0).idle)
