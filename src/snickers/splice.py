"""Plain streams that hand on what they receive to each other, in quantity without looking at it.

What comes in small pieces is read and sent, which costs two system calls. A direction that fills
its reads moves to splice(2) instead: the kernel passes on pages through a pipe, and no byte is
copied into this process and out again. Pipes are few, since each takes two descriptors: whoever
gets none goes on reading and sending. This module must never take a pipe that is not empty for an
empty one, let the end of a direction overtake what is still in its pipe, or hold more than a pipe
for a reader that is slow.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Any

from snickers.stream import (
    FLUSH_WITHIN,
    FLUSHING,
    LOST,
    OPEN,
    READ_SIZE,
    Address,
    Stream,
    Sweep,
    begin_to_connect,
)

PIPES = 32
"""Pipes open at most: that many directions are in bulk at once before a core is busy with them."""
KEPT = 8
"""Pipes kept for the next ones; others are closed."""
SIZE = 1 << 20
"""Bytes of a pipe, and of one turn: what a process without privileges may ask for. A MiB costs
half of what it costs in 64 KiB."""
DO_WITHOUT = 64
"""How often who asks for a pipe gets none, without the operating system being asked, after that has
refused one: to be refused costs five system calls, as much as what a pipe saves."""
FEW = READ_SIZE // 4
"""A direction that gets fewer bytes at once gives its pipe back."""

_MODE = 3
"""SPLICE_F_MOVE and SPLICE_F_NONBLOCK, of which Python has no names."""

splice: Any = getattr(os, "splice", None)
"""Linux only: elsewhere no direction ever gets a pipe."""


class Pipe:
    """A pipe with room for `SIZE` bytes, or for as many as the operating system gives."""

    __slots__ = ("held", "into", "out")

    def __init__(self) -> None:
        """Raises `OSError` when there are no descriptors, or no room to speak of."""
        self.out, self.into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        """Bytes in it."""
        try:
            fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, SIZE)
        except OSError:
            # All pipes of this user together have a limit, too. Beyond it a new one has two pages
            # (pipe-user-pages-soft of pipe(7)): through that, bytes are dearer than when copied.
            if fcntl.fcntl(self.into, fcntl.F_GETPIPE_SZ) < READ_SIZE:
                self.close()
                raise

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


class Pipes:
    """A bounded number of pipes, `PIPES` unless told otherwise."""

    def __init__(self, most: int = PIPES) -> None:
        self._most = most if splice is not None else 0
        self._idle: list[Pipe] = []
        self._without = 0
        """How many go without before one is made again."""
        self.open = 0
        """Pipes there are, idle ones included."""

    def take(self) -> Pipe | None:
        """Return an empty pipe, or ``None``: there are as many as there may be, or can be."""
        if self._idle:
            return self._idle.pop()
        if self.open >= self._most:
            return None
        if self._without:
            self._without -= 1
            return None
        try:
            pipe = Pipe()
        except OSError:
            self._without = DO_WITHOUT
            return None
        self.open += 1
        return pipe

    def give(self, pipe: Pipe) -> None:
        """Take *pipe* back, which is kept for the next one if it is empty."""
        if pipe.held or len(self._idle) >= KEPT:
            self.open -= 1
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close those that nobody has."""
        while self._idle:
            self.open -= 1
            self._idle.pop().close()


class Carried(Stream):
    """A plain stream whose bytes go to another one once they are joined (`join`).

    All but the bytes is its protocol's, as ever: the two ends, and the pauses of a `Relay`.
    """

    __slots__ = ("_bulk", "_inlet", "_pipes", "_sink")

    def __init__(self, reactor: Any, sock: socket.SocketType, sweep: Sweep, peer: bytes) -> None:
        Stream.__init__(self, reactor, sock, sweep, peer)
        self._sink: Carried | None = None
        """Who gets what is received."""
        self._pipes: Any = None
        self._bulk = False
        """Whether much comes."""
        self._inlet: Pipe | None = None
        """What is in this waits to be sent; meanwhile the queue is an empty list."""

    def _join(self, sink: Carried, pipes: Pipes) -> None:
        if not self.disconnected:
            self._sink = sink
            self._pipes = pipes

    # Reading

    def doRead(self) -> None:
        sink = self._sink
        if sink is None or self._state != OPEN:
            Stream.doRead(self)
            return
        if self._bulk and sink._queue is None:
            pipe = self._pipes.take()
            if pipe is not None and self._pour(pipe, sink):
                return
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._end(LOST)
            return
        if not data:
            self._peer_ended()
            return
        size = len(data)
        self.received += size
        sink.write(data)
        if size == READ_SIZE:
            self._bulk = True

    def _pour(self, pipe: Pipe, sink: Carried) -> bool:
        """Move what is there through *pipe*, which is empty, to *sink*, for which nothing waits.

        Return ``False`` where splice(2) gets nothing: that may be the end, or nothing at all, or
        urgent data (RFC 9293 §3.8.5), at which it stops for good, and which only reading passes.
        """
        try:
            count = splice(self._fd, pipe.into, SIZE, flags=_MODE)
        except BlockingIOError:
            count = 0
        except OSError:
            self._pipes.give(pipe)
            self._end(LOST)
            return True
        if not count:
            self._pipes.give(pipe)
            self._bulk = False
            return False
        self.received += count
        if count < FEW:
            self._bulk = False
        pipe.held = count
        if sink._take(pipe):
            self.pauseProducing()
        return True

    def _take(self, pipe: Pipe) -> bool:
        """Send what *pipe* holds, at once as far as possible; whether some of it has to wait."""
        try:
            self._drain(pipe)
        except OSError:
            self._pipes.give(pipe)
            self._write_failed()
            return False
        if not pipe.held:
            self._pipes.give(pipe)
            return False
        self._inlet = pipe
        self._queue = []
        self._queued = pipe.held
        self._write_on()
        return True

    def _drain(self, pipe: Pipe) -> None:
        """Send some of what *pipe* holds. Raises `OSError`."""
        try:
            count = splice(pipe.out, self._fd, pipe.held, flags=_MODE)
        except BlockingIOError:
            return
        self.sent += count
        pipe.held -= count

    # Writing

    def doWrite(self) -> None:
        pipe = self._inlet
        if pipe is None:
            Stream.doWrite(self)
            return
        try:
            self._drain(pipe)
        except OSError:
            self._spill()
            self._write_failed()
            return
        if pipe.held:
            if self._state == FLUSHING and pipe.held != self._queued:
                self.deadline = self.sweep.now + FLUSH_WITHIN
            self._queued = pipe.held
            return
        self._spill()
        self._queue = None
        self._queued = 0
        self._write_no_more()
        source = self._sink
        if source is not None:
            source.resumeProducing()
        if self._shut:
            self._end_writing()

    # Ending

    def _spill(self) -> None:
        """Give the pipe back; what is still in it is lost."""
        pipe, self._inlet = self._inlet, None
        if pipe is not None:
            self._pipes.give(pipe)

    def _release(self) -> None:
        Stream._release(self)
        self._spill()
        self._sink = None


def join(left: Carried, right: Carried, pipes: Pipes) -> None:
    """Have each of the two get what the other one receives from now on, through *pipes* where it
    is much. Their protocols get no more bytes, but all else."""
    left._join(right, pipes)
    right._join(left, pipes)


def connect(reactor: Any, sweep: Sweep, address: Address, protocol: Any, within: float) -> Stream:
    """As `snickers.stream.connect`, with a `Carried` stream."""
    return begin_to_connect(reactor, sweep, address, protocol, within, Carried)
