# SPDX-License-Identifier: Apache-2.0
"""ONNX to a graph of PyTorch's own operators, for converters that start from PyTorch.

The network runs once on an example, and what it calls is kept (`make_fx`): sizes are numbers by then, and nothing is
left of ONNX. The rounding of int8 networks becomes PyTorch's operators for it, `torch.ops.quantized_decomposed`, in the
form that converters look for:

    activations   uint8 in [0, 255] -> int8 in [-128, 127]      q' = q - 128, zero' = zero - 128: the same numbers
    movers        Pad, Slice, MaxPool, ... of integers -> dequantize, move, quantize on the same grid: exact
    readers       each has a dequantize of its own: converters cut the graph at those that two operators share
    weights       int8, one scale a channel, or floats that are quantized in the graph, as the converter wants them;
                  where their layer reads floats, floats
    joined        for converters that take int8 weights: each part on the grid of the whole before it is concatenated,
                  the same numbers; LiteRT's refuses that, and rounds by itself
    biases        floats; converters round them to the grid that they had

Batch norms that no layer before them could take in (those of DenseNet) become a product and a sum: ExecuTorch 1.5.1
puts them into a convolution that others read too, and is wrong by 7 % then. For LiteRT averages of integers become
convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from gossamer.exporters.converters import Refused, quiet
from gossamer.exporters.integer_layers import (
    DEQUANTIZE,
    QUANTIZE,
    ends_of,
    giving_integers,
    integer_layers,
    joined_on_one_grid,
    makers_of,
)
from gossamer.runtime.torch_operators import NotTrainable, Operator

LOW, HIGH = -128, 127
LARGEST = 127  # of a weight
BATCH_NORM = "BatchNormalization"

_ROUNDING = torch.ops.quantized_decomposed


def plain_graph(
    model: bytes, example: NDArray[Any], target: str, *, channels_last: bool = False, integer_weights: bool = True
) -> fx.GraphModule:
    """The network for batches of the size of `example`, (1, C, H, W), or with `channels_last` for (1, H, W, C).

    With `integer_weights` int8 weights are integers, as XNNPACK wants them, and what is concatenated is on one grid;
    without, they are floats that are quantized in the graph, as LiteRT wants them.
    ValueError for networks of several inputs or outputs, and for operators that are not among `torch_operators`.
    """
    try:
        network = _Network.of(model, integer_weights)
        x = torch.from_numpy(example)

        def from_channels_last(pixels: Tensor) -> Tensor:
            return network(pixels.permute(0, 3, 1, 2))

        with torch.no_grad(), quiet():
            if channels_last:
                x = x.permute(0, 2, 3, 1).contiguous()
                graph = make_fx(from_channels_last, tracing_mode="real", pre_dispatch=True)(x)
            else:
                graph = make_fx(network, tracing_mode="real", pre_dispatch=True)(x)
    except NotTrainable as error:
        raise Refused(
            f"expected a network that becomes PyTorch's own operators, which --to {target} starts from, but: {error}; "
            "choose another --to"
        ) from error
    for node in graph.graph.find_nodes(op="call_function", target=torch.ops.aten.alias.default):
        node.replace_all_uses_with(node.args[0])  # a slice of everything; not all converters know it
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()  # shapes that have been read
    graph.recompile()
    return graph.eval()


@dataclass(frozen=True)
class _Grid:
    """int8: x = scale (q - zero)."""

    scale: float
    zero: int


@dataclass(frozen=True, eq=False)
class _Network:
    """The operators that depend on the input, in order, and all constants.

    `grids` are those of tensors that hold integers; `reads` says of a dequantized tensor which of them it is.
    """

    input: str
    output: str
    operators: tuple[Operator, ...]
    constants: Mapping[str, Tensor]
    grids: Mapping[str, _Grid]
    reads: Mapping[str, str]
    integer_weights: bool

    @classmethod
    def of(cls, model: bytes, integer_weights: bool) -> _Network:
        """The network with everything computed that does not depend on its input, int8 weights excepted."""
        graph = onnx.load_from_string(model).graph
        if len(graph.input) != 1 or len(graph.output) != 1:
            raise NotTrainable(
                f"expected a network of one input and one output, got {len(graph.input)} and {len(graph.output)}"
            )
        constants = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
        }
        operators = [Operator.of(node) for node in graph.node]
        if integer_weights:
            operators = joined_on_one_grid(operators)
        layers = integer_layers(operators, constants)
        if integer_weights:
            layers = giving_integers(layers, operators, constants, graph.output[0].name)
        rounded = _weights_of(layers, operators, constants)
        kept: list[Operator] = []
        grids: dict[str, _Grid] = {}
        reads: dict[str, str] = {}
        for op in operators:
            if op.outputs[0] not in rounded and all(name in constants for name in op.inputs if name):
                constants |= zip(
                    op.outputs, op(*(constants[name] if name else None for name in op.inputs)), strict=False
                )
            elif op.kind == DEQUANTIZE and op.inputs[0] in grids:
                reads[op.outputs[0]] = op.inputs[0]
            else:
                if op.kind == QUANTIZE:
                    grids[op.outputs[0]] = _grid(op, constants)
                elif moved := next((grids[name] for name in op.inputs if name in grids), None):
                    grids |= dict.fromkeys(op.outputs, moved)
                    op = _moving_floats(op, constants, moved)
                elif op.kind == DEQUANTIZE and op.outputs[0] not in rounded:
                    raise NotTrainable(f"expected integers of 8 bits, got others in '{op.inputs[0]}'")
                elif op.kind == BATCH_NORM:
                    _add_affine(op, constants)
                kept.append(op)
        (made,), (given,) = graph.output, graph.input
        return cls(given.name, made.name, tuple(kept), constants, grids, reads, integer_weights)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the output."""
        values: dict[str, Tensor] = {self.input: x}

        def read(name: str) -> Tensor | None:
            if not name:
                return None
            source = self.reads.get(name, name)
            if source in self.grids:
                grid = self.grids[source]
                return _dequantized(values[source], grid)
            return values[source] if source in values else self.constants[source]

        for op in self.operators:
            if op.kind == DEQUANTIZE:
                values[op.outputs[0]] = self._weight(op)
                continue
            inputs = [read(name) for name in op.inputs]
            made: tuple[Tensor | None, ...]
            if op.kind == QUANTIZE:
                made = (inputs[0],)
            elif op.kind == BATCH_NORM and inputs[0] is not None and inputs[0].ndim == 4:
                scale, shift = (self.constants[name] for name in _affine_names(op))
                made = (inputs[0] * scale + shift,)
            elif op.kind == "Clip" and inputs[0] is not None and (ends := ends_of(op, self.constants)):
                made = (functional.hardtanh(inputs[0], *ends),)
            elif op.kind == "AveragePool" and not self.integer_weights and op.inputs[0] in self.reads and _is_whole(op):
                made = (_averaged(op, inputs[0]),)
            elif op.kind == "Gemm" and _is_linear(op):
                made = (functional.linear(*inputs),)  # type: ignore[arg-type]
            else:
                made = op(*inputs)
            for name, value in zip(op.outputs, made, strict=False):  # outputs that nobody reads have no names
                assert value is not None
                values[name] = _quantized(value, self.grids[name]) if name in self.grids else value
        result = read(self.output)
        assert result is not None
        return result

    def _weight(self, op: Operator) -> Tensor:
        """The numbers that the integers of a weight stand for."""
        integers = self.constants[op.inputs[0]]
        ends = (-LARGEST, LARGEST, torch.int8)
        axis = op.get("axis", 1) % integers.ndim
        scales, zeros = self.constants[_scales_name(op)], self.constants[_zeros_name(op)]
        weight = integers
        if not self.integer_weights:
            floats = self.constants[_floats_name(op)]
            weight = _ROUNDING.quantize_per_channel(floats, scales, zeros, axis, *ends)
        numbers: Tensor = _ROUNDING.dequantize_per_channel(weight, scales, zeros, axis, *ends)
        return numbers


