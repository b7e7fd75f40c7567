"""What servers wrote, on disk."""

from __future__ import annotations

import errno
import os
import stat
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import journal
from snickers.containers.journal import FULL, Journal, Written
from snickers.containers.output import LONGEST, Output
from tests.descriptors import open_descriptors


class JournalTests(SynchronousTestCase):
    """`Journal`."""

    def setUp(self) -> None:
        self.folder = os.path.join(self.mktemp(), "alice.example")
        self.journal = self.another()

    def another(self) -> Journal:
        made = Journal(self.folder)
        self.addCleanup(made.close)
        return made

    def size(self) -> int:
        return sum(
            os.stat(os.path.join(self.folder, name)).st_size for name in os.listdir(self.folder)
        )

    def test_last(self) -> None:
        """The last lines are there for whoever looks, also for another Snickers; one that was
        only begun is not."""
        self.assertFalse(self.journal.there())
        self.journal.add(b"one\ntwo\nthr")
        self.journal.add(b"ee\nfo")
        for each in (self.journal, self.another()):
            self.assertTrue(each.there())
            self.assertEqual(each.last(2), b"two\nthree\n")
            self.assertEqual(each.last(99), b"one\ntwo\nthree\n")
            self.assertEqual((each.last(0), each.last(-1)), (b"", b""))

    def test_for_nobody_else(self) -> None:
        """Nobody but Snickers' own user can read it."""
        self.journal.add(b"secret\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.folder).st_mode), 0o700)
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_bounded(self) -> None:
        """However much is written, no more than twice the bound is kept, nor less than it."""
        for number in range(60_000):
            self.journal.add(b"%020d\n" % number)
        self.assertLessEqual(self.size(), 2 * (FULL + 21))
        kept = self.journal.last(60_000)
        self.assertGreater(len(kept), FULL)
        lines = kept.split(b"\n")[:-1]
        first = int(lines[0])
        self.assertEqual(lines, [b"%020d" % number for number in range(first, 60_000)])

    def test_few_of_many(self) -> None:
        """Lines of the former file are there right after it was full."""
        line = b"x" * 99 + b"\n"
        while not os.path.exists(os.path.join(self.folder, "log.former")):
            self.journal.add(line)
        self.assertEqual(self.journal.last(5), 5 * line)

    def test_long_line(self) -> None:
        """A line without an end is bounded, and broken when it is read."""
        for _ in range(100):
            self.journal.add(b"x" * LONGEST)
        self.assertLessEqual(self.size(), 2 * (FULL + LONGEST))
        self.journal.add(b"\n")
        self.assertEqual(self.journal.last(2), 2 * (b"x" * LONGEST + b"\n"))

    def test_goes_on(self) -> None:
        """Another journal goes on where the first was, also within a line."""
        self.journal.add(b"one\nbeg")
        self.journal.close()
        other = self.another()
        other.add(b"un\n")
        self.assertEqual(other.last(9), b"one\nbegun\n")
        other.add(b"last")
        other.close()
        third = self.another()
        third.end_line()
        third.end_line()
        self.assertEqual(third.last(9), b"one\nbegun\nlast\n")

    def test_disk_full(self) -> None:
        """A full disk costs lines and nothing else; when there is room again it goes on."""
        self.journal.add(b"one\n")

        def refuse(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patched = self.patch(os, "write", refuse)
        self.journal.add(b"two\n")
        self.journal.end_line()
        patched.restore()
        self.journal.add(b"three\n")
        self.assertEqual(self.journal.last(9), b"one\nthree\n")

    def test_no_folder(self) -> None:
        """Where no folder can be made nothing fails."""
        os.makedirs(os.path.dirname(self.folder))
        with open(self.folder, "w", encoding="ascii"):
            pass
        self.journal.add(b"one\n")
        self.assertEqual(self.journal.last(9), b"")
        self.assertFalse(self.journal.there())
        self.journal.remove()

    def test_not_turned(self) -> None:
        """A file that cannot take the other's place does not grow."""
        self.patch(journal, "FULL", 10)

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        self.patch(os, "replace", refuse)
        for _ in range(10):
            self.journal.add(b"0123456789\n")
        self.assertEqual(self.size(), 11)

    def test_removed(self) -> None:
        """Of what was removed nothing is left, and it may be removed again."""
        self.patch(journal, "FULL", 10)
        for _ in range(3):
            self.journal.add(b"0123456789\n")
        before = open_descriptors()
        self.journal.remove()
        self.journal.remove()
        self.assertEqual(os.listdir(self.folder), [])
        self.assertEqual(open_descriptors() - before, set())

    def test_no_link(self) -> None:
        """A link in its place is not followed."""
        os.makedirs(self.folder)
        target = self.mktemp()
        os.symlink(os.path.abspath(target), os.path.join(self.folder, "log"))
        self.journal.add(b"one\n")
        self.assertFalse(os.path.exists(target))


class WrittenTests(SynchronousTestCase):
    """`Written`."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.output = self.another()
        self.got: list[bytes] = []

    def another(self) -> Written:
        written = Written(Journal(self.folder))
        self.addCleanup(written.journal.close)
        written.begin("run")
        return written

    def test_silent(self) -> None:
        """A server that says nothing has a log all the same."""
        self.assertTrue(self.output.journal.there())
        self.assertEqual(self.output.last(9), b"")

    def test_at_once(self) -> None:
        """What came is on disk at once, a line that has only begun included."""
        self.output.add("run", 1, b"one\ntw")
        with open(os.path.join(self.folder, "log"), "rb") as file:
            self.assertEqual(file.read(), b"one\ntw")

    def test_followed(self) -> None:
        """Whole lines are followed, until the run ends; what it began counts as a line."""
        following = self.output.follow(self.got.append)
        self.output.add("run", 1, b"one\ntw")
        self.assertEqual(self.got, [b"one\n"])
        self.output.end("run")
        self.assertEqual(self.got, [b"one\n", b"tw\n"])
        self.successResultOf(following)
        self.assertEqual(self.output.last(9), b"one\ntw\n")

    def test_handed_over(self) -> None:
        """Who lets go of a run ends the following and no line: somebody else goes on with it."""
        following = self.output.follow(self.got.append)
        self.output.add("run", 1, b"one\ntw")
        self.output.leave("run")
        self.successResultOf(following)
        other = self.another()
        other.add("run", 1, b"o\n")
        self.assertEqual(other.last(9), b"one\ntwo\n")
        self.assertEqual(self.got, [b"one\n"])

    def test_old_run(self) -> None:
        """The end of an earlier run ends neither the next one's following nor its line."""
        self.output.begin("next")
        following = self.output.follow(self.got.append)
        self.output.add("next", 1, b"beg")
        self.output.end("run")
        self.output.leave("run")
        self.output.add("next", 1, b"un\n")
        self.assertNoResult(following)
        self.assertEqual(self.output.last(9), b"begun\n")

    @settings(derandomize=True, deadline=None, max_examples=50)
    @given(st.lists(st.binary(max_size=40) | st.just(b"\n"), max_size=20))
    def test_as_in_memory(self, pieces: list[bytes]) -> None:
        """What is read is what is kept in memory of a server that ends with Snickers."""
        with tempfile.TemporaryDirectory() as folder:
            kept, written = Output(), Written(Journal(folder))
            for output in (kept, written):
                output.begin("run")
                for piece in pieces:
                    output.add("run", 1, piece)
                output.end("run")
            for count in (1, 3, 1000):
                self.assertEqual(written.last(count), kept.last(count))
