"""What several containers write, read as if they were one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import followed as module
from snickers.containers.followed import Followed, end_of


class Slow:
    """What a container writes, read piece by piece; *taken* counts those that were."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.taken = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            yield piece

    def close(self) -> None:
        self.closed.set()


class FollowedTests(SynchronousTestCase):
    """Logs of several containers, read together."""

    def test_all(self) -> None:
        """Every line comes, once, with the name of who wrote it; then it ends."""
        one, other = Slow([b"a\nb", b"c\n", b"end"]), Slow([b"x\n"])
        followed = Followed([(b"", one), (b"db | ", other)])
        self.assertEqual(sorted(b"".join(followed).splitlines()), [b"a", b"bc", b"db | x", b"end"])

    def test_slow_reader(self) -> None:
        """Who writes faster than it is read waits, and no more than a bounded part is kept; nothing
        is left out of it. A reader that goes lets all of them go."""
        self.patch(module, "MOST_WAITING", 1000)
        line = b"x" * 99 + b"\n"
        stream = Slow([line] * 500)
        followed = Followed([(b"", stream)])
        reading = iter(followed)
        first = next(reading)
        settled = threading.Event()
        for _ in range(100):
            before = stream.taken
            settled.wait(0.02)
            if stream.taken == before and before > 1:
                break
        self.assertLess(stream.taken, 20)
        self.assertEqual(len(first + b"".join(reading)), 500 * len(line))
        stream = Slow([line] * 500)
        followed = Followed([(b"", stream)])
        next(iter(followed))
        followed.close()
        self.assertTrue(stream.closed.is_set())
        self.assertEqual(list(followed), [])
        self.assertLess(stream.taken, 20)

    def test_long_line(self) -> None:
        """A line without end is not waited for."""
        self.patch(module, "MOST_LINE", 10)
        stream = Slow([b"x" * 8] * 4)
        got = b"".join(Followed([(b"", stream)]))
        self.assertEqual(got.replace(b"\n", b""), b"x" * 32)
        self.assertGreater(got.count(b"\n"), 1)

    def test_last(self) -> None:
        """Of last lines that are enormous, the last ones are kept, whole."""
        self.patch(module, "MOST_WORDS", 20)
        stream = Slow([b"1 first\n2 se", b"cond\n3 third\n", b"4 fourth\n"])
        self.assertEqual(end_of(stream), b"3 third\n4 fourth\n")
        self.assertEqual(end_of(Slow([b"a\n", b"b\n"])), b"a\nb\n")
