"""From the text of options to values: one option at a time, each with its fault.

What is wrong with an option is said once, where it is written, and never stops the reading of
the next one.
"""

from __future__ import annotations

import difflib
import os.path
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from snickers.config import ini
from snickers.config.answer_fields import name_fault
from snickers.config.formats import Place
from snickers.config.option import SETTINGS, Option, Scope
from snickers.config.options import SCOPES, types_of
from snickers.config.values import Fault
from snickers.config.wrong import Wrong

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
"""Dots and dashes too: some frameworks read such names, and Docker passes them on."""
ALIKE = 0.52
"""From 0 to 1: what is less like a name than this was hardly meant, and only misleads."""
_NONE_LIKE_IT = "nor one of a name like it; docs/configuration.md lists them all"


class Layer:
    """A section as a source of options: a site's own, its application's, or the defaults."""

    __slots__ = ("_foreign", "_read", "base", "section")

    def __init__(self, section: ini.Section) -> None:
        self.section = section
        self.base = os.path.dirname(os.path.abspath(section.where.file))
        # Values without braces are the same for each site that inherits them.
        self._read: dict[tuple[str, int], tuple[Any, Fault | None]] = {}
        self._foreign: dict[str, list[Fault]] = {}

    def read(
        self, option: Option, name: str, host: str = "", data: str = ""
    ) -> tuple[Any, Fault | None]:
        """Return the value of *option*, written as *name*, for the site *host*; or its fault."""
        written = self.section.options[name]
        if "{" in written.value:
            return self._value(option, written, Place(self.base, host, data))
        # An option of one name means different things to different types.
        key = (name, id(option))
        found = self._read.get(key)
        if found is None:
            found = self._read[key] = self._value(option, written, Place(self.base, host, data))
        return found

    def _value(self, option: Option, written: ini.Option, place: Place) -> tuple[Any, Fault | None]:
        try:
            value = option.read(written.value, place)
        except Wrong as wrong:
            return None, self.fault(written, str(wrong))
        if option.later and (option.prefix or value != option.value):
            return None, self.fault(written, not_yet(option))
        return value, None

    def fault(self, written: ini.Option, message: str) -> Fault:
        """Return a fault of the option *written*."""
        return Fault(written.where, self.section.title, written.name, message)

    def unknown(self, known: Collection[str], own: Collection[str] = ()) -> Iterator[Fault]:
        """Yield a fault for each option that is not one of *known*.

        *own*: those of *known* that the section's type of site has, where that is known.
        """
        for name, written in self.section.options.items():
            prefix, _, rest = name.partition(".")
            completed = f"{prefix}.NAME"
            if completed not in known:
                if name in known:
                    continue
                near = _near(name, known, own)
                message = "there is no such option"
                message += f"; the nearest is {near}" if near else f", {_NONE_LIKE_IT}"
                if SCOPES[SETTINGS].find(name) is not None:
                    message = "an option of [snickers]; write it there"
                elif types_of(name):
                    message = "an option of sites; write it in a site's section or in [defaults]"
            elif rest:
                message = _name_fault(prefix, rest)
                if not message:
                    continue
            else:
                message = f"a name is missing behind {name!r}; write {completed} = VALUE"
            yield self.fault(written, message)

    def foreign(self, scope: Scope) -> Sequence[Fault]:
        """Return a fault for each option that other types of site have, but not *scope*."""
        found = self._foreign.get(scope.name)
        if found is None:
            found = self._foreign[scope.name] = [
                self.fault(
                    written, f"not an option of type {scope.name}, but of {', '.join(types)}"
                )
                for name, written in self.section.options.items()
                if scope.find(name) is None and (types := types_of(name))
            ]
        return found


def _name_fault(prefix: str, name: str) -> str:
    """Return what is wrong with *name*, the owner's part of an option's name, or ``""``."""
    if prefix == "header":
        return name_fault(name)
    if prefix == "env" and VARIABLE.fullmatch(name) is None:
        return f"{name!r} is no name of a variable; write letters, digits and '_'"
    return ""


def not_yet(option: Option) -> str:
    """Return what is said of an option that this version does not have."""
    message = "not available yet in this version; remove it"
    return f"{message} or leave it at its default ({option.default})" if option.default else message


def _near(name: str, known: Collection[str], own: Collection[str]) -> str:
    """Return the option that *name* most likely was to be, in quotes: one of *own* if it can;
    ``""`` where none is like it."""
    near = nearest(name, known)
    if not own or near in own:
        return repr(near) if difflib.get_close_matches(name, [near], 1, ALIKE) else ""
    alike = difflib.get_close_matches(name, sorted(own), 1)
    if alike:
        return repr(alike[0])
    if difflib.get_close_matches(name, [near], 1) and (types := types_of(near)):
        return f"{near!r}, of type {' or '.join(types)}"
    alike = difflib.get_close_matches(name, sorted(own), 1, ALIKE)
    return repr(alike[0]) if alike else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the one of *names* that looks most like *name*."""
    return difflib.get_close_matches(name, sorted(names), 1, 0.0)[0]
