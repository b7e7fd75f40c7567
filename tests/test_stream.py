"""Streams, on real sockets and without real time."""

from __future__ import annotations

import errno
import math
import os
import socket
import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    IReadDescriptor,
    ITCPTransport,
    IWriteDescriptor,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers import stream as module
from snickers.stream import HIGH_WATER, LINGER_BYTES, LOST, LOW_WATER, Stream, connect
from snickers.sweep import Sweep

from .wires import Turns, Wire

BIG = bytes(range(256)) * 12000


class Whole:
    """A protocol that writes down what it is told; it does not know of half-closed connections."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: list[Any] = []
        self.told: list[str] = []
        self.transport: Any = None

    def connectionMade(self) -> None:
        self.told.append("made")

    def connectionFailed(self, reason: Failure) -> None:
        self.told.append("failed")
        self.lost.append(reason.value)

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure) -> None:
        self.told.append("lost")
        self.lost.append(reason.value)

    def deadlinePassed(self) -> None:
        self.told.append("deadline")


class Half(Whole):
    def readConnectionLost(self) -> None:
        self.told.append("half")


class Producer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class StreamCase(TestCase):
    tcp = False

    def setUp(self) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        self.stream, self.wire = self.pair()
        self.protocol = self.stream.protocol = Half()
        self.stream.start()

    def pair(self) -> tuple[Stream, Wire]:
        if self.tcp:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                theirs = socket.create_connection(listening.getsockname())
                ours, _ = listening.accept()
        else:
            ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return Stream(self.turns, ours, self.sweep, b"192.0.2.1"), Wire(self.turns, theirs)

    def assertLost(self, kind: type[BaseException]) -> None:
        self.assertEqual([type(value) for value in self.protocol.lost], [kind])
        self.assertTrue(self.stream.disconnected)
        self.assertEqual(self.stream.fileno(), -1)
        self.assertEqual((self.turns.getReaders(), self.turns.getWriters()), ([], []))


class InterfaceTests(StreamCase):
    tcp = True

    def test_interfaces(self) -> None:
        """A stream is what it says it is."""
        for interface in (
            IReadDescriptor,
            IWriteDescriptor,
            ITCPTransport,
            IPushProducer,
            IConsumer,
        ):
            verifyObject(interface, self.stream)

    def test_no_dict(self) -> None:
        """A stream has slots only: there may be very many."""
        self.assertFalse(hasattr(self.stream, "__dict__"))

    def test_addresses(self) -> None:
        """The addresses are the operating system's."""
        self.assertEqual(self.stream.getHost().port, self.wire.sock.getpeername()[1])
        self.assertEqual(self.stream.getPeer().port, self.wire.sock.getsockname()[1])

    def test_unix_addresses(self) -> None:
        """So are those of unix sockets, named or not."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        self.assertEqual(Stream(self.turns, ours, self.sweep, b"").getPeer().name, None)

    def test_options(self) -> None:
        """The options of a TCP transport can be set and read."""
        for value in (True, False):
            self.stream.setTcpNoDelay(value)
            self.stream.setTcpKeepAlive(value)
            self.assertEqual(
                (self.stream.getTcpNoDelay(), self.stream.getTcpKeepAlive()), (value, value)
            )


class ReadTests(StreamCase):
    def test_data(self) -> None:
        """What the peer sends reaches the protocol, and is counted."""
        self.wire.send(BIG)
        self.assertEqual(self.protocol.data, BIG)
        self.assertEqual(self.stream.received, len(BIG))

    def test_pause(self) -> None:
        """A paused stream reads nothing, a resumed one loses nothing."""
        self.stream.pauseProducing()
        self.wire.send(b"one")
        self.assertEqual(self.protocol.data, b"")
        self.stream.resumeProducing()
        self.turns.settle()
        self.assertEqual(self.protocol.data, b"one")

    def test_half_closed(self) -> None:
        """The peer's end is told as such; writing goes on."""
        self.wire.send(b"request")
        self.wire.end()
        self.assertEqual(self.protocol.told, ["half"])
        self.assertTrue(self.stream.eof)
        self.stream.write(b"answer")
        self.assertEqual(self.wire.receive(), b"answer")
        self.stream.resumeProducing()
        self.turns.settle()
        self.stream.loseConnection()
        self.assertEqual(self.protocol.told, ["half"])
        self.turns.settle()
        self.assertLost(ConnectionDone)
        self.wire.receive()
        self.assertTrue(self.wire.ended)

    def test_half_closed_unheard(self) -> None:
        """To a protocol that does not know of it, the peer's end is the connection's."""
        self.protocol = self.stream.protocol = Whole()
        self.wire.end()
        self.assertLost(ConnectionDone)

    def test_failing_protocol(self) -> None:
        """A protocol that raises costs itself the connection, and nobody else."""
        other, wire = self.pair()
        listener = other.protocol = Half()
        other.start()

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        self.protocol.dataReceived = fail
        self.wire.sock.send(b"x")
        wire.send(b"y")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([type(value) for value in self.protocol.lost], [ConnectionAborted])
        self.assertEqual((listener.data, listener.lost), (b"y", []))

    def test_protocol_exchanged(self) -> None:
        """The protocol can be exchanged while it is being told something."""
        second = Half()

        def switch(data: bytes) -> None:
            self.stream.protocol = second

        self.protocol.dataReceived = switch
        self.wire.send(b"one")
        self.wire.send(b"two")
        self.wire.close()
        self.assertEqual((second.data, second.told), (b"two", ["half"]))

    def test_write_while_receiving(self) -> None:
        """An answer from inside the call that brought the question leaves at once."""
        self.protocol.dataReceived = self.stream.write
        self.wire.send(b"echo")
        self.assertEqual(self.wire.receive(), b"echo")

    def test_lose_while_receiving(self) -> None:
        """Ending from inside a call is not told inside it."""
        seen = []

        def end(data: bytes) -> None:
            self.stream.loseConnection()
            self.stream.abortConnection()
            seen.append(list(self.protocol.told))

        self.protocol.dataReceived = end
        self.wire.send(b"x")
        self.assertEqual(seen, [[]])
        self.assertLost(ConnectionAborted)


