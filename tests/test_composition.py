"""What is made of a site's file: the site's own containers, found again by their labels."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Container, Lifecycle
from snickers.containers import composition as c
from snickers.containers import recipe
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Declared

KIND = Container(
    services="/srv/compose.yaml",
    service="web",
    composition="services: ...",
    environment=(("TITLE", "A"),),
    port=8080,
    memory=1000,
    pids=7,
    capabilities=("CHOWN", "setuid"),
    life=Lifecycle(stop_within=2.5),
)
DECLARED = Declared("a.example", KIND, "/data/a.example")
IMAGES = {
    "web": c.Image("sha256:1", "web@sha256:2", ("/tini", "--")),
    "db": c.Image("sha256:3"),
    "init": c.Image("sha256:3"),
}
RESOLVED: dict[str, Any] = {
    "name": "asked",
    "services": {
        "web": {
            "image": "web:1",
            "depends_on": {"db": {"condition": "service_healthy"}},
            "labels": ["a=b", "io.snickers.site=b.example", "c"],
            "restart": "always",
        },
        "db": {"image": "db:1", "depends_on": {"init": {"condition": c.DONE}}},
        "init": {"image": "db:1"},
        "tools": {"image": "other", "profiles": ["tools"]},
    },
}
NETWORKS = {"default": "snickers-a.example"}


def made(web: dict[str, Any] | None = None, **top: Any) -> c.Composition:
    """What is made of a file whose service ``web`` says *web* besides."""
    services = {**RESOLVED["services"]}
    services["web"] = {**services["web"], **(web or {})}
    resolved = {**RESOLVED, **top, "services": services}
    return c.composed(DECLARED, "me", "print", resolved, IMAGES, NETWORKS, "asked", True)


def web(**said: Any) -> dict[str, Any]:
    """The service ``web``, as it is made when the file says *said* of it."""
    return dict(made(said).file["services"]["web"])


class CompositionTests(SynchronousTestCase):
    def test_labels(self) -> None:
        """Every container is found by its labels; none that the file says can pass for them."""
        composition = made()
        labels = composition.file["services"]["web"]["labels"]
        self.assertEqual(
            labels,
            {
                "a": "b",
                "c": "",
                recipe.SITE: "a.example",
                recipe.OWNER: "me",
                recipe.FINGERPRINT: "print",
                recipe.PORT: "8080",
                recipe.IMAGE: "sha256:1",
                recipe.DIGEST: "web@sha256:2",
                c.PROJECT: composition.project,
                c.SERVICE: "web",
                c.ANSWERS: "web",
                c.LASTING: "db web",
            },
        )
        db = composition.file["services"]["db"]["labels"]
        self.assertEqual(
            (db[c.SERVICE], db[c.ANSWERS], db[recipe.IMAGE]), ("db", "web", "sha256:3")
        )

    def test_started(self) -> None:
        """What is of a profile is left out; who others wait for to end does not need to last."""
        self.assertEqual(list(made().file["services"]), ["web", "db", "init"])
        self.assertEqual(made().answers, "web")

    def test_project(self) -> None:
        """The name is one that both tools take, and another for everything that differs."""
        names = {
            made().project,
            made({"command": "x"}).project,
            c.composed(DECLARED, "you", "print", RESOLVED, IMAGES, NETWORKS, "asked", True).project,
            c.composed(
                evolve(DECLARED, site="b.example"),
                *("me", "print", RESOLVED, IMAGES, NETWORKS, "asked", True),
            ).project,
            c.composed(
                DECLARED,
                *("me", "print", RESOLVED, {**IMAGES, "db": c.Image("x")}, NETWORKS, "asked", True),
            ).project,
        }
        self.assertEqual(len(names), 5)
        self.assertEqual(made().project, made().project)
        for site in ("*.A.example", "a" * 200, "xn--e1afmkfd.example"):
            self.assertRegex(c.asking(site), r"\A[a-z0-9][a-z0-9_-]{0,47}\Z")

    def test_log(self) -> None:
        """A log on this host is bounded, whatever the file leaves open; another driver is its own
        affair."""
        bounded = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
        self.assertEqual(web()["logging"], bounded)
        self.assertEqual(web(logging={"driver": "json-file"})["logging"], bounded)
        said = {"driver": "json-file", "options": {"max-size": "1m", "labels": "a"}}
        self.assertEqual(
            web(logging=said)["logging"]["options"],
            {"max-size": "1m", "max-file": "3", "labels": "a"},
        )
        self.assertEqual(web(logging={"driver": "fluentd"})["logging"], {"driver": "fluentd"})

    def test_images(self) -> None:
        """Containers are made of what the images are now, whatever their names mean later."""
        self.assertEqual(web()["image"], "sha256:1")

    def test_restart(self) -> None:
        """Waking is Snickers' own work."""
        self.assertEqual(web()["restart"], "no")

    def test_limits(self) -> None:
        """The site's limits hold where the file says none; those of a ``deploy`` count, too."""
        limits = ("mem_limit", "memswap_limit", "pids_limit", "cpus")

        def of(**said: Any) -> list[Any]:
            found = web(**said)
            self.assertNotIn("deploy", found)
            return [found.get(limit) for limit in limits]

        self.assertEqual(of(), [1000, 1000, 7, None])
        self.assertEqual(of(mem_limit="2g", cpus="0.5", pids_limit=3), ["2g", "2g", 3, 0.5])
        deploy = {"resources": {"limits": {"memory": "9m", "cpus": 2, "pids": 4}}, "replicas": 1}
        self.assertEqual(of(deploy=deploy), ["9m", "9m", 4, 2.0])
        self.assertEqual(of(mem_limit="2g", memswap_limit="3g"), ["2g", "2g", 7, None])

    def test_no_limits(self) -> None:
        """Where the site has none there are none."""
        kind = evolve(KIND, memory=None, pids=None)
        found = c.composed(
            evolve(DECLARED, kind=kind), "me", "x", RESOLVED, IMAGES, NETWORKS, "asked", True
        ).file["services"]["db"]
        self.assertFalse({"mem_limit", "memswap_limit", "pids_limit"} & found.keys())

    def test_graphics(self) -> None:
        """What is reserved of graphics cards stays reserved."""
        devices = [{"driver": "nvidia", "capabilities": ["gpu"]}]
        found = web(deploy={"resources": {"reservations": {"devices": devices, "cpus": "1"}}})
        self.assertEqual(found["deploy"], {"resources": {"reservations": {"devices": devices}}})

    def test_privileges(self) -> None:
        """None are gained, whatever the file says."""
        self.assertEqual(web()["security_opt"], ["no-new-privileges:true"])
        self.assertEqual(
            web(security_opt=["label:type:x"])["security_opt"],
            ["label:type:x", "no-new-privileges:true"],
        )
        self.assertEqual(
            web(security_opt=["no-new-privileges:false"])["security_opt"],
            ["no-new-privileges:true"],
        )

    def test_capabilities(self) -> None:
        """The site's, more where the file adds some, fewer where it drops some, on top of none."""
        for added, dropped, kept in (
            (None, None, ["CHOWN", "SETUID"]),
            (["NET_RAW", "chown"], None, ["CHOWN", "SETUID", "NET_RAW"]),
            (["CAP_NET_RAW"], ["CAP_SETUID"], ["CHOWN", "NET_RAW"]),
            (["KILL"], ["ALL"], ["KILL"]),
            (None, ["all"], []),
        ):
            found = web(cap_add=added, cap_drop=dropped)
            self.assertEqual((found["cap_add"], found["cap_drop"]), (kept, ["ALL"]))

    def test_said_by_the_file(self) -> None:
        """Log, patience and init are the file's where it says them, else as of one container."""
        found = web()
        self.assertEqual(found["logging"]["options"]["max-size"], "10m")
        self.assertEqual(found["stop_grace_period"], "3s")
        self.assertFalse(found["init"])  # Its image has one.
        self.assertTrue(made().file["services"]["db"]["init"])
        said = {"logging": {"driver": "none"}, "stop_grace_period": "1m", "init": True}
        self.assertEqual({key: web(**said)[key] for key in said}, said)
        self.assertNotIn("init", web(entrypoint=["/mine"]))

    def test_networks(self) -> None:
        """They are the site's own, and those beside the first one are told."""
        networks = {"default": {"name": "asked_default"}, "back": {"internal": True}, "front": None}
        self.assertEqual(c.networks_of({"networks": networks}), {"back": True, "front": False})
        self.assertEqual(c.networks_of({}), {})
        self.assertEqual(
            made().file["networks"], {"default": {"external": True, "name": "snickers-a.example"}}
        )

    def test_volumes(self) -> None:
        """They are made by Snickers, so that no tool removes them: with a name of the site's,
        unless the file gives them one."""
        composition = made(
            volumes={
                "a": {"name": "asked_a"},
                "b": None,
                "c": {"name": "mine", "driver": "nfs", "driver_opts": {"o": 1}},
                "d": {"external": True, "name": "theirs"},
                "e": {"external": True},
                "f": {"external": {"name": "old"}},
            }
        )
        self.assertEqual(
            composition.volumes,
            (
                c.Volume("snickers-a.example_a", "local"),
                c.Volume("snickers-a.example_b", "local"),
                c.Volume("mine", "nfs", (("o", "1"),)),
                c.Volume("theirs"),
                c.Volume("e"),
                c.Volume("old"),
            ),
        )
        self.assertEqual(composition.file["volumes"]["c"], {"external": True, "name": "mine"})

    def test_secrets(self) -> None:
        """What is declared beside stays."""
        self.assertEqual(made(secrets={"s": {"file": "/x"}}).file["secrets"], {"s": {"file": "/x"}})

    def test_given(self) -> None:
        """What the tool is given holds, in a label, all that it takes to give it again."""
        composition = made()
        text = c.given(composition.file, "web")
        label = json.loads(text)["services"]["web"]["labels"][c.FILE]
        self.assertEqual(c.unpack(label), json.loads(json.dumps(composition.file)))
        self.assertEqual(c.given(c.unpack(label), "web"), text)
        self.assertEqual(c.folder_of(c.document(text)), "/data/a.example")

    @given(st.dictionaries(st.text(), st.text()))
    def test_packed(self, file: dict[str, str]) -> None:
        """What is packed can be unpacked, and is a label without what the tool would fill in."""
        label = c.pack(file)
        self.assertNotIn("$", label)
        self.assertEqual(c.unpack(label), file)

    def test_changed_label(self) -> None:
        """A label that somebody has changed is told in words."""
        for label in ("", "x", c.pack({})[:-8], "!!!!"):
            self.assertRaises(EngineFailed, c.unpack, label)

    def test_variables(self) -> None:
        """The site's own, its name and its folder."""
        self.assertEqual(
            c.variables(DECLARED),
            {"TITLE": "A", "SNICKERS_SITE": "a.example", "SNICKERS_DATA": "/data/a.example"},
        )


