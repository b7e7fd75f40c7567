"""What is done with Docker: several calls each, in the right order. Everything blocks, for threads.

Raises nothing but `EngineFailed`, `EngineAway` and `Abandoned`. Killed at any moment, it leaves
Docker in a state from which the same call, made again, goes on: containers are found by their
labels, whatever their name or state. Nothing here touches the reactor.
"""

from __future__ import annotations

import math
import os
import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from attrs import evolve, frozen
from twisted.logger import Logger

from snickers.config.values import Container
from snickers.containers import groups, netdev, recipe, registry, subnets
from snickers.containers.dockerapi import Api, Refused, seconds
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import STOP_WITHIN, Abandoned, Errand, Seen, Stream
from snickers.containers.output import Tail
from snickers.containers.pulling import Pulling, advice
from snickers.interfaces import Address, Declared, Exit, Instance, Load, Ran

log = Logger()

PROGRESS_EVERY = 0.5
"""Seconds between two words about a pull, of which Docker says something for each 64 KiB."""

KILLED = 128 + 9
"""The code of what was killed without being asked, as the kernel does for want of memory."""

LATE_WORD = 0.3
"""Seconds for which Docker may know an end and not yet that memory was its reason."""

NOT_RUN = (126, 127)
"""The codes by which Docker says that there is no such command, as a shell does..."""
NOT_RUN_WORDS = "OCI runtime exec failed: "
"""...and the words that only Docker says then, instead of the command's output."""

ASKED_AT_ONCE = 16
"""Containers of whose load a Docker on another host is asked at once: it takes up to a second for
each answer."""

SOON = 0.01
"""Seconds until a command is looked at again that has closed its output and not ended yet."""

OWNED = "__"
"""Between the site's name and its owner's, in the name of a container whose plain name is taken."""
GO_ON_LOOKS = 40
"""Looks, `SOON` apart, for a container that goes on and is still said to be paused."""

SUBNET_TRIES = 8
"""Networks tried when somebody else takes one at the same time."""


@frozen
class _Image:
    """What an image's name means now."""

    id: str
    entrypoint: tuple[str, ...]
    digest: str = ""


