"""A file that lines are appended to without waiting for the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers import logfile
from snickers.logfile import LogFile
from tests.threads_fake import FakeThreads


class FakeAlarm:
    """Notes what is raised and cleared."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def raised(self, kind: str, site: str, message: str) -> None:
        self.told.append(("raised", kind, message))

    def cleared(self, kind: str, site: str) -> None:
        self.told.append(("cleared", kind))


class LogFileTests(SynchronousTestCase):
    """The file, with threads that run when a test says so."""

    def setUp(self) -> None:
        self.threads = FakeThreads()
        self.alarm = FakeAlarm()
        self.path = Path(self.mktemp())
        self.file = LogFile(str(self.path), self.run_later, self.alarm)
        self.addCleanup(self.end)

    def run_later(self, function: Callable[[], Any]) -> Deferred[Any]:
        return self.threads.defer(function)

    def end(self) -> None:
        self.file.close()
        self.threads.run_all()

    def test_appended(self) -> None:
        """What is written while a write is under way follows in one more."""
        self.path.write_bytes(b"before\n")
        for line in (b"one\n", b"two\n", b"three\n"):
            self.file.write(line)
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run()
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run()
        self.assertEqual(self.path.read_bytes(), b"before\none\ntwo\nthree\n")
        self.assertEqual(self.threads.waiting, [])

    def test_mode(self) -> None:
        """A new file is not for everybody: it has addresses of people."""
        self.file.write(b"one\n")
        self.threads.run_all()
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_reopened(self) -> None:
        """After `reopen` lines go to a new file of the name, none are lost."""
        self.file.write(b"one\n")
        self.threads.run_all()
        moved = self.path.with_suffix(".1")
        self.path.rename(moved)
        self.file.write(b"two\n")
        self.threads.run_all()
        self.file.reopen()
        self.threads.run_all()
        self.assertEqual(self.path.read_bytes(), b"")
        self.file.write(b"three\n")
        self.threads.run_all()
        self.assertEqual(moved.read_bytes(), b"one\ntwo\n")
        self.assertEqual(self.path.read_bytes(), b"three\n")

    def test_heals(self) -> None:
        """What could not be written is told once, kept, and written when that is possible."""
        self.path.mkdir()
        self.file.write(b"one\n")
        self.threads.run_all()
        self.file.write(b"two\n")
        self.threads.run_all()
        ((raised, kind, message),) = self.alarm.told
        self.assertEqual((raised, kind), ("raised", "access log"))
        self.assertIn(f"{self.path} cannot be written: Is a directory", message)
        self.path.rmdir()
        self.file.write(b"three\n")
        self.threads.run_all()
        self.assertEqual(self.path.read_bytes(), b"one\ntwo\nthree\n")
        self.assertEqual(self.alarm.told[1:], [("cleared", "access log")])

    def test_half_written(self) -> None:
        """A full pipe takes a part: the rest follows, no byte twice."""
        os.mkfifo(self.path)
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        data = b"".join(b"%06d\n" % n for n in range(30000))
        self.file.write(data)
        self.threads.run_all()
        self.assertIn("Resource temporarily unavailable", self.alarm.told[0][2])
        read = b""
        for _ in range(10):
            try:
                while True:
                    read += os.read(reader, 65536)
            except BlockingIOError:
                pass
            self.file.write(b"")
            self.threads.run_all()
        self.assertEqual(read, data)

    def test_no_reader(self) -> None:
        """A pipe that nobody reads is a fault, not a wait."""
        os.mkfifo(self.path)
        self.file.write(b"one\n")
        self.threads.run_all()
        self.assertEqual(self.alarm.told[0][0], "raised")

    def test_bounded(self) -> None:
        """What finds no room is dropped, counted and told."""
        self.patch(logfile, "MAX_PENDING", 10)
        self.file.write(b"123456\n")
        self.file.write(b"7\n8\n9\n")
        self.assertEqual(self.file.lost, 3)
        self.assertIn("no room", self.alarm.told[0][2])
        self.threads.run_all()
        self.assertEqual(self.path.read_bytes(), b"123456\n")
        self.assertEqual(self.alarm.told[-1], ("cleared", "access log"))

    def test_closed(self) -> None:
        """The end waits for what is left, and closes the file."""
        self.file.write(b"one\n")
        done = self.file.close()
        self.assertNoResult(done)
        self.threads.run_all()
        self.successResultOf(done)
        self.assertEqual(self.path.read_bytes(), b"one\n")
        self.assertEqual(self.file._descriptor, -1)

    def test_left(self) -> None:
        """What was wrong with a file is over when lines go elsewhere from now on."""
        self.path.mkdir()
        self.file.write(b"one\n")
        self.threads.run_all()
        self.assertEqual(self.alarm.told[-1][0], "raised")
        done = self.file.leave()
        self.threads.run_all()
        self.successResultOf(done)
        self.assertEqual(self.alarm.told[-1], ("cleared", "access log"))

    def test_left_well(self) -> None:
        """A file that was as it should be is left without a word."""
        self.file.write(b"one\n")
        done = self.file.leave()
        self.threads.run_all()
        self.successResultOf(done)
        self.assertEqual(self.alarm.told, [])

    def test_closed_though_failing(self) -> None:
        """The end does not wait for a disk that takes nothing."""
        self.path.mkdir()
        self.file.write(b"one\n")
        done = self.file.close()
        self.threads.run_all()
        self.successResultOf(done)

    def test_no_threads(self) -> None:
        """When the threads have ended before, that is told, and the end comes all the same."""
        self.file.write(b"one\n")
        done = self.file.close()
        self.threads.waiting.pop()[0].errback(Failure(RuntimeError("ended")))
        self.successResultOf(done)
        self.assertIn("ended", self.alarm.told[0][2])
