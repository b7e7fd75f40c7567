"""Servers in containers: the threads with a Docker in memory, all of it with a real one."""

from __future__ import annotations

import os
import queue
import secrets
import subprocess
import sys
import threading
from collections.abc import Sequence

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from snickers.config.values import Container, Lifecycle
from snickers.containers import docker, recipe
from snickers.containers.docker import DockerEngine
from snickers.containers.dockerd import Dockerd
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.interfaces.engine import Address, Declared, Exit, Instance
from tests import docker_setup
from tests.docker_fake import FakeApi, FakeDocker
from tests.engine_contract import Gathered, RecordingObserver, engine_contract
from tests.registry_setup import Registry
from tests.test_process import ask, inside

SERVE = """
mkdir -p /www; echo $SITE > /www/asked
echo one; echo two; echo three
exec httpd -f -vv -p 80 -h /www
"""

COMMANDS = {
    "serves": ("sh", "-c", SERVE),
    "stubborn": ("sh", "-c", "trap '' TERM; " + SERVE),
    "other": ("sh", "-c", ": another; " + SERVE),
    "exits": ("sh", "-c", "exit 3"),
    "wrong": ("sh",),
}


class DockerFixture:
    """A `DockerEngine` that reaches Docker through a gate."""

    lasting = True
    lossy = True
    sole = False

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

    def command(self, does: str) -> Sequence[str]:
        return inside(does)

    def crash(self, instance: Instance) -> Deferred[None]:
        return deferToThread(docker_setup.client().kill, instance.id)

    def lose(self) -> object:
        return self.gate.close()

    def find(self) -> object:
        return self.gate.open()

    def wait(self, done, passing=0.0):
        return done.addTimeout(60, reactor)

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
        self.patch(FakeApi, "deaths", lambda api: self.listen())
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
        return self.engine.start(self.declared, words).addTimeout(60, reactor)

    def event(self, id: str) -> dict:
        attributes = {recipe.SITE: self.site, "exitCode": "9"}
        return {"Actor": {"ID": id, "Attributes": attributes}}

    def until(self, holds) -> Deferred[None]:
        return self.observer.until(holds).addTimeout(60, reactor)

    async def fails(self, done: Deferred, kind: type[Exception] = EngineFailed) -> str:
        try:
            await done.addTimeout(60, reactor)
        except kind as error:
            return str(error)
        raise self.failureException("It did not fail.")

    def test_nothing_made(self) -> None:
        """Before it is watched it has made no thread and no connection."""
        before = threading.active_count()
        DockerEngine(reactor, "me", "unix:///no/such/socket")
        self.assertEqual(threading.active_count(), before)

    def test_nothing_imported(self) -> None:
        """Where nothing is watched Docker's package, which is heavy, is not even imported."""
        program = "import sys, snickers.containers.docker; sys.exit('docker' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", program], check=False).returncode, 0)

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
        self.patch(FakeApi, "pull", lambda api, name, login=None: pull)
        self.docker.images.clear()
        self.engine.watch(self.observer)
        starting = self.start()
        await deferToThread(pull.read.wait, 10)
        await self.engine.stop(self.site, 1).addTimeout(60, reactor)
        self.assertIn("called off", await self.fails(starting))
        self.assertEqual(self.docker.made, {})

    async def test_cancelled(self) -> None:
        """A cancelled start fails at once; the next one waits for its thread."""
        pull = Slow()
        self.patch(FakeApi, "pull", lambda api, name, login=None: pull)
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
        self.patch(FakeApi, "pull", lambda api, name, login=None: pull)
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
        await got.until(b"one").addTimeout(60, reactor)
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

    def always(self, site: str = "") -> Deferred[Instance]:
        kind = Container("lamp:7", pull="always")
        declared = Declared(site or self.site, kind, "/data/x")
        return self.engine.start(declared, lambda words: None).addTimeout(60, reactor)

    async def test_newer_image(self) -> None:
        """A server that starts with what is here is told of a newer image when that has come, and
        that it runs from it, when it does."""
        self.docker.registry["lamp:7"] = "sha256:8"
        self.engine.watch(self.observer)
        await self.always()
        await self.until(lambda: bool(self.observer.notices))
        told = (self.site, docker.NEWER)
        self.assertEqual(self.observer.notices, [told])
        await self.always()  # It runs: nothing is to be looked for.
        await self.engine.stop(self.site, 1)
        instance = await self.always()
        self.assertEqual(instance.image, "sha256:8")
        self.assertEqual(self.observer.notices, [told, (self.site, "")])
        await self.engine.close()
        self.assertEqual(self.docker.calls.count("pull"), 2)

    async def test_newer_image_once(self) -> None:
        """However many sites start from one image, it is pulled once; each is told."""
        pull, pulls = Slow(), []
        self.patch(FakeApi, "pull", lambda api, name, login=None: pulls.append(name) or pull)
        self.engine.watch(self.observer)
        sites = [f"{number}.example" for number in range(5)]
        for site in (*sites, sites[0]):
            await self.engine.stop(site, 1)
            await self.always(site)
        self.docker.images["lamp:7"] = {"Id": "sha256:8", "Config": {}}
        pull.items.put(None)
        await self.until(lambda: len(self.observer.notices) == 5)
        self.assertEqual({site for site, _ in self.observer.notices}, set(sites))
        self.assertEqual(pulls, ["lamp:7"])

    async def test_newer_image_hangs(self) -> None:
        """A registry that says nothing does not keep other images from being looked for."""
        silent = Slow()
        self.patch(docker, "PULL_WITHIN", 0.2)
        self.patch(FakeApi, "pull", lambda api, name, login=None: silent)
        self.engine.watch(self.observer)
        await self.always()
        await self.until(lambda: bool(self.observer.notices))
        self.assertIn("called off", self.observer.notices[-1][1])
        self.assertTrue(silent.closed)

    async def test_newer_image_fails(self) -> None:
        """A registry that has trouble keeps nobody asleep; the trouble is told."""
        self.engine.watch(self.observer)
        self.assertTrue((await self.always()).running)
        await self.until(lambda: bool(self.observer.notices))
        ((site, words),) = self.observer.notices
        self.assertEqual(site, self.site)
        self.assertIn("has no such image", words)
        self.assertIn("The image that is here is used.", words)

    async def test_run_late(self) -> None:
        """A command that is not done in time fails then, and keeps no other call waiting."""
        written = Slow()
        self.patch(FakeApi, "run", lambda api, prepared: written)
        self.docker.ends = [{"Running": True, "ExitCode": None, "Pid": 0}]
        self.engine.watch(self.observer)
        await self.start()
        running = self.engine.run(self.site, ("snapshot",), 0.2)
        await deferToThread(written.read.wait, 10)
        self.assertEqual(len(await self.engine.list()), 1)
        self.assertIn("not done within 0.2 s", await self.fails(running))
        self.assertTrue(written.closed)


