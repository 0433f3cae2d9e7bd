# SPDX-License-Identifier: Apache-2.0
"""A small payload with every way of storing a tensor, and its graph."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from gossamer.container import Payload, Tensor


def small_graph() -> bytes:
    """y = relu(conv(x, w) + b) * s, whose w, b and s are missing."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Mul", ["r", "s"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", c, 5, 5]) for n, c in (("x", 2), ("y", 4)))
    inner = [helper.make_tensor("axes", TensorProto.INT64, [1], [1])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], inner), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return model.SerializeToString(deterministic=True)


def small_payload() -> Payload:
    """Weights on a grid a channel, a float32 bias that float16 cannot hold, a scalar that it can."""
    rng = np.random.default_rng(0)
    integers = rng.integers(-3, 4, (4, 2, 3, 3)).astype(np.int32)
    tensors = (
        Tensor.grid("w", integers, np.array([0.1, 0.2, 0.25, 0.3], np.float32)),
        Tensor.exact("b", rng.normal(size=4).astype(np.float32)),
        Tensor.exact("s", np.array(0.5, np.float32)),
    )
    return Payload(small_graph(), tensors, {"mean": [0.5, 0.25], "size": 5}, ("cat", "Käfer"), {"keep": [True, False]})


@pytest.fixture
def payload() -> Payload:
    return small_payload()
