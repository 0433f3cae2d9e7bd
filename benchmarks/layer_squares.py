# SPDX-License-Identifier: Apache-2.0
"""A number of each layer of a network for several methods: a row for each method, a square for each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.svg import INK, PALE, PAPER, svg_file
from gossamer.report.markup import Html, tag

DARK = (5, 80, 174)
LEFT, TOP, CELL, BOTTOM, RIGHT = 300.0, 44.0, 22.0, 130.0, 24.0

Values = Mapping[str, float]


def plot(
    title: str, rows: Mapping[str, Values], depth: Callable[[float], float], words: Callable[[float], str]
) -> Html:
    """`rows`: values of the layers by method; a layer that a method lacks is left white.

    `depth`: how dark a value is, from 0, white, to 1; `words`: what is said of it.
    """
    layers = list(dict.fromkeys(layer for values in rows.values() for layer in values))
    width, height = LEFT + CELL * len(layers) + RIGHT, TOP + CELL * len(rows) + BOTTOM
    parts = [
        tag("rect", width=width, height=height, fill=PAPER),
        tag("text", title, x=12, y=24, fill=INK, font_weight="600"),
    ]
    for place, (method, values) in enumerate(rows.items()):
        y = TOP + CELL * place
        parts.append(tag("text", method, x=LEFT - 12, y=y + 15, text_anchor="end", fill=INK))
        for column, layer in enumerate(layers):
            said, fill = ("not there", PAPER)
            if layer in values:
                said, fill = words(values[layer]), _shade(depth(values[layer]))
            at = {"x": LEFT + CELL * column + 1, "y": y + 1, "width": CELL - 2, "height": CELL - 2}
            parts.append(tag("rect", tag("title", f"{method}, {layer}: {said}"), fill=fill, stroke=PALE, **at))
    for column, layer in enumerate(layers):
        x, y = LEFT + CELL * (column + 0.65), TOP + CELL * len(rows) + 8
        turned = f"rotate(-90 {x:.1f} {y:.1f})"
        parts.append(
            tag("text", layer.removesuffix(".weight"), x=x, y=y, text_anchor="end", transform=turned, fill=INK)
        )
    return svg_file(width, height, parts)


def _shade(depth: float) -> str:
    return "#" + "".join(f"{round(255 + (value - 255) * min(1.0, max(0.0, depth))):02x}" for value in DARK)
