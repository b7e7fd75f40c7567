"""What is done with Docker, against one in memory: in what order, and killed between."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from attrs import evolve

from snickers.config.values import Container, Process
from snickers.containers import recipe
from snickers.containers.dockerapi import Refused
from snickers.containers.dockerd import LATE_WORD, LATE_WORDS
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Abandoned, Errand
from snickers.containers.networks import Networks
from snickers.interfaces.engine import Declared, Exit
from tests.docker_fake import REAL, FakeApi, FakeDocker, Killed
from tests.dockerd_case import ALICE, NAME, SITE, DockerdTestCase


class AtOnce:
    """A thread that does not take any time."""

    def __init__(self, target: Callable[[], None], **_: Any) -> None:
        self.start = target


class StartTests(DockerdTestCase):
    """`Dockerd.start`."""

    def test_fake(self) -> None:
        """The Docker in memory has all calls of the real one."""
        self.assertEqual(REAL - set(dir(FakeApi)), set())

    def test_new(self) -> None:
        """A container is made, started and named; what is returned is what it is."""
        seen = self.start()
        each = self.alone()
        self.assertEqual(each["Name"], NAME)
        instance = seen.instance
        self.assertEqual((instance.site, instance.id), (SITE, each["Id"]))
        self.assertEqual((instance.fingerprint, instance.running), ("new", True))
        self.assertEqual(instance.address, ("10.213.0.2", 80))
        self.assertIsNone(seen.exit)

    def test_again(self) -> None:
        """What runs already is left alone: nothing but questions is asked."""
        first = self.start()
        self.docker.calls.clear()
        self.assertEqual(self.start().instance, first.instance)
        self.assertEqual(set(self.docker.calls), {"containers", "container"})

    def test_stopped(self) -> None:
        """What was stopped is started again, not made again; its earlier end is noted."""
        first = self.start()
        self.dockerd.stop(SITE, 1, Errand())
        errand = Errand()
        second = self.start(errand=errand)
        self.assertEqual(second.instance.id, first.instance.id)
        self.assertNotEqual(second.run, first.run)
        self.assertEqual([seen.run for seen in errand.ended], [first.run])

    def test_left_unstarted(self) -> None:
        """What was made and never started, since Snickers was killed in between, is not kept."""
        config = recipe.creation(ALICE, "me", "other", "sha256:one", "", "bridge", False)
        for _ in range(2):
            left = self.dockerd._api.create("left", config)
            first = self.start()
            self.assertEqual(list(self.docker.made), [first.instance.id])
            self.dockerd.stop(SITE, 1, Errand())
        self.assertNotEqual(left, first.instance.id)

    def test_stopped_soon(self) -> None:
        """What was stopped is started again after few questions: somebody waits for it."""
        self.start()
        self.dockerd.stop(SITE, 1, Errand())
        self.docker.calls.clear()
        self.start()
        self.assertEqual(
            self.docker.calls, ["containers", "container", "image", "start", "container"]
        )

    def test_network_gone_while_another_runs(self) -> None:
        """What runs of another declaration does not end for one that has no network any more."""
        shared = evolve(ALICE, kind=Container("lamp:7", network="shared"))
        self.dockerd._api.make_network("shared", "10.9.0.0/28", {})
        self.start("new", shared)
        other = self.start("old").instance.id
        self.docker.nets.clear()
        self.assertRaises(EngineFailed, self.start, "new", shared)
        self.assertEqual(self.alone("old")["Id"], other)

    def test_replaced(self) -> None:
        """What is of another fingerprint ends after the new one is made, before it starts."""
        first = self.start("old")
        errand = Errand()
        self.docker.calls.clear()
        self.start("new", errand=errand)
        self.assertEqual(self.alone()["Name"], NAME)
        self.assertEqual([seen.instance.id for seen in errand.ended], [first.instance.id])
        order = [
            c for c in self.docker.calls if c in ("create", "stop", "start", "remove", "rename")
        ]
        self.assertEqual(order, ["create", "stop", "start", "rename", "rename"])

    def beside(self, print: str, first: str) -> str:
        """Start a newcomer beside the container *first*."""
        self.docker.at_once = 2
        seen = self.dockerd.start(ALICE, print, Errand(), False, first)
        return seen.instance.id

    def test_beside(self) -> None:
        """A newcomer has a name of its own until it is the right one; by that it is known which of
        the two serves, whoever looks."""
        first = self.start("old").instance.id
        second = self.beside("new", first)
        self.assertEqual(self.docker.made[first]["Name"], NAME)
        beside = {seen.instance.id: seen.instance.beside for seen in self.dockerd.listing()}
        self.assertEqual(beside, {first: False, second: True})
        self.assertEqual(self.dockerd._running(SITE).instance.id, first)
        self.dockerd.settle(SITE, second, first, Errand())
        self.assertEqual(self.docker.made[second]["Name"], NAME)
        self.assertEqual(self.dockerd._running(SITE).instance.id, second)
        beside = {seen.instance.id: seen.instance.beside for seen in self.dockerd.listing()}
        self.assertEqual(beside, {first: True, second: False})

    def test_beside_under_another_name(self) -> None:
        """The same where another Snickers has a site of that name with the same Docker."""
        self.talk("somebody-else").start(ALICE, "theirs", Errand())
        first = self.start("old").instance.id
        self.assertEqual(self.docker.made[first]["Name"], NAME + "__me")
        second = self.beside("new", first)
        beside = {seen.instance.id: seen.instance.beside for seen in self.dockerd.listing()}
        self.assertEqual(beside, {first: False, second: True})
        self.dockerd.settle(SITE, second, first, Errand())
        self.assertEqual(self.docker.made[second]["Name"], NAME + "__me")
        beside = {seen.instance.id: seen.instance.beside for seen in self.dockerd.listing()}
        self.assertEqual(beside, {first: True, second: False})

    def test_beside_again(self) -> None:
        """A newcomer that was there before is started again, and not made anew."""
        first = self.start("old").instance.id
        second = self.start("new").instance.id
        self.dockerd.revert(SITE, first, Errand())
        third = self.start("new").instance.id
        self.assertNotEqual(second, third)
        self.dockerd.settle(SITE, third, "", Errand())
        self.assertEqual(self.beside("old", third), first)
        self.assertEqual(set(self.docker.made), {first, third})

    def test_exact(self) -> None:
        """What is to be of an exact image is, whatever its name means by now, as long as a
        container of the site is of that; a fresh start goes beyond it."""
        first = self.start("old").instance
        self.docker.images["lamp:7"] = {"Id": "sha256:8", "Config": {}}
        second = self.dockerd.start(ALICE, "old", Errand(), fresh=True).instance
        self.assertEqual((first.image, second.image), ("sha256:7", "sha256:8"))
        self.dockerd.stop(SITE, 1, Errand())
        exact = evolve(ALICE, exact=first.image)
        self.assertEqual(self.start("old", exact).instance.id, first.id)
        # Another declaration of the same image, too.
        self.assertEqual(self.start("new", exact).instance.image, "sha256:7")
        fresh = self.dockerd.start(exact, "new", Errand(), fresh=True)
        self.assertEqual(fresh.instance.image, "sha256:8")
        self.dockerd.remove(SITE, Errand())
        self.assertEqual(self.start("new", exact).instance.image, "sha256:8")

    def test_settle_nobody(self) -> None:
        """Where the right one is gone nothing is touched: who cares for it will hear of its end."""
        first = self.start("old").instance.id
        second = self.beside("new", first)
        self.dockerd.settle(SITE, "gone", "", Errand())
        self.assertEqual(set(self.docker.made), {first, second})

    def test_kept(self) -> None:
        """What was replaced is kept, one of it, and comes back when it is asked for; what came
        after it is forgotten."""
        ids = [self.start(print).instance.id for print in ("one", "two", "three")]
        self.dockerd.settle(SITE, ids[2], "", Errand())
        self.assertEqual(set(self.docker.made), set(ids[1:]))
        errand = Errand()
        back = self.dockerd.revert(SITE, ids[1], errand)
        self.assertEqual((back.instance.id, back.instance.running), (ids[1], True))
        self.assertEqual(list(self.docker.made), [ids[1]])
        self.assertEqual(self.alone("two")["Name"], NAME)
        self.assertIn(ids[2], [seen.instance.id for seen in errand.ended])
        error = self.assertRaises(EngineFailed, self.dockerd.revert, SITE, ids[2], Errand())
        self.assertIn("not there any more", str(error))

    def test_way_back_kept(self) -> None:
        """What is tried in vain takes no container with it: when the one before is back, so is the
        one before that."""
        ids = [self.start(print).instance.id for print in ("one", "two")]
        self.dockerd.settle(SITE, ids[1], "", Errand())
        self.start("bad")
        self.dockerd.revert(SITE, ids[1], Errand())
        self.assertEqual(set(self.docker.made), set(ids))
        self.assertEqual(self.dockerd.revert(SITE, ids[0], Errand()).instance.id, ids[0])

    def test_few_kept(self) -> None:
        """However many are tried one after the other, few are kept."""
        ids = [self.start(str(number)).instance.id for number in range(6)]
        self.assertEqual(set(self.docker.made), set(ids[-3:]))

    def test_one_that_cannot_come_back(self) -> None:
        """It is said why the one before cannot be started."""
        old = self.start("old").instance.id
        self.start("new")
        self.docker.refusals["start"] = [Refused(400, "no such volume")]
        error = self.assertRaises(EngineFailed, self.dockerd.revert, SITE, old, Errand())
        self.assertIn("no such volume", str(error))

    def test_fresh(self) -> None:
        """Only with a newer image, and only when that is wanted, is a container that runs made
        again."""
        first = self.start().instance.id
        self.assertEqual(self.dockerd.start(ALICE, "new", Errand(), True).instance.id, first)
        self.docker.images["lamp:7"] = {"Id": "sha256:8", "Config": {}}
        self.assertEqual(self.start().instance.id, first)
        second = self.dockerd.start(ALICE, "new", Errand(), True).instance.id
        self.assertNotEqual(second, first)
        self.assertEqual(set(self.docker.made), {first, second})

    def test_prepared(self) -> None:
        """The image is fetched and nothing else is touched; it is said whether a start would make
        another container."""
        self.assertTrue(self.dockerd.prepare(ALICE, "new", False, Errand()))
        self.start()
        self.assertFalse(self.dockerd.prepare(ALICE, "new", False, Errand()))
        self.assertTrue(self.dockerd.prepare(ALICE, "other", False, Errand()))
        known = {"Id": "sha256:7", "Config": {}, "RepoDigests": ["lamp@sha256:a"]}
        self.docker.images["lamp:7"] = known
        self.docker.registry["lamp:7"] = "sha256:7"
        self.assertFalse(self.dockerd.prepare(ALICE, "new", True, Errand()))
        self.docker.registry["lamp:7"] = "sha256:8"
        self.docker.images["lamp:7"] = known
        self.assertFalse(self.dockerd.prepare(ALICE, "new", False, Errand()))
        self.assertTrue(self.dockerd.prepare(ALICE, "new", True, Errand()))
        self.alone()
        wanted = evolve(ALICE, kind=Container("none:1"))
        error = self.assertRaises(EngineFailed, self.dockerd.prepare, wanted, "x", False, Errand())
        self.assertIn("none:1", str(error))

    def test_newcomer_fails(self) -> None:
        """A newcomer that cannot be started is removed; the one before stays, to be started."""
        first = self.start("old")
        self.docker.refusals["start"] = [Refused(400, "exec: no such file")]
        error = self.assertRaises(EngineFailed, self.start, "new")
        self.assertIn("exec: no such file", str(error))
        self.assertEqual(list(self.docker.made), [first.instance.id])
        self.assertEqual(self.start("old").instance.id, first.instance.id)

    def test_newcomer_not_made(self) -> None:
        """While a newcomer cannot be made the one before runs on."""
        self.start("old")
        self.docker.refusals["create"] = [Refused(400, "invalid mount")]
        error = self.assertRaises(EngineFailed, self.start, "new")
        self.assertIn("invalid mount", str(error))
        self.alone("old")

    def test_paused(self) -> None:
        """What somebody paused goes on."""
        id = self.start().instance.id
        self.docker.made[id]["State"].update(Paused=True, Status="paused")
        self.assertEqual(self.start().instance.id, id)
        self.alone()

    def test_paused_other(self) -> None:
        """What somebody paused can be replaced."""
        id = self.start("old").instance.id
        self.docker.made[id]["State"].update(Paused=True, Status="paused")
        self.start()
        self.alone()

    def test_network_gone(self) -> None:
        """A container whose network is gone is made again."""
        first = self.start()
        self.dockerd.stop(SITE, 1, Errand())
        self.docker.nets.clear()
        self.docker.refusals["start"] = [Refused(404, "network abc not found")]
        self.assertNotEqual(self.start().instance.id, first.instance.id)
        self.alone()

    def test_network_taken(self) -> None:
        """So is one that was disconnected from its network, which starts and has no address."""
        first = self.start().instance.id
        self.dockerd.stop(SITE, 1, Errand())
        self.docker.disconnected.add(first)
        seen = self.start()
        self.assertEqual(seen.instance.address, ("10.213.0.2", 80))
        self.assertEqual(list(self.docker.made), [seen.instance.id])

    def test_image_changed(self) -> None:
        """When the image's name means another image, a stopped container is made again."""
        first = self.start()
        self.dockerd.stop(SITE, 1, Errand())
        self.docker.images["lamp:7"] = {"Id": "sha256:8", "Config": {}}
        self.assertNotEqual(self.start().instance.id, first.instance.id)
        self.alone()

    def test_image_gone(self) -> None:
        """A stopped container needs its image no more."""
        first = self.start()
        self.dockerd.stop(SITE, 1, Errand())
        self.docker.images.clear()
        self.assertEqual(self.start().instance.id, first.instance.id)

    def test_name_taken(self) -> None:
        """A container of somebody else with the same name is no hindrance."""
        other = self.talk("other").start(evolve(ALICE, site="x"), "new", Errand()).instance.id
        self.docker.made[other]["Name"] = NAME
        id = self.start().instance.id
        self.assertNotEqual(self.docker.made[id]["Name"], NAME)
        self.assertEqual(self.start().instance.id, id)

    def test_two_running(self) -> None:
        """Of two that run, by whatever accident, one is left."""
        first = self.start("old").instance.id
        self.docker.made["twin"] = {**self.docker.made[first], "Id": "twin", "Name": "/twin"}
        self.docker.made["twin"]["State"] = {**self.docker.made[first]["State"]}
        self.start("old")
        self.alone("old")

    def test_ended_at_once(self) -> None:
        """A server that ended before it could be looked at is returned with its end."""
        start = FakeApi.start

        def start_and_end(api, id):
            start(api, id)
            self.docker.end(id, 3)

        self.patch(FakeApi, "start", start_and_end)
        seen = self.start()
        self.assertFalse(seen.instance.running)
        self.assertIsNone(seen.instance.address)
        self.assertEqual(seen.exit.code, 3)

    def test_init(self) -> None:
        """Docker's init is used where it is installed and the image has none of its own."""
        for installed, entrypoint, wanted in (
            (True, None, True),
            (True, ["/init"], False),
            (False, None, False),
        ):
            self.docker.images["lamp:7"]["Config"] = {"Entrypoint": entrypoint}
            self.dockerd._api.init = installed
            self.start(f"{installed} {entrypoint}")
            each = self.alone(f"{installed} {entrypoint}")
            self.assertIs(each["HostConfig"]["Init"], wanted)

    def test_process(self) -> None:
        """What is no container is refused in words."""
        declared = evolve(ALICE, kind=Process(("serve",)))
        error = self.assertRaises(EngineFailed, self.start, declared=declared)
        self.assertIn("process", str(error))

    def test_abandoned(self) -> None:
        """A cancelled start changes nothing that runs."""
        self.start("old")
        errand = Errand()
        errand.cancel()
        self.assertRaises(Abandoned, self.start, "new", errand=errand)
        self.alone("old")

    def test_data_folder(self) -> None:
        """The site's folder is made where Docker is on this host, for any user to enter."""
        folder = self.mktemp()
        declared = Declared(SITE, Container("lamp:7", data="/data"), folder)
        self.start(declared=declared)
        self.assertFalse(os.path.exists(folder))
        self.dockerd._api.local = True
        self.dockerd.remove(SITE, Errand())
        self.start(declared=declared)
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o755)

    def test_data_folder_owner(self) -> None:
        """The folder of a user that is a number is made for that one alone."""
        owners: list[tuple[int, int]] = []
        self.patch(os, "chown", lambda path, *owner: owners.append(owner))
        self.dockerd._api.local = True
        folder = self.mktemp()
        kind = Container("lamp:7", data="/data", user="1234:56")
        self.start(declared=Declared(SITE, kind, folder))
        self.assertEqual(owners, [(1234, 56)])
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)

    def test_data_folder_not_given(self) -> None:
        """A folder that cannot be given to its user is said, and none is left behind."""

        def refuse(path, *owner):
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "chown", refuse)
        self.dockerd._api.local = True
        folder = self.mktemp()
        kind = Container("lamp:7", data="/data", user="1234")
        declared = Declared(SITE, kind, folder)
        error = self.assertRaises(EngineFailed, self.start, declared=declared)
        self.assertIn(f"user = 1234: the site's folder {folder} cannot be given", str(error))
        self.assertFalse(os.path.exists(folder))

    def test_data_folder_fails(self) -> None:
        """A folder that cannot be made is said, and nothing is."""
        self.dockerd._api.local = True
        path = self.mktemp()
        with open(path, "w", encoding="ascii"):
            pass
        declared = Declared(SITE, Container("lamp:7", data="/data"), f"{path}/x")
        error = self.assertRaises(EngineFailed, self.start, declared=declared)
        self.assertIn(f"{path}/x", str(error))
        self.assertEqual(self.docker.made, {})


