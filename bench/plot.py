"""The ratios as a picture: ``docs/performance.svg``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log2

from bench.report import Row

WIDTH, LEFT, RIGHT, BAR, GAP = 860, 330, 60, 11, 16
LOW, HIGH = 0.25, 4.0
COLOURS = ("#2f9e44", "#c2410c", "#1d6fb8")


def _x(ratio: float) -> float:
    ratio = min(max(ratio, LOW), HIGH)
    return LEFT + (log2(ratio) - log2(LOW)) / (log2(HIGH) - log2(LOW)) * (WIDTH - LEFT - RIGHT)


def plot(found: Sequence[Row], subject: str, peers: Sequence[str]) -> str:
    """Return an SVG: for each row a bar for each peer, from 1 to what *subject* costs beside it."""
    colours = dict(zip(peers, COLOURS, strict=False))
    y = 54
    body = []
    for row in found:
        ratios = [(peer, row.ratio(subject, peer)) for peer in peers]
        known = [(peer, ratio) for peer, ratio in ratios if ratio is not None]
        middle = y + len(known) * (BAR + 2) / 2 + 3
        body.append(
            f'<text x="{LEFT - 14}" y="{middle:.0f}" text-anchor="end">{escape(row.title)}</text>'
        )
        for peer, ratio in known:
            start, end = sorted((_x(1.0), _x(ratio)))
            body.append(
                f'<rect x="{start:.1f}" y="{y}" width="{max(end - start, 1):.1f}" height="{BAR}"'
                f' fill="{colours[peer]}"/>'
            )
            side = end + 4 if ratio >= 1 else start - 4
            anchor = "start" if ratio >= 1 else "end"
            body.append(
                f'<text class="n" x="{side:.1f}" y="{y + BAR - 2}" text-anchor="{anchor}">'
                f"{ratio:.2f}</text>"
            )
            y += BAR + 2
        y += GAP
    lines = []
    for ratio in (0.25, 0.5, 1.0, 2.0, 4.0):
        style = "one" if ratio == 1.0 else "grid"
        lines.append(
            f'<line class="{style}" x1="{_x(ratio):.1f}" x2="{_x(ratio):.1f}" y1="40" y2="{y}"/>'
        )
        x = f"{_x(ratio):.1f}"
        lines.append(f'<text class="n" x="{x}" y="{y + 16}" text-anchor="middle">{ratio:g}</text>')
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
