"""What is measured, in the text that Prometheus reads, on the control socket and on ``metrics``.

Made when somebody asks, from what the front door knows anyhow. Whoever may read it sees the names
of all sites and nothing of their visitors; it must never let anybody change anything.
"""

# Most of twisted.web has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, cast

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import ILoggingContext
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import NoResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from snickers.interfaces.front_door import IFrontDoor, Metrics
from snickers.interfaces.traffic import BOUNDS, Traffic

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class _Measured(Collector):
    """One look at what is measured."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        metrics = self._metrics
        yield from _traffic(metrics.sites)
        connections = GaugeMetricFamily(
            "snickers_connections", "Connections open now.", labels=["site"]
        )
        state = GaugeMetricFamily(
            "snickers_site_state", "1 for the state that a site is in.", labels=["site", "state"]
        )
        expiry = GaugeMetricFamily(
            "snickers_certificate_expiry_timestamp_seconds",
            "When the certificate ends that is shown, in seconds since the epoch.",
            labels=["host"],
        )
        for site in metrics.status["sites"]:
            name = site["site"]
            connections.add_metric([name], site["connections"])
            state.add_metric([name, site["state"]], 1)
            ends = (site["certificate"] or {}).get("not_after")
            if ends:
                expiry.add_metric([name], ends)
        yield connections
        yield state
        wakes = CounterMetricFamily(
            "snickers_wakes", "How often servers were woken.", labels=["site", "result"]
        )
        seconds = SummaryMetricFamily(
            "snickers_wake_seconds",
            "Seconds from the first who waited to a server that is ready.",
            labels=["site"],
        )
        for name, life in metrics.lives.items():
            counted = life.get("wakes", {})
            for result, number in counted.items():
                wakes.add_metric([name, result], number)
            seconds.add_metric([name], counted.get("ready", 0), life.get("wake_seconds", 0.0))
        yield wakes
        yield seconds
        yield expiry
        alarms = GaugeMetricFamily(
            "snickers_alarms", "Alarms that are raised now.", labels=["site", "kind"]
        )
        raised = Counter((str(a["site"]), str(a["kind"])) for a in metrics.status["alarms"])
        for labels, number in sorted(raised.items()):
            alarms.add_metric(labels, number)
        yield alarms
        yield _counted(
            "snickers_reloads", "Reloads of the configuration.", metrics.status["reloads"]
        )
        yield _counted("snickers_tls_handshakes", "TLS handshakes that ended.", metrics.handshakes)


def _traffic(sites: Any) -> Iterable[Metric]:
    requests = CounterMetricFamily(
        "snickers_requests", "Requests that were answered.", labels=["site", "code"]
    )
    seconds = HistogramMetricFamily(
        "snickers_request_seconds",
        "Seconds from a request's head to the end of its answer, WebSockets apart.",
        labels=["site"],
    )
    sizes = CounterMetricFamily(
        "snickers_bytes",
        "Bytes from visitors (in) and to them (out), without TLS.",
        labels=["site", "direction"],
    )
    bounds = [*map(str, BOUNDS), "+Inf"]
    for name, traffic in sorted(sites.items()):
        traffic = cast("Traffic", traffic)
        for status, number in traffic.codes:
            requests.add_metric([name, str(status)], number)
        buckets = list(zip(bounds, accumulate(traffic.buckets), strict=True))
        seconds.add_metric([name], buckets, traffic.seconds)
        sizes.add_metric([name, "in"], traffic.received)
        sizes.add_metric([name, "out"], traffic.sent)
    return requests, seconds, sizes


def _counted(name: str, words: str, results: Any) -> Metric:
    family = CounterMetricFamily(name, words, labels=["result"])
    for result, number in sorted(results.items()):
        family.add_metric([result], number)
    return family


def exposition(metrics: Metrics) -> bytes:
    """Return *metrics* in the text format of Prometheus, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measured(metrics))
    return generate_latest(registry)


