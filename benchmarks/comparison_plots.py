# SPDX-License-Identifier: Apache-2.0
"""Pictures of a comparison: points lost by each method, quality against what is left, and layers.

The lines of quality against what is left go through the means of the seeds; each seed is a thin point beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks import layer_squares, survivors
from benchmarks.comparison_rows import Comparison, Row, share_left
from benchmarks.svg import INK, PALE, PAPER, Plot, svg_file
from gossamer.report.axis import fitted
from gossamer.report.markup import Html, tag

COLOURS = ("#0550ae", "#cf222e")
WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 760.0, 300.0, 24.0, 48.0, 24.0, 56.0
FILE = "model.gossamer"
LINES = ("#0550ae", "#1a7f37", "#9a6700", "#cf222e", "#8250df", "#57606a", "#bf3989")  # then again, dashed
LINE_WIDTH, LEGEND, TALL = 960.0, 330.0, 480.0
ALIKE = 0.5  # CKA that is as pale as none

Attributes = dict[str, str | float | None]


def lost(every: Sequence[Row]) -> Html:
    """Points lost by each method of a comparison, with their intervals; both shares in one row."""
    comparison = every[0].comparison
    names = list(dict.fromkeys(row.name for row in every))
    low = min(-0.5, *(-row.lost - row.error for row in every))
    high = max(0.5, *(-row.lost + row.error for row in every))
    height = TOP + ROW * len(names) + BOTTOM

    def x(points: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (points - low) / (high - low)

    parts = [
        tag("rect", width=WIDTH, height=height, fill=PAPER),
        tag("text", "Points of test accuracy against the original", x=12, y=24, fill=INK, font_weight="600"),
        tag("line", x1=x(0), x2=x(0), y1=TOP - 8, y2=height - BOTTOM, stroke=INK),
    ]
    for place, name in enumerate(names):
        y = TOP + ROW * (place + 0.5)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y + ROW / 2, y2=y + ROW / 2, stroke=PALE))
        parts.append(tag("text", comparison.methods[name].shows, x=LEFT - 12, y=y + 4, text_anchor="end", fill=INK))
        for row in every:
            if row.name == name:
                at, colour = -row.lost, COLOURS[comparison.shares.index(row.share)]
                parts.append(
                    tag("line", x1=x(at - row.error), x2=x(at + row.error), y1=y, y2=y, stroke=colour, stroke_width=1.5)
                )
                words = f"{row.shows}, {row.share} % of the {comparison.left}: {at:+.2f} points"
                parts.append(tag("circle", tag("title", words), cx=x(at), cy=y, r=4.5, fill=colour))
    for points in range(math.ceil(low), math.floor(high) + 1):
        parts.append(
            tag("text", f"{points:+d}" if points else "0", x=x(points), y=height - 36, text_anchor="middle", fill=INK)
        )
    for place, share in enumerate(sorted({row.share for row in every}, reverse=True)):
        left = 12 + 240 * place
        parts.append(tag("circle", cx=left + 5, cy=height - 14, r=4.5, fill=COLOURS[comparison.shares.index(share)]))
        parts.append(tag("text", f"{share} % of the {comparison.left} left", x=left + 16, y=height - 10, fill=INK))
    return svg_file(WIDTH, height, parts)


def remaining(every: Sequence[Row]) -> Html:
    """Accuracy over what is really left, a line for each method."""
    comparison = every[0].comparison
    seeds = [
        (100 * share_left(report, comparison), 100 * report.compressed.quality)
        for row in every
        for report in row.reports.values()
    ]
    x = fitted(f"% of the {comparison.left} left", [left for left, _ in seeds], lambda v: f"{v:g}", log=True)
    y = fitted("test accuracy, %", [quality for _, quality in seeds], lambda v: f"{v:g}")
    plane = Plot(x, y, LINE_WIDTH, TALL, 64.0, LEGEND, 48.0, 52.0)
    title = f"Quality against remaining {comparison.left}"
    parts = [tag("rect", width=LINE_WIDTH, height=TALL, fill=PAPER), *plane.grid(title)]
    for place, name in enumerate(name for name in comparison.methods if any(row.name == name for row in every)):
        rows = sorted((row for row in every if row.name == name), key=lambda row: row.left)
        colour, dashes = LINES[place % len(LINES)], "5 3" if place >= len(LINES) else None
        for row in rows:
            for report in row.reports.values():
                at = plane.across(100 * share_left(report, comparison)), plane.down(100 * report.compressed.quality)
                parts.append(tag("circle", cx=at[0], cy=at[1], r=2.0, fill="none", stroke=colour, stroke_width=0.7))
        means = [(100 * row.left, row.mean(lambda report: 100 * report.compressed.quality)) for row in rows]
        look: Attributes = {"stroke": colour, "stroke_width": 1.5, "stroke_dasharray": dashes}
        parts.append(tag("path", d=plane.line(means), fill="none", **look))
        for row, (left, quality) in zip(rows, means, strict=True):
            words = f"{row.shows}: {quality:.2f} % with {left:.2f} % left, seeds: {len(row.reports)}"
            circle: Attributes = {"cx": plane.across(left), "cy": plane.down(quality), "r": 3.5, "fill": colour}
            parts.append(tag("circle", tag("title", words), **circle))
        top, edge = 56.0 + 20 * place, LINE_WIDTH - LEGEND + 16
        parts.append(tag("line", x1=edge, x2=edge + 26, y1=top, y2=top, **look))
        parts.append(tag("text", rows[0].shows, x=edge + 34, y=top + 4, fill=INK))
    return svg_file(LINE_WIDTH, TALL, parts)


def survivors_by_layer(comparison: Comparison, rows: Sequence[Row], network: str) -> Html:
    """What each method leaves of each layer's weights, at the larger share."""
    sizes, share = survivors.sizes_of(network), max(row.share for row in rows)
    shares = {row.shows: survivors.left_in(row.first / FILE, sizes) for row in rows if row.share == share}
    return survivors.plot(f"What is left of each layer of {network}, {share} % of the weights in all", shares)


def alike_by_layer(rows: Sequence[Row]) -> Html | None:
    """CKA with the original of each layer, at the larger share; None where none is filed."""
    share = max((row.share for row in rows if row.layers), default=None)
    found = {row.shows: row.layers for row in rows if row.share == share and row.layers}
    if not found:
        return None
    title = f"How alike each layer and the original's see images (CKA), {share} % of the {rows[0].comparison.left} left"
    return layer_squares.plot(title, found, lambda cka: (cka - ALIKE) / (1 - ALIKE), lambda cka: f"CKA {cka:.3f}")
