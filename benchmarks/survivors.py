# SPDX-License-Identifier: Apache-2.0
"""Where in a network the surviving weights sit: a row for each method, a square for each layer, dark where many are.

share left of a layer = its weights that are not zero in the file / all that it had
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.svg import INK, PALE, PAPER, svg_file
from gossamer import container
from gossamer.report.markup import Html, tag
from gossamer.zoo import ZOO

DARK = (5, 80, 174)
LEFT, TOP, CELL, BOTTOM, RIGHT = 300.0, 44.0, 22.0, 130.0, 24.0
FEWEST = 0.01  # of a layer's weights: as pale as none


def left_in(path: Path, sizes: Mapping[str, int]) -> dict[str, float]:
    """The share of each layer's weights that are not zero in a .gossamer file."""
    tensors = {tensor.name: tensor for tensor in container.read(path).payload.tensors}
    return {
        name: np.count_nonzero(tensors[name].decoded()) / size if name in tensors else 0.0
        for name, size in sizes.items()
    }


def sizes_of(network: str) -> dict[str, int]:
    """How many weights each layer of a network of the zoo has, by name."""
    parameters = ZOO[network](10).named_parameters()
    return {name: parameter.numel() for name, parameter in parameters if parameter.ndim > 1}


def plot(title: str, rows: Mapping[str, Mapping[str, float]]) -> Html:
    """Methods by name, each with the share left of every layer; the layers are those of the first."""
    layers = list(next(iter(rows.values())))
    width, height = LEFT + CELL * len(layers) + RIGHT, TOP + CELL * len(rows) + BOTTOM
    parts = [
        tag("rect", width=width, height=height, fill=PAPER),
        tag("text", title, x=12, y=24, fill=INK, font_weight="600"),
    ]
    for place, (method, shares) in enumerate(rows.items()):
        y = TOP + CELL * place
        parts.append(tag("text", method, x=LEFT - 12, y=y + 15, text_anchor="end", fill=INK))
        for column, layer in enumerate(layers):
            words = tag("title", f"{method}, {layer}: {100 * shares[layer]:.1f} % left")
            at = {"x": LEFT + CELL * column + 1, "y": y + 1, "width": CELL - 2, "height": CELL - 2}
            parts.append(tag("rect", words, fill=_shade(shares[layer]), stroke=PALE, **at))
    for column, layer in enumerate(layers):
        x, y = LEFT + CELL * (column + 0.65), TOP + CELL * len(rows) + 8
        turned = f"rotate(-90 {x:.1f} {y:.1f})"
        parts.append(
            tag("text", layer.removesuffix(".weight"), x=x, y=y, text_anchor="end", transform=turned, fill=INK)
        )
    return svg_file(width, height, parts)


def _shade(share: float) -> str:
    """From paper to dark, by the logarithm: every halving is a step of the same height."""
    depth = 1 - math.log(max(share, FEWEST)) / math.log(FEWEST)
    return "#" + "".join(f"{round(255 + (value - 255) * depth):02x}" for value in DARK)
