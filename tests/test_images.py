"""What images' names mean, and where images come from."""

from __future__ import annotations

import os

from attrs import evolve

from snickers.config.values import Container
from snickers.containers import recipe
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Errand, Seen
from tests.docker_fake import FakeApi, FakeStream
from tests.dockerd_case import ALICE, SITE, DockerdTestCase


class PullTests(DockerdTestCase):
    """Where the image comes from."""

    def pull(self, how: str, words=None) -> Seen:
        declared = evolve(ALICE, kind=Container("lamp:8", pull=how))
        return self.start("8", declared, Errand((words if words is not None else []).append))

    def test_missing(self) -> None:
        """A missing image is pulled, and said so; one that is here is not."""
        self.docker.registry["lamp:8"] = "sha256:8"
        words: list[str] = []
        self.pull("missing", words)
        self.assertEqual(words, ["pulling lamp:8", "starting"])
        self.dockerd.remove(SITE, Errand())
        self.docker.calls.clear()
        self.pull("missing")
        self.assertNotIn("pull", self.docker.calls)

    def always(self) -> tuple[str, bool, bool]:
        """Start; return the image, whether anything began, and whether there may be a newer."""
        errand = Errand()
        seen = self.start("8", evolve(ALICE, kind=Container("lamp:8", pull="always")), errand)
        return seen.image, errand.began, errand.stale

    def test_always(self) -> None:
        """Who waits for a server does not wait for a registry: it starts with what is here."""
        self.docker.registry["lamp:8"] = "sha256:old"
        self.assertEqual(self.always(), ("sha256:old", True, False))
        self.docker.registry["lamp:8"] = "sha256:new"
        self.assertEqual(self.always(), ("sha256:old", False, False))
        self.dockerd.stop(SITE, 1, Errand())
        self.assertEqual(self.always(), ("sha256:old", True, True))
        kind = Container("lamp:8", pull="always")
        self.assertEqual(self.dockerd.refresh(kind, Errand()), "sha256:new")
        self.alone("8")
        self.dockerd.stop(SITE, 1, Errand())
        self.assertEqual(self.always(), ("sha256:new", True, True))

    def test_refresh_fails(self) -> None:
        """An image that cannot be pulled leaves the old one here."""
        self.docker.images["lamp:8"] = {"Id": "sha256:old", "Config": {}}
        kind = Container("lamp:8", pull="always")
        error = self.assertRaises(EngineFailed, self.dockerd.refresh, kind, Errand())
        self.assertIn("docker.io has no such image", str(error))
        self.assertEqual(self.always(), ("sha256:old", True, True))

    def test_digest(self) -> None:
        """What a server was made from is told with its digest, or its id where it has none."""
        self.assertEqual(self.start().instance.image, "sha256:7")
        self.dockerd.remove(SITE, Errand())
        digest = "lamp@sha256:abc"
        self.docker.images["lamp:7"] = {"Id": "sha256:7", "Config": {}, "RepoDigests": [digest]}
        self.assertEqual(self.start().instance.image, digest)
        self.assertEqual(self.alone()["Config"]["Labels"][recipe.DIGEST], digest)
        self.assertEqual(self.dockerd.listing()[0].instance.image, digest)

    def test_login(self) -> None:
        """The file of the login is read for each pull, and only for a pull."""
        path = self.mktemp()
        kind = Container("lamp:8", registry_auth=path)
        declared = evolve(ALICE, kind=kind)
        self.docker.registry["lamp:8"] = "sha256:8"
        error = self.assertRaises(EngineFailed, self.start, "8", declared)
        self.assertIn(f"registry auth = {path}", str(error))
        with open(path, "w", encoding="ascii") as file:
            file.write("alice:secret")
        os.chmod(path, 0o600)
        self.start("8", declared)
        login = {"username": "alice", "password": "secret", "serveraddress": "docker.io"}
        self.assertEqual(self.docker.logins, [login])
        os.unlink(path)
        self.start("again", declared)
        self.assertEqual(self.docker.logins, [login])

    def test_never(self) -> None:
        """What is never pulled and not here fails in words."""
        self.docker.registry["lamp:8"] = "sha256:8"
        error = self.assertRaises(EngineFailed, self.pull, "never")
        self.assertIn("image = lamp:8", str(error))
        self.assertIn("pull = never", str(error))

    def test_not_found(self) -> None:
        """What the registry does not have fails in its words, whether at first or later."""
        error = self.assertRaises(EngineFailed, self.pull, "missing")
        self.assertIn("image = lamp:8: it cannot be pulled: manifest for lamp:8", str(error))

    def test_made_here(self) -> None:
        """No registry is asked for an image that was made here, unless it is to be pulled always: a
        stranger may have one of this name there."""
        self.start()
        self.docker.registry["lamp:7"] = "sha256:strange"
        self.assertFalse(self.dockerd.prepare(ALICE, "new", True, Errand()))
        self.docker.images["lamp:7"] = {
            "Id": "sha256:8",
            "Config": {},
            "RepoDigests": ["x@sha256:b"],
        }
        self.assertTrue(self.dockerd.prepare(ALICE, "new", True, Errand()))
        self.assertEqual(self.docker.images["lamp:7"]["Id"], "sha256:8")
        always = evolve(ALICE, kind=Container("lamp:7", pull="always"))
        self.assertTrue(self.dockerd.prepare(always, "new", True, Errand()))
        self.assertEqual(self.docker.images["lamp:7"]["Id"], "sha256:strange")

    def test_fault_in_the_middle(self) -> None:
        """A pull that breaks off fails in Docker's words."""
        said = FakeStream([{"status": "Pulling fs layer", "id": "a"}, {"error": "no space left."}])
        self.patch(FakeApi, "pull", lambda api, name, login=None: said)
        error = self.assertRaises(EngineFailed, self.pull, "missing")
        self.assertIn("no space left. Is its name", str(error))

    def test_disk_full(self) -> None:
        """A full disk is said to be that, with what makes room."""
        said = FakeStream([{"error": "write /var/lib/docker/tmp/x: no space left on device"}])
        self.patch(FakeApi, "pull", lambda api, name, login=None: said)
        error = self.assertRaises(EngineFailed, self.pull, "missing")
        self.assertIn("disk that Docker keeps images on is full", str(error))
