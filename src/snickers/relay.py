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
    """What `here` receives goes to `there`."""

    __slots__ = ("here", "lost", "relay", "there")

    def __init__(self, relay: Relay, here: Stream, there: Stream) -> None:
        self.relay = relay
        self.here = here
        self.there = there
        self.lost = False

    def start(self, ahead: bytes) -> None:
        here, there = self.here, self.there
        there.unregisterProducer()
        here.resumeProducing()
        there.registerProducer(here, True)
        if ahead:
            there.write(ahead)
        if here.eof:
            there.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self.there.write(data)

    def readConnectionLost(self) -> None:
        self.there.loseWriteConnection()

    def deadlinePassed(self) -> None:
        """No deadline holds here: a silent websocket lives for days."""

    def connectionLost(self, reason: Failure) -> None:
        if not self.lost:
            self.lost = True
            if reason is not DONE:
                self.relay.cut = True
            # What was received before is still worth sending, even if the end was not clean.
            self.there.loseConnection()
            self.relay._lost()


class Relay:
    """Carry bytes between *left* and *right* until both directions have ended.

    The relay becomes the protocol of both streams at once. *from_left* and *from_right* are
    bytes that were already received from them; *ended* is called, once, when both are closed.
    Nothing but the peers, or `close`, ends it: no deadline.
    """

    __slots__ = ("_ended", "_left", "_right", "cut")

    def __init__(
        self,
        left: Stream,
        right: Stream,
        ended: Callable[[], None],
        from_left: bytes = b"",
        from_right: bytes = b"",
    ) -> None:
        self._ended: Callable[[], None] | None = ended
        self._left = _Direction(self, left, right)
        self._right = _Direction(self, right, left)
        self.cut = False
        """Whether one of the two went away without having closed both directions."""
        for direction in (self._left, self._right):
            direction.here.deadline = math.inf
            direction.here.protocol = direction
        self._left.start(from_left)
        self._right.start(from_right)
        for direction in (self._left, self._right):
            if direction.here.disconnected:
                direction.connectionLost(LOST)

    def close(self) -> None:
        """End both sides: what is queued is sent, nothing more is received."""
        self._left.here.loseConnection()
        self._right.here.loseConnection()

    def _lost(self) -> None:
        if self._left.lost and self._right.lost:
            ended, self._ended = self._ended, None
            if ended is not None:
                ended()
