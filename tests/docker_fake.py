"""A Docker in memory, below `Dockerd`: the calls of `dockerapi.Api`, any of which may be the last.

It remembers, as Docker does, across the conversations that are held with it; and it fails a test
when two servers of one site run at the same time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from snickers.containers import recipe
from snickers.containers.dockerapi import Api, Refused
from snickers.interfaces.engine import Load


class Killed(BaseException):
    """Snickers was killed within a call."""


class FakeDocker:
    """What Docker remembers, and what a test can do to it."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        """Containers as they are inspected, by id."""
        self.at_once = 1
        """How many containers of a site may run."""
        self.disconnected: set[str] = set()
        """Containers that somebody has disconnected from their network."""
        self.nets: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, tuple[str, dict[str, str]]] = {}
        self.images: dict[str, dict[str, Any]] = {"lamp:7": {"Id": "sha256:7", "Config": {}}}
        self.registry: dict[str, str] = {}
        """Ids of images that can be pulled, by name."""
        self.refusals: dict[str, list[Refused]] = {}
        """What the next calls of a verb are refused with."""
        self.used: dict[str, Load] = {}
        """What was used, by id."""
        self.commands: list[tuple[str, tuple[str, ...]]] = []
        """What was run, and in which container."""
        self.written: list[bytes] = []
        """What each command writes."""
        self.ends: list[dict[str, Any]] = [{"Running": False, "ExitCode": 0, "Pid": 0}]
        """How a command is found each time it is looked at; the last stays."""
        self.logins: list[Mapping[str, str] | None] = []
        """Who asked for each image that was pulled."""
        self.calls: list[str] = []
        self.kill_at = -1
        """The number of the call in which Snickers is killed; negative: in none."""
        self.kill_after = False
        """Whether that call still has its effect."""
        self.stubborn = False
        """Whether servers survive being asked to end."""
        self._numbers = itertools.count(1)

    def running(self, site: str, owner: str = "me") -> list[str]:
        """Return the ids of *site*'s servers that run."""
        labels = recipe.labels(site, owner)
        return [
            id
            for id, each in self.made.items()
            if each["State"]["Running"] and _match(each["Config"]["Labels"], labels)
        ]

    def clock(self) -> str:
        """Return a time that is later at each call."""
        return f"2030-01-01T00:00:{next(self._numbers):02}.000000001Z"

    def end(self, id: str, code: int = 0) -> None:
        """Let a server end."""
        self.made[id]["State"].update(Running=False, Paused=False, Status="exited", ExitCode=code)


def _call(method):
    """Let a call be counted, refused, or be Snickers' last."""

    def called(self, *arguments):
        docker, verb = self.docker, method.__name__
        docker.calls.append(verb)
        last = len(docker.calls) - 1 == docker.kill_at
        dead = 0 <= docker.kill_at < len(docker.calls) - 1
        if dead or (last and not docker.kill_after):
            raise Killed
        if docker.refusals.get(verb):
            raise docker.refusals[verb].pop(0)
        result = method(self, *arguments)
        if last:
            raise Killed
        return result

    return called


