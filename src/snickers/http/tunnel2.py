"""A WebSocket on a stream of an HTTP/2 connection, as a transport that a relay can use (RFC 8441).

What `snickers.relay` calls of a `Stream`, on the DATA frames of one stream. It must never be felt
by the connection's other streams, nor call its protocol from within a call that ended it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from snickers.http import frames as f
from snickers.stream import ABORTED, DONE, LOST

if TYPE_CHECKING:
    from snickers.http.exchange2 import Exchange2


class Tunnel:
    """One side of a relay."""

    __slots__ = (
        "_ended",
        "_exchange",
        "_producer",
        "deadline",
        "disconnected",
        "eof",
        "protocol",
        "received",
        "sent",
        "sweep",
    )

    def __init__(self, exchange: Exchange2) -> None:
        self._exchange = exchange
        self._producer: Any = None
        self._ended = False
        self.protocol: Any = None
        self.deadline = math.inf
        """Nobody looks at it: a silent WebSocket lives."""
        self.disconnected = False
        self.eof = False
        self.received = 0
        self.sent = 0
        self.sweep = exchange.connection.front.sweep

    # What the relay calls

    def write(self, data: bytes) -> None:
        """Send *data*."""
        if not self._ended:
            self.sent += len(data)
            self._exchange.tunnel_write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have *producer* paused while much waits to be sent."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Pause nobody any more."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Take nothing from the client for now."""
        self._exchange.pause_body()

    def resumeProducing(self) -> None:
        """Take more from the client."""
        if not self.disconnected:
            self._exchange.resume_body()

    def loseWriteConnection(self) -> None:
        """Send the end of our side; the client may still send."""
        if not self._ended:
            self._ended = True
            self._exchange.tunnel_end()

    def loseConnection(self) -> None:
        """Send the end of our side; what the client still sends is of no use."""
        self._producer = None
        if self.disconnected:
            return
        self.loseWriteConnection()
        if not self.disconnected:
            self._closed(DONE)

    def abortConnection(self) -> None:
        """End at once."""
        if not self.disconnected:
            self._exchange.cut(f.CANCEL)
            self._closed(ABORTED)

    # What the stream calls

    def stall(self) -> None:
        """The client takes nothing now."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def unstall(self) -> None:
        """There is room again."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def peer_ended(self) -> None:
        """The client sends no more."""
        self.eof = True
        if not self.disconnected:
            self.protocol.readConnectionLost()
            self._end_if_both()

    def writing_ended(self) -> None:
        """All that was written is sent, and the end of our side."""
        self._end_if_both()

    def lost(self) -> None:
        """The stream was reset, or its connection is gone."""
        self._closed(LOST)

    def _end_if_both(self) -> None:
        if self.eof and self._ended:
            self._closed(DONE)

    def _closed(self, reason: Any) -> None:
        if self.disconnected:
            return
        self.disconnected = True
        self._producer = None
        protocol = self.protocol
        # Not from within the call that ended it.
        self._exchange.connection.later(lambda: protocol.connectionLost(reason))
