"""Which image a site's server is made from when that is not what the file says.

A pin is made when an image that a person named has proven itself, and when an older server has come
back. It holds until the file says otherwise, through sleep and through restarts of Snickers: pins
are one small file of JSON in the state folder. A pin must never outlive what it was made against.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from snickers.config.values import Container
from snickers.containers.engine import fingerprint
from snickers.containers.notes import Notes
from snickers.interfaces.engine import Declared


@frozen
class Pin:
    """Of one site."""

    image: str
    """The name of the image that is used."""
    instead: str
    """What the file said when the pin was made: another ``image`` there ends it."""
    exact: str = ""
    """Which one of that name, as `Instance.image` says it; empty: what the name means."""
    refused: str = ""
    """The fingerprint of the section that failed: every change of that ends the pin."""

    def holds(self, filed: Declared) -> bool:
        """Whether it holds of a site of which the file says *filed*."""
        kind = filed.kind
        if not isinstance(kind, Container) or kind.image != self.instead:
            return False
        return self.refused in ("", fingerprint(filed))

    def applied(self, filed: Declared) -> Declared:
        """Return what is to run where the file says *filed*."""
        kind = filed.kind
        assert isinstance(kind, Container)
        return evolve(filed, kind=evolve(kind, image=self.image), exact=self.exact)

    @property
    def words(self) -> str:
        """What its owner should know."""
        if self.exact and self.image == self.instead:
            return (
                f"It is kept at {self.exact}, whatever {self.image} means by now: it came back "
                "after another one. To try the newest: snickers update."
            )
        if self.exact:
            return (
                f"{self.image} is used, and not image = {self.instead} of the file: it came back "
                "after that. To try that again: snickers update."
            )
        return (
            f"{self.image} is used, as you said, and not image = {self.instead} of the file: "
            "write it there, too."
        )


class Pins:
    """Of all sites.

    :param path: the file.
    :param in_thread: calls what blocks.
    """

    def __init__(self, path: str, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._notes = Notes(path, in_thread, _pin, "no pin holds", "pins end with Snickers")
        self._pins: dict[str, Pin] | None = None

    def of(self, site: str) -> Pin | None:
        """Return the pin of *site*. The file is read at the first call: that blocks."""
        return self._known().get(site)

    def keep(self, site: str, pin: Pin | None) -> Deferred[None]:
        """Let *pin* hold of *site* from now on, ``None``: none does. Fires when that survives a
        loss of power, or cannot be written; never fails."""
        known = self._known()
        if pin is None:
            known.pop(site, None)
        else:
            known[site] = pin
        return self._notes.write(known)

    def forget(self) -> None:
        """Read the file anew when somebody asks: another Snickers may have written it."""
        self._pins = None

    def _known(self) -> dict[str, Pin]:
        if self._pins is None:
            self._pins = self._notes.read()
        return self._pins


def _pin(said: Mapping[str, Any]) -> Pin:
    # What else a later Snickers may write of it is nothing that this one knows.
    more = (str(said.get(name, "")) for name in ("exact", "refused"))
    return Pin(str(said["image"]), str(said["instead"]), *more)


def in_the_folder(state: str) -> str:
    """Return the path of the file in the state folder *state*."""
    return os.path.join(state, "pins.json")
