"""Asking the keeper, and what is said when that cannot be."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from snickers.control.client import Denied, Garbled, Lost, Refused
from snickers.control.keeper_client import KeeperClient, NoKeeper


class KeeperClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="snickers-client-"))
        self.path = str(self.folder / "keeper.sock")
        self.asked: list[Any] = []

    def tearDown(self) -> None:
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.folder.rmdir()

    def answering(self, *lines: bytes, hang: bool = False) -> KeeperClient:
        """Return a client of one who answers with *lines*."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen()
        over = threading.Event()

        def serve() -> None:
            with listening, listening.accept()[0] as sock, sock.makefile("rb") as read:
                self.asked.append(json.loads(read.readline()))
                sock.sendall(b"".join(line + b"\n" for line in lines))
                if hang:
                    over.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(over.set)
        return KeeperClient(self.path, timeout=0.2 if hang else 60.0)

    def test_status(self) -> None:
        """One answer."""
        client = self.answering(b'{"stage": "serving"}')
        self.assertEqual(client.status(), {"stage": "serving"})
        self.assertEqual(self.asked, [{"do": "status"}])

    def test_change(self) -> None:
        """Each line as it comes, the last one with it."""
        client = self.answering(b'{"progress": "a"}', b'{"progress": "b"}', b'{"done": "c"}')
        self.assertEqual(
            list(client.change("switch")), [{"progress": "a"}, {"progress": "b"}, {"done": "c"}]
        )
        self.assertEqual(self.asked, [{"do": "switch"}])

    def test_refused(self) -> None:
        """What the keeper could not do is said in its words."""
        client = self.answering(b'{"progress": "a"}', b'{"failed": "no"}')
        found = client.change("switch")
        self.assertEqual(next(found), {"progress": "a"})
        with self.assertRaises(Refused) as caught:
            next(found)
        self.assertEqual(str(caught.exception), "no")

    def test_gone_in_the_middle(self) -> None:
        """A keeper that goes away has not said how it ended."""
        found = self.answering(b'{"progress": "a"}').change("switch")
        next(found)
        with self.assertRaises(Lost) as caught:
            next(found)
        self.assertIn("'snickers teams' says how far it came", str(caught.exception))

    def test_no_answer(self) -> None:
        """One who says nothing, or nothing in time, is told of."""
        with self.assertRaises(Lost):
            self.answering().status()
        os.unlink(self.path)
        with self.assertRaises(Lost) as caught:
            self.answering(hang=True).status()
        self.assertIn("has not answered for 0.2 s", str(caught.exception))

    def test_odd(self) -> None:
        """Something else that listens there is noticed."""
        with self.assertRaises(Garbled):
            self.answering(b"HTTP/1.1 400 Bad Request").status()
        os.unlink(self.path)
        with self.assertRaises(Garbled):
            self.answering(b"[]").status()

    def test_nobody(self) -> None:
        """Where no keeper is, the words say what one is."""
        with self.assertRaises(NoKeeper) as caught:
            KeeperClient(self.path).status()
        self.assertIn("twistd -n snickers-teams", str(caught.exception))
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.close()
        with self.assertRaises(NoKeeper):
            KeeperClient(self.path).status()

    def test_socket_is_gone(self) -> None:
        """A keeper whose socket was removed is not said to be away: another one could not start."""
        lock = self.folder / "keeper.lock"
        self.addCleanup(lock.unlink, missing_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with self.assertRaises(Lost) as caught:
                KeeperClient(self.path).status()
            self.assertIn(
                f"'kill -USR2 {os.getpid()}' has it make that anew", str(caught.exception)
            )
        with self.assertRaises(NoKeeper):
            KeeperClient(self.path).status()
        lock.unlink()

    def test_denied(self) -> None:
        """Another user's keeper is said to be so."""

        def denied(*arguments: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        client = KeeperClient(self.path)
        self.patch(socket, "socket", denied)
        with self.assertRaises(Denied):
            client.status()