class RealDockerTests(TestCase):
    """What only a real Docker shows."""

    site = "alice.example"

    def setUp(self) -> None:
        self.image = docker_setup.image()
        self.owner = secrets.token_hex(8)
        self.folder = os.path.abspath(self.mktemp())
        self.engine = DockerEngine(reactor, self.owner, docker_setup.docker_url())
        self.observer = RecordingObserver()
        self.engine.watch(self.observer)
        self.addCleanup(deferToThread, docker_setup.remove_all, self.owner)
        self.addCleanup(self.engine.close)

    def declared(self, script: str = "exec sleep 60", site: str = "", **options) -> Declared:
        site = site or self.site
        options = {
            "image": self.image,
            "command": ("sh", "-c", script),
            "network": docker_setup.network(),
            "pull": "never",
            "life": Lifecycle(stop_within=1),
            **options,
        }
        return Declared(site, Container(**options), os.path.join(self.folder, site))

    def start(self, declared: Declared, words=lambda words: None) -> Deferred[Instance]:
        return self.engine.start(declared, words).addTimeout(60, reactor)

    async def said(self, declared: Declared) -> list[str]:
        """Start it and return the lines that it says until it ends."""
        await self.start(declared)
        got = Gathered()
        await self.engine.logs(declared.site, 100, True, got).addTimeout(60, reactor)
        return got.data.decode().splitlines()

    async def fails(self, declared: Declared) -> str:
        try:
            await self.start(declared)
        except EngineFailed as error:
            return str(error)
        raise self.failureException("It did not fail.")

    def ask_docker(self, verb: str, *arguments, **options) -> Deferred:
        """Call Docker past the engine."""
        return deferToThread(getattr(docker_setup.client(), verb), *arguments, **options)

    def networks(self) -> Deferred:
        """Fire with the networks that were made for this test."""
        return self.ask_docker("networks", filters={"label": f"{recipe.OWNER}={self.owner}"})

    async def test_cut_off(self) -> None:
        """One that is disconnected from its network while it runs is told of as ended, before its
        address can be another's; the next start makes it anew."""
        declared = self.declared(network="")
        first = await self.start(declared)
        (network,) = await self.networks()
        await self.ask_docker(
            "disconnect_container_from_network", first.id, network["Id"], force=True
        )
        await self.until(lambda: self.observer.exits)
        self.assertEqual([exit.id for exit in self.observer.exits], [first.id])
        again = await self.start(declared)
        self.assertNotEqual(again.id, first.id)
        self.assertIsNotNone(again.address)

    def until(self, holds) -> Deferred[None]:
        return self.observer.until(holds).addTimeout(60, reactor)

    async def test_confined(self) -> None:
        """Limits, user, capabilities, mounts and a read-only root are what the server finds."""
        os.makedirs(os.path.join(self.folder, "shared"))
        script = """
        id -u
        grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status | tr -d '\t'
        touch /new || echo no root
        touch /tmp/new && echo temporary
        touch /data/new && echo data
        touch /shared/new || echo no shared
        cat /proc/1/comm
        cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>&-
        cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>&-
        """
        declared = self.declared(
            script,
            user="lamp",
            read_only=True,
            capabilities=("CHOWN",),
            data="/data",
            volumes=(f"{self.folder}/shared:/shared:ro",),
            memory=32 << 20,
            pids=50,
        )
        os.makedirs(declared.data)
        os.chown(declared.data, 1234, 1234) if os.geteuid() == 0 else os.chmod(declared.data, 0o777)
        said = await self.said(declared)
        said = [line for line in said if not line.startswith("touch: ")]
        self.assertEqual(
            said,
            [
                *("1234", "CapEff:0000000000000000", "CapBnd:0000000000000001", "NoNewPrivs:1"),
                *("no root", "temporary", "data", "no shared"),
                *("docker-init", str(32 << 20), "50"),
            ],
        )

    async def test_out_of_memory(self) -> None:
        """A server that ends for want of memory is told so."""
        script = "dd if=/dev/zero of=/dev/null bs=64M count=1"
        await self.start(self.declared(script, memory=8 << 20))
        await self.observer.until(lambda: bool(self.observer.exits)).addTimeout(60, reactor)
        self.assertEqual([exit.out_of_memory for exit in self.observer.exits], [True])

    async def test_networks(self) -> None:
        """Sites have small networks of their own, from which they do not reach each other."""
        serve = "mkdir /www; echo hi > /www/x; exec httpd -f -p 80 -h /www"
        first = await self.start(self.declared(serve, network=""))
        address = first.address[0]
        (own,) = await self.networks()
        request = b"GET /x HTTP/1.0\r\n\r\n"
        self.assertIn(b"hi", await ask(first.address, request))
        script = f"""
        mkdir /www; echo hi > /www/x; httpd -p 80 -h /www
        mine=$(ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p')
        for host in 127.0.0.1 $mine {address}; do
            printf 'GET /x HTTP/1.0\\r\\n\\r\\n' | nc -w 2 $host 80 | grep hi || echo no way
        done
        """
        # It reaches itself, and who shares its network: so what it does not reach says something.
        for network, reached in (("", "no way"), (own["Name"], "hi")):
            said = await self.said(self.declared(script, "bob.example", network=network))
            said = [line for line in said if not line.startswith("nc: ")]
            self.assertEqual(said, ["hi", "hi", reached])
            await self.engine.remove("bob.example")
        (pool,) = own["IPAM"]["Config"]
        self.assertTrue(pool["Subnet"].startswith("10.213."))
        self.assertTrue(pool["Subnet"].endswith("/28"))
        await self.engine.remove(self.site)
        self.assertEqual(await self.networks(), [])

    async def test_ordinary(self) -> None:
        """What images do that begin as root works: give the folder away, become another user, be
        read by root all the same, listen on port 80; the rest of root's powers is not there."""
        script = """
        grep CapBnd /proc/self/status | tr -d '\t'
        touch /data/x && chown 1234:1234 /data/x && chmod 600 /data/x && cat /data/x && echo owns
        mkdir -m 1777 /tmp; su lamp -c 'id -u; sleep 60 & echo $! > /tmp/pid'
        kill $(cat /tmp/pid) && echo kills
        mkdir /www; httpd -p 80 -h /www && echo listens
        mknod /tmp/sda b 8 0 || echo makes none
        """
        declared = self.declared(script, data="/data")
        said = [line for line in await self.said(declared) if not line.startswith("mknod: ")]
        self.assertEqual(
            said, ["CapBnd:00000000000004fb", "owns", "1234", "kills", "listens", "makes none"]
        )

    async def test_folder_given(self) -> None:
        """A new folder is that of the user who is a number, who can write to it as it is."""
        if os.geteuid() != 0:
            raise SkipTest("Only root can give folders away.")
        script = "touch /data/x && stat -c '%u:%g %a' /data /data/x"
        said = await self.said(self.declared(script, data="/data", user="4321:4322"))
        self.assertEqual(said, ["4321:4322 700", "4321:4322 644"])

    async def test_docker_unreachable(self) -> None:
        """Docker's socket is in no container, and Docker listens at no address of its network."""
        script = """
        find / -xdev -name '*docker*.sock' -o -xdev -name 'containerd*.sock'
        grep -c docker.sock /proc/mounts
        gateway=$(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p')
        for port in 2375 2376; do nc -w 1 $gateway $port </dev/null && echo open; done
        echo $gateway
        """
        said = await self.said(self.declared(script, network=""))
        *said, gateway = [line for line in said if not line.startswith("nc: ")]
        self.assertEqual(said, ["0"])
        self.assertTrue(gateway.startswith("10.213."))

    async def test_bad_neighbours(self) -> None:
        """A fork bomb and one that wants all memory harm their own site alone."""
        serve = "mkdir /www; echo hi > /www/x; exec httpd -f -p 80 -h /www"
        bob = await self.start(self.declared(serve, "bob.example"))
        request = b"GET /x HTTP/1.0\r\n\r\n"
        bomb = "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done"
        little = {"pids": 64, "memory": 32 << 20, "cpus": 0.5}
        await self.start(self.declared(bomb, "carol.example", **little))
        hog = "x=xxxxxxxx; while :; do x=$x$x; done"
        alice = await self.start(self.declared(hog, **little))
        for _ in range(50):
            answer = await Deferred.fromCoroutine(ask(bob.address, request)).addTimeout(5, reactor)
            self.assertIn(b"hi", answer)

        def ended() -> bool:
            return self.site in [each.site for each in self.observer.exits]

        await self.observer.until(ended).addTimeout(60, reactor)
        (end,) = [each for each in self.observer.exits if each.site == self.site]
        self.assertEqual((end.id, end.out_of_memory), (alice.id, True))
        answer = await Deferred.fromCoroutine(ask(bob.address, request)).addTimeout(5, reactor)
        self.assertIn(b"hi", answer)
        await self.engine.stop("carol.example", 0.1).addTimeout(60, reactor)

    async def test_owners(self) -> None:
        """Two Snickers on one Docker know nothing of each other's servers, of one site even."""
        instance = await self.start(self.declared())
        other = DockerEngine(reactor, secrets.token_hex(8), docker_setup.docker_url())
        self.addCleanup(other.close)
        observer = RecordingObserver()
        other.watch(observer)
        self.assertEqual(await other.list(), [])
        await other.remove(self.site)
        self.assertTrue(await self.engine.healthy(instance))
        await self.engine.stop(self.site, 1)
        self.assertEqual(observer.exits, [])

    async def test_paused(self) -> None:
        """A container that somebody paused goes on when started, and ends when stopped."""
        instance = await self.start(self.declared())
        await self.ask_docker("pause", instance.id)
        self.assertEqual((await self.start(self.declared())).id, instance.id)
        await self.ask_docker("pause", instance.id)
        await self.engine.stop(self.site, 1)
        self.assertEqual([exit.id for exit in self.observer.exits], [instance.id])

    async def test_paused_silent(self) -> None:
        """A paused server takes connections and answers when it goes on: nothing is lost."""
        serve = "mkdir /www; echo hi > /www/x; exec httpd -f -p 80 -h /www"
        instance = await self.start(self.declared(serve))
        request = b"GET /x HTTP/1.0\r\n\r\n"
        self.assertIn(b"hi", await ask(instance.address, request))
        await self.engine.pause(self.site)
        asked = Deferred.fromCoroutine(ask(instance.address, request))
        await deferLater(reactor, 0.1)
        self.assertNoResult(asked)
        await self.engine.resume(self.site)
        self.assertIn(b"hi", await asked.addTimeout(60, reactor))

    async def test_run_as_the_server(self) -> None:
        """A command is run as the server's user, with its environment, and as confined."""
        declared = self.declared(user="lamp", environment=(("TITLE", "Alice"),))
        await self.start(declared)
        script = "id -u; echo $TITLE; grep NoNewPrivs /proc/self/status"
        ran = await self.engine.run(self.site, ("sh", "-c", script), 20)
        self.assertEqual(ran.output.split(), ["1234", "Alice", "NoNewPrivs:", "1"])

    async def test_run_killed(self) -> None:
        """A command that takes too long is killed with its children, where Docker is here."""
        if os.geteuid() != 0:
            raise SkipTest("Only root may kill what runs in containers.")
        await self.start(self.declared())
        script = "sleep 4321 & sleep 4321"
        try:
            await self.engine.run(self.site, ("sh", "-c", script), 0.5)
        except EngineFailed as error:
            self.assertIn("was killed", str(error))
        else:
            self.fail("It did not fail.")
        ran = await self.engine.run(self.site, ("sh", "-c", "ps | grep '[s]leep 4321'"), 20)
        self.assertEqual(ran.output, "")

    async def test_load(self) -> None:
        """What a server uses of the processor grows, and begins anew with each start."""
        burn = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; echo burnt; exec sleep 60"
        declared = self.declared(burn)
        await self.start(declared)
        got = Gathered()
        following = self.engine.logs(self.site, 1, True, got)
        await got.until(b"burnt").addTimeout(60, reactor)
        following.addErrback(lambda _: None).cancel()
        used = (await self.engine.loads())[self.site].processor
        self.assertGreater(used, 0.02)
        await self.start(self.declared())
        self.assertLess((await self.engine.loads())[self.site].processor, used)

    async def test_traffic(self) -> None:
        """What goes over a server's network is counted, whoever sends it."""
        instance = await self.start(self.declared(SERVE))
        assert instance.address is not None
        before = (await self.engine.loads())[self.site].traffic
        assert before is not None
        request = b"GET /asked HTTP/1.0\r\nX: " + b"x" * 5000 + b"\r\n\r\n"
        await Deferred.fromCoroutine(ask(instance.address, request))
        after = (await self.engine.loads())[self.site].traffic
        assert after is not None
        self.assertGreater(after - before, 5000)

    async def test_removed_by_hand(self) -> None:
        """A container that somebody removed is told to have ended, and made again."""
        instance = await self.start(self.declared())
        await self.ask_docker("remove_container", instance.id, force=True)
        await self.observer.until(lambda: bool(self.observer.exits)).addTimeout(60, reactor)
        self.assertEqual(self.observer.exits, [Exit(self.site, instance.id, 137)])
        self.assertNotEqual((await self.start(self.declared())).id, instance.id)

    async def test_network_removed_by_hand(self) -> None:
        """A stopped container whose network somebody removed is made again."""
        declared = self.declared(network="")
        instance = await self.start(declared)
        await self.engine.stop(self.site, 1)
        (network,) = await self.networks()
        await self.ask_docker("remove_network", network["Id"])
        self.assertNotEqual((await self.start(declared)).id, instance.id)
        self.assertEqual(len(await self.engine.list()), 1)

    async def test_health(self) -> None:
        """The check of an image is asked."""
        name = f"snickers-test:health-{self.owner}"
        check = 'HEALTHCHECK --interval=50ms CMD ["test", "-e", "/tmp/well"]'
        await deferToThread(docker_setup.make_image, name, check)
        self.addCleanup(deferToThread, docker_setup.remove_all, self.owner)
        script = "mkdir -p /tmp; sleep 0.3; touch /tmp/well; exec sleep 60"
        instance = await self.start(self.declared(script, image=name))
        self.assertFalse(await self.engine.healthy(instance))
        states = []
        while not await self.engine.healthy(instance).addTimeout(60, reactor):
            states.append(await deferLater(reactor, 0.05))
            self.assertLess(len(states), 400)

    async def test_no_command(self) -> None:
        """A command that is not in the image ends at once, and the log names it."""
        said = await self.said(self.declared(command=("no-such-program",)))
        self.assertIn("no-such-program", said[-1])
        await self.observer.until(lambda: bool(self.observer.exits)).addTimeout(60, reactor)
        self.assertEqual([exit.code for exit in self.observer.exits], [127])

    async def test_words(self) -> None:
        """What is wrong is said in words that name it."""
        missing = f"{self.folder}/missing"
        for options, words in (
            ({"volumes": (f"{missing}:/x",)}, missing),
            ({"user": "nobody-such"}, "nobody-such"),
            ({"network": "snickers-no-such"}, "network = snickers-no-such"),
            ({"memory": 1024}, "memory"),
            ({"image": "snickers-test:no-such"}, "image = snickers-test:no-such"),
        ):
            self.assertIn(words.lower(), (await self.fails(self.declared(**options))).lower())
        self.assertEqual(await self.engine.list(), [])

    async def test_led_to_the_socket(self) -> None:
        """A volume that leads, by a link, to Docker's own socket is not given away, at no start."""
        folder = os.path.join(os.path.abspath(self.folder), "linked")
        os.makedirs(folder)
        declared = self.declared("sleep 1000", volumes=(f"{folder}:/x",))
        first = await self.start(declared)
        await self.engine.stop(self.site, 1)
        os.rename(folder, folder + ".was")
        os.symlink(os.path.dirname(docker_setup.docker_url().removeprefix("unix://")), folder)
        self.assertIn("holds Docker's own socket", await self.fails(declared))
        second = await self.start(self.declared("sleep 1000"))
        with self.assertRaises(EngineFailed) as failed:
            await self.engine.revert(self.site, first.id, lambda words: None)
        self.assertIn("holds Docker's own socket", str(failed.exception))
        self.assertEqual(
            [(each.id, each.running) for each in await self.engine.list()],
            [(second.id, True), (first.id, False)],
        )

    async def test_labels_of_an_image(self) -> None:
        """What an image says of itself makes its container no part of another site's."""
        name = f"snickers-test:labels-{docker_setup.RUN}"
        labels = ("project=x", "service=web", "answers=web", "lasting=web", "site=other.example")
        changes = [f"LABEL io.snickers.{label}" for label in labels]
        await deferToThread(docker_setup.make_image, name, *changes)
        self.addCleanup(docker_setup.remove_image, name)
        instance = await self.start(self.declared("sleep 1000", image=name))
        self.assertEqual(await self.engine.list(), [instance])
        self.assertEqual(instance.site, self.site)
        await self.engine.stop(self.site, 1)
        self.assertEqual(
            (await self.start(self.declared("sleep 1000", image=name))).id, instance.id
        )

    async def test_pulled(self) -> None:
        """Images come from a registry; one that is away keeps nobody asleep."""
        registry = Registry(self.mktemp())
        self.addCleanup(registry.stop)
        name = registry.name("lamp:1")
        self.addCleanup(deferToThread, docker_setup.remove_all, self.owner)

        def publish(version: str) -> None:
            docker_setup.make_image(name, f"LABEL version={version}")
            docker_setup.client().push(name)
            docker_setup.remove_image(name)

        async def runs(pull: str) -> str:
            await self.engine.stop(self.site, 1)
            instance = await self.start(self.declared(image=name, pull=pull), words.append)
            found = await self.ask_docker("inspect_container", instance.id)
            image = await self.ask_docker("inspect_image", found["Image"])
            self.assertIn(instance.image, image["RepoDigests"])
            return found["Config"]["Labels"]["version"]

        def noticed() -> Deferred[None]:
            before = len(self.observer.notices)
            notices = self.observer.notices
            until = self.observer.until(lambda: any(words for _, words in notices[before:]))
            return until.addTimeout(60, reactor)

        words: list[str] = []
        self.assertIn(name, await self.fails(self.declared(image=name, pull="missing")))
        await deferToThread(registry.start)
        await deferToThread(publish, "1")
        self.assertEqual(await runs("missing"), "1")
        self.assertEqual(
            [word.partition(":")[0] for word in words], ["pulling 127.0.0.1", "starting"]
        )
        await deferToThread(publish, "2")
        self.assertEqual(await runs("missing"), "1")
        noticing = noticed()
        self.assertEqual(await runs("always"), "1")
        await noticing
        self.assertEqual(self.observer.notices[-1], (self.site, docker.NEWER))
        self.assertEqual(await runs("missing"), "2")
        await deferToThread(registry.stop)
        noticing = noticed()
        self.assertEqual(await runs("always"), "2")
        await noticing
        self.assertIn("cannot be reached from where Docker runs", self.observer.notices[-1][1])
        self.assertIn("The image that is here is used.", self.observer.notices[-1][1])

    async def test_disk_full(self) -> None:
        """Where an image has no room it is said what is full, and the old one runs on."""
        registry = Registry(self.mktemp())
        self.addCleanup(registry.stop)
        name = registry.name("lamp:1")
        await deferToThread(registry.start)

        def publish(size: int) -> None:
            docker_setup.make_image(name, size=size)
            docker_setup.client().push(name)
            docker_setup.remove_image(name)

        await deferToThread(publish, 0)
        full = docker_setup.full_docker(16 << 20)
        url = await deferToThread(full.__enter__)
        self.addCleanup(deferToThread, full.__exit__, None, None, None)
        engine = DockerEngine(reactor, self.owner, url)
        self.addCleanup(engine.close)
        observer = RecordingObserver()
        engine.watch(observer)
        declared = self.declared(image=name, network="none", pull="always")
        first = await engine.start(declared, lambda words: None).addTimeout(60, reactor)
        await deferToThread(publish, 24 << 20)
        await engine.stop(self.site, 1)
        await engine.start(declared, lambda words: None).addTimeout(60, reactor)
        await observer.until(lambda: bool(observer.notices)).addTimeout(60, reactor)
        self.assertIn("disk that Docker keeps images on is full", observer.notices[-1][1])
        self.assertIn("The image that is here is used.", observer.notices[-1][1])
        (instance,) = await engine.list()
        self.assertEqual((instance.running, instance.image), (True, first.image))
        await engine.remove(self.site)

    async def test_private_registry(self) -> None:
        """A registry that asks who one is gets the login of `registry auth`; a wrong one, none and
        a wrong name are told apart as far as registries do."""
        login = {"username": "alice", "password": "hunter2"}
        registry = Registry(self.mktemp(), login)
        self.addCleanup(registry.stop)
        name = registry.name("team/lamp:1")
        await deferToThread(registry.start)
        await deferToThread(docker_setup.make_image, name)
        await self.ask_docker("push", name, auth_config=login)
        await deferToThread(docker_setup.remove_image, name)
        self.addCleanup(deferToThread, docker_setup.remove_all, self.owner)
        path = os.path.join(os.path.dirname(self.folder), "login")

        def write(text: str) -> None:
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            os.chmod(path, 0o600)

        options = {"image": name, "pull": "missing"}
        self.assertIn("without a login (registry auth)", await self.fails(self.declared(**options)))
        options["registry_auth"] = path
        write("alice:wrong")
        words = await self.fails(self.declared(**options))
        self.assertIn(f"the login in {path}", words)
        self.assertNotIn("wrong", words)
        write("alice:hunter2")
        os.chmod(path, 0o644)
        self.assertIn(f"chmod 600 {path}", await self.fails(self.declared(**options)))
        os.chmod(path, 0o600)
        other = await self.fails(self.declared(**{**options, "image": registry.name("lamp:9")}))
        self.assertIn("has no such image", other)
        instance = await self.start(self.declared(**options))
        self.assertTrue(instance.image.startswith(name.rpartition(":")[0] + "@sha256:"))