def _weights_of(layers: list[Operator], operators: list[Operator], constants: dict[str, Tensor]) -> set[str]:
    """The names of the dequantized weights of these layers; what makes them of integers joins the constants."""
    makers = makers_of(operators)
    found = set()
    for maker in (makers[op.inputs[1]] for op in layers):
        integers, *grid = (constants[name] for name in maker.inputs if name)
        if int(integers.min()) < -LARGEST:
            raise NotTrainable(f"expected int8 weights from {-LARGEST} to {LARGEST}, got less in '{maker.inputs[0]}'")
        found.add(maker.outputs[0])
        constants[_floats_name(maker)] = maker(integers, *grid)[0]
        channels = integers.shape[maker.get("axis", 1)]
        constants[_scales_name(maker)] = grid[0].reshape(-1).expand(channels).contiguous()
        constants[_zeros_name(maker)] = torch.zeros(channels, dtype=torch.int64)
    return found


def _is_whole(op: Operator) -> bool:
    """Whether an average is over windows within the map."""
    return not any(op.get("pads", [])) and not op.get("ceil_mode", 0) and len(op.attributes["kernel_shape"]) == 2


def _averaged(op: Operator, x: Tensor | None) -> Tensor:
    """An average as a convolution, whose output may have another grid than its input; LiteRT's average may not."""
    assert x is not None
    rows, columns = op.attributes["kernel_shape"]
    weight = torch.full((x.shape[1], 1, rows, columns), 1 / (rows * columns))
    return functional.conv2d(x, weight, stride=op.get("strides", [1, 1]), groups=x.shape[1])


