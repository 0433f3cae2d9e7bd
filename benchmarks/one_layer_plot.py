# SPDX-License-Identifier: Apache-2.0
"""Accuracy over the filters removed from one layer, and below it these filters themselves, where they see colours.

A filter w of three colours is called colourful by the share of its energy that is not grey:

    colour = 1 - 3 ||mean of w over the colours||^2 / ||w||^2         0: grey, 1: colours that cancel each other
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.svg import INK, PAPER, Plot, svg_file
from gossamer.report.axis import Axis, fitted
from gossamer.report.markup import Html, tag

COLOURS = {"CAR": "#0550ae", "L1 norm": "#cf222e", "Taylor": "#1a7f37", "at random": "#57606a"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720.0, 320.0, 64.0, 24.0, 48.0, 52.0
TILE, FIRST = 26.0, 20  # the first filters that go are shown and counted
COLOURFUL = 0.5

Curve = Sequence[Sequence[float]]


def plot(title: str, curves: Mapping[str, Curve], result: Mapping[str, Any]) -> Html:
    """`curves`: (filters removed, accuracy) by method; `result`: what was filed, with the first layer's weights."""
    every = [accuracy for curve in curves.values() for _, accuracy in curve]
    x = Axis(
        "filters removed, without training", 0.0, max(curve[-1][0] for curve in curves.values()), lambda v: f"{v:.0f}"
    )
    y = fitted("accuracy", every, lambda v: f"{100 * v:.0f} %")
    plane = Plot(x, y, WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)
    rows = _filters(result) if result["weights"] else []
    height = HEIGHT + sum(float(TILE + 8) for _ in rows) + (36.0 if rows else 0.0)
    parts = [tag("rect", width=WIDTH, height=height, fill=PAPER), *plane.grid(title)]
    for place, (way, curve) in enumerate(curves.items()):
        path = plane.line((n, a) for n, a in curve)
        parts.append(tag("path", d=path, fill="none", stroke=COLOURS[way], stroke_width=1.5))
        for n, a in curve:
            words = tag("title", f"{way}, {n:.0f} removed: {100 * a:.1f} %")
            parts.append(tag("circle", words, cx=plane.across(n), cy=plane.down(a), r=3.5, fill=COLOURS[way]))
        at = LEFT + 12, HEIGHT - BOTTOM - 18 * (len(curves) - place) + 6
        parts.append(tag("circle", cx=at[0], cy=at[1], r=4.0, fill=COLOURS[way]))
        parts.append(tag("text", way, x=at[0] + 10, y=at[1] + 4, fill=INK))
    if rows:
        heading = f"The first {len(rows[0][1])} filters that go, from the left"
        parts.append(tag("text", heading, x=12, y=HEIGHT + 14, fill=INK, font_weight="600"))
    for place, (words, tiles) in enumerate(rows):
        top = HEIGHT + 28 + (TILE + 8) * place
        parts.append(tag("text", words, x=12, y=top + 17, fill=INK))
        parts += [_tile(picture, WIDTH - RIGHT - (TILE + 1) * (FIRST - n), top) for n, picture in enumerate(tiles)]
    return svg_file(WIDTH, height, parts)


def colour_share(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, 3, h, w) -> (K,): see the header; 0 for a filter of zeros."""
    energy = (weights**2).sum(axis=(1, 2, 3))
    grey = 3 * (weights.mean(axis=1) ** 2).sum(axis=(1, 2))
    return 1 - np.divide(grey, energy, out=np.ones_like(energy), where=energy > 0)


def _filters(result: Mapping[str, Any]) -> list[tuple[str, list[NDArray[np.uint8]]]]:
    """For each order, its name with what is counted, and the first filters as pictures."""
    flat = np.array(result["weights"])
    side = round((flat.shape[1] / 3) ** 0.5)
    weights = flat.reshape(len(flat), 3, side, side)[:, :: -1 if result["bgr"] else 1]
    colourful = colour_share(weights) > COLOURFUL
    rows = []
    for way in ("CAR", "L1 norm", "Taylor"):
        order = result["orders"][way][:FIRST]
        words = f"{way}: {int(colourful[order].sum())} colourful"
        rows.append((words, [_picture(weights[place]) for place in order]))
    return rows


def _picture(weights: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(3, h, w) -> (h, w, 3): 0 is grey, the largest number black or white."""
    whole = 0.5 + 0.5 * weights / (np.abs(weights).max() or 1.0)
    return np.rint(255 * whole).astype(np.uint8).transpose(1, 2, 0)


def _tile(picture: NDArray[np.uint8], left: float, top: float) -> Html:
    size = TILE / len(picture)
    pixels = [
        tag("rect", x=left + size * column, y=top + size * row, width=size + 0.1, height=size + 0.1, fill=_hex(pixel))
        for row, line in enumerate(picture)
        for column, pixel in enumerate(line)
    ]
    return tag("g", *pixels)


def _hex(pixel: NDArray[np.uint8]) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in pixel)
