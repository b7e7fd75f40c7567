"""The wiring: from a configuration's path to a service, and from there to an answer."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
import time
from typing import Any
from unittest.mock import Mock, patch

from attrs import evolve
from OpenSSL import SSL
from twisted.application.service import IService
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from snickers import tap
from snickers.brokerage.wire import CONTROL as BROKER
from snickers.config.parse import load
from snickers.config.values import Container, Site
from snickers.duty.dutylock import DutyLock
from snickers.ending import StartFailed, end_with
from snickers.interfaces.copies import CopyFailed
from snickers.interfaces.plane import Change
from snickers.plane import steady
from snickers.starting import Options, makeService
from snickers.tap import Wiring
from snickers.workers.wire import CONTROL, FIRST_FRONT, TALLY
from tests.descriptors import open_descriptors

GOOD = """
[snickers]
https = tcp:0:interface=127.0.0.1
http = tcp:0:interface=127.0.0.1
state = {folder}/state
data = {folder}/data

[hello.localhost]
type = static
root = {folder}/site
"""


class Case:
    """Writes a configuration."""

    mktemp: Any

    def write(self, text: str) -> str:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(self.folder, "site"))
        with open(os.path.join(self.folder, "site", "index.html"), "w") as page:
            page.write("<h1>hello</h1>")
        path = os.path.join(self.folder, "sites.ini")
        with open(path, "w") as file:
            file.write(text.format(folder=self.folder))
        return path

    def options(self, text: str) -> Options:
        options = Options()
        options.parseOptions(["--config", self.write(text)])
        return options


class CopiesTests(Case, SynchronousTestCase):
    """Where copies are kept."""

    def test_directory(self) -> None:
        """In the state folder, or where the settings say, also when they change."""
        wiring = Wiring(reactor, "", load(self.write(GOOD)), {})
        self.assertEqual(wiring.snapshots_directory(), f"{self.folder}/state/snapshots")
        settings = evolve(wiring.settings, snapshots_directory="/backup")
        wiring.settings = settings
        self.assertEqual(wiring.snapshots_directory(), "/backup")

    def test_proof_with_a_broker(self) -> None:
        """Where a broker holds Docker no copy is proved past it, and that is said."""
        wiring = Wiring(reactor, "", load(self.write(GOOD)), {})
        wiring.settings = evolve(wiring.settings, docker_broker=True)
        proving = wiring.copies._proof.try_(
            Site("a.example", Container("lamp", data="/data")), "/copy", print
        )
        failure = self.failureResultOf(Deferred.fromCoroutine(proving), CopyFailed)
        self.assertIn("docker broker = on", failure.getErrorMessage())

    def test_site(self) -> None:
        """Sites are those of the running configuration, of which there is none at first."""
        loaded = load(self.write(GOOD))
        wiring = Wiring(reactor, "", loaded, {})
        self.assertEqual((wiring.sites(), wiring.site("hello.localhost")), ([], None))
        wiring.running.configuration = loaded.configuration
        site = loaded.configuration.sites["hello.localhost"]
        self.assertEqual((wiring.sites(), wiring.site("hello.localhost")), ([site], site))


class AboutTests(Case, SynchronousTestCase):
    """What every status begins with."""

    def test_standing_by(self) -> None:
        """Whether nobody is let in, as after SIGUSR1."""
        wiring = Wiring(reactor, "", load(self.write(GOOD)), {})
        self.assertNotIn("standing_by", wiring.about())
        wiring.service.standing_by = True
        self.assertTrue(wiring.about()["standing_by"])


class MakeServiceTests(Case, SynchronousTestCase):
    """What happens before anything is started."""

    def setUp(self) -> None:
        # The reactor of the tests has calls of trial's by its own clock.
        self.steadied: list[Any] = []
        self.patch(tap, "steady", self.steadied.append)

    def test_nothing_is_started(self) -> None:
        """Neither thread nor descriptor nor file is made: twistd forks after this."""
        options = self.options(GOOD)
        threads, descriptors = threading.active_count(), open_descriptors()
        service = makeService(options)
        verifyObject(IService, service)
        self.assertEqual(threading.active_count(), threads)
        self.assertEqual(open_descriptors() - descriptors, set())
        self.assertEqual(sorted(os.listdir(self.folder)), ["site", "sites.ini"])

    def test_time(self) -> None:
        """The reactor's time is one that nobody can set."""
        makeService(self.options(GOOD))
        self.assertEqual(self.steadied, [reactor])
        clock = Clock()
        steady(clock)
        self.assertIs(clock.seconds, time.monotonic)

    def test_sockets_for_us(self) -> None:
        """Sockets that were handed to this process are ours also after twistd has forked."""
        made: list[dict[str, str]] = []
        self.patch(tap, "Wiring", lambda *arguments: made.append(arguments[-1]) or Mock())
        for pid, kept in [(str(os.getpid()), False), ("1", True)]:
            with patch.dict(os.environ, {"LISTEN_PID": pid}):
                makeService(self.options(GOOD))
            self.assertEqual("LISTEN_PID" in made[-1], kept)

    def test_a_port_that_is_taken(self) -> None:
        """A port that cannot be had ends the start with a line that says which and why."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            text = GOOD.replace("https = tcp:0", f"https = tcp:{port}")
            service = makeService(self.options(text))
            errors = io.StringIO()
            with patch("sys.stderr", errors):
                ended = self.assertRaises(SystemExit, service.privilegedStartService)
        self.assertEqual(ended.code, 1)
        self.assertIn(f"cannot listen on tcp:{port}", errors.getvalue())
        self.assertEqual(len(errors.getvalue().splitlines()), 1)


class StartTests(Case, TestCase):
    """Starts that fail when makeService is over."""

    def fail_at_control(self, daemon: bool) -> tuple[Any, str]:
        """Start where a folder is in the control socket's way; return how it ended."""
        path = self.write(GOOD)
        os.makedirs(os.path.join(self.folder, "state", "control.sock", "x"))
        wiring = Wiring(reactor, path, load(path), {"DOCKER_HOST": "unix:///nonexistent"})
        wiring.daemon = daemon
        errors = io.StringIO()
        threads = threading.active_count()
        with patch("sys.stderr", errors):
            wiring.service.privilegedStartService()
            ended = self.assertRaises((SystemExit, StartFailed), wiring.service.startService)
        self.assertEqual(threading.active_count(), threads)
        self.assertEqual([port.getHost() for port in wiring.plane.ports], [None, None])
        return ended, errors.getvalue()

    def test_control_socket(self) -> None:
        """Without a control socket there is no start, and no thread keeps the process alive."""
        ended, said = self.fail_at_control(daemon=False)
        self.assertIsInstance(ended, SystemExit)
        self.assertIn("control.sock", said)

    def test_daemon(self) -> None:
        """In the background the reason is an exception's text, which twistd hands on."""
        ended, said = self.fail_at_control(daemon=True)
        self.assertIsInstance(ended, StartFailed)
        self.assertIn("control.sock", str(ended))
        self.assertEqual(said, "")


