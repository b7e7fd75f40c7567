"""The door of a site with ``basic auth``."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import bcrypt
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.checks import ADMITTED, BROKEN, BUSY, WRONG, Checks
from snickers.http.passwords import (
    LOOK_EVERY,
    MAX_WAITING,
    Door,
    Looked,
    look,
    read_basic,
)
from snickers.sweep import Sweep
from tests.test_checks import Asks
from tests.threads_fake import FakeThreads

SECRET = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
OTHER = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()


def basic(user: str, password: str) -> bytes:
    """The Authorization field of *user* with *password*."""
    return b"Basic " + b64encode(f"{user}:{password}".encode())


class DoorTests(SynchronousTestCase):
    """Who may come in."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.threads = FakeThreads()
        self.path = Path(self.mktemp()).absolute()
        self.write(f"alice:{SECRET}\n")
        self.door = self.make()

    def make(self, defer: Any = None) -> Door:
        self.checks = Checks(self.threads.defer, self.sweep)
        return Door(
            "a.example", str(self.path), self.checks, defer or self.threads.defer, self.sweep
        )

    def write(self, text: str) -> None:
        """Write the file anew; never with a stamp that it had before."""
        self.written = getattr(self, "written", 0) + 1
        self.path.write_text(text, "utf-8")
        os.utime(self.path, ns=(self.written, self.written))

    def ask(self, authorization: bytes | None) -> int | None:
        """The verdict, after all threads have run."""
        asks = Asks()
        verdict = self.door.ask(authorization, b"192.0.2.1", asks)
        self.threads.run_all()
        if verdict is None:
            (verdict,) = asks.verdicts
        else:
            self.assertEqual(asks.verdicts, [])
        return verdict

    def test_verdicts(self) -> None:
        """Name and password must be right; a field that is none of Basic is wrong."""
        self.assertEqual(self.ask(basic("alice", "secret")), ADMITTED)
        for said in (
            *(None, b"", b"Basic", b"Basic !", b"Bearer x", basic("alice", "secret") + b", x"),
            *(basic("alice", "wrong"), basic("bob", "secret"), basic("", ""), basic("alice", "")),
            b"Basic " + b64encode(b"alice"),
        ):
            self.assertEqual(self.ask(said), WRONG, said)

    def test_hot(self) -> None:
        """Who is known comes in at once, without a thread, until the file is to be looked at."""
        self.ask(basic("alice", "secret"))
        ran = len(self.threads.ran)
        asks = Asks()
        verdict = self.door.ask(basic("alice", "secret"), b"192.0.2.9", asks)
        self.assertEqual((verdict, self.threads.waiting), (ADMITTED, []))
        self.clock.pump([0.5] * int(LOOK_EVERY * 2 + 1))
        self.assertEqual(self.ask(basic("alice", "secret")), ADMITTED)
        self.assertEqual(self.threads.ran[ran:], ["look"])

    def test_another_password(self) -> None:
        """The file's change counts for who is remembered, too; others are not checked again."""
        self.write(f"alice:{SECRET}\nbob:{OTHER}\n")
        self.ask(basic("alice", "secret"))
        self.ask(basic("bob", "other"))
        self.write(f"alice:{OTHER}\nbob:{OTHER}\n")
        self.clock.pump([0.5] * int(LOOK_EVERY * 2 + 1))
        self.assertEqual(self.ask(basic("alice", "secret")), WRONG)
        self.assertEqual(self.ask(basic("alice", "other")), ADMITTED)
        ran = len(self.threads.ran)
        self.assertEqual(self.ask(basic("bob", "other")), ADMITTED)
        self.assertEqual(len(self.threads.ran), ran)

    def test_removed_user(self) -> None:
        """Who was removed is out after the next look."""
        self.ask(basic("alice", "secret"))
        self.write(f"bob:{OTHER}\n")
        self.assertEqual(self.ask(basic("alice", "secret")), ADMITTED)
        self.clock.pump([0.5] * int(LOOK_EVERY * 2 + 1))
        self.assertEqual(self.ask(basic("alice", "secret")), WRONG)

    def test_added_user(self) -> None:
        """Who was wrong because he did not exist is right when he does."""
        self.assertEqual(self.ask(basic("bob", "other")), WRONG)
        self.write(f"alice:{SECRET}\nbob:{OTHER}\n")
        self.clock.pump([0.5] * int(LOOK_EVERY * 2 + 1))
        self.assertEqual(self.ask(basic("bob", "other")), ADMITTED)

    def test_fails_closed(self) -> None:
        """A file that is away or not understood lets nobody in; it heals by itself."""
        logged: list[Any] = []

        def observe(event: Any) -> None:
            if event["log_level"] is LogLevel.critical:
                logged.append(formatEvent(event))

        self.patch(Door, "log", Logger(observer=observe))
        self.assertEqual(self.ask(basic("alice", "secret")), ADMITTED)
        for text in ("alice", f"alice:{SECRET}\nbob:$apr1$x\n", ""):
            self.write(text)
            for _ in range(2):
                self.clock.pump([0.5] * int(LOOK_EVERY * 2 + 1))
                self.assertEqual(self.ask(basic("alice", "secret")), BROKEN)
                self.assertEqual(self.ask(None), BROKEN)
        self.path.unlink()
        self.clock.pump([0.5] * int(LOOK_EVERY * 2 + 1))
        self.assertEqual(self.ask(basic("alice", "secret")), BROKEN)
        self.assertEqual(len(logged), 4)
        self.assertIn(
            f"a.example: nobody is let in: the file of basic auth, {self.path}", logged[0]
        )
        self.write(f"alice:{SECRET}\n")
        self.clock.pump([0.5] * int(LOOK_EVERY * 2 + 1))
        self.assertEqual(self.ask(basic("alice", "secret")), ADMITTED)

    def test_no_threads(self) -> None:
        """Where nothing can be looked at any more, nobody is let in."""
        self.door = self.make(lambda *_: fail(OSError("stopped")))
        self.assertEqual(self.ask(basic("alice", "secret")), BROKEN)

    def test_many_wait(self) -> None:
        """One look serves all who wait for it; they are bounded, and who has left is not told."""
        waiting: list[Deferred[Any]] = []

        def defer(*_: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        self.door = self.make(defer)
        asking = [Asks() for _ in range(MAX_WAITING)]
        for asks in asking:
            self.assertIsNone(self.door.ask(None, b"", asks))
        self.assertEqual(self.door.ask(None, b"", Asks()), BUSY)
        self.assertEqual(len(waiting), 1)
        asking[0].over = True
        waiting[0].callback(Looked(None, None, "x"))
        self.assertEqual(asking[0].verdicts, [])
        self.assertEqual({tuple(asks.verdicts) for asks in asking[1:]}, {(BROKEN,)})


class LookTests(SynchronousTestCase):
    """The file."""

    def test_unchanged(self) -> None:
        """What was seen is not read again."""
        path = Path(self.mktemp())
        path.write_bytes(b"\xef\xbb\xbf" + f"\u00fc:{SECRET}\r\n".encode())
        looked = look(str(path), None)
        assert looked is not None
        self.assertEqual(looked.users, {"\u00fc".encode(): SECRET.encode()})
        self.assertIsNone(look(str(path), looked.identity))

    def test_no_file(self) -> None:
        """Folders, pipes, and what is not text are told apart, and none of them is waited for."""
        folder = Path(self.mktemp())
        folder.mkdir()
        os.mkfifo(folder / "pipe")
        (folder / "latin").write_bytes(b"\xfc:x")
        for path, reason in [
            (folder, "is not an ordinary file"),
            (folder / "pipe", "is not an ordinary file"),
            (folder / "latin", "is not UTF-8"),
            (folder / "none", "cannot be read: No such file"),
            ("a\0b", "cannot be read"),
        ]:
            looked = look(str(path), None)
            assert looked is not None
            self.assertIsNone(looked.users)
            self.assertTrue(looked.reason.startswith(reason), looked.reason)


class BasicTests(SynchronousTestCase):
    """The Authorization field (RFC 7617 §2)."""

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.text().filter(lambda name: ":" not in name), st.text())
    def test_pairs(self, user: str, password: str) -> None:
        """Whatever stands in it comes out; a password may have colons."""
        self.assertEqual(read_basic(basic(user, password)), (user.encode(), password.encode()))
        self.assertEqual(
            read_basic(b"bAsIc  " + basic(user, password)[6:] + b" "),
            (user.encode(), password.encode()),
        )

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.binary(max_size=40))
    def test_anything(self, said: bytes) -> None:
        """Whatever is said, it is a pair or none."""
        read_basic(b"Basic " + said)
        read_basic(said)
