"""Servers in containers: the threads with a Docker in memory, all of it with a real one."""

from __future__ import annotations

import os
import queue
import secrets
import threading

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from snickers.config.values import Container, Lifecycle
from snickers.containers import docker, recipe
from snickers.containers.docker import DockerEngine
from snickers.containers.dockerd import Dockerd
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.interfaces import Address, Declared, Exit, Instance
from tests import docker_setup
from tests.docker_fake import FakeApi, FakeDocker
from tests.engine_contract import Gathered, RecordingObserver, engine_contract
from tests.test_process import ask

SERVE = """
mkdir -p /www; echo $SITE > /www/asked
echo one; echo two; echo three
exec httpd -f -vv -p 80 -h /www
"""

COMMANDS = {
    "serves": ("sh", "-c", SERVE),
    "stubborn": ("sh", "-c", "trap '' TERM; " + SERVE),
    "exits": ("sh", "-c", "exit 3"),
    "wrong": ("sh",),
}


class DockerFixture:
    """A `DockerEngine` that reaches Docker through a gate."""

    lasting = True
    lossy = True

    def __init__(self, case: TestCase) -> None:
        self.image = docker_setup.image()
        self.owner = secrets.token_hex(8)
        self.folder = os.path.abspath(case.mktemp())
        self.gate = docker_setup.Gate()
        self.engines: list[DockerEngine] = []

    def engine(self) -> DockerEngine:
        engine = DockerEngine(reactor, self.owner, self.gate.url)
        self.engines.append(engine)
        return engine

    def declared(self, site: str, does: str) -> Declared:
        image = "snickers-test:no-such" if does == "wrong" else self.image
        kind = Container(
            image,
            COMMANDS[does],
            environment=(("SITE", site),),
            network=docker_setup.network(),
            pull="never",
            life=Lifecycle(stop_within=1),
        )
        return Declared(site, kind, os.path.join(self.folder, site))

    def ask(self, address: Address, instance: Instance) -> Deferred[bytes]:
        request = b"GET /asked HTTP/1.0\r\n\r\n"
        return Deferred.fromCoroutine(ask(address, request))

    def crash(self, instance: Instance) -> Deferred[None]:
        return deferToThread(docker_setup.client().kill, instance.id)

    def lose(self) -> object:
        return self.gate.close()

    def find(self) -> object:
        return self.gate.open()

    def wait(self, done, passing=0.0):
        return done.addTimeout(20, reactor)

    async def end(self) -> None:
        for engine in self.engines:
            await engine.close()
        await deferToThread(docker_setup.remove_all, self.owner)
        await self.gate.remove()

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.end())


class DockerEngineContract(engine_contract(DockerFixture)):
    """The engine with containers keeps the contract of all engines."""


class Slow:
    """A stream that gives what a test puts into it, until it is closed."""

    def __init__(self) -> None:
        self.items: queue.Queue = queue.Queue()
        self.read = threading.Event()
        self.closed = False

    def __iter__(self):
        self.read.set()
        while (item := self.items.get()) is not None:
            yield item

    def close(self) -> None:
        self.closed = True
        self.items.put(None)