class PythonTests(Case, SynchronousTestCase):
    """What is imported later."""

    def test_unreadable(self) -> None:
        """A user that may not read it is told so at the start, before anything is opened."""
        path = self.write(GOOD)
        wiring = Wiring(Mock(), path, load(path), {})
        self.patch(tap, "unreadable", lambda: "the user x cannot import tarfile")
        errors = io.StringIO()
        with patch("sys.stderr", errors):
            ended = self.assertRaises(SystemExit, wiring.service.startService)
        self.assertEqual(ended.code, 1)
        self.assertEqual(errors.getvalue(), f"{path}: the user x cannot import tarfile\n")
        self.assertFalse(os.path.exists(os.path.join(self.folder, "state")))


class LockTests(Case, SynchronousTestCase):
    """One Snickers is on duty for a state."""

    def setUp(self) -> None:
        path = self.write(GOOD)
        self.wiring = Wiring(Mock(), path, load(path), {})
        self.addCleanup(self.wiring.lock.let_go)

    def ended(self) -> str:
        """Try to be on duty; return the line that says why not."""
        errors = io.StringIO()
        with patch("sys.stderr", errors):
            self.assertRaises(SystemExit, self.wiring.hold_duty)
        (line,) = errors.getvalue().splitlines()
        return line

    def test_another(self) -> None:
        """Beside one that holds the lock none starts; when that lets go, one does."""
        other = DutyLock(self.wiring.lock.path)
        self.assertTrue(other.take())
        self.assertIn("another Snickers is on duty", self.ended())
        other.let_go()
        self.wiring.hold_duty()
        self.assertTrue(self.wiring.lock.held)

    def test_impossible(self) -> None:
        """A lock that cannot be had is said to be so."""
        os.makedirs(self.wiring.lock.path)
        self.assertIn("duty.lock: Is a directory", self.ended())

    def test_unproven(self) -> None:
        """A team that has not proved itself ends with a line, and with a status when all is over:
        the reactor has none."""
        errors = io.StringIO()
        with patch("sys.stderr", errors), patch("atexit.register") as register:
            self.wiring.unproven("Docker cannot be reached")
        self.assertEqual(errors.getvalue(), f"{self.wiring.path}: Docker cannot be reached\n")
        register.assert_called_once_with(end_with, 1)
        self.assertEqual(self.wiring.reactor.stop.call_count, 1)


