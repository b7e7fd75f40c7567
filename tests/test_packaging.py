"""The wheel: it ships Snickers and its plugins, and installed ones are found by twistd."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers import __version__

CHECKOUT = Path(__file__).parent.parent
PLUGINS = {
    "twisted/plugins/snickers_plugin.py",
    "twisted/plugins/snickers_teams.py",
}

FIND = """
import os, sys
import twisted.plugins
# Where the checkout is installed to be edited, its plugin would stand in for the wheel's.
checkout = CHECKOUT_PLUGINS
twisted.plugins.__path__[:] = [path for path in twisted.plugins.__path__ if path != checkout]
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
found = [made for made in getPlugins(IServiceMaker) if made.tapname.startswith("snickers")]
# Finding them loads nothing of Snickers.
for made in sorted(found, key=lambda made: made.tapname):
    print(made.tapname, made.module, "snickers" in sys.modules)
import snickers
print(os.path.dirname(os.path.dirname(snickers.__file__)))
""".replace("CHECKOUT_PLUGINS", repr(str(CHECKOUT / "src" / "twisted" / "plugins")))


def build(target: Path) -> Path:
    """Build the wheel of the checkout into *target*, from a copy, and return its path."""
    copy = target / "copy"
    # A copy, so that nothing is left in the checkout and nothing stale of it gets in.
    stale = shutil.ignore_patterns("__pycache__", "*.egg-info", "dropin.cache")
    shutil.copytree(CHECKOUT / "src", copy / "src", ignore=stale)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel


class WheelTests(SynchronousTestCase):
    """A wheel built from the checkout; built once for all tests."""

    _wheel: Path | None = None

    def setUp(self) -> None:
        if WheelTests._wheel is None:
            WheelTests._wheel = build(Path(self.mktemp()).absolute())
        self.wheel = WheelTests._wheel
        with zipfile.ZipFile(self.wheel) as archive:
            self.names = [name for name in archive.namelist() if ".dist-info/" not in name]

    def test_name(self) -> None:
        """It is for every platform, and has the version of the package."""
        self.assertEqual(self.wheel.name, f"snickers-{__version__}-py3-none-any.whl")

    def test_contents(self) -> None:
        """All modules and the mark that they are typed; of ``twisted`` only the plugins."""
        source = CHECKOUT / "src" / "snickers"
        modules = {f"snickers/{path.relative_to(source)}" for path in source.rglob("*.py")}
        self.assertEqual(set(self.names), {*modules, "snickers/py.typed", *PLUGINS})

    def test_found_when_installed(self) -> None:
        """Twistd lists the plugins of an installed wheel, outside of the checkout."""
        folder = Path(self.mktemp()).absolute()
        site, elsewhere = folder / "site", folder / "elsewhere"
        elsewhere.mkdir(parents=True)
        # What an installer does with a pure wheel is to unpack it.
        with zipfile.ZipFile(self.wheel) as archive:
            archive.extractall(site)
        found = subprocess.run(
            [sys.executable, "-c", FIND],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(found.stderr, "")
        self.assertEqual(
            found.stdout.split("\n"),
            [
                "snickers snickers.starting False",
                "snickers-teams snickers.teams.tap False",
                str(site),
                "",
            ],
        )

    def test_command(self) -> None:
        """The ``snickers`` command is declared, and its function exists."""
        with zipfile.ZipFile(self.wheel) as archive:
            (entry,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
            points = configparser.ConfigParser()
            points.read_string(archive.read(entry).decode())
        self.assertEqual(points["console_scripts"]["snickers"], "snickers.control.command:main")


class LowestTests(SynchronousTestCase):
    """``etc/lowest.txt``, with which the tests run once more."""

    def test_as_declared(self) -> None:
        """It names every dependency with exactly the lowest version that is declared."""
        metadata = configparser.ConfigParser(interpolation=None)
        metadata.read(CHECKOUT / "setup.cfg")
        declared = metadata["options"]["install_requires"].split("\n")
        lowest = (CHECKOUT / "etc" / "lowest.txt").read_text().splitlines()
        pinned = dict(line.split("==") for line in lowest if not line.startswith("#"))
        for requirement in filter(None, declared):
            name, version = requirement.split(" >= ")
            found = pinned.pop(name, "nothing")
            self.assertTrue(f"{found}.0.0".startswith(f"{version}."), f"{requirement}: {found}")
        self.assertEqual(pinned, {})
