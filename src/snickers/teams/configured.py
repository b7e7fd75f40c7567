"""What the keeper reads of a configuration: where to listen, where its state is, whom to alarm.

A keeper outlives many versions of what it runs, so it must never stumble over an option that it
does not know: everything but these few is left to the teams.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from snickers.config import ini
from snickers.config.files import Shelf, listed
from snickers.config.formats import Place
from snickers.config.option import SETTINGS
from snickers.config.settings_table import settings_options
from snickers.config.values import Fault, Listen
from snickers.config.wrong import Wrong

_NAMES = (
    "https",
    "http",
    "state",
    "alarm command",
    "commit after",
    "drain within",
    "finish within",
)


@frozen
class Configured:
    """What concerns the keeper."""

    https: tuple[Listen, ...]
    http: tuple[Listen, ...]
    state: str
    alarm_command: tuple[str, ...]
    commit_after: float
    """Seconds; infinite: never by itself."""
    drain_within: float = 30.0
    """Seconds a team is given to finish what it has open..."""
    finish_within: float = 86400.0
    """...and one that was committed away."""

    @property
    def addresses(self) -> tuple[tuple[str, Listen], ...]:
        """Return all addresses, each with the name its socket is handed over by."""
        https = [("https", listen) for listen in self.https]
        return (*https, *(("http", listen) for listen in self.http))


class Misconfigured(Exception):
    """The configuration cannot be used: *lines* say what is wrong, one for each fault."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("; ".join(self.lines))


def read(path: str) -> Configured:
    """Read the configuration at *path*, a file or a folder of ``*.ini``; raises `Misconfigured`.

    Blocks.
    """
    shelf = Shelf(path)
    texts = []
    for file in listed(path):
        try:
            texts.append((file, shelf.read(file)))
        except Wrong as wrong:
            raise Misconfigured([f"{file}: {wrong}"]) from None
    return of_texts(texts)


def of_texts(texts: Iterable[tuple[str, str]]) -> Configured:
    """Return what *texts*, each with its path, say; raises `Misconfigured`."""
    options = {option.name: option for option in settings_options()}
    values: dict[str, Any] = {name: options[name].value for name in _NAMES}
    faults = []
    for path, text in texts:
        base = os.path.dirname(os.path.abspath(path))
        for section in ini.read(text, path).sections:
            if section.title != SETTINGS:
                continue
            for name in _NAMES:
                found = section.options.get(name)
                if found is None:
                    continue
                try:
                    values[name] = options[name].read(found.value, Place(base))
                except Wrong as wrong:
                    faults.append(str(Fault(found.where, SETTINGS, name, str(wrong))))
    if faults:
        raise Misconfigured(faults)
    return Configured(**{name.replace(" ", "_"): value for name, value in values.items()})
