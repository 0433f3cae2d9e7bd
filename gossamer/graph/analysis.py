# SPDX-License-Identifier: Apache-2.0
"""One walk over both forms of a network: every operator's rule is applied, then the labels are solved.

Shapes come from running each operator on meta tensors at batch 1, so an analysis needs neither data nor a new
export: the graphs of a cut network are analysed as they are.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from gossamer.graph.calls import Call, Choices, Roles, Space, bind, is_tensor, operator_name
from gossamer.graph.export import Form
from gossamer.graph.labels import Classes, Labelled, Labels, first_line, varying_dims
from gossamer.graph.parts import find_parts
from gossamer.graph.rules import RULES, UNKNOWN


@dataclass(frozen=True)
class Analysis:
    """What is known about a network's channels.

    `tensors` and `calls` carry labels, `classes` says which labels go together, `roles` what the dims of
    parameters are to the operators that read them. `calls` are in the order of the graphs, evaluation first.
    `ragged`: the classes of weights whose rows may keep different columns, (rows, columns). `part`: per class the
    part of its group in which equally many must be kept.
    """

    tensors: Mapping[str, Labelled]
    calls: Mapping[bool, Sequence[Call]]
    classes: Classes
    roles: Roles
    ragged: Mapping[str, NDArray[np.intp]]
    part: NDArray[np.intp]
    _axes: dict[int, tuple[int, NDArray[np.intp]]] = field(default_factory=dict)

    def axes(self, tensor: Labelled) -> dict[int, NDArray[np.intp]]:
        """Per dim that a cut may shorten, the class of each of its slots, (n,); the columns of a ragged weight have
        none."""
        if self.ragged_rows(tensor) is not None:
            return dict(self._axis(plane) for plane in tensor.planes if plane.shape[1] == 1)
        return dict(self._axis(plane) for plane in tensor.planes)

    def ragged_rows(self, tensor: Labelled) -> NDArray[np.intp] | None:
        """The classes (rows, columns) of a weight whose rows may keep different columns; None for other tensors."""
        is_parameter = tensor is self.tensors.get(tensor.source)  # not a value computed from it
        return self.ragged.get(tensor.source) if is_parameter else None

    def _axis(self, plane: Tensor) -> tuple[int, NDArray[np.intp]]:
        """The one dim along which the classes of a plane vary, and the classes there."""
        if id(plane) not in self._axes:  # one plane serves a whole chain of elementwise operators
            classes = torch.from_numpy(self.classes(plane))
            varying = varying_dims(classes)
            if len(varying) > 1:
                raise AssertionError(f"classes of a plane of shape {tuple(plane.shape)} vary along dims {varying}")
            dim = varying[0] if varying else max(range(plane.dim()), key=lambda d: plane.shape[d])
            self._axes[id(plane)] = dim, first_line(classes, dim).numpy()
        return self._axes[id(plane)]

    def labelled(self) -> Iterator[Labelled]:
        """Every tensor of the network: parameters, buffers and all results."""
        yield from self.tensors.values()
        for calls in self.calls.values():
            for call in calls:
                yield from filter(is_tensor, pytree.tree_leaves(call.result))


def analyse(
    forms: Mapping[bool, Form],
    tensors: Mapping[str, Tensor],
    inputs: Sequence[Any],
    protect: Callable[[Space], None],
    choices: Choices,
) -> Analysis:
    """Label both forms in one space; `protect` may pin more before the labels are solved."""
    labels = Labels()
    labelled = {
        name: Labelled(tuple(tensor.shape), labels.fresh_planes(tensor.shape), source=name)
        for name, tensor in tensors.items()
    }
    integers = {name: tensor for name, tensor in tensors.items() if not tensor.is_floating_point()}
    space = Space(labels, labelled, integers, {}, choices)
    walk = _Walk(space, {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()})
    calls = {training: walk.form(forms[training].graph, inputs) for training in (False, True)}
    protect(space)
    results = (part for form in calls.values() for call in form for part in pytree.tree_leaves(call.result))
    planes = [p for tensor in [*labelled.values(), *filter(is_tensor, results)] for p in tensor.planes]
    while True:
        classes = labels.box(planes)
        ragged = {name: classes(rows) for name, rows in space.ragged.items()}
        analysis = Analysis(labelled, calls, classes, space.roles, ragged, np.zeros(0, np.intp))
        part, irregular = find_parts(analysis, labels.equal)
        if not irregular:
            return replace(analysis, part=part)
        for parts in irregular:
            labels.couple(parts, [0])


@dataclass
class _Walk:
    """A walk along the graphs; `metas` are the network's tensors without values."""

    space: Space
    metas: Mapping[str, Tensor]

    def form(self, graph: fx.Graph, inputs: Sequence[Any]) -> list[Call]:
        """Apply the rules along one graph; returns its operator calls."""
        values: dict[fx.Node, Any] = {}  # as rules see them
        metas: dict[fx.Node, Any] = {}  # as operators see them
        calls: list[Call] = []
        given = iter(inputs)
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node], metas[node] = self._input(next(given))
            elif node.op == "get_attr":
                values[node], metas[node] = self.space.parameters[node.target], self.metas[node.target]
            elif node.op == "output":
                for result in filter(is_tensor, pytree.tree_leaves(fx.map_arg(node.args, values.__getitem__))):
                    for plane in result.planes:
                        self.space.labels.pin(plane, "it is an output of the network")
            elif isinstance(node.target, torch._ops.OpOverload):
                call = self._call(node, values, metas)
                calls.append(call)
                values[node] = call.result
            else:  # arithmetic on sizes, getitem
                metas[node] = node.target(*fx.map_arg(node.args, metas.__getitem__))
                index = node.target is operator.getitem
                values[node] = values[node.args[0]][node.args[1]] if index else metas[node]
        return calls

    def _input(self, example: Any) -> tuple[Any, Any]:
        if not isinstance(example, Tensor):
            return example, example
        shape = (1, *example.shape[1:])
        planes = self.space.labels.fresh_planes(shape, [1] if len(shape) > 1 else [])
        for plane in planes:
            self.space.labels.pin(plane, "it reads an input of the network")
        return Labelled(shape, planes), torch.empty(shape, dtype=example.dtype, device="meta")

    def _call(self, node: fx.Node, values: dict[fx.Node, Any], metas: dict[fx.Node, Any]) -> Call:
        meta = bind(node, lambda given: _meta_device(fx.map_arg(given, metas.__getitem__)))
        metas[node] = _evaluate(node, meta)
        arguments = bind(node, lambda given: fx.map_arg(given, values.__getitem__))
        source = _source(arguments.values())
        result = pytree.tree_map_only(Tensor, lambda t: Labelled(tuple(t.shape), source=source), metas[node])
        result = list(result) if isinstance(result, tuple) else result
        call = Call(node, self.space, arguments, bind(node, lambda given: given), meta, result)
        call.result = RULES.get(operator_name(node), UNKNOWN).label(call)
        return call


def _source(arguments: Iterable[Any]) -> str:
    """The largest parameter a value is computed from, if it is computed from parameters alone."""
    tensors: list[Labelled] = list(filter(is_tensor, pytree.tree_leaves(list(arguments))))
    if not tensors or not all(tensor.source for tensor in tensors):
        return ""
    return max(tensors, key=lambda t: math.prod(t.shape)).source


def _evaluate(node: fx.Node, arguments: Mapping[str, Any]) -> Any:
    if node.target is torch.ops.aten.batch_norm.default:  # on one example of one pixel it would divide by zero
        return torch.empty_like(arguments["input"])
    try:
        with torch.no_grad():
            return node.target(**arguments)  # type: ignore[operator]
    except Exception as error:
        raise ValueError(
            f"the network cannot be analysed: expected shapes that follow from the input's shape, got "
            f"{type(error).__name__} at {node.target} {node.meta['where']}: {error}"
        ) from error


def _meta_device(value: Any) -> Any:
    return torch.device("meta") if isinstance(value, torch.device) else value