class LinkTests(DockerdTestCase):
    """Links where folders were that a container has been given: Docker follows them at each
    start."""

    def setUp(self) -> None:
        super().setUp()
        self.dockerd._api.local = True
        self.patch(Networks, "of", lambda *_: "net")
        self.docker.nets["net"] = {"Labels": {}}
        self.top = os.path.realpath(self.mktemp())
        self.folder = os.path.join(self.top, SITE)
        self.sub = os.path.join(self.folder, "sub")
        os.makedirs(self.sub)
        kind = Container("lamp:7", volumes=(f"{self.sub}:/sub",))
        self.declared = Declared(SITE, kind, self.folder)

    def lead(self, target: str) -> None:
        """Put a link in the folder's place."""
        if os.path.islink(self.sub):
            os.remove(self.sub)
        else:
            os.rmdir(self.sub)
        os.symlink(target, self.sub)

    def test_back(self) -> None:
        """None goes back to a container whose folder leads to Docker's socket by now: what runs
        goes on."""
        old = self.start("old", self.declared).instance.id
        new = self.start("new", evolve(self.declared, kind=Container("lamp:7"))).instance.id
        self.lead("/var/run")
        error = self.assertRaises(EngineFailed, self.dockerd.revert, SITE, old, Errand())
        self.assertIn(self.sub, str(error))
        self.assertEqual(self.docker.running(SITE), [new])

    def test_back_changed_at_the_end(self) -> None:
        """Nor where the server that ends for it has changed it at its very end."""
        old = self.start("old", self.declared).instance.id
        self.start("new", evolve(self.declared, kind=Container("lamp:7")))
        stop = FakeApi.stop

        def lead_and_stop(api, id, within):
            self.lead("/var/run")
            stop(api, id, within)

        self.patch(FakeApi, "stop", lead_and_stop)
        self.assertRaises(EngineFailed, self.dockerd.revert, SITE, old, Errand())
        self.assertEqual(self.docker.running(SITE), [])

    def test_made_changed_at_the_end(self) -> None:
        """A new one is not started then either, and not left behind."""
        old = self.start("old", self.declared).instance.id
        stop = FakeApi.stop

        def lead_and_stop(api, id, within):
            self.lead("/var/run")
            stop(api, id, within)

        self.patch(FakeApi, "stop", lead_and_stop)
        self.assertRaises(EngineFailed, self.start, "new", self.declared)
        self.assertEqual(list(self.docker.made), [old])
        self.assertEqual(self.docker.running(SITE), [])

    def test_beside(self) -> None:
        """None is started again beside another one."""
        self.docker.at_once = 2
        self.start("old", self.declared)
        new = self.start("new", evolve(self.declared, kind=Container("lamp:7"))).instance.id
        self.lead("/var/run")
        error = self.assertRaises(
            EngineFailed, self.dockerd.start, self.declared, "old", Errand(), False, new
        )
        self.assertIn(self.sub, str(error))
        self.assertEqual(self.docker.running(SITE), [new])

    def test_out_of_the_folder(self) -> None:
        """What is in a site's folder must lead to what is in that one, at the first start and each
        later one; elsewhere a link is its owner's."""
        for target in ("/etc", os.path.join(self.top, "bob.example"), self.top):
            self.lead(target)
            error = self.assertRaises(EngineFailed, self.start, "new", self.declared)
            self.assertIn(f"{self.sub} leads out of the site's own folder, to {target}", str(error))
        os.makedirs(os.path.join(self.folder, "beside"))
        self.lead("beside")
        id = self.start("old", self.declared).instance.id
        self.start("new", evolve(self.declared, kind=Container("lamp:7")))
        self.lead("/etc")
        error = self.assertRaises(EngineFailed, self.dockerd.revert, SITE, id, Errand())
        self.assertIn("leads out of the site's own folder", str(error))
        link = os.path.join(self.top, "..", "link")
        os.symlink("/etc", link)
        kind = Container("lamp:7", volumes=(f"{os.path.normpath(link)}:/x:ro",))
        self.start("x", evolve(self.declared, kind=kind))

    def test_folder_of_another(self) -> None:
        """A folder of another site's that is given to this one must stay in that other's."""
        bobs = os.path.join(self.top, "bob.example")
        os.makedirs(bobs)
        os.symlink(self.folder, os.path.join(bobs, "sub"))
        kind = Container("lamp:7", volumes=(f"{bobs}/sub:/x",))
        error = self.assertRaises(EngineFailed, self.start, "new", evolve(self.declared, kind=kind))
        self.assertIn(f"{bobs}/sub leads out of the site's own folder", str(error))

    def test_elsewhere(self) -> None:
        """A Docker of another host has folders that are not ours to look at."""
        old = self.start("old", self.declared).instance.id
        self.start("new", evolve(self.declared, kind=Container("lamp:7")))
        self.lead("/var/run")
        self.dockerd._api.local = False
        self.assertEqual(self.dockerd.revert(SITE, old, Errand()).instance.id, old)


