"""Listening sockets, ports and limits (``snickers.listening``), without real time."""

from __future__ import annotations

import ast
import errno
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers.announced import Itself
from snickers.config.values import Listen
from snickers.listening import (
    ACCEPTS,
    HELD_UP,
    KEEPALIVE_AFTER,
    RESERVE,
    SHARED_ACCEPTS,
    CannotListen,
    Limits,
    Port,
    bind,
    describe,
    handed_over,
    inherited,
    private,
)
from snickers.stream import Stream
from snickers.sweep import Sweep
from tests.descriptors import open_descriptors

from .test_stream import Half
from .wires import Turns, Wire


class BindTests(TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "s")

    def bind(self, *arguments: Any) -> socket.socket:
        sock = bind(Listen(*arguments))
        self.addCleanup(sock.close)
        return sock

    def fault(self, *arguments: Any) -> str:
        return str(self.assertRaises(CannotListen, self.bind, *arguments))

    def test_tcp(self) -> None:
        """A bound socket listens, does not block, and can be bound again at once."""
        sock = self.bind("tcp", "127.0.0.1", 0)
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), 1)
        self.assertEqual((sock.gettimeout(), sock.get_inheritable()), (0.0, False))
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), 1)
        address = sock.getsockname()
        client = socket.create_connection(address)
        self.addCleanup(client.close)
        served, _ = sock.accept()
        served.close()
        sock.close()
        self.bind("tcp", *address)

    def test_options(self) -> None:
        """What is accepted sends without delay, and is asked whether it is still there."""
        sock = self.bind("tcp", "127.0.0.1", 0)
        with socket.create_connection(sock.getsockname()):
            served, _ = sock.accept()
            self.addCleanup(served.close)
            self.assertTrue(served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            self.assertTrue(served.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            self.assertEqual(
                served.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), KEEPALIVE_AFTER
            )

    def test_tcp6(self) -> None:
        """An IPv6 socket leaves IPv4 to another one."""
        try:
            sock = self.bind("tcp6", "::1", 0)
        except CannotListen:
            return
        self.assertTrue(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))

    def test_in_use(self) -> None:
        """An address in use is said to be, with what to do."""
        port = self.bind("tcp", "127.0.0.1", 0).getsockname()[1]
        self.assertEqual(
            self.fault("tcp", "127.0.0.1", port),
            f"cannot listen on tcp:{port}:interface=127.0.0.1: Address already in use;"
            " another server listens there: stop it, or use another port",
        )

    def test_permission(self) -> None:
        """A port that needs root is said to, with the ways out."""
        real = socket.socket

        class Forbidden(real):
            def bind(self, address: Any) -> None:
                raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(socket, "socket", Forbidden)
        self.assertEqual(
            self.fault("tcp", "", 443),
            "cannot listen on tcp:443: Permission denied; run as root, use a port above 1023,"
            " or hand the socket over (LISTEN_FDS)",
        )
        self.assertIn("its folder must be writable", self.fault("unix", self.path, 0))

    def test_no_such_address(self) -> None:
        """An address that no interface has is said not to be one."""
        self.assertIn("no interface of this host", self.fault("tcp", "192.0.2.77", 0))

    def test_no_descriptors(self) -> None:
        """Even a socket that cannot be made is one line."""

        def fail(*arguments: Any) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(socket, "socket", fail)
        self.assertEqual(
            self.fault("tcp", "", 443), "cannot listen on tcp:443: Too many open files"
        )

    def test_unix(self) -> None:
        """A unix socket listens at its path."""
        self.bind("unix", self.path, 0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)

    def test_stale_unix(self) -> None:
        """One that a dead process has left is replaced."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        self.bind("unix", self.path, 0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)

    def test_living_unix(self) -> None:
        """One where somebody listens is not, even when its queue is full."""
        self.bind("unix", self.path, 0, 0)
        for _ in range(2):  # the first look has filled the queue
            self.assertIn("Address already in use", self.fault("unix", self.path, 0))

    def test_file_in_the_way(self) -> None:
        """A file that is no socket is never removed."""
        with open(self.path, "w") as file:
            file.write("precious")
        self.assertIn("Address already in use", self.fault("unix", self.path, 0))
        with open(self.path) as file:
            self.assertEqual(file.read(), "precious")

    def test_no_such_folder(self) -> None:
        """A path without a folder is said to be."""
        self.assertIn("folder does not exist", self.fault("unix", self.path + "/x/y", 0) + "")

    def test_describe(self) -> None:
        """An address is told as it would be written in the configuration."""
        self.assertEqual(describe(Listen("tcp6", "::1", 443)), r"tcp6:443:interface=\:\:1")
        self.assertEqual(describe(Listen("unix", "/run/s", 0)), "unix:/run/s")


class PrivateTests(TestCase):
    """Sockets that nobody else knows."""

    def test_families(self) -> None:
        """One can be connected to, of this host alone, in each family."""
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            with self.subTest(family=family), private(family) as sock:
                self.assertFalse(sock.getblocking())
                address = sock.getsockname()
                if family != socket.AF_UNIX:
                    self.assertIn(address[0], ("127.0.0.1", "::1"))
                with socket.socket(family, socket.SOCK_STREAM) as client:
                    client.connect(address)

    def test_impossible(self) -> None:
        """What cannot be bound leaves nothing open."""
        before = open_descriptors()
        with patch("snickers.listening._prepare", side_effect=OSError("no")):
            self.assertRaises(OSError, private, socket.AF_INET)
        self.assertEqual(open_descriptors() - before, set())


class InheritedTests(TestCase):
    def setUp(self) -> None:
        # Three descriptors in a row, as somebody who hands sockets over arranges them.
        self.first = 200
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        for index, sock in enumerate(self.sockets):
            os.dup2(sock.fileno(), self.first + index)
            self.addCleanup(self.close, self.first + index)
            self.addCleanup(sock.close)

    def close(self, number: int) -> None:
        try:
            os.close(number)
        except OSError:
            pass

    def inherited(self, **environ: str) -> dict[str, list[int]]:
        found = inherited(environ, self.first)
        numbers = {name: [sock.fileno() for sock in socks] for name, socks in found.items()}
        for socks in found.values():
            for sock in socks:
                self.assertEqual((sock.gettimeout(), sock.get_inheritable()), (0.0, False))
                sock.detach()
        return numbers

    def test_by_name(self) -> None:
        """Sockets are found by their names, several of one name in order."""
        self.assertEqual(
            self.inherited(
                LISTEN_PID=str(os.getpid()), LISTEN_FDS="3", LISTEN_FDNAMES="https:http:https"
            ),
            {"https": [200, 202], "http": [201]},
        )

    def test_made_blocking(self) -> None:
        """Nobody is held up while accepting when another process that has the same socket makes it
        block, as systemd does whenever it hands it to one more."""
        (sock,) = inherited({"LISTEN_FDS": "1"}, self.first)["unknown"]
        self.addCleanup(sock.detach)
        os.set_blocking(self.sockets[0].fileno(), True)
        self.assertTrue(os.get_blocking(sock.fileno()))
        # The kernel rounds it up to a tick, of which there are a hundred a second at least.
        told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, len(HELD_UP))
        seconds, micros = struct.unpack("@ll", told)
        self.assertTrue(0.001 <= seconds + micros / 1e6 <= 0.01)
        nobody = Event()

        def accept() -> None:
            try:
                sock._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                nobody.set()

        thread = Thread(target=accept)
        thread.start()
        thread.join(5)
        if thread.is_alive():
            socket.create_connection(sock.getsockname()).close()
            thread.join()
        self.assertTrue(nobody.is_set())

    def test_as_started(self) -> None:
        """How the process was started is known, whoever has looked at its environment since."""
        program = (
            "import os, twisted.internet.endpoints\n"
            "from snickers.listening import handed_over\n"
            "print('LISTEN_FDS' in os.environ, os.getpid(), sorted(handed_over().items()))"
        )
        said = subprocess.run(
            ["sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh", sys.executable, "-c", program],
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "https", "X": "LISTEN_Y=1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        left, pid, found = said.split(maxsplit=2)
        self.assertEqual(left, "False")
        self.assertEqual(
            ast.literal_eval(found),
            [("LISTEN_FDNAMES", "https"), ("LISTEN_FDS", "1"), ("LISTEN_PID", pid)],
        )
        self.assertEqual(handed_over("/nonexistent"), {})

    def test_without_names(self) -> None:
        """Those without a name are under ``unknown``."""
        self.assertEqual(
            self.inherited(LISTEN_FDS="2", LISTEN_FDNAMES="https"),
            {"https": [200], "unknown": [201]},
        )

    def test_none(self) -> None:
        """Nothing handed over is nothing."""
        self.assertEqual(self.inherited(), {})

    def test_another_process(self) -> None:
        """What was meant for another process is left alone."""
        self.assertEqual(self.inherited(LISTEN_PID="1", LISTEN_FDS="3"), {})

    def test_not_a_number(self) -> None:
        """A damaged count is a line."""
        self.assertRaises(CannotListen, self.inherited, LISTEN_FDS="two")

    def test_not_a_socket(self) -> None:
        """A descriptor that is no listening socket, or none at all, is a line, and stays open."""
        plain = os.open("/dev/null", os.O_RDONLY)
        self.addCleanup(os.close, plain)
        os.dup2(plain, self.first + 1)
        found = self.assertRaises(CannotListen, self.inherited, LISTEN_FDS="2")
        self.assertIn("descriptor 201, handed over as 'unknown'", str(found))
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        os.dup2(one.fileno(), self.first)
        found = self.assertRaises(
            CannotListen, self.inherited, LISTEN_FDS="1", LISTEN_FDNAMES="https"
        )
        self.assertIn("'https', is not a listening stream socket", str(found))
        os.fstat(self.first)


class LimitsTests(TestCase):
    def test_total(self) -> None:
        """No more than so many in all."""
        limits = Limits(2, 10, 10000)
        self.assertEqual([limits.enter(b"192.0.2.%d" % n) for n in range(3)], [True, True, False])
        limits.leave(b"192.0.2.0")
        self.assertTrue(limits.enter(b"192.0.2.9"))

    def test_per_address(self) -> None:
        """No more than so many from one address; who has none, on a unix socket, is not one."""
        limits = Limits(10, 2, 10000)
        self.assertEqual([limits.enter(b"192.0.2.1") for _ in range(3)], [True, True, False])
        self.assertTrue(limits.enter(b"192.0.2.2"))
        self.assertEqual([limits.enter(b"") for _ in range(3)], [True] * 3)

    def test_proxies(self) -> None:
        """A proxy's own connections count in all, and as nobody's."""
        limits = Limits(3, 1, 10000)
        own = Itself(b"192.0.2.1")
        self.assertEqual([limits.enter(own) for _ in range(2)], [True, True])
        self.assertTrue(limits.enter(b"192.0.2.1"))
        self.assertFalse(limits.enter(own))
        limits.leave(own)
        self.assertFalse(limits.enter(b"192.0.2.1"))
        self.assertTrue(limits.enter(own))

    def test_ipv6(self) -> None:
        """Of IPv6 a /64 is one address."""
        limits = Limits(10, 2, 10000)
        self.assertTrue(limits.enter(b"2001:db8::1"))
        self.assertTrue(limits.enter(b"2001:db8:0:0:ffff::2"))
        self.assertFalse(limits.enter(b"2001:db8::3"))
        self.assertTrue(limits.enter(b"2001:db8:0:1::3"))
        limits.leave(b"2001:db8::9")
        self.assertTrue(limits.enter(b"2001:db8::3"))
        self.assertTrue(limits.enter(b"fe80::1%eth0"))

    def test_descriptors(self) -> None:
        """Never so many that no descriptors are left for their sites and for everything else."""
        self.assertEqual(Limits(10000, 10, 1024).total, (1024 - RESERVE) // 3)
        self.assertEqual(Limits(100, 10, 1024).total, 100)
        self.assertEqual(Limits(100, 10, 10).total, 1)
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.assertEqual(Limits(1 << 40, 10).total, (soft - RESERVE) // 3)

    def test_changed(self) -> None:
        """Lower limits refuse who comes, not who is there."""
        limits = Limits(10, 10, 10000)
        for _ in range(3):
            limits.enter(b"192.0.2.1")
        limits.change(2, 10, 10000)
        self.assertEqual((limits.open, limits.enter(b"192.0.2.2")), (3, False))

    @settings(derandomize=True, deadline=None, database=None)
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
    def test_counts(self, steps: list[tuple[bool, int]]) -> None:
        """Whatever comes and goes, the counts are those of who is there."""
        limits = Limits(8, 3, 10000)
        inside: list[bytes] = []
        for enters, number in steps:
            peer = (b"192.0.2.1", b"192.0.2.2", b"2001:db8::1", b"2001:db8:1::1")[number]
            if enters:
                allowed = len(inside) < 8 and inside.count(peer) < 3
                self.assertEqual(limits.enter(peer), allowed)
                if allowed:
                    inside.append(peer)
            elif peer in inside:
                limits.leave(peer)
                inside.remove(peer)
            self.assertEqual(limits.open, len(inside))
        for peer in inside:
            limits.leave(peer)
        self.assertEqual((limits.open, limits._each), (0, {}))


class Elsewhere:
    """Other processes' connections, as the test says."""

    def __init__(self) -> None:
        self.open = 0
        self.each: dict[int, int] = {}
        self.ours: dict[int, int] = {}

    def place(self, peer: bytes) -> int:
        return peer[-1] if peer else 0

    def open_elsewhere(self) -> int:
        return self.open

    def count_elsewhere(self, place: int) -> int:
        return self.each.get(place, 0)

    def add(self, place: int, number: int) -> None:
        self.ours[place] = self.ours.get(place, 0) + number


