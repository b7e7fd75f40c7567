"""What visitors notice of a new version: ``python -m bench.switch [ROUNDS]``, some ten minutes.

Each arrangement is replaced by itself again and again, in its own way, while visitors of every kind
never stop asking: HAProxy by a reload of its master, nginx by an upgrade of its binary, Snickers by
a switch from one team to the other and its commit. Counted is what was lost: connections refused,
reset, or closed before their answer. Nobody asks again for what was lost, as a browser would for
some of it, so that it is seen. Then whoever serves is killed, where somebody is there to follow.
Loopback only.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from bench import proxies
from bench.machine import LOAD_CORE, PROXY_CORE, Machine, Missing, find
from bench.proxies import ECHO, TOP, Scene
from bench.visitors import Visitors

ROUNDS = 15
VISITORS = {"fresh": 2, "kept": 2, "h2": 2, "upload": 2, "download": 2, "chat": 2}
BETWEEN = 1.0
"""Seconds of quiet after a replacement."""
KILLS = 5
"""At the most: each loses what was open, so that a few say enough."""
WITHIN = 240.0
"""Seconds for one replacement: a team needs two until it has proven itself, and on a machine with
other work, where the visitors have the other core, many times that."""
LONGEST = 3600
"""Seconds after which all of it ends, whatever happens."""

T = TypeVar("T")


class Stuck(Exception):
    """A replacement did not come about."""


def until(holds: Callable[[], T], words: str) -> T:
    """Return what *holds* returns, as soon as that is true."""
    end = time.monotonic() + WITHIN
    while not (found := holds()):
        if time.monotonic() > end:
            raise Stuck(words)
        time.sleep(0.02)
    return found


class Arrangement(ABC):
    """Something that can be replaced while it runs."""

    name: str
    how: str
    """In words, for the table."""
    killed = ""
    """How whoever serves is killed, in words; empty: nothing would follow it."""

    @abstractmethod
    def start(self, machine: Machine, scene: Scene) -> int:
        """Start it; return the port at which it serves `ECHO`."""

    @abstractmethod
    def replace(self) -> None:
        """Replace it by itself; return when the new one serves and the old one accepts no more."""

    def kill(self) -> None:
        """Kill whoever serves, and return when another one does."""
        raise NotImplementedError


class HAProxy(Arrangement):
    """A master that starts a new worker, and lets the old one finish."""

    # A master whose worker is killed ends, too: systemd starts both anew.
    name = "HAProxy"
    how = "`SIGUSR2` to the master, as `systemctl reload` does"

    def start(self, machine: Machine, scene: Scene) -> int:
        proxy = proxies.HAProxy(scene)
        program, *_, config = proxy.command()
        command = [program, "-W", "-f", config]
        self.server = machine.start(self.name, command, PROXY_CORE)
        self.server.wait_for(proxy.port)
        return proxy.port

    def replace(self) -> None:
        before = set(_children(self.server.process.pid))
        os.kill(self.server.process.pid, signal.SIGUSR2)
        until(lambda: set(_children(self.server.process.pid)) - before, "there is no new worker")
        time.sleep(1.0)  # it does not say when it accepts


class Nginx(Arrangement):
    """A master that starts a new one, which takes the sockets over."""

    name = "nginx"
    how = "`SIGUSR2`, then `SIGQUIT` to the old master, as its manual says"
    killed = "`kill -9` of the worker"

    def start(self, machine: Machine, scene: Scene) -> int:
        proxy = proxies.Nginx(scene)
        command = proxy.command()
        config = Path(command[-1])
        text = config.read_text().replace("daemon off;", "daemon on;")
        config.write_text(text)
        self.pid = proxy.path(".pid")
        machine.start(self.name, command, PROXY_CORE).process.wait(WITHIN)
        machine.at_end(self.stop)
        until(self.master, "nginx has not started")
        return proxy.port

    def master(self) -> int:
        """Its number; 0 while the file is between two of them."""
        try:
            return int(self.pid.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def stop(self) -> None:
        os.kill(self.master(), signal.SIGTERM)

    def replace(self) -> None:
        old = self.master()
        os.kill(old, signal.SIGUSR2)
        until(lambda: self.master() not in (0, old), "there is no new master")
        time.sleep(1.0)  # its workers are started
        os.kill(old, signal.SIGQUIT)
        kept = self.pid.with_suffix(".pid.oldbin")
        until(lambda: not kept.exists(), "the old master does not end")

    def kill(self) -> None:
        (worker,) = until(lambda: _children(self.master()), "there is no worker")
        os.kill(worker, signal.SIGKILL)
        until(lambda: set(_children(self.master())) - {worker}, "there is no new worker")


class Snickers(Arrangement):
    """A keeper of the sockets, and two teams that take turns."""

    name = "Snickers"
    how = "`snickers teams switch`, then `snickers teams commit`"
    killed = "`snickers teams switch`, then `kill -9` of the team that serves"

    def start(self, machine: Machine, scene: Scene) -> int:
        proxy = proxies.Snickers(scene)
        _, *_, config = proxy.command()
        self.state = proxy.path("-state")
        folders = {}
        for team in ("blue", "red"):
            # Two folders that have the same version installed.
            folders[team] = scene.folder / team
            bin_ = folders[team] / ".venv" / "bin"
            bin_.mkdir(parents=True)
            (bin_ / "twistd").symlink_to(find("twistd", "pip install snickers", proxies.HERE))
        twistd = find("twistd", "pip install snickers", proxies.HERE)
        command = [twistd, "--nodaemon", "--pidfile=", "snickers-teams", "--config", config]
        command += ["--blue", str(folders["blue"]), "--red", str(folders["red"])]
        machine.start(self.name, command, PROXY_CORE)
        until(lambda: self.stage() == "serving", "no team serves")
        return proxy.port

    def ask(self, what: str) -> dict[str, Any]:
        """Ask the keeper; return the last thing that it says."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(WITHIN)
            sock.connect(str(self.state / "teams" / "keeper.sock"))
            sock.sendall(json.dumps({"do": what}).encode() + b"\n")
            with sock.makefile("rb") as lines:
                *_, last = lines
        said: dict[str, Any] = json.loads(last)
        if "failed" in said:
            raise Stuck(f"{what}: {said['failed']}")
        return said

    def stage(self) -> str:
        try:
            return str(self.ask("status")["stage"])
        except OSError:
            return ""

    def replace(self) -> None:
        self.ask("switch")
        self.ask("commit")

    def kill(self) -> None:
        self.ask("switch")
        time.sleep(BETWEEN)
        os.kill(self.ask("status")["live"]["pid"], signal.SIGKILL)
        until(lambda: self.stage() == "serving", "the one that stood by has not taken over")


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for children in Path(f"/proc/{pid}/task").glob("*/children")
        for child in children.read_text().split()
    ]


