"""Asking a running Snickers."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from contextlib import closing

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers.control.api import ControlService
from snickers.control.client import (
    Client,
    ControlFailed,
    Denied,
    Garbled,
    Lost,
    NotRunning,
    Refused,
    short_path,
)
from snickers.interfaces.certificates import CertifyingFailed, Submitted
from snickers.interfaces.copies import Copy, CopyFailed
from tests.control_fake import (
    FakeCertifying,
    FakeFrontDoor,
    FakeLives,
    FakeSnapshots,
    LifeFailed,
)

PATIENCE = 20
"""Seconds after which a test that hangs has failed."""


class Canned:
    """A server that answers one connection with bytes, and keeps what it was asked."""

    def __init__(self, path: str, *pieces: bytes) -> None:
        self.asked = b""
        self._pieces = pieces
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.bind(path)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(PATIENCE)
            self.asked = connection.recv(65536)
            for piece in self._pieces:
                connection.sendall(piece)

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._socket.close()


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Folder:
    """A folder with a short path, for sockets."""

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "control.sock")


class ClientTests(Folder, SynchronousTestCase):
    """What the client makes of answers, and of none."""

    def serve(self, *pieces: bytes) -> Canned:
        canned = Canned(self.path, *pieces)
        self.addCleanup(canned.close)
        return canned

    def test_answer(self) -> None:
        """An answer is its JSON."""
        canned = self.serve(answer(b'{"sites": []}'))
        self.assertEqual(Client(self.path).status(), {"sites": []})
        self.assertTrue(canned.asked.startswith(b"GET /status HTTP/1.1\r\n"))

    def test_names_are_quoted(self) -> None:
        """A name cannot become another path or another line."""
        canned = self.serve(answer(b"{}"))
        Client(self.path).site("../plan?\r\nX: y é")
        self.assertTrue(canned.asked.startswith(b"GET /sites/..%2Fplan%3F%0D%0AX%3A%20y%20%C3%A9 "))

    def test_refused(self) -> None:
        """An error of the server's is raised with its words."""
        self.serve(answer(b'{"error": "no site x"}', "404 Not Found"))
        found = self.assertRaises(Refused, Client(self.path).site, "x")
        self.assertEqual((str(found), found.status), ("no site x", 404))

    def test_nobody_there(self) -> None:
        """No socket, or one that was left behind, is a server that does not run."""
        found = self.assertRaises(NotRunning, Client(self.path).status)
        self.assertEqual(str(found), f"Snickers does not answer at {self.path}; is it running?")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(self.path)
        self.assertRaises(NotRunning, Client(self.path).plan)
        self.assertRaises(NotRunning, Client(self.path + "/below").reload)
        self.assertRaises(NotRunning, list, Client(self.path).act("wake", "x"))

    def test_not_allowed(self) -> None:
        """Another user's socket is said to be one."""

        def deny(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(Client, "_open", deny)
        found = self.assertRaises(Denied, Client(self.path).status)
        self.assertIn("or as root", str(found))

    def test_other_trouble(self) -> None:
        """Any other trouble with the socket is told in the system's words."""
        found = self.assertRaises(ControlFailed, Client(self.path + "x" * 300).status)
        self.assertIn("too long", str(found))

    def test_silence(self) -> None:
        """A server that takes the call and says nothing is not waited for for ever."""
        with closing(socket.socket(socket.AF_UNIX)) as silent:
            silent.bind(self.path)
            silent.listen()
            found = self.assertRaises(Lost, Client(self.path, timeout=0.05).status)
        self.assertIn("did not answer", str(found))

    def test_cut_short(self) -> None:
        """An answer that breaks off is not taken for a whole one."""
        for cut in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"):
            canned = Canned(self.path, cut)
            self.assertRaises(Lost, Client(self.path).status)
            canned.close()
            os.unlink(self.path)

    def test_another_server(self) -> None:
        """What is not understood is said to be another version, or no Snickers at all."""
        for strange in (
            b"SSH-2.0-hello\r\n",
            answer(b"<html>"),
            answer(b"[]"),
            answer(b"\xff"),
            answer(b"<html>", "500 Oh"),
            answer(b"{}", "404 Not Found"),
        ):
            canned = Canned(self.path, strange)
            found = self.assertRaises(Garbled, Client(self.path).status)
            self.assertIn("not a Snickers that this version", str(found))
            canned.close()
            os.unlink(self.path)

    def test_progress(self) -> None:
        """Lines come one by one, however they were cut; what follows the last is not read."""
        self.serve(
            CHUNKED,
            chunk(b'{"progress": "pulli'),
            chunk(b'ng"}\n{"progress": "checking"}\n{"do'),
            chunk(b'ne": true}\n{"progress": "never seen"}\n'),
        )
        self.assertEqual(
            list(Client(self.path).act("wake", "x")),
            [{"progress": "pulling"}, {"progress": "checking"}, {"done": True}],
        )

    def test_progress_without_an_end(self) -> None:
        """A stream that ends before it said how is an error."""
        self.serve(CHUNKED, chunk(b'{"progress": "pulling"}\n'), chunk(b""))
        events = Client(self.path).act("wake", "x")
        self.assertEqual(next(events), {"progress": "pulling"})
        self.assertIn("before it said that", str(self.assertRaises(Lost, next, events)))

    def test_progress_cut_short(self) -> None:
        """A connection that is lost on the way is an error."""
        self.serve(CHUNKED, chunk(b'{"progress": "pulling"}\n'))
        self.assertRaises(Lost, list, Client(self.path).act("wake", "x"))

    def test_logs(self) -> None:
        """A log is its bytes."""
        canned = self.serve(CHUNKED, chunk(b"one\n"), chunk(b"\xfftwo"), chunk(b""))
        self.assertEqual(b"".join(Client(self.path).logs("x", 5, True)), b"one\n\xfftwo")
        self.assertTrue(canned.asked.startswith(b"GET /sites/x/logs?tail=5&follow=1 HTTP"))

    def test_logs_cut_short(self) -> None:
        """A log that breaks off is an error after what had come."""
        self.serve(CHUNKED, chunk(b"one\n"))
        pieces = Client(self.path).logs("x", 5, True)
        self.assertEqual(next(pieces), b"one\n")
        self.assertRaises(Lost, next, pieces)

    def test_short_path(self) -> None:
        """A path that fits is used as it is, a longer one by way of its folder."""
        with short_path(self.path) as short:
            self.assertEqual(short, self.path)
        deep = os.path.join(self.folder, *["deep" * 10] * 5)
        os.makedirs(deep)
        with short_path(os.path.join(deep, "x")) as short:
            self.assertLess(len(short), 108)
            self.assertTrue(os.path.samefile(os.path.dirname(short), deep))


class TogetherTests(Folder, TestCase):
    """The client and the real API, over a real socket."""

    timeout = PATIENCE

    def setUp(self) -> None:
        super().setUp()
        self.front_door = FakeFrontDoor()
        self.lives = FakeLives()
        self.snapshots = FakeSnapshots()
        self.certifying = FakeCertifying()
        self.service = ControlService(
            reactor, self.path, self.front_door, self.lives, self.snapshots, self.certifying
        )
        self.service.startService()
        self.addCleanup(lambda: self.service.running and self.service.stopService())
        self.client = Client(self.path)

    @inlineCallbacks
    def until(self, condition):
        while not condition():
            yield deferLater(reactor, 0.005)

    @inlineCallbacks
    def test_status(self):
        """The status crosses the socket whole."""
        answer = yield deferToThread(self.client.status)
        self.assertEqual(answer, self.front_door.status())

    @inlineCallbacks
    def test_refused(self):
        """An error crosses it in words."""
        asked = deferToThread(self.client.site, "alise.example")
        found = yield self.assertFailure(asked, Refused)
        self.assertEqual(str(found), "no site alise.example; did you mean alice.example?")

    @inlineCallbacks
    def test_snapshots(self):
        """Copies cross it, and so do words when they cannot be listed."""
        asked = deferToThread(self.client.snapshots, "alice.example")
        yield self.until(lambda: self.snapshots.calls)
        self.snapshots.calls[0].result.callback([Copy("alice.example", "c1", 5.0, "asked for")])
        answer = yield asked
        self.assertEqual([copy["id"] for copy in answer["copies"]], ["c1"])
        asked = deferToThread(self.client.snapshots, "alice.example")
        yield self.until(lambda: len(self.snapshots.calls) == 2)
        self.snapshots.calls[1].result.errback(CopyFailed("restic is not installed"))
        found = yield self.assertFailure(asked, Refused)
        self.assertEqual(str(found), "restic is not installed")

    @inlineCallbacks
    def test_certificates(self):
        """What is known of certificates crosses it, of all sites or of one."""
        answer = yield deferToThread(self.client.certificates, None)
        self.assertEqual(answer, {"certificates": self.certifying.rows})
        answer = yield deferToThread(self.client.certificates, "blog.example")
        self.assertEqual(answer, {"certificates": [{"site": "blog.example"}]})

    @inlineCallbacks
    def test_take_in(self):
        """A certificate crosses it whole, whatever is in the files, and what became of it."""
        files = {
            "certificate": ("c\u00e9rt.pem", bytes(range(256))),
            "key": ("key.pem", b"KEY\n"),
            "chain": ("CHAIN", b""),
        }
        for result in ({"folder": "/x"}, CertifyingFailed("the disk is full")):
            asked = deferToThread(self.client.take_in, "www.alice.example", files)
            yield self.until(lambda: self.certifying.calls)
            call = self.certifying.calls.pop()
            self.assertEqual(
                call.asked,
                (
                    "take in",
                    "alice.example",
                    "www.alice.example",
                    Submitted(
                        bytes(range(256)), b"KEY\n", b"", ("c\u00e9rt.pem", "key.pem", "CHAIN")
                    ),
                ),
            )
            if isinstance(result, dict):
                call.result.callback(result)
                answer = yield asked
                self.assertEqual(answer, result)
            else:
                call.result.errback(result)
                found = yield self.assertFailure(asked, Refused)
                self.assertEqual(str(found), "the disk is full")

    @inlineCallbacks
    def test_restore(self):
        """Which copy is meant crosses it, and which it was."""
        acting = deferToThread(lambda: list(self.client.act("restore", "alice.example", "c 1&")))
        yield self.until(lambda: self.snapshots.calls)
        self.assertEqual(self.snapshots.calls[0].asked, ("restore", "alice.example", "c 1&"))
        self.snapshots.calls[0].result.callback(Copy("alice.example", "c1", 5.0, "asked for"))
        seen = yield acting
        self.assertEqual((seen[-1]["done"], seen[-1]["id"]), (True, "c1"))

    @inlineCallbacks
    def test_wake(self):
        """Progress arrives while it happens, then the failure."""
        seen = []

        def wake():
            for event in self.client.act("wake", "alice.example"):
                seen.append(event)

        done = deferToThread(wake)
        yield self.until(lambda: self.lives.calls)
        self.lives.calls[0].tell("pulling")
        yield self.until(lambda: seen)
        self.assertEqual(seen, [{"progress": "pulling"}])
        self.lives.calls[0].result.errback(LifeFailed("no such image"))
        yield done
        self.assertEqual(seen[1:], [{"error": "no such image"}])

    @inlineCallbacks
    def test_leaving_a_log(self):
        """Closing the pieces of a log that is followed cancels it in the server."""
        pieces = self.client.logs("alice.example", 5, True)
        first = deferToThread(next, pieces)
        yield self.until(lambda: self.lives.calls)
        call = self.lives.calls[0]
        call.tell(b"one\n")
        self.assertEqual((yield first), b"one\n")
        yield deferToThread(pieces.close)
        yield self.until(lambda: call.cancelled)

    @inlineCallbacks
    def test_stopping(self):
        """A service that stops tells who waits, closes, and removes its socket."""
        waiting = deferToThread(list, self.client.act("wake", "alice.example"))
        yield self.until(lambda: self.lives.calls)
        yield self.service.stopService()
        self.assertEqual((yield waiting), [{"error": "Snickers itself is being stopped"}])
        self.assertEqual(os.listdir(self.folder), [])
        self.lives.calls[0].result.callback(None)
        yield self.assertFailure(deferToThread(self.client.status), NotRunning)
