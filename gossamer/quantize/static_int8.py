# SPDX-License-Identifier: Apache-2.0
"""Static 8-bit quantization of an ONNX network, written as QuantizeLinear / DequantizeLinear (QDQ) pairs.

Paper: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, https://arxiv.org/abs/1712.05877, section 2; per-channel weights after Krishnamoorthi,
https://arxiv.org/abs/1806.08342.

    weights       W ~ s_w[c] W_q          int8 in [-m, m], symmetric, one scale for each output channel c
    activations   x ~ s_x (x_q - z_x)     uint8 in [0, 255], one scale and zero point for each tensor
    biases        b ~ s_x s_w[c] b_q      int32, so that y_q comes out of integer arithmetic alone

The integers are what the file keeps: weights and biases are int8 and int32 initializers, and the scale of a bias is
a product in the graph. Runtimes recognise the pattern and compute in integers; points.py says around which operators
the pairs stand. Activations are unsigned because processors multiply u8 by s8: with int8 activations ONNX Runtime is
slower than in float (measured on AVX-512 VNNI: 0.4 to 0.9 times the speed; uint8: 1.7 to 2.4 times).

m is 127, or 64 where a processor adds two products in 16 bits and cuts off what is larger (`runtime.saturation`).

Differs from the paper: activations are clipped where their squared error is least on calibration data, not at a
moving average of their extremes; nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from gossamer.quantize.points import place, points_of
from gossamer.quantize.ranges import METHODS, Histogram
from gossamer.runtime.onnx_graph import number, out_axis, reads, write_initializers
from gossamer.runtime.saturation import LARGEST, largest_weight
from gossamer.runtime.session import open_session
from gossamer.runtime.weights import serialize

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Grid:
    """uint8 grid of an activation: x = scale * (q - zero)."""

    scale: float
    zero: int

    @classmethod
    def over(cls, low: float, high: float) -> Grid:
        """The grid whose 256 points span [low, high], widened to hold zero exactly.

        >>> Grid.over(-1.0, 0.9921875)
        Grid(scale=0.0078125, zero=128)
        """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32((high - low) / 255)) or 1.0
        return cls(scale, int(np.clip(round(-low / scale), 0, 255)))


def quantize_int8(
    model: bytes,
    batches: Iterable[NDArray[np.float32]],
    method: str = "mse",
    skip: Sequence[str] = (),
    units: Mapping[str, NDArray[np.float32]] | None = None,
    largest: int | None = None,
) -> bytes:
    """An exported network with 8-bit weights and activations.

    `batches` are calibration inputs (N, C, H, W) as the network sees them; a few hundred images are enough.
    `method` chooses the activation ranges (see ranges.py). Layers in `skip` ('layer1.0.conv1') stay float. `units`
    gives, by weight name, the scales, (1,) or (channels,), of a grid on which the weight already lies: its integers
    are kept where they fit. `largest`: the largest integer of a weight, 127 at most; None: what this machine computes
    rightly.
    """
    largest = largest_weight() if largest is None else largest
    if not 1 <= largest <= LARGEST:
        raise ValueError(f"expected a largest weight of 1 to {LARGEST}, got {largest}")
    if method not in METHODS:
        raise ValueError(f"expected a method of {', '.join(METHODS)}, got {method!r}; choose one of these")
    proto = onnx.load_from_string(model)
    graph = proto.graph
    if len(graph.input) != 1:
        raise ValueError(f"expected a network with one input, got {len(graph.input)}; int8 is not made for others yet")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = {
        node.output[0]: node.input[1].removesuffix(".weight") for node in graph.node if points_of(node, weights).weight
    }
    unknown = set(skip) - set(layers.values())
    if unknown:
        raise ValueError(
            f"expected layers of this network in skip, got {min(unknown)!r}; "
            f"it has {', '.join(list(layers.values())[:3])}, ..."
        )
    floats = {output for output, layer in layers.items() if layer in skip}
    sources = place(graph, weights, floats)
    seen = _observe(proto, sorted(set(sources.values())), batches)
    grids = {source: Grid.over(*METHODS[method](histogram)) for source, histogram in seen.items()}
    _rewrite(graph, weights, sources, grids, set(layers) - floats, units or {}, largest)
    return serialize(proto)


def with_values(int8: bytes, values: Mapping[str, NDArray[np.float32]]) -> bytes:
    """An int8 network with other integers on its grids: those of `values`, by the names of weights and biases."""
    proto = onnx.load_from_string(int8)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    scales: dict[str, Array] = dict(weights)
    for node in proto.graph.node:
        if node.op_type == "Mul" and all(name in scales for name in node.input):  # of a bias
            scales[node.output[0]] = np.multiply(*(scales[name] for name in node.input))
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            name, axis = node.input[0], int(number(node, "axis", 1))
            shape = [-1 if k == axis else 1 for k in range(weights[name].ndim)]
            integers = np.rint(values[name] / np.asarray(scales[node.input[1]], np.float64).reshape(shape))
            ends = np.iinfo(weights[name].dtype)
            weights[name] = np.clip(integers, ends.min, ends.max).astype(weights[name].dtype)
    write_initializers(proto.graph, weights)
    return serialize(proto)


def _observe(
    model: onnx.ModelProto, names: Sequence[str], batches: Iterable[NDArray[np.float32]]
) -> dict[str, Histogram]:
    """Histograms of the named activations of the float network over the calibration batches."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    inputs = [value.name for value in model.graph.input]
    inner = [name for name in names if name not in inputs]
    opened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
    session = open_session(serialize(opened))
    seen = {name: Histogram() for name in names}
    count = 0
    for batch in batches:
        count += 1
        results = session.run(batch)[len(model.graph.output) :]
        values = dict(zip(inner, results, strict=True)) | {inputs[0]: batch}
        for name in names:
            try:
                seen[name].observe(values[name])
            except ValueError as error:
                raise ValueError(f"{error} in activation {name!r}; look for NaN in the images and weights") from error
    if not count:
        raise ValueError("expected calibration batches (N, C, H, W), got none; give a few hundred images")
    return seen


