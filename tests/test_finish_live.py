"""A team that was committed away finishes what it has open, however long that takes.

The real keeper and the real Snickers twice, with workers: a download that is read slowly and a
WebSocket outlive the commit by more than `drain within`, a reload and the keeper's own update; the
next switch, or an end of all, gives them `drain within`, and no more.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from typing import Any

from bench.machine import free_port
from bench.witness import BIG as PATTERN
from twisted.trial.unittest import SynchronousTestCase

from tests.live_setup import SNICKERS, WITHIN, until
from tests.test_switch_live import TOP, Real

BIG = PATTERN * 12
"""More than all buffers of the kernel's take, so that it is under way until it is read."""
FILES = """
[files.localhost]
type = static
root = files
"""
DRAIN = 3.0
"""Seconds of `drain within`."""
LATE = 120.0
"""Seconds that a busy machine may need for an end, on top: far less than `finish within`."""


class Finishing(Real):
    """As `Real`, with little time for an end and much for who is in nobody's way."""

    def write(self, more: str = "") -> None:
        self.config.write_text(
            f"[snickers]\nhttps = tcp:{self.port}:interface=127.0.0.1:backlog=512\nhttp =\n"
            "state = state\ndata = data\ndocker = unix:///nonexistent\nreload every = never\n"
            f"drain within = {DRAIN:g}s\nfinish within = 1h\nworkers = 2\n"
            # The download waits, unread, for as long as commands take on a busy machine.
            "progress within = 1h\n"
            f"{more}{self._sites}{FILES}"
        )
        files = self.folder / "files"
        files.mkdir(exist_ok=True)
        (files / "big").write_bytes(BIG)