class PauseTests(DockerdTestCase):
    """`Dockerd.pause` and `resume`: what only an odd moment shows."""

    def test_pause_race(self) -> None:
        """Who is paused, or goes on, by somebody else at the same moment is so."""
        id = self.start().instance.id
        pause, unpause = FakeApi.pause, FakeApi.unpause

        def paused_already(api, id):
            pause(api, id)
            raise Refused(409, "already paused")

        def gone_on_already(api, id):
            unpause(api, id)
            raise Refused(500, "not paused")

        self.patch(FakeApi, "pause", paused_already)
        self.patch(FakeApi, "unpause", gone_on_already)
        self.dockerd.pause(SITE)
        self.assertTrue(self.docker.made[id]["State"]["Paused"])
        self.dockerd.resume(SITE)
        self.alone()

    def test_pause_refused(self) -> None:
        """What Docker refuses for another reason is told in its words."""
        self.start()
        self.docker.refusals["pause"] = [Refused(500, "no freezer here")]
        error = self.assertRaises(EngineFailed, self.dockerd.pause, SITE)
        self.assertIn("no freezer here", str(error))
        self.dockerd.pause(SITE)
        self.docker.refusals["unpause"] = [Refused(500, "no freezer here")]
        error = self.assertRaises(EngineFailed, self.dockerd.resume, SITE)
        self.assertIn("no freezer here", str(error))


