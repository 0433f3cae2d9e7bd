# SPDX-License-Identifier: Apache-2.0
"""The flow of a network's activations: which operator of the evaluation form makes each of them, and from which."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from gossamer.graph.calls import Call, tensors_of
from gossamer.graph.labels import Labelled


@dataclass(frozen=True)
class Operation:
    """One use of an operator, as named in `torch.ops.aten`: the activations that it reads and makes, by name.

    What it reads beside them are parameters, constants and numbers.
    """

    operator: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


@dataclass(frozen=True)
class Flow:
    """The evaluation form from `inputs` to `outputs`, `operations` in the order they run; those nobody needs are left
    out."""

    inputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    @property
    def activations(self) -> tuple[str, ...]:
        """Every activation by name, in the order they are made."""
        return (*self.inputs, *(name for operation in self.operations for name in operation.makes))


def find_flow(graph: fx.Graph, calls: Sequence[Call], example: Sequence[Any]) -> tuple[Flow, dict[str, Labelled]]:
    """The flow of the evaluation form, and each activation with its labels; inputs have none, as they never change."""
    tensors: dict[str, Labelled] = {}
    names: dict[fx.Node, tuple[str, ...]] = {}
    for node, value in zip(graph.find_nodes(op="placeholder"), example, strict=True):
        if isinstance(value, Tensor):
            names[node] = (node.name,)
            tensors[node.name] = Labelled((1, *value.shape[1:]))
    inputs = tuple(tensors)
    by_node = {call.node: call for call in calls}
    operations = []
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if node.target is operator.getitem:
            names[node] = names[node.args[0]][node.args[1] : node.args[1] + 1]
        elif node in by_node:
            made = dict(_made(by_node[node]))
            tensors |= made
            names[node] = tuple(made)
            operations.append(Operation(by_node[node].name, _read(node, names), tuple(made)))
    outputs = _read(graph.output_node(), names)
    return Flow(inputs, tuple(needed(operations, outputs)), outputs), tensors


def _made(call: Call) -> Iterator[tuple[str, Labelled]]:
    """The tensors that a call makes, by name."""
    found = tensors_of(call)
    for number, part in enumerate(found):
        yield call.node.name if len(found) == 1 else f"{call.node.name}.{number}", part


def _read(node: fx.Node, names: dict[fx.Node, tuple[str, ...]]) -> tuple[str, ...]:
    """The activations among the arguments of a node, as often as they stand there."""
    found: list[str] = []
    fx.map_arg((node.args, node.kwargs), lambda read: found.extend(names.get(read, ())))
    return tuple(found)


def needed(operations: Sequence[Operation], outputs: Sequence[str]) -> list[Operation]:
    """The operations that an output depends on."""
    wanted, found = set(outputs), []
    for operation in reversed(operations):
        if not wanted.isdisjoint(operation.makes):
            wanted.update(operation.reads)
            found.append(operation)
    return found[::-1]
