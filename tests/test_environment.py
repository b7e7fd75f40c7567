"""``etc/environment.sh``, which finds a Python and makes the environment of ``./run``."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

CHECKOUT = Path(__file__).parent.parent
WHOLE = f'exec {shlex.quote(sys.executable)} "$@"'
OLD = "exit 1"
PLACEHOLDER = "echo 'no such version' >&2; exit 127"
BARE = f'case "$2" in *ensurepip*) exit 1;; esac; exec {shlex.quote(sys.executable)} "$@"'


class EnvironmentTests(TestCase):
    """With made-up Pythons on the path, and a pip that only takes note."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        # With a space: people keep checkouts in such folders.
        self.checkout = folder / "a checkout"
        self.checkout.mkdir()
        for name in ("setup.cfg", "pyproject.toml"):
            (self.checkout / name).write_text("one\n")
        for tool in ("cksum", "cat", "rm", "mkdir", "chmod"):
            self.command(tool, f'exec {shutil.which(tool)} "$@"')

    def command(self, name: str, script: str) -> None:
        """Have a command *name* on the path that does *script*."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def shell(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run *script* behind ``etc/environment.sh``, nothing but `bin` on the path."""
        source = f"set -eu; here=$1; . {shlex.quote(str(CHECKOUT / 'etc' / 'environment.sh'))}"
        return subprocess.run(
            ["/bin/sh", "-c", f"{source}; {script}", "sh", str(self.checkout)],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def maker(self) -> None:
        """Have a ``python3`` whose environments hold a Python that logs what it installs."""
        inner = f'case "$2" in pip) shift 5; echo "$@" >>{shlex.quote(str(self.bin))}/log;; esac'
        self.command("inner", inner)
        self.command(
            "python3",
            'case "$1 $2" in "-m venv")\n'
            f'mkdir -p "$3/bin"; cat {shlex.quote(str(self.bin))}/inner >"$3/bin/python"\n'
            'chmod +x "$3/bin/python"; exit;; esac\n'
            f"{WHOLE}",
        )

    def installed(self) -> list[str]:
        """What pip was asked for, in order."""
        log = self.bin / "log"
        return log.read_text().splitlines() if log.exists() else []

    def test_first_that_runs(self) -> None:
        """A Python that is too old or only a placeholder is passed over."""
        self.command("python3", OLD)
        self.command("python3.13", PLACEHOLDER)
        self.command("python3.12", WHOLE)
        found = self.shell("find_python")
        self.assertEqual(found.stdout, f"{self.bin}/python3.12\n")
        self.assertEqual((found.returncode, found.stderr), (0, ""))

    def test_asked_for(self) -> None:
        """``PYTHON`` names the one to use."""
        self.command("python3", WHOLE)
        self.command("mine", WHOLE)
        self.assertEqual(self.shell("find_python", PYTHON="mine").stdout, f"{self.bin}/mine\n")

    def test_none(self) -> None:
        """Without a Python, one line says what is needed."""
        self.command("python3", OLD)
        found = self.shell("prepare")
        self.assertEqual(found.returncode, 1)
        self.assertEqual(found.stderr.count("\n"), 1)
        self.assertIn("needs Python 3.11 or newer", found.stderr)

    def test_no_venv(self) -> None:
        """Where only ``venv`` is lacking, one line names the package."""
        self.command("python3.12", BARE)
        found = self.shell("prepare")
        self.assertEqual(found.returncode, 1)
        self.assertEqual(found.stderr.count("\n"), 1)
        self.assertIn("apt install python3.12-venv", found.stderr)

    def test_complete_before_incomplete(self) -> None:
        """A later Python with ``venv`` is taken before an earlier one without."""
        self.command("python3", BARE)
        self.command("python3.11", WHOLE)
        self.assertEqual(self.shell("find_python").stdout, f"{self.bin}/python3.11\n")

    def test_installs_once(self) -> None:
        """The second start installs nothing, and needs neither a Python nor the network."""
        self.maker()
        first = self.shell("prepare")
        self.assertEqual((first.returncode, first.stderr), (0, ""))
        self.assertEqual(self.installed(), [f"--editable {self.checkout}"])
        (self.bin / "python3").unlink()
        second = self.shell("prepare")
        self.assertEqual((second.returncode, second.stdout, second.stderr), (0, "", ""))
        self.assertEqual(len(self.installed()), 1)

    def test_installs_again(self) -> None:
        """Changed metadata and further extras are installed into the same environment."""
        self.maker()
        self.shell("prepare")
        (self.checkout / "setup.cfg").write_text("two\n")
        self.shell("prepare")
        self.shell("prepare lint test; prepare test; prepare")
        plain = f"--editable {self.checkout}"
        self.assertEqual(self.installed(), [plain, plain, f"{plain}[lint,test]"])

    def test_moved(self) -> None:
        """A checkout that was moved gets a new environment: the old one names the old place."""
        self.maker()
        self.shell("prepare")
        marker = self.checkout / ".venv" / "marker"
        marker.touch()
        self.shell("prepare")
        self.assertTrue(marker.exists())
        self.checkout = self.checkout.rename(self.checkout.with_name("moved"))
        self.shell("prepare")
        self.assertFalse((self.checkout / ".venv" / "marker").exists())
        self.assertEqual(len(self.installed()), 2)

    def test_not_writable(self) -> None:
        """Where the checkout cannot be written to, one line says so."""
        if os.geteuid() == 0:
            # Root may write everywhere; a file where the folder should be is as good a wall.
            self.checkout = self.checkout / "setup.cfg" / "nowhere"
        else:
            self.checkout.chmod(0o555)
            self.addCleanup(self.checkout.chmod, 0o755)
        found = self.shell("prepare")
        self.assertEqual(found.returncode, 1)
        self.assertIn("cannot write to", found.stderr)

    def test_pip_fails(self) -> None:
        """A failed installation ends the start, and is tried again by the next one."""
        self.maker()
        self.command("inner", 'case "$2" in pip) exit 1;; esac')
        found = self.shell("prepare")
        self.assertEqual(found.returncode, 1)
        self.assertIn("could not install", found.stderr)
        self.assertIn("could not install", self.shell("prepare").stderr)
