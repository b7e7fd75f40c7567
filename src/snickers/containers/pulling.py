"""Says in words how far a pull is, out of what Docker says of each layer.

Pure: one event after the other comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