class SharedLimitsTests(TestCase):
    """Limits that hold for several processes together."""

    def setUp(self) -> None:
        self.limits = Limits(10, 3, 10000)
        self.elsewhere = Elsewhere()

    def enter(self, *peers: bytes) -> list[bool]:
        return [self.limits.enter(peer) for peer in peers]

    def test_what_is_open_already(self) -> None:
        """What is open when sharing begins is counted."""
        self.enter(b"1", b"1", b"2", b"")
        self.limits.share(self.elsewhere)
        self.assertEqual(self.elsewhere.ours, {ord("1"): 2, ord("2"): 1, 0: 1})
        self.limits.leave(b"1")
        self.assertEqual(self.elsewhere.ours[ord("1")], 1)

    def test_total(self) -> None:
        """No more than so many in all processes."""
        self.limits.share(self.elsewhere)
        self.elsewhere.open = 8
        self.assertEqual(self.enter(b"1", b"2", b"3", b""), [True, True, False, False])
        self.limits.leave(b"1")
        self.assertEqual(self.enter(b"3"), [True])
        self.assertEqual(self.elsewhere.ours, {ord("1"): 0, ord("2"): 1, ord("3"): 1})

    def test_per_address(self) -> None:
        """No more than so many of one address in all processes; who has none is not one."""
        self.limits.share(self.elsewhere)
        self.elsewhere.each = {ord("1"): 2, 0: 50}
        self.assertEqual(self.enter(b"1", b"1", b"2", b"", b""), [True, False, True, True, True])
        self.assertEqual(self.limits.open, 4)
        self.assertEqual(self.elsewhere.ours, {ord("1"): 1, ord("2"): 1, 0: 2})

    def test_descriptors(self) -> None:
        """How many this process may open is a limit for itself; together they may be more."""
        limits = Limits(1000, 1000, RESERVE + 6)
        limits.share(self.elsewhere)
        self.elsewhere.open = 500
        self.assertEqual([limits.enter(b"1") for _ in range(3)], [True, True, False])
        limits.change(2, 1000, 10000)
        self.assertFalse(limits.enter(b"2"))

    def test_ipv6(self) -> None:
        """Of IPv6 a /64 is one address, there too."""
        places: list[bytes] = []
        self.elsewhere.place = lambda peer: places.append(peer) or 1  # type: ignore
        self.limits.share(self.elsewhere)
        self.enter(b"2001:db8::1", b"2001:db8::2")
        self.limits.leave(b"2001:db8::1")
        self.assertEqual((len(set(places)), len(places)), (1, 3))
        self.assertEqual(self.elsewhere.ours, {1: 1})


