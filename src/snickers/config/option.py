"""What an option is: the value types of which the tables of options are made.

Knows no option by name, and reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import Factory, field, frozen

from snickers.config import formats
from snickers.config.formats import Format, Place
from snickers.config.wrong import Wrong

SETTINGS = "snickers"
"""The scope of ``[snickers]``; every other scope is a type of site."""

TYPES = ("container", "process", "static", "redirect", "proxy", "passthrough")
LATER_TYPES: tuple[str, ...] = ()
"""Those that this version knows, and cannot serve yet."""
ANSWERING_TYPES = tuple(kind for kind in TYPES if kind != "passthrough")
"""The types whose requests and answers are seen here."""


def _prefix(name: str) -> str:
    return name.removesuffix("NAME") if name.endswith(".NAME") else ""


@frozen
class Option:
    """One option, for the scopes where it means one thing."""

    name: str
    """With ``NAME`` at the end when the owner chooses that part."""
    scopes: tuple[str, ...]
    format: Format[Any]
    default: str | None
    """As it is written; ``None``: it must be given."""
    doc: str
    example: str
    attribute: str = ""
    """Where the value goes: ``settings.…``, ``site.…``, ``kind.…``, ``life.…``; empty: the
    reader of sections itself uses it."""
    empty: Any = None
    """The value of an empty text, where one means something other than the default."""
    unlimited: bool = False
    """An empty text means ``None`` although there is a default: no limit."""
    later: bool = False
    """Not available yet: only the default is accepted."""
    prefix: str = field(
        default=Factory(lambda self: _prefix(self.name), takes_self=True), init=False, eq=False
    )
    """What stands before the owner's own part of the name, or ``""``."""
    value: Any = field(
        default=Factory(lambda self: self._default_value(), takes_self=True),
        init=False,
        eq=False,
    )
    """The default's value."""

    def read(self, text: str, place: Place) -> Any:
        """Return the value of *text*; raises `snickers.config.wrong.Wrong`."""
        if not text and not (self.format is formats.ANYTHING and self.prefix):
            if self.default is None:
                raise Wrong(f"is empty; write a value such as {self.example}")
            if self.default and self.empty is None and not self.unlimited:
                raise Wrong(
                    f"is empty; write a value, or remove the line for the default ({self.default})"
                )
            return self.empty
        return self.format.read(text, place)

    def _default_value(self) -> Any:
        return None if self.default is None else self.read(self.default, Place("/"))

    def show(self, value: Any) -> str:
        """Return the text of *value*."""
        return self.format.show(value) if value != self.empty else ""


@frozen
class Scope:
    """The options of ``[snickers]``, or of one type of site."""

    name: str
    named: Mapping[str, Option]
    prefixed: tuple[Option, ...]
    """Those whose name the owner completes."""
    values: Mapping[str, Any]
    """The defaults of those that have one."""
    required: frozenset[str]
    targets: tuple[tuple[str, str, str], ...]
    """Name, group and attribute of those whose value goes into the configuration's values."""

    @property
    def names(self) -> frozenset[str]:
        """The names of all, with ``NAME`` where the owner completes one."""
        return frozenset((*self.named, *(option.name for option in self.prefixed)))

    def find(self, name: str) -> Option | None:
        """Return the option that *name* is, or ``None``."""
        return self.named.get(name) or _prefixed(name, self.prefixed)


def _prefixed(name: str, options: Iterable[Option]) -> Option | None:
    for option in options:
        if name.startswith(option.prefix) and len(name) > len(option.prefix):
            return option
    return None
