# SPDX-License-Identifier: Apache-2.0
"""Makes an exported ONNX graph small and plain: affine steps folded, dead parts and strings removed, names settled.

Folding, for a linear operator y = W x + b and a constant per-channel step z = s y + t behind it
(a batch norm has s = gamma / sqrt(var + eps), t = beta - s mean):

    W' = s W,  b' = s b + t        computed in float64, stored in the type of W

Names: a weight keeps the name of its PyTorch parameter ('layer1.0.conv1.weight'), a bias made by folding is
'<layer>.bias', any other constant is 'constant<k>'. Between the operators tensors are called 'v<k>' in the order
of execution; operators carry no names. The result is canonical: the same graph in, the same bytes out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from gossamer.runtime.weights import initializer, is_weight

Array = NDArray[np.generic]

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def tidy(model: onnx.ModelProto, parameters: Mapping[str, Array], fold: bool = True) -> onnx.ModelProto:
    """`model` folded, without what no output needs and what no runtime reads, and renamed.

    `parameters` are the PyTorch parameters and buffers by name; they tell which initializers are theirs. Without `fold`
    they all stay as they are.
    """
    tidied = onnx.ModelProto()
    tidied.CopyFrom(model)
    graph = tidied.graph
    nested = [node.op_type for node in graph.node if any(a.HasField("g") or a.graphs for a in node.attribute)]
    if nested:
        raise ValueError(
            f"expected a network without control flow that depends on data, got operator {nested[0]!r} "
            "in its ONNX form; write that branch without `if` and loops on tensors"
        )
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    _collect_constants(graph, weights)
    while fold and sum(_fold(graph, weights, step) for step in list(graph.node)):
        pass  # a step may follow a step
    _drop_dead(graph)
    weights = _rename(graph, weights, parameters)
    _name_batch(graph)
    _strip(tidied)
    write_initializers(graph, weights)
    return tidied


def write_initializers(graph: onnx.GraphProto, weights: Mapping[str, Array]) -> None:
    """Replace the initializers of `graph` by those of `weights` that it reads, in canonical order.

    Structure first, then weights, each in the order of first use.
    """
    used = dict.fromkeys(name for node in graph.node for name in node.input if name in weights)
    used |= dict.fromkeys(value.name for value in graph.output if value.name in weights)
    tensors = [initializer(name, weights[name]) for name in used]
    del graph.initializer[:]
    graph.initializer.extend(sorted(tensors, key=is_weight))


def reads(graph: onnx.GraphProto) -> Counter[str]:
    """How many times each tensor is read, by operators or as an output of the graph."""
    counts = Counter(name for node in graph.node for name in node.input if name)
    counts.update(value.name for value in graph.output)
    return counts


def number(node: onnx.NodeProto, name: str, default: float) -> float:
    """The value of a numeric attribute of an operator, or its default."""
    for entry in node.attribute:
        if entry.name == name:
            return float(entry.f if entry.type == onnx.AttributeProto.FLOAT else entry.i)
    return default


def out_axis(linear: onnx.NodeProto) -> int:
    """The axis of the weight along which a linear operator makes its output channels."""
    if linear.op_type == "Gemm":
        return 0 if number(linear, "transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[linear.op_type]


def _collect_constants(graph: onnx.GraphProto, weights: dict[str, Array]) -> None:
    for node in list(graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weights[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            graph.node.remove(node)


def _fold(graph: onnx.GraphProto, weights: dict[str, Array], step: onnx.NodeProto) -> bool:
    """Fold one affine step into the linear operator before it; False where that cannot be exact."""
    if step.op_type not in ("BatchNormalization", "Mul", "Add", "Sub", "Div"):
        return False
    data = [name for name in step.input if name not in weights]
    linear = next((node for node in graph.node if len(data) == 1 and data[0] in node.output), None)
    if linear is None or linear.op_type not in ("Conv", "ConvTranspose", "Gemm"):
        return False
    constants, counts = list(linear.input[1:]), reads(graph)
    if counts[data[0]] != 1 or any(name not in weights or counts[name] != 1 for name in constants):
        return False
    if number(linear, "alpha", 1) != 1 or number(linear, "beta", 1) != 1:
        return False
    weight, axis = weights[constants[0]], out_axis(linear)
    groups = int(number(linear, "group", 1)) if linear.op_type == "ConvTranspose" else 1
    channels = weight.shape[axis] * groups
    affine = _affine(step, weights, channels, rank=weight.ndim)
    if affine is None:
        return False
    scale, shift = affine
    bias = np.asarray(weights[constants[1]], np.float64) if len(constants) > 1 else np.zeros(channels)
    if len(constants) == 1:
        linear.input.append(f"{constants[0]}_bias")
    weights[linear.input[1]] = _scaled(weight, scale, axis, groups)
    weights[linear.input[2]] = (bias * scale + shift).astype(weight.dtype)
    linear.output[0] = step.output[0]
    graph.node.remove(step)
    return True


def _affine(
    step: onnx.NodeProto, weights: Mapping[str, Array], channels: int, rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(scale, shift), each (channels,), of a step that is affine per channel of a rank-`rank` tensor."""
    constants = [np.asarray(weights[name], np.float64) for name in step.input if name in weights]
    if step.op_type == "BatchNormalization":
        gamma, beta, mean, variance = constants
        scale = gamma / np.sqrt(variance + number(step, "epsilon", 1e-5))
        return scale, beta - mean * scale
    if step.op_type in ("Sub", "Div") and step.input[0] in weights:
        return None
    shape = (1,) * (rank - constants[0].ndim) + constants[0].shape
    if len(shape) != rank or shape[1] not in (1, channels) or any(size != 1 for size in shape[:1] + shape[2:]):
        return None
    vector = np.broadcast_to(constants[0].reshape(-1), channels)
    one, zero = np.ones(channels), np.zeros(channels)
    if step.op_type in ("Mul", "Div"):
        return (vector if step.op_type == "Mul" else one / vector), zero
    return one, (vector if step.op_type == "Add" else -vector)


