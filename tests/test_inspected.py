"""What Docker tells of a container, read."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import inspected, recipe
from snickers.containers.errand import Seen
from snickers.interfaces.engine import Exit, Instance
from tests.dockerd_case import NAME, SITE

LABELS = {recipe.SITE: SITE, recipe.FINGERPRINT: "print", recipe.IMAGE: "sha256:7"}


def found(**changed: Any) -> dict[str, Any]:
    """What Docker tells of a container that runs; *changed* says what of its state is otherwise."""
    state = {
        "Running": True,
        "Paused": False,
        "StartedAt": "2030-01-01T00:00:01.5Z",
        "ExitCode": 0,
        "OOMKilled": False,
    }
    return {
        "Id": "abc",
        "Name": NAME,
        "State": {**state, **changed},
        "Config": {"Labels": LABELS},
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "10.213.0.2"}}},
    }


class ReadTests(SynchronousTestCase):
    def test_running(self) -> None:
        """One that runs has its address, and no end."""
        self.assertEqual(
            inspected.read(found()),
            Seen(
                Instance(
                    SITE,
                    "abc",
                    "print",
                    True,
                    ("10.213.0.2", 80),
                    1893456001.5,
                    image="sha256:7",
                ),
                NAME[1:],
                "2030-01-01T00:00:01.5Z",
                None,
                image="sha256:7",
            ),
        )

    def test_binds(self) -> None:
        """What of this host it was given is read of it, and where its site's own folder was."""
        said = found()
        said["Mounts"] = [
            {"Type": "bind", "Source": "/data/x", "Destination": "/x", "RW": True},
            {"Type": "bind", "Source": "/srv/y", "Destination": "/y", "RW": False},
            {"Type": "volume", "Name": "z", "Source": "/var/lib/z", "Destination": "/z"},
        ]
        said["Config"] = {"Labels": {**LABELS, recipe.DATA: "/data"}}
        seen = inspected.read(said)
        self.assertEqual(seen.binds, (("/data/x", False), ("/srv/y", True)))
        self.assertEqual(seen.data, "/data")

    def test_ended(self) -> None:
        """One that ran has its end, and no address."""
        seen = inspected.read(found(Running=False, ExitCode=137, OOMKilled=True))
        self.assertEqual(seen.exit, Exit(SITE, "abc", 137, True))
        self.assertIsNone(seen.instance.address)

    def test_never_started(self) -> None:
        """One that was only made has neither, nor a time of its start."""
        seen = inspected.read(found(Running=False, StartedAt="0001-01-01T00:00:00Z"))
        self.assertEqual((seen.exit, seen.instance.started), (None, None))

    def test_paused(self) -> None:
        """Only what runs can be paused."""
        self.assertTrue(inspected.read(found(Paused=True)).instance.paused)
        self.assertFalse(inspected.read(found(Running=False, Paused=True)).instance.paused)

    def test_strangers(self) -> None:
        """Labels that are not there are no reason to fail."""
        told = found()
        told["Config"] = {"Labels": None, "StopTimeout": 3}
        seen = inspected.read(told)
        self.assertEqual((seen.instance.site, seen.image, seen.stop_within), ("", "", 3.0))

    def test_address(self) -> None:
        """The address is the host's in the host's network, of version 6 where there is no other,
        and none where it has joined nothing."""
        told = found()
        told["HostConfig"] = {"NetworkMode": "host"}
        self.assertEqual(inspected.read(told).instance.address, ("127.0.0.1", 80))
        told = found()
        joined = {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}
        told["NetworkSettings"] = {"Networks": {"none": {}, "six": joined}}
        self.assertEqual(inspected.read(told).instance.address, ("fd00::2", 80))
        told["NetworkSettings"] = {"Networks": {}}
        self.assertIsNone(inspected.read(told).instance.address)


class MarkedTests(SynchronousTestCase):
    def see(self, name: str, running: bool = True) -> Seen:
        """A container of that name."""
        return evolve(inspected.read(found(Running=running)), name=name)

    def beside(self, *seen: Seen) -> list[bool]:
        """Which of them are said to run beside the one that serves."""
        return [each.instance.beside for each in inspected.marked(seen)]

    def test_serves(self) -> None:
        """The site's name says which one serves, the plain one or the one with its owner's."""
        plain = NAME[1:]
        self.assertTrue(inspected.serves(self.see(plain)))
        self.assertTrue(inspected.serves(self.see(f"{plain}__me")))
        self.assertFalse(inspected.serves(self.see(f"{plain}.abc")))
        self.assertFalse(inspected.serves(self.see(plain, running=False)))
        self.assertTrue(inspected.has_name(self.see(plain, running=False)))

    def test_marked(self) -> None:
        """Beside one that serves others are only tried; where none serves, nobody is."""
        plain, tried = self.see(NAME[1:]), self.see(f"{NAME[1:]}.abc")
        self.assertEqual(self.beside(plain, tried), [False, True])
        self.assertEqual(self.beside(tried, tried), [False, False])
        ended = self.see(f"{NAME[1:]}.abc", running=False)
        self.assertEqual(self.beside(plain, ended), [False, False])
