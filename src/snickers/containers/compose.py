"""What is done with Docker for sites of several containers, by the compose tool. Everything blocks.

The tool reads the site's file, makes the containers, and starts and stops them in the order that
the file asks for; images, networks and volumes are made here before, so that no start waits for a
question, and no data goes with a container. All containers that are made together have a project's
name of their own: those of the server before stay, stopped, until the next one has proven itself.
To all others a site of several containers looks like one: it runs when all of them do, and has
ended when one of them has. Sites of one container are left to `Dockerd`. It must never let the tool
decide what may be given away.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import evolve, field, frozen
from twisted.logger import Logger

from snickers import bounds
from snickers.config.values import Container
from snickers.containers import composition as c
from snickers.containers import recipe
from snickers.containers.composetool import Tool, at_work
from snickers.containers.dockerapi import LONGEST_STOP, Api, Refused, seconds
from snickers.containers.dockerd import GO_ON_LOOKS, SOON, Dockerd
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.containers.errand import Errand, Seen, Stream
from snickers.containers.followed import Followed, Lines, end_of
from snickers.containers.inspected import marked
from snickers.interfaces.engine import Declared, Exit, Instance

log = Logger()

LAST_LINES = 5
"""Of what a service wrote that failed."""

LOOK_AGAIN = 1.0
LOOKS = 3600
"""What is left of a server is not ended while a tool is at work for it: another Snickers may be
starting it at this moment. Seconds between two looks, and how many there are at the most."""

READ_WITHIN = 60.0
"""Seconds for the tool to say what a file means: it asks nobody for that."""
SPARE = 30.0
"""Seconds that the tool may take to end services, beside what they take themselves, one after the
other; then they are ended without it."""

_TURNS: dict[tuple[str, str], threading.RLock] = {}
"""By owner and site: who changes its containers. Calls for a site come one at a time; what ends the
rest of one of which a part has ended does not. Of the process: a call may outlast its conversation
with Docker."""

_RESTS: set[tuple[str, str]] = set()
"""By owner and project: of which servers the rest is being ended."""


class _NotAgain(EngineFailed):
    """What was made before was not started again, and not for a fault of its own."""


@frozen
class _Part:
    """One of several containers that were made together."""

    seen: Seen
    service: str
    answers: str
    lasting: tuple[str, ...]
    ended: float
    """When its last run ended, for comparison."""
    labels: Mapping[str, str] = field(repr=False)

    @property
    def lasts(self) -> bool:
        """Whether the site needs it to run."""
        return self.service in self.lasting


class Composed(Dockerd):
    """What Snickers does with Docker, for sites of one container and of several."""

    def __init__(
        self,
        api: Api,
        owner: str,
        pool: str,
        tool: Tool,
        internal: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(api, owner, pool, internal=internal, **more)
        self._tool = tool

    # What there is

    def listing(self) -> list[Seen]:
        """As `Dockerd.listing`. What is left of servers that do not run any more is ended."""
        found = self._gather({recipe.OWNER: self._owner})
        for seen in found:
            self._end_rest_of(seen)
        return marked(found)

    def death(self, event: Mapping[str, Any]) -> Seen | None:
        """As `Dockerd.death`; with one part of a server the others end."""
        if self.of_others(event):
            return None
        said = event.get("Actor", {}).get("Attributes", {})
        project = said.get(c.PROJECT, "")
        seen = super().death(event)
        if not project:
            return seen
        if seen is None or seen.project:
            if seen is not None:
                self._end_rest_of(seen)
            return seen
        # That container has been removed already.
        part = said.get(c.SERVICE, "")
        whole = self._whole(project)
        if whole is None or part not in said.get(c.LASTING, "").split():
            return seen if part == said.get(c.ANSWERS) else None
        self._end_rest_of(whole)
        assert seen.exit is not None
        exit = Exit(whole.instance.site, whole.instance.id, seen.exit.code, part=part)
        return evolve(whole, exit=whole.exit or exit)

    def _of(self, site: str) -> list[Seen]:
        found = self._gather(recipe.labels(site, self._owner))
        return sorted(
            found, key=lambda each: (not each.instance.running, -(each.instance.started or 0.0))
        )

    def _gather(self, labels: Mapping[str, str]) -> list[Seen]:
        """Return what has *labels*, each server once."""
        alone: list[Seen] = []
        together: dict[str, list[_Part]] = {}
        for id in self._api.containers(labels):
            found = self._api.container(id)
            if found is None:
                continue
            part = self._part(found)
            if part.service:
                together.setdefault(part.labels[c.PROJECT], []).append(part)
            else:
                alone.append(part.seen)
        return [*alone, *(_as_one(project, parts) for project, parts in together.items())]

    def _part(self, found: Mapping[str, Any]) -> _Part:
        labels = found["Config"].get("Labels") or {}
        return _Part(
            super()._seen(found),
            labels.get(c.SERVICE, "") if labels.get(c.PROJECT) else "",
            labels.get(c.ANSWERS, ""),
            tuple(labels.get(c.LASTING, "").split()),
            seconds(found["State"].get("FinishedAt", "")) or 0.0,
            labels,
        )

    def _parts(self, project: str) -> list[_Part]:
        """Return the containers of *project*, in the order in which they were started."""
        found = []
        for id in self._api.containers({recipe.OWNER: self._owner, c.PROJECT: project}):
            each = self._api.container(id)
            if each is not None:
                found.append(self._part(each))
        return sorted(found, key=lambda part: part.seen.instance.started or math.inf)

    def _whole(self, project: str) -> Seen | None:
        parts = self._parts(project)
        return _as_one(project, parts) if parts else None

    def _seen(self, found: Mapping[str, Any]) -> Seen:
        project = (found["Config"].get("Labels") or {}).get(c.PROJECT, "")
        return (self._whole(project) if project else None) or super()._seen(found)

    # One server

    def prepare(self, declared: Declared, fingerprint: str, fresh: bool, errand: Errand) -> bool:
        kind = declared.kind
        if not isinstance(kind, Container) or not kind.services:
            return super().prepare(declared, fingerprint, fresh, errand)
        found = self._of(declared.site)
        alike = [seen for seen in found if seen.instance.fingerprint == fingerprint]
        another = not found or found[0].instance.fingerprint != fingerprint
        if alike and not fresh:
            return another  # All that it needs is here.
        images = self._images(kind, self._resolved(declared, errand), fresh, errand)
        return another or self._differs(found[0], images)

    def start(
        self,
        declared: Declared,
        fingerprint: str,
        errand: Errand,
        fresh: bool = False,
        beside: str = "",
    ) -> Seen:
        kind = declared.kind
        with self._turn(declared.site):
            if not isinstance(kind, Container) or not kind.services:
                return super().start(declared, fingerprint, errand, fresh, beside)
            if any(
                seen.instance.id == beside and seen.instance.running
                for seen in self._of(declared.site)
            ):
                raise EngineFailed("Services are not started beside others: write update = swap.")
            return self._start_all(declared, kind, fingerprint, errand, fresh)

    def _start_all(
        self, declared: Declared, kind: Container, fingerprint: str, errand: Errand, fresh: bool
    ) -> Seen:
        before = self._of(declared.site)
        alike = [seen for seen in before if seen.instance.fingerprint == fingerprint]
        known = alike[0] if alike else None
        if known is not None and known.instance.running and not fresh:
            return self._serve_on(known, before, errand)
        errand.began = True
        resolved: Mapping[str, Any] = {}
        images: Mapping[str, c.Image] = {}
        if known is None or fresh:
            resolved = self._resolved(declared, errand)
            images = self._images(kind, resolved, False, errand)
            if known is not None and self._differs(known, images):
                known = None
        if known is not None and known.instance.running:
            return self._serve_on(known, before, errand)
        self._folder(declared, evolve(kind, data="/"))
        useless = ""
        if known is not None:
            file = self._file(known.project)
            if file is not None:
                try:
                    return self._up(known.project, file, known, before, errand)
                except _NotAgain as problem:
                    # A network or a volume may have gone; made anew it may have more luck.
                    log.info("{site}: {why}", site=declared.site, why=str(problem))
                    useless, before = known.project, self._of(declared.site)
            resolved = resolved or self._resolved(declared, errand)
            images = images or self._images(kind, resolved, False, errand)
        room = len(c.services_of(resolved))
        networks = {c.DEFAULT: self.networks.of(declared.site, kind, room)}
        for key, internal in c.networks_of(resolved).items():
            networks[key] = self.networks.own(declared.site, key, internal, room)
        made = c.composed(
            declared,
            self._owner,
            fingerprint,
            resolved,
            images,
            networks,
            c.asking(declared.site),
            self._api.init,
        )
        for volume in made.volumes:
            self._api.make_volume(volume.name, volume.driver, dict(volume.options))
        file = c.given(made.file, made.answers)
        for project in {useless, made.project} if useless else ():
            self._remove_all(project)
        before = [seen for seen in before if not useless or seen.project != useless]
        there = next((seen for seen in before if seen.project == made.project), None)
        try:
            return self._up(made.project, file, there, before, errand)
        except _NotAgain as problem:
            log.info("{site}: {why}", site=declared.site, why=str(problem))
            self._remove_all(made.project)
            before = [seen for seen in before if seen is not there]
            return self._up(made.project, file, None, before, errand)

    def _up(
        self,
        project: str,
        file: bytes,
        there: Seen | None,
        before: Sequence[Seen],
        errand: Errand,
    ) -> Seen:
        """Have *project* run, in the place of those *before*; fails with `_NotAgain` where that may
        be because of what has changed around it.

        :param there: the same, where it was made before.
        """
        errand.check()
        errand.say("starting")
        if there is None:
            # What can be wrong with it shall be known before another one ends. (The older tool's
            # "up --no-start" waits for the end of services that it does not start.)
            try:
                self._compose(project, ["create"], file, errand)
                self._see_all(project, file)
            except BaseException:
                self._remove_all(project)
                raise
        try:
            errand.check()
            before = [self._end(other, other.stop_within, errand) for other in before]
            self._guard(file)
            runs = {part.seen.run for part in self._parts(project)}
            try:
                self._compose(project, ["up", "-d", "--no-recreate"], file, errand)
            except EngineFailed as problem:
                said = self._failed_since(project, runs)
                failed = EngineFailed if there is None or said else _NotAgain
                raise failed(f"{problem}{said}") from None
        except BaseException:
            # They stay, ended: what they wrote is what somebody wants to read now.
            self._rest(project, errand)
            raise
        made = self._whole(project)
        if made is None:
            raise EngineFailed("Somebody removed the containers while they were being started.")
        log.info("{site} runs as {project}.", site=made.instance.site, project=project)
        self._replace(made, [other for other in before if other.project != project], errand)
        return made

    def _see_all(self, project: str, file: bytes) -> None:
        """Fail where a service of *file* has no container, whatever the tool said."""
        made = {part.service for part in self._parts(project)}
        lacking = sorted(set(c.document(file)["services"]) - made)
        if lacking:
            raise EngineFailed(
                f"The compose tool says that it has made them all, and there is no {lacking[0]}. "
                "See what tool that is: docker-compose version."
            )

    def _failed_since(self, project: str, runs: Collection[str]) -> str:
        """Return the last words of the services that have been started, *runs* not among them, and
        have failed; empty: none did."""
        said = ""
        for part in self._parts(project):
            seen = part.seen
            failed = seen.exit is not None and seen.exit.code
            if seen.run not in runs and (failed or seen.health == "unhealthy"):
                last = self._last([part], LAST_LINES, names=False)
                words = b"".join(last).decode("utf-8", "replace").strip()
                said += f" {part.service} said at last: {words or 'nothing'}"
        return said

    def stop(self, site: str, within: float, errand: Errand) -> None:
        with self._turn(site):
            super().stop(site, within, errand)

    def remove(self, site: str, errand: Errand) -> None:
        with self._turn(site):
            super().remove(site, errand)
            _TURNS.pop((self._owner, site), None)

    def settle(self, site: str, id: str, spare: str, errand: Errand) -> None:
        with self._turn(site):
            super().settle(site, id, spare, errand)

    def revert(self, site: str, id: str, errand: Errand) -> Seen:
        with self._turn(site):
            return super().revert(site, id, errand)

    def _launch(self, seen: Seen, errand: Errand) -> None:
        if not seen.project:
            super()._launch(seen, errand)
            return
        file = self._file(seen.project)
        if file is None:
            raise EngineFailed("The container that answered is not there any more.")
        self._guard(file)
        self._compose(seen.project, ["up", "-d", "--no-recreate"], file, errand)

    def pause(self, site: str) -> None:
        seen = self._running(site)
        if not seen.project:
            super().pause(site)
            return
        # The last to be started first: nobody asks one that is frozen.
        for part in reversed(self._parts(seen.project)):
            if part.seen.instance.running and not part.seen.instance.paused:
                try:
                    self._api.pause(part.seen.instance.id)
                except Refused:
                    after = self._whole(seen.project)
                    if part.lasts and after is not None and after.instance.running:
                        self._go_on(after)
                        raise

    def _go_on(self, seen: Seen) -> Seen:
        if not seen.project:
            return super()._go_on(seen)
        self._thaw(self._parts(seen.project))
        after = self._whole(seen.project) or seen
        for _ in range(GO_ON_LOOKS):
            if not after.instance.paused:
                break
            # Docker has let them go on, and may say so a moment later.
            self._pause(SOON)
            after = self._whole(seen.project) or seen
        return after

    def _thaw(self, parts: Sequence[_Part]) -> None:
        """Let those of *parts* that are paused go on, the first that was started first."""
        for part in parts:
            if part.seen.instance.paused:
                try:
                    self._api.unpause(part.seen.instance.id)
                except Refused:
                    # It may have ended, or somebody else may have been faster.
                    found = self._api.container(part.seen.instance.id)
                    if found is not None and found["State"].get("Paused"):
                        raise

    def logs(self, site: str, tail: int, follow: bool) -> Stream:
        found = self._of(site)
        if not found or not found[0].project:
            return super().logs(site, tail, follow)
        parts = self._parts(found[0].project)
        if not follow:
            exit = found[0].exit
            return Lines(self._last(parts, max(tail, 0), exit.part if exit is not None else ""))
        return Followed(
            [
                (_prefix(part), self._api.logs(part.seen.instance.id, max(tail, 0), True))
                for part in parts
            ]
        )

    def _last(
        self, parts: Sequence[_Part], tail: int, ended: str = "", names: bool = True
    ) -> list[bytes]:
        """Return the last *tail* lines that any of *parts* has written.

        :param ended: the service whose end was that of all; empty: none, or the one that answers.
            At least half of the lines are its own, however the others complained of it.
        :param names: whether each line says of whom it is.
        """
        lines: list[tuple[bytes, bytes]] = []
        # Those of the one that ended, where it is another than the one that answers, come first.
        kept = 0
        for part in sorted(parts, key=lambda part: part.service != ended):
            stream = self._api.logs(part.seen.instance.id, tail, False, times=True)
            prefix = _prefix(part) if names else b""
            for line in end_of(stream).splitlines(keepends=True):
                time, _, words = line.partition(b" ")
                lines.append((time, prefix + words))
            if part.service == ended:
                kept = len(lines)
        own = lines[max(0, kept - (tail + 1) // 2) : kept]
        # Lines of one moment stay as they came.
        others = sorted(lines[: kept - len(own)] + lines[kept:], key=lambda line: line[0])
        rest = tail - len(own)
        last = sorted([*own, *(others[-rest:] if rest else [])], key=lambda line: line[0])
        return [words for _, words in last]

    # Containers

    def _end(self, seen: Seen, within: float, errand: Errand) -> Seen:
        if not seen.project:
            return super()._end(seen, within, errand)
        self._rest(seen.project, errand, within)
        after = self._whole(seen.project) or seen
        errand.note(after)
        return after

    def _rest(self, project: str, errand: Errand, within: float | None = None) -> None:
        """End what runs of *project*, in order."""
        parts = [part for part in self._parts(project) if part.seen.instance.running]
        self._thaw(parts)
        file = self._file(project) if parts else None
        if file is not None:
            for_all = max((part.seen.stop_within for part in parts), default=0.0)
            given = math.ceil(min(for_all if within is None else within, LONGEST_STOP))
            try:
                # Not to be called off: who waits for the end of a server means it.
                within_all = given * len(parts) + SPARE
                asked = ["stop", "-t", str(given)]
                self._tool.run(project, "/", asked, file, Errand(), within=within_all)
            except EngineFailed as problem:
                log.warn("{project}: {why}", project=project, why=str(problem))
        # Whoever has taken over may have started them again by now.
        errand.check()
        for part in reversed(self._parts(project)):
            if part.seen.instance.running:
                patience = part.seen.stop_within if within is None else within
                self._halt(part.seen, patience, errand)

    def _end_rest_of(self, seen: Seen) -> None:
        """End what runs on of a server that does not run any more, without waiting for it."""
        which = (self._owner, seen.project)
        if not seen.remains or which in _RESTS:
            return
        _RESTS.add(which)

        def end() -> None:
            try:
                for left in reversed(range(LOOKS)):
                    if (not left or not at_work(seen.project)) and ended(left):
                        break
                    self._pause(LOOK_AGAIN)
            except (EngineFailed, EngineAway) as problem:
                log.warn("{site}: {why}", site=seen.instance.site, why=str(problem))
            finally:
                _RESTS.discard(which)

        def ended(left: int) -> bool:
            # From here on another end may have something to end again.
            _RESTS.discard(which)
            with self._turn(seen.instance.site):
                # It may have been started again meanwhile, or another Snickers is about to.
                now = self._whole(seen.project)
                if now is None or not now.remains:
                    return True
                if left and at_work(seen.project):
                    _RESTS.add(which)
                    return False
                self._rest(seen.project, Errand())
            return True

        threading.Thread(target=end, name="docker-rest", daemon=True).start()

    def _remove(self, id: str) -> None:
        found = self._api.container(id)
        labels = (found or {}).get("Config", {}).get("Labels") or {}
        if labels.get(c.PROJECT):
            self._remove_all(labels[c.PROJECT])
        else:
            super()._remove(id)

    def _remove_all(self, project: str) -> None:
        for part in reversed(self._parts(project)):
            super()._remove(part.seen.instance.id)

    def _name(self, seen: Seen) -> None:
        if not seen.project:  # The tool has its own names for the others.
            super()._name(seen)

    def _rename(self, seen: Seen, name: str) -> bool:
        return bool(seen.project) or super()._rename(seen, name)

    @contextmanager
    def _turn(self, site: str) -> Iterator[None]:
        which = (self._owner, site)
        while True:
            turn = _TURNS.setdefault(which, threading.RLock())
            with turn:
                # Who had it before may have removed the site, and others take turns anew.
                if _TURNS.get(which) is turn:
                    yield
                    return

    # The tool

    def _compose(self, project: str, arguments: Sequence[str], file: bytes, errand: Errand) -> None:
        def line(text: str) -> None:
            if words := c.progress(text, project):
                errand.say(words)

        ended = self._tool.run(project, "/", arguments, file, errand, line=line)
        if ended.code:
            raise EngineFailed(
                f"Its services cannot be started: {c.complaint(ended.said, project)}."
            )

    def _resolved(self, declared: Declared, errand: Errand) -> Mapping[str, Any]:
        """Return the site's file as the tool understands it."""
        # Neither before it is needed: a host without such sites shall not pay for it.
        from snickers import composefile

        kind = declared.kind
        assert isinstance(kind, Container)
        variables = c.variables(declared)
        held = {name: value for name, value in variables.items() if bounds.connects(name)}
        given = {
            f"{composefile.ASIDE}{name}" if name in held else name: value
            for name, value in variables.items()
        }
        asked, where = c.asking(declared.site), f"services = {kind.services}"
        ended = self._tool.run(
            asked,
            declared.data,
            ["config"],
            composefile.aside(kind.composition, held).encode(),
            errand,
            given,
            within=READ_WITHIN,
        )
        if ended.code:
            why = c.complaint(ended.said, asked).replace(composefile.ASIDE, "")
            raise EngineFailed(f"{where}: the compose tool does not take it: {why}.")
        try:
            resolved = composefile.handed_on(composefile.understood(ended.text), held)
            if text := composefile.ambiguous(resolved):
                raise EngineFailed(
                    f"{where}: {text}: a $ in a path, or in security_opt, is read as a variable by "
                    "this compose tool; write it without one."
                )
            plain, _ = composefile.filled(resolved, {})
            wrong = composefile.objections(plain, self._sockets(), declared.data, asked)
            first = next(iter(wrong), None)
        except composefile.NotCompose as problem:
            raise EngineFailed(f"{where}: what the compose tool makes of it: {problem}.") from None
        if first is not None:
            raise EngineFailed(f"{where}: {first}.")
        if kind.service not in c.services_of(resolved):
            raise EngineFailed(f"{where}: it has no service {kind.service}.")
        return resolved

    def _images(
        self, kind: Container, resolved: Mapping[str, Any], fresh: bool, errand: Errand
    ) -> Mapping[str, c.Image]:
        """Return what the images of all services mean here, pulled where they are not.

        :param fresh: whether those that are here are looked for, too.
        """
        found: dict[str, c.Image] = {}
        looked: dict[str, c.Image] = {}
        for service, said in c.services_of(resolved).items():
            name = str(said["image"])
            if name not in looked:
                alone = evolve(kind, image=name)
                if fresh and kind.pull != "never" and not self.images.made_here(alone):
                    self.images.pull(alone, errand)
                image = self.images.meant(alone, "", errand)
                looked[name] = c.Image(image.id, image.digest, image.entrypoint)
            found[service] = looked[name]
        errand.stale = False
        return found

    def _differs(self, seen: Seen, images: Mapping[str, c.Image]) -> bool:
        """Whether *seen* was made of others than *images*."""
        had = {part.service: part.labels.get(recipe.IMAGE) for part in self._parts(seen.project)}
        return had != {service: image.id for service, image in images.items()}

    def _file(self, project: str) -> bytes | None:
        """Return what *project* was made by; ``None``: the container that kept it has gone."""
        for part in self._parts(project):
            if part.service == part.answers and c.FILE in part.labels:
                return c.given(c.unpack(part.labels[c.FILE]), part.answers)
        return None

    def _guard(self, file: bytes) -> None:
        """Fail where a folder of a site's own has become a link that leads out of it, and where
        any leads to what nobody is given."""
        from snickers import composefile

        if not self._api.local:
            return
        document, _ = composefile.filled(c.document(file), {})
        folder = c.folder_of(document)
        for _, path, read_only in composefile.binds(document, folder):
            self._look_behind(path, read_only, folder)
        # To the tool volumes are only names; Docker follows the links of their folders, too.
        for said in (document.get("volumes") or {}).values():
            volume = self._api.volume(said["name"]) or {}
            if path := composefile.bound(volume.get("Options") or {}):
                self._look_behind(path, False, folder)


