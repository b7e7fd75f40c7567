"""Looking whether a server is well: a request of our own, by the way that visitors' requests go.

To an `Upstream` a check is an exchange like any other, so that what it finds is what visitors would
find: the same address, the same TLS, the same reading of the answer. It must never be counted as
anybody's request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from snickers.http.answer import Answer, IForwardingExchange
from snickers.http.request import read_request
from snickers.interfaces import Fields, IResponder

WELL = range(200, 400)
"""Statuses of a server that is well."""


@implementer(IForwardingExchange)
class Check:
    """One look. *done* is called once, with whether the server is well and what it said."""

    secure = True
    peer = b"127.0.0.1"
    id = b"health"
    forwarding = b""

    def __init__(self, path: str, host: str, done: Callable[[bool, str], None]) -> None:
        self.request = read_request(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: snickers"
            % (path.encode("ascii"), host.encode("ascii"))
        )
        self.responder: IResponder | None = None
        self.user = b""
        self._done: Callable[[bool, str], None] | None = done

    def give_up(self) -> None:
        """Wait no longer."""
        done, self._done = self._done, None
        if done is None:
            return
        done(False, "it did not answer in time")
        responder, self.responder = self.responder, None
        if responder is not None:
            responder.gone()

    def _say(self, status: int) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(status in WELL, f"it answered {status}")

    def forward(self, answer: Answer, data: bytes, end: bool) -> None:
        self._say(answer.status)
        responder, self.responder = self.responder, None
        if not end and responder is not None:
            # The status was all that was asked for.
            responder.gone()

    def answer(
        self,
        status: int,
        fields: Fields,
        length: int | None,
        data: bytes = b"",
        end: bool = False,
    ) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(False, "it did not answer in time" if status == 504 else "it gave no answer")

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def finish(self, trailers: Fields | None = None) -> None:
        """Nobody waits for it."""

    def abort(self) -> None:
        """Nobody waits for it."""

    def inform(self, status: int, fields: Fields) -> None:
        """Nobody is to be informed."""

    def receive(self) -> None:
        """There is no body."""

    def pause_body(self) -> None:
        """There is no body."""

    def resume_body(self) -> None:
        """There is no body."""

    def upgrade(self, fields: Fields) -> Any:
        """Never called: nothing was to be upgraded."""
        raise AssertionError("a check is no WebSocket")
