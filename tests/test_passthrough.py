"""Connections that are carried unopened: alone without real time, and whole before a TLS server."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers.config.parse import load
from snickers.config.values import Passthrough, Site
from snickers.http.kinds import MisdirectedHandler
from snickers.http.policy import Networks
from snickers.http.sites import LiveSite, SiteTable
from snickers.passthrough import (
    ACCESS_DENIED,
    CONNECT_WITHIN,
    INTERNAL_ERROR,
    LOOK_UP_EVERY,
    Over,
    Passage,
    Passages,
    read_target,
)
from snickers.splice import Carried
from snickers.stream import CONNECTING, HIGH_WATER, READ_SIZE, Stream
from snickers.tap import Wiring
from snickers.tls.clienthello import alert
from tests.pairs import make_pair, put
from tests.test_proxyprotocol import decode_v1, decode_v2
from tests.wires import Wire, Wires

SITE = Site("a.example", Passthrough("tcp:10.0.0.7:443"))
NAMED = Site("a.example", Passthrough("tcp:box.example:443"))


class Servers:
    """Notes what is counted."""

    def __init__(self) -> None:
        self.counted: list[Any] = []
        self.is_full = False

    def make_room(self) -> None:
        self.counted.append("room")

    def count(self, stream: Any) -> None:
        self.counted.append(stream)


class PassageCase(SynchronousTestCase):
    """Passages over socket pairs."""

    def setUp(self) -> None:
        self.wires = Wires(self)
        self.wires.make = Carried
        self.turns = self.wires.turns
        self.front: set[Any] = set()
        self.servers = Servers()
        self.asked: list[str] = []
        self.addresses: list[Any] = []
        self.looked_up: Any = None
        self.logged: list[Over] = []
        self.log: Any = self.logged.append
        self.passages = Passages(
            self.turns,
            self.wires.sweep,
            self.resolve,
            self.front,
            self.servers,
            Networks,
            alert,
            self.turns.seconds,
            lambda: self.log,
            self.connector,
        )
        self.addCleanup(self.passages.pipes.close)
        self.table = SiteTable()
        self.live = self.serve(SITE)

    def serve(self, site: Site) -> LiveSite:
        return self.table.put(site.name, site.names, site, MisdirectedHandler())

    def resolve(self, host: str) -> Any:
        self.asked.append(host)
        return self.looked_up if self.looked_up is not None else Deferred()

    def connector(
        self, reactor: Any, sweep: Any, address: Any, protocol: Any, within: float
    ) -> Stream:
        self.addresses.append(address)
        return self.wires.connector(reactor, sweep, address, protocol, within)

    def visit(self, hello: bytes = b"hello") -> tuple[Stream, Wire]:
        """A client that has sent its hello, as the port hands it over."""
        stream, wire = self.wires.pair()
        wire.sock.send(hello)
        self.wires.sweep.watch(stream)
        stream.protocol = self.passages.carry(stream, self.live, b"a.example")
        return stream, wire

    def assertCounts(self, **counts: int) -> None:
        self.assertEqual({k: v for k, v in self.passages.results.items() if v}, counts)

    def assertNothingOpen(self) -> None:
        self.turns.pass_time(3)
        self.assertEqual((self.front, self.live.connections), (set(), set()))
        self.assertEqual((self.turns.getReaders(), self.turns.getWriters()), ([], []))


class CarryTests(PassageCase):
    """A server that is there."""

    def test_the_hello_waits(self) -> None:
        """It is read at once, and the server gets every byte of it when it is connected."""
        stream, client = self.visit(b"the hello")
        self.assertEqual((stream.received, self.turns.getReaders()), (9, [stream]))
        self.turns.settle()
        self.assertEqual(self.addresses, [("10.0.0.7", 443)])
        self.assertEqual(self.wires.server.receive(), b"the hello")
        self.wires.server.send(b"the answer")
        self.assertEqual(client.receive(), b"the answer")
        self.assertCounts(carried=1)
        self.assertEqual(self.live.requests, 1)

    def test_more_than_the_hello(self) -> None:
        """A client that says more before there is a server is not read further; nothing is lost,
        its end neither."""
        self.looked_up = Deferred()
        self.live = self.serve(NAMED)
        stream, client = self.visit(b"hello")
        client.send(b", more")
        self.assertEqual(self.turns.getReaders(), [])
        client.send(b" and more")
        client.end()
        self.assertEqual(stream.received, 11)
        self.looked_up.callback("10.0.0.8")
        self.turns.settle()
        self.assertEqual(self.wires.server.receive(), b"hello, more and more")
        self.assertTrue(self.wires.server.ended)
        self.wires.server.send(b"answer")
        self.wires.server.end()
        self.assertEqual(client.receive(), b"answer")
        self.assertNothingOpen()

    def test_an_end_while_connecting(self) -> None:
        """A client that has ended its side at once still gets its answer."""
        self.looked_up = Deferred()
        self.live = self.serve(NAMED)
        _, client = self.visit(b"hello")
        client.end()
        self.looked_up.callback("10.0.0.8")
        self.turns.settle()
        self.assertEqual(self.wires.server.receive(), b"hello")
        self.assertTrue(self.wires.server.ended)
        self.wires.server.send(b"answer")
        self.wires.server.end()
        self.assertEqual(client.receive(), b"answer")
        self.assertNothingOpen()

    def test_counted(self) -> None:
        """The site's and the front's connections have it until both directions have ended."""
        _, client = self.visit()
        self.assertEqual((self.front, len(self.live.connections)), (self.live.connections, 1))
        self.assertEqual(self.servers.counted[0], "room")
        self.turns.settle()
        client.end()
        self.assertEqual(self.wires.server.receive(), b"hello")
        self.assertTrue(self.wires.server.ended)
        self.assertEqual(len(self.front), 1)
        self.wires.server.send(b"late")
        self.wires.server.end()
        self.assertEqual(client.receive(), b"late")
        self.assertNothingOpen()
        self.assertEqual((self.passages.received, self.passages.sent), (5, 4))

    def test_drained_and_aborted(self) -> None:
        """A connection is never idle: draining waits for it; aborting ends it at once."""
        _, client = self.visit()
        self.turns.settle()
        (carrying,) = self.front
        carrying.close_if_idle()
        self.turns.pass_time(3600)
        client.send(b" world")
        self.assertEqual(self.wires.server.receive(), b"hello world")
        carrying.transport.abortConnection()
        self.assertNothingOpen()
        self.wires.server.receive()
        self.assertTrue(self.wires.server.ended)

    def test_back_pressure(self) -> None:
        """A server that does not read is not written to without end."""
        stream, client = self.visit(b"")
        self.turns.settle()
        sent = 0
        try:
            while True:
                sent += client.sock.send(b"x" * 65536)
                self.turns.settle()
        except BlockingIOError:
            pass
        self.assertNotIn(stream, self.turns.getReaders())
        upstream = self.servers.counted[1]
        self.assertLessEqual(upstream._queued, HIGH_WATER + READ_SIZE)
        self.assertEqual(len(self.wires.server.receive()), sent)

    def test_proxy_header(self) -> None:
        """The header comes before everything; a unix socket's client has no address."""
        for version, check in (("v1", decode_v1), ("v2", decode_v2)):
            self.live = self.serve(evolve(SITE, kind=evolve(SITE.kind, proxy_protocol=version)))
            self.visit(b"hello")
            self.turns.settle()
            data = self.wires.server.receive()
            self.assertTrue(data.endswith(b"hello"))
            told = check(data[:-5])
            self.assertEqual(
                told, None if version == "v1" else (0, b"", b"", 0, 0, {2: b"a.example"})
            )

    def test_a_fault_of_ours(self) -> None:
        """A connection that could not be begun is not counted for ever."""
        self.passages.connector = lambda *arguments: 1 // 0
        self.assertRaises(ZeroDivisionError, self.visit)
        self.assertEqual((self.front, self.live.connections), (set(), set()))

    def test_logged(self) -> None:
        """When it is over the log has both sizes, the time and how it ended, once."""
        _, client = self.visit()
        self.turns.settle()
        self.wires.server.send(b"the answer")
        self.turns.pass_time(2)
        client.end()
        self.assertEqual(self.logged, [])
        self.wires.server.end()
        client.receive()
        self.assertNothingOpen()
        (over,) = self.logged
        self.assertEqual(
            over,
            Over(b"192.0.2.1", "a.example", b"a.example", "carried", 5, 10, over.began, over.took),
        )
        self.assertAlmostEqual(over.took, 2.0)

    def test_logged_cut(self) -> None:
        """A side that went away without closing is told from one that closed; nobody may listen."""
        stream, client = self.visit()
        self.turns.settle()
        stream.abortConnection()
        self.wires.server.receive()
        self.wires.server.end()
        self.assertNothingOpen()
        self.assertEqual([over.result for over in self.logged], ["cut"])
        self.log = None
        _, client = self.visit()
        self.turns.settle()
        client.close()
        self.wires.server.end()
        self.assertNothingOpen()
        self.assertEqual(len(self.logged), 1)

    def test_bulk(self) -> None:
        """Much goes through a pipe, whole; afterwards no pipe is missing."""
        stream, client = self.visit()
        self.turns.settle()
        much = os.urandom(3 << 20)
        server = self.wires.server
        got = bytearray(server.receive())
        left = memoryview(much)
        while left:
            try:
                left = left[client.sock.send(left) :]
            except BlockingIOError:
                pass
            got += server.receive()
        client.end()
        server.end()
        got += server.receive()
        self.assertTrue(bytes(got) == b"hello" + much)
        self.assertNothingOpen()
        self.assertEqual(stream.received, len(got))
        self.assertEqual((self.passages.pipes.open, len(self.passages.pipes._idle)), (1, 1))

    def test_change(self) -> None:
        """A new configuration is for new connections; those that are open stay, also removed."""
        _, old = self.visit(b"old")
        self.turns.settle()
        before = self.wires.server
        self.serve(evolve(SITE, kind=Passthrough("tcp:[::1]:8443")))
        self.visit(b"new")
        self.turns.settle()
        self.assertEqual(self.addresses, [("10.0.0.7", 443), ("::1", 8443)])
        self.table.remove("a.example")
        old.send(b" goes on")
        self.assertEqual(before.receive(), b"old goes on")
        self.assertEqual(self.wires.server.receive(), b"new")

    def test_same_site(self) -> None:
        """What was looked up is kept while the site stays as it is."""
        self.live = self.serve(NAMED)
        self.looked_up = succeed("10.0.0.9")
        for _ in range(3):
            self.visit()
        self.assertEqual((self.asked, self.addresses), (["box.example"], [("10.0.0.9", 443)] * 3))


