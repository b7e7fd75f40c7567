"""What is seen to be wrong before a process is started."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Process
from snickers.containers import premises
from snickers.containers.account import Account
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Declared


class PortTests(SynchronousTestCase):
    """`free`."""

    def test_any(self) -> None:
        """A port that nothing listens on is found."""
        with socket.create_server((premises.ADDRESS, premises.free(0))):
            pass

    def test_not_for_clients(self) -> None:
        """It is none that an outgoing connection may get meanwhile, as long as there are others."""
        self.assertIn(premises.free(0), premises.QUIET)
        with socket.create_server((premises.ADDRESS, 0)) as other:
            taken = other.getsockname()[1]
            self.patch(premises, "QUIET", range(taken, taken + 1))
            self.patch(premises, "TRIES", 1)
            self.assertNotEqual(premises.free(0), taken)

    def test_wanted(self) -> None:
        """The port that is wanted is returned if nothing listens on it; else that is said."""
        with socket.create_server((premises.ADDRESS, 0)) as other:
            port = other.getsockname()[1]
            words = str(self.assertRaises(EngineFailed, premises.free, port))
        self.assertIn(f"port = {port}: Address already in use", words)
        self.assertEqual(premises.free(port), port)


class FolderTests(SynchronousTestCase):
    """`folders`."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())

    def folders(self, directory: str = "", user: Account | None = None) -> str:
        kind = Process(("true",), directory=directory)
        declared = Declared("alice.example", kind, os.path.join(self.folder, "data"))
        return premises.folders(declared, user)

    def test_made(self) -> None:
        """The site's own folder is made, for its user, and is where the server works."""
        given: list[tuple[str, int, int]] = []
        self.patch(os, "chown", lambda *those: given.append(those))
        path = self.folders(user=Account(7, 8, ()))
        self.assertEqual(path, os.path.join(self.folder, "data"))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
        self.folders(user=Account(9, 9, ()))
        self.assertEqual(given, [(path, 7, 8)])

    def test_directory(self) -> None:
        """Another directory must be there."""
        self.assertEqual(self.folders("/"), "/")
        words = str(self.assertRaises(EngineFailed, self.folders, "/no/such/folder"))
        self.assertIn("directory = /no/such/folder", words)

    def test_not_made(self) -> None:
        """A folder that cannot be made is said."""
        with open(self.folder, "w", encoding="ascii"):
            pass
        words = str(self.assertRaises(EngineFailed, self.folders))
        self.assertIn(os.path.join(self.folder, "data"), words)


class ProgramTests(SynchronousTestCase):
    """`program`."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.path = os.path.join(self.folder, "serve")
        with open(self.path, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n")

    def words(self, name: str, **options) -> str:
        kind = Process((name,), **options)
        return str(
            self.assertRaises(EngineFailed, premises.program, kind, self.folder, os.environ["PATH"])
        )

    def test_found(self) -> None:
        """A program is sought in the path, the site's own if it has one, or from the directory."""
        os.chmod(self.path, 0o755)
        own = (("PATH", self.folder),)
        for kind in (
            Process(("sh",)),
            Process(("./serve",)),
            Process((self.path,)),
            Process(("serve",), environment=own),
        ):
            premises.program(kind, self.folder, os.environ["PATH"])
        self.assertIn("in PATH", self.words("sh", environment=own))

    def test_not_found(self) -> None:
        """What is not there is said, with where it was sought."""
        self.assertIn("in PATH", self.words("no-such-program"))
        self.assertIn(f"in {self.folder}", self.words("./other"))
        self.assertIn("no such program here", self.words("/no/such/program"))

    def test_not_executable(self) -> None:
        """What may not be executed is said, with what helps."""
        self.assertIn(f"chmod +x {self.path}", self.words(self.path))
