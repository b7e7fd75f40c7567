"""Programs that are run for copies."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from snickers.containers import tool
from snickers.interfaces.copies import CopyFailed


class ToolTests(TestCase):
    async def test_lines(self) -> None:
        """Its lines come as they are written, of both outputs apart; the last needs no end."""
        said: list[bytes] = []
        errors: list[bytes] = []
        command = ["sh", "-c", "echo one; printf two; echo three >&2; exit 5"]
        ended = await tool.run(reactor, command, 10, line=said.append, error_line=errors.append)
        self.assertEqual((said, errors), ([b"one", b"two"], [b"three"]))
        self.assertEqual((ended.code, ended.said), (5, "three"))

    async def test_surroundings(self) -> None:
        """It works in the folder it is given, gives way to others, and knows of Snickers'
        environment nothing but where programs are."""
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        said: list[bytes] = []
        await tool.run(
            reactor,
            ["sh", "-c", "pwd; nice; env | sort"],
            10,
            folder,
            {"MINE": "x"},
            line=said.append,
        )
        self.assertEqual(said[0], folder.encode())
        self.assertGreaterEqual(int(said[1]), 10)
        names = {line.split(b"=")[0] for line in said[2:]} - {b"_", b"PWD", b"SHLVL", b"OLDPWD"}
        self.assertEqual(names, {b"HOME", b"LANG", b"LC_ALL", b"MINE", b"PATH"})

    async def test_missing(self) -> None:
        """A program that is not there is said."""
        self.patch(tool, "GENTLE", ("never-installed-either",))
        running = tool.run(reactor, ["never-installed"], 10)
        failure = await self.assertFailure(running, CopyFailed)
        self.assertIn("never-installed cannot be run", str(failure))

    def test_not_for_this_user(self) -> None:
        """Which program may not be run is said, and by whom it must be."""

        class Refusing:
            def spawnProcess(self, *_: object, **__: object) -> None:
                raise PermissionError(13, "Permission denied")

        running = tool.run(Refusing(), ["true"], 10)  # type: ignore[arg-type]
        words = str(self.failureResultOf(running, CopyFailed).value)
        self.assertIn(f"No process could be made of {sys.executable}: Permission denied.", words)
        self.assertIn("user that Snickers has become", words)

    async def begun(self, clock: object) -> tuple[Deferred[tool.Ended], Callable[[], object]]:
        """Run a program that has begun another one, which would never end; return what becomes of
        it, and what waits for the end of both."""
        pipe = os.path.abspath(self.mktemp())
        os.mkfifo(pipe)
        # It can be read to its end when nobody has it open to write to it any more.
        end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, end)
        begun: Deferred[bytes] = Deferred()
        command = ["sh", "-c", f"exec 3>{pipe}; (echo begun; exec sleep 100000) & wait"]
        running = tool.run(clock, command, 10, line=begun.callback)  # type: ignore[arg-type]
        self.assertEqual(await begun, b"begun")
        os.set_blocking(end, True)
        return running, lambda: deferToThread(os.read, end, 1)

    async def test_late(self) -> None:
        """What is not done in time is ended, with all that it began."""
        clock = Clock()
        clock.spawnProcess = reactor.spawnProcess  # type: ignore[attr-defined]
        running, ends = await self.begun(clock)
        clock.advance(9.9)
        self.assertNoResult(running)
        clock.advance(0.2)
        failure = await self.assertFailure(running, CopyFailed)
        self.assertIn("not done within 10 s", str(failure))
        self.assertEqual(await ends(), b"")

    async def test_cancelled(self) -> None:
        """So is what nobody waits for any more."""
        running, ends = await self.begun(reactor)
        running.cancel()
        await self.assertFailure(running, CancelledError)
        self.assertEqual(await ends(), b"")

    def test_find(self) -> None:
        """What is installed is found."""
        self.assertIsNotNone(tool.find("sh"))
        self.assertIsNone(tool.find("never-installed"))