class LookUpTests(PassageCase):
    """A server that is named."""

    def setUp(self) -> None:
        super().setUp()
        self.live = self.serve(NAMED)
        self.looked_up = Deferred()

    def test_waits(self) -> None:
        """All wait for the first look-up, without reading; it is made once."""
        clients = [self.visit(b"%d" % n)[1] for n in range(3)]
        self.turns.settle()
        self.assertEqual((self.asked, self.addresses), (["box.example"], []))
        self.looked_up.callback("10.0.0.9")
        self.turns.settle()
        self.assertEqual([wire.receive() for wire in self.wires.servers], [b"0", b"1", b"2"])
        self.assertEqual(len(clients), 3)

    def test_again(self) -> None:
        """From time to time it is looked up anew, and nobody waits for that."""
        self.looked_up.callback("10.0.0.9")
        self.visit()
        self.turns.pass_time(LOOK_UP_EVERY)
        self.looked_up = Deferred()
        self.visit()
        self.assertEqual(self.addresses, [("10.0.0.9", 443)] * 2)
        self.looked_up.callback("10.0.0.10")
        self.visit()
        self.assertEqual(self.addresses[-1], ("10.0.0.10", 443))

    def test_moved(self) -> None:
        """A server that cannot be reached is looked up at once; a failing look-up harms nobody."""
        self.looked_up.callback("10.0.0.9")
        self.wires.refuse = True
        self.visit()
        self.looked_up = fail(OSError("no such name"))
        self.turns.settle()
        self.assertEqual(len(self.asked), 2)
        self.wires.refuse = False
        self.visit()
        self.assertEqual(self.addresses, [("10.0.0.9", 443)] * 2)

    def test_unknown(self) -> None:
        """Without an address who waits gets an alert; the next one has it looked up again."""
        _, client = self.visit()
        self.looked_up.errback(OSError("no such name"))
        self.assertEqual(client.receive(), alert(INTERNAL_ERROR))
        self.assertTrue(client.ended)
        self.assertCounts(unresolved=1)
        client.close()
        self.assertNothingOpen()
        self.looked_up = succeed("10.0.0.9")
        self.visit()
        self.assertEqual(len(self.addresses), 1)

    def test_slow(self) -> None:
        """A look-up without an answer ends with an alert; when it comes, nothing happens."""
        _, client = self.visit()
        self.turns.pass_time(CONNECT_WITHIN + 1)
        self.assertEqual(client.receive(), alert(INTERNAL_ERROR))
        self.assertCounts(timeout=1)
        self.looked_up.callback("10.0.0.9")
        self.assertEqual(self.addresses, [])
        client.close()
        self.assertNothingOpen()

    def test_gone(self) -> None:
        """A client that was closed meanwhile is not carried."""
        stream, _ = self.visit()
        stream.abortConnection()
        self.turns.settle()
        self.looked_up.callback("10.0.0.9")
        self.assertEqual(self.addresses, [])
        self.assertCounts(gone=1)
        self.assertNothingOpen()


