"""The configuration that runs: read anew, compared site by site, applied where it differs.

Applying happens in one turn of the reactor and touches only what differs. A site with a fault
stays as it last was, a fault in ``[snickers]`` leaves everything; a watcher that met an
exception goes on watching. This is also what the control room asks (`IFrontDoor`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger
from zope.interface import implementer

from snickers.config.difference import Difference, changes, difference, merge
from snickers.config.parse import Loaded
from snickers.config.values import (
    Configuration,
    Container,
    Lifecycle,
    Passthrough,
    Process,
    Settings,
    Site,
    Static,
)
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.certificates import ICertificates, IRenewer
from snickers.interfaces.colleagues import NOTHING, IColleagues, Share
from snickers.interfaces.front_door import IFrontDoor, Metrics
from snickers.interfaces.lives import ILives
from snickers.interfaces.plane import Change, IPlane
from snickers.roots import warnings

NEEDS_RESTART = frozenset({"https", "http", "http2", "state", "docker", "docker_broker", "metrics"})
"""Options of ``[snickers]`` that only a new start takes up."""

RECENT = 60.0
"""Seconds in which what the watcher has applied is told to who asks for a reload: a person saves,
finds the command and types it within a minute."""


class SiteRegister(Protocol):
    """The live sites of this process: the table of the http room."""

    by_name: dict[str, Any]


@implementer(IColleagues)
class Nobody:
    """There are no other processes."""

    def freshen(self) -> Deferred[None]:
        return succeed(None)

    def share(self, site: str) -> Share:
        return NOTHING

    def report(self) -> list[dict[str, Any]]:
        return []

    def handshakes(self) -> dict[str, int]:
        return {}


def _kind_name(site: Site) -> str:
    return type(site.kind).__name__.lower()


def _differs(answer: Mapping[str, Any]) -> bool:
    return any(answer[key] for key in ("added", "changed", "removed", "settings"))


def _declaration(site: Site) -> object:
    """What a site's server is made from: a change of it needs another server."""
    kind = site.kind
    if isinstance(kind, Container | Process):
        return evolve(kind, life=Lifecycle()), site.data
    return None


def _has_server(site: Site) -> bool:
    return site.life is not None and site.enabled


def _never_good(configuration: Configuration) -> set[str]:
    """The sites that have a fault and no version without."""
    return {name for name in configuration.broken if name not in configuration.sites}


def _change(old: Configuration | None, new: Configuration, change: Difference) -> Change:
    """Return what of the *change* from *old* to *new* concerns the data plane."""
    before = set() if old is None else _never_good(old)
    now = _never_good(new)
    settings = new.settings
    return Change(
        settings if change.settings and old is not None else None,
        change.added,
        tuple(site for _, site in change.changed),
        (
            *(site.name for site in change.removed),
            *sorted(name for name in before - now if name not in new.sites),
        ),
        tuple(sorted(now - before)),
        "" if settings is None else settings.default_site,
    )


