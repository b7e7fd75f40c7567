"""What the control groups of Linux (cgroups(7)) say of a container on this host.

Reading one number there takes some microseconds, where Docker makes who asks for the same number
wait up to a second. Nothing here writes to a control group.
"""

from __future__ import annotations

MOUNTED = "/sys/fs/cgroup"


def groups_of(pid: int, proc: str = "/proc") -> str:
    """Return the control groups of a process as the kernel lists them; empty when it has gone."""
    try:
        with open(f"{proc}/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def meters(groups: str, mounted: str = MOUNTED) -> list[str]:
    """Return the files that may hold the processor time of who is in *groups*, best first: those
    of version 1, where there is such a group, then of version 2."""
    first, second = [], []
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        path = path.rstrip("/")
        if not path.startswith("/"):
            continue  # The root of all, which counts everybody.
        if "cpuacct" in controllers.split(","):
            names = dict.fromkeys((controllers, "cpuacct"))
            first += [f"{mounted}/{name}{path}/cpuacct.usage" for name in names]
        elif number == "0" and not controllers:
            second.append(f"{mounted}{path}/cpu.stat")
    return first + second


def used(meter: str) -> float | None:
    """Return the seconds of processor time that a file of `meters` holds; ``None``: it does not."""
    try:
        with open(meter, "rb") as file:
            text = file.read(4096)
    except OSError:
        return None
    if text.strip().isdigit():
        return int(text) / 1e9
    for line in text.splitlines():
        name, _, number = line.partition(b" ")
        if name == b"usage_usec" and number.isdigit():
            return int(number) / 1e6
    return None
