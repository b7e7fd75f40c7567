"""How a team proves itself: what it tries, and what it says when that fails."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty import rehearsal
from snickers.duty.rehearsal import (
    ASK_WITHIN,
    CERTIFICATES_WITHIN,
    ENGINE_WITHIN,
    PORTS_WITHIN,
    PROOF_WITHIN,
    START_WITHIN,
    WORKERS_WITHIN,
    Rehearsal,
    knock_http,
    knock_https,
)
from snickers.duty.shift import Unproven
from snickers.interfaces.engine import IEngineObserver
from snickers.teams.moves import PROVE_WITHIN
from snickers.testing import MemoryEngine
from snickers.tls.credentials import CertificateUnavailable
from tests.test_credentials import make_pair


class Proxies:
    def hold(self, peer: bytes) -> bool:
        return peer == b"127.0.0.1"


class Double:
    """A port to be tried."""

    def __init__(self, noted: list[Any], proxies: Any = None) -> None:
        self.proxies = proxies
        self.startListening = lambda: noted.append("start")
        self.stopListening = lambda: noted.append("stop")


class Engine:
    """Is there when the test says so."""

    def __init__(self) -> None:
        self.observer: IEngineObserver | None = None
        self.closed = False

    def watch(self, observer: IEngineObserver) -> None:
        self.observer = observer

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class RehearsalTests(SynchronousTestCase):
    """The proof as a whole."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.noted: list[Any] = []
        self.names = {"a.example": ("a.example", "www.a.example"), "b.example": ("*.b.example",)}
        self.in_use: set[str] | None = {"a.example", "b.example"}
        self.bad: set[str] = set()
        self.slow = False
        self.hangs = ""
        self.calls = 0
        self.loaded: list[str] = []
        self.doubles: list[Any] = []
        self.workers: Deferred[None] = succeed(None)
        self.engine: Any = None
        for name in ("knock_https", "knock_http"):
            self.patch(rehearsal, name, self.knocks(name))

    def knocks(self, kind: str) -> Callable[..., None]:
        def knock(family: int, address: Any, name: str, header: bytes) -> None:
            self.noted.append((kind, name, header))
            if "refuse" in self.bad:
                raise ConnectionRefusedError(111, "Connection refused")

        return knock

    def load(self, site: str, name: str) -> Deferred[None]:
        self.loaded.append(name)
        if name in self.bad:
            return fail(CertificateUnavailable(f"{name}: its key is missing"))
        return Deferred() if self.slow else succeed(None)

    def run_it(self) -> Deferred[None]:
        self.calls = 0
        return Rehearsal(
            self.clock,
            self.in_thread,
            lambda: self.names,
            self.load,
            lambda: self.in_use,
            lambda site: site == "a.example",
            lambda: self.doubles,
            lambda: self.workers,
            lambda: self.engine,
            lambda: self.unreadable,
        ).run()

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run *function*, or never: asking is the first thing, looking the second, then come the
        ports."""
        self.calls += 1
        if self.hangs == {1: "ask", 2: "look"}.get(self.calls, "knock"):
            return Deferred()
        return maybeDeferred(function, *arguments)

    def words(self, done: Deferred[None]) -> str:
        return str(self.failureResultOf(done, Unproven).value)

    def double(self, kind: str, proxies: Any = None) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(sock.close)
        self.doubles.append((kind, sock, Double(self.noted, proxies)))

    unreadable = ""
    """What could not be imported later."""

    def test_unreadable(self) -> None:
        """A team whose user may not read its Python would fail at its first container: it says
        what it cannot import instead."""
        self.unreadable = "the user x cannot import tarfile"
        self.assertEqual(self.words(self.run_it()), self.unreadable)
        self.assertTrue(self.loaded)

    def test_certificates(self) -> None:
        """Every certificate that the team on duty shows is loaded, for each name."""
        self.successResultOf(self.run_it())
        self.assertEqual(sorted(self.loaded), ["*.b.example", "a.example", "www.a.example"])
        self.loaded.clear()
        self.in_use = {"b.example", "unknown.example"}
        self.successResultOf(self.run_it())
        self.assertEqual(self.loaded, ["*.b.example"])

    def test_nobody_to_ask(self) -> None:
        """Where nobody says what is in use, everything is that there is."""
        self.in_use = None
        self.successResultOf(self.run_it())
        self.assertEqual(sorted(self.loaded), ["a.example", "www.a.example"])

    def test_a_bad_certificate(self) -> None:
        """One that cannot be loaded is named, with the number of all others."""
        self.bad = {"www.a.example"}
        words = self.words(self.run_it())
        self.assertIn("www.a.example: its key is missing", words)
        self.assertNotIn("more", words)
        self.bad = {"www.a.example", "*.b.example"}
        self.assertIn("(and 1 more)", self.words(self.run_it()))

    def test_fits(self) -> None:
        """The bounds of the steps add up to that of the whole, and with the start that is what the
        keeper waits for: it is told which step was slow, instead of being left to guess."""
        steps = ASK_WITHIN + CERTIFICATES_WITHIN + PORTS_WITHIN + WORKERS_WITHIN + ENGINE_WITHIN
        self.assertLessEqual(steps, PROOF_WITHIN)
        self.assertLessEqual(START_WITHIN + PROOF_WITHIN, PROVE_WITHIN)

    def test_whole_is_bounded(self) -> None:
        """Whatever it is that takes so long, it ends in time, and says what was tried."""
        self.patch(rehearsal, "WORKERS_WITHIN", 1e9)
        self.workers = Deferred()
        done = self.run_it()
        self.clock.advance(PROOF_WITHIN)
        self.assertEqual(
            self.words(done),
            f"It has not proven itself within {PROOF_WITHIN:g} s; last of all it tried its workers",
        )

    def test_slow_threads(self) -> None:
        """Threads that do not answer are not waited for for ever: whom nobody can ask says nothing,
        a disk that hangs is told of, and so is a port."""
        self.hangs = "ask"
        done = self.run_it()
        self.clock.advance(ASK_WITHIN)
        self.successResultOf(done)
        self.assertEqual(sorted(self.loaded), ["a.example", "www.a.example"])
        self.hangs = "look"
        done = self.run_it()
        self.clock.advance(CERTIFICATES_WITHIN)
        self.assertIn("folders of certificates do not answer", self.words(done))
        self.hangs = "knock"
        for _ in range(3):
            self.double("https")
        done = self.run_it()
        self.clock.advance(PORTS_WITHIN)
        self.assertIn("is not answered within 10 s for all", self.words(done))
        self.assertEqual(self.noted, ["start", "stop"])

    def test_slow_certificates(self) -> None:
        """Certificates that are never loaded are not waited for for ever."""
        self.slow = True
        done = self.run_it()
        self.clock.advance(CERTIFICATES_WITHIN)
        self.assertIn("not loaded within 35 s", self.words(done))

    def test_ports(self) -> None:
        """Each port is opened for a name whose certificate is there, announced where it wants
        that, and closed again."""
        self.in_use = {"b.example"}
        self.double("https", Proxies())
        self.double("http")
        self.successResultOf(self.run_it())
        self.assertEqual(
            self.noted,
            [
                *("start", ("knock_https", "proof.b.example", b"PROXY UNKNOWN\r\n"), "stop"),
                *("start", ("knock_http", "proof.b.example", b""), "stop"),
            ],
        )

    def test_no_site(self) -> None:
        """Where no certificate is in use the port is opened without a name."""
        self.names = {}
        self.double("https")
        self.successResultOf(self.run_it())
        self.assertEqual(self.noted[1], ("knock_https", "", b""))

    def test_a_dead_port(self) -> None:
        """A port that does not answer is told of, and closed."""
        self.double("https")
        self.bad = {"refuse"}
        self.assertIn("Connection refused", self.words(self.run_it()))
        self.assertEqual(self.noted[-1], "stop")

    def test_workers(self) -> None:
        """Workers are waited for, but not for ever."""
        self.workers = Deferred()
        done = self.run_it()
        self.assertNoResult(done)
        self.clock.advance(WORKERS_WITHIN)
        self.assertIn("workers", self.words(done))

    def test_engine(self) -> None:
        """An engine that is needed has to be there; it is let go of at once."""
        engine = self.engine = Engine()
        done = self.run_it()
        self.assertNoResult(done)
        assert engine.observer is not None
        engine.observer.found()
        self.successResultOf(done)
        self.assertTrue(engine.closed)
        engine.observer.lost("it is over")

    def test_engine_away(self) -> None:
        """One that is away, or says nothing, is told of."""
        engine = self.engine = Engine()
        done = self.run_it()
        assert engine.observer is not None
        engine.observer.lost("no such file")
        self.assertIn("no such file", self.words(done))
        engine.observer.found()
        done = self.run_it()
        self.clock.advance(ENGINE_WITHIN)
        self.assertIn("Docker does not answer", self.words(done))
        self.assertTrue(engine.closed)

    def test_memory_engine(self) -> None:
        """It is as with an engine that keeps the contract of engines."""
        self.engine = MemoryEngine(self.clock)
        done = self.run_it()
        self.clock.advance(0)
        self.successResultOf(done)
        self.assertEqual(self.engine.host.running("a.example"), None)


class KnockTests(SynchronousTestCase):
    """Connections to somebody who answers in a thread."""

    def serve(self, answer: Callable[[socket.socket], None]) -> Any:
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def run() -> None:
            sock, _ = server.accept()
            with sock:
                sock.settimeout(30)
                try:
                    answer(sock)
                except OSError:
                    pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 30)
        return server.getsockname()

    def secure(self, sock: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        folder = self.mktemp()
        pair = make_pair("a.example")
        with open(folder, "wb") as file:
            file.write(pair.key_pem + pair.pem)
        context.load_cert_chain(folder)
        context.set_alpn_protocols(["http/1.1"])
        with context.wrap_socket(sock, server_side=True) as secure:
            secure.recv(1)

    def test_https(self) -> None:
        """A handshake is made to its end, whoever the certificate is from."""
        knock_https(socket.AF_INET, self.serve(self.secure), "a.example", b"")

    def test_https_refused(self) -> None:
        """An alert is a fault, unless it was to be expected: no name, and nobody of that."""
        alert = b"\x15\x03\x03\x00\x02\x02\x70"

        def refuse(sock: socket.socket) -> None:
            sock.recv(65536)
            sock.sendall(alert)

        knock_https(socket.AF_INET, self.serve(refuse), "", b"")
        address = self.serve(refuse)
        self.assertRaises(ssl.SSLError, knock_https, socket.AF_INET, address, "a.example", b"")

    def test_https_announced(self) -> None:
        """Who wants to be told who comes is told so first."""
        header = b"PROXY UNKNOWN\r\n"
        heard: list[bytes] = []

        def announced(sock: socket.socket) -> None:
            heard.append(sock.recv(len(header)))
            self.secure(sock)

        knock_https(socket.AF_INET, self.serve(announced), "a.example", header)
        self.assertEqual(heard, [header])

    def test_http(self) -> None:
        """Any answer will do, but it has to be one."""

        def answers(data: bytes) -> Callable[[socket.socket], None]:
            def answer(sock: socket.socket) -> None:
                sock.recv(65536)
                for byte in data:
                    sock.sendall(bytes([byte]))

            return answer

        knock_http(socket.AF_INET, self.serve(answers(b"HTTP/1.1 404 N\r\n")), "a.example", b"")
        for data in (b"", b"HTTP/2.0 404"):
            address = self.serve(answers(data))
            self.assertRaises(OSError, knock_http, socket.AF_INET, address, "", b"")

    def test_nobody(self) -> None:
        """Where nobody listens there is nothing."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        for knock in (knock_https, knock_http):
            self.assertRaises(OSError, knock, socket.AF_INET, address, "a.example", b"")