def _rewrite(
    graph: onnx.GraphProto,
    weights: dict[str, Array],
    sources: Mapping[str, str],
    grids: Mapping[str, Grid],
    layers: Set[str],
    units: Mapping[str, NDArray[np.float32]],
    largest: int,
) -> None:
    """Put the pairs into the graph, and integers in place of the weights of the layers with these outputs.

    Of a tensor 'x', 'x.int' is the quantized and 'x.float' the dequantized form, 'x.scale' and 'x.zero' its grid.
    """
    counts = reads(graph)
    nodes: list[onnx.NodeProto] = []
    for value in graph.input:
        if value.name in sources:
            nodes += _pair(value.name, grids[value.name], weights)
    for node in graph.node:
        if node.output[0] in layers and weights[node.input[1]].dtype != np.int8:  # a shared weight comes twice
            source = sources.get(node.input[0], "")
            step = grids[source].scale if source else 0.0
            nodes += _integer_weight(node, weights, units.get(node.input[1]), step, largest)
            if len(node.input) > 2 and source and counts[node.input[2]] == 1:
                nodes += _integer_bias(node, weights, source, grids[source].scale)
        nodes.append(node)
        moved = sources.get(node.output[0], node.output[0]) != node.output[0]
        for name in node.output:
            if moved and name:
                nodes.append(_dequantize(f"{name}.int", sources[name], f"{name}.float"))
            elif name in sources:
                nodes += _pair(name, grids[name], weights)
        if moved:
            _move_integers(node, sources[node.output[0]])
    _read_floats(nodes)
    del graph.node[:]
    graph.node.extend(nodes)
    write_initializers(graph, weights)


