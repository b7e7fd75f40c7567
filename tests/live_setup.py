"""A real ``twistd snickers`` for tests, in a process and a folder of its own.

Its listening sockets are made here and handed over, so that no port is looked for that somebody
else might take; that it is ready, and has read its configuration anew, is heard from it as a
service manager would. Only loopback, no Docker, no root.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from tests import echo_server

WITHIN = 180.0
"""Seconds for any one step, on a machine that is busy with other things as well."""

SETTINGS = """
[snickers]
https = tcp:443
http = tcp:80
state = state
data = data
reload every = never
docker = unix:///nonexistent
"""

TWISTD = "from twisted.scripts.twistd import run; run()"
SNICKERS = "from snickers.control.command import main; raise SystemExit(main())"

HAND_OVER = """
import fcntl, os, sys
given, program = sys.argv[1].split(), sys.argv[2:]
moved = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in given]
for number in given:
    os.close(int(number))
for index, number in enumerate(moved):
    os.dup2(number, 3 + index)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(program[0], program)
"""
"""Does what a service manager does: the sockets from descriptor 3 on, and then the program."""

ECHO = shlex.join([sys.executable, echo_server.__file__])
"""The ``command`` of a site that is `echo_server`."""


def until(holds: Callable[[], Any], words: str) -> Any:
    """Return what *holds* returns, as soon as that is true; fails with *words* after `WITHIN`."""
    deadline = time.monotonic() + WITHIN
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, words
        time.sleep(0.01)


def service_manager(test: Any, whom: object) -> socket.socket:
    """Return the socket by which a service manager hears of *whom*; closed with *test*."""
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    test.addCleanup(heard.close)
    # An abstract name: the folder's may be too long for a socket.
    heard.bind(f"\0snickers-test-{os.getpid()}-{id(whom)}")
    return heard


class Owned:
    """What its owner does with a Snickers, or two: write the configuration, and run the command.

    *folder* is its own; *text* follows *settings* in the configuration.
    """

    def __init__(self, folder: Path, settings: str, text: str) -> None:
        self.folder = folder
        self.sites = folder / "sites.ini"
        self.settings = settings
        self.write(text)

    def write(self, text: str) -> None:
        """Have *text* follow the settings in the configuration, from one moment to the next."""
        new = self.folder / "new"
        new.write_text(self.settings + text)
        new.replace(self.sites)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the ``snickers`` command."""
        return subprocess.run(
            [sys.executable, "-c", SNICKERS, "--config", str(self.sites), *arguments],
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )

    def asked(self, *arguments: str) -> Any:
        """Return what the ``snickers`` command answers with ``--json``."""
        done = self.command("--json", *arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)


class Snickers(Owned):
    """One that runs, or has run. *text* is what follows `SETTINGS` in its configuration.

    It has its cleanups added to *test*. *options* are for ``twistd``, *python* is what runs it,
    *prepare* is called with its folder before it is started.
    """

    def __init__(
        self,
        test: Any,
        text: str,
        settings: str = SETTINGS,
        options: Sequence[str] = (),
        python: str = sys.executable,
        prepare: Callable[[Path], object] = lambda folder: None,
    ) -> None:
        folder = Path(test.mktemp()).absolute()
        folder.mkdir(parents=True)
        prepare(folder)
        super().__init__(folder, settings, text)
        self.log = folder / "log"
        self.manager = service_manager(test, self)
        self.manager.settimeout(WITHIN)
        listening = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in range(2)]
        self.https, self.http = (sock.getsockname()[1] for sock in listening)
        descriptors = [sock.fileno() for sock in listening]
        program = [python, "-c", TWISTD, "--nodaemon", "--pidfile=", *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", HAND_OVER, " ".join(map(str, descriptors))),
                    *(*program, "snickers", "--config", str(self.sites)),
                ],
                env={
                    **os.environ,
                    "LISTEN_FDS": "2",
                    "LISTEN_FDNAMES": "https:http",
                    "NOTIFY_SOCKET": "@" + self.manager.getsockname()[1:].decode(),
                },
                pass_fds=descriptors,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        test.addCleanup(self.kill)
        for sock in listening:
            sock.close()
        self.told("READY=1")
        self._trust: ssl.SSLContext | None = None

    def kill(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WITHIN)

    # What it says

    def told(self, state: str) -> None:
        """Wait until it says *state* to its service manager."""
        deadline = time.monotonic() + WITHIN
        while state not in self.manager.recv(4096).decode().split("\n"):
            # It may say other things for ever.
            assert time.monotonic() < deadline, f"it does not say {state}"

    def signal(self, number: int, state: str) -> None:
        """Send it a signal and wait until it says *state*."""
        self.process.send_signal(number)
        self.told(state)

    def end(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WITHIN)

    # What its owner does

    def reload(self, text: str) -> Any:
        """Have *text* run, and return what that changed, which is what a plan had said."""
        self.write(text)
        planned = self.asked("plan")
        done = self.asked("reload")
        assert planned == done, (planned, done)
        return done

    def until_asleep(self, host: str) -> None:
        """Wait until the process of *host* has ended: following its log ends then."""
        done = self.command("logs", host, "--follow")
        assert done.returncode == 0, done.stderr

    # What it is asked by visitors

    @property
    def trust(self) -> ssl.SSLContext:
        """Trusts its internal authority, and nobody else."""
        if self._trust is None:
            anybody = ssl.create_default_context()
            anybody.check_hostname = False
            anybody.verify_mode = ssl.CERT_NONE
            # The authority's certificate is there when it has signed one.
            site = next(iter(self.asked("status")["sites"]))["site"]
            self._connect(site, anybody).close()
            authority = self.folder / "state" / "internal" / "ca.pem"
            self._trust = ssl.create_default_context(cafile=str(authority))
        return self._trust

    def connect(self, host: str) -> ssl.SSLSocket:
        """Return a connection to the site *host*."""
        return self._connect(host, self.trust)

    def _connect(self, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
        sock = socket.create_connection(("127.0.0.1", self.https), WITHIN)
        return context.wrap_socket(sock, server_hostname=host)

    def get(self, host: str, path: str = "/") -> tuple[int, bytes]:
        """Ask by a connection of its own; return the status and the body."""
        with self.connect(host) as sock:
            answer = ask(sock, host, path)
            return answer.status, answer.read()


def ask(sock: socket.socket, host: str, path: str = "/") -> HTTPResponse:
    """Send a GET; return the answer as soon as its head is there."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = HTTPResponse(sock)
    answer.begin()
    return answer
