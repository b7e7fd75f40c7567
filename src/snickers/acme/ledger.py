"""What was asked of certificate authorities, counted in a file against their limits.

The file is shared by both teams and outlives every restart: it is read, changed and written
under a lock, so that two processes never both take the last order there is. A file that cannot be
read is begun anew, since the authority counts as well. Must never hold the lock while anything but
the disk is waited for. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import asdict

from snickers.acme.limits import (
    WEEK,
    Counts,
    Ordered,
    Refused,
    current,
    refusal,
    with_failure,
    with_loss,
    with_order,
    with_pause,
)
from snickers.disk import locked, make_folder, replace


def _counts(said: Any) -> Counts:
    return Counts(
        tuple(
            Ordered(
                float(entry["time"]),
                str(entry["names"]),
                tuple(map(str, entry["domains"])),
                bool(entry["renewal"]),
                bool(entry["lost"]),
            )
            for entry in said["orders"]
        ),
        {str(name): tuple(map(float, times)) for name, times in said["failures"].items()},
        {str(key): float(until) for key, until in said["paused"].items()},
    )


def _said(counts: Counts) -> dict[str, Any]:
    return {
        "orders": [asdict(ordered) for ordered in counts.orders],
        "failures": dict(counts.failures),
        "paused": dict(counts.paused),
    }


class Ledger:
    """The counts of all authorities, by the URL of their directory, in the file *path*."""

    def __init__(self, path: str) -> None:
        self.path = path

    def counts(self, directory: str) -> Counts:
        """Return what is counted of one authority."""
        return self._read().get(directory, Counts())

    def order(
        self, directory: str, names: Sequence[str], renewal: bool, now: float, exempt: bool = False
    ) -> Refused | None:
        """Count an order for *names*; return why it must not be placed, and count nothing, when it
        would be one too many. *exempt*: no limit holds for it, and it counts against none."""
        if exempt:
            return None
        refused: list[Refused | None] = [None]

        def change(counts: Counts) -> Counts:
            refused[0] = refusal(counts, names, renewal, now)
            return counts if refused[0] else with_order(counts, names, renewal, now)

        self._change(directory, change, now)
        return refused[0]

    def lost(self, directory: str, names: Sequence[str], now: float) -> None:
        """The last order for *names* has come to nothing."""
        self._change(directory, lambda counts: with_loss(counts, names), now)

    def failed(self, directory: str, name: str, now: float) -> None:
        """The authority has found that *name* is not proven."""
        self._change(directory, lambda counts: with_failure(counts, name, now), now)

    def paused(self, directory: str, names: Sequence[str], until: float, now: float) -> None:
        """The authority wants no order for *names*, or none at all, before *until*; it is asked
        again after a week all the same."""
        # What lies further ahead would not be believed: see `current`.
        until = min(until, now + WEEK)
        self._change(directory, lambda counts: with_pause(counts, names, until), now)

    def _read(self) -> Mapping[str, Counts]:
        try:
            with open(self.path, "rb") as file:
                said = json.load(file)
            return {str(directory): _counts(counts) for directory, counts in said.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _change(self, directory: str, change: Callable[[Counts], Counts], now: float) -> None:
        make_folder(os.path.dirname(self.path))
        with locked(f"{self.path}.lock"):
            before = self._read()
            counts = change(before.get(directory, Counts()))
            if counts == before.get(directory):
                return
            after = {
                name: kept
                for name, known in {**before, directory: counts}.items()
                if (kept := current(known, now)) != Counts()
            }
            text = json.dumps({name: _said(kept) for name, kept in after.items()})
            replace(self.path, text.encode(), 0o600)