class RefusalTests(PassageCase):
    """Clients that are not carried."""

    def assertRefused(self, result: str, description: int = INTERNAL_ERROR) -> None:
        _, client = self.visit(b"h" * 2000)
        self.turns.settle()
        self.assertEqual(client.receive(), alert(description))
        self.assertEqual((client.ended, client.reset), (True, False))
        self.assertCounts(**{result: 1})
        client.close()
        self.assertNothingOpen()
        self.assertEqual(self.live.requests, 0)

    def test_unreachable(self) -> None:
        """Who cannot be connected gets an alert, heard although the hello was never read."""
        self.wires.refuse = True
        self.assertRefused("unreachable")

    def test_no_descriptor_left(self) -> None:
        """So does one for whose server no descriptor is left; idle ones were looked for before."""
        self.servers.is_full = True
        self.assertRefused("busy")
        self.assertEqual((self.servers.counted, self.addresses), (["room"], []))

    def test_switched_off(self) -> None:
        """So does the client of a site that is switched off, and nothing is connected."""
        self.live = self.serve(evolve(SITE, enabled=False))
        self.assertRefused("disabled")
        self.assertEqual(self.addresses, [])

    def test_forbidden(self) -> None:
        """A client whose address may not come in is told that access is denied."""
        site = evolve(SITE, allow_from=("10.0.0.0/8", "2001:db8::/32"))
        self.live = self.serve(site)
        passage = Passage(self.passages, site)
        for peer, may in [
            (b"10.1.2.3", True),
            (b"::ffff:10.1.2.3", True),
            (b"2001:db8::1%eth0", True),
            (b"192.0.2.1", False),
            (b"::1", False),
            (b"", False),
        ]:
            self.assertIs(passage.admits(peer), may, peer)
        _, client = self.visit()
        self.assertEqual(client.receive(), alert(ACCESS_DENIED))
        self.assertEqual(self.addresses, [])
        self.assertCounts(forbidden=1)

    def silent(
        self, reactor: Any, sweep: Any, address: Any, protocol: Any, within: float
    ) -> Stream:
        """Connect to one who never answers."""
        stream, _ = self.wires.pair()
        stream._state, stream._queue = CONNECTING, []
        stream.protocol, protocol.transport = protocol, stream
        stream.deadline = sweep.now + within
        sweep.watch(stream)
        return stream

    def test_too_slow(self) -> None:
        """A server that does not answer within the time costs no more than that."""
        self.passages.connector = self.silent
        _, client = self.visit()
        self.turns.pass_time(CONNECT_WITHIN - 1)
        self.assertEqual(client.receive(), b"")
        self.turns.pass_time(2)
        self.assertEqual(client.receive(), alert(INTERNAL_ERROR))
        self.assertCounts(timeout=1)
        client.close()
        self.assertNothingOpen()

    def test_aborted_while_connecting(self) -> None:
        """The end of everything ends the attempt, too."""
        self.passages.connector = self.silent
        stream, _ = self.visit()
        upstream = self.servers.counted[1]
        stream.abortConnection()
        self.turns.settle()
        self.assertTrue(upstream.disconnected)
        self.assertCounts(gone=1)
        self.assertNothingOpen()


