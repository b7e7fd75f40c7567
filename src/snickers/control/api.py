"""What may be asked over the control socket: HTTP and JSON for those who steer Snickers.

Whoever can open the socket may wake, stop and reload, so it is its owner's alone
(`snickers.control.listening`). The room holds no state of its own: it asks the front door and the
lives, and says what they answer. It never shows a traceback and never blocks the reactor.
"""

# Most of twisted.web has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import difflib
import json
import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from snickers.control.listening import ControlUnavailable, OwnersPort, listen
from snickers.interfaces import IFrontDoor, ILives

__all__ = ["ControlService", "ControlUnavailable"]

LOG_TAIL = 100
"""Lines of a log when nobody says how many."""
LOG_TAIL_LIMIT = 1_000_000
"""More lines than anybody reads; a larger number is a slip of the finger."""
LOG_BACKLOG = 16 * 1024 * 1024
"""Bytes kept for a reader of a log who stands still (a pager); what is beyond is left out, for
the memory is the front door's."""

_OWN_KINDS = ("container", "process")


class _Problem(Exception):
    """A request that gets an error: its status and words for a person."""

    def __init__(self, status: int, words: str, **more: Any) -> None:
        super().__init__(words)
        self.status = status
        self.more = more


class ControlService(Service):
    """Opens the control socket while it runs.

    *path*: the socket's path. `startService` raises `ControlUnavailable` when it cannot be
    opened. `stopService` returns a Deferred that fires when it is closed and removed.
    """

    def __init__(self, reactor: Any, path: str, front_door: IFrontDoor, lives: ILives) -> None:
        self._reactor = reactor
        self._path = path
        self._room = _Room(front_door, lives)
        self.factory = _Factory(self._room, reactor)
        self._port: OwnersPort | None = None

    def startService(self) -> None:
        self._port = listen(self._reactor, self._path, self.factory)
        super().startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        self._room.close()
        closed = cast("Deferred[None]", maybeDeferred(port.stopListening))
        self.factory.hang_up()
        return closed


