"""Sites of several containers: the engine over the real compose tool and a real Docker."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from unittest import SkipTest

import docker
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers.config.values import Container, Lifecycle
from snickers.containers import compose, composetool, composition, recipe, subnets
from snickers.containers.docker import DockerEngine
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Abandoned, Errand
from snickers.interfaces.engine import Address, Declared, Exit, Instance
from tests import docker_setup
from tests.docker_fake import FakeApi, FakeDocker
from tests.engine_contract import Gathered, RecordingObserver, engine_contract
from tests.test_process import ask, inside

FILE = """
services:
  web:
    image: {image}
    command: ["sh", "-c", {command}]
    environment: [SITE]
    depends_on: [db]
  db:
    image: {base}
    command: httpd -f -p 5432 -h /bin
"""
SERVE = (
    "mkdir -p /www; echo $$SITE > /www/asked; "
    "until echo | nc db 5432 > /dev/null; do true; done; "
    "echo one; echo two; echo three; exec httpd -f -vv -p 80 -h /www"
)
COMMANDS = {
    "serves": SERVE,
    "other": "true; " + SERVE,
    "stubborn": "trap '' TERM; " + SERVE,
    "exits": "exit 3",
    "wrong": "true",
}


def tool() -> str:
    """Return the compose tool, or skip the test."""
    found = composetool.find(os.environ)
    if found is None:
        raise SkipTest("Docker's compose tool is not installed.")
    return found


class ComposeFixture:
    """A `DockerEngine` whose sites have a database, that reaches Docker through a gate."""

    lasting = True
    lossy = True
    sole = True

    def __init__(self, case: TestCase) -> None:
        tool()
        self.image = docker_setup.image()
        self.owner = secrets.token_hex(8)
        self.folder = os.path.abspath(case.mktemp())
        self.gate = docker_setup.Gate()
        self.engines: list[DockerEngine] = []

    def engine(self) -> DockerEngine:
        engine = DockerEngine(reactor, self.owner, self.gate.url)
        self.engines.append(engine)
        return engine

    def declared(self, site: str, does: str, text: str = FILE) -> Declared:
        image = "snickers-test:no-such" if does == "wrong" else self.image
        kind = Container(
            services="/srv/compose.yaml",
            service="web",
            composition=text.format(image=image, base=self.image, command=repr(COMMANDS[does])),
            environment=(("SITE", site),),
            network=docker_setup.network(),
            pull="never",
            life=Lifecycle(stop_within=1),
        )
        return Declared(site, kind, os.path.join(self.folder, site))

    def ask(self, address: Address, instance: Instance) -> Deferred[bytes]:
        return Deferred.fromCoroutine(ask(address, b"GET /asked HTTP/1.0\r\n\r\n"))

    def command(self, does: str) -> Sequence[str]:
        return inside(does)

    def crash(self, instance: Instance) -> Deferred[None]:
        return deferToThread(docker_setup.client().kill, instance.id)

    def lose(self) -> object:
        return self.gate.close()

    def find(self) -> object:
        return self.gate.open()

    def wait(self, done, passing=0.0):
        return done.addTimeout(120, reactor)

    async def end(self) -> None:
        for engine in self.engines:
            await engine.close()
        await deferToThread(docker_setup.remove_all, self.owner)
        await self.gate.remove()

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.end())


class ComposeEngineContract(engine_contract(ComposeFixture)):
    """The engine with services keeps the contract of all engines."""

    timeout = 600


SEVERAL = """
services:
  web:
    image: {image}
    command: ["sh", "-c", {command}]
    environment: [SITE]
    depends_on:
      db: {{condition: service_started}}
      init: {{condition: service_completed_successfully}}
    volumes: ["./www:/kept"]
    networks: [default, back]
  init:
    image: {base}
    command: sh -c 'echo once >> /shared/once'
    volumes: ["shared:/shared"]
  db:
    image: {base}
    command: sh -c 'echo a database; echo more > /data/more; exec httpd -f -p 5432 -h /bin'
    volumes: ["shared:/shared", "./db:/data"]
    mem_limit: 64m
    cap_add: [NET_RAW]
