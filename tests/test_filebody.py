"""Tests for `snickers.http.filebody`."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers.http import filebody
from snickers.http.filebody import FIRST, FileBody
from snickers.http.openfile import PIECE, OpenFile
from snickers.interfaces.exchange import IResponder
from tests.exchange_fake import RecordingExchange
from tests.threads_fake import FakeThreads

FIXED = settings(derandomize=True, deadline=None, max_examples=60)
SIZE = 5 * PIECE + 123
CONTENT = bytes(range(251)) * (SIZE // 251 + 1)
CONTENT = CONTENT[:SIZE]


class Memory:
    """An open file of which a part is in memory; counts its users."""

    def __init__(self, content: bytes = CONTENT, cold: set[int] | None = None) -> None:
        self.content = content
        self.cold = set() if cold is None else cold
        """Numbers of the pieces that only a thread can read."""
        self.different = False
        self.users = 1
        self.broken = False

    def hold(self) -> None:
        assert self.users > 0
        self.users += 1

    def release(self) -> None:
        assert self.users > 0
        self.users -= 1

    def read_now(self, offset: int, count: int, buffer: bytearray) -> bytes | None:
        assert self.users > 0
        if offset // PIECE in self.cold:
            return None
        if self.different:
            return b""
        # Up to the next page that is not in memory.
        return self.content[offset : min(offset + count, (offset // PIECE + 1) * PIECE)] or None

    def read(self, offset: int, count: int) -> bytes:
        assert self.users > 0
        if self.broken:
            raise OSError(5, "broken")
        return b"" if self.different else self.content[offset : offset + count]


class FileBodyTests(TestCase):
    """`FileBody`."""

    def setUp(self) -> None:
        self.threads = FakeThreads()
        self.file = Memory()

    def send(
        self, exchange: RecordingExchange, plan: list | None = None, paused: bool = False
    ) -> FileBody:
        """Send *plan*, by default the whole file; the test is a user of the file no more."""
        plan = [(0, SIZE)] if plan is None else plan
        length = sum(len(p) if isinstance(p, bytes) else p[1] - p[0] for p in plan)
        body = FileBody(exchange, self.file, plan, self.threads.defer, bytearray(PIECE), paused)
        self.file.release()
        body.start(200, [], length)
        return body

    def test_interface(self) -> None:
        """It is the exchange's responder while it sends."""
        exchange = RecordingExchange(window=1)
        verifyObject(IResponder, self.send(exchange))

    def test_from_memory(self) -> None:
        """What is in memory goes out at once, in pieces, and nothing waits for a thread."""
        exchange = RecordingExchange()
        self.send(exchange)
        self.assertEqual((exchange.data, exchange.ended), (CONTENT, "finish"))
        self.assertLessEqual(max(len(piece) for piece in exchange.pieces), PIECE)
        self.assertEqual((self.threads.ran, self.file.users), ([], 0))

    def test_short_file_with_its_head(self) -> None:
        """A file of one piece goes out in one call with the head."""
        exchange = RecordingExchange()
        self.file.content = b"short"
        self.send(exchange, [(0, 5)])
        self.assertEqual((exchange.pieces, exchange.ended), ([b"short"], "finish"))

    def test_from_disk(self) -> None:
        """What is not in memory comes by a thread; the head does not wait for it."""
        self.file.cold = {0, 1, 2, 3, 4, 5}
        exchange = RecordingExchange()
        self.send(exchange)
        self.assertEqual((exchange.status, exchange.data), (200, b""))
        self.threads.run_all()
        self.assertEqual((exchange.data, exchange.ended), (CONTENT, "finish"))
        self.assertEqual((self.threads.ran, self.file.users), (["read"] * 6, 0))

    def test_back_pressure(self) -> None:
        """A client that is full is sent nothing more until it has read."""
        exchange = RecordingExchange(window=2 * PIECE)
        self.send(exchange)
        self.assertEqual(len(exchange.data), 2 * PIECE)
        exchange.drain()
        self.assertEqual(len(exchange.data), 4 * PIECE)
        exchange.drain()
        self.assertEqual((exchange.data, exchange.ended), (CONTENT, "finish"))

    def test_paused_from_the_start(self) -> None:
        """A client that was full before the answer gets its head and a small piece."""
        exchange = RecordingExchange()
        body = self.send(exchange, paused=True)
        self.assertEqual(len(exchange.data), FIRST)
        body.resume()
        self.assertEqual(exchange.ended, "finish")

    def test_paused_while_a_thread_reads(self) -> None:
        """One piece that was under way comes; no other read begins."""
        self.file.cold = {0, 1, 2, 3, 4, 5}
        exchange = RecordingExchange()
        body = self.send(exchange)
        body.pause()
        self.threads.run()
        self.assertEqual((len(exchange.data), self.threads.waiting), (PIECE, []))
        body.resume()
        body.resume()
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run_all()
        self.assertEqual((exchange.data, exchange.ended), (CONTENT, "finish"))

    def test_turns(self) -> None:
        """However fast a client reads, after `TURN` bytes the others have their turn."""
        self.patch(filebody, "TURN", 2 * PIECE)
        exchange = RecordingExchange()
        self.send(exchange)
        self.assertEqual(len(exchange.data), 3 * PIECE)
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run_all()
        self.assertEqual((exchange.data, exchange.ended), (CONTENT, "finish"))

    def test_turn_ends_before_markup(self) -> None:
        """Bytes between spans need no thread, also when the turn is over."""
        self.patch(filebody, "TURN", PIECE)
        exchange = RecordingExchange()
        self.send(exchange, [b"<", (0, 2 * PIECE), b"-", (5, 6), b">"])
        self.threads.run_all()
        self.assertEqual(exchange.data, b"<" + CONTENT[: 2 * PIECE] + b"-" + CONTENT[5:6] + b">")
        self.assertEqual(exchange.ended, "finish")

    def test_changed(self) -> None:
        """A file that is written to under way ends the answer by abort."""
        exchange = RecordingExchange(window=PIECE)
        self.send(exchange)
        self.file.different = True
        exchange.drain()
        self.assertEqual((exchange.ended, len(exchange.data)), ("abort", PIECE))
        self.assertEqual(self.file.users, 0)

    def test_changed_before_the_head(self) -> None:
        """A file that has changed before anything was sent is asked for again."""
        self.file.different = True
        exchange = RecordingExchange()
        self.send(exchange)
        self.assertEqual((exchange.status, exchange.get(b"retry-after")), (503, b"1"))
        self.assertEqual(self.file.users, 0)

    def test_changed_while_a_thread_reads(self) -> None:
        """What a thread has read of a changed file is not sent."""
        self.file.cold = {1}
        exchange = RecordingExchange()
        self.send(exchange)
        self.file.different = True
        self.threads.run_all()
        self.assertEqual((exchange.ended, len(exchange.data)), ("abort", PIECE))
        self.assertEqual(self.file.users, 0)

    def test_truncated(self) -> None:
        """A file that ends too early ends the answer by abort."""
        self.file.content = CONTENT[: 2 * PIECE]
        exchange = RecordingExchange()
        self.send(exchange)
        self.threads.run_all()
        self.assertEqual((exchange.ended, len(exchange.data)), ("abort", 2 * PIECE))
        self.assertEqual(self.file.users, 0)

    def test_broken_disk(self) -> None:
        """A read that fails ends the answer by abort."""
        self.file.cold = {2}
        self.file.broken = True
        exchange = RecordingExchange()
        self.send(exchange)
        self.threads.run_all()
        self.assertEqual(exchange.ended, "abort")
        self.assertEqual(self.file.users, 0)

    def test_gone_while_paused(self) -> None:
        """A client that goes takes its use of the file along."""
        exchange = RecordingExchange(window=PIECE)
        self.send(exchange)
        exchange.lose()
        self.assertEqual(self.file.users, 0)

    def test_gone_while_a_thread_reads(self) -> None:
        """The file stays open until the thread has done with it; nothing is sent."""
        self.file.cold = {1}
        exchange = RecordingExchange()
        self.send(exchange)
        exchange.lose()
        self.assertEqual(self.file.users, 1)
        self.threads.run_all()
        self.assertEqual((self.file.users, len(exchange.data)), (0, PIECE))

    def test_gone_then_broken_disk(self) -> None:
        """A read that fails after the client has gone harms nothing."""
        self.file.cold = {1}
        self.file.broken = True
        exchange = RecordingExchange()
        self.send(exchange)
        exchange.lose()
        self.threads.run_all()
        self.assertEqual((self.file.users, exchange.ended), (0, "gone"))

    def test_gone_within_write(self) -> None:
        """A client that goes within a write, or within the head, is left alone at once."""
        for at in (0, 1, 2):
            self.file = Memory()

            class Going(RecordingExchange):
                def _take(self, data: bytes, at: int = at) -> None:
                    super()._take(data)
                    if len(self.pieces) > at:
                        self.lose()

            exchange = Going()
            self.send(exchange)
            self.assertEqual((self.file.users, exchange.ended), (0, "gone"))

    @FIXED
    @given(
        st.lists(
            st.binary(min_size=1, max_size=5)
            | st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3 * PIECE)).map(
                lambda span: (span[0], min(SIZE, span[0] + span[1]))
            ),
            min_size=1,
            max_size=5,
        ),
        st.sets(st.integers(0, 5)),
        st.sampled_from([None, 1, 1000, 2 * PIECE]),
        st.integers(1, 4),
        st.integers(0, 30),
    )
    def test_dialogues(
        self,
        plan: list,
        cold: set[int],
        window: int | None,
        turn: int,
        leaves: int,
    ) -> None:
        """In whatever order the client and the threads act, the body is right or cut short, the
        exchange ends once, and the file is let go of."""
        self.file = Memory(cold=cold)
        self.threads = FakeThreads()
        self.patch(filebody, "TURN", turn * PIECE)
        exchange = RecordingExchange(window=window)
        self.send(exchange, plan)
        for step in range(200):
            if exchange.ended:
                break
            if step == leaves and leaves < 25:
                exchange.lose()
            elif exchange.paused and (step % 3 or not self.threads.waiting):
                exchange.drain()
            elif self.threads.waiting:
                self.threads.run()
        self.threads.run_all()
        expected = b"".join(p if isinstance(p, bytes) else CONTENT[p[0] : p[1]] for p in plan)
        self.assertIn(exchange.ended, ("finish", "gone"))
        self.assertTrue(expected.startswith(exchange.data))
        if exchange.ended == "finish":
            self.assertEqual(exchange.data, expected)
        self.assertEqual(self.file.users, 0)


class RealFileTests(TestCase):
    """A `FileBody` with a real `OpenFile`."""

    def test_real_file(self) -> None:
        """A file on this system's disk arrives whole, and is closed."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(CONTENT)
        descriptor = os.open(path, os.O_RDONLY)
        opened = OpenFile(descriptor, os.fstat(descriptor))
        threads = FakeThreads()
        exchange = RecordingExchange()
        body = FileBody(exchange, opened, [(0, SIZE)], threads.defer, bytearray(PIECE))
        opened.release()
        body.start(200, [], SIZE)
        threads.run_all()
        self.assertEqual((exchange.data, exchange.ended), (CONTENT, "finish"))
        self.assertRaises(OSError, os.fstat, descriptor)
