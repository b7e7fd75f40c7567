"""The ratios as a picture: ``docs/performance.svg``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import ceil, floor, log2

from attrs import frozen

from bench.report import Row

WIDTH, LEFT, RIGHT, BAR, GAP = 860, 330, 60, 11, 16
LEAST = 2
"""The scale goes this many times to double and to half at least."""
COLOURS = ("#2f9e44", "#c2410c", "#1d6fb8")


@frozen
class Scale:
    """Where a ratio is drawn: from ``2**low`` at the left to ``2**high`` at the right."""

    low: int
    high: int

    def x(self, ratio: float) -> float:
        share = (log2(ratio) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def scale(ratios: Iterable[float]) -> Scale:
    """Return the scale that has room for all *ratios*."""
    powers = [log2(ratio) for ratio in ratios]
    return Scale(min([-LEAST, *map(floor, powers)]), max([LEAST, *map(ceil, powers)]))


def plot(found: Sequence[Row], subject: str, peers: Sequence[str]) -> str:
    """Return an SVG: for each row a bar for each peer, from 1 to what *subject* costs beside it."""
    colours = dict(zip(peers, COLOURS, strict=False))
    ratios = [
        (row.title, [(peer, ratio) for peer in peers if (ratio := row.ratio(subject, peer))])
        for row in found
    ]
    drawn = scale(ratio for _, known in ratios for _, ratio in known)
    one = drawn.x(1.0)
    y = 54
    body = []
    for title, known in ratios:
        middle = y + len(known) * (BAR + 2) / 2 + 3
        body.append(
            f'<text x="{LEFT - 14}" y="{middle:.0f}" text-anchor="end">{escape(title)}</text>'
        )
        for peer, ratio in known:
            start, end = sorted((one, drawn.x(ratio)))
            body.append(
                f'<rect x="{start:.1f}" y="{y}" width="{max(end - start, 1):.1f}" height="{BAR}"'
                f' fill="{colours[peer]}"/>'
            )
            x, anchor = (end + 4, "start") if ratio >= 1 else (start - 4, "end")
            body.append(
                f'<text class="n" x="{x:.1f}" y="{y + BAR - 2}" text-anchor="{anchor}">'
                f"{ratio:.2f}</text>"
            )
            y += BAR + 2
        y += GAP
    lines = []
    for power in range(drawn.low, drawn.high + 1):
        x, style = drawn.x(2.0**power), "grid" if power else "one"
        lines.append(
            f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="40" y2="{y}"/>'
            f'<text class="n" x="{x:.1f}" y="{y + 16}" text-anchor="middle">{2.0**power:g}</text>'
        )
    legend = []
    for left, peer in zip(range(LEFT, WIDTH, 140), peers, strict=False):
        legend.append(
            f'<rect x="{left}" y="16" width="{BAR}" height="{BAR}" fill="{colours[peer]}"/>'
            f'<text x="{left + BAR + 5}" y="26">beside {escape(peer)}</text>'
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 30}" role="img"'
            f' aria-label="What {escape(subject)} costs beside its peers; less than 1 is cheaper">',
            "<style>text{font:13px system-ui,sans-serif;fill:#333}.n{font-size:11px;fill:#777}"
            ".grid{stroke:#8884}.one{stroke:#888;stroke-width:1.5}"
            "@media(prefers-color-scheme:dark){text{fill:#ddd}.n{fill:#aaa}}</style>",
            *lines,
            *body,
            *legend,
            "</svg>\n",
        ]
    )
