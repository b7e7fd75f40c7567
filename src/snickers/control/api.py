"""What may be asked over the control socket: HTTP and JSON for those who steer Snickers.

Whoever can open the socket may wake, stop and reload, so it is its owner's alone
(`snickers.control.socketfile`). The room holds no state of its own: it asks the front door and the
lives, and says what they answer. It never shows a traceback and never blocks the reactor.
"""

# Most of twisted.web has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import difflib
import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from attrs import asdict
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from snickers.config.hosts import site_name
from snickers.config.wrong import Wrong
from snickers.control import metrics
from snickers.control.answers import Progress, Stream, Text, said, send
from snickers.control.socketfile import ControlUnavailable, OwnersPort, listen
from snickers.interfaces.certificates import CertifyingFailed, ICertifying, Submitted
from snickers.interfaces.copies import Copy, CopyFailed, ISnapshots
from snickers.interfaces.front_door import IFrontDoor
from snickers.interfaces.lives import ILives

__all__ = ["ControlService", "ControlUnavailable"]

LOG_TAIL = 100
"""Lines of a log when nobody says how many."""
LOG_TAIL_LIMIT = 1_000_000
"""More lines than anybody reads; a larger number is a slip of the finger."""
_WHAT_THERE_IS = (
    "nothing is there; there are /status, /metrics, /plan, /reload, /certificates, /sites/HOST, "
    "and below it /wake, /sleep, /restart, /update, /rollback, /logs, /snapshot, /snapshots, "
    "/restore, /prove, /verify, /renew, /certificate"
)
LARGEST_CERTIFICATE = 90_000
"""Bytes of a certificate with its key and chain, as JSON; a usual one has some 8,000. From 100,000
on Twisted would put them into a file."""
PARTS = ("certificate", "key", "chain")
_ACTS = {
    "wake": "wake",
    "sleep": "sleep",
    "restart": "restart",
    "update": "update",
    "rollback": "roll_back",
}
"""What may be asked of a site's server, and the method of `ILives` that does it."""
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

    def __init__(
        self,
        reactor: Any,
        path: str,
        front_door: IFrontDoor,
        lives: ILives,
        snapshots: ISnapshots,
        certifying: ICertifying,
    ) -> None:
        self._reactor = reactor
        self._path = path
        self.factory = _Factory(_Room(reactor, front_door, lives, snapshots, certifying), reactor)
        self._port: OwnersPort | None = None

    def startService(self) -> None:
        self._port = listen(self._reactor, self._path, self.factory)
        super().startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        self.factory.room.close()
        closed = cast("Deferred[None]", maybeDeferred(port.stopListening))
        self.factory.hang_up()
        return closed


