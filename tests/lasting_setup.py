"""Ends the process servers that teams have left running, for tests that had teams."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from snickers.containers import sessions
from snickers.containers.marks import Marks


def end_servers(state: Path) -> None:
    """Kill the servers that outlive the teams of the state folder *state*; no team may run."""
    for mark in Marks(str(state / "processes" / "lasting")).read():
        pid = int(mark.instance.id)
        found = sessions.stat(pid)
        if found is not None and found.start == mark.start and found.state != "Z":
            os.killpg(pid, signal.SIGKILL)
