# SPDX-License-Identifier: Apache-2.0
"""From a payload to the ONNX bytes that a runtime loads."""

from __future__ import annotations

import math

import numpy as np

from gossamer.container.graph_bytes import with_initializers
from gossamer.container.limits import MOST_ONNX_BYTES
from gossamer.container.payload import Payload


def to_onnx(payload: Payload) -> bytes:
    """The whole model as a runtime reads it; the same payload gives the same bytes."""
    needed = len(payload.graph) + sum(
        math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize for tensor in payload.tensors
    )
    if needed > MOST_ONNX_BYTES:
        raise ValueError(
            f"expected a model of at most {MOST_ONNX_BYTES:,} bytes, which is what ONNX holds, got {needed:,}; "
            "read the tensors one by one instead"
        )
    return with_initializers(payload.graph, payload.tensors)
