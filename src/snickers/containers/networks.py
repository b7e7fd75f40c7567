"""A small network for each site, made out of one pool.

Docker's own pools allow about thirty networks. Which subnets are free says
`snickers.containers.subnets`; here Docker is asked what is taken, and told. Everything blocks, for
threads. Must never join two sites, and never remove a network that the configuration names.
"""

from __future__ import annotations

import os
from itertools import islice
from threading import Lock

from twisted.logger import Logger

from snickers.config.values import Container
from snickers.containers import recipe, subnets
from snickers.containers.dockerapi import Api, Refused
from snickers.containers.engine import EngineFailed

log = Logger()

SUBNET_TRIES = 8
"""Networks tried when somebody else takes one at the same time."""


class Networks:
    """The networks of one owner's sites.

    :param owner: see `snickers.containers.engine.owner_of`.
    :param pool: the network out of which each site gets one.
    :param internal: whether they all lead nowhere but to this host.
    """

    def __init__(self, api: Api, owner: str, pool: str, internal: bool) -> None:
        self._api = api
        self._owner = owner
        self._pool = pool
        self._internal = internal
        # Sites that wake at once would all choose the same subnet, and lose it to one another.
        self._choosing = Lock()

    def of(self, site: str, kind: Container, room: int = 1) -> str:
        """Return the name of the network for *site*: the one that the configuration names, or its
        own, made if need be; see `own`."""
        if kind.network:
            if self._api.network(kind.network) is None:
                raise EngineFailed(
                    f"network = {kind.network}: Docker has no such network. Make it, or leave "
                    "network out to have one of its own."
                )
            return kind.network
        return self.own(site, room=room)

    def own(self, site: str, key: str = "", internal: bool = False, room: int = 1) -> str:
        """Return the name of a network of *site*'s own, made if need be.

        :param key: what tells it from the site's others; empty: the first one.
        :param internal: whether it leads nowhere but to this host, whatever holds for all.
        :param room: how many containers are in it at once.
        """
        internal = internal or self._internal
        for found in self._api.networks(recipe.labels(site, self._owner)):
            # One that leads elsewhere cannot be made to lead nowhere: another one is made.
            if bool(found.get("Internal")) != internal:
                continue
            if (found.get("Labels") or {}).get(recipe.NETWORK, "") == key:
                pools = (found.get("IPAM") or {}).get("Config") or ()
                if all(subnets.has_room(str(pool.get("Subnet")), room) for pool in pools):
                    return str(found["Name"])
        with self._choosing:
            return self._choose(site, key, internal, room)

    def remove(self, site: str) -> None:
        """Remove all that were made for *site*; one that somebody has joined stays."""
        for network in self._api.networks(recipe.labels(site, self._owner)):
            try:
                self._api.remove_network(network["Id"])
            except Refused as error:
                # Somebody else's container has joined it, or it has gone by itself.
                log.warn("The network of {site} stays: {why}.", site=site, why=error.why)

    def _choose(self, site: str, key: str, internal: bool, room: int) -> str:
        taken = [
            pool["Subnet"]
            for network in self._api.networks({})
            for pool in (network.get("IPAM") or {}).get("Config") or ()
            if pool.get("Subnet")
        ]
        if self._api.local:
            taken += subnets.routed(_routes())
        refused = "all its networks are taken"
        for subnet in islice(subnets.free(self._pool, taken, room), SUBNET_TRIES):
            try:
                return self._make(site, key, subnet, internal)
            except Refused as error:
                # Likely taken at the same moment; which status says so differs by version.
                refused = error.why
        raise EngineFailed(
            f"No network for {site} could be made in {self._pool}: {refused}. Remove networks that "
            "nobody uses (docker network prune)."
        )

    def _make(self, site: str, key: str, subnet: str, internal: bool) -> str:
        # Docker allows two networks of one name, and then takes neither: another Snickers may be
        # making one for a site of this name at this moment.
        name = f"{recipe.network_name(site, key)}.{self._owner[:6]}"
        if self._api.network(name) is not None:
            name = f"{name}.{os.urandom(3).hex()}"
        labels = recipe.labels(site, self._owner)
        if key:
            labels[recipe.NETWORK] = key
        self._api.make_network(name, subnet, labels, internal)
        return name


def _routes() -> str:
    try:
        with open("/proc/net/route", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