class EndTests(DockerdTestCase):
    """`Dockerd.stop`, `Dockerd.remove` and the ends that Docker tells of."""

    def test_stop(self) -> None:
        """Stopping ends it and notes how."""
        first = self.start()
        errand = Errand()
        self.dockerd.stop(SITE, 3, errand)
        self.assertEqual(self.docker.running(SITE), [])
        self.assertEqual([seen.run for seen in errand.ended], [first.run])

    def test_killed(self) -> None:
        """What Docker could not end is killed."""
        self.start()
        self.docker.stubborn = True
        errand = Errand()
        self.dockerd.stop(SITE, 3, errand)
        self.assertEqual([seen.exit.code for seen in errand.ended], [137])

    def test_not_killed_for_another(self) -> None:
        """Who has been called off kills nothing: what runs may be what another one has started."""
        self.start()
        self.docker.stubborn = True
        errand = Errand()
        errand.cancel()
        self.assertRaises(Abandoned, self.dockerd.stop, SITE, 3, errand)
        self.assertNotIn("kill", self.docker.calls)
        self.assertEqual(len(self.docker.running(SITE)), 1)

    def test_removed_meanwhile(self) -> None:
        """What somebody removed in between is ended."""
        self.start()
        self.docker.refusals["stop"] = [Refused(404, "No such container")]
        self.dockerd.stop(SITE, 3, Errand())
        self.docker.refusals["remove"] = [Refused(404, "No such container")]
        self.dockerd.remove(SITE, Errand())

    def test_removal_in_progress(self) -> None:
        """What is being removed is waited for."""
        self.start()
        self.docker.refusals["remove"] = [Refused(409, "removal is already in progress")]
        self.dockerd.remove(SITE, Errand())
        self.assertIn("removed", self.docker.calls)
        self.assertEqual(self.docker.made, {})

    def test_remove(self) -> None:
        """Removing leaves nothing of the site, and what is of others."""
        self.start()
        self.talk("other").start(ALICE, "new", Errand())
        self.talk().start(evolve(ALICE, site="bob.example"), "new", Errand())
        self.dockerd.remove(SITE, Errand())
        self.assertEqual(len(self.docker.made), 2)
        self.assertEqual(len(self.docker.nets), 2)
        self.assertEqual([seen.instance.site for seen in self.dockerd.listing()], ["bob.example"])

    def test_network_in_use(self) -> None:
        """A network that somebody else's container has joined stays."""
        self.start()
        self.docker.refusals["remove_network"] = [Refused(403, "has active endpoints")]
        self.dockerd.remove(SITE, Errand())
        self.assertEqual(self.docker.made, {})
        self.assertEqual(len(self.docker.nets), 1)

    def death(self, id: str):
        attributes = {recipe.SITE: SITE, recipe.FINGERPRINT: "new", "exitCode": "9"}
        return self.dockerd.death({"Actor": {"ID": id, "Attributes": attributes}})

    def test_death(self) -> None:
        """What died is looked at again, for what the event does not tell."""
        id = self.start().instance.id
        self.docker.end(id, 137)
        self.docker.made[id]["State"]["OOMKilled"] = True
        exit = self.death(id).exit
        self.assertEqual((exit.code, exit.out_of_memory), (137, True))

    def test_death_without_its_reason(self) -> None:
        """Docker may hear late that memory was the reason: it is asked again some times, where
        memory has a limit and the end looks like it."""
        for memory, code, after, waits, expected in [
            (8 << 20, 137, 1, 1, True),
            (8 << 20, 137, 3, 3, True),
            (8 << 20, 137, LATE_WORDS + 1, LATE_WORDS, False),
            (8 << 20, 1, 1, 0, False),
            (None, 137, 1, 0, False),
        ]:
            waited: list[float] = []
            declared = evolve(ALICE, kind=Container("lamp:7", memory=memory))
            id = self.start(f"{memory}{code}{after}", declared).instance.id
            self.docker.end(id, code)
            state = self.docker.made[id]["State"]

            def pause(
                seconds: float, state: Any = state, waited: Any = waited, after: int = after
            ) -> None:
                waited.append(seconds)
                state["OOMKilled"] = len(waited) == after

            self.dockerd._pause = pause
            exit = self.death(id).exit
            self.assertEqual((exit.code, exit.out_of_memory), (code, expected))
            self.assertEqual(waited, [LATE_WORD] * waits)

    def test_death_and_back(self) -> None:
        """What runs again already died in a run that is over."""
        self.assertIsNone(self.death(self.start().instance.id))

    def test_death_and_removed(self) -> None:
        """Of what is gone the event tells all."""
        exit = self.death("gone").exit
        self.assertEqual((exit.site, exit.id, exit.code), (SITE, "gone", 9))

    def test_cut_off(self) -> None:
        """What somebody disconnects from its network counts as dead at once, and is ended: its
        address may be another site's next. One that has ended, is on another network still, is
        somebody else's or has gone is not told of."""
        id = self.start().instance.id
        event = {"Type": "network", "Actor": {"Attributes": {"container": id}}}
        self.assertIsNone(self.dockerd.death(event))
        self.docker.made[id]["NetworkSettings"]["Networks"] = {}
        self.assertIsNone(self.talk("other").death(event))
        self.patch(threading, "Thread", AtOnce)
        seen = self.dockerd.death(event)
        self.assertEqual((seen.instance.id, seen.exit), (id, Exit(SITE, id, None)))
        self.assertFalse(self.docker.made[id]["State"]["Running"])
        self.assertIsNone(self.dockerd.death(event))
        gone = {"Type": "network", "Actor": {"Attributes": {"container": "gone"}}}
        self.assertIsNone(self.dockerd.death(gone))
        self.assertIsNone(self.dockerd.death({"Type": "network", "Actor": {}}))

    def test_cut_off_and_started(self) -> None:
        """One that runs without a network is made anew by a start."""
        id = self.start().instance.id
        self.docker.made[id]["NetworkSettings"]["Networks"] = {}
        seen = self.start()
        self.assertNotEqual(seen.instance.id, id)
        self.assertEqual(seen.instance.address, ("10.213.0.2", 80))

    def test_death_of_others(self) -> None:
        """The ends of others' containers are no business of ours."""
        id = self.start().instance.id
        self.docker.end(id, 3)
        said = {recipe.SITE: SITE, "exitCode": "3"}
        for owner, known in (("me", True), ("other", False), ("", False)):
            attributes = {**said, recipe.OWNER: owner} if owner else said
            event = {"Type": "container", "Actor": {"ID": id, "Attributes": attributes}}
            self.assertIs(self.dockerd.death(event) is not None, known)

    def test_healthy(self) -> None:
        """It is healthy while it runs, and its image's check passes if it has one."""
        id = self.start().instance.id
        self.assertTrue(self.dockerd.healthy(id))
        for status, healthy in (("starting", False), ("unhealthy", False), ("healthy", True)):
            self.docker.made[id]["State"]["Health"] = {"Status": status}
            self.assertIs(self.dockerd.healthy(id), healthy)
        self.docker.end(id)
        self.assertFalse(self.dockerd.healthy(id))
        self.assertFalse(self.dockerd.healthy("gone"))

    def test_logs(self) -> None:
        """Logs are those of the container that runs; without one it is said."""
        self.assertRaises(EngineFailed, self.dockerd.logs, SITE, 5, False)
        id = self.start().instance.id
        self.assertEqual(list(self.dockerd.logs(SITE, 5, True)), [f"{id} 5 True".encode()])


