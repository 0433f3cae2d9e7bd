# SPDX-License-Identifier: Apache-2.0
"""How large an int8 weight may be here, so that a processor's integer products come out right.

Without VNNI (x86 processors of before 2019 to 2022, and virtual machines that hide it), runtimes multiply by
`vpmaddubsw`: two products of an unsigned and a signed byte are added in 16 bits, and what is larger than 32,767 is cut
off. 255 * 127 * 2 is 64,770: networks answer wrongly without a word. 255 * 64 * 2 is 32,640, so weights of seven bits
are safe. Measured on such a machine: small networks were off by up to a quarter of their largest output.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gossamer.runtime.session import available, open_session
from gossamer.runtime.weights import serialize

LARGEST, SAFE = 127, 64
_CHANNELS, _SIZE = 32, 16


@functools.cache
def largest_weight() -> int:
    """The largest integer that a weight may take in every runtime of this machine: `LARGEST`, or `SAFE`."""
    return SAFE if any(saturates(runtime) for runtime in available()) else LARGEST


def saturates(runtime: str) -> bool:
    """Whether a convolution of large activations and large weights comes out too small in a runtime here."""
    image = np.full((1, _CHANNELS, _SIZE, _SIZE), 255, np.float32)
    got = open_session(_convolution(), runtime).run(image)[0]
    middle = got[0, :, _SIZE // 2, _SIZE // 2]  # no padding reaches it
    expected = 9 * _CHANNELS * 255 * LARGEST
    return bool(np.abs(middle / expected - 1).max() > 0.05)


def _convolution() -> bytes:
    """An int8 convolution in QDQ form, 3x3, of weights that are all as large as can be."""
    weights: dict[str, NDArray[Any]] = {
        "w": np.full((_CHANNELS, _CHANNELS, 3, 3), LARGEST, np.int8),
        "w.scale": np.ones(_CHANNELS, np.float32),
        "x.scale": np.array(1, np.float32),
        "y.scale": np.array(9 * _CHANNELS * LARGEST, np.float32),  # its largest result is the largest integer
        "zero": np.array(0, np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x.scale", "zero"], ["x.int"]),
        helper.make_node("DequantizeLinear", ["x.int", "x.scale", "zero"], ["x.float"]),
        helper.make_node("DequantizeLinear", ["w", "w.scale"], ["w.float"], axis=0),
        helper.make_node("Conv", ["x.float", "w.float"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "y.scale", "zero"], ["c.int"]),
        helper.make_node("DequantizeLinear", ["c.int", "y.scale", "zero"], ["y"]),
    ]
    shape: list[str | int | None] = ["N", _CHANNELS, _SIZE, _SIZE]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "saturation", values[:1], values[1:], tensors)
    return serialize(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))
