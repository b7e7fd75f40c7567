"""Real sockets without real time: streams on socket pairs, driven turn by turn.

A `Turns` is a reactor whose turns a test takes itself; readiness is the operating system's, time
is a `Clock`'s. A `Wire` is one end of a socket pair in a test's hand.
"""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from snickers.stream import CONNECTING, Stream, Sweep


@implementer(IReactorFDSet, IReactorTime)
class Turns(Clock):
    """A reactor for descriptors and time, both in the test's hand."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def read_instead(self, item: Any) -> None:
        self.writers.discard(item)
        self.readers.add(item)

    def let_go(self, item: Any) -> None:
        self.readers.discard(item)
        self.writers.discard(item)

    def later(self, call: Any, argument: Any) -> None:
        self.callLater(0, call, argument)

    def removeAll(self) -> list[Any]:
        both = [*self.readers, *self.writers]
        self.readers.clear()
        self.writers.clear()
        return both

    def getReaders(self) -> list[Any]:
        return list(self.readers)

    def getWriters(self) -> list[Any]:
        return list(self.writers)

    def turn(self) -> bool:
        """Do what is ready now; say whether anything was."""
        poll = select.poll()
        ready: dict[int, list[Any]] = {}
        for items, flag in ((self.readers, select.POLLIN), (self.writers, select.POLLOUT)):
            for item in items:
                entry = ready.setdefault(item.fileno(), [item, 0])
                entry[1] |= flag
        for number, (_, flags) in ready.items():
            poll.register(number, flags)
        events = poll.poll(0)
        for number, event in events:
            item = ready[number][0]
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR) and item in self.readers:
                item.doRead()
            if event & (select.POLLOUT | select.POLLHUP | select.POLLERR) and item in self.writers:
                item.doWrite()
        due = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
        self.advance(0)
        return bool(events) or due

    def settle(self) -> None:
        """Take turns until nothing is left to do."""
        for _ in range(10000):
            if not self.turn():
                return
        raise AssertionError("the reactor spins")

    def pass_time(self, seconds: float) -> None:
        """Let *seconds* pass, half a second at a time, settling in between."""
        steps = max(1, int(seconds * 2 + 0.999))
        for _ in range(steps):
            self.advance(seconds / steps)
            self.settle()


class Wire:
    """A test's end of a socket pair."""

    def __init__(self, turns: Turns, sock: socket.socket) -> None:
        self.turns = turns
        self.sock = sock
        sock.setblocking(False)
        self.ended = False
        self.reset = False

    def send(self, data: bytes) -> None:
        """Send all of *data*, in as many turns as it takes."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                if not self.turns.turn():
                    raise AssertionError("nobody reads") from None
        self.turns.settle()

    def receive(self) -> bytes:
        """Return what has come, and note how it ended."""
        data = bytearray()
        self.turns.settle()
        while True:
            try:
                piece = self.sock.recv(1 << 20)
            except BlockingIOError:
                if self.turns.turn():
                    continue
                return bytes(data)
            except ConnectionResetError:
                self.reset = True
                return bytes(data)
            if not piece:
                self.ended = True
                return bytes(data)
            data += piece
            self.turns.settle()

    def end(self) -> None:
        """Send the end of this side; go on reading."""
        self.sock.shutdown(socket.SHUT_WR)
        self.turns.settle()

    def close(self) -> None:
        self.sock.close()
        self.turns.settle()


class Wires:
    """Makes streams, with a `Wire` at the other end, and cleans up."""

    def __init__(self, case: Any) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        self.servers: list[Wire] = []
        self.make: Any = Stream
        """What streams are made of."""
        self.refuse = False
        """Whether the next connections that are asked for fail."""
        self._sockets: list[socket.socket] = []
        case.addCleanup(self._close)

    def _close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def pair(self, peer: bytes = b"192.0.2.1") -> tuple[Stream, Wire]:
        """Return a connected stream and the test's end of it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._sockets += [ours, theirs]
        return self.make(self.turns, ours, self.sweep, peer), Wire(self.turns, theirs)

    def connector(
        self, reactor: Any, sweep: Sweep, address: Any, protocol: Any, within: float
    ) -> Stream:
        """Stand in for `snickers.stream.connect`: the server's end joins `servers`."""
        stream, wire = self.pair(b"127.0.0.1")
        stream.protocol = protocol
        protocol.transport = stream
        if self.refuse:
            wire.sock.close()
            stream._state = CONNECTING
            stream._refuse(ConnectionRefusedError("refused"))
            return stream
        self.servers.append(wire)

        def made() -> None:
            if not stream.disconnected:
                stream.start()
                protocol.connectionMade()

        self.turns.callLater(0, made)
        return stream

    @property
    def server(self) -> Wire:
        """The server's end of the newest connection."""
        return self.servers[-1]
