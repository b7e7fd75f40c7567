"""Commands inside of containers."""

from __future__ import annotations

import os

from snickers.containers import groups
from snickers.containers.dockerapi import Refused
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Errand
from snickers.interfaces.engine import Ran
from tests.docker_fake import FakeApi, FakeStream
from tests.dockerd_case import SITE, DockerdTestCase


class RunTests(DockerdTestCase):
    """A command in a container: what only an odd moment shows."""

    def run_inside(self, errand=None):
        return self.dockerd.run(SITE, ("snapshot", "--all"), 5, errand or Errand())

    def test_ended_output_first(self) -> None:
        """A command that has closed its output is waited for."""
        self.start()
        waits: list[float] = []
        self.dockerd._pause = waits.append
        self.docker.written = [b"one\n", b"two\n"]
        running = {"Running": True, "ExitCode": None, "Pid": 5}
        self.docker.ends = [running, running, {"Running": False, "ExitCode": 4, "Pid": 0}]
        self.assertEqual(self.run_inside(), Ran(4, "one\ntwo"))
        self.assertEqual(len(waits), 2)

    def test_no_such_command(self) -> None:
        """What Docker says of a command that is not there is told; a shell's status 127 is not
        mistaken for that."""
        self.start()
        self.docker.ends = [{"Running": False, "ExitCode": 127, "Pid": 0}]
        self.docker.written = [
            b"OCI runtime exec failed: exec failed: unable to start: no such file: unknown\r\n"
        ]
        error = self.assertRaises(EngineFailed, self.run_inside)
        self.assertIn("snapshot --all cannot be run in alice.example", str(error))
        self.assertTrue(str(error).endswith("no such file."))
        self.docker.written = [b"sh: restic: not found\n"]
        self.assertEqual(self.run_inside().code, 127)

    def test_refused(self) -> None:
        """What Docker refuses is told in its words."""
        self.start()
        self.docker.refusals["run"] = [Refused(400, "executable file not found")]
        self.assertIn("not found", str(self.assertRaises(EngineFailed, self.run_inside)))

    def late(self, local: bool, of: str) -> tuple[str, list[int]]:
        """Return what is said of a command whose time is over, and who was killed."""
        killed: list[int] = []
        self.patch(os, "killpg", lambda pid, number: killed.append(pid))
        self.patch(groups, "groups_of", lambda pid: of)
        self.dockerd._api.local = local
        self.docker.ends = [{"Running": True, "ExitCode": None, "Pid": 4321}]
        errand = Errand()

        def run(api, prepared):
            errand.cancel()
            return FakeStream([])

        self.patch(FakeApi, "run", run)
        error = self.assertRaises(EngineFailed, self.run_inside, errand)
        self.assertIn("snapshot --all was not done within 5 s", str(error))
        return str(error), killed

    def test_late(self) -> None:
        """A command whose time is over is killed with its children."""
        id = self.start().instance.id
        words, killed = self.late(True, f"4:memory:/docker/{id}")
        self.assertEqual(killed, [4321])
        self.assertIn("was killed", words)

    def test_late_not_trusted(self) -> None:
        """A number that is not of a process of the container is not signalled, nor on another
        host; then it is said that the command runs on."""
        self.start()
        for local, of in ((True, "4:memory:/user.slice"), (False, "id-1")):
            words, killed = self.late(local, of)
            self.assertEqual(killed, [])
            self.assertIn("runs on", words)
