"""Checks of passwords: few at a time, remembered, bounded."""

from __future__ import annotations

from typing import Any

import bcrypt
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.http.checks import (
    ADMITTED,
    AT_ONCE,
    BROKEN,
    BUSY,
    FORGIVEN_WITHIN,
    MAX_ASKING,
    MAX_CLIENTS,
    MAX_EACH,
    MAX_QUEUE,
    MAX_RIGHT,
    MAX_WRONG,
    MAX_WRONGS,
    OFTEN,
    RIGHT_FOR,
    WRONG,
    WRONG_FOR,
    Checks,
    decoy,
    verify,
)
from snickers.sweep import Sweep
from tests.threads_fake import FakeThreads


class Asks:
    """One who asks."""

    def __init__(self) -> None:
        self.over = False
        self.verdicts: list[int] = []

    def told(self, verdict: int) -> None:
        self.verdicts.append(verdict)


def same(password: bytes, hashed: bytes) -> bool:
    """Check without bcrypt."""
    if password == b"fails":
        raise OSError("no memory")
    return b"hash of " + password == hashed


class ChecksCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.threads = FakeThreads()
        self.checks = Checks(self.threads.defer, self.sweep, same)

    def ask(
        self, password: bytes, peer: bytes = b"192.0.2.1", genuine: bool = True
    ) -> tuple[int | None, Asks]:
        """Ask whether *password* is alice's, which is ``right``."""
        asks = Asks()
        key = self.checks.key(password)
        verdict = self.checks.check(key, b"alice", b"hash of right", genuine, password, peer, asks)
        return verdict, asks


class VerdictTests(ChecksCase):
    """Right and wrong."""

    def test_right(self) -> None:
        """A right password is checked in a thread, and remembered for a while."""
        verdict, asks = self.ask(b"right")
        self.assertIsNone(verdict)
        self.assertEqual(asks.verdicts, [])
        self.threads.run_all()
        self.assertEqual(asks.verdicts, [ADMITTED])
        key = self.checks.key(b"right")
        self.assertEqual(self.checks.remembered(key), (b"alice", b"hash of right"))
        self.clock.pump([0.5] * int(RIGHT_FOR * 2 + 2))
        self.assertIsNone(self.checks.remembered(key))

    def test_wrong(self) -> None:
        """A wrong one is remembered too: sent again it costs nothing, until it is forgotten."""
        _, asks = self.ask(b"wrong")
        self.threads.run_all()
        self.assertEqual(asks.verdicts, [WRONG])
        self.assertIsNone(self.checks.remembered(self.checks.key(b"wrong")))
        self.assertEqual(self.ask(b"wrong")[0], WRONG)
        self.assertEqual(self.threads.waiting, [])
        self.clock.pump([0.5] * int(WRONG_FOR * 2 + 2))
        self.assertIsNone(self.ask(b"wrong")[0])

    def test_nobody(self) -> None:
        """Who does not exist is checked as long as who does, and is wrong whatever he says."""
        _, asks = self.ask(b"right", genuine=False)
        self.threads.run_all()
        self.assertEqual(self.threads.ran, ["same"])
        self.assertEqual(asks.verdicts, [WRONG])
        self.assertIsNone(self.checks.remembered(self.checks.key(b"right")))

    def test_failure(self) -> None:
        """A check that could not be made lets nobody in, and nothing is remembered of it."""
        _, asks = self.ask(b"fails")
        self.threads.run_all()
        self.assertEqual(asks.verdicts, [BROKEN])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertIsNone(self.ask(b"fails")[0])

    def test_keys(self) -> None:
        """What is remembered tells nothing: another start has other keys, and none has words."""
        key = self.checks.key(b"words")
        self.assertNotEqual(key, Checks(self.threads.defer, self.sweep).key(b"words"))
        self.assertEqual(key, self.checks.key(b"words"))
        self.assertEqual(len(key), 32)