class _Factory(Site):
    """Speaks HTTP for the room; keeps no access log and knows who is connected."""

    def __init__(self, room: _Room, reactor: IReactorTime) -> None:
        super().__init__(room, reactor=reactor, parsePOSTFormSubmission=False)
        self._channels: weakref.WeakSet[Any] = weakref.WeakSet()

    def startFactory(self) -> None:
        """Nothing: Twisted's own ticks every second for the dates of an access log."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = super().buildProtocol(addr)
        self._channels.add(channel)
        return channel

    def log(self, request: HTTPRequest) -> None:
        """Nothing: what was asked for is logged in words by the room, looking is not logged."""

    def hang_up(self) -> None:
        """Close every connection once what was written has gone out."""
        for channel in list(self._channels):
            if channel.transport is not None:
                channel.transport.loseConnection()


# What may be asked


class _Room(Resource):
    """Every resource of the control socket, and the streams that are open."""

    isLeaf = True
    _log = Logger(namespace="snickers.control")

    def __init__(self, front_door: IFrontDoor, lives: ILives) -> None:
        super().__init__()
        self._front_door = front_door
        self._lives = lives
        self._streams: set[_Stream] = set()

    def close(self) -> None:
        """End every open stream; what it waited for goes on."""
        for stream in list(self._streams):
            stream.stopping()

    def render(self, request: Request) -> int:
        try:
            self._route(request)
        except _Problem as problem:
            _send(request, problem.status, {"error": str(problem), **problem.more})
        except Exception:
            self._broke(request, Failure())
        return NOT_DONE_YET

    def _route(self, request: Request) -> None:
        segments = [_decoded(segment) for segment in request.postpath or ()]
        match segments:
            case ["status"]:
                _allow(request, b"GET")
                _send(request, 200, self._status(_argument(request, b"site")))
            case ["plan"]:
                _allow(request, b"GET")
                self._later(request, self._front_door.plan)
            case ["reload"]:
                _allow(request, b"POST")
                self._log.info("control: reload")
                self._later(request, self._front_door.reload)
            case ["sites", host]:
                _allow(request, b"GET")
                _send(request, 200, self._site(host))
            case ["sites", host, "wake" | "sleep" | "restart" as verb]:
                _allow(request, b"POST")
                self._act(request, host, verb)
            case ["sites", host, "logs"]:
                _allow(request, b"GET")
                self._logs(request, host)
            case _:
                raise _Problem(
                    404,
                    "nothing is there; there are /status, /plan, /reload, /sites/HOST and below "
                    "it /wake, /sleep, /restart, /logs",
                )

    def _status(self, host: str | None) -> dict[str, Any]:
        status = self._front_door.status()
        if host is not None:
            status = {**status, "sites": [_find(status, host)]}
        return status

    def _site(self, host: str) -> dict[str, Any]:
        site = _find(self._front_door.status(), host)
        life = self._lives.states().get(site["site"])
        return {**site, "life": life} if life is not None else dict(site)

    def _server_of(self, host: str, verb: str) -> str:
        """Return the name of the site *host* that has a server of its own, or say why not."""
        site = _find(self._front_door.status(), host)
        name: str = site["site"]
        if name in self._lives.states():
            return name
        kind = site.get("kind")
        if kind and kind not in _OWN_KINDS:
            raise _Problem(
                409,
                f"{name} has no server of its own (type {kind}): only a site of type container "
                f"or process has {verb}",
            )
        raise _Problem(
            409,
            f"{name} has no server now (state {site.get('state') or 'unknown'}): its section is "
            f"switched off or at fault; put it right and reload",
        )

    def _later(self, request: Request, ask: Callable[[], Deferred[dict[str, Any]]]) -> None:
        """Answer with what *ask* fires with; who has gone is not answered."""
        gone = False

        def left(reason: Failure) -> None:
            nonlocal gone
            gone = True

        def answer(result: dict[str, Any]) -> None:
            if not gone:
                _send(request, 200, result)

        def broke(failure: Failure) -> None:
            if gone:
                self._log.failure("control: {path}", failure, path=request.path)
            else:
                self._broke(request, failure)

        request.notifyFinish().addErrback(left)
        maybeDeferred(ask).addCallback(answer).addErrback(broke)

    def _act(self, request: Request, host: str, verb: str) -> None:
        name = self._server_of(host, verb)
        act = {
            "wake": self._lives.wake,
            "sleep": self._lives.sleep,
            "restart": self._lives.restart,
        }[verb]
        self._log.info("control: {verb} {site}", verb=verb, site=name)
        stream = _Progress(request, self._streams)
        maybeDeferred(act, name, stream.step).addCallbacks(stream.done, stream.failed)

    def _logs(self, request: Request, host: str) -> None:
        tail = _number(request, b"tail", LOG_TAIL, LOG_TAIL_LIMIT)
        follow = bool(_number(request, b"follow", 0, 1))
        name = self._server_of(host, "logs")
        stream = _Text(request, self._streams)
        stream.follow(maybeDeferred(self._lives.logs, name, tail, follow, stream.receive))

    def _broke(self, request: Request, failure: Failure) -> None:
        self._log.failure("control: {path}", failure, path=request.path)
        _send(request, 500, {"error": _said(failure)})


# Answers that come in pieces


class _Stream:
    """An answer given as things happen. Over exactly once: by its end, or by its reader's."""

    _log = Logger(namespace="snickers.control")

    def __init__(self, request: Request, streams: set[_Stream]) -> None:
        self._request = request
        self._streams = streams
        self._over = False
        streams.add(self)
        request.notifyFinish().addErrback(self._left)

    def stopping(self) -> None:
        """Snickers ends: tell the reader, and let go."""
        raise NotImplementedError

    def _left(self, reason: Failure) -> None:
        if not self._over:
            self._over = True
            self._streams.discard(self)
            self._abandoned()

    def _abandoned(self) -> None:
        """The reader has gone."""

    def _end(self) -> None:
        self._over = True
        self._streams.discard(self)
        self._request.finish()


class _Progress(_Stream):
    """Lines of JSON: any number of ``progress``, then one ``done`` or ``error``.

    What is being done goes on when the reader leaves: half a restart helps nobody.
    """

    def __init__(self, request: Request, streams: set[_Stream]) -> None:
        super().__init__(request, streams)
        request.setHeader(b"content-type", b"application/x-ndjson")
        # Send the head: the first step may take its time.
        request.write(b"")

    def step(self, words: str) -> None:
        if not self._over:
            self._request.write(_json({"progress": words}))

    def done(self, result: object) -> None:
        self._close({"done": True})

    def failed(self, failure: Failure) -> None:
        said = _said(failure)
        if self._over or _is_ours(failure):
            self._log.failure("control: {path}", failure, path=self._request.path)
        self._close({"error": said})

    def stopping(self) -> None:
        self._close({"error": "Snickers itself is being stopped"})

    def _close(self, line: dict[str, Any]) -> None:
        if not self._over:
            self._request.write(_json(line))
            self._end()


