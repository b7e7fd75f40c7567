"""What waking costs beside ``docker start``: ``python -m bench.wake [ROUNDS]``, some two minutes.

A visitor's request to a sleeping site, until the first byte of the answer, TLS handshake and all;
and beside it, in turn, the same container started by Docker's API and asked every millisecond
until it answers. The second is a site of its own that Snickers made once and nobody visits, so
that both have the same image, limits, and a network alike. The same for a server that needs a
while before it listens, and for one that is paused. Needs root or a Docker that answers, and
busybox-static; nothing is asked from a registry.
"""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from attrs import frozen
from tests import docker_setup

from bench.client import connect, context, head_of
from bench.machine import Machine, Missing
from bench.sleepers import Asleep, server_after, snickers
from snickers.containers import recipe
from snickers.containers.dockerapi import seconds

ROUNDS = 15
LONGEST = 600
"""Seconds after which all of it ends, whatever happens."""
ASK_EVERY = 0.001
"""Seconds between two tries to get an answer from a container that was started by hand."""
SLOW = 0.3
"""Seconds that the slow server needs before it listens."""
PAUSE_AFTER = 1.0
"""Seconds after which the paused one is: the least that takes little of the run."""
GET = b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
VISITED, BY_HAND = "visited", "by-hand"


@frozen
class Case:
    """One kind of server that is woken."""

    key: str
    title: str
    needs: float = 0.0
    """Seconds before it listens."""
    paused: bool = False

    @property
    def sites(self) -> tuple[str, str]:
        """The site that is visited, and its twin that is started by hand."""
        return f"{VISITED}.{self.key}.localhost", f"{BY_HAND}.{self.key}.localhost"

    @property
    def options(self) -> tuple[str, str]:
        """What their sections say. Nobody but the measurement puts the second to sleep."""
        command = f"command = {server_after(self.needs)}\nidle after = never"
        pause = f"\npause after = {PAUSE_AFTER:g}s" if self.paused else ""
        return command + pause, command


CASES = (
    Case("quick", "stopped, a server that listens at once"),
    Case("slow", f"stopped, a server that needs {SLOW * 1000:.0f} ms", needs=SLOW),
    Case("paused", "paused", paused=True),
)


@frozen
class Pair:
    """The two times of one round, in seconds."""

    visited: float
    by_hand: float
    awake: float = 0.0
    """The next visit, to what is awake: a handshake, and a request that is passed on."""
    later: float = 0.0
    """How much later the visitor's answer came, counted from when each one's process began: without
    what Docker takes, which varies the most."""


def row(case: Case, pairs: Sequence[Pair]) -> str:
    """Return a line of the table: the medians, and the median of the rounds' differences with the
    middle half of them."""
    more = sorted(pair.visited - pair.by_hand for pair in pairs)
    quarter = len(more) // 4
    later = "–" if case.paused else _ms(median(pair.later for pair in pairs))
    return (
        f"| {case.title} | {_ms(median(pair.by_hand for pair in pairs))} "
        f"| {_ms(median(pair.visited for pair in pairs))} | **{_ms(median(more))}** "
        f"| {_ms(more[quarter])} to {_ms(more[-1 - quarter])} "
        f"| {later} "
        f"| {_ms(median(pair.awake for pair in pairs))} |"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def ask(address: tuple[str, int], pause: Callable[[float], object] = time.sleep) -> float:
    """Ask every millisecond until there is an answer; return when it came."""
    late = time.monotonic() + LONGEST
    while time.monotonic() < late:
        try:
            with socket.create_connection(address, 0.5) as sock:
                sock.sendall(GET % b"by-hand")
                if sock.recv(1):
                    return time.perf_counter()
        except OSError:
            pass
        pause(ASK_EVERY)
    raise SystemExit(f"bench: nothing answers at {address}")


class Twins:
    """Both sites of one case."""

    def __init__(self, case: Case, asleep: Asleep) -> None:
        self.case = case
        self._asleep = asleep
        self._secure = context()
        self.visited, self._twin = case.sites
        self._docker: Any = docker_setup.client()
        for name in case.sites:
            self.visit(name)
        found = self._docker.inspect_container(recipe.name(self._twin))
        self._id = found["Id"]
        self._ran = 0.0
        (network,) = found["NetworkSettings"]["Networks"].values()
        # It has a network for itself, so it gets the same address each time: who starts it by hand
        # is spared the question.
        self._address = (network["IPAddress"], 80)
        asleep.sleep(self._twin)

    def visit(self, name: str) -> float:
        """Return the seconds until a new visitor of the site has the first of the answer."""
        began = time.perf_counter()
        with connect(self._secure, self._asleep.port, name) as sock:
            sock.sendall(GET % name.encode())
            head = head_of(sock)
            took = time.perf_counter() - began
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"bench: {name} answers {head[:200]!r}")
        return took

    def by_hand(self) -> float:
        """Return the seconds that the twin takes when Docker's API is told to start it."""
        docker, id = self._docker, self._id
        if self.case.paused:
            docker.start(id)
            ask(self._address)
            docker.pause(id)
        begin: Callable[[str], None] = docker.unpause if self.case.paused else docker.start
        began = time.perf_counter()
        begin(id)
        took = ask(self._address) - began
        self._ran = self._running(id)
        docker.stop(id, timeout=1)
        return took

    def measure(self, first: bool) -> Pair:
        """One round: each from sleep to the first answer; *first*: the visit comes first."""
        by_hand = 0.0 if first else self.by_hand()
        if self.case.paused:
            self._asleep.until({self.visited: "paused"})
        else:
            self._asleep.sleep(self.visited)
        visited = self.visit(self.visited)
        ran = self._running(recipe.name(self.visited))
        awake = self.visit(self.visited)
        by_hand = by_hand or self.by_hand()
        return Pair(visited, by_hand, awake, 0.0 if self.case.paused else ran - self._ran)

    def _running(self, container: str) -> float:
        """Return the seconds for which it has run now."""
        now = time.time()
        state = self._docker.inspect_container(container)["State"]
        return now - (seconds(state["StartedAt"]) or now)


def main() -> int:
    """Measure, and print the rows of a table."""
    signal.alarm(LONGEST)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    names: dict[str, str] = {}
    for case in CASES:
        names.update(zip(case.sites, case.options, strict=True))
    with (
        tempfile.TemporaryDirectory(prefix="snickers-wake-") as folder,
        Machine(Path(folder)) as here,
    ):
        try:
            with snickers(here, names) as asleep:
                twins = [Twins(case, asleep) for case in CASES]
                measured: dict[str, list[Pair]] = {case.key: [] for case in CASES}
                # Round -1 warms up.
                for turn in range(-1, rounds):
                    for each in twins:
                        pair = each.measure(turn % 2 == 0)
                        if turn >= 0:
                            measured[each.case.key].append(pair)
                    print(f"bench: round {turn + 1} of {rounds}", file=sys.stderr)
        except Missing as missing:
            print(f"bench: {missing}", file=sys.stderr)
            return 1
    print("| asleep | by hand | a visit | more | middle half | after the start | awake |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        print(row(case, measured[case.key]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
