"""What each process has counted, and the sums."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.interfaces.colleagues import NOTHING, Share
from snickers.interfaces.traffic import NO_TRAFFIC, Traffic
from snickers.workers.census import ALL, NONE, Census, Counts, Reporter, read

QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=200)

numbers = st.integers(0, 1 << 62)
traffic = st.builds(
    Traffic,
    st.lists(st.tuples(st.integers(100, 599), numbers), max_size=3).map(tuple),
    st.tuples(*[numbers] * len(NO_TRAFFIC.buckets)),
    st.floats(0, 1e12),
    numbers,
    numbers,
)
counts = st.builds(
    Counts,
    numbers,
    numbers,
    numbers,
    numbers,
    st.floats(0, 1e12),
    st.text(max_size=10),
    st.text(max_size=10),
    st.text(max_size=10),
    traffic,
    st.lists(st.tuples(st.sampled_from(["ok", "failed"]), numbers), max_size=2).map(tuple),
)
reports = st.dictionaries(st.sampled_from(["a", "b", "c.example"]), counts | st.just(NONE))


class ReporterTests(SynchronousTestCase):
    """What a worker tells."""

    @QUICK
    @given(st.lists(reports, max_size=5))
    def test_round_trip(self, states: list[dict[str, Counts]]) -> None:
        """Whatever is counted, who hears what has changed knows what there is."""
        reporter, census = Reporter(), Census()
        for state in states:
            data = reporter.changed(state)
            news = read(data) if data else {}
            census.counted(1, news)
            wanted = {site: found for site, found in state.items() if found != NONE}
            self.assertEqual(census._workers[1], wanted)
            self.assertEqual(reporter.changed(state), b"")

    def test_changed(self) -> None:
        """Only what differs is told, a site that is no more among it."""
        reporter = Reporter()
        self.assertEqual(reporter.changed({}), b"")
        self.assertEqual(reporter.changed({"a": NONE}), b"")
        a, b = Counts(requests=1), Counts(connections=2)
        self.assertEqual(read(reporter.changed({"a": a, "b": b})), {"a": a, "b": b})
        more = Counts(requests=2)
        self.assertEqual(read(reporter.changed({"a": more, "b": b})), {"a": more})
        self.assertEqual(read(reporter.changed({"a": more})), {"b": NONE})

    def test_nonsense(self) -> None:
        """What is nothing of the kind is a `ValueError`, whatever it is."""
        row = ["a", 1, 2, 3, 4, 5.0, "", "", "", [], []]
        self.assertEqual(len(read(json.dumps([row]).encode())), 1)
        for wrong in (
            *(b"", b"{", b"\xff", b"5", b"null", b"[5]", b"[[]]", b'["abc"]', b'{"a": 1}'),
            *(b"[" * 100_000, b"9" * 5000, b'[["a", 1, 2, 3, 4, 5.0]]'),
            *(json.dumps([[*row[:n], value, *row[n + 1 :]]]).encode()
              for n in range(1, 6)
              for value in (None, "x", [], {}, -1, float("inf"), float("nan"))),
            json.dumps([[*row[:10], [[f"way {n}", 1] for n in range(99)]]]).encode(),
            *(json.dumps([[*row[:9], value, []]]).encode()
              for value in ("x", 5, None, [1], [[], [1], 0, 0, 0], [[], [-1] * 12, 0, 0, 0],
                            [[[200, -1]], [0] * 12, 0, 0, 0],
                            [[[1000, 1]], [0] * 12, 0, 0, 0], [[[-1, 1]], [0] * 12, 0, 0, 0],
                            [[], [0] * 12, float("nan"), 0, 0])),
            *(json.dumps([[*row[:10], value]]).encode() for value in (None, 5, [5], [["ok"]])),
        ):  # fmt: skip
            self.assertRaises(ValueError, read, wrong)

    @QUICK
    @given(st.binary(max_size=50) | st.text(alphabet='[]{}",:0123eE.-Infity', max_size=50))
    def test_any_bytes(self, data: bytes | str) -> None:
        """No bytes do anything else."""
        try:
            found = read(data.encode() if isinstance(data, str) else data)
        except ValueError:
            return
        self.assertTrue(all(isinstance(value, Counts) for value in found.values()))


class CensusTests(SynchronousTestCase):
    """The sums of all workers."""

    def setUp(self) -> None:
        self.census = Census()

    def test_sums(self) -> None:
        """What workers have of a site is added; uses beyond what its life counts as leases."""
        self.assertEqual(self.census.share("a"), NOTHING)
        self.census.counted(1, {"a": Counts(5, 2, 7, 1), "b": Counts(1, 1)})
        self.census.counted(2, {"a": Counts(6, 3, 4, 2)})
        self.assertEqual(self.census.share("a"), Share(11, 5, 8, None))
        self.assertEqual((self.census.connections(1), self.census.requests(1)), (3, 6))
        self.assertEqual((self.census.connections(3), self.census.requests(3)), (0, 0))

    def test_traffic(self) -> None:
        """What visitors have had is added up, too, and stays when a worker dies."""
        one = Traffic(((200, 2), (404, 1)), (*(1, 2), *[0] * 10), 0.5, 10, 20)
        other = Traffic(((200, 3), (500, 1)), (*(3, 1), *[0] * 10), 1.5, 1, 2)
        both = Traffic(((200, 5), (404, 1), (500, 1)), (*(4, 3), *[0] * 10), 2.0, 11, 22)
        self.census.counted(1, {"a": Counts(traffic=one)})
        self.census.counted(2, {"a": Counts(traffic=other)})
        self.assertEqual(self.census.share("a").traffic, both)
        self.census.gone(1)
        self.census.gone(2)
        self.assertEqual(self.census.share("a").traffic, both)

    def test_handshakes(self) -> None:
        """So are the handshakes of all."""
        self.assertEqual(self.census.handshakes(), {})
        self.census.counted(1, {ALL: Counts(handshakes=(("ok", 2), ("failed", 1)))})
        self.census.counted(2, {ALL: Counts(handshakes=(("ok", 3),))})
        self.census.gone(1)
        self.assertEqual(self.census.handshakes(), {"ok": 5, "failed": 1})

    def test_certificate(self) -> None:
        """The certificate is that of a worker who has loaded it."""
        self.census.counted(1, {"a": Counts(requests=1)})
        self.assertIsNone(self.census.share("a").certificate)
        self.census.counted(2, {"a": Counts(not_after=9.0, source="files", fault="old")})
        self.assertEqual(
            self.census.share("a").certificate,
            {"source": "files", "issuer": "", "not_after": 9.0, "fault": "old"},
        )

    def test_gone(self) -> None:
        """What a worker had answered stays counted when it dies; what it had open does not."""
        self.census.counted(1, {"a": Counts(5, 2, 1, 1)})
        self.census.gone(1)
        self.census.gone(1)
        self.assertEqual(self.census.share("a"), Share(5, 0, 0, None))
        self.census.counted(2, {"a": Counts(4, 1)})
        self.census.gone(2)
        self.assertEqual(self.census.share("a"), Share(9, 0, 0, None))
        self.assertEqual((self.census._workers, self.census.connections(1)), ({}, 0))

    def test_removed(self) -> None:
        """Another site of the same name begins at nothing."""
        self.census.counted(1, {"a": Counts(5)})
        self.census.gone(1)
        self.census.counted(2, {"a": Counts(6)})
        self.census.removed(["a", "unknown"])
        self.census.counted(2, {"a": NONE})
        self.assertEqual(self.census.share("a"), NOTHING)
