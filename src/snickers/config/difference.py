"""The difference of two configurations, site by site, and what shall run of a faulty one.

Pure. Sites are compared as values: where a section stands in which file makes no difference. No
secret leaves through what is shown here: the values of environment variables are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from snickers.config.option import SETTINGS, Option
from snickers.config.options import SCOPES
from snickers.config.values import Configuration, Container, Process, Settings, Site

HIDDEN = "(not shown)"
CHANGED = "(not shown, another)"
REMOVED = "(removed)"


@frozen
class Difference:
    """What tells a new configuration from an old one."""

    added: tuple[Site, ...] = ()
    changed: tuple[tuple[Site, Site], ...] = ()
    """Pairs of the old and the new site of one name."""
    removed: tuple[Site, ...] = ()
    settings: tuple[tuple[str, str, str], ...] = ()
    """Options of ``[snickers]``: name, old and new value as they are written."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.settings)


def difference(old: Configuration | None, new: Configuration) -> Difference:
    """Return what to do to the sites of *old* to have those of *new*."""
    before: Mapping[str, Site] = old.sites if old is not None else {}
    after = new.sites
    if before is after:
        return Difference(settings=_settings(old, new))
    added = []
    changed = []
    for name, site in after.items():
        earlier = before.get(name)
        if earlier is None:
            added.append(site)
        elif earlier is not site and earlier != site:
            changed.append((earlier, site))
    removed = tuple(site for name, site in before.items() if name not in after)
    return Difference(tuple(added), tuple(changed), removed, _settings(old, new))


def _settings(old: Configuration | None, new: Configuration) -> tuple[tuple[str, str, str], ...]:
    if old is None or old.settings is None or new.settings is None or old.settings == new.settings:
        return ()
    return _compared(_shown_settings(old.settings), _shown_settings(new.settings))


def changes(old: Site, new: Site) -> tuple[tuple[str, str, str], ...]:
    """Return the options that differ: name, old and new value as they are written.

    ``""`` is the value of an option that the site's type does not have, or that is empty.
    """
    compared = dict.fromkeys((*(before := _shown_site(old)), *(after := _shown_site(new))))
    variables = _environment(old), _environment(new)
    found = list(_compared(before, after, tuple(compared)))
    for name in sorted({*variables[0], *variables[1]}):
        earlier, later = (found.get(name) for found in variables)
        if earlier != later:
            was = "" if earlier is None else HIDDEN
            now = "" if later is None else HIDDEN if earlier is None else CHANGED
            found.append(("env." + name, was, now))
    if old.asleep != new.asleep and not any(name == "answers asleep" for name, *_ in found):
        shown = after["answers asleep"]
        found.append(("answers asleep", shown, f"{shown} (another content)"))
    if isinstance(old.kind, Container) and isinstance(new.kind, Container):
        named = any(name == "services" for name, *_ in found)
        if old.kind.composition != new.kind.composition and not named:
            shown = after["services"]
            found.append(("services", shown, f"{shown} (another content)"))
    fields = dict(old.headers), dict(new.headers)
    for name in sorted({*fields[0], *fields[1]}):
        was, now = (_shown_field(held.get(name)) for held in fields)
        if was != now:
            found.append(("header." + name, was, now))
    return tuple(found)


def _shown_field(value: str | None) -> str:
    return "" if value is None else value or REMOVED


def _compared(
    before: Mapping[str, str], after: Mapping[str, str], names: tuple[str, ...] = ()
) -> tuple[tuple[str, str, str], ...]:
    pairs = ((name, before.get(name, ""), after.get(name, "")) for name in names or before)
    return tuple(pair for pair in pairs if pair[1] != pair[2])


def _shown_settings(settings: Settings) -> dict[str, str]:
    return {
        name: option.show(_value(option, {"settings": settings}))
        for name, option in SCOPES[SETTINGS].named.items()
        if option.attribute
    }


def _shown_site(site: Site) -> dict[str, str]:
    kind = type(site.kind).__name__.lower()
    groups = {"site": site, "kind": site.kind, "life": site.life}
    shown = {
        name: option.show(_value(option, groups))
        for name, option in SCOPES[kind].named.items()
        if option.attribute
    }
    return {"type": kind, **shown}


def _value(option: Option, groups: Mapping[str, Any]) -> Any:
    group, _, attribute = option.attribute.partition(".")
    return getattr(groups[group], attribute)


def _environment(site: Site) -> dict[str, str]:
    return dict(site.kind.environment) if isinstance(site.kind, Container | Process) else {}


def merge(running: Configuration | None, fresh: Configuration) -> Configuration:
    """Return what shall run, when *running* runs and *fresh* was read.

    A broken site stays as it was, and so does a site that is missing from a file that could not
    be read wholly. A fault in ``[snickers]`` leaves everything as it was. The faults are always
    those of *fresh*. Where what stays would answer to a name that *fresh* gives to another
    site, it no longer does.
    """
    if running is None:
        return fresh
    if fresh.settings is None:
        return evolve(running, faults=fresh.faults, damaged=fresh.damaged)
    kept = {name: site for name, site in running.sites.items() if name in fresh.broken}
    broken = dict(fresh.broken)
    if fresh.damaged:
        lost = set(fresh.damaged)
        kept.update(
            (name, site)
            for name, site in running.sites.items()
            if site.where.file in lost and name not in fresh.sites
        )
        for name, faults in running.broken.items():
            if name not in fresh.sites and any(fault.where.file in lost for fault in faults):
                broken.setdefault(name, faults)
    if not kept and len(broken) == len(fresh.broken):
        return fresh
    taken = {name for site in fresh.sites.values() for name in site.names}
    for name, site in list(kept.items()):
        if name in taken:
            del kept[name]
        elif not taken.isdisjoint(site.also):
            kept[name] = evolve(site, also=tuple(one for one in site.also if one not in taken))
    return evolve(fresh, sites={**fresh.sites, **kept}, broken=broken)
