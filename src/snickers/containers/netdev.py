"""What the kernel counts of the bytes that a process' network has moved, see proc_pid_net(5).

A container on this host has a network of its own, so these are its own bytes. Reading them takes
some microseconds. Nothing here changes anything.
"""

from __future__ import annotations

OWN = ("lo",)
"""What a container says to itself counts for nothing."""


def moved(pid: int, proc: str = "/proc") -> int | None:
    """Return the bytes, both ways, that the network of process *pid* has moved; ``None``: nobody
    can say."""
    try:
        with open(f"{proc}/{pid}/net/dev", encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    total = 0
    # Two lines of titles come first.
    for line in lines[2:]:
        name, _, rest = line.partition(":")
        numbers = rest.split()
        if name.strip() not in OWN and len(numbers) > 8:
            total += int(numbers[0]) + int(numbers[8])
    return total