@frozen
class Result:
    """What visitors noticed of one arrangement."""

    name: str
    how: str
    replaced: int
    answered: int
    connections: int
    lost: tuple[tuple[str, int], ...]
    """Of each kind of visitor how many answers were lost."""

    @property
    def row(self) -> str:
        """A line of the table."""
        total = sum(count for _, count in self.lost)
        which = ", ".join(f"{count} {kind}" for kind, count in self.lost)
        return (
            f"| {self.name} | {self.how} | {self.replaced} | {self.connections:,} | "
            f"{self.answered:,} | **{total}**{f' ({which})' if which else ''} |"
        )


TABLE = "| | how | times | connections | answers | lost |\n|---|---|---|---|---|---|"


def measure(arrangement: Arrangement, how: str, does: Callable[[], None], rounds: int) -> Result:
    """Have *does*, which is *how* in words, done to *arrangement* so many times under load."""
    with tempfile.TemporaryDirectory(prefix="snickers-bench-") as name:
        folder = Path(name)
        scene = proxies.make_scene(folder)
        with Machine(folder) as machine:
            witness = [sys.executable, "-m", "bench.witness", str(scene.echo)]
            environment = {"PYTHONPATH": str(TOP)}
            machine.start("witness", witness, LOAD_CORE, environment).wait_for(scene.echo)
            port = arrangement.start(machine, scene)
            visitors = Visitors(port, None, ECHO)
            visitors.start(**VISITORS)
            try:
                time.sleep(BETWEEN)
                for number in range(rounds):
                    does()
                    print(f"\r{arrangement.name}: {number + 1}/{rounds}", end="", file=sys.stderr)
                    time.sleep(BETWEEN)
            finally:
                visitors.stop()
                print(file=sys.stderr)
    lost = Counter(words.partition(":")[0] for _, words in visitors.lost)
    for words, count in Counter(words[:100] for _, words in visitors.lost).most_common(10):
        print(f"  {count} x {words}", file=sys.stderr)
    return Result(
        arrangement.name,
        how,
        rounds,
        sum(visitors.answered.values()),
        visitors.connections,
        tuple(sorted(lost.items())),
    )


ALL: tuple[type[Arrangement], ...] = (Snickers, HAProxy, Nginx)


def main(arguments: list[str]) -> None:
    """Print the table."""
    signal.alarm(LONGEST)
    rounds = int(arguments[0]) if arguments else ROUNDS
    only = arguments[1:]
    kinds = [kind for kind in ALL if not only or kind.name in only]
    print(TABLE)
    for kill in (False, True):
        for kind in kinds:
            arrangement = kind()
            how, does, times = arrangement.how, arrangement.replace, rounds
            if kill:
                how, does, times = arrangement.killed, arrangement.kill, min(rounds, KILLS)
            if not how:
                continue
            try:
                print(measure(arrangement, how, does, times).row, flush=True)
            except (Missing, Stuck) as problem:
                # The others are told all the same.
                print(f"{kind.name} is left out: {problem}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