class WordsTests(SynchronousTestCase):
    """What both tools say."""

    def test_progress(self) -> None:
        """What happens to which service; nothing of all else."""
        for line, words in (
            (" Container p-db-1  Starting", "db: starting"),
            (" Container p-my-db-1  Healthy", "my-db: healthy"),
            ("Creating p_db_1 ... ", "db: creating"),
            ("Starting p_web_1 ... done", "web: starting"),
            (" Network p_default  Created", ""),
            ("something else", ""),
            (" Container other-db-1  Started", ""),
        ):
            self.assertEqual(c.progress(line, "p"), words)

    def test_complaint(self) -> None:
        """Why it failed, without what it was doing and without its own names."""
        new = [
            " Container p-db-1  Starting",
            " Container p-db-1  Error",
            "dependency failed to start: container p-db-1 is unhealthy",
        ]
        self.assertEqual(
            c.complaint(new, "p"), "dependency failed to start: service db is unhealthy"
        )
        old = [
            "Starting p_db_1 ... ",
            "Starting p_db_1 ... error",
            "",
            "ERROR: for p_db_1  Cannot start service db: no such file.",
            "Encountered errors while bringing up the project.",
        ]
        self.assertEqual(c.complaint(old, "p"), "for p_db_1 Cannot start service db: no such file")
        self.assertEqual(
            c.complaint(["Error response from daemon: no space left"], "p"), "no space left"
        )
        self.assertEqual(c.complaint([], "p"), "it does not say why")
        self.assertLessEqual(len(c.complaint(["x" * 10_000], "p")), 600)