def _integer_weight(
    node: onnx.NodeProto, weights: dict[str, Array], unit: NDArray[np.float32] | None, step: float, most: int
) -> list[onnx.NodeProto]:
    """Replace the weight of a layer, whose input has the scale `step`, by integers up to `most`; returns what makes
    them numbers again."""
    name = node.input[1]
    weight, axis = np.asarray(weights[name], np.float64), out_axis(node)
    largest = np.abs(weight).max(axis=tuple(k for k in range(weight.ndim) if k != axis))  # (channels,)
    scale = largest / most
    if unit is not None:
        scale = np.where(largest < (most + 0.5) * unit, unit, scale)
    bias = np.asarray(weights.get(node.input[2], 0.0) if len(node.input) > 2 else 0.0, np.float64)
    if step and bias.shape == scale.shape:  # so that the bias, in units of step * scale, fits into int32
        scale = np.maximum(scale, np.abs(bias) / (step * 2**30))
    scale = np.where(scale > 1e-30, scale, 1.0).astype(np.float32)
    shape = [-1 if k == axis else 1 for k in range(weight.ndim)]
    weights[name] = np.clip(np.rint(weight / scale.reshape(shape)), -most, most).astype(np.int8)
    weights[f"{name}.scale"] = scale
    dequantize = _dequantize(name, name, f"{name}.float", axis)
    if node.op_type != "Conv":  # ONNX Runtime does not recognise the others by the default zero point
        weights[f"{name}.zero"] = np.zeros(scale.shape, np.int8)
        dequantize.input.append(f"{name}.zero")
    return [dequantize]


def _integer_bias(node: onnx.NodeProto, weights: dict[str, Array], source: str, step: float) -> list[onnx.NodeProto]:
    """Replace the bias of a layer by integers of its input's scale times its weight's, which the graph multiplies."""
    name, bias = node.input[2], weights.get(node.input[2])
    scale = weights[f"{node.input[1]}.scale"].astype(np.float32)
    if bias is None or bias.shape != scale.shape:  # grouped ConvTranspose: scales repeat in each group
        return []
    weights[name] = np.rint(bias.astype(np.float64) / (np.float32(step) * scale)).astype(np.int32)
    product = helper.make_node("Mul", [f"{source}.scale", f"{node.input[1]}.scale"], [f"{name}.scale"])
    return [product, _dequantize(name, name, f"{name}.float", 0)]


def _pair(name: str, grid: Grid, weights: dict[str, Array]) -> list[onnx.NodeProto]:
    """Quantize and dequantize one activation."""
    weights[f"{name}.scale"] = np.array(grid.scale, np.float32)
    weights[f"{name}.zero"] = np.array(grid.zero, np.uint8)
    quantize = helper.make_node("QuantizeLinear", [name, f"{name}.scale", f"{name}.zero"], [f"{name}.int"])
    return [quantize, _dequantize(f"{name}.int", name, f"{name}.float")]


def _dequantize(integers: str, grid: str, output: str, axis: int | None = None) -> onnx.NodeProto:
    """An activation's DequantizeLinear names its zero point; a weight's has an axis, and zero for it."""
    if axis is not None:
        return helper.make_node("DequantizeLinear", [integers, f"{grid}.scale"], [output], axis=axis)
    return helper.make_node("DequantizeLinear", [integers, f"{grid}.scale", f"{grid}.zero"], [output])


def _move_integers(node: onnx.NodeProto, source: str) -> None:
    """Let an operator that only moves numbers move the integers of the grid of `source`."""
    node.input[0] += ".int"
    node.output[:] = [f"{name}.int" for name in node.output]
    if node.op_type == "Pad":
        del node.input[3:], node.input[2:3]
        node.input.insert(2, f"{source}.zero")


def _read_floats(nodes: list[onnx.NodeProto]) -> None:
    """Let every operator read the dequantized form of what has one, and drop the dequantizations nobody reads."""
    floats = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    for node in nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            node.input[:] = [f"{name}.float" if f"{name}.float" in floats else name for name in node.input]
    read = {name for node in nodes for name in node.input}
    nodes[:] = [node for node in nodes if node.op_type != "DequantizeLinear" or node.output[0] in read]
