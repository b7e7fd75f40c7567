"""TLS sockets that wait no longer than their thread was given."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.punctual import Punctual, answered_within
from tests.pebble_setup import make_tls


class PunctualTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        trust, key = make_tls(folder)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(trust, key)
        client = ssl.create_default_context(cafile=trust)
        client.sslsocket_class = Punctual
        near, far = socket.socketpair()
        theirs: list[ssl.SSLSocket] = []
        thread = threading.Thread(
            target=lambda: theirs.append(server.wrap_socket(far, server_side=True))
        )
        thread.start()
        self.ours = client.wrap_socket(near, server_hostname="127.0.0.1")
        thread.join()
        self.addCleanup(self.ours.close)
        self.addCleanup(theirs[0].close)
        self.theirs = theirs[0]

    def read(self) -> int:
        """Read what there is."""
        return self.ours.recv_into(bytearray(100))

    def test_read(self) -> None:
        """What is there in time is read."""
        answered_within(10.0)
        self.theirs.sendall(b"ab")
        self.assertEqual(self.read(), 2)

    def test_silence(self) -> None:
        """Nobody is waited for longer than was given, however long the socket would."""
        self.ours.settimeout(600.0)
        answered_within(0.05)
        began = time.monotonic()
        self.assertRaises(TimeoutError, self.read)
        self.assertLess(time.monotonic() - began, 5.0)

    def test_over(self) -> None:
        """What comes when the time is over is not read, until there is another question."""
        self.theirs.sendall(b"ab")
        answered_within(-1.0)
        self.assertRaises(TimeoutError, self.read)
        answered_within(10.0)
        self.assertEqual(self.read(), 2)

    def test_other_thread(self) -> None:
        """What another thread was given is its own."""
        self.theirs.sendall(b"ab")
        answered_within(10.0)
        other = threading.Thread(target=answered_within, args=(-1.0,))
        other.start()
        other.join()
        self.assertEqual(self.read(), 2)
