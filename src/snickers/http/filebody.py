"""Sending the bytes of an open file as the body of an answer, no faster than its client reads.

What is in the kernel's memory is read by the reactor, the rest by a thread. The file is let go
of exactly once, however the exchange ends; a file that changes under way ends it by `abort`,
since nobody could tell that the two halves do not belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.http.openfile import PIECE, OpenFile
from snickers.http.pages import answer_error
from snickers.http.ranges import Span
from snickers.interfaces.exchange import Fields, IExchange, IResponder

FIRST = 32 * 1024
"""Bytes that go with the head: before them nobody knows whether the client takes any, and it may
ask for many files at once."""
TURN = 1024 * 1024
"""Bytes for one client in one turn of the reactor; what follows comes by way of a thread, so that
a client which reads as fast as this writes does not keep all others waiting."""


@implementer(IResponder)
class FileBody:
    """Sends what a plan says, bytes or spans of *file*, of which it is a user until the end."""

    __slots__ = (
        "_buffer",
        "_busy",
        "_defer",
        "_exchange",
        "_file",
        "_over",
        "_paused",
        "_plan",
        "_reading",
    )

    def __init__(
        self,
        exchange: IExchange,
        file: OpenFile,
        plan: Sequence[bytes | Span],
        defer: Callable[..., Deferred[Any]],
        buffer: bytearray,
        paused: bool = False,
    ) -> None:
        """*buffer*: of `snickers.http.openfile.PIECE` bytes, shared by all bodies of one thread.
        *paused*: whether the client reads slowly already."""
        file.hold()
        self._exchange = exchange
        self._file = file
        self._plan = list(reversed(plan))
        self._defer = defer
        self._buffer = buffer
        self._paused = paused
        self._busy = False
        self._reading = False
        self._over = False

    def start(self, status: int, fields: Fields, length: int) -> None:
        """Send the head, and as much of the body as will go. *length*: bytes of the whole."""
        exchange = self._exchange
        exchange.responder = self
        first = b""
        while self._plan and len(first) < FIRST:
            piece = self._take_now(FIRST)
            if piece is None:
                break
            if not piece:
                self._let_go()
                answer_error(exchange, 503, retry_after=1)
                return
            first += piece
        if not self._plan:
            self._let_go()
            exchange.answer(status, fields, length, first, True)
            return
        self._busy = True
        exchange.answer(status, fields, length, first)
        self._busy = False
        self._pump(TURN)

    # IResponder

    def body(self, data: bytes) -> None:
        """Not asked for."""

    def body_end(self, trailers: Fields | None) -> None:
        """Not asked for."""

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._pump(TURN)

    def gone(self) -> None:
        if not self._over:
            self._let_go()

    # The work

    def _let_go(self) -> None:
        self._over = True
        self._plan.clear()
        self._file.release()

    def _abort(self) -> None:
        self._let_go()
        self._exchange.abort()

    def _pump(self, budget: int) -> None:
        if self._busy:
            return
        self._busy = True
        while not (self._paused or self._reading or self._over):
            if not self._plan:
                self._let_go()
                self._exchange.finish()
                break
            own = isinstance(self._plan[-1], bytes)
            piece = self._take_now() if own or budget > 0 else None
            if piece is None:
                self._read()
            elif piece:
                budget -= len(piece)
                self._exchange.write(piece)
            else:
                self._abort()
        self._busy = False

    def _take_now(self, most: int = PIECE) -> bytes | None:
        """Return the plan's next bytes, none if the file has changed, ``None`` if they have to
        be waited for. *most*: of the file."""
        ahead = self._plan[-1]
        if isinstance(ahead, bytes):
            del self._plan[-1]
            return ahead
        start, stop = ahead
        piece = self._file.read_now(start, min(most, stop - start), self._buffer)
        if piece:
            self._taken(len(piece))
        return piece

    def _read(self) -> None:
        """Have a thread fetch the next piece."""
        start, stop = self._plan[-1]
        self._reading = True
        self._file.hold()
        read = self._defer(self._file.read, start, min(PIECE, stop - start))
        read.addCallbacks(self._fetched, self._failed)

    def _fetched(self, piece: bytes) -> None:
        self._reading = False
        self._file.release()
        if self._over:
            return
        if not piece:
            self._abort()
            return
        self._taken(len(piece))
        self._exchange.write(piece)
        self._pump(TURN)

    def _failed(self, failure: Failure) -> None:
        self._reading = False
        self._file.release()
        if not self._over:
            self._abort()

    def _taken(self, count: int) -> None:
        """Strike *count* bytes of the span at the head off the plan."""
        start, stop = self._plan[-1]
        start += count
        if start < stop:
            self._plan[-1] = (start, stop)
        else:
            del self._plan[-1]
