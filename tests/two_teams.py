"""A keeper on the tests' side: it binds, starts teams, sends them signals, hears what they say.

No more than that, so that what a team does can be looked at without the keeper's own decisions. Two
real ``twistd snickers`` on the same listening sockets, in one folder, loopback only.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lasting_setup import end_servers
from tests.live_setup import HAND_OVER, SETTINGS, TWISTD, WITHIN, Owned, ask, service_manager

CREDENTIALS = struct.Struct("3i")


class Team:
    """One process; *heard* is everything that it has said, in order."""

    def __init__(self, keeper: Keeper, name: str, stand_by: bool) -> None:
        self.keeper = keeper
        self.name = name
        self.heard: list[str] = []
        self.log = keeper.folder / f"{name}.log"
        descriptors = [sock.fileno() for sock in keeper.listening]
        program = [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile="]
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SNICKERS_")},
            **keeper.environment,
            "LISTEN_FDS": str(len(descriptors)),
            "LISTEN_FDNAMES": "https:http",
            "NOTIFY_SOCKET": "@" + keeper.manager.getsockname()[1:].decode(),
            "SNICKERS_TEAM": name,
        }
        if stand_by:
            environment["SNICKERS_STAND_BY"] = "1"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", HAND_OVER, " ".join(map(str, descriptors))),
                    *(*program, "snickers", "--config", str(keeper.sites)),
                ],
                env=environment,
                pass_fds=descriptors,
                cwd=keeper.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        keeper.teams[self.process.pid] = self

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def tell(self, number: int, state: str) -> float:
        """Send it a signal; return the seconds until it says *state*."""
        self.heard.clear()
        began = time.monotonic()
        self.send(number)
        self.says(state)
        return time.monotonic() - began

    def says(self, state: str) -> None:
        """Wait until it says *state*, or has said it since `heard` was cleared."""
        deadline = time.monotonic() + WITHIN
        while state not in self.heard:
            assert time.monotonic() < deadline, (self.name, state, self.heard)
            assert self.process.poll() is None, (self.name, state, self.log.read_text()[-3000:])
            self.keeper.hear()

    def last(self, name: str) -> str | None:
        """Return what it has said last of ``X_SNICKERS_NAME``."""
        start = f"X_SNICKERS_{name}="
        found = [said.removeprefix(start) for said in self.heard if said.startswith(start)]
        return found[-1] if found else None

    def kill(self) -> None:
        """End it by force, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WITHIN)

    def wait(self) -> int:
        """Wait for its end; return the exit status."""
        return self.process.wait(WITHIN)


class Keeper(Owned):
    """Binds, and has teams. *text* is what follows `SETTINGS` in the configuration."""

    def __init__(
        self,
        test: Any,
        text: str,
        settings: str = SETTINGS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder = Path(test.mktemp()).absolute()
        folder.mkdir(parents=True)
        super().__init__(folder, settings, text)
        self.test = test
        self.environment = environment or {}
        # Last of all, when no team runs any more.
        test.addCleanup(end_servers, folder / "state")
        self.manager = service_manager(test, self)
        self.manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.listening = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(2)]
        self.https, self.http = (sock.getsockname()[1] for sock in self.listening)
        for sock in self.listening:
            test.addCleanup(sock.close)
        self.teams: dict[int, Team] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    def start(self, name: str, stand_by: bool = False, ready: bool = True) -> Team:
        """Start a team, and wait until it is ready."""
        team = Team(self, name, stand_by)
        self.test.addCleanup(team.kill)
        if ready:
            team.says("READY=1")
            if not stand_by:
                team.says("X_SNICKERS_DUTY=1")
        return team

    def hear(self, within: float = 0.5) -> None:
        """Hear one message, if one comes."""
        self.manager.settimeout(within)
        try:
            data, rest, _, _ = self.manager.recvmsg(65536, socket.CMSG_SPACE(CREDENTIALS.size))
        except TimeoutError:
            return
        pid = next(CREDENTIALS.unpack(data)[0] for _, _, data in rest)
        team = self.teams.get(pid)
        if team is not None:
            team.heard += data.decode().split("\n")

    def switch(self, old: Team, new: Team) -> float:
        """Have duty pass; return the seconds that it took."""
        began = time.monotonic()
        old.tell(signal.SIGUSR1, "X_SNICKERS_DUTY=0")
        new.tell(signal.SIGUSR2, "X_SNICKERS_DUTY=1")
        return time.monotonic() - began

    # What is asked by visitors

    def context(self, protocol: str = "http/1.1") -> ssl.SSLContext:
        """Return a context that trusts anybody and offers *protocol*."""
        if protocol not in self._contexts:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols([protocol])
            self._contexts[protocol] = context
        return self._contexts[protocol]

    def connect(self, host: str, protocol: str = "http/1.1") -> ssl.SSLSocket:
        """Return a TLS connection for *host*, whoever accepts it."""
        sock = socket.create_connection(("127.0.0.1", self.https), WITHIN)
        try:
            return self.context(protocol).wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise

    def get(self, host: str, path: str = "/") -> tuple[int, bytes]:
        """Ask by a connection of its own; return the status and the body."""
        with self.connect(host) as sock:
            answer = ask(sock, host, path)
            return answer.status, answer.read()
