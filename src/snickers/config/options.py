"""Every option there is: where it may stand, how it is written, what it is if nobody says.

Faults and the reference in ``docs/configuration.md`` are made from this table, and nothing else
knows an option's name; an option that is not here does not exist. What the rest of this version
cannot do yet is in the table all the same, marked `Option.later`: it is read, and refused unless
it has its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from snickers.config.option import SETTINGS, TYPES, Option, Scope
from snickers.config.settings_table import settings_options
from snickers.config.site_table import site_options

OPTIONS: tuple[Option, ...] = (*settings_options(), *site_options())


def _scope(name: str) -> Scope:
    mine = [option for option in OPTIONS if name in option.scopes]
    named = {option.name: option for option in mine if not option.prefix}
    targets = ((o.name, *o.attribute.split(".")) for o in named.values() if o.attribute)
    return Scope(
        name,
        MappingProxyType(named),
        prefixed=tuple(option for option in mine if option.prefix),
        values=MappingProxyType({o.name: o.value for o in named.values() if o.default is not None}),
        required=frozenset(o.name for o in named.values() if o.default is None) - {"type"},
        targets=tuple((name, group, attribute) for name, group, attribute in targets),
    )


SCOPES: Mapping[str, Scope] = MappingProxyType({n: _scope(n) for n in (SETTINGS, *TYPES)})


def types_of(name: str) -> tuple[str, ...]:
    """Return the types of site that have an option *name*."""
    return tuple(kind for kind in TYPES if SCOPES[kind].find(name) is not None)


SITE_OPTIONS: frozenset[str] = frozenset(o.name for o in OPTIONS if o.scopes != (SETTINGS,))
"""The names of all options that sites may have."""