@implementer(IFrontDoor)
class Running:
    """The running configuration, and how it changes."""

    log = Logger()

    def __init__(
        self,
        load: Callable[[], Loaded],
        in_thread: Callable[..., Deferred[Any]],
        sites: SiteRegister,
        plane: IPlane,
        certificates: ICertificates,
        lives: ILives,
        alarm: IAlarm,
        told: Callable[[str], None],
        wall: Callable[[], float],
        about: Callable[[], Mapping[str, Any]],
        settle: Callable[[], None] = lambda: None,
        others: IColleagues | None = None,
        measured: Callable[[], Mapping[str, int]] = dict,
        renewer: IRenewer | None = None,
        roots: Callable[[Sequence[Site]], dict[str, str]] = lambda sites: {},
    ) -> None:
        """*load* blocks and is called through *in_thread* only. *sites* are those of this process,
        *plane* is the data plane of all of them, *others* says what the others have of it; *told*
        is told ``"reloading"`` and ``"ready"``; *about* says what is part of every status;
        *settle* lets a moment pass, blocking, in a thread; *measured* brings the sites' traffic
        up to date, and returns how many TLS handshakes of this process ended how; *renewer* orders
        certificates; *roots* looks at the folders of sites, and returns what is wrong with them by
        the sites' names: it blocks, and is called through *in_thread* only."""
        self._load = load
        self._in_thread = in_thread
        self._sites = sites
        self._plane = plane
        self._certificates = certificates
        self._lives = lives
        self._alarm = alarm
        self._told = told
        self._wall = wall
        self._about = about
        self._settle = settle
        self._others: IColleagues = others or Nobody()
        self._measured = measured
        self._renewer = renewer
        self._roots = roots
        self._doubts: dict[str, str] = {}
        """What is wrong with the folders of sites, by the sites' names."""
        self._applied: tuple[float, dict[str, Any]] | None = None
        """What the watcher has applied last, and when."""
        self._lock = DeferredLock()
        self._began_with: Settings | None = None
        self._waits_for_restart = ""
        self._loaded: Loaded | None = None
        self._alarmed: dict[str, str] = {}
        self.configuration: Configuration | None = None
        self.since = wall()
        self.reloads: dict[str, int] = {"ok": 0, "faults": 0, "failed": 0}

    def begin(self, loaded: Loaded) -> None:
        """Apply the first configuration."""
        self._loaded = loaded
        self._apply(loaded.configuration)
        self._look_at_folders(self._static())

    # Folders of sites

    def _static(self) -> list[Site]:
        configuration = self.configuration
        sites = () if configuration is None else configuration.sites.values()
        return [site for site in sites if isinstance(site.kind, Static)]

    def _look_at_folders(self, sites: Sequence[Site]) -> Deferred[None]:
        """Look at the folders of *sites*, keep what is wrong and log what is new. Never fails."""
        if not sites:
            self._keep_doubts((), {})
            return succeed(None)
        done: Deferred[Any] = self._in_thread(self._roots, sites)

        def looked(found: dict[str, str]) -> None:
            for name, words in found.items():
                if self._doubts.get(name) != words:
                    self.log.warn("{site}: root: {words}", site=name, words=words)
            self._keep_doubts(sites, found)

        done.addCallback(looked)
        done.addErrback(lambda failure: self.log.failure("looking at folders", failure=failure))
        return done

    def _keep_doubts(self, looked: Sequence[Site], found: Mapping[str, str]) -> None:
        """Keep what was *found* of the sites that were *looked* at, and what is known of others."""
        others = {site.name for site in self._static()} - {site.name for site in looked}
        kept = {name: words for name, words in self._doubts.items() if name in others}
        self._doubts = {**kept, **found}

    # Changes

    def watch(self) -> Deferred[None]:
        """Look whether a file has changed, and reload if so. Never fails.

        Only when two looks in a row agree: a file that is being written is left for the next time,
        or the sites that are not in it yet would be taken for removed.
        """

        def looked(changed: bool) -> Deferred[Any] | None:
            return self.reload().addCallback(applied) if changed else None

        def applied(answer: dict[str, Any]) -> None:
            if _differs(answer):
                self._applied = self._wall(), answer

        loaded = self._loaded

        def look() -> bool:
            if loaded is None:
                return False
            now = loaded.stamp.current()
            if now == loaded.stamp:
                return False
            self._settle()
            return loaded.stamp.current() == now

        done: Deferred[Any] = self._in_thread(look)
        done.addCallback(looked)
        done.addErrback(lambda failure: self.log.failure("looking for changes", failure=failure))
        done.addCallback(lambda _: None)
        return done

    def reload(self) -> Deferred[dict[str, Any]]:
        return self._lock.run(self._reload)

    def _before(self) -> dict[str, Any] | None:
        """Return what the watcher has applied a moment ago, and how many seconds."""
        if self._applied is None:
            return None
        at, answer = self._applied
        ago = max(0.0, self._wall() - at)
        return {**answer, "seconds": ago} if ago <= RECENT else None

    def _reload(self) -> Deferred[dict[str, Any]]:
        self._told("reloading")
        done: Deferred[Any] = self._in_thread(self._load)

        def loaded(fresh: Loaded) -> dict[str, Any]:
            self._loaded = fresh
            answer = self._apply(fresh.configuration)
            self.reloads["faults" if fresh.configuration.faults else "ok"] += 1
            before = None if _differs(answer) else self._before()
            if before is not None:
                answer["before"] = before
            return answer

        def failed(failure: Any) -> Any:
            self.reloads["failed"] += 1
            self.log.failure("reading the configuration", failure=failure)
            return failure

        def everywhere(answer: dict[str, Any]) -> Deferred[dict[str, Any]]:
            # They are told one thing after the other: who has counted has applied before.
            return self._others.freshen().addCallback(lambda _: answer)

        def warned(answer: dict[str, Any]) -> Deferred[dict[str, Any]]:
            sites = self._static()

            def looked(_: None) -> dict[str, Any]:
                told = [str(one) for one in warnings(sites, self._doubts)]
                return {**answer, "warnings": told} if told else answer

            return self._look_at_folders(sites).addCallback(looked)

        def ready(result: Any) -> Any:
            self._told("ready")
            return result

        done.addCallbacks(loaded, failed)
        done.addCallback(everywhere)
        done.addCallback(warned)
        done.addBoth(ready)
        return done

    def plan(self) -> Deferred[dict[str, Any]]:
        done: Deferred[Any] = self._in_thread(self._load)
        done.addCallback(lambda fresh: self._describe(fresh.configuration))
        return done

    def _describe(self, fresh: Configuration) -> dict[str, Any]:
        goal = merge(self.configuration, fresh)
        return self._described(difference(self.configuration, goal), fresh)

    def _described(self, change: Difference, fresh: Configuration) -> dict[str, Any]:
        return {
            "added": [{"site": site.name, "kind": _kind_name(site)} for site in change.added],
            "changed": [
                {
                    "site": new.name,
                    "kind": _kind_name(new),
                    "options": {
                        option: [before, after] for option, before, after in changes(old, new)
                    },
                    "closes": self._closed_by_change(old, new),
                }
                for old, new in change.changed
            ],
            "removed": [
                {"site": site.name, "kind": _kind_name(site), "closes": self._open(site)}
                for site in change.removed
            ],
            "settings": [
                {
                    "option": option,
                    "old": before,
                    "new": after,
                    "needs_restart": option in NEEDS_RESTART,
                }
                for option, before, after in change.settings
            ],
            "faults": [str(fault) for fault in fresh.faults],
            "broken": sorted(fresh.broken),
            # Else it is all or nothing, whatever the sites are.
            "held": fresh.settings is None,
        }

    def _open(self, site: Site) -> int:
        """How many connections the removal of *site* ends; those carried unopened go on."""
        if isinstance(site.kind, Passthrough):
            return 0
        live = self._sites.by_name.get(site.name)
        here = 0 if live is None else len(live.connections)
        return here + self._others.share(site.name).connections

    def _closed_by_change(self, old: Site, new: Site) -> int:
        """How many exchanges and websockets a site's change ends: those that use a server which
        has to be made anew. They are drained first."""
        if old.life is None or _declaration(old) == _declaration(new):
            return 0
        state = self._lives.states().get(old.name)
        return 0 if state is None else self._uses(old.name, state)

    def _uses(self, name: str, state: Mapping[str, Any]) -> int:
        """Return how many use the server of the site *name*, of whose life *state* is told. What a
        worker has told last may be older than what it has leased: then less is known than nothing.
        """
        return max(0, int(state["uses"]) + self._others.share(name).uses)

    def _apply(self, fresh: Configuration) -> dict[str, Any]:
        """Make *fresh* run, as far as it is without fault; return what that changed."""
        running = self.configuration
        goal = merge(running, fresh)
        change = difference(running, goal)
        answer = self._described(change, fresh)
        self._tell_restart(goal.settings)
        self._apply_lives(change)
        self._plane.apply(_change(running, goal, change))
        # At last: should one of these fail, the next reload sees what is still to be done.
        self.configuration = goal
        self._tell_faults(fresh)
        for entry in answer["added"]:
            self.log.info("{site}: added", site=entry["site"])
        for entry in answer["changed"]:
            self.log.info(
                "{site}: changed {options}",
                site=entry["site"],
                options=", ".join(entry["options"]),
            )
        for entry in answer["removed"]:
            self.log.info("{site}: removed", site=entry["site"])
        return answer

    def _apply_lives(self, change: Difference) -> None:
        added = [site for site in change.added if _has_server(site)]
        changed: list[Site] = []
        removed = [site for site in change.removed if _has_server(site)]
        for old, new in change.changed:
            had, has = _has_server(old), _has_server(new)
            if had and has:
                changed.append(new)
            elif had:
                removed.append(old)
            elif has:
                added.append(new)
        self._lives.apply(added, changed, removed)

    def declare_lives(self) -> None:
        """Have the lives, which are new, know all sites that have a server."""
        if self.configuration is not None:
            sites = self.configuration.sites.values()
            self._lives.apply([site for site in sites if _has_server(site)], [], [])

    def whole(self) -> Change:
        """Return all that runs, as a change for somebody who has nothing yet."""
        configuration = self.configuration
        if configuration is None:
            return Change()
        change = _change(None, configuration, difference(None, configuration))
        settings, began = configuration.settings, self._began_with
        if settings is not None and began is not None:
            # What waits for a restart waits for one of all processes.
            settings = evolve(settings, **{o: getattr(began, o) for o in NEEDS_RESTART})
        return evolve(change, settings=settings)

    def _tell_restart(self, settings: Settings | None) -> None:
        """Raise an alarm while the file says what only a new start takes up."""
        if settings is None:
            return
        began = self._began_with = self._began_with or settings
        waiting = [o for o in sorted(NEEDS_RESTART) if getattr(began, o) != getattr(settings, o)]
        words = f"{', '.join(waiting)}: changed; restart to use it" if waiting else ""
        if self._waits_for_restart and words != self._waits_for_restart:
            self._alarm.cleared("restart", "")
        if words:
            self._alarm.raised("restart", "", words)
        self._waits_for_restart = words

    def _tell_faults(self, fresh: Configuration) -> None:
        """Raise an alarm for each section at fault; clear what does not hold any more."""
        faults: dict[str, list[str]] = {}
        broken = {fault: name for name, found in fresh.broken.items() for fault in found}
        for fault in fresh.faults:
            faults.setdefault(broken.get(fault, ""), []).append(str(fault))
        told, self._alarmed = self._alarmed, {name: "\n".join(x) for name, x in faults.items()}
        for site, message in told.items():
            if self._alarmed.get(site) != message:
                self._alarm.cleared("configuration", site)
        for site, message in self._alarmed.items():
            self._alarm.raised("configuration", site, message)

    # What there is to say

    def freshen(self) -> Deferred[None]:
        done = self._others.freshen()
        if self._doubts:
            # It may be there by now; those that were there are not looked at each time.
            doubted = [site for site in self._static() if site.name in self._doubts]
            done.addCallback(lambda _: self._look_at_folders(doubted))
        return done

    def status(self) -> dict[str, Any]:
        configuration = self.configuration
        lives = self._lives.states()
        certificates = self._certificates.states()
        orders = {} if self._renewer is None else self._renewer.states()
        now = self._wall()
        alarms = self._current_alarms()
        wrong = {alarm["site"]: str(alarm["message"]).partition("\n")[0] for alarm in alarms}
        sites = []
        for name in sorted(self._sites.by_name):
            live = self._sites.by_name[name]
            said = self._site_status(
                live, lives.get(name), certificates.get(name), orders.get(name, {}), now
            )
            # Why a site cannot be visited is often known before anybody has tried.
            said["detail"] = said["detail"] or wrong.get(name) or self._doubts.get(name, "")
            sites.append(said)
        loaded = self._loaded
        faults = [] if loaded is None else [str(f) for f in loaded.configuration.faults]
        return {
            **self._about(),
            "since": self.since,
            "now": now,
            "faults": faults,
            "broken": [] if configuration is None else sorted(configuration.broken),
            "alarms": alarms,
            "reloads": dict(self.reloads),
            "workers": self._others.report(),
            "sites": sites,
        }

    def metrics(self) -> Metrics:
        handshakes = Counter(self._measured())
        handshakes.update(self._others.handshakes())
        traffic = {}
        for name, live in self._sites.by_name.items():
            traffic[name] = live.traffic.total(live.connections) + self._others.share(name).traffic
        return Metrics(traffic, handshakes, self.status(), self._lives.states())

    def _current_alarms(self) -> list[Any]:
        return list(getattr(self._alarm, "current", list)())

    def _site_status(
        self,
        live: Any,
        life: Mapping[str, Any] | None,
        certificate: Mapping[str, Any] | None,
        order: Mapping[str, Any],
        now: float,
    ) -> dict[str, Any]:
        site: Site | None = live.site
        detail = ""
        since = None
        if site is None:
            state, kind = "broken", ""
        elif not site.enabled:
            state, kind = "disabled", _kind_name(site)
        else:
            state, kind = "serving", _kind_name(site)
        share = self._others.share(live.name)
        if not (certificate and certificate.get("not_after")):
            certificate = share.certificate or certificate
        if life is not None:
            state, since, detail = life["state"], life["since"], life["detail"]
        configuration = self.configuration
        if site is not None and configuration is not None and live.name in configuration.broken:
            detail = detail or "its section is at fault; its last good version is served"
        days = None
        if certificate is not None:
            if certificate.get("not_after"):
                days = round((certificate["not_after"] - now) / 86400, 1)
            detail = detail or str(certificate.get("fault") or "")
        detail = detail or str(order.get("fault") or "")
        return {
            "site": live.name,
            "also": [] if site is None else list(site.also),
            "kind": kind,
            "state": state,
            "since": since,
            "requests": live.requests + share.requests,
            "connections": len(live.connections) + share.connections,
            "uses": 0 if life is None else self._uses(live.name, life),
            "waiting": 0 if life is None else life["waiting"],
            "id": "" if life is None else life["id"],
            "declared_image": "" if site is None else getattr(site.kind, "image", ""),
            "image": "" if life is None else life.get("image", ""),
            "last_words": "" if life is None else life.get("last_words", ""),
            "notice": "" if life is None else life.get("notice", ""),
            "pinned": "" if life is None else life.get("pinned", ""),
            "certificate": None if certificate is None else dict(certificate),
            "certificate_step": order.get("step", ""),
            "certificate_days": days,
            "detail": detail,
        }
