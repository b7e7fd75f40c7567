"""A stand-in for a team's ``twistd``: speaks the keeper's protocol, and answers with its name.

It is what ``DIR/.venv/bin/twistd`` is in tests: it accepts from the sockets that it was handed,
takes and gives up duty by a real lock, and does wrong what ``DIR/mode`` (JSON) says:

``version``; ``ends``: an exit status instead of getting ready; ``silent``: never ready; ``keeps``:
does not give duty up; ``errs``: answers everything with 500; ``lasts``: seconds until it ends by
itself once it accepts; ``drains``: seconds that its end takes; ``faults``: what ``check`` finds;
``beats``: it says that it lives, as often as it is asked to, and how it stands with that.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path


def _mode() -> dict[str, object]:
    try:
        found: dict[str, object] = json.loads(Path("mode").read_text())
    except FileNotFoundError:
        return {}
    return found


class Team:
    """One process of a team."""

    def __init__(self) -> None:
        self.mode = _mode()
        self.name = os.environ["SNICKERS_TEAM"]
        self.notify = os.environ["NOTIFY_SOCKET"]
        self.fronts = []
        for index in range(int(os.environ["LISTEN_FDS"])):
            front = socket.socket(fileno=3 + index)
            front.setblocking(False)
            self.fronts.append(front)
        self.lock = os.open(
            Path(self.notify).parent.parent / "duty.lock", os.O_RDWR | os.O_CREAT, 0o600
        )
        self.accepts = self.wants_duty = self.duty = self.ending = False
        self.open: dict[socket.socket, bytes] = {}
        self.total = self.errors = 0
        self.told = self.beat = 0.0
        every = float(os.environ.get("WATCHDOG_USEC", "inf")) / 1e6
        self.every = min(0.5, every) if self.mode.get("beats") else float("inf")
        self.until = float("inf")
        self.signals: list[int] = []
        self.wake, woken = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(self.wake, False)
        signal.set_wakeup_fd(woken)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self.signals.append(number))

    def tell(self, *states: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto("\n".join(states).encode(), self.notify)
            except OSError:
                pass

    def run(self) -> None:
        self.tell(f"X_SNICKERS_VERSION={self.mode.get('version', '1')}")
        if "ends" in self.mode:
            raise SystemExit(int(str(self.mode["ends"])))
        if not self.mode.get("silent"):
            self.tell("READY=1", "STATUS=ready")
        if os.environ.get("SNICKERS_STAND_BY") != "1":
            self.accept()
        while not self.ending or self.open or time.monotonic() < self.until:
            self.turn()

    def accept(self) -> None:
        self.accepts = self.wants_duty = True
        if "lasts" in self.mode:
            self.until = time.monotonic() + float(str(self.mode["lasts"]))

    def give_up(self) -> None:
        self.accepts = self.wants_duty = self.duty = False
        fcntl.flock(self.lock, fcntl.LOCK_UN)
        self.tell("X_SNICKERS_DUTY=0", "STATUS=standing by")

    def obey(self, number: int) -> None:
        if number == signal.SIGUSR2:
            self.accept()
        elif number == signal.SIGUSR1 and not self.mode.get("keeps"):
            self.give_up()
        elif number == signal.SIGTERM:
            # Whoever takes over must not wait for the last of its connections.
            self.give_up()
            self.ending = True
            self.until = time.monotonic() + float(str(self.mode.get("drains", 0)))
            for front in self.fronts:
                front.close()
            self.tell("STOPPING=1")
        elif number == signal.SIGHUP:
            self.tell("RELOADING=1", "STATUS=reloading")
            self.tell("READY=1", "STATUS=reloaded")

    def turn(self) -> None:
        while self.signals:
            self.obey(self.signals.pop(0))
        if self.wants_duty and not self.duty:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                self.duty = True
                self.tell("X_SNICKERS_DUTY=1", "STATUS=serving")
        now = time.monotonic()
        if not self.ending and now >= self.until:
            raise SystemExit(3)
        if now - self.told >= 0.1 and self.total:
            self.told = now
            self.tell(f"X_SNICKERS_ANSWERS={self.total} {self.errors}")
            self.tell(f"X_SNICKERS_OPEN={len(self.open)}")
        if now - self.beat >= self.every:
            self.beat = now
            state = "STOPPING=1" if self.ending else f"READY=1\nX_SNICKERS_DUTY={int(self.duty)}"
            self.tell("WATCHDOG=1", state)
        listening = self.fronts if self.accepts else []
        ready, _, _ = select.select([*listening, *self.open, self.wake], [], [], 0.02)
        for sock in ready:
            if sock is self.wake:
                os.read(self.wake, 4096)
            elif sock in self.open:
                self.read(sock)
            else:
                try:
                    client, _ = sock.accept()
                except BlockingIOError:
                    continue
                client.setblocking(False)
                self.open[client] = b""

    def read(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(4096)
        except OSError:
            data = b""
        self.open[sock] += data
        if data and b"\n\n" not in self.open[sock]:
            return
        if data:
            status = 500 if self.mode.get("errs") else 200
            self.total += 1
            self.errors += status == 500
            try:
                sock.sendall(f"{status} {self.name} {os.getpid()}\n".encode())
            except OSError:
                pass
        del self.open[sock]
        sock.close()


def main() -> None:
    """Be a team's ``twistd``."""
    if sys.argv[1:3] != ["--nodaemon", "--pidfile="]:
        raise SystemExit(f"odd arguments: {sys.argv[1:]}")
    Team().run()


def check() -> None:
    """Be a team's ``snickers``, of which only ``check`` is needed."""
    if sys.argv[1] != "--config" or sys.argv[3:] != ["check"]:
        raise SystemExit(f"odd arguments: {sys.argv[1:]}")
    words = _mode().get("faults")
    raise SystemExit(f"{sys.argv[2]}:1: {words}" if words else 0)


if __name__ == "__main__":
    main()
