"""Thirty switches, rollbacks and kills while visitors of every kind never stop asking.

The real keeper, the real Snickers twice, and a server behind it that lets visitors see whether
every byte went its way. Not one connection is refused or reset but those that a process had in its
hands when it was killed, and whose those are is looked at while it cannot take another one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import bench
from bench.machine import free_port
from bench.visitors import Visitors
from twisted.trial.unittest import SynchronousTestCase

from tests.live_setup import WITHIN, until
from tests.teams_setup import Kept
from tests.test_drain_live import clients_of, is_stopped

ROUNDS = 30
TOP = Path(bench.__file__).parent.parent
SITES = """
[witness.localhost]
type = proxy
to = http://127.0.0.1:{witness}

[asleep.localhost]
type = process
command = sh -c 'exec {python} -m bench.witness $PORT'
env.PYTHONPATH = {top}
health = /
idle after = 1s
stop within = 2s
"""


class Real(Kept):
    """A keeper whose teams are Snickers as it is here. *witness*: the port of the server behind."""

    def __init__(self, test: Any, witness: int) -> None:
        self._sites = SITES.format(witness=witness, python=sys.executable, top=TOP)
        super().__init__(test)

    def install(self, team: str) -> None:
        program = self.folder / team / ".venv" / "bin" / "twistd"
        program.parent.mkdir(parents=True)
        paths = os.pathsep.join(path for path in (str(TOP), str(TOP / "src")) if path)
        program.write_text(
            f"#!/bin/sh\nPYTHONPATH='{paths}' exec '{sys.executable}' -c "
            "'from twisted.scripts.twistd import run; run()' \"$@\"\n"
        )
        program.chmod(0o755)

    def write(self, more: str = "") -> None:
        self.config.write_text(
            f"[snickers]\nhttps = tcp:{self.port}:interface=127.0.0.1:backlog=512\nhttp =\n"
            "state = state\ndata = data\ndocker = unix:///nonexistent\nreload every = never\n"
            f"commit after = never\n{more}{self._sites}"
        )


class SwitchTests(SynchronousTestCase):
    """One keeper, two teams, and whatever may befall them."""

    def setUp(self) -> None:
        port = free_port()
        witness = subprocess.Popen(
            [sys.executable, "-m", "bench.witness", str(port)],
            cwd=TOP,
            env={**os.environ, "PYTHONPATH": str(TOP)},
        )
        self.addCleanup(witness.wait)
        self.addCleanup(witness.kill)
        self.kept = Real(self, port)
        self.kept.start()
        self.visitors = Visitors(self.kept.port, None, "witness.localhost")
        self.addCleanup(self.visitors.stop)
        self.wakers = Visitors(self.kept.port, None, "asleep.localhost")
        self.addCleanup(self.wakers.stop)
        self.its_own: set[int] = set()
        """The ports of clients whose connections a process had that was killed."""

    def settle(self) -> dict[str, Any]:
        """Wait until nothing goes on; who still ends may go on ending."""
        return self.kept.until_stage("serving", "trial")

    def kill(self, who: str) -> None:
        """``kill -9`` one of the two, and note whose connections it had."""
        member = self.kept.status()[who]
        if member is None or not member["pid"]:
            return
        pid = member["pid"]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: is_stopped(pid), "it does not stop")
        self.its_own |= clients_of(pid, self.kept.port)
        os.kill(pid, signal.SIGKILL)

    def ask(self, what: str) -> None:
        """Have the keeper do something; what it refuses is told by the next look at it."""
        self.kept.asked(what)

    def round(self, act: str) -> None:
        """One thing that may happen, from one team that serves to one that does."""
        moment = random.Random(act).random
        match act:
            case "commit" | "rollback":
                self.ask("switch")
                time.sleep(moment())
                self.ask(act)
            case "kill live":
                self.kill("live")
            case "kill the new one":
                self.ask("switch")
                time.sleep(moment())
                self.kill("live")
            case "kill the old one":
                self.ask("switch")
                self.kill("other")
            case "kill within a switch":
                switch = threading.Thread(target=self.ask, args=("switch",))
                switch.start()
                time.sleep(0.2 + moment())
                self.kill(random.choice(("live", "other")))
                switch.join(WITHIN)
        told = self.settle()
        if told["stage"] == "trial":
            self.ask("commit")
            self.settle()

    def test_thirty(self) -> None:
        """Visitors notice nothing of switches and rollbacks, and of kills only what was killed."""
        random.seed(30)
        self.visitors.start(fresh=2, kept=1, h2=1, upload=2, download=2, chat=2)
        acts = ["commit", "rollback", "kill live", "kill the new one", "kill the old one"]
        acts.append("kill within a switch")
        self.wakers.start(rare=2)
        for number in range(ROUNDS):
            self.round(acts[number % len(acts)])
        lost = []
        for visitors in (self.visitors, self.wakers):
            visitors.stop()
            lost += [words for port, words in visitors.lost if port not in self.its_own]
        self.assertEqual(lost, [], self.kept.said()[-3000:])
        for kind in ("fresh", "kept", "h2", "upload", "download", "chat"):
            self.assertGreater(self.visitors.answered[kind], 10, kind)
        self.assertGreater(self.wakers.answered["rare"], 10)
