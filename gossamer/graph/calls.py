# SPDX-License-Identifier: Apache-2.0
"""What a rule sees: one use of an operator (`Call`), and what a cut leaves of its tensors (`Kept`).

A rule is two small functions. `label(call)` says how the labels of an operator's arguments and results hang
together. `resize(call, kept)`, for an operator with sizes among its arguments, says what these are after a cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from gossamer.graph.labels import Labelled, Labels, compact

Roles = dict[tuple[str, int], str]
"""What a dim of a parameter, (name, dim), is to the operator that reads it: 'row', 'column', 'scale', ..."""


@dataclass(frozen=True)
class Choices:
    """Where channels can go in more than one way, which way they go.

    `grouped`: convolutions with several channels a group keep their groups, each with equally many channels
    ("equal"), or lose whole groups ("whole"). `heads`: attention loses the same positions of every head ("narrow"),
    or whole heads ("whole"). `norms`: a norm over channels stays as it is, and removing a channel is not exact
    ("plain"), or it goes on as if removed channels were there and zero, which is exact ("zeros").
    """

    grouped: str = "equal"
    heads: str = "narrow"
    norms: str = "plain"

    def __post_init__(self) -> None:
        allowed = {"grouped": ("equal", "whole"), "heads": ("narrow", "whole"), "norms": ("plain", "zeros")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {', '.join(values)}, got '{getattr(self, name)}'")


USUAL = Choices()

#: Operators that draw at random, and the argument that makes them still.
RANDOM_FLAGS = {"dropout": "train", "feature_dropout": "train", "alpha_dropout": "train", "rrelu": "training"}


@dataclass(frozen=True)
class Space:
    """What all calls of an analysis share. `constants` are the network's own integer tensors, with values.

    `ragged`: weights of grouped convolutions, (C_out, C_in / groups, ...), of which every group of rows may keep other
    columns: their labels, full size in the first two dims. A transposed one is (C_in, C_out / groups, ...).
    """

    labels: Labels
    parameters: Mapping[str, Labelled]
    constants: Mapping[str, Tensor]
    roles: Roles
    choices: Choices
    ragged: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Call:
    """One use of an operator. `call[name]` is an argument by its name in the schema: tensors as `Labelled`,
    sizes as numbers at batch 1.

    `meta` holds the same with meta tensors; `written` as the graph has them, where a size that depends on the
    batch is a node. `contracted` lists the (argument, dim) whose channels the operator sums over with weights.
    """

    node: fx.Node
    space: Space
    arguments: dict[str, Any]
    written: dict[str, Any]
    meta: dict[str, Any]
    result: Any
    contracted: list[tuple[str, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The operator, as in the table of rules."""
        return operator_name(self.node)

    @property
    def labels(self) -> Labels:
        """All labels of the network."""
        return self.space.labels

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def tensor(self, argument: str) -> Labelled:
        """A tensor argument."""
        value = self.arguments[argument]
        assert is_tensor(value), f"{argument} of {self.where} is not a tensor"
        return value

    def constant(self, argument: str) -> Tensor | None:
        """The values of an argument that is one of the network's own integer tensors."""
        node = self.written[argument]
        is_own = isinstance(node, fx.Node) and node.op == "get_attr"
        return self.space.constants.get(str(node.target)) if is_own else None

    @property
    def operands(self) -> dict[str, Labelled]:
        """All arguments that are single tensors, in order."""
        return {name: value for name, value in self.arguments.items() if is_tensor(value)}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the (only) result."""
        return self.output().shape

    @property
    def where(self) -> str:
        """Words for people: the operator and the line of the user's code."""
        return f"{self.name} {self.node.meta['where']}"

    def output(self, planes: Iterable[Tensor] = ()) -> Labelled:
        """The (only) result, carrying `planes`; those that vary nowhere are left out."""
        assert is_tensor(self.result), f"{self.where} has several results"
        return self.result.with_planes([plane for plane in planes if plane.numel() > 1])

    def vector(self, tensor: Labelled, dim: int) -> Tensor | None:
        """The labels along one dim, (n,); a plane that varies elsewhere too is coupled there. None: stays whole."""
        dim %= len(tensor.shape)
        plane = tensor.plane(dim)
        if plane is None:
            return None
        return self.labels.couple(plane, [d for d in range(plane.dim()) if d != dim]).flatten()

    def unite(self, first: Tensor | None, second: Tensor | None) -> None:
        """Unite two vectors; where one side stays whole, so does the other."""
        if first is not None and second is not None:
            assert first.shape == second.shape, f"{tuple(first.shape)} and {tuple(second.shape)} at {self.where}"
            self.labels.unite(first, second)
        else:
            self.pin(first if second is None else second, "it meets a tensor that stays whole")

    def pin(self, labels: Tensor | None, reason: str) -> None:
        """These labels stay, because of this operator."""
        if labels is not None:
            self.labels.pin(labels, f"{reason}, at {self.where}")

    def ragged(self, argument: str, parts: Tensor) -> bool:
        """Let each group of rows of a weight have columns of its own: `parts` (groups, n). False where it cannot."""
        weight, node = self.tensor(argument), self.written[argument]
        if self.space.choices.grouped != "equal" or not isinstance(node, fx.Node) or node.op != "get_attr":
            return False
        rows = weight.shape[0] // parts.shape[0]
        labels = parts.repeat_interleave(rows, 0)
        self.labels.unite(self.space.ragged.setdefault(weight.source, labels), labels)
        self.labels.equal_counts(parts)
        self.space.roles.setdefault((weight.source, 1), "row" if "transpose" in self.name else "column")
        return True

    def contract(self, argument: str, dim: int, labels: Tensor | None) -> None:
        """The operator sums over `dim` of a tensor argument, weighted by what carries `labels`."""
        tensor = self.tensor(argument)
        self.unite(self.vector(tensor, dim), labels)
        self.contracted.append((argument, dim % len(tensor.shape)))

    def role(self, tensor: Labelled | None, dim: int, role: str) -> None:
        """What a dim of a parameter, or of a value computed from it, is to this operator; the first role stays."""
        plane = None if tensor is None else tensor.plane(dim % len(tensor.shape))
        if tensor is None or plane is None or not tensor.source:
            return
        # A layout operator moves dims but not labels: these tell which dim of the parameter it was.
        parameter = self.space.parameters[tensor.source]
        own = [(d, parameter.plane(d)) for d in range(len(parameter.shape))]
        dims = [d for d, candidate in own if candidate is not None and bool(torch.isin(plane, candidate).any())]
        if not dims and parameter.shape == tensor.shape:
            dims = [dim % len(tensor.shape)]
        for d in dims:
            self.space.roles.setdefault((tensor.source, d), role)

    def run(self, argument: str, plane: Tensor) -> Any:
        """The operator itself, applied to labels in the place of a tensor argument: one plane per result."""
        operator = getattr(torch.ops.aten, self.name)
        result = operator(**self.meta | {argument: plane.expand(self.tensor(argument).shape)})
        return [compact(part) for part in result] if isinstance(result, (list, tuple)) else compact(result)

    def protect(self, reason: str) -> Any:
        """Everything that enters the operator stays, and so does everything that leaves it; returns the results."""
        words = f"{reason} {self.where}"

        def pinned(value: Any, fresh: bool) -> Any:
            if isinstance(value, (list, tuple)):
                return [pinned(part, fresh) for part in value]
            if not is_tensor(value):
                return value
            planes = self.labels.fresh_planes(value.shape) if fresh else value.planes
            for plane in planes:
                self.labels.pin(plane, words)
            return value.with_planes(planes)

        pinned(list(self.arguments.values()), fresh=False)
        return pinned(self.result, fresh=True)


