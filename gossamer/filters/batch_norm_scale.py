# SPDX-License-Identifier: Apache-2.0
"""Batch-norm scale: a channel that its batch norm multiplies by nearly nothing matters little.

Paper: Z. Liu, J. Li, Z. Shen, G. Huang, S. Yan, C. Zhang, "Learning Efficient Convolutional Networks through
Network Slimming", ICCV 2017, arXiv 1708.06519, section 3. Score of channel i: s_i = |gamma_i|.

Cost: nothing to speak of; the training under a penalty, if there is one.

Differs from the paper:
1. Channels that several batch norms scale (a residual sum) get the root mean square of their gammas.
2. The scales need not have been trained under the paper's L1 penalty; that is the recipe's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.filters.matrices import FloatArray, GroupMatrices


@dataclass(frozen=True)
class BatchNormScale:
    """Score channels by the absolute batch-norm weight that scales them."""

    needs = "weights"

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept. ValueError where no batch norm scales the group."""
        if not group.scales:
            raise ValueError(
                f"batch-norm-scale needs a batch norm in every group, but group '{group.name}' has none; "
                "use l1-norm for it"
            )
        squares = [np.square(scale, dtype=np.float64) for scale in group.scales]
        root_mean_square: FloatArray = np.sqrt(np.mean(squares, axis=0))
        return root_mean_square
