"""Whether a process may read what it imports later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from snickers import readable
from snickers.readable import LATER, unreadable

AS_NOBODY = """
import os, sys
from snickers.readable import unreadable
sys.path.insert(0, sys.argv[1])
os.setgid(65534)
os.setuid(65534)
print("tarfile" in sys.modules, unreadable(["only_roots"]))
"""


class UnreadableTests(SynchronousTestCase):
    def test_all(self) -> None:
        """Here everything can be read, and nothing is imported by looking."""
        self.assertEqual(unreadable(), "")
        code = "import sys; from snickers.readable import unreadable; unreadable()"
        code += f"; print([name for name in {LATER!r} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        self.assertEqual(done.stdout, b"[]\n")

    def test_missing(self) -> None:
        """What is not there is named, with what would be right."""
        for name in ("no_such_module", "no_such.module"):
            words = unreadable(["os", name])
            self.assertIn(f"cannot import {name}: ", words)
            self.assertIn("/usr/bin/python3", words)

    def test_denied(self) -> None:
        """What only root may read is found by the user that root has become."""
        if os.geteuid():
            raise SkipTest("only root becomes somebody else")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "only_roots.py").write_text("")
        (folder / "only_roots.py").chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        imported, _, words = done.stdout.partition(" ")
        self.assertEqual(imported, "False")
        self.assertIn("cannot import only_roots: ", words)
        self.assertNotIn("the user root", words)

    def test_user_without_a_name(self) -> None:
        """A user that has no name is named by its number."""
        self.patch(readable.os, "geteuid", lambda: 123456)
        self.assertIn("the user 123456 cannot", unreadable(["no_such_module"]))
