"""What is measured, as Prometheus' own parser reads it."""

from __future__ import annotations

import io
import socket
import tempfile
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers.control import metrics as metrics_module
from snickers.control.metrics import MetricsService, Scribe, exposition
from snickers.interfaces.front_door import Metrics
from snickers.interfaces.traffic import BOUNDS, Traffic
from tests.control_fake import FakeFrontDoor

ODD = 'odd"\\\n.example'
METRICS = Metrics(
    {
        "a.example": Traffic(((200, 7), (404, 1)), (*(5, 2), *[0] * 9, 1), 20.5, 100, 2000),
        ODD: Traffic(),
    },
    {"ok": 8, "timeout": 1},
    {
        "sites": [
            {
                "site": "a.example",
                "state": "awake",
                "connections": 3,
                "certificate": {"not_after": 1.7e9},
            },
            {"site": ODD, "state": "broken", "connections": 0, "certificate": None},
        ],
        "alarms": [
            {"site": "a.example", "kind": "update", "message": "It ended with code 3."},
            {"site": "", "kind": "disk", "message": "one"},
            {"site": "", "kind": "disk", "message": "other"},
        ],
        "reloads": {"ok": 2, "failed": 1},
    },
    {"a.example": {"wakes": {"ready": 4, "failed": 1}, "wake_seconds": 2.5}, "b.example": {}},
)


def read(text: bytes) -> dict[tuple[str, ...], float]:
    """Return the samples by their name and the values of their labels."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


class ExpositionTests(SynchronousTestCase):
    """The text."""

    def setUp(self) -> None:
        self.samples = read(exposition(METRICS))

    def test_names(self) -> None:
        """Everything has the name that users rely on."""
        names = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
                 for name, *_ in self.samples}  # fmt: skip
        self.assertEqual(
            names,
            {
                "snickers_requests_total",
                "snickers_request_seconds",
                "snickers_bytes_total",
                "snickers_connections",
                "snickers_site_state",
                "snickers_wakes_total",
                "snickers_wake_seconds",
                "snickers_certificate_expiry_timestamp_seconds",
                "snickers_alarms",
                "snickers_reloads_total",
                "snickers_tls_handshakes_total",
            },
        )

    def test_values(self) -> None:
        """Each number is where it belongs."""
        a = "site=a.example"
        for key, value in {
            ("snickers_requests_total", "code=200", a): 7,
            ("snickers_requests_total", "code=404", a): 1,
            ("snickers_request_seconds_bucket", f"le={BOUNDS[0]}", a): 5,
            ("snickers_request_seconds_bucket", f"le={BOUNDS[1]}", a): 7,
            ("snickers_request_seconds_bucket", f"le={BOUNDS[-1]}", a): 7,
            ("snickers_request_seconds_bucket", "le=+Inf", a): 8,
            ("snickers_request_seconds_count", a): 8,
            ("snickers_request_seconds_sum", a): 20.5,
            ("snickers_bytes_total", "direction=in", a): 100,
            ("snickers_bytes_total", "direction=out", a): 2000,
            ("snickers_connections", a): 3,
            ("snickers_site_state", a, "state=awake"): 1,
            ("snickers_wakes_total", "result=ready", a): 4,
            ("snickers_wakes_total", "result=failed", a): 1,
            ("snickers_wake_seconds_count", a): 4,
            ("snickers_wake_seconds_sum", a): 2.5,
            ("snickers_wake_seconds_count", "site=b.example"): 0,
            ("snickers_certificate_expiry_timestamp_seconds", "host=a.example"): 1.7e9,
            ("snickers_alarms", "kind=update", a): 1,
            ("snickers_alarms", "kind=disk", "site="): 2,
            ("snickers_reloads_total", "result=ok"): 2,
            ("snickers_reloads_total", "result=failed"): 1,
            ("snickers_tls_handshakes_total", "result=ok"): 8,
            ("snickers_tls_handshakes_total", "result=timeout"): 1,
        }.items():
            self.assertEqual(self.samples.get(key), value, key)

    def test_odd_names(self) -> None:
        """A name is data, whatever it is made of."""
        self.assertEqual(self.samples["snickers_connections", f"site={ODD}"], 0)


class Threadless:
    """A reactor whose threads' words wait until somebody lets them through."""

    def __init__(self) -> None:
        self.told: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def callFromThread(self, what: Callable[..., None], *arguments: Any) -> None:
        self.told.put(lambda: what(*arguments))

    def hear(self) -> None:
        """Wait for one word and do it."""
        self.told.get(timeout=60)()


