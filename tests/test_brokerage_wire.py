"""The words of the front and the broker: what is sent is what is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.brokerage import wire
from snickers.interfaces.engine import Instance, Load

NAMES = st.text(max_size=30)
INSTANCES = st.builds(
    Instance,
    *(NAMES, NAMES, NAMES, st.booleans()),
    st.none() | NAMES | st.tuples(NAMES, st.integers(0, 65535)),
    st.none() | st.floats(allow_nan=False),
    st.booleans(),
    NAMES,
)


class WireTests(SynchronousTestCase):
    """The forms of what is more than a name or a number."""

    @given(st.lists(INSTANCES, max_size=5))
    def test_instances(self, found: list[Instance]) -> None:
        """Servers are read as they were."""
        self.assertEqual(wire.read_instances(wire.instances(found)), found)

    @given(
        st.dictionaries(
            NAMES,
            st.builds(Load, st.floats(allow_nan=False), st.none() | st.integers(0, 2**63)),
            max_size=5,
        )
    )
    def test_loads(self, found: dict[str, Load]) -> None:
        """So are their loads."""
        self.assertEqual(wire.read_loads(wire.loads(found)), found)

    @given(st.lists(NAMES, max_size=4), st.lists(NAMES, max_size=4))
    def test_mark(self, one: list[str], other: list[str]) -> None:
        """Two commands have one mark when they are the same, as lists or not."""
        self.assertEqual(wire.mark(one) == wire.mark(tuple(other)), one == other)

    def test_words(self) -> None:
        """Nothing that the front says to the broker has a place for what is to be run."""
        words = set()
        for name in wire.TO_BROKER:
            command = getattr(wire, name.decode())
            words |= {argument for argument, _ in command.arguments}
        self.assertEqual(
            words,
            {
                *(b"call", b"site", b"id", b"wanted", b"fresh", b"mark", b"within"),
                *(b"beside", b"spare", b"exact"),
                *(b"tail", b"follow", b"size"),
            },
        )
