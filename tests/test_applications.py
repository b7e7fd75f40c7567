"""The catalogue of applications: whether each file is whole, true to the options there are, sane,
and on its page. Two of them are really run by `tests.test_applications_live`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from snickers.composefile import File, mounts
from snickers.config import formats
from snickers.config.parse import load, parse
from snickers.config.values import CAPABILITIES, Container, Lifecycle, Site

CHECKOUT = Path(__file__).parent.parent
CATALOGUE = CHECKOUT / "etc" / "applications"
FILES = sorted(CATALOGUE.glob("*.ini"))
PAGE = CHECKOUT / "docs" / "applications.md"

WANTED = {
    *("type", "image", "port", "data", "memory", "pids", "capabilities"),
    *("health", "wake within", "idle after", "snapshot", "snapshot within"),
}
"""The options each application says, so that nobody must know what the defaults are."""

WANTED_OF_SEVERAL = {
    *("type", "services", "service", "port", "memory", "pids", "capabilities"),
    *("health", "wake within", "idle after", "copy when asleep"),
}
"""The same, for an application of several containers: the rest is in its file of services, and what
they keep is copied when they are at rest."""

LIVE = CHECKOUT / "tests" / "test_applications_live.py"
RUN = set(re.findall(r'self\.begin\("(.+?)"', LIVE.read_text()))
"""Those that are really run."""


def used(file: Path) -> Site:
    """Return a site that only says that it uses the application of *file*, without a fault."""
    minimal = f"[site.example]\napplication = {file.stem}\n"
    files = {str(path): path.read_text() for path in CATALOGUE.glob("*.yaml")}
    written = [("/etc/snickers/sites.ini", minimal), (str(file), file.read_text())]
    configuration = parse(written, files)
    if configuration.faults:
        raise AssertionError([str(fault) for fault in configuration.faults])
    return configuration.sites["site.example"]


def lives() -> list[tuple[str, Container, Lifecycle]]:
    """Return the name of each application with what it makes of a site."""
    kinds = [(file.stem, used(file).kind) for file in FILES]
    return [(name, kind, kind.life) for name, kind in kinds if isinstance(kind, Container)]


def single() -> list[tuple[str, Container, Lifecycle]]:
    """Return those of one container."""
    return [each for each in lives() if each[1].image]


def images(kind: Container) -> list[str]:
    """Return the images of one of several containers, or of one."""
    if kind.image:
        return [kind.image]
    return [said["image"] for said in File(kind.composition).document["services"].values()]


def row(name: str, kind: Container) -> str:
    """Return the line of the page's table for an application."""
    life = kind.life
    cells = [
        f"[{name}](../etc/applications/{name}.ini)",
        " ".join(f"`{image}`" for image in images(kind)),
        formats.show_size(kind.memory or 0),
        kind.user or "root",
        "yes" if kind.read_only else "no",
        f"`{life.health}`",
        formats.show_duration(life.idle_after),
        "really run" if name in RUN else "from its documentation",
    ]
    return f"| {' | '.join(cells)} |"


class CatalogueTests(SynchronousTestCase):
    """``etc/applications``."""

    def test_as_documented(self) -> None:
        """All are included by one line, and none is in another's way."""
        self.assertGreaterEqual(len(FILES), 6)
        folder = Path(self.mktemp())
        folder.mkdir()
        sites = "".join(f"[{f.stem}.example]\napplication = {f.stem}\n" for f in FILES)
        (folder / "sites.ini").write_text("[snickers]\ninclude = applications/*.ini\n" + sites)
        shutil.copytree(CATALOGUE, folder / "applications")
        configuration = load(str(folder / "sites.ini")).configuration
        self.assertEqual([str(fault) for fault in configuration.faults], [])
        self.assertEqual(len(configuration.sites), len(FILES))

    def test_wanted(self) -> None:
        """Each is one section with the file's name, and says every option that matters."""
        for file in FILES:
            text = file.read_text()
            self.assertEqual(re.findall(r"^\[(.+)\]$", text, re.M), [f"application {file.stem}"])
            said = set(re.findall(r"^([a-z][a-z ]*) =", text, re.M))
            wanted = WANTED_OF_SEVERAL if "services" in said else WANTED
            self.assertEqual(wanted - said, set(), file.name)

    def test_told(self) -> None:
        """Its first lines say what it is, how it was checked, and what a site must say."""
        for file in FILES:
            comment = file.read_text().partition("\n[")[0]
            self.assertTrue(comment.startswith("# "), file.name)
            checked = "Checked: really run" if file.stem in RUN else "Checked: not run"
            self.assertIn(checked, comment, file.name)
            self.assertIn(f"#   application = {file.stem}\n", comment, file.name)
            for line in file.read_text().splitlines():
                self.assertLessEqual(len(line), 100, file.name)

    def test_containers(self) -> None:
        """Each is a container with a folder for its data and an image that says its version."""
        self.assertEqual(len(lives()), len(FILES))
        for name, kind, _ in lives():
            self.assertTrue(kind.data.startswith("/") or kind.services, name)
            for image in images(kind):
                self.assertRegex(image, r"^[a-z0-9./-]+:[a-z0-9.-]+$")
            self.assertEqual(kind.pull, "missing", name)
            self.assertEqual(kind.network, "", name)

    def test_sizes(self) -> None:
        """A dozen fit on a small machine, and none is too small for what it is."""
        for name, kind, life in lives():
            self.assertTrue(64 * 2**20 <= (kind.memory or 0) <= 2**30, name)
            self.assertTrue(32 <= (kind.pids or 0) <= 512, name)
            self.assertTrue(10 <= life.wake_within <= 300, name)
            self.assertTrue(300 <= life.idle_after <= 7200, name)
            self.assertTrue(60 <= life.snapshot_within <= 1800, name)

    def test_privileges(self) -> None:
        """No capability beyond the usual ones; and none at all for who does not begin as root."""
        for name, kind, _ in lives():
            self.assertLessEqual(set(kind.capabilities), set(CAPABILITIES), name)
            if kind.user:
                # As numbers: then the site's folder is given to that user.
                self.assertRegex(kind.user, r"^[1-9][0-9]*:[0-9]+$")
                self.assertEqual(kind.capabilities, (), name)

    def test_health(self) -> None:
        """That a port is open does not show that an application is ready: a path shows it."""
        for name, _, life in lives():
            self.assertTrue(life.health == "docker" or life.health.startswith("/"), name)

    def test_no_secret(self) -> None:
        """No password and no address of anybody stands in a file that all sites share."""
        for name, kind, _ in lives():
            for variable, value in kind.environment:
                self.assertNotRegex(variable, "(?i)passw|secret|token", name)
                self.assertNotIn("@", value, name)


