# SPDX-License-Identifier: Apache-2.0
"""Splitting a model into graph and weights, and joining them again."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from gossamer.runtime.onnx_graph import write_initializers
from gossamer.runtime.weights import join_weights, serialize, split_weights


@pytest.fixture
def model() -> bytes:
    proto = parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (float[N, 3] x) => (float y) {'
        " a = Gemm (x, w, b) c = Clip (a, low, high) r = Reshape (c, shape) y = Where (keep, r, low) }"
    )
    arrays: dict[str, NDArray[np.generic]] = {
        "b": np.arange(4, dtype=np.float32),
        "w": np.ones((3, 4), np.int8),
        "low": np.array(0.0, np.float32),
        "high": np.array([6.0], np.float32),
        "shape": np.array([-1, 2, 2]),
        "keep": np.ones((2, 2), np.bool_),
    }
    write_initializers(proto.graph, arrays)
    return serialize(proto)


def test_weights_are_tensors_of_two_or_more_numbers(model: bytes) -> None:
    graph, weights = split_weights(model)
    assert list(weights) == ["w", "b"]  # in the order of use
    assert [t.name for t in onnx.load_from_string(graph).graph.initializer] == ["low", "high", "shape", "keep"]
    assert weights["w"].dtype == np.int8


def test_join_inverts_split(model: bytes) -> None:
    graph, weights = split_weights(model)
    assert join_weights(graph, weights) == model


def test_appended_bytes_complete_the_graph(model: bytes) -> None:
    graph, weights = split_weights(model)
    appended = onnx.ModelProto()
    appended.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    assert onnx.load_from_string(graph + appended.SerializeToString()) == onnx.load_from_string(model)


def test_a_missing_weight_is_named(model: bytes) -> None:
    graph, weights = split_weights(model)
    del weights["b"]
    with pytest.raises(ValueError, match=r"got none for 'b' \(1 missing\)"):
        join_weights(graph, weights)
