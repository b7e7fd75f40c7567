"""Streams with TLS, on real sockets, with a real client and without real time."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface.verify import verifyObject

from snickers.stream import FLUSH_WITHIN, HIGH_WATER, LOST
from snickers.sweep import Sweep
from snickers.tls import transport as module
from snickers.tls.transport import TLSStream

from .test_stream import BIG, Half, Producer, Whole
from .tls_wires import TLSWire, client_context, server_context
from .wires import Turns


class Owner:
    """Gives every stream a protocol that writes down what it is told."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.protocol: Any = Half()

    def secured(self, stream: TLSStream) -> None:
        self.results.append("ok")
        stream.protocol = self.protocol

    def unsecured(self, stream: TLSStream, result: str) -> None:
        self.results.append(result)


class TLSCase(TestCase):
    versions: tuple[int, int] | None = None

    def setUp(self) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        self.owner = Owner()

    def sockets(self, tcp: bool = False) -> tuple[socket.socket, socket.socket]:
        if tcp:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                theirs = socket.create_connection(listening.getsockname())
                ours, _ = listening.accept()
        else:
            ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours, theirs

    def pair(
        self,
        server: SSL.Context | None = None,
        client: SSL.Context | None = None,
        tcp: bool = False,
        alpn: tuple[bytes, ...] = (),
        session: Any = None,
    ) -> tuple[TLSStream, TLSWire]:
        ours, theirs = self.sockets(tcp)
        stream = TLSStream(
            self.turns,
            ours,
            self.sweep,
            b"192.0.2.1",
            server or server_context(),
            self.owner,
            "site",
        )
        stream.deadline = self.sweep.now + 10
        # pyOpenSSL's view of our side; the stream lets go of it after the handshake.
        self.ours: SSL.Connection = stream._connection
        client = client or client_context(*alpn, versions=self.versions)
        return stream, TLSWire(self.turns, theirs, context=client, session=session)

    def open(self, **others: Any) -> None:
        self.stream, self.wire = self.pair(**others)
        self.stream.start()
        self.wire.shake()
        self.protocol = self.stream.protocol
        self.assertEqual(self.owner.results, ["ok"])

    def assertLost(self, kind: type[BaseException]) -> None:
        self.assertEqual([type(value) for value in self.protocol.lost], [kind])
        self.assertTrue(self.stream.disconnected)
        self.assertEqual((self.turns.getReaders(), self.turns.getWriters()), ([], []))