class Dockerd:
    """What Snickers does with Docker, for one owner.

    :param owner: whose containers these are, see `snickers.containers.engine.owner_of`.
    :param pool: the network out of which each site gets one.
    :param pause: waits for so many seconds.
    :param internal: whether the networks that are made lead nowhere but to this host.
    """

    def __init__(
        self,
        api: Api,
        owner: str,
        pool: str,
        pause: Callable[[float], object] = time.sleep,
        internal: bool = False,
    ) -> None:
        self._api = api
        self._owner = owner
        self._pool = pool
        self._pause = pause
        self._internal = internal
        self._meters: dict[str, tuple[str, int]] = {}
        """Where the kernel counts the processor time of each container, as far as known, and a
        process of it that has its network; 0: it has none of its own."""

    def close(self) -> None:
        """Let go of connections."""
        self._api.close()

    def listing(self) -> list[Seen]:
        """Return every container of this owner."""
        found = [self._see(id) for id in self._api.containers({recipe.OWNER: self._owner})]
        return marked([each for each in found if each is not None])

    def deaths(self) -> Stream:
        """Return a stream of the ends of this owner's containers: events for `death`."""
        return self._api.deaths({recipe.OWNER: self._owner})

    def death(self, event: Mapping[str, Any]) -> Seen | None:
        """Return what died, looked at again; ``None`` when it runs again already."""
        actor = event.get("Actor", {})
        id = str(actor.get("ID", ""))
        seen = self._see(id)
        if seen is not None and seen.exit is not None and self._perhaps_starved(id, seen.exit):
            # Docker hears of a want of memory by another way, which can be the longer one.
            self._pause(LATE_WORD)
            seen = self._see(id)
        if seen is not None:
            return seen if seen.exit is not None else None
        said = actor.get("Attributes", {})
        code, site = said.get("exitCode", ""), said.get(recipe.SITE, "")
        instance = Instance(site, id, said.get(recipe.FINGERPRINT, ""), False, None)
        return Seen(instance, "", "", Exit(site, id, int(code) if code.isdecimal() else None))

    def _perhaps_starved(self, id: str, exit: Exit) -> bool:
        """Whether the kernel may have killed *id* for want of memory, and nobody has said so."""
        if exit.code != KILLED or exit.out_of_memory:
            return False
        found = self._api.container(id)
        return found is not None and bool(found.get("HostConfig", {}).get("Memory"))

    def healthy(self, id: str) -> bool:
        """Whether *id* runs and passes the check of its image; one without only runs."""
        seen = self._see(id)
        return seen is not None and seen.instance.running and seen.health in ("", "healthy")

    def logs(self, site: str, tail: int, follow: bool) -> Stream:
        """Return a stream of bytes: *site*'s last *tail* lines, and what follows."""
        found = self._of(site)
        if not found:
            raise EngineFailed(f"{site} has no container, so it has no log.")
        # Of two it is the newer one that people wonder about.
        last = max(found, key=lambda seen: seen.instance.started or 0.0)
        return self._api.logs(last.instance.id, max(tail, 0), follow)

    # One server

    def prepare(self, declared: Declared, fingerprint: str, fresh: bool, errand: Errand) -> bool:
        """Have the image of *declared* here, the newest where *fresh*; return whether a start would
        make another container than there is."""
        kind = declared.kind
        if not isinstance(kind, Container):
            raise EngineFailed(f"{declared.site} is no container.")
        if fresh and kind.pull != "never" and not self._made_here(kind):
            self._pull(kind, errand)
        image = self._image(kind, "", errand)
        found = self._of(declared.site)
        if not found or found[0].instance.fingerprint != fingerprint:
            return True
        return fresh and found[0].image != image.id

    def settle(self, site: str, id: str, spare: str, errand: Errand) -> None:
        """Have *id* be the container of *site*: end what runs beside it, but for *spare*; remove
        those made after it, and those before the last one that ran before it."""
        found = self._of(site)
        right = next((seen for seen in found if seen.instance.id == id), None)
        if right is None:
            return
        others = [seen for seen in found if seen is not right]
        for seen in others:
            if seen.instance.id != spare:
                self._end(seen, seen.stop_within, errand)
        began = right.instance.started or 0.0
        former = [seen for seen in others if 0 < (seen.instance.started or 0.0) <= began]
        kept = sorted(former, key=lambda seen: seen.instance.started or 0.0)[-1:]
        for seen in others:
            if seen not in kept and seen.instance.id != spare:
                self._remove(seen.instance.id)
        self._take_name(right, [seen for seen in others if seen in kept])

    def revert(self, site: str, id: str, errand: Errand) -> Seen:
        """Have the container *id* run again; end all others, and remove those made after it."""
        found = self._of(site)
        former = next((seen for seen in found if seen.instance.id == id), None)
        if former is None:
            raise EngineFailed("Its container is not there any more.")
        for seen in found:
            if seen is not former:
                self._end(seen, seen.stop_within, errand)
        errand.check()
        errand.note(former)
        if former.instance.paused:
            self._go_on(former)
        elif not former.instance.running:
            self._launch(former, errand)
        began = former.instance.started or 0.0
        for seen in found:
            # Never started, or later: it came after.
            if seen is not former and (seen.instance.started or math.inf) > began:
                self._remove(seen.instance.id)
        self._name(former)
        return self._started(id)

    def start(
        self,
        declared: Declared,
        fingerprint: str,
        errand: Errand,
        fresh: bool = False,
        beside: str = "",
    ) -> Seen:
        """Have exactly one container of *declared* run, of the newest image that is here where
        *fresh*; return it.

        What runs of another declaration ends only when the new container is made, and is kept, so
        that `revert` can bring it back. With *beside* the container of this id runs on.
        """
        site, kind = declared.site, declared.kind
        if not isinstance(kind, Container):
            raise EngineFailed(f"{site} is no container, but a {type(kind).__name__.lower()}.")
        before = self._of(site)
        if any(seen.instance.id == beside and seen.instance.running for seen in before):
            others = [seen for seen in before if seen.instance.id != beside]
            exact = None if fresh else self._exact(declared.exact, before)
            return self._start_beside(declared, kind, fingerprint, others, exact, errand)
        alike = [seen for seen in before if seen.instance.fingerprint == fingerprint]
        there = [seen for seen in alike if seen.instance.running]
        if there and not fresh:
            return self._serve_on(there[0], before, errand)
        exact = None if fresh else self._exact(declared.exact, before)
        image = exact or self._image(kind, alike[0].image if alike else "", errand)
        for seen in there:
            if seen.image == image.id:
                return self._serve_on(seen, before, errand)
        self._folder(declared, kind)
        # One that is there is started again without a look at its network: somebody waits for it.
        # What runs of another declaration must not end for one that then has no network.
        looks = not alike or any(seen.instance.running for seen in before)
        network = self._network(site, kind) if looks else ""
        errand.check()
        errand.say("starting")
        broken = []
        for seen in alike:
            if seen.image == image.id:
                if self._start_again(seen, before, errand):
                    again = self._started(seen.instance.id)
                    if again.instance.address or not again.instance.running:
                        return again
                    # Somebody has taken its network from it: it will never have one again.
                    self._end(again, again.stop_within, errand)
                broken.append(seen.instance.id)
        if not network:
            network = self._network(site, kind)
            errand.check()
        made, before = self._make(declared, fingerprint, image, network, before, errand)
        kept = [seen for seen in before if seen.instance.id not in broken]
        self._replace(made, kept, errand)
        for useless in broken:
            self._remove(useless)
        return made

    def _start_beside(
        self,
        declared: Declared,
        kind: Container,
        fingerprint: str,
        others: Sequence[Seen],
        exact: _Image | None,
        errand: Errand,
    ) -> Seen:
        """Have a container of *declared* run beside the one that does, one of *others* or new."""
        alike = [seen for seen in others if seen.instance.fingerprint == fingerprint]
        image = exact or self._image(kind, alike[0].image if alike else "", errand)
        errand.check()
        errand.say("starting")
        for seen in alike:
            if seen.image == image.id:
                if seen.instance.running:
                    return seen
                errand.note(seen)
                try:
                    self._api.start(seen.instance.id)
                except Refused as error:
                    log.info(
                        "{site} was not started again: {why}.", site=declared.site, why=error.why
                    )
                    continue
                return self._started(seen.instance.id)
        self._folder(declared, kind)
        network = self._network(declared.site, kind)
        errand.check()
        return self._make(declared, fingerprint, image, network, (), errand)[0]

    def _make(
        self,
        declared: Declared,
        fingerprint: str,
        image: _Image,
        network: str,
        before: Sequence[Seen],
        errand: Errand,
    ) -> tuple[Seen, list[Seen]]:
        """Make a container and start it when those *before* have ended; return both."""
        site = declared.site
        init = self._api.init and recipe.wants_init(image.entrypoint)
        config = recipe.creation(
            declared, self._owner, fingerprint, image.id, image.digest, network, init
        )
        # A name of its own, as the one before still has the right one.
        id = self._api.create(f"{recipe.name(site)}.{os.urandom(3).hex()}", config)
        try:
            errand.check()
            ended = [self._end(other, other.stop_within, errand) for other in before]
            try:
                self._api.start(id)
            except Refused as error:
                raise EngineFailed(
                    f"The container was made, but cannot be started: {error.why}. Look at its "
                    "command, user and volumes."
                ) from None
        except BaseException:
            self._remove(id)
            raise
        log.info("{site} was made from {image}.", site=site, image=image.digest or image.id)
        return self._started(id), ended

    def refresh(self, kind: Container, errand: Errand) -> str:
        """Pull what ``kind.image`` means in its registry now; return the id of what it means here.

        Whatever runs, or was started from the one before, is left alone.
        """
        self._pull(kind, errand)
        found = self._find_image(kind.image)
        return found.id if found is not None else ""

    def stop(self, site: str, within: float, errand: Errand) -> None:
        """End *site*'s containers, each within *within* seconds."""
        for seen in self._of(site):
            self._end(seen, within, errand)

    def remove(self, site: str, errand: Errand) -> None:
        """End *site*'s containers, remove them and their network. Volumes stay."""
        for seen in self._of(site):
            self._end(seen, seen.stop_within, errand)
            self._remove(seen.instance.id)
        for network in self._api.networks(recipe.labels(site, self._owner)):
            try:
                self._api.remove_network(network["Id"])
            except Refused as error:
                # Somebody else's container has joined it, or it has gone by itself.
                log.warn("The network of {site} stays: {why}.", site=site, why=error.why)

    def pause(self, site: str) -> None:
        """Freeze *site*'s container."""
        seen = self._running(site)
        if not seen.instance.paused:
            try:
                self._api.pause(seen.instance.id)
            except Refused:
                # It may have ended, or somebody else may have been faster.
                if not self._running(site).instance.paused:
                    raise

    def resume(self, site: str) -> None:
        """Undo `pause`."""
        seen = self._running(site)
        if seen.instance.paused:
            self._go_on(seen)

    def run(self, site: str, command: Sequence[str], within: float, errand: Errand) -> Ran:
        """Run *command* in *site*'s container; cancelling *errand* means that its time is over.

        Docker ends no command: where its processes are this host's it is killed here.
        """
        seen = self._running(site)
        if seen.instance.paused:
            raise EngineFailed(f"{site} is paused: nothing can be run in it before it goes on.")
        prepared = self._api.prepare(seen.instance.id, command)
        words, tail = shlex.join(command), Tail()
        try:
            try:
                with errand.hold(self._api.run(prepared)) as written:
                    for data in written:
                        tail.add(data)
                errand.check()
                ran = self._api.ran(prepared)
                while ran.get("Running"):  # Its output ends first.
                    errand.check()
                    self._pause(SOON)
                    ran = self._api.ran(prepared)
            except Refused as error:
                if error.status not in (400, 500):
                    raise
                raise EngineFailed(f"{words} cannot be run in {site}: {error.why}.") from None
        except Abandoned:
            killed = self._kill_run(seen.instance.id, prepared)
            raise EngineFailed(
                f"{words} was not done within {within:g} s, and "
                + ("was killed." if killed else "runs on: only Docker's own host can kill it.")
            ) from None
        code, output = int(ran.get("ExitCode") or 0), tail.text()
        if code in NOT_RUN and output.startswith(NOT_RUN_WORDS):
            why = " ".join(output.rpartition("exec failed: ")[2].split())
            raise EngineFailed(f"{words} cannot be run in {site}: {why.removesuffix(': unknown')}.")
        return Ran(code, output)

    def loads(self) -> dict[str, Load]:
        """Return what the containers have used, by site."""
        running = self._api.running({recipe.OWNER: self._owner})
        ids = {each["Id"]: str(each["Labels"].get(recipe.SITE, "")) for each in running}
        found = {id: self._metered(id) for id in ids}
        self._meters = {id: meter for id, meter in self._meters.items() if id in ids}
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
        if id in self._meters:
            meter, pid = self._meters[id]
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
                self._meters[id] = (meter, pid)
                return Load(used, netdev.moved(pid) if pid else None)
        return None

    def _asked(self, id: str) -> Load | None:
        try:
            return self._api.load(id)
        except Refused as error:
            log.debug("The load of {id} is not known: {why}.", id=id, why=error.why)
            return None

    # Containers

    def _running(self, site: str) -> Seen:
        running = [seen for seen in self._of(site) if seen.instance.running]
        for seen in sorted(running, key=_serves, reverse=True):
            return seen
        raise EngineFailed(f"{site} does not run.")

    def _go_on(self, seen: Seen) -> Seen:
        """Let a paused container go on; return it as it is then."""
        id = seen.instance.id
        try:
            self._api.unpause(id)
        except Refused:
            after = self._see(id)
            if after is None or not after.instance.running or after.instance.paused:
                raise
            return after
        after = self._started(id)
        for _ in range(GO_ON_LOOKS):
            if not after.instance.paused:
                break
            # Docker has let it go on, and may say so a moment later.
            self._pause(SOON)
            after = self._started(id)
        return after

    def _kill_run(self, id: str, prepared: str) -> bool:
        """Kill a command in container *id*, with its children; say whether it runs no more."""
        try:
            ran = self._api.ran(prepared)
        except EngineFailed:
            return False
        if not ran.get("Running"):
            return True
        pid = ran.get("Pid") or 0
        # It leads a session of its own. A number alone is not trusted: it must be of the container,
        # by whose id Docker names control groups.
        if not self._api.local or not pid or id not in groups.groups_of(pid):
            return False
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError as error:
            return isinstance(error, ProcessLookupError)
        return True

    def _of(self, site: str) -> list[Seen]:
        """Return *site*'s containers: those that run first, then by when they were started, the
        latest first."""
        found = [self._see(id) for id in self._api.containers(recipe.labels(site, self._owner))]
        seen = [each for each in found if each is not None]
        return sorted(
            seen, key=lambda each: (not each.instance.running, -(each.instance.started or 0.0))
        )

    def _see(self, id: str) -> Seen | None:
        found = self._api.container(id)
        return None if found is None else self._seen(found)

    def _seen(self, found: Mapping[str, Any]) -> Seen:
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
        )

    def _launch(self, seen: Seen, errand: Errand) -> None:
        """Start what has run before."""
        try:
            self._api.start(seen.instance.id)
        except Refused as error:
            raise EngineFailed(f"Its container cannot be started: {error.why}.") from None

    def _started(self, id: str) -> Seen:
        seen = self._see(id)
        if seen is None:
            raise EngineFailed("Somebody removed the container while it was being started.")
        return seen

    def _start_again(self, seen: Seen, before: Sequence[Seen], errand: Errand) -> bool:
        """Start a container that is there; say whether that went well."""
        before = [
            seen if other is seen else self._end(other, other.stop_within, errand)
            for other in before
        ]
        errand.note(seen)
        try:
            self._api.start(seen.instance.id)
        except Refused as error:
            # Its network or a volume may have gone; one made anew may have more luck.
            log.info("{site} was not started again: {why}.", site=seen.instance.site, why=error.why)
            return False
        self._replace(seen, before, errand)
        return True

    def _serve_on(self, seen: Seen, before: Sequence[Seen], errand: Errand) -> Seen:
        self._replace(seen, before, errand)
        return self._go_on(seen) if seen.instance.paused else seen

    def _replace(self, seen: Seen, before: Sequence[Seen], errand: Errand) -> None:
        """Let *seen* take the place and the name of those *before* it, the latest of which is
        kept; one that has never run is what a call that was killed has left."""
        others = [other for other in before if other.instance.id != seen.instance.id]
        for other in others:
            self._end(other, other.stop_within, errand)
        kept = [other for other in others if other.instance.started][:1]
        for other in others:
            if other not in kept:
                self._remove(other.instance.id)
        self._take_name(seen, kept)

    def _take_name(self, seen: Seen, others: Sequence[Seen]) -> None:
        """Let *seen* have the site's name, whichever of *others* has it."""
        name = recipe.name(seen.instance.site)
        for other in others:
            if _has_name(other):
                self._rename(other, f"{name}.{other.instance.id[:12]}")
        self._name(seen)

    def _name(self, seen: Seen) -> None:
        name = recipe.name(seen.instance.site)
        if not _has_name(seen) and not self._rename(seen, name):
            # Another Snickers has a site of this name with the same Docker.
            self._rename(seen, f"{name}{OWNED}{self._owner[:12]}")

    def _rename(self, seen: Seen, name: str) -> bool:
        """Name it so; return whether that could be."""
        try:
            self._api.rename(seen.instance.id, name)
        except Refused as error:
            log.info("{name} is taken: {why}.", name=name, why=error.why)
            return False
        return True

    def _end(self, seen: Seen, within: float, errand: Errand) -> Seen:
        """End it if it runs, note how it ended, and return it as it is then."""
        id, after = seen.instance.id, seen
        try:
            if seen.instance.paused:
                self._api.unpause(id)
            if seen.instance.running:
                self._api.stop(id, within)
                after = self._see(id) or seen
                if after.instance.running:
                    # Whoever has taken over may have started it again by now.
                    errand.check()
                    self._api.kill(id)
                    after = self._see(id) or seen
        except Refused as error:
            if error.status != 404:
                raise
        errand.note(after)
        return after

    def _remove(self, id: str) -> None:
        try:
            self._api.remove(id)
        except Refused as error:
            if error.status == 409:  # It is being removed already.
                self._wait_removed(id)
            elif error.status != 404:
                raise

    def _wait_removed(self, id: str) -> None:
        try:
            self._api.removed(id)
        except Refused as error:
            if error.status != 404:
                raise

    # What a container needs

    def _folder(self, declared: Declared, kind: Container) -> None:
        if not kind.data or not self._api.local or os.path.isdir(declared.data):
            return
        try:
            os.makedirs(declared.data)
            owner = recipe.owner(kind.user)
            if owner is None:
                # Whatever the umask: the container's user may be any.
                os.chmod(declared.data, 0o755)
                return
            os.chmod(declared.data, 0o700)
        except OSError as error:
            raise EngineFailed(
                f"The site's folder {declared.data} cannot be made: {error.strerror}."
            ) from None
        try:
            os.chown(declared.data, *owner)
        except OSError as error:
            # So that the next start tries again, and no server meets a folder it cannot use.
            os.rmdir(declared.data)
            raise EngineFailed(
                f"user = {kind.user}: the site's folder {declared.data} cannot be given to it: "
                f"{error.strerror}. Run Snickers as root, or make the folder and give it to that "
                "user yourself."
            ) from None

    def _image(self, kind: Container, known: str, errand: Errand) -> _Image:
        """Return what ``kind.image`` means here, pulled when it is not and may be.

        :param known: the image of a container that is there; it needs no image any more.
        """
        errand.began = True
        found = self._find_image(kind.image)
        if found is None and not known and kind.pull != "never":
            self._pull(kind, errand)
            found = self._find_image(kind.image)
        else:
            # Visitors wait: whether there is a newer one is looked at meanwhile.
            errand.stale = kind.pull == "always"
        if found is None and not known:
            raise EngineFailed(
                f"image = {kind.image}: it is not here, and pull = {kind.pull}. Pull or build it, "
                "or let pull = missing."
            )
        return found or _Image(known, ())

    def _made_here(self, kind: Container) -> bool:
        """Return whether no registry is known to have the image; one asked for its name could have
        a stranger's."""
        found = self._find_image(kind.image) if kind.pull == "missing" else None
        return found is not None and not found.digest

    def _exact(self, wanted: str, before: Sequence[Seen]) -> _Image | None:
        """Return the image that is called exactly so, if a container of the site is of it."""
        for seen in before:
            if wanted and seen.instance.image == wanted:
                found = self._find_image(seen.image)
                digest = wanted if "@" in wanted else ""
                return _Image(seen.image, () if found is None else found.entrypoint, digest)
        return None

    def _find_image(self, name: str) -> _Image | None:
        found = self._api.image(name)
        if found is None:
            return None
        return _Image(
            found["Id"],
            tuple((found.get("Config") or {}).get("Entrypoint") or ()),
            recipe.digest(name, found.get("RepoDigests") or ()),
        )

    def _pull(self, kind: Container, errand: Errand) -> None:
        image, login, path = kind.image, None, kind.registry_auth
        if path:
            login = registry.login(registry.read(path), image, path)
        pulling, said = Pulling(image), time.monotonic()
        errand.say(str(pulling))
        try:
            with errand.hold(self._api.pull(image, login)) as events:
                for event in events:
                    errand.check()
                    pulling.heard(event)
                    if time.monotonic() - said >= PROGRESS_EVERY:
                        said = time.monotonic()
                        errand.say(str(pulling))
        except Refused as error:
            pulling.fault = error.why
        errand.check()
        if pulling.fault:
            raise EngineFailed(
                f"image = {image}: it cannot be pulled: {pulling.fault.rstrip('.')}. "
                + advice(pulling.fault, registry.registry_of(image), path)
            )

    def _network(self, site: str, kind: Container) -> str:
        """Return the name of the network for *site*, made if need be."""
        if kind.network:
            if self._api.network(kind.network) is None:
                raise EngineFailed(
                    f"network = {kind.network}: Docker has no such network. Make it, or leave "
                    "network out to have one of its own."
                )
            return kind.network
        return self._bridge(site, "", self._internal)

    def _bridge(self, site: str, key: str, internal: bool) -> str:
        """Return the name of a network of *site*'s own, made if need be.

        :param key: what tells it from the site's others; empty: the first one.
        :param internal: whether it leads nowhere but to this host.
        """
        for found in self._api.networks(recipe.labels(site, self._owner)):
            if (found.get("Labels") or {}).get(recipe.NETWORK, "") == key:
                return str(found["Name"])
        taken = [
            pool["Subnet"]
            for network in self._api.networks({})
            for pool in (network.get("IPAM") or {}).get("Config") or ()
            if pool.get("Subnet")
        ]
        if self._api.local:
            taken += subnets.routed(_routes())
        refused = "all its networks are taken"
        for subnet in islice(subnets.free(self._pool, taken), SUBNET_TRIES):
            try:
                return self._make_network(site, key, subnet, internal)
            except Refused as error:
                # Likely taken at the same moment; which status says so differs by version.
                refused = error.why
        raise EngineFailed(
            f"No network for {site} could be made in {self._pool}: {refused}. Remove networks that "
            "nobody uses (docker network prune)."
        )

    def _make_network(self, site: str, key: str, subnet: str, internal: bool) -> str:
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


def _sum(one: Load, other: Load) -> Load:
    """Return what two containers have used together."""
    traffic = [each.traffic for each in (one, other) if each.traffic is not None]
    return Load(one.processor + other.processor, sum(traffic) if traffic else None)


def marked(seen: Sequence[Seen]) -> list[Seen]:
    """Return *seen*, where those that are only tried beside another one say so."""
    served = {each.instance.site for each in seen if _serves(each)}
    return [
        evolve(each, instance=evolve(each.instance, beside=True))
        if each.instance.running and each.instance.site in served and not _serves(each)
        else each
        for each in seen
    ]


def _serves(seen: Seen) -> bool:
    """Whether a container has the site's name, which one that is only tried has not."""
    return seen.instance.running and _has_name(seen)


def _has_name(seen: Seen) -> bool:
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


def _routes() -> str:
    try:
        with open("/proc/net/route", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
