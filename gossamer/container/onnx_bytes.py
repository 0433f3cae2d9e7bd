# SPDX-License-Identifier: Apache-2.0
"""From a payload to the ONNX bytes that a runtime loads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gossamer.container.graph_bytes import Head, completed_bytes, with_initializers
from gossamer.container.limits import MOST_ONNX_BYTES
from gossamer.container.payload import Payload
from gossamer.container.tensor import Tensor


def to_onnx(payload: Payload) -> bytes:
    """The whole model as a runtime reads it; the same payload gives the same bytes."""
    heads = [(tensor.name, tensor.shape, tensor.dtype) for tensor in payload.tensors]
    return b"".join(model_parts(payload.graph, heads, payload.tensors))


def model_bytes(payload: Payload) -> int:
    """How long that model is, without making it."""
    return completed_bytes(payload.graph, [(tensor.name, tensor.shape, tensor.dtype) for tensor in payload.tensors])


def model_parts(graph: bytes, heads: Sequence[Head], tensors: Iterable[Tensor]) -> Iterator[bytes]:
    """The same, piece by piece: each tensor is asked for when the pieces before it have been taken.

    ValueError, at once, where the model would be longer than ONNX allows.
    """
    needed = len(graph) + sum(math.prod(shape) * np.dtype(dtype).itemsize for _, shape, dtype in heads)
    if needed > MOST_ONNX_BYTES:
        raise ValueError(
            f"expected a model of at most {MOST_ONNX_BYTES:,} bytes, which is what ONNX holds, got {needed:,}; "
            "read the tensors one by one instead"
        )
    return with_initializers(graph, heads, tensors)
