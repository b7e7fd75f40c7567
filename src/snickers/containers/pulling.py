"""Says in words how far a pull is, out of what Docker says of each layer.

Pure: one event after the other comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FULL = ("no space left on device",)
_AWAY = (
    *("no such host", "connection refused", "i/o timeout", "no route to host", "timeout exceeded"),
    *("network is unreachable", "handshake timeout", "server misbehaving", "connection reset"),
)
_ABSENT = ("manifest unknown", "not found", "name unknown", "invalid reference")
_SHUT = ("unauthorized", "no basic auth", "denied", "authentication required", "docker login")


def advice(fault: str, registry: str, login: str) -> str:
    """Return what its owner can do about a pull that failed with Docker's words *fault*.

    :param login: the file that says who asks; empty: none does.
    """
    fault = fault.lower()

    def said(*words: str) -> bool:
        return any(word in fault for word in words)

    if said(*_FULL):
        return (
            "The disk that Docker keeps images on is full: make room there (docker system df shows "
            "what takes it, docker image prune removes what nothing uses)."
        )
    if said(*_SHUT):
        who = f"the login in {login}" if login else "somebody without a login (registry auth)"
        return (
            f"The registry {registry} does not show this image to {who}; it says the same of an "
            "image that it does not have: look at the name, too."
        )
    if said(*_AWAY):
        return f"The registry {registry} cannot be reached from where Docker runs: is it there?"
    if said(*_ABSENT):
        return f"The registry {registry} has no such image: look at its name and its tag."
    return "Is its name right, is the registry there, and does it let you in (registry auth)?"


class Pulling:
    """One image being pulled.

    :ivar fault: Docker's words when it failed, else empty.
    """

    def __init__(self, image: str) -> None:
        self.image = image
        self.fault = ""
        self._layers: dict[str, tuple[int, int]] = {}
        self._complete: set[str] = set()

    def heard(self, event: Mapping[str, Any]) -> None:
        """Take one of the events that ``POST /images/create`` streams."""
        if "error" in event:
            self.fault = str(event["error"])
        layer, status = str(event.get("id", "")), event.get("status", "")
        detail = event.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif status in ("Pulling fs layer", "Waiting"):
            self._layers.setdefault(layer, (0, 0))
        elif status in ("Pull complete", "Already exists"):
            self._complete.add(layer)

    def __str__(self) -> str:
        number = len(self._layers.keys() | self._complete)
        if not number:
            return f"pulling {self.image}"
        have = sum(current for current, _ in self._layers.values())
        total = sum(total for _, total in self._layers.values())
        percent = f", {100 * have // total} %" if total else ""
        return f"pulling {self.image}: {len(self._complete)} of {number} layers{percent}"
