"""What containers use."""

from __future__ import annotations

import os

from attrs import evolve

from snickers.containers import groups, netdev, recipe
from snickers.containers.dockerapi import Refused
from snickers.containers.errand import Errand
from snickers.interfaces.engine import Load
from tests.dockerd_case import ALICE, SITE, DockerdTestCase


class LoadsTests(DockerdTestCase):
    """What the kernel, or Docker, says of those that run."""

    def test_loads(self) -> None:
        """Each that runs is told, by site; one that ends meanwhile is left out."""
        id = self.start().instance.id
        self.talk().start(evolve(ALICE, site="bob.example"), "new", Errand())
        self.talk("other").start(evolve(ALICE, site="carol.example"), "new", Errand())
        self.docker.used = {id: Load(1.5, 7)}
        self.assertEqual(self.dockerd.loads(), {SITE: Load(1.5, 7)})
        self.docker.refusals["load"] = [Refused(404, "No such container")] * 2
        self.assertEqual(self.dockerd.loads(), {})

    def test_loads_together(self) -> None:
        """What the containers of one site have used counts as one."""
        one = self.start().instance.id
        other = self.talk().start(evolve(ALICE, site="bob.example"), "new", Errand()).instance.id
        self.docker.made[other]["Config"]["Labels"][recipe.SITE] = SITE
        self.docker.used = {one: Load(1.5, 3), other: Load(0.25, 4)}
        self.assertEqual(self.dockerd.loads(), {SITE: Load(1.75, 7)})
        self.docker.used = {one: Load(1.5), other: Load(0.25, 4)}
        self.assertEqual(self.dockerd.loads(), {SITE: Load(1.75, 4)})

    def test_loads_here(self) -> None:
        """Where Docker is on this host its kernel is asked instead, Docker only where to look."""
        id = self.start().instance.id
        self.docker.made[id]["State"]["Pid"] = 4321
        meter = self.mktemp()
        with open(meter, "w", encoding="ascii") as file:
            file.write("2500000000")
        self.patch(groups, "groups_of", lambda pid: f"0::/docker/{id}/{pid}")
        self.patch(groups, "meters", lambda of: ["/no/such", meter] if "4321" in of else [])
        self.patch(netdev, "moved", lambda pid: pid + 1)
        self.dockerd._api.local = True
        self.docker.calls.clear()
        self.assertEqual([self.dockerd.loads() for _ in range(2)], [{SITE: Load(2.5, 4322)}] * 2)
        self.assertEqual(self.docker.calls, ["running", "container", "running"])
        # Its number may be another's by now: it is looked at anew.
        self.docker.made[id]["State"]["Pid"] = 54321
        self.patch(groups, "groups_of", lambda pid: f"0::/docker/{id}/{pid}" if pid > 5000 else "")
        self.assertEqual(self.dockerd.loads(), {SITE: Load(2.5, 54322)})
        os.unlink(meter)
        self.docker.used = {id: Load(1.5)}
        self.assertEqual(self.dockerd.loads(), {SITE: Load(1.5)})

    def test_loads_of_the_host(self) -> None:
        """What the host's own network moves is not what a container does that has no other."""
        id = self.start().instance.id
        self.docker.made[id]["State"]["Pid"] = 4321
        self.docker.made[id]["HostConfig"]["NetworkMode"] = "host"
        self.patch(groups, "groups_of", lambda pid: f"0::/docker/{id}")
        self.patch(groups, "meters", lambda of: ["/meter"])
        self.patch(groups, "used", lambda meter: 2.5)
        self.dockerd._api.local = True
        self.assertEqual([self.dockerd.loads() for _ in range(2)], [{SITE: Load(2.5)}] * 2)
