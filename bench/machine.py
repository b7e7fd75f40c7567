"""The machine under the comparison: cores, free ports, processes, and the CPU they used.

It must end every process that it started, whatever happens, and no other.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import define, field

PROXY_CORE, LOAD_CORE = 0, 1
TICK = os.sysconf("SC_CLK_TCK")
START_WITHIN = 20.0  # seconds


class Missing(Exception):
    """A program that the comparison needs is not installed; the text says which."""


def find(program: str, package: str, *folders: Path) -> str:
    """Return the path of *program*, looked for in *folders* and where programs are."""
    places = [str(folder) for folder in folders]
    found = shutil.which(program, path=os.pathsep.join([*places, os.defpath, "/usr/sbin"]))
    if found is None:
        raise Missing(f"{program} is not here: {package}")
    return found


def free_port() -> int:
    """Return a TCP port of the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_model() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine


def version(*command: str) -> str:
    """Return the first line that *command* prints."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return (done.stdout.strip().splitlines() or ["?"])[0]


@define
class Server:
    """A running server, with its children, bound to one core."""

    process: subprocess.Popen[bytes]
    log: Path

    def tree(self) -> list[int]:
        """Return the process and all that descend from it."""
        found, looked = [self.process.pid], 0
        while looked < len(found):
            tasks = Path(f"/proc/{found[looked]}/task")
            looked += 1
            for children in tasks.glob("*/children"):
                found += [int(pid) for pid in children.read_text().split()]
        return found

    def cpu(self) -> float:
        """Return the seconds of CPU that the whole tree has used, user and system."""
        total = 0
        for pid in self.tree():
            # The name, in brackets, may hold anything; utime and stime are 14th and 15th.
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(stat[11]) + int(stat[12])
        return total / TICK

    def memory(self) -> int:
        """Return the bytes of memory that are the tree's own (its proportional set)."""
        total = 0
        for pid in self.tree():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def wait_for(self, port: int) -> None:
        """Return when it listens on *port* of the loopback address."""
        until = time.monotonic() + START_WITHIN
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise SystemExit(f"bench: {self.log.stem} does not listen:\n{tail}")


@define
class Machine:
    """Starts servers, and ends them when the ``with`` block is left."""

    folder: Path
    _stack: ExitStack = field(factory=ExitStack)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def at_end(self, call: Callable[[], object]) -> None:
        """Have *call* called when the block is left, before what was started earlier is ended."""
        self._stack.callback(call)

    def start(
        self,
        name: str,
        command: Sequence[str],
        core: int,
        environment: Mapping[str, str] | None = None,
    ) -> Server:
        """Start *command* on *core*; what it prints goes to a file."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=self.folder,
            )
        self._stack.callback(_end, process)
        return Server(process, log)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
