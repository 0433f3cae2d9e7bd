# SPDX-License-Identifier: Apache-2.0
"""What a criterion sees of a channel group: plain matrices, one row a channel, and no layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class GroupMatrices:
    """A group of K channels that can only be cut together across everything they touch.

    `rows`: weights that produce the channels, each (K, features); `columns`: weights that consume them, each
    (K, features); `scales`: batch-norm weights, each (K,).
    """

    name: str
    size: int
    rows: tuple[FloatArray, ...]
    columns: tuple[FloatArray, ...] = ()
    scales: tuple[FloatArray, ...] = ()
