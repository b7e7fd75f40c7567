"""What Docker tells of a container, read: whose it is, how it runs, whether it serves.

Pure: an answer in, a frozen value out. A container's labels say whose it is and of what it was
made; its name says which of two of a site is the one that visitors reach. Must never take a
published port for where a container listens, nor one that is only tried for the one that serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from snickers.containers import recipe
from snickers.containers.dockerapi import seconds
from snickers.containers.errand import STOP_WITHIN, Seen
from snickers.interfaces.engine import Address, Exit, Instance

OWNED = "__"
"""Between the site's name and its owner's, in the name of a container whose plain name is taken."""


def read(found: Mapping[str, Any]) -> Seen:
    """Return the container that Docker tells *found* of, as it was seen."""
    id, state, config = str(found["Id"]), found["State"], found["Config"]
    labels = config.get("Labels") or {}
    site, running = labels.get(recipe.SITE, ""), bool(state["Running"])
    began = not state["StartedAt"].startswith("0001-")
    exit = Exit(site, id, state["ExitCode"], bool(state.get("OOMKilled")))
    return Seen(
        Instance(
            site,
            id,
            labels.get(recipe.FINGERPRINT, ""),
            running,
            _address(found, recipe.port_of(labels)) if running else None,
            seconds(state["StartedAt"]) if began else None,
            running and bool(state.get("Paused")),
            labels.get(recipe.DIGEST) or labels.get(recipe.IMAGE, ""),
        ),
        found["Name"].lstrip("/"),
        state["StartedAt"],
        exit if began and not running else None,
        (state.get("Health") or {}).get("Status", ""),
        labels.get(recipe.IMAGE, ""),
        float(config.get("StopTimeout") or STOP_WITHIN),
        binds=tuple(
            (str(mount.get("Source", "")), not mount.get("RW", True))
            for mount in found.get("Mounts") or ()
            if mount.get("Type") == "bind"
        ),
        data=labels.get(recipe.DATA, ""),
    )


def marked(seen: Sequence[Seen]) -> list[Seen]:
    """Return *seen*, where those that are only tried beside another one say so."""
    served = {each.instance.site for each in seen if serves(each)}
    return [
        evolve(each, instance=evolve(each.instance, beside=True))
        if each.instance.running and each.instance.site in served and not serves(each)
        else each
        for each in seen
    ]


def serves(seen: Seen) -> bool:
    """Whether a container runs and has the site's name, which one that is only tried has not."""
    return seen.instance.running and has_name(seen)


def has_name(seen: Seen) -> bool:
    """Whether a container has its site's name: the plain one, or, where another Snickers has a site
    of that name with the same Docker, the one with its owner's."""
    name = recipe.name(seen.instance.site)
    return seen.name == name or seen.name.startswith(name + OWNED)


def _address(found: Mapping[str, Any], port: int) -> Address | None:
    """Return where a container listens: its own address, never a published port."""
    if found["HostConfig"]["NetworkMode"] == "host":
        return ("127.0.0.1", port)
    for joined in found["NetworkSettings"]["Networks"].values():
        address = joined.get("IPAddress") or joined.get("GlobalIPv6Address")
        if address:
            return (address, port)
    return None
