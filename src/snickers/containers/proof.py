"""Tries a server on a copy: whether what was kept is something that a site can live from.

The copy is written out beside the site's own folder, and a container is made as the site declares
it, under another name and owner, in a network that leads nowhere but to this host; other volumes
can be read alone. It must answer its health check. Whatever comes of it, nothing of it stays.
It must never touch the site's own server, folder or volumes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from snickers.config.values import Container, Site
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.containers.probe import NotReady, Prober
from snickers.interfaces.copies import CopyFailed
from snickers.interfaces.engine import Declared, Exit, IEngine, IEngineObserver, Instance

_log = Logger()
OWNER = "-proof"
"""Behind the owner's name: whose containers these are."""
NAME = "~proof"
"""Behind the site's name: no site can be called so."""
LAST_LINES = 5
"""Of what a server wrote that did not pass."""


def declared(site: Site, folder: str) -> Declared:
    """Return what is run to prove that *site* can live from *folder*."""
    kind = site.kind
    if not isinstance(kind, Container):
        raise CopyFailed(
            f"{site.name} is a process, which cannot be kept away from the network and from other "
            "folders: its copies cannot be proved. Restore one on another host to try it."
        )
    if kind.services:
        raise CopyFailed(
            f"{site.name} has services: what they keep in volumes is in no copy, so its copies "
            "cannot be proved. Restore one on another host to try it."
        )
    if not kind.data:
        raise CopyFailed(
            f"{site.name} has no `data`: its container does not see the site's own folder, so "
            "there is nothing to prove."
        )
    volumes = tuple(v if v.endswith(":ro") else f"{v}:ro" for v in kind.volumes)
    pull = "missing" if kind.pull == "always" else kind.pull
    kind = evolve(kind, volumes=volumes, network="", pull=pull)
    return Declared(site.name + NAME, kind, folder)


@implementer(IEngineObserver)
class Proof:
    """Tries servers, with an engine of its own that is there only as long as it is needed.

    :param make_engine: makes an engine whose networks lead nowhere.
    :param call_later: of a clock.
    """

    def __init__(
        self,
        make_engine: Callable[[], IEngine],
        prober: Prober,
        call_later: Callable[..., Any],
    ) -> None:
        self._make = make_engine
        self._prober = prober
        self._call_later = call_later
        self._engine: IEngine | None = None
        self._there: Deferred[None] | None = None
        self._away = ""
        self._users = 0
        self._ended: dict[str, list[Deferred[Exit]]] = {}

    async def clean(self, site: Site) -> None:
        """Remove what an end in the middle has left of a server of *site*."""
        async with self._engine_for_now() as engine:
            try:
                await engine.remove(site.name + NAME)
            except (EngineFailed, EngineAway) as problem:
                raise CopyFailed(str(problem)) from None

    async def ready(self, site: Site) -> None:
        """Return when a server of *site* could be tried; fail with `CopyFailed` and why none
        can."""
        declared(site, "")
        async with self._engine_for_now():
            pass

    async def try_(self, site: Site, folder: str, progress: Callable[[str], None]) -> None:
        """Return when a server of *site* has passed its check on *folder*; fail with `CopyFailed`
        and why it has not."""
        wanted = declared(site, folder)
        async with self._engine_for_now() as engine:
            await self._try(engine, site, wanted, progress)

    async def _try(
        self, engine: IEngine, site: Site, wanted: Declared, progress: Callable[[str], None]
    ) -> None:
        try:
            try:
                # What an end in the middle has left.
                await engine.remove(wanted.site)
                instance = await engine.start(wanted, progress)
                progress("checking")
                await self._check(engine, instance, site)
            except (EngineFailed, EngineAway, NotReady) as problem:
                said = await self._said(engine, wanted.site)
                raise CopyFailed(f"No server can live from it: {problem}{said}") from None
        finally:
            try:
                await engine.remove(wanted.site)
            except (EngineFailed, EngineAway) as problem:
                _log.warn("{site}: a proof stays behind: {why}", site=site.name, why=str(problem))

    async def _check(self, engine: IEngine, instance: Instance, site: Site) -> None:
        assert site.life is not None
        health, within = site.life.health, site.life.wake_within
        probing = self._prober.probe(instance, health, site.name, engine, False)
        why = [f"It did not pass its health check ({health}) within {within:g} s."]

        def too_late() -> None:
            probing.cancel()

        def ended(exit: Exit) -> None:
            memory = ": it was out of memory" if exit.out_of_memory else ""
            why[0] = f"It ended with status {exit.code}{memory}."
            probing.cancel()

        heard: Deferred[Exit] = Deferred()
        heard.addCallback(ended)
        self._ended.setdefault(instance.site, []).append(heard)
        later = self._call_later(within, too_late)
        if not instance.running:
            ended(Exit(instance.site, instance.id, None))
        try:
            await probing
        except CancelledError:
            raise NotReady(why[0]) from None
        finally:
            self._ended.pop(instance.site, None)
            if later.active():
                later.cancel()

    async def _said(self, engine: IEngine, name: str) -> str:
        pieces: list[bytes] = []
        try:
            await engine.logs(name, LAST_LINES, False, pieces.append)
        except (EngineFailed, EngineAway):
            return ""
        said = b"".join(pieces).decode(errors="replace").strip()
        return f" It said at last: {said}" if said else ""

    @asynccontextmanager
    async def _engine_for_now(self) -> AsyncIterator[IEngine]:
        """Have the engine, shared with others who need it at the same time."""
        engine = self._engine
        if engine is None:
            engine = self._engine = self._make()
            self._away = ""
            self._there = Deferred()
            engine.watch(self)
        self._users += 1
        try:
            if self._there is not None:
                waiting: Deferred[None] = Deferred()
                self._there.addCallback(
                    lambda _: None if waiting.called else waiting.callback(None)
                )
                await waiting
            if self._away:
                raise CopyFailed(self._away)
            yield engine
        finally:
            self._users -= 1
            if not self._users:
                self._engine = None
                await engine.close()

    # IEngineObserver

    def exited(self, exit: Exit) -> None:
        for heard in self._ended.pop(exit.site, []):
            heard.callback(exit)

    def lost(self, reason: str) -> None:
        self._away = reason
        self._heard()

    def found(self) -> None:
        self._away = ""
        self._heard()

    def noticed(self, site: str, words: str) -> None:
        pass

    def _heard(self) -> None:
        there, self._there = self._there, None
        if there is not None:
            there.callback(None)
