# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training: an int8 network learns on the very grids that its runtime computes on.

Paper: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, https://arxiv.org/abs/1712.05877, section 3: weights are kept in float and rounded in each forward pass,
activations where the runtime rounds them; the gradient of rounding is that of the identity, of clipping zero outside.

Cost: a training of the exported graph, every rounding of it within each step.

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
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor

from gossamer.quantize.static_int8 import with_values
from gossamer.runtime.as_torch import OnnxModule
from gossamer.runtime.session import open_session
from gossamer.runtime.torch_operators import NotTrainable
from gossamer.runtime.weights import split_weights

AGREES = 0.02  # of the largest output, median: what lies half-way between two points may fall to either side


def on_int8_grids(model: bytes, int8: bytes, names: Set[str], largest: int, example: Tensor) -> OnnxModule:
    """The int8 form of a float network as a module to be trained, from the values of that.

    Its parameters are the weights and biases of `names` that int8 arithmetic rounds; `largest`: the largest integer of
    a weight. Raises NotTrainable where it cannot compute on `example`, (N, C, H, W), what the runtime does.
    """
    graph, floats = onnx.load_from_string(int8).graph, split_weights(model)[1]
    integers = {t.name for t in graph.initializer if t.data_type in (TensorProto.INT8, TensorProto.INT32)}
    trained = sorted(names & integers & floats.keys())
    module = OnnxModule(int8, {name: np.asarray(floats[name], np.float32) for name in trained}, largest)
    try:
        with torch.no_grad():
            got = module(example).numpy()
    except NotTrainable:
        raise
    except Exception as error:  # an operator in a form that PyTorch has not
        raise NotTrainable(f"expected operators that can be trained through, got {error}") from error
    expected = open_session(int8).run(example.numpy())[0]
    if got.shape != expected.shape or np.median(np.abs(got - expected)) > AGREES * np.abs(expected).max():
        raise NotTrainable("expected PyTorch to compute what the runtime does, got other outputs")
    return module


def trained_int8(int8: bytes, module: OnnxModule) -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """The int8 network of a module that was trained on its grids, and what its weights and biases stand for."""
    values = {name: value.cpu().numpy() for name, value in module.on_grids().items()}
    return with_values(int8, values), values