class TargetTests(SynchronousTestCase):
    def test_read_target(self) -> None:
        """The brackets of an IPv6 address are left out."""
        self.assertEqual(read_target("tcp:a.example:443"), ("a.example", 443))
        self.assertEqual(read_target("tcp:[::1]:8443"), ("::1", 8443))


BIG = os.urandom(3_000_000)

CONFIGURATION = """
[snickers]
https = tcp:0:interface=127.0.0.1
http = tcp:0:interface=127.0.0.1
state = {folder}/state
data = {folder}/data
{sites}"""


class Behind(threading.Thread):
    """A real TLS server: reads the PROXY header it expects, then 3 MB, and sends them reversed."""

    def __init__(self, folder: str, version: str) -> None:
        super().__init__(daemon=True)
        self.version = version
        self.pair = make_pair("box.localhost", begin=0, end=4_000_000_000)
        put(folder, self.pair)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(20)
        self.port = self.listening.getsockname()[1]
        self.header = b""
        self.got = b""
        self.problem: Any = None

    def run(self) -> None:
        try:
            with self.listening, self.listening.accept()[0] as sock:
                sock.settimeout(20)
                if self.version == "v1":
                    while not self.header.endswith(b"\n"):
                        self.header += sock.recv(1)
                elif self.version == "v2":
                    self.header = sock.recv(16, socket.MSG_WAITALL)
                    more = int.from_bytes(self.header[14:], "big")
                    self.header += sock.recv(more, socket.MSG_WAITALL)
                with self.context.wrap_socket(sock, server_side=True) as tls:
                    while len(self.got) < len(BIG):
                        piece = tls.recv(65536)
                        if not piece:
                            return
                        self.got += piece
                    tls.sendall(self.got[::-1])
        except Exception as problem:
            self.problem = problem


