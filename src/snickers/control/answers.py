"""Answers on the control socket: whole ones, and those that come in pieces as things happen.

An answer in pieces ends exactly once, by its own end or by its reader's leaving, and is never
written to afterwards. What a mistake in Snickers says stays in the log; the reader is told its
kind alone.
"""

# Most of twisted.web has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

LOG_BACKLOG = 16 * 1024 * 1024
"""Bytes kept for a reader of a log who stands still (a pager); what is beyond is left out, for
the memory is the front door's."""


def send(request: Request, status: int, answer: Mapping[str, Any]) -> None:
    """Send *answer* as JSON and finish *request*."""
    body = encoded(answer)
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()


def encoded(answer: Mapping[str, Any]) -> bytes:
    """Return *answer* as one line of JSON, in ASCII: a file's name may be no text at all."""
    return json.dumps(_plain(answer), allow_nan=False).encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    """Return *value* in JSON's own types; JSON has no infinity, which here means *never*."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else "never"
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
    return str(value)


def is_mistake(failure: Failure) -> bool:
    """Whether *failure* is a mistake in Snickers: Python's own error, not one in words.

    Those of the operating system are in words, and no mistake of ours.
    """
    kind = failure.type
    return kind is not None and kind.__module__ == "builtins" and not issubclass(kind, OSError)


def said(failure: Failure) -> str:
    """Return what a person is told of *failure*."""
    if is_mistake(failure) or not str(failure.value):
        kind = "an error" if failure.type is None else failure.type.__name__
        return f"Snickers itself failed ({kind}); its log says more"
    return str(failure.value)


class Stream(ABC):
    """An answer given as things happen. Over exactly once: by its end, or by its reader's."""

    _log = Logger(namespace="snickers.control")

    def __init__(self, request: Request, streams: set[Stream]) -> None:
        self._request = request
        self._streams = streams
        self._over = False
        streams.add(self)
        request.notifyFinish().addErrback(self._left)

    @abstractmethod
    def stopping(self) -> None:
        """Snickers ends: tell the reader, and let go."""

    def _left(self, reason: Failure) -> None:
        if not self._over:
            self._let_go()
            self._abandoned()

    @abstractmethod
    def _abandoned(self) -> None:
        """The reader has gone."""

    def _report(self, failure: Failure) -> None:
        self._log.failure("control: {path}", failure, path=self._request.path)

    def _let_go(self) -> None:
        self._over = True
        self._streams.discard(self)

    def _end(self) -> None:
        self._let_go()
        self._request.finish()


class Progress(Stream):
    """Lines of JSON: any number of ``progress``, then one ``done`` or ``error``. Beside ``done``
    stands what came of it, where that is more than that it is done.

    What is being done goes on when the reader leaves: half a restart helps nobody.
    """

    def __init__(self, request: Request, streams: set[Stream]) -> None:
        super().__init__(request, streams)
        request.setHeader(b"content-type", b"application/x-ndjson")
        # Send the head: the first step may take its time.
        request.write(b"")

    def step(self, words: str) -> None:
        if not self._over:
            self._request.write(encoded({"progress": words}))

    def done(self, result: Mapping[str, Any] | None) -> None:
        self._close({"done": True, **(result or {})})

    def failed(self, failure: Failure) -> None:
        if self._over or is_mistake(failure):
            self._report(failure)
        self._close({"error": said(failure)})

    def stopping(self) -> None:
        self._close({"error": "Snickers itself is being stopped"})

    def _close(self, line: dict[str, Any]) -> None:
        if not self._over:
            self._request.write(encoded(line))
            self._end()

    def _abandoned(self) -> None:
        """What is being done is done all the same."""


@implementer(IPushProducer)
class Text(Stream):
    """Raw bytes as they come. A reader who stands still loses the newest, and is told so."""

    _work: Deferred[None] | None = None
    _paused = False
    _kept = 0
    _left_out = 0

    def __init__(self, request: Request, streams: set[Stream]) -> None:
        super().__init__(request, streams)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")

    def follow(self, work: Deferred[None]) -> None:
        """End when *work* fires; cancel it when the reader leaves."""
        self._work = work
        work.addCallbacks(self._done, self._failed)
        if not self._over:
            self._request.registerProducer(self, True)

    def receive(self, data: bytes) -> None:
        if self._over or not data:
            return
        if self._paused:
            if self._kept + len(data) > LOG_BACKLOG:
                self._left_out += len(data)
                return
            self._kept += len(data)
        self._request.write(data)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._kept = 0
        if self._left_out:
            notice = f"\n[snickers: {self._left_out} bytes left out, the reader stood still]\n"
            self._left_out = 0
            self._request.write(notice.encode())

    def stopProducing(self) -> None:
        """`_left` hears of it as well, and cancels."""

    def stopping(self) -> None:
        if not self._over:
            self._break_off()
            self._abandoned()

    def _done(self, result: object) -> None:
        if not self._over:
            self._finish()

    def _failed(self, failure: Failure) -> None:
        if self._over:
            if not failure.check(CancelledError):
                self._report(failure)
            return
        if is_mistake(failure) or self._request.startedWriting:
            self._report(failure)
        if self._request.startedWriting:
            self._break_off()
            return
        self._unregister()
        self._let_go()
        status = 500 if is_mistake(failure) else 502
        send(self._request, status, {"error": said(failure)})

    def _break_off(self) -> None:
        """End without the end of the answer: a clean one would say that the log was whole."""
        self._unregister()
        self._let_go()
        self._request.loseConnection()

    def _finish(self) -> None:
        self._unregister()
        self._end()

    def _unregister(self) -> None:
        if self._request.producer is not None:
            self._request.unregisterProducer()

    def _abandoned(self) -> None:
        if self._work is not None:
            self._work.cancel()
