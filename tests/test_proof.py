"""Servers tried on copies: what is declared, and with a real Docker what they can reach."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyClass

from snickers.config.values import Container, Lifecycle, Process, Site
from snickers.containers.docker import DockerEngine
from snickers.containers.probe import Prober
from snickers.containers.proof import Proof, declared
from snickers.interfaces.copies import CopyFailed
from snickers.interfaces.engine import IEngineObserver
from tests import docker_setup
from tests.copies_contract import ignore, write

verifyClass(IEngineObserver, Proof)


class DeclaredTests(SynchronousTestCase):
    """What is run."""

    def test_apart(self) -> None:
        """As the site says, but with another name, on the copy, in no network of others, with
        volumes that it can only read, and no newer image than the site itself has."""
        kind = Container(
            "lamp",
            data="/data",
            volumes=("/srv/a:/a", "cache:/c:ro"),
            network="backend",
            pull="always",
            memory=1000,
        )
        made = declared(Site("a.example", kind, data="/d/a.example"), "/copy")
        assert isinstance(made.kind, Container)
        self.assertEqual(made.data, "/copy")
        self.assertNotIn(made.site, ("a.example", ""))
        self.assertEqual(made.kind.volumes, ("/srv/a:/a:ro", "cache:/c:ro"))
        self.assertEqual((made.kind.network, made.kind.pull), ("", "missing"))
        self.assertEqual((made.kind.image, made.kind.memory), ("lamp", 1000))

    def test_processes(self) -> None:
        """A process cannot be kept apart, and that is said."""
        site = Site("a.example", Process(("serve",)), data="/d")
        self.assertIn("process", str(self.assertRaises(CopyFailed, declared, site, "/copy")))

    def test_no_data(self) -> None:
        """Nor has a container that does not see the folder anything to prove."""
        site = Site("a.example", Container("lamp"), data="/d")
        self.assertIn("no `data`", str(self.assertRaises(CopyFailed, declared, site, "/copy")))

    def test_services(self) -> None:
        """What several containers keep may lie elsewhere, and that is said."""
        site = Site("a.example", Container(services="/c.yaml"), data="/d")
        self.assertIn("volumes", str(self.assertRaises(CopyFailed, declared, site, "/copy")))


LOOK = (
    # The marks are read from outside, in the folder of the copy.
    "cat /data/page > /data/seen; touch /shared/written 2>/data/shared; "
    "nc -w 2 {outside} 80 </dev/null >/data/heard 2>&1; "
    "exec httpd -f -p 80 -h /data"
)


OUTSIDE = "198.51.100.2"
GREETER = """
import socket
server = socket.create_server(("", 80))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"hello from outside")
    connection.close()
"""


def outside(case: TestCase) -> None:
    """Have another host, at `OUTSIDE`, that greets who connects: a network namespace."""
    name = f"snk{os.getpid()}"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    ip("netns", "add", name)
    case.addCleanup(ip, "netns", "delete", name)
    ip("link", "add", f"{name}h", "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("addr", "add", "198.51.100.1/30", "dev", f"{name}h")
    ip("link", "set", f"{name}h", "up")
    ip("-n", name, "addr", "add", f"{OUTSIDE}/30", "dev", "eth0")
    ip("-n", name, "link", "set", "eth0", "up")
    ip("-n", name, "route", "add", "default", "via", "198.51.100.1")
    greeter = subprocess.Popen(
        ["ip", "netns", "exec", name, sys.executable, "-c", GREETER], stdout=subprocess.PIPE
    )
    assert greeter.stdout is not None
    greeter.stdout.readline()

    def end() -> None:
        greeter.kill()
        greeter.wait()
        assert greeter.stdout is not None
        greeter.stdout.close()

    case.addCleanup(end)


class DockerProofTests(TestCase):
    """With a real Docker."""

    internal = True

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        write(self.folder / "copy", page="data")
        write(self.folder / "shared")
        self.owner = secrets.token_hex(8)
        url = docker_setup.docker_url()
        docker_setup.image()
        self.addCleanup(docker_setup.remove_all, self.owner)

        def apart() -> DockerEngine:
            return DockerEngine(
                reactor, self.owner, url, "10.214.0.0/16", environment={}, internal=self.internal
            )

        self.proof = Proof(apart, Prober(reactor, reactor), reactor.callLater)

    def site(self, does: str, health: str = "/page", within: float = 20.0) -> Site:
        kind = Container(
            docker_setup.IMAGE,
            ("sh", "-c", does.replace("{outside}", OUTSIDE)),
            data="/data",
            volumes=(f"{self.folder}/shared:/shared",),
            pull="never",
            life=Lifecycle(health=health, wake_within=within, stop_within=0),
        )
        return Site("proof.example", kind, data=str(self.folder / "live"))

    def left(self) -> list[object]:
        mine = {"label": f"io.snickers.instance={self.owner}"}
        client = docker_setup.client()
        return [*client.containers(all=True, filters=mine), *client.networks(filters=mine)]

    async def test_no_way_out(self) -> None:
        """It reaches nobody, where an ordinary container does."""
        if os.geteuid() or shutil.which("ip") is None:
            raise SkipTest("Only root can make another host.")
        outside(self)
        heard = self.folder / "copy" / "heard"
        await self.proof.try_(self.site(LOOK), str(self.folder / "copy"), ignore)
        self.assertEqual(heard.read_text(), "nc: timed out\n")
        self.internal = False
        await self.proof.try_(self.site(LOOK), str(self.folder / "copy"), ignore)
        self.assertEqual(heard.read_text(), "hello from outside")

    async def test_lives(self) -> None:
        """It is healthy on the copy, and cannot write to volumes; nothing of it stays."""
        said: list[str] = []
        await self.proof.try_(self.site(LOOK), str(self.folder / "copy"), said.append)
        copy = self.folder / "copy"
        self.assertEqual((copy / "seen").read_text(), "data")
        self.assertIn("Read-only", (copy / "shared").read_text())
        self.assertEqual(os.listdir(self.folder / "shared"), [])
        self.assertEqual(self.left(), [])
        self.assertIn("checking", said)

    async def test_does_not_live(self) -> None:
        """One that ends, or does not answer well, is no proof; nothing of it stays."""
        for does, health, words in (
            ("echo the data is torn; exit 3", "/page", "the data is torn"),
            (LOOK, "/nothing", "did not pass its health check"),
        ):
            site = self.site(does, health, 3.0)
            trying = self.proof.try_(site, str(self.folder / "copy"), ignore)
            try:
                await trying
            except CopyFailed as problem:
                self.assertIn(words, str(problem))
            else:
                self.fail("It has proved itself.")
            self.assertEqual(self.left(), [])

    async def test_left_over(self) -> None:
        """What an end in the middle has left is no matter the next time."""
        made = declared(self.site("sleep 1000"), str(self.folder / "copy"))
        for does in (
            lambda: self.proof.try_(self.site(LOOK), str(self.folder / "copy"), ignore),
            lambda: self.proof.clean(self.site(LOOK)),
        ):
            async with self.proof._engine_for_now() as engine:
                await engine.start(made, ignore)
            self.assertNotEqual(self.left(), [])
            await does()
            self.assertEqual(self.left(), [])
