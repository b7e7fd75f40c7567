"""A real deployment: git, pip, a virtual environment, a real keeper; what is deployed is a stand-in
for Snickers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import team_stand_in
from tests.live_setup import SNICKERS, until
from tests.teams_setup import Kept

GIT = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@a.example",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@a.example",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def wheel(folder: Path, version: str) -> Path:
    """Make a wheel of the stand-in: what an installer needs, and nothing else."""
    path = folder / f"snickers-{version}-py3-none-any.whl"
    information = f"snickers-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("snickers/__init__.py", "")
        archive.writestr("team_stand_in.py", Path(team_stand_in.__file__).read_text())
        archive.writestr(
            f"{information}/METADATA",
            f"Metadata-Version: 2.1\nName: snickers\nVersion: {version}\n",
        )
        archive.writestr(
            f"{information}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(
            f"{information}/entry_points.txt",
            "[console_scripts]\ntwistd = team_stand_in:main\nsnickers = team_stand_in:check\n",
        )
        archive.writestr(f"{information}/RECORD", "")
    return path


class DeployTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kept = Kept(self)
        self.kept.start()

    def snickers(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return subprocess.run(
            [sys.executable, "-c", SNICKERS, "--config", str(self.kept.config), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PIP_NO_INDEX": "1"},
        )

    def test_wheel(self) -> None:
        """Into an empty folder, up to the commit, while clients come and go; then a newer one
        that does not take the configuration, and one that does not come up: what was live goes
        on."""
        kept = self.kept
        red = kept.folder / "red"
        shutil.rmtree(red)
        red.mkdir()
        kept.mode("red", version="2.0")
        made = wheel(kept.folder, "2.0")
        with kept.crowd() as counts:
            done = self.snickers("deploy", "--from", str(made), "--watch", "1s")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], f"deploy: red: making {red}/.venv")
        self.assertIn(f"deploy: red: checking {kept.config} with 2.0", lines)
        self.assertEqual(lines[-1], "deploy: red serves 2.0 and stays")
        self.assertEqual(set(counts), {"answered"})
        until(lambda: not kept.status()["ending"], "blue does not end")
        self.assertEqual((kept.team(), kept.status()["good"]), ("red", "red"))
        shown = self.snickers("teams")
        self.assertIn(f"2.0 {red}", shown.stdout)

        self.assertIn("last deploy: red of ", shown.stdout)
        self.assertIn("ago: red serves 2.0 and stays", shown.stdout)
        done = self.snickers("deploy", "--from", str(made))
        self.assertEqual(done.returncode, 0)
        self.assertIn("nothing new: red was made of the very same", done.stdout)

        kept.mode("blue", faults="[snickers] https: no such thing")
        newer = wheel(kept.folder, "3.0")
        shutil.rmtree(kept.folder / "blue" / ".venv")
        done = self.snickers("deploy", "--from", str(newer))
        self.assertEqual(done.returncode, 1)
        first, last = done.stderr.splitlines()
        self.assertEqual(first, f"  {kept.config}:1: [snickers] https: no such thing")
        self.assertIn("deploy: check: the new version does not take the live configuration", last)
        kept.mode("blue", ends=4)
        done = self.snickers("deploy", "--from", str(newer))
        self.assertEqual(
            (done.returncode, done.stderr),
            (
                1,
                "snickers: deploy: switch: blue has not proven itself: it ended with status 4 "
                "(see the log); red goes on\n",
            ),
        )
        self.assertEqual(kept.team(), "red")
        self.assertIn("failed", self.snickers("teams").stdout.splitlines()[-1])

    def test_checkout(self) -> None:
        """Out of a repository: the newest of the branch, or what is named; pip's own words are
        shown when there is nothing that it can install."""
        kept = self.kept
        origin, red = kept.folder / "origin", kept.folder / "red"
        environ = {**os.environ, **GIT}

        def git(folder: Path, *arguments: str) -> None:
            subprocess.run(
                ["git", "-C", str(folder), *arguments],
                check=True,
                capture_output=True,
                env=environ,
            )

        origin.mkdir()
        git(origin, "init", "-q", "-b", "main")
        (origin / "file").write_text("1")
        git(origin, "add", ".")
        git(origin, "commit", "-qm", "1")
        git(origin, "tag", "v1")
        shutil.rmtree(red)
        subprocess.run(["git", "clone", "-q", str(origin), str(red)], check=True, env=environ)
        (origin / "file").write_text("2")
        git(origin, "commit", "-qam", "2")
        # An environment that is there already is used; this one has pip and nothing else.
        subprocess.run([sys.executable, "-m", "venv", str(red / ".venv")], check=True)
        done = self.snickers("deploy")
        self.assertEqual(done.returncode, 1)
        self.assertIn("deploy: install: pip could not install it", done.stderr)
        self.assertIn("pyproject.toml", done.stderr)
        self.assertEqual((red / "file").read_text(), "2")
        self.snickers("deploy", "--from", "v1")
        self.assertEqual((red / "file").read_text(), "1")
        done = self.snickers("deploy", "--from", "v9")
        self.assertIn("fetch: v9: there is no such branch, tag or commit where", done.stderr)
        done = self.snickers("deploy")
        self.assertIn("is on no branch: say what is wanted with --from REF", done.stderr)
        self.assertEqual(kept.team(), "blue")
