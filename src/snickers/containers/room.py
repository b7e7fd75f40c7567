"""Who makes room when too many are awake, or memory runs short.

Pure. The longest idle goes first; whoever is in use, or always awake, never does, however little
room there is: a limit is kept only as far as that allows.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from snickers.containers.life import Phase, State

HOLDS_ROOM = frozenset(
    {
        *(Phase.STARTING, Phase.CHECKING, Phase.AWAKE, Phase.REPLACING),
        *(Phase.PAUSING, Phase.PAUSED, Phase.RESUMING),
    }
)
"""A server runs or is about to. One that drains, makes its snapshot or is being stopped has been
told to go already."""
CAN_GO = frozenset({Phase.AWAKE, Phase.PAUSED})


@frozen
class Held:
    """One site's server, as far as room is concerned."""

    site: str
    phase: Phase
    idle: bool
    """Nobody uses it, it is not always awake, and is not being asked already."""
    used: float
    """When it was last used."""


def held(site: str, state: State, uses: int, used: float) -> Held:
    """Return what *state* means for room; *uses* and *used* are as they are counted now."""
    idle = not uses and state.life.wake != "always" and not state.crowded
    return Held(site, state.phase, idle, used)


def who_goes(servers: Iterable[Held], limit: int | None, short: bool) -> list[str]:
    """Return the sites whose servers shall be put to sleep, the longest idle first.

    *limit*: how many may be awake; *short*: memory is short, so one more shall go.
    """
    there = [server for server in servers if server.phase in HOLDS_ROOM]
    surplus = 0 if limit is None else max(0, len(there) - limit)
    surplus = max(surplus, 1 if short else 0)
    idle = sorted(
        (server for server in there if server.idle and server.phase in CAN_GO),
        key=lambda server: server.used,
    )
    return [server.site for server in idle[:surplus]]
