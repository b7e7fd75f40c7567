"""What ``snickers top`` shows: who is busy now, from one status and the one before it.

Pure: two answers and the time between them come in, lines go out. It must never fail on an answer
of another version of Snickers, which may lack a key, nor show more lines than there is room for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from snickers.control.show import PLAIN, Answer, Style, about, clean, counted, since, table
from snickers.control.show import painted_state as state

AWAKE = frozenset({"awake", "paused", "checking", "draining", "pausing", "resuming"})
"""States in which a server has memory of this host's."""
LEAST = 3
"""Sites that are shown in the smallest window."""

_HEADS = ("SITE", "STATE", "SINCE", "REQ/S", "REQUESTS", "CONNECTIONS", "WAITING", "DETAIL")


@frozen
class Busy:
    """One site, between two answers."""

    site: str
    rate: float
    """Requests a second."""
    answer: Answer

    @property
    def rank(self) -> tuple[Any, ...]:
        """The busiest first; among those that do nothing, who has memory."""
        connections = _count(self.answer, "connections")
        waiting = _count(self.answer, "waiting")
        return -self.rate, -waiting, -connections, not self.awake, self.site

    @property
    def awake(self) -> bool:
        return str(self.answer.get("state")) in AWAKE

    def entry(self) -> dict[str, Any]:
        """Return it for programs."""
        keys = ("state", "since", "requests", "connections", "waiting", "detail")
        values = {key: self.answer.get(key) for key in keys}
        return {"site": self.site, "requests_per_second": round(self.rate, 2), **values}


def busy(answer: Answer, before: Answer | None, seconds: float) -> list[Busy]:
    """Return all sites of *answer*, the busiest first; *before*: the answer of *seconds* ago."""
    # Of another process the numbers begin anew.
    same = before is not None and before.get("pid") == answer.get("pid") and seconds > 0
    counts = {name: _count(site, "requests") for name, site in _sites(before or {}).items()}
    found = []
    for name, site in _sites(answer).items():
        more = _count(site, "requests") - counts[name] if same and name in counts else 0.0
        found.append(Busy(name, max(0.0, more) / seconds if seconds > 0 else 0.0, site))
    return sorted(found, key=lambda one: one.rank)


def top(
    answer: Answer,
    sites: list[Busy],
    now: float,
    height: int | None = None,
    style: Style = PLAIN,
) -> list[str]:
    """Return the lines, *height* at the most where that is said; *now*: seconds since the epoch.

    An empty *answer*: Snickers gave none.
    """
    if not answer:
        return [style.paint("Snickers does not answer; it may be restarting", "red")]
    awake = sum(one.awake for one in sites)
    sums = [
        f"{sum(one.rate for one in sites):.1f} requests/s",
        f"{sum(_count(one.answer, 'connections') for one in sites):.0f} connections",
        f"{counted(awake, 'server')} awake of {counted(len(sites), 'site')}",
    ]
    alarms = answer.get("alarms")
    if isinstance(alarms, list | tuple) and alarms:
        sums.append(style.paint(f"{counted(len(alarms), 'alarm')} (snickers status)", "red"))
    lines = [about(answer, now), ", ".join(sums), ""]
    room = len(sites) if height is None else max(LEAST, height - len(lines) - 3)
    shown = sites[:room]
    rows = [
        [style.paint(head, "dim") for head in _HEADS],
        *(_row(one, now, style) for one in shown),
    ]
    lines += table(rows, right=frozenset({2, 3, 4, 5, 6}))
    if len(shown) < len(sites):
        lines.append(style.paint(f"and {counted(len(sites) - len(shown), 'quieter site')}", "dim"))
    return lines


def _row(one: Busy, now: float, style: Style) -> list[str]:
    return [
        clean(one.site),
        state(one.answer.get("state"), style),
        since(one.answer, now),
        f"{one.rate:.1f}" if one.rate else "-",
        *(f"{_count(one.answer, key):.0f}" for key in ("requests", "connections", "waiting")),
        clean(one.answer.get("detail") or ""),
    ]


def _sites(answer: Answer) -> dict[str, Answer]:
    found = answer.get("sites")
    sites = found if isinstance(found, list | tuple) else ()
    return {str(site.get("site", "-")): site for site in sites if isinstance(site, Mapping)}


def _count(site: Answer, key: str) -> float:
    found = site.get(key)
    good = isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 1e300
    return float(found) if good else 0.0  # type: ignore[arg-type]