def _scaled(weight: Array, scale: NDArray[np.float64], axis: int, groups: int) -> Array:
    """`weight` with each output channel multiplied; `groups` > 1 split axis 0 of a ConvTranspose weight."""
    rows = weight.reshape(groups, -1, *weight.shape[1:]).astype(np.float64)  # (G, A/G, B, ...)
    shape = ((1, -1) if axis == 0 else (groups, 1, -1)) + (1,) * (weight.ndim - 1 - axis)
    return (rows * scale.reshape(shape)).reshape(weight.shape).astype(weight.dtype)


def _drop_dead(graph: onnx.GraphProto) -> None:
    """Remove operators that no output depends on, and step over those that only pass a tensor on."""
    outputs = {value.name for value in graph.output}
    passed = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.output[0] not in outputs
    }
    for node in graph.node:
        for slot, name in enumerate(node.input):
            while name in passed:
                name = passed[name]
            node.input[slot] = name
    needed = outputs
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)


def _rename(graph: onnx.GraphProto, weights: Mapping[str, Array], parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Give every tensor its settled name (see the header); returns the initializers in use, renamed."""
    ports = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {"": ""} | {name: name for name in ports}
    taken = ports | set(parameters)
    counts: Counter[str] = Counter()

    def fresh(stem: str) -> str:
        name = f"{stem}{counts[stem]}"
        counts[stem] += 1
        return fresh(stem) if name in taken else name

    def settled(node: onnx.NodeProto, slot: int) -> str:
        name: str = node.input[slot]
        if name in parameters:
            return name
        if node.op_type in LINEAR and slot == 2:
            bias: str = names[node.input[1]].removesuffix(".weight") + ".bias"
            if bias not in names.values():
                return bias
        if node.op_type in LINEAR and slot == 1:
            for parameter, value in parameters.items():  # x @ W.T comes as MatMul with the transpose stored
                if value.ndim == 2 and parameter not in names.values() and np.array_equal(value.T, weights[name]):
                    return parameter
        return fresh("constant")

    for node in graph.node:
        for slot, name in enumerate(node.input):
            if name in weights and name not in names:
                names[name] = settled(node, slot)
        for name in node.output:
            names[name] = names.get(name) or (fresh("v") if name else "")
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    return {names[name]: array for name, array in weights.items() if name in names}


def _name_batch(graph: onnx.GraphProto) -> None:
    """Call the free batch size N; the tracer numbers it by the names in the source."""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param and symbol:
                size.dim_param = re.sub(rf"\b{re.escape(symbol)}\b", "N", size.dim_param)


def _strip(model: onnx.ModelProto) -> None:
    """Remove names, strings and shapes that no runtime reads, and attributes at their defaults."""
    graph = model.graph
    domains = {node.domain for node in graph.node} | {""}
    versions = {entry.domain: entry.version for entry in model.opset_import if entry.domain in domains}
    for node in graph.node:
        for field in ("name", "doc_string", "metadata_props", "overload"):
            node.ClearField(field)
        defaults = onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain).attributes
        kept = [a for a in node.attribute if a.name not in defaults or a != defaults[a.name].default_value]
        kept = sorted(kept, key=lambda a: a.name)
        del node.attribute[:]
        node.attribute.extend(kept)
    for value in (*graph.input, *graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    for field in ("value_info", "doc_string", "metadata_props", "quantization_annotation"):
        graph.ClearField(field)
    graph.name = "network"
    for field in ("producer_version", "domain", "model_version", "doc_string", "metadata_props", "functions"):
        model.ClearField(field)
    model.producer_name = "gossamer"
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in sorted(versions.items()))
