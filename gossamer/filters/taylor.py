# SPDX-License-Identifier: Apache-2.0
"""Taylor: a filter whose removal, to first order, hardly changes the loss matters little.

Paper: P. Molchanov, A. Mallya, S. Tyree, I. Frosio, J. Kautz, "Importance Estimation for Neural Network Pruning",
CVPR 2019, arXiv 1906.10771, section 3.1, equation 8, with a gate on each channel. Score of channel i:

    s_i = mean over batches of (sum over the weights w that read the channel of dL/dw w)^2

Cost: a forward and a backward pass of some batches.

Differs from the paper:
1. The gate is where the channel is read, behind batch norm and activation; the paper puts it behind the batch norm,
   or sums over the filter.
2. Asked of the trained network once; the paper averages over the steps of a training that goes on meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.filters.matrices import FloatArray, GroupMatrices, lacking


@dataclass(frozen=True)
class Taylor:
    """Score channels by the square of what the loss would change by without them."""

    needs = "changes"

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept."""
        if group.changes is None:
            raise lacking("taylor", "changes of the loss", group)
        mean: FloatArray = np.square(group.changes, dtype=np.float64).mean(axis=0)
        return mean
