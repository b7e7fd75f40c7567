"""The steps between Snickers and a server's own program, each in a process of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import launch


class LaunchTests(SynchronousTestCase):
    """``launch.py`` as a script."""

    def launch(self, *command: str, descriptor: int = -1, **plan):
        """Run the launcher; return its output, its report and its status."""
        plan = {
            "parent": os.getpid(),
            "user": None,
            "directory": "/",
            "command": command,
            **plan,
        }
        reading, writing = os.pipe()
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", launch.__file__, json.dumps(plan)],
                stdout=subprocess.PIPE,
                # The report goes to descriptor 3; `writing` itself is not passed on.
                preexec_fn=lambda: os.dup2(writing, 3),
                pass_fds=[3, *([descriptor] if descriptor >= 0 else [])],
                timeout=20,
                check=False,
            )
        finally:
            os.close(writing)
        with open(reading, "rb") as file:
            report = file.read()
        return done.stdout, report, done.returncode

    def test_becomes(self) -> None:
        """The program runs in the same process, and the report closes without a word."""
        said, report, status = self.launch("sh", "-c", "echo hello; exit 7")
        self.assertEqual((said, report, status), (b"hello\n", b"", 7))

    def test_directory(self) -> None:
        """The program works in the directory."""
        folder = os.path.realpath(self.mktemp())
        os.makedirs(folder)
        self.assertEqual(self.launch("pwd", directory=folder)[0], folder.encode() + b"\n")

    def test_descriptors(self) -> None:
        """No descriptor is inherited that others left open, nor the report's."""
        with open(os.devnull, "rb") as other:
            said, _, _ = self.launch("sh", "-c", "ls /proc/$$/fd", descriptor=other.fileno())
        self.assertEqual(said.split(), [b"0", b"1", b"2"])

    def test_no_program(self) -> None:
        """A program that cannot be run is reported, and nothing is run."""
        said, report, status = self.launch("no-such-program")
        self.assertEqual(json.loads(report), ["command", 2, "No such file or directory"])
        self.assertEqual((said, status), (b"", 127))

    def test_no_directory(self) -> None:
        """A directory that cannot be entered is reported, and nothing is run."""
        said, report, status = self.launch("echo", "ran", directory="/no/such/folder")
        self.assertEqual(json.loads(report)[0], "directory")
        self.assertEqual((said, status), (b"", 127))

    def test_no_user(self) -> None:
        """A user that it may not become is reported, and nothing is run as another."""
        # No kernel has this uid: -1 means none.
        said, report, status = self.launch("echo", "ran", user=[2**32 - 2, 2**32 - 2, []])
        if os.geteuid() == 0:
            self.assertEqual(said, b"ran\n")  # Root may become any but -1.
        else:
            self.assertEqual(json.loads(report)[0], "user")
            self.assertEqual((said, status), (b"", 127))

    def test_orphan(self) -> None:
        """When Snickers died meanwhile, nothing is run."""
        said, report, status = self.launch("echo", "ran", parent=os.getpid() + 1)
        self.assertEqual((said, report, status), (b"", b"", 1))

    def test_lasting(self) -> None:
        """What is to outlive Snickers is run whoever its parent is, and asks for no signal."""
        said, report, status = self.launch("echo", "ran", parent=None)
        self.assertEqual((said, report, status), (b"ran\n", b"", 0))
        asked = (
            "import ctypes; told = ctypes.c_int(); "
            "ctypes.CDLL(None).prctl(2, ctypes.byref(told)); print(told.value)"
        )
        for parent, told in ((None, b"0\n"), (os.getpid(), b"15\n")):
            said, _, _ = self.launch(sys.executable, "-c", asked, parent=parent)
            self.assertEqual(said, told)

    def test_ends_with_parent(self) -> None:
        """The program is told to end when Snickers is killed."""
        plan = {"user": None, "directory": "/", "command": ["sleep", "60"]}
        between = (
            "import json, os, subprocess, sys, time\n"
            "plan = {**json.loads(sys.argv[2]), 'parent': os.getpid()}\n"
            "read, write = os.pipe(); read = os.dup(read)\n"
            "os.dup2(write, 3); os.set_inheritable(3, True)\n"
            "child = subprocess.Popen([sys.executable, '-I', '-S', sys.argv[1], json.dumps(plan)],"
            " pass_fds=[3])\n"
            "os.close(write); os.close(3); os.read(read, 1)\n"  # It runs.
            "print(child.pid, flush=True); time.sleep(60)\n"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", between, launch.__file__, json.dumps(plan)],
            stdout=subprocess.PIPE,
        )
        child = int(parent.stdout.readline())
        held = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        ended = _readable(held, 10)
        os.close(held)
        self.assertTrue(ended)


def _readable(descriptor: int, within: float) -> bool:
    """Wait until a process held by a descriptor has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(within * 1000))
