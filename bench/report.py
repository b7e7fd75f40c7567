"""From measurements to medians, ratios and the table in ``docs/performance.md``. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from attrs import frozen

BEGIN = "<!-- bench/run writes from here -->"
END = "<!-- to here -->"


@frozen
class Measurement:
    """One round of one load on one proxy."""

    load: str
    proxy: str
    cpu: float
    """Seconds of CPU of the proxy for each unit of work."""
    busy: float
    """The share of the time that the proxy's core was busy with it."""


@frozen
class Row:
    """One load: the median cost on each proxy, in seconds of CPU for each unit."""

    title: str
    unit: str
    """``"KB"``: the cost is bytes of memory, else seconds."""
    cost: Mapping[str, float]

    def ratio(self, proxy: str, peer: str) -> float | None:
        """Return what *proxy* costs for each unit that *peer* costs."""
        if proxy not in self.cost or not self.cost.get(peer):
            return None
        return self.cost[proxy] / self.cost[peer]


def rows(loads: Sequence[tuple[str, str, str]], measured: Sequence[Measurement]) -> list[Row]:
    """Return a row for each of *loads* (key, title, unit) that was measured."""
    found = []
    for key, title, unit in loads:
        costs: dict[str, list[float]] = {}
        for one in measured:
            if one.load == key:
                costs.setdefault(one.proxy, []).append(one.cpu)
        if costs:
            found.append(Row(title, unit, {name: median(cost) for name, cost in costs.items()}))
    return found


def table(found: Sequence[Row], proxies: Sequence[str], subject: str) -> str:
    """Return the Markdown table: each proxy's cost, and *subject* against each other one."""
    peers = [name for name in proxies if name != subject]
    heads = ["CPU of the proxy", *proxies, *(f"{subject} : {peer}" for peer in peers)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in found:
        cells = [row.title]
        cells += [_cost(row.cost.get(name), row.unit) for name in proxies]
        for peer in peers:
            ratio = row.ratio(subject, peer)
            cells.append("–" if ratio is None else f"**{ratio:.2f}**")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cost(cost: float | None, unit: str) -> str:
    if cost is None:
        return "–"
    return f"{cost / 1024:.1f} KB" if unit == "KB" else f"{cost * 1e6:.0f} µs"


def between_markers(page: str, text: str) -> str:
    """Return *page* with *text* between its markers, which are added at its end if missing."""
    before, begin, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not begin:
        before, after = page.rstrip("\n") + "\n\n", "\n"
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"