class BoundTests(ChecksCase):
    """What clients can make the processor do."""

    def test_joined(self) -> None:
        """Requests with the same password share one check."""
        asking = [self.ask(b"right") for _ in range(MAX_ASKING)]
        self.assertEqual(self.ask(b"right")[0], BUSY)
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run_all()
        self.assertEqual({tuple(asks.verdicts) for _, asks in asking}, {(ADMITTED,)})

    def test_one_client(self) -> None:
        """Few checks of one client wait; the next one is told to come later."""
        for number in range(MAX_EACH):
            self.assertIsNone(self.ask(b"%d" % number)[0])
        self.assertEqual(self.ask(b"more")[0], OFTEN)
        self.assertIsNone(self.ask(b"more", b"192.0.2.2")[0])

    def test_one_household(self) -> None:
        """A /64 is one client, however many addresses it has."""
        for number in range(MAX_EACH):
            self.assertIsNone(self.ask(b"%d" % number, b"2001:db8::%d" % number)[0])
        self.assertEqual(self.ask(b"more", b"2001:db8::99")[0], OFTEN)
        self.assertIsNone(self.ask(b"more", b"2001:db8:0:1::")[0])

    def test_guessing(self) -> None:
        """After some wrong passwords a client waits; it is forgiven with time."""
        tried = 0
        while self.ask(b"%d" % tried)[0] is None:
            self.threads.run_all()
            tried += 1
        self.assertEqual(tried, MAX_WRONG)
        self.assertEqual(self.ask(b"right")[0], OFTEN)
        self.assertIsNone(self.ask(b"right", b"192.0.2.2")[0])
        self.clock.pump([0.5] * int(FORGIVEN_WITHIN * 2 + 2))
        self.assertIsNone(self.ask(b"x")[0])
        self.threads.run_all()
        self.assertEqual(self.ask(b"y")[0], OFTEN)

    def test_all_together(self) -> None:
        """Few checks are made at once, and a bounded number waits."""
        asking = []
        for number in range(AT_ONCE + MAX_QUEUE):
            verdict, asks = self.ask(b"%d" % number, b"10.0.%d.1" % number)
            self.assertIsNone(verdict)
            asking.append(asks)
        self.assertEqual(len(self.threads.waiting), AT_ONCE)
        self.assertEqual(self.ask(b"more", b"10.1.0.1")[0], BUSY)
        self.threads.run_all()
        self.assertTrue(all(asks.verdicts == [WRONG] for asks in asking))
        self.assertEqual((self.checks._open, self.checks._each), ({}, {}))

    def test_left(self) -> None:
        """A check that nobody waits for any more is not made, and leaves its place."""
        asking = [
            self.ask(b"%d" % number, b"10.0.%d.1" % number)[1]
            for number in range(AT_ONCE + MAX_QUEUE)
        ]
        for asks in asking[AT_ONCE:-1]:
            asks.over = True
        self.assertIsNone(self.ask(b"more", b"10.1.0.1")[0])
        asking[-1].over = True
        self.threads.run_all()
        self.assertEqual(len(self.threads.ran), AT_ONCE + 1)
        self.assertEqual([asks.verdicts for asks in asking[AT_ONCE:]], [[]] * MAX_QUEUE)
        self.assertEqual((self.checks._open, self.checks._each), ({}, {}))

    def test_memory(self) -> None:
        """However much is tried, a bounded part of it is remembered."""
        checks: Any = self.checks
        for number in range(MAX_CLIENTS + 10):
            peer = b"10.%d.%d.1" % divmod(number, 256)
            self.ask(b"%d" % number, peer)
            self.threads.run_all()
        self.assertEqual(len(checks._wrong), MAX_WRONGS)
        self.assertEqual(len(checks._clients), MAX_CLIENTS)
        for number in range(MAX_RIGHT + 10):
            checks.check(b"%d" % number, b"u", b"hash of x", True, b"x", b"11.0.0.1", Asks())
            self.threads.run_all()
        self.assertEqual(len(checks._right), MAX_RIGHT)


class VerifyTests(SynchronousTestCase):
    """Bcrypt itself."""

    def test_marks(self) -> None:
        """The three marks of bcrypt mean the same."""
        hashed = bcrypt.hashpw("pässword".encode(), bcrypt.gensalt(4))
        for mark in b"aby":
            marked = b"$2%c%b" % (mark, hashed[3:])
            self.assertTrue(verify("pässword".encode(), marked))
            self.assertFalse(verify(b"password", marked))

    def test_odd_passwords(self) -> None:
        """Only the first 72 bytes count, as for who writes the file; a zero byte is wrong."""
        hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))
        self.assertTrue(verify(b"x" * 100, hashed))
        self.assertFalse(verify(b"x" * 71, hashed))
        self.assertFalse(verify(b"x" * 72 + b"\0", hashed))
        self.assertFalse(verify(b"", hashed))

    def test_decoy(self) -> None:
        """A decoy has the cost of what it stands for, and nobody's password."""
        stands_for = decoy(bcrypt.hashpw(b"x", bcrypt.gensalt(5)))
        self.assertTrue(stands_for.startswith(b"$2b$05$"))
        self.assertFalse(verify(b"x", stands_for))
