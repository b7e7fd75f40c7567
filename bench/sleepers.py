"""Snickers with container sites, for the measurements of what waking and sleeping cost.

The Docker is that of the tests, and the image is made of busybox as theirs are, so no registry is
asked. What was made of it, containers and networks, is removed when the ``with`` block is left.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from docker.errors import DockerException
from tests import docker_setup
from twisted.trial.unittest import SkipTest

from bench.machine import PROXY_CORE, Machine, Missing, Server, find, free_port
from bench.proxies import HERE
from snickers.containers.engine import owner_of
from snickers.control.client import Client

WITHIN = 120.0
"""Seconds for any one thing that is waited for."""
LOOK = 0.05
"""Seconds between two looks at it."""
SLEEPS = " → asleep\n"
"""What the log says of each site that falls asleep."""


@frozen
class Asleep:
    """A Snickers that runs, and how to ask it."""

    server: Server
    port: int
    client: Client

    def all(self, many: int) -> None:
        """Return when that many sites have fallen asleep. The log says it: the question for the
        state of thousands would be part of what is measured."""
        late = time.monotonic() + WITHIN
        while time.monotonic() < late:
            if self.server.log.read_text(errors="replace").count(SLEEPS) >= many:
                return
            time.sleep(LOOK)
        raise SystemExit(f"bench: {many} sites are not asleep within {WITHIN:.0f} s")

    def until(self, states: Mapping[str, str]) -> None:
        """Return when each site of *states* is in its state."""
        late = time.monotonic() + WITHIN
        while time.monotonic() < late:
            if all(self.client.site(name)["state"] == state for name, state in states.items()):
                return
            time.sleep(LOOK)
        raise SystemExit(f"bench: not within {WITHIN:.0f} s: {dict(states)}")

    def sleep(self, name: str) -> None:
        """Put a site's server to sleep."""
        for _ in self.client.act("sleep", name):
            pass


def docker_url() -> str:
    """Return where a Docker answers; one is started if need be. Raises `Missing`."""
    try:
        return docker_setup.docker_url()
    except SkipTest as reason:
        raise Missing(str(reason)) from None


def server_after(seconds: float) -> str:
    """Return the ``command`` of a web server that needs so many seconds before it listens."""
    wait = f"sleep {seconds:g}; " if seconds else ""
    page = "mkdir -p /www; echo here > /www/index.html; "
    return shlex.join(["sh", "-c", f"{page}{wait}exec httpd -f -p 80 -h /www"])


def sections(url: str, image: str, port: int, folder: Path, sites: Mapping[str, str]) -> str:
    """Return a configuration: a container site for each name in *sites*, with the options there."""
    text = [
        "[snickers]",
        f"https = tcp:{port}:interface=127.0.0.1",
        "http =",
        f"state = {folder / 'state'}",
        f"data = {folder / 'data'}",
        f"docker = {url}",
        "reload every = never",
        "[application busybox]",
        "type = container",
        f"image = {image}",
        "pull = never",
    ]
    for name, options in sites.items():
        text += [f"[{name}]", "application = busybox", options]
    return "\n".join(text) + "\n"


@contextmanager
def snickers(here: Machine, sites: Mapping[str, str]) -> Iterator[Asleep]:
    """Have a Snickers with a container site for each name in *sites*, and the options said there.

    Raises `Missing` when there is no Docker.
    """
    url = docker_url()
    try:
        image = docker_setup.image()
    except (SkipTest, DockerException) as reason:
        raise Missing(str(reason)) from None
    port, state = free_port(), here.folder / "state"
    config = here.folder / "sites.ini"
    config.write_text(sections(url, image, port, here.folder, sites))
    twistd = find("twistd", "pip install snickers", HERE)
    command = [twistd, "--nodaemon", "--pidfile=", "snickers", "--config", str(config)]
    server = here.start("snickers", command, PROXY_CORE)
    try:
        server.wait_for(port)
        asleep = Asleep(server, port, Client(str(state / "control.sock")))
        asleep.all(len(sites))
        yield asleep
    finally:
        server.process.terminate()
        server.process.wait(WITHIN)
        docker_setup.remove_all(owner_of(str(state)))
