# SPDX-License-Identifier: Apache-2.0
"""Which layers of an int8 ONNX network a converter from PyTorch computes in integers, and what it wants of the rest.

Operators in the order of the graph; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gossamer.runtime.torch_operators import Operator

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def integer_layers(operators: Sequence[Operator], constants: Mapping[str, Tensor]) -> list[Operator]:
    """The layers that read dequantized activations and dequantized int8 weights."""
    makers = makers_of(operators)

    def dequantized(name: str) -> bool:
        return name in makers and makers[name].kind == DEQUANTIZE

    def has_integers(op: Operator) -> bool:
        if op.kind not in WEIGHTED or not dequantized(op.inputs[0]) or not dequantized(op.inputs[1]):
            return False
        integers = constants.get(makers[op.inputs[1]].inputs[0])
        return integers is not None and integers.dtype == torch.int8

    return [op for op in operators if has_integers(op)]


def giving_integers(
    layers: Sequence[Operator], operators: Sequence[Operator], constants: Mapping[str, Tensor], output: str
) -> list[Operator]:
    """Those that XNNPACK computes in integers: their output is rounded, at once or behind an activation, and read by
    nobody else, and so is that of all layers with the same weight.

    ExecuTorch 1.5.1 leaves the others to operators of its own, but has marked their input as integers already and
    does not dequantize it: they read zeros.
    """
    readers = readers_of(operators)

    def reader(op: Operator) -> Operator | None:
        found = readers.get(op.outputs[0], [])
        return found[0] if len(found) == 1 and op.outputs[0] != output else None

    def is_rounded(op: Operator) -> bool:
        if op.kind == "ConvTranspose" and op.get("group", 1) > 1:
            return False
        behind = reader(op)
        if behind is not None and (behind.kind == "Relu" or (behind.kind == "Clip" and ends_of(behind, constants))):
            behind = reader(behind)
        return behind is not None and behind.kind == QUANTIZE

    rounded = {op.outputs[0] for op in layers if is_rounded(op)}
    elsewhere = {name for op in operators if op.outputs[0] not in rounded for name in op.inputs}
    return [op for op in layers if op.outputs[0] in rounded and op.inputs[1] not in elsewhere]


def joined_on_one_grid(operators: Sequence[Operator]) -> list[Operator]:
    """What is concatenated and then quantized is quantized so before: XNNPACK joins integers of one grid only."""
    makers, readers = makers_of(operators), readers_of(operators)
    made: list[Operator] = []
    for op in operators:
        behind = readers.get(op.outputs[0], [])
        rounded = all(name in makers and makers[name].kind == DEQUANTIZE for name in op.inputs)
        if op.kind == "Concat" and rounded and [reader.kind for reader in behind] == [QUANTIZE]:
            grid = behind[0].inputs[1:]
            parts = [f"{op.outputs[0]}/part{index}" for index in range(len(op.inputs))]
            for name, part in zip(op.inputs, parts, strict=True):
                made.append(Operator(QUANTIZE, (name, *grid), (f"{part}.int",), {}))
                made.append(Operator(DEQUANTIZE, (f"{part}.int", *grid), (part,), {}))
            op = replace(op, inputs=tuple(parts))
        made.append(op)
    return made


def ends_of(op: Operator, constants: Mapping[str, Tensor]) -> tuple[float, float] | None:
    """Both ends of a Clip, where they are numbers: a hardtanh, which converters take into the layer before."""
    if len(op.inputs) < 3 or not all(name in constants for name in op.inputs[1:]):
        return None
    low, high = (float(constants[name]) for name in op.inputs[1:])
    return (low, high) if low < high else None


def readers_of(operators: Sequence[Operator]) -> dict[str, list[Operator]]:
    """By the name of a tensor, the operators that read it."""
    readers: dict[str, list[Operator]] = {}
    for op in operators:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    return readers


def makers_of(operators: Sequence[Operator]) -> dict[str, Operator]:
    """By the name of a tensor, the operator that makes it."""
    return {name: op for op in operators for name in op.outputs if name}