class SeveralTests(SynchronousTestCase):
    """Applications of several containers."""

    def test_in_the_folder(self) -> None:
        """All that their services keep is in the site's own folder, and copied when they are at
        rest; who answers waits until the others are ready."""
        several = [each for each in lives() if each[1].services]
        self.assertTrue(several)
        for name, kind, life in several:
            self.assertTrue(life.copy_when_asleep, name)
            document = File(kind.composition).document
            self.assertNotIn("volumes", document, name)
            for service in document["services"].values():
                for mount in mounts(service):
                    self.assertTrue(mount.source.startswith("./"), mount)
            needed = document["services"][kind.service]["depends_on"]
            self.assertEqual({how["condition"] for how in needed.values()}, {"service_healthy"})


class SnapshotTests(SynchronousTestCase):
    """The snapshot commands, as far as they can be looked at without running them."""

    def test_in_the_data(self) -> None:
        """What they make is in the folder that stays, and is put there whole or not at all."""
        for name, kind, life in single():
            command = " ".join(life.snapshot)
            if name not in ("freshrss", "vaultwarden"):  # Their own commands choose the place.
                self.assertRegex(command, r"\bmv |rename", name)
            self.assertIn(kind.data, command, name)

    def test_shell(self) -> None:
        """Scripts for the shell are right, and no line ends where the command goes on."""
        scripts = [(name, life.snapshot) for name, _, life in single() if life.snapshot[0] == "sh"]
        self.assertTrue(scripts)
        for name, (_, option, script) in scripts:
            self.assertEqual(option, "-c")
            parsed = subprocess.run(["sh", "-n", "-c", script], capture_output=True, check=False)
            self.assertEqual((parsed.returncode, parsed.stderr), (0, b""), name)
            for line in script.split("\n")[:-1]:
                self.assertRegex(line, r"(&&|\|\||\||\\)$", name)

    def test_node(self) -> None:
        """Scripts for Node.js are right."""
        if (node := shutil.which("node")) is None:
            raise SkipTest("Node.js is not installed.")
        scripts = [life.snapshot for _, _, life in single() if life.snapshot[0] == "node"]
        self.assertTrue(scripts)
        for _, option, script in scripts:
            self.assertEqual(option, "-e")
            look = [node, "-e", "new Function('require', process.argv[1])", script]
            parsed = subprocess.run(look, capture_output=True, check=False)
            self.assertEqual((parsed.returncode, parsed.stderr), (0, b""), script)


class PageTests(SynchronousTestCase):
    """``docs/applications.md``."""

    def test_table(self) -> None:
        """Its table is what the files say today."""
        rows = [row(name, kind) for name, kind, _ in lives()]
        found = re.findall(r"^\| \[.*$", PAGE.read_text(), re.M)
        self.assertEqual(found, rows, "the table should be:\n" + "\n".join(rows))

    def test_example(self) -> None:
        """Its examples have no fault."""
        examples = re.findall(r"```ini\n(.*?)```", PAGE.read_text(), re.S)
        self.assertTrue(examples)
        files = [(str(file), file.read_text()) for file in FILES]
        for example in examples:
            services = {str(path): path.read_text() for path in CATALOGUE.glob("*.yaml")}
            configuration = parse([("/etc/snickers/sites.ini", example), *files], services)
            self.assertEqual([str(fault) for fault in configuration.faults], [])
            self.assertTrue(configuration.sites)
