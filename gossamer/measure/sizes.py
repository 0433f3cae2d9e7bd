# SPDX-License-Identifier: Apache-2.0
"""Sizes: four ways to count the bytes of a network, always reported together.

fp32: 4 bytes a parameter; zip: the float weights as the runtime sees them, deflated; runtime: the ONNX file that
the runtime loads; coded: the whole .gossamer file.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.runtime.weights import split_weights

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Sizes:
    """Bytes of one network."""

    fp32: int
    zip: int
    runtime: int
    coded: int


def sizes(parameters: int, model: bytes, coded: int) -> Sizes:
    """The four sizes of a network with so many parameters, this ONNX file and so many coded bytes."""
    _, weights = split_weights(model)
    return Sizes(fp32=FLOAT_BYTES * parameters, zip=zipped_bytes(weights), runtime=len(model), coded=coded)


def zipped_bytes(weights: Mapping[str, NDArray[np.generic]]) -> int:
    """Bytes of the weights one after the other, deflated as zip does at its best level."""
    return len(zlib.compress(b"".join(np.ascontiguousarray(value).tobytes() for value in weights.values()), 9))


def zeros(weights: Mapping[str, NDArray[np.generic]]) -> int:
    """How many numbers are exactly zero in the tensors of two and more dimensions."""
    return sum(int(np.count_nonzero(value == 0)) for value in weights.values() if value.ndim >= 2)