class PortTests(TestCase):
    def setUp(self) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        self.limits = Limits(1000, 1000, 1 << 20)
        self.streams: list[Stream] = []
        self.listening = bind(Listen("tcp", "127.0.0.1", 0))
        self.shared = self.listening.dup()
        self.addCleanup(self.shared.close)
        self.address = self.listening.getsockname()
        self.port = Port(self.turns, self.listening, self.sweep, self.limits, self.factory)
        self.addCleanup(self.finish)
        self.port.startListening()

    def finish(self) -> None:
        self.port.stopListening()
        for stream in self.streams:
            stream.abortConnection()

    def factory(self, stream: Stream) -> Half:
        self.streams.append(stream)
        return Half()

    def client(self) -> Wire:
        sock = socket.create_connection(self.address)
        self.addCleanup(sock.close)
        return Wire(self.turns, sock)

    def test_interface(self) -> None:
        """A port is what the reactor wants."""
        verifyObject(IReadDescriptor, self.port)
        self.assertEqual(self.port.getHost(), self.address)

    def test_accept(self) -> None:
        """A connection becomes a stream with a protocol and the client's address."""
        wire = self.client()
        wire.send(b"hello")
        (stream,) = self.streams
        self.assertEqual((stream.peer, stream.protocol.data), (b"127.0.0.1", b"hello"))
        self.assertTrue(stream.getTcpNoDelay())
        self.assertEqual((self.port.connections, self.limits.open), ({stream}, 1))
        wire.close()
        stream.loseConnection()
        self.turns.settle()
        self.assertEqual((self.port.connections, self.limits.open), (set(), 0))
        self.assertEqual(self.port.accepted, 1)

    def test_unix(self) -> None:
        """A client on a unix socket has no address."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "s")
        port = Port(
            self.turns, bind(Listen("unix", path, 0)), self.sweep, self.limits, self.factory
        )
        port.startListening()
        self.addCleanup(port.stopListening)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            self.turns.settle()
            self.assertEqual(self.streams[0].peer, b"")

    def test_both_kinds(self) -> None:
        """IPv4 that comes in on an IPv6 socket, as service managers hand over, is IPv4: not all of
        it together one /64 for the limits."""
        sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        sock.setblocking(False)
        limits = Limits(10, 1, 10000)
        port = Port(self.turns, sock, self.sweep, limits, self.factory)
        port.startListening()
        self.addCleanup(port.stopListening)
        for source in ("127.0.0.1", "127.0.0.2"):
            client = socket.create_connection(
                ("127.0.0.1", sock.getsockname()[1]), source_address=(source, 0)
            )
            self.addCleanup(client.close)
            self.turns.settle()
        self.assertEqual([stream.peer for stream in self.streams], [b"127.0.0.1", b"127.0.0.2"])
        self.assertEqual(limits._each, {b"127.0.0.1": 1, b"127.0.0.2": 1})

    def test_bounded(self) -> None:
        """One turn accepts so many at most, the next ones the rest."""
        wires = [self.client() for _ in range(ACCEPTS + 5)]
        self.port.doRead()
        self.assertEqual(len(self.streams), ACCEPTS)
        self.turns.settle()
        self.assertEqual(len(self.streams), len(wires))

    def test_shared(self) -> None:
        """Where other processes accept from the same socket, they have their part of a crowd, and
        not every one of them is woken."""
        noted: list[str] = []
        add = self.turns.addReader
        self.turns.addSharedReader = lambda reader: (  # type: ignore[attr-defined]
            noted.append("shared"),
            add(reader),
        )
        self.port.share()
        self.assertEqual((noted, self.turns.getReaders()), (["shared"], [self.port]))
        wires = [self.client() for _ in range(SHARED_ACCEPTS + 2)]
        self.port.doRead()
        self.assertEqual(len(self.streams), SHARED_ACCEPTS)
        self.turns.settle()
        self.assertEqual(len(self.streams), len(wires))
        self.port.pause()
        self.port.share()
        self.assertEqual((len(noted), self.turns.getReaders().count(self.port)), (1, 0))
        self.port.resume()
        self.assertEqual(len(noted), 2)

    def test_look(self) -> None:
        """What waits is accepted when asked to, but not while standing by."""
        self.client()
        self.port.look()
        self.assertEqual(len(self.streams), 1)
        self.client()
        self.port.pause()
        self.port.look()
        self.assertEqual(len(self.streams), 1)
        self.port.stopListening()
        self.port.look()

    def test_limits(self) -> None:
        """Who is beyond the limits is closed at once; nobody else notices."""
        self.limits.change(1, 1, 1 << 20)
        first, second = self.client(), self.client()
        second.receive()
        self.assertTrue(second.ended)
        first.send(b"served")
        self.assertEqual(self.streams[0].protocol.data, b"served")
        self.assertEqual((self.port.accepted, self.port.refused, self.limits.open), (2, 1, 1))

    def test_stand_by(self) -> None:
        """A paused port leaves who comes in the kernel's queue, a resumed one serves them."""
        self.port.pause()
        wire = self.client()
        wire.send(b"queued")
        self.assertEqual(self.streams, [])
        self.port.resume()
        self.turns.settle()
        self.assertEqual(self.streams[0].protocol.data, b"queued")

    def test_stop(self) -> None:
        """A stopped port lets go of its own descriptor only: who shares the socket listens on."""
        before = self.client()
        self.turns.settle()
        self.port.stopListening()
        self.port.stopListening()
        self.port.startListening()
        self.assertEqual((self.turns.getReaders(), self.port.getHost()), (self.streams, None))
        after = self.client()
        served, _ = self.shared.accept()
        served.close()
        after.close()
        before.send(b"still served")
        self.assertEqual(self.streams[0].protocol.data, b"still served")

    def fail(self, *codes: int) -> None:
        real = self.port._accept
        left = list(codes)

        def accept() -> Any:
            if left:
                code = left.pop(0)
                raise OSError(code, os.strerror(code))
            return real()

        self.port._accept = accept

    def test_no_descriptors(self) -> None:
        """Without descriptors the port rests a moment, does not spin, and goes on by itself."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.fail(errno.EMFILE, errno.ENFILE, errno.ENOMEM)
        wire = self.client()
        wire.send(b"patient")
        self.assertEqual((self.streams, self.turns.getReaders()), ([], []))
        self.turns.pass_time(2)
        self.assertEqual(self.streams[0].protocol.data, b"patient")
        told = [e for e in events if "Cannot accept" in str(e.get("log_format"))]
        self.assertEqual(len(told), 1)
        self.fail(errno.EMFILE)
        self.turns.pass_time(61)
        self.client()
        self.turns.pass_time(1)
        told = [e for e in events if "Cannot accept" in str(e.get("log_format"))]
        self.assertEqual((len(told), len(self.streams)), (2, 2))
        self.flushLoggedErrors()

    def test_paused_while_resting(self) -> None:
        """Who stands by while resting does not come back by himself."""
        self.fail(errno.EMFILE)
        self.client()
        self.turns.settle()
        self.port.pause()
        self.turns.pass_time(2)
        self.assertEqual((self.streams, self.turns.getReaders()), ([], []))
        self.port.resume()
        self.turns.settle()
        self.assertEqual(len(self.streams), 1)
        self.flushLoggedErrors()

    def test_resumed_while_resting(self) -> None:
        """Nor is a rest cut short by being told to accept."""
        self.fail(errno.EMFILE)
        self.client()
        self.turns.settle()
        self.port.startListening()
        self.assertEqual(self.turns.getReaders(), [])
        self.turns.pass_time(1)
        self.assertEqual(len(self.streams), 1)
        self.flushLoggedErrors()

    def test_client_gone_while_queued(self) -> None:
        """A client that has gone while it was queued is nobody's fault."""
        self.fail(errno.ECONNABORTED, errno.EPROTO)
        self.client()
        self.turns.settle()
        self.assertEqual(len(self.streams), 1)

    def test_descriptor_dead(self) -> None:
        """A descriptor that is no listening socket any more is let go of, not spun on."""
        self.fail(errno.EINVAL)
        self.client()
        self.turns.settle()
        self.assertEqual(self.turns.getReaders(), [])

    def test_failing_factory(self) -> None:
        """A factory that raises costs that connection only."""
        calls: list[Stream] = []

        def fail(stream: Stream) -> Any:
            calls.append(stream)
            raise ZeroDivisionError

        self.port.factory = fail
        wire = self.client()
        wire.receive()
        self.assertTrue(wire.reset or wire.ended)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.limits.open, self.port.connections), (0, set()))
        self.assertTrue(calls[0].disconnected)
        self.port.factory = self.factory
        self.client().send(b"x")
        self.assertEqual(len(self.streams), 1)

    def test_factory_that_closes(self) -> None:
        """A factory may close the stream that it is given."""

        def close(stream: Stream) -> Half:
            stream.abortConnection()
            return Half()

        self.port.factory = close
        self.client()
        self.turns.settle()
        self.assertEqual((self.limits.open, self.turns.getReaders()), (0, [self.port]))

    def test_reactor_ends(self) -> None:
        """A reactor that ends closes the port."""
        self.port.connectionLost(None)
        self.assertEqual(self.port.fileno(), -1)