def _is_linear(op: Operator) -> bool:
    """Whether a Gemm is x W^T + b, which converters know better than its parts."""
    forms = (op.get("transA", 0), op.get("transB", 0), op.get("alpha", 1.0), op.get("beta", 1.0))
    return forms == (0, 1, 1.0, 1.0)


def _add_affine(op: Operator, constants: dict[str, Tensor]) -> None:
    """Scale and shift, (C, 1, 1) each, of a batch norm of maps join the constants."""
    weight, bias, mean, variance = (constants[name].double() for name in op.inputs[1:])
    scale = weight / torch.sqrt(variance + op.get("epsilon", 1e-5))
    for name, values in zip(_affine_names(op), (scale, bias - mean * scale), strict=True):
        constants[name] = values.float().reshape(-1, 1, 1)


def _affine_names(op: Operator) -> tuple[str, str]:
    return f"{op.outputs[0]}/scale", f"{op.outputs[0]}/shift"


def _floats_name(op: Operator) -> str:
    return f"{op.outputs[0]}/floats"


def _scales_name(op: Operator) -> str:
    return f"{op.outputs[0]}/scales"


def _zeros_name(op: Operator) -> str:
    return f"{op.outputs[0]}/zeros"


def _grid(op: Operator, constants: Mapping[str, Tensor]) -> _Grid:
    """Of a QuantizeLinear, moved to int8."""
    scale = constants[op.inputs[1]]
    zero = constants[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] else torch.tensor(0, dtype=torch.uint8)
    if scale.numel() != 1 or zero.dtype not in (torch.uint8, torch.int8):
        raise NotTrainable(
            f"expected activations of 8 bits with one scale, got {scale.numel()} of {zero.dtype} for '{op.outputs[0]}'"
        )
    return _Grid(float(scale), int(zero) - (HIGH + 1 if zero.dtype == torch.uint8 else 0))


def _moving_floats(op: Operator, constants: dict[str, Tensor], grid: _Grid) -> Operator:
    """An operator that moved integers, on the numbers they stand for: what Pad puts in is one of these too."""
    if op.kind != "Pad" or len(op.inputs) < 3 or not op.inputs[2]:
        return op
    name, value = f"{op.outputs[0]}/padding", constants[op.inputs[2]]
    shift = HIGH + 1 if value.dtype == torch.uint8 else 0
    constants[name] = torch.tensor((int(value) - shift - grid.zero) * grid.scale)
    return replace(op, inputs=(*op.inputs[:2], name, *op.inputs[3:]))


def _quantized(x: Tensor, grid: _Grid) -> Tensor:
    integers: Tensor = _ROUNDING.quantize_per_tensor(x, grid.scale, grid.zero, LOW, HIGH, torch.int8)
    return integers


def _dequantized(x: Tensor, grid: _Grid) -> Tensor:
    numbers: Tensor = _ROUNDING.dequantize_per_tensor(x, grid.scale, grid.zero, LOW, HIGH, torch.int8)
    return numbers
