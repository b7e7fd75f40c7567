"""Streams that hand on what they receive, through pipes when it is much."""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from snickers import listening, splice
from snickers.relay import Relay
from snickers.splice import DO_WITHOUT, FEW, KEPT, PIPES, SIZE, Carried, Pipes, connect, join
from snickers.stream import FLUSH_WITHIN, HIGH_WATER, READ_SIZE
from tests.descriptors import open_descriptors
from tests.wires import Wire, Wires

MUCH = os.urandom(1 << 20) * 3


class PipesTests(SynchronousTestCase):
    """Pipes are few."""

    def setUp(self) -> None:
        self.pipes = Pipes()
        self.addCleanup(self.pipes.close)

    def test_bounded(self) -> None:
        """There are no more than there may be; some of those that come back are kept."""
        taken = [self.pipes.take() for _ in range(PIPES)]
        self.assertIs(self.pipes.take(), None)
        for pipe in taken:
            assert pipe is not None
            self.pipes.give(pipe)
        self.assertEqual(self.pipes.open, KEPT)
        self.assertIsNot(self.pipes.take(), None)

    def test_used_again(self) -> None:
        """A pipe that is empty is used again, one that is not never."""
        pipe = self.pipes.take()
        assert pipe is not None
        self.pipes.give(pipe)
        self.assertIs(self.pipes.take(), pipe)
        os.write(pipe.into, b"left")
        pipe.held = 4
        self.pipes.give(pipe)
        self.assertEqual(self.pipes.open, 0)
        self.assertRaises(OSError, os.fstat, pipe.out)
        self.assertRaises(OSError, os.fstat, pipe.into)

    def test_no_descriptors(self) -> None:
        """When there are no descriptors there is no pipe, and no exception."""

        def none(flags: int) -> Any:
            raise OSError(24, "Too many open files")

        self.patch(os, "pipe2", none)
        self.assertIs(self.pipes.take(), None)
        self.assertEqual(self.pipes.open, 0)

    def test_a_system_without(self) -> None:
        """Where there is no splice(2) there are no pipes."""
        self.patch(splice, "splice", None)
        self.assertIs(Pipes().take(), None)

    def test_a_limit_of_all_pipes(self) -> None:
        """A pipe that may not be large is a small one; one of two pages is none."""
        sizes = [65536, 8192, 65536]

        def denied(descriptor: int, command: int, size: int = 0) -> int:
            if command == fcntl.F_SETPIPE_SZ:
                raise PermissionError
            return sizes.pop(0)

        self.patch(splice.fcntl, "fcntl", denied)
        before = open_descriptors()
        taken = [self.pipes.take() for _ in range(3 + DO_WITHOUT)]
        self.assertEqual(
            [pipe is None for pipe in taken], [False, *(True for _ in range(1 + DO_WITHOUT)), False]
        )
        self.assertEqual(self.pipes.open, 2)
        self.assertEqual(len(open_descriptors() - before), 4)
        for pipe in taken:
            if pipe is not None:
                self.pipes.give(pipe)

    def test_reserve(self) -> None:
        """Their descriptors are among those that clients never get."""
        self.assertEqual(listening.RESERVE, 128 + 2 * PIPES)