class ScribeTests(SynchronousTestCase):
    """The text is made apart."""

    def setUp(self) -> None:
        self.reactor = Threadless()
        self.scribe = Scribe(self.reactor)
        self.looks = 0

    def look(self) -> Metrics:
        self.looks += 1
        return METRICS

    def test_apart(self) -> None:
        """It is looked at once, when asked; the text comes from a thread."""
        threads: list[str] = []
        made = exposition(METRICS)

        def note(metrics: Metrics) -> bytes:
            threads.append(threading.current_thread().name)
            return made

        self.patch(metrics_module, "exposition", note)
        done = self.scribe.text(self.look)
        self.assertEqual(self.looks, 1)
        self.assertNoResult(done)
        self.reactor.hear()
        self.assertEqual(self.successResultOf(done), made)
        self.assertEqual(threads, ["metrics"])

    def test_together(self) -> None:
        """Who asks while a text is made gets the next one, with all who do."""
        first = self.scribe.text(self.look)
        others = [self.scribe.text(self.look) for _ in range(5)]
        self.assertEqual(self.looks, 1)
        self.reactor.hear()
        self.assertTrue(self.successResultOf(first))
        self.assertEqual(self.looks, 2)
        self.reactor.hear()
        for other in others:
            self.assertTrue(self.successResultOf(other))
        self.assertEqual(self.looks, 2)
        again = self.scribe.text(self.look)
        self.reactor.hear()
        self.assertTrue(self.successResultOf(again))

    def test_broken(self) -> None:
        """What cannot be looked at, or made, fails for who asked, and not for the next one."""

        def broken() -> Metrics:
            raise RuntimeError

        self.failureResultOf(self.scribe.text(broken), RuntimeError)
        failing = self.scribe.text(lambda: Metrics({}, {}, {}, {}))
        self.reactor.hear()
        self.failureResultOf(failing, KeyError)
        done = self.scribe.text(self.look)
        self.reactor.hear()
        self.assertTrue(self.successResultOf(done))

    def test_no_thread(self) -> None:
        """Where no thread can be started it fails for who asked, and not for the next one."""

        class Refused(threading.Thread):
            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        patched = self.patch(threading, "Thread", Refused)
        try:
            failing = self.scribe.text(self.look)
        finally:
            patched.restore()
        self.failureResultOf(failing, RuntimeError)
        done = self.scribe.text(self.look)
        self.reactor.hear()
        self.assertTrue(self.successResultOf(done))


class ServiceTests(TestCase):
    """On sockets of its own."""

    def setUp(self) -> None:
        self.front_door = FakeFrontDoor()
        self.front_door.measured = METRICS
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        self.service = MetricsService(reactor, lambda: [sock], self.front_door)
        self.addCleanup(self.service.stopService)

    def ask(self, path: str) -> Deferred[Any]:
        def get() -> tuple[int, str, bytes]:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()

        return deferToThread(get)

    async def test_asked(self) -> None:
        """They are at ``/metrics`` while it runs, and nothing else is there."""
        self.service.startService()
        status, kind, body = await self.ask("/metrics")
        self.assertEqual((status, body), (200, exposition(METRICS)))
        self.assertTrue(kind.startswith("text/plain; version=0.0.4"))
        for path in ("/", "/status"):
            with self.assertRaises(OSError) as caught:
                await self.ask(path)
            self.assertEqual(getattr(caught.exception, "code", 404), 404, path)
        await self.service.stopService()
        with self.assertRaises(OSError):
            await self.ask("/metrics")

    async def test_log(self) -> None:
        """The log says that they are there, not of which class; that they close is no news."""
        said: list[str] = []

        def heard(event: LogEvent) -> None:
            said.append(formatEvent(event))

        globalLogPublisher.addObserver(heard)
        self.addCleanup(globalLogPublisher.removeObserver, heard)
        self.service.startService()
        await self.service.stopService()
        found = [line for line in said if str(self.port) in line]
        self.assertEqual(found, [f"metrics starting on {self.port}"])

    async def test_body(self) -> None:
        """What somebody sends along is kept nowhere, however much it is."""
        made = []
        self.patch(tempfile, "TemporaryFile", lambda *args, **more: made.append(1) or io.BytesIO())
        self.service.startService()

        def post(fields: bytes, body: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), 30) as sock:
                sock.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
                sock.sendall(fields + b"\r\n" + body)
                return sock.makefile("rb").readline()

        large = b"x" * 1_000_000
        for fields, body in (
            (b"Content-Length: 1000000\r\n", large),
            (b"Transfer-Encoding: chunked\r\n", b"f4240\r\n" + large + b"\r\n0\r\n\r\n"),
        ):
            self.assertIn(b" 405 ", await deferToThread(post, fields, body))
        self.assertEqual(made, [])

    async def test_broken(self) -> None:
        """What cannot be measured is an error for who asks, and one in the log."""
        self.front_door.measured = None  # type: ignore[assignment]
        self.service.startService()
        with self.assertRaises(OSError) as caught:
            await self.ask("/metrics")
        self.assertEqual(getattr(caught.exception, "code", None), 500)
        self.assertTrue(self.flushLoggedErrors())

    def test_cannot(self) -> None:
        """What cannot be bound is said to who starts it."""

        def fail() -> Any:
            raise OSError("in use")

        self.assertRaises(OSError, MetricsService(reactor, fail, self.front_door).startService)
