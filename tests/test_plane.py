"""The data plane of one process: how its settings reach everybody, and its look-ups."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.config.values import Listen, Passthrough, Settings, Site, Static
from snickers.http.front import GRACE
from snickers.interfaces.plane import Change, IPlane
from snickers.listening import Limits, bind
from snickers.plane import ALPN, ALPN_2, Called, Plane, Several, steady
from snickers.stream import Sweep
from snickers.tls.port import TLSPort
from tests.descriptors import open_descriptors
from tests.test_alarms import Alarm
from tests.test_desk import Leases
from tests.wires import Turns

LOCAL = Listen("tcp", "127.0.0.1", 0)


def make(case: Any, on: Any, **settings: Any) -> Plane:
    """Return a plane whose files would be in a folder of *case*'s."""
    settings.setdefault("state", os.path.abspath(case.mktemp()))
    return Plane(on, Sweep(on), Settings(**settings), Leases(), Alarm())


class SettingsTests(SynchronousTestCase):
    """What of ``[snickers]`` reaches whom."""

    def plane(self, **settings: Any) -> Plane:
        plane = make(self, Turns(), **settings)
        self.addCleanup(lambda: [port.stopListening() for port in plane.ports])
        return plane

    def bound(self, listen: Listen = LOCAL) -> socket.socket:
        sock = bind(listen)
        self.addCleanup(sock.close)
        return sock

    def test_nothing_is_started(self) -> None:
        """Making one makes no thread, no descriptor and no file."""
        threads, descriptors = threading.active_count(), open_descriptors()
        plane = self.plane(access_log=os.path.abspath(self.mktemp()))
        self.assertEqual(threading.active_count(), threads)
        self.assertEqual(open_descriptors() - descriptors, set())
        self.assertFalse(os.path.exists(plane.settings.state))
        self.assertFalse(os.path.exists(plane.settings.access_log))

    def test_first(self) -> None:
        """What it is made with holds from the start."""
        plane = self.plane(connections=9, connections_per_address=3, head_within=4.0)
        self.assertEqual((plane.limits.together, plane.limits.per_address), (9, 3))
        self.assertEqual(plane.front.bounds.head_within, 4.0)

    def test_protocols(self) -> None:
        """HTTP/2 is offered unless it is not to be."""
        self.assertEqual(self.plane().alpn, ALPN_2)
        self.assertEqual(self.plane(http2=False).alpn, ALPN)

    def test_change(self) -> None:
        """Changed settings reach limits, bounds and certificates."""
        plane = self.plane()
        settings = evolve(
            plane.settings,
            connections=5,
            connections_per_address=2,
            keep_alive=1.0,
            minimum_rate=7,
            request_line_limit=100,
            stream_limit=3,
            certificate_directory="/elsewhere",
        )
        plane.apply_settings(settings)
        self.assertIs(plane.settings, settings)
        self.assertEqual((plane.limits.together, plane.limits.per_address), (5, 2))
        bounds = plane.front.bounds
        self.assertEqual(
            (bounds.keep_alive, bounds.minimum_rate, bounds.request_line_limit), (1.0, 7, 100)
        )
        self.assertEqual(bounds.streams, 3)
        self.assertEqual(plane.certificates.directory, "/elsewhere")

    def test_ports(self) -> None:
        """There is a port for each socket, told what holds now and what changes later; nothing
        is accepted yet."""
        plane = self.plane(handshake_within=3.0)
        https, http = [self.bound(), self.bound()], [self.bound()]
        numbers = [sock.getsockname()[1] for sock in (*https, *http)]
        ports = plane.listen(https, http)
        self.assertEqual([port.getHost()[1] for port in ports], numbers)
        self.assertEqual([isinstance(port, TLSPort) for port in ports], [True, True, False])
        self.assertEqual((plane.https_port, plane.http_port), (numbers[0], numbers[2]))
        self.assertEqual([ports[0].within, ports[1].within], [3.0] * 2)
        self.assertEqual([port.proxies for port in ports], [None] * 3)
        self.assertEqual(plane.poller.getReaders(), [])
        plane.apply_settings(
            evolve(plane.settings, handshake_within=1.0, proxy_protocol_from=("192.0.2.0/24",))
        )
        self.assertEqual(ports[1].within, 1.0)
        for port in ports:
            self.assertTrue(port.proxies.hold(b"192.0.2.7"))
            self.assertFalse(port.proxies.hold(b"198.51.100.1"))
        plane.apply_settings(evolve(plane.settings, proxy_protocol_from=()))
        self.assertEqual([port.proxies for port in ports], [None] * 3)

    def test_doubles(self) -> None:
        """For each port there can be made one like it at another socket; those that serve are left
        alone, and what holds for them holds for it."""
        plane = self.plane(proxy_protocol_from=("127.0.0.1",), handshake_within=3.0)
        ports = plane.listen([self.bound()], [self.bound()])
        doubles = plane.doubles()
        for (kind, sock, double), port, expected in zip(
            doubles, ports, ("https", "http"), strict=True
        ):
            self.addCleanup(double.stopListening)
            self.assertEqual(kind, expected)
            self.assertIs(type(double), type(port))
            self.assertEqual(double.getHost(), sock.getsockname())
            self.assertNotEqual(double.getHost(), port.getHost())
            self.assertTrue(double.proxies.hold(b"127.0.0.1"))
            self.assertEqual(double.within, 3.0)
        self.assertEqual(plane.ports, ports)
        self.assertEqual(plane.poller.getReaders(), [])

    def test_end(self) -> None:
        """What is open is what was accepted, usable or not yet; at the end all of it goes: in a
        moment, or at once."""
        for at_once in (False, True):
            with self.subTest(at_once=at_once):
                turns = Turns()
                plane = make(self, turns)
                plane.sweep.start()
                plane.poller.start()
                self.addCleanup(plane.poller.stop)
                https, http = self.bound(), self.bound()
                for port in plane.listen([https], [http]):
                    port.startListening()
                clients = [socket.create_connection(sock.getsockname()) for sock in (https, http)]
                for client in clients:
                    self.addCleanup(client.close)
                turns.settle()
                self.assertEqual(plane.open, 2)
                for port in plane.ports:
                    port.stopListening()
                plane.drain()
                self.assertEqual(plane.open, 2)
                if at_once:
                    plane.abort()
                turns.pass_time(0.5 if at_once else GRACE + 3)
                self.assertEqual(plane.open, 0)

    def test_challenges(self) -> None:
        """What an authority asks is asked of files below the state folder: on the plain port of any
        token, on the other of exact names of sites alone, those among them whose TLS is not
        opened here."""
        plane = self.plane()
        asked: list[Any] = []
        self.patch(plane.challenges, "_ask", lambda look: asked.append(look) or Deferred())
        sites = [
            Site("a.example", Static("/x"), also=("*.wild.example",)),
            Site("far.example", Passthrough("tcp:127.0.0.1:1")),
        ]
        plane.live.apply(Change(added=tuple(sites), default="a.example"))
        ports = plane.listen([self.bound()], [self.bound()])
        challenge = ports[0].challenge
        for name in (b"", b"b.example", b"x.wild.example"):
            self.assertIsNone(self.successResultOf(challenge(name)))
        self.assertEqual(asked, [])
        for name in (b"a.example", b"far.example"):
            self.assertNoResult(challenge(name))
        self.assertEqual(len(asked), 2)
        self.assertNoResult(plane.challenges.key_authorization(b"token"))
        self.assertTrue(plane.challenges._folder.startswith(plane.settings.state))

    def test_port_numbers(self) -> None:
        """Where only a unix socket was handed over, the port is the one that is configured."""
        with tempfile.TemporaryDirectory() as folder:
            sock = self.bound(Listen("unix", os.path.join(folder, "s"), 0))
            plane = self.plane(https=(Listen("tcp", "", 8443),), http=())
            plane.listen([sock], [])
            self.assertEqual((plane.https_port, plane.http_port), (8443, 0))

    def test_descriptors(self) -> None:
        """As many descriptors are used as this process may have."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        plane = self.plane(connections=100_000)
        self.assertLess(plane.limits.total, 512)
        plane.listen([], [])
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE)[0], hard)
        self.assertEqual(plane.limits.total, Limits(100_000, 1, hard).total)

    def test_steady(self) -> None:
        """Time is measured by a clock that nobody can set."""
        clock = Clock()
        steady(clock)
        self.assertIs(clock.seconds, time.monotonic)

    def test_called(self) -> None:
        """A part may be two calls."""
        noted: list[str] = []
        part = Called(lambda: noted.append("start"), lambda: noted.append("stop"))
        part.start()
        part.stop()
        self.assertEqual(noted, ["start", "stop"])


class NamesTests(TestCase):
    """Look-ups, on the real reactor."""

    timeout = 120

    def setUp(self) -> None:
        self.plane = make(self, reactor)
        self.plane.names.start()
        self.addCleanup(self.plane.names.stop)
        self.threads: list[Any] = []
        self.found: list[str] = []
        self.patch(socket, "getaddrinfo", self.look_up)

    def look_up(self, host: str, port: Any, **more: Any) -> list[Any]:
        self.threads.append(threading.current_thread())
        if not self.found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in self.found]

    def test_addresses(self) -> Deferred[None]:
        """All addresses of a name are found, each once, in the system's order, and in a thread:
        a look-up may take half a minute."""
        self.found = ["2001:db8::1", "192.0.2.1", "2001:db8::1"]

        def found(addresses: tuple[str, ...]) -> None:
            self.assertEqual(addresses, ("2001:db8::1", "192.0.2.1"))
            self.assertNotIn(threading.main_thread(), self.threads)

        return self.plane.addresses("a.example").addCallback(found)

    def test_resolve(self) -> Deferred[None]:
        """The address that the system prefers is the first one."""
        self.found = ["192.0.2.1", "192.0.2.2"]
        return self.plane.resolve("a.example").addCallback(self.assertEqual, "192.0.2.1")

    def test_unknown(self) -> Deferred[None]:
        """A name that is not known is a failure."""
        return self.assertFailure(self.plane.resolve("a.example"), OSError)

    def test_files(self) -> Deferred[None]:
        """Files are read in other threads than names are looked up: neither waits for the other."""
        self.plane.files.start()
        self.addCleanup(self.plane.files.stop)
        done = self.plane.defer(threading.current_thread)
        return done.addCallback(lambda thread: self.assertNotIn(thread, self.threads))


class SeveralTests(SynchronousTestCase):
    def test_each(self) -> None:
        """Each plane has each change, in the order in which they were given."""
        order: list[tuple[str, Change]] = []

        @implementer(IPlane)
        class Noted:
            def __init__(self, name: str) -> None:
                self.name = name

            def apply(self, change: Change) -> None:
                order.append((self.name, change))

        both = Several(Noted("first"), Noted("second"))
        verifyObject(IPlane, both)
        change = Change(certificates=("a.example",))
        both.apply(change)
        self.assertEqual(order, [("first", change), ("second", change)])

    def test_one_fails(self) -> None:
        """What one of them cannot take the others have all the same, and it is logged."""
        order: list[Change] = []

        @implementer(IPlane)
        class Broken:
            def apply(self, change: Change) -> None:
                raise ValueError(change)

        @implementer(IPlane)
        class Sound:
            def apply(self, change: Change) -> None:
                order.append(change)

        change = Change(certificates=("a.example",))
        Several(Broken(), Sound()).apply(change)
        self.assertEqual(order, [change])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
