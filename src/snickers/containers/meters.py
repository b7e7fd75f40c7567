"""What containers use: asked of this host's kernel where Docker is here, of Docker elsewhere.

Reading one number of the kernel's takes some microseconds, where Docker takes up to a second for
each container. Everything blocks, for threads. Must never count what a process uses that is not of
the container any more: a number alone may be another's by now.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from twisted.logger import Logger

from snickers.containers import groups, netdev, recipe
from snickers.containers.dockerapi import Api, Refused
from snickers.interfaces.engine import Load

log = Logger()

ASKED_AT_ONCE = 16
"""Containers of whose load a Docker on another host is asked at once: it takes up to a second for
each answer."""


class Meters:
    """What the containers of one owner use.

    :param owner: see `snickers.containers.engine.owner_of`.
    """

    def __init__(self, api: Api, owner: str) -> None:
        self._api = api
        self._owner = owner
        self._known: dict[str, tuple[str, int]] = {}
        """Where the kernel counts the processor time of each container, as far as known, and a
        process of it that has its network; 0: it has none of its own."""

    def loads(self) -> dict[str, Load]:
        """Return what the containers that run have used since they were started, by site; one of
        which nobody can say it is left out."""
        running = self._api.running({recipe.OWNER: self._owner})
        ids = {each["Id"]: str(each["Labels"].get(recipe.SITE, "")) for each in running}
        found = {id: self._metered(id) for id in ids}
        self._known = {id: meter for id, meter in self._known.items() if id in ids}
        unknown = [id for id, used in found.items() if used is None]
        if unknown:
            with ThreadPoolExecutor(min(len(unknown), ASKED_AT_ONCE)) as threads:
                found.update(zip(unknown, threads.map(self._asked, unknown), strict=True))
        loads: dict[str, Load] = {}
        for id, used in found.items():
            if used is not None:
                # A site of several containers has used what they have together.
                loads[ids[id]] = _sum(loads[ids[id]], used) if ids[id] in loads else used
        return loads

    def _metered(self, id: str) -> Load | None:
        """Return what this host's kernel says of it, if Docker is here."""
        if not self._api.local:
            return None
        if id in self._known:
            meter, pid = self._known[id]
            used = groups.used(meter)
            # A number alone is not trusted: the process must still be of the container.
            if used is not None and (not pid or id in groups.groups_of(pid)):
                return Load(used, netdev.moved(pid) if pid else None)
        known = self._api.container(id) or {}
        pid = known.get("State", {}).get("Pid") or 0
        of = groups.groups_of(pid) if pid else ""
        for meter in groups.meters(of) if id in of else ():
            used = groups.used(meter)
            if used is not None:
                if known.get("HostConfig", {}).get("NetworkMode") == "host":
                    pid = 0
                self._known[id] = (meter, pid)
                return Load(used, netdev.moved(pid) if pid else None)
        return None

    def _asked(self, id: str) -> Load | None:
        try:
            return self._api.load(id)
        except Refused as error:
            log.debug("The load of {id} is not known: {why}.", id=id, why=error.why)
            return None


def _sum(one: Load, other: Load) -> Load:
    """Return what two containers have used together."""
    traffic = [each.traffic for each in (one, other) if each.traffic is not None]
    return Load(one.processor + other.processor, sum(traffic) if traffic else None)
