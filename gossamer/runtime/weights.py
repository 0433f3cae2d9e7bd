# SPDX-License-Identifier: Apache-2.0
"""An ONNX file apart: the graph, which deflates to almost nothing, and the weights, which are worth coding.

    split_weights(model) -> graph, weights          join_weights(graph, weights) -> model

A graph without weights is the same ModelProto with those initializers missing. Protocol buffers merge a message
that comes twice, so appending initializers to the serialized bytes completes it without any ONNX library;
`join_weights` is the reference for what the outcome must mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


def is_weight(tensor: onnx.TensorProto) -> bool:
    """Whether an initializer moves out of the graph.

    The rule: every tensor of two or more elements, unless it is int64 or bool. In ONNX shapes, axes, pads and
    indices are int64: they are structure and stay; so do single numbers (clip limits, activation scales).
    """
    structure = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING)
    return tensor.data_type not in structure and int(np.prod(tensor.dims)) >= 2


def split_weights(model: bytes) -> tuple[bytes, dict[str, NDArray[np.generic]]]:
    """(graph without weights, weights by name in the order of the file)."""
    proto = onnx.load_from_string(model)
    moved = [tensor for tensor in proto.graph.initializer if is_weight(tensor)]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in moved}
    stay = [tensor for tensor in proto.graph.initializer if not is_weight(tensor)]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(stay)
    return serialize(proto), weights


def join_weights(graph: bytes, weights: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The model of a graph and its weights: initializers appended in the order given."""
    proto = onnx.load_from_string(graph)
    defined = {tensor.name for tensor in proto.graph.initializer} | {value.name for value in proto.graph.input}
    defined |= {name for node in proto.graph.node for name in node.output} | set(weights)
    missing = sorted({name for node in proto.graph.node for name in node.input if name} - defined)
    if missing:
        raise ValueError(
            f"expected a weight for every tensor that the graph reads, got none for {missing[0]!r} "
            f"({len(missing)} missing); pass the weights that were split from this graph"
        )
    proto.graph.initializer.extend(initializer(name, array) for name, array in weights.items())
    return serialize(proto)


def initializer(name: str, array: NDArray[np.generic]) -> onnx.TensorProto:
    """A tensor of a graph; a single number stays one without axes."""
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def serialize(model: onnx.ModelProto) -> bytes:
    """The bytes of a model, the same for the same content."""
    return bytes(model.SerializeToString(deterministic=True))
