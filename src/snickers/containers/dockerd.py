"""What is done with Docker: several calls each, in the right order. Everything blocks, for threads.

A site's containers are made, started, replaced and ended here; what they need comes from `images`
and `networks`, what Docker says of them is read by `inspected`, what runs in them is begun by
`inside`, and what they use is counted by `meters`.

Raises nothing but `EngineFailed`, `EngineAway` and `Abandoned`. Killed at any moment, it leaves
Docker in a state from which the same call, made again, goes on: containers are found by their
labels, whatever their name or state. Nothing here touches the reactor.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from snickers import bounds
from snickers.config.values import Container
from snickers.containers import inside, inspected, recipe
from snickers.containers.dockerapi import Api, Refused
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.containers.errand import Errand, Seen, Stream
from snickers.containers.images import Image, Images
from snickers.containers.inspected import OWNED, has_name, marked, serves
from snickers.containers.meters import Meters
from snickers.containers.networks import Networks
from snickers.interfaces.engine import Declared, Exit, Instance, Load, Ran

log = Logger()

KILLED = 128 + 9
"""The code of what was killed without being asked, as the kernel does for want of memory."""

LATE_WORD = 0.3
"""Seconds for which Docker may know an end and not yet that memory was its reason..."""
LATE_WORDS = 5
"""...and how often that, on a busy machine."""

SOON = 0.01
"""Seconds between two looks at a container that goes on and may be said to be paused still."""

KEPT = 2
"""Containers that one is started in the place of, and are kept until `Dockerd.settle` says that it
is the right one: if it is not, there is still one before the one that comes back."""

GO_ON_LOOKS = 40
"""Such looks, at the most."""


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
        self._pause = pause
        self.images = Images(api)
        self.networks = Networks(api, owner, pool, internal)
        self._meters = Meters(api, owner)

    def close(self) -> None:
        """Let go of connections."""
        self._api.close()

    def listing(self) -> list[Seen]:
        """Return every container of this owner."""
        found = [self._see(id) for id in self._api.containers({recipe.OWNER: self._owner})]
        return marked([each for each in found if each is not None])

    def deaths(self) -> Stream:
        """Return a stream of the ends of containers: events for `death`."""
        return self._api.deaths()

    def of_others(self, event: Mapping[str, Any]) -> bool:
        """Whether *event* is of a container that is not this owner's."""
        said = event.get("Actor", {}).get("Attributes", {})
        return event.get("Type") == "container" and said.get(recipe.OWNER) != self._owner

    def death(self, event: Mapping[str, Any]) -> Seen | None:
        """Return what died, looked at again; ``None`` when it runs again already, or is not this
        owner's. What runs and was cut off from its network counts as dead: its address may be
        another site's by now."""
        if self.of_others(event):
            return None
        actor = event.get("Actor", {})
        if event.get("Type") == "network":
            return self._cut_off(str(actor.get("Attributes", {}).get("container", "")))
        id = str(actor.get("ID", ""))
        seen = self._see(id)
        for _ in range(LATE_WORDS):
            if seen is None or seen.exit is None or not self._perhaps_starved(id, seen.exit):
                break
            # Docker hears of a want of memory by another way, which can be the longer one.
            self._pause(LATE_WORD)
            seen = self._see(id)
        if seen is not None:
            return seen if seen.exit is not None else None
        said = actor.get("Attributes", {})
        code, site = said.get("exitCode", ""), said.get(recipe.SITE, "")
        instance = Instance(site, id, said.get(recipe.FINGERPRINT, ""), False, None)
        return Seen(instance, "", "", Exit(site, id, int(code) if code.isdecimal() else None))

    def _cut_off(self, id: str) -> Seen | None:
        """Return the container *id* if it runs and nobody can reach it, and have it end."""
        found = self._api.container(id) if id else None
        labels = (found or {}).get("Config", {}).get("Labels") or {}
        if found is None or labels.get(recipe.OWNER) != self._owner:
            return None
        seen = self._seen(found)
        site = seen.instance.site
        if not seen.instance.running or seen.instance.address is not None:
            return None  # It has ended, and that is told; or it can be reached still.
        log.warn(
            "{site}: somebody has disconnected its container from its network. Nothing is sent to"
            " it any more; the next start makes it anew.",
            site=site,
        )

        def end() -> None:
            try:
                self._end(seen, seen.stop_within, Errand())
            except (EngineFailed, EngineAway) as problem:
                log.warn("{site}: {why}", site=site, why=str(problem))

        # It takes its time, and others' ends are to be heard of meanwhile.
        threading.Thread(target=end, name="docker-cut-off", daemon=True).start()
        return evolve(seen, exit=Exit(site, id, None))

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
        if fresh and kind.pull != "never" and not self.images.made_here(kind):
            self.images.pull(kind, errand)
        image = self.images.meant(kind, "", errand)
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
        if not former.instance.running:
            self._look_behind_binds(former)
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
            exact = None if fresh else self.images.exact(declared.exact, before)
            return self._start_beside(declared, kind, fingerprint, others, exact, errand)
        alike = [seen for seen in before if seen.instance.fingerprint == fingerprint]
        there = [seen for seen in alike if seen.instance.running and seen.instance.address]
        if there and not fresh:
            return self._serve_on(there[0], before, errand)
        exact = None if fresh else self.images.exact(declared.exact, before)
        image = exact or self.images.meant(kind, alike[0].image if alike else "", errand)
        for seen in there:
            if seen.image == image.id:
                return self._serve_on(seen, before, errand)
        self._look_behind_mounts(declared, kind)
        self._folder(declared, kind)
        # One that is there is started again without a look at its network: somebody waits for it.
        # What runs of another declaration must not end for one that then has no network.
        looks = not alike or any(seen.instance.running for seen in before)
        network = self.networks.of(site, kind) if looks else ""
        errand.check()
        errand.say("starting")
        broken = []
        for seen in alike:
            if seen.image == image.id:
                # One that runs and cannot be reached is none that serves.
                if not seen.instance.running and self._start_again(seen, before, errand):
                    again = self._started(seen.instance.id)
                    if again.instance.address or not again.instance.running:
                        return again
                    # Somebody has taken its network from it: it will never have one again.
                    self._end(again, again.stop_within, errand)
                broken.append(seen.instance.id)
        if not network:
            network = self.networks.of(site, kind)
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
        exact: Image | None,
        errand: Errand,
    ) -> Seen:
        """Have a container of *declared* run beside the one that does, one of *others* or new."""
        alike = [seen for seen in others if seen.instance.fingerprint == fingerprint]
        image = exact or self.images.meant(kind, alike[0].image if alike else "", errand)
        errand.check()
        errand.say("starting")
        for seen in alike:
            if seen.image == image.id:
                if seen.instance.running:
                    return seen
                errand.note(seen)
                try:
                    self._begin(seen)
                except Refused as error:
                    log.info(
                        "{site} was not started again: {why}.", site=declared.site, why=error.why
                    )
                    continue
                return self._started(seen.instance.id)
        self._look_behind_mounts(declared, kind)
        self._folder(declared, kind)
        network = self.networks.of(declared.site, kind)
        errand.check()
        return self._make(declared, fingerprint, image, network, (), errand)[0]

    def _make(
        self,
        declared: Declared,
        fingerprint: str,
        image: Image,
        network: str,
        before: Sequence[Seen],
        errand: Errand,
    ) -> tuple[Seen, list[Seen]]:
        """Make a container and start it when those *before* have ended; return both."""
        site, kind = declared.site, declared.kind
        assert isinstance(kind, Container)
        init = self._api.init and recipe.wants_init(image.entrypoint)
        config = recipe.creation(
            declared, self._owner, fingerprint, image.id, image.digest, network, init
        )
        # A name of its own, as the one before still has the right one.
        id = self._api.create(f"{recipe.name(site)}.{os.urandom(3).hex()}", config)
        try:
            errand.check()
            ended = [self._end(other, other.stop_within, errand) for other in before]
            # Who has just ended may have changed what it could write to.
            self._look_behind_mounts(declared, kind)
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
        self.images.pull(kind, errand)
        found = self.images.find(kind.image)
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
        self.networks.remove(site)

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
        """Run *command* in *site*'s container; cancelling *errand* means that its time, *within*
        seconds, is over."""
        seen = self._running(site)
        if seen.instance.paused:
            raise EngineFailed(f"{site} is paused: nothing can be run in it before it goes on.")
        return inside.run(self._api, seen, command, within, errand, self._pause)

    def loads(self) -> dict[str, Load]:
        """Return what the containers have used, by site."""
        return self._meters.loads()

    # Containers

    def _running(self, site: str) -> Seen:
        running = [seen for seen in self._of(site) if seen.instance.running]
        for seen in sorted(running, key=serves, reverse=True):
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
        """Return what Docker tells *found* of."""
        return inspected.read(found)

    def _begin(self, seen: Seen) -> None:
        """Have Docker start a container that is there, unless what it was given leads elsewhere
        by now: Docker follows links anew at each start."""
        self._look_behind_binds(seen)
        self._api.start(seen.instance.id)

    def _launch(self, seen: Seen, errand: Errand) -> None:
        """Start what has run before."""
        try:
            self._begin(seen)
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
            self._begin(seen)
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
        """Let *seen* take the place and the name of those *before* it, the latest of which are
        kept; one that has never run is what a call that was killed has left."""
        others = [other for other in before if other.instance.id != seen.instance.id]
        for other in others:
            self._end(other, other.stop_within, errand)
        kept = [other for other in others if other.instance.started][:KEPT]
        for other in others:
            if other not in kept:
                self._remove(other.instance.id)
        self._take_name(seen, kept)

    def _take_name(self, seen: Seen, others: Sequence[Seen]) -> None:
        """Let *seen* have the site's name, whichever of *others* has it."""
        name = recipe.name(seen.instance.site)
        for other in others:
            if has_name(other):
                self._rename(other, f"{name}.{other.instance.id[:12]}")
        self._name(seen)

    def _name(self, seen: Seen) -> None:
        name = recipe.name(seen.instance.site)
        if not has_name(seen) and not self._rename(seen, name):
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
        after = self._halt(seen, within, errand)
        errand.note(after)
        return after

    def _halt(self, seen: Seen, within: float, errand: Errand) -> Seen:
        """End one container if it runs; return it as it is then."""
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

    def _sockets(self) -> list[str]:
        """Return where Docker listens, by all the names that are known for that."""
        named = [*bounds.SOCKETS, self._api.where.removeprefix("unix://")]
        return [*named, *map(os.path.realpath, named)] if self._api.local else named

    def _look_behind(self, path: str, read_only: bool, data: str) -> None:
        """Fail where *path* of this host leads, by whatever links, out of a site's own folder, or
        to what nobody is given.

        :param data: the folder of a site's own, beside which those of the others are.
        """
        real = os.path.realpath(path)
        own = bounds.own_folder(path, data)
        if own and not bounds.within(real, os.path.realpath(own)):
            raise EngineFailed(
                f"{path} leads out of the site's own folder, to {real}: put a folder there."
            )
        if words := bounds.objection(real, read_only, self._sockets()):
            raise EngineFailed(f"{path} leads to {real}, and {words}; remove it.")

    def _look_behind_mounts(self, declared: Declared, kind: Container) -> None:
        for mount in recipe.mounts(declared, kind) if self._api.local else ():
            if mount["Type"] == "bind":
                self._look_behind(mount["Source"], mount["ReadOnly"], declared.data)

    def _look_behind_binds(self, seen: Seen) -> None:
        for path, read_only in seen.binds if self._api.local else ():
            self._look_behind(path, read_only, seen.data)

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
