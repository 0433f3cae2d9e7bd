# SPDX-License-Identifier: Apache-2.0
"""At random: the control of every criterion. What is no better than this has seen nothing.

Cost: nothing.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from gossamer.filters.matrices import FloatArray, GroupMatrices


@dataclass(frozen=True)
class AtRandom:
    """Score channels by lot; the same lots for the same seed and name of the group."""

    seed: int = 0
    needs = "weights"

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept."""
        return np.random.default_rng([self.seed, zlib.crc32(group.name.encode())]).random(group.size)
