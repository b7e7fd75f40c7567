"""Which answer goes first (RFC 9218)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.priority import DEFAULT, choose, read

FIXED = settings(derandomize=True, deadline=None, max_examples=300)


class ReadTests(SynchronousTestCase):
    """The ``priority`` field."""

    def test_browsers(self) -> None:
        """What browsers send."""
        for value, expected in [
            (b"u=0, i", (0, True)),
            (b"u=1", (1, False)),
            (b"i", (3, True)),
            (b"u=5,i=?0", (5, False)),
            (b"i=?1, u=7", (7, True)),
            (b"u=2;x=1, i;y", (2, True)),
            (b"", DEFAULT),
            (b"u=2, u=4", (4, False)),
        ]:
            self.assertEqual(read(value), expected, value)

    @FIXED
    @given(st.one_of(st.binary(max_size=20), st.text("u=i0789?, ;-", max_size=12).map(str.encode)))
    def test_any(self, value: bytes) -> None:
        """What is not understood counts as not said."""
        urgency, incremental = read(value)
        self.assertIn(urgency, range(8))
        self.assertIsInstance(incremental, bool)

    def test_long(self) -> None:
        """One that is longer than anybody's is not looked at."""
        self.assertEqual(read(b"u=1,i" + b"," * 100), (1, True))
        self.assertEqual(read(b"u=1,i" + b"," * 10_000), DEFAULT)

    def test_odd(self) -> None:
        """Urgencies that there are not."""
        for value in (b"u=8", b"u=-1", b"u=a", b"u", b"i=1", b"\xff"):
            self.assertEqual(read(value), DEFAULT, value)


class ChooseTests(SynchronousTestCase):
    """Whose turn it is."""

    def test_urgent_first(self) -> None:
        """The most urgent, then the oldest."""
        waiting = [(1, (3, False)), (3, (0, False)), (5, (0, False))]
        self.assertEqual(choose(waiting, 0), 3)
        self.assertEqual(choose(waiting, 3), 3)

    def test_in_turn(self) -> None:
        """Those that are of use in parts take turns."""
        waiting = [(number, (3, True)) for number in (1, 3, 5)]
        last = 0
        order = []
        for _ in range(7):
            last = choose(waiting, last)
            order.append(last)
        self.assertEqual(order, [1, 3, 5, 1, 3, 5, 1])

    def test_whole_before_parts(self) -> None:
        """One that is of use only as a whole goes before those that come in parts."""
        self.assertEqual(choose([(1, (3, True)), (3, (3, False))], 0), 3)

    def test_nobody(self) -> None:
        """Somebody has to wait."""
        self.assertRaises(ValueError, choose, [], 0)

    @FIXED
    @given(
        st.dictionaries(st.integers(1, 99), st.tuples(st.integers(0, 7), st.booleans()), min_size=1)
    )
    def test_everybody(self, waiting: dict[int, tuple[int, bool]]) -> None:
        """When each that was chosen leaves, everybody is chosen, no less urgent one before."""
        last = 0
        urgencies = []
        while waiting:
            last = choose(waiting.items(), last)
            urgencies.append(waiting.pop(last)[0])
        self.assertEqual(urgencies, sorted(urgencies))
