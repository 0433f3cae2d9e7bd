# SPDX-License-Identifier: Apache-2.0
"""Uniform: every group keeps the same share of its channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Uniform:
    """The plainest rule, and the control of every other.

    >>> Uniform().counts({"a": np.ones(8), "b": np.ones(3)}, 0.5)
    {'a': 4, 'b': 2}
    """

    def counts(self, scores: Mapping[str, NDArray[np.floating]], share: float) -> dict[str, int]:
        """Scores per group (K,) and the share kept -> channels kept per group, at least one."""
        return {name: max(1, round(share * score.size)) for name, score in scores.items()}
