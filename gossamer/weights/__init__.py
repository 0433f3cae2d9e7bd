# SPDX-License-Identifier: Apache-2.0
"""Zero single weights: one method a file.

A method is a frozen dataclass. Most have `keep(weights, sparsity)`: weights by name go in, bool arrays come back, True
where a weight stays. One that `needs` "inputs", what enters the layers, changes the weights that stay, so it has
`prune(weights, sparsity, inputs)`. `pruned` is for all.
Zeros make the file smaller, not the arithmetic faster; channels do that (see `gossamer.filters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.weights.largest import FloatArray
from gossamer.weights.magnitude import Magnitude as Magnitude
from gossamer.weights.n_of_m import NOfM as NOfM
from gossamer.weights.quality_factor import QualityFactor as QualityFactor
from gossamer.weights.second_order import SecondOrder as SecondOrder

METHODS = {"magnitude": Magnitude, "quality-factor": QualityFactor, "n-of-m": NOfM, "second-order": SecondOrder}


def pruned(
    method: Any, weights: Mapping[str, FloatArray], sparsity: float, inputs: Mapping[str, FloatArray] | None = None
) -> dict[str, NDArray[np.floating]]:
    """Weights by name with exactly round(sparsity * size) of all zero, new arrays of the same shapes.

    For methods that need `inputs`, all are matrices (groups, R, C), as `SecondOrder` says.
    """
    if method.needs == "inputs":
        found: dict[str, NDArray[np.floating]] = method.prune(weights, sparsity, inputs or {})
        return found
    return {name: np.where(keep, weights[name], 0) for name, keep in method.keep(weights, sparsity).items()}
