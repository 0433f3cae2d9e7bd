# SPDX-License-Identifier: Apache-2.0
"""What working memory a network would need with fewer channels, without cutting and exporting it.

The plan of `measure.memory_plan` for the traced network, as its ONNX form will run: what is folded into a convolution
and what passes a tensor on takes no buffer. Sizes of buffers follow from the channels kept, and the operators from the
groups that keep none: as in a cut (`graph.emptied`), what reads nothing is gone, and so is what computes a constant.

Exact where one operator of the trace is one of the ONNX form. Where it is several (a group norm, attention), or where
activations are integers, the ratio of what was measured on the whole network to what the plan says of it scales the
rest, and a cut must be measured before it is relied on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.graph import Network
from gossamer.graph.cost import KINDS
from gossamer.graph.flow import Flow, Operation, needed
from gossamer.measure.memory_plan import Operator, Sharing, memory_plan

VIEWS = {"alias", "alpha_dropout", "clone", "contiguous", "detach", "dropout", "feature_dropout", "flatten"}
VIEWS |= {"lift_fresh", "lift_fresh_copy", "reshape", "reshape_as", "squeeze", "to", "_to_copy", "unflatten"}
VIEWS |= {"unsqueeze", "view", "view_as"}
ACTIVATIONS = {"celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "prelu", "relu", "relu6"}
ACTIVATIONS |= {"selu", "sigmoid", "softplus", "softsign", "tanh"}
FOLDED = {"add", "batch_norm", "div", "mul", "sub"}  # into a convolution, where the rest of it is constant
TWICE, GATE = "silu", " gate"  # x * sigmoid(x) in ONNX

MOST_PLANS = 256  # remembered, one for each choice of ended groups: of a large network a plan takes a megabyte

_Plan = tuple[NDArray[np.float64], NDArray[np.intp]]


@dataclass(frozen=True)
class MemoryModel:
    """Bytes of working memory by channel counts; `scale`: bytes per number of the plan, 4 where it is exact."""

    network: Network
    scale: float
    _plans: dict[frozenset[str], _Plan] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, network: Network, measured: int) -> MemoryModel:
        """The model of a network for which so many bytes were measured."""
        return cls(network, measured / cls(network, 1.0).bytes({}))

    def bytes(self, counts: Mapping[str, int]) -> float:
        """The working memory if each named group kept so many channels, the others all; inf where no output is left."""
        sizes = self.network.activations_if(counts)
        ended = frozenset(name for name, count in counts.items() if count == 0)
        if ended not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[ended] = self._plan(sizes)
        alive, first = self._plans[ended]
        return self.scale * float((alive @ sizes[first]).max())

    @property
    def input_bytes(self) -> float:
        """What the network's inputs take of it, whatever is cut."""
        return self.scale * float(self.network.activations_if({})[: len(self.network.flow.inputs)].sum())

    def narrowest(self) -> dict[str, int]:
        """The counts that need least: the fewest channels in each group, and no branch that can end."""
        counts = {group.name: group.multiple_of for group in self.network.prunable}
        for name in counts:
            ended = counts | {name: 0}
            if self.bytes(ended) <= self.bytes(counts) and self.network.can_end(name):
                counts = ended
        return counts

    def _plan(self, sizes: NDArray[np.int64]) -> _Plan:
        """Which buffers are alive at each step, (steps, buffers), and which activation is as large as each."""
        flow = self.network.flow
        column = {name: number for number, name in enumerate(flow.activations)}
        void = {name for name, number in column.items() if sizes[number] == 0}
        left = _left(flow, void)
        if not set(flow.outputs) <= {*flow.inputs, *(name for operation in left for name in operation.makes)}:
            return np.full((1, 1), np.inf), np.zeros(1, np.intp)
        operators = list(_lowered(left, flow.outputs, {name: int(sizes[number]) for name, number in column.items()}))
        plan = memory_plan(operators, flow.inputs, flow.outputs)
        first = [column[names[0].removesuffix(GATE)] for names in plan.buffers]  # all of a buffer are as large
        return plan.alive.astype(np.float64), np.array(first)


def _left(flow: Flow, void: set[str]) -> list[Operation]:
    """The operations of a cut in which `void` activations have no channels, without what is constant or not needed."""
    gone = set(void)  # and what is constant
    left = []
    for operation in flow.operations:
        reads = tuple(name for name in operation.reads if name not in gone)
        if not reads or void.issuperset(operation.makes):
            gone.update(operation.makes)
        else:
            left.append(replace(operation, reads=reads))
    return needed(left, flow.outputs)


def _lowered(operations: Sequence[Operation], outputs: Sequence[str], sizes: Mapping[str, int]) -> Iterator[Operator]:
    """The operators of the ONNX form, for activations of these `sizes`."""
    readers = Counter([*(name for operation in operations for name in operation.reads), *outputs])
    linear: set[str] = set()  # what layers make, and what is folded into them
    for operation in operations:
        alone = len(operation.reads) == 1 and readers[operation.reads[0]] == 1
        folded = operation.operator in FOLDED and alone and operation.reads[0] in linear
        if folded or operation.operator in KINDS:
            linear.update(operation.makes)
        if operation.operator == TWICE:
            gate = f"{operation.makes[0]}{GATE}"
            yield Operator("sigmoid", operation.reads, (gate,))
            yield Operator("mul", (*operation.reads, gate), operation.makes)
        else:
            view = folded or operation.operator in VIEWS or _takes_all(operation, sizes)
            sharing: Sharing = "view" if view else "in place" if operation.operator in ACTIVATIONS else "none"
            yield Operator(operation.operator, operation.reads, operation.makes, sharing)


def _takes_all(operation: Operation, sizes: Mapping[str, int]) -> bool:
    """Whether a slice or a concatenation only passes a tensor on."""
    return operation.operator in ("slice", "cat") and sizes[operation.reads[0]] == sizes[operation.makes[0]]
