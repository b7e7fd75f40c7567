"""Servers in containers, of a real Docker."""

from __future__ import annotations

import os
import secrets

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from snickers.config.values import Container, Lifecycle
from snickers.containers.docker import DockerEngine
from snickers.interfaces import Address, Declared, Instance
from tests import docker_setup
from tests.engine_contract import engine_contract
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
