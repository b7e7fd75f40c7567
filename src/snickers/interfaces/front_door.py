"""The running whole, as the control room may ask it. Answers are JSON-able."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from snickers.interfaces.traffic import Traffic


@frozen
class Metrics:
    """What is measured, for who draws curves of it; numbers since the start."""

    sites: Mapping[str, Traffic]
    handshakes: Mapping[str, int]
    """How many TLS handshakes ended how."""
    status: Mapping[str, Any]
    """As `IFrontDoor.status` says it."""
    lives: Mapping[str, Mapping[str, Any]]
    """As `ILives.states` says it."""


class IFrontDoor(Interface):
    """What the control room may ask of the running Snickers. Answers are JSON-able."""

    def freshen() -> Deferred[None]:
        """Fire when what the others say can tell what holds now, what other processes know
        included. Never fails: a process that does not answer soon is not waited for."""

    def status() -> dict[str, Any]:
        """Return ``{"version", "pid", "since", "config", "faults": [...], "alarms": [...],
        "sites": [{"site", "kind", "state", "since", "requests", "connections", "waiting",
        "certificate_days", "detail", ...}]}``."""

    def metrics() -> Metrics:
        """Return what is measured."""

    def plan() -> Deferred[dict[str, Any]]:
        """Fire with what a reload would do: ``{"added": [{"site", "kind"}], "changed": [{"site",
        "options": {name: [old, new]}, "closes": n}], "removed": [{"site", "closes": n}],
        "settings": [names that need a restart or apply at once], "faults": [...], "held": a fault
        is of ``[snickers]`` or of all, so that everything stays as it was}``."""

    def reload() -> Deferred[dict[str, Any]]:
        """Reload now; fires with the same form as `plan`, of what was done. Where there is any,
        ``"warnings"`` is what is no fault and may not work, and, where nothing was to be done,
        ``"before"`` what was applied a moment ago without being asked, with its ``"seconds"``."""
