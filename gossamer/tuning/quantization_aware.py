# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training: an int8 network learns on the very grids that its runtime computes on.

Paper: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, https://arxiv.org/abs/1712.05877, section 3: weights are kept in float and rounded in each forward pass,
activations where the runtime rounds them; the gradient of rounding is that of the identity, of clipping zero outside.

Differs from the paper:
1. What is trained is the exported graph, with its own pairs of quantize and dequantize, so training rounds where the
   runtime does and nowhere else.
2. Batch norms are folded with their running statistics before training, not with those of each batch (section 3.2).
3. Grids are those that calibration chose and stay, instead of following the extremes.
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from gossamer.quantize.static_int8 import with_values
from gossamer.runtime.as_torch import OnnxModule
from gossamer.runtime.weights import split_weights


def on_int8_grids(model: bytes, int8: bytes, names: Set[str], largest: int) -> OnnxModule:
    """The int8 form of a float network as a module to be trained, from the values of that.

    Its parameters are the weights and biases of `names` that int8 arithmetic rounds; `largest`: the largest integer of
    a weight.
    """
    graph, floats = onnx.load_from_string(int8).graph, split_weights(model)[1]
    integers = {t.name for t in graph.initializer if t.data_type in (TensorProto.INT8, TensorProto.INT32)}
    trained = sorted(names & integers & floats.keys())
    return OnnxModule(int8, {name: np.asarray(floats[name], np.float32) for name in trained}, largest)


def trained_int8(int8: bytes, module: OnnxModule) -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """The int8 network of a module that was trained on its grids, and what its weights and biases stand for."""
    values = {name: value.cpu().numpy() for name, value in module.on_grids().items()}
    return with_values(int8, values), values
