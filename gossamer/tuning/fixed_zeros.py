# SPDX-License-Identifier: Apache-2.0
"""Fixed zeros: what was pruned stays zero while the rest is trained further.

Paper: S. Han, J. Pool, J. Tran, W. Dally, "Learning both Weights and Connections for Efficient Neural Networks",
NeurIPS 2015, arXiv 1506.02626, section 3: the survivors go on from their values; nothing is initialised anew.

Cost: a product a weight and step.

Differs from the paper: nothing known. (For zeros that may come back, see sparsify.py.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gossamer.tuning.plug import Plug, Weights


class FixedZeros(Plug):
    """Weights by name are zero, and get no gradient, where `keep`, of the same shape, is False."""

    def __init__(self, keep: Mapping[str, Tensor]) -> None:
        self.keep = dict(keep)

    def transform(self, weights: Weights) -> Weights:
        """Zeros where nothing is kept."""
        return weights | {
            name: torch.where(keep.to(weights[name].device), weights[name], 0.0) for name, keep in self.keep.items()
        }