volumes:
  shared:
networks:
  back: {{internal: true}}
"""


class SeveralTests(TestCase):
    """What only a site of several containers has."""

    timeout = 600

    def setUp(self) -> None:
        # A volume has the site's name, whoever else runs these tests with this Docker.
        self.site = f"{secrets.token_hex(4)}.example"
        self.fixture = ComposeFixture(self)
        self.addCleanup(self.remove_volume)
        self.addCleanup(self.fixture.close)
        self.engine = self.fixture.engine()
        self.observer = RecordingObserver()
        self.engine.watch(self.observer)
        self.words: list[str] = []

    def remove_volume(self) -> None:
        try:
            docker_setup.client().remove_volume(f"snickers-{self.site}_shared")
        except docker.errors.APIError:
            pass  # It was never made.

    def declared(self, text: str = SEVERAL, does: str = "serves", network: bool = True) -> Declared:
        declared = self.fixture.declared(self.site, does, text)
        if network:
            return declared
        return evolve(declared, kind=evolve(declared.kind, network=""))

    async def start(self, declared: Declared | None = None, fresh: bool = False) -> Instance:
        starting = self.engine.start(declared or self.declared(), self.words.append, fresh)
        return await self.fixture.wait(starting)

    async def fails(self, done: Deferred) -> str:
        try:
            await self.fixture.wait(done)
        except EngineFailed as error:
            return str(error)
        raise self.failureException("It did not fail.")

    def containers(self) -> dict[str, dict]:
        """All that are there, by their services; of two the one that runs."""
        client = docker_setup.client()
        mine = {"label": f"{recipe.OWNER}={self.fixture.owner}"}
        found = []
        for each in client.containers(all=True, filters=mine):
            try:
                found.append(client.inspect_container(each["Id"]))
            except docker.errors.NotFound:
                pass  # Removed meanwhile.
        found.sort(key=lambda each: each["State"]["Running"])
        return {each["Config"]["Labels"][composition.SERVICE]: each for each in found}

    def networks(self) -> list[dict]:
        """Those that were made for the site."""
        mine = {"label": f"{recipe.OWNER}={self.fixture.owner}"}
        return docker_setup.client().networks(filters=mine)

    def running(self) -> set[str]:
        return {name for name, each in self.containers().items() if each["State"]["Running"]}

    async def until(self, holds) -> None:
        for _ in range(300):
            if holds():
                return
            await deferLater(reactor, 0.1)
        raise self.failureException("It never came about.")

    async def test_made(self) -> None:
        """All are made as the file and the site say, in order; each finds the others by name."""
        instance = await self.start(self.declared(network=False))
        self.assertEqual(self.running(), {"web", "db"})
        made = self.containers()
        self.assertEqual(instance.id, made["web"]["Id"])
        for service in made.values():
            host = service["HostConfig"]
            self.assertIn("no-new-privileges:true", host["SecurityOpt"])
            self.assertEqual((host["CapDrop"], host["PidsLimit"]), (["ALL"], 512))
            self.assertEqual(host["RestartPolicy"]["Name"], "no")
            self.assertFalse(host["PortBindings"])
            self.assertEqual(host["LogConfig"]["Config"]["max-size"], "10m")
        self.assertEqual(made["db"]["HostConfig"]["Memory"], 64 << 20)
        self.assertEqual(made["web"]["HostConfig"]["Memory"], 1 << 30)
        added = {name.removeprefix("CAP_") for name in made["db"]["HostConfig"]["CapAdd"]}
        self.assertIn("NET_RAW", added)
        name, owner = f"snickers-{self.site}", self.fixture.owner[:6]
        joined = {one: set(made[one]["NetworkSettings"]["Networks"]) for one in ("web", "db")}
        self.assertEqual(joined["web"], {f"{name}.{owner}", f"{name}_back.{owner}"})
        self.assertEqual(joined["db"], {f"{name}.{owner}"})
        with open(os.path.join(self.fixture.folder, self.site, "db", "more")) as file:
            self.assertEqual(file.read(), "more\n")
        self.assertTrue(any("db: " in word for word in self.words), self.words)
        await self.fixture.wait(self.engine.remove(self.site))
        mine = {"label": f"{recipe.OWNER}={self.fixture.owner}"}
        self.assertEqual(docker_setup.client().networks(filters=mine), [])

    async def test_proxies(self) -> None:
        """Variables that would send the tool itself elsewhere get to the containers, in whichever
        way the file hands them on."""
        text = FILE.replace("[SITE]", "[SITE, HTTP_PROXY, 'OTHER=$no_proxy-${{TMPDIR:-none}}']")
        declared = self.declared(text)
        more = {"HTTP_PROXY": "http://127.0.0.1:1/$x", "no_proxy": "a$b", "TMPDIR": "/none"}
        environment = tuple({**dict(declared.kind.environment), **more}.items())
        await self.start(evolve(declared, kind=evolve(declared.kind, environment=environment)))
        found = self.containers()["web"]["Config"]["Env"]
        self.assertIn("HTTP_PROXY=http://127.0.0.1:1/$x", found)
        self.assertIn("OTHER=a$b-/none", found)
        self.assertFalse([each for each in found if "ASIDE" in each])

    async def test_part_ends(self) -> None:
        """When one of them ends the site has ended, that one is named, and the others end, too;
        the next start is one of all."""
        instance = await self.start()
        docker_setup.client().kill(self.containers()["db"]["Id"])
        await self.fixture.wait(self.observer.until(lambda: bool(self.observer.exits)))
        self.assertEqual(self.observer.exits, [Exit(self.site, instance.id, 137, part="db")])
        await self.until(lambda: not self.running())
        got = Gathered()
        await self.fixture.wait(self.engine.logs(self.site, 100, False, got))
        self.assertIn(b"\ndb | a database\n", b"\n" + got.data)
        self.assertIn(b"\nthree\n", b"\n" + got.data)
        again = await self.start()
        self.assertEqual((again.id, again.running), (instance.id, True))
        self.assertEqual(self.running(), {"web", "db"})
        self.assertEqual(len(self.observer.exits), 1)

    async def test_part_removed(self) -> None:
        """One that somebody removes has ended; it is made again."""
        instance = await self.start()
        docker_setup.client().remove_container(self.containers()["db"]["Id"], force=True)
        await self.fixture.wait(self.observer.until(lambda: bool(self.observer.exits)))
        self.assertEqual(self.observer.exits, [Exit(self.site, instance.id, 137, part="db")])
        again = await self.start()
        self.assertTrue(again.running)
        self.assertEqual(self.running(), {"web", "db"})

    async def test_done(self) -> None:
        """One that others wait for to end may end: the site goes on; if it fails, nothing starts,
        and what it said is told."""
        await self.start()
        self.assertEqual(self.observer.exits, [])
        self.assertEqual(self.containers()["init"]["State"]["ExitCode"], 0)
        bad = SEVERAL.replace("echo once >> /shared/once", "echo no room; exit 4")
        words = await self.fails(self.engine.start(self.declared(bad), self.words.append))
        self.assertIn("init said at last: no room", words)
        self.assertEqual(self.running(), set())
        got = Gathered()
        await self.fixture.wait(self.engine.logs(self.site, 100, False, got))
        self.assertIn(b"init | no room\n", got.data)

    async def test_left_over(self) -> None:
        """What runs on of a site that does not run, as an end in the middle leaves it, is ended
        when Snickers comes back."""
        instance = await self.start()
        await self.fixture.wait(self.engine.close())
        docker_setup.client().kill(instance.id)
        self.assertEqual(self.running(), {"db"})
        self.engine = self.fixture.engine()
        self.engine.watch(RecordingObserver())
        (listed,) = await self.fixture.wait(self.engine.list())
        self.assertFalse(listed.running)
        await self.until(lambda: not self.running())

    async def test_newer_image(self) -> None:
        """Fresh, those of newer images are made, and not fresh none; what they keep stays, and
        what was before comes back with its images."""
        name = f"snickers-test:several-{docker_setup.RUN}"
        docker_setup.make_image(name)
        self.addCleanup(docker_setup.remove_image, name)
        declared = self.declared(SEVERAL.replace("{base}", name))
        first = await self.start(declared)
        image = self.containers()["db"]["Image"]
        docker_setup.make_image(name, "LABEL release=2")
        self.assertEqual(await self.start(declared), first)
        preparing = self.engine.prepare(declared, True, self.words.append)
        self.assertTrue(await self.fixture.wait(preparing))
        second = await self.start(declared, True)
        self.assertNotEqual(second.id, first.id)
        self.assertEqual(await self.start(declared, True), second)
        self.assertNotEqual(self.containers()["db"]["Image"], image)
        back = await self.fixture.wait(self.engine.revert(self.site, first.id, self.words.append))
        self.assertEqual(back.id, first.id)
        self.assertEqual(self.containers()["db"]["Image"], image)
        inside = ["sh", "-c", "cat /kept/it; echo it > /kept/it"]
        await self.fixture.wait(self.engine.run(self.site, inside, 10))
        await self.start(declared, True)
        self.assertEqual(
            (await self.fixture.wait(self.engine.run(self.site, inside, 10))).output, "it"
        )

    async def test_from_one_container(self) -> None:
        """A site that had one container gets several, and goes back to the one."""
        kind = Container(
            self.fixture.image,
            ("httpd", "-f", "-p", "80", "-h", "/bin"),
            network=docker_setup.network(),
            life=Lifecycle(stop_within=1),
        )
        alone = Declared(self.site, kind, os.path.join(self.fixture.folder, self.site))
        first = await self.start(alone)
        second = await self.start()
        self.assertEqual([exit.id for exit in self.observer.exits], [first.id])
        back = await self.fixture.wait(self.engine.revert(self.site, first.id, self.words.append))
        self.assertEqual(back.id, first.id)
        self.assertEqual(await self.fixture.wait(self.engine.list()), [back])
        self.assertNotEqual(second.id, first.id)

    async def test_led_astray(self) -> None:
        """A folder of the site's own that has become a link out of it is not given away."""
        await self.start()
        await self.fixture.wait(self.engine.stop(self.site, 1))
        folder = os.path.join(self.fixture.folder, self.site, "db")
        os.rename(folder, folder + ".was")
        os.symlink("/", folder)
        words = await self.fails(self.engine.start(self.declared(), self.words.append))
        self.assertIn("leads out of the site's own folder", words)
        self.assertEqual(self.running(), set())

    async def test_volume_led_astray(self) -> None:
        """Nor is one that a volume stands for, whether the volume is there already or not."""
        own = os.path.join(self.fixture.folder, self.site)
        os.makedirs(os.path.join(own, "kept"))
        text = (
            FILE + "    volumes: ['bound:/kept']\n"
            "volumes: {{bound: {{driver_opts: "
            "{{type: none, o: bind, device: '${{SNICKERS_DATA}}/kept'}}}}}}\n"
        )
        await self.start(self.declared(text))
        await self.fixture.wait(self.engine.stop(self.site, 1))
        os.rmdir(os.path.join(own, "kept"))
        os.symlink("/", os.path.join(own, "kept"))
        for again in (False, True):
            words = await self.fails(self.engine.start(self.declared(text), self.words.append))
            self.assertIn("leads out of the site's own folder", words)
            self.assertEqual(self.running(), set())
            if not again:
                await self.fixture.wait(self.engine.remove(self.site))

    async def test_refused(self) -> None:
        """What only the tool can know is looked at, too: nothing of it is made."""
        text = "x-a: &a {{pid: host}}\n" + SEVERAL.replace(
            "    mem_limit", "    <<: *a\n    mem_limit"
        )
        words = await self.fails(self.engine.start(self.declared(text), self.words.append))
        self.assertIn("services.db.pid: host", words)
        words = await self.fails(
            self.engine.start(self.declared(SEVERAL + "nonsense: 1\n"), self.words.append)
        )
        self.assertIn("the compose tool does not take it", words)
        self.assertEqual(self.containers(), {})

    async def test_out_of_bounds(self) -> None:
        """No way of writing it gives Docker's socket away, nor a link that leads there, nor a path
        that the tool would read anew as another one: nothing of it is made."""
        socket = self.fixture.gate.path
        link = os.path.abspath(self.mktemp())
        os.symlink(os.path.dirname(socket), link)
        for source, words in (
            (f"/{socket}", "holds Docker's own socket"),
            (f"/$${{X-..{socket}}}", "is read as a variable by this compose tool"),
            (f"/proc/self/root{socket}", "is a door to all processes of this host"),
            (link, "holds Docker's own socket"),
        ):
            given = source.replace("{", "{{").replace("}", "}}")
            declared = self.declared(FILE + f"    volumes: ['{given}:/s']\n")
            try:
                await self.start(declared)
            except EngineFailed as failed:
                self.assertIn(words, str(failed))
                self.assertEqual(self.running(), set(), source)
                continue
            # A newer tool keeps the $ that was doubled: that is a folder of an odd name.
            self.assertIn("$", source)
            self.addCleanup(shutil.rmtree, "/${X-..", True)
            mounts = [mount for each in self.containers().values() for mount in each["Mounts"]]
            self.assertIn(f"/${{X-..{socket}}}", [os.path.normpath(m["Source"]) for m in mounts])
            self.assertNotIn(os.path.realpath(socket), [m["Source"] for m in mounts])
            await self.fixture.wait(self.engine.remove(self.site))

    async def test_network_gone(self) -> None:
        """A network that was removed while the site slept, as `docker network prune` does, is made
        again, and what the services keep stays."""
        declared = self.declared(network=False)
        await self.start(declared)
        inside = ["sh", "-c", "echo it > /kept/it"]
        await self.fixture.wait(self.engine.run(self.site, inside, 10))
        await self.fixture.wait(self.engine.stop(self.site, 1))
        for network in self.networks():
            docker_setup.client().remove_network(network["Id"])
        again = await self.start(declared)
        self.assertTrue(again.running)
        self.assertEqual(self.running(), {"web", "db"})
        self.assertEqual(await self.fixture.wait(self.engine.list()), [again])
        inside = ["sh", "-c", "cat /kept/it"]
        ran = await self.fixture.wait(self.engine.run(self.site, inside, 10))
        self.assertEqual(ran.output.strip(), "it")

    async def test_many(self) -> None:
        """More services than a site's network has addresses for get a larger one."""
        self.patch(subnets, "PREFIX", 30)
        alone = "services: {{web: {{image: {base}, command: httpd -f -p 80 -h /bin}}}}"
        kind = self.declared(alone, network=False).kind
        await self.start(evolve(self.declared(), kind=evolve(kind, environment=())))
        await self.start(self.declared(FILE, network=False))
        self.assertEqual(self.running(), {"web", "db"})
        self.assertEqual(len(self.networks()), 2)
        await self.fixture.wait(self.engine.remove(self.site))
        self.assertEqual(self.networks(), [])

    async def test_tool_does_nothing(self) -> None:
        """A tool that says it is done and has done nothing is not believed: what runs stays."""
        first = await self.start()
        folder = os.path.abspath(self.mktemp())
        os.makedirs(folder)
        path = os.path.join(folder, "docker-compose")
        real = tool()
        with open(path, "w") as file:
            file.write(f'#!/bin/sh\ncase "$*" in *" config") exec {real} "$@";; esac\nexit 0\n')
        os.chmod(path, 0o755)
        self.patch(composetool, "find", lambda environment: path)
        words = await self.fails(
            self.engine.start(self.declared(SEVERAL + "x-more: 1\n", "other"), self.words.append)
        )
        self.assertIn("says that it has made them all, and there is no db", words)
        (listed,) = await self.fixture.wait(self.engine.list())
        self.assertEqual((listed.id, listed.running), (first.id, True))

    async def test_tool_hangs(self) -> None:
        """A tool that hangs while it is to end them is ended itself, and they are."""
        await self.start()
        folder = os.path.abspath(self.mktemp())
        os.makedirs(folder)
        path = os.path.join(folder, "docker-compose")
        with open(path, "w") as file:
            file.write("#!/bin/sh\nsleep 1000\n")
        os.chmod(path, 0o755)
        self.patch(composetool, "find", lambda environment: path)
        self.patch(compose, "SPARE", 0.5)
        await self.fixture.wait(self.engine.stop(self.site, 1))
        self.assertEqual(self.running(), set())

    async def test_labels_changed(self) -> None:
        """Without the container that answers nothing can be started again; it is made anew."""
        first = await self.start()
        await self.fixture.wait(self.engine.stop(self.site, 1))
        docker_setup.client().remove_container(first.id)
        again = await self.start()
        self.assertNotEqual(again.id, first.id)
        self.assertEqual(self.running(), {"web", "db"})

    async def test_called_off(self) -> None:
        """A start that waits for a service is called off by a stop: nothing of it runs."""
        text = SEVERAL.replace("echo once >> /shared/once", "sleep 1000")
        starting = self.engine.start(self.declared(text), self.words.append)
        await self.until(lambda: "init" in self.containers() and "init" in self.running())
        await self.fixture.wait(self.engine.stop(self.site, 1))
        self.assertIn("called off", await self.fails(starting))
        await self.until(lambda: not self.running())

    async def test_followed(self) -> None:
        """The lines of all are followed, those of the others with their service's name."""
        await self.start()
        got = Gathered()
        following = self.engine.logs(self.site, 10, True, got)
        await self.fixture.wait(got.until(b"db | a database\n"))
        await self.fixture.wait(got.until(b"three\n"))
        await self.fixture.wait(self.engine.stop(self.site, 1))
        await self.fixture.wait(following)


