"""Which answer goes first on a connection that carries many (RFC 9218).

Pure. A client's wishes order its own streams among themselves; they must never let one of them
starve for as long as there is room for it, nor count for anybody else's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

URGENCY = 3
"""Unless the client says something else (§4.1)."""
MAX_SIZE = 256
"""Bytes of a field that is looked at: what is known to be said needs six."""

Priority = tuple[int, bool]
"""Urgency, 0 first; whether a part of the answer is of use before the whole (§4)."""

DEFAULT: Priority = (URGENCY, False)

_MEMBER = re.compile(r"\s*(?:u=([0-7])|(i)(?:=\?([01]))?)\s*(?:;[^,]*)?\Z")


def read(value: bytes) -> Priority:
    """Return what a ``priority`` field says; what is not understood counts as not said (§5)."""
    urgency, incremental = DEFAULT
    if len(value) > MAX_SIZE:
        return DEFAULT
    for member in value.decode("latin-1").split(","):
        match = _MEMBER.match(member)
        if match is None:
            continue
        if match[1] is not None:
            urgency = int(match[1])
        else:
            incremental = match[3] != "0"
    return urgency, incremental


def choose(waiting: Iterable[tuple[int, Priority]], last: int) -> int:
    """Return which stream is to send next, of those that *waiting* gives with their priorities.

    The most urgent ones first; among those, the oldest of those that are of use only as a whole,
    else in turn, *last* having been the last one (§10).
    """
    best: tuple[int, bool, bool, int] | None = None
    for number, (urgency, incremental) in waiting:
        rank = (urgency, incremental, incremental and number <= last, number)
        if best is None or rank < best:
            best = rank
    if best is None:
        raise ValueError("nobody waits")
    return best[3]
