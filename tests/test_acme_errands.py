"""Threads for what may hang."""

from __future__ import annotations

import threading

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from snickers.acme import errands
from snickers.acme.errands import Errands
from snickers.tls.threads import ThreadsStopped


class ErrandsTests(TestCase):
    def setUp(self) -> None:
        self.errands = Errands(reactor, 2, "test")

    async def test_run(self) -> None:
        """What is run comes back, and what it raises, too; its threads keep nothing alive."""
        self.errands.start()
        self.errands.start()
        thread = await self.errands.run(threading.current_thread)
        self.assertIsNot(thread, threading.current_thread())
        self.assertTrue(thread.daemon)
        with self.assertRaises(ZeroDivisionError):
            await self.errands.run(lambda: 1 // 0)
        await self.errands.stop()

    async def test_stopped(self) -> None:
        """Before and after it is started nothing runs; it may be started again."""
        with self.assertRaises(ThreadsStopped):
            await self.errands.run(int)
        await self.errands.stop()
        for _ in range(2):
            self.errands.start()
            self.assertEqual(await self.errands.run(int), 0)
            await self.errands.stop()
        with self.assertRaises(ThreadsStopped):
            await self.errands.run(int)

    async def test_hanging(self) -> None:
        """What hangs is left behind after a moment."""
        self.patch(errands, "STOP_WITHIN", 0.05)
        self.errands.start()
        go, began = threading.Event(), Deferred[None]()

        def hang() -> str:
            reactor.callFromThread(began.callback, None)  # type: ignore[attr-defined]
            go.wait(30)
            return "late"

        result = self.errands.run(hang)
        await began
        await self.errands.stop()
        self.assertNoResult(result)
        go.set()
        # What it found is told all the same to who still waits.
        self.assertEqual(await result, "late")
