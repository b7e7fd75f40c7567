"""Tests for snickers.tls.threads."""

from __future__ import annotations

import threading

from twisted.trial.unittest import TestCase

from snickers.tls.threads import OwnThreads, ThreadsStopped


class OwnThreadsTests(TestCase):
    def setUp(self):
        from twisted.internet import reactor

        self.threads = OwnThreads(reactor, 2, "test")
        self.addCleanup(self.threads.stop)

    async def test_elsewhere(self):
        """A function runs in another thread; its result and its failure come back to this one."""
        self.threads.start()
        ident = await self.threads.run(threading.get_ident)
        self.assertNotEqual(ident, threading.get_ident())
        with self.assertRaises(ZeroDivisionError):
            await self.threads.run(lambda: 1 / 0)

    def test_lazy(self):
        """No thread is there before the first use."""
        before = threading.active_count()
        self.threads.start()
        self.threads.start()
        self.assertEqual(threading.active_count(), before)

    async def test_stopped(self):
        """Before the start and after the end everything is refused."""
        with self.assertRaises(ThreadsStopped):
            await self.threads.run(list)
        self.threads.start()
        self.threads.stop()
        with self.assertRaises(ThreadsStopped):
            await self.threads.run(list)