@implementer(IPushProducer)
class _Text(_Stream):
    """Raw bytes as they come. A reader who stands still loses the newest, and is told so."""

    _work: Deferred[None] | None = None
    _paused = False
    _kept = 0
    _left_out = 0

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
        self._head()
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
        """`_left` is told as well, and cancels."""

    def stopping(self) -> None:
        self._abandoned()
        if not self._over:
            self._finish()

    def _head(self) -> None:
        self._request.setHeader(b"content-type", b"text/plain; charset=utf-8")

    def _done(self, result: object) -> None:
        if not self._over:
            self._finish()

    def _failed(self, failure: Failure) -> None:
        if self._over:
            if not failure.check(CancelledError):
                self._log.failure("control: {path}", failure, path=self._request.path)
            return
        if _is_ours(failure) or self._request.startedWriting:
            self._log.failure("control: {path}", failure, path=self._request.path)
        if self._request.startedWriting:
            # An answer that ends cleanly would say that the log was whole.
            self._over = True
            self._streams.discard(self)
            self._request.loseConnection()
            return
        self._unregister()
        self._over = True
        self._streams.discard(self)
        status = 500 if _is_ours(failure) else 502
        _send(self._request, status, {"error": _said(failure)})

    def _finish(self) -> None:
        self._unregister()
        self._head()
        self._end()

    def _unregister(self) -> None:
        if self._request.producer is not None:
            self._request.unregisterProducer()

    def _abandoned(self) -> None:
        if self._work is not None:
            self._work.cancel()


# Words and forms


def _find(status: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return the entry of the site *host*, which may be one of its other names."""
    wanted = _canonical(host)
    sites = status["sites"]
    for site in sites:
        if site["site"] == wanted:
            return dict(site)
    for site in sites:
        if wanted in site.get("also", ()):
            return dict(site)
    names = [site["site"] for site in sites]
    near = difflib.get_close_matches(wanted, names, n=1)
    if near:
        raise _Problem(404, f"no site {wanted}; did you mean {near[0]}?", nearest=near[0])
    what = "see them with: snickers status" if names else "there are no sites at all"
    raise _Problem(404, f"no site {wanted}; {what}")


def _canonical(host: str) -> str:
    """Return *host* as sites are named: lower case, A-labels, no trailing dot."""
    host = host.strip().rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _decoded(segment: bytes) -> str:
    try:
        return segment.decode()
    except UnicodeDecodeError:
        raise _Problem(400, "the path is not UTF-8") from None


def _argument(request: Request, name: bytes) -> str | None:
    values: list[bytes] = (request.args or {}).get(name, [])
    return _decoded(values[-1]) if values else None


def _number(request: Request, name: bytes, default: int, most: int) -> int:
    text = _argument(request, name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and int(text[:9]) <= most and len(text) <= 9:
        return int(text)
    raise _Problem(400, f"{name.decode()}={text}: must be a whole number from 0 to {most}")


def _allow(request: Request, method: bytes) -> None:
    if request.method != method:
        request.setHeader(b"allow", method)
        raise _Problem(
            405,
            f"{request.method.decode('ascii', 'replace')} is not possible here; "
            f"use {method.decode()}",
        )


def _send(request: Request, status: int, answer: Mapping[str, Any]) -> None:
    body = _json(answer)
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()


def _json(answer: Mapping[str, Any]) -> bytes:
    """Return *answer* as one line of JSON."""
    return json.dumps(_plain(answer), ensure_ascii=False, allow_nan=False).encode() + b"\n"


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


def _is_ours(failure: Failure) -> bool:
    """Whether *failure* is a mistake in Snickers: Python's own error, not one in words."""
    return failure.type is not None and failure.type.__module__ == "builtins"


def _said(failure: Failure) -> str:
    """Return what a person is told of *failure*."""
    if _is_ours(failure) or not str(failure.value):
        kind = "an error" if failure.type is None else failure.type.__name__
        return f"Snickers itself failed ({kind}); its log says more"
    return str(failure.value)