def _as_one(project: str, parts: Sequence[_Part]) -> Seen:
    """Return *parts*, of *project*, as if they were one container."""
    first = parts[0]
    main = next((part for part in parts if part.service == part.answers), None)
    lasting = [part for part in parts if part.lasts]
    running = (
        main is not None
        and {part.service for part in lasting} == set(first.lasting)
        and all(part.seen.instance.running for part in lasting)
    )
    of = (main or first).seen
    began = [part.seen.instance.started for part in parts]
    instance = Instance(
        of.instance.site,
        of.instance.id,
        of.instance.fingerprint,
        running,
        of.instance.address if running else None,
        max((each for each in began if each is not None), default=None),
        running and any(part.seen.instance.paused for part in lasting),
        of.instance.image,
    )
    return Seen(
        instance,
        "",
        of.run,
        None if running else _exit(instance, lasting),
        _health([part.seen.health for part in lasting]),
        of.image,
        max(part.seen.stop_within for part in parts),
        project,
        not running and any(part.seen.instance.running for part in parts),
    )


def _exit(instance: Instance, lasting: Sequence[_Part]) -> Exit | None:
    """Return how a server of several ended: as the first of them that did."""
    ended = [part for part in lasting if part.seen.exit is not None]
    if not ended:
        return None
    first = min(ended, key=lambda part: part.ended)
    exit = first.seen.exit
    assert exit is not None
    part = "" if first.service == first.answers else first.service
    return Exit(instance.site, instance.id, exit.code, exit.out_of_memory, part)


def _health(healths: Sequence[str]) -> str:
    """Return what the checks of all say together."""
    said = [health for health in healths if health]
    return next((health for health in said if health != "healthy"), "healthy" if said else "")


def _prefix(part: _Part) -> bytes:
    """Return what tells the lines of *part* from those of the service that answers."""
    return b"" if part.service == part.answers else f"{part.service} | ".encode()
