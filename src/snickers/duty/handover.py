"""What the one that gives duty up tells the one that takes it: a file of JSON.

It is read once and removed, and not at all when it is older than `FRESH`: duty may have passed
without it since, by a death. It may have been written by another version: what is not understood
is left out. Everything here blocks and belongs in a thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from math import inf, isfinite
from typing import Any

from attrs import Factory, frozen

from snickers.disk import make_folder, replace
from snickers.duty.counting import Numbers
from snickers.interfaces.handed import Kept

FRESH = 60.0
"""Seconds for which it holds: much longer than duty takes to pass, much less than a server is
idle before it is put to sleep."""
MODE = 0o600


@frozen
class Handover:
    """All that is handed over."""

    time: float
    """Seconds since the epoch."""
    pid: int = 0
    """The process that hands over."""
    lives: Mapping[str, Kept] = Factory(dict)
    """By site: what is known of its server."""
    counts: Mapping[str, Numbers] = Factory(dict)
    """By site: all that was counted."""
    heard: Mapping[int, Mapping[str, Numbers]] = Factory(dict)
    """By process: as much of it as this one has told of, by site."""
    alarms: tuple[tuple[str, str, str], ...] = ()
    """Kind, site and message of those that a person was told and that hold."""


def write(path: str, handover: Handover) -> None:
    """Write *handover* to *path*, durably, making its folder if need be."""
    make_folder(os.path.dirname(path))
    said = {
        "time": handover.time,
        "pid": handover.pid,
        "lives": {site: _said(kept) for site, kept in handover.lives.items()},
        "counts": {site: dict(numbers) for site, numbers in handover.counts.items()},
        "heard": {
            str(pid): {site: dict(numbers) for site, numbers in counts.items()}
            for pid, counts in handover.heard.items()
        },
        "alarms": [list(alarm) for alarm in handover.alarms],
    }
    replace(path, json.dumps(said).encode(), MODE)


def take(path: str, now: float) -> Handover | None:
    """Return what was written to *path* and remove it; ``None`` when nothing is there that holds
    now, in seconds since the epoch."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
    except OSError:
        return None
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = _read(json.loads(data))
        if 0 <= now - found.time <= FRESH:
            return found
    return None


def _said(kept: Kept) -> dict[str, Any]:
    return {
        "idle": kept.idle,
        "crashes": kept.crashes,
        # JSON has no infinity.
        "rest": kept.rest if isfinite(kept.rest) else None,
        "put": kept.put,
        "stopping": kept.stopping,
        "detail": kept.detail,
        "wakes": dict(kept.wakes),
        "woken": kept.woken,
        "good": kept.good,
        "updating": kept.updating,
        "copied": kept.copied,
        "back": kept.back,
    }


def _read(said: Mapping[str, Any]) -> Handover:
    return Handover(
        float(said["time"]),
        int(said.get("pid", 0)),
        {str(site): _kept(kept) for site, kept in said.get("lives", {}).items()},
        _counts(said.get("counts", {})),
        {int(pid): _counts(counts) for pid, counts in said.get("heard", {}).items()},
        tuple((str(k), str(s), str(m)) for k, s, m in said.get("alarms", ())),
    )


def _kept(said: Mapping[str, Any]) -> Kept:
    rest = said.get("rest", 0.0)
    return Kept(
        max(0.0, float(said.get("idle", 0.0))),
        max(0, int(said.get("crashes", 0))),
        inf if rest is None else max(0.0, float(rest)),
        bool(said.get("put")),
        bool(said.get("stopping")),
        str(said.get("detail", "")),
        {str(name): max(0, int(number)) for name, number in said.get("wakes", {}).items()},
        float(said.get("woken", 0.0)),
        str(said.get("good", "")),
        bool(said.get("updating")),
        str(said.get("copied", "")),
        bool(said.get("back")),
    )


def _counts(said: Mapping[str, Any]) -> dict[str, Numbers]:
    return {
        str(site): {str(name): max(0, number + 0) for name, number in numbers.items()}
        for site, numbers in said.items()
    }
