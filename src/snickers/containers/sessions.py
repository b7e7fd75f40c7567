"""What the kernel knows of the processes of a session: signals for all of them, and the processor
time that they have used.

A server of type ``process`` leads a session, so that its children are found by it, also those in
groups of their own; one that began another session has left. No number is trusted when something
is signalled: the process is held by a descriptor and looked at again (pidfd_open(2)); that a
process is the one that it was, is known by its time of start.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator

from attrs import frozen

_TICKS = os.sysconf("SC_CLK_TCK")


@frozen
class Stat:
    """One process, of proc_pid_stat(5)."""

    state: str
    """A letter: ``T`` is stopped, ``Z`` has ended and is waited for."""
    session: int
    used: float
    """Seconds of processor time: its own, and of the children that it has waited for."""
    start: int = 0
    """Clock ticks from the host's boot to its start: no two processes have its number and this."""
    status: int = 0
    """How it has ended, as wait(2) has it; only of one that is waited for, and only for who may
    look into it."""


def parsed(text: bytes) -> Stat | None:
    """Return what ``/proc/PID/stat`` says; ``None`` for what is no such text."""
    # The name in parentheses may hold anything.
    fields = text.rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    try:
        ticks = sum(int(field) for field in fields[11:15])
        return Stat(
            fields[0].decode("ascii"),
            int(fields[3]),
            ticks / _TICKS,
            int(fields[19]),
            # The 52nd, of Linux 3.5.
            int(fields[49]) if len(fields) > 49 else 0,
        )
    except ValueError:
        return None


def stat(pid: int, proc: str = "/proc") -> Stat | None:
    """Return what the kernel knows of *pid*; ``None``: it has gone."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            return parsed(file.read())
    except OSError:
        return None


def pids(proc: str = "/proc") -> list[int]:
    """Return all processes there are."""
    try:
        return [int(name) for name in os.listdir(proc) if name.isdecimal()]
    except OSError:
        return []


def add(used: dict[int, float], some: Iterable[int], proc: str = "/proc") -> None:
    """Add to *used*, by session, the time of those of the processes *some* that are of one of its
    sessions."""
    for pid in some:
        found = stat(pid, proc)
        if found is not None and found.session in used:
            used[found.session] += found.used


def tell(session: int, number: int) -> None:
    """Send the signal *number* to every process of *session*, its leader's group at once."""
    try:
        os.killpg(session, number)
    except (ProcessLookupError, PermissionError):
        pass
    tell_others(session, number)


def tell_others(session: int, number: int) -> None:
    """Send the signal *number* to the processes of *session* that are not of its leader's group."""
    for pid in list(_others(session)):
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            found = stat(pid)
            if found is not None and found.session == session:
                signal.pidfd_send_signal(fd, number)
        except OSError:
            pass  # It has ended, or is no longer ours to signal.
        finally:
            os.close(fd)


def boot(proc: str = "/proc") -> str:
    """Return what tells this boot of the host from all others."""
    try:
        with open(f"{proc}/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _others(session: int) -> Iterator[int]:
    """Yield the processes of *session* that are not of its leader's group."""
    for pid in pids():
        try:
            if os.getsid(pid) == session and os.getpgid(pid) != session:
                yield pid
        except OSError:
            continue