class ResetTests(StreamCase):
    tcp = True

    def test_reset(self) -> None:
        """A reset is a connection lost, not one that was ended."""
        self.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.wire.close()
        self.assertLost(ConnectionLost)

    def test_reset_while_paused(self) -> None:
        """A reset that nobody reads is found by writing."""
        self.stream.pauseProducing()
        self.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.wire.close()
        self.assertEqual(self.protocol.lost, [])
        self.stream.write(b"x")
        self.assertEqual(self.protocol.lost, [])
        self.turns.settle()
        self.assertLost(ConnectionLost)

    def test_answer_before_the_reset(self) -> None:
        """What the peer sent before it took no more is still read."""
        self.wire.sock.send(b"early answer")
        self.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.wire.sock.close()
        self.stream.write(b"more of the request")
        self.stream.write(b"and more")
        self.turns.settle()
        self.assertEqual(self.protocol.data, b"early answer")
        self.assertLost(ConnectionLost)

    def test_abort(self) -> None:
        """An aborted connection is reset; the protocol hears of it a turn later."""
        self.stream.write(BIG)
        self.stream.abortConnection()
        self.stream.abortConnection()
        self.assertEqual((self.protocol.lost, self.stream.disconnected), ([], True))
        self.turns.settle()
        self.assertLost(ConnectionAborted)
        self.wire.receive()
        self.assertTrue(self.wire.reset)

    def test_linger(self) -> None:
        """A client that is still sending gets the whole answer, and no reset."""
        self.wire.sock.send(b"the beginning of a long body")
        self.stream.write(b"413")
        self.stream.loseConnection()
        self.wire.send(b"more of it" * 100)
        self.assertEqual(self.wire.receive(), b"413")
        self.assertTrue(self.wire.ended)
        self.wire.send(b"and more")
        self.assertEqual((self.wire.reset, self.protocol.lost), (False, []))
        self.wire.close()
        self.assertLost(ConnectionDone)


