"""The teams' processes: what they are handed, how they end, who is taken up and what is reaped."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ProcessDone, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from snickers.teams.processes import (
    CannotStart,
    TakenUp,
    began,
    environment,
    in_words,
    program,
    sockets_of,
    spawn,
    take_up,
)
from tests.teams_setup import need_tracing

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]


class EnvironmentTests(SynchronousTestCase):
    def test_handed_over(self) -> None:
        """A team gets the sockets, whom to tell, who it is; and nothing meant for the keeper."""
        base = {
            "PATH": "/bin",
            "LISTEN_PID": "1",
            "LISTEN_FDS": "9",
            "NOTIFY_SOCKET": "/run/systemd/notify",
            "WATCHDOG_USEC": "1",
            "PYTHONPATH": "/keeper/src",
            "SNICKERS_STAND_BY": "1",
        }
        self.assertEqual(
            environment(base, "red", "/s/notify.sock", ["https", "https", "http"], False),
            {
                "PATH": "/bin",
                "LISTEN_FDS": "3",
                "LISTEN_FDNAMES": "https:https:http",
                "NOTIFY_SOCKET": "/s/notify.sock",
                "SNICKERS_TEAM": "red",
            },
        )
        standing = environment(base, "red", "/s/notify.sock", ["https"], True)
        self.assertEqual(standing["SNICKERS_STAND_BY"], "1")

    def test_watchdog(self) -> None:
        """It is told within which time to say that it lives: not what the keeper is told itself."""
        base = {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}
        made = environment(base, "red", "/s/notify.sock", ["https"], False, 30.0)
        self.assertEqual(made["WATCHDOG_USEC"], "30000000")
        self.assertNotIn("WATCHDOG_PID", made)
        made = environment(base, "red", "/s/notify.sock", ["https"], False)
        self.assertNotIn("WATCHDOG_USEC", made)

    def test_program(self) -> None:
        """A folder without a team is told of in words."""
        folder = Path(self.mktemp()).absolute()
        with self.assertRaises(CannotStart) as caught:
            program(str(folder))
        self.assertEqual(str(caught.exception), f"cannot be started: {folder} is no folder")
        folder.mkdir()
        with self.assertRaises(CannotStart) as caught:
            program(str(folder))
        self.assertIn("install Snickers there", str(caught.exception))

    def test_words(self) -> None:
        """How a process ended, as a person says it."""
        for reason, words in (
            (ProcessDone(0), "ended by itself"),
            (ProcessTerminated(exitCode=3), "ended with status 3"),
            (ProcessTerminated(signal=9), "was ended by SIGKILL"),
            (ProcessTerminated(signal=63), "was ended by signal 63"),
        ):
            self.assertEqual(in_words(Failure(reason)), words)


class SpawnTests(TestCase):
    def test_spawned(self) -> None:
        """A team runs in its folder, with its arguments and environment, and has the listening
        sockets from descriptor 3 on; its end is told in words."""
        folder = Path(self.mktemp()).absolute()
        path = folder / ".venv" / "bin" / "twistd"
        path.parent.mkdir(parents=True)
        path.write_text(
            f"#!{sys.executable}\nimport json, os, socket, sys\n"
            "ports = [socket.socket(fileno=n).getsockname()[1] for n in (3, 4)]\n"
            "open('told', 'w').write(json.dumps([sys.argv[1:], ports, os.environ['X'],"
            " sorted(map(int, os.listdir('/proc/self/fd')))[:5]]))\nsys.exit(7)\n"
        )
        path.chmod(0o755)
        fronts = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        for front in fronts:
            self.addCleanup(front.close)
        done: Deferred[str] = Deferred()
        child = spawn(reactor, str(folder), ["a", "b"], {"X": "y"}, fronts, done.callback)
        self.assertGreater(child.pid, 0)

        def look(words: str) -> None:
            self.assertEqual(words, "ended with status 7")
            ports = [front.getsockname()[1] for front in fronts]
            told = (folder / "told").read_text()
            self.assertEqual(told, f'[["a", "b"], {ports}, "y", [0, 1, 2, 3, 4]]')
            # Nobody is there any more: that is no reason to fail.
            child.signal(signal.SIGTERM)

        return done.addCallback(look)  # type: ignore[return-value]

    def test_no_descriptors_left(self) -> None:
        """Without a descriptor left it cannot be started, which is no fault of the keeper's."""
        folder = Path(self.mktemp()).absolute()
        path = folder / ".venv" / "bin" / "twistd"
        path.parent.mkdir(parents=True)
        path.touch(0o755)

        def none_left(*arguments: Any) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(os, "open", none_left)
        with self.assertRaises(CannotStart) as caught:
            spawn(reactor, str(folder), [], {}, [], self.fail)
        self.assertEqual(str(caught.exception), "cannot be started: Too many open files")


class TakenUpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.process = subprocess.Popen(SLEEP, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.process.stdout.readline()
        self.reactor: Any = MemoryReactorClock()
        self.ended: list[str] = []

    def take_up(self) -> TakenUp:
        ticks = began(self.process.pid)
        assert ticks is not None
        found = take_up(self.reactor, self.process.pid, ticks, self.ended.append)
        assert found is not None
        return found

    def test_told_and_watched(self) -> None:
        """One of a former keeper can be told, and its end is noticed once."""
        found = self.take_up()
        self.assertEqual(self.reactor.getReaders(), [found])
        found.signal(signal.SIGKILL)
        self.assertEqual(self.process.wait(60), -signal.SIGKILL)
        found.doRead()
        self.assertEqual((self.ended, self.reactor.getReaders()), (["ended"], []))
        found.signal(signal.SIGKILL)

    def test_misheard(self) -> None:
        """What a reactor tells of one that runs, since it has heard it of a descriptor that had the
        same number, is not taken for its end, and it is watched on."""
        found = self.take_up()
        found.doRead()
        self.reactor.removeReader(found)
        found.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((self.ended, self.reactor.getReaders()), ([], [found]))
        self.process.kill()
        self.process.wait()
        found.doRead()
        self.assertEqual((self.ended, self.reactor.getReaders()), (["ended"], []))

    def test_another_one(self) -> None:
        """A process that got the number of one that has gone is not taken for it."""
        ticks = began(self.process.pid)
        assert ticks is not None
        self.assertIsNone(take_up(self.reactor, self.process.pid, ticks - 1, self.ended.append))
        self.process.kill()
        self.process.wait()
        self.assertIsNone(take_up(self.reactor, self.process.pid, ticks, self.ended.append))

    def test_dead_but_not_reaped(self) -> None:
        """One that has ended and is not reaped yet counts as gone."""
        self.process.kill()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        self.assertIsNone(began(self.process.pid))

    def test_odd_names(self) -> None:
        """A program's name may look like anything in /proc."""
        folder = Path(self.mktemp())
        (folder / "7").mkdir(parents=True)
        fields = " ".join(["S", *["0"] * 18, "4711", "0"])
        (folder / "7" / "stat").write_text(f"7 (a) S 1 (b) {fields}")
        self.assertEqual(began(7, str(folder)), 4711)

    def test_sockets(self) -> None:
        """The sockets of a team that a killed keeper left can be had from it."""
        need_tracing()
        front = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(front.close)
        script = f"import os, time; os.dup2({front.fileno()}, 3); print(flush=True); time.sleep(60)"
        team = subprocess.Popen(
            [sys.executable, "-c", script], pass_fds=[front.fileno()], stdout=subprocess.PIPE
        )
        assert team.stdout is not None
        self.addCleanup(team.stdout.close)
        self.addCleanup(team.wait)
        self.addCleanup(team.kill)
        team.stdout.readline()
        (found,) = sockets_of(team.pid, 1)
        self.addCleanup(found.close)
        self.assertEqual(found.getsockname(), front.getsockname())
        with self.assertRaises(OSError):
            sockets_of(self.process.pid, 1)


class ReaperTests(SynchronousTestCase):
    """Each in a process of its own: what these tests' has for children is others' business."""

    def said(self, script: str) -> str:
        """Return what *script* prints."""
        begin = (
            "import os, subprocess, sys\n"
            "from snickers.teams.processes import become_subreaper, Reaper\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", begin + script], capture_output=True, text=True
        )
        self.assertEqual(done.stderr, "")
        return done.stdout

    def test_reaps(self) -> None:
        """What teams left behind is reaped; what somebody here waits for is left to him, and
        those behind it come the next time."""
        said = self.said(
            "ours = subprocess.Popen(['/bin/true'])\n"
            "os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)\n"
            "left = os.posix_spawn('/bin/true', ['true'], {})\n"
            "os.waitid(os.P_PID, left, os.WEXITED | os.WNOWAIT)\n"
            "reaper = Reaper(lambda pid: pid == ours.pid)\n"
            "first = reaper.reap()\n"
            "print(ours.wait(), first + reaper.reap(), reaper.reap())\n"
        )
        self.assertEqual(said, "0 1 0\n")

    def test_nobody(self) -> None:
        """Without children, or with living ones, there is nothing to do."""
        said = self.said(
            "print(Reaper(lambda pid: False).reap())\n"
            "child = subprocess.Popen(['sleep', '60'])\n"
            "print(Reaper(lambda pid: False).reap())\n"
            "child.kill(); child.wait()\n"
        )
        self.assertEqual(said, "0\n0\n")

    def test_subreaper(self) -> None:
        """What a team's child leaves behind comes to the keeper."""
        said = self.said(
            "become_subreaper()\n"
            "done = subprocess.run(['/bin/sh', '-c', 'sleep 0 & echo $!'], capture_output=True)\n"
            "os.waitid(os.P_PID, int(done.stdout), os.WEXITED | os.WNOWAIT)\n"
            "print(Reaper(lambda pid: False).reap())\n"
        )
        self.assertEqual(said, "1\n")
