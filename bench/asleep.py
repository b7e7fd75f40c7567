"""What sleeping sites cost: ``python -m bench.asleep``, in some two minutes.

Snickers with one container site, with a thousand more, and with four thousand more than those, all
asleep: the memory of the process (``Pss``), what each site more has added to it, and the ticks of
the clock for which the process had a processor while nothing happened. Needs a Docker as
``bench.wake`` does, but makes no container.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from attrs import frozen

from bench.machine import TICK, Machine, Missing
from bench.sleepers import snickers

COUNTS = (1, 1001, 5001)
WATCHED = 10.0
"""Seconds for which the processor time is watched."""
SETTLE = 5.0
"""Seconds before that, in which what the start has left to do is done."""
LONGEST = 600
"""Seconds after which all of it ends, whatever happens."""
MB = 1024 * 1024


@frozen
class Measured:
    """What so many sleeping sites cost."""

    sites: int
    memory: int
    """Bytes."""
    ticks: int


def row(measured: Measured, before: Measured | None) -> str:
    """Return a line of the table; *before*: what fewer sites cost, in the same run."""
    each = "–"
    if before is not None:
        more = (measured.memory - before.memory) / (measured.sites - before.sites)
        each = f"**{more / 1000:.1f} KB**"
    return f"| {measured.sites} | {measured.memory / MB:.1f} MB | {each} | {measured.ticks} |"


def measure(many: int) -> Measured:
    """Have a Snickers with *many* sites and look at it. Raises `Missing`."""
    sites = {f"s{number}.localhost": f"env.NUMBER = {number}" for number in range(many)}
    with (
        tempfile.TemporaryDirectory(prefix="snickers-asleep-") as folder,
        Machine(Path(folder)) as here,
        snickers(here, sites) as asleep,
    ):
        time.sleep(SETTLE)
        before = asleep.server.cpu()
        time.sleep(WATCHED)
        ticks = round((asleep.server.cpu() - before) * TICK)
        return Measured(many, asleep.server.memory(), ticks)


def main() -> int:
    """Measure, and print the rows of a table."""
    signal.alarm(LONGEST)
    print(f"| sleeping sites | memory | each more | ticks in {WATCHED:.0f} s |\n|---|---|---|---|")
    before = None
    for many in COUNTS:
        try:
            measured = measure(many)
        except Missing as missing:
            print(f"bench: {missing}", file=sys.stderr)
            return 1
        print(row(measured, before), flush=True)
        before = measured
    return 0


if __name__ == "__main__":
    sys.exit(main())