class WriteTests(StreamCase):
    def test_write_through(self) -> None:
        """What there is room for is sent at once; the reactor is not asked for anything."""
        self.stream.write(b"answer")
        self.stream.writeSequence([b" and", b" more"])
        self.assertEqual(self.wire.sock.recv(100), b"answer and more")
        self.assertEqual(self.turns.getWriters(), [])
        self.assertEqual(self.stream.sent, 15)

    def test_big(self) -> None:
        """3 MB arrive whole, in order, and after them nothing is asked of the reactor."""
        self.stream.write(BIG)
        self.stream.write(b"end")
        self.assertEqual(self.turns.getWriters(), [self.stream])
        self.assertEqual(self.wire.receive(), BIG + b"end")
        self.assertEqual(self.turns.getWriters(), [])
        self.assertEqual(self.stream.sent, len(BIG) + 3)

    def test_back_pressure(self) -> None:
        """A producer is paused when much is queued, resumed when little is, once each."""
        producer = Producer()
        self.stream.registerProducer(producer, True)
        room = 0
        while not self.turns.getWriters():
            self.stream.write(b"x" * 1000)
            room += 1000
        self.assertEqual(producer.told, [])
        self.stream.write(b"y" * HIGH_WATER)
        self.stream.write(b"y" * HIGH_WATER)
        self.assertEqual(producer.told, ["pause"])
        left = room + HIGH_WATER - LOW_WATER - 4096
        while left > 0:
            left -= len(self.wire.sock.recv(left))
            self.turns.turn()
        self.assertEqual(producer.told, ["pause"])
        self.wire.receive()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_producer_of_a_full_stream(self) -> None:
        """One that registers when much is queued is paused at once."""
        producer = Producer()
        self.stream.write(BIG)
        self.stream.registerProducer(producer, True)
        self.assertEqual(producer.told, ["pause"])

    def test_producer_rules(self) -> None:
        """Push producers only, one at a time, and none for a closed stream."""
        producer = Producer()
        self.assertRaises(ValueError, self.stream.registerProducer, producer, False)
        self.stream.registerProducer(producer, True)
        self.assertRaises(RuntimeError, self.stream.registerProducer, producer, True)
        self.stream.unregisterProducer()
        self.stream.abortConnection()
        self.stream.registerProducer(producer, True)
        self.assertEqual(producer.told, ["stop"])

    def test_unregistered_while_paused(self) -> None:
        """Who has unregistered is not resumed; who comes after is paused anew."""
        first, second = Producer(), Producer()
        self.stream.registerProducer(first, True)
        self.stream.write(BIG)
        self.stream.unregisterProducer()
        self.stream.registerProducer(second, True)
        self.wire.receive()
        self.assertEqual((first.told, second.told), (["pause"], ["pause", "resume"]))

    def test_lose_while_paused(self) -> None:
        """A producer may end the connection when it is paused; what was written arrives."""
        producer = Producer()
        producer.pauseProducing = self.stream.loseConnection
        self.stream.registerProducer(producer, True)
        self.stream.write(BIG)
        self.assertEqual(self.wire.receive(), BIG)
        self.assertTrue(self.wire.ended)

    def test_abort_while_resumed(self) -> None:
        """A producer may abort when it is resumed."""
        producer = Producer()
        producer.resumeProducing = self.stream.abortConnection
        self.stream.registerProducer(producer, True)
        self.stream.write(BIG)
        self.wire.receive()
        self.assertLost(ConnectionAborted)

    def test_write_while_resumed(self) -> None:
        """What is written by a producer that is resumed comes after what was queued."""
        producer = Producer()

        def more() -> None:
            self.stream.write(b"more")
            self.stream.loseWriteConnection()

        producer.resumeProducing = more
        self.stream.registerProducer(producer, True)
        self.stream.write(BIG)
        self.assertEqual(self.wire.receive(), BIG + b"more")
        self.assertTrue(self.wire.ended)

    def test_failing_producer(self) -> None:
        """A producer that raises when it is resumed costs its own connection only."""
        producer = Producer()

        def fail() -> None:
            raise ZeroDivisionError

        producer.resumeProducing = fail
        self.stream.registerProducer(producer, True)
        self.stream.write(BIG)
        self.wire.receive()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertLost(ConnectionAborted)

    @settings(derandomize=True, deadline=None, database=None, max_examples=40)
    @given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 200_000)), max_size=12))
    def test_any_pieces(self, steps: list[tuple[int, int]]) -> None:
        """However it is written and read, the peer gets every byte once and in order."""
        stream, wire = self.pair()
        stream.protocol = Half()
        stream.start()
        sent, got = b"", b""
        for number, (written, read) in enumerate(steps):
            data = bytes([number]) * written
            stream.write(data)
            sent += data
            if read:
                try:
                    got += wire.sock.recv(read)
                except BlockingIOError:
                    pass
            self.turns.turn()
        stream.loseConnection()
        self.assertEqual(got + wire.receive(), sent)
        self.assertTrue(wire.ended)
        self.assertEqual(stream.sent, len(sent))