class FreshTests(SynchronousTestCase):
    """Images that are looked for anew, with a Docker in memory."""

    def test_made_here(self) -> None:
        """No registry is asked for one that was built here: it could have a stranger's of that
        name. Those that came from one are."""
        docker = FakeDocker()
        docker.images["pulled:1"] = {"Id": "sha256:1", "RepoDigests": ["pulled@sha256:a"]}
        docker.registry = {"lamp:7": "sha256:strange", "pulled:1": "sha256:2"}
        engine = compose.Composed(
            FakeApi(docker), "me", "10.213.0.0/16", composetool.Tool("unix:///nowhere", {})
        )
        resolved = {"services": {"web": {"image": "lamp:7"}, "db": {"image": "pulled:1"}}}
        kind = Container(services="/srv/compose.yaml", service="web")
        found = engine._images(kind, resolved, True, Errand())
        self.assertEqual(
            {name: image.id for name, image in found.items()}, {"web": "sha256:7", "db": "sha256:2"}
        )


class DeadTool:
    """A compose tool that does nothing but what a test has it do."""

    def __init__(self, does: Callable[[], object] = lambda: None) -> None:
        self.does = does

    def run(self, *arguments: object, **more: object) -> composetool.Ended:
        self.does()
        return composetool.Ended(0, "", ())