class Kept(Protocol):
    """What a cut leaves of the tensors of a call."""

    def dim(self, tensor: Labelled, dim: int) -> NDArray[np.bool_]:
        """Which slots along `dim` are kept, (n,)."""

    def shape(self, tensor: Labelled) -> tuple[int, ...]:
        """The shape that is left, at batch 1."""


@dataclass(frozen=True)
class SizeOf:
    """A number that a cut network computes as it runs, because it depends on the batch: the size of a tensor argument
    along `dim`, divided by `parts`."""

    argument: str
    dim: int
    parts: int


@dataclass(frozen=True)
class Rule:
    """What to do at an operator: `label` returns its result(s); `resize` the arguments that a cut changes.

    A changed argument may be a tensor, which becomes a constant of the cut network, or a `SizeOf`.
    """

    label: Callable[[Call], Any]
    resize: Callable[[Call, Kept], Mapping[str, Any]] | None = None


def bind(node: fx.Node, values: Callable[[Any], Any]) -> dict[str, Any]:
    """The arguments of an operator by the names of its schema, each passed through `values`, defaults included."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    bound = {argument.name: argument.default_value for argument in schema}
    bound |= {argument.name: values(given) for argument, given in zip(schema, node.args, strict=False)}
    return bound | {name: values(given) for name, given in node.kwargs.items()}


def operator_name(node: fx.Node) -> str:
    """`relu` for aten.relu_.default: the operator without overload and without the mark of in-place variants."""
    assert isinstance(node.target, torch._ops.OpOverload)
    return str(node.target._schema.name).removeprefix("aten::").removesuffix("_")


def tensors_of(call: Call) -> list[Labelled]:
    """The tensors that a call makes, those of a list one after the other."""
    return [part for part in pytree.tree_leaves(call.result) if is_tensor(part)]


def is_tensor(value: Any) -> TypeGuard[Labelled]:
    """Whether an argument or a result is one tensor (not a size, a flag or a list)."""
    return isinstance(value, Labelled)