class EndToEndTests(TestCase):
    """A client, Snickers and a server with its own certificate."""

    timeout = 60

    def start(self, sites: str) -> Wiring:
        folder = os.path.abspath(self.mktemp())
        os.makedirs(folder)
        path = os.path.join(folder, "sites.ini")
        with open(path, "w") as file:
            file.write(CONFIGURATION.format(folder=folder, sites=sites))
        loaded = load(path)
        self.assertEqual(loaded.configuration.faults, ())
        environ = {"PATH": os.environ.get("PATH", ""), "DOCKER_HOST": "unix:///nonexistent"}
        wiring = Wiring(reactor, path, loaded, environ)
        self.patch(wiring.service, "_install_signals", lambda: None)
        wiring.service.privilegedStartService()
        wiring.service.startService()
        self.addCleanup(wiring.service.stopService)
        return wiring

    def carry(self, version: str) -> Deferred[Any]:
        """Send 3 MB through, and have them sent back."""
        folder = os.path.abspath(self.mktemp())
        behind = Behind(folder, version)
        behind.start()
        self.addCleanup(behind.join, 20)
        wiring = self.start(
            f"[box.localhost]\ntype = passthrough\nto = tcp:localhost:{behind.port}\n"
            f"proxy protocol = {version}\n"
        )
        wiring.plane.passages.resolve = lambda host: succeed("127.0.0.1")

        def client() -> tuple[bytes, bytes, tuple[str, int]]:
            context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
            address = ("127.0.0.1", wiring.plane.https_port)
            with (
                socket.create_connection(address, 20) as sock,
                context.wrap_socket(sock, server_hostname="box.localhost") as tls,
            ):
                mine = tls.getsockname()
                certificate = tls.getpeercert(binary_form=True) or b""
                tls.sendall(BIG)
                answer = b""
                while len(answer) < len(BIG):
                    piece = tls.recv(65536)
                    if not piece:
                        break
                    answer += piece
                return certificate, answer, mine

        def plain() -> bytes:
            with socket.create_connection(("127.0.0.1", wiring.plane.http_port), 20) as sock:
                sock.sendall(b"GET /x HTTP/1.1\r\nHost: box.localhost\r\nConnection: close\r\n\r\n")
                answer = b""
                while piece := sock.recv(65536):
                    answer += piece
                return answer

        def carried(result: tuple[bytes, bytes, tuple[str, int]]) -> Any:
            certificate, answer, self.mine = result
            self.assertEqual(ssl.DER_cert_to_PEM_cert(certificate).encode(), behind.pair.pem)
            self.assertTrue(answer == BIG[::-1])
            self.assertTrue(behind.got == BIG)
            self.assertIsNone(behind.problem)
            self.here = ("127.0.0.1", wiring.plane.https_port)
            self.assertEqual(wiring.plane.passages.results["carried"], 1)
            (site,) = wiring.running.status()["sites"]
            self.assertEqual((site["kind"], site["state"]), ("passthrough", "serving"))
            self.assertEqual((site["requests"], site["certificate"]), (1, None))
            self.assertEqual(wiring.plane.certificates._rows, {})
            return deferToThread(plain)

        def redirected(answer: bytes) -> bytes:
            self.assertTrue(answer.startswith(b"HTTP/1.1 308 "), answer)
            self.assertIn(
                b"Location: https://box.localhost:%d/x\r\n" % wiring.plane.https_port, answer
            )
            return behind.header

        return deferToThread(client).addCallback(carried).addCallback(redirected)

    def packed(self) -> tuple[bytes, bytes, int, int]:
        """What a header says of the client's connection."""
        (one, port), (other, ours) = self.mine, self.here
        return socket.inet_aton(one), socket.inet_aton(other), port, ours

    def test_certificate_and_bytes(self) -> Deferred[Any]:
        """The client sees the server's own certificate; 3 MB pass both ways, nothing before."""
        done = self.carry("off")
        return done.addCallback(lambda head: self.assertEqual(head, b""))

    def test_version_1(self) -> Deferred[Any]:
        """A line of text comes first, and says who the client is."""
        done = self.carry("v1")
        return done.addCallback(lambda head: self.assertEqual(decode_v1(head), (4, *self.packed())))

    def test_version_2(self) -> Deferred[Any]:
        """The binary header comes first, and says also whom the client asked for."""
        done = self.carry("v2")
        return done.addCallback(
            lambda head: self.assertEqual(
                decode_v2(head), (4, *self.packed(), {2: b"box.localhost"})
            )
        )