class RestTests(SynchronousTestCase):
    """What is left of a server ends, with a Docker in memory and one that takes over."""

    site = "alice.example"
    project = "alice-1"

    def setUp(self) -> None:
        self.docker = FakeDocker()
        self.docker.at_once = 2
        self.docker.nets["net"] = {"Labels": {}}
        self.tool = DeadTool()
        self.pauses: list[float] = []
        self.engine = compose.Composed(
            FakeApi(self.docker), "me", "10.213.0.0/16", self.tool, pause=self.pauses.append
        )
        self.api = FakeApi(self.docker)
        self.ids = {}
        for service in ("web", "db"):
            labels = {
                **recipe.labels(self.site, "me"),
                composition.PROJECT: self.project,
                composition.SERVICE: service,
                composition.ANSWERS: "web",
                composition.LASTING: "db web",
                composition.FILE: composition.pack({"services": {"web": {"labels": {}}}}),
            }
            config = {"Image": "lamp:7", "Labels": labels, "HostConfig": {"NetworkMode": "net"}}
            self.ids[service] = self.api.create(service, config)
            self.api.start(self.ids[service])

    def running(self) -> set[str]:
        return {name for name, id in self.ids.items() if self.docker.made[id]["State"]["Running"]}

    def test_called_off(self) -> None:
        """Who was called off while the tool ended them ends no more: what runs by then may be what
        another one has started."""
        errand = Errand()
        self.tool.does = errand.cancel
        self.assertRaises(Abandoned, self.engine.stop, self.site, 1, errand)
        self.assertEqual(self.running(), {"web", "db"})

    def test_parts_are_not_told(self) -> None:
        """That they have ended is told once, of all together."""
        errand = Errand()
        self.engine.stop(self.site, 1, errand)
        self.assertEqual(self.running(), set())
        self.assertEqual([seen.instance.id for seen in errand.ended], [self.ids["web"]])

    def left(self, at_work: Callable[[], bool]) -> None:
        """Let the one that answers have ended, and the rest be ended, here and now."""

        class Now:
            def __init__(self, target: Callable[[], None], **more: object) -> None:
                self.start = target

        self.patch(compose, "at_work", lambda project: at_work())
        self.patch(compose.threading, "Thread", Now)
        self.docker.end(self.ids["web"])
        self.engine.listing()

    def test_rest(self) -> None:
        """With nobody at work the rest ends."""
        self.left(lambda: False)
        self.assertEqual((self.running(), self.pauses), (set(), []))

    def test_another_begins(self) -> None:
        """Another Snickers that begins to start it between two looks is waited for, and what it has
        started stays."""
        answers = [False, True, True]

        def at_work() -> bool:
            if answers:
                return answers.pop(0)
            self.api.start(self.ids["web"])
            return False

        self.left(at_work)
        self.assertEqual(self.running(), {"web", "db"})
        self.assertEqual(self.pauses, [compose.LOOK_AGAIN] * 2)
        self.assertFalse(compose._RESTS)

    def test_at_work_for_ever(self) -> None:
        """A tool that never ends is not waited for without end."""
        self.patch(compose, "LOOKS", 3)
        self.left(lambda: True)
        self.assertEqual((self.running(), len(self.pauses)), (set(), 2))

    def test_turns(self) -> None:
        """Of a site that was removed nothing is remembered; who has waited meanwhile takes turns
        with those who come after."""
        which = ("me", self.site)
        self.engine.stop(self.site, 1, Errand())
        self.assertIn(which, compose._TURNS)
        self.engine.remove(self.site, Errand())
        self.assertNotIn(which, compose._TURNS)
        taken: list[str] = []

        class Turn:
            def __init__(self, name: str) -> None:
                self.name = name

            def __enter__(self) -> None:
                taken.append(self.name)
                if self.name == "old":
                    compose._TURNS[which] = Turn("new")

            def __exit__(self, *how: object) -> None:
                taken.append(f"{self.name} given back")

        compose._TURNS[which] = Turn("old")
        self.addCleanup(compose._TURNS.pop, which)
        with self.engine._turn(self.site):
            self.assertEqual(taken, ["old", "old given back", "new"])
