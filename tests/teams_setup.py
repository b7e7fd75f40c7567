"""A real keeper for tests, with stand-ins for its teams, in short-lived folders of its own.

Only loopback, no root. The state folder's path is short, since a socket must fit into it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from snickers.containers import sessions
from tests import team_stand_in
from tests.lasting_setup import end_servers
from tests.live_setup import HAND_OVER, TWISTD, WITHIN, until

CLIENTS = 6
"""Clients that connect all the time."""


def need_tracing() -> None:
    """Skip a test that takes sockets from another process where that is not allowed."""
    try:
        scope = Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip()
    except OSError:
        scope = "0"
    if os.geteuid() != 0 and scope != "0":
        raise SkipTest("the kernel lets nobody but root look into other processes: run as root")


def _runs(pid: int) -> bool:
    """Whether *pid* may do anything yet."""
    found = sessions.stat(pid)
    return found is not None and found.state != "Z"


class Kept:
    """A keeper and its two folders. *handed*: its sockets are made here, as systemd would."""

    def __init__(self, test: Any, settings: str = "", handed: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="snickers-teams-"))
        test.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        test.addCleanup(self.end_all)
        self.state = self.folder / "state"
        self.config = self.folder / "sites.ini"
        self.log = self.folder / "log"
        self.settings = settings
        self.pidfile = ""
        self.sockets: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        if handed:
            sock = socket.create_server(("127.0.0.1", self.port), backlog=512)
            test.addCleanup(sock.close)
            self.sockets.append(sock)
        self.write()
        for team in ("blue", "red"):
            self.install(team)
        self.keeper: subprocess.Popen[bytes] | None = None

    def write(self, more: str = "") -> None:
        """Write the configuration."""
        self.config.write_text(
            f"[snickers]\nhttps = tcp:{self.port}:interface=127.0.0.1:backlog=512\nhttp =\n"
            f"state = state\n{self.settings}{more}"
        )

    def install(self, team: str) -> None:
        """Have a stand-in be the program of *team*."""
        program = self.folder / team / ".venv" / "bin" / "twistd"
        program.parent.mkdir(parents=True)
        script = Path(team_stand_in.__file__).read_text()
        program.write_text(f"#!{sys.executable}\n{script}")
        program.chmod(0o755)

    def mode(self, team: str, **mode: object) -> None:
        """Have processes of *team* that are started from now on be as *mode* says."""
        (self.folder / team / "mode").write_text(json.dumps(mode))

    @property
    def arguments(self) -> list[str]:
        """The keeper's command line."""
        return [
            *(sys.executable, "-c", TWISTD, "--nodaemon", f"--pidfile={self.pidfile}"),
            "snickers-teams",
            *("--blue", str(self.folder / "blue"), "--red", str(self.folder / "red")),
            *("--config", str(self.config)),
        ]

    def start(self, serves: bool = True) -> None:
        """Start the keeper; wait until a team serves."""
        numbers = [sock.fileno() for sock in self.sockets]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("LISTEN_")}
        arguments = self.arguments
        if numbers:
            arguments = [sys.executable, "-c", HAND_OVER, " ".join(map(str, numbers)), *arguments]
            environ |= {"LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": "https"}
        with self.log.open("ab") as log:
            self.keeper = subprocess.Popen(
                arguments,
                env=environ,
                pass_fds=numbers,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if serves:
            self.until_stage("serving", "trial")

    def end_all(self) -> None:
        """Kill the keeper, all teams it knows of, and the servers that outlive them."""
        pids = set(self.pids()) if self.keeper is not None else set()
        if self.keeper is not None and self.keeper.poll() is None:
            self.keeper.kill()
            self.keeper.wait(WITHIN)
        for pid in pids | self.recorded():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            until(lambda pid=pid: not _runs(pid), "a team that was killed runs on")
        end_servers(self.state)

    def recorded(self) -> set[int]:
        """Return the teams' processes that are written down and still run."""
        try:
            told = json.loads((self.state / "teams" / "keeper.json").read_text())
        except (OSError, ValueError):
            return set()
        found = set()
        for member in (told["live"], told["other"], *told["ending"]):
            if member is not None and member["process"] is not None:
                pid = member["process"]["pid"]
                try:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.folder).encode() in line:
                    found.add(pid)
        return found

    # What it is asked

    def asked(self, what: str) -> list[dict[str, Any]]:
        """Ask for *what* and return all that is answered."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(WITHIN)
            sock.connect(str(self.state / "teams" / "keeper.sock"))
            sock.sendall(json.dumps({"do": what}).encode() + b"\n")
            with sock.makefile("rb") as lines:
                return [json.loads(line) for line in lines]

    def status(self) -> dict[str, Any]:
        """Return the keeper's status; nothing while it cannot be asked."""
        try:
            (answer,) = self.asked("status")
        except (OSError, ValueError):
            return {"stage": "", "live": None, "other": None, "ending": []}
        return answer

    def done(self, what: str) -> str:
        """Ask for *what*, and return the words it was done with."""
        *_, last = self.asked(what)
        assert "done" in last, last
        return str(last["done"])

    def failed(self, what: str) -> str:
        """Ask for *what*, and return the words it failed with."""
        *_, last = self.asked(what)
        assert "failed" in last, last
        return str(last["failed"])

    def until_stage(self, *stages: str) -> dict[str, Any]:
        """Wait until the pair is in one of *stages*."""
        try:
            found: dict[str, Any] = until(
                lambda: (told := self.status())["stage"] in stages and told, f"never {stages}"
            )
        except AssertionError:
            raise AssertionError(f"never {stages}: {self.status()}\n{self.said()}") from None
        return found

    def pids(self) -> list[int]:
        """Return the processes of all teams."""
        told = self.status()
        members = [told["live"], told["other"], *told["ending"]]
        return [member["pid"] for member in members if member is not None and member["pid"]]

    def said(self) -> str:
        """Return the log."""
        return self.log.read_text()

    def visit(self) -> str:
        """Ask whoever accepts, and return the answer."""
        with socket.create_connection(("127.0.0.1", self.port), WITHIN) as sock:
            sock.sendall(b"hello\n\n")
            return sock.makefile("r").read().strip()

    def team(self) -> str:
        """Return which team answers."""
        return self.visit().split()[1]

    @contextmanager
    def crowd(self) -> Iterator[Mapping[str, int]]:
        """Have clients come and go all the time, and count what they get.

        ``lost``: accepted, and closed without an answer. ``refused``: not even that.
        """
        counts: Counter[str] = Counter()
        stop = threading.Event()

        def client() -> None:
            while not stop.is_set():
                try:
                    said = self.visit()
                except ConnectionRefusedError:
                    counts["refused"] += 1
                except TimeoutError:
                    counts["late"] += 1
                except OSError:
                    counts["lost"] += 1
                else:
                    counts["answered" if said else "lost"] += 1
                time.sleep(0.002)

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield counts
        finally:
            stop.set()
            for thread in threads:
                thread.join()
