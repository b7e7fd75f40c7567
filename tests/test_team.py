"""One of two teams, connected: on the real reactor, in this process."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from snickers import __version__
from snickers.config.parse import load
from snickers.duty.dutylock import DutyLock
from snickers.duty.passing import Phase
from snickers.tap import Wiring
from snickers.team import LOCK
from tests.test_tap import GOOD, Case, ask

REQUEST = b"GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n"


class TeamTests(Case, TestCase):
    """Standing by, proving, taking and giving; the keeper is the test's socket."""

    timeout = 120
    watchdog = ""

    def setUp(self) -> None:
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.setblocking(False)
        self.manager.bind(f"\0snickers-test-team-{os.getpid()}-{id(self)}")
        self.heard: list[str] = []

    def make(self, stands_by: bool = True, text: str = GOOD) -> Wiring:
        path = self.write(text)
        environ = {
            "PATH": os.environ.get("PATH", ""),
            "DOCKER_HOST": "unix:///nonexistent",
            "NOTIFY_SOCKET": "@" + self.manager.getsockname()[1:].decode(),
            "SNICKERS_TEAM": "blue",
        }
        if stands_by:
            environ["SNICKERS_STAND_BY"] = "1"
        if self.watchdog:
            environ["WATCHDOG_USEC"] = self.watchdog
        wiring = Wiring(reactor, path, load(path), environ)
        self.patch(wiring.service, "_install_signals", lambda: None)
        self.wiring = wiring
        return wiring

    def start(self, stands_by: bool = True, text: str = GOOD) -> Any:
        wiring = self.make(stands_by, text)
        wiring.service.privilegedStartService()
        wiring.service.startService()
        self.addCleanup(self.stop)
        return wiring.team

    def stop(self) -> Deferred[None]:
        async def stop() -> None:
            if self.wiring.service.running:
                await self.wiring.service.stopService()
            # On a busy machine an engine's threads end later than duty waits for them.
            clock: Any = reactor
            while any("_ended_all" in repr(call.func) for call in clock.getDelayedCalls()):
                await deferLater(clock, 0.05)

        return Deferred.fromCoroutine(stop())

    async def says(self, state: str) -> None:
        """Wait until it has said *state*, and forget what it has said before."""
        while state not in self.heard:
            try:
                self.heard += self.manager.recv(65536).decode().split("\n")
            except BlockingIOError:
                await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        del self.heard[: self.heard.index(state) + 1]

    async def test_says_that_it_lives(self) -> None:
        """As often as it is asked to, and how it stands with that, until it ends: then that."""
        self.watchdog = "200000"
        team = self.start(stands_by=False)
        await self.says("X_SNICKERS_DUTY=1")
        for _ in range(2):
            await self.says("WATCHDOG=1")
            await self.says("READY=1")
            await self.says(f"X_SNICKERS_VERSION={__version__}")
            await self.says("X_SNICKERS_DUTY=1")
        team.give()
        await self.says("X_SNICKERS_DUTY=0")
        await self.says("WATCHDOG=1")
        await self.says("X_SNICKERS_DUTY=0")
        busy = self.patch(type(self.wiring.plane), "open", property(lambda plane: 1))
        ended = self.wiring.service.stopService()
        await self.says("STOPPING=1")
        await self.says("WATCHDOG=1")
        await self.says("STOPPING=1")
        busy.restore()
        await ended

    def lock(self) -> DutyLock:
        lock = DutyLock(os.path.join(self.folder, "state", LOCK))
        self.addCleanup(lock.close)
        return lock

    def asked(self) -> Deferred[bytes]:
        return deferToThread(ask, self.wiring.plane.http_port, REQUEST)

    async def test_stands_by(self) -> None:
        """It proves itself, says that it is ready, accepts nothing, opens no control socket and
        holds no lock; then it takes duty, gives it up and takes it again."""
        team = self.start()
        await self.says("READY=1")
        await self.says(f"X_SNICKERS_VERSION={__version__}")
        await self.says("X_SNICKERS_DUTY=0")
        control = os.path.join(self.folder, "state", "control.sock")
        lock = self.lock()
        self.assertTrue(lock.take())
        self.assertFalse(os.path.exists(control))
        asked = self.asked()
        team.take()
        answer = await asked
        self.assertTrue(answer.startswith(b"HTTP/1.1 308 "), answer)
        # Serves already, and is not on duty while somebody else is.
        self.assertIs(team.shift.phase, Phase.TAKING)
        lock.let_go()
        for again in (True, False):
            await self.says("X_SNICKERS_DUTY=1")
            self.assertTrue(os.path.exists(control))
            self.assertEqual(dict(team.state()), {"name": "blue", "duty": "on duty"})
            self.assertEqual(self.wiring.about()["team"]["duty"], "on duty")
            self.assertFalse(self.lock().take())
            team.give()
            await self.says("X_SNICKERS_DUTY=0")
            self.assertFalse(os.path.exists(control))
            if again:
                team.take()
        self.assertTrue(lock.take())

    async def test_ordinary_start(self) -> None:
        """Without being told to stand by it accepts and takes duty at once."""
        self.start(stands_by=False)
        await self.says("READY=1")
        await self.says("X_SNICKERS_DUTY=1")
        plane = self.wiring.plane
        await plane.defer(plane.authority.root, time.time())
        answer = await deferToThread(ask, plane.https_port, REQUEST, plane.authority.trust)
        self.assertIn(b" 200 ", answer)
        await self.says("X_SNICKERS_ANSWERS=1 0")

    async def test_ends(self) -> None:
        """At its end it has given duty up."""
        self.start(stands_by=False)
        await self.says("X_SNICKERS_DUTY=1")
        await self.stop()
        await self.says("X_SNICKERS_DUTY=0")
        self.assertTrue(self.lock().take())

    async def test_unproven(self) -> None:
        """A container's engine that cannot be reached ends it."""
        failed: list[str] = []
        text = GOOD.replace("[hello", "docker = unix:///nonexistent/docker.sock\n[hello")
        wiring = self.make(text=text + "[lamp.localhost]\ntype = container\nimage = lamp\n")
        assert wiring.team is not None
        wiring.team.shift._failed = failed.append
        wiring.service.privilegedStartService()
        wiring.service.startService()
        self.addCleanup(self.stop)
        while not failed:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.assertIn("cannot be reached", failed[0])
        self.assertIs(wiring.team.shift.phase, Phase.ENDING)

    async def test_counts(self) -> None:
        """What it tells whoever is on duty is what it has counted since it gave duty up."""
        team = self.start(stands_by=False)
        await self.says("X_SNICKERS_DUTY=1")
        self.wiring.plane.sites.by_name["hello.localhost"].requests = 5
        team.give()
        await self.says("X_SNICKERS_DUTY=0")
        self.assertEqual(team._counts()["hello.localhost"].requests, 0)
        # Without a connection nothing can have changed.
        team._connections = lambda: 1
        self.wiring.plane.sites.by_name["hello.localhost"].requests = 7
        self.assertEqual(team._counts()["hello.localhost"].requests, 2)
        team.take()
        await self.says("X_SNICKERS_DUTY=1")
        await self.wiring.running.freshen()
        (site,) = self.wiring.running.status()["sites"]
        self.assertEqual(site["requests"], 7)
        team.removed(("hello.localhost",))

    async def test_answers(self) -> None:
        """The numbers of answers never go back, also when a site is removed."""
        team = self.start(stands_by=False)
        await self.says("X_SNICKERS_DUTY=1")
        sites = self.wiring.plane.sites.by_name
        sites["hello.localhost"].traffic.codes.update({200: 5, 503: 2})
        self.assertEqual(team._answers(), "7 2")
        live = sites.pop("hello.localhost")
        self.assertEqual(team._answers(), "7 2")
        sites["hello.localhost"] = live
        self.assertEqual(team._answers(), "14 4")

    async def test_broker(self) -> None:
        """A broker is started with duty, and not before."""
        launched: list[Any] = []
        self.patch(Wiring, "launch_broker", lambda wiring, *arguments: launched.append(arguments))
        team = self.start(text=GOOD.replace("[hello", "docker broker = on\n[hello"))
        await self.says("X_SNICKERS_DUTY=0")
        self.assertEqual((launched, self.wiring.minder), ([], None))
        team.take()
        await self.says("X_SNICKERS_DUTY=1")
        self.assertEqual(len(launched), 1)

    def test_nothing_is_started(self) -> None:
        """Making one starts nothing."""
        self.make()
        self.assertEqual(sorted(os.listdir(self.folder)), ["site", "sites.ini"])