class HandshakeTests(TLSCase):
    def test_handshake(self) -> None:
        """After the handshake the stream has its protocol, and no deadline any more."""
        self.open(alpn=(b"h2", b"http/1.1"))
        self.assertEqual((self.stream.alpn, self.stream.site), (b"http/1.1", "site"))
        self.turns.pass_time(20)
        self.assertEqual(self.protocol.told, [])
        verifyObject(ITCPTransport, self.stream)
        self.assertFalse(hasattr(self.stream, "__dict__"))

    def test_without_alpn(self) -> None:
        """A client that does not negotiate a protocol has none."""
        self.open()
        self.assertEqual(self.stream.alpn, b"")

    def test_request_with_the_handshake(self) -> None:
        """A request that comes with the last of the handshake is read at once."""
        self.stream, wire = self.pair()
        self.stream.start()
        wire.begin()
        self.turns.settle()
        wire.tls.do_handshake()
        wire.tls.send(b"request")
        self.turns.turn()
        self.assertEqual(self.stream.protocol.data, b"request")

    def test_byte_by_byte(self) -> None:
        """A handshake may come byte by byte."""
        ours, theirs = self.sockets()
        stream = TLSStream(self.turns, ours, self.sweep, b"", server_context(), self.owner, "site")
        stream.start()
        memory = SSL.Connection(client_context(), None)
        memory.set_connect_state()
        theirs.setblocking(False)
        for _ in range(8):
            try:
                memory.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                flight = memory.bio_read(65536)
            except SSL.WantReadError:
                flight = b""
            for index in range(len(flight)):
                theirs.send(flight[index : index + 1])
                self.turns.settle()
            try:
                memory.bio_write(theirs.recv(65536))
            except BlockingIOError:
                break
        self.assertEqual(self.owner.results, ["ok"])

    def test_timeout(self) -> None:
        """A client that is slow is closed at the deadline, which no byte puts off."""
        self.stream, wire = self.pair()
        self.stream.start()
        wire.begin()
        self.turns.pass_time(9)
        self.assertEqual(self.owner.results, [])
        self.turns.pass_time(2)
        self.assertEqual(self.owner.results, ["timeout"])
        self.assertTrue(self.stream.disconnected)

    def test_client_gone(self) -> None:
        """A client that goes in the middle of it has failed."""
        self.stream, wire = self.pair()
        self.stream.start()
        wire.begin()
        wire.close()
        self.assertEqual(self.owner.results, ["failed"])

    def test_noise(self) -> None:
        """Noise has failed, and is answered by an alert at most."""
        self.stream, wire = self.pair()
        self.stream.start()
        wire.sock.send(b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff")
        self.turns.settle()
        self.assertEqual(self.owner.results, ["failed"])

    def test_descriptor_found_dead(self) -> None:
        """A reactor that finds the descriptor dead has found a failed handshake."""
        self.stream, _ = self.pair()
        self.stream.start()
        self.stream.connectionLost(LOST)
        self.assertEqual(self.owner.results, ["failed"])

    def test_closed_by_its_owner(self) -> None:
        """Who closes a stream during its handshake is told nothing of it."""
        for end in (TLSStream.loseConnection, TLSStream.abortConnection):
            stream, wire = self.pair()
            stream.start()
            wire.begin()
            self.turns.settle()
            end(stream)
            self.turns.pass_time(20)
            self.assertEqual(self.owner.results, [])
            self.assertTrue(stream.disconnected)

    def test_failing_owner(self) -> None:
        """An owner that raises costs that connection."""

        def fail(stream: TLSStream) -> None:
            raise ZeroDivisionError

        self.owner.secured = fail
        self.stream, wire = self.pair()
        self.stream.start()
        wire.shake()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.stream.disconnected)

    def test_failure_leaves_nothing(self) -> None:
        """What one connection did wrong is not found by the next one's calls."""
        self.open()
        bad, wire = self.pair()
        bad.start()
        wire.sock.send(b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff")
        self.turns.settle()
        self.wire.send(b"still here")
        self.assertEqual(self.protocol.data, b"still here")
        self.assertEqual(self.protocol.lost, [])


class _NoGroups:
    """OpenSSL's bindings without the call that sets groups, but for *others*."""

    def __init__(self, real: Any, **others: Any) -> None:
        self._real = real
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        if name == "SSL_CTX_set1_curves_list":
            raise AttributeError(name)
        return getattr(self._real, name)


class HardenTests(TLSCase):
    def shake(self, **others: Any) -> TLSWire:
        stream, wire = self.pair(**others)
        stream.start()
        wire.shake()
        self.stream = stream
        return wire

    def test_old_versions(self) -> None:
        """Before TLS 1.2 there is no common version."""
        context = client_context(versions=(SSL.TLS1_VERSION, SSL.TLS1_1_VERSION))
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        wire = self.shake(client=context)
        self.assertEqual(self.owner.results, ["failed"])
        self.assertTrue(wire.error or wire.cut)

    def test_versions(self) -> None:
        """1.3 is chosen when it can be, 1.2 with a good cipher otherwise."""
        self.assertEqual(self.shake().tls.get_protocol_version_name(), "TLSv1.3")
        both = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
        wire = self.shake(client=client_context(versions=both))
        self.assertEqual(wire.tls.get_protocol_version_name(), "TLSv1.2")
        self.assertIn("ECDHE", wire.tls.get_cipher_name())
        self.assertIn("GCM", wire.tls.get_cipher_name())

    def test_weak_cipher(self) -> None:
        """A client without a cipher of ours is refused."""
        context = client_context(versions=(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION))
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-SHA")
        self.shake(client=context)
        self.assertEqual(self.owner.results, ["failed"])

    def test_cipher_order(self) -> None:
        """The order of ciphers is ours, whatever the client's; who has no AES in hardware, and so
        puts ChaCha20 first, gets that."""
        versions = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
        context = client_context(versions=versions)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
        wire = self.shake(client=context)
        self.assertEqual(wire.tls.get_cipher_name(), "ECDHE-ECDSA-AES256-GCM-SHA384")
        context = client_context()
        context.set_tls13_ciphersuites(b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256")
        self.assertEqual(self.shake(client=context).tls.get_cipher_name(), "TLS_AES_128_GCM_SHA256")
        context = client_context()
        context.set_tls13_ciphersuites(b"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256")
        self.assertEqual(
            self.shake(client=context).tls.get_cipher_name(), "TLS_CHACHA20_POLY1305_SHA256"
        )

    def grouped(self, groups: bytes, **others: Any) -> str | None:
        """Return the group that is agreed on with a client that knows *groups*; ``None``: none."""
        if not hasattr(module.lib, "SSL_CTX_set1_curves_list"):
            raise SkipTest("cryptography is too old to choose a client's groups")
        context = client_context(**others)
        self.assertEqual(module.lib.SSL_CTX_set1_curves_list(context._context, groups), 1)
        self.owner.results.clear()
        wire = self.shake(client=context)
        return wire.tls.get_group_name() if self.owner.results == ["ok"] else None

    def test_post_quantum(self) -> None:
        """A client as it comes exchanges keys by X25519MLKEM768."""
        wire = self.shake()
        self.assertEqual(wire.tls.get_group_name(), "X25519MLKEM768")
        self.assertEqual(self.ours.get_group_name(), "X25519MLKEM768")

    def test_post_quantum_preferred(self) -> None:
        """So does one that likes another group better, and one that has only guessed another."""
        for groups in (b"*X25519:*X25519MLKEM768", b"*X25519:X25519MLKEM768"):
            self.assertEqual(self.grouped(groups), "X25519MLKEM768")

    def test_classic_groups(self) -> None:
        """A client that does not know it gets what is quick and sound, in 1.2 too."""
        old = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
        for groups, found in ((b"X25519:P-256", "x25519"), (b"P-256", "secp256r1")):
            self.assertEqual(self.grouped(groups), found)
            self.assertEqual(self.grouped(groups, versions=old), found)
        self.assertEqual(self.grouped(b"P-384"), "secp384r1")

    def test_odd_groups(self) -> None:
        """What is slow, or unknown to the rest of the world, is not done."""
        for groups in (b"X448", b"P-521", b"ffdhe2048", b"X448:P-521:ffdhe3072"):
            self.assertIsNone(self.grouped(groups))

    def test_groups_not_to_be_set(self) -> None:
        """Bindings that lack the call, and an OpenSSL that does not know the words, do no harm."""
        real = module.lib
        for double in (_NoGroups(real), _NoGroups(real, SSL_CTX_set1_curves_list=lambda *_: 0)):
            self.patch(module, "lib", double)
            context = server_context.__wrapped__(b"http/1.1")
            self.patch(module, "lib", real)
            wire = self.shake(server=context)
            self.assertEqual(wire.tls.get_group_name(), "X25519MLKEM768")
        self.assertEqual(self.owner.results, ["ok", "ok"])

    def test_preference(self) -> None:
        """Of the protocols that both speak, the server's first is chosen."""
        context = server_context(b"h2", b"http/1.1")
        self.shake(client=client_context(b"http/1.1", b"h2"))
        self.assertEqual(self.stream.alpn, b"http/1.1")
        self.shake(server=context, client=client_context(b"http/1.1", b"h2"))
        self.assertEqual(self.stream.alpn, b"h2")

    def test_no_common_protocol(self) -> None:
        """With none in common none is chosen: who minds has looked at the hello before."""
        self.shake(client=client_context(b"spdy/1"))
        self.assertEqual((self.owner.results, self.stream.alpn), (["ok"], b""))

    def test_resumption(self) -> None:
        """A client that comes again resumes its session, in 1.2 and in 1.3."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            context = client_context(versions=(version, version))
            wire = self.shake(client=context)
            wire.receive()
            session = wire.tls.get_session()
            again = self.shake(client=context, session=session)
            self.assertEqual(module.lib.SSL_session_reused(again.tls._ssl), 1)
        self.assertEqual(self.owner.results, ["ok"] * 4)

    def test_renegotiation(self) -> None:
        """A client cannot have a second handshake."""
        both = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
        wire = self.shake(client=client_context(versions=both))
        ours = self.ours
        self.assertIsNone(self.stream._connection)
        before = ours.client_random(), ours.master_key()
        wire.tls.renegotiate()
        wire._once(wire.tls.do_handshake)
        self.turns.settle()
        # A second handshake would have made other keys.
        self.assertEqual((ours.client_random(), ours.master_key()), before)
        self.assertEqual(ours.total_renegotiations(), 0)
        self.assertEqual(self.owner.results, ["ok"])


class TrafficTests(TLSCase):
    def test_both_ways(self) -> None:
        """3 MB each way arrive whole."""
        self.open()
        self.wire.send(BIG)
        self.assertEqual(self.protocol.data, BIG)
        self.stream.write(BIG)
        self.stream.write(b"")
        self.stream.write(b"end")
        self.assertEqual(self.wire.receive(), BIG + b"end")
        self.assertEqual((self.stream.received, self.stream.sent), (len(BIG), len(BIG) + 3))
        self.assertEqual(self.turns.getWriters(), [])

    def test_write_through(self) -> None:
        """What there is room for is sent at once."""
        self.open()
        self.stream.write(b"answer")
        self.assertEqual(self.wire.tls.recv(100), b"answer")
        self.assertEqual(self.turns.getWriters(), [])

    def test_several_records_at_once(self) -> None:
        """Of a large body several records are given to the protocol in one piece."""
        self.open()
        pieces: list[int] = []
        self.protocol.dataReceived = lambda data: pieces.append(len(data))
        self.wire.tls.send(b"x" * 16384)
        self.wire.tls.send(b"x" * 16384)
        self.wire.tls.send(b"x" * 100)
        self.turns.settle()
        self.assertEqual(pieces, [32868])

    def test_end_behind_full_records(self) -> None:
        """An end that is read with the last full record is told after its data."""
        self.open()
        self.wire.tls.send(b"x" * 16384)
        self.wire.tls.shutdown()
        self.turns.settle()
        self.assertEqual((len(self.protocol.data), self.protocol.told), (16384, ["half"]))

    def test_cut_behind_full_records(self) -> None:
        """So is an end that is none."""
        self.open()
        self.wire.tls.send(b"x" * 16384)
        self.wire.close()
        self.assertEqual(len(self.protocol.data), 16384)
        self.assertLost(ConnectionLost)

    def test_ended_while_receiving(self) -> None:
        """A protocol may end or abort from inside the call that brought full records."""
        for end in (TLSStream.loseConnection, TLSStream.abortConnection):
            self.setUp()
            self.open()
            self.protocol.dataReceived = lambda data, end=end: end(self.stream)
            self.wire.tls.send(b"x" * 16384)
            self.wire.tls.shutdown()
            self.turns.settle()
            self.wire.close()
            self.assertTrue(self.stream.disconnected)
            self.assertEqual(len(self.protocol.lost), 1)

    def test_failing_protocol(self) -> None:
        """A protocol that raises costs its own connection."""

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        self.open()
        self.protocol.dataReceived = fail
        self.wire.send(b"x")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertLost(ConnectionAborted)

    def test_pause(self) -> None:
        """A paused stream reads nothing, a resumed one loses nothing."""
        self.open()
        self.stream.pauseProducing()
        self.wire.send(b"one" * 10000)
        self.assertEqual(self.protocol.data, b"")
        self.stream.resumeProducing()
        self.turns.settle()
        self.assertEqual(self.protocol.data, b"one" * 10000)

    def test_back_pressure(self) -> None:
        """A producer is paused and resumed as on a plain stream."""
        self.open()
        producer = Producer()
        self.stream.registerProducer(producer, True)
        for _ in range(BIG.__len__() // HIGH_WATER):
            self.stream.write(b"x" * HIGH_WATER)
        self.assertEqual(producer.told, ["pause"])
        self.wire.receive()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_small_pieces_share_records(self) -> None:
        """Small pieces that had to wait are sent in common records."""
        self.open()
        self.stream.write(BIG)
        before = len(self.stream._queue)
        for _ in range(1000):
            self.stream.write(b"small")
        self.assertEqual(len(self.stream._queue), before + 1000)
        calls: list[int] = []
        real = module._ssl_write

        def counted(ssl: Any, data: Any, size: int) -> Any:
            calls.append(size)
            return real(ssl, data, size)

        self.patch(module, "_ssl_write", counted)
        self.assertEqual(self.wire.receive(), BIG + b"small" * 1000)
        self.assertEqual(len([size for size in calls if size < 100]), 0)

    def test_key_update(self) -> None:
        """While OpenSSL wants to write before it can read, it is let to, and nothing is lost."""
        self.open()
        real_read, real_error = module._ssl_read, module._ssl_error
        answers = [module._WANT_WRITE]
        self.patch(module, "_ssl_read", lambda *args: -1 if answers else real_read(*args))
        self.patch(
            module, "_ssl_error", lambda *args: answers.pop() if answers else real_error(*args)
        )
        self.wire.tls.send(b"request")
        self.turns.settle()
        self.assertEqual(self.protocol.data, b"request")
        self.assertEqual(self.turns.getWriters(), [])

    def test_write_wants_read(self) -> None:
        """While it wants to read before it can write, what is written waits, and nothing spins."""
        for data in (b"answer", BIG):
            self.setUp()
            self.open()
            self.write_wants_read(data)

    def write_wants_read(self, data: bytes) -> None:
        real_write, real_error = module._ssl_write, module._ssl_error
        blocked = [True]
        self.patch(module, "_ssl_write", lambda *args: -1 if blocked else real_write(*args))
        self.patch(
            module,
            "_ssl_error",
            lambda *args: module._WANT_READ if blocked else real_error(*args),
        )
        self.stream.write(data)
        self.turns.settle()
        self.assertEqual(self.turns.getWriters(), [])
        blocked.clear()
        self.wire.send(b"what it waited for")
        self.assertEqual(self.wire.receive(), data)
        self.assertEqual(self.protocol.data, b"what it waited for")


class EndTests(TLSCase):
    def test_lose(self) -> None:
        """All that was written, close_notify, the end; then the client's own is waited for."""
        self.open()
        self.stream.write(BIG)
        self.stream.loseConnection()
        self.stream.write(b"too late")
        self.assertEqual(self.wire.receive(), BIG)
        self.assertEqual((self.wire.ended, self.wire.cut), (True, False))
        self.assertEqual(self.protocol.lost, [])
        self.wire.end()
        self.wire.close()
        self.assertLost(ConnectionDone)

    def test_linger(self) -> None:
        """A client that is still sending gets the whole answer, and no reset."""
        self.open(tcp=True)
        self.stream.write(b"413")
        self.stream.loseConnection()
        self.wire.tls.send(b"x" * 100000)
        self.turns.settle()
        self.assertEqual(self.wire.receive(), b"413")
        self.assertEqual((self.wire.ended, self.wire.cut), (True, False))
        self.turns.pass_time(3)
        self.assertLost(ConnectionDone)

    def test_close_notify_waits_for_room(self) -> None:
        """A close_notify for which there is no room is sent when there is."""
        self.open()
        real = module.lib.SSL_shutdown
        answers = [-1]

        class Lib:
            def __getattr__(self, name: str) -> Any:
                return getattr(real_lib, name)

            def SSL_shutdown(self, ssl: Any) -> int:
                return answers.pop() if answers else real(ssl)

        real_lib = module.lib
        self.patch(module, "lib", Lib())
        real_error = module._ssl_error
        self.patch(
            module,
            "_ssl_error",
            lambda ssl, n: module._WANT_WRITE if n == -1 else real_error(ssl, n),
        )
        self.stream.write(b"answer")
        self.stream.loseConnection()
        self.assertEqual(self.turns.getWriters(), [self.stream])
        self.stream.write(b"too late")
        self.patch(module, "_ssl_error", real_error)
        self.assertEqual(self.wire.receive(), b"answer")
        self.assertTrue(self.wire.ended)
        self.assertEqual(self.turns.getWriters(), [])

    def test_no_room_for_close_notify_ever(self) -> None:
        """A client that leaves no room even for close_notify is given up in the end."""
        self.open()
        try:
            while True:
                self.stream._socket.send(bytes(4096))
        except BlockingIOError:
            pass
        self.stream.loseConnection()
        self.assertFalse(self.stream.disconnected)
        self.turns.pass_time(FLUSH_WITHIN + 1)
        self.assertTrue(self.stream.disconnected)

    def test_client_ends(self) -> None:
        """The client's close_notify is the end of its side; writing goes on."""
        self.open()
        self.wire.send(b"request")
        self.wire.end()
        self.assertEqual((self.protocol.told, self.stream.eof), (["half"], True))
        self.stream.write(b"answer")
        self.stream.loseConnection()
        self.assertEqual(self.wire.receive(), b"answer")
        self.assertTrue(self.wire.ended)
        self.turns.settle()
        self.assertLost(ConnectionDone)

    def test_client_ends_unheard(self) -> None:
        """To a protocol that does not know of half-closed connections it is the end."""
        self.owner.protocol = Whole()
        self.open()
        self.wire.end()
        self.assertLost(ConnectionDone)

    def test_cut_off(self) -> None:
        """An end without close_notify is a connection lost."""
        self.open()
        self.wire.close()
        self.assertLost(ConnectionLost)

    def test_lose_write(self) -> None:
        """Our side can end alone; the client sees a close_notify, and is still heard."""
        self.open()
        self.stream.write(BIG)
        self.stream.loseWriteConnection()
        self.stream.write(b"too late")
        self.assertEqual(self.wire.receive(), BIG)
        self.assertTrue(self.wire.ended)
        self.wire.send(b"still heard")
        self.assertEqual(self.protocol.data, b"still heard")
        self.wire.end()
        self.assertEqual(self.protocol.told, ["half", "lost"])
        self.assertLost(ConnectionDone)

    def test_abort(self) -> None:
        """An aborted connection has no clean end."""
        self.open(tcp=True)
        self.stream.write(BIG)
        self.stream.abortConnection()
        self.turns.settle()
        self.wire.receive()
        self.assertEqual((self.wire.ended, self.wire.cut), (False, True))
        self.assertLost(ConnectionAborted)

    def test_client_gone_while_writing(self) -> None:
        """Writing to a client that has gone ends in a connection lost, reading or not."""
        for paused in (False, True):
            self.setUp()
            self.open()
            if paused:
                self.stream.pauseProducing()
            self.wire.close()
            self.stream.write(BIG) if paused else None
            self.turns.settle()
            self.assertLost(ConnectionLost)

    def test_gone_while_queued(self) -> None:
        """So it does for what was queued before."""
        for paused in (False, True):
            self.setUp()
            self.open()
            if paused:
                self.stream.pauseProducing()
            self.stream.write(BIG)
            self.wire.close()
            self.assertLost(ConnectionLost)

    def test_damaged_record(self) -> None:
        """A record that was tampered with ends the connection, and only it."""
        self.open()
        self.wire.sock.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        self.turns.settle()
        self.assertLost(ConnectionLost)
        self.open_again()

    def open_again(self) -> None:
        self.owner = Owner()
        self.open()


class PropertyTests(TLSCase):
    @settings(derandomize=True, deadline=None, database=None, max_examples=25)
    @given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 200_000)), max_size=8))
    def test_any_pieces(self, steps: list[tuple[int, int]]) -> None:
        """However it is written and read, the client gets every byte once and in order."""
        self.setUp()
        self.open()
        sent, got = b"", b""
        for number, (written, read) in enumerate(steps):
            data = bytes([number]) * written
            self.stream.write(data)
            sent += data
            if read:
                try:
                    got += self.wire.tls.recv(read)
                except SSL.WantReadError:
                    pass
            self.turns.turn()
        self.stream.loseConnection()
        self.assertEqual(got + self.wire.receive(), sent)
        self.assertTrue(self.wire.ended)


class TLS12Tests(TrafficTests):
    versions = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)


class TLS12EndTests(EndTests):
    versions = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)

    def test_lose_write(self) -> None:
        """Before 1.3 an end is the end of both sides: the client is not heard any more."""
        self.open()
        self.stream.write(BIG)
        self.stream.loseWriteConnection()
        self.assertEqual(self.wire.receive(), BIG)
        self.assertTrue(self.wire.ended)
