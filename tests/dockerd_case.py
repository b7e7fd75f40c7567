"""A test of what is done with Docker, against one in memory."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Container
from snickers.containers import recipe
from snickers.containers.dockerd import Dockerd
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Errand, Seen
from snickers.interfaces.engine import Declared
from tests.docker_fake import FakeApi, FakeDocker

SITE = "alice.example"
NAME = "/snickers-alice.example"
ALICE = Declared(SITE, Container("lamp:7"), "/data/alice.example")


class DockerdTestCase(SynchronousTestCase):
    """Has a Docker in memory."""

    def setUp(self) -> None:
        self.docker = FakeDocker()
        self.dockerd = self.talk()

    def talk(self, owner: str = "me") -> Dockerd:
        """Begin a conversation, as a Snickers does that was just started."""
        return Dockerd(FakeApi(self.docker), owner, "10.213.0.0/16")

    def start(self, print: str = "new", declared: Declared = ALICE, errand=None) -> Seen:
        return self.dockerd.start(declared, print, errand or Errand())

    def alone(self, print: str = "new") -> dict:
        """Return the one container that runs, which has this fingerprint; one before it may be
        kept, no more."""
        self.assertLessEqual(len(self.docker.made), 3)
        (each,) = [each for each in self.docker.made.values() if each["State"]["Running"]]
        self.assertFalse(each["State"]["Paused"])
        self.assertEqual(each["Config"]["Labels"][recipe.FINGERPRINT], print)
        return each

    def fails(self, **options) -> str:
        declared = evolve(ALICE, kind=Container(**{"image": "lamp:7", **options}))
        return str(self.assertRaises(EngineFailed, self.start, declared=declared))
