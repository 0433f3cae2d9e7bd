# SPDX-License-Identifier: Apache-2.0
"""Score the filters of a group: one criterion a file.

A criterion is a frozen dataclass with `needs` ("weights") and `score(group) -> (K,)`, higher is kept.
"""

from __future__ import annotations

from gossamer.filters.batch_norm_scale import BatchNormScale as BatchNormScale
from gossamer.filters.l1_norm import L1Norm as L1Norm
from gossamer.filters.matrices import GroupMatrices as GroupMatrices

METHODS = {"l1-norm": L1Norm, "batch-norm-scale": BatchNormScale}
