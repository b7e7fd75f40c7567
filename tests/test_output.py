"""What servers wrote: whole lines, in order, never more than a bound."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import TestCase

from snickers.containers.output import KEPT, LONGEST, TOLD, TOLD_LINES, Output, Tail


class TailTests(TestCase):
    """`Tail`."""

    def test_pieces(self) -> None:
        """What comes in pieces is one text, without its last newline."""
        tail = Tail()
        for data in (b"\xc3", b"\xa9t", b"\xc3\xa9\nend\n"):
            tail.add(data)
        self.assertEqual(tail.text(), "\u00e9t\u00e9\nend")

    def test_bounded(self) -> None:
        """The last lines stay, and of one that never ends its end."""
        tail = Tail()
        for number in range(10_000):
            tail.add(b"%d\n" % number)
        lines = tail.text().split("\n")
        self.assertEqual(lines, [str(number) for number in range(10_000 - TOLD_LINES, 10_000)])
        tail.add(b"x" * 100_000 + b"y")
        self.assertEqual(tail.text(), "x" * (TOLD - 1) + "y")

    def test_odd(self) -> None:
        """What is no text is shown as well as it can be."""
        tail = Tail()
        self.assertEqual(tail.text(), "")
        tail.add(b"a\xff")
        self.assertEqual(tail.text(), "a\ufffd")


class OutputTests(TestCase):
    """`Output`."""

    def setUp(self) -> None:
        self.output = Output()
        self.output.begin("run")
        self.got: list[bytes] = []

    def add(self, data: bytes, descriptor: int = 1, run: str = "run") -> None:
        self.output.add(run, descriptor, data)

    def test_last(self) -> None:
        """The last lines are returned, oldest first."""
        self.add(b"one\ntwo\nthree\n")
        self.assertEqual(self.output.last(2), b"two\nthree\n")
        self.assertEqual(self.output.last(9), b"one\ntwo\nthree\n")
        self.assertEqual(self.output.last(0), b"")
        self.assertEqual(self.output.last(-1), b"")

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
    def test_any_pieces(self, data: bytes, cuts: list[int]) -> None:
        """However the bytes are cut, the lines are the same."""
        output = Output()
        output.begin("run")
        at = 0
        for cut in sorted(cuts):
            output.add("run", 1, data[at:cut])
            at = max(at, cut)
        output.add("run", 1, data[at:])
        output.end("run")
        whole = data if data.endswith(b"\n") or not data else data + b"\n"
        self.assertEqual(output.last(1000), whole)

    def test_descriptors_apart(self) -> None:
        """Pieces of different descriptors never mix within a line."""
        self.add(b"out")
        self.add(b"err", 2)
        self.add(b"put\n")
        self.add(b"or\n", 2)
        self.assertEqual(self.output.last(2), b"output\nerror\n")

    def test_runs_apart(self) -> None:
        """What an ended run still says neither mixes with the next one nor ends its following."""
        self.add(b"old")
        self.output.begin("next")
        following = self.output.follow(self.got.append)
        self.add(b"new", run="next")
        self.output.end("run")
        self.add(b"er\n", run="next")
        self.assertEqual(self.got, [b"old\n", b"newer\n"])
        self.assertNoResult(following)
        self.output.end("next")
        self.successResultOf(following)

    def test_bounded(self) -> None:
        """The oldest lines go when more than the bound is kept."""
        for number in range(30_000):
            self.add(b"%020d\n" % number)
        kept = self.output.last(30_000)
        self.assertLessEqual(len(kept), KEPT)
        self.assertGreater(len(kept), KEPT - 30)
        self.assertTrue(kept.endswith(b"29999\n"))

    def test_long_line(self) -> None:
        """A line without an end is broken, whether it comes whole or in pieces."""
        self.add(b"x" * (LONGEST + 1))
        self.assertEqual(self.output.last(9), b"x" * LONGEST + b"\n")
        self.add(b"\n" + b"y" * (LONGEST + 1) + b"\n")
        self.assertEqual(self.output.last(3), b"x\n" + b"y" * LONGEST + b"\ny\n")

    def test_follow(self) -> None:
        """A follower gets whole lines as they come, until the run ends."""
        self.add(b"before\n")
        following = self.output.follow(self.got.append)
        self.add(b"af")
        self.assertEqual(self.got, [])
        self.add(b"ter\nlast")
        self.assertEqual(self.got, [b"after\n"])
        self.assertNoResult(following)
        self.output.end("run")
        self.assertEqual(self.got, [b"after\n", b"last\n"])
        self.successResultOf(following)

    def test_cancelled(self) -> None:
        """A cancelled follower gets nothing more."""
        following = self.output.follow(self.got.append)
        following.cancel()
        self.failureResultOf(following, CancelledError)
        self.add(b"line\n")
        self.output.end("run")
        self.assertEqual(self.got, [])

    def test_follow_nothing(self) -> None:
        """Where nothing runs, following ends at once."""
        self.output.end("run")
        self.successResultOf(self.output.follow(self.got.append))
