"""Listening for the owner alone."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks, maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from snickers.control.socketfile import ControlUnavailable, OwnersPort, listen


class Greeter(Protocol):
    def connectionMade(self) -> None:
        self.transport.loseConnection()


class ListenTests(TestCase):
    def setUp(self) -> None:
        # Not mktemp: a unix socket's path must be short.
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "state", "control.sock")

    def listen(self, path: str = "") -> OwnersPort:
        port = listen(reactor, path or self.path, Factory.forProtocol(Greeter))
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        return port

    def mode(self, path: str) -> int:
        return stat.S_IMODE(os.lstat(path).st_mode)

    def assertTaken(self, path: str) -> None:
        """Somebody listens at *path*."""
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(path)

    def test_log(self) -> None:
        """The log says that a socket is there, not of which class; that it closes is no news."""
        said: list[str] = []
        observer = lambda event: said.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        port = listen(reactor, self.path, Factory.forProtocol(Greeter))
        closed = maybeDeferred(port.stopListening)
        closed.addCallback(
            lambda _: self.assertEqual(
                [line for line in said if self.path in line],
                [f"socket starting on {self.path!r}"],
            )
        )
        return closed

    def test_owner_alone(self) -> None:
        """The socket is 0600 and a folder that had to be made is 0700."""
        self.listen()
        self.assertEqual(self.mode(self.path), 0o600)
        self.assertEqual(self.mode(os.path.dirname(self.path)), 0o700)
        self.assertTaken(self.path)

    def test_owner_alone_from_the_first_moment(self) -> None:
        """Under the widest umask the socket has its mode before anybody changes it."""
        self.addCleanup(os.umask, os.umask(0))
        modes = []
        self.patch(os, "chmod", lambda path, mode: modes.append(self.mode(self.path)))
        self.listen()
        self.assertEqual(modes, [0o600])

    def test_folder_is_left_as_it_is(self) -> None:
        """A folder that was there keeps its mode: it may be the owner's wish."""
        os.mkdir(os.path.dirname(self.path), 0o750)
        self.listen()
        self.assertEqual(self.mode(os.path.dirname(self.path)), 0o750)

    @inlineCallbacks
    def test_removed_at_the_end(self):
        """The file goes when the listening ends."""
        yield self.listen().stopListening()
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])

    @inlineCallbacks
    def test_another_ones_file_stays(self):
        """What has taken the file's place meanwhile is not removed."""
        port = self.listen()
        os.rename(self.path, self.path + ".old")
        with open(self.path, "w"):
            pass
        yield port.stopListening()
        self.assertTrue(os.path.exists(self.path))

    @inlineCallbacks
    def test_file_that_has_gone(self):
        """That somebody has removed the file hinders nothing."""
        port = self.listen()
        os.unlink(self.path)
        yield port.stopListening()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stale_socket(self) -> None:
        """What a killed process has left is replaced."""
        os.mkdir(os.path.dirname(self.path))
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(self.path)
            stale.listen()
        self.listen()
        self.assertTaken(self.path)

    def test_living_socket(self) -> None:
        """Where somebody listens, nothing is touched, and the error says what to do."""
        self.listen()
        found = self.assertRaises(ControlUnavailable, self.listen)
        self.assertEqual(
            str(found),
            f"another Snickers listens at {self.path}; stop it first, or give this one another "
            "folder ([snickers] state)",
        )
        self.assertTaken(self.path)

    def test_living_socket_that_is_busy(self) -> None:
        """One whose queue is full lives, too."""
        os.mkdir(os.path.dirname(self.path))
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as caller:
            busy.bind(self.path)
            busy.listen(0)
            caller.connect(self.path)
            self.assertRaises(ControlUnavailable, self.listen)

    def test_something_else_in_the_way(self) -> None:
        """A file that is no socket is not removed."""
        os.mkdir(os.path.dirname(self.path))
        with open(self.path, "w"):
            pass
        found = self.assertRaises(ControlUnavailable, self.listen)
        self.assertIn("is in the way", str(found))
        self.assertTrue(os.path.exists(self.path))

    def test_two_at_once(self) -> None:
        """While another one is between looking and binding, this one does neither."""
        folder = os.path.dirname(self.path)
        os.mkdir(folder)
        other = os.open(folder, os.O_RDONLY)
        self.addCleanup(os.close, other)
        fcntl.flock(other, fcntl.LOCK_EX)
        found = self.assertRaises(ControlUnavailable, self.listen)
        self.assertIn("another Snickers is just starting", str(found))
        fcntl.flock(other, fcntl.LOCK_UN)
        self.listen()

    def test_folder_that_cannot_be(self) -> None:
        """A folder that cannot be made is an error that says why."""
        with open(os.path.dirname(self.path), "w"):
            pass
        found = self.assertRaises(ControlUnavailable, self.listen)
        self.assertIn(self.path, str(found))
        self.assertIn("[snickers] state must be a folder", str(found))

    def test_socket_that_cannot_be(self) -> None:
        """A name that cannot be bound is an error that says why."""
        found = self.assertRaises(ControlUnavailable, self.listen, self.path + "x" * 300)
        self.assertIn("File name too long", str(found))

    @inlineCallbacks
    def test_deep_folder(self):
        """A path that is too long for a unix socket's address is listened at all the same."""
        path = os.path.join(self.folder, *["deep" * 10] * 5, "control.sock")
        port = self.listen(path)
        self.assertEqual(self.mode(path), 0o600)
        yield port.stopListening()
        self.assertFalse(os.path.exists(path))
