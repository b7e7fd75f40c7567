"""Pipes that outlive who reads them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import pace, pipe
from snickers.containers.pipe import Pipe
from tests.descriptors import open_descriptors


class FakeReactor(Clock):
    """A clock that remembers who is to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)


class MakingTests(SynchronousTestCase):
    """`make` and `find`."""

    def setUp(self) -> None:
        self.path = self.mktemp()

    def closing(self, *descriptors: int) -> None:
        for each in descriptors:
            self.addCleanup(os.close, each)

    def test_outlives(self) -> None:
        """What was written while nobody read is there for the next reader, and the writer lives."""
        reads, writes = pipe.make(self.path)
        self.closing(writes)
        os.write(writes, b"one ")
        os.close(reads)
        os.write(writes, b"two")
        again = pipe.find(self.path)
        self.closing(again)
        self.assertEqual(os.read(again, 100), b"one two")

    def test_room(self) -> None:
        """What waits is bounded, and more than the kernel gives unasked."""
        reads, writes = pipe.make(self.path)
        self.closing(reads, writes)
        self.assertEqual(fcntl.fcntl(writes, fcntl.F_GETPIPE_SZ), pipe.ROOM)
        os.set_blocking(writes, False)
        self.assertEqual(os.write(writes, bytes(2 * pipe.ROOM)), pipe.ROOM)

    def test_no_room(self) -> None:
        """Where the kernel gives no more, what it gives will do."""

        def refuse(*_: object) -> None:
            raise PermissionError

        self.patch(fcntl, "fcntl", refuse)
        self.closing(*pipe.make(self.path))

    def test_anew(self) -> None:
        """A new pipe takes the place of what was there; who has the old one keeps that."""
        old = pipe.make(self.path)
        new = pipe.make(self.path)
        self.closing(*old, *new)
        os.write(old[1], b"old")
        self.assertRaises(BlockingIOError, os.read, new[0], 100)
        self.assertEqual(os.read(old[0], 100), b"old")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_none(self) -> None:
        """What is no pipe is not read."""
        before = open_descriptors()
        self.assertIsNone(pipe.find(self.path))
        with open(self.path, "w", encoding="ascii"):
            pass
        self.assertIsNone(pipe.find(self.path))
        os.unlink(self.path)
        os.symlink("/dev/zero", self.path)
        self.assertIsNone(pipe.find(self.path))
        self.assertRaises(OSError, pipe.make, os.path.join(self.path, "x"))
        self.assertEqual(open_descriptors() - before, set())

    def test_half_made(self) -> None:
        """When a pipe cannot be opened nothing is left open."""
        before = open_descriptors()
        real = os.open

        def refuse(path: str, flags: int) -> int:
            if flags & os.O_RDWR:
                raise OSError(errno.EMFILE, "Too many open files")
            return real(path, flags)

        self.patch(os, "open", refuse)
        self.assertRaises(OSError, pipe.make, self.path)
        self.assertEqual(open_descriptors() - before, set())


class PipeTests(SynchronousTestCase):
    """`Pipe`."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        reads, self.writes = pipe.make(self.mktemp())
        self.addCleanup(self.end)
        self.heard: list[bytes] = []
        self.overs = 0
        self.pipe = Pipe(self.reactor, reads, self.heard.append, self.over)

    def over(self) -> None:
        self.overs += 1

    def end(self) -> None:
        self.pipe.close()
        if self.writes >= 0:
            os.close(self.writes)

    def test_heard(self) -> None:
        """What comes is heard, and nothing is no end."""
        self.assertIn(self.pipe, self.reactor.readers)
        os.write(self.writes, b"one")
        self.pipe.doRead()
        self.pipe.doRead()
        self.assertEqual((self.heard, self.overs), ([b"one"], 0))

    def test_over(self) -> None:
        """When nobody can write any more it is over, after all that was written."""
        os.write(self.writes, b"last")
        os.close(self.writes)
        self.writes = -1
        self.pipe.doRead()
        self.assertEqual((self.heard, self.overs), ([b"last"], 0))
        self.pipe.doRead()
        self.assertEqual((self.overs, self.reactor.readers), (1, set()))

    def test_closed(self) -> None:
        """Closed, it is over once, and holds nothing."""
        self.pipe.close()
        self.pipe.close()
        self.pipe.connectionLost(None)
        self.assertEqual((self.overs, self.reactor.readers), (1, set()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_broken(self) -> None:
        """What cannot be read is over."""

        def fail(*_: object) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "read", fail)
        self.pipe.doRead()
        self.assertEqual(self.overs, 1)

    def test_flood(self) -> None:
        """Who writes too much is not read for a while, and then again; at its end all of it."""
        self.patch(pace, "FLOOD", 10)
        os.write(self.writes, bytes(11))
        self.pipe.doRead()
        self.assertEqual(self.reactor.readers, set())
        self.reactor.advance(pace.REST)
        self.assertEqual(self.reactor.readers, {self.pipe})
        os.write(self.writes, bytes(11))
        self.pipe.doRead()
        self.assertEqual(self.reactor.readers, set())
        self.pipe.hurry()
        self.assertEqual(self.reactor.readers, {self.pipe})

    def test_closed_resting(self) -> None:
        """Closed while it rests, it is never read again."""
        self.patch(pace, "FLOOD", 10)
        os.write(self.writes, bytes(11))
        self.pipe.doRead()
        self.pipe.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.readers, set())