class WorkersTests(Case, SynchronousTestCase):
    """How workers are started, and how many."""

    def setUp(self) -> None:
        path = self.write(GOOD)
        self.wiring = Wiring(Mock(), path, load(path), {})
        self.spawned = self.wiring.reactor.spawnProcess
        self.adopted = self.wiring.reactor.adoptStreamConnection

    def test_wanted(self) -> None:
        """The first process is one of them; a change of the settings is one of their number."""
        wanted: list[int] = []
        self.patch(self.wiring.crew, "want", wanted.append)
        self.addCleanup(lambda: [port.stopListening() for port in self.wiring.plane.ports])
        self.wiring.bind()
        self.wiring.apply(Change(settings=evolve(self.wiring.settings, workers=4)))
        self.wiring.apply(Change())
        self.assertEqual(wanted, [0, 3])

    def launch(self) -> None:
        with socket.socket() as front:
            self.front = front.fileno()
            fronts = [("https", self.front), ("http", self.front)]
            self.wiring.launch(ProcessProtocol(), Mock(), 3, fronts)

    def test_launch(self) -> None:
        """A worker is given its end of the wire, the tally and the sockets, and no variable that
        was meant for the first process alone; nothing is left open here."""
        tally = self.wiring.tally()
        self.addCleanup(tally.close)
        self.addCleanup(os.close, self.wiring._tally)
        before = open_descriptors()
        variables = {
            "LISTEN_FDS": "2",
            "NOTIFY_SOCKET": "/run/n",
            "KEPT": "1",
            "SNICKERS_STAND_BY": "1",
        }
        with patch.dict(os.environ, variables):
            self.launch()
        ((_, executable, arguments, environment), more) = self.spawned.call_args
        self.assertEqual(executable, sys.executable)
        self.assertEqual(arguments[1:], ["-m", "snickers.worker", "3", "https", "http"])
        self.assertEqual(environment["KEPT"], "1")
        self.assertEqual(environment.keys() & (variables.keys() - {"KEPT"}), set())
        descriptors = more["childFDs"]
        self.assertEqual((descriptors[1], descriptors[2]), ("r", "r"))
        self.assertEqual(descriptors[TALLY], self.wiring._tally)
        self.assertEqual([descriptors[FIRST_FRONT + n] for n in (0, 1)], [self.front] * 2)
        ours = self.adopted.call_args.args[0]
        self.assertNotEqual(descriptors[CONTROL], ours)
        self.assertEqual(open_descriptors() - before, set())

    def test_launch_fails(self) -> None:
        """A worker that cannot be started leaves nothing open."""
        self.spawned.side_effect = OSError
        before = open_descriptors()
        self.assertRaises(OSError, self.launch)
        self.assertEqual(open_descriptors() - before, set())


class LaunchBrokerTests(Case, SynchronousTestCase):
    """How the broker is started, with a reactor that starts nothing."""

    def setUp(self) -> None:
        self.patch(tap, "steady", lambda reactor: None)
        path = self.write(GOOD.replace("[hello", "docker broker = on\n[hello"))
        self.reactor = Mock(wraps=Clock())
        self.reactor.spawnProcess = Mock()
        self.reactor.adoptStreamConnection = Mock()
        self.wiring = Wiring(self.reactor, path, load(path), {})

    def test_launch(self) -> None:
        """It is given the path of the configuration and its end of the wire, and nothing else; it
        imports nothing from where Snickers was started."""
        before = open_descriptors()
        with patch.dict(os.environ, {"NOTIFY_SOCKET": "/run/n", "DOCKER_HOST": "unix:///d"}):
            self.wiring.launch_broker(ProcessProtocol(), Mock())
        ((_, executable, arguments, environment), more) = self.reactor.spawnProcess.call_args
        self.assertEqual(executable, sys.executable)
        self.assertEqual(arguments[1:], ["-P", "-m", "snickers.broker", self.wiring.path])
        self.assertEqual(environment["DOCKER_HOST"], "unix:///d")
        self.assertNotIn("NOTIFY_SOCKET", environment)
        self.assertEqual(sorted(more["childFDs"]), [0, 1, 2, BROKER])
        self.assertNotEqual(
            more["childFDs"][BROKER], self.reactor.adoptStreamConnection.call_args.args[0]
        )
        self.assertEqual(open_descriptors() - before, set())

    def test_launch_fails(self) -> None:
        """One that cannot be started leaves nothing open."""
        self.reactor.spawnProcess.side_effect = OSError
        before = open_descriptors()
        self.assertRaises(OSError, self.wiring.launch_broker, ProcessProtocol(), Mock())
        self.assertEqual(open_descriptors() - before, set())

    def test_started_with_the_sockets(self) -> None:
        """It is started when the sockets are bound: while there are privileges."""
        assert self.wiring.minder is not None
        self.reactor.spawnProcess.assert_not_called()
        self.patch(self.wiring.plane, "listen", lambda https, http: [])
        self.patch(tap, "inherited", lambda environ: {})
        self.patch(tap, "bind", lambda listen: None)
        self.wiring.bind()
        self.assertEqual(self.reactor.spawnProcess.call_count, 1)
        self.assertTrue(self.wiring.minder.able())

    def test_reload(self) -> None:
        """The broker reads again when a reload is over, not before."""
        assert self.wiring.minder is not None
        read: list[bool] = []
        self.patch(self.wiring.minder.engine, "reload", lambda: read.append(True))
        self.wiring.told("reloading")
        self.assertEqual(read, [])
        self.wiring.told("ready")
        self.assertEqual(read, [True])

    def test_without(self) -> None:
        """Without the option there is none."""
        path = self.write(GOOD)
        wiring = Wiring(self.reactor, path, load(path), {})
        self.assertIsNone(wiring.minder)
        wiring.told("ready")

    def test_a_loose_configuration(self) -> None:
        """A configuration that others could write ends the start, where there is a broker."""
        for on, ends in (("on", True), ("off", False)):
            options = self.options(GOOD.replace("[hello", f"docker broker = {on}\n[hello"))
            os.chmod(options["config"], 0o666)
            errors = io.StringIO()
            with patch("sys.stderr", errors):
                if ends:
                    self.assertRaises(SystemExit, makeService, options)
                    self.assertIn(f"chmod go-w {options['config']}", errors.getvalue())
                    self.assertEqual(len(errors.getvalue().splitlines()), 1)
                else:
                    makeService(options)