class _Factory(Site):
    """Speaks HTTP for the room; keeps no access log and knows who is connected."""

    # Not the default, which hides the transport behind a choice by ALPN: there is no TLS here.
    protocol: Any = HTTPChannel
    noisy = False

    def __init__(self, room: _Room, reactor: IReactorTime) -> None:
        super().__init__(room, reactor=reactor, parsePOSTFormSubmission=False)
        self.room = room
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

    def __init__(
        self,
        reactor: Any,
        front_door: IFrontDoor,
        lives: ILives,
        snapshots: ISnapshots,
        certifying: ICertifying,
    ) -> None:
        super().__init__()
        self._scribe = metrics.Scribe(reactor)
        self._front_door = front_door
        self._lives = lives
        self._snapshots = snapshots
        self._certifying = certifying
        self._streams: set[Stream] = set()

    def close(self) -> None:
        """End every open stream; what it waited for goes on."""
        for stream in list(self._streams):
            stream.stopping()

    def render(self, request: Request) -> int:
        gone = False

        def left(reason: Failure) -> None:
            nonlocal gone
            gone = True

        def fresh(_: object) -> None:
            if not gone:
                self._answer(request)

        request.notifyFinish().addErrback(left)

        maybeDeferred(self._front_door.freshen).addCallbacks(
            fresh, lambda failure: self._broke(request, failure)
        )
        return NOT_DONE_YET

    def _answer(self, request: Request) -> None:
        try:
            self._route(request)
        except _Problem as problem:
            send(request, problem.status, {"error": str(problem), **problem.more})
        except Exception:
            self._broke(request, Failure())

    def _route(self, request: Request) -> None:
        segments = [_decoded(segment) for segment in request.postpath or ()]
        match segments:
            case ["status"]:
                _allow(request, b"GET")
                send(request, 200, self._status(_argument(request, b"site")))
            case ["metrics"]:
                _allow(request, b"GET")
                sending = metrics.send(request, self._front_door, self._scribe)
                sending.addErrback(lambda failure: self._broke(request, failure))
            case ["plan"]:
                _allow(request, b"GET")
                self._later(request, self._front_door.plan)
            case ["reload"]:
                _allow(request, b"POST")
                self._log.info("control: reload")
                self._later(request, self._front_door.reload)
            case ["certificates"]:
                _allow(request, b"GET")
                send(request, 200, self._certificates(_argument(request, b"site")))
            case ["sites", host]:
                _allow(request, b"GET")
                send(request, 200, self._site(host))
            case ["sites", host, "renew"]:
                _allow(request, b"POST")
                self._renew(request, host)
            case ["sites", host, "certificate"]:
                _allow(request, b"PUT")
                self._take_in(request, host)
            case ["sites", host, verb] if verb in _ACTS:
                _allow(request, b"POST")
                self._act(request, host, verb)
            case ["sites", host, "logs"]:
                _allow(request, b"GET")
                self._logs(request, host)
            case ["sites", host, "snapshots"]:
                _allow(request, b"GET")
                self._list_copies(request, host)
            case ["sites", host, "snapshot" | "restore" | "prove" | "verify" as verb]:
                _allow(request, b"POST")
                self._copy(request, host, verb)
            case _:
                raise _Problem(404, _WHAT_THERE_IS)

    def _status(self, host: str | None) -> dict[str, Any]:
        status = self._front_door.status()
        if host is not None:
            status = {**status, "sites": [_find(status, host)]}
        return status

    def _site(self, host: str) -> dict[str, Any]:
        site = _find(self._front_door.status(), host)
        life = self._lives.states().get(site["site"])
        return {**site, "life": life} if life is not None else dict(site)

    def _certificates(self, host: str | None) -> dict[str, Any]:
        report = self._certifying.report()
        if host is not None:
            name = _find(self._front_door.status(), host)["site"]
            report = [row for row in report if row["site"] == name]
            if not report:
                raise _Problem(
                    409,
                    f"{name} has no certificate here: its TLS is opened by its server (type "
                    "passthrough), or its section was never without a fault",
                )
        return {"certificates": report}

    def _renew(self, request: Request, host: str) -> None:
        name = _find(self._front_door.status(), host)["site"]
        self._log.info("control: renew {site}", site=name)
        stream = Progress(request, self._streams)
        done = maybeDeferred(self._certifying.renew, name, stream.step)
        done.addCallbacks(stream.done, stream.failed)

    def _take_in(self, request: Request, host: str) -> None:
        name = _find(self._front_door.status(), host)["site"]
        wanted = _canonical(host)
        submitted = _submitted(request)
        self._log.info("control: a certificate for {host}", host=wanted)

        def failed(failure: Failure) -> dict[str, Any]:
            failure.trap(CertifyingFailed)
            return {"site": name, "error": str(failure.value)}

        self._later(
            request,
            lambda: maybeDeferred(self._certifying.take_in, name, wanted, submitted).addErrback(
                failed
            ),
        )

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
                f"{name} has no server of its own (type {kind}); {verb} is for sites of type "
                "container or process",
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
                send(request, 200, result)

        def broke(failure: Failure) -> None:
            if gone:
                self._log.failure("control: {path}", failure, path=request.path)
            else:
                self._broke(request, failure)

        request.notifyFinish().addErrback(left)
        maybeDeferred(ask).addCallback(answer).addErrback(broke)

    def _act(self, request: Request, host: str, verb: str) -> None:
        name = self._server_of(host, verb)
        lives = self._lives
        act = getattr(lives, _ACTS[verb])
        image = _argument(request, b"image") if verb == "update" else None
        if image:
            act = partial(act, image=image)
        self._log.info("control: {verb} {site}", verb=verb, site=name)
        stream = Progress(request, self._streams)
        maybeDeferred(act, name, stream.step).addCallbacks(stream.done, stream.failed)

    def _list_copies(self, request: Request, host: str) -> None:
        name = self._server_of(host, "snapshots")

        def answer(copies: Sequence[Copy]) -> dict[str, Any]:
            return {"site": name, "copies": [asdict(copy) for copy in copies]}

        def failed(failure: Failure) -> dict[str, Any]:
            failure.trap(CopyFailed)
            return {"site": name, "error": str(failure.value)}

        self._later(request, lambda: self._snapshots.snapshots(name).addCallbacks(answer, failed))

    def _copy(self, request: Request, host: str, verb: str) -> None:
        id = _argument(request, b"id") or "latest"
        name = self._server_of(host, verb)
        copies = self._snapshots
        acts: dict[str, Callable[[Callable[[str], None]], Deferred[Any]]] = {
            "snapshot": lambda step: copies.snapshot(name, step),
            "restore": lambda step: copies.restore(name, id, step),
            "prove": lambda step: copies.prove(name, id, step),
            "verify": lambda step: copies.verify(name, step),
        }
        self._log.info("control: {verb} {site}", verb=verb, site=name)
        stream = Progress(request, self._streams)

        def done(copy: Copy | None) -> None:
            stream.done(None if copy is None else asdict(copy))

        maybeDeferred(acts[verb], stream.step).addCallbacks(done, stream.failed)

    def _logs(self, request: Request, host: str) -> None:
        tail = _number(request, b"tail", LOG_TAIL, LOG_TAIL_LIMIT)
        follow = bool(_number(request, b"follow", 0, 1))
        name = self._server_of(host, "logs")
        stream = Text(request, self._streams)
        stream.follow(maybeDeferred(self._lives.logs, name, tail, follow, stream.receive))

    def _broke(self, request: Request, failure: Failure) -> None:
        self._log.failure("control: {path}", failure, path=request.path)
        send(request, 500, {"error": said(failure)})


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
    names = [name for site in sites for name in (site["site"], *site.get("also", ()))]
    near = difflib.get_close_matches(wanted, names, n=1)
    if near:
        raise _Problem(404, f"no site {wanted}; did you mean {near[0]}?", nearest=near[0])
    what = "see them with: snickers status" if names else "there are no sites at all"
    raise _Problem(404, f"no site {wanted}; {what}")