def _match(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return wanted.items() <= labels.items()


class FakeApi:
    """One conversation with a `FakeDocker`."""

    def __init__(self, docker: FakeDocker) -> None:
        self.docker = docker
        self.init = True
        self.local = False
        self.where = "unix:///nowhere/docker.sock"
        self.began = 0
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def _get(self, id: str) -> dict[str, Any]:
        if id not in self.docker.made:
            raise Refused(404, f"No such container: {id}")
        return self.docker.made[id]

    @_call
    def containers(self, labels):
        made = self.docker.made
        return [id for id, each in made.items() if _match(each["Config"]["Labels"], labels)]

    @_call
    def container(self, id):
        return self.docker.made.get(id)

    @_call
    def create(self, name, config):
        if any(each["Name"] == f"/{name}" for each in self.docker.made.values()):
            raise Refused(409, f"The name {name} is in use")
        if config["Image"] not in self.docker.images:
            raise Refused(404, f"No such image: {config['Image']}")
        id = f"id-{next(self.docker._numbers)}"
        self.docker.made[id] = {
            "Id": id,
            "Name": f"/{name}",
            "Config": config,
            "HostConfig": config["HostConfig"],
            "Mounts": [
                {
                    "Type": mount["Type"],
                    "Source": mount["Source"],
                    "Destination": mount["Target"],
                    "RW": not mount["ReadOnly"],
                }
                for mount in config["HostConfig"].get("Mounts") or ()
            ],
            "State": {
                "Running": False,
                "Paused": False,
                "Status": "created",
                "StartedAt": "0001-01-01T00:00:00Z",
                "ExitCode": 0,
                "OOMKilled": False,
            },
            "NetworkSettings": {"Networks": {}},
        }
        return id

    @_call
    def start(self, id):
        each = self._get(id)
        if each["State"]["Running"]:
            return
        network = each["HostConfig"]["NetworkMode"]
        if network not in self.docker.nets:
            raise Refused(404, f"network {network} not found")
        each["State"].update(Running=True, Status="running", StartedAt=self.docker.clock())
        joined = {network: {"IPAddress": "10.213.0.2"}}
        each["NetworkSettings"]["Networks"] = {} if id in self.docker.disconnected else joined
        labels = each["Config"]["Labels"]
        running = self.docker.running(labels[recipe.SITE], labels[recipe.OWNER])
        if len(running) > self.docker.at_once:
            raise AssertionError(f"Two servers of {labels[recipe.SITE]} run at once.")

    @_call
    def running(self, labels):
        return [
            {"Id": id, "Labels": each["Config"]["Labels"]}
            for id, each in self.docker.made.items()
            if each["State"]["Running"] and not each["State"]["Paused"]
            if _match(each["Config"]["Labels"], labels)
        ]

    @_call
    def load(self, id):
        return self.docker.used.get(id)

    @_call
    def pause(self, id):
        state = self._get(id)["State"]
        if not state["Running"] or state["Paused"]:
            raise Refused(409, f"Container {id} is not running, or already paused")
        state.update(Paused=True, Status="paused")

    @_call
    def prepare(self, id, command):
        if not self._get(id)["State"]["Running"]:
            raise Refused(409, f"Container {id} is not running")
        self.docker.commands.append((id, tuple(command)))
        return f"exec-{len(self.docker.commands)}"

    @_call
    def run(self, prepared):
        return FakeStream(self.docker.written)

    @_call
    def ran(self, prepared):
        return self.docker.ends.pop(0) if len(self.docker.ends) > 1 else self.docker.ends[0]

    @_call
    def unpause(self, id):
        self._get(id)["State"].update(Paused=False, Status="running")

    @_call
    def stop(self, id, within):
        state = self._get(id)["State"]
        if state["Paused"]:
            raise Refused(500, "Container is paused. Unpause the container before stopping")
        if state["Running"] and not self.docker.stubborn:
            self.docker.end(id)

    @_call
    def kill(self, id):
        self._get(id)
        self.docker.end(id, 137)

    @_call
    def remove(self, id):
        self._get(id)
        del self.docker.made[id]

    @_call
    def removed(self, id):
        self._get(id)
        del self.docker.made[id]

    @_call
    def rename(self, id, name):
        if any(each["Name"] == f"/{name}" for each in self.docker.made.values()):
            raise Refused(409, f"The name {name} is in use")
        self._get(id)["Name"] = f"/{name}"

    @_call
    def image(self, name):
        return self.docker.images.get(name)

    @_call
    def pull(self, name, login=None):
        self.docker.logins.append(login)
        if name not in self.docker.registry:
            raise Refused(404, f"manifest for {name} not found")
        self.docker.images[name] = {"Id": self.docker.registry[name], "Config": {}}
        return FakeStream([{"status": "Pulling fs layer", "id": "a"}])

    @_call
    def networks(self, labels):
        return [each for each in self.docker.nets.values() if _match(each["Labels"], labels)]

    @_call
    def network(self, name):
        return self.docker.nets.get(name)

    @_call
    def make_network(self, name, subnet, labels, internal=False):
        if name in self.docker.nets:
            raise Refused(409, f"network with name {name} already exists")
        self.docker.nets[name] = {
            "Id": f"net-{name}",
            "Name": name,
            "Labels": dict(labels),
            "IPAM": {"Config": [{"Subnet": subnet}]},
            "Internal": internal,
        }

    @_call
    def volume(self, name):
        if name not in self.docker.volumes:
            return None
        driver, options = self.docker.volumes[name]
        return {"Name": name, "Driver": driver, "Options": options}

    @_call
    def make_volume(self, name, driver, options):
        self.docker.volumes[name] = (driver, dict(options))

    @_call
    def remove_network(self, id):
        self.docker.nets = {n: each for n, each in self.docker.nets.items() if each["Id"] != id}

    @_call
    def logs(self, id, tail, follow, times=False):
        return FakeStream([f"{id} {tail} {follow}".encode()])

    @_call
    def deaths(self):
        return FakeStream([])


class FakeStream(list):
    """An answer that is all there."""

    def close(self) -> None:
        pass


REAL = {name for name in vars(Api) if not name.startswith("_")}
"""What the fake has to have."""
