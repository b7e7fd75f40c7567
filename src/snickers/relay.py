"""Bytes both ways between two streams: websockets after their 101, passthrough.

A relay knows nothing of what it carries. It passes on bytes, back-pressure and the end of either
direction, each direction for itself; it must never end one direction because the other one has
ended, hold more than the streams' own high-water mark, or forget to say that it is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.python.failure import Failure

from snickers.stream import DONE, LOST, Stream


class _Direction:
    """What one stream receives goes to the other one, `there`."""

    __slots__ = ("lost", "relay", "there")

    def __init__(self, relay: Relay, there: Stream) -> None:
        self.relay = relay
        self.there = there
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.there.write(data)

    def readConnectionLost(self) -> None:
        self.there.loseWriteConnection()

    def deadlinePassed(self) -> None:
        """No deadline holds here: a silent websocket lives for days."""

    def connectionLost(self, reason: Failure) -> None:
        if not self.lost:
            self.lost = True
            # What was received before is still worth sending, even if the end was not clean.
            self.there.loseConnection()
            self.relay._lost(reason)


class Relay:
    """Carry bytes between *left* and *right* until both directions have ended.

    The relay becomes the protocol of both streams at once. *from_left* and *from_right* are
    bytes that were already received from them; *ended* is called, once, when both are closed.
    Nothing but the peers, or `close`, ends it: no deadline.
    """

    # No cycle is left of all this when it is over: thousands of them a second would be work for
    # the garbage collector.
    __slots__ = ("_ended", "_left", "_open", "_right", "cut")

    def __init__(
        self,
        left: Stream,
        right: Stream,
        ended: Callable[[], None],
        from_left: bytes = b"",
        from_right: bytes = b"",
    ) -> None:
        self._ended: Callable[[], None] | None = ended
        self._left = left
        self._right = right
        self._open = 2
        """How many of the two are not closed yet."""
        self.cut = False
        """Whether one of the two went away without having closed both directions."""
        to_right = left.protocol = _Direction(self, right)
        to_left = right.protocol = _Direction(self, left)
        left.deadline = right.deadline = math.inf
        _start(left, right, from_left)
        _start(right, left, from_right)
        if left.disconnected:
            to_right.connectionLost(LOST)
        if right.disconnected:
            to_left.connectionLost(LOST)

    def close(self) -> None:
        """End both sides: what is queued is sent, nothing more is received."""
        self._left.loseConnection()
        self._right.loseConnection()

    def _lost(self, reason: Failure) -> None:
        if reason is not DONE:
            self.cut = True
        self._open -= 1
        if not self._open:
            ended, self._ended = self._ended, None
            if ended is not None:
                ended()


def _start(here: Stream, there: Stream, ahead: bytes) -> None:
    """Have *there* get *ahead* and what *here* receives."""
    there.unregisterProducer()
    here.resumeProducing()
    there.registerProducer(here, True)
    if ahead:
        there.write(ahead)
    if here.eof:
        there.loseWriteConnection()
