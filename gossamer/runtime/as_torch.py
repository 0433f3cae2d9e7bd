# SPDX-License-Identifier: Apache-2.0
"""ONNX to PyTorch: an exported network as a module that computes the same, and that can be trained.

What the runtime runs is trained as it is: batch norms folded, numbers rounded to integers where the runtime does it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from gossamer.runtime.torch_operators import NotTrainable, Operator, along, rounded

LARGEST_BIAS = 2**30  # an integer: sums of products are added to it in 32 bits


class OnnxModule(nn.Module):
    """A network with one input and one output, the batch first in both; NotTrainable where that cannot be.

    `trained`: float values by the names of initializers, which become parameters; all others stay as they are. Where
    the initializer holds the integers of a grid, its parameter is rounded to that grid in every pass: an int8 weight
    to [-m, m], m being `largest`, a bias to what leaves room for sums in 32 bits.
    """

    def __init__(self, model: bytes, trained: Mapping[str, NDArray[np.float32]] | None = None, largest: int = 127):
        super().__init__()
        trained = dict(trained or {})
        graph = onnx.load_from_string(model).graph
        if len(graph.input) != 1 or len(graph.output) != 1:
            raise NotTrainable(
                f"expected a network of one input and one output, got {len(graph.input)} and {len(graph.output)}"
            )
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self._operators = [Operator.of(node) for node in graph.node]
        self._largest = largest
        kinds = {tensor.name: tensor.data_type for tensor in graph.initializer if tensor.name in trained}
        self._integers = {name for name, kind in kinds.items() if kind != TensorProto.FLOAT}
        self._bytes = {name for name, kind in kinds.items() if kind == TensorProto.INT8}
        self._attributes = {tensor.name: f"tensor/{tensor.name.replace('.', '/')}" for tensor in graph.initializer}
        if unknown := sorted(trained.keys() - self._attributes.keys()):
            raise ValueError(f"expected names of the network's initializers, got '{unknown[0]}'")
        for tensor in graph.initializer:
            name = self._attributes[tensor.name]
            if tensor.name in trained:
                self.register_parameter(name, nn.Parameter(torch.from_numpy(trained[tensor.name].copy())))
            else:
                self.register_buffer(name, torch.from_numpy(numpy_helper.to_array(tensor).copy()))

    def value(self, name: str) -> Tensor:
        """A parameter or constant by its name in the graph."""
        found: Tensor = getattr(self, self._attributes[name])
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, ...)."""
        return self._computed({self._input: x})[self._output]

    def on_grids(self) -> dict[str, Tensor]:
        """The parameters that stand for integers, as the passes use them, by their names in the graph."""
        with torch.no_grad():
            values = self._computed({})  # their grids are constants of the graph, products of them at most
        dequantized = {op.inputs[0]: op.outputs[0] for op in self._operators if op.kind == "DequantizeLinear"}
        return {name: values[dequantized[name]] for name in sorted(self._integers)}

    def _computed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The given tensors and all that can be computed of them, by the names of the graph."""

        def known(name: str) -> Tensor:
            return values[name] if name in values else self.value(name)

        for op in self._operators:
            if all(name in values or name in self._attributes for name in op.inputs if name):
                if op.kind == "DequantizeLinear" and op.inputs[0] in self._integers:
                    values[op.outputs[0]] = self._on_grid(op, known(op.inputs[0]), known(op.inputs[1]))
                else:
                    made = op(*(known(name) if name else None for name in op.inputs))
                    values |= zip(op.outputs, made, strict=False)  # outputs that nobody reads have no names
        return values

    def _on_grid(self, op: Operator, x: Tensor, scale: Tensor) -> Tensor:
        """What the dequantized integers of a parameter are; the zero point of weights and biases is zero."""
        step = along(scale, x, op.get("axis", 1))
        integers = rounded(x / step)
        largest = self._largest if op.inputs[0] in self._bytes else LARGEST_BIAS
        return integers.clamp(-largest, largest) * step