class CarriedTests(SynchronousTestCase):
    """Two streams that are joined, with a relay above them."""

    def setUp(self) -> None:
        self.wires = Wires(self)
        self.wires.make = Carried
        self.turns = self.wires.turns
        self.pipes = Pipes()
        self.addCleanup(self.pipes.close)
        self.ended = 0
        self.left: Any
        self.right: Any
        self.left, self.client = self.wires.pair()
        self.right, self.server = self.wires.pair()
        for stream in (self.left, self.right):
            stream.start()
        Relay(self.left, self.right, self.end)
        join(self.left, self.right, self.pipes)

    def end(self) -> None:
        self.ended += 1

    def fill(self) -> int:
        """Have the client send until nobody takes any more; return how many bytes that were."""
        sent = 0
        while True:
            try:
                sent += self.client.sock.send(MUCH[sent : sent + READ_SIZE])
            except BlockingIOError:
                if not self.turns.turn():
                    return sent

    def pump(self, data: bytes) -> bytes:
        """Have the client send *data* while the server reads."""
        got = bytearray()
        view = memoryview(data)
        while view:
            try:
                view = view[self.client.sock.send(view) :]
            except BlockingIOError:
                pass
            got += self.server.receive()
        return bytes(got + self.server.receive())

    def assertOver(self) -> None:
        self.turns.settle()
        self.assertEqual(self.ended, 1)
        self.assertEqual((self.turns.getReaders(), self.turns.getWriters()), ([], []))
        self.assertEqual(self.pipes.open, len(self.pipes._idle))

    def test_small_pieces(self) -> None:
        """...never see a pipe."""
        for _ in range(10):
            self.client.send(b"x" * 1000)
            self.assertEqual(self.server.receive(), b"x" * 1000)
            self.server.send(b"y" * 10)
            self.assertEqual(self.client.receive(), b"y" * 10)
        self.assertEqual(self.pipes.open, 0)
        self.assertEqual((self.left.received, self.right.sent), (10000, 10000))
        self.assertEqual((self.right.received, self.left.sent), (100, 100))

    def test_much(self) -> None:
        """A direction that fills its reads goes through a pipe, whole, until little comes."""
        self.assertTrue(self.pump(MUCH) == MUCH)
        self.assertEqual(self.pipes.open, 1)
        self.assertEqual((self.left.received, self.right.sent), (len(MUCH), len(MUCH)))
        self.client.send(b"x" * (FEW - 1))
        self.server.receive()
        self.assertFalse(self.left._bulk)
        self.client.end()
        self.server.end()
        self.assertOver()

    def test_urgent_data(self) -> None:
        """A byte of urgent data, at which splice(2) stops for good, holds nothing up, ends nothing
        early, and has nobody run in circles."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
        self.addCleanup(client.close)
        ours.setblocking(False)
        left = Carried(self.turns, ours, self.wires.sweep, b"127.0.0.1")
        self.addCleanup(left.abortConnection)
        self.right, self.server = self.wires.pair()
        left.start()
        self.right.start()
        Relay(left, self.right, self.end)
        join(left, self.right, self.pipes)
        self.client = Wire(self.turns, client)
        self.assertTrue(self.pump(MUCH) == MUCH)
        left._bulk = True
        client.send(b"!", socket.MSG_OOB)
        client.send(b"after it")
        client.shutdown(socket.SHUT_WR)
        got = self.server.receive()
        self.assertEqual((got, self.server.ended), (b"after it", True))
        self.server.end()
        self.turns.settle()
        self.assertEqual((self.ended, self.pipes.open), (1, len(self.pipes._idle)))

    def test_a_slow_reader(self) -> None:
        """No more than a pipe is held for a reader that does not read, who then gets it all."""
        sent = self.fill()
        self.assertNotIn(self.left, self.turns.getReaders())
        self.assertIn(self.right, self.turns.getWriters())
        self.assertLessEqual(self.left.received - self.right.sent, SIZE)
        got = self.server.receive()
        self.assertTrue(got == MUCH[:sent])
        self.assertIn(self.left, self.turns.getReaders())
        self.assertEqual(self.turns.getWriters(), [])

    def hold(self) -> int:
        """Have some bytes wait in a pipe; return how many the client has sent."""
        self.pump(MUCH[:READ_SIZE])
        self.assertTrue(self.left._bulk)
        self.right._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sent = self.fill()
        self.assertIsNot(self.right._inlet, None)
        return sent

    def test_an_end_behind_it(self) -> None:
        """The end of a direction comes after what is still in its pipe; the other goes on."""
        sent = self.hold()
        self.client.end()
        got = self.server.receive()
        self.assertTrue(got == MUCH[:sent])
        self.assertTrue(self.server.ended)
        self.server.send(b"the answer")
        self.server.end()
        self.assertEqual(self.client.receive(), b"the answer")
        self.assertTrue(self.client.ended)
        self.assertOver()

    def test_a_sender_that_is_gone(self) -> None:
        """What was received before is still delivered, and the pipe comes back."""
        self.hold()
        received = self.left.received
        self.left.abortConnection()
        self.turns.settle()
        got = self.server.receive()
        self.assertTrue(got == MUCH[: received - READ_SIZE])
        self.server.end()
        self.assertOver()

    def test_a_sender_that_is_gone_and_a_reader_that_does_not_read(self) -> None:
        """...is given up when nothing moves, and so is what waits in the pipe."""
        self.hold()
        self.left.abortConnection()
        self.turns.pass_time(FLUSH_WITHIN + 2)
        self.assertOver()
        self.assertEqual(self.pipes.open, 0)

    def test_progress(self) -> None:
        """A reader that reads slowly, after the sender has gone, gets its time anew."""
        self.hold()
        self.left.abortConnection()
        self.patch(splice, "splice", lambda *arguments, **more: 1)
        for _ in range(3):
            self.turns.pass_time(FLUSH_WITHIN - 2)
            self.right.doWrite()
        self.assertEqual(self.ended, 0)
        self.turns.pass_time(FLUSH_WITHIN + 2)
        self.assertEqual(self.ended, 1)
        self.server.close()
        self.assertOver()

    def test_a_reader_that_is_gone(self) -> None:
        """What waits for it is lost, and both sides end."""
        self.hold()
        self.server.close()
        self.client.close()
        self.turns.pass_time(FLUSH_WITHIN + 2)
        self.assertOver()
        self.assertEqual(self.pipes.open, 0)

    def test_a_reader_that_takes_no_more(self) -> None:
        """...while nothing waits for it: what comes is dropped, and both sides end."""
        self.pump(MUCH[:READ_SIZE])
        self.server.sock.close()
        self.client.sock.send(MUCH[:READ_SIZE])
        self.turns.settle()
        self.client.close()
        self.assertOver()

    def test_no_pipe_left(self) -> None:
        """Whoever gets no pipe is carried all the same, within the streams' high-water mark."""
        while self.pipes.take() is not None:
            pass
        self.assertTrue(self.pump(MUCH) == MUCH)
        self.fill()
        self.assertLessEqual(self.right._queued, HIGH_WATER + READ_SIZE)
        self.pipes.open = 0

    def test_a_reset(self) -> None:
        """A sender that resets its connection in the midst of much ends both sides."""
        self.pump(MUCH[:READ_SIZE])
        left = self.left

        def reset(*arguments: Any, **more: Any) -> int:
            raise ConnectionResetError

        self.patch(splice, "splice", reset)
        self.client.sock.send(b"x" * READ_SIZE)
        self.turns.settle()
        self.assertTrue(left.disconnected)
        self.server.receive()
        self.assertTrue(self.server.ended)
        self.server.close()
        self.assertOver()


class ConnectTests(SynchronousTestCase):
    """The way to a server."""

    def test_connect(self) -> None:
        """It makes streams that can be joined."""
        wires = Wires(self)
        listening_socket = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening_socket.close)
        made: list[object] = []

        class Made:
            transport: Any = None

            def connectionMade(self) -> None:
                made.append(self)

            def connectionLost(self, reason: object) -> None:
                made.append(reason)

        address = listening_socket.getsockname()[:2]
        stream = connect(wires.turns, wires.sweep, address, Made(), 5.0)
        self.assertIsInstance(stream, Carried)
        accepted, _ = listening_socket.accept()
        self.addCleanup(accepted.close)
        wires.turns.settle()
        self.assertEqual(len(made), 1)
        stream.abortConnection()
        wires.turns.settle()
        self.assertEqual(len(made), 2)
