"""What teams say of themselves: understood, attributed, and harmless whatever it is."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from snickers.notify import Notifier
from snickers.teams import pair as p
from snickers.teams.notices import AT_ONCE, CannotHear, Ear, check, events, listen


class EventsTests(SynchronousTestCase):
    def test_each(self) -> None:
        """Every line of the protocol is an event of the member that sent it, in its order."""
        data = (
            b"X_SNICKERS_VERSION=0.3.1\nREADY=1\nSTATUS=serving 5 sites\nX_SNICKERS_DUTY=1\n"
            b"X_SNICKERS_ANSWERS=120 7\nX_SNICKERS_OPEN=12\nX_SNICKERS_ALARMS=2\n"
            b"X_SNICKERS_DUTY=0\nSTOPPING=1"
        )
        self.assertEqual(
            events(4, data),
            [
                p.Described(4, version="0.3.1"),
                p.Proved(4),
                p.Described(4, status="serving 5 sites"),
                p.Took(4),
                p.Answered(4, 120, 7),
                p.Counted(4, open=12),
                p.Counted(4, alarms=2),
                p.Gave(4),
                p.Stopping(4),
            ],
        )

    def test_as_systemd_has_it(self) -> None:
        """A sign of life, and how long an end takes at the most, wherever that stands."""
        self.assertEqual(events(4, b"WATCHDOG=1\nREADY=1"), [p.Beat(4), p.Proved(4)])
        for data in (
            b"STOPPING=1\nEXTEND_TIMEOUT_USEC=45000000",
            b"EXTEND_TIMEOUT_USEC=45000000\nSTOPPING=1",
        ):
            self.assertEqual(events(4, data), [p.Stopping(4, within=45.0)])
        self.assertEqual(events(4, b"STOPPING=1\nEXTEND_TIMEOUT_USEC=x"), [p.Stopping(4)])
        self.assertEqual(events(4, b"WATCHDOG=trigger\nEXTEND_TIMEOUT_USEC=1"), [])

    def test_finishing(self) -> None:
        """That it can be told to finish, and that it does, for how long."""
        self.assertEqual(events(4, b"X_SNICKERS_FINISHES=1"), [p.Described(4, finishes=True)])
        self.assertEqual(events(4, b"X_SNICKERS_FINISHES=x"), [])
        data = b"WATCHDOG=1\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=45000000\nX_SNICKERS_FINISHING=1"
        told = p.Stopping(4, within=45.0, finishing=True)
        self.assertEqual(events(4, data), [p.Beat(4), told])

    def test_not_understood(self) -> None:
        """What is of another version, or nonsense, is left out; the rest counts."""
        data = (
            b"X_SNICKERS_MOOD=good\nX_SNICKERS_ANSWERS=1\nX_SNICKERS_ANSWERS=-1 2\n"
            b"X_SNICKERS_OPEN=\xb2\nX_SNICKERS_OPEN=" + b"9" * 100 + b"\nREADY=0\n"
            b"X_SNICKERS_DUTY=2\n\xff\xfe\n=\nRELOADING=1\nSTOPPING=0\nREADY=1\n"
        )
        self.assertEqual(events(1, data), [p.Proved(1)])

    def test_words(self) -> None:
        """Words for a person are bounded, and cannot drive a terminal."""
        (told,) = events(1, b"STATUS=a\x1b[2Jb" + b"x" * 3000)
        assert isinstance(told, p.Described)
        self.assertEqual((told.status or "")[:6], "a?[2Jb")
        self.assertEqual(len(told.status or ""), 200)

    @given(st.binary(max_size=300))
    def test_never_fails(self, data: bytes) -> None:
        """No datagram can break it."""
        for event in events(1, data):
            self.assertIsInstance(event, p.OfMember)


class EarTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="snickers-ear-"))
        self.addCleanup(os.rmdir, self.folder)
        self.path = str(self.folder / "notify.sock")
        self.heard: list[tuple[int, bytes]] = []
        self.reactor = MemoryReactorClock()
        sock = listen(self.path)
        self.ear = Ear(self.reactor, sock, lambda pid, data: self.heard.append((pid, data)))
        self.addCleanup(os.unlink, self.path)
        self.ear.start()
        self.addCleanup(self.ear.stop)

    def test_from_whom(self) -> None:
        """The kernel says which process a datagram came from: ours, and a child's."""
        Notifier({"NOTIFY_SOCKET": self.path}).send("READY=1", "STATUS=x")
        script = (
            "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
            f"s.sendto(b'READY=1', {self.path!r}); print(os.getpid())"
        )
        child = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        self.ear.doRead()
        self.assertEqual(
            self.heard, [(os.getpid(), b"READY=1\nSTATUS=x"), (int(child.stdout), b"READY=1")]
        )

    def test_bounded(self) -> None:
        """However much is sent, a turn of the reactor takes a part of it."""
        told = []
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.setblocking(False)
        theirs.setblocking(False)
        ear = Ear(self.reactor, ours, lambda pid, data: told.append(data))
        sent = 0
        try:
            while sent < 3 * AT_ONCE:
                theirs.send(b"READY=1")
                sent += 1
        except BlockingIOError:
            pass
        ear.doRead()
        self.assertEqual(len(told), min(sent, AT_ONCE))
        theirs.close()
        ours.close()

    def test_owners(self) -> None:
        """Only its owner can send; what a killed keeper left is replaced."""
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        listen(self.path).close()
        listen(self.path, True).close()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o666)

    def test_long_path(self) -> None:
        """A path that no team could name is refused in words."""
        with self.assertRaises(CannotHear) as caught:
            check("/tmp/" + "x" * 120)
        self.assertIn("too long for a socket's path by 18 bytes", str(caught.exception))

    def test_no_folder(self) -> None:
        """A folder that is not there is told."""
        with self.assertRaises(CannotHear) as caught:
            listen("/nonexistent/notify.sock")
        self.assertIn("No such file or directory", str(caught.exception))
