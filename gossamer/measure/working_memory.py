# SPDX-License-Identifier: Apache-2.0
"""Working memory: what activations need at batch 1 on a device that runs a network operator by operator.

The peak, over the operators in the order of the ONNX graph, of the bytes of all tensors alive then: those that the
operator reads and makes, and every other that is needed later, such as the second branch of a residual sum. Weights
stay in flash and are not counted, nor is what a kernel scribbles on.

    views      Reshape, Flatten, Squeeze, Unsqueeze, Identity: no memory of their own
    in place   an activation function (Relu, Clip, ...) that alone reads what the operator before it made
    integers   an operator that reads dequantized tensors only computes in integers: of a pair of QuantizeLinear and
               DequantizeLinear around it the integers are there, a byte a number, and the float forms are not

The planners of microcontrollers (the arena of TensorFlow Lite Micro) approach this number, and it is the same on every
machine. A desktop runtime takes more: weights, their repacked copies, its own code; `measure.cold_start` measures that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from gossamer.measure.memory_plan import MemoryPlan, Operator, Sharing, memory_plan

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
ACTIVATIONS = frozenset(
    {"Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu"}
    | {"Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"}
)
SHAPES = frozenset({"Shape", "Size"})  # known before anything runs, as the batch is


@dataclass(frozen=True)
class WorkingMemory:
    """Bytes at the peak, which is while `operator` runs ("Conv v4": its type and output); the `tensors` alive then."""

    bytes: int
    operator: str
    tensors: Mapping[str, int]


def working_memory(model: bytes) -> WorkingMemory:
    """The working memory of a network in ONNX, float32 or with QuantizeLinear and DequantizeLinear pairs.

    ValueError where the shape of a tensor does not follow from the shapes of the inputs.
    """
    graph = _at_batch_one(model)
    constants = _constants(graph)
    inputs = [value.name for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output if value.name not in constants]
    operators = [_operator(node, constants) for node in graph.node if not constants.issuperset(node.output)]
    plan = memory_plan(_in_integers(operators, inputs, outputs), inputs, outputs)
    sizes = _sizes(graph)
    for node in graph.node:
        if unknown := sorted({*node.output} - constants - sizes.keys()):
            raise ValueError(
                f"expected shapes that follow from the input's, got none for '{unknown[0]}', made by {node.op_type}; "
                "replace that operator"
            )
    return _peak(plan, sizes)


def _peak(plan: MemoryPlan, sizes: Mapping[str, int]) -> WorkingMemory:
    # tensors of one buffer have equally many numbers: where some are integers, only those are there
    needed = [min(sizes[name] for name in names) for names in plan.buffers]
    totals = plan.alive @ needed
    step = int(totals.argmax())
    alive = {names[0]: size for names, size, here in zip(plan.buffers, needed, plan.alive[step], strict=True) if here}
    return WorkingMemory(int(totals[step]), plan.steps[step], alive)


def _at_batch_one(model: bytes) -> onnx.GraphProto:
    """The graph with the shapes that follow when the first, free dimension of its inputs is 1."""
    proto = onnx.load_from_string(model)
    for value in proto.graph.input:
        for size in value.type.tensor_type.shape.dim[:1]:
            size.dim_value = 1
    return onnx.shape_inference.infer_shapes(proto, data_prop=True).graph


def _constants(graph: onnx.GraphProto) -> set[str]:
    """Names of what does not depend on the input's values: weights, shapes, and what is computed from them alone."""
    found = {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        if node.op_type in SHAPES or found.issuperset(node.input):
            found.update(node.output)
    return found


def _operator(node: onnx.NodeProto, constants: set[str]) -> Operator:
    reads, makes = (tuple(name for name in names if name not in constants) for names in (node.input, node.output))
    sharing: Sharing = "none"
    if node.op_type in VIEWS:
        sharing = "view"
    elif node.op_type in ACTIVATIONS or node.op_type == "QuantizeLinear":
        sharing = "in place"
    return Operator(f"{node.op_type} {makes[0]}", reads, makes, sharing)


def _in_integers(operators: Sequence[Operator], inputs: Sequence[str], outputs: Sequence[str]) -> list[Operator]:
    """The operators, those in integers reading integers; a float form that no operator reads is not made."""
    integers: dict[str, str] = {}  # dequantized tensor -> what it was before
    unmade = set(inputs)  # a device hands over its image in the form that is read
    found: list[Operator] = []
    for operator in operators:
        if _is(operator, "DequantizeLinear"):
            integers[operator.makes[0]] = operator.reads[0]
        elif operator.sharing != "view" and integers.keys() >= set(operator.reads):
            operator = replace(operator, reads=tuple(integers[name] for name in operator.reads))
            unmade.update(operator.makes)
        elif operator.sharing == "in place" and operator.reads[0] in unmade:
            unmade.update(operator.makes)
        elif _is(operator, "QuantizeLinear"):
            operator = replace(operator, sharing="none")
        found.append(operator)
    read = {*outputs, *(name for operator in found for name in operator.reads)}
    return [operator for operator in found if not _is(operator, "DequantizeLinear") or operator.makes[0] in read]


def _is(operator: Operator, kind: str) -> bool:
    return operator.what.startswith(f"{kind} ")


def _sizes(graph: onnx.GraphProto) -> dict[str, int]:
    """Bytes of every tensor of the graph whose shape is known, inputs and outputs included."""
    sizes = {}
    known = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)}
    for name, kind in known.items():
        if kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim):
            width = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
            sizes[name] = width * math.prod(size.dim_value for size in kind.shape.dim)
    return sizes
