"""What a container may do on this host."""

from __future__ import annotations

import math
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Container, Lifecycle
from snickers.containers import recipe
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Declared


def made(**options):
    """Return the configuration of a container with these options."""
    declared = Declared("alice.example", Container("lamp:7", **options), "/data/alice.example")
    return recipe.creation(
        declared, "me", "print", "sha256:abc", "lamp@sha256:def", "snickers-alice.example", True
    )


class CreationTests(SynchronousTestCase):
    """`creation`."""

    def test_plain(self) -> None:
        """Without options a container has nothing but what every one has."""
        self.assertEqual(
            made(),
            {
                "Image": "lamp:7",
                "Env": [],
                "Labels": {
                    "io.snickers.site": "alice.example",
                    "io.snickers.instance": "me",
                    "io.snickers.fingerprint": "print",
                    "io.snickers.port": "80",
                    "io.snickers.image": "sha256:abc",
                    "io.snickers.digest": "lamp@sha256:def",
                    "io.snickers.data": "/data/alice.example",
                    "io.snickers.project": "",
                },
                "HostConfig": {
                    "Mounts": [],
                    "NetworkMode": "snickers-alice.example",
                    "RestartPolicy": {"Name": "no"},
                    "SecurityOpt": ["no-new-privileges"],
                    "CapDrop": ["ALL"],
                    "CapAdd": [
                        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL"),
                        *("NET_BIND_SERVICE", "SETGID", "SETUID"),
                    ],
                    "Memory": 1 << 30,
                    "MemorySwap": 1 << 30,
                    "PidsLimit": 512,
                    "LogConfig": {
                        "Type": "json-file",
                        "Config": {"max-size": "10m", "max-file": "3"},
                    },
                    "Init": True,
                },
                "StopTimeout": 10,
            },
        )

    def test_process(self) -> None:
        """Command, environment and user are those of the configuration."""
        config = made(
            command=("serve", "--all"), environment=(("A", "1"), ("B", "x=y")), user="1234:5"
        )
        self.assertEqual(config["Cmd"], ["serve", "--all"])
        self.assertEqual(config["Env"], ["A=1", "B=x=y"])
        self.assertEqual(config["User"], "1234:5")

    def test_limits(self) -> None:
        """Memory is limited without swap beyond it; processors and processes are."""
        host = made(memory=64 << 20, cpus=0.5, pids=100)["HostConfig"]
        self.assertEqual((host["Memory"], host["MemorySwap"]), (64 << 20, 64 << 20))
        self.assertEqual((host["NanoCpus"], host["PidsLimit"]), (500_000_000, 100))

    def test_unlimited(self) -> None:
        """Limits can be taken away, by who says so."""
        host = made(memory=None, pids=None)["HostConfig"]
        self.assertEqual({"Memory", "MemorySwap", "NanoCpus", "PidsLimit"} & set(host), set())

    def test_read_only(self) -> None:
        """What is read only can write to memory, but where something is mounted."""
        host = made(read_only=True, volumes=("/var/run/lamp:/run",))["HostConfig"]
        self.assertTrue(host["ReadonlyRootfs"])
        self.assertEqual(list(host["Tmpfs"]), ["/tmp"])

    def test_capabilities(self) -> None:
        """Capabilities are kept on top of none."""
        host = made(capabilities=("chown", "NET_BIND_SERVICE"))["HostConfig"]
        self.assertEqual(host["CapDrop"], ["ALL"])
        self.assertEqual(host["CapAdd"], ["CHOWN", "NET_BIND_SERVICE"])
        self.assertEqual(made(capabilities=())["HostConfig"]["CapAdd"], [])

    def test_mounts(self) -> None:
        """The site's folder and volumes are mounted, these perhaps only to be read."""
        mounts = made(data="/lamp", volumes=("/srv/a:/a", "/srv/b:/b:ro", "named:/c"))[
            "HostConfig"
        ]["Mounts"]
        self.assertEqual(
            [(m["Type"], m["Source"], m["Target"], m["ReadOnly"]) for m in mounts],
            [
                ("bind", "/data/alice.example", "/lamp", False),
                ("bind", "/srv/a", "/a", False),
                ("bind", "/srv/b", "/b", True),
                ("volume", "named", "/c", False),
            ],
        )

    def test_no_volume(self) -> None:
        """What is no volume is refused, in words that show it."""
        for volume in ("/a", "/a:", ":/b", "/a:b", "/a:/b:rx", "/a:/b:ro:z", "/a:/b:", ""):
            error = self.assertRaises(EngineFailed, made, volumes=(volume,))
            self.assertIn(f"volumes = {volume}:", str(error))

    def test_nothing_dangerous(self) -> None:
        """Whatever the options, nothing is published, privileged or shared with the host."""
        config = made(
            data="/d", memory=1, cpus=1, pids=1, read_only=True, capabilities=("ALL",), user="0"
        )
        never = {"PortBindings", "PublishAllPorts", "Privileged", "PidMode", "IpcMode", "Devices"}
        self.assertEqual(never & set(config["HostConfig"]), set())
        self.assertEqual(config["HostConfig"]["SecurityOpt"], ["no-new-privileges"])

    def test_stop_within(self) -> None:
        """Docker's own end waits as long, in whole seconds, where there is an end of waiting."""
        self.assertEqual(made(life=Lifecycle(stop_within=1.2))["StopTimeout"], 2)
        self.assertNotIn("StopTimeout", made(life=Lifecycle(stop_within=math.inf)))


class NameTests(SynchronousTestCase):
    """`name`, `port_of` and `wants_init`."""

    @settings(derandomize=True, deadline=None)
    @given(st.from_regex(r"(\*\.)?[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,3}", fullmatch=True))
    def test_name(self, site: str) -> None:
        """Every site's name is one that Docker allows."""
        self.assertTrue(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", recipe.name(site)))

    def test_port_of(self) -> None:
        """The port is read back from the labels; what was tampered with is the default."""
        self.assertEqual(recipe.port_of(made(port=8080)["Labels"]), 8080)
        self.assertEqual(recipe.port_of({recipe.PORT: "x"}), 80)
        self.assertEqual(recipe.port_of({}), 80)

    def test_digest(self) -> None:
        """Of an image's digests the one counts that is of the name's own registry."""
        known = [
            "other.example/lamp@sha256:1",
            "registry.example:5000/a/lamp@sha256:2",
            "n@sha256:3",
        ]
        for name, wanted in (
            ("registry.example:5000/a/lamp:7", known[1]),
            ("registry.example:5000/a/lamp", known[1]),
            ("other.example/lamp@sha256:1", known[0]),
            ("n:latest", known[2]),
            ("docker.io/library/n", known[2]),
            ("lamp", ""),
        ):
            self.assertEqual(recipe.digest(name, known), wanted)

    def test_owner(self) -> None:
        """Numbers mean the same user on the host; names only the image knows."""
        self.assertEqual(recipe.owner("1234:56"), (1234, 56))
        self.assertEqual(recipe.owner("1234"), (1234, 0))
        for user in ("", "lamp", "1234:lamp", "lamp:56", "-1", "\u0661"):
            self.assertIsNone(recipe.owner(user))

    def test_wants_init(self) -> None:
        """An image that begins with an init of its own gets no other."""
        self.assertTrue(recipe.wants_init(None))
        self.assertTrue(recipe.wants_init(()))
        self.assertTrue(recipe.wants_init(("/usr/bin/node", "server.js")))
        self.assertFalse(recipe.wants_init(("/init",)))
        self.assertFalse(recipe.wants_init(("/usr/bin/tini", "--", "serve")))