class KilledTests(DockerdTestCase):
    """Snickers killed in the middle of a start: the next one goes on from there."""

    def before_nothing(self) -> None:
        """Nothing is there."""

    def before_running(self) -> None:
        """One of another declaration runs."""
        self.start("old")

    def before_stopped(self) -> None:
        """One of another declaration was stopped."""
        self.start("old")
        self.dockerd.stop(SITE, 1, Errand())

    def before_same(self) -> None:
        """The right one was stopped."""
        self.start()
        self.dockerd.stop(SITE, 1, Errand())

    def before_paused(self) -> None:
        """One of another declaration was paused."""
        id = self.start("old").instance.id
        self.docker.made[id]["State"].update(Paused=True, Status="paused")

    def before_mixed(self) -> None:
        """One of another declaration runs, the right one was stopped."""
        self.start()
        self.dockerd.stop(SITE, 1, Errand())
        kept = dict(self.docker.made)
        self.docker.made.clear()
        self.start("old")
        self.docker.made.update(
            {id: {**each, "Name": "/snickers-alice.example.abc"} for id, each in kept.items()}
        )

    def test_killed(self) -> None:
        """Wherever it is killed, two never run at once, and the next start leaves the right one."""
        tried = 0
        for name in [name for name in dir(self) if name.startswith("before_")]:
            for after in (False, True):
                at = 0
                while self.killed(name, at, after):
                    at += 1
                    tried += 1
        self.assertGreater(tried, 100)

    def killed(self, before: str, at: int, after: bool) -> bool:
        """Prepare, be killed in the call number *at*, start again; whether it was killed."""
        self.docker = FakeDocker()
        self.dockerd = self.talk()
        getattr(self, before)()
        self.docker.kill_at, self.docker.kill_after = len(self.docker.calls) + at, after
        try:
            self.start()
        except Killed:
            was = True
        else:
            was = False
        self.docker.kill_at = -1
        self.dockerd = self.talk()
        self.start()
        self.assertEqual(self.alone()["Name"], NAME)
        self.assertEqual(len(self.docker.nets), 1)
        return was