def _canonical(host: str) -> str:
    """Return *host* as sites are named; what is no name stays as it is, and will not be found."""
    try:
        return site_name(host.strip())
    except Wrong:
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


def _submitted(request: Request) -> Submitted:
    """Return the certificate that came with *request*."""
    if request.content is None:
        raise _Problem(400, "there is nothing in the request")
    data = request.content.read(LARGEST_CERTIFICATE + 1)
    if len(data) > LARGEST_CERTIFICATE:
        raise _Problem(
            413, f"certificate, key and chain have more than {LARGEST_CERTIFICATE} bytes"
        )
    try:
        said = json.loads(data)
        (*paths,) = (str(said[part][0]) for part in PARTS)
        certificate, key, chain = (str(said[part][1]).encode("latin-1") for part in PARTS)
    except (ValueError, LookupError, TypeError, UnicodeEncodeError):
        raise _Problem(
            400, "it must be JSON: certificate, key and chain, each with a path and its bytes"
        ) from None
    return Submitted(certificate, key, chain, (paths[0], paths[1], paths[2]))


def _allow(request: Request, method: bytes) -> None:
    if request.method != method:
        request.setHeader(b"allow", method)
        raise _Problem(
            405,
            f"{request.method.decode('ascii', 'replace')} is not possible here; "
            f"use {method.decode()}",
        )