class ThreadsTests(TestCase):
    """How `DockerEngine` and its threads work together, over a Docker in memory."""

    site = "alice.example"
    declared = Declared(site, Container("lamp:7"), "/data/alice.example")

    def setUp(self) -> None:
        self.docker = FakeDocker()
        self.deaths: list[Slow] = []
        self.away = ""
        self.engine = DockerEngine(reactor, "me")
        self.engine._connect = self.connect
        self.observer = RecordingObserver()
        self.patch(docker, "FIRST_PAUSE", 0.01)
        self.patch(FakeApi, "deaths", lambda api, labels: self.listen())
        self.addCleanup(self.engine.close)

    def connect(self) -> Dockerd:
        """Begin a conversation, in the listening thread."""
        if self.away:
            raise EngineAway(self.away)
        return Dockerd(FakeApi(self.docker), "me", "10.213.0.0/16")

    def listen(self) -> Slow:
        self.deaths.append(Slow())
        return self.deaths[-1]

    def start(self, words=lambda words: None) -> Deferred[Instance]:
        return self.engine.start(self.declared, words).addTimeout(10, reactor)

    def event(self, id: str) -> dict:
        attributes = {recipe.SITE: self.site, "exitCode": "9"}
        return {"Actor": {"ID": id, "Attributes": attributes}}

    def until(self, holds) -> Deferred[None]:
        return self.observer.until(holds).addTimeout(10, reactor)

    async def fails(self, done: Deferred, kind: type[Exception] = EngineFailed) -> str:
        try:
            await done.addTimeout(10, reactor)
        except kind as error:
            return str(error)
        raise self.failureException("It did not fail.")

    def test_nothing_made(self) -> None:
        """Before it is watched it has made no thread and no connection."""
        before = threading.active_count()
        DockerEngine(reactor, "me", "unix:///no/such/socket")
        self.assertEqual(threading.active_count(), before)

    async def test_not_watched(self) -> None:
        """Before it is watched, and after it was closed, calls fail with `EngineAway`."""
        await self.fails(self.engine.list(), EngineAway)
        self.engine.watch(self.observer)
        await self.engine.close()
        await self.fails(self.engine.list(), EngineAway)

    async def test_lost_first(self) -> None:
        """A Docker that is away is told once, and found when it comes."""
        self.away = "Docker is away, for this test."
        self.engine.watch(self.observer)
        listed = self.engine.list()
        self.assertEqual(await self.fails(listed, EngineAway), self.away)
        self.assertEqual(self.observer.events, [("lost", self.away)])
        told = ("lost", self.away)
        self.away = ""
        await self.until(lambda: self.observer.events == [told, "found"])
        self.assertEqual(await self.engine.list(), [])

    async def test_end_before_start(self) -> None:
        """An end that is heard of before its start was told is told after it."""
        self.engine.watch(self.observer)
        heard = threading.Event()
        died = self.engine._died

        def hear(seen) -> None:
            died(seen)
            heard.set()

        self.patch(self.engine, "_died", hear)
        start = FakeApi.start

        def start_and_die(api, id) -> None:
            start(api, id)
            self.docker.end(id, 3)
            self.deaths[-1].items.put(self.event(id))
            heard.wait(10)

        self.patch(FakeApi, "start", start_and_die)
        told: list[object] = []
        instance = await self.start().addCallback(
            lambda i: told.append(len(self.observer.exits)) or i
        )
        self.assertEqual(told, [0])
        await self.until(lambda: bool(self.observer.exits))
        self.assertEqual(self.observer.exits, [Exit(self.site, instance.id, 3)])

    async def test_told_once(self) -> None:
        """An end that is seen and heard of is told once; one of a run that is over never."""
        self.engine.watch(self.observer)
        id = (await self.start()).id
        await self.engine.stop(self.site, 1)
        self.deaths[-1].items.put(self.event(id))
        await self.start()
        self.deaths[-1].items.put(self.event(id))
        await self.engine.stop(self.site, 1)
        self.assertEqual(self.observer.exits, [Exit(self.site, id, 0)] * 2)

    async def test_ended_unheard(self) -> None:
        """An end that nobody told of is told when the list shows it."""
        self.engine.watch(self.observer)
        id = (await self.start()).id
        self.docker.end(id, 9)
        await self.engine.list()
        await self.engine.list()
        self.assertEqual(self.observer.exits, [Exit(self.site, id, 9)])

    async def test_removed_by_hand(self) -> None:
        """The end of a container that is gone already is told with what the event knows."""
        self.engine.watch(self.observer)
        id = (await self.start()).id
        self.docker.made.clear()
        self.deaths[-1].items.put(self.event(id))
        await self.until(lambda: bool(self.observer.exits))
        self.assertEqual(self.observer.exits, [Exit(self.site, id, 9)])

    async def test_stream_breaks(self) -> None:
        """When the stream of events breaks off and Docker is there, it is found again."""
        self.engine.watch(self.observer)
        await self.until(lambda: len(self.observer.events) == 1)
        self.deaths[-1].items.put(None)
        await self.until(lambda: len(self.observer.events) == 2)
        self.assertEqual(self.observer.events, ["found", "found"])

    async def test_call_fails(self) -> None:
        """When a call cannot reach Docker, it is looked for, and found or lost."""
        self.engine.watch(self.observer)
        await self.start()

        def fail(api, labels):
            raise EngineAway("Docker broke off.")

        self.patch(FakeApi, "containers", fail)
        self.away = "Docker is away."
        self.assertEqual(await self.fails(self.engine.list(), EngineAway), "Docker broke off.")
        await self.until(lambda: self.observer.events == ["found", ("lost", "Docker is away.")])
        self.assertEqual(await self.fails(self.engine.list(), EngineAway), "Docker is away.")

    async def test_misunderstood(self) -> None:
        """What nobody foresaw fails in words, is logged, and ends no thread."""
        self.engine.watch(self.observer)
        await self.start()
        self.docker.made["odd"] = {"Config": {"Labels": recipe.labels("odd.example", "me")}}
        self.assertIn("see the log", await self.fails(self.engine.list()))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.deaths[-1].items.put(self.event("odd"))
        await self.until(lambda: bool(self.observer.reasons))
        del self.docker.made["odd"]
        await self.until(lambda: self.observer.events[-1] == "found")
        self.assertTrue(self.flushLoggedErrors(KeyError))

    async def test_called_off(self) -> None:
        """Stopping calls off a start that waits for a pull."""
        pull = Slow()
        self.patch(FakeApi, "pull", lambda api, name: pull)
        self.docker.images.clear()
        self.engine.watch(self.observer)
        starting = self.start()
        await deferToThread(pull.read.wait, 10)
        await self.engine.stop(self.site, 1).addTimeout(10, reactor)
        self.assertIn("called off", await self.fails(starting))
        self.assertEqual(self.docker.made, {})

    async def test_cancelled(self) -> None:
        """A cancelled start fails at once; the next one waits for its thread."""
        pull = Slow()
        self.patch(FakeApi, "pull", lambda api, name: pull)
        images, self.docker.images = self.docker.images, {}
        self.engine.watch(self.observer)
        starting = self.start()
        await deferToThread(pull.read.wait, 10)
        starting.cancel()
        await self.fails(starting, CancelledError)
        self.docker.images = images
        self.assertTrue((await self.start()).running)
        self.assertTrue(pull.closed)

    async def test_closed_in_the_middle(self) -> None:
        """Closing ends what is under way, and is done when the threads are."""
        pull = Slow()
        self.patch(FakeApi, "pull", lambda api, name: pull)
        self.docker.images.clear()
        self.engine.watch(self.observer)
        starting = self.start()
        await deferToThread(pull.read.wait, 10)
        failing = self.fails(starting, EngineAway)
        await self.engine.close()
        await failing
        names = {thread.name for thread in threading.enumerate()}
        self.assertFalse([name for name in names if name.startswith("docker")])

    async def test_logs_cancelled(self) -> None:
        """Cancelling ends the thread that follows a log, and gives nothing more."""
        log = Slow()
        self.patch(FakeApi, "logs", lambda api, id, tail, follow: log)
        self.engine.watch(self.observer)
        await self.start()
        got = Gathered()
        following = self.engine.logs(self.site, 1, True, got)
        log.items.put(b"one")
        await got.until(b"one").addTimeout(10, reactor)
        following.cancel()
        await self.fails(following, CancelledError)
        self.assertTrue(log.closed)

    async def test_many_followers(self) -> None:
        """However many follow logs, calls go on."""
        self.patch(FakeApi, "logs", lambda api, id, tail, follow: Slow())
        self.engine.watch(self.observer)
        await self.start()
        following = [self.engine.logs(self.site, 1, True, Gathered()) for _ in range(20)]
        self.assertEqual(len(await self.engine.list()), 1)
        for each in following:
            each.addErrback(lambda _: None).cancel()

    async def test_progress_in_the_reactor(self) -> None:
        """Words of progress are told in the reactor's thread, and none after a cancelling."""
        self.engine.watch(self.observer)
        threads: list[threading.Thread] = []
        await self.start(lambda words: threads.append(threading.current_thread()))
        self.assertEqual(set(threads), {threading.current_thread()})
