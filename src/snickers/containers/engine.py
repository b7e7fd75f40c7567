"""What all engines share: how they fail, and what tells one declaration from another.

An engine runs personal servers and knows nothing of requests, sites' states or waiting
visitors. Nothing in this module does I/O, and it must never import an engine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred

from snickers.interfaces.engine import Declared

T = TypeVar("T")


class EngineFailed(Exception):
    """The engine could not do this for this site. Its text says what was wrong, where, and what
    would be right, in words for the owner; trying the same again is not likely to help."""


class EngineAway(Exception):
    """The engine itself cannot be reached; nothing is known of its servers. Its text says which
    engine and what to look at. The observer hears ``found`` when it is back."""


_RECIPE = 2
"""Raised when servers are made in another way from the same declaration, so that those of an
older Snickers are replaced at their next start."""

_NOT_OF_THE_SERVER = frozenset({"life", "pull", "registry_auth", "services"})
"""Fields of a kind that say when a server runs or where it comes from, not what it is."""
_OF_SEVERAL = frozenset({"service", "composition"})
"""Fields that only a site of several containers has; without them the others are what they were."""


def fingerprint(declared: Declared) -> str:
    """Return what tells one declaration from another: 32 hexadecimal digits.

    The lifecycle and the pull policy are no part of it: changing them replaces no server.
    """
    kind = attrs.asdict(
        declared.kind,
        filter=lambda a, value: (
            a.name not in _NOT_OF_THE_SERVER and (value or a.name not in _OF_SEVERAL)
        ),
    )
    said = [_RECIPE, type(declared.kind).__name__, declared.site, declared.data, kind]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


def owner_of(state: str) -> str:
    """Return what tells the Snickers of this state folder from all others: 16 hex digits.

    Nothing is stored, so that servers are found again after the state folder was lost.
    """
    try:
        with open("/etc/machine-id", "rb") as file:
            machine = file.read().strip()
    except OSError:
        machine = b""
    return hashlib.sha256(machine + b"\0" + os.path.realpath(state).encode()).hexdigest()[:16]


class Turns:
    """Lets the calls for one site run one after the other, and those of others beside them."""

    def __init__(self) -> None:
        self._locks: dict[str, DeferredLock] = {}

    def run(self, site: str, call: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Call *call* when no earlier one for *site* is running; fire as its Deferred does."""
        lock = self._locks.setdefault(site, DeferredLock())

        def leave(result: T) -> T:
            lock.release()
            if not lock.locked and self._locks.get(site) is lock:
                del self._locks[site]
            return result

        def enter(_: object) -> Deferred[T]:
            return maybeDeferred(call).addBoth(leave)

        return lock.acquire().addCallback(enter)
