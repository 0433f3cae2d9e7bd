# SPDX-License-Identifier: Apache-2.0
"""Where in a network the surviving weights sit: a row for each method, a square for each layer, dark where many are.

share left of a layer = its weights that are not zero in the file / all that it had
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks import layer_squares
from gossamer import container
from gossamer.report.markup import Html
from gossamer.zoo import ZOO

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
    """Methods by name, each with the share left of every layer."""
    return layer_squares.plot(title, rows, _depth, lambda share: f"{100 * share:.1f} % left")


def _depth(share: float) -> float:
    """By the logarithm: every halving is a step of the same height."""
    return 1 - math.log(max(share, FEWEST)) / math.log(FEWEST)
