"""Telling the service manager."""

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from snickers.notify import Notifier


class NotifierTests(SynchronousTestCase):
    """What is sent to ``NOTIFY_SOCKET``."""

    def listen(self, name: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        self.addCleanup(sock.close)
        sock.bind(name)
        return sock

    def test_states_are_sent_as_one_message(self) -> None:
        """Several states arrive as lines of one datagram."""
        path = os.path.join(self.mktemp())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        path = os.path.relpath(path)
        sock = self.listen(path)
        Notifier({"NOTIFY_SOCKET": path}).send("READY=1", "STATUS=serving")
        self.assertEqual(sock.recv(100), b"READY=1\nSTATUS=serving")

    def test_abstract_names(self) -> None:
        """A name that begins with @ is an abstract socket's."""
        name = f"snickers-test-{os.getpid()}"
        sock = self.listen("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).send("STOPPING=1")
        self.assertEqual(sock.recv(100), b"STOPPING=1")

    def test_a_full_manager(self) -> None:
        """A manager that reads too slowly is not waited for; that it has not heard is said."""
        name = f"snickers-test-full-{os.getpid()}"
        sock = self.listen("\0" + name)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
        sent = 0
        while notifier.send("STATUS=serving"):
            sent += 1
            self.assertLess(sent, 100_000)
        sock.recv(100)
        self.assertTrue(notifier.send("STATUS=serving"))

    def test_without_a_manager_nothing_happens(self) -> None:
        """Without a socket, or with one that nobody has, sending is silent."""
        self.assertTrue(Notifier({}).send("READY=1"))
        self.assertTrue(Notifier({"NOTIFY_SOCKET": "/nonexistent/socket"}).send("READY=1"))
