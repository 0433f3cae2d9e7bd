# SPDX-License-Identifier: Apache-2.0
"""What a network costs, layer by layer, and what it would cost with fewer channels.

Multiply-adds are counted where weights are: in convolutions and linear layers, for one example. The size of every
tensor dim is a fixed number plus, per group, slots times channels kept (a share of them for the columns of a grouped
convolution); so a cost is a few products of a matrix with the counts, and a bisection can ask for it thousands of
times. The same holds for activations, at batch 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import fx

from gossamer.graph.analysis import Analysis
from gossamer.graph.calls import Call
from gossamer.graph.groups import Group
from gossamer.graph.labels import Labelled

KINDS = {
    **{f"conv{d}d": "conv" for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": "conv_transpose" for d in (1, 2, 3)},
    "linear": "linear",
}


@dataclass(frozen=True)
class Norm:
    """A batch norm that alone reads a layer's output, so that it can be folded: names of its tensors, and eps."""

    weight: str | None
    bias: str | None
    mean: str
    var: str
    eps: float


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, named after its weight. `macs`: multiply-adds for one example, all uses."""

    name: str
    kind: str
    shape: tuple[int, ...]
    groups: int
    macs: int
    norm: Norm | None

    @property
    def depthwise(self) -> bool:
        """Whether each filter reads a single channel of several."""
        return self.groups > 1 and self.shape[1] == 1

    @property
    def inputs_first(self) -> int:
        """The groups of a transposed convolution, whose weight is (inputs, filters / groups, ...); 0 of others."""
        return self.groups if self.kind == "conv_transpose" else 0

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.shape[1] * self.groups if self.kind == "conv_transpose" else self.shape[0]


def find_layers(analysis: Analysis) -> tuple[Layer, ...]:
    """The layers of the evaluation form in forward order; a layer used twice is listed once."""
    layers: dict[str, Layer] = {}
    for call in _weighted(analysis):
        weight = call["weight"]
        name = _name(call)
        macs = _positions(call) * math.prod(weight.shape)
        if name in layers:
            known = layers[name]
            layers[name] = Layer(name, known.kind, known.shape, known.groups, known.macs + macs, None)
        else:
            kind, groups = KINDS[call.name], call.arguments.get("groups", 1)
            layers[name] = Layer(name, kind, weight.shape, groups, macs, _norm(analysis, call))
    return tuple(layers.values())


def _weighted(analysis: Analysis) -> list[Call]:
    return [call for call in analysis.calls[False] if call.name in KINDS]


def _name(call: Call) -> str:
    """A layer is named after its weight."""
    return call["weight"].source or f"{call.node.name} (its weight is computed)"


def _positions(call: Call) -> int:
    """How often the weight of a layer is applied to one example."""
    if call.name == "linear":
        return math.prod(call["input"].shape[:-1])
    inside = call["input"] if "transpose" in call.name else call.result
    return math.prod(inside.shape[2:])


def _kind(call: Call) -> str:
    """What two layers have in common that run equally fast for equal work: operator, kernel, size of the map."""
    kernel = "x".join(str(size) for size in call["weight"].shape[2:])
    size = "x".join(str(size) for size in call.result.shape[2:]) if kernel else ""
    grouped = " in groups" if call.arguments.get("groups", 1) > 1 else ""
    return f"{call.name} {kernel}{grouped} at {size}" if kernel else call.name


def _norm(analysis: Analysis, call: Call) -> Norm | None:
    readers = [c for c in analysis.calls[False] if c.node in call.node.users]
    if len(call.node.users) != 1 or not readers or readers[0].name != "batch_norm":
        return None
    norm = readers[0]
    parts = [norm.written[name] for name in ("weight", "bias", "running_mean", "running_var")]
    if norm.written["input"] is not call.node or any(isinstance(p, fx.Node) and p.op != "get_attr" for p in parts):
        return None
    if norm["training"] or parts[2] is None or parts[3] is None:
        return None
    weight, bias, mean, var = (None if part is None else str(part.target) for part in parts)
    return Norm(weight, bias, str(mean), str(var), norm["eps"])


class Prediction:
    """Costs as a function of how many channels each group keeps."""

    def __init__(
        self, analysis: Analysis, groups: Sequence[Group], used: Sequence[str], activations: Sequence[Labelled]
    ) -> None:
        self._columns = {group.name: column for column, group in enumerate(groups)}
        self._sizes = np.array([group.size for group in groups], np.int64)
        group_of = np.full(len(analysis.classes.pinned), -1)
        for column, group in enumerate(groups):
            group_of[group.classes] = column
        calls = _weighted(analysis)
        weights = [call["weight"] for call in calls]
        self._macs = self._affine(analysis, weights, group_of)
        self._positions = np.array([_positions(call) for call in calls], np.int64)
        self.kinds = tuple(_kind(call) for call in calls)
        self._names = [_name(call) for call in calls]
        self._parameters = self._affine(analysis, [analysis.tensors[name] for name in used], group_of)
        self._activations = self._affine(analysis, activations, group_of)

    def macs(self, counts: Mapping[str, int]) -> int:
        """Multiply-adds for one example when each named group keeps `counts` channels, the others all."""
        return int(self.macs_of_uses(counts).sum())

    def macs_of_uses(self, counts: Mapping[str, int]) -> NDArray[np.int64]:
        """The same for each use of a layer in forward order, (uses,); `kinds` says what each is."""
        return self._positions * self._products(self._macs, counts)

    def weights(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Numbers in the weight of each layer, by its name, when each named group keeps `counts` channels."""
        return dict(zip(self._names, self._products(self._macs, counts).tolist(), strict=True))

    def parameters(self, counts: Mapping[str, int]) -> int:
        """Numbers stored for inference when each named group keeps `counts` channels, the others all."""
        return int(self._products(self._parameters, counts).sum())

    def activations(self, counts: Mapping[str, int]) -> NDArray[np.int64]:
        """Numbers in each activation at batch 1, (activations,), when each named group keeps `counts` channels."""
        return self._products(self._activations, counts)

    def _affine(
        self, analysis: Analysis, tensors: Sequence[Labelled], group_of: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Per position of a shape: slots per channel (tensors, groups) and fixed slots (tensors,)."""
        rank = max((len(tensor.shape) for tensor in tensors), default=0)
        result = []
        for dim in range(rank):
            slots = np.zeros((len(tensors), len(self._sizes)))
            fixed = np.array([t.shape[dim] if dim < len(t.shape) else 1 for t in tensors], np.int64)
            for row, tensor in enumerate(tensors):
                classes = _line(analysis, tensor, dim)
                owners = np.zeros(0, np.int64) if classes is None else group_of[classes]
                columns, counts = np.unique(owners[owners >= 0], return_counts=True)
                slots[row, columns] = counts / self._sizes[columns]
                fixed[row] -= counts.sum()
            result.append((slots, fixed))
        return result

    def _products(
        self, affine: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]], counts: Mapping[str, int]
    ) -> NDArray[np.int64]:
        kept = self._sizes.copy()
        for name, count in counts.items():
            kept[self._columns[name]] = count
        sizes = [np.rint(slots @ kept + fixed).astype(np.int64) for slots, fixed in affine]
        product: NDArray[np.int64] = np.prod(sizes, axis=0, dtype=np.int64)
        return product


def _line(analysis: Analysis, tensor: Labelled, dim: int) -> NDArray[np.intp] | None:
    """The classes along a dim; of a ragged weight those of its first row, of which each part of a group has a share."""
    if dim == 1 and (rows := analysis.ragged_rows(tensor)) is not None:
        first: NDArray[np.intp] = rows[0]
        return first
    return analysis.axes(tensor).get(dim)