def ask(port: int, data: bytes, authority: str = "") -> bytes:
    """Send *data* to *port*, over TLS where an *authority* is given; return the answer."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        stream: Any = sock
        if authority:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.load_verify_locations(authority)
            context.set_verify(SSL.VERIFY_PEER, lambda *arguments: bool(arguments[-1]))
            sock.settimeout(None)
            stream = SSL.Connection(context, sock)
            stream.set_tlsext_host_name(b"hello.localhost")
            stream.set_connect_state()
        stream.sendall(data)
        answer = b""
        while True:
            try:
                piece = stream.recv(65536)
            except SSL.ZeroReturnError:
                return answer
            if not piece:
                return answer
            answer += piece


class WiringTests(Case, TestCase):
    """Everything connected, on the real reactor and real sockets."""

    timeout = 120

    def start(self) -> Wiring:
        path = self.write(GOOD)
        environ = {"PATH": os.environ.get("PATH", ""), "DOCKER_HOST": "unix:///nonexistent"}
        wiring = Wiring(reactor, path, load(path), environ)
        self.patch(wiring.service, "_install_signals", lambda: None)
        wiring.service.privilegedStartService()
        wiring.service.startService()
        self.addCleanup(wiring.service.stopService)
        return wiring

    def test_answers(self) -> Deferred[None]:
        """Https answers with a certificate of the internal authority, http sends there."""
        wiring = self.start()

        def client() -> tuple[bytes, bytes]:
            request = b"GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n"
            plain = ask(wiring.plane.http_port, request)
            secure = ask(wiring.plane.https_port, request, wiring.plane.authority.trust)
            return plain, secure

        def answered(answers: tuple[bytes, bytes]) -> None:
            plain, secure = answers
            self.assertTrue(plain.startswith(b"HTTP/1.1 308 "), plain)
            location = b"\r\nLocation: https://hello.localhost:%d/\r\n" % wiring.plane.https_port
            self.assertIn(location, plain)
            self.assertTrue(secure.startswith(b"HTTP/1.1 200 "), secure)
            self.assertTrue(secure.endswith(b"<h1>hello</h1>"))

        prepared = wiring.plane.defer(wiring.plane.authority.root, time.time())
        prepared.addCallback(lambda _: deferToThread(client))
        return prepared.addCallback(answered)

    def test_settings(self) -> None:
        """What of [snickers] may change while running reaches those whom it concerns."""
        wiring = self.start()
        with open(wiring.path) as file:
            text = file.read()
        text = text.replace(
            "[hello", "connection limit = 7\nhead within = 5s\nhandshake within = 3s\n\n[hello"
        )
        with open(wiring.path, "w") as file:
            file.write(text)
        wiring.running._apply(load(wiring.path).configuration)
        self.assertEqual(wiring.plane.limits.total, 7)
        self.assertEqual(wiring.plane.front.bounds.head_within, 5.0)
        self.assertEqual(wiring.plane.ports[0].within, 3.0)  # type: ignore[attr-defined]

    def test_a_socket_of_another_name(self) -> None:
        """A socket that was handed over under a name that means nothing is told of, not used."""
        self.patch(tap, "inherited", lambda environ: {"web.socket": [], "unknown": []})
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.start()
        told = {event["name"] for event in events if "FileDescriptorName" in event["log_format"]}
        self.assertEqual(told, {"web.socket", "unknown"})