class FinishTests(SynchronousTestCase):
    def setUp(self) -> None:
        port = free_port()
        witness = subprocess.Popen(
            [sys.executable, "-m", "bench.witness", str(port)],
            cwd=TOP,
            env={**os.environ, "PYTHONPATH": str(TOP)},
        )
        self.addCleanup(witness.wait)
        self.addCleanup(witness.kill)
        self.kept = Finishing(self, port)
        self.kept.start()
        until(self.witness_answers, "no server")

    def connect(self, name: str, *lines: str) -> ssl.SSLSocket:
        """Ask *name* for something, and return the connection once the head was read."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.socket()
        # What is under way is to be in the hands of Snickers, not of the kernel.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        plain.settimeout(WITHIN)
        plain.connect(("127.0.0.1", self.kept.port))
        sock = context.wrap_socket(plain, server_hostname=name)
        self.addCleanup(sock.close)
        sock.sendall("\r\n".join([*lines, f"Host: {name}", "", ""]).encode())
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            data = sock.recv(1)
            if not data:
                break
            self.head += data
        return sock

    def witness_answers(self) -> bool:
        with self.connect("witness.localhost", "GET / HTTP/1.1"):
            return b" 200 " in self.head

    def chat(self) -> ssl.SSLSocket:
        """Open a WebSocket with the server that is on duty's business."""
        sock = self.connect(
            "asleep.localhost",
            *("GET /chat HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket"),
            *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        )
        self.assertIn(b" 101 ", self.head)
        return sock

    def echoes(self, chat: ssl.SSLSocket) -> bool:
        text = os.urandom(8).hex().encode()
        chat.sendall(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)
        heard = b""
        while len(heard) < 2 + len(text):
            data = chat.recv(64)
            if not data:
                return False
            heard += data
        return heard[2:] == text

    def read(self, sock: ssl.SSLSocket, size: int) -> bytes:
        """Read so many bytes, fewer where the connection ends."""
        found = bytearray()
        while len(found) < size:
            try:
                data = sock.recv(min(65536, size - len(found)))
            except OSError:
                break
            if not data:
                break
            found += data
        return bytes(found)

    def finishing(self) -> dict[str, Any]:
        """Have blue be committed away with a download and a WebSocket, long ago."""
        self.download = self.connect("files.localhost", "GET /big HTTP/1.1")
        self.got = self.read(self.download, 100_000)
        self.talk = self.chat()
        idle = self.connect("witness.localhost", "GET / HTTP/1.1")
        self.assertEqual(self.read(idle, 5), b"hello")
        self.kept.done("switch")
        words = self.kept.done("commit")
        self.assertEqual(words, "red stays; blue finishes what it has open, within 1h, and ends")
        committed = time.monotonic()
        # Nothing is asked on it: it ends as ever.
        self.assertEqual(idle.recv(1), b"")
        while time.monotonic() < committed + 2 * DRAIN + 1:
            self.assertTrue(self.echoes(self.talk))
            time.sleep(0.2)
        told = self.has_both()
        self.assertIsNotNone(told[0]["finishing_since"])
        self.assertFalse(told[0]["hurried"])
        return dict(told[0])

    def has_both(self) -> list[dict[str, Any]]:
        """Wait until the keeper knows that there are two."""
        found: list[dict[str, Any]] = until(
            lambda: [one for one in self.kept.status()["ending"] if one["open"] == 2],
            "it has not both",
        )
        return found

    def ended_in_time(self, pid: int, since: float) -> None:
        """Both were given `drain within`, and then broken off; nobody was killed for that."""
        until(lambda: not os.path.exists(f"/proc/{pid}"), "it does not end")
        self.assertLess(time.monotonic() - since, DRAIN + LATE)
        self.assertLess(len(self.got + self.read(self.download, len(BIG))), len(BIG))
        self.assertNotIn("has not ended in its time", self.kept.said())

    def test_lives_on(self) -> None:
        """The WebSocket, whose server stays awake for it, and the download live through a commit, a
        reload and a newer keeper; the next switch hurries them, and says so."""
        pid = self.finishing()["pid"]
        assert self.kept.keeper is not None
        self.kept.keeper.send_signal(signal.SIGHUP)
        until(lambda: self.kept.said().count("SIGHUP: reloading") == 2, "not both reload")
        self.kept.keeper.send_signal(signal.SIGUSR2)
        until(lambda: "taking up 2 running" in self.kept.said(), "no newer keeper")
        until(lambda: self.kept.status()["stage"] == "serving", "no newer keeper answers")
        self.assertTrue(self.echoes(self.talk))
        self.got += self.read(self.download, 500_000)
        self.assertEqual(self.got, BIG[: len(self.got)])
        said = subprocess.run(
            [sys.executable, "-c", SNICKERS, "--config", str(self.kept.config), "teams"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.assertIn(f"blue: process {pid} has finished what is open for ", said)
        self.has_both()
        since = time.monotonic()
        switch = subprocess.Popen(
            [sys.executable, "-c", SNICKERS, "--config", str(self.kept.config), "teams", "switch"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # It is time enough for who is about to end.
        self.assertTrue(self.echoes(self.talk))
        try:
            self.talk.recv(64)
        except OSError:
            pass
        self.assertGreater(time.monotonic() - since, DRAIN - 1)
        self.ended_in_time(pid, since)
        said, _ = switch.communicate(timeout=WITHIN)
        self.assertIn("blue still finishes 2 connections of before; it has 3s more", said)
        self.assertEqual(switch.returncode, 0, said)
        self.assertTrue(self.witness_answers())

    def test_all_of_it(self) -> None:
        """What comes to its end by itself is whole, and the team ends with the last of it."""
        pid = self.finishing()["pid"]
        self.talk.close()
        self.got += self.read(self.download, len(BIG) - len(self.got))
        self.assertEqual(self.got, BIG)
        self.download.close()
        until(lambda: not os.path.exists(f"/proc/{pid}"), "it does not end")
        until(lambda: not self.kept.status()["ending"], "its end is not heard of")

    def test_end_of_all(self) -> None:
        """A plain stop of everything waits for `drain within`, as ever."""
        pid = self.finishing()["pid"]
        assert self.kept.keeper is not None
        since = time.monotonic()
        self.kept.keeper.send_signal(signal.SIGTERM)
        self.ended_in_time(pid, since)
        self.assertEqual(self.kept.keeper.wait(WITHIN), 0)