class Scribe:
    """Makes the text in a thread, one at a time: for a thousand sites it takes a fifth of a second.

    :param reactor: gets what comes of it by ``callFromThread``.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._asked: list[Deferred[bytes]] = []
        self._at_work = False

    def text(self, look: Callable[[], Metrics]) -> Deferred[bytes]:
        """Fire with the text of what is measured when it is this one's turn; all who ask while one
        text is made get the next one together.

        :param look: returns what is measured; nobody may change it afterwards.
        """
        done: Deferred[bytes] = Deferred()
        self._asked.append(done)
        if not self._at_work:
            self._next(look)
        return done

    def _next(self, look: Callable[[], Metrics]) -> None:
        asked, self._asked = self._asked, []
        self._at_work = bool(asked)
        if not asked:
            return

        def told(made: bytes | Failure) -> None:
            self._next(look)
            for done in asked:
                done.callback(made)

        def make() -> None:
            try:
                made: bytes | Failure = exposition(metrics)
            except Exception:  # Whoever asked is told, and the others get their turn.
                made = Failure()
            self._reactor.callFromThread(told, made)

        try:
            metrics = look()
            threading.Thread(target=make, name="metrics", daemon=True).start()
        except Exception:
            told(Failure())


class _Page(Resource):
    """``/metrics``."""

    isLeaf = True
    _log = Logger(namespace="snickers.control")

    def __init__(self, reactor: Any, front_door: IFrontDoor) -> None:
        super().__init__()
        self._front_door = front_door
        self._scribe = Scribe(reactor)

    def render_GET(self, request: Request) -> int:
        gone = False

        def left(reason: Failure) -> None:
            nonlocal gone
            gone = True

        def fresh(_: object) -> Deferred[None] | None:
            return None if gone else send(request, self._front_door, self._scribe)

        def broke(failure: Failure) -> None:
            self._log.failure("measuring", failure=failure)
            if not gone:
                request.setResponseCode(500)
                request.finish()

        request.notifyFinish().addErrback(left)
        maybeDeferred(self._front_door.freshen).addCallback(fresh).addErrback(broke)
        return NOT_DONE_YET


def send(request: Request, front_door: IFrontDoor, scribe: Scribe) -> Deferred[None]:
    """Answer *request* with what is measured now, and finish it; fires when that is done, or when
    who asked has gone. Fails, with nothing answered, when it cannot be measured."""
    gone = False

    def left(reason: Failure) -> None:
        nonlocal gone
        gone = True

    def write(body: bytes) -> None:
        if gone:
            return
        request.setHeader(b"content-type", CONTENT_TYPE)
        request.setHeader(b"content-length", b"%d" % len(body))
        request.write(body)
        request.finish()

    request.notifyFinish().addErrback(left)
    return scribe.text(front_door.metrics).addCallback(write)


class _Bodiless(Request):
    """Keeps no body: Twisted would have a file grow with it, and nobody wants one here."""

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        """Nothing: it is of no use."""


@implementer(ILoggingContext)
class _Quiet(Site):
    """Keeps no log of who looks."""

    noisy = False
    requestFactory = _Bodiless

    def logPrefix(self) -> str:
        """Return what the log says is starting."""
        return "metrics"

    def startFactory(self) -> None:
        """Nothing: Twisted's own ticks every second for the dates of an access log."""

    def log(self, request: Any) -> None:
        """Nothing: looking is not logged."""


class MetricsService(Service):
    """Answers ``GET /metrics`` on sockets of its own while it runs.

    *bind* returns the listening sockets; what it raises ends the start. `stopService` returns a
    Deferred that fires when they are closed.
    """

    def __init__(
        self, reactor: Any, bind: Callable[[], Sequence[socket.socket]], front_door: IFrontDoor
    ) -> None:
        root = Resource()
        root.putChild(b"metrics", _Page(reactor, front_door))
        root.putChild(b"", NoResource("what is measured is at /metrics"))
        self._reactor = reactor
        self._bind = bind
        self._site = _Quiet(root)
        self._ports: list[Any] = []

    def startService(self) -> None:
        for sock in self._bind():
            with sock:
                port = self._reactor.adoptStreamPort(sock.fileno(), sock.family, self._site)
            # That it closes at an end, or when a team stands by, is no news.
            port._logConnectionLostMsg = lambda: None
            self._ports.append(port)
        super().startService()

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports])
