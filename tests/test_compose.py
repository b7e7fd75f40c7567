"""Sites of several containers: the engine over the real compose tool and a real Docker."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from snickers.config.values import Container, Lifecycle
from snickers.containers import composetool
from snickers.containers.docker import DockerEngine
from snickers.interfaces import Address, Declared, Instance
from tests import docker_setup
from tests.engine_contract import engine_contract
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
        return done.addTimeout(30, reactor)

    async def end(self) -> None:
        for engine in self.engines:
            await engine.close()
        await deferToThread(docker_setup.remove_all, self.owner)
        await self.gate.remove()

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.end())


class ComposeEngineContract(engine_contract(ComposeFixture)):
    """The engine with services keeps the contract of all engines."""

    timeout = 120
