"""How a container is made from a declaration: the body of Docker's ``POST /containers/create``.

Pure, so that what a site may do on this host can be read and tested in one place. Nothing but
the configuration chooses image, mount or command; no port is published; no process in a
container gains privileges. See https://docs.docker.com/reference/api/engine/.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from snickers.config.values import Container
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Declared

SITE = "io.snickers.site"
FINGERPRINT = "io.snickers.fingerprint"
OWNER = "io.snickers.instance"
"""Which Snickers made it: several may share one Docker."""
PORT = "io.snickers.port"
PROJECT = "io.snickers.project"
"""Which containers were made together: the compose tool's own name for them; empty: it is alone."""
IMAGE = "io.snickers.image"
"""The image's id when the container was made: its name may mean another one today."""

NETWORK = "io.snickers.network"
"""What a site of several networks calls this one; its first one has no such label."""

DIGEST = "io.snickers.digest"
"""By what digest registries know it: ``REPOSITORY@sha256:…``; empty: it is from none."""

DATA = "io.snickers.data"
"""The folder of the site's own when the container was made, whether or not it is given that."""

INITS = frozenset(
    {"init", "tini", "tini-static", "dumb-init", "catatonit", "docker-init", "s6-svscan"}
)
"""Entry points that must be, or already are, process 1; ``/init`` is that of s6-overlay."""

LOG: Mapping[str, Any] = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
"""Bounded: 30 MiB for each site, so that a chatty one cannot fill the disk."""

WRITABLE = {"/tmp": "mode=1777,size=64m", "/run": "mode=755,size=16m"}
"""What most programs need to write to even under ``read only``; counted as memory."""


def name(site: str) -> str:
    """Return the name of *site*'s container and network, as Docker allows names."""
    return "snickers-" + re.sub(r"[^a-zA-Z0-9_.-]", "_", site)


def network_name(site: str, key: str) -> str:
    """Return the name of the network that *site* calls *key*; empty: its first one."""
    return name(site) + (f"_{key}" if key else "")


def labels(site: str, owner: str) -> dict[str, str]:
    """Return the labels by which what was made for *site* is found."""
    return {SITE: site, OWNER: owner}


def port_of(made: Mapping[str, str]) -> int:
    """Return the port that a container with these labels listens on."""
    port = made.get(PORT, "")
    return int(port) if port.isdecimal() else 80


def wants_init(entrypoint: Sequence[str] | None) -> bool:
    """Whether an init of Docker's shall be process 1, to pass signals on and wait for orphans.

    Without one a program that handles no SIGTERM is only ever killed.
    """
    return not entrypoint or posixpath.basename(entrypoint[0]) not in INITS


def digest(name: str, known: Sequence[str]) -> str:
    """Return the one of an image's digests (``REPOSITORY@sha256:…``) that is of the registry and
    the repository that *name* says; empty when none is."""
    repository, _, _ = name.partition("@")
    head, slash, last = repository.rpartition("/")
    repository = head + slash + last.partition(":")[0]
    for each in known:
        if each.partition("@")[0] == repository.removeprefix("docker.io/").removeprefix("library/"):
            return each
    return next((each for each in known if each.partition("@")[0] == repository), "")


def owner(user: str) -> tuple[int, int] | None:
    """Return the numbers of the user and the group that ``user = UID[:GID]`` means outside of the
    container as inside; ``None`` for names, which only the image knows."""
    uid, _, gid = user.partition(":")
    if not (uid.isascii() and uid.isdigit() and (gid or "0").isascii() and (gid or "0").isdigit()):
        return None
    return int(uid), int(gid or 0)  # Without a group it is root's, as Docker has it.


def mounts(declared: Declared, kind: Container) -> list[dict[str, Any]]:
    """Return what is mounted; fails with `EngineFailed` for what is no volume.

    Mounts, not binds: of these Docker demands that the source exists.
    """
    found: list[dict[str, Any]] = []
    if kind.data:
        found.append(_mount(declared.data, kind.data, False))
    for volume in kind.volumes:
        source, target, *options = [*volume.split(":"), ""]
        if not source or not target.startswith("/") or options not in ([""], ["ro", ""]):
            raise EngineFailed(
                f"volumes = {volume}: this is no volume. Right is SOURCE:TARGET or "
                "SOURCE:TARGET:ro, with the path of TARGET in the container."
            )
        found.append(_mount(source, target, bool(options[1:])))
    return found


def _mount(source: str, target: str, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind" if source.startswith("/") else "volume",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
    }


def creation(
    declared: Declared,
    owner: str,
    fingerprint: str,
    image: str,
    digest: str,
    network: str,
    init: bool,
) -> dict[str, Any]:
    """Return the configuration of *declared*'s container.

    :param image: the id of what ``kind.image`` means now.
    :param digest: of the same, see `DIGEST`.
    :param network: the name of the network that it joins.
    :param init: whether Docker's init shall be process 1.
    """
    kind = declared.kind
    assert isinstance(kind, Container)
    mounted = mounts(declared, kind)
    host: dict[str, Any] = {
        "Mounts": mounted,
        "NetworkMode": network,
        "RestartPolicy": {"Name": "no"},  # Waking is Snickers' own work.
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": ["ALL"],
        "CapAdd": [name.upper() for name in kind.capabilities],
        "LogConfig": LOG,
        "Init": init,
    }
    if kind.memory is not None:
        # The same number for both: no swap beyond it, or one site would slow all by swapping.
        host["Memory"] = host["MemorySwap"] = kind.memory
    if kind.cpus is not None:
        host["NanoCpus"] = round(kind.cpus * 1e9)
    if kind.pids is not None:
        host["PidsLimit"] = kind.pids
    if kind.read_only:
        taken = {mount["Target"] for mount in mounted}
        host["ReadonlyRootfs"] = True
        host["Tmpfs"] = {path: how for path, how in WRITABLE.items() if path not in taken}
    made: dict[str, Any] = {
        "Image": kind.image,
        "Env": [f"{name}={value}" for name, value in kind.environment],
        "Labels": {
            **labels(declared.site, owner),
            FINGERPRINT: fingerprint,
            PORT: str(kind.port),
            IMAGE: image,
            DIGEST: digest,
            DATA: declared.data,
            # Or its image could say that it belongs to those of another site.
            PROJECT: "",
        },
        "HostConfig": host,
    }
    if kind.command:
        made["Cmd"] = list(kind.command)
    if kind.user:
        made["User"] = kind.user
    if math.isfinite(kind.life.stop_within):
        # For the end of Docker itself; Snickers says it with each stop.
        made["StopTimeout"] = math.ceil(kind.life.stop_within)
    return made