class EndTests(StreamCase):
    def test_lose(self) -> None:
        """The peer sees the end after all that was written; then we wait for its own."""
        self.stream.write(BIG)
        self.stream.loseConnection()
        self.stream.loseConnection()
        self.stream.write(b"too late")
        self.assertEqual(self.wire.receive(), BIG)
        self.assertTrue(self.wire.ended)
        self.assertEqual(self.protocol.lost, [])
        self.wire.close()
        self.assertLost(ConnectionDone)

    def test_lose_tells_nothing_more(self) -> None:
        """After `loseConnection` the protocol hears of nothing but the end."""
        self.stream.loseConnection()
        self.wire.send(b"unheard")
        self.wire.end()
        self.assertEqual((self.protocol.data, self.protocol.told), (b"", ["lost"]))

    def test_lose_a_paused_one(self) -> None:
        """What a paused connection has not read does not keep it from ending."""
        self.stream.pauseProducing()
        self.wire.send(b"unread")
        self.stream.loseConnection()
        self.wire.close()
        self.assertLost(ConnectionDone)

    def test_linger_is_bounded_by_time(self) -> None:
        """A peer that neither ends nor says anything is left after some seconds."""
        self.stream.loseConnection()
        self.turns.pass_time(1.5)
        self.assertEqual(self.protocol.lost, [])
        self.turns.pass_time(1.5)
        self.assertLost(ConnectionDone)

    def test_linger_is_bounded_by_bytes(self) -> None:
        """A peer that sends and sends is left after so many bytes."""
        self.stream.loseConnection()
        with self.assertRaises(BrokenPipeError):
            for _ in range(3 * LINGER_BYTES // 65536):
                self.wire.send(b"x" * 65536)
        self.assertLost(ConnectionDone)

    def test_flushing_bounds_what_it_discards(self) -> None:
        """Nor does one that sends without reading keep us busy; its answer stays queued."""
        self.stream.write(BIG)
        self.stream.loseConnection()
        with self.assertRaises(AssertionError):
            for _ in range(3 * LINGER_BYTES // 65536):
                self.wire.send(b"x" * 65536)
        self.assertEqual(self.protocol.lost, [])

    def test_flush_is_bounded(self) -> None:
        """The rest of an answer that nobody reads is given up, but not while somebody does."""
        self.stream.write(BIG)
        self.stream.loseConnection()
        for _ in range(4):
            self.turns.pass_time(20)
            self.assertEqual(self.protocol.lost, [])
            for _ in range(8):
                self.wire.sock.recv(65536)
                self.turns.settle()
        self.turns.pass_time(31)
        self.assertLost(ConnectionAborted)

    def test_lose_write(self) -> None:
        """Our side can end alone, after what was written; reading goes on."""
        self.stream.write(BIG)
        self.stream.loseWriteConnection()
        self.stream.loseWriteConnection()
        self.stream.write(b"too late")
        self.assertEqual(self.wire.receive(), BIG)
        self.assertTrue(self.wire.ended)
        self.wire.send(b"still heard")
        self.assertEqual(self.protocol.data, b"still heard")
        self.wire.end()
        self.assertEqual(self.protocol.told, ["half", "lost"])
        self.assertLost(ConnectionDone)

    def test_lose_write_after_the_peer(self) -> None:
        """When the peer has ended before, the end of our side closes the connection."""
        self.wire.end()
        self.stream.loseWriteConnection()
        self.assertEqual(self.protocol.told, ["half"])
        self.turns.settle()
        self.assertLost(ConnectionDone)

    def test_lose_after_lose_write(self) -> None:
        """The end of our side, then the end of it all: lingering, as ever."""
        self.stream.write(BIG)
        self.stream.loseWriteConnection()
        self.stream.loseConnection()
        self.assertEqual(self.wire.receive(), BIG)
        self.stream.loseConnection()
        self.wire.send(b"discarded")
        self.assertEqual((self.protocol.data, self.protocol.lost), (b"", []))
        self.wire.end()
        self.assertLost(ConnectionDone)

    def test_peer_ends_while_flushing(self) -> None:
        """A peer that has ended before still gets all that was written."""
        self.stream.write(BIG)
        self.stream.loseConnection()
        self.wire.end()
        self.assertEqual(self.wire.receive(), BIG)
        self.turns.settle()
        self.assertLost(ConnectionDone)

    def test_peer_gone_while_flushing(self) -> None:
        """A peer that has gone before all was sent is a connection lost."""
        self.stream.write(BIG)
        self.stream.loseConnection()
        self.wire.close()
        self.assertLost(ConnectionLost)

    def test_peer_gone_while_writing(self) -> None:
        """So it is for a protocol in the middle of writing, whether it reads or not."""
        for paused in (False, True):
            self.setUp()
            if paused:
                self.stream.pauseProducing()
            self.stream.write(BIG)
            self.wire.close()
            self.assertLost(ConnectionLost)

    def test_closed(self) -> None:
        """``closed`` is called once, when the descriptor is free again."""
        seen: list[int] = []
        self.stream.closed = lambda stream: seen.append(stream.fileno())
        self.stream.abortConnection()
        self.assertEqual(seen, [-1])
        self.turns.settle()
        self.assertEqual(seen, [-1])

    def test_failing_end(self) -> None:
        """A protocol that raises when it is told of the end is logged."""

        def fail(reason: Failure) -> None:
            raise ZeroDivisionError

        self.protocol.connectionLost = fail
        self.stream.abortConnection()
        self.turns.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_reactor_ends(self) -> None:
        """A reactor that ends, or finds the descriptor dead, ends the stream."""
        self.stream.connectionLost(LOST)
        self.stream.connectionLost(LOST)
        self.assertLost(ConnectionLost)


class DeadlineTests(StreamCase):
    def test_deadline(self) -> None:
        """A protocol is told when its deadline has passed; what follows is its own affair."""
        self.stream.deadline = self.sweep.now + 10
        self.turns.pass_time(9)
        self.assertEqual(self.protocol.told, [])
        self.turns.pass_time(2)
        self.assertEqual(self.protocol.told, ["deadline"])
        self.assertEqual(self.stream.deadline, math.inf)
        self.assertFalse(self.stream.disconnected)

    def test_failing_deadline(self) -> None:
        """A protocol that raises at its deadline loses its connection."""

        def fail() -> None:
            raise ZeroDivisionError

        self.protocol.deadlinePassed = fail
        self.stream.deadline = self.sweep.now + 1
        self.turns.pass_time(2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertLost(ConnectionAborted)

    def test_closed_stream(self) -> None:
        """A closed stream is no longer watched."""
        self.stream.deadline = self.sweep.now + 1
        self.stream.abortConnection()
        self.turns.pass_time(2)
        self.assertEqual(self.protocol.told, ["lost"])


class Far:
    """A socket that does not become connected while it is ``away``."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.away = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def getpeername(self) -> Any:
        if self.away:
            raise OSError(107, "Transport endpoint is not connected")
        return self.sock.getpeername()


class ConnectTests(TestCase):
    def setUp(self) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        self.protocol = Half()

    def listen(self, address: Any = ("127.0.0.1", 0), backlog: int = 5) -> Any:
        family = socket.AF_INET
        if isinstance(address, str):
            family = socket.AF_UNIX
        elif ":" in address[0]:
            family = socket.AF_INET6
        self.listening = socket.socket(family)
        self.addCleanup(self.listening.close)
        self.listening.bind(address)
        self.listening.listen(backlog)
        name = self.listening.getsockname()
        return name if isinstance(name, str) else name[:2]

    def path(self) -> str:
        folder = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, folder)
        path = os.path.join(folder, "s")
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        return path

    def connect(self, address: Any, within: float = 5) -> Stream:
        stream = connect(self.turns, self.sweep, address, self.protocol, within)
        self.assertIs(self.protocol.transport, stream)
        self.addCleanup(stream.abortConnection)
        self.assertEqual(self.protocol.told, [])
        return stream

    def accept(self) -> Wire:
        sock, _ = self.listening.accept()
        self.addCleanup(sock.close)
        return Wire(self.turns, sock)

    def check(self, address: Any) -> Stream:
        stream = self.connect(address)
        stream.write(b"early ")
        self.turns.settle()
        self.assertEqual(self.protocol.told, ["made"])
        stream.write(b"late")
        wire = self.accept()
        self.assertEqual(wire.receive(), b"early late")
        wire.send(b"answer")
        self.assertEqual(self.protocol.data, b"answer")
        self.turns.pass_time(60)
        self.assertEqual(self.protocol.told, ["made"])
        return stream

    def test_tcp(self) -> None:
        """Once connected, what was written before is sent first; no deadline is left behind."""
        stream = self.check(self.listen())
        self.assertTrue(stream.getTcpNoDelay())
        self.assertEqual(stream.peer, b"127.0.0.1")

    def test_much_at_once(self) -> None:
        """What is written as soon as it is connected arrives whole, however much it is, whether or
        not something was written before, and the end with it."""
        data = bytes(range(251)) * 40_000
        for early in (b"", b"early "):
            self.protocol = Half()
            made = self.protocol.connectionMade

            def write(made: Any = made) -> None:
                made()
                self.protocol.transport.write(data)
                self.protocol.transport.loseWriteConnection()

            self.protocol.connectionMade = write  # type: ignore[method-assign]
            stream = self.connect(self.listen())
            if early:
                stream.write(early)
            self.turns.settle()
            wire = self.accept()
            self.assertTrue(wire.receive() == early + data, "something is missing")
            self.assertTrue(wire.ended)

    def test_tcp6(self) -> None:
        """A numeric IPv6 address is connected to as such."""
        try:
            address = self.listen(("::1", 0))
        except OSError:
            return
        self.assertEqual(self.check(address).peer, b"::1")

    def test_unix(self) -> None:
        """So is the path of a unix socket."""
        self.check(self.listen(self.path()))

    def test_big(self) -> None:
        """3 MB and the end of our side, written before there is a connection, arrive."""
        stream = self.connect(self.listen())
        stream.write(BIG)
        stream.loseWriteConnection()
        while not self.protocol.told:
            self.turns.turn()
        wire = self.accept()
        self.assertEqual(wire.receive(), BIG)
        self.assertTrue(wire.ended)

    def test_at_once(self) -> None:
        """A server on this host is connected without anything being waited for."""
        added: list[str] = []
        self.patch(self.turns, "addWriter", added.append)
        self.check(self.listen())
        self.assertEqual(added, [])

    def test_not_at_once(self) -> None:
        """A server that is farther away tells by the descriptor's readiness to be written to."""
        stream = self.connect(self.listen())
        far = Far(stream._socket)
        stream._socket = far  # type: ignore[assignment]
        self.turns.turn()
        self.assertEqual(self.protocol.told, [])
        self.assertEqual((self.turns.getReaders(), self.turns.getWriters()), ([], [stream]))
        far.away = False
        self.turns.settle()
        self.assertEqual(self.protocol.told, ["made"])
        self.assertEqual((self.turns.getReaders(), self.turns.getWriters()), ([stream], []))

    def test_end_without_data(self) -> None:
        """An end that was asked for before there is a connection is sent too."""
        self.connect(self.listen()).loseWriteConnection()
        self.turns.settle()
        wire = self.accept()
        wire.receive()
        self.assertTrue(wire.ended)

    def test_refused(self) -> None:
        """A refusal is told a turn later, with its reason."""
        address = self.listen()
        self.listening.close()
        self.connect(address)
        self.turns.settle()
        self.assertEqual(self.protocol.told, ["failed"])
        self.assertIsInstance(self.protocol.lost[0], ConnectionRefusedError)

    def test_refused_as_the_reactor_says_it(self) -> None:
        """A reactor that finds the descriptor dead does not hide why."""
        address = self.listen()
        self.listening.close()
        stream = self.connect(address)
        stream.connectionLost(LOST)
        self.assertIsInstance(self.protocol.lost[0], ConnectionRefusedError)

    def test_no_such_path(self) -> None:
        """A unix socket that is not there is told a turn later, too."""
        self.connect("/does/not/exist")
        self.turns.settle()
        self.assertEqual(self.protocol.told, ["failed"])
        self.assertEqual(self.protocol.lost[0].osError, errno.ENOENT)

    def test_no_descriptors(self) -> None:
        """When there are no descriptors left, that is told a turn later."""
        real = socket.SocketType

        class Full(real):
            def __init__(self, *args: Any) -> None:
                raise OSError(errno.EMFILE, "Too many open files")

        self.patch(module.socket, "SocketType", Full)
        stream = self.connect(("127.0.0.1", 1))
        self.assertTrue(stream.disconnected)
        self.turns.settle()
        self.assertEqual(self.protocol.told, ["failed"])
        self.assertEqual(self.protocol.lost[0].errno, errno.EMFILE)

    def full(self) -> Any:
        """Return an address that answers nothing: its backlog is full."""
        address = self.listen(self.path(), 0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(address)
        return address

    def test_timeout(self) -> None:
        """What takes too long fails with a `TimeoutError`."""
        stream = self.connect(self.full(), 5)
        self.turns.pass_time(4.5)
        self.assertEqual(self.protocol.told, [])
        self.turns.pass_time(1.5)
        self.assertEqual(self.protocol.told, ["failed"])
        self.assertIsInstance(self.protocol.lost[0], TimeoutError)
        self.assertTrue(stream.disconnected)
        self.turns.pass_time(1)

    def test_full_for_a_moment(self) -> None:
        """A unix socket whose backlog is full for a moment is tried again."""
        self.connect(self.full())
        self.turns.pass_time(1)
        self.accept()
        self.turns.pass_time(1)
        self.assertEqual(self.protocol.told, ["made"])

    def test_cancelled(self) -> None:
        """Who closes the stream meanwhile hears nothing any more."""
        for end in (Stream.loseConnection, Stream.abortConnection):
            for address in (self.listen(), "/does/not/exist"):
                stream = self.connect(address)
                end(stream)
                self.turns.pass_time(10)
                self.assertEqual(self.protocol.told, [])
                self.assertTrue(stream.disconnected)

    def test_closed_at_once(self) -> None:
        """A protocol may end the connection when it is told that it is made."""
        self.protocol.connectionMade = lambda: self.protocol.transport.abortConnection()
        self.connect(self.listen()).write(b"x")
        self.turns.settle()
        self.assertEqual(self.protocol.told, ["lost"])

    def test_failing_protocol(self) -> None:
        """A protocol that raises when it is told is logged, and its connection aborted."""

        def fail(*args: Any) -> None:
            raise ZeroDivisionError

        self.protocol.connectionMade = fail
        stream = self.connect(self.listen())
        self.turns.settle()
        self.assertTrue(stream.disconnected)
        self.protocol.connectionFailed = fail
        connect(self.turns, self.sweep, "/does/not/exist", self.protocol, 5)
        self.turns.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_event_of_another(self) -> None:
        """An event that was meant for the descriptor's previous owner connects nothing."""
        stream = self.connect(self.full())
        stream.doWrite()
        self.assertEqual(self.protocol.told, [])
