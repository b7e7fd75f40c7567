"""TLS to servers: real handshakes on socket pairs, by certificates that are right and wrong."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from snickers.stream import CONNECTING
from snickers.sweep import Sweep
from snickers.tls.outgoing import RESUMED_FOR, Connector, NotTrusted, make_context
from tests.pairs import DAY, Pair, make_pair
from tests.test_stream import Half
from tests.wires import Turns


class OutgoingTests(SynchronousTestCase):
    """A client stream of ours, and a server in the test's hand."""

    def setUp(self) -> None:
        self.turns = Turns()
        self.sweep = Sweep(self.turns)
        self.sweep.start()
        now = time.time()
        self.times: dict[str, Any] = {"begin": now - DAY, "end": now + DAY}
        self.root = make_pair(common="root", **self.times)
        self.trust = self.mktemp()
        Path(self.trust).write_bytes(self.root.pem)

    def pair(self, *names: str, **changes: Any) -> Pair:
        """Return a server's pair, signed by the root."""
        return make_pair(*names, issuer=self.root, **{**self.times, **changes})

    def connect(
        self, pair: Pair, name: str = "inner.example", verify: str | None = None, trust: str = ""
    ) -> Half:
        """Connect to a server with *pair*; return the protocol when all is said."""
        verify = name if verify is None else verify
        context = make_context(trust or self.trust, bool(verify))
        return self.connect_by(Connector(context, name, verify), self.serving(pair))

    def serving(self, pair: Pair) -> SSL.Context:
        """Return the context of a server with *pair*, which notes what `names` it was asked for."""
        self.names: list[Any] = []
        server = SSL.Context(SSL.TLS_SERVER_METHOD)
        server.use_certificate(pair.certificate)
        server.use_privatekey(pair.key)
        server.set_session_id(b"test")
        server.set_tlsext_servername_callback(lambda c: self.names.append(c.get_servername()))
        return server

    def connect_by(self, connector: Connector, server: SSL.Context, ahead: bytes = b"") -> Half:
        """Connect by *connector* to a new connection of *server*; *ahead* is written at once."""
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        stream = connector._make(self.turns, ours, self.sweep, b"::1")
        protocol = stream.protocol = Half()
        protocol.transport = stream
        stream._state = CONNECTING
        stream._queue = []
        stream.deadline = self.sweep.now + 5
        self.sweep.watch(stream)
        stream._write_on()
        stream.write(ahead)
        self.server = SSL.Connection(server, theirs)
        self.server.set_accept_state()
        for _ in range(20):
            self.turns.settle()
            try:
                self.server.do_handshake()
                break
            except SSL.WantReadError:
                continue
            except SSL.Error:
                break
        self.turns.settle()
        return protocol

    def reason(self, protocol: Half) -> str:
        self.assertEqual(protocol.told, ["failed"])
        return str(protocol.lost[0])

    def test_trusted(self) -> None:
        """A right certificate: connected, named by SNI, and bytes go both ways."""
        protocol = self.connect(self.pair("inner.example"))
        self.assertEqual(protocol.told, ["made"])
        self.assertEqual(self.names, [b"inner.example"])
        protocol.transport.write(b"ask")
        self.assertEqual(self.server.recv(100), b"ask")
        self.server.send(b"answer" * 2000)
        self.turns.settle()
        self.assertEqual(protocol.data, b"answer" * 2000)
        self.assertEqual(self.server.get_alpn_proto_negotiated(), b"")

    def test_another_name(self) -> None:
        """A certificate for somebody else: both names are said, and nothing is sent."""
        protocol = self.connect(self.pair("other.example"))
        self.assertEqual(
            self.reason(protocol), "its certificate is for other.example, not for inner.example"
        )

    def test_name_by_choice(self) -> None:
        """The name that is looked for may be another one than that of the address."""
        protocol = self.connect(self.pair("other.example"), verify="other.example")
        self.assertEqual(protocol.told, ["made"])

    def test_wildcard(self) -> None:
        """A wildcard stands for one label."""
        self.assertEqual(
            self.connect(self.pair("*.inner.example"), "a.inner.example").told, ["made"]
        )
        self.assertEqual(
            self.connect(self.pair("*.inner.example"), "a.b.inner.example").told, ["failed"]
        )

    def test_not_trusted(self) -> None:
        """A certificate that no root has signed, and one that is over."""
        words = self.reason(self.connect(make_pair("inner.example", **self.times)))
        self.assertEqual(
            words, "its certificate for inner.example is not trusted: self-signed certificate"
        )
        now = time.time()
        old = self.pair("inner.example", begin=now - 2 * DAY, end=now - DAY)
        self.assertIn("is not trusted: certificate has expired", self.reason(self.connect(old)))

    def test_nobody_looks(self) -> None:
        """With verify off any certificate will do."""
        protocol = self.connect(make_pair("x.example", **self.times), verify="")
        self.assertEqual(protocol.told, ["made"])

    def test_address(self) -> None:
        """A server by its address: the certificate must name the address, SNI must not."""
        pair = self.pair("inner.example", address="127.0.0.1")
        self.assertEqual(self.connect(pair, "127.0.0.1").told, ["made"])
        self.assertEqual(self.names, [None])
        self.assertEqual(self.connect(pair, "127.0.0.2").told, ["failed"])

    def test_no_tls(self) -> None:
        """A server that does not speak TLS, or says nothing at all."""
        ours, theirs = socket.socketpair()
        for data in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""):
            ours, theirs = socket.socketpair()
            for sock in (ours, theirs):
                sock.setblocking(False)
                self.addCleanup(sock.close)
            context = make_context(self.trust, True)
            stream = Connector(context, "x", "x")._make(self.turns, ours, self.sweep, b"::1")
            protocol = stream.protocol = Half()
            stream._state = CONNECTING
            stream._queue = []
            stream.deadline = self.sweep.now + 5
            self.sweep.watch(stream)
            stream._write_on()
            if data:
                theirs.sendall(data)
            self.turns.pass_time(7)
            self.assertEqual(protocol.told, ["failed"], data)

    def test_nothing_before(self) -> None:
        """What is written meanwhile is sent to the right server, and not a byte to a wrong one."""
        for pair, sent in (("inner.example", b"a secret"), ("other.example", b"")):
            connector = Connector(make_context(self.trust, True), "x", "inner.example")
            self.connect_by(connector, self.serving(self.pair(pair)), b"a secret")
            try:
                got = self.server.recv(100)
            except SSL.Error:
                got = b""
            self.assertEqual(got, sent)

    def resumed(self, connector: Connector, server: SSL.Context) -> tuple[bool, Half]:
        """Connect; return whether a session was resumed, and the protocol."""
        protocol = self.connect_by(connector, server)
        self.assertEqual(protocol.told, ["made"])
        self.server.send(b"x")
        self.turns.settle()
        return bool(lib.SSL_session_reused(self.server._ssl)), protocol

    def test_session(self) -> None:
        """A new connection goes on with the session of one that is open, or has ended; but only
        for some time, since nobody shows a certificate then."""
        context = make_context(self.trust, True)
        connector = Connector(context, "inner.example", "inner.example")
        server = self.serving(self.pair("inner.example"))
        first, opened = self.resumed(connector, server)
        self.assertFalse(first)
        again, second = self.resumed(connector, server)
        self.assertTrue(again)
        opened.transport.loseConnection()
        second.transport.loseConnection()
        self.turns.settle()
        self.assertTrue(self.resumed(connector, server)[0])
        self.turns.pass_time(RESUMED_FOR)
        again, last = self.resumed(connector, server)
        self.assertFalse(again)
        last.transport.abortConnection()
        self.turns.settle()
        self.assertEqual(self.connect_by(connector, server).told, ["made"])

    def test_session_of_another(self) -> None:
        """A session makes nobody trusted: a server that knows it not shows its certificate."""
        context = make_context(self.trust, True)
        connector = Connector(context, "inner.example", "inner.example")
        self.resumed(connector, self.serving(self.pair("inner.example")))
        other = self.connect_by(connector, self.serving(self.pair("other.example")))
        self.assertEqual(other.told, ["failed"])
        # The same server, which another name is expected of.
        server = self.serving(self.pair("inner.example"))
        self.resumed(connector, server)
        strict = Connector(context, "inner.example", "strict.example")
        strict._session, strict._whole = connector._last._connection.get_session(), self.sweep.now
        self.assertEqual(self.connect_by(strict, server).told, ["failed"])

    def test_trusted_alone(self) -> None:
        """The server's own certificate, or that of an authority below a root, may be trusted."""
        alone = make_pair("inner.example", **self.times)
        path = self.mktemp()
        Path(path).write_bytes(alone.pem)
        self.assertEqual(self.connect(alone, trust=path).told, ["made"])
        signed = self.pair("inner.example")
        Path(path).write_bytes(signed.pem)
        self.assertEqual(self.connect(signed, trust=path).told, ["made"])
        self.assertEqual(self.connect(self.pair("inner.example"), trust=path).told, ["failed"])

    def test_end(self) -> None:
        """The end is told, a clean one and one that was cut off."""
        for clean in (True, False):
            protocol = self.connect(self.pair("inner.example"))
            if clean:
                self.server.shutdown()
            self.server.sock_shutdown(socket.SHUT_RDWR)
            self.turns.settle()
            if clean:
                self.assertEqual(protocol.told, ["made", "half"])
            else:
                self.assertIsInstance(protocol.lost[0], ConnectionLost)

    def test_refused(self) -> None:
        """Where nobody listens the reason is the system's."""
        free = socket.create_server(("127.0.0.1", 0))
        address = free.getsockname()
        free.close()
        protocol = Half()
        connect = Connector(make_context(self.trust, True), "x", "x")
        connect(self.turns, self.sweep, address, protocol, 5.0)
        self.turns.settle()
        self.assertEqual(protocol.told, ["failed"])

    def test_roots(self) -> None:
        """The system's roots where no file is named; a file without any is a fault in words."""
        make_context("", True)
        empty = self.mktemp()
        Path(empty).write_text("nothing")
        error = self.assertRaises(NotTrusted, make_context, empty, True)
        self.assertIn(empty, str(error))
