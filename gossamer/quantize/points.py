# SPDX-License-Identifier: Apache-2.0
"""Where an 8-bit network is quantized: one table by operator, read along the graph.

Placed as ONNX Runtime needs it to compute in integers (a pair of quantize and dequantize on every input and on the
output); OpenVINO was as fast with these points as with fewer (ResNet-20 and -56: within 2 %), ONNX Runtime without
those in front of the additions 2.5 times as slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Points:
    """Where one operator is quantized."""

    inputs: tuple[int, ...] | None = (0,)  #: slots of its activations; None for all
    weight: bool = False  #: slot 1 holds a weight, slot 2 perhaps a bias
    output: bool = True
    moves: bool = False  #: computes nothing: it works on the integers, and its output has the grid of its input


NONE = Points(inputs=(), output=False)
_WEIGHT = Points(weight=True)
_ALL = Points(inputs=None)
_MOVES = Points(inputs=(), output=False, moves=True)

POINTS: dict[str, Points] = {
    "Conv": _WEIGHT,
    "ConvTranspose": _WEIGHT,
    "Gemm": _WEIGHT,
    "MatMul": _WEIGHT,  # _ALL where it multiplies two activations
    "Add": _ALL,
    "Mul": _ALL,
    "Concat": _ALL,
    "AveragePool": Points(),
    "GlobalAveragePool": Points(),
    "MaxPool": _MOVES,
    "Pad": _MOVES,  # not with other constants than zero
    "Resize": _MOVES,  # to the nearest only
    "Slice": _MOVES,
    "Split": _MOVES,
    "Reshape": _MOVES,
    "Flatten": _MOVES,
    "Squeeze": _MOVES,
    "Unsqueeze": _MOVES,
    "Transpose": _MOVES,
    "DepthToSpace": _MOVES,
}  # whatever is not listed computes in float: ReduceMean, Sigmoid, HardSwish, LayerNormalization, Softmax, ...

FUSED = ("Relu", "Clip")  # runtimes compute them inside the operator before: quantized behind them, not before


def points_of(node: onnx.NodeProto, constants: Mapping[str, Array]) -> Points:
    """The table's entry where its conditions hold, else NONE; `constants` are the graph's initializers."""
    points = POINTS.get(node.op_type, NONE)
    known = [name in constants for name in node.input]
    if node.op_type == "MatMul" and not any(known):
        return _ALL
    if points == NONE or known[0]:
        return NONE
    if points.weight:
        return points if known[1] else NONE
    if points.inputs is None and any(known):
        return NONE
    if node.op_type == "Resize" and _text(node, "mode", "nearest") != "nearest":
        return NONE
    if node.op_type == "Pad" and not _pads_zeros(node, constants):
        return NONE
    return points


def place(graph: onnx.GraphProto, constants: Mapping[str, Array], floats: Set[str] = frozenset()) -> dict[str, str]:
    """The activations to quantize, each with the activation whose grid it has, in order of execution.

    Operators whose first output is in `floats` are left out. Outputs of the network are never quantized.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    wanted: set[str] = set()
    for node in graph.node:
        if node.output[0] not in floats:
            points = points_of(node, constants)
            wanted.update(node.input if points.inputs is None else (node.input[slot] for slot in points.inputs))
            if points.output:
                wanted.add(_behind_activation(node.output[0], readers))
    wanted -= outputs
    sources = {value.name: value.name for value in graph.input if value.name in wanted}
    for node in graph.node:
        if points_of(node, constants).moves and node.input[0] in sources and outputs.isdisjoint(node.output):
            sources |= {name: sources[node.input[0]] for name in node.output if name}
        else:
            sources |= {name: name for name in node.output if name in wanted}
    return sources


def _behind_activation(name: str, readers: Mapping[str, Sequence[onnx.NodeProto]]) -> str:
    """The tensor behind an activation function that the runtime computes together with what makes `name`."""
    behind = readers.get(name, [])
    return str(behind[0].output[0]) if len(behind) == 1 and behind[0].op_type in FUSED else name


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    return next((entry.s.decode() for entry in node.attribute if entry.name == name), default)


def _pads_zeros(node: onnx.NodeProto, constants: Mapping[str, Array]) -> bool:
    value = node.input[2] if len(node.input) > 2 else ""
    return not value or (value in constants and not np.any(constants[value]))
