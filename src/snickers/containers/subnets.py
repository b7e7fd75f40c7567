"""Chooses small networks out of a pool: Docker's own pools allow about thirty networks only.

Pure: what is taken comes in as an argument. It must never choose what overlaps that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, ip_network

POOL = "10.213.0.0/16"
"""Room for 4096 sites, in a corner of 10/8 where neither Docker nor the usual VPNs are."""

PREFIX = 28
"""Thirteen containers beside the bridge: one is needed, two while one replaces the other."""


TAKEN = 3
"""Addresses of a network that no container has: its first, its last, and the bridge's."""


def has_room(network: str, room: int) -> bool:
    """Say whether *room* containers have an address each in *network*; what is no IPv4 network has
    room for all."""
    try:
        return IPv4Network(network, strict=False).num_addresses - TAKEN >= room
    except ValueError:
        return True


def free(pool: str, taken: Iterable[str], room: int = 1) -> Iterator[str]:
    """Yield the networks of *pool* that overlap none of those *taken*, lowest first, each with
    *room* for so many containers at least.

    What is taken may be of any size and family, and overlap. Both are in the form
    ``10.213.0.16/28``; a *pool* that is no IPv4 network raises ValueError.
    """
    whole = IPv4Network(pool)
    prefix = max(0, min(PREFIX, 32 - (room + TAKEN - 1).bit_length()))
    size = 1 << (32 - prefix)
    first, last = int(whole.network_address), int(whole.broadcast_address)
    used: set[int] = set()
    for each in taken:
        network = ip_network(each, strict=False)
        if not isinstance(network, IPv4Network):
            continue
        low = max(first, int(network.network_address))
        high = min(last, int(network.broadcast_address))
        used.update(range((low - first) // size, (high - first) // size + 1) if low <= high else ())
    for number in range((last - first + 1) // size):
        if number not in used:
            yield str(IPv4Network((first + number * size, prefix)))


def routed(table: str) -> list[str]:
    """Return the networks that ``/proc/net/route`` lists, but the default route (proc(5))."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) < 8:
            continue
        # The kernel prints them as the integers that the bytes are in memory: little endian on
        # every machine that Docker runs on.
        address, mask = (
            int.from_bytes(int(fields[at], 16).to_bytes(4, "little"), "big") for at in (1, 7)
        )
        if mask:
            found.append(str(IPv4Network((address & mask, mask.bit_count()))))
    return found
